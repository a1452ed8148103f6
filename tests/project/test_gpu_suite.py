"""The tests that need a GPU: skipped with one reason without one, and right on a simulated card."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments: str, **environment: str) -> str:
    """The last lines of a run of pytest over tests/gpu, which must not fail."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    return done.stdout


def test_without_a_device_there_is_one_reason() -> None:
    said = run("-rs", "tests/gpu/test_gpu_errors.py", HYBRID_GPU_DEVICE="nowhere")
    assert said.count("SKIPPED") > 3
    assert len(set(re.findall(r"no nowhere device here: .*", said))) == 1


def test_on_the_simulated_card(tmp_path: Path) -> None:
    """A few of each kind: records in workers, sizes, errors, streams."""
    results = tmp_path / "results.jsonl"
    run(
        "tests/gpu",
        "-k",
        "record and softmax and not softmax_grad and not log or softmax and rows and 31 or out_of_range",
        HYBRID_GPU_SIMULATED="1",
        HYBRID_GPU_WORKERS="2",
        HYBRID_GPU_RESULTS=str(results),
    )
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    assert {task for task, _, _ in rows} == {"eager", "traced", "gradients", "shape"}
    assert all(found["checked"] for task, _, found in rows if task in ("eager", "shape"))


def test_what_differs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend with sums of its own order fails, with the case and the first element."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/gpu", "-k"]
        + ["eager-softmax and not grad"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"HYBRID_GPU_DEVICE": "toy", "HYBRID_GPU_WORKERS": "1"},
    )
    assert done.returncode == 1
    assert re.search(r"softmax float32 case .* differ, first at \(", done.stdout)
