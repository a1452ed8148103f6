"""New tensors, and tensors put together from others.

Invariant: built on the elementwise ops and those along axes.
"""
