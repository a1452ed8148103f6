"""Assignments by position and searches are native on the CPU: NumPy's results, in replays, too."""

from __future__ import annotations

import itertools
from typing import get_args

import numpy as np
import pytest

import hybrid as hb
from hybrid.backends.cpu.executable import Segment
from hybrid.backends.cpu.machine.pool import num_threads
from hybrid.backends.plan import NATIVE
from hybrid.ir.algorithm import Control
from hybrid.ir.op import OPS, algorithm_of


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


# what a library computes: LAPACK, pocketfft; `refuse` raises what was found ahead
LIBRARIES = ("hybrid.ops.linalg", "hybrid.ops.fourier")
FITS = {"semidefinite", "lower_root", "inverse_of_columns", "complex_inverse_of_columns"}


def test_only_linear_algebra_and_transforms_run_in_python():
    """Every other record of kind host has a kernel, or plans inside that it runs."""
    for op in OPS.values():
        if op.kind != "host" or op.name in FITS or op.body.__module__.startswith(LIBRARIES):
            continue
        _, params = next(iter(op.samples(np.random.default_rng(0))))
        assert isinstance(algorithm_of(op, params), (*NATIVE, *get_args(Control))), op.name


FUNCTIONS = {
    "sort": lambda x, i: hb.sort(x),
    "partition": lambda x, i: hb.partition(x, (3, 9)),
    "argpartition": lambda x, i: hb.argpartition(x, 3),
    "median": lambda x, i: hb.median(x),
    "percentile": lambda x, i: hb.percentile(x, 30.0),
    "isin": lambda x, i: hb.isin(i, hb.arange(40, dtype=hb.int64) * 2),
    "histogram": lambda x, i: hb.histogram(x, hb.linspace(-2.0, 2.0, 9), density=True)[0],
    "gcd": lambda x, i: hb.gcd(i, 12) + hb.lcm(i, i + 1),
    "packbits": lambda x, i: hb.packbits(x > 0),
    "unpackbits": lambda x, i: hb.unpackbits(i.astype(hb.uint8)),
    "convolve": lambda x, i: hb.convolve(x, x[:5]),
    "correlate": lambda x, i: hb.correlate(i, i[:5]),
    "interp": lambda x, i: hb.interp(x, hb.arange(9.0), hb.arange(9.0) ** 2),
    "lexsort": lambda x, i: hb.lexsort((x, i)),
    "gradient of sort": lambda x, i: hb.grad(lambda x: (hb.sort(x) ** 2).sum())(x),
    "gradient of median": lambda x, i: hb.grad(lambda x: hb.median(x))(x),
    "gradient of convolve": lambda x, i: hb.grad(lambda x: hb.convolve(x, x[:4]).sum())(x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_native_call(name):
    function = FUNCTIONS[name]
    rng = np.random.default_rng(1)
    given = (
        hb.tensor(rng.standard_normal(300), dtype="float32"),
        hb.tensor(rng.integers(0, 99, 300)),
    )
    traced = hb.function(lambda x, i: function(x, i))
    want = function(*given).numpy()
    for _ in range(4):
        assert (traced(*given).numpy() == want).all()
    assert set(parts_of(traced)) == {Segment}


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64"])
def test_divisors_are_numpys(dtype):
    rng, info = np.random.default_rng(3), np.iinfo(dtype)
    ends = np.array([info.min, info.max, 0, 0, 1, 12, 18, info.min], dtype)
    for left in (
        rng.integers(info.min, info.max, 200, dtype, True),
        rng.integers(0, 50, 200, dtype),
    ):
        left = np.concatenate([left, ends])
        right = np.concatenate([np.roll(left[:200], 3), ends[::-1]])
        for ours, theirs in ((hb.gcd, np.gcd), (hb.lcm, np.lcm)):
            with np.errstate(all="ignore"):
                want = theirs(left, right)
            assert (ours(hb.tensor(left), hb.tensor(right)).numpy() == want).all()
    assert hb.gcd(hb.ones(2, 1, dtype=dtype), hb.ones(3, dtype=dtype)).shape == (2, 3)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "int32", "int64"])
@pytest.mark.parametrize("bitorder", ["big", "little"])
def test_bits_are_numpys(dtype, bitorder):
    rng = np.random.default_rng(4)
    for shape in [(0,), (1,), (7,), (63,), (64,), (65,), (130,), (3, 70), (2, 128)]:
        given = rng.integers(0, 3, shape).astype(dtype)
        packed = hb.packbits(hb.tensor(given), -1, bitorder)
        assert (packed.numpy() == np.packbits(given, -1, bitorder)).all()
        bits = hb.unpackbits(packed, -1, bitorder=bitorder).numpy()
        assert (bits == np.unpackbits(packed.numpy(), -1, bitorder=bitorder)).all()
