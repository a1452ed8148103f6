"""Gradients: the backward pass over the tape and its functional forms.

Invariant: a gradient is computed by calls of public ops, so it can be recorded and differentiated.
"""
