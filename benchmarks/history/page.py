"""One HTML page of a run: what each workload takes beside its peers and its bound, how it scales,
and how it went before.

Invariant: the page is one file without scripts or anything from elsewhere; whatever was not
measured is left out.
"""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..report import COLORS, Results, Spreads, own_framework, summary_of, word_of
from ..scaling.measure import Scaled
from .entry import Entry

__all__ = ["write_page"]

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #202124; max-width: 1080px; margin: 2em auto;
       padding: 0 1em; }
h1 { font-size: 1.5em; margin-bottom: 0; } h2 { font-size: 1.1em; margin: 1.6em 0 0.2em; }
p.facts { color: #5f6368; margin: 0.3em 0 1.5em; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25em 0.9em; text-align: right; border-bottom: 1px solid #e8eaed; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; color: #5f6368; }
td.ahead { color: #188038; font-weight: 600; } td.behind { color: #c5221f; font-weight: 600; }
svg { max-width: 100%; height: auto; }
"""
HEADS = (
    "workload",
    "eager us",
    "traced us",
    "best peer us",
    "of the peer",
    "in rounds",
    "bound us",
    "share of bound",
)
MOST_POINTS = 40  # of a history


def _cell(text: str, kind: str = "") -> str:
    return f"<td class={kind!r}>{text}</td>" if kind else f"<td>{text}</td>"


def _number(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _row(workload: str, results: Results, spreads: Spreads, bound: float | None) -> str:
    made = summary_of(results[workload])
    spread = spreads.get(workload, {}).get(made.best or "")
    best = f"{made.best.replace('_', ' ')} {_number(made.peer)}" if made.best else ""
    word = word_of(spread)
    cells = [
        _cell(html.escape(workload.replace("_", " "))),
        _cell(_number(made.eager)),
        _cell(_number(made.traced)),
        _cell(best),
        _cell(_number(made.ratio, 2), word if word in ("ahead", "behind") else ""),
        _cell(f"{spread[0]:.2f} to {spread[1]:.2f}" if spread else ""),
        _cell(_number(bound)),
        _cell(f"{bound / made.mine:.0%}" if bound and made.mine else ""),
    ]
    return f"<tr>{''.join(cells)}</tr>"


# ---- pictures
def _times(panel: Any, row: dict[str, dict[str, float]], bound: float | None) -> None:
    names = [name for name in COLORS if name in row]
    times = [row[name]["us"] for name in names]
    bars = panel.barh(range(len(names)), times, color=[COLORS[name] for name in names])
    panel.bar_label(bars, [f"{time:,.0f}" for time in times], padding=3, fontsize=8)
    panel.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    panel.set(xlabel="microseconds", xlim=(0, max(times) * 1.18))
    panel.invert_yaxis()
    if bound:
        panel.axvline(bound, color="#202124", ls=":", lw=1.2)
        panel.set_title("dotted: bound of this machine", fontsize=8, loc="right")


def _scaling(panel: Any, made: Scaled) -> None:
    first = made.points[0].prediction.seconds
    threads = [point.prediction.threads for point in made.points]
    times = [first / point.prediction.seconds for point in made.points]
    panel.plot(threads, threads, color="#bdc1c6", lw=1, label="ideal")
    panel.plot(threads, times, "o-", color="#1a56db", ms=3, label="model")
    seen = [point for point in made.points if point.measured]
    if seen and seen[0].measured:
        panel.plot(
            [point.prediction.threads for point in seen],
            [seen[0].measured / (point.measured or 1) for point in seen],
            "s",
            color="#e8710a",
            ms=5,
            label="measured",
        )
    panel.set_xscale("log", base=2)
    panel.set_yscale("log", base=2)
    panel.set_xticks(threads, [str(count) for count in threads])
    panel.set_yticks(threads, [str(count) for count in threads])
    panel.set(xlabel="threads", ylabel="times one thread", ylim=(0.7, None))
    panel.legend(fontsize=7, frameon=False)


def _past(panel: Any, workload: str, entries: Sequence[Entry]) -> None:
    framework = own_framework(workload)
    known = [(entry.date, entry.workloads.get(workload)) for entry in entries]
    points = [
        (f"{date:%m-%d}", figures.times[framework])
        for date, figures in known
        if figures and framework in figures.times
    ][-MOST_POINTS:]
    panel.plot(range(len(points)), [time for _, time in points], "o-", color="#1a56db", ms=3)
    step = max(len(points) // 4, 1)
    panel.set_xticks(range(0, len(points), step), [label for label, _ in points[::step]])
    panel.set(ylabel="microseconds", ylim=(0, None), xlabel="runs on this machine")


def _picture(
    workload: str, results: Results, made: Scaled | None, bound: float | None, past: Sequence[Entry]
) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 2.5), layout="constrained")
    panels = figure.subplots(1, 3, width_ratios=(1.5, 1, 1))
    _times(panels[0], results[workload], bound)
    if made is not None:
        _scaling(panels[1], made)
    _past(panels[2], workload, past)
    for panel, shown in zip(panels, (True, made is not None, True)):
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8)
        panel.set_visible(shown)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    drawn = text.getvalue()
    return drawn[drawn.index("<svg") :]


def _facts(entry: Entry) -> str:
    machine, commit = entry.machine, entry.commit
    changed = " with changes" if commit.dirty else ""
    versions = ", ".join(f"{name} {text}" for name, text in entry.versions.items())
    return html.escape(
        f"{entry.date:%Y-%m-%d %H:%M} UTC, commit {commit.revision or 'unknown'}{changed}; "
        f"{machine.cpu}, {machine.simd}, {machine.cores} cores; medians of {entry.rounds} rounds "
        f"in turns; {versions}"
    )


def write_page(
    path: Path,
    entry: Entry,
    results: Results,
    spreads: Spreads,
    scaling: dict[str, Scaled],
    past: Sequence[Entry],
) -> None:
    """Write the page of a run; `past`: all entries of the history, of which those of this machine
    are drawn."""
    here = [one for one in past if one.machine == entry.machine and not one.quick] or [entry]
    shown = [workload for workload, row in results.items() if row]
    bounds = {name: 1e6 * scaling[name].bound if name in scaling else None for name in shown}
    heads = "".join(f"<th>{head}</th>" for head in HEADS)
    rows = "\n".join(_row(name, results, spreads, bounds[name]) for name in shown)
    parts = [
        f"<h2>{html.escape(name.replace('_', ' '))}</h2>\n"
        + _picture(name, results, scaling.get(name), bounds[name], here)
        for name in shown
    ]
    path.write_text(
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f"<title>hybrid: benchmarks</title>\n<style>{STYLE}</style></head>\n<body>\n"
        f"<h1>hybrid beside its peers</h1>\n<p class='facts'>{_facts(entry)}</p>\n"
        f"<table><tr>{heads}</tr>\n{rows}\n</table>\n" + "\n".join(parts) + "\n</body></html>\n"
    )
