"""One recorded call as data: graph, captures, guard, results, writes.

Invariant: a recording is only compared and served, never changed.
"""
