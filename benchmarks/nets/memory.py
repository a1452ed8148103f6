"""Peak memory of training steps, beside peers.

    python -m benchmarks.nets.memory [--only WORKLOAD ...] [--peer-python PATH]

A workload is one of `benchmarks.workloads`, or gpt2-LAYERSxWIDTH.  For each framework, in a process
of its own: megabytes of resident memory beyond what its imports take, at the peak of the first
calls (recordings and compilation among them) and at the peak of later steps.  Invariant: both are
the kernel's own high-water mark (VmHWM, reset through clear_refs), so no moment is missed; where
the system has none there is no figure.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from tqdm import tqdm

from ..first_result import program_of
from ..sizes import NoSuchWorkload

__all__ = ["main"]

WORKLOADS = ("mlp_big", "cnn", "lstm", "gpt", "gpt2-12x768")
FRAMEWORKS = ("hybrid_eager", "hybrid_traced", "torch", "torch_compile", "jax")
FIRST, LATER = 4, 6  # calls of each part
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _kilobytes(name: str) -> int:
    """A line of the process's status."""
    lines = (line.split() for line in STATUS.read_text().splitlines())
    return next(int(line[1]) for line in lines if line[0] == f"{name}:")


def _peak(run: object, calls: int) -> float:
    """Kilobytes at the peak of some calls."""
    CLEAR.write_text("5")  # resets the high-water mark (proc(5))
    for _ in range(calls):
        run()  # type: ignore[operator]
    return _kilobytes("VmHWM")


def measure(framework: str, workload: str) -> None:
    """Print the megabytes of one framework in this process, as JSON."""
    import_module(framework.split("_")[0])
    if framework.startswith("hybrid"):  # loaded with the first tensor: an import, too
        import_module("hybrid.backends.api").backend("cpu")
    before = _kilobytes("VmRSS")
    try:
        run = program_of(framework, workload)
    except NoSuchWorkload:
        sys.exit(3)
    peaks = [_peak(run, FIRST), _peak(run, LATER)]
    print(json.dumps([(peak - before) / 1024 for peak in peaks]))


def _measured(python: str, framework: str, workload: str) -> list[float] | None:
    """`measure` in a process of its own; None where that framework does not run it."""
    done = subprocess.run(
        [python, "-m", "benchmarks.nets.memory", "--measure", framework, workload],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=list(WORKLOADS))
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if not (STATUS.exists() and CLEAR.exists()):
        raise SystemExit("this system does not tell the high-water mark of a process")
    if given.measure:
        measure(*given.measure)
        return
    pairs = [(workload, framework) for workload in given.only for framework in FRAMEWORKS]
    rows: dict[str, dict[str, list[float] | None]] = {workload: {} for workload in given.only}
    for workload, framework in tqdm(pairs, unit="process"):
        python = sys.executable if framework.startswith("hybrid") else given.peer_python
        rows[workload][framework] = _measured(python, framework, workload)
    print("MB beyond imports, first calls / later ones")
    print(f"{'':14s}" + "".join(f"{framework:>16s}" for framework in FRAMEWORKS))
    for workload, found in rows.items():
        cells = ["-" if f is None else f"{f[0]:.0f} / {f[1]:.0f}" for f in found.values()]
        print(f"{workload:14s}" + "".join(f"{cell:>16s}" for cell in cells))


if __name__ == "__main__":
    main()
