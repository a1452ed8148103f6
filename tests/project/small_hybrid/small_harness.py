"""The program of docs/hybrid_in_500_lines.md as a module, and what its tests ask of it.

Invariant: the program is the blocks of the page, in order, and nothing else.
"""

from __future__ import annotations

import linecache
import re
import warnings
from pathlib import Path
from types import ModuleType

ROOT = next(p for p in Path(__file__).parents if (p / "pyproject.toml").exists())
PAGE = (ROOT / "docs" / "hybrid_in_500_lines.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced blocks of the page in one language, in order."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", PAGE)


def run(name: str, source: str, space: dict) -> dict:
    """Run text as a file of that name, whose lines can be read."""
    linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name
    exec(compile(source, name, "exec"), space)
    return space


small = ModuleType("small_hybrid")
small.__file__ = "small_hybrid.py"
run("small_hybrid.py", "".join(blocks("python")), vars(small))
mean, sum_to, transpose = small.mean, small.sum_to, small.transpose
sigmoid, softplus, tanh = small.sigmoid, small.softplus, small.tanh
gradients, scope, tensor = small.gradients, small.scope, small.tensor


def calls(program, *args, times=4):
    """(the decorated program after some calls, their results, what it warned of)."""
    traced = small.function(program)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        results = [traced(*args) for _ in range(times)]
    return traced, results, [str(w.message) for w in said]


def bits(*tensors):
    return [(x.aval, x.value.tobytes()) for x in tensors]


def entry_of(traced):
    (entry,) = traced.entries.values()
    return entry
