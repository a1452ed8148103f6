"""Keys in order by dividing them: parts below and from a pivot on, few keys by a network.

Invariant: keys come out in increasing order of their places; a part is divided by a key of its own,
or halves the range of keys where that went badly, so the work is bounded whatever is given.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ...emit.code import Code
from .vectors import Vectors

__all__ = ["DEPTH", "SortedKeys", "put_in_order"]

DEPTH = 512  # parts that wait: 64 halvings, each behind a bad division, and good ones between them
_SAMPLE, _RANGE, _EQUAL = "0", "1", "2"  # how the next pivot is found; equal: it is the least key
_TOGETHER = 4  # vectors that are divided at once
_BAD = 8  # times the smaller part that a division is bad at


class SortedKeys(Protocol):
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

    def __init__(self, builder: Code, key: str) -> None:
        self.code = builder
        self.types = dict.fromkeys(("place", "size", "way", "waiting"), "i64") | {"pivot": key}
        self.places = {name: builder.alloca(kind) for name, kind in self.types.items()}

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
    """The builder of one walk over keys that begin somewhere; `stack`: what remembers parts."""

    def __init__(self, vectors: Vectors, keys: str, stack: str, receiver: SortedKeys) -> None:
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
        builder, lanes = self.code, self.vectors.lanes
        after, count = builder.label("sorted"), 1
        while count < self.vectors.few:
            inside, larger = builder.label("net"), builder.label("more")
            key_count = self.state["size"]
            builder.branch(builder.op(f"icmp sle i64 {key_count}, {count * lanes}"), inside, larger)
            builder.start(inside)
            self.network(count)
            builder.jump(after)
            builder.start(larger)
            count *= 2
        self.network(count)
        builder.jump(after)
        builder.start(after)

    def network(self, count: int) -> None:
        """Keys of at most `count` vectors."""
        vectors, builder, loaded = self.vectors, self.code, []
        key_count = self.state["size"]
        keys = self.part()
        for number in range(count):
            first = str(number * vectors.lanes)
            mask = vectors.first(builder.op(f"sub i64 {key_count}, {first}"))
            found = vectors.load(keys, first)
            most = f"splat ({vectors.key} -1)"
            loaded.append(
                builder.op(
                    f"select {vectors.mask} {mask}, {vectors.type} {found}, {vectors.type} {most}"
                )
            )
        self.receiver.sorted(vectors.sorted(loaded), self.state["place"], key_count)

    # ---- pivots
    def sample(self) -> str:
        """A median of medians of three vectors."""
        vectors, builder = self.vectors, self.code
        keys, quarter = self.part(), builder.op(f"lshr i64 {self.state['size']}, 2")
        low, middle, high = [
            vectors.load(keys, builder.mul(quarter, str(number))) for number in (1, 2, 3)
        ]
        low, middle = vectors.least(low, middle), vectors.most(low, middle)
        medians = vectors.most(low, vectors.least(middle, high))
        (ordered,) = vectors.sorted([medians])
        return builder.op(f"extractelement {vectors.type} {ordered}, i64 {vectors.lanes // 2}")

    def extremes(self) -> list[str]:
        """The least and the greatest key of a part that has a vector or more."""
        vectors, builder = self.vectors, self.code
        keys, key_count = self.part(), self.state["size"]
        tail = vectors.load(keys, builder.op(f"sub i64 {key_count}, {vectors.lanes}"))

        def reach(index: str, ends: list[str]) -> list[str]:
            found = vectors.load(keys, index)
            return [vectors.least(ends[0], found), vectors.most(ends[1], found)]

        initial, lanes = [(vectors.type, tail)] * 2, vectors.lanes
        _, ends = builder.loop("0", key_count, str(lanes), initial, reach, full=lanes)
        return [vectors.reduced(which, end) for which, end in zip(("umin", "umax"), ends)]

    # ---- parts
    def divide(self) -> tuple[str, str]:
        """Keys below the pivot to the front of the part, the others to its back: how many of each.
        Vectors are read where more of them would be overwritten next; a few from both ends are
        held meanwhile, so there is room for what a step writes."""
        builder, lanes = self.code, self.vectors.lanes
        keys, key_count, group = self.part(), self.state["size"], str(_TOGETHER * lanes)
        limit = self.vectors.spread(self.state["pivot"])
        groups = builder.op(f"udiv i64 {key_count}, {group}")
        rest = builder.mul(groups, group)
        last = builder.op(f"sub i64 {rest}, {group}")
        held = [self._group(keys, begin) for begin in ("0", last, rest)]

        def step(_: str, values: list[str]) -> list[str]:
            reached = _Reached(*values)
            left = builder.op(f"sub i64 {reached.front}, {reached.below}")
            right = builder.op(f"sub i64 {reached.behind}, {reached.back}")
            ahead = builder.op(f"icmp sle i64 {left}, {right}")
            lower = builder.op(f"sub i64 {reached.back}, {group}")
            begin = builder.op(f"select i1 {ahead}, i64 {reached.front}, i64 {lower}")
            higher = builder.add(reached.front, group)
            front = builder.op(f"select i1 {ahead}, i64 {higher}, i64 {reached.front}")
            back = builder.op(f"select i1 {ahead}, i64 {reached.back}, i64 {lower}")
            reached = _Reached(front, back, reached.below, reached.behind)
            for found in self._group(keys, begin):
                reached = self._put(found, limit, keys, reached)
            return list(reached)

        steps = builder.op(f"sub i64 {groups}, 2")
        initial = [("i64", start) for start in (group, last, "0", key_count)]
        reached = _Reached(*builder.loop("0", steps, "1", initial, step)[1])
        for found in held[0] + held[1]:
            reached = self._put(found, limit, keys, reached)
        for number, found in enumerate(held[2]):
            begin = builder.add(rest, str(number * lanes))
            valid = self.vectors.first(builder.op(f"sub i64 {key_count}, {begin}"))
            reached = self._put(found, limit, keys, reached, valid)
        return reached.below, builder.op(f"sub i64 {key_count}, {reached.below}")

    def _group(self, keys: str, begin: str) -> list[str]:
        lanes = self.vectors.lanes
        places = [self.code.add(begin, str(number * lanes)) for number in range(_TOGETHER)]
        return [self.vectors.load(keys, place) for place in places]

    def _put(
        self, found: str, limit: str, keys: str, reached: _Reached, valid: str = ""
    ) -> _Reached:
        """A vector's keys (those that are valid) to both ends."""
        vectors, builder = self.vectors, self.code
        less, every = vectors.below(found, limit), valid or "splat (i1 true)"
        less = builder.op(f"and {vectors.mask} {less}, {valid}") if valid else less
        others = builder.op(f"xor {vectors.mask} {less}, {every}")
        small, great = vectors.compressed(found, less), vectors.compressed(found, others)
        count = vectors.count(less)
        more = vectors.count(others) if valid else builder.op(f"sub i64 {vectors.lanes}, {count}")
        behind = builder.op(f"sub i64 {reached.behind}, {more}")
        if valid:
            vectors.store_some(small, vectors.at(keys, reached.below), vectors.front(count))
        else:
            vectors.store(small, keys, reached.below)
        vectors.store_some(great, vectors.at(keys, behind), vectors.front(more))
        return reached._replace(below=builder.add(reached.below, count), behind=behind)

    def put_off(self, place: str, key_count: str, way: str) -> None:
        """A part waits until the one before it is done."""
        builder, waiting = self.code, self.state["waiting"]
        entry = builder.at("[4 x i64]", self.stack, waiting)
        for number, value in enumerate((place, key_count, way)):
            builder.do(f"store i64 {value}, ptr {builder.at('i64', entry, str(number))}")
        self.state["waiting"] = builder.add(waiting, "1")

    def take_next(self, done: str, following: str) -> None:
        """The part that waited last, or the end."""
        builder, waiting = self.code, self.state["waiting"]
        more = builder.label("next")
        builder.branch(builder.op(f"icmp eq i64 {waiting}, 0"), done, more)
        builder.start(more)
        left = builder.op(f"sub i64 {waiting}, 1")
        self.state["waiting"] = left
        entry = builder.at("[4 x i64]", self.stack, left)
        for number, name in enumerate(("place", "size", "way")):
            self.state[name] = builder.op(f"load i64, ptr {builder.at('i64', entry, str(number))}")
        builder.jump(following)

    def repeat(self, key: str, key_count: str) -> None:
        self.receiver.repeated(key, self.state["place"], key_count)

    def go_on(self, place: str, key_count: str, way: str) -> None:
        """With this part."""
        for name, value in zip(("place", "size", "way"), (place, key_count, way)):
            self.state[name] = value

    # ---- the walk
    def walk(self) -> None:
        """From `state` on until no part waits."""
        builder = self.code
        names = "part", "small", "large", "split", "equal", "unequal", "others", "ended", "done"
        part, small, large, split, equal, unequal, others, ended, done = map(builder.label, names)
        builder.jump(part)
        builder.start(part)
        self._skip(ended)
        builder.branch(builder.op(f"icmp sle i64 {self.state['size']}, {self.few}"), small, large)
        builder.start(small)
        self.sort_few()
        builder.jump(ended)
        builder.start(large)
        self._choose(ended)
        builder.jump(split)
        builder.start(split)
        below, behind = self.divide()
        builder.branch(builder.op(f"icmp eq i64 {self.state['way']}, {_EQUAL}"), equal, unequal)
        builder.start(equal)
        self.repeat(builder.op(f"sub {self.vectors.key} {self.state['pivot']}, 1"), below)
        self.go_on(builder.add(self.state["place"], below), behind, _SAMPLE)
        builder.jump(part)
        builder.start(unequal)
        self._none_below(below, (split, others, ended))
        builder.start(others)
        self._both(below, behind)
        builder.jump(part)
        builder.start(ended)
        self.take_next(done, part)
        builder.start(done)

    def _skip(self, ended: str) -> None:
        """A part of which nothing is wanted is done."""
        builder, key_count, place = self.code, self.state["size"], self.state["place"]
        wanted = self.receiver.wanted(place, key_count)
        if wanted is None:
            return
        inside, outside = builder.label("wanted"), builder.label("unwanted")
        builder.branch(wanted, inside, outside)
        builder.start(outside)
        builder.jump(ended)
        builder.start(inside)

    def _choose(self, ended: str) -> None:
        """The pivot: of a sample, or the middle of the range, where there is one."""
        builder, key = self.code, self.vectors.key
        by_range, by_sample, chosen = map(builder.label, ("range", "sample", "chosen"))
        way = self.state["way"]
        builder.branch(builder.op(f"icmp eq i64 {way}, {_RANGE}"), by_range, by_sample)
        builder.start(by_range)
        least, most = self.extremes()
        alike, apart = builder.label("alike"), builder.label("apart")
        builder.branch(builder.op(f"icmp eq {key} {least}, {most}"), alike, apart)
        builder.start(alike)
        self.repeat(least, self.state["size"])
        builder.jump(ended)
        builder.start(apart)
        half = builder.op(f"lshr {key} {builder.op(f'sub {key} {most}, {least}')}, 1")
        above = builder.op(f"add {key} {least}, 1")
        self.state["pivot"] = builder.op(f"add {key} {above}, {half}")
        builder.jump(chosen)
        builder.start(by_sample)
        self.state["pivot"] = self.sample()
        builder.jump(chosen)
        builder.start(chosen)

    def _none_below(self, below: str, labels: tuple[str, str, str]) -> None:
        """Where no key is below the pivot, that is the least one: those that equal it are next."""
        builder, key = self.code, self.vectors.key
        split, others, ended = labels
        none, greatest, again = map(builder.label, ("none", "greatest", "again"))
        builder.branch(builder.op(f"icmp eq i64 {below}, 0"), none, others)
        builder.start(none)
        pivot = self.state["pivot"]
        builder.branch(builder.op(f"icmp eq {key} {pivot}, -1"), greatest, again)
        builder.start(greatest)
        self.repeat(pivot, self.state["size"])
        builder.jump(ended)
        builder.start(again)
        self.state["pivot"] = builder.op(f"add {key} {pivot}, 1")
        self.state["way"] = _EQUAL
        builder.jump(split)

    def _both(self, below: str, behind: str) -> None:
        """The upper part waits; the lower one is next."""
        builder, place, key_count = self.code, self.state["place"], self.state["size"]
        less = builder.smin(below, behind)
        bad = builder.op(f"icmp slt i64 {builder.mul(less, str(_BAD))}, {key_count}")
        more = builder.op(f"icmp sgt i64 {below}, {behind}")
        large = builder.op(f"select i1 {bad}, i64 {_RANGE}, i64 {_SAMPLE}")
        ways = [
            builder.op(f"select i1 {more}, i64 {large}, i64 {_SAMPLE}"),
            builder.op(f"select i1 {more}, i64 {_SAMPLE}, i64 {large}"),
        ]
        self.put_off(builder.add(place, below), behind, ways[1])
        self.go_on(place, below, ways[0])


def put_in_order(
    vectors: Vectors, places: tuple[str, str], key_count: str, receiver: SortedKeys, count: int
) -> None:
    """The walk over keys, or the network where `count` vectors hold them (0: they need not).
    `places`: of the keys, behind which a network has room, and memory for DEPTH parts of 32
    bytes."""
    walk = _Division(vectors, *places, receiver)
    walk.go_on("0", key_count, _SAMPLE)
    if count:
        return walk.network(count)
    walk.state["waiting"] = "0"
    walk.walk()
    return None
