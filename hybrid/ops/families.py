"""Every family of ops: importing this module enters all records and all marks of the surface.

Invariant: a module of records that is not imported here does not exist for the rest of hybrid.
"""

from .axes import (
    cumulative,
    extremes,
    positions,
    reduce,
    rows,
    slices,
    statistics,
    views,
    windows,
)
from .batched import indices as _indices
from .batched import layers as _layers
from .batched import places as _places
from .batched import products as _products
from .build import create, join, matrices, parts, pieces, stack
from .elementwise import (
    activations,
    arithmetic,
    functions,
    gelu,
    logic,
    powers,
    rounding,
    selection,
    trigonometry,
    updates,
)
from .indexing import along, generators, getitem, index, random, sort, window
from .layers import channels, likelihood, loss, normalize, pool
from .products import attention, contract, convolution, einsum
