"""Numbers inside of containers and objects among the arguments: free by path, built into results,
and by content again where Python looks at them.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import hybrid as hb
from hybrid.decorator import function
from hybrid.trace.follow.rows import SUPPORTED

pytestmark = [
    pytest.mark.skipif(not SUPPORTED, reason="no table of instructions for this interpreter"),
    pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly"),
]
X = hb.tensor(np.linspace(-1.0, 2.0, 5, dtype="f4"))
CALLS = 24
Pair = namedtuple("Pair", "rate x")
Space = types.SimpleNamespace


class Moments(NamedTuple):
    step: int
    m: Any


@dataclasses.dataclass(frozen=True)
class Frozen:
    step: int
    m: Any


@dataclasses.dataclass
class Loose:
    step: int
    m: Any


class Slotted:
    __slots__ = ("rate", "x")

    def __init__(self, rate: float, x: Any) -> None:
        self.rate, self.x = rate, x


class Shown:
    def __init__(self, rate: float) -> None:
        self.kept = rate

    @property
    def rate(self) -> float:
        return self.kept * 2


class Asked:
    def __init__(self, rate: float) -> None:
        self.kept = rate

    def __getattr__(self, name: str) -> Any:
        return self.kept


def bits(value: Any) -> Any:
    """A result as plain values that tell types and bits."""
    if isinstance(value, hb.Tensor):
        return str(value.dtype), value.shape, value.numpy().tobytes()
    if isinstance(value, dict):
        return type(value).__name__, [(k, bits(v)) for k, v in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [bits(v) for v in value]
    if isinstance(value, (Frozen, Loose, Shown, Asked, Space)):
        return type(value).__name__, bits(vars(value))
    return type(value).__name__, repr(value)


def played(body: Callable[..., Any], make: Callable[[int], Any], calls: int = CALLS) -> Any:
    """The decorated function, after calls that all gave what plain Python gives."""
    traced = function(body)
    for k in range(calls):
        assert bits(traced(*make(k))) == bits(body(*make(k))), k
    return traced


def pairs_summed(pairs: Any) -> Any:
    total = 0
    for x, weight in pairs:
        total = total + x * weight
    return total


def unpacked(carry: Any) -> Any:
    h, t = carry
    return h + t * 0.1, t + 0.1


def in_closure(cfg: Any, x: Any) -> Any:
    def inner(x: Any) -> Any:
        return x * cfg["rate"]

    return inner(x) + inner(x)


REPLAYED: dict[str, tuple[Callable[..., Any], Callable[[int], Any]]] = {
    "dict": (lambda d, x: x * d["rate"] + d["step"], lambda k: ({"rate": 0.1 * k, "step": k}, X)),
    "dict returned": (
        lambda s: {"step": s["step"] + 1, "m": s["m"] * (1 - 0.9 ** (s["step"] + 1))},
        lambda k: ({"step": k, "m": X},),
    ),
    "dict joined": (lambda s: {**s, "step": s["step"] + 1}, lambda k: ({"step": k, "m": X},)),
    "get": (lambda d, x: x * d.get("rate", 1.0), lambda k: ({"rate": 0.1 * k}, X)),
    "ordered dict": (lambda d, x: x * d["a"], lambda k: (OrderedDict(a=0.1 * k, b=k), X)),
    "tuple": (lambda c: c[0] * c[1], lambda k: ((X, 0.5 * k),)),
    "tuple from the end": (lambda c: c[-2] * c[-1], lambda k: ((X, 0.5 * k),)),
    "carry": (unpacked, lambda k: ((X, 0.5 * k),)),
    "named tuple": (lambda p: p.x * p.rate, lambda k: (Pair(0.1 * k, X),)),
    "named tuple made": (lambda s: Moments(s.step + 1, s.m * s.step), lambda k: (Moments(k, X),)),
    "named tuple by name": (
        lambda s: Moments(m=s.m * 2, step=s.step + 1),
        lambda k: (Moments(k, X),),
    ),
    "_replace": (lambda s: s._replace(step=s.step + 1), lambda k: (Moments(k, X),)),
    "frozen": (lambda s: Frozen(s.step + 1, s.m * s.step), lambda k: (Frozen(k, X),)),
    "loose": (lambda s: Loose(s.step + 1, s.m * s.step), lambda k: (Loose(k, X),)),
    "replace": (
        lambda s: dataclasses.replace(s, step=s.step + 1, m=s.m * s.step),
        lambda k: (Frozen(k, X),),
    ),
    "replace one": (lambda s: dataclasses.replace(s, m=s.m * 2), lambda k: (Loose(k, X),)),
    "replace twice": (
        lambda s: dataclasses.replace(dataclasses.replace(s, m=s.m * 2), step=s.step * 2),
        lambda k: (Frozen(k, X),),
    ),
    "namespace": (lambda c, x: x * c.rate + c.more.eps, lambda k: (_space(k), X)),
    "namespace made": (lambda c, x: Space(rate=c.rate * 2, x=x * c.rate), lambda k: (_space(k), X)),
    "slots": (lambda s: s.x * s.rate, lambda k: (Slotted(0.1 * k, X),)),
    "pairs": (pairs_summed, lambda k: ([(X, 0.1 * k), (X + 1, 0.2 * k)],)),
    "pair by index": (lambda p: p[1][0] * p[1][1], lambda k: ([(X, 1.0), (X + 1, 0.2 * k)],)),
    "nested": (
        lambda c, x: x * c["opt"]["rate"] * c["opt"]["betas"][0],
        lambda k: ({"opt": {"rate": 0.1, "betas": (0.1 * k, 0.9)}}, X),
    ),
    "closure": (in_closure, lambda k: ({"rate": 0.1 * k}, X)),
    "by keyword": (lambda x, *, cfg=None: x * cfg["rate"], lambda k: (X,)),
    "in a text": (lambda d, x: (x * d["n"], f"{d['n']}"), lambda k: ({"n": k}, X)),
    "two of a kind": (
        lambda a, b: X * a["n"] - X * b["n"],
        lambda k: ({"n": 1.0 + k}, {"n": 2.0 + k * k}),
    ),
    "power": (lambda h, x: x * (h["rate"] * h["decay"] ** h["step"]), lambda k: (_powers(k), X)),
}


def _space(k: int) -> Any:
    return Space(rate=0.1 * k, more=Space(eps=1e-3 * k))


def _powers(k: int) -> Any:
    return {"rate": 0.1, "decay": 0.99, "step": k}


@pytest.mark.parametrize("name", [name for name in REPLAYED if name != "by keyword"])
def test_numbers_inside_are_run_time_numbers(name: str) -> None:
    traced = played(*REPLAYED[name])
    assert traced.cache_info().replays >= CALLS - 8, hb.explain(traced)


def test_by_keyword() -> None:
    body = REPLAYED["by keyword"][0]
    traced = function(body)
    for k in range(CALLS):
        assert bits(traced(X, cfg={"rate": 0.1 * k})) == bits(body(X, cfg={"rate": 0.1 * k}))
    assert traced.cache_info().replays >= CALLS - 8, hb.explain(traced)


def looped(d: Any, x: Any) -> Any:
    for _ in range(d["n"]):
        x = x * 2
    return x


def spread_out(d: Any, x: Any) -> Any:
    def inner(n: int = 0, rate: float = 0) -> Any:
        return x * n * rate

    return inner(**d)


KEPT: list[Any] = []


def keeping(d: Any, x: Any) -> Any:
    KEPT.append(d)
    del KEPT[:-2]
    return x * d["n"]


def changing(d: Any, x: Any) -> Any:
    d["n"] += 1
    return x * d["n"]


def resetting(d: Any, x: Any) -> Any:
    result = x * 2
    d["n"] = 0
    return result, d["n"]


def keeping_a_tuple(pair: Any) -> Any:
    KEPT[:] = [pair]
    return pair[0] * 2


def walked(d: Any, x: Any) -> Any:
    for value in d.values():
        x = x * value
    return x


def taken_back(d: Any, x: Any) -> Any:
    d["more"] = 1
    y = x * d["n"]
    del d["more"]
    return y


def put_back(d: Any, x: Any) -> Any:
    number = d["n"]
    d["n"] = 7.0
    y = x * d["n"]
    d["n"] = number
    return y + number


def put_back_in_c(d: Any, x: Any) -> Any:
    number = d["n"]
    d.update(n=7.0)
    y = x * d["n"]
    d.__setitem__("n", number)
    return y


def set_in_c(s: Any, x: Any) -> Any:
    step = s.step
    object.__setattr__(s, "step", 3)
    y = x * s.step
    setattr(s, "step", step)  # noqa: B010
    return y


def swapped(ps: Any) -> Any:
    ps[0], ps[1] = ps[1], ps[0]
    y = ps[0][0] * ps[0][1]
    ps[0], ps[1] = ps[1], ps[0]
    return y


class Odd(NamedTuple):
    n: float

    def __getattribute__(self, name: str) -> Any:
        return 2.5 if name == "n" else tuple.__getattribute__(self, name)


class Truthful(NamedTuple):
    n: float

    def __bool__(self) -> bool:
        return bool(self[0] > 0.5)

    def doubled(self) -> float:
        return self.n * 2

    @property
    def half(self) -> float:
        return self.n / 2


@dataclasses.dataclass(frozen=True)
class Checked:
    n: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", self.n + 1)


@dataclasses.dataclass
class ByHand:
    n: Any

    def __init__(self, n: Any) -> None:
        self.n = n * 3


@dataclasses.dataclass
class Listed:
    n: Any
    seen: list[Any] = dataclasses.field(default_factory=list)


def made_and_changed(s: Any, x: Any) -> Any:
    new = Space(n=s.n + 1)
    new.n = new.n * 2
    new.more = x * new.n
    return new


def replaced_and_changed(s: Any, x: Any) -> Any:
    new = dataclasses.replace(s, step=s.step + 1)
    new.step += 1
    return new, x * new.step


LOOKED: dict[str, tuple[Callable[..., Any], Callable[[int], Any]]] = {
    "loop": (looped, lambda k: ({"n": k % 5}, X)),
    "text of all": (lambda d, x: (x * d["n"], f"{d}"), lambda k: ({"n": k}, X)),
    "text of a tuple": (lambda p: (p[0] * p[1], str(p[1:])), lambda k: ((X, k),)),
    "text of a record": (lambda s: (s.m * s.step, str(s._asdict())), lambda k: (Moments(k, 1.0),)),
    "repr": (lambda s, x: (x * s.step, repr(s)), lambda k: (Frozen(k, 1), X)),
    "sum": (lambda d, x: x * sum(d.values()), lambda k: ({"n": k, "m": 2 * k}, X)),
    "values": (walked, lambda k: ({"n": k, "m": 2 * k}, X)),
    "two stars": (spread_out, lambda k: ({"n": k, "rate": 2.0 * k}, X)),
    "one star": (lambda p, x: x * max(*p), lambda k: ((k, 2 * k), X)),
    "equal": (lambda a, b, x: x * 2 if a == b else x, lambda k: ({"n": k % 3}, {"n": k % 2}, X)),
    "hash": (lambda p, x: x * (hash(p) % 3), lambda k: ((k, 0.5), X)),
    "key": (lambda p, x: x * {0: 1, 1: 2, 2: 3}[p[0]], lambda k: ((k % 3, 0.5), X)),
    "member": (lambda p, x: x * 2 if p[0] in (0, 3, 5) else x, lambda k: ((k, 0.5), X)),
    "shape": (lambda d: hb.zeros(d["n"]) + 1, lambda k: ({"n": k % 4 + 1},)),
    "sorted": (lambda p, x: x * sorted(p)[0], lambda k: ((k % 3, 1), X)),
    "min of all": (lambda d, x: x * min(d.items())[1], lambda k: ({"n": k, "m": 3}, X)),
    "vars": (lambda s, x: x * vars(s)["step"], lambda k: (Loose(k, 1), X)),
    "getattr": (lambda s, x: x * getattr(s, "st" + "ep"), lambda k: (Loose(k, 1), X)),
    "property": (lambda s, x: x * s.rate, lambda k: (Shown(0.1 * k), X)),
    "hook": (lambda s, x: x * s.other, lambda k: (Asked(0.1 * k), X)),
    "kept": (keeping, lambda k: ({"n": k}, X)),
    "changed": (changing, lambda k: ({"n": k}, X)),
    "reset": (resetting, lambda k: ({"n": k % 3}, X)),
    "tuple kept": (keeping_a_tuple, lambda k: ((X, k % 3),)),
    "one dict twice": (lambda a, b: X * a["n"] - b["n"], lambda k: ({"n": 0.5 * k},) * 2),
    "branch": (lambda d, x: x * 2 if d["n"] > 5 else x, lambda k: ({"n": k}, X)),
    "comprehension": (lambda d, x: x * sum([v for v in d.values()]), lambda k: ({"n": k}, X)),
    "deep copy": (lambda d, x: x * dict(d)["n"], lambda k: ({"n": k}, X)),
    "updated": (lambda d, x: (lambda e: e.update(d) or x * e["n"])({}), lambda k: ({"n": k}, X)),
    "zipped": (
        lambda p, x: [x * v for v, _ in zip(p, "ab")],
        lambda k: ((0.1 * k, 0.2 * k), X),
    ),
    "tuple of dict": (lambda p: p[0] * p[1]["n"], lambda k: ((X, {"n": k}),)),
    "given on": (lambda d, x: in_closure(d, x), lambda k: ({"rate": 0.3 * k}, X)),
    "taken back": (taken_back, lambda k: ({"n": 0.5 * k}, X)),
    "put back": (put_back, lambda k: ({"n": 0.5 * k}, X)),
    "put back in C": (put_back_in_c, lambda k: ({"n": 0.5 * k}, X)),
    "set in C": (set_in_c, lambda k: (Loose(k, 1), X)),
    "swapped": (swapped, lambda k: ([(X, 0.5 * k), (X + 1, 1.0 + k)],)),
    "own getattribute": (lambda o, x: x * o.n + o[0], lambda k: (Odd(0.5 * k), X)),
    "own truth": (lambda o, x: x * o.n if o else x, lambda k: (Truthful(0.1 * k), X)),
    "method": (lambda o, x: x * o.doubled(), lambda k: (Truthful(0.1 * k), X)),
    "property of a record": (lambda o, x: x * o.half, lambda k: (Truthful(0.1 * k), X)),
    "record made, own truth": (
        lambda n, x: x if Truthful(n["n"] * 2) else x * n["n"],
        lambda k: ({"n": 0.05 * k}, X),
    ),
    "record made, own getattribute": (
        lambda d, x: (Odd(d["n"] + 1).n * x, Odd(d["n"])[0]),
        lambda k: ({"n": 0.05 * k}, X),
    ),
    "post init": (lambda d, x: (Checked(d["n"] * 2).n, x), lambda k: ({"n": k}, X)),
    "post init replaced": (lambda c: dataclasses.replace(c, n=c.n * X).n, lambda k: (Checked(k),)),
    "init by hand": (lambda d: (vars(ByHand(d["n"] + 1)), X * d["n"]), lambda k: ({"n": k},)),
    "by hand replaced": (lambda c: vars(dataclasses.replace(c, n=c.n + 1)), lambda k: (ByHand(k),)),
    "default factory": (
        lambda d: (vars(Listed(d["n"] + 1)), X * d["n"]),
        lambda k: ({"n": k},),
    ),
    "made and changed": (made_and_changed, lambda k: (Space(n=k), X)),
    "replaced and changed": (replaced_and_changed, lambda k: (Loose(k, 1), X)),
    "record in a list": (
        lambda s, x: [s, Moments(s.step + 1, x)],
        lambda k: (Moments(k, 1.5), X),
    ),
    "record in a text": (lambda s, x: (x, f"{[s, s.step]}"), lambda k: (Moments(k, 1.5), X)),
    "made in a text": (lambda s, x: (x, str(Moments(s["n"], 2))), lambda k: ({"n": k}, X)),
    "records equal": (
        lambda a, b, x: x * a.step if a == b else x - b.step,
        lambda k: (Moments(k % 3, 1), Moments(k % 2, 1), X),
    ),
    "length": (lambda s, x: x * len(s) * s.step, lambda k: (Moments(k, 1.5), X)),
    "kind": (lambda s, x: x * s[0] if isinstance(s, tuple) else x, lambda k: (Moments(k, 1.5), X)),
    "joined tuples": (lambda p, x: (*p, x * p[0]), lambda k: ((0.5 * k, 2), X)),
    "added tuples": (lambda p, x: p + (x * p[0],), lambda k: ((0.5 * k, 2), X)),  # noqa: RUF005
    "part of a tuple": (lambda p, x: (p[1:], x * p[0]), lambda k: ((0.5 * k, k), X)),
    "in a cell": (
        lambda p, x: [x * p[1] for _ in range(2)] + [p[0]],
        lambda k: ((k, 0.5 * k), X),
    ),
    "value and gradient": (
        lambda d, x: hb.value_and_grad(lambda x, d: (x * d["n"]).sum())(x, d),
        lambda k: ({"n": 0.5 * k}, X),
    ),
}


@pytest.mark.parametrize("name", list(LOOKED))
def test_what_python_looks_at_is_as_in_plain_python(name: str) -> None:
    body, make = LOOKED[name]
    traced, plain = function(body), body
    for k in range(CALLS):
        mine, theirs = make(k), make(k)
        given, wanted = bits(traced(*mine)), bits(plain(*theirs))
        assert given == wanted, k
        assert [bits(v) for v in mine] == [bits(v) for v in theirs]
        if name == "tuple kept":
            assert bits(KEPT) == bits([theirs[0]])


NUMBERS = [1.0, 2, 0.0, -0.0, True, math.nan, 3.5, False, math.inf, -1, 0, 2**70, -0.0, 1, 1e-45]


@pytest.mark.parametrize("make", [lambda n: {"n": n}, lambda n: (n,), lambda n: Moments(n, 1)])
def test_types_and_bits(make: Callable[[Any], Any]) -> None:
    def body(box: Any, x: Any) -> Any:
        number = box["n"] if type(box) is dict else box[0]
        return hb.maximum(x, 1) / number, number

    traced = function(body)
    for number in NUMBERS * 3:
        found = []
        for run in (traced, body):
            try:
                found.append(bits(run(make(number), X)))
            except Exception as error:
                found.append((type(error).__name__, str(error)))
        assert found[0] == found[1], number


def test_a_structure_that_changes_is_another_signature() -> None:
    body = lambda d, x: x * d["n"] + d.get("more", 0) + len(d)  # noqa: E731
    traced = function(body)
    for k in range(40):
        given = {"n": 0.1 * k} if k % 4 else {"n": 0.1 * k, "more": 2.0 * k}
        assert bits(traced(given, X)) == bits(body(given, X)), k


def test_one_container_at_two_paths_and_two_that_are_equal() -> None:
    body = lambda a, b, x: x * a["n"] - b["n"]  # noqa: E731
    for order in (0, 1):
        traced = function(body)
        for k in range(40):
            one, two = {"n": 0.5 * k}, {"n": 0.25 * k + 1}
            two = one if (k // 5) % 2 == order else two
            assert bits(traced(one, two, X)) == bits(body(one, two, X)), k


def test_a_container_that_a_global_holds_as_well() -> None:
    held = {"cfg": {"n": 0.0}}

    def body(cfg: Any, x: Any) -> Any:
        return x * cfg["n"] - held["cfg"]["n"]

    traced = function(body)
    for k in range(30):
        held["cfg"] = {"n": 0.5 * k}
        given = held["cfg"] if k % 3 else {"n": 1.0 * k}
        assert bits(traced(given, X)) == bits(body(given, X)), k


def test_gradients_with_numbers_inside() -> None:
    body = lambda x, hp: ((x * hp["scale"]) ** 2).sum() * hp["rate"]  # noqa: E731
    traced = function(body)
    for k in range(CALLS):
        grads = []
        for run in (traced, body):
            x = hb.tensor(np.linspace(0, 1, 4, dtype="f4"), requires_grad=True)
            run(x, {"scale": 0.5 * k, "rate": 1.0 / (k + 1)}).backward()
            grads.append(bits(x.grad))
        assert grads[0] == grads[1], k
    assert traced.cache_info().replays >= CALLS - 8, hb.explain(traced)
