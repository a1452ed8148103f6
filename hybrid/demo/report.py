"""One self-contained HTML file with the plots of a demonstration.

Invariant: the file refers to nothing outside itself; plots are embedded PNG images.
"""
from __future__ import annotations

import base64
import html
import io
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["write_report"]

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse}td,th{padding:.35rem .8rem;border-bottom:1px solid #ddd;text-align:left}
img{max-width:100%}h1{font-size:1.6rem}.note{color:#666}"""


def _png(figure: Any) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    return f"<img alt='plot' src='data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}'>"


def _losses(plt: Any, runs: Sequence[Any]) -> Any:
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.6))
    for ax, (eager, traced) in zip(axes, (runs[0:2], runs[2:4])):
        ax.semilogy(eager.losses, color="#bbb", lw=4, label="eager")
        ax.semilogy(traced.losses, color="#1a56db", lw=1, label="traced")
        ax.set(title=f"{eager.model}: loss of every step", xlabel="step", ylabel="cross-entropy")
        ax.legend()
    return figure


def _times(plt: Any, runs: Sequence[Any]) -> Any:
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.2))
    for ax, (eager, traced) in zip(axes, (runs[0:2], runs[2:4])):
        both = np.concatenate([eager.seconds[5:], traced.seconds[5:]]) * 1e6
        bins = np.geomspace(both.min(), np.quantile(both, 0.995), 60)
        for run, color in ((eager, "#999"), (traced, "#1a56db")):
            ax.hist(run.seconds[5:] * 1e6, bins=bins, color=color, alpha=0.75,
                    label=f"{run.mode}: median {run.median_us:.0f} us")
        ax.set(xscale="log", title=f"{eager.model}: time of a step", xlabel="microseconds", ylabel="steps")
        ax.legend()
    return figure


def _images(plt: Any, data: Any, run: Any) -> Any:
    wrong = np.flatnonzero(run.predictions != data.test_y)
    right = np.flatnonzero(run.predictions == data.test_y)
    pick = np.concatenate([wrong[:8], right[:16 - min(len(wrong), 8)]])
    figure, axes = plt.subplots(2, 8, figsize=(11, 3))
    for ax, i in zip(axes.flat, pick):
        ax.imshow(data.test_x[i, 0], cmap="gray_r")
        good = run.predictions[i] == data.test_y[i]
        ax.set_title(f"{run.predictions[i]}" + ("" if good else f" (is {data.test_y[i]})"),
                     color="#222" if good else "#c00", fontsize=10)
        ax.axis("off")
    return figure


def write_report(path: str, data: Any, runs: Sequence[Any], head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write the report to `path` (through a temporary file, so that it is whole or absent)."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figures = [_losses(plt, runs), _times(plt, runs), _images(plt, data, runs[1])]
    table = "<tr>" + "".join(f"<th>{html.escape(h)}</th>" for h in head) + "</tr>" + "".join(
        "<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in r) + "</tr>" for r in rows)
    parts = [
        "<!doctype html><meta charset='utf-8'><title>hybrid: eager against traced</title>", f"<style>{STYLE}</style>",
        "<h1>hybrid: the same training, eager and traced</h1>",
        f"<p>scikit-learn's handwritten digits: {len(data.train_x)} images to learn from, {len(data.test_x)} held out. "
        "The same Python step runs op by op, and as one native function under <code>@hybrid.function</code>.</p>",
        f"<table>{table}</table>", "<h2>Losses</h2>", _png(figures[0]),
        "<p class='note'>The grey line is the eager run, the blue line on it the traced run.</p>",
        "<h2>Step times</h2>", _png(figures[1]), f"<h2>What the {html.escape(runs[1].model)} sees</h2>", _png(figures[2]),
        f"<p class='note'>Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}.</p>"]
    for f in figures:
        plt.close(f)
    target = Path(path)
    temporary = target.with_name(target.name + ".part")
    temporary.write_text("\n".join(parts), encoding="utf-8")
    temporary.replace(target)
