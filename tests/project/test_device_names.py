"""Generic code names no device: the default one is written in one place, the others come from the
registry of backends."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import hybrid
from hybrid.backends.api import kinds
from hybrid.core.aval import HOST
from hybrid.core.spelling import DEVICES

ROOT = Path(hybrid.__file__).parent
NAMES = sorted({*DEVICES, *kinds()} - {"reference", "toy", "boxes"})  # those are words
WORD = re.compile(rf"(?<![\w./-])@?({'|'.join(NAMES)})(:\d+)?(?![\w./-])")
# not generic: the backends themselves, the table of other libraries' names, programs around it
APART = ("backends/", "core/spelling.py", "cuda/", "demo/", "__main__.py", "__init__.py")
FILES = [p for p in sorted(ROOT.rglob("*.py")) if not str(p.relative_to(ROOT)).startswith(APART)]
FILES += [ROOT / "backends" / "api.py", *sorted((ROOT / "backends" / "interpret").rglob("*.py"))]


def docstrings(tree: ast.AST) -> set[int]:
    """Ids of the constants that are documentation."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                found.add(id(first.value))
    return found


def of_its_name(tree: ast.AST) -> set[int]:
    """Ids of constants inside a function that is called like the device (`Tensor.cuda`)."""
    return {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name in DEVICES
        for inner in ast.walk(node)
        if isinstance(inner, ast.Constant) and inner.value == node.name
    }


def named(path: Path) -> list[tuple[int, str]]:
    """(line, text) of what names a device in a file."""
    tree = ast.parse(path.read_text())
    skipped = docstrings(tree) | of_its_name(tree)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in skipped and WORD.search(node.value):
                found.append((node.lineno, node.value))
        elif isinstance(node, ast.Name) and node.id.lower() in DEVICES:
            found.append((node.lineno, node.id))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_generic_code_names_no_device(path):
    found = named(path)
    if path == ROOT / "core" / "aval.py":
        assert [text for _, text in found] == [HOST.name], "the one place"
        return
    assert not found, f"{path.name}: {found}"


def test_the_search_finds_names(tmp_path):
    file = tmp_path / "some.py"
    for text in ('d = "cpu"', 'x.to("cuda:1")', 'f"on cuda"', "x = r'(?:@cpu)'", "d is CPU"):
        file.write_text(text)
        assert named(file), text
    for text in ('"""On a cpu."""', "x = 'a cpuset'", "def cuda(t): return t.to('cuda')"):
        file.write_text(text)
        assert not named(file), text
