"""Table and plot of results {workload: {framework: {'us', 'first_s', 'peak_mb'}}}.

Invariant: whatever is missing (peers, workloads that failed) is left out of both.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["Results", "table", "plot", "peers_of"]

Results = dict[str, dict[str, dict[str, float]]]
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
    f"{'eager/traced':>14s}"
)


def peers_of(row: dict[str, dict[str, float]]) -> dict[str, float]:
    """Microseconds of the peers in a row (hybrid and NumPy's bounds left out)."""
    return {k: v["us"] for k, v in row.items() if k.split("_")[0] in ("torch", "jax")}


def _number(x: float | None, width: int, digits: int) -> str:
    return f"{x:{width}.{digits}f}" if x is not None else " " * width


def _line(work: str, row: dict[str, dict[str, float]]) -> str:
    peers = peers_of(row)
    best = min(peers, key=lambda k: peers[k]) if peers else None
    eager, traced = (row.get(f"hybrid_{m}", {}).get("us") for m in ("eager", "traced"))
    mine = traced if traced is not None else eager
    peer = f"{best} {peers[best]:.1f}" if best else ""
    ratio = mine / peers[best] if best and mine else None
    gain = eager / traced if eager and traced else None
    return (
        f"{work:16s}{_number(eager, 12, 1)}{_number(traced, 12, 1)}{peer:>26s}"
        f"{_number(ratio, 13, 2)}"
        f"{_number(gain, 14, 1)}"
    )


def table(results: Results, copy_us: float | None) -> str:
    """Rows: workload, eager, traced, best peer,
    ratios (hybrid is the traced time where there is one)."""
    lines = [HEAD, *[_line(w, row).rstrip() for w, row in results.items()]]
    if copy_us:
        ratios = [
            f"{k} {results[k]['hybrid_traced']['us'] / copy_us:.2f} x"
            for k in ("gelu", "softmax", "layernorm")
            if "hybrid_traced" in results.get(k, {})
        ]
        lines.append(f"copy of 4M floats: {copy_us:.0f} us; traced: " + ", ".join(ratios))
    return "\n".join(lines)


def plot(results: Results, path: Path) -> None:
    """Bars per workload: time relative to the best peer,
    or to eager hybrid where no peer was measured."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter, NullFormatter

    names = [w for w, row in results.items() if row]
    shown = [f for f in COLORS if any(f in results[w] for w in names)]
    if not names:
        return
    base = {
        w: min((peers_of(results[w]) or {k: v["us"] for k, v in results[w].items()}).values())
        for w in names
    }
    width = 0.84 / len(shown)
    figure, ax = plt.subplots(figsize=(max(1.05 * len(names) + 2, 6), 4.2))
    for j, f in enumerate(shown):
        at = [i for i, w in enumerate(names) if f in results[w]]
        heights = [results[names[i]][f]["us"] / base[names[i]] for i in at]
        bars = ax.bar(
            [i + (j - (len(shown) - 1) / 2) * width for i in at],
            [h - 1 for h in heights],
            width,
            bottom=1,
            color=COLORS[f],
            label=f.replace("_", " "),
        )
        if f == "hybrid_traced":
            ax.bar_label(bars, [f"{h:.2f}" for h in heights], fontsize=7, padding=2)
    ax.axhline(1, color="#333", lw=0.9)
    with_peers = any(peers_of(results[w]) for w in names)
    ax.set(
        yscale="log",
        ylabel=f"time / {'best peer' if with_peers else 'fastest'} (below 1 is faster)",
        xticks=range(len(names)),
    )
    ax.set_xticklabels(names, rotation=30, ha="right")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize=8, ncol=3, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)
