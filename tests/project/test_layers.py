"""Imports go down: no cycle, no late import, no layer reaches up (docs/architecture.md)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "hybrid"
# the rooms of each package from the lowest to the highest: a room imports from itself and those before it
ROOMS = {
    "": (
        "core",
        "ir",
        "ops",
        "backends",
        "autograd",
        "control",
        "transforms",
        "compiler",
        "trace",
        "eager",
        "protocols",
        "fft",
        "linalg",
        "random",
        "special",
        "cuda",
        "threads",
        "decorator",
        "comparison",
        "inspection",
        "explanation",
        "profiling",
        "nn",
        "optim",
        "demo",
        "__main__",
    ),
    "ir": (
        "algorithm",
        "op",
        "numpys",
        "oracle",
        "mode",
        "tensor",
        "attend",
        "scalar",
        "contract",
        "graph",
        "door",
        "collector",
    ),
    "eager": (
        "typed",
        "writing",
        "repr",
        "making",
        "snapshot",
        "tensor",
        "create",
        "shaping",
        "transfer",
        "info",
        "methods",
        "debug",
        "steps",
    ),
    "ops": (
        "base",
        "formulas",
        "elementwise",
        "axes",
        "build",
        "indexing",
        "arrange",
        "products",
        "complex",
        "linalg",
        "fourier",
        "layers",
        "special",
        "numeric",
        "randoms",
        "batched",
        "families",
    ),
    "ops.formulas": (
        "tools",
        "exponential",
        "logarithm",
        "error",
        "inverse_trig",
        "power",
        "trig",
        "special",
    ),
    "ops.formulas.special": (
        "tables",
        "normal",
        "gamma",
        "beta",
        "information",
        "integrals",
        "bessel",
        "modified",
        "zeta",
        "incomplete",
        "beta_rest",
        "incomplete_beta",
        "odds",
    ),
    "compiler": ("passes", "lower", "failure", "identity", "pipeline"),
    "trace": (
        "heap",
        "host",
        "bytecode",
        "follow",
        "watch",
        "branches",
        "record",
        "fallback",
        "serve",
        "split",
    ),
    "trace.fallback": ("budget", "nap", "parts", "value_plans", "bundles", "whole_calls")
    + ("segments", "postponed", "resumed", "sizes", "backward", "families", "deferred", "anew"),
    "trace.serve": (
        "commit",
        "followers",
        "prepare",
        "native",
        "served",
        "plans",
        "background",
        "foresight",
        "paths",
        "signatures",
        "ways",
        "trial",
        "alike",
        "told",
        "sized",
        "pending",
    ),
    "trace.heap": (
        "library",
        "allowlist",
        "arrays",
        "structure",
        "data",
        "walks",
        "facts",
        "lists",
        "given",
        "namespaces",
        "patches",
        "setters",
        "signature",
        "spelling",
    ),
    "trace.follow": (
        "terms",
        "machine",
        "operands",
        "hosted",
        "arrays",
        "places",
        "fresh",
        "given",
        "follower",
        "snapshots",
    )
    + ("calls", "indices", "branching", "builds", "effects", "newer", "rows"),
    "trace.watch": (
        "turns",
        "walks",
        "hosts",
        "ran",
        "events",
        "fact_table",
        "classes",
        "c_calls",
        "pinned",
        "settle",
        "versioned",
    )
    + ("objects", "evaluator", "rules", "origins", "passed", "analysis"),
    "trace.record": (
        "expected",
        "kept",
        "outputs",
        "wording",
        "actions",
        "recorder",
        "inputs",
        "interrupted",
        "result_tape",
        "outcome",
        "recording",
        "compare",
        "guards",
        "before",
    ),
    "backends": (
        "arena",
        "plan",
        "generated",
        "product",
        "attend",
        "op_kernels",
        "interpret",
        "layout",
        "events",
        "exchange",
        "api",
        "reference",
        "emit",
        "cpu",
        "cuda",
    ),
    "backends.emit": (
        "code",
        "form",
        "lanes",
        "memory",
        "addresses",
        "reduce",
        "programs",
        "body",
        "columns",
        "maps",
        "tiles",
        "rows",
        "split_rows",
        "loops",
    ),
    "backends.cuda": (
        "function",
        "machine",
        "emit",
        "scatter",
        "algorithms",
        "gemm",
        "attend",
        "blas",
        "kernels",
        "launch",
        "array",
        "exchange",
        "copies",
        "stepwise",
        "control",
        "eager",
        "graph_ir",
        "graphs",
        "order",
        "profile",
        "executable",
        "backend",
    ),
    "backends.cpu.gemm": (
        "micro",
        "pack",
        "factors",
        "words",
        "tilings",
        "epilogue",
        "finish",
        "geometry",
        "levels",
        "panels",
        "driver",
        "combine",
        "vectors",
    ),
    "backends.cpu.machine": (
        "asm",
        "control",
        "systems",
        "target",
        "host",
        "beside",
        "diskcache",
        "core",
        "jit",
        "blocks",
        "plans",
        "engine",
        "alloc",
        "pool",
    ),
    "backends.cpu.gang": ("cost", "units", "gather", "layout", "places"),
    "backends.cpu.measure": ("texts", "runs", "sampler", "calibration"),
    "backends.cpu.masks": ("walks", "places", "elements"),
    "backends.cpu.order": (
        "lines",
        "vectors",
        "divided",
        "values",
        "pairs",
        "shared",
        "sorts",
        "positions",
        "ranks",
    ),
    "backends.cpu": (
        "machine",
        "measure",
        "watch",
        "python",
        "gemm",
        "words",
        "integers",
        "order",
        "masks",
        "scan",
        "scatter",
        "attend",
        "kernels",
        "profile",
        "control",
        "gang",
        "kept",
        "executable",
        "eager",
        "backend",
    ),
}
INSTALLED = "emit"  # a backend that is not ranked comes after this room
MAX_FILES = 14
# modules that may import an optional heavy package inside a function
DOORS = ("backends/cuda/", "cuda/", "demo/")
FILES = sorted(p for p in ROOT.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, types: bool = False):
    """(module, line, late) of every import; `types`: of those for type checkers, too."""
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
        if id(node) in type_only and not types:
            continue
        if isinstance(node, ast.Import):
            for a in node.names:
                yield a.name, node.lineno, id(node) not in top | type_only
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
                    id(node) not in top | type_only,
                )


def rooms_of(package: str) -> tuple[str, ...]:
    """The rooms of a package; a folder with a backend that nobody else imports needs no rank."""
    rooms = ROOMS.get(package, ())
    if package != "backends":
        return rooms
    found = sorted(p.parent.name for p in (ROOT / "backends").glob("*/backend.py"))
    after = rooms.index(INSTALLED) + 1
    return (*rooms[:after], *[name for name in found if name not in rooms], *rooms[after:])


def room_of(module: str, package: str) -> str | None:
    """The room of `package` that a module lies in; None: outside, or the package's own front."""
    parts, inside = module.split(".")[1:], package.split(".") if package else []
    if parts[: len(inside)] != inside or len(parts) == len(inside):
        return None
    return parts[len(inside)]


