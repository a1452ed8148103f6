"""Numbers inside of the containers and objects among the arguments of a call.

Invariant: as of signature.
"""
