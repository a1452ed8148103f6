"""Branches of Python on values of tensors: what they depend on as operations of the graph, loops
that end by them as one node, and how a recording meets them."""
