"""Timing single kernels of a plan, and epilogues whose scalars are computed once per kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid.backends.api import KernelTime


def _prepared(fn: Any, *args: Any) -> Any:
    for _ in range(3):
        fn(*args)
    prepared, reason = fn.prepared()
    assert prepared is not None, reason
    return prepared


def _step() -> tuple[Any, Any]:
    layer = hb.nn.Linear(8, 4)
    optimizer = hb.optim.Adam(layer.parameters(), lr=0.1)

    @hb.function
    def step(x: Any) -> Any:
        loss = (layer(x) ** 2).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step, layer


def test_a_row_per_kernel_and_inputs_untouched() -> None:
    step, _ = _step()
    prepared = _prepared(step, hb.ones((5, 8)))
    plan = prepared.result.plan
    inputs = [np.ones(s.aval.shape, s.aval.dtype) for s in plan.slots if s.kind == "input"]
    before = [a.copy() for a in inputs]
    rows = prepared.executable.profile(inputs, 3)
    assert [r.kernel for r in rows] == list(range(len(plan.steps)))
    assert all(isinstance(r, KernelTime) and r.seconds >= 0 and r.threads >= 1 for r in rows)
    assert sum(r.share for r in rows) == pytest.approx(1.0)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(inputs, before))
    assert any("us" in str(r) and "GB/s" in str(r) for r in rows)


def test_work_is_counted_from_the_plan() -> None:
    fn = hb.function(lambda a, b: a @ b)
    a, b = hb.ones((32, 48)), hb.ones((48, 16))
    (row,) = _prepared(fn, a, b).executable.profile([a.numpy(), b.numpy()], 2)
    assert (row.kind, row.shape) == ("product", "32x48 @ 48x16")
    assert row.ops == 2 * 32 * 48 * 16
    assert row.nbytes == 4 * (32 * 48 + 48 * 16 + 32 * 16)


def _scaled(x: Any, w: Any, s: Any, on: Any) -> Any:
    y = hb.nn.functional.linear(x, w) * (s / (1 + hb.exp(s))) + hb.log(s)
    return hb.where(on, y, y * hb.sqrt(s))


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize(
    "m,n,k", [(1, 1, 3), (5, 1, 40), (1, 7, 9), (33, 65, 31), (16, 48, 600), (3, 2, 9000)]
)
def test_scalars_of_an_epilogue(m: int, n: int, k: int, dtype: str) -> None:
    rng = np.random.default_rng(m * n)
    x, w = (
        hb.tensor(rng.standard_normal(s).astype(np.float32)).astype(getattr(hb, dtype))
        for s in ((m, k), (n, k))
    )
    fn = hb.function(_scaled)
    for value in (0.5, np.inf, np.nan, -0.0, 1e-40):
        s = hb.tensor(np.float32(value)).astype(getattr(hb, dtype))
        for on in (hb.tensor(True), hb.tensor(False)):
            want = _scaled(x, w, s, on).numpy()
            for _ in range(3):
                got = fn(x, w, s, on).numpy()
                assert np.array_equal(np.isnan(got), np.isnan(want))
                keep = ~np.isnan(want)
                assert got[keep].tobytes() == want[keep].tobytes()


@pytest.mark.parametrize("rows", [1, 14, 29])
def test_training_with_adam_keeps_its_bits(rows: int) -> None:
    x = hb.tensor(np.random.default_rng(0).standard_normal((rows, 8)).astype(np.float32))
    hb.manual_seed(1)
    step, layer = _step()
    traced = [step(x).numpy().tobytes() for _ in range(6)], layer.weight.numpy().tobytes()
    hb.manual_seed(1)
    step, layer = _step()
    assert (
        [step.fn(x).numpy().tobytes() for _ in range(6)],
        layer.weight.numpy().tobytes(),
    ) == traced
