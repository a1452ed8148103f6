"""Counters and collections in dicts that are asked with `get` and `setdefault`."""

from __future__ import annotations

import collections
from typing import Any

from .harness import box, data, suite

PROGRAMS, replayed = suite()
ATTACKS, attack = suite()
KINDS = {
    "dict": dict,
    "default": lambda: collections.defaultdict(int),
    "counter": collections.Counter,
    "ordered": collections.OrderedDict,
}


def _counted(name: str, make: Any) -> None:
    def program(jit: Any) -> Any:
        counts = make()

        @jit
        def f(x: Any) -> Any:
            counts["calls"] = counts.get("calls", 0) + 1
            counts["half"] = counts.get("half", 1.0) * 0.5
            return x * counts["calls"]

        def call(k: int) -> Any:
            if k % 9 == 8:
                del counts["calls"]
            if k % 11 == 10:
                counts["half"] = 3
            return f(data(k))

        return call, counts

    program.__name__ = f"counted_in_a_{name}"
    replayed(program)


for _name, _make in KINDS.items():
    _counted(_name, _make)


@replayed
def counts_by_key(jit: Any) -> Any:
    class Meter:
        def __init__(self) -> None:
            self.counts: dict[str, int] = {}

        def hit(self, key: str, by: int = 1) -> int:
            self.counts[key] = self.counts.get(key, 0) + by
            return self.counts[key]

    m = Meter()

    @jit
    def f(x: Any) -> Any:
        m.hit("all")
        m.hit("large" if x.sum() > 40 else "small", 2)
        return x * 2, m.hit("all")

    return lambda k: f(data(k % 7)), m


@replayed
def setdefault_then_get(jit: Any) -> Any:
    counts: dict[str, Any] = {}

    @jit
    def f(x: Any) -> Any:
        counts.setdefault("n", 3)
        counts["n"] = counts.get("n") + 1
        counts["m"] = counts.get("n", 7) + counts.get("m", 0)
        return x + counts.get("n")

    def call(k: int) -> Any:
        if k % 7 == 6:
            counts.clear()
        return f(data(k))

    return call, counts


@replayed
def setdefault_of_a_list(jit: Any) -> Any:
    logs: dict[str, list[Any]] = {}

    @jit
    def f(x: Any) -> Any:
        logs.setdefault("sums", []).append(x.sum().item())
        logs.setdefault("tensors", []).append(x * 2)
        return x + 1

    def call(k: int) -> Any:
        if k % 12 == 11:
            logs.clear()
        return f(data(k))

    return call, logs


@replayed
def rates_with_defaults(jit: Any) -> Any:
    s = box(rates={"lr": 0.5}, other={})

    @jit
    def f(x: Any) -> Any:
        s.other["n"] = s.other.get("n", 0) + 1
        return x * s.rates.get("lr", 0.1) + s.rates.get("decay", 0.25)

    def call(k: int) -> Any:
        s.rates["lr"] = 0.5 + k
        if k == 17:
            s.rates["decay"] = 2.0
        return f(data(k))

    return call, s


@attack
def keys_of_users(jit: Any) -> Any:
    class Key:
        def __init__(self, name: str) -> None:
            self.name, self.asked = name, 0

        def __hash__(self) -> int:
            self.asked += 1
            return hash(self.name)

        def __eq__(self, other: Any) -> bool:
            return isinstance(other, Key) and self.name == other.name

    first, counts = Key("a"), {}

    @jit
    def f(x: Any) -> Any:
        counts[first] = counts.get(first, 0) + 1
        return x * 2

    return lambda k: f(data(k)), (first, counts)


@attack
def a_get_of_a_user(jit: Any) -> Any:
    class Asked(dict):  # type: ignore[type-arg]
        def get(self, key: Any, default: Any = None) -> Any:
            self.asked = getattr(self, "asked", 0) + 1
            return dict.get(self, key, default)

    class Filled(dict):  # type: ignore[type-arg]
        def __missing__(self, key: Any) -> Any:
            return 5

    one, other = Asked(), Filled()

    @jit
    def f(x: Any) -> Any:
        one["n"] = one.get("n", 0) + 1
        other["n"] = other.get("n", 0) + other["m"]
        return x * one["n"] + other["n"]

    return lambda k: f(data(k)), (one, vars(one), other)


@attack
def a_key_that_a_number_says(jit: Any) -> Any:
    s = box(counts={}, n=0)

    @jit
    def f(x: Any) -> Any:
        s.n += 1
        s.counts[s.n % 3] = s.counts.get(s.n % 3, 0) + 1
        s.counts["last"] = s.counts.get("last", s.n)
        return x * 2

    return lambda k: f(data(k)), s


@attack
def a_list_under_a_key(jit: Any) -> Any:
    logs: dict[str, Any] = {}

    @jit
    def f(x: Any) -> Any:
        kept = logs.get("kept", [])
        kept.append(x.sum().item())
        logs["kept"] = kept
        logs["joined"] = logs.get("joined", []) + [1.0]
        return x

    def call(k: int) -> Any:
        if k % 8 == 7:
            logs["kept"] = logs["joined"]
        return f(data(k))

    return call, logs


@attack
def a_dict_and_its_alias(jit: Any) -> Any:
    s = box(one={}, other={})

    @jit
    def f(x: Any) -> Any:
        s.one["n"] = s.one.get("n", 0) + 1
        s.other["n"] = s.other.get("n", 0) + s.one.get("n", 0)
        return x * s.one["n"]

    def call(k: int) -> Any:
        if k % 6 == 5:
            s.other = s.one if k % 12 == 5 else {}
        return f(data(k))

    return call, s
