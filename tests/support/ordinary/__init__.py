"""Ordinary programs: steps as people write them, by category; `run.py` compares and measures them.

A program is a function of one parameter, `function`: what its steps are decorated with.  Invariant:
it is plain Python that runs without the decorator and asks nothing of the tracer; its data depend
on the number of the call only.  It is made from a namespace of its own, so two runs share no global.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import hybrid as hb

__all__ = ["CALLS", "HELD_OUT", "Program", "Run", "array", "labels", "names", "normal", "programs"]

CALLS = 220
FOLDER = Path(__file__).parent
CATEGORIES = (
    *("arguments", "state", "effects", "numbers", "branches", "reads", "shapes", "nesting"),
    *("sequences", "science", "training", "pythonic", "carried"),
)
VALUES = ("carried",)  # of those, what is about values inside of containers
# written by somebody who looked at none of the others, nor at what hybrid can do
HELD_OUT = (
    *("batches", "bookkeeping", "chance", "decisions", "hostwork", "varying", "structures"),
    *("agents", "simulation", "idioms", "learning"),
)


class Run(NamedTuple):
    """A program that is set up: one turn of its loop, the arguments of turn k, what it leaves."""

    call: Callable[..., Any]
    arguments: Callable[[int], tuple[Any, ...]]
    state: Callable[[], Any] = lambda: None


class Program(NamedTuple):
    """A program by name, in a category; `make(decorator)` sets it up anew."""

    name: str
    category: str

    def make(self, decorator: Callable[..., Any]) -> Run:
        """The program in fresh globals, with that decorator on its functions."""
        serial = _SERIAL[0] = _SERIAL[0] + 1
        module = types.ModuleType(f"ordinary_{self.category}_{serial}")
        module.__file__, code = _compiled(self.category)
        module.__package__ = "ordinary"
        sys.modules[module.__name__] = module  # where classes look for the names they mention
        try:
            exec(code, module.__dict__)
            return getattr(module, self.name)(decorator)
        finally:
            del sys.modules[module.__name__]


_SERIAL = [0]


@cache
def _compiled(category: str) -> tuple[str, types.CodeType]:
    folder = FOLDER / "held_out" if category in HELD_OUT else FOLDER
    folder = FOLDER / "values" if category in VALUES else folder
    path = str(folder / f"{category}.py")
    return path, compile(Path(path).read_text(), path, "exec", dont_inherit=True)


@cache
def programs() -> dict[str, Program]:
    """Every program by name: the functions of one parameter named `function`."""
    found: dict[str, Program] = {}
    for category in (*CATEGORIES, *HELD_OUT):
        for const in _compiled(category)[1].co_consts:
            if isinstance(const, types.CodeType) and const.co_varnames[:1] == ("function",):
                assert const.co_name not in found, f"two programs named {const.co_name}"
                found[const.co_name] = Program(const.co_name, category)
    return found


def names() -> list[str]:
    """The names of all programs, by category."""
    return list(programs())


def array(number: int, *shape: int, scale: float = 1.0) -> Any:
    """Normal float32 numbers that depend on `number` only."""
    return (np.random.default_rng(number).standard_normal(shape) * scale).astype("f4")


def normal(number: int, *shape: int, scale: float = 1.0) -> Any:
    """`array` as a tensor."""
    return hb.tensor(array(number, *shape, scale=scale))


def labels(number: int, count: int, classes: int) -> Any:
    """Class indices that depend on `number` only, as a tensor."""
    return hb.tensor(np.random.default_rng(number).integers(0, classes, count))
