"""Windows for spectra: weights that fall towards both ends.

Invariant: computed in float64 and rounded once; no point has no weight, one point the weight 1.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.floating import plain_floats
from ...ir.door.bind import as_tensor
from ...ir.door.bind import convert as astype
from ..base.surface import public
from ..build.create import arange, ones
from ..elementwise.arithmetic import abs, add, multiply, subtract
from ..elementwise.trigonometry import cos

Tensor = Any


def _window(size: Any, weights: tuple[float, ...], dtype: Any, device: Any) -> Tensor:
    """Cosines of 0, 1, ... periods over the points, by their weights."""
    count = operator.index(size) if hasattr(size, "__index__") else math.ceil(size)
    wanted = dt.canonical(dtype or dt.default_float)
    if count <= 1:
        return ones((max(count, 0),), dtype=wanted, device=device)
    places = arange(1 - count, count, 2, dtype=dt.float64, device=device)
    found: Any = weights[0]
    for periods, weight in enumerate(weights[1:], 1):
        angles = multiply(places, periods * math.pi / (count - 1))
        found = add(multiply(cos(angles), weight), found)
    return astype(found, wanted)


@public
def hanning(M: int, *, dtype: Any = None, device: Any = None) -> Tensor:  # noqa: N803
    """The Hann window of M points: 0.5 - 0.5 cos(2 pi n / (M - 1)).

    >>> hybrid.hanning(5)
    tensor([0. , 0.5, 1. , 0.5, 0. ])
    """
    return _window(M, (0.5, 0.5), dtype, device)


@public
def hamming(M: int, *, dtype: Any = None, device: Any = None) -> Tensor:  # noqa: N803
    """The Hamming window of M points: 0.54 - 0.46 cos(2 pi n / (M - 1)).

    >>> hybrid.hamming(5)
    tensor([0.08, 0.54, 1.  , 0.54, 0.08])
    """
    return _window(M, (0.54, 0.46), dtype, device)


@public
def blackman(M: int, *, dtype: Any = None, device: Any = None) -> Tensor:  # noqa: N803
    """The Blackman window of M points: 0.42 - 0.5 cos(u) + 0.08 cos(2 u) with u = 2 pi n / (M - 1).

    >>> hybrid.blackman(5).round(2)
    tensor([-0.  ,  0.34,  1.  ,  0.34, -0.  ])
    """
    return _window(M, (0.42, 0.5, 0.08), dtype, device)


@public
def bartlett(M: int, *, dtype: Any = None, device: Any = None) -> Tensor:  # noqa: N803
    """The triangle of M points from 0 to 1 and back.

    >>> hybrid.bartlett(5)
    tensor([0. , 0.5, 1. , 0.5, 0. ])
    """
    count = operator.index(M) if hasattr(M, "__index__") else math.ceil(M)
    if count <= 1:
        return _window(count, (1.0,), dtype, device)
    places = arange(1 - count, count, 2, dtype=dt.float64, device=device)
    found = subtract(1.0, multiply(abs(places), 1.0 / (count - 1)))
    return astype(found, dt.canonical(dtype or dt.default_float))


@public
def kaiser(M: int, beta: float, *, dtype: Any = None, device: Any = None) -> Tensor:  # noqa: N803
    """The Kaiser window of M points: I0(beta sqrt(1 - (2 n / (M - 1) - 1)^2)) / I0(beta), with the
    modified Bessel function I0; its weights are computed on the host.

    >>> hybrid.kaiser(5, 14.0)
    tensor([7.7269e-06, 1.6493e-01, 1.0000e+00, 1.6493e-01, 7.7269e-06])
    """
    wanted = dt.canonical(dtype or dt.default_float)
    with plain_floats():
        weights = np.kaiser(M, float(beta)).astype(np.float64)
    return astype(as_tensor(weights, ones((), device=device).device), wanted)
