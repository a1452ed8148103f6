"""NumPy's functions that arrange, select and write elements, put together from the families below.

Invariant: nothing here makes a record but `partition`; positions that no data decides are computed
without reading data.
"""
