"""Table and plot of results {workload: {framework: {'us', 'first_s', 'peak_mb'}}}.

Invariant: whatever is missing (peers, workloads that failed) is left out of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "Results",
    "Spreads",
    "Summary",
    "table",
    "plot",
    "peers_of",
    "own_framework",
    "summary_of",
    "verdict",
    "word_of",
]

Row = dict[str, dict[str, float]]
Results = dict[str, Row]
# {workload: {peer: (least, largest)}} of the ratios within a round
Spreads = dict[str, dict[str, tuple[float, float]]]
COLORS = {
    "hybrid_eager": "#9db8ee",
    "hybrid_traced": "#1a56db",
    "torch": "#e8710a",
    "torch_compile": "#f3b27a",
    "jax": "#8e44ad",
    "numpy": "#8d95a5",
}
HEAD = (
    f"{'workload':16s}{'eager us':>12s}{'traced us':>12s}{'best peer us':>26s}{'hybrid/peer':>13s}"
    f"{'eager/traced':>14s}  spread within a round, verdict"
)


def peers_of(row: Row) -> dict[str, float]:
    """Microseconds of the peers in a row (hybrid and NumPy's bounds left out)."""
    return {
        framework: cell["us"]
        for framework, cell in row.items()
        if framework.split("_")[0] in ("torch", "jax")
    }


def own_framework(workload: str) -> str:
    """The form of hybrid that peers are compared with: traced, but for single eager calls."""
    return "hybrid_eager" if workload.startswith("add_") else "hybrid_traced"


def _number(value: float | None, width: int, digits: int) -> str:
    return f"{value:{width}.{digits}f}" if value is not None else " " * width


class Summary(NamedTuple):
    """A workload: microseconds eager, traced and of the best peer; hybrid's time, traced where
    there is such a form, over that peer's."""

    eager: float | None
    traced: float | None
    best: str | None
    peer: float | None
    ratio: float | None

    @property
    def mine(self) -> float | None:
        return self.traced if self.traced is not None else self.eager


def summary_of(row: Row) -> Summary:
    peers = peers_of(row)
    best = min(peers, key=lambda name: peers[name]) if peers else None
    eager, traced = (row.get(f"hybrid_{mode}", {}).get("us") for mode in ("eager", "traced"))
    mine = traced if traced is not None else eager
    peer = peers[best] if best else None
    return Summary(eager, traced, best, peer, mine / peer if peer and mine else None)


def word_of(spread: tuple[float, float] | None) -> str:
    """Who was faster, and none where that differed from round to round or there was only one."""
    if spread is None or spread[0] == spread[1]:
        return ""
    return "ahead" if spread[1] < 1 else "behind" if spread[0] > 1 else "no verdict"


def verdict(spread: tuple[float, float] | None) -> str:
    """The spread and the word for it, as the table has them."""
    word = word_of(spread)
    return f"  {spread[0]:.2f} to {spread[1]:.2f} {word}" if word and spread else ""


def _line(workload: str, row: Row, spreads: dict[str, tuple[float, float]]) -> str:
    eager, traced, best, peer, ratio = summary_of(row)
    fastest = f"{best} {peer:.1f}" if best else ""
    gain = eager / traced if eager and traced else None
    return (
        f"{workload:16s}{_number(eager, 12, 1)}{_number(traced, 12, 1)}{fastest:>26s}"
        f"{_number(ratio, 13, 2)}"
        f"{_number(gain, 14, 1)}{verdict(spreads.get(best or ''))}"
    )


def table(results: Results, copy_us: float | None, spreads: Spreads | None = None) -> str:
    """Rows: workload, eager, traced, best peer, ratios (hybrid is the traced time where there is
    one), and a verdict where every round agrees."""
    known = spreads or {}
    rows = [_line(workload, row, known.get(workload, {})) for workload, row in results.items()]
    lines = [HEAD, *[row.rstrip() for row in rows]]
    if copy_us:
        ratios = [
            f"{name} {results[name]['hybrid_traced']['us'] / copy_us:.2f} x"
            for name in ("gelu", "softmax", "layernorm")
            if "hybrid_traced" in results.get(name, {})
        ]
        lines.append(f"copy of 4M floats: {copy_us:.0f} us; traced: " + ", ".join(ratios))
    return "\n".join(lines)


def _relative(results: Results, workloads: Sequence[str]) -> Results:
    """Times over that of the best peer, or of the fastest where no peer was measured."""
    relative: Results = {}
    for workload in workloads:
        times = {framework: cell["us"] for framework, cell in results[workload].items()}
        best = min((peers_of(results[workload]) or times).values())
        relative[workload] = {name: {"ratio": time / best} for name, time in times.items()}
    return relative


def _bars(panel: Any, relative: Results, frameworks: Sequence[str]) -> None:
    width = 0.84 / len(frameworks)
    for number, framework in enumerate(frameworks):
        offset = (number - (len(frameworks) - 1) / 2) * width
        heights = {
            place: row[framework]["ratio"]
            for place, row in enumerate(relative.values())
            if framework in row
        }
        bars = panel.bar(
            [place + offset for place in heights],
            [height - 1 for height in heights.values()],
            width,
            bottom=1,
            color=COLORS[framework],
            label=framework.replace("_", " "),
        )
        if framework == "hybrid_traced":
            labels = [f"{height:.2f}" for height in heights.values()]
            panel.bar_label(bars, labels, fontsize=7, padding=2)


def plot(results: Results, path: Path) -> None:
    """Bars per workload: time relative to the best peer,
    or to eager hybrid where no peer was measured."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, NullFormatter

    workloads = [workload for workload, row in results.items() if row]
    shown = [name for name in COLORS if any(name in results[work] for work in workloads)]
    if not workloads:
        return
    figure, panel = pyplot.subplots(figsize=(max(1.05 * len(workloads) + 2, 6), 4.2))
    _bars(panel, _relative(results, workloads), shown)
    panel.axhline(1, color="#333", lw=0.9)
    with_peers = any(peers_of(results[workload]) for workload in workloads)
    panel.set(
        yscale="log",
        ylabel=f"time / {'best peer' if with_peers else 'fastest'} (below 1 is faster)",
        xticks=range(len(workloads)),
    )
    panel.set_xticklabels(workloads, rotation=30, ha="right")
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(fontsize=8, ncol=3, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)
