"""Steps with more threads than cores, beside other work, and asleep:
`python -m benchmarks.scaling.crowded [--only mlp_mid,gpt] [--rounds 15] [--seconds 0.15]`.

One process runs all the numbers of threads in turns within a round, alone and beside one busy
process for each core, so that a drift of the machine meets all of them.  Prints medians of the
rounds, ratios within a round to one thread for each core, and the CPU time that goes on when no
step runs.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import hybrid as hb

from ..sizes import TRAINING
from ..workloads import build

__all__ = ["Sample", "measure", "idle", "report", "main"]

MANY = (0.5, 1, 2, 4)  # threads for each core
SLEEP = 0.5  # seconds


class Sample(NamedTuple):
    """Microseconds of a step, and of the CPU time of all threads in it."""

    wall: float
    busy: float


def _sample(step: Callable[[], Any], seconds: float) -> Sample:
    """The median step of a while."""
    walls, begin, spent = [], time.perf_counter(), time.process_time()
    while time.perf_counter() - begin < seconds:
        before = time.perf_counter()
        step()
        walls.append(time.perf_counter() - before)
    spent = time.process_time() - spent
    return Sample(1e6 * statistics.median(walls), 1e6 * spent / len(walls))


@contextmanager
def neighbours(count: int) -> Iterator[Callable[[bool], None]]:
    """A function that lets so many busy processes go on, or stops them."""
    with ExitStack() as stack:
        made = []
        for _ in range(count):
            process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            made.append(process)
            stack.callback(process.wait)
            stack.callback(process.kill)

        def go(on: bool) -> None:
            for process in made:
                process.send_signal(signal.SIGCONT if on else signal.SIGSTOP)

        go(False)
        yield go


def measure(
    step: Callable[[], Any], counts: list[int], rounds: int, seconds: float
) -> dict[tuple[int, bool], list[Sample]]:
    """Samples of each number of threads, alone (False) and beside busy processes."""
    found: dict[tuple[int, bool], list[Sample]] = {}
    with neighbours(os.cpu_count() or 1) as go:
        for _ in range(rounds):
            for beside in (False, True):
                go(beside)
                for threads in counts:
                    with hb.num_threads(threads):
                        step(), step()
                        found.setdefault((threads, beside), []).append(_sample(step, seconds))
    return found


def idle(step: Callable[[], Any], threads: int) -> float:
    """CPU seconds that pass in a second without steps, after one on so many threads."""
    with hb.num_threads(threads):
        step()
        time.sleep(0.01)
        begin, spent = time.perf_counter(), time.process_time()
        time.sleep(SLEEP)
        return (time.process_time() - spent) / (time.perf_counter() - begin)


def report(name: str, found: dict[tuple[int, bool], list[Sample]], cores: int) -> str:
    """A table of medians, and of ratios to one thread for each core."""
    lines = [f"{name}: threads  beside      us    CPU us   to {cores} threads"]
    for (threads, beside), samples in sorted(found.items(), key=lambda item: item[0][::-1]):
        ratios = [s.wall / own.wall for s, own in zip(samples, found[cores, beside])]
        wall, busy = (statistics.median(column) for column in zip(*samples))
        where = "busy" if beside else "-"
        ratio = statistics.median(ratios)
        lines.append(f"{threads:{len(name) + 9}} {where:>7} {wall:7.0f} {busy:9.0f} {ratio:8.2f}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Print a table of each step."""
    parser = argparse.ArgumentParser(prog="benchmarks.scaling.crowded", description=__doc__)
    parser.add_argument(
        "--only", default="mlp_small,mlp_mid,gpt", help="training steps, comma separated"
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.15, help="for one number of threads")
    args = parser.parse_args(argv)
    works, cores = args.only.split(","), hb.get_num_threads()
    if unknown := [name for name in works if name not in TRAINING]:
        parser.error(f"unknown steps {', '.join(unknown)}; choose from {', '.join(TRAINING)}")
    counts = sorted({max(round(cores * many), 1) for many in MANY})
    for name in works:
        step = build(name, True)
        for _ in range(4):
            step()
        print(report(name, measure(step, counts, args.rounds, args.seconds), cores))
        for threads in counts:
            print(f"{threads} threads, no step: {idle(step, threads):.4f} CPU seconds a second")


if __name__ == "__main__":
    main()
