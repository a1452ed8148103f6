"""The card and its driver: memory, code, launches.

Invariant: nothing here knows kernels; a driver that is not NVIDIA's can stand in for it.
"""
