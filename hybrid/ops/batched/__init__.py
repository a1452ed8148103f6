"""How records run on many rows at once: their `batch` rules, where the kind does not say it.

Invariant: a rule gets inputs of which the flagged ones have the batch axis first, and gives outputs
that all have it first; it computes by calls of records, so it is differentiated and recorded.
"""
