"""Calls that alternate between plans or are written in several ways, compared with plain Python."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid import nn
from hybrid.decorator import function
from hybrid.trace.serve.ways import MAX_WAYS

F = nn.functional


pytestmark = [
    pytest.mark.usefixtures("still"),
    pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly"),
]


# ---- calls that alternate
def test_alternating_signatures_are_served_without_a_look(calls_of):
    f = function(lambda a, b: a * b + a)
    sizes = [hb.ones(n) for n in (2, 3, 4, 5)]
    for _ in range(8):
        for x in sizes:
            f(x, x * 2)
    looked = calls_of(f, "_signed")
    for _ in range(50):
        for x in sizes:
            assert f(x, x * 2).tolist() == (x * 3).tolist()
    assert not looked


FORMS = {
    "text": lambda f, x, k: f(x, "ab"[k % 2]),
    "number": lambda f, x, k: f(x, 10**6 + k % 3),
    "flag": lambda f, x, k: f(x, k % 2 == 0),
    "none": lambda f, x, k: f(x, None if k % 2 else 1),
    "keyword": lambda f, x, k: f(x, how=k % 2),
    "both by name": lambda f, x, k: f(how=k % 2, x=x),
    "left out": lambda f, x, k: f(x) if k % 2 else f(x, 3),
    "object": lambda f, x, k: f(x, OBJECTS[k % 2]),
    "float": lambda f, x, k: f(x, FLOATS[k % 2]),
}


class Scale:
    def __init__(self, k: float) -> None:
        self.k = k

    def __deepcopy__(self, memo: Any) -> Any:
        return self


OBJECTS = Scale(2.0), Scale(3.0)
FLOATS = 0.0, -0.0


def described(x: Any, how: Any = 5, *, more: Any = 1) -> Any:
    scale = how.k if type(how) is Scale else 2.0
    return x * scale * more, f"{type(how).__name__} {how if type(how) is not Scale else how.k}"


@pytest.mark.parametrize("form", FORMS)
def test_ways_of_writing_a_call(form, calls_of):
    f, x = function(described), hb.ones(3)
    call = FORMS[form]
    for number in range(40):
        call(f, x, number)
    looked = calls_of(f, "_signed")
    for number in range(12):
        got, want = call(f, x, number), call(described, x, number)
        assert got[0].numpy().tobytes() == want[0].numpy().tobytes() and got[1] == want[1]
    assert not looked, f.explain()


def test_ways_do_not_mix_up_what_is_equal_and_not_the_same():
    def both_ways(f: Any) -> list[Any]:
        x, seen = hb.ones(2), []
        values = (1, True, 1.0, 0, False, 0.0, -0.0, "1", b"1", None, np.float32(1), np.int64(1))
        for _ in range(9):
            for value in values:
                seen.append(f(x, value)[1])
                seen.append(f(x, how=value)[1])
                seen.append(f(x, value, more=2)[0].tolist())
        return seen

    assert both_ways(function(described)) == both_ways(described)


def test_ways_see_changed_defaults():
    def step(x: Any, how: Any = 2, *, more: Any = 3) -> Any:
        return x * how * more

    f, x = function(step), hb.ones(1)
    for _ in range(8):
        assert f(x).tolist() == [6.0] and f(x, more=1).tolist() == [2.0]
    step.__defaults__ = (5,)
    assert f(x).tolist() == [15.0] and f(x, more=1).tolist() == [5.0]
    for _ in range(8):
        f(x)
    step.__kwdefaults__["more"] = 7
    assert f(x).tolist() == [35.0] and f(x, 1).tolist() == [7.0]
    step.__kwdefaults__ = None
    with pytest.raises(TypeError, match="more"):
        f(x)
    step.__defaults__ = None
    with pytest.raises(TypeError, match="how"):
        f(x, more=1)


def test_ways_check_the_number_and_kind_of_arguments():
    f, x = function(described), hb.ones(3)
    for number in range(20):
        f(x, "ab"[number % 2])
    for wrong in ((), (x, 1, 2, 3)):
        with pytest.raises(TypeError):
            f(*wrong)
    with pytest.raises(TypeError):
        f(x, unknown=1)
    with pytest.raises(TypeError):
        f(x, "a", how="b")
    half = x.to("float64")
    assert f(half, "a")[0].dtype == half.dtype
    leaf = hb.ones(3, requires_grad=True)
    assert f(leaf, "a")[0].requires_grad and not f(x, "a")[0].requires_grad
    with hb.no_grad():
        assert not f(leaf, "a")[0].requires_grad


def test_ways_forget_an_object_that_died():
    f, x = function(described), hb.ones(2)
    for k in range(20):  # each one lands where the last one was
        one, two = Scale(float(k)), Scale(k + 0.5)
        for _ in range(6):
            assert f(x, one)[0].tolist() == [float(k)] * 2
            assert f(x, two)[0].tolist() == [k + 0.5] * 2
        del one, two


def test_ways_follow_facts():
    box = {"k": 2.0}
    f = function(lambda x, mode: x * box["k"] if mode == "a" else x + box["k"])
    x = hb.ones(1)
    for k in (2.0, 3.0, 2.0, 5.0):
        box["k"] = k
        for _ in range(6):
            assert f(x, "a").tolist() == [k] and f(x, "b").tolist() == [1.0 + k]


def test_ways_of_instances_on_the_tape():
    class Block(nn.Module):
        def __init__(self, gain: float) -> None:
            super().__init__()
            self.layer, self.gain = nn.Linear(3, 3), gain

        def plain(self, x: Any) -> Any:
            return self.layer(x) * self.gain

        traced = function(plain)

    hb.manual_seed(0)
    blocks = [Block(0.5), Block(2.0)]

    def run(name: str) -> list[Any]:
        seen = []
        for number in range(12):
            x = hb.ones(6).reshape(2, 3) * number
            first, second = (getattr(block, name) for block in blocks)
            out = second(first(x)) if number % 3 else first(second(x))
            out.sum().backward()
            for p in (*blocks[0].parameters(), *blocks[1].parameters()):
                seen.append(p.grad.numpy().tobytes())
                p.grad = None
            seen.append(out.numpy().tobytes())
        return seen

    assert run("plain") == run("traced")
    assert Block.traced.cache_info().replays >= 10


def test_ways_are_bounded():
    f, x = function(lambda x, k: x + float(str(k))), hb.ones(1)
    for number in range(600):
        f(x, number % 20)
    ways = getattr(f._direct, "ways", None)
    assert ways is None or len(ways.ways) <= MAX_WAYS
    assert f.cache_info().replays > 400


def test_fruitless_recordings_beside_plans_end():
    """Two modes in turns: what one call leaves is not what the next one finds."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))

    @function
    def step(x: Any, phase: str) -> Any:
        model.train(phase == "train")
        return model(x).sum()

    for number in range(120):
        step(hb.ones(2, 3), "train" if number % 3 else "test")
    assert step.cache_info().records <= 24


def test_a_function_with_ways_goes_when_it_is_dropped():
    def make() -> list[Any]:
        def step(x: Any, how: str = "a") -> Any:
            return x * (2.0 if how == "a" else 3.0)

        f = function(step)
        for number in range(30):
            f(hb.ones(2), "ab"[number % 2]), f(hb.ones(3)), f(hb.ones(2), how="b")
        assert f._direct is not None and len(f._direct.ways.ways) > 2
        return [weakref.ref(f), weakref.ref(f._direct.ways.ways[0].plan)]

    make()
    gc.collect()
    gc.disable()
    try:
        assert [found() for found in make()] == [None, None]
    finally:
        gc.enable()
