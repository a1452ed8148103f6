"""Programs made to break the mechanism that sees Python; used by test_trace_adversary."""
