"""Examples, the README's code and the notebooks run, or are whole and without outputs."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hybrid
from hybrid.trace.bytecode.opcodes import SUPPORTED

ROOT = Path(__file__).parents[3]
RUNS = re.compile(r"(\w+): eager \d+ us, traced \d+ us a call, the same bits")
DYNAMIC = {
    "spell_numbers": ("train_step", "decode"),
    "beam_search": ("train_step", "beam_search"),
    "adaptive_ode": ("integrate",),
    "cart_pole": ("choose", "learn"),
}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_times_three():
    script = ROOT / "examples" / "times_three.py"
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    weight, bias = map(float, re.search(r"weight ([-\d.]+), bias ([-\d.]+)", done.stdout).groups())
    assert abs(weight - 3) < 1e-3 and abs(bias) < 1e-3 and "7 x 3 = 21.00" in done.stdout


def test_times_three_reads_like_pytorch():
    lines = [
        line.strip() for line in (ROOT / "examples" / "times_three.py").read_text().splitlines()
    ]
    start = lines.index("def step(x, y):")
    assert lines[start - 1] == "@hybrid.function"
    assert lines[start + 1 : start + 6] == [
        "optimizer.zero_grad()",
        "output = model(x)",
        "loss = criterion(output, y)",
        "loss.backward()",
        "optimizer.step()",
    ]


@pytest.mark.parametrize("name", DYNAMIC)
def test_dynamic_python(name):
    """They check their own answers, and the bits of each call that they take in turns."""
    pytest.importorskip("tqdm")
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / f"{name}.py"), "--quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert tuple(RUNS.findall(done.stdout)) == DYNAMIC[name]
    if SUPPORTED and name in ("spell_numbers", "cart_pole"):  # nothing here asks for a value
        assert "\n  native, " in done.stdout, done.stdout


def test_every_example_is_tested():
    named = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert named == {*DYNAMIC, "times_three", "turns"}


def test_readme_code_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    hybrid.manual_seed(0)
    space: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), space)
    if "step" in space:
        x, y = hybrid.randn(8, 64), hybrid.randint(0, 10, (8,))
        assert all(float(space["step"](x, y)) > 0 for _ in range(4))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_stored_clean(path):
    book = json.loads(path.read_text())
    assert book["nbformat"] == 4 and len({c["id"] for c in book["cells"]}) == len(book["cells"])
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            ast.parse("".join(cell["source"]))
    assert book["cells"][0]["cell_type"] == "markdown"
