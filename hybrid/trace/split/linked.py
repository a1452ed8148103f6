"""Linked code: a copy of a code object in which callees pass through a function that may give
others for them, right after they were loaded.

Invariant: with a function that gives back what it gets, linked code does what the code does; all
that is changed is at the calls asked for, and a call of a form that is not known stays as it is.
"""

from __future__ import annotations

import opcode
from collections.abc import Callable, Collection, Mapping
from types import CodeType
from typing import Any

from .assemble import CodeStep, assemble
from .flow import NULL_ON_TOP, PEEKING, StackFlow, names

__all__ = ["linked_code"]

CALLS = names("CALL CALL_FUNCTION_EX CALL_KW")
_METHODS = names("LOAD_METHOD LOAD_ATTR LOAD_SUPER_ATTR")


def linked_code(
    code: CodeType,
    calls: Collection[int],
    link: Callable[[Any], Any],
    parts: Mapping[int, CodeType],
) -> tuple[CodeType, dict[int, int]] | None:
    """The code with the callees of these calls, by offset, linked, and the offset of each of its
    instructions -> the one it had; `parts`: by id, the code of comprehensions -> what stands for
    it.  None: the code is not understood."""
    flow = StackFlow(code)
    if flow.unknown is not None:
        return None
    writer = _Writer(flow, link)
    for step in flow.steps:
        if step.name in CALLS and step.offset in calls and step in flow.states:
            writer.call(step)
        elif step.name == "LOAD_CONST" and id(step.arg) in parts:
            step.arg = parts[id(step.arg)]
    return assemble(code, writer.steps(), co_stacksize=code.co_stacksize + 3)


def _operands(step: CodeStep) -> int:
    """How many values a call takes besides the callee and what it belongs to."""
    if step.name == "CALL_FUNCTION_EX":
        return 1 + int(step.arg & 1)
    count: int = step.arg + (step.name == "CALL_KW")
    return count


class _Writer:
    """Puts new steps before and behind those of a function."""

    def __init__(self, flow: StackFlow, link: Callable[[Any], Any]) -> None:
        self.flow, self.link = flow, link
        self.before: dict[CodeStep, list[CodeStep]] = {}
        self.behind: dict[CodeStep, list[CodeStep]] = {}

    def steps(self) -> list[CodeStep]:
        """All steps; jumps go to what stands before their goal, too, where that is the same."""
        out: list[CodeStep] = []
        for step in self.flow.steps:
            out += [*self.before.get(step, ()), step, *self.behind.get(step, ())]
        return out

    def _depth(self, step: CodeStep) -> int:
        state = self.flow.states.get(step)
        return -1 if state is None else len(state.stack)

    def call(self, call: CodeStep) -> None:
        """Have the callee of a call linked."""
        place = self._depth(call) - _operands(call) - 2
        number = self._putting(self.flow.numbers[call], place + 1)
        loads = self.flow.steps[number]
        if loads in self.before or loads in self.behind:
            return
        if loads.name == "LOAD_GLOBAL" and loads.arg & 1:
            self._global(loads)
        elif loads.name in _METHODS and self._depth(loads) == place + 1 and _method(loads):
            self._attribute(loads)
        elif NULL_ON_TOP and loads.name == "PUSH_NULL":
            self.before[loads] = self._linking(loads)
        elif not NULL_ON_TOP and self._begins(self._putting(number, place), place):
            self._behind(number, call, place + 2)

    def _putting(self, number: int, place: int) -> int:
        """The latest step before one of these that puts something at a place of the stack."""
        steps = self.flow.steps
        while number > 0:
            number -= 1
            before, after = self._depth(steps[number]), self._depth(steps[number + 1])
            if 0 <= before <= place < after:
                break
        return number

    def _begins(self, number: int, place: int) -> bool:
        """Whether a step puts what stands below a callee, and nothing else, at a place."""
        step = self.flow.steps[number]
        return step.name == "PUSH_NULL" and self._depth(step) == place

    def _behind(self, number: int, call: CodeStep, depth: int) -> None:
        """Link a callee that expressions give, where they have ended and the arguments begin."""
        begins: CodeStep | None = None
        for step in self.flow.steps[number + 1 : self.flow.numbers[call] + 1]:
            if self._depth(step) < depth:
                return
            names_callee = step.name in PEEKING  # in errors only, by a name that is the same
            if step is not call and not names_callee and self.flow.lowest(step) < depth:
                begins = None
            elif begins is None and self._depth(step) == depth:
                begins = step
        if begins is not None and begins not in self.before:
            self.before[begins] = self._linking(begins)

    def _global(self, step: CodeStep) -> None:
        self.behind[step] = self._linking(step)
        if NULL_ON_TOP:
            step.arg &= ~1
            self.behind[step].append(_new(step, "PUSH_NULL"))

    def _attribute(self, step: CodeStep) -> None:
        """A look-up of a method gives a bound one."""
        if step.name == "LOAD_METHOD":
            step.name = "LOAD_ATTR"
        else:
            step.arg &= ~1
        added = [*self._linking(step), _new(step, "PUSH_NULL")]
        if not NULL_ON_TOP:
            added.append(_new(step, "SWAP", 2))
        self.behind[step] = added

    def _linking(self, like: CodeStep) -> list[CodeStep]:
        """Steps that put what the function gives in the place of the top of the stack."""
        early = [_new(like, "PRECALL")] if "PRECALL" in opcode.opmap else []
        loads = [_new(like, "LOAD_CONST", self.link), _new(like, "SWAP", 2)]
        return [*loads, *early, _new(like, "CALL")]


def _method(step: CodeStep) -> bool:
    """Whether a look-up pushes a method and what it belongs to."""
    return step.name == "LOAD_METHOD" or ("PRECALL" not in opcode.opmap and bool(step.arg & 1))


def _new(like: CodeStep, name: str, arg: Any = 0) -> CodeStep:
    return CodeStep(name, arg, like.position, -1, like.handler)
