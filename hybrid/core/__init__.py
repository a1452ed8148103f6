"""What every layer speaks of: dtypes, shapes, devices, array records, trees, errors.

Invariant: nothing here knows an op, a tensor or a backend; core imports no other layer.
"""
