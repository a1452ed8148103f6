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
from .special import bessels, distributions, entropies, gammas, integrals, inverses, normal
from .special import rows as special_rows
