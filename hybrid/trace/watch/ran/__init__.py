"""What ran in a watched call, by code object, and where the call was refused.

Invariant: nothing here keeps a frame.
"""
