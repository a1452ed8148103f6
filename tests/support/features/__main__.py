"""Random programs until one fails: `python -m tests.support.features --programs N --seed S`.

Blocks of seeds run in processes of their own, so that a crash or a program that does not end is
one failure among others.
"""

from __future__ import annotations

import argparse
import faulthandler
import subprocess
import sys
import time
from pathlib import Path

SUPPORT = str(Path(__file__).resolve().parents[1])
sys.path.insert(0, SUPPORT)

BLOCK = 40
PATIENCE = 120  # seconds for one program, then its block ends with its stack
FAILED = 3  # what a process of a block ends with where a program failed


def block(first: int, count: int, shrink: bool) -> int:
    """Run some seeds in this process; how many failed."""
    from features import REFUSED, failure_of, make_case, shrunk
    from features.play import script

    faulthandler.enable()
    failed = 0
    for seed in range(first, first + count):
        print(f"seed {seed}", file=sys.stderr, flush=True)
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        case = make_case(seed)
        failure = failure_of(case)[0]
        if failure.startswith(REFUSED):
            print(f"# {REFUSED}seed {seed}", flush=True)
        elif failure:
            failed += 1
            if shrink:
                case, failure = shrunk(case)
            print(script(case, failure), flush=True)
        faulthandler.cancel_dump_traceback_later()
    return failed


def main() -> int:
    """Command line entry; 1 where a program failed."""
    parser = argparse.ArgumentParser(prog="tests.support.features", description=__doc__)
    parser.add_argument("--programs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after so long")
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument("--block", action="store_true", help="in this process")
    options = parser.parse_args()
    if options.block:
        failed = block(options.seed, options.programs, not options.no_shrink)
        return FAILED if failed else 0
    stop = time.monotonic() + 60 * options.minutes if options.minutes else float("inf")
    seed, last, failed, refused = options.seed, options.seed + options.programs, 0, 0
    while seed < last and time.monotonic() < stop:
        count = min(BLOCK, last - seed)
        command = [sys.executable, "-m", "tests.support.features", "--block"]
        command += ["--seed", str(seed), "--programs", str(count)]
        command += ["--no-shrink"] if options.no_shrink else []
        done = subprocess.run(command, capture_output=True, text=True)
        print(done.stdout, end="", flush=True)
        failed += done.stdout.count("\n# seed ") + done.stdout.startswith("# seed ")
        refused += done.stdout.count("# refused: seed ")
        if done.returncode not in (0, FAILED):  # 1: an error of the harness
            failed += 1
            print(f"# a process ended with {done.returncode}:\n{done.stderr[-3000:]}", flush=True)
        seed += count
    print(f"# {seed - options.seed} programs, {failed} failed, {refused} refused")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
