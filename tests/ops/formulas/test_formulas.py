"""Our elementary functions against extended precision and mpmath, natively and through the NumPy
reader.

Invariant: at most 2 ulp (power 4) from the true value over the whole range, special values as in
C99, and the native code gives the bits of the scalar program.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest

import hybrid
from hybrid import ops
from hybrid.backends.interpret import run_program
from hybrid.ir.scalar.program import Builder
from hybrid.ops import formulas

F4, F8, LD = np.float32, np.float64, np.longdouble
TYPE = {F4: "f32", F8: "f64"}


def _sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


# name: (NumPy function in extended precision, mpmath function, interval that matters in float32, in
# float64)
UNARY: dict[
    str,
    tuple[Callable[..., Any] | None, Callable[..., Any], tuple[float, float], tuple[float, float]],
] = {
    "exp": (np.exp, mp.exp, (-105, 90), (-746, 711)),
    "exp2": (np.exp2, lambda x: mp.mpf(2) ** x, (-151, 129), (-1076, 1025)),
    "expm1": (np.expm1, mp.expm1, (-20, 89), (-40, 710)),
    "log": (np.log, mp.log, (0, 4), (0, 4)),
    "log2": (np.log2, lambda x: mp.log(x, 2), (0, 4), (0, 4)),
    "log10": (np.log10, mp.log10, (0, 4), (0, 4)),
    "log1p": (np.log1p, mp.log1p, (-1, 3), (-1, 3)),
    "sin": (np.sin, mp.sin, (-40, 40), (-40, 40)),
    "cos": (np.cos, mp.cos, (-40, 40), (-40, 40)),
    "tan": (np.tan, mp.tan, (-40, 40), (-40, 40)),
    "asin": (np.arcsin, mp.asin, (-1, 1), (-1, 1)),
    "acos": (np.arccos, mp.acos, (-1, 1), (-1, 1)),
    "atan": (np.arctan, mp.atan, (-8, 8), (-8, 8)),
    "sinh": (np.sinh, mp.sinh, (-90, 90), (-711, 711)),
    "cosh": (np.cosh, mp.cosh, (-90, 90), (-711, 711)),
    "tanh": (np.tanh, mp.tanh, (-11, 11), (-21, 21)),
    "asinh": (np.arcsinh, mp.asinh, (-5, 5), (-5, 5)),
    "acosh": (np.arccosh, mp.acosh, (1, 4), (1, 4)),
    "atanh": (np.arctanh, mp.atanh, (-1, 1), (-1, 1)),
    "erf": (None, mp.erf, (-5, 5), (-7, 7)),
    "erfc": (None, mp.erfc, (-5, 11), (-7, 28)),
    "cbrt": (np.cbrt, lambda x: mp.cbrt(abs(x)) * mp.sign(x), (-9, 9), (-9, 9)),
    "rsqrt": (lambda x: 1 / np.sqrt(x), lambda x: 1 / mp.sqrt(x), (0, 4), (0, 4)),
    "sigmoid": (
        _sigmoid,
        lambda x: mp.exp(-abs(x)) / (1 + mp.exp(-abs(x))) if x < 0 else 1 / (1 + mp.exp(-x)),
        (-105, 30),
        (-746, 50),
    ),
}
BINARY = {"power": (np.power, 4.0), "atan2": (np.arctan2, 2.0), "hypot": (np.hypot, 2.0)}
FORMULA = {"power": "pow"}


def specials(d: type) -> np.ndarray:
    i = np.finfo(d)
    v = [
        0.0,
        1.0,
        0.5,
        2.0,
        np.inf,
        np.nan,
        float(i.max),
        float(i.tiny),
        float(i.smallest_subnormal),
        float(i.tiny) * (1 - float(i.eps)),
        1 + float(i.eps),
        1 - float(i.eps) / 2,
        3.0,
        10.0,
    ]
    return np.array(v + [-x for x in v], d)


def points(name: str, d: type, n: int, seed: int = 0) -> np.ndarray:
    """Random bit patterns, the interval that matters, and neighbourhoods of 0 and 1."""
    rng = np.random.default_rng(seed)
    raw = rng.integers(
        0, 2 ** (8 * np.dtype(d).itemsize), n, dtype=f"u{np.dtype(d).itemsize}"
    ).view(d)
    low, high = UNARY[name][2 if d is F4 else 3] if name in UNARY else (-4.0, 4.0)
    near = rng.choice([-1, 1], n) * 2.0 ** rng.uniform(-20, 5, n)
    ones = rng.choice([-1, 1], n) * (1 + rng.choice([-1, 1], n) * 2.0 ** rng.uniform(-30, -1, n))
    return np.concatenate(
        [specials(d), raw, *(v.astype(d) for v in (rng.uniform(low, high, n), near, ones))]
    )


def native(name: str, *xs: np.ndarray) -> np.ndarray:
    return getattr(ops, name)(*map(hybrid.asarray, xs)).numpy()


def ulps(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Distance in last places of `want` (long double); 0 where both are NaN or overflow alike."""
    d = got.dtype.type
    info = np.finfo(d)
    with np.errstate(all="ignore"):
        _, e = np.frexp(np.abs(want))
        unit = np.ldexp(LD(1), np.maximum(e - 1, info.minexp) - info.nmant)
        err = np.abs(got.astype(LD) - want) / unit
        same = (got == want) | (np.isnan(got) & np.isnan(want))
        over = np.isinf(got) & (np.abs(want) > LD(info.max)) & (np.sign(got) == np.sign(want))
        err = np.where(same | over, 0, np.where(np.isnan(err), np.inf, err))
    zero = (got == 0) & ~np.isnan(want)
    return np.where(zero & (np.signbit(got) != np.signbit(want)), np.inf, err)


