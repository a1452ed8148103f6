"""Benchmarks on a GPU, beside PyTorch and JAX.

Run `python -m benchmarks.gpu --part kernels [--peers] --out DIR`; parts are kernels, products,
eager, steps, gpt2 and resnet; each takes under four minutes and goes on where it was cut short.
One table comes last.  `python -m benchmarks.gpu --table DIR` prints the tables of what is in DIR;
with `--into FILE` it puts them into a page, between the two marks there.

Every case runs in a process of its own or of its part: a fault spoils one case.  Contestants of a
case take turns in one process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .records import PARTS, Records, Row, read, row_of, table

__all__ = ["main", "tables"]

ROOT = Path(__file__).parents[2]
BESIDE = ("steps", "gpt2", "resnet")  # parts whose cases are prepared beside each other
CASE_SECONDS = 150.0
MARKS = "<!-- figures -->", "<!-- end of figures -->"
TITLES = {
    "kernels": "Kernels",
    "products": "Products, convolution and attention",
    "eager": "Small eager calls: the host's time",
    "steps": "Training steps, the loss read in each",
    "gpt2": "GPT-2 124M, a training step",
    "resnet": "ResNet-50, a training step",
}


class Child:
    """A process that measures cases; what it tells comes through a queue."""

    def __init__(self, part: str, device: str, peers: bool) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "ignore",
                "-m",
                "benchmarks.gpu.child",
                part,
                device,
                str(+peers),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        )
        self.told: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.told.put(json.loads(line))
        self.told.put(None)

    def send(self, line: str) -> None:
        """One line; a process that is gone is found out when it should answer."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except OSError:
            pass

    def hear(self, seconds: float) -> dict[str, Any] | None:
        """What it tells next; None when it is gone or late."""
        try:
            return self.told.get(timeout=max(seconds, 0.1))
        except queue.Empty:
            return None

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        self.reader.join(5)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _failed(case: str, child: Child, when: str) -> dict[str, Any]:
    ended = child.process.poll()
    how = "took too long" if ended is None else f"ended with {ended}"
    return {"failed": Row(case, {}, note=f"the process {how} {when}").to_dict()}


class Run:
    """One part, from its cases to their rows."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.end = args, time.monotonic() + args.seconds
        self.children: list[Child] = []
        self.device = args.device

    def left(self) -> float:
        """Seconds until time is up."""
        return self.end - time.monotonic()

    def start(self) -> Child:
        """A process that first says which card it has."""
        child = Child(self.args.part, self.args.device, self.args.peers)
        self.children.append(child)
        return child

    def close(self) -> None:
        """End all processes."""
        for child in self.children:
            child.close()

    def one_by_one(self, cases: list[str]) -> Iterator[dict[str, Any]]:
        """Cases after each other in one process, and in a new one after a fault."""
        child: Child | None = None
        for case in cases:
            if self.left() <= 0:
                return
            if child is None or child.process.poll() is not None:
                child = self.start()
                child.hear(self.left())
            for line in (case, "go"):
                child.send(line)
            limit = min(CASE_SECONDS, self.left())
            answer = child.hear(limit)
            if answer is not None and "ready" in answer:
                answer = child.hear(limit)
            yield answer or _failed(case, child, "while it was measured")
            if answer is None:
                child.close()

    def beside(self, cases: list[str]) -> Iterator[dict[str, Any]]:
        """Cases in processes of their own: prepared at the same time, timed after each other."""
        ready: list[tuple[str, Child]] = []
        for case in cases:
            child = self.start()
            child.send(case)
            ready.append((case, child))
        waiting = []
        for case, child in ready:
            child.hear(self.left())
            answer = child.hear(self.left() - 20)
            while answer is not None and "early" in answer:
                yield {"row": answer["early"]}
                answer = child.hear(self.left() - 20)
            if answer is not None and "ready" in answer:
                waiting.append((case, child))
            else:
                yield answer or _failed(case, child, "while it was prepared")
                child.close()
        for case, child in waiting:
            child.send("go")
            yield child.hear(min(CASE_SECONDS, self.left())) or _failed(case, child, "while timed")
            child.close()


def _card(device: str) -> str:
    """The name of the card, asked in a process of its own."""
    imports, asks = (
        "from benchmarks.gpu.timing import Device",
        f"print(Device({device!r}).describe())",
    )
    command = [sys.executable, "-c", f"{imports}; {asks}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr.strip().splitlines()[-1])
    return done.stdout.strip()


def measured(args: argparse.Namespace) -> Records:
    """Measure what is not there yet."""
    from .child import PARTS as CASES

    records = Records(Path(args.out), args.part, _card(args.device))
    known = CASES[args.part][0]
    wanted = [case for case in known if not args.only or args.only in case]
    todo = [case for case in wanted if not records.done(case)]
    run = Run(args)
    try:
        for told in run.beside(todo) if args.part in BESIDE else run.one_by_one(todo):
            row = row_of(told.get("row") or told["failed"])
            if "failed" in told and row.case in records.rows:  # what came early stays
                row = records.rows[row.case]._replace(note=row.note)
            records.add(row)
            ratio = f"ratio {row.ratio():.2f}" if row.ratio() else ""
            ours = f"{row.ours.us:.1f} us" if row.ours else ""
            print(f"{row.case:48s} {ours:>14s} {ratio} {row.note}", flush=True)
    finally:
        run.close()
    late = [case for case in wanted if case not in records.rows]
    if late:
        print(f"not reached in {args.seconds:.0f} s, run again: {', '.join(late)}")
    return records


def tables(folder: Path) -> str:
    """The tables of all parts that are there."""
    parts = []
    for part in PARTS:
        path = folder / f"{part}.json"
        if path.exists():
            head, rows = read(path)
            parts.append(f"### {TITLES[part]}\n\n{head['device']}\n\n{table(rows)}")
    return "\n\n".join(parts)


def _put_into(page: Path, text: str) -> None:
    before, rest = page.read_text().split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    page.write_text(f"{before}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{after}")


def main(argv: list[str] | None = None) -> int:
    """Command line entry; 1 when a case has no time of hybrid's."""
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=__doc__)
    parser.add_argument("--part", choices=PARTS, help="what to measure")
    parser.add_argument("--peers", action="store_true", help="measure PyTorch and JAX beside it")
    parser.add_argument("--device", default="cuda", help="the device (default cuda)")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--seconds", type=float, default=225.0, help="time limit (default 225)")
    parser.add_argument("--out", help="folder for the JSON of each part")
    parser.add_argument("--table", metavar="DIR", help="print the tables of a folder")
    parser.add_argument("--into", metavar="FILE", help="with --table: write them into a page")
    args = parser.parse_args(argv)
    if args.table:
        text = tables(Path(args.table))
        if args.into:
            _put_into(Path(args.into), text)
        else:
            print(text)
        return 0
    if not args.part or not args.out:
        parser.error("name a --part and a folder for its results with --out")
    records = measured(args)
    rows = list(records.rows.values())
    print(f"\n{TITLES[args.part]}: {records.head['device']}\n\n{table(rows)}")
    return int(any(row.ours is None for row in rows))


if __name__ == "__main__":
    sys.exit(main())
