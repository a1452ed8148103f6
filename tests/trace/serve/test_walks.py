"""Arguments with a structure, served without a look at their signature: what meets the conditions
has the signature, what has the signature meets them, and nothing is kept."""

from __future__ import annotations

import collections
import dataclasses
import functools
import gc
import itertools
import types
import weakref
from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid.decorator import function
from hybrid.trace.heap.data import source_of
from hybrid.trace.heap.signature import Regard, signature_of
from hybrid.trace.serve.native.walk import ArgumentWalk, NoWay

pytestmark = [
    pytest.mark.usefixtures("still"),
    pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly"),
]


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = 1.5

    def norm(self, t: Any) -> Any:
        return (t * self.y + self.x).sum()


@dataclasses.dataclass
class Other:
    x: Any
    y: Any = 1.5


@dataclasses.dataclass(slots=True)
class Slotted:
    x: Any


Named = collections.namedtuple("Named", "a b")
Alike = collections.namedtuple("Alike", "a b")
SINGLE = object()


def t(*shape: int) -> Any:
    return hb.ones(*(shape or (2,)))


def scaled(k: Any) -> Any:
    return lambda x: x * k


def with_defaults(k: Any) -> Any:
    def inner(x, scale=k, *, shift=0):
        return x * scale + shift

    return inner


def top(x, slope=1.0):
    return x * slope


def twice(make: Any) -> Any:
    one = make()
    return one, one


def marked(made: Any) -> Any:
    made.mark = 3
    return made


VALUES: list[Any] = [
    lambda: (),
    lambda: [],
    lambda: {},
    lambda: [t()],
    lambda: (t(),),
    lambda: [t(), t()],
    lambda: twice(t),
    lambda: (t(), t()),
    lambda: {"a": t(), "b": 1},
    lambda: {"b": 1, "a": t()},
    lambda: {"a": t(), "c": 1},
    lambda: {1: t()},
    lambda: {True: t()},
    lambda: {"a": {"b": [t(), (1, "x")]}},
    lambda: collections.OrderedDict(a=t(), b=1),
    lambda: collections.OrderedDict(b=1, a=t()),
    lambda: marked(collections.OrderedDict(a=t(), b=1)),
    lambda: collections.defaultdict(list, a=t(), b=1),
    lambda: types.SimpleNamespace(x=t(), y=1.5),
    lambda: types.SimpleNamespace(y=1.5, x=t()),
    lambda: types.SimpleNamespace(x=t(), y=1.5, z=None),
    lambda: Point(t()),
    lambda: Point(t(), 2.5),
    lambda: Point(t(), float("nan")),
    lambda: Point(t(), 0.0),
    lambda: Point(t(), -0.0),
    lambda: Point(t(), 0),
    lambda: Point(t(), False),
    lambda: Other(t()),
    lambda: marked(Point(t())),
    lambda: Slotted(t()),
    lambda: Named(t(), 1),
    lambda: Alike(t(), 1),
    lambda: [Point(t()), Point(t())],
    lambda: list(twice(lambda: Point(t()))),
    lambda: functools.partial(top, slope=0.5),
    lambda: functools.partial(top, slope=0.25),
    lambda: functools.partial(top, t()),
    lambda: functools.partial(scaled(2.0), t()),
    lambda: marked(functools.partial(top)),
    lambda: scaled(2.0),
    lambda: scaled(3.0),
    lambda: scaled(t()),
    lambda: marked(scaled(2.0)),
    lambda: with_defaults(2.0),
    lambda: with_defaults(t()),
    lambda: top,
    lambda: Point(t()).norm,
    lambda: Other(t()),
    lambda: Point(t(), 3.5).norm,
    lambda: np.ones(3, np.float32),
    lambda: np.ones(3, np.float64),
    lambda: np.ones((3, 1), np.float32),
    lambda: np.ones((2, 3), np.float32).T,
    lambda: np.ones(3, np.dtype(np.float32).newbyteorder()),
    lambda: [np.ones(3, np.float32), np.ones(3, np.float32)],
    lambda: list(twice(lambda: np.ones(3, np.float32))),
    lambda: np.float32(2),
    lambda: 2.0,
    lambda: 2,
    lambda: True,
    lambda: "2",
    lambda: b"2",
    lambda: None,
    lambda: 2j,
    lambda: SINGLE,
    lambda: slice(1, 2),
]


