"""Calls while gradients are not recorded go straight to the plan of the latest such call.

Invariant: they give what the plain function gives, whatever was called in between.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid import nn
from hybrid.decorator import function


@pytest.fixture
def counted(monkeypatch):
    """How many calls look at their signature."""
    seen: list[int] = []
    signed = hb.decorator.Function._signed

    def look(self: Any, args: Any, kwargs: Any) -> Any:
        seen.append(1)
        return signed(self, args, kwargs)

    monkeypatch.setattr(hb.decorator.Function, "_signed", look)
    return seen


def _model() -> Any:
    hb.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))


def test_no_signature_is_looked_at(counted):
    model = _model()
    f = function(lambda x: (model(x), x * 2))
    with hb.no_grad():
        for k in range(30):
            x = hb.full((2, 4), 0.1 * k)
            one, other = f(x)
            assert one.numpy().tobytes() == model(x).numpy().tobytes()
            assert other.tolist() == (x * 2).tolist() and not one.requires_grad
    assert len(counted) < 8 and f.cache_info().replays == 28


def test_with_and_without_gradients_in_turns():
    model = _model()
    f = function(lambda x: model(x))
    for k in range(24):
        x = hb.full((2, 4), 0.1 * k)
        with hb.set_grad_enabled(k % 3 == 0):
            y = f(x)
        assert y.numpy().tobytes() == model(x).numpy().tobytes()
        assert y.requires_grad is (k % 3 == 0)
        if k % 3 == 0:
            y.sum().backward()
    assert f.cache_info().records == 4


def test_other_shapes_dtypes_and_arguments_find_their_own_plan():
    f = function(lambda x, scale=2.0: x * scale)
    plain = f.fn
    given = [hb.ones(3), hb.ones(4), hb.ones(3, dtype=hb.int32), hb.ones(3, requires_grad=True)]
    with hb.no_grad():
        for k in range(40):
            x = given[k // 2 % 4]
            assert f(x).numpy().tobytes() == plain(x).numpy().tobytes()
            assert f(x, scale=3.0).tolist() == plain(x, 3.0).tolist()
            assert f(x, 4.0).tolist() == plain(x, 4.0).tolist()


def test_what_changes_between_the_calls_is_seen():
    model, box = _model(), {"scale": 2.0}

    @function
    def f(x: Any) -> Any:
        return model(x) * box["scale"]

    with hb.no_grad():
        for k in range(30):
            x = hb.full((2, 4), 0.1 * k)
            if k == 8:
                model[0].weight.assign(model[0].weight * 2)
            if k == 12:
                model[2].bias = nn.Parameter(hb.ones(2))
            if k == 16:
                box["scale"] = 5.0
            if k == 20:
                hb.set_matmul_precision("fast")
            try:
                assert f(x).numpy().tobytes() == f.fn(x).numpy().tobytes()
            finally:
                hb.set_matmul_precision("strict")


def test_branches_and_errors_take_the_longer_way():
    @function
    def f(x: Any, place: Any) -> Any:
        return x[place] * 2 if x.sum() > 0 else -x[place]

    with hb.no_grad():
        for k in range(24):
            x = hb.tensor([1.0, 2.0, 3.0]) * (-1.0) ** k
            if k % 7 == 6:
                with pytest.raises(IndexError):
                    f(x, hb.tensor(5))
            else:
                assert f(x, hb.tensor(k % 3)).item() == f.fn(x, hb.tensor(k % 3)).item()


def test_a_model_that_is_dropped_goes():
    model = _model()
    held = weakref.ref(model)

    def make(model: Any) -> Any:
        return function(lambda x: model(x))

    f = make(model)
    with hb.no_grad():
        for _ in range(5):
            f(hb.ones(2, 4))
    plan = f._untaped.plan
    assert plan is not None and plan() is not None
    del f, model
    gc.collect()
    assert held() is None and plan() is None


def test_arrays_as_data_off_the_tape():
    f = function(lambda rows: hb.asarray(rows) * 2)
    with hb.no_grad():
        for k in range(12):
            rows = np.full(3, k, np.float32)
            assert f(rows).tolist() == (rows * 2).tolist()


def test_an_empty_tuple_is_a_result():
    f = function(lambda x: ())
    for k in range(6):
        with hb.set_grad_enabled(k % 2 == 0):
            assert f(hb.ones(2)) == () and f(hb.zeros(2)) == ()
