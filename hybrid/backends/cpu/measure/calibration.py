"""The core that plans with large products are made for: the model's, checked by a short calibration
on the first use of a machine, which is kept in the disk cache.

Invariant: decided once in a process, before the first plan that asks.  A measured quantity counts
as the model's times a power of the square root of 2, so plans are the same from run to run.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Literal, NamedTuple, cast, get_args

from ....core.errors import BackendError
from ....core.signals import critical, protected
from ..machine import jit
from ..machine.core import KNOWN, Core, Measured, core
from ..machine.host import granted_cores, machine
from ..machine.pool import pool
from .sampler import MachineSampler

__all__ = ["Calibration", "agreed", "calibrated", "calibrate", "counted", "known", "told"]

SWITCH = "HYBRID_CALIBRATE"
VERSION = 1  # raise when a quantity means something else
BUDGET = 0.12  # seconds of all samples, beside what compiling the loops takes
FEWEST, MOST = 5, 24  # samples of a quantity
AGREEING, SPREAD = 3, 1.2  # so many samples within this factor are no accident
SANE = 4.0  # times the model's value, or a part of it

Sampler = Callable[[str], float | None]


class Calibration(NamedTuple):
    """The core that plans are made for; `figures`: fields of `Measured` as they were measured."""

    core: Core
    figures: Mapping[str, float]


def agreed(samples: list[float]) -> float | None:
    """The least of the samples that others confirm; None where they are spread too far."""
    ordered = sorted(samples)
    pairs = zip(ordered, ordered[AGREEING - 1 :])
    return next((least for least, other in pairs if other <= SPREAD * least), None)


def _sane(name: str, value: float, model: Measured) -> bool:
    expected = getattr(model, name)
    return bool(math.isfinite(value) and expected / SANE <= value <= expected * SANE)


def quantities(name: str) -> tuple[str, ...]:
    """What is measured on a core of that name: its makers say how many ports it has."""
    known = {"fma"} if name in KNOWN else set[str]()
    return tuple([field for field in Measured._fields if field not in known])


def calibrate(
    model: Measured, names: Sequence[str], sampler: Sampler, timer: Callable[[], float]
) -> dict[str, float]:
    """The quantities on which short samples agree and that are near the model's."""
    found, end = {}, timer() + BUDGET
    for number, name in enumerate(names):
        begin = timer()
        until = begin + (end - begin) / (len(names) - number)
        samples = list[float]()
        for _ in range(MOST):
            sample = sampler(name)
            if sample is not None:
                samples.append(sample)
            enough = len(samples) >= FEWEST and agreed(samples) is not None
            if enough or timer() > until:
                break
        value = agreed(samples)
        if value is not None and _sane(name, value, model):
            found[name] = value
    return found


def counted(modelled: Core, figures: Mapping[str, float]) -> Core:
    """The core with what was measured, in steps of the square root of 2 from the model."""
    model = modelled.measured
    steps = {n: round(2 * math.log2(value / getattr(model, n))) for n, value in figures.items()}
    changed = {n: getattr(model, n) * 2 ** (step / 2) for n, step in steps.items() if step}
    return modelled._replace(measured=model._replace(**changed))


# ---- kept on disk
def _key() -> bytes:
    """Of this machine, as far as this process may use it."""
    what = (VERSION, jit.ABI_VERSION, *machine(), granted_cores(), pool().running())
    return sha256(b"calibration" + repr(what).encode()).digest()


def _read(body: bytes | None, model: Measured) -> dict[str, float] | None:
    """Figures that were kept, or None where they are none."""
    try:
        found = json.loads(body or b"")
    except (ValueError, RecursionError):  # also of bytes that are no text, and lists in lists
        return None
    if type(found) is not dict or not found.keys() <= set(Measured._fields):
        return None
    right = all(type(v) is float and _sane(n, v, model) for n, v in found.items())
    return found if right else None


# ---- once in a process
Choice = Literal["0", "1", "again"]
_DECIDED: Calibration | None = None
_LOCK = threading.Lock()


@critical
def _in_child() -> None:
    global _LOCK
    _LOCK = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def _choice() -> Choice:
    """0: the model alone; 1: what is kept, else a calibration; again: a calibration.  Where nobody
    asks: 1 on a core that the model does not know."""
    asked = os.environ.get(SWITCH, "").strip()
    if asked and asked not in get_args(Choice):
        raise BackendError(f"{SWITCH}={asked!r} is none of 0, 1 and again; unset it or set one")
    if asked:
        return cast(Choice, asked)
    # the table is as good as what is measured; what nobody keeps would be measured ever again
    return "1" if machine().name not in KNOWN and jit.remembers() else "0"


def calibrated() -> Calibration:
    """The calibration of this process; the first call may take some 0.2 s."""
    return _DECIDED if _DECIDED is not None else _decide()


@protected
def _decide() -> Calibration:
    global _DECIDED
    with _LOCK:
        if _DECIDED is None:
            _DECIDED = _found(_choice())
        return _DECIDED


def _found(choice: Choice) -> Calibration:
    kept = _kept(choice)
    if kept is not None:
        return kept
    modelled = core()
    names, sampler = quantities(machine().name), MachineSampler(modelled)
    figures = calibrate(modelled.measured, names, sampler, time.perf_counter)
    jit.keep(_key(), json.dumps(figures).encode())
    return Calibration(counted(modelled, figures), figures)


def _kept(choice: Choice) -> Calibration | None:
    """The calibration without measuring, where there is one."""
    modelled = core()
    if choice == "0":
        return Calibration(modelled, {})
    figures = _read(jit.stored(_key()), modelled.measured) if choice == "1" else None
    return None if figures is None else Calibration(counted(modelled, figures), figures)


def known() -> Calibration:
    """The calibration of this process, or the one that it would find; nothing is measured."""
    return _DECIDED or _kept(_choice()) or Calibration(core(), {})


def told() -> str:
    """What plans are made with, in words: which quantities are measured."""
    found = known()
    groups = {"measured": found.figures.keys(), "modelled": Measured._fields - found.figures.keys()}
    values = found.core.measured._asdict()
    return "; ".join(
        f"{kind} " + ", ".join(f"{name} {values[name]:.3g}" for name in values if name in names)
        for kind, names in groups.items()
        if names
    )
