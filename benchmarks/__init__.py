"""Workloads timed eager and traced, beside the peers that are installed: `python -m benchmarks`."""

import os

# every third call is a replay, whatever the default is
os.environ.setdefault("HYBRID_WAIT", "1")
