"""The programs of a module of tests/support on another device: whatever they make is made there.

Invariant: nothing else of a program differs, and its lines are those of the file.
"""

from __future__ import annotations

import ast
import importlib
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["programs_on"]

MAKERS = {"tensor", "asarray", "zeros", "ones", "arange", "full", "randn", "rand"}


class _Moved(ast.NodeTransformer):
    """Calls of hb.zeros and such get a device, modules of hb.nn go there."""

    def __init__(self, device: str) -> None:
        self.device = device

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        called = ast.unparse(node.func)
        room, _, name = called.rpartition(".")
        if room == "hb" and name in MAKERS:
            node.keywords.append(ast.keyword("device", ast.Constant(self.device)))
        elif room in ("nn", "hb.nn") and name[0].isupper():
            moved = ast.Attribute(node, "to", ast.Load())
            return ast.Call(moved, [ast.Constant(self.device)], [])
        return node


def _module_on(name: str, device: str) -> types.ModuleType:
    found = importlib.import_module(name)
    path = Path(str(found.__file__))
    tree = _Moved(device).visit(ast.parse(path.read_text()))
    made = types.ModuleType(name)
    made.__dict__.update(__file__=str(path), __package__=found.__package__)
    exec(compile(ast.fix_missing_locations(tree), str(path), "exec"), made.__dict__)
    return made


@contextmanager
def _in_place(name: str, module: types.ModuleType) -> Iterator[None]:
    """Other modules that are made meanwhile import this one by the name."""
    package, _, last = name.rpartition(".")
    before = sys.modules[name]
    sys.modules[name] = module
    setattr(sys.modules[package], last, module)
    try:
        yield
    finally:
        sys.modules[name] = before
        setattr(sys.modules[package], last, before)


def programs_on(device: str, first: str, *others: str) -> list[types.ModuleType]:
    """Modules with their programs on a device; the others use the first one."""
    for name in (first, *others):  # with the first one's own programs
        importlib.import_module(name)
    base = _module_on(first, device)
    with _in_place(first, base):
        return [base, *[_module_on(name, device) for name in others]]
