"""Graphs of ops: the data, its text form, the verifier, rewriting and drawing.

Invariant: nothing here runs an op.
"""