def way(value: Any, regard: Regard) -> Any:
    """A function of one argument and a tensor that gives the tensors among them, where they are as
    those of `value`, all distinct: what a native entry looks at."""
    walk, last = ArgumentWalk(regard), t(5)
    walk.add(value, "v0")
    walk.add(last, "v1")
    wanted = [(x._a, type(x._node)) for x in signature_of((value, last), {}, regard)[1]]

    def entry(*tensors: Any) -> Any:
        if not all(isinstance(x, hb.Tensor) for x in tensors):
            return NotImplemented
        distinct = len({*map(id, tensors)}) == len(tensors)
        same = [(x._a, type(x._node)) for x in tensors] == wanted
        return tensors if distinct and same else NotImplemented

    return walk.function(2, entry)


@pytest.mark.parametrize(
    "regard", [Regard(), Regard(identity=True), Regard(content=True)], ids=repr
)
def test_what_meets_the_conditions_has_the_signature_and_the_tensors(regard):
    made = [make() for make in VALUES]
    ways, last = 0, t(5)
    for value in made:
        try:
            serve = way(value, regard)
        except NoWay:
            continue
        ways += 1
        wanted = signature_of((value, last), {}, regard)[0]
        for other in itertools.chain(made, [make() for make in VALUES]):
            signature, tensors, _ = signature_of((other, last), {}, regard)
            found = serve(other, last)
            if found is not NotImplemented:
                assert signature == wanted, (value, other)
                assert len(found) == len(tensors)
                assert all(x is y or source_of(x) is source_of(y) for x, y in zip(found, tensors))
    assert ways >= 20


def test_what_has_the_signature_meets_the_conditions():
    served = 0
    for make in VALUES:
        try:
            serve = way(make(), Regard())
        except NoWay:
            continue
        served += serve(make(), t(5)) is not NotImplemented
        assert serve() is serve(make()) is serve(make(), t(), t()) is NotImplemented
    assert served >= 45


def test_an_error_of_looking_is_no_error():
    serve = way(Point(t()), Regard())
    assert serve(types.SimpleNamespace(), t(5)) is NotImplemented
    serve = way(scaled(t()), Regard())

    def unset() -> Any:
        inner = lambda x: x * k  # noqa: E731, F821
        return inner
        k = 1

    assert serve(unset(), t(5)) is NotImplemented


def test_looking_runs_no_code_of_a_user():
    ran = []

    class Loud(Point):
        def __getattribute__(self, name: str) -> Any:
            ran.append(name)
            return object.__getattribute__(self, name)

        def __eq__(self, other: Any) -> bool:
            ran.append("==")
            return True

    class Text(str):
        def __eq__(self, other: Any) -> bool:
            ran.append("==")
            return True

        __hash__ = str.__hash__

    loud = Loud(t(), "a")
    serve = way(loud, Regard())
    del ran[:]
    assert len(serve(loud, t(5))) == 2 and serve(Loud(t(), Text("b")), t(5)) is NotImplemented
    assert way({"a": t()}, Regard())({Text("a"): t()}, t(5)) is NotImplemented
    assert not ran


# ---- whole calls
def moved(world: Any, rate: Any = 0.5) -> Any:
    velocity = world.velocity + world.force * rate
    return types.SimpleNamespace(
        position=world.position + velocity * rate, velocity=velocity, force=-world.position
    )


def decayed(parameters: Any, rate: Any) -> Any:
    return collections.OrderedDict((name, value * rate) for name, value in parameters.items())


