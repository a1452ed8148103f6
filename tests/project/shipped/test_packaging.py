"""What is shipped: one small pure wheel, with exactly the dependencies the code imports."""

from __future__ import annotations

import ast
import re
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import hybrid

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULE_OF = {
    "scikit-learn": "sklearn",
    "typing-extensions": "typing_extensions",
    "cupy-cuda12x": "cupy",
    "cupy-cuda13x": "cupy",
}


def names(requirements):
    found = (re.match(r"[A-Za-z0-9_-]+", r).group() for r in requirements)
    return {MODULE_OF.get(n, n) for n in found}


def test_wheel_is_pure_and_small(tmp_path):
    wheel = pytest.importorskip("hatchling.builders.wheel")
    path = Path(
        next(wheel.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    )
    assert path.name == f"hybrid-{hybrid.__version__}-py3-none-any.whl"
    assert path.stat().st_size < 2100 << 10
    inside = zipfile.ZipFile(path).namelist()
    assert all(n.startswith(("hybrid/", "hybrid-")) for n in inside)
    assert not [
        n for n in inside if n.startswith("hybrid/") and not n.endswith((".py", ".pyi", "py.typed"))
    ]
    assert f"hybrid-{hybrid.__version__}.dist-info/licenses/LICENSE" in inside
    wanted = {
        str(p.relative_to(ROOT)) for p in (ROOT / "hybrid").rglob("*.py*") if p.suffix != ".pyc"
    }
    assert wanted <= set(inside)


def test_sdist_carries_what_people_need(tmp_path):
    sdist = pytest.importorskip("hatchling.builders.sdist")
    path = next(sdist.SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    with tarfile.open(path) as file:
        inside = {name.partition("/")[2] for name in file.getnames()}
    assert {"LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "README.md", "docs/conf.py"} <= inside
    assert not [n for n in inside if n.startswith(("docs/_build", "docs/api", "docs/notebooks"))]


def test_version_is_told_once_and_the_same():
    assert PROJECT["version"] == hybrid.__version__


def test_dependencies_are_what_is_imported():
    declared = names(PROJECT["dependencies"])
    optional = set().union(
        *(names(r) for k, r in PROJECT["optional-dependencies"].items() if k in ("cuda", "demo"))
    )
    found: dict[str, str] = {}
    for path in (ROOT / "hybrid").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            mods = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module]
                if isinstance(node, ast.ImportFrom) and not node.level and node.module
                else []
            )
            found |= {m.split(".")[0]: str(path) for m in mods}
    foreign = {
        m: p
        for m, p in found.items()
        if m not in sys.stdlib_module_names and m not in ("hybrid", "__future__")
    }
    unknown = {m: p for m, p in foreign.items() if m not in declared | optional | {"IPython"}}
    assert not unknown, f"imported but not declared: {unknown}"
    assert declared <= set(foreign), f"declared but not imported: {declared - set(foreign)}"


def test_every_module_says_what_it_holds():
    for path in (ROOT / "hybrid").rglob("*.py"):
        text = path.read_text()
        assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{path} has no docstring"
