"""Every family of ops: importing this module enters all records and all marks of the surface.

Invariant: a module of records that is not imported here does not exist for the rest of hybrid.
"""

from .arrange import (
    diagonals,
    joining,
    numbering,
    order,
    padding,
    ranges,
    selecting,
    shapes,
    writing,
)
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
from .batched import matrices as _matrices
from .batched import places as _places
from .batched import products as _products
from .build import create, join, matrices, pairs, parts, pieces, stack
from .complex import arithmetic as complex_arithmetic
from .complex import functions as complex_functions
from .complex import indexing as complex_indexing
from .complex import reductions
from .elementwise import (
    activations,
    arithmetic,
    floats,
    functions,
    gelu,
    logic,
    numeric,
    powers,
    rounding,
    selection,
    trigonometry,
    updates,
)
from .fourier import frequencies, transforms
from .indexing import along, generators, getitem, index, random, sort, window
from .layers import channels, likelihood, loss, normalize, pool
from .linalg import (
    determinants,
    eigen,
    factors,
    least,
    matrix_powers,
    norms,
    small,
    solving,
    spectra,
    twins,
)
from .numeric import (
    applied,
    calculus,
    closeness,
    counting,
    fits,
    histograms,
    moments,
    nans,
    polynomials,
    quantiles,
    ranks,
    sequences,
    sets,
)
from .products import attention, contract, convolution, einsum, vectors
from .randoms import methods as _methods
from .special import bessels, distributions, entropies, gammas, integrals, inverses, normal
from .special import rows as special_rows
