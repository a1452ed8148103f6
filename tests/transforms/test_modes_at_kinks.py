"""Functions where they have kinks: forward and reverse mode give one Jacobian, to second order.

Invariant: where a formula divides by zero, both modes are finite and flat, or both are NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hybrid as hb

F = hb.nn.functional
Function = Callable[[Any], Any]
INF = float("inf")
POINTS = {
    "zeros": np.zeros((3, 3)),
    "ones": np.ones((3, 3)),
    "a row of zeros": np.array([[0.0, 0, 0], [1, 2, 4], [3, -1, 2]]),
    "a constant row": np.array([[2.0, 2, 2], [1, 2, 4], [3, -1, 2]]),
    "ties": np.array([[1.0, 1, 2], [-2, 2, -2], [0, -0.0, 3]]),
}
FIRST = hb.tensor([[1.0, 1, 2], [-2, 2, -2], [0, 0, 3]], dtype="float64")
FUNCTIONS: dict[str, Function] = {
    "norm": hb.norm,
    "norm of rows": lambda x: hb.norm(x, axis=1),
    "linalg.norm": hb.linalg.norm,
    "Frobenius": lambda x: hb.linalg.norm(x, "fro"),
    "linalg.norm of rows": lambda x: hb.linalg.norm(x, axis=1),
    "vector_norm": lambda x: hb.linalg.vector_norm(x, axis=0),
    "matrix_norm": hb.linalg.matrix_norm,
    "norm 1": lambda x: hb.norm(x, 1, 1),
    "norm 3": lambda x: hb.norm(x, 3, 1),
    "norm inf": lambda x: hb.norm(x, INF, 1),
    "norm -inf": lambda x: hb.norm(x, -INF, 1),
    "matrix norm 1": lambda x: hb.linalg.norm(x, 1),
    "std": lambda x: hb.std(x, 1),
    "std of all": hb.std,
    "std of columns": lambda x: hb.std(x, 0),
    "nanstd": lambda x: hb.nanstd(x, 1),
    "var": lambda x: hb.var(x, 1),
    "hypot": lambda x: hb.hypot(x, x.T),
    "hypot with 0": lambda x: hb.hypot(x, 0.0),
    "atan2": lambda x: hb.atan2(x, x.T),
    "abs": hb.abs,
    "abs of complex": lambda x: hb.abs(hb.astype(x, "complex128")),
    "sign": hb.sign,
    "relu": F.relu,
    "clip": lambda x: hb.clip(x, 0.0, 1.0),
    "max": lambda x: hb.max(x, 1),
    "min": lambda x: hb.min(x, 0),
    "amax of all": hb.max,
    "maximum": lambda x: hb.maximum(x, x.T),
    "minimum": lambda x: hb.minimum(x, 0.0),
    "ptp": lambda x: hb.ptp(x, 1),
    "median": lambda x: hb.median(x, 1),
    "sort": lambda x: hb.sort(x, 1),
    "cumulative_prod": lambda x: hb.cumulative_prod(x, axis=1),
    "prod": lambda x: hb.prod(x, 1),
    "corrcoef": hb.corrcoef,
    "corrcoef of one": lambda x: hb.corrcoef(x[0]),
    "corrcoef of complex": lambda x: hb.real(hb.corrcoef(hb.astype(x, "complex128"))),
    "cov": hb.cov,
    "normalize": lambda x: F.normalize(x, axis=1),
    "cosine_similarity": lambda x: F.cosine_similarity(x, FIRST, axis=1),
    "logaddexp": lambda x: hb.logaddexp(x, x.T),
    "logsumexp": lambda x: hb.logsumexp(x, 1),
    "power": lambda x: x**2.0,
    "xlogy": lambda x: hb.special.xlogy(x * x, 1.0 + x * x),
    "sinc": hb.sinc,
    "smooth_l1": lambda x: F.smooth_l1_loss(x, FIRST),
    "l1": lambda x: F.l1_loss(x, FIRST),
    "layer_norm": lambda x: F.layer_norm(x, (3,)),
}


def agree(one: Any, other: Any) -> None:
    np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_both_modes_have_one_jacobian(name: str) -> None:
    function = FUNCTIONS[name]
    for point in POINTS.values():
        x = hb.tensor(point)
        forward = hb.jacfwd(function)
        agree(forward(x), hb.jacrev(function)(x))
        agree(hb.function(forward)(x), forward(x))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_all_orders_of_modes_have_one_second_derivative(name: str) -> None:
    function = FUNCTIONS[name]
    for point in POINTS.values():
        x = hb.tensor(point)
        want = hb.jacrev(hb.jacrev(function))(x)
        for outer, inner in ((hb.jacfwd, hb.jacfwd), (hb.jacfwd, hb.jacrev)):
            agree(outer(inner(function))(x), want)
