"""Training steps of convolutional nets, beside PyTorch in the same process and in turns.

    python -m benchmarks.nets [--only NAME ...] [--threads N] [--rounds N] [--compile] [--small]

Prints for each net the median milliseconds of hybrid traced and eager, and of PyTorch where it is
installed (`pip install -e '.[bench]'`), with the ratio of traced to the fastest peer.  Invariant:
contestants take turns step by step; a ratio is the median of those of the turns, told with its
second lowest and second highest, and where these lie on both sides of 1 there is no verdict.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
from collections.abc import Callable
from importlib.util import find_spec
from time import perf_counter
from typing import Any

import numpy as np
from tqdm import tqdm

import hybrid as hb

from ..gpu.models import hybrid_library, step_of, torch_library
from .models import NETS

__all__ = ["contestants", "compared", "row", "main"]

Call = Callable[[], float]
WARM = 4  # calls of each before any is timed: recordings, compilation, memory


def _data(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _ours(name: str, traced: bool, small: bool) -> Call:
    hb.manual_seed(0)
    model, shape, loss = NETS[name](hybrid_library("cpu"), small)
    images = hb.tensor(_data(shape))
    optimizer = hb.optim.SGD(model.parameters(), lr=1e-3)
    step: Any = step_of(lambda images: loss(model(images)), optimizer)
    step = hb.function(step) if traced else step
    return lambda: step(images).item()


def _theirs(name: str, compiled: bool, small: bool) -> Call:
    import torch

    torch.manual_seed(0)
    model, shape, loss = NETS[name](torch_library("cpu"), small)
    images = torch.from_numpy(_data(shape))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def forward(images: Any) -> Any:
        return loss(model(images))

    step = step_of(torch.compile(forward) if compiled else forward, optimizer)
    return lambda: step(images).item()


def contestants(name: str, peers: bool, compiled: bool, small: bool = False) -> dict[str, Call]:
    """The steps of one net, ready to run; each gives its loss."""
    calls = {"traced": _ours(name, True, small), "eager": _ours(name, False, small)}
    if peers:
        calls["torch"] = _theirs(name, False, small)
    if peers and compiled:
        calls["torch.compile"] = _theirs(name, True, small)
    return calls


def compared(calls: dict[str, Call], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each contestant, a step of each in each round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(WARM):
            call()
    gc.collect()
    for _ in tqdm(range(rounds), leave=False, disable=not sys.stderr.isatty()):
        for name, call in calls.items():
            start = perf_counter()
            call()
            times[name].append((perf_counter() - start) * 1e3)
    return times


def row(name: str, times: dict[str, list[float]]) -> str:
    """What is said of a net."""
    medians = {who: statistics.median(found) for who, found in times.items()}
    words = [f"{who} {median:9.2f} ms" for who, median in medians.items()]
    peers = [who for who in times if who.startswith("torch")]
    if peers:
        best = min(peers, key=lambda who: medians[who])
        ratios = sorted(a / b for a, b in zip(times["traced"], times[best], strict=True))
        inner = 1 if len(ratios) > 4 else 0
        low, high = ratios[inner], ratios[-1 - inner]
        verdict = "no verdict" if low < 1 < high else "ahead" if high <= 1 else "behind"
        middle = statistics.median(ratios)
        words.append(f"traced / {best} {middle:.2f} ({low:.2f} to {high:.2f}, {verdict})")
    words.append(f"eager / traced {medians['eager'] / medians['traced']:.2f}")
    return f"{name:16} " + "  ".join(words)


def main(arguments: list[str] | None = None) -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.nets",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=NETS, default=list(NETS), metavar="NAME")
    parser.add_argument("--threads", type=int, default=hb.get_num_threads())
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--compile", action="store_true", help="torch.compile, too")
    parser.add_argument("--small", action="store_true", help="tiny images: does it run at all")
    options = parser.parse_args(arguments)
    peers = find_spec("torch") is not None
    hb.set_num_threads(options.threads)
    if peers:
        import torch

        torch.set_num_threads(options.threads)
    print(f"{options.threads} threads, {options.rounds} rounds" + ("" if peers else ", no PyTorch"))
    for name in options.only:
        calls = contestants(name, peers, options.compile, options.small)
        print(row(name, compared(calls, options.rounds)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
