"""Plans on disk: a plan of native steps as bytes that name the object code of its kernels.

Invariant: what is read back equals what was written, and its code is on disk or in memory; any
trouble with that is None, as a plan can always be made again.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import HOST, Aval, aval
from ...core.signals import foreign
from ..plan import HostStep, Plan
from .control.steps import PlanCode
from .machine.host import machine
from .machine.jit import codes_of, is_caching, keep, prefix, stored
from .python.caller import NativeStep

__all__ = ["read", "write"]

ROOMS = ("hybrid.", "numpy.", "functools.")  # where names in a plan are found


def _key(identity: bytes) -> bytes:
    """Where a plan of this machine is on disk."""
    return hashlib.sha256(b"plan" + prefix() + repr(machine()).encode() + identity).digest()


def _host(shape: tuple[int, ...], dtype: np.dtype) -> Aval:
    return aval(shape, dtype, HOST)


class _Writer(pickle.Pickler):
    """What is there once in a process is found again by its name."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.dtype):
            return dt.canonical, (value.name,)
        if type(value) is Aval:
            if value.device is not HOST:
                raise pickle.PicklingError("a value of another device")
            return _host, (value.shape, value.dtype)
        return NotImplemented


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if not f"{module}.".startswith(ROOMS):
            raise pickle.UnpicklingError(f"{module} has no part in a plan")
        return super().find_class(module, name)


def write(identity: bytes, plan: Plan, steps: list[tuple[int, NativeStep]], temp: int) -> None:
    """Keep a plan that is kernels alone; each of `steps` is one of the kernel with its number."""
    if any(isinstance(step, HostStep) for step in plan.steps) or not is_caching():
        return
    made = [(owner, s.code.symbol, s.code.digest, *s[1:]) for owner, s in steps]
    try:
        buffer = io.BytesIO()
        _Writer(buffer, pickle.HIGHEST_PROTOCOL).dump((plan, made, temp))
    except Exception as error:
        if foreign(error):
            raise
        return
    keep(_key(identity), buffer.getvalue(), ".plan")


def read(identity: bytes) -> tuple[Plan, PlanCode] | None:
    """The plan that was kept, and its steps."""
    content = stored(_key(identity), ".plan")
    if content is None:
        return None
    try:
        plan, made, temp = _Reader(io.BytesIO(content)).load()
        codes = codes_of([(symbol, digest) for _, symbol, digest, *_ in made])
    except Exception as error:
        if foreign(error):
            raise
        return None
    if codes is None:
        return None
    steps = [NativeStep(code, *step[3:]) for code, step in zip(codes, made)]
    return plan, PlanCode(steps, [step[0] for step in made], {}, temp)
