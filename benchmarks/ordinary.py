"""Programs as people write them, decorated and plain: `python -m benchmarks.ordinary`.

Every program of tests/support/ordinary runs from equal starts with and without the decorator, in
turns; results, output, exceptions and state are compared to the bit.  One row a program: how its
calls end (native, deferred, eager, recording), from which call on none is recorded or eager, the
share of its ops inside plans and segments, and the time of calls 101 to 200 against eager.  Those
of tests/support/ordinary/held_out were written by somebody who had not looked at the others.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from ordinary import CALLS, HELD_OUT, programs
from ordinary.run import STATES, Row, deferring, measure

__all__ = ["main", "summary", "table"]

SLOW = 1.1  # times eager that no program may exceed
HEAD = (
    f"{'program':33}{'category':11}{'state':10}{'settled':>8}{'inside':>8}{'ratio':>7}{'whole':>7}"
    f"{'eager us':>9}{'rec':>5}{'comp':>5}{'seg':>5}{'sig':>5}"
)


def line(row: Row) -> str:
    """A row of the table."""
    settled = "never" if row.settled is None else str(row.settled)
    shown = (
        f"{row.name:33}{row.category:11}{row.state:10}{settled:>8}{row.inside:8.0%}{row.ratio:7.2f}"
        f"{row.whole:7.2f}{row.eager_us:9.0f}{row.records:5}{row.compilations:5}{row.segments:5}"
        f"{row.signatures:5}"
    )
    if row.wrong:
        return f"{shown}  WRONG: {row.wrong}"
    return shown if row.state == "native" else f"{shown}  {row.why[:90]}"


def table(rows: list[Row]) -> str:
    """All rows under a head."""
    return "\n".join([HEAD, *map(line, rows)])


def summary(rows: list[Row]) -> str:
    """Counts of what the bars are about."""
    states = Counter(row.state for row in rows)
    fine, slow = [r for r in rows if r.fine], [r for r in rows if r.ratio > SLOW]
    return "\n".join(
        [
            f"{len(rows)} programs: " + ", ".join(f"{states[state]} {state}" for state in STATES),
            f"{len(fine)} ({len(fine) / len(rows):.0%}) settle with at least 80 % of their ops "
            "inside plans and segments",
            f"{len(slow)} over {SLOW} times eager in calls 101 to 200; "
            f"{sum(row.whole > SLOW for row in rows)} over the whole run",
            f"{sum(bool(row.wrong) for row in rows)} wrong",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Command line entry; 1 where a program is wrong."""
    parser = argparse.ArgumentParser(prog="benchmarks.ordinary", description=__doc__)
    parser.add_argument("--only", default="", help="names, or a category, separated by commas")
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--json", metavar="FILE", help="write the rows")
    parser.add_argument(
        "--cpu", action="store_true", help="time of this thread's processor (on a busy machine)"
    )
    parser.add_argument("--deferred", choices=("auto", "always", "never"), default="auto")
    options = parser.parse_args(argv)
    chosen = [name for name in options.only.split(",") if name]
    found: list[Any] = [
        program
        for program in programs().values()
        if not chosen or program.name in chosen or program.category in chosen
    ]
    if not found:
        parser.error(f"no program or category named {options.only}")
    clock = time.thread_time if options.cpu else time.perf_counter
    rows = []
    for program in tqdm(found, unit="program", file=sys.stderr):
        with deferring(options.deferred):
            rows.append(measure(program, options.calls, clock))
    held_out = [row for row in rows if row.category in HELD_OUT]
    print(table(rows), summary(rows), sep="\n\n")
    if 0 < len(held_out) < len(rows):
        print("\nof these held out:", summary(held_out), sep="\n")
    if options.json:
        Path(options.json).write_text(json.dumps([row._asdict() for row in rows], indent=1))
    return int(any(row.wrong for row in rows))


if __name__ == "__main__":
    sys.exit(main())
