"""What `hybrid` shows: exactly its public names, to a person and to a type checker."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import hybrid
from hybrid.ops.base.surface import SPACES

ROOT = Path(hybrid.__file__).parents[1]
USER = """
import hybrid
import hybrid.nn.functional as F
from hybrid import Tensor, nn, optim


@hybrid.function
def step(x: Tensor) -> Tensor:
    return F.gelu(hybrid.exp(x) + hybrid.random.normal(x.shape))


x = hybrid.tensor([1.0, 2.0], dtype=hybrid.float32, requires_grad=True)
print(step(x).sum().item(), nn.Linear(2, 3)(x), optim.SGD([x], lr=hybrid.pi))
with hybrid.no_grad():
    print(hybrid.compare(step, x), hybrid.cuda.is_available())
"""


@pytest.mark.parametrize(
    "name", ["hybrid", "hybrid.nn", "hybrid.nn.functional", *[f"hybrid.{s}" for s in SPACES]]
)
def test_public_names_are_all_there_is_to_see(name):
    module = importlib.import_module(name)
    shown = {n for n in dir(module) if not n.startswith("_")}
    assert shown >= set(module.__all__), sorted(set(module.__all__) - shown)
    assert all(getattr(module, n, module) is not module for n in module.__all__)
    if name == "hybrid":  # the standard's name, which `import *` must not put over the builtin
        assert "bool" in shown and hybrid.bool is hybrid.bool_
        shown.discard("bool")
    if name != "hybrid.nn":  # its files are modules of PyTorch's names, too
        assert shown == set(module.__all__), sorted(shown - set(module.__all__))


def test_a_users_program_passes_a_strict_type_checker(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(USER)
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--follow-imports=silent",
            "--config-file=",
            program,
        ],
        env={"MYPYPATH": str(ROOT), "PATH": "/usr/bin:/bin", "MYPY_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
