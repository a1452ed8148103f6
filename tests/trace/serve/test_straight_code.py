"""Replays as one generated function: the state, results and aliases of plain calls, whatever a call
leaves; all of it or nothing when it is interrupted; nothing but its own frames."""

from __future__ import annotations

import collections
import dataclasses
import dis
import itertools
import os
import random
import sys
import types
from typing import Any

import pytest
from frozen import difference, frozen

import hybrid as hb
from hybrid import nn
from hybrid.decorator import function

PACKAGE = os.path.dirname(hb.__file__)
CALLS = 12


@dataclasses.dataclass
class Pair:
    first: Any
    second: Any = 3


Named = collections.namedtuple("Named", "left right")


class Slots:
    __slots__ = ("value", "count")

    def __init__(self) -> None:
        self.value, self.count = hb.zeros(3), 0


class Kept:
    """A descriptor that keeps its value in the dictionary of the object."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, owner: Any, cls: Any = None) -> Any:
        return owner.__dict__[self.name]

    def __set__(self, owner: Any, value: Any) -> None:
        owner.__dict__[self.name] = value


class Body:
    """One program: `make()` gives a step and what it leaves behind."""

    def __init__(self, make: Any) -> None:
        self.make = make

    def __repr__(self) -> str:
        return str(self.make.__name__)


BODIES: list[Body] = []


def body(make: Any) -> Any:
    BODIES.append(Body(make))
    return make


@body
def dict_entry():
    held = {"velocity": hb.zeros(3), "n": 0}

    def step(x):
        held["velocity"] = held["velocity"] * 0.5 + x
        held["n"] += 2
        return held["velocity"]

    return step, lambda: held


@body
def attributes():
    class Trainer:
        count = 0
        weight = hb.ones(3)

    trainer = Trainer()

    def step(x):
        trainer.count += 1
        trainer.weight = trainer.weight - 0.1 * min(1.0, trainer.count / 5) * x
        return trainer.weight.sum()

    return step, lambda: (trainer.count, trainer.weight, Trainer.count)


@body
def slots():
    held = Slots()

    def step(x):
        held.value = held.value + x
        held.count = held.count + 1
        return held.value * 2

    return step, lambda: (held.value, held.count)


@body
def cells_and_lists():
    total, calls, log = hb.zeros(3), 0, collections.deque(maxlen=4)
    seen = []

    def step(x):
        nonlocal total, calls
        calls += 1
        total = total + x
        log.append(total)
        seen.append(calls)
        if len(seen) > 100:
            seen.clear()
        return total / 2

    return step, lambda: (total, calls, log, seen)


@body
def pushed_and_popped():
    active = ["older"]

    def step(x):
        active.pop()
        try:
            return x.softmax(axis=0)
        finally:
            active.append("step")

    return step, lambda: active


@body
def descriptors():
    class Held:
        value = Kept()

    held = Held()
    held.value = hb.zeros(3)

    def step(x):
        held.value = held.value + x
        return held.value.sum()

    return step, lambda: held.value


@body
def written_in_place():
    total, held = hb.zeros(3), {"n": 0}

    def step(x):
        total.add_(x)
        held["n"] = min(held["n"] + 1, 50)
        return [total * 2, held["n"]]

    return step, lambda: (total, held)


@body
def class_attribute():
    class Model:
        best = hb.zeros(3)

    def step(x):
        Model.best = hb.maximum(Model.best, x)
        return Model.best + 1

    return step, lambda: Model.best


@body
def structures():
    def step(x):
        y = x * 2
        return Pair(y, [x + 1, y]), Named(left=y, right=(y.sum(), 4)), {"a": y, 2: None}

    return step, lambda: None


@body
def namespaces():
    def step(x):
        y = x * 2
        return types.SimpleNamespace(b=y, a=x.sum()), collections.OrderedDict(z=y, y=x - 1)

    return step, lambda: None


@body
def one_tensor_in_places():
    held = {"last": None}

    def step(x):
        y = x + 1
        held["last"] = y
        return y, y, (y, x)

    return step, lambda: held


@body
def read_numbers():
    log = []

    def step(x):
        loss = (x * x).sum()
        log.append(float(loss))
        return loss.item(), [loss]

    return step, lambda: log


@body
def on_a_tape():
    weight = hb.full((3,), 0.5, requires_grad=True)
    held = {"out": None}

    def step(x):
        y = (weight * x).exp()
        held["out"] = y.detach()
        return y, y.sum()

    return step, lambda: (weight, held)


@body
def gradients():
    layer = nn.Linear(3, 2)
    for number, parameter in enumerate(layer.parameters()):
        parameter.assign(hb.full(parameter.shape, 0.1 * (number + 1)))
    seen = []

    def step(x):
        for parameter in layer.parameters():
            parameter.grad = None
        loss = (layer(x) ** 2).mean()
        loss.backward()
        seen.append(loss.detach())
        return loss.detach()

    return step, lambda: ([p.grad for p in layer.parameters()], seen)


@body
def branches():
    held = {"best": hb.tensor(1e9), "bad": 0, "rate": 0.5}

    def step(x):
        loss = x.sum()
        if loss < held["best"]:
            held["best"], held["bad"] = loss, 0
        else:
            held["bad"] += 1
        return loss * held["rate"]

    return step, lambda: held


@body
def views():
    held = {}

    def step(x):
        y = x * 3
        held["row"] = y[1:]
        return y

    return step, lambda: held


@body
def drawn():
    rng, held = random.Random(3), {"v": hb.zeros(3), "n": 0}

    def step(x):
        held["v"][:] = held["v"] * rng.random() + x
        held["n"] += 1
        return held["v"] * 2

    return step, lambda: (held, rng.getstate())


@body
def drawn_for_a_write():
    rng, state = random.Random(3), hb.zeros(3)

    def step(x):
        state[:] = state + x * rng.random()
        return x + 1

    return step, lambda: (state, rng.getstate())


@body
def drawn_for_a_result():
    rng = random.Random(3)
    return lambda x: x * rng.random(), rng.getstate


def data(number: int) -> Any:
    return hb.tensor([0.5 * (number % 5), -1.0, 0.25 * number])


def served(f: Any) -> Any:
    plans = [plan for state in f._signatures.values() for plan in state.plans]
    return [plan.served for plan in plans if plan.served is not None]


@pytest.mark.parametrize("program", BODIES, ids=repr)
def test_straight_code_leaves_what_a_plain_call_leaves(program):
    (plain, left), (traced, same) = program.make(), program.make()
    step = function(traced)
    for number in range(CALLS):
        x, y = data(number), data(number)
        one, other = plain(x), step(y)
        assert not difference(frozen(one), frozen(other)), number
        assert not difference(frozen(left()), frozen(same())), number
        assert aliases(one, x, left()) == aliases(other, y, same()), number
    assert step.cache_info().replays >= 4, step.explain()
    if program.make is not views:
        assert any(found.straight is not None for found in served(step)), step.explain()


def aliases(*values: Any) -> list[int]:
    """Which tensors and lists among values are one object."""
    met: dict[int, int] = {}
    numbers, todo = [], list(values)
    while todo:
        value = todo.pop(0)
        if isinstance(value, (hb.Tensor, list, dict, collections.deque)):
            numbers.append(met.setdefault(id(value), len(met)))
        if isinstance(value, dict):
            todo += value.values()
        elif isinstance(value, (list, tuple, collections.deque)):
            todo += value
        elif isinstance(value, (Pair, types.SimpleNamespace)):
            todo += vars(value).values()
    return numbers


def test_views_stay_views():
    (plain, left), (traced, same) = views(), views()
    step = function(traced)
    for number in range(6):
        one, other = plain(data(number)), step(data(number))
        one.add_(1.0)
        other.add_(1.0)
        assert not difference(frozen(left()), frozen(same()))


def test_results_are_differentiated_as_eagerly():
    (plain, left), (traced, same) = on_a_tape(), on_a_tape()
    step = function(traced)
    for number in range(CALLS):
        for call, state in ((plain, left), (step, same)):
            y, total = call(data(number))
            (y.sum() * 2 + total).backward()
            assert state()[1]["out"] is not y and not state()[1]["out"].requires_grad
        assert not difference(frozen(left()[0].grad), frozen(same()[0].grad))


# ---- interruptions
LOOKS = ("RESUME", "CALL", "CALL_FUNCTION_EX", "CALL_KW", "JUMP_BACKWARD")  # for signals


class Interrupting:
    """Raises before the n-th instruction at which a handler of a signal could raise in a replay."""

    def __init__(self, number: int) -> None:
        self.left, self.before = number, {}

    def __call__(self, frame: Any, event: str, arg: Any) -> Any:
        name = frame.f_code.co_filename
        if name != "<hybrid replay>" and not name.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = True
        return self.looks if name == "<hybrid replay>" or self.under(frame) else self

    @staticmethod
    def under(frame: Any) -> bool:
        while frame is not None:
            if frame.f_code.co_filename == "<hybrid replay>":
                return True
            frame = frame.f_back
        return False

    def looks(self, frame: Any, event: str, arg: Any) -> Any:
        if event == "opcode":
            last = self.before.get(frame)
            self.before[frame] = frame.f_lasti
            if last is not None and name_at(frame.f_code, last) in LOOKS:
                self.left -= 1
                if self.left == 0:
                    sys.settrace(None)
                    raise KeyboardInterrupt
        return self.looks


def name_at(code: Any, offset: int) -> str:
    return dis.opname[code.co_code[offset]]


INTERRUPTED = [one for one in BODIES if one.make not in (structures, namespaces, views)]


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="tells a hook of instructions too late")
@pytest.mark.parametrize("program", INTERRUPTED, ids=repr)
def test_an_interrupted_replay_is_all_or_nothing(program):
    for place in itertools.count(1):
        (plain, left), (traced, same) = program.make(), program.make()
        step = function(traced)
        for number in range(6):
            plain(data(1))
            step(data(1))
        before = frozen(left())
        hook = Interrupting(place)
        sys.settrace(hook)
        try:
            step(data(1))
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        plain(data(1))
        after = frozen(left())
        if not (done := not difference(after, frozen(same()))):
            assert not difference(before, frozen(same())), (place, step.explain())
            step(data(1))
        plain(data(2))
        step(data(2))
        assert not difference(frozen(left()), frozen(same())), (place, done)
        if hook.left > 0:
            break
    assert place > 2


# ---- what it costs
def test_a_replay_enters_few_frames_of_ours():
    _, (traced, _) = None, attributes()
    step = function(traced)
    for number in range(8):
        step(data(number))
    met = []
    x = data(3)

    def hook(frame: Any, event: str, arg: Any) -> None:
        if event == "call":
            met.append(frame.f_code.co_name)

    sys.setprofile(hook)
    try:
        step(x)
    finally:
        sys.setprofile(None)
    assert met[:3] == ["__call__", "serve", "guard"] and len(met) <= 5, met


def test_calls_without_arguments_and_with_others_take_their_ways():
    held = {"n": 0, "x": hb.ones(2)}

    @function
    def step(*more):
        held["n"] += 1
        held["x"] = held["x"] + 1
        return held["x"] if not more else held["x"] * len(more)

    for number in range(1, 9):
        assert step().tolist() == [1.0 + number] * 2
    for number in range(9, 15):
        assert step(1, 2).tolist() == [2.0 + 2 * number] * 2
    assert step().tolist() == [16.0, 16.0] and held["n"] == 15
    assert step.cache_info().replays >= 8
