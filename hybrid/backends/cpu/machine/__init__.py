"""The machine below Python: host facts, memory, native code and where it is kept, worker threads.

Invariant: knows nothing of Python objects, ops or plans.
"""