def is_ours(module: str) -> bool:
    return module.split(".")[0] == ROOT.name


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path):
    module = module_of(path)
    for imported, line, late in imports_of(path, types=True):
        where = f"{path}:{line}"
        optional = str(path.relative_to(ROOT)).startswith(DOORS) and not is_ours(imported)
        assert optional or not late, f"{where} imports {imported} late"
        if not is_ours(imported):
            continue
        for package in ROOMS:
            rooms = rooms_of(package)
            here, there = room_of(module, package), room_of(imported, package)
            if here is None or there is None:
                continue
            assert here in rooms, f"{path} is in no room of {package or 'hybrid'}: give it a rank"
            assert rooms.index(there) <= rooms.index(here), f"{where}: {here} imports {there}"


def test_every_package_with_rooms_ranks_them():
    """A folder with folders in it says which of them is the lowest."""
    for folder in {p.parent.parent for p in FILES if p.parent != ROOT} - {ROOT.parent}:
        package = ".".join(folder.relative_to(ROOT).parts)
        inner = {p.parent.name for p in FILES if p.parent.parent == folder}
        assert inner <= set(rooms_of(package)), f"{folder}: give its rooms ranks"


def test_rooms_are_small():
    for folder in {p.parent for p in FILES}:
        files = [p.name for p in FILES if p.parent == folder]
        assert len(files) <= MAX_FILES, f"{folder} has {len(files)} files"


def test_no_cycles():
    """Nor is there one that only types close."""
    graph = {
        module_of(p): {m for m, _, late in imports_of(p, types=True) if not late} for p in FILES
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
