"""Calls of NumPy's numerical functions, and how their results are compared with hybrid's.

Invariant: a row is (name, arguments, keywords); arrays among them become tensors for hybrid.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

import hybrid

RNG = np.random.default_rng(3)
NAN, INF = np.nan, np.inf


class Call(NamedTuple):
    name: str
    args: tuple[Any, ...]
    more: dict[str, Any]

    def __str__(self) -> str:
        shapes = [
            f"{a.dtype}{list(a.shape)}" if isinstance(a, np.ndarray) else a for a in self.args
        ]
        return f"{self.name}-{shapes}-{list(self.more)}"


def call(name: str, *args: Any, **more: Any) -> Call:
    return Call(name, args, more)


def tensors(value: Any) -> Any:
    """Arrays as tensors, one copy each."""
    if isinstance(value, np.ndarray):
        return hybrid.tensor(value)
    return value


@contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def numpy_of(row: Call) -> Any:
    with quiet():
        return getattr(np, row.name)(*row.args, **row.more)


def hybrid_of(row: Call) -> Any:
    args = [tensors(a) for a in row.args]
    return getattr(hybrid, row.name)(*args, **{k: tensors(v) for k, v in row.more.items()})


def parts(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (tuple, list)) else [result]


def flat(result: Any) -> list[Any]:
    return [leaf for part in parts(result) for leaf in parts(part)]


def agrees(row: Call, rtol: float = 0.0) -> None:
    """hybrid's results are NumPy's: shapes, dtypes (float32 where no operand is float64), values."""
    wanted, found = flat(numpy_of(row)), flat(hybrid_of(row))
    assert len(wanted) == len(found), row
    given = [a for a in flat((*row.args, *row.more.values())) if isinstance(a, np.ndarray)]
    double = any(a.dtype == np.float64 for a in given)
    for want, got in zip(wanted, found):
        if isinstance(got, float):
            assert got == want, row
            continue
        want = np.asarray(want)
        dtype = want.dtype
        if dtype == np.float64 and not double:
            dtype = np.dtype(np.float32)
        assert got.dtype == dtype, f"{row}: {got.dtype.name}, NumPy has {want.dtype}"
        assert got.shape == want.shape, f"{row}: {got.shape}, NumPy has {want.shape}"
        near = rtol or {"float64": 1e-12, "float32": 3e-6, "float16": 2e-3}.get(dtype.name, 0.0)
        np.testing.assert_allclose(
            got.numpy().astype(want.dtype), want, rtol=near, atol=near, err_msg=str(row)
        )


def draw(*shape: int, dtype: Any = np.float64, scale: float = 3.0) -> np.ndarray:
    return (RNG.normal(size=shape) * scale).astype(dtype)


def holed(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    """Some elements, and the whole first line, are NaN."""
    values = draw(*shape, dtype=dtype)
    values.reshape(-1)[::3] = NAN
    values[0] = NAN
    return values


def spread(*shape: int) -> np.ndarray:
    """Distinct float64 numbers far from each other, in no order."""
    return RNG.permutation(int(np.prod(shape))).reshape(shape) * 0.37 - 2.0
