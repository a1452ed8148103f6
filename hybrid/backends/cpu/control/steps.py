"""Plans of branches and loops as words for the driver: where everything lies in scratch memory.

Invariant: a step owns all that its words point to; a plan inside that has a step without native
code makes no step here, and runs from Python.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ....core.errors import Site
from ....ir.algorithm import Branch, Traversal, While
from ...plan import HostStep, Kernel, Plan
from ..machine import host as m
from ..machine.jit import compile_ir
from ..machine.pool import pool
from ..python.abi import pointer
from ..python.caller import NativeStep, step_table
from ..python.method import words_array
from .driver import (
    BLOCK,
    CARRY,
    COPIED,
    HEADER,
    INTERRUPTED,
    KEPT,
    NAMES,
    POINTED,
    ROW,
    driver_text,
)

__all__ = ["Failure", "PlanCode", "control_step", "interruption", "native_inside"]

Maker = Callable[[Plan], "PlanCode"]


class Failure(NamedTuple):
    """Where a step inside may fail, and the text of that."""

    site: Site | None
    message: str


class PlanCode(NamedTuple):
    """The native steps of a plan: the kernel each belongs to, what may fail inside of it (none: the
    kernel itself), bytes of workspace."""

    steps: list[NativeStep]
    owners: list[int]
    inside: dict[int, list[Failure]]
    temp: int


# ---- signals
# type, value and traceback of what a handler raised; handlers run in the main thread alone
_ASIDE = m.immortal_memory(24)
_FUNCTIONS = {
    "ensure": "PyGILState_Ensure",
    "release": "PyGILState_Release",
    "signals": "PyErr_CheckSignals",
    "fetch": "PyErr_Fetch",
}


def interruption(status: int) -> BaseException | None:
    """What a handler raised that ended a loop."""
    if status != INTERRUPTED:
        return None
    words = [ctypes.c_void_p.from_address(_ASIDE + at) for at in (0, 8, 16)]
    given = [ctypes.c_void_p(word.value) for word in words]
    for word in words:
        word.value = None
    try:
        ctypes.pythonapi.PyErr_Restore(*given)  # takes the references, and raises
    except BaseException as error:
        return error
    return KeyboardInterrupt()


class _Code:
    """A function of the driver as the code of a step, with everything its words lead to."""

    __slots__ = ("address", "kept")

    def __init__(self, address: int, kept: Any) -> None:
        self.address, self.kept = address, kept


@lru_cache(None)
def _driver() -> Any:
    module = compile_ir(driver_text(), NAMES)
    m.keep_forever(module)
    return module


# ---- what can be native
def native_inside(step: Kernel) -> bool:
    """Whether a step of kind host is a branch or loop all of whose plans are native code."""
    if not isinstance(step, HostStep) or not step.plans:
        return False
    return all(
        native_inside(inner) for plan in step.plans for inner in plan.steps
        if isinstance(inner, HostStep) and not inner.native
    )  # fmt: skip


class _Scratch:
    """Places in the scratch memory of a step."""

    def __init__(self) -> None:
        self.size = 0

    def take(self, nbytes: int) -> int:
        """The offset of so many bytes, 64-byte aligned."""
        place, self.size = self.size, self.size + -(-max(nbytes, 1) // 64) * 64
        return place


class _Layout:
    """The words of one step."""

    def __init__(self, step: HostStep, make: Maker) -> None:
        self.step, self.make, self.scratch = step, make, _Scratch()
        self.kept: list[Any] = []
        self.failures: list[Failure] = []
        self.slots_of: dict[int, dict[int, int]] = {}

    def words(self, words: Sequence[int]) -> int:
        """The address of a table."""
        table = words_array(words)
        self.kept.append(table)
        return ctypes.addressof(table)

    def record(self, offsets: dict[str, int], **given: int) -> list[int]:
        """The words of a record, by their names."""
        return [given.get(name, 0) for name in offsets]

    # ---- blocks
    def block(self, number: int, given: Sequence[int | None]) -> tuple[int, list[int]]:
        """A plan inside as a block: its address, and the slot of each input (one that nobody reads
        for what no step uses).  `given`: for each input the slot of the plan around it, None where
        the driver says where it is."""
        plan: Plan = self.step.plans[number]
        program = self.make(plan)
        dummy = len(plan.slots) + 1
        bufs = self.scratch.take(8 * (dummy + 1))
        arena = self.scratch.take(plan.arena_bytes)
        fills = [len(plan.slots), 1, self.scratch.take(program.temp)]
        slots = [dummy] * len(given)
        for slot, what in enumerate(plan.slots):
            if what.kind == "input":
                slots[what.index] = slot
                outer = given[what.index]
                fills += [] if outer is None else [slot, 2, outer]
            elif what.kind == "const":
                constant = np.ascontiguousarray(plan.consts[what.index])
                self.kept.append(constant)
                fills += [slot, 0, pointer(constant)]
            elif what.kind == "arena":
                fills += [slot, 1, arena + what.index]
            else:  # a result: where the driver points, or here
                fills += [slot, 1, self.scratch.take(what.aval.nbytes)]
        table, owned = step_table(program.steps)
        self.kept += [table, owned, plan]
        need = max((step.scratch for step in program.steps), default=0)
        record = self.record(
            BLOCK,
            steps=ctypes.addressof(table),
            count=len(program.steps),
            bufs=bufs,
            fills=self.words(fills),
            fills_n=len(fills) // 3,
            scratch=self.scratch.take(need),
            shared=int(any(step.items > max(step.grain, 1) for step in program.steps)),
            need=need,
            bases=self.bases(plan, program),
        )
        return self.words(record), slots

    def bases(self, plan: Plan, program: PlanCode) -> int:
        """For each step of a block the number of its first failure, and whether it has several."""
        words: list[int] = []
        for owner in program.owners:
            inside = program.inside.get(owner)
            words += [len(self.failures), int(inside is not None)]
            own = Failure(plan.sites[owner], plan.messages[owner])
            self.failures += [own] if inside is None else inside
        return self.words(words)

    def results(self, number: int) -> list[tuple[int, int, int]]:
        """(slot, mode, bytes) of the results of a block: pointed to where a result has a slot of
        its own."""
        plan: Plan = self.step.plans[number]
        seen, rows = set[int](), []
        for slot in plan.outputs:
            own = plan.slots[slot].kind == "output" and slot not in seen
            seen.add(slot)
            rows.append((slot, POINTED if own else COPIED, plan.slots[slot].aval.nbytes))
        return rows

    # ---- steps
    def carried(self, count: int, body: int, body_in: list[int], test_in: list[int]) -> int:
        """The table of what a loop carries."""
        words: list[int] = []
        for k, (slot, mode, nbytes) in enumerate(self.results(body)[:count]):
            kept = slot == body_in[k]
            words += self.record(
                CARRY,
                bytes=nbytes,
                init=self.step.inputs[k],
                out=self.step.outputs[k],
                spare=0 if kept else self.scratch.take(nbytes),
                test_in=test_in[k] if test_in else 0,
                body_in=body_in[k],
                body_out=slot,
                mode=KEPT if kept else mode,
            )
        return self.words(words)

    def loop(self, algorithm: While) -> dict[str, int]:
        count, inputs = algorithm.carry, self.step.inputs
        given = [None] * count + list(inputs[count:])
        test, test_in = self.block(0, given)
        body, body_in = self.block(1, given)
        return {
            "carry_n": count,
            "carry": self.carried(count, 1, body_in, test_in),
            "test": test,
            "body": body,
            "pred": self.step.plans[0].outputs[0],
        }

    def walk(self, algorithm: Traversal) -> dict[str, int]:
        count, end = algorithm.carry, algorithm.carry + algorithm.rows
        inputs, outputs = self.step.inputs, self.step.outputs
        body, body_in = self.block(0, [None] * end + list(inputs[end:]))
        rows: list[int] = []
        for k in range(count, end):
            nbytes = self.step.avals[k].nbytes // max(algorithm.count, 1)
            rows += self.record(ROW, bytes=nbytes, outer=inputs[k], slot=body_in[k])
        ys: list[int] = []
        for k, (slot, mode, nbytes) in enumerate(self.results(0)[count:]):
            ys += self.record(ROW, bytes=nbytes, outer=outputs[count + k], slot=slot, mode=mode)
        return {
            "carry_n": count,
            "carry": self.carried(count, 0, body_in, []),
            "body": body,
            "rows_n": algorithm.rows,
            "rows": self.words(rows),
            "ys_n": len(ys) // 4,
            "ys": self.words(ys),
            "count": algorithm.count,
            "reverse": int(algorithm.reverse),
        }

    def branch(self) -> dict[str, int]:
        pairs: list[int] = []
        for number in range(len(self.step.plans)):
            block, _ = self.block(number, self.step.inputs[1:])
            rows: list[int] = []
            for k, (slot, mode, nbytes) in enumerate(self.results(number)):
                outer = self.step.outputs[k]
                rows += self.record(ROW, bytes=nbytes, outer=outer, slot=slot, mode=mode)
            pairs += [block, self.words(rows)]
        return {
            "body": self.words(pairs),
            "blocks_n": len(self.step.plans),
            "index": self.step.inputs[0],
            "ys_n": len(self.step.outputs),
        }


def control_step(step: HostStep, make: Maker) -> tuple[NativeStep, list[Failure]]:
    """A branch or loop as one native step, and what may fail inside; `make` gives the program of a
    plan."""
    layout, algorithm = _Layout(step, make), step.algorithm
    if isinstance(algorithm, While):
        name, given = "hy_while", layout.loop(algorithm)
    elif isinstance(algorithm, Traversal):
        name, given = "hy_walk", layout.walk(algorithm)
    else:
        assert isinstance(algorithm, Branch)
        name, given = "hy_switch", layout.branch()
    workers = pool()
    given |= {
        "plan": workers.address("hy_plan"),
        "control": workers.ctl,
        "aside": _ASIDE,
        **{word: m.python_address(name) for word, name in _FUNCTIONS.items()},
        "memcpy": m.libc_address("memcpy"),
        "state": layout.scratch.take(16 * given.get("carry_n", 0)),
    }
    words = layout.record(HEADER, **given)
    code: Any = _Code(_driver().address(name), layout.kept)
    return NativeStep(code, words, 1, 1, layout.scratch.size), layout.failures
