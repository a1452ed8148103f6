"""One call of hybrid beside the same call of NumPy, eager and traced.

Invariant: a case is a function of a namespace and arrays, so both libraries run the same text.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

import hybrid
from hybrid import RunsEagerly
from hybrid.ir.tensor import Handle

__all__ = ["both", "plain", "same", "tensors"]


def tensors(arrays: Any) -> Any:
    return [hybrid.tensor(a) if isinstance(a, np.ndarray) else a for a in arrays]


def plain(result: Any) -> Any:
    """A result with NumPy arrays in the place of tensors."""
    if isinstance(result, (list, tuple)):
        return type(result)(map(plain, result)) if type(result) in (list, tuple) else result
    return result.numpy() if isinstance(result, Handle) else result


def same(got: Any, want: Any, rtol: float = 2e-6, dtypes: bool = True) -> None:
    """Equal structure, shapes, dtypes and values (floats up to rounding)."""
    if isinstance(want, (list, tuple)):
        assert type(got) is type(want) and len(got) == len(want), (type(got), type(want))
        for one, other in zip(got, want):
            same(one, other, rtol, dtypes)
        return
    if isinstance(want, (np.ndarray, np.generic)):
        got, want = np.asarray(got), np.asarray(want)
        assert got.shape == want.shape, (got.shape, want.shape)
        assert not dtypes or got.dtype == want.dtype, (got.dtype, want.dtype)
        if want.dtype.kind == "f":
            np.testing.assert_allclose(got, want, rtol=rtol, atol=0)
            zero = want == 0
            assert (np.signbit(got) == np.signbit(want))[zero].all()
        else:
            np.testing.assert_array_equal(got, want)
        return
    assert got == want, (got, want)


def both(call: Any, *arrays: Any, rtol: float = 2e-6, dtypes: bool = True, traced: bool = True):
    """The call in NumPy and in hybrid: the same results; and traced the bits of eager."""
    with np.errstate(all="ignore"):
        want = call(np, *[a.copy() if isinstance(a, np.ndarray) else a for a in arrays])
    got = plain(call(hybrid, *tensors(arrays)))
    same(got, want, rtol, dtypes)
    if traced:
        function = hybrid.function(lambda *given: call(hybrid, *given))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RunsEagerly)  # positions are read
            for _ in range(3):
                bitwise(plain(function(*tensors(arrays))), got)


def bitwise(got: Any, want: Any) -> None:
    if isinstance(want, (list, tuple)):
        assert len(got) == len(want)
        for one, other in zip(got, want):
            bitwise(one, other)
    elif isinstance(want, np.ndarray):
        assert got.dtype == want.dtype and got.shape == want.shape
        np.testing.assert_array_equal(got, want)
    else:
        assert got == want
