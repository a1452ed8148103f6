"""Made by `python tests/support/surface.py` from the marks at the functions: do not edit."""

import builtins
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from .eager.tensor import Tensor

ArrayLike: TypeAlias = Any  # what hybrid.asarray takes

def cross(x1: Any, x2: Any, /, *, axis: builtins.int = -1) -> Tensor:
    """Cross products of vectors of size 3 along an axis (array API); other axes broadcast."""

def diagonal(x: ArrayLike, /, *, offset: builtins.int = 0) -> Tensor:
    """The diagonals of matrices, which are the last two axes (array API)."""

def trace(x: ArrayLike, /, *, offset: builtins.int = 0, dtype: Any = None) -> Tensor:
    """The sums along the diagonals of matrices, which are the last two axes (array API), with the dtype rule of `sum`."""
