"""The script that compares the plans of two checkouts: equal ones, and one without a pass."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def difference(other):
    command = [sys.executable, "tests/support/plan_diff.py", str(other), "--only", "hybrid.var("]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    programs, differ = map(int, re.search(r"(\d+) programs, (\d+) differ", ran.stdout).groups())
    assert ran.returncode == bool(differ), ran.stderr
    return programs, differ


def test_plans_of_two_checkouts(tmp_path):
    same, other = tmp_path / "same.json", tmp_path / "other"
    command = [sys.executable, "tests/support/plan_diff.py", str(same), "--write"]
    subprocess.run([*command, "--only", "hybrid.var("], cwd=ROOT, check=True)
    programs, differ = difference(same)
    assert programs > 1 and not differ
    other.mkdir()
    for folder in ("hybrid", "benchmarks"):
        subprocess.run(["cp", "-r", str(ROOT / folder), str(other)], check=True)
    pipeline = other / "hybrid/compiler/pipeline.py"
    pipeline.write_text(pipeline.read_text().replace('"cse", "dce")', '"dce")'))
    assert difference(other)[1]
