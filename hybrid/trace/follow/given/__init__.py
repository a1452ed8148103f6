"""Numbers inside of containers and objects that a call gets as arguments.

Invariant: a number is followed only where every access to the place that holds it is one that the
follower saw; else it was looked at.
"""
