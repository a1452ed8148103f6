"""`debug(nan=True)`: the first operation that made a NaN, inside of replays, too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid import nn, optim
from hybrid.trace.bytecode.opcodes import SUPPORTED

pytestmark = [
    pytest.mark.skipif(not SUPPORTED, reason="nothing is recorded on this interpreter"),
    pytest.mark.filterwarnings("ignore::hybrid.RunsEagerly"),
]
DATA = np.random.default_rng(7).standard_normal((12, 5, 6)).astype("f")
GOOD, BAD = [1.0, 2.0], [1.0, -1.0]


def bits(values: Any) -> list[bytes]:
    return [value.numpy().tobytes() for value in values]


def test_an_error_in_a_replay_names_line_and_inputs_and_changes_nothing() -> None:
    state = hb.zeros(2)

    @hb.function
    def f(x: Any) -> Any:
        y = x * 0.5
        state.add_(y)
        return hb.where(x > 0, hb.log(y), 0.0).sum()

    for _ in range(4):
        f(hb.tensor(GOOD))
    before = state.tolist()
    line = f.fn.__code__.co_firstlineno + 4
    with hb.debug(nan=True):
        f(hb.tensor(GOOD))
        assert f.cache_info().replays == 3 and state.tolist() != before
        before = state.tolist()
        with pytest.raises(hb.NanError) as caught:
            f(hb.tensor(BAD))
    text = str(caught.value)
    assert text.startswith("log made 1 bad element(s) of float32[2]; the first, NaN, is at (1,)")
    assert "input 0: float32[2], min -0.5, max 0.5" in text
    assert f"test_debug_replays.py:{line}" in text and "hb.log(y)" in text
    assert state.tolist() == before and f.cache_info().replays == 3
    assert np.isfinite(f(hb.tensor(BAD)).item()) and f.cache_info().replays == 4


def test_the_same_op_is_blamed_as_eagerly() -> None:
    def program(x: Any) -> Any:
        y = hb.exp(x)
        z = (y - y * 2.0) / (x - x)
        return (z * 0.0).sum() + hb.sqrt(x)

    f = hb.function(program)
    for _ in range(4):
        f(hb.tensor(GOOD))
    for inf in (False, True):
        found = []
        for fn in (program, f):
            with pytest.raises(hb.NanError) as caught, hb.debug(nan=True, inf=inf):
                fn(hb.tensor(BAD))
            found.append(str(caught.value))
        assert found[0] == found[1]
        assert ("divide" in found[0]) is inf


def test_bits_and_state_are_those_without_it() -> None:
    def run(check: bool) -> Any:
        hb.manual_seed(4)
        net = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.3), nn.Linear(8, 3))
        opt = optim.Adam(net.parameters(), lr=0.01)
        count = {"steps": 0}

        @hb.function
        def step(x: Any) -> Any:
            opt.zero_grad()
            loss = (net(x) ** 2).mean()
            loss.backward()
            opt.step()
            count["steps"] += 1
            return loss.detach()

        losses = []
        for k in range(12):
            if check and k % 2:
                with hb.debug(nan=True, inf=True):
                    losses.append(step(hb.tensor(DATA[k])))
            else:
                losses.append(step(hb.tensor(DATA[k])))
        assert step.cache_info().replays >= 6
        return bits([*losses, *net.state_dict().values(), hb.rand(2)]), count

    assert run(True) == run(False)


def test_a_nan_that_comes_in_is_not_blamed() -> None:
    f = hb.function(lambda x: (x * 2.0).sum())
    x = hb.tensor([1.0, float("nan")])
    for _ in range(3):
        f(x)
    with hb.debug(nan=True):
        assert np.isnan(f(x).item())
    assert f.cache_info().replays == 2


def test_functions_that_are_not_replayed_and_inner_ones() -> None:
    inner = hb.function(lambda x: hb.log(x))

    @hb.function
    def outer(x: Any) -> Any:
        print(end="")
        return inner(x) + 1.0

    for _ in range(6):
        outer(hb.tensor(GOOD))
    with hb.debug(nan=True):
        assert np.isfinite(outer(hb.tensor(GOOD)).numpy()).all()
        with pytest.raises(hb.NanError, match="log made 1 bad"):
            outer(hb.tensor(BAD))


def test_handlers_of_the_user_see_the_error() -> None:
    @hb.function
    def f(x: Any) -> Any:
        try:
            return hb.log(x)
        except FloatingPointError:
            return x

    for _ in range(4):
        f(hb.tensor(GOOD))
    with hb.debug(nan=True):
        assert f(hb.tensor(BAD)).tolist() == BAD


def test_gradients_in_a_scope() -> None:
    f = hb.function(lambda x: hb.sqrt(x).sum())
    for _ in range(4):
        f(hb.tensor(GOOD, requires_grad=True)).backward()
    x = hb.tensor([0.0, 1.0], requires_grad=True)
    with hb.debug(nan=True, inf=True):
        y = f(x)
        with pytest.raises(hb.NanError, match="infinity"):
            y.backward()
    assert f.cache_info().replays == 3


def test_the_parts_of_the_scope() -> None:
    scope = hb.debug(nan=True)
    assert (scope.nan, scope.inf, scope.sync) == (True, False, False)
    assert isinstance(hb.detect_nan(inf=True), hb.debug) and hb.detect_nan(inf=True).inf
    f = hb.function(lambda x: x + 1.0)
    for _ in range(3):
        f(hb.ones(2))
    with hb.debug(sync=True):  # replays go on as they are
        f(hb.ones(2))
    assert f.cache_info().replays == 2
    with scope, scope, pytest.raises(hb.NanError):
        hb.log(hb.tensor(BAD))
    hb.log(hb.tensor(BAD))


@pytest.mark.parametrize("name", ["nan", "inf", "sync"])
@pytest.mark.parametrize("value", [1, None, np.ones(3), "yes"])
def test_a_setting_is_true_or_false(name, value):
    with pytest.raises(TypeError, match=f"debug: {name} is True or False"):
        hb.debug(**{name: value})
