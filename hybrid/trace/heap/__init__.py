"""Python objects as the tracer sees them: known types, and places whose content is a fact.

Invariant: looking never runs code of a user.
"""
