"""Factors that many small products share: turned round once, the same bits, also in place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid.backends.plan import GemmKernel, LoopKernel


def _values(*shape: int) -> Any:
    return hb.tensor(
        np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32) / 4
    )


def _repeat(x: Any, w: Any, times: int) -> Any:
    for _ in range(times):
        x = hb.tanh(hb.nn.functional.linear(x, w))
    return x


def _turned(fn: Any) -> int:
    """Products whose second factor is adjacent along its columns."""
    prepared, reason = fn.prepared()
    assert prepared is not None, reason
    steps = prepared.result.plan.steps
    assert any(isinstance(k, LoopKernel) for k in steps) or all(
        isinstance(k, GemmKernel) for k in steps
    )
    return sum(isinstance(k, GemmKernel) and k.b.cols.strides == (1,) for k in steps)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("times,rows,turned", [(5, 6, 5), (3, 6, 0), (5, 65, 0)])
def test_a_shared_weight_is_turned_once(times: int, rows: int, turned: int, dtype: str) -> None:
    x, w = (t.astype(getattr(hb, dtype)) for t in (_values(rows, 33), _values(33, 33)))
    want = _repeat(x, w, times).numpy()
    fn = hb.function(_repeat)
    for _ in range(3):
        assert fn(x, w, times).numpy().tobytes() == want.tobytes()
    assert _turned(fn) == turned


def test_a_slice_of_a_weight_and_a_vector() -> None:
    def f(x: Any, w: Any) -> Any:
        part = w[2:35, 1:40:1]
        for _ in range(4):
            x = hb.nn.functional.linear(hb.nn.functional.linear(x, part), part.swapaxes(0, 1))
        return x

    x, w = _values(3, 39), _values(40, 41)
    want = f(x, w).numpy()
    fn = hb.function(f)
    for _ in range(3):
        assert fn(x, w).numpy().tobytes() == want.tobytes()


def test_training_a_recurrent_weight() -> None:
    """The weight is overwritten in the same plan in which its copy is read."""

    def run(traced: bool) -> tuple[bytes, list[bytes]]:
        hb.manual_seed(3)
        cell = hb.nn.Linear(32, 32, bias=False)
        optimizer = hb.optim.SGD(cell.parameters(), lr=0.1)
        x = _values(5, 32)

        def step(x: Any) -> Any:
            h = x
            for _ in range(6):
                h = hb.tanh(cell(h))
            loss = (h * h).sum()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        call = hb.function(step) if traced else step
        losses = [call(x).numpy().tobytes() for _ in range(6)]
        return cell.weight.numpy().tobytes(), losses

    assert run(True) == run(False)