def applied(x: Any, activation: Any) -> Any:
    return activation(x * 2.0 + 1.0).sum()


def data(k: int) -> Any:
    return hb.tensor([0.5 + k, -k, 1.0])


def world(k: int) -> Any:
    return types.SimpleNamespace(position=data(k), velocity=data(k + 1), force=data(k + 2))


CALLS = {
    "namespace": (moved, lambda k: (world(k),)),
    "ordered": (decayed, lambda k: (collections.OrderedDict(w=data(k), b=data(k + 1)), 0.5)),
    "dict": (decayed, lambda k: ({"w": data(k), "b": data(k + 1)}, 0.25)),
    "lambda": (applied, lambda k: (data(k), lambda x: hb.tanh(x) * 0.5)),
    "cell": (applied, lambda k: (data(k), scaled(2.5))),
    "partial": (applied, lambda k: (data(k), functools.partial(top, slope=0.2))),
    "method": (applied, lambda k: (data(k), Point(data(k), 2.5).norm)),
    "array": (
        lambda rows, scale: (hb.asarray(rows) * scale).sum(),
        lambda k: (np.arange(3 + k % 3, dtype=np.float32), 2.0),
    ),
    "mixed": (
        lambda batch, config: batch["x"] * config.y + batch["labels"],
        lambda k: ({"x": data(k), "labels": np.arange(3, dtype=np.float32) * k}, Point(None)),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_with_structures_are_not_looked_at(name, calls_of):
    plain, arguments = CALLS[name]
    f = function(plain)
    for number in range(14):
        f(*arguments(number))
    calls = calls_of(f, "_signed")
    for number in range(12):
        got, want = f(*arguments(number)), plain(*arguments(number))
        assert type(got) is type(want)
        if isinstance(want, dict):
            assert list(got) == list(want)
            got, want = [*got.values()], [*want.values()]
        elif isinstance(want, types.SimpleNamespace):
            assert list(vars(got)) == list(vars(want))
            got, want = [*vars(got).values()], [*vars(want).values()]
        else:
            got, want = [got], [want]
        assert [v.numpy().tobytes() for v in got] == [v.numpy().tobytes() for v in want]
    assert not calls, f.explain()


def test_a_number_among_structures_is_free(calls_of):
    f = function(moved)
    for number in range(14):
        f(world(number), 0.1 + number)
    calls = calls_of(f, "_signed")
    for number in range(8):
        got, want = f(world(1), 0.2 + number), moved(world(1), 0.2 + number)
        assert got.position.numpy().tobytes() == want.position.numpy().tobytes()
    assert not calls, f.explain()


def test_results_do_not_share_memory_with_an_array_that_changes():
    f = function(lambda batch: (hb.asarray(batch["x"]), batch["x"] * hb.ones(3)))
    x = np.arange(3, dtype=np.float32)
    for number in range(8):
        x[:] = number
        same, _ = f({"x": x})
        kept = same.tolist()
        x[:] = -1
        assert same.tolist() == kept


def test_a_container_that_a_call_changes_is_looked_for_among_the_arguments():
    log = [hb.ones(2)]

    def step(x: Any, other: Any) -> Any:
        log.append(x)
        return other[-1] * 2

    f = function(step)
    for number in range(8):
        assert f(data(0)[:2], [hb.full((2,), number)]).tolist() == [2.0 * number] * 2
    assert f(hb.full((2,), 9.0), log).tolist() == [18.0, 18.0]


def test_arguments_are_not_kept():
    f = function(lambda point, activation: activation(point.x))
    gone = []
    for number in range(14):
        point, activation = Point(data(number)), scaled(2.0)
        gone += [weakref.ref(point), weakref.ref(point.x), weakref.ref(activation)]
        f(point, activation)
    del point, activation
    gc.collect()
    assert not [found for found in gone if found() is not None]
