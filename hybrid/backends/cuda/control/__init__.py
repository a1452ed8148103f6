"""Branches and loops on a card: what they run are graphs of kernels, which way they go the host
reads.

Invariant: values stay on the device but for the scalar that decides where to go.
"""
