"""Functions of functions: forward derivatives, Jacobians, vmap, checkpoint, rules of a user's own.

Invariant: no list of ops; a transform reads the tape, the records and the hooks of a mode, and
computes by calls of public ops, so transforms nest, are recorded, and are differentiated.
"""
