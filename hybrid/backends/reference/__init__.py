"""The slow backend that says what every plan means.

Invariant: values are host arrays, and all work is the interpreter's.
"""
