"""From Python straight to the driver: native functions that start the kernels of one call.

Invariant: a launch path knows addresses and words, not what a kernel computes.
"""
