"""Made by `python tests/support/surface.py` from the marks at the functions: do not edit."""

import builtins
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from .eager.tensor import Tensor

ArrayLike: TypeAlias = Any  # what hybrid.asarray takes

def fftfreq(
    n: builtins.int,
    d: builtins.float = 1.0,
    *,
    dtype: Any = None,
    device: Any = None,
) -> Tensor:
    """The frequencies of a transform of n samples at distance d, in cycles per unit: [0, 1, ..., (n - 1) // 2, -(n // 2), ..., -1] / (d * n); float32 by default."""

def fftshift(x: ArrayLike, axes: Any = None) -> Tensor:
    """x with the frequency zero, which transforms put first, in the middle of each of the axes (all by default). Any dtype and shape; ShapeError for an axis out of range."""

def ifftshift(x: ArrayLike, axes: Any = None) -> Tensor:
    """What `fftshift` does, undone (another function where an axis has an odd size)."""

def rfftfreq(
    n: builtins.int,
    d: builtins.float = 1.0,
    *,
    dtype: Any = None,
    device: Any = None,
) -> Tensor:
    """The frequencies of a transform of n real samples at distance d, none of them negative: [0, 1, ..., n // 2] / (d * n); see `fftfreq`."""
