"""A function in pieces: cut where no replay goes on, each piece an ordinary function.

Invariant: the pieces, called one after another, do what the function does.
"""