def check(name: str, xs: tuple[np.ndarray, ...], want: np.ndarray, bound: float) -> None:
    got = native(name, *xs)
    err = ulps(got, want)
    i = int(np.argmax(err))
    at = ", ".join(repr(x[i]) for x in xs)
    assert err[i] <= bound, f"{name}({at}) = {got[i]!r}, true {want[i]!r}: {float(err[i]):.2f} ulp"


@pytest.mark.parametrize("d", [F4, F8])
@pytest.mark.parametrize("name", [n for n, v in UNARY.items() if v[0] is not None])
def test_unary_against_long_double(name: str, d: type) -> None:
    f = UNARY[name][0]
    assert f is not None
    x = points(name, d, 26_000 if d is F4 else 8_000)
    with np.errstate(all="ignore"):
        check(name, (x,), f(x.astype(LD)), 2.0)


@pytest.mark.parametrize("name", sorted(UNARY))
def test_unary_against_mpmath(name: str) -> None:
    f = UNARY[name][1]
    with mp.workprec(160):
        for d in (F4, F8):
            x = points(name, d, 120, seed=1)
            x = x[np.isfinite(x) & (x != 0)]
            low, high = {"erf": (-30, 30), "erfc": (-30, 30)}.get(name, (-np.inf, np.inf))
            x = x[(x > low) & (x < high)]
            if name in ("exp", "exp2", "expm1", "sinh", "cosh", "tanh", "sigmoid"):
                x = x[np.abs(x) < 1e4]
            keep, want = [], []
            for v in x:
                try:
                    y = f(mp.mpf(float(v)))
                except (ValueError, ZeroDivisionError, mp.libmp.ComplexResult):
                    continue
                if isinstance(y, mp.mpf) and mp.isfinite(y):
                    keep.append(v)
                    want.append(LD(mp.nstr(y, 25)))
            assert len(keep) > 60
            check(name, (np.array(keep, d),), np.array(want, LD), 2.0)


