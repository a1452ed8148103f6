"""Run the benchmarks: `python -m benchmarks [--only gpt,cnn] [--peer-python PATH] [--rounds 3] [--out results]`.

Every measurement is a process of its own; frameworks take turns within a round, so that a drift of the machine meets
all of them.  Prints a table of medians and ratios, writes JSON and a plot.
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

from .sizes import ALL, KERNELS, TRAINING

HYBRID = ("hybrid_eager", "hybrid_traced")
PEERS = ("torch", "torch_compile", "jax")


def available(python: str, peers: list[str]) -> list[str]:
    """Peers that the interpreter can import."""
    out = []
    for p in peers:
        code = subprocess.run([python, "-c", f"import {p.split('_')[0]}"], capture_output=True).returncode
        if code == 0:
            out.append(p)
    return out


def measure(python: str, framework: str, workload: str, budget: float) -> dict[str, Any] | None:
    """One process; None when the framework has no such workload."""
    got = subprocess.run([python, "-m", "benchmarks.worker", framework, workload, str(budget)], capture_output=True,
                         text=True, cwd=Path(__file__).parent.parent, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})
    if got.returncode:
        if "SystemExit" not in got.stderr and "no " not in got.stderr[-200:]:
            print(f"{framework} {workload} failed:\n{got.stderr[-1500:]}", file=sys.stderr)
        return None
    return json.loads(got.stdout.splitlines()[-1])


def frameworks_for(workload: str, peers: list[str]) -> list[str]:
    """Who takes part: eager calls have no traced variant, kernels get the copy bound."""
    names = list(HYBRID) + peers
    if workload.startswith("add_"):
        names = [n for n in names if n not in ("hybrid_traced", "torch_compile", "jax")]
    if workload.startswith(("gemm_", "add_")):
        names = [n for n in names if n != "torch_compile"]
    if workload in KERNELS and workload != "add_eager_grad" and not workload.startswith(("gelu", "soft", "layer")):
        names.append("numpy")
    return names


def table(results: dict[str, dict[str, dict[str, float]]], copy_us: float | None) -> str:
    """Rows: workload, eager, traced, best peer, ratios."""
    lines = [f"{'workload':16s}{'eager us':>12s}{'traced us':>12s}{'best peer us':>24s}{'traced/peer':>13s}"
             f"{'eager/traced':>14s}"]
    for work, row in results.items():
        peers = {k: v["us"] for k, v in row.items() if k.split("_")[0] in ("torch", "jax")}
        best = min(peers, key=lambda k: peers[k]) if peers else None
        eager, traced = (row.get(f"hybrid_{m}", {}).get("us") for m in ("eager", "traced"))
        mine = traced if traced is not None else eager
        cells = [f"{work:16s}", f"{eager:12.1f}" if eager else " " * 12, f"{traced:12.1f}" if traced else " " * 12,
                 f"{best + ' ' + format(peers[best], '.1f'):>24s}" if best else " " * 24,
                 f"{mine / peers[best]:13.2f}" if best and mine else " " * 13,
                 f"{eager / traced:14.1f}" if eager and traced else ""]
        lines.append("".join(cells))
    if copy_us:
        lines.append(f"copy of 4M floats: {copy_us:.0f} us; " + ", ".join(
            f"{k} {results[k]['hybrid_traced']['us'] / copy_us:.2f} x" for k in ("gelu", "softmax", "layernorm")
            if k in results and "hybrid_traced" in results[k]))
    return "\n".join(lines)


def plot(results: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """Bars: time relative to the best peer, per workload."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    names = [w for w in results if any(k.split("_")[0] in ("torch", "jax") for k in results[w])]
    shown = [*HYBRID, *PEERS]
    colors = ["#9db8ee", "#1a56db", "#e8710a", "#f3b27a", "#8e44ad"]
    figure, ax = plt.subplots(figsize=(1.2 * len(names) + 2, 4))
    for j, (f, c) in enumerate(zip(shown, colors)):
        xs, ys = [], []
        for i, w in enumerate(names):
            best = min(v["us"] for k, v in results[w].items() if k.split("_")[0] in ("torch", "jax"))
            if f in results[w]:
                xs.append(i + (j - 2) * 0.16)
                ys.append(results[w][f]["us"] / best)
        ax.bar(xs, ys, 0.16, color=c, label=f.replace("_", " "))
    ax.axhline(1, color="#444", lw=0.8)
    ax.set(yscale="log", ylabel="time / best peer", xticks=range(len(names)))
    ax.set_xticklabels(names, rotation=30, ha="right")
    ax.legend(fontsize=8, ncol=3)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help="workloads, comma separated; 'training', 'kernels' (default all)")
    parser.add_argument("--peers", default=",".join(PEERS), help="peers to run where installed")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=float, default=2.0, help="seconds of timing per process")
    parser.add_argument("--out", default="", help="folder for results.json and ratios.png")
    args = parser.parse_args()
    groups = {"training": TRAINING, "kernels": KERNELS, "": ALL}
    works = groups.get(args.only) or tuple(args.only.split(","))
    unknown = [w for w in works if w not in ALL]
    if unknown:
        parser.error(f"unknown workloads {unknown}; choose from {', '.join(ALL)}")
    peers = available(args.peer_python, [p for p in args.peers.split(",") if p])
    samples: dict[str, dict[str, list[dict[str, float]]]] = {w: {} for w in works}
    copies: list[float] = []
    from tqdm import tqdm
    jobs = [(r, w, f) for r in range(args.rounds) for w in works for f in frameworks_for(w, peers)]
    for _, work, framework in tqdm(jobs, unit="run"):
        mine = framework.startswith(("hybrid", "numpy"))
        got = measure(sys.executable if mine else args.peer_python, framework, work, args.budget)
        if got:
            samples[work].setdefault(framework, []).append(got)
        if work == "gelu" and framework == "hybrid_traced":
            copied = measure(sys.executable, "numpy", "copy", 1.0)
            copies += [copied["us"]] if copied else []
    results = {w: {f: {k: statistics.median(s[k] for s in ss) for k in ss[0]} for f, ss in row.items()}
               for w, row in samples.items()}
    copy_us = statistics.median(copies) if copies else None
    print(table(results, copy_us))
    if args.out:
        folder = Path(args.out)
        folder.mkdir(parents=True, exist_ok=True)
        record = {"python": platform.python_version(), "cpus": len(os.sched_getaffinity(0)), "copy_us": copy_us,
                  "rounds": args.rounds, "results": results}
        (folder / "results.json").write_text(json.dumps(record, indent=1))
        (folder / "table.txt").write_text(table(results, copy_us) + "\n")
        plot(results, folder / "ratios.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
