"""The benchmarks.

Run `python -m benchmarks [--only gpt,cnn] [--peer-python PATH] [--rounds 3] [--out results]`.

Every measurement is a process of its own; frameworks take turns within a round, so that a drift of
the machine meets all of them.  Prints a table of medians and ratios, writes JSON and a plot.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from .report import plot, table
from .sizes import ALL, KERNELS, TRAINING

HYBRID = ("hybrid_eager", "hybrid_traced")
PEERS = ("torch", "torch_compile", "jax")
ROOT = Path(__file__).parent.parent
LIMIT = 900  # seconds for one process, compilation included


def available(python: str, peers: list[str]) -> list[str]:
    """Peers that the interpreter can import; the others are named on stderr."""
    found = {
        m: subprocess.run([python, "-c", f"import {m}"], capture_output=True).returncode == 0
        for m in {p.split("_")[0] for p in peers}
    }
    for m, there in found.items():
        if not there:
            print(f"{python} has no {m}: left out", file=sys.stderr)
    return [p for p in peers if found[p.split("_")[0]]]


def measure(
    python: str, framework: str, workload: str, budget: float
) -> tuple[dict[str, Any] | None, str]:
    """One process: (result, ''), (None, what went wrong), or (None, '')
    when there is no such workload."""
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        got = subprocess.run(
            [python, "-m", "benchmarks.worker", framework, workload, str(budget)],
            text=True,
            capture_output=True,
            cwd=ROOT,
            env=env,
            timeout=LIMIT,
        )
    except subprocess.TimeoutExpired:
        return None, f"took more than {LIMIT} s"
    if got.returncode == 3:
        return None, ""
    try:
        return json.loads(got.stdout.splitlines()[-1]), ""
    except (IndexError, ValueError):
        return None, f"exit status {got.returncode}\n{got.stderr[-1500:]}"


def frameworks_for(workload: str, peers: list[str]) -> list[str]:
    """Who takes part: eager calls have no traced variant, kernels get the copy bound."""
    names = list(HYBRID) + peers
    if workload.startswith("add_"):
        names = [n for n in names if n not in ("hybrid_traced", "torch_compile", "jax")]
    if workload.startswith("gemm_"):
        names = [n for n in names if n != "torch_compile"]
    if workload == "add_eager" or workload.startswith("gemm_"):
        names.append("numpy")
    return names


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument(
        "--only", default="", help="workloads, comma separated; 'training', 'kernels' (default all)"
    )
    parser.add_argument(
        "--peers", default=",".join(PEERS), help="peers to run where installed ('' for none)"
    )
    parser.add_argument(
        "--peer-python", default=sys.executable, help="interpreter that has the peers"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=float, default=2.0, help="seconds of timing per process")
    parser.add_argument(
        "--out", default="", help="folder for results.json, table.txt and ratios.png"
    )
    args = parser.parse_args(argv)
    groups = {"training": TRAINING, "kernels": KERNELS, "": ALL}
    args.works = groups.get(args.only) or tuple(args.only.split(","))
    args.peers = [p for p in args.peers.split(",") if p]
    for what, given, known in (("workloads", args.works, ALL), ("peers", args.peers, PEERS)):
        unknown = [w for w in given if w not in known]
        if unknown:
            parser.error(f"unknown {what} {', '.join(unknown)}; choose from {', '.join(known)}")
    if args.rounds < 1 or args.budget <= 0:
        parser.error("--rounds and --budget must be positive")
    return args


def collect(
    args: argparse.Namespace, peers: list[str]
) -> tuple[dict[str, Any], list[str], float | None]:
    """Run every measurement: medians over rounds, failures, microseconds of a copy."""
    from tqdm import tqdm

    samples: dict[str, dict[str, list[dict[str, float]]]] = {w: {} for w in args.works}
    jobs = [
        (w, f) for _ in range(args.rounds) for w in args.works for f in frameworks_for(w, peers)
    ]
    failures: dict[tuple[str, str], str] = {}
    copies: list[float] = []
    with tqdm(jobs, unit="run", mininterval=0.3) as bar:
        for work, framework in bar:
            bar.set_description(f"{framework} {work}".ljust(28))
            if (work, framework) in failures:
                continue
            mine = framework.startswith(("hybrid", "numpy"))
            got, problem = measure(
                sys.executable if mine else args.peer_python, framework, work, args.budget
            )
            if got:
                samples[work].setdefault(framework, []).append(got)
            elif problem:
                failures[work, framework] = problem
            if work == "gelu" and framework == "hybrid_traced":
                copied, _ = measure(sys.executable, "numpy", "copy", min(args.budget, 1.0))
                copies += [copied["us"]] if copied else []
    results = {
        w: {f: {k: statistics.median(s[k] for s in ss) for k in ss[0]} for f, ss in row.items()}
        for w, row in samples.items()
    }
    return (
        results,
        [f"{f} {w} failed: {p}" for (w, f), p in failures.items()],
        (statistics.median(copies) if copies else None),
    )


def main(argv: list[str] | None = None) -> int:
    """Command line entry; 1 when a workload of hybrid failed."""
    args = arguments(argv)
    peers = available(args.peer_python, args.peers)
    results, failures, copy_us = collect(args, peers)
    text = table(results, copy_us)
    print(text)
    for f in failures:
        print(f, file=sys.stderr)
    if args.out:
        folder = Path(args.out)
        folder.mkdir(parents=True, exist_ok=True)
        record = {
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
            "cpus": len(os.sched_getaffinity(0)),
            "rounds": args.rounds,
            "budget_s": args.budget,
            "copy_us": copy_us,
            "failures": failures,
            "results": results,
        }
        (folder / "results.json").write_text(json.dumps(record, indent=1))
        (folder / "table.txt").write_text(text + "\n")
        plot(results, folder / "ratios.png")
    return int(any(f.startswith("hybrid") for f in failures))


if __name__ == "__main__":
    sys.exit(main())
