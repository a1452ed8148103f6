"""The table: `python -m benchmarks.arrays [--size 1000000] [--only TEXT] [--out DIR]`.

Each function is called by hybrid and by NumPy in turns.  Reported for each: the medians, and the
median, least and largest ratio of neighbouring calls.  `--out` writes the table as CSV and draws
the ratios.  Invariant: both libraries get arrays of the same values.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import warnings
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

import hybrid

from .cases import cases, scope

__all__ = ["Row", "compared", "calls", "main"]

FIELDS = ("function", "hybrid_us", "numpy_us", "ratio", "least", "most")


class Row(NamedTuple):
    """What was measured of one function, in microseconds of a call; ratios are hybrid's to
    NumPy's."""

    function: str
    hybrid_us: float
    numpy_us: float
    ratio: float
    least: float
    most: float


def calls(size: int) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """Name -> the call of hybrid and that of NumPy."""
    ours = scope(hybrid, hybrid.random, size, hybrid.asarray)
    theirs = scope(np, np.random.default_rng(0), size, np.array)
    made = {}
    for name, text in cases().items():
        code = compile(f"lambda: {text}", f"<{name}>", "eval")
        made[name] = eval(code, ours), eval(code, theirs)
    return made


def timed(call: Callable[[], Any], repeats: int) -> float:
    """Microseconds of a call, the mean of some."""
    start = perf_counter()
    for _ in range(repeats):
        call()
    return (perf_counter() - start) / repeats * 1e6


def compared(name: str, ours: Any, theirs: Any, seconds: float) -> Row:
    """One row: pairs of calls, alternating who is first, for a time."""
    for call in (ours, theirs, ours, theirs):
        call()
    once = [timed(call, 1) for call in (ours, theirs)]
    repeats = [max(1, int(seconds / 20 / (us * 1e-6 + 1e-7) / 2)) for us in once]
    pairs: list[tuple[float, float]] = []
    end = perf_counter() + seconds
    while len(pairs) < 5 or (perf_counter() < end and len(pairs) < 40):
        if len(pairs) % 2:
            second, first = timed(theirs, repeats[1]), timed(ours, repeats[0])
        else:
            first, second = timed(ours, repeats[0]), timed(theirs, repeats[1])
        pairs.append((first, second))
    ratios = sorted(a / b for a, b in pairs)
    medians = [statistics.median(column) for column in zip(*pairs)]
    return Row(name, *medians, statistics.median(ratios), ratios[0], ratios[-1])


def line(row: Row) -> str:
    """A row as text."""
    return (
        f"{row.function:28} {row.hybrid_us:11.1f} {row.numpy_us:11.1f} {row.ratio:8.3f}"
        f"   {row.least:.3f} to {row.most:.3f}"
    )


def drawn(rows: list[Row], path: Path) -> None:
    """The ratios in order, as a picture."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    ordered = sorted(rows, key=lambda row: row.ratio)
    figure, axes = plt.subplots(figsize=(9, 4.5), constrained_layout=True)
    axes.semilogy([row.ratio for row in ordered], ".", markersize=4)
    axes.axhline(1, color="0.5", linewidth=1)
    slow = [(x, row) for x, row in enumerate(ordered) if row.ratio > 1]
    for x, row in slow[-6:]:
        axes.annotate(row.function, (x, row.ratio), fontsize=6, ha="right")
    axes.set_xlabel("functions, by ratio")
    axes.set_ylabel("time of hybrid / time of NumPy")
    axes.set_title(f"{len(slow)} of {len(rows)} functions take longer than NumPy's")
    figure.savefig(path, dpi=120)


def measured(chosen: dict[str, tuple[Any, Any]], seconds: float) -> list[Row]:
    """A row for each function, printed as it is known."""
    print(f"{'':28} {'hybrid us':>11} {'NumPy us':>11}    ratio, its spread over pairs of calls")
    rows = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for name, pair in tqdm(chosen.items(), desc="functions", mininterval=0.5):
            rows.append(compared(name, *pair, seconds))
            tqdm.write(line(rows[-1]))
    return rows


def written(rows: list[Row], folder: Path) -> None:
    """The table as CSV, and its picture."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "arrays.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(FIELDS)
        table.writerows([row.function, *(f"{figure:.4g}" for figure in row[1:])] for row in rows)
    drawn(rows, folder / "arrays.png")


def main(argv: list[str] | None = None) -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="benchmarks.arrays", description=__doc__)
    parser.add_argument("--size", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=0.5, help="time of a function")
    parser.add_argument("--only", default="", help="text that the names of functions contain")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(argv)
    chosen = {n: pair for n, pair in calls(options.size).items() if options.only in n}
    if not chosen:
        parser.error(f"no function has {options.only!r} in its name")
    rows = measured(chosen, options.seconds)
    slow = sorted((row for row in rows if row.ratio > 1), key=lambda row: -row.ratio)
    print(f"\n{len(slow)} of {len(rows)} functions take longer than NumPy's:")
    print("\n".join(map(line, slow)))
    if options.out:
        written(rows, options.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
