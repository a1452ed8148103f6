"""A table that is emptied because it is full is bounded by core/cache.py, and nowhere by hand."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2] / "hybrid"
HOME = ROOT / "core" / "cache.py"
EMPTIES = ("clear", "popitem")


def measured(test):
    """What a condition takes the length of, as text."""
    return {
        ast.unparse(call.args[0])
        for call in ast.walk(test)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "len"
    }


def by_hand(tree):
    """Lines that empty a container under a condition on its length."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.If, ast.While)):
            lengths = measured(node.test)
            for call in (c for s in node.body for c in ast.walk(s) if isinstance(c, ast.Call)):
                method = call.func
                if isinstance(method, ast.Attribute) and method.attr in EMPTIES:
                    if ast.unparse(method.value) in lengths:
                        yield call.lineno


def test_only_one_file_bounds_tables():
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted(ROOT.rglob("*.py"))
        if path != HOME
        for line in by_hand(ast.parse(path.read_text()))
    ]
    assert not found, f"use keep or Bounded of core/cache.py: {found}"


def test_what_is_found():
    text = "if len(self.known) > 4:\n    self.known.clear()\nif len(a) > 4:\n    b.clear()\n"
    assert list(by_hand(ast.parse(text))) == [2]
    assert list(by_hand(ast.parse("while len(d) > most:\n    d.popitem(last=False)\n"))) == [2]
