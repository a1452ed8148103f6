"""Functions that are deferred from their first call, and what can be seen of their results."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

import hybrid as hb
import hybrid.nn as nn
from hybrid.decorator import Function, function
from hybrid.trace.fallback.deferred import Deferral, Deferring
from hybrid.trace.serve.signatures import SignatureState

A = np.float32([[0.5, -1.25, 3.0, -0.0], [1e-40, 7.5, -2.0, 0.0], [np.inf, -np.inf, np.nan, 1.0]])


def bits(value: Any) -> Any:
    """What can be seen of a result."""
    if isinstance(value, hb.Tensor):
        array = value.numpy()
        if array.dtype.kind == "f":  # which of its operands' a NaN is may differ
            array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)
        seen = str(value._a), value.requires_grad, array.tobytes()
        assert type(value) in (hb.Tensor, nn.Parameter) and type(value._v) is np.ndarray
        return seen
    if isinstance(value, dict):
        return {k: bits(v) for k, v in value.items()}
    return [bits(v) for v in value] if isinstance(value, (list, tuple)) else repr(value)


def same(program: Callable[[Any], Any], calls: int = 1) -> Function:
    """`program(jit)` gives the same with plain and with decorated functions, which are deferred."""
    made: list[Function] = []

    def jit(fn: Any) -> Any:
        made.append(function(fn))
        return made[-1]

    hb.manual_seed(7)
    expected = bits(program(lambda fn: fn))
    hb.manual_seed(7)
    assert bits(program(jit)) == expected
    info = made[0].cache_info()
    assert info.deferred >= calls and info.replays == 0, made[0].explain()
    return made[0]


def clock() -> None:
    """An effect that no recording represents."""
    os.times()


def deferred(fn: Callable[..., Any]) -> Any:
    """A decorated function whose calls are deferred from the first."""
    made = function(fn)
    made._new_state = lambda *_: (_state(), [])  # type: ignore[method-assign]
    deferral = Deferral(made._segments)

    def _state() -> Any:
        state = SignatureState()
        Deferring._run_python(state, deferral)
        return state

    return made


class Net(nn.Module):
    """Two layers, dropout, a running mean."""

    def __init__(self, p: float = 0.3) -> None:
        super().__init__()
        self.first, self.norm, self.drop = nn.Linear(4, 8), nn.LayerNorm(8), nn.Dropout(p)
        self.last = nn.Linear(8, 2)

    def forward(self, x: Any) -> Any:
        return self.last(self.drop(hb.relu(self.norm(self.first(x)))))


def batch(k: int, *shape: int) -> Any:
    """The same random tensor in both runs."""
    return hb.tensor(np.random.default_rng(k).standard_normal(shape or (6, 4)).astype(np.float32))


def seen(value: Any) -> Any:
    """All that can be seen of a result, gradients included."""
    if isinstance(value, hb.Tensor):
        assert type(value._v) is np.ndarray
        gradient = seen(value.grad) if value.is_leaf else None
        return str(value._a), value.requires_grad, value.is_leaf, value.numpy().tobytes(), gradient
    if isinstance(value, dict):
        return {key: seen(item) for key, item in value.items()}
    return [seen(item) for item in value] if isinstance(value, (list, tuple)) else repr(value)


def small(classes: int = 3) -> Any:
    """A net of two layers."""
    hb.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, classes))
