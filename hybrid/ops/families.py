"""Every family of ops: importing this module enters all records and all marks of the surface.

Invariant: a module of records that is not imported here does not exist for the rest of hybrid.
"""

from .axes import cumulative, positions, reduce, rows, statistics, views, windows
from .build import create, join, matrices, parts, pieces, stack
from .elementwise import (
    activations,
    arithmetic,
    functions,
    logic,
    powers,
    rounding,
    selection,
    updates,
)
from .indexing import getitem, index, random, sort
from .layers import channels, likelihood, loss, normalize, pool
from .products import attention, contract, convolution, einsum
