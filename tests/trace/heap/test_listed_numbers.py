"""Lists of numbers among the arguments: data from their second content on, by content where Python
looks at them in a way that no replay does again.

Each program runs decorated and plain on ever other lists; results, bits and Python state agree.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
from data_harness import leaves

import hybrid as hb
from hybrid import function, nn

pytestmark = pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly")

TABLE = hb.tensor(np.arange(40.0, dtype=np.float32).reshape(20, 2))
KEPT: list[Any] = []


class Transitions(NamedTuple):
    state: Any
    action: Any
    reward: Any
    done: Any


@dataclass
class Example:
    ids: list[int]
    label: int = 1


@function
def halved(values: Any) -> Any:
    return hb.tensor(values) / 2


def looped(x: Any, w: Any) -> Any:
    for value in w:
        x = x * value
    return x


def by_index(x: Any, w: Any) -> Any:
    for index in range(len(w)):
        x = x + w[index]
    return x


def chosen(x: Any, w: Any) -> Any:
    return x * 2 if w[0] > w[1] else x


DATA = {
    "made": lambda x, w: x + hb.tensor(w),
    "another dtype": lambda x, w: (hb.tensor(w, dtype="float64"), hb.asarray(w) * 2),
    "an operand": lambda x, w: (x * w, w - x, x < w),
    "with its length": lambda x, w: hb.tensor(w) * len(w) if w else x,
    "in a function": lambda x, w: (lambda v: hb.tensor(v).sum())(w),
    "in a decorated function": lambda x, w: halved(w) + x,
    "an item": lambda x, w: x * w[0] + w[-1],
    "an item made": lambda x, w: hb.tensor(w[0]) + hb.tensor([w[1], w[0]]),
    "sums": lambda x, w: x * (sum(w) / len(w)) + max(w) - min(w),
    "a loop": looped,
    "a loop over indices": by_index,
    "a branch": chosen,
    "given back": lambda x, w: (x * 2, w[0]),
    "an array": lambda x, w: hb.tensor(np.asarray(w, dtype=np.float32)) * x,
    "means": lambda x, w: x * float(np.mean(w)),
}
BY_CONTENT = {
    "in a fresh container": lambda x, w: hb.tensor({"w": (x, w)}["w"][1]),
    "a subscript": lambda x, w: x[[int(abs(v)) % 2 for v in w]],
    "a comprehension": lambda x, w: [x * v for v in w],
    "a filter": lambda x, w: [v for v in w if v > 2] and x * 2,
    "a generator": lambda x, w: sum((x * v for v in w), x),
    "another order": lambda x, w: hb.tensor(sorted(w)),
    "joined": lambda x, w: hb.tensor([*w, *w]),
    "a part": lambda x, w: hb.tensor(w[1:]),
    "behind a star": lambda x, w: (lambda *v: hb.tensor(v[0]))(*w),
    "a text": lambda x, w: (json.dumps(w), x * 2),
    "found": lambda x, w: x * w.index(w[1]) if 3 in w else x,
    "changed": lambda x, w: w.append(1) or hb.tensor(w),
    "stored": lambda x, w: KEPT.append(w) or hb.tensor(w),
    "rounded": lambda x, w: hb.tensor(w, dtype="float32").astype("int32") + hb.tensor(w, dtype=int),
    "an iterator": lambda x, w: x * next(iter(w)),
}
LISTS = {
    "floats": lambda k: [k * 0.5 - 2, 1.25 * k],
    "ints": lambda k: [k % 7, (k * 3) % 5 + 1],
    "rare floats": lambda k: [[0.0, -0.0], [float("inf"), 1.0], [1e308, 1e-320]][k % 3],
    "two types": lambda k: [k, 1.5 * k] if k % 3 else [1.0 * k, 2.0],
    "beyond 64 bits": lambda k: [2**62 + k, 2**40 + k] if k % 2 else [2**63 + k, k],
    "truths": lambda k: [k % 2 == 0, True],
    "many in a tuple": lambda k: tuple([0.5 * k + v for v in range(10)]),
    "many ints in a tuple": lambda k: tuple([(k * v) % 5 for v in range(10)]),
    "many truths in a tuple": lambda k: tuple([(k + v) % 3 == 0 for v in range(10)]),
}


def outcome(call: Any, number: int, given: Any) -> Any:
    x = hb.tensor(np.array([1.5 + number, -2.0], dtype=np.float32))
    try:
        result = leaves(call(x, given))
    except Exception as error:
        result = type(error).__name__, str(error)
    return repr((result, given, KEPT))


def agrees(body: Any, make: Any, calls: int = 14) -> Any:
    """The traced function, after calls that did what the plain one does; every fifth list is one
    that was there before, with another content."""
    traced, found = function(body), []
    for call in (body, traced):
        KEPT.clear()
        again: list[Any] = []
        found.append([])
        for number in range(calls):
            given = make(number)
            if number % 5 == 4 and type(given) is list:
                again[:] = given
                given = again
            found[-1].append(outcome(call, number, given))
    assert found[0] == found[1]
    return traced


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("name", [*DATA, *BY_CONTENT])
def test_what_a_program_does_with_a_list(name: str, kind: str) -> None:
    agrees((DATA | BY_CONTENT)[name], LISTS[kind])


@pytest.mark.parametrize("kind", ["floats", "ints"])
@pytest.mark.parametrize("name", DATA)
def test_other_numbers_are_replayed(name: str, kind: str) -> None:
    traced = agrees(DATA[name], LISTS[kind])
    info = traced.cache_info()
    assert info.replays >= 8 and not info.eager, traced.explain()


@pytest.mark.parametrize("kind", ["truths", *[kind for kind in LISTS if kind.startswith("many")]])
def test_other_truths_and_tuples_are_replayed(kind: str) -> None:
    traced = agrees(lambda x, w: (hb.tensor(w), x * len(w)), LISTS[kind])
    info = traced.cache_info()
    assert info.replays >= 6, traced.explain()


def test_transitions_are_replayed() -> None:
    """A named tuple of tuples of arrays, ints, floats and truths, as a replay memory gives."""

    def learn(x: Any, batch: Any) -> Any:
        states = hb.tensor(np.stack(batch.state)) @ hb.ones(3, 2)
        taken = states.gather(1, hb.tensor(batch.action).unsqueeze(1)).squeeze(1)
        return taken - hb.tensor(batch.reward) * (1 - hb.tensor(batch.done).float())

    def batch(k: int) -> Any:
        draw = np.random.default_rng(k)
        states = [draw.standard_normal(3).astype("f") for _ in range(12)]
        numbers = zip(draw.integers(0, 2, 12).tolist(), draw.standard_normal(12).tolist())
        return Transitions(
            *zip(*[(s, a, r, bool(a) or r > 1) for s, (a, r) in zip(states, numbers)])
        )

    traced = agrees(learn, batch)
    assert traced.cache_info().replays >= 8, traced.explain()


def test_lists_in_lists_and_in_objects_are_data() -> None:
    def loss(x: Any, example: Any) -> Any:
        return (TABLE[hb.tensor(example.ids)] * x).sum() + hb.tensor([example.label])

    traced = agrees(loss, lambda k: Example([k % 20, (7 * k) % 20]))
    assert traced.cache_info().replays >= 10, traced.explain()
    traced = agrees(lambda x, w: hb.tensor(w) @ x, lambda k: [[k * 0.5, 1.0], (k * 0.1, -1.0)][:1])
    assert traced.cache_info().replays >= 10, traced.explain()


def test_a_number_is_made_a_tensor() -> None:
    table = nn.Embedding(20, 4)

    def embedded(x: Any, word: Any) -> Any:
        return table(hb.tensor(word)), hb.tensor(word, dtype=hb.float32) * x, hb.tensor([word, 1])

    traced = agrees(embedded, lambda k: k % 20)
    assert traced.cache_info().replays >= 9, traced.explain()


def test_lists_of_ever_other_lengths_take_one_recording_each() -> None:
    table = nn.Embedding(20, 4)
    traced = agrees(
        lambda x, ids: table(hb.tensor(ids)).mean(axis=0),
        lambda k: [(k + j) % 20 for j in range(1 + k % 6)],
        30,
    )
    assert traced.cache_info().records <= 14, traced.explain()


def test_a_list_that_is_also_held_elsewhere_is_seen() -> None:
    class Holder:
        held: Any = None

        def first(self) -> Any:
            return self.held[0]

    holder = Holder()

    def scaled(x: Any, w: Any) -> Any:
        return x * holder.first() + hb.tensor(w)

    def given(number: int) -> Any:
        holder.held = made = [1.0 * number, 2.0]
        return made

    agrees(scaled, given)


def test_arrays_behind_a_star_are_looked_at() -> None:
    traced = function(lambda x, w: (lambda first, *rest: hb.tensor(first) * x)(*w))
    for number in range(6):
        x, given = hb.ones(2), np.array([1.0 * number, 2.0])
        assert traced(x, given).tolist() == [number, number]
