"""Running sums and products by native code: the bits of NumPy's in the same order, in every shape."""

from __future__ import annotations

import numpy as np
import pytest

import hybrid as hb
from hybrid.backends.cpu.executable import Segment
from hybrid.backends.cpu.machine.pool import num_threads
from hybrid.backends.plan import HostStep
from hybrid.comparison import same_bits
from hybrid.core import dtypes as dt
from hybrid.ir.op import OPS

SHAPES = [
    *[((extent,), 0) for extent in (0, 1, 255, 256, 257, 1000, 10007)],
    *[((3, 0), 1), ((0, 3), 1), ((17, 1), 1), ((9, 256), 1), ((1000, 100), 1), ((3, 700), 1)],
    *[((700, 3), 0), ((5, 600, 7), 1), ((600, 64), 0), ((513, 65), 0), ((2, 300, 200), 1)],
]
COMBINED = [
    *[("float32", None), ("float64", None), ("float32", "float64"), ("float16", "float32")],
    *[("float16", "float16"), ("bfloat16", "bfloat16"), ("float64", "float16")],
    *[("int64", None), ("int32", None), ("uint8", "uint8"), ("int8", "float32"), ("bool", None)],
    *[("bool", "bool"), ("int32", "bool"), ("uint32", "int16")],
]


def values_of(shape, dtype):
    rng = np.random.default_rng(sum(shape))
    x = rng.standard_normal(shape) * (0.9 if "float" in dtype else 100)
    if "float" in dtype and x.size > 3:
        x.flat[0], x.flat[x.size // 2], x.flat[-1] = -0.0, np.inf, np.nan
    return hb.tensor(x > 0 if dtype == "bool" else x).astype(dtype)


@pytest.mark.parametrize("name", ["cumulative_sum", "cumulative_prod"])
@pytest.mark.parametrize("pair", COMBINED, ids=str)
def test_the_order_is_numpys_in_blocks(name, pair):
    for shape, axis in SHAPES:
        x = values_of(shape, pair[0])
        more = {} if pair[1] is None else {"dtype": pair[1]}
        fn = hb.function(lambda x: getattr(hb, name)(x, axis=axis, **more))  # noqa: B023
        with num_threads(1):
            y = getattr(hb, name)(x, axis=axis, **more)
        with np.errstate(all="ignore"):
            want = OPS[name].body(x.numpy(), axis, y.numpy().dtype)
        assert y.shape == shape and same_bits(y.numpy(), want), shape
        for threads in (1, 2, 3):
            with num_threads(threads):
                assert same_bits(fn(x).numpy(), want), shape


def test_views_are_walked_as_they_are_seen():
    x = values_of((300, 40), "float32")
    for view in (x.T, x[::-1], x[:, 1::3], hb.broadcast_to(x[:1], (300, 40))):
        for axis in (0, 1):
            want = OPS["cumulative_sum"].body(view.numpy(), axis, np.dtype("f4"))
            assert same_bits(hb.cumulative_sum(view, axis=axis).numpy(), want)


def test_a_plan_with_a_scan_is_native():
    fn = hb.function(lambda x: hb.cumulative_sum(x * 2.0, axis=1) + 1.0)
    x = values_of((20, 600), "float64")
    for _ in range(4):
        fn(x)
    (state,) = fn._signatures.values()
    runner = state.plans[0].run.executable
    assert [k.kind for k in runner.plan.steps if isinstance(k, HostStep)] == ["scan"]
    assert [type(part) for part in runner.parts] == [Segment]
    report = str(hb.profile(fn, x))
    assert "scan" in report and "host" not in report


def test_large_scans_are_the_same_on_any_number_of_threads():
    x = np.random.default_rng(0).uniform(0.99, 1.01, 300_000).astype(np.float32)
    want = OPS["cumulative_prod"].body(x, 0, dt.float32)
    for threads in (1, 2, 3):
        with num_threads(threads):
            assert same_bits(hb.cumulative_prod(hb.tensor(x)).numpy(), want)
