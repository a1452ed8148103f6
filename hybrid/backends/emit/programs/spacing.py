"""How numbers of elements grow from lane to lane, so that loads at computed places become loads of
vectors: evenly, or each repeated for a few lanes.

Invariant: only the form is asked.  The place of a load is in range in every lane that is on, so a
sum of 32 bits that is its place did not wrap between two such lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from ....ir.scalar.program import BITS, POSITIONS, Instr, Program
from ..form import Form, FormKind, Walk
from ..memory import LaneSteps
from .analysis import uniform_values

__all__ = ["SpacedLoad", "running_values", "spaced_loads"]

WIDEST = 4  # elements from lane to lane
VECTOR = 16  # rows are walked in vectors of so many lanes, the first at element 0


class SpacedLoad(NamedTuple):
    """A load of evenly spaced elements: `place` in lanes where `guard` holds (None: in all), else
    element 0.  `chain`: what a place is made of, in order, from values `given` for the row."""

    place: int
    guard: int | None
    spacing: LaneSteps
    chain: tuple[int, ...]
    given: tuple[int, ...]


class _Spacings:
    """Spacings of a program's values, asked for one by one in order."""

    def __init__(self, form: Form) -> None:
        self.program, self.uniform = form.program, uniform_values(form)
        self.counted = form.kind in (FormKind.MAP, FormKind.ROW)
        self.found: list[LaneSteps | None] = []
        self.narrow = set[int]()  # as found modulo 2**32 only, in a wider type
        affine = iter(form.affine)
        for number, instr in enumerate(self.program.instrs):
            walk = next(affine)[1] if instr.prim in POSITIONS else None
            self.found.append(self._of(number, instr, walk))

    def _of(self, number: int, instr: Instr, walk: Walk | None) -> LaneSteps | None:
        if walk is not None:
            if walk is Walk.COUNTED:
                return LaneSteps(1, phase=0 if self.counted else None)
            return LaneSteps(1) if walk is Walk.ADJACENT else None
        if instr.type not in ("i32", "i64") or self.uniform[number]:
            return None
        if instr.prim in ("add", "sub"):
            return self._sum(instr, 1 if instr.prim == "add" else -1)
        if instr.prim in ("mul", "shr"):
            left, count = self._wide(instr.args[0]), self._constant(instr.args[1])
            if left is None or count is None:
                return None
            return _times(left, count) if instr.prim == "mul" else _shifted(left, count)
        return self._converted(number, instr) if instr.prim == "convert" else None

    def _sum(self, instr: Instr, sign: int) -> LaneSteps | None:
        left, right = (self._wide(a) for a in instr.args)
        if left is not None and self.uniform[instr.args[1]]:
            return self._moved(left, instr.args[1], sign)
        if right is not None and self.uniform[instr.args[0]]:
            return self._moved(_times(right, sign), instr.args[0], 1)
        if left is None or right is None or left.shift or right.shift:
            return None
        return LaneSteps(left.step + sign * right.step)

    def _moved(self, spacing: LaneSteps, number: int, sign: int) -> LaneSteps:
        if spacing.shift:
            return spacing
        constant = self._constant(number)
        if constant is None or spacing.phase is None:
            return spacing._replace(phase=None)
        return spacing._replace(phase=(spacing.phase + sign * constant) % VECTOR)

    def _converted(self, number: int, instr: Instr) -> LaneSteps | None:
        found, source = self._wide(instr.args[0]), self.program.instrs[instr.args[0]].type
        if found is None or source not in ("i32", "i64"):
            return None
        if BITS[source] < BITS[instr.type]:
            self.narrow.add(number)
        return found

    def _wide(self, number: int) -> LaneSteps | None:
        return None if number in self.narrow else self.found[number]

    def _constant(self, number: int) -> int | None:
        instr = self.program.instrs[number]
        if instr.prim != "const":
            return None
        bits, half = int(instr.attr), 1 << (BITS[instr.type] - 1)
        return (bits + half) % (2 * half) - half


def _times(spacing: LaneSteps, count: int) -> LaneSteps:
    phase = spacing.phase
    if not spacing.shift and phase is not None:
        phase = phase * count % VECTOR
    return spacing._replace(step=spacing.step * count, phase=phase)


def _shifted(spacing: LaneSteps, count: int) -> LaneSteps | None:
    """x >> count: lanes in groups, whose ends are known where lane 0 is."""
    known = spacing.step == 1 and not spacing.shift and spacing.phase is not None
    if not known or not 0 < 1 << count <= VECTOR:
        return None
    assert spacing.phase is not None
    return LaneSteps(1, count, spacing.phase % (1 << count))


def _guarded(program: Program, number: int) -> tuple[int, int | None]:
    """(place, guard) of what may be a place where some condition holds, and 0 elsewhere."""
    instr = program.instrs[number]
    inner = program.instrs[instr.args[0]] if instr.prim == "convert" else instr
    if inner.prim == "select":
        condition, place, other = inner.args
        if program.instrs[other].prim == "const" and program.instrs[other].attr == 0:
            return place, condition
    return number, None


def _chain(
    program: Program, uniform: Sequence[bool], place: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    chain, given, todo = set[int](), set[int](), [place]
    while todo:
        number = todo.pop()
        if uniform[number]:
            given.add(number)
        elif number not in chain:
            chain.add(number)
            todo += program.instrs[number].args
    return tuple(sorted(chain)), tuple(sorted(given))


@lru_cache(4096)
def _spacings(form: Form) -> _Spacings:
    return _Spacings(form)


def running_values(form: Form) -> list[bool]:
    """Which instructions are i64 values that grow by one per lane: loads there are adjacent."""
    made = _spacings(form)
    grows = [steps is not None and (steps.step, steps.shift) == (1, 0) for steps in made.found]
    return [
        grow and instr.type == "i64" and number not in made.narrow
        for number, (grow, instr) in enumerate(zip(grows, form.program.instrs))
    ]


@lru_cache(4096)
def spaced_loads(form: Form) -> dict[int, SpacedLoad]:
    """The loads of a form whose places are evenly spaced, by instruction."""
    program, loads = form.program, {}
    if all(instr.prim != "load" for instr in program.instrs):
        return {}
    spacings = _spacings(form)
    for number, instr in enumerate(program.instrs):
        if instr.prim != "load" or spacings.uniform[number]:
            continue
        place, guard = _guarded(program, instr.args[0])
        spacing = spacings.found[place]
        if spacing is not None and 1 <= spacing.step <= (1 if spacing.shift else WIDEST):
            made = _chain(program, spacings.uniform, place)
            loads[number] = SpacedLoad(place, guard, spacing, *made)
    return loads
