"""The benchmarks.

Run `python -m benchmarks [--only gpt,cnn] [--peer-python PATH] [--rounds 3] [--out results]`;
`--quick` runs every workload of hybrid once, in under a minute, to see that all of them work.

Every measurement is a process of its own; frameworks take turns within a round, so that a drift of
the machine meets all of them.  Prints a table of medians and ratios, appends the run to a history
and draws that, and writes a page with bounds and scaling; with --out JSON, the table and a plot.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from . import history
from .history.__main__ import FILE
from .report import Results, own_framework, peers_of, plot, table
from .sizes import ALL, KERNELS, TRAINING

HYBRID = ("hybrid_eager", "hybrid_traced")
PEERS = ("torch", "torch_compile", "jax")
ROOT = Path(__file__).parent.parent
LIMIT = 900  # seconds for one process, compilation included
QUICK = {"rounds": 1, "budget": 0.05, "peers": "", "history": ""}
FULL = {"rounds": 3, "budget": 2.0, "peers": ",".join(PEERS), "history": str(FILE)}
Samples = dict[str, dict[str, list[dict[str, float]]]]


class Measured(NamedTuple):
    """Medians over rounds; the least and largest ratio to each peer within a round; what failed;
    microseconds of a copy."""

    results: Results
    spreads: dict[str, dict[str, tuple[float, float]]]
    failures: list[str]
    copy_us: float | None


def available(python: str, peers: list[str]) -> list[str]:
    """Peers that the interpreter can import; the others are named on stderr."""
    found = {
        module: subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode
        == 0
        for module in {peer.split("_")[0] for peer in peers}
    }
    for module, there in found.items():
        if not there:
            print(f"{python} has no {module}: left out", file=sys.stderr)
    return [peer for peer in peers if found[peer.split("_")[0]]]


def measure(
    python: str, framework: str, workload: str, budget: float, device: str = "cpu"
) -> tuple[dict[str, Any] | None, str]:
    """One process: (result, ''), (None, what went wrong), or (None, '')
    when there is no such workload."""
    try:
        done = subprocess.run(
            [python, "-m", "benchmarks.worker", framework, workload, str(budget), device],
            text=True,
            capture_output=True,
            cwd=ROOT,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
            timeout=LIMIT,
        )
    except subprocess.TimeoutExpired:
        return None, f"took more than {LIMIT} s"
    if done.returncode == 3:
        return None, ""
    try:
        return json.loads(done.stdout.splitlines()[-1]), ""
    except (IndexError, ValueError):
        return None, f"exit status {done.returncode}\n{done.stderr[-1500:]}"


def frameworks_for(workload: str, peers: list[str], device: str = "cpu") -> list[str]:
    """Who takes part: eager calls have no traced variant, kernels get the host's bounds."""
    names = list(HYBRID) + peers
    if own_framework(workload) == "hybrid_eager":
        names = [name for name in names if name not in ("hybrid_traced", "torch_compile", "jax")]
    if workload.startswith("gemm_"):
        names = [name for name in names if name != "torch_compile"]
    if workload == "add_eager" or workload.startswith("gemm_"):
        names.append("numpy")
    return names if device == "cpu" else [name for name in names if name != "numpy"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument(
        "--only", default="", help="workloads, comma separated; 'training', 'kernels' (default all)"
    )
    parser.add_argument("--peers", help="peers to run where installed ('' for none; default all)")
    parser.add_argument(
        "--peer-python", default=sys.executable, help="interpreter that has the peers"
    )
    parser.add_argument("--rounds", type=int, help="processes per figure (default 3)")
    parser.add_argument("--budget", type=float, help="seconds of timing per process (default 2)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one short round of hybrid; peers and history only where they are asked for",
    )
    parser.add_argument(
        "--device", default="cpu", help="where to run, as hybrid names it (default cpu)"
    )
    parser.add_argument(
        "--history", help=f"file to append to and draw ('' for none; default {FILE.name})"
    )
    parser.add_argument(
        "--page", help="HTML page of the run ('' for none; default beside the history)"
    )
    parser.add_argument(
        "--out", default="", help="folder for results.json, table.txt and ratios.png"
    )
    return parser


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = _parser()
    args = parser.parse_args(argv)
    defaults = QUICK if args.quick else FULL
    if args.device != "cpu":  # the history is that of one device
        defaults = defaults | {"history": ""}
    for name, default in defaults.items():
        if getattr(args, name) is None:
            setattr(args, name, default)
    if args.page is None:
        args.page = str(Path(args.history).with_suffix(".html")) if args.history else ""
    groups = {"training": TRAINING, "kernels": KERNELS, "": ALL}
    args.works = groups.get(args.only) or tuple(args.only.split(","))
    args.peers = [peer for peer in args.peers.split(",") if peer]
    _check(parser, args)
    return args


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    for what, given, known in (("workloads", args.works, ALL), ("peers", args.peers, PEERS)):
        unknown = [name for name in given if name not in known]
        if unknown:
            parser.error(f"unknown {what} {', '.join(unknown)}; choose from {', '.join(known)}")
    if args.history and args.device != "cpu":
        parser.error(f"--history is of runs on the cpu, not on {args.device}; use --out")
    if args.page and args.device != "cpu":
        parser.error(f"--page is of runs on the cpu, not on {args.device}; use --out")
    if args.rounds < 1 or args.budget <= 0:
        parser.error("--rounds and --budget must be positive")
    path = Path(args.history).absolute()
    if args.history and not os.access(path.parent, os.W_OK):
        parser.error(f"--history {args.history}: there is no such folder to write to")
    if args.history and (path.is_dir() or path.suffix == ".png"):
        parser.error(f"--history {args.history}: this is no file of lines (history.jsonl)")


def _samples(args: argparse.Namespace, peers: list[str]) -> Iterator[tuple[str, str, Any, str]]:
    """(workload, framework, what was measured, what went wrong), round by round."""
    from tqdm import tqdm

    jobs = [
        (workload, framework)
        for _ in range(args.rounds)
        for workload in args.works
        for framework in frameworks_for(workload, peers, args.device)
        if not (args.quick and framework == "numpy")
    ]
    failed: set[tuple[str, str]] = set()
    with tqdm(jobs, unit="run", mininterval=0.3) as progress:
        for workload, framework in progress:
            progress.set_description(f"{framework} {workload}".ljust(28))
            if (workload, framework) in failed:
                continue
            mine = framework.startswith(("hybrid", "numpy"))
            python = sys.executable if mine else args.peer_python
            measured, problem = measure(python, framework, workload, args.budget, args.device)
            if problem:
                failed.add((workload, framework))
            yield workload, framework, measured, problem
            if _wants_copy(args, workload, framework):
                copied, _ = measure(sys.executable, "numpy", "copy", min(args.budget, 1.0))
                yield "copy", "numpy", copied, ""


def _wants_copy(args: argparse.Namespace, workload: str, framework: str) -> bool:
    """Whether the bound that NumPy sets is measured beside this kernel."""
    bounded = (workload, framework) == ("gelu", "hybrid_traced")
    return bounded and args.device == "cpu" and not args.quick


def _spreads(workload: str, row: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """{peer: (least, largest)} of the ratios within a round, where each round has both."""
    times = {framework: [one["us"] for one in cells] for framework, cells in row.items()}
    own = times.get(own_framework(workload), [])
    ratios = {
        peer: [mine / other for mine, other in zip(own, times[peer])]
        for peer in peers_of({framework: cells[0] for framework, cells in row.items()})
        if len(times[peer]) == len(own)
    }
    return {peer: (min(pairs), max(pairs)) for peer, pairs in ratios.items()}


def collect(args: argparse.Namespace, peers: list[str]) -> Measured:
    """Run every measurement."""
    samples: Samples = {workload: {} for workload in args.works}
    failures: list[str] = []
    copies: list[float] = []
    for workload, framework, measured, problem in _samples(args, peers):
        if problem:
            failures.append(f"{framework} {workload} failed: {problem}")
        elif measured and workload == "copy":
            copies.append(measured["us"])
        elif measured:
            samples[workload].setdefault(framework, []).append(measured)
    results = {
        workload: {
            framework: {key: statistics.median(one[key] for one in cells) for key in cells[0]}
            for framework, cells in row.items()
        }
        for workload, row in samples.items()
    }
    spreads = {workload: _spreads(workload, row) for workload, row in samples.items()}
    return Measured(results, spreads, failures, statistics.median(copies) if copies else None)


def entry_of(
    args: argparse.Namespace, commit: history.Commit, date: datetime, measured: Measured
) -> history.Entry:
    """The run as the history keeps it."""
    figures = {
        workload: history.figures_of(workload, row, measured.spreads[workload])
        for workload, row in measured.results.items()
    }
    versions = history.versions_of(sys.executable, ("numpy", "llvmlite"))
    if args.peers:
        peers = history.versions_of(args.peer_python, ("torch", "jax"))
        versions |= {name: text for name, text in peers.items() if name != "python"}
    return history.Entry(
        date,
        commit,
        history.machine_facts(),
        versions,
        args.rounds,
        args.budget,
        args.quick,
        {workload: row for workload, row in figures.items() if row},
        measured.copy_us,
    )


def remember(path: Path, entry: history.Entry) -> str:
    """Append a run to the history and draw that; what went wrong, or ''."""
    try:
        history.append(path, entry)
    except OSError as problem:
        return f"history: {problem}; the run was\n{history.dump(entry)}"
    try:
        entries, skipped = history.read(path)
        if skipped:
            print(*skipped, sep="\n", file=sys.stderr)
        history.draw(entries, path.with_suffix(".png"))
    except (OSError, ImportError) as problem:
        return f"history: appended to {path}, but not drawn: {problem}"
    return ""


def draw_page(args: argparse.Namespace, entry: history.Entry, measured: Measured) -> str:
    """Measure bounds and scaling, and write the page; what went wrong, or ''."""
    from .history.page import write_page
    from .scaling.measure import measure_machine, scaled

    try:
        machine = measure_machine()
        traced = [name for name in entry.workloads if own_framework(name) == "hybrid_traced"]
        scaling = {workload: scaled(workload, machine) for workload in traced}
        entries = history.read(Path(args.history))[0] if args.history else []
        path = Path(args.page)
        write_page(path, entry, measured.results, measured.spreads, scaling, entries)
    except (OSError, ImportError, RuntimeError) as problem:
        return f"page: {problem}"
    print(f"page: {path}")
    return ""


def _write(folder: Path, entry: history.Entry, measured: Measured, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    record = history.header(entry) | {"failures": measured.failures, "results": measured.results}
    (folder / "results.json").write_text(json.dumps(record, indent=1))
    (folder / "table.txt").write_text(text + "\n")
    plot(measured.results, folder / "ratios.png")


def main(argv: list[str] | None = None) -> int:
    """Command line entry; 1 when a workload of hybrid failed or the run could not be kept."""
    args = arguments(argv)
    peers = available(args.peer_python, args.peers)
    # before the first measurement: who commits meanwhile has measured the old tree
    commit, date = history.commit_of(ROOT), datetime.now(UTC)
    measured = collect(args, peers)
    text = table(measured.results, measured.copy_us, measured.spreads)
    print(text)
    problems = list(measured.failures)
    entry = entry_of(args, commit, date, measured)
    if args.history and entry.workloads:
        problems.append(remember(Path(args.history), entry))
    if args.page and entry.workloads:
        problems.append(draw_page(args, entry, measured))
    for problem in filter(None, problems):
        print(problem, file=sys.stderr)
    if args.out:
        _write(Path(args.out), entry, measured, text)
    return int(any(problem.startswith(("hybrid", "history", "page")) for problem in problems))


if __name__ == "__main__":
    sys.exit(main())
