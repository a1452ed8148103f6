"""One self-contained HTML file about a demonstration: tables, plots, the compiled graphs.

Invariant: the file refers to nothing outside itself; plots are embedded PNG images.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import describe_system

__all__ = ["write_report"]

GREY, BLUE, RED = "#b9c0cc", "#1a56db", "#c62828"
STYLE = (
    "body{font:15px/1.55 system-ui,sans-serif;max-width:62rem;margin:2rem auto;"
    "padding:0 1.2rem;color:#1f2430}\n"
    "h1{font-size:1.7rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin:2.2rem 0 .4rem;"
    "border-top:1px solid #e6e8ee;\n"
    "padding-top:1.2rem}table{border-collapse:collapse}td,th{padding:.35rem .9rem;"
    "border-bottom:1px solid #e6e8ee;\n"
    "text-align:left}th{color:#667;font-weight:600}td.n{text-align:right}img{max-width:100%}"
    ".note{color:#667}\n"
    ".cards{display:flex;gap:.7rem;flex-wrap:wrap;margin:1.2rem 0}"
    ".card{border:1px solid #e0e4ee;border-radius:10px;\n"
    "padding:.6rem .9rem;flex:1 0 9rem}.card b{display:block;font-size:1.6rem;color:#1a56db}"
    ".card.bad b{color:#c62828}\n"
    "pre{background:#f6f8fb;border-radius:8px;padding:.8rem 1rem;overflow:auto;"
    "font-size:13px}\n"
    "summary{cursor:pointer;margin:.3rem 0}"
)


# ---- plots
def _png(plt: Any, figure: Any, what: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight")
    plt.close(figure)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"<img alt='{html.escape(what)}' src='data:image/png;base64,{data}'>"


def _pairs(runs: Sequence[Any]) -> list[tuple[Any, Any]]:
    return [(runs[i], runs[i + 1]) for i in range(0, len(runs), 2)]


def _losses(plt: Any, runs: Sequence[Any]) -> Any:
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.4), sharey=True)
    for ax, (eager, traced) in zip(axes, _pairs(runs)):
        ax.semilogy(eager.losses, color=GREY, lw=3.5, label="eager")
        ax.semilogy(traced.losses, color=BLUE, lw=0.8, label="traced")
        same = int((eager.losses.view(np.uint32) == traced.losses.view(np.uint32)).sum())
        ax.set_title(
            f"{eager.model}: {same} of {len(eager.losses)} losses have the same 32 bits",
            fontsize=11,
        )
        ax.set_xlabel("step")
        ax.legend(frameon=False)
    axes[0].set_ylabel("cross-entropy")
    return figure


def _accuracies(plt: Any, runs: Sequence[Any]) -> Any:
    figure, axes = plt.subplots(1, 2, figsize=(11, 2.9), sharey=True)
    for ax, (eager, traced) in zip(axes, _pairs(runs)):
        epochs = np.arange(1, len(eager.accuracies) + 1)
        ax.plot(epochs, eager.accuracies * 100, color=GREY, lw=5, label="eager")
        ax.plot(epochs, traced.accuracies * 100, "o-", color=BLUE, lw=1, ms=3, label="traced")
        ax.set_title(f"{eager.model}: {traced.accuracy:.2%} after the last epoch", fontsize=11)
        ax.set(xlabel="epoch")
        ax.grid(axis="y", color="#eee")
        ax.legend(frameon=False, loc="lower right")
    lowest = 100 * min(r.accuracies.min() for r in runs)
    axes[0].set(ylabel="held-out accuracy, %", ylim=(max(lowest - 4, 0), 101))
    return figure


def _times(plt: Any, runs: Sequence[Any]) -> Any:
    from matplotlib.ticker import FuncFormatter

    figure, axes = plt.subplots(1, 2, figsize=(11, 3.2))
    for ax, (eager, traced) in zip(axes, _pairs(runs)):
        both = np.concatenate([eager.seconds[5:], traced.seconds[5:]]) * 1e6
        bins = np.geomspace(both.min() * 0.9, np.quantile(both, 0.98) * 1.3, 50)
        for run, color in ((eager, "#8d95a5"), (traced, BLUE)):
            shown = np.clip(run.seconds[5:] * 1e6, bins[0], bins[-1])
            ax.hist(
                shown,
                bins=bins,
                color=color,
                alpha=0.7,
                label=f"{run.mode}, median {run.median_us:.0f} µs",
            )
            ax.axvline(run.median_us, color=color, lw=1.5, ls="--")
        ax.margins(y=0.35)
        ax.set(xscale="log", xlabel="microseconds (the slowest 2 % are in the last bar)")
        ax.set_title(
            f"{eager.model}: {eager.median_us / traced.median_us:.1f} times faster traced",
            fontsize=11,
        )
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        ax.xaxis.set_minor_formatter(
            FuncFormatter(lambda v, _: f"{v:g}" if str(f"{v:e}")[0] in "25" else "")
        )
        ax.legend(frameon=False)
    axes[0].set_ylabel("steps")
    return figure


def _images(plt: Any, data: Any, run: Any) -> Any:
    wrong = np.flatnonzero(run.predictions != data.test_y)[:10]
    right = np.flatnonzero(run.predictions == data.test_y)[: 20 - len(wrong)]
    figure, axes = plt.subplots(2, 10, figsize=(11, 2.8))
    for ax, i in zip(axes.flat, np.concatenate([wrong, right])):
        good = run.predictions[i] == data.test_y[i]
        ax.imshow(data.test_x[i, 0], cmap="gray_r")
        ax.set_title(
            f"{run.predictions[i]}" if good else f"{run.predictions[i]}, is {data.test_y[i]}",
            color="#222" if good else RED,
            fontsize=10,
        )
    for ax in axes.flat:
        ax.axis("off")
    return figure


# ---- parts
def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def cell(text: str) -> str:
        number = text[:1].isdigit() and len(text) < 12
        return f"<td{' class=n' if number else ''}>{html.escape(text)}</td>"

    cells = "".join(f"<tr>{''.join(map(cell, r))}</tr>" for r in rows)
    return (
        "<table><tr>"
        + "".join(f"<th>{html.escape(h)}</th>" for h in head)
        + f"</tr>{cells}</table>"
    )


def _cards(runs: Sequence[Any]) -> str:
    out = []
    for eager, traced in _pairs(runs):
        out.append(
            f"<div class=card><b>{eager.median_us / traced.median_us:.1f} ×</b>{eager.model} step, "
            f"{eager.median_us:.0f} → {traced.median_us:.0f} µs</div>"
        )
    for _, traced in _pairs(runs):
        out.append(f"<div class=card><b>{traced.accuracy:.1%}</b>{traced.model}, held out</div>")
    steps = sum(len(e.losses) for e, _ in _pairs(runs))
    off = sum(
        int((e.losses.view(np.uint32) != t.losses.view(np.uint32)).sum()) for e, t in _pairs(runs)
    )
    out.append(
        f"<div class='card{' bad' if off else ''}'><b>{off}</b>of {steps} losses differ in any "
        "bit</div>"
    )
    return f"<div class=cards>{''.join(out)}</div>"


def _compiled(runs: Sequence[Any]) -> str:
    rows, drawings = [], []
    for _, traced in _pairs(runs):
        c = traced.compiled
        if not c.replays:
            rows.append((traced.model, "not replayed: " + c.reason, "", "", "", ""))
            continue
        kernels = ", ".join(f"{n} {k}" for k, n in c.kernels.items())
        rows.append(
            (
                traced.model,
                f"{c.nodes_before}",
                f"{c.nodes_after}",
                f"{sum(c.kernels.values())} ({kernels})",
                f"{c.arena_bytes / 1024:.0f} KiB",
                f"{c.compile_seconds * 1e3:.0f} ms",
            )
        )
        drawings.append(
            f"<details><summary>The {traced.model} step as a graph, after every pass (point at a "
            f"box for its line)</summary>{traced.drawing}</details>"
        )
    head = ("model", "operations", "after passes", "native kernels", "memory", "compile time")
    return _table(head, rows) + "".join(drawings)


def write_report(
    path: str,
    data: Any,
    runs: Sequence[Any],
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    code: str,
) -> None:
    """Write the report to `path` (through a temporary file, so that it is whole or absent)."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    parts = [
        "<!doctype html><html lang=en><meta charset='utf-8'><title>hybrid: eager against "
        "traced</title>"
        f"<style>{STYLE}</style><h1>The same training, eager and traced</h1>",
        f"<p>scikit-learn's handwritten digits: {len(data.train_x)} images to learn from, "
        f"{len(data.test_x)} held out. One Python step trains each model twice: operation by "
        "operation, and as one native function under "
        "<code>@hybrid.function</code>.</p>",
        _cards(runs),
        _table(head, rows),
        "<h2>The step</h2>",
        f"<pre>{html.escape(code)}</pre><p class='note'>The traced run calls "
        "<code>hybrid.function(step)</code>; nothing else differs.</p>",
        "<h2>Losses of every step</h2>",
        _png(plt, _losses(plt, runs), "losses"),
        "<p class='note'>The blue line lies on the grey one: the runs agree to the last bit, "
        "dropout included.</p>",
        "<h2>Held-out accuracy</h2>",
        _png(plt, _accuracies(plt, runs), "accuracies"),
        "<h2>Time of a step</h2>",
        _png(plt, _times(plt, runs), "step times"),
        "<h2>What was compiled</h2>",
        _compiled(runs),
    ]
    for traced in runs[1::2]:
        wrong = int((traced.predictions != data.test_y).sum())
        parts += [
            f"<h2>What the {html.escape(traced.model)} reads: {wrong} of {len(data.test_y)} "
            "held-out images wrong</h2>",
            _png(plt, _images(plt, data, traced), "digits"),
        ]
    parts.append(f"<h2>System</h2><pre>{html.escape(describe_system())}</pre></html>")
    target = Path(path)
    temporary = target.with_name(target.name + ".part")
    temporary.write_text("\n".join(parts), encoding="utf-8")
    temporary.replace(target)
