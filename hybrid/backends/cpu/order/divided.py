"""Keys in order by dividing them: parts below and from a pivot on, few keys by a network.

Invariant: keys come out in increasing order of their places; a part is divided by a key of its own,
or halves the range of keys where that went badly, so the work is bounded whatever is given.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ...emit.code import Code
from .vectors import Vectors

__all__ = ["DEPTH", "Receiver", "put_in_order"]

DEPTH = 512  # parts that wait: 64 halvings, each behind a bad division, and good ones between them
_SAMPLE, _RANGE, _EQUAL = "0", "1", "2"  # how the next pivot is found; equal: it is the least key
_TOGETHER = 4  # vectors that are divided at once
_BAD = 8  # times the smaller part that a division is bad at


class Receiver(Protocol):
    """What is done with keys that are in order."""

    def wanted(self, place: str, size: str) -> str | None:
        """Whether any of `size` keys from a place on is (i1); None: all are."""

    def sorted(self, vectors: list[str], place: str, size: str) -> None:
        """Keys of a few vectors, of which `size` count."""

    def repeated(self, key: str, place: str, size: str) -> None:
        """One key, `size` times."""


class _State:
    """Variables of the walk over parts: the place of a part, how many keys it has, how it is
    divided, by what, and how many parts wait."""

    def __init__(self, code: Code, key: str) -> None:
        self.code = code
        self.types = dict.fromkeys(("place", "size", "way", "waiting"), "i64") | {"pivot": key}
        self.places = {name: code.alloca(kind) for name, kind in self.types.items()}

    def __getitem__(self, name: str) -> str:
        return self.code.op(f"load {self.types[name]}, ptr {self.places[name]}")

    def __setitem__(self, name: str, value: str) -> None:
        self.code.do(f"store {self.types[name]} {value}, ptr {self.places[name]}")


class _Reached(NamedTuple):
    """How far a part is divided: what is read from its front and back, and where it is written."""

    front: str
    back: str
    below: str
    behind: str


class _Division:
    """The code of one walk over keys that begin somewhere; `stack`: what remembers parts."""

    def __init__(self, vectors: Vectors, keys: str, stack: str, receiver: Receiver) -> None:
        self.vectors, self.code = vectors, vectors.code
        self.keys, self.stack = keys, stack
        self.receiver, self.state = receiver, _State(vectors.code, vectors.key)
        self.few = vectors.few * vectors.lanes

    def part(self) -> str:
        """Where the keys of the part begin."""
        return self.vectors.at(self.keys, self.state["place"])

    # ---- a few keys
    def sort_few(self) -> None:
        """By the smallest network that holds them."""
        code, lanes = self.code, self.vectors.lanes
        after, count = code.label("sorted"), 1
        while count < self.vectors.few:
            inside, larger = code.label("net"), code.label("more")
            size = self.state["size"]
            code.branch(code.op(f"icmp sle i64 {size}, {count * lanes}"), inside, larger)
            code.start(inside)
            self.network(count)
            code.jump(after)
            code.start(larger)
            count *= 2
        self.network(count)
        code.jump(after)
        code.start(after)

    def network(self, count: int) -> None:
        """Keys of at most `count` vectors."""
        vectors, code, loaded = self.vectors, self.code, []
        size = self.state["size"]
        keys = self.part()
        for number in range(count):
            first = str(number * vectors.lanes)
            mask = vectors.first(code.op(f"sub i64 {size}, {first}"))
            found = vectors.load(keys, first)
            most = f"splat ({vectors.key} -1)"
            loaded.append(
                code.op(
                    f"select {vectors.mask} {mask}, {vectors.type} {found}, {vectors.type} {most}"
                )
            )
        self.receiver.sorted(vectors.sorted(loaded), self.state["place"], size)

    # ---- pivots
    def sample(self) -> str:
        """A median of medians of three vectors."""
        vectors, code = self.vectors, self.code
        keys, quarter = self.part(), code.op(f"lshr i64 {self.state['size']}, 2")
        low, middle, high = [
            vectors.load(keys, code.mul(quarter, str(number))) for number in (1, 2, 3)
        ]
        low, middle = vectors.least(low, middle), vectors.most(low, middle)
        medians = vectors.most(low, vectors.least(middle, high))
        (ordered,) = vectors.sorted([medians])
        return code.op(f"extractelement {vectors.type} {ordered}, i64 {vectors.lanes // 2}")

    def extremes(self) -> list[str]:
        """The least and the greatest key of a part that has a vector or more."""
        vectors, code = self.vectors, self.code
        keys, size = self.part(), self.state["size"]
        tail = vectors.load(keys, code.op(f"sub i64 {size}, {vectors.lanes}"))

        def reach(index: str, ends: list[str]) -> list[str]:
            found = vectors.load(keys, index)
            return [vectors.least(ends[0], found), vectors.most(ends[1], found)]

        initial, lanes = [(vectors.type, tail)] * 2, vectors.lanes
        _, ends = code.loop("0", size, str(lanes), initial, reach, full=lanes)
        return [vectors.reduced(which, end) for which, end in zip(("umin", "umax"), ends)]

    # ---- parts
    def divide(self) -> tuple[str, str]:
        """Keys below the pivot to the front of the part, the others to its back: how many of each.
        Vectors are read where more of them would be overwritten next; a few from both ends are
        held meanwhile, so there is room for what a step writes."""
        code, lanes = self.code, self.vectors.lanes
        keys, size, group = self.part(), self.state["size"], str(_TOGETHER * lanes)
        limit = self.vectors.spread(self.state["pivot"])
        groups = code.op(f"udiv i64 {size}, {group}")
        rest = code.mul(groups, group)
        last = code.op(f"sub i64 {rest}, {group}")
        held = [self._group(keys, begin) for begin in ("0", last, rest)]

        def step(_: str, values: list[str]) -> list[str]:
            reached = _Reached(*values)
            left = code.op(f"sub i64 {reached.front}, {reached.below}")
            right = code.op(f"sub i64 {reached.behind}, {reached.back}")
            ahead = code.op(f"icmp sle i64 {left}, {right}")
            lower = code.op(f"sub i64 {reached.back}, {group}")
            begin = code.op(f"select i1 {ahead}, i64 {reached.front}, i64 {lower}")
            higher = code.add(reached.front, group)
            front = code.op(f"select i1 {ahead}, i64 {higher}, i64 {reached.front}")
            back = code.op(f"select i1 {ahead}, i64 {reached.back}, i64 {lower}")
            reached = _Reached(front, back, reached.below, reached.behind)
            for found in self._group(keys, begin):
                reached = self._put(found, limit, keys, reached)
            return list(reached)

        steps = code.op(f"sub i64 {groups}, 2")
        initial = [("i64", start) for start in (group, last, "0", size)]
        reached = _Reached(*code.loop("0", steps, "1", initial, step)[1])
        for found in held[0] + held[1]:
            reached = self._put(found, limit, keys, reached)
        for number, found in enumerate(held[2]):
            begin = code.add(rest, str(number * lanes))
            valid = self.vectors.first(code.op(f"sub i64 {size}, {begin}"))
            reached = self._put(found, limit, keys, reached, valid)
        return reached.below, code.op(f"sub i64 {size}, {reached.below}")

    def _group(self, keys: str, begin: str) -> list[str]:
        lanes = self.vectors.lanes
        places = [self.code.add(begin, str(number * lanes)) for number in range(_TOGETHER)]
        return [self.vectors.load(keys, place) for place in places]

    def _put(
        self, found: str, limit: str, keys: str, reached: _Reached, valid: str = ""
    ) -> _Reached:
        """A vector's keys (those that are valid) to both ends."""
        vectors, code = self.vectors, self.code
        less, every = vectors.below(found, limit), valid or "splat (i1 true)"
        less = code.op(f"and {vectors.mask} {less}, {valid}") if valid else less
        others = code.op(f"xor {vectors.mask} {less}, {every}")
        small, great = vectors.compressed(found, less), vectors.compressed(found, others)
        count = vectors.count(less)
        more = vectors.count(others) if valid else code.op(f"sub i64 {vectors.lanes}, {count}")
        behind = code.op(f"sub i64 {reached.behind}, {more}")
        if valid:
            vectors.store_some(small, vectors.at(keys, reached.below), vectors.front(count))
        else:
            vectors.store(small, keys, reached.below)
        vectors.store_some(great, vectors.at(keys, behind), vectors.front(more))
        return reached._replace(below=code.add(reached.below, count), behind=behind)

    def put_off(self, place: str, size: str, way: str) -> None:
        """A part waits until the one before it is done."""
        code, waiting = self.code, self.state["waiting"]
        entry = code.at("[4 x i64]", self.stack, waiting)
        for number, value in enumerate((place, size, way)):
            code.do(f"store i64 {value}, ptr {code.at('i64', entry, str(number))}")
        self.state["waiting"] = code.add(waiting, "1")

    def take_next(self, done: str, following: str) -> None:
        """The part that waited last, or the end."""
        code, waiting = self.code, self.state["waiting"]
        more = code.label("next")
        code.branch(code.op(f"icmp eq i64 {waiting}, 0"), done, more)
        code.start(more)
        left = code.op(f"sub i64 {waiting}, 1")
        self.state["waiting"] = left
        entry = code.at("[4 x i64]", self.stack, left)
        for number, name in enumerate(("place", "size", "way")):
            self.state[name] = code.op(f"load i64, ptr {code.at('i64', entry, str(number))}")
        code.jump(following)

    def repeat(self, key: str, size: str) -> None:
        self.receiver.repeated(key, self.state["place"], size)

    def go_on(self, place: str, size: str, way: str) -> None:
        """With this part."""
        for name, value in zip(("place", "size", "way"), (place, size, way)):
            self.state[name] = value

    # ---- the walk
    def walk(self) -> None:
        """From `state` on until no part waits."""
        code = self.code
        names = "part", "small", "large", "split", "equal", "unequal", "others", "ended", "done"
        part, small, large, split, equal, unequal, others, ended, done = map(code.label, names)
        code.jump(part)
        code.start(part)
        self._skip(ended)
        code.branch(code.op(f"icmp sle i64 {self.state['size']}, {self.few}"), small, large)
        code.start(small)
        self.sort_few()
        code.jump(ended)
        code.start(large)
        self._choose(ended)
        code.jump(split)
        code.start(split)
        below, behind = self.divide()
        code.branch(code.op(f"icmp eq i64 {self.state['way']}, {_EQUAL}"), equal, unequal)
        code.start(equal)
        self.repeat(code.op(f"sub {self.vectors.key} {self.state['pivot']}, 1"), below)
        self.go_on(code.add(self.state["place"], below), behind, _SAMPLE)
        code.jump(part)
        code.start(unequal)
        self._none_below(below, (split, others, ended))
        code.start(others)
        self._both(below, behind)
        code.jump(part)
        code.start(ended)
        self.take_next(done, part)
        code.start(done)

    def _skip(self, ended: str) -> None:
        """A part of which nothing is wanted is done."""
        code, size, place = self.code, self.state["size"], self.state["place"]
        wanted = self.receiver.wanted(place, size)
        if wanted is None:
            return
        inside, outside = code.label("wanted"), code.label("unwanted")
        code.branch(wanted, inside, outside)
        code.start(outside)
        code.jump(ended)
        code.start(inside)

    def _choose(self, ended: str) -> None:
        """The pivot: of a sample, or the middle of the range, where there is one."""
        code, key = self.code, self.vectors.key
        by_range, by_sample, chosen = map(code.label, ("range", "sample", "chosen"))
        way = self.state["way"]
        code.branch(code.op(f"icmp eq i64 {way}, {_RANGE}"), by_range, by_sample)
        code.start(by_range)
        least, most = self.extremes()
        alike, apart = code.label("alike"), code.label("apart")
        code.branch(code.op(f"icmp eq {key} {least}, {most}"), alike, apart)
        code.start(alike)
        self.repeat(least, self.state["size"])
        code.jump(ended)
        code.start(apart)
        half = code.op(f"lshr {key} {code.op(f'sub {key} {most}, {least}')}, 1")
        above = code.op(f"add {key} {least}, 1")
        self.state["pivot"] = code.op(f"add {key} {above}, {half}")
        code.jump(chosen)
        code.start(by_sample)
        self.state["pivot"] = self.sample()
        code.jump(chosen)
        code.start(chosen)

    def _none_below(self, below: str, labels: tuple[str, str, str]) -> None:
        """Where no key is below the pivot, that is the least one: those that equal it are next."""
        code, key = self.code, self.vectors.key
        split, others, ended = labels
        none, greatest, again = map(code.label, ("none", "greatest", "again"))
        code.branch(code.op(f"icmp eq i64 {below}, 0"), none, others)
        code.start(none)
        pivot = self.state["pivot"]
        code.branch(code.op(f"icmp eq {key} {pivot}, -1"), greatest, again)
        code.start(greatest)
        self.repeat(pivot, self.state["size"])
        code.jump(ended)
        code.start(again)
        self.state["pivot"] = code.op(f"add {key} {pivot}, 1")
        self.state["way"] = _EQUAL
        code.jump(split)

    def _both(self, below: str, behind: str) -> None:
        """The upper part waits; the lower one is next."""
        code, place, size = self.code, self.state["place"], self.state["size"]
        less = code.smin(below, behind)
        bad = code.op(f"icmp slt i64 {code.mul(less, str(_BAD))}, {size}")
        more = code.op(f"icmp sgt i64 {below}, {behind}")
        large = code.op(f"select i1 {bad}, i64 {_RANGE}, i64 {_SAMPLE}")
        ways = [
            code.op(f"select i1 {more}, i64 {large}, i64 {_SAMPLE}"),
            code.op(f"select i1 {more}, i64 {_SAMPLE}, i64 {large}"),
        ]
        self.put_off(code.add(place, below), behind, ways[1])
        self.go_on(place, below, ways[0])


def put_in_order(
    vectors: Vectors, places: tuple[str, str], size: str, receiver: Receiver, count: int
) -> None:
    """The walk over keys, or the network where `count` vectors hold them (0: they need not).
    `places`: of the keys, behind which a network has room, and memory for DEPTH parts of 32
    bytes."""
    walk = _Division(vectors, *places, receiver)
    walk.go_on("0", size, _SAMPLE)
    if count:
        return walk.network(count)
    walk.state["waiting"] = "0"
    walk.walk()
    return None
