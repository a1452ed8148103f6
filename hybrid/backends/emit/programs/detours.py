"""The order in which a program's instructions are emitted, with branches around those that only
an unlikely case needs.

Invariant: a detour changes no result; where no lane takes it, what it skips is not computed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache, partial, reduce
from typing import NamedTuple

from ....ir.scalar.program import POSITIONS, REDUCTIONS, PrimName, Program
from ..lanes import Lanes, memory_scalar
from ..memory import from_memory, to_memory

__all__ = ["Detour", "Evaluation", "steps", "skipped"]

# read where the row stands, whose addresses are computed once for all
_PLACED: frozenset[PrimName] = frozenset(("arg", "param", "load", "rlen"))
_KEPT_APART: frozenset[str] = frozenset().union(_PLACED, POSITIONS, REDUCTIONS)

Names = dict[int, str]
Make = Callable[[int, int, Names], str]


class Detour(NamedTuple):
    """Selects under one unlikely condition and, in order, what only their first operands need."""

    condition: int
    selects: tuple[int, ...]
    inside: tuple[int | Detour, ...]


Users = Mapping[int, list[tuple[int, int]]]  # (instruction, place among its operands) of each use


def steps(
    program: Program,
    numbers: Sequence[int],
    exposed: Collection[int] = (),
    users: Users | None = None,
) -> list[int | Detour]:
    """Instructions (in order) as steps: each after what it uses. Values of `exposed` ones are
    asked for by others, too; `users` among more instructions, where they are known.  With detours,
    what nobody uses is left out: it would keep what it uses from them."""
    detours, left = _detours(program, numbers, set(exposed), users)
    if not detours:
        return list(numbers)
    first: dict[int, int | Detour] = {n: n for n in left}
    home = {n: n for n in left}
    for detour in detours:
        first[detour.selects[0]] = detour
        home.update((select, detour.selects[0]) for select in detour.selects)
    return _ordered(program, first, home)


def _detours(
    program: Program, numbers: Sequence[int], exposed: set[int], users: Users | None
) -> tuple[list[Detour], list[int]]:
    """Detours that lie in no other one, and the numbers that belong to none."""
    groups = _groups(program, numbers)
    found: list[Detour] = []
    taken: set[int] = set()
    if users is None:
        users = _users(program, numbers, exposed) if groups else {}
        numbers = [n for n in numbers if n in users] if groups else numbers
    for condition, group in sorted(groups.items(), key=lambda item: -item[1][-1]):
        selects = [n for n in group if n not in taken]
        if not selects:
            continue
        inside = _inside(program, numbers, selects, users, exposed | taken)
        if _depends(program, numbers, selects, inside):
            selects = selects[:1]
            inside = _inside(program, numbers, selects, users, exposed | taken)
        if inside:
            taken |= inside | set(selects)
            served = {program.instrs[n].args[1] for n in selects}
            within = steps(program, sorted(inside), served, users)
            found.append(Detour(condition, tuple(selects), tuple(within)))
    return found, [n for n in numbers if n not in taken]


def _groups(program: Program, numbers: Sequence[int]) -> dict[int, list[int]]:
    """Selects by their unlikely condition."""
    there, found = set(numbers), dict[int, list[int]]()
    for number in numbers:
        instr = program.instrs[number]
        if instr.prim == "select" and instr.args[0] in there:
            if program.instrs[instr.args[0]].prim == "unlikely":
                found.setdefault(instr.args[0], []).append(number)
    return found


def _users(program: Program, numbers: Sequence[int], exposed: set[int]) -> Users:
    """The users of what has some, or is needed for itself."""
    found: dict[int, list[tuple[int, int]]] = {n: [] for n in numbers}
    for number in reversed(numbers):
        instr = program.instrs[number]
        if not found[number] and number not in exposed and instr.prim not in _KEPT_APART:
            del found[number]
            continue
        for place, operand in enumerate(instr.args):
            if operand in found:
                found[operand].append((number, place))
    return found


def _inside(
    program: Program,
    numbers: Sequence[int],
    selects: Sequence[int],
    users: Users,
    elsewhere: set[int],
) -> set[int]:
    """What only the first operands of these selects need."""
    chosen, found = set(selects), set[int]()
    for number in reversed(numbers):
        if number in chosen or number in elsewhere or not users[number]:
            continue
        if program.instrs[number].prim in _KEPT_APART:
            continue
        if all(u in found or (u in chosen and place == 1) for u, place in users[number]):
            found.add(number)
    return found


def _depends(
    program: Program, numbers: Sequence[int], selects: Sequence[int], inside: set[int]
) -> bool:
    """Whether one of the selects needs the result of another one."""
    after = set[int]()
    for number in numbers:
        within = number in inside or number in selects
        if any(a in after for a in program.instrs[number].args):
            if within:
                return True
            after.add(number)
        elif number in selects:
            after.add(number)
    return False


def _needs(program: Program, step: int | Detour) -> Iterable[int]:
    if isinstance(step, int):
        return program.instrs[step].args
    needed = [step.condition]
    for select in step.selects:
        needed += program.instrs[select].args[1:]
    for part in step.inside:
        needed += _needs(program, part)
    return needed


def _ordered(
    program: Program, first: Mapping[int, int | Detour], home: Mapping[int, int]
) -> list[int | Detour]:
    """Steps, each after those that it needs, else as they were."""
    order: list[int | Detour] = []
    done: set[int] = set()
    for start in sorted(first):
        todo = [start]
        while todo:  # no recursion: chains may be long
            place = todo[-1]
            needs = {home[n] for n in _needs(program, first[place]) if n in home} - done - {place}
            if needs and place not in done:
                todo += sorted(needs, reverse=True)
                continue
            todo.pop()
            if place not in done:
                done.add(place)
                order.append(first[place])
    return order


class Evaluation:
    """Emits the steps of a program for several sets of values in turns: `make(number, set, names)`
    emits one instruction, `name(number, set, names)` tells the name of an operand."""

    def __init__(self, lanes: Lanes, program: Program, make: Make, name: Make) -> None:
        self.lanes, self.program, self.code = lanes, program, lanes.code
        self.make, self.name = make, name

    def run(self, order: Iterable[int | Detour], sets: Sequence[tuple[int, Names]]) -> None:
        for step in order:
            if isinstance(step, int):
                for which, names in sets:
                    if step not in names:
                        names[step] = self.make(step, which, names)
            elif len(sets) > 1 and self.lanes.width > 1:
                self._through(step, sets, partial(self._looped, step, sets))
            else:
                for one in sets:
                    self._through(step, [one], partial(self._single, step, one))

    def _through(
        self,
        detour: Detour,
        sets: Sequence[tuple[int, Names]],
        results: Callable[[], list[list[str]]],
    ) -> None:
        """Branch to `results` where one lane of a set asks for it; name what the selects give."""
        code, lanes = self.code, self.lanes
        seldom, usual, before = code.label("seldom"), code.label("usual"), code.block
        asked = [self.name(detour.condition, *one) for one in sets]
        code.branch(lanes.any(reduce(partial(lanes.binary, "or", "b1"), asked)), seldom, usual)
        code.start(seldom)
        found, last = results(), code.block
        code.jump(usual)
        code.start(usual)
        for (which, names), values in zip(sets, found):
            others = [
                self.name(self.program.instrs[select].args[2], which, names)
                for select in detour.selects
            ]
            for select, value, other in zip(detour.selects, values, others):
                kind = lanes.ty(self.program.instrs[select].type)
                names[select] = code.op(f"phi {kind} [{value}, %{last}], [{other}, %{before}]")

    def _inside(self, detour: Detour, which: int, names: Names) -> list[str]:
        """What the selects give on the detour."""
        inner = dict(names)
        self.run(detour.inside, [(which, inner)])
        return [self.make(select, which, inner) for select in detour.selects]

    def _single(self, detour: Detour, one: tuple[int, Names]) -> list[list[str]]:
        return [self._inside(detour, *one)]

    def _looped(self, detour: Detour, sets: Sequence[tuple[int, Names]]) -> list[list[str]]:
        """The same for several sets by a loop over them: one code, whatever their number."""
        code, count = self.code, len(sets)
        needed = sorted({n for n in _needs(self.program, detour) if n in sets[0][1]})
        given = [self._box(n, count) for n in needed]
        taken = [self._box(n, count) for n in detour.selects]
        for k, (_, names) in enumerate(sets):
            for number, box in zip(needed, given):
                self._put(number, names[number], box, str(k))

        def turn(k: str, _: list[str]) -> list[str]:
            names = {n: self._get(n, box, k) for n, box in zip(needed, given)}
            for number, value, box in zip(
                detour.selects, self._inside(detour, sets[0][0], names), taken
            ):
                self._put(number, value, box, k)
            return []

        code.loop("0", str(count), "1", [], turn)
        return [
            [self._get(n, box, str(k)) for n, box in zip(detour.selects, taken)]
            for k in range(count)
        ]

    # ---- values of several sets on the stack
    def _box(self, number: int, count: int) -> str:
        return self.code.alloca(f"[{count} x {self._stored(number)}]")

    def _stored(self, number: int) -> str:
        return self.lanes.raw(memory_scalar(self.program.instrs[number].type))

    def _put(self, number: int, value: str, box: str, k: str) -> None:
        value = to_memory(self.lanes, self.program.instrs[number].type, value)
        spot = self.code.at(self._stored(number), box, k)
        self.code.do(f"store {self._stored(number)} {value}, ptr {spot}, align 1")

    def _get(self, number: int, box: str, k: str) -> str:
        spot = self.code.at(self._stored(number), box, k)
        value = self.code.op(f"load {self._stored(number)}, ptr {spot}, align 1")
        return from_memory(self.lanes, self.program.instrs[number].type, value)


def skipped(program: Program, numbers: Sequence[int]) -> frozenset[int]:
    """Instructions that are seldom reached."""
    return _skipped(program, tuple(numbers))


@lru_cache(512)  # kernels of equal layers have equal programs
def _skipped(program: Program, numbers: tuple[int, ...]) -> frozenset[int]:
    found: set[int] = set()
    todo = list(steps(program, numbers, program.outs))
    while todo:
        step = todo.pop()
        if not isinstance(step, int):
            todo += step.inside
            found |= {n for n in step.inside if isinstance(n, int)}
    return frozenset(found)