def pairs(d: type, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    s = specials(d)
    gx, gy = (g.ravel() for g in np.meshgrid(s, s))
    width = np.dtype(d).itemsize
    raw = [rng.integers(0, 2 ** (8 * width), n, dtype=f"u{width}").view(d) for _ in range(2)]
    base = 2.0 ** rng.uniform(-30, 30, n)
    reach = 126 if d is F4 else 1020
    steep = rng.uniform(-reach, reach, n) / np.maximum(np.abs(np.log2(base)), 1e-2)
    near, big = (
        1 + rng.uniform(-1, 1, n) * 2.0 ** rng.uniform(-20, -3, n),
        rng.uniform(-1, 1, n) * 2.0 ** rng.uniform(4, 22, n),
    )
    ints = rng.integers(-9, 10, n)
    x = np.concatenate(
        [gx, raw[0], base.astype(d), near.astype(d), -base.astype(d), rng.normal(size=n).astype(d)]
    )
    y = np.concatenate(
        [gy, raw[1], steep.astype(d), big.astype(d), ints.astype(d), rng.normal(size=n).astype(d)]
    )
    return x, y


@pytest.mark.parametrize("d", [F4, F8])
@pytest.mark.parametrize("name", sorted(BINARY))
def test_binary_against_long_double(name: str, d: type) -> None:
    f, bound = BINARY[name]
    x, y = pairs(d, 5_000)
    with np.errstate(all="ignore"):
        check(name, (x, y), f(x.astype(LD), y.astype(LD)), bound)


@pytest.mark.parametrize("d", [F4, F8])
@pytest.mark.parametrize("name", sorted(UNARY) + sorted(BINARY))
def test_native_code_gives_the_bits_of_the_program(name: str, d: type) -> None:
    xs = pairs(d, 150) if name in BINARY else (points(name, d, 250, seed=3),)
    s = Builder()
    out = getattr(formulas, FORMULA.get(name, name))(s, *[s.arg(TYPE[d]) for _ in xs])
    want = run_program(s.program(out), xs)[0]
    got = native(name, *xs)
    same = (got.view(f"u{got.itemsize}") == want.view(f"u{got.itemsize}")) | (
        np.isnan(got) & np.isnan(want)
    )
    assert same.all(), [x[~same][:3] for x in xs]


@pytest.mark.parametrize("d", [F4, F8])
def test_huge_arguments_of_the_trigonometric_functions(d: type) -> None:
    # the double closest to a multiple of pi/2, and the corresponding single
    hard = [6381956970095103.0 * 2.0**797] if d is F8 else [16367173.0 * 2.0**72]
    x = np.array(hard + [float(np.finfo(d).max), 1e22 if d is F8 else 1e10, 355.0, 710.0], d)
    with mp.workprec(1400):
        for name, f in (("sin", mp.sin), ("cos", mp.cos), ("tan", mp.tan)):
            check(name, (x,), np.array([LD(mp.nstr(f(mp.mpf(float(v))), 30)) for v in x], LD), 1.5)


@pytest.mark.parametrize("d", [F4, F8])
def test_parts_of_larger_formulas(d: type) -> None:
    """Formulas without an op of their own, read by the NumPy reader."""
    x = np.concatenate([np.linspace(0, 1, 301), 2.0 ** np.arange(-60, 0), [0.0, 1.0]]).astype(d)

    def run(name: str) -> np.ndarray:
        s = Builder()
        out = getattr(formulas, name)(s, s.arg(TYPE[d]))
        return run_program(s.program(out[0] if isinstance(out, tuple) else out), [x])[0]

    with mp.workprec(120):
        exact = [mp.mpf(float(v)) for v in x]
        for name, f in (
            ("sin_turns", lambda v: mp.sinpi(2 * v)),
            ("cos_turns", lambda v: mp.cospi(2 * v)),
        ):
            err = np.abs(run(name).astype(LD) - np.array([LD(mp.nstr(f(v), 25)) for v in exact]))
            assert err.max() < np.finfo(d).eps
        want = np.array([LD(mp.nstr(mp.log1p(v), 25)) for v in exact])
        assert ulps(run("log1p_unit"), want).max() <= 2
        want = np.array([LD(mp.nstr(mp.erfc(v / mp.sqrt(2)) / 2, 25)) for v in exact])
        assert ulps(run("normal_tail"), want).max() <= 8


# where a formula changes to another one, or code leaves its usual way
BORDERS = {
    F4: (2.0**-126, 2.0**-90, 2.0**-26, 2.0**-12, 0.3, 1 / 3, 0.5, 0.55, 0.75, 2 / 3, 1.0)
    + (4 / 3, 4.0, 6.0, 2.0**61, 87.0, 88.72284, 89.0, 89.41599, 103.97, 2.0**126, 2.0**127),
    F8: (2.0**-1022, 2.0**-900, 2.0**-55, 2.0**-30, 0.3, 1 / 3, 0.5, 0.75, 2 / 3, 1.0, 4 / 3)
    + (6.0, 2.0**509, 708.0, 709.782712893384, 710.4758600739439, 745.2, 2.0**1022, 2.0**1023),
}


@pytest.mark.parametrize("d", [F4, F8])
@pytest.mark.parametrize("name", [n for n, v in UNARY.items() if v[0] is not None])
def test_borders_between_formulas(name: str, d: type) -> None:
    steps = [np.array(BORDERS[d], d)]
    for towards in (0.0, np.inf):
        for _ in range(40):
            last = steps[-1] if len(steps) % 40 else steps[0]
            steps.append(np.nextafter(last, d(towards)))
    x = np.concatenate(steps)
    x = np.concatenate([x, -x])
    f = UNARY[name][0]
    assert f is not None
    with np.errstate(all="ignore"):
        check(name, (x,), f(x.astype(LD)), 2.0)


@pytest.mark.parametrize("d", [F4, F8])
@pytest.mark.parametrize("name", sorted(UNARY) + sorted(BINARY))
def test_special_arguments_change_no_neighbour(name: str, d: type) -> None:
    """Vectors of which one lane leaves the usual way, and those that follow."""
    rng = np.random.default_rng(4)
    usual = [rng.uniform(0.1, 0.9, 700).astype(d) for _ in range(1 + (name in BINARY))]
    want = native(name, *usual)
    mixed, seldom = [x.copy() for x in usual], rng.random(700) < 0.05
    for x in mixed:
        x[seldom] = rng.choice(specials(d), int(seldom.sum()))
    got = native(name, *mixed)
    np.testing.assert_array_equal(got[~seldom], want[~seldom])
    alone = native(name, *[x[seldom] for x in mixed])
    np.testing.assert_array_equal(got[seldom], alone)
    traced = hybrid.function(getattr(ops, name))
    for _ in range(3):
        np.testing.assert_array_equal(traced(*map(hybrid.asarray, mixed)).numpy(), got)


# what float32 results are off by at most, of every 20,011th pattern of bits, in last places
WITHIN = {"cbrt": 0.52, "log": 0.95, "acos": 0.9, "sinh": 1.05, "tanh": 1.25, "sin": 0.9}


@pytest.mark.parametrize("name", [n for n, v in UNARY.items() if v[0] is not None])
def test_float32_over_all_patterns(name: str) -> None:
    x = np.arange(0, 2**32, 20_011, dtype=np.uint64).astype(np.uint32).view(F4)
    f = UNARY[name][0]
    assert f is not None
    with np.errstate(all="ignore"):
        # in double precision the largest arguments would not be reduced exactly everywhere
        want = f(x.astype(LD)) if name in ("sin", "cos", "tan") else f(x.astype(F8)).astype(LD)
        check(name, (x,), want, WITHIN.get(name, 1.8))


def test_special_values_of_power() -> None:
    inf, nan = math.inf, math.nan
    rows = [
        (0.0, 3.0, 0.0),
        (-0.0, 3.0, -0.0),
        (-0.0, 2.0, 0.0),
        (0.0, -3.0, inf),
        (-0.0, -3.0, -inf),
        (-0.0, -2.0, inf),
        (-1.0, inf, 1.0),
        (-1.0, -inf, 1.0),
        (1.0, nan, 1.0),
        (nan, 0.0, 1.0),
        (-2.0, 0.5, nan),
        (0.5, -inf, inf),
        (2.0, -inf, 0.0),
        (0.5, inf, 0.0),
        (2.0, inf, inf),
        (-inf, -3.0, -0.0),
        (-inf, -2.0, 0.0),
        (-inf, 3.0, -inf),
        (-inf, 2.0, inf),
        (inf, -1.0, 0.0),
        (inf, 2.0, inf),
        (-inf, 0.5, inf),
        (-inf, -0.5, 0.0),
        (nan, 1.0, nan),
        (1.0, -inf, 1.0),
        (-8.0, 1.0 / 3.0, nan),
        (2.0, nan, nan),
        (-3.0, 3.0, -27.0),
        (-3.0, 4.0, 81.0),
    ]
    for d in (F4, F8):
        x, y, want = (np.array(c, d) for c in zip(*rows))
        got = native("power", x, y)
        np.testing.assert_array_equal(got, want)
        finite = ~np.isnan(want)
        np.testing.assert_array_equal(np.signbit(got[finite]), np.signbit(want[finite]))


def test_exact_results() -> None:
    k = np.arange(-1074, 1024)
    np.testing.assert_array_equal(native("exp2", k.astype(F8)), np.ldexp(1.0, k))
    np.testing.assert_array_equal(native("log2", np.ldexp(1.0, k)), k.astype(F8))
    np.testing.assert_array_equal(
        native("exp2", np.arange(-149, 128).astype(F4)), np.ldexp(F4(1), np.arange(-149, 128))
    )
    np.testing.assert_array_equal(
        native("power", np.full(20, 3.0), np.arange(20.0)), 3.0 ** np.arange(20)
    )
    np.testing.assert_array_equal(native("log10", 10.0 ** np.arange(15)), np.arange(15.0))
    assert native(
        "hypot", np.array([3.0, 1e308, 3e-320]), np.array([4.0, 1e308, 4e-320])
    ).tolist() == [5.0, math.hypot(1e308, 1e308), math.hypot(3e-320, 4e-320)]


@pytest.mark.parametrize("shape", [(), (0,), (1,), (17,), (3, 0, 2)])
def test_shapes(shape: tuple[int, ...]) -> None:
    x = np.full(shape, 0.5, F4)
    for name in ("exp", "tanh", "sin", "erf"):
        got = native(name, x)
        assert got.shape == shape
        np.testing.assert_array_equal(got, np.full(shape, native(name, np.array([0.5], F4))[0]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("base, name", [(mp.e, "logaddexp"), (mp.mpf(2), "logaddexp2")])
def test_logaddexp_next_to_zero_is_within_last_places_of_one(
    base: Any, name: str, dtype: Any
) -> None:
    rng = np.random.default_rng(0)
    first = -np.exp(rng.uniform(-6, 1, 300))
    second = np.log(-np.expm1(first * float(mp.log(base)))) / float(mp.log(base))
    second *= np.where(rng.random(300) < 0.5, 1, 1 + rng.normal(size=300) * 1e-3)
    first, second = first.astype(dtype), second.astype(dtype)
    got = getattr(hybrid, name)(hybrid.tensor(first), hybrid.tensor(second)).tolist()
    with mp.workprec(150):
        for value, x, y in zip(got, first.tolist(), second.tolist()):
            want = mp.log(base**x + base**y) / mp.log(base)
            assert abs(value - want) <= 2 * float(np.finfo(dtype).eps) * max(1, abs(want))
