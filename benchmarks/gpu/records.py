"""What was measured, kept as JSON: one file a part, one row a case.

Invariant: a row is written when it is measured, so that a run that is cut short goes on where it
stopped; rows of another commit or card are not mixed with new ones.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from .timing import Sample

__all__ = ["Row", "Records", "read", "row_of", "table", "PARTS"]

PARTS = ("kernels", "products", "eager", "steps", "gpt2", "resnet")
ROOT = Path(__file__).parents[2]


class Row(NamedTuple):
    """One case: times of the contestants; bytes or operations of a call where they are counted;
    `bound` is the time at which a copy of the same bytes ran; `note` says what is missing."""

    case: str
    times: dict[str, Sample]
    nbytes: int = 0
    operations: int = 0
    bound_us: float = 0.0
    note: str = ""

    @property
    def ours(self) -> Sample | None:
        """The time of hybrid that is compared: the first contestant."""
        own = [name for name in self.times if name.startswith("hybrid")]
        return self.times[own[0]] if own else None

    def best_peer(self) -> str | None:
        """The fastest contestant that is not hybrid."""
        peers = {name: s.us for name, s in self.times.items() if not name.startswith("hybrid")}
        return min(peers, key=lambda name: peers[name]) if peers else None

    def ratio(self) -> float | None:
        """Our time over the best peer's."""
        peer, ours = self.best_peer(), self.ours
        return ours.us / self.times[peer].us if peer and ours else None

    def to_dict(self) -> dict[str, Any]:
        return {
            **self._asdict(),
            "times": {name: list(sample) for name, sample in self.times.items()},
        }


def row_of(data: dict[str, Any]) -> Row:
    """A row as `to_dict` gave it."""
    times = {name: Sample(*values) for name, values in data["times"].items()}
    return Row(**{**data, "times": times})


def commit() -> str:
    """The commit of this checkout, or nothing."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    except OSError:  # there is no git
        return ""


class Records:
    """The rows of one part, in a file."""

    def __init__(self, folder: Path, part: str, device: str) -> None:
        self.path = folder / f"{part}.json"
        self.head = {"part": part, "device": device, "commit": commit()}
        self.rows: dict[str, Row] = {}
        if self.path.exists():
            head, rows = read(self.path)
            if head == self.head:
                self.rows = {row.case: row for row in rows}

    def add(self, row: Row) -> None:
        """Keep a row now."""
        self.rows[row.case] = row
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(
            {**self.head, "rows": [r.to_dict() for r in self.rows.values()]}, indent=1
        )
        part = self.path.with_suffix(".part")
        part.write_text(text)
        part.replace(self.path)

    def done(self, case: str) -> bool:
        """Whether a case was measured without trouble."""
        return case in self.rows and not self.rows[case].note


def read(path: Path) -> tuple[dict[str, str], list[Row]]:
    """Head and rows of a file."""
    data = json.loads(path.read_text())
    rows = [row_of(row) for row in data.pop("rows")]
    return data, rows


# ---- tables
def _time(sample: Sample | None) -> str:
    if sample is None:
        return ""
    digits = 2 if sample.us < 10 else 1 if sample.us < 1000 else 0
    return f"{sample.us:,.{digits}f} ({sample.low:,.{digits}f} to {sample.high:,.{digits}f})"


def _figures(row: Row) -> str:
    """Share of a copy's speed, or operations a second."""
    if row.ours is None:
        return ""
    if row.bound_us:
        return f"{100 * row.bound_us / row.ours.us:.0f} % of a copy"
    if row.operations:
        return f"{row.operations / row.ours.us * 1e-6:.1f} TFLOP/s"
    return f"{row.nbytes / row.ours.us * 1e-3:.0f} GB/s" if row.nbytes else ""


def table(rows: list[Row]) -> str:
    """Rows as a table in Markdown: our times, what that is, the peers', the ratio to the best."""
    names = list(dict.fromkeys(name for row in rows for name in row.times))
    head = ["case", *(f"{name}, us" for name in names), "hybrid", "ratio to the best peer"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        ratio = row.ratio()
        told = f"{ratio:.2f} ({row.best_peer()})" if ratio is not None else row.note
        times = [_time(row.times.get(name)) for name in names]
        lines.append([row.case, *times, _figures(row), told])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
