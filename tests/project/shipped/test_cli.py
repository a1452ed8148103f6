"""python -m hybrid: commands, their errors, and that nothing heavy loads before it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hybrid.__main__ import main

ROOT = Path(__file__).parents[3]


def test_info(capsys):
    assert main(["info"]) == 0
    said = capsys.readouterr().out
    assert all(
        f"\n{name} " in "\n" + said
        for name in ("hybrid", "numpy", "llvmlite", "python", "cpu threads")
    )


@pytest.mark.parametrize(
    "argv, said",
    [
        ([], "required"),
        (["train"], "invalid choice"),
        (["demo", "--epochs", "many"], "invalid int"),
        (["info", "x"], "unrecognized"),
    ],
)
def test_errors_name_the_problem(argv, said, capsys):
    with pytest.raises(SystemExit) as e:
        main(argv)
    assert e.value.code == 2 and said in capsys.readouterr().err


def test_help_loads_nothing_heavy():
    code = (
        "import sys, runpy; sys.argv = ['hybrid', '--help']\n"
        "try: runpy.run_module('hybrid', run_name='__main__')\n"
        "except SystemExit as e: assert e.code == 0, e.code\n"
        "print({'sklearn', 'matplotlib', 'tqdm'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and done.stdout.rstrip().endswith("set()"), (
        done.stdout + done.stderr
    )
    assert "demo" in done.stdout and "info" in done.stdout
