"""What recordings cost a GPT training step: `python -m benchmarks.recording`.

Recorded calls: the first and the second call of the decorated step against the fastest eager one
before them, while a thread compiles beside (`wait=False`), or with the second call waiting for it.
Lengths: a GPT of one layer gets a text of another length in each
call, 100 lengths in random order, 600 calls, decorated and plain; the whole time of each counts,
start included.  Every figure comes from a process of its own with an empty disk cache; processes of
both kinds take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import hybrid as hb
from hybrid import optim
from hybrid.nn import functional as F

from . import workloads
from .sizes import GPT

__all__ = ["main"]

LENGTHS, CALLS = 100, 600
EAGER = 8  # calls before those that are recorded


class _Training:
    """A GPT of some layers and its step, which takes texts of any length."""

    def __init__(self, layers: int, longest: int, traced: bool) -> None:
        hb.manual_seed(0)
        self.random = np.random.default_rng(0)
        self.model = workloads.GPTModel(layers, longest)
        optimizer = optim.Adam(self.model.parameters(), lr=1e-3)

        def step(tokens: Any, targets: Any) -> Any:
            logits = self.model(tokens)
            loss = F.cross_entropy(logits.reshape(-1, GPT["vocabulary"]), targets.reshape(-1))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        self.step = hb.function(step) if traced else step

    def call(self, length: int) -> tuple[float, float]:
        """Seconds of the clock and of the processor that a step takes."""
        batch = [
            hb.tensor(self.random.integers(0, GPT["vocabulary"], (GPT["batch"], length)))
            for _ in range(2)
        ]
        start, work = time.perf_counter(), time.process_time()
        self.step(*batch).item()
        return time.perf_counter() - start, time.process_time() - work


def _recorded(waits: bool) -> dict[str, Any]:
    """Times as long as an eager call the first two decorated ones take."""
    training, length = _Training(GPT["layers"], GPT["length"], False), GPT["length"]
    eager = min([training.call(length)[0] for _ in range(EAGER)])
    training.step = hb.function(training.step, wait=waits)
    return {"calls": [training.call(length)[0] / eager for _ in range(2)]}


def _lengths(traced: bool) -> dict[str, Any]:
    """Seconds of all calls, and what they were."""
    training = _Training(1, LENGTHS, traced)
    pick = np.random.default_rng(1)
    lengths = [*pick.permutation(LENGTHS), *pick.integers(0, LENGTHS, CALLS - LENGTHS)]
    spent = [training.call(int(length) + 1) for length in lengths]
    info = training.step.cache_info()._asdict() if traced else {}
    wall, work = (sum(seconds) for seconds in zip(*spent))
    half = sum(seconds for seconds, _ in spent[CALLS // 2 :])
    return {"wall": wall, "work": work, "second half": half, "info": info}


PARTS = {"recorded": _recorded, "lengths": _lengths}


def _apart(part: str, traced: bool) -> dict[str, Any]:
    """A part in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.recording", "--here", part, str(int(traced))],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            cwd=Path(__file__).parent.parent,
            env=os.environ | {"HYBRID_CACHE_DIR": folder},
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _report(rounds: int) -> None:
    found: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    for _ in tqdm(range(rounds), unit="round", file=sys.stderr):
        for part in PARTS:
            for traced in (True, False):
                found.setdefault((part, traced), []).append(_apart(part, traced))
    print("GPT, recorded calls: times an eager call")
    for waits, how in ((False, "compiled beside"), (True, "compiled in the second")):
        calls = list(zip(*[run["calls"] for run in found["recorded", waits]]))
        print(f"  {how:24} first {_spread(list(calls[0]))}, second {_spread(list(calls[1]))}")
    pairs = list(zip(found["lengths", True], found["lengths", False]))
    print(f"GPT of one layer, {LENGTHS} lengths, {CALLS} calls, decorated against plain")
    for what in ("wall", "work", "second half"):
        ratios = [one[what] / two[what] for one, two in pairs]
        seconds = [statistics.median([run[what] for run in runs]) for runs in zip(*pairs)]
        print(f"  {what:12} {_spread(ratios):24} {seconds[0]:.2f} s, {seconds[1]:.2f} s")
    info = pairs[-1][0]["info"]
    print("  " + ", ".join(f"{info[name]} {name}" for name in info))


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="benchmarks.recording", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--here", nargs=2, metavar=("PART", "TRACED"), help="in this process")
    options = parser.parse_args()
    if options.here:
        part, traced = options.here
        print(json.dumps(PARTS[part](traced == "1")))
    else:
        _report(options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
