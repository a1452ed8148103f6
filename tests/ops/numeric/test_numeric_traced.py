"""The numerical functions under @hybrid.function: the bits of eager calls."""

from __future__ import annotations

import numpy as np
import pytest
from backend_kinds import KINDS, tensor
from numeric_calls import flat as leaves
from numeric_calls import holed

import hybrid
from hybrid.core.aval import HOST

IGNORED = pytest.mark.filterwarnings("ignore::hybrid.RunsEagerly")
READ = {"auto", "bincount", "sets", "trim_zeros"}  # whose data Python reads; all others replay
H = hybrid
X = holed(5, 6, dtype=np.float32)
ROW = np.random.default_rng(2).normal(size=40).astype(np.float32)
COUNTS = np.random.default_rng(3).integers(0, 5, 40)
EDGES = np.array([-1.0, 0.0, 0.5, 2.0], np.float32)

FUNCTIONS = {
    "median": lambda x, row, counts: H.median(row) + H.nanmedian(x, axis=1),
    "quantile": lambda x, row, counts: H.quantile(row * 2, [0.1, 0.7]),
    "nanquantile": lambda x, row, counts: H.nanquantile(x, 0.3, axis=0) + 1,
    "weights": lambda x, row, counts: H.quantile(
        row, 0.3, method="inverted_cdf", weights=counts + 1
    ),
    "nans": lambda x, row, counts: (H.nansum(x, 0), H.nanprod(x), H.nanvar(x, 1), H.nanmax(x, 0)),
    "masks": lambda x, row, counts: (
        H.sum(row, initial=1.0, where=counts > 1) + H.max(row, initial=0.0, where=counts > 2),
        H.mean(row, where=counts > 1) + H.std(row, mean=0.5) + H.var(row, where=row > 0),
        H.all(row, where=counts > 1),
    ),
    "nanargmax": lambda x, row, counts: H.nanargmax(x[1:], 1),
    "running": lambda x, row, counts: (H.cumsum(row), H.nancumprod(x, 1)),
    "average": lambda x, row, counts: H.average(row, weights=counts),
    "cov": lambda x, row, counts: H.cov(row.reshape(4, 10)),
    "corrcoef": lambda x, row, counts: H.corrcoef(row.reshape(4, 10)),
    "histogram": lambda x, row, counts: H.histogram(row, 6),
    "histogram-edges": lambda x, row, counts: H.histogram(row, EDGES, density=True)[0] * 2,
    "histogram2d": lambda x, row, counts: H.histogram2d(row, row * row, 3),
    "auto": lambda x, row, counts: H.histogram(row, "auto"),
    "bincount": lambda x, row, counts: H.bincount(counts, row, minlength=9),
    "digitize": lambda x, row, counts: H.digitize(row, EDGES) + counts,
    "sets": lambda x, row, counts: H.setdiff1d(counts, [1, 2]),
    "interp": lambda x, row, counts: H.interp(row, EDGES, [1.0, 2.0, 0.0, 5.0]) * 2,
    "gradient": lambda x, row, counts: H.gradient(row.reshape(4, 10), edge_order=2),
    "trapezoid": lambda x, row, counts: H.trapezoid(row.exp(), dx=0.1),
    "unwrap": lambda x, row, counts: H.unwrap(row * 9),
    "cross": lambda x, row, counts: H.cross(row[:30].reshape(10, 3), row[10:].reshape(10, 3)),
    "convolve": lambda x, row, counts: H.convolve(row + 1, row[:5], "same").relu(),
    "polynomials": lambda x, row, counts: H.polyval(H.polymul(row[:3], row[3:6]), row),
    "polyfit": lambda x, row, counts: H.polyfit(row, row.exp(), 2) + 1,
    "polydiv": lambda x, row, counts: H.polydiv(row[:5], row[5:8]),
    "vander": lambda x, row, counts: H.vander(row, 3),
    "windows": lambda x, row, counts: (
        row * H.hanning(40, device=row.device) * H.kaiser(40, 5.0, device=row.device)
    ),
    "isclose": lambda x, row, counts: H.isclose(x, x * 1.00001, equal_nan=True),
    "allclose": lambda x, row, counts: row + 1 if H.allclose(row, row) else row,
    "array_equal": lambda x, row, counts: H.array_equal(x, x, equal_nan=True),
    "nan_to_num": lambda x, row, counts: H.nan_to_num(x) + 1,
    "apply": lambda x, row, counts: H.apply_along_axis(H.nansum, 1, x),
    "trim_zeros": lambda x, row, counts: H.trim_zeros(counts),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[IGNORED] if name in READ else []) for name in FUNCTIONS]
)
def test_bits_of_traced_calls(name):
    eager = FUNCTIONS[name]
    traced = hybrid.function(eager)
    rng = np.random.default_rng(7)
    for _ in range(5):
        args = [hybrid.tensor(rng.permutation(a.reshape(-1)).reshape(a.shape)) for a in (X, ROW)]
        args[0][0] = float("nan")
        counts = hybrid.tensor(rng.permutation(COUNTS))
        want, got = eager(*args, counts), traced(*args, counts)
        for left, right in zip(leaves(want), leaves(got), strict=True):
            assert left.dtype == right.dtype and left.shape == right.shape
            np.testing.assert_array_equal(left.numpy(), right.numpy())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_stay_on_their_device(name):
    """Devices that have no host steps of their own compute the same otherwise."""
    want = leaves(FUNCTIONS[name](*[tensor(a, HOST.kind) for a in (X, ROW, COUNTS)]))
    for kind in KINDS[1:]:
        got = leaves(FUNCTIONS[name](*[tensor(a, kind) for a in (X, ROW, COUNTS)]))
        for left, right in zip(want, got, strict=True):
            assert right.device.kind == kind and right.dtype == left.dtype
            np.testing.assert_allclose(left.numpy(), right.numpy(), rtol=1e-5, atol=1e-6)


@IGNORED
@pytest.mark.parametrize("name", ["median", "quantile", "interp", "convolve", "nans", "bincount"])
def test_gradients_of_traced_calls(name):
    def slope(x, row, counts):
        results = FUNCTIONS[name](x, row, counts)
        results = results if isinstance(results, tuple) else (results,)
        return sum(hybrid.nansum(r) for r in results)

    eager, traced = hybrid.grad(slope, argnums=(0, 1)), None
    traced = hybrid.function(lambda *args: eager(*args))
    args = [hybrid.tensor(a) for a in (X, ROW, COUNTS)]
    for _ in range(4):
        for want, got in zip(eager(*args), traced(*args), strict=True):
            np.testing.assert_array_equal(want.numpy(), got.numpy())
