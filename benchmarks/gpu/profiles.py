"""Where a training step spends the card's time: `python -m benchmarks.gpu.profiles [STEP ...]`.

STEP is a small workload or gpt2; each is recorded, its calls are timed with the loss read, and its
kernels one by one between events, gathered by kind and shape.  Invariant: a kernel timed by itself
includes its start, about 3 us, which it does not cost inside a graph.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import hybrid as hb
from hybrid.backends.api import KernelTime

from .. import workloads
from ..sizes import TRAINING
from .models import GPT2, SMALL_GPT2, gpt2, hybrid_library, step_of
from .timing import Device

__all__ = ["main", "gathered"]

CALLS, SHOWN = 30, 40  # calls that are timed; lines of a table
Step = tuple[Any, tuple[Any, ...]]


def _gpt2(device: Device) -> Step:
    sizes = SMALL_GPT2 if device.small else GPT2
    model = gpt2(hybrid_library(device.name), sizes).to(device.name)
    shape = 2, 2 if device.small else 4, sizes["length"]
    made = np.random.default_rng(0).integers(0, sizes["vocabulary"], shape)
    optimizer = hb.optim.Adam(model.parameters(), lr=1e-4)

    def forward(tokens: Any, labels: Any) -> Any:
        logits = model(tokens).reshape(-1, sizes["vocabulary"])
        return hb.nn.functional.cross_entropy(logits, labels.reshape(-1))

    step = hb.function(step_of(forward, optimizer))
    return step, tuple(hb.tensor(array, device=device.name) for array in made)


def _step(name: str, device: Device) -> Step:
    if name == "gpt2":
        return _gpt2(device)
    made = workloads.training(name, True, device.name)
    return made.step, made.batch()


def gathered(rows: list[KernelTime]) -> list[tuple[str, int, float, float]]:
    """(kind and shape, kernels, seconds, share of the card's bound) by falling time."""
    groups: dict[str, tuple[int, float, float]] = {}
    for row in rows:
        count, spent, best = groups.get(f"{row.kind} {row.shape}", (0, 0.0, 0.0))
        together = count + 1, spent + row.seconds, best + row.bound * row.seconds
        groups[f"{row.kind} {row.shape}"] = together
    found = [(name, count, spent, best / spent) for name, (count, spent, best) in groups.items()]
    return sorted(found, key=lambda group: -group[2])


def _microseconds(call: Callable[[], Any]) -> float:
    taken = []
    for _ in range(CALLS):
        begin = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken) * 1e6


def main(argv: list[str] | None = None) -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="benchmarks.gpu.profiles", description=__doc__)
    parser.add_argument("steps", nargs="*", default=[*TRAINING], help="workloads, or gpt2")
    parser.add_argument("--device", default="cuda", help="the device (default cuda)")
    args = parser.parse_args(argv)
    device = Device(args.device)
    print(device.describe())
    for name in args.steps:
        step, batch = _step(name, device)
        for _ in range(5):
            step(*batch).item()
        whole = _microseconds(lambda: step(*batch).item())  # noqa: B023
        rows = hb.profile(step, *batch, runs=5)
        print(f"\n{name}: {whole:.1f} us a call; {len(rows)} kernels, {rows.seconds * 1e6:.1f} us")
        for group, count, spent, bound in gathered(rows)[:SHOWN]:
            told = f"{bound:5.0%} of the bound" if bound else ""
            print(f"{spent * 1e6:10.1f} us {count:4d} x {told:18} {group}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
