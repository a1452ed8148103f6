"""The recipes of docs/architecture.md, done as written in a copy of the tree.

Invariant: an op is text at the end of one file, a pass a file and a word in one line, a backend a
folder; nothing else is touched.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USE = """
import numpy as np
import hybrid as h
{code}
print("done")
"""


def recipe(title):
    """The first program after a bold title."""
    page = (ROOT / "docs/architecture.md").read_text()
    return re.search(rf"\*\*{title}\.\*\*.*?```python\n(.*?)```", page, re.DOTALL)[1]


@pytest.fixture
def tree(tmp_path):
    subprocess.run(["cp", "-r", str(ROOT / "hybrid"), str(tmp_path)], check=True)
    (tmp_path / "tests/project").mkdir(parents=True)
    test = "tests/project/test_layers.py"
    (tmp_path / test).write_text((ROOT / test).read_text())
    return tmp_path


def check(tree, code):
    """The program runs in the tree, whose imports still go down."""
    for command in (
        ["-c", USE.format(code=code)],
        ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/project/test_layers.py"],
    ):
        ran = subprocess.run(
            [sys.executable, *command], cwd=tree, capture_output=True, text=True,
            env={"PYTHONPATH": str(tree), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]


def test_add_an_op(tree):
    text = recipe("Add an op")
    family = tree / re.search(r"at the end of (\S+)", text)[1]
    family.write_text(f"{family.read_text()}\n\n{text}")
    assert len(family.read_text().splitlines()) <= 500
    check(
        tree,
        """
x = h.tensor([1.0, -3.0], requires_grad=True)
assert h.soft_sign(x).tolist() == x.soft_sign().tolist() == [0.5, -0.75]
h.nn.functional.soft_sign(x).sum().backward()
assert x.grad.tolist() == [0.25, 0.0625]
""",
    )


def test_add_a_pass(tree):
    (tree / "hybrid/compiler/passes/idle.py").write_text(
        recipe("Add a pass").replace('Pass("name"', 'Pass("idle"')
    )
    pipeline = tree / "hybrid/compiler/pipeline.py"
    before = pipeline.read_text()
    after = re.sub(r"^(ORDER = \(.*)\)$", r'\1, "idle")', before, flags=re.MULTILINE)
    assert sum(a != b for a, b in zip(before.splitlines(), after.splitlines(), strict=True)) == 1
    pipeline.write_text(after)
    check(
        tree,
        """
from hybrid.compiler.pipeline import STEPS
assert "idle" in [step.name for step in STEPS]
double = h.function(lambda x: x * 2 + 1)
assert [double(h.ones(2)).tolist() for _ in range(4)][-1] == [3.0, 3.0]
""",
    )


def test_add_a_backend(tree):
    folder = tree / "hybrid/backends/mydev"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "backend.py").write_text(recipe("Add a backend"))
    check(
        tree,
        """
model = h.nn.Linear(3, 2).to("mydev")
@h.function
def step(x):
    loss = (model(x) ** 2).sum()
    model.zero_grad()
    loss.backward()
    return loss
x = h.ones((4, 3), device="mydev")
assert len({step(x).item() for _ in range(4)}) == 1 and step.cache_info().replays == 2
assert str(model.weight.grad.device) == "mydev"
""",
    )
