"""Workloads timed eager and traced, beside the peers that are installed: `python -m benchmarks`."""
