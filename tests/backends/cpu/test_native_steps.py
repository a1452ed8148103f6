"""Assignments by position and searches are native on the CPU: NumPy's results, in replays, too."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import hybrid as hb
from hybrid.backends.cpu.executable import Segment
from hybrid.backends.cpu.machine.pool import num_threads


def parts_of(fn):
    (state,) = fn._signatures.values()
    return [type(part) for part in state.plans[0].run.executable.parts]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bool", "int64", "uint8", "complex64"])
@pytest.mark.parametrize("inner", [(), (1,), (3,), (16,), (40,), (300,), (2, 5)])
def test_rows_are_put_one_after_the_other(inner, dtype):
    rng = np.random.default_rng(len(inner))
    base, update = (rng.integers(0, 9, (n, *inner)).astype(dtype) for n in (20, 50))
    index = rng.integers(-20, 20, 50)  # some several times

    def put(x, i, v):
        x = x.clone()
        x[i] = v
        return x

    fn = hb.function(put)
    given = [hb.tensor(a) for a in (base, index, update)]
    base[index] = update
    for threads in (1, 2, 3):
        with num_threads(threads):
            for _ in range(3):
                assert (fn(*given).numpy() == base).all()
            assert (put(*given).numpy() == base).all()
    assert set(parts_of(fn)) == {Segment}


@pytest.mark.parametrize("inner", [(), (0,), (4,)])
def test_nothing_is_put(inner):
    x = hb.zeros(5, *inner)
    x[hb.zeros(0, dtype=hb.int64)] = hb.ones(0, *inner)
    assert x.shape == (5, *inner) and not x.numpy().any()


VALUES = {
    "float32": [np.nan, -np.inf, -1, -0.0, 0.0, 1, 1, 2, 5, np.inf, np.nan],
    "float64": [np.nan, 1, 2, 1e300, -1e-320],
    "float16": [1, 2, 65504, np.nan],
    "bfloat16": [1, 2, 3, np.inf],
    "int64": [-(2**62), -3, 0, 0, 1, 5, 2**53, 2**53 + 1],
    "int32": [-5, 5, 7],
    "uint8": [0, 1, 1, 200, 255],
    "uint64": [0, 1, 2**63, 2**64 - 1],
    "bool": [False, True, True],
}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pair", list(itertools.product(VALUES, VALUES)), ids=",".join)
def test_positions_are_numpys(pair, side):
    row, x = (hb.asarray(VALUES[dtype], dtype=dtype) for dtype in pair)
    row = hb.sort(row)
    fn = hb.function(lambda row, x: hb.searchsorted(row, x, side=side))
    for count in range(row.size + 1):
        plain = [t.astype("float32") if "float16" in t.dtype.name else t for t in (row, x)]
        common = np.result_type(*[t.numpy().dtype for t in plain])
        ours, theirs = [t.numpy().astype(common) for t in plain]
        want = np.searchsorted(ours[:count], theirs, side=side)
        assert (hb.searchsorted(row[:count], x, side=side).numpy() == want).all()
    for _ in range(4):
        assert (fn(row, x).numpy() == want).all()
    assert set(parts_of(fn)) == {Segment}
