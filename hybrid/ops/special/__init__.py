"""Special functions by the names of scipy.special: records, and functions made of them.

Invariant: argument order is SciPy's, and so are the results at poles and outside of the domain
where a docstring says nothing else.
"""
