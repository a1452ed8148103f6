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
from .models import Digits
from .result import WARM, Pair, Run

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
def _png(pyplot: Any, figure: Any, what: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight")
    pyplot.close(figure)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return f"<img alt='{html.escape(what)}' src='data:image/png;base64,{encoded}'>"


def _losses(pyplot: Any, pairs: Sequence[Pair]) -> Any:
    figure, panels = pyplot.subplots(1, 2, figsize=(11, 3.4), sharey=True)
    for panel, pair in zip(panels, pairs):
        panel.semilogy(pair.eager.losses, color=GREY, lw=3.5, label="eager")
        panel.semilogy(pair.traced.losses, color=BLUE, lw=0.8, label="traced")
        same = int((~pair.different).sum())
        panel.set_title(
            f"{pair.eager.model}: {same} of {len(pair.different)} losses have the same 32 bits",
            fontsize=11,
        )
        panel.set_xlabel("step")
        panel.legend(frameon=False)
    panels[0].set_ylabel("cross-entropy")
    return figure


def _accuracies(pyplot: Any, pairs: Sequence[Pair]) -> Any:
    figure, panels = pyplot.subplots(1, 2, figsize=(11, 2.9), sharey=True)
    for panel, (eager, traced) in zip(panels, pairs):
        epochs = np.arange(1, len(eager.accuracies) + 1)
        panel.plot(epochs, eager.accuracies * 100, color=GREY, lw=5, label="eager")
        panel.plot(epochs, traced.accuracies * 100, "o-", color=BLUE, lw=1, ms=3, label="traced")
        panel.set_title(f"{eager.model}: {traced.accuracy:.2%} after the last epoch", fontsize=11)
        panel.set(xlabel="epoch")
        panel.grid(axis="y", color="#eee")
        panel.legend(frameon=False, loc="lower right")
    lowest = 100 * min(run.accuracies.min() for pair in pairs for run in pair)
    panels[0].set(ylabel="held-out accuracy, %", ylim=(max(lowest - 4, 0), 101))
    return figure


def _plain_numbers(axis: Any) -> None:
    """Ticks of a logarithmic axis as plain numbers, at 1, 2 and 5 of each power of ten."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(
        FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    )


def _times(pyplot: Any, pairs: Sequence[Pair]) -> Any:
    figure, panels = pyplot.subplots(1, 2, figsize=(11, 3.2))
    for panel, pair in zip(panels, pairs):
        both = np.concatenate([run.timed for run in pair]) * 1e6
        bins = np.geomspace(np.min(both) * 0.9, np.quantile(both, 0.98) * 1.3, 50)
        for run, color in zip(pair, ("#8d95a5", BLUE)):
            shown = np.clip(run.timed * 1e6, bins[0], bins[-1])
            panel.hist(
                shown,
                bins=bins,
                color=color,
                alpha=0.7,
                label=f"{run.mode}, median {run.median_us:.0f} µs",
            )
            panel.axvline(run.median_us, color=color, lw=1.5, ls="--")
        panel.margins(y=0.35)
        panel.set(xscale="log", xlabel="microseconds (the slowest 2 % are in the last bar)")
        panel.set_title(pair.eager.model, fontsize=11)
        _plain_numbers(panel.xaxis)
        panel.legend(frameon=False)
    panels[0].set_ylabel("steps")
    return figure


def _ratios(pyplot: Any, pairs: Sequence[Pair]) -> Any:
    figure, panels = pyplot.subplots(1, 2, figsize=(11, 3.0))
    for panel, pair in zip(panels, pairs):
        lower, upper = pair.spread
        least, most = np.quantile(pair.ratios, (0.01, 0.99)) * (0.8, 1.25)
        steps = len(pair.different) - len(pair.ratios) + np.arange(len(pair.ratios))
        panel.axhspan(lower, upper, color=BLUE, alpha=0.12, lw=0)
        panel.plot(steps, np.clip(pair.ratios, least, most), ".", color=BLUE, ms=3, alpha=0.55)
        panel.axhline(pair.speed_up, color=BLUE, lw=1.5)
        panel.axhline(1, color="#333", lw=0.9)
        panel.set(yscale="log", xlabel="step", ylim=(min(0.8, least * 0.9), most * 1.1))
        panel.set_title(
            f"{pair.eager.model}: {pair.speed_up:.1f} times faster traced, "
            f"8 of 10 pairs {lower:.1f} to {upper:.1f}",
            fontsize=11,
        )
        _plain_numbers(panel.yaxis)
    panels[0].set_ylabel("eager time / traced time")
    return figure


def _images(pyplot: Any, digits: Digits, run: Run) -> Any:
    wrong = np.flatnonzero(run.predictions != digits.test_y)[:10]
    right = np.flatnonzero(run.predictions == digits.test_y)[: 20 - len(wrong)]
    figure, panels = pyplot.subplots(2, 10, figsize=(11, 2.8))
    for panel, number in zip(panels.flat, np.concatenate([wrong, right])):
        guess, label = run.predictions[number], digits.test_y[number]
        panel.imshow(digits.test_x[number, 0], cmap="gray_r")
        panel.set_title(
            f"{guess}" if guess == label else f"{guess}, is {label}",
            color="#222" if guess == label else RED,
            fontsize=10,
        )
    for panel in panels.flat:
        panel.axis("off")
    return figure


# ---- parts
def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def cell(text: str) -> str:
        number = text[:1].isdigit() and len(text) < 16
        return f"<td{' class=n' if number else ''}>{html.escape(text)}</td>"

    cells = "".join(f"<tr>{''.join(map(cell, r))}</tr>" for r in rows)
    return (
        "<table><tr>"
        + "".join(f"<th>{html.escape(h)}</th>" for h in heading)
        + f"</tr>{cells}</table>"
    )


def _cards(pairs: Sequence[Pair]) -> str:
    cards = []
    for pair in pairs:
        eager, traced = pair
        cards.append(
            f"<div class=card><b>{pair.speed_up:.1f} ×</b>{eager.model} step, "
            f"{eager.median_us:.0f} → {traced.median_us:.0f} µs</div>"
        )
    for _, traced in pairs:
        cards.append(f"<div class=card><b>{traced.accuracy:.1%}</b>{traced.model}, held out</div>")
    steps = sum(len(pair.different) for pair in pairs)
    differ = sum(int(pair.different.sum()) for pair in pairs)
    cards.append(
        f"<div class='card{' bad' if differ else ''}'><b>{differ}</b>of {steps} losses differ in "
        "any bit</div>"
    )
    return f"<div class=cards>{''.join(cards)}</div>"


def _compiled(pairs: Sequence[Pair]) -> str:
    rows, drawings = [], []
    for _, traced in pairs:
        facts = traced.compiled
        if facts is None or not facts.replays:
            reason = facts.reason if facts else "not compared"
            rows.append((traced.model, f"not replayed: {reason}", "", "", "", ""))
            continue
        kernels = ", ".join(f"{count} {kind}" for kind, count in facts.kernels.items())
        rows.append(
            (
                traced.model,
                f"{facts.nodes_before}",
                f"{facts.nodes_after}",
                f"{sum(facts.kernels.values())} ({kernels})",
                f"{facts.arena_bytes / 1024:.0f} KiB",
                f"{facts.compile_seconds * 1e3:.0f} ms",
            )
        )
        drawings.append(
            f"<details><summary>The {traced.model} step as a graph, after every pass (point at a "
            f"box for its line)</summary>{traced.drawing}</details>"
        )
    heading = ("model", "operations", "after passes", "native kernels", "memory", "compile time")
    return _table(heading, rows) + "".join(drawings)


def _misread(pyplot: Any, digits: Digits, traced: Run) -> str:
    wrong = int((traced.predictions != digits.test_y).sum())
    return (
        f"<h2>What the {html.escape(traced.model)} reads: {wrong} of {len(digits.test_y)} "
        "held-out images wrong</h2>" + _png(pyplot, _images(pyplot, digits, traced), "digits")
    )


def _timing(pyplot: Any, pairs: Sequence[Pair]) -> list[str]:
    return [
        "<h2>Time of a step</h2>",
        _png(pyplot, _times(pyplot, pairs), "step times"),
        "<h2>Eager against traced, pair by pair</h2>",
        _png(pyplot, _ratios(pyplot, pairs), "paired ratios"),
        "<p class='note'>Each batch goes to both modes, one right after the other, and they take "
        "turns at going first; a point is the ratio of two such neighbours, so a machine that "
        "slows down for a while slows both. Line: the median; band: eight of ten pairs; the "
        "outermost hundredths lie on the edge; the "
        f"first {WARM} steps, which record and compile, are left out. Each mode finds the caches "
        "as the other one left them, so both are a little slower than in a run alone. Lone points "
        "far below are first steps of an epoch: <code>eval()</code> and <code>train()</code> of "
        "the test in between make the traced call check all it relies on once more.</p>",
    ]


def _document(
    pyplot: Any,
    digits: Digits,
    pairs: Sequence[Pair],
    table: str,
    code: str,
) -> list[str]:
    return [
        "<!doctype html><html lang=en><meta charset='utf-8'><title>hybrid: eager against "
        "traced</title>"
        f"<style>{STYLE}</style><h1>The same training, eager and traced</h1>",
        f"<p>scikit-learn's handwritten digits: {len(digits.train_x)} images to learn from, "
        f"{len(digits.test_x)} held out. One Python step trains each model twice, in turns: "
        "operation by operation, and as one native function under "
        "<code>@hybrid.function</code>.</p>",
        _cards(pairs),
        table,
        "<h2>The step</h2>",
        f"<pre>{html.escape(code)}</pre><p class='note'>The traced run calls "
        "<code>hybrid.function(step)</code>; nothing else differs.</p>",
        "<h2>Losses of every step</h2>",
        _png(pyplot, _losses(pyplot, pairs), "losses"),
        "<p class='note'>The blue line lies on the grey one: the runs agree to the last bit, "
        "dropout included.</p>",
        "<h2>Held-out accuracy</h2>",
        _png(pyplot, _accuracies(pyplot, pairs), "accuracies"),
        *_timing(pyplot, pairs),
        "<h2>What was compiled</h2>",
        _compiled(pairs),
        *[_misread(pyplot, digits, pair.traced) for pair in pairs],
        f"<h2>System</h2><pre>{html.escape(describe_system())}</pre></html>",
    ]


def write_report(
    path: str,
    digits: Digits,
    pairs: Sequence[Pair],
    heading: Sequence[str],
    rows: Sequence[Sequence[str]],
    code: str,
) -> None:
    """Write the report to `path` (through a temporary file, so that it is whole or absent)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    parts = _document(pyplot, digits, pairs, _table(heading, rows), code)
    target = Path(path)
    temporary = target.with_name(target.name + ".part")
    temporary.write_text("\n".join(parts), encoding="utf-8")
    temporary.replace(target)
