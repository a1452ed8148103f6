"""Imports go down: no cycle, no late import, no layer reaches up (docs/architecture.md)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "hybrid"
RANK = [
    "core",
    "ir",
    "ops",
    "backends",
    "autograd",
    "compiler",
    "trace",
    "eager",
    "random",
    "threads",
    "function",
    "inspect",
    "profile",
    "nn",
    "optim",
    "demo",
    "__init__",
    "__main__",
]
# modules that may import an optional heavy package inside a function
DOORS = ("backends/cuda/", "demo/", "__main__.py", "inspect")
FILES = sorted(p for p in ROOT.rglob("*.py"))


def layer_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path):
    """(module, line, late) of every import of hybrid; other packages with late=True only."""
    module, tree = module_of(path), ast.parse(path.read_text())
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    type_only = {
        id(n)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for n in ast.walk(block)
    }
    top = {id(n) for n in tree.body}
    for block in tree.body:
        if isinstance(block, (ast.If, ast.Try)):
            top |= {id(n) for n in block.body}
    for node in ast.walk(tree):
        if id(node) in type_only:
            continue
        if isinstance(node, ast.Import):
            for a in node.names:
                yield a.name, node.lineno, id(node) not in top
        elif isinstance(node, ast.ImportFrom):
            base = (
                package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            )
            name = ".".join(base + ([node.module] if node.module else []))
            for a in node.names:
                full = f"{name}.{a.name}"
                is_module = (ROOT.parent / (full.replace(".", "/") + ".py")).exists() or (
                    ROOT.parent / full.replace(".", "/")
                ).is_dir()
                yield (
                    full if is_module and name.startswith("hybrid") else name,
                    node.lineno,
                    id(node) not in top,
                )


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path):
    here = layer_of(module_of(path)) if path.parent != ROOT else path.stem
    assert here in RANK, f"{path} is in no layer: add it to RANK with a reason"
    for module, line, late in imports_of(path):
        where = f"{path}:{line}"
        if late and not str(path.relative_to(ROOT)).startswith(DOORS):
            raise AssertionError(f"{where} imports {module} late")
        if module.split(".")[0] == "hybrid" and layer_of(module) != "__init__":
            assert RANK.index(layer_of(module)) <= RANK.index(here), (
                f"{where}: {here} imports {module}"
            )


def test_no_cycles():
    graph = {
        module_of(p): {m for m, _, late in imports_of(p) if m.startswith("hybrid") and not late}
        for p in FILES
    }
    done, path = set(), []

    def visit(m):
        if m in path:
            raise AssertionError("import cycle: " + " -> ".join(path[path.index(m) :] + [m]))
        if m in done or m not in graph:
            return
        path.append(m)
        for n in sorted(graph[m] - {m}):
            visit(n)
        path.pop()
        done.add(m)

    for m in graph:
        visit(m)


def test_core_names_no_backend():
    for path in FILES:
        rel = path.relative_to(ROOT)
        if rel.parts[0] in ("core", "ir", "ops", "autograd", "compiler", "trace"):
            for module, line, _ in imports_of(path):
                assert not module.startswith(("hybrid.backends.cpu", "hybrid.backends.cuda")), (
                    f"{path}:{line}"
                )
