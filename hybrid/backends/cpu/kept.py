"""Plans on disk: a plan of native steps as text that names the object code of its kernels.

Invariant: what is read back equals what was written, and its code is on disk or in memory; reading
makes plain records of a fixed list and calls nothing else. Any trouble is None, as a plan can
always be made again.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import HOST, Aval, aval
from ...core.signals import foreign
from ...ir.scalar.program import Instr, Program
from ..plan import (
    Access,
    AttendKernel,
    Dims,
    GemmKernel,
    HostStep,
    LoopKernel,
    Operand,
    Plan,
    ScatterKernel,
    Slot,
)
from .control.steps import PlanCode
from .machine.host import machine
from .machine.jit import codes_of, is_caching, keep, prefix, stored
from .measure.calibration import known
from .python.caller import NativeStep

__all__ = ["read", "write"]

# records that a plan is made of, each written as its name and its fields in order
RECORDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        *(Plan, Slot, LoopKernel, GemmKernel, ScatterKernel, AttendKernel),
        *(Access, Operand, Dims, Program, Instr),
    )
}


def _key(identity: bytes) -> bytes:
    """Where a plan of this machine is on disk."""
    here = f"plan {machine()!r} {known().core!r}".encode()
    return hashlib.sha256(prefix() + here + identity).digest()


# ---- as text
class _Writer:
    """A plan as lists, numbers and texts, and objects of one name; a program that is met again is
    the number of the first one."""

    def __init__(self) -> None:
        self.programs: dict[int, int] = {}

    def plain(self, value: Any) -> Any:
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value
        if kind is tuple:
            return list(map(self.plain, value))
        if kind is float:
            return {"float": struct.pack("<d", value).hex()}
        if isinstance(value, np.dtype):
            return {"dtype": value.name}
        if kind is Aval and value.device is HOST:
            return {"aval": [list(value.shape), value.dtype.name]}
        if kind is np.ndarray:
            return {"array": [list(value.shape), value.dtype.name, _text(value.tobytes())]}
        if kind is Program:
            return self._program(value)
        if RECORDS.get(kind.__name__) is kind:
            return {kind.__name__: list(map(self.plain, value))}
        raise TypeError(f"a plan on disk has no {kind.__name__}")

    def _program(self, program: Program) -> Any:
        number = self.programs.get(id(program))
        if number is not None:
            return {"again": number}
        made = {"Program": list(map(self.plain, program))}
        self.programs[id(program)] = len(self.programs)
        return made


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if type(value) is list else value


class _Reader:
    """The values that such text stands for; ValueError, TypeError or LookupError for other text."""

    def __init__(self) -> None:
        self.programs: list[Program] = []

    def value(self, described: dict[str, Any]) -> Any:
        ((name, body),) = described.items()
        kind = RECORDS.get(name)
        if kind is None:
            return _VALUES[name](self, body)
        if type(body) is not list or len(body) != len(kind._fields):
            raise ValueError(f"{name} has other fields")
        made = kind(*_tuples(body))
        if kind is Program:
            self.programs.append(made)
        return made


_VALUES: dict[str, Callable[[_Reader, Any], Any]] = {
    "again": lambda reader, number: reader.programs[number],
    "float": lambda reader, bits: struct.unpack("<d", bytes.fromhex(bits))[0],
    "dtype": lambda reader, name: dt.canonical(name),
    "aval": lambda reader, body: aval(tuple(body[0]), dt.canonical(body[1]), HOST),
    "array": lambda reader, body: _array(*body),
}


def _array(shape: list[int], dtype: str, content: str) -> np.ndarray:
    array = np.frombuffer(base64.b64decode(content, validate=True), dt.canonical(dtype))
    return array.reshape(shape).copy()


# ---- on disk
def write(identity: bytes, plan: Plan, program: PlanCode) -> None:
    """Keep a plan that is kernels alone, and its steps."""
    if any(isinstance(step, HostStep) for step in plan.steps) or not is_caching():
        return
    writer = _Writer()
    try:
        made = [
            [owner, s.code.symbol, s.code.digest.hex(), list(s.words), s.items, s.grain, s.scratch]
            for owner, s in zip(program.owners, program.steps)
        ]
        body = json.dumps([writer.plain(plan), made, program.temp])
    except (TypeError, AttributeError):
        return
    keep(_key(identity), body.encode(), ".plan")


def read(identity: bytes) -> tuple[Plan, PlanCode] | None:
    """The plan that was kept, and its steps."""
    content = stored(_key(identity), ".plan")
    if content is None:
        return None
    try:
        plan, made, temp = json.loads(content, object_hook=_Reader().value)
        codes = codes_of([(symbol, bytes.fromhex(digest)) for _, symbol, digest, *_ in made])
        fits = type(plan) is Plan and all([0 <= step[0] < len(plan.steps) for step in made])
    except Exception as error:
        if foreign(error):
            raise
        return None
    if codes is None or not fits:
        return None
    steps = [NativeStep(code, *step[3:]) for code, step in zip(codes, made)]
    return plan, PlanCode(steps, [step[0] for step in made], {}, temp)
