"""The native CPU backend: compiled kernels, worker threads, the entry that replays plans.

Invariant: kernels see addresses and numbers; only the entry touches Python objects.
"""
