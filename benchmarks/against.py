"""Two checkouts of this project, measured in turns: `python -m benchmarks.against OTHER`.

OTHER is a folder with another checkout (`git worktree add OTHER REVISION`).  Prints, for each
measurement, the medians and the ratio of medians of this checkout to the other one, with the spread
of the paired ratios.  Invariant: every figure comes from a process of its own, and the two
checkouts alternate, so that a drift of the machine meets both.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tqdm import tqdm

__all__ = ["MEASURES", "measure", "row", "main"]

HERE = Path(__file__).parent.parent
OWN = ("benchmarks/worker.py", "hybrid/__init__.py")
PAIRS = 7
# name -> (module and arguments, unit)
MEASURES = {
    "entry and exit of a replay": (["benchmarks.overhead"], "us"),
    "a + a, 8 floats, eager": (["benchmarks.worker", "hybrid_eager", "add_eager", "0.7"], "us"),
    "a + a with gradient": (["benchmarks.worker", "hybrid_eager", "add_eager_grad", "0.7"], "us"),
    "toy step, traced": (["benchmarks.worker", "hybrid_traced", "toy", "0.7"], "us"),
    "mlp_small step, traced": (["benchmarks.worker", "hybrid_traced", "mlp_small", "0.7"], "us"),
    "lstm step, traced": (["benchmarks.worker", "hybrid_traced", "lstm", "1"], "us"),
    "gpt step, traced": (["benchmarks.worker", "hybrid_traced", "gpt", "1.5"], "us"),
    "gpt step, eager": (["benchmarks.worker", "hybrid_eager", "gpt", "1.5"], "us"),
    "first traced gpt, cold": (["benchmarks.first_result", "gpt", "--calls"], "s"),
    "first traced gpt, disk cache": (["benchmarks.first_result", "gpt", "--calls"], "s"),
}
FULL = re.compile(r"entry and exit (-?[\d.]+) us")


def _run(checkout: Path, arguments: list[str], cache: str) -> str:
    """Standard output of a module of one checkout, which must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout), "HYBRID_CACHE_DIR": cache},
    )
    if done.returncode:
        raise SystemExit(f"{checkout}: {' '.join(arguments)} failed\n{done.stderr[-1500:]}")
    return done.stdout


def _first_result(checkout: Path, arguments: list[str], cache: str) -> float:
    """Seconds of the first three traced calls beyond those of two plain eager ones."""
    traced = json.loads(_run(checkout, [*arguments, "hybrid_traced", "3"], cache).splitlines()[-1])
    eager = json.loads(_run(checkout, [*arguments, "hybrid_eager", "8"], cache).splitlines()[-1])
    return sum(traced) - 2 * min(eager)


def measure(name: str, checkout: Path, cache: str) -> float:
    """One figure of one checkout; `cache` is the folder of its object code."""
    arguments, _ = MEASURES[name]
    if name.startswith("first traced"):
        if name.endswith("cold"):
            with tempfile.TemporaryDirectory() as empty:
                return _first_result(checkout, arguments, empty)
        return _first_result(checkout, arguments, cache)
    output = _run(checkout, arguments, cache)
    found = FULL.search(output)
    if found:
        return float(found.group(1))
    return float(json.loads(output.splitlines()[-1])["us"])


def row(name: str, mine: list[float], other: list[float]) -> str:
    """The line of one measurement: medians, their ratio, least and largest paired ratio."""
    unit = MEASURES[name][1]
    ratios = sorted(a / b for a, b in zip(mine, other))
    ratio = statistics.median(mine) / statistics.median(other)
    return (
        f"{name:30} {statistics.median(mine):10.3f} {statistics.median(other):10.3f} {unit:2} "
        f"{ratio:7.3f}   {ratios[0]:.3f} to {ratios[-1]:.3f}"
    )


def main(argv: list[str] | None = None) -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="benchmarks.against", description=__doc__)
    parser.add_argument("other", type=Path, help="folder of the other checkout")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--only", default="", help="text that the names of measurements contain")
    options = parser.parse_args(argv)
    # without its own package, the other one would measure whichever hybrid is installed
    if not all((options.other / file).is_file() for file in OWN):
        parser.error(f"{options.other} is no checkout of this project")
    if options.pairs < 1:
        parser.error("--pairs must be positive")
    checkouts = (HERE, options.other.resolve())
    names = [name for name in MEASURES if options.only in name]
    if not names:
        parser.error(f"no measurement has {options.only!r} in its name")
    print(f"{'':30} {'this':>10} {'other':>10}    ratio of medians, spread over pairs")
    with tempfile.TemporaryDirectory() as mine, tempfile.TemporaryDirectory() as theirs:
        caches = (mine, theirs)
        for name in names:
            figures: tuple[list[float], list[float]] = ([], [])
            if name.endswith("disk cache"):
                for checkout, cache in zip(checkouts, caches):
                    measure(name, checkout, cache)
            for pair in tqdm(range(options.pairs), desc=name, leave=False, mininterval=0.3):
                both = list(zip(figures, checkouts, caches))
                for values, checkout, cache in both if pair % 2 == 0 else both[::-1]:
                    values.append(measure(name, checkout, cache))
            print(row(name, *figures), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
