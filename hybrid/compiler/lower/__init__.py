"""From a graph to the kernels of a plan: regions, homes, kernels, their order, their memory.

Invariant: where values lie and what runs together is decided here; what is computed is not.
"""
