"""One run of the benchmarks as a line of JSON: when, of which commit, where, and what it measured.

Invariant: `parse` trusts nothing.  What it returns has plain names, printable texts, dates with a
time zone, and positive finite times and ratios; all else is a Malformed that names the field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from ..report import own_framework, peers_of

__all__ = [
    "Commit",
    "Entry",
    "Figures",
    "Machine",
    "Malformed",
    "dump",
    "figures_of",
    "header",
    "parse",
]

FORMAT = 1
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
HASH = re.compile(r"[0-9a-f]{7,64}")
LONGEST_TEXT = 160
LARGEST = 1e15  # microseconds, counts and ratios beyond it are no measurements
Kind = TypeVar("Kind")


class Malformed(ValueError):
    """A line that is no entry; the message names the field and what is wrong with it."""


class Commit(NamedTuple):
    """The revision that was measured; None for what is not known."""

    revision: str | None = None
    date: datetime | None = None
    dirty: bool | None = None


class Machine(NamedTuple):
    """Where it ran: equal machines are compared, others are told apart."""

    cpu: str
    target: str
    simd: str
    cores: int
    threads: int | None
    system: str


class Figures(NamedTuple):
    """A workload: median microseconds by framework; hybrid's time over that of each peer, and the
    least and largest of that ratio over the rounds."""

    times: dict[str, float]
    ratios: dict[str, float]
    spreads: dict[str, tuple[float, float]]


class Entry(NamedTuple):
    """One run."""

    date: datetime
    commit: Commit
    machine: Machine
    versions: dict[str, str]
    rounds: int
    budget: float
    quick: bool
    workloads: dict[str, Figures]
    copy_us: float | None = None
    note: str = ""


def figures_of(
    workload: str,
    row: dict[str, dict[str, float]],
    spreads: dict[str, tuple[float, float]] | None = None,
) -> Figures | None:
    """Figures of one row of results; None where nothing was measured.

    There are ratios only where hybrid ran as the workload is meant, traced if it has such a form.
    """
    times = {framework: cell["us"] for framework, cell in row.items()}
    if not times:
        return None
    own = times.get(own_framework(workload))
    ratios = {peer: own / time for peer, time in peers_of(row).items()} if own else {}
    kept = {peer: pair for peer, pair in (spreads or {}).items() if peer in ratios}
    return Figures(times, ratios, kept)


# ---- to a line
def header(entry: Entry) -> dict[str, Any]:
    """All of an entry but its figures, as JSON values."""
    date = entry.commit.date
    facts = {
        "version": FORMAT,
        "date": entry.date.isoformat(timespec="seconds"),
        "commit": entry.commit.revision,
        "commit_date": date.isoformat(timespec="seconds") if date else None,
        "dirty": entry.commit.dirty,
        "machine": entry.machine._asdict(),
        "versions": entry.versions,
        "rounds": entry.rounds,
        "budget_s": entry.budget,
        "quick": entry.quick,
        "copy_us": entry.copy_us,
    }
    return facts | ({"note": entry.note} if entry.note else {})


def _rounded(value: float) -> float:
    """Five digits: more than any clock of a shared machine is worth."""
    return float(f"{value:.5g}")


def dump(entry: Entry) -> str:
    """The line of an entry, without its end."""
    workloads = {
        name: {
            "us": {key: _rounded(time) for key, time in figures.times.items()},
            "ratio": {peer: _rounded(ratio) for peer, ratio in figures.ratios.items()},
            "spread": {peer: list(map(_rounded, pair)) for peer, pair in figures.spreads.items()},
        }
        for name, figures in entry.workloads.items()
    }
    return json.dumps(header(entry) | {"workloads": workloads}, allow_nan=False)


# ---- from a line
def _malformed_constant(text: str) -> float:
    raise Malformed(f"{text} is no JSON number")


def _shown(value: Any) -> str:
    """A short form that no terminal takes for a command."""
    return repr(value)[:40]


def _object(value: Any, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(f"{field}: expected an object, found {type(value).__name__}")
    return value


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or not value.isprintable():
        raise Malformed(f"{field}: expected at most {LONGEST_TEXT} printable characters")
    return value


def _name(value: str, field: str) -> str:
    if not NAME.fullmatch(value):
        raise Malformed(f"{field}: {_shown(value)} is no name")
    return value


def _positive(value: Any, field: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < LARGEST:
        raise Malformed(f"{field}: expected a positive finite number, found {_shown(value)}")
    return float(value)


def _count(value: Any, field: str) -> int:
    if not isinstance(value, int) or _positive(value, field) > 1e6:
        raise Malformed(f"{field}: expected a count, found {_shown(value)}")
    return value


def _flag(value: Any, field: str) -> bool:
    if not isinstance(value, bool):
        raise Malformed(f"{field}: expected true or false, found {_shown(value)}")
    return value


def _date(value: Any, field: str) -> datetime:
    try:
        moment = datetime.fromisoformat(_text(value, field))
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Malformed(f"{field}: {_shown(value)} is no date with a time zone") from None


def _revision(value: Any, field: str) -> str:
    if not isinstance(value, str) or not HASH.fullmatch(value):
        raise Malformed(f"{field}: {_shown(value)} is no commit")
    return value


def _optional(read: Callable[[Any, str], Kind], value: Any, field: str) -> Kind | None:
    return None if value is None else read(value, field)


def _numbers(value: Any, field: str) -> dict[str, float]:
    pairs = _object(value, field).items()
    return {_name(key, field): _positive(number, f"{field}.{key}") for key, number in pairs}


def _spreads(value: Any, field: str) -> dict[str, tuple[float, float]]:
    spreads = {}
    for key, pair in _object(value, field).items():
        _name(key, field)
        if not isinstance(pair, list) or len(pair) != 2:
            raise Malformed(f"{field}.{key}: expected two numbers")
        low, high = (_positive(number, f"{field}.{key}") for number in pair)
        spreads[key] = (min(low, high), max(low, high))
    return spreads


def _figures(value: Any, field: str) -> Figures:
    row = _object(value, field)
    return Figures(
        _numbers(row.get("us"), f"{field}.us"),
        _numbers(row.get("ratio", {}), f"{field}.ratio"),
        _spreads(row.get("spread", {}), f"{field}.spread"),
    )


def _machine(value: Any, field: str) -> Machine:
    facts = _object(value, field)
    return Machine(
        _text(facts.get("cpu"), f"{field}.cpu"),
        _text(facts.get("target"), f"{field}.target"),
        _text(facts.get("simd"), f"{field}.simd"),
        _count(facts.get("cores"), f"{field}.cores"),
        _optional(_count, facts.get("threads"), f"{field}.threads"),
        _text(facts.get("system"), f"{field}.system"),
    )


def _facts(line: str) -> dict[str, Any]:
    try:
        facts = _object(json.loads(line, parse_constant=_malformed_constant), "the line")
    except Malformed:
        raise
    except (ValueError, RecursionError) as problem:
        raise Malformed(f"not JSON: {str(problem)[:80]}") from None
    version = facts.get("version")
    if isinstance(version, bool) or version != FORMAT:
        raise Malformed(f"version: {_shown(version)} is not {FORMAT}, the one read here")
    return facts


def parse(line: str) -> Entry:
    """The entry of a line; Malformed where it is none.  Fields that are not known are ignored."""
    facts = _facts(line)
    workloads = _object(facts.get("workloads"), "workloads")
    versions = _object(facts.get("versions"), "versions")
    return Entry(
        _date(facts.get("date"), "date"),
        Commit(
            _optional(_revision, facts.get("commit"), "commit"),
            _optional(_date, facts.get("commit_date"), "commit_date"),
            _optional(_flag, facts.get("dirty"), "dirty"),
        ),
        _machine(facts.get("machine"), "machine"),
        {_name(key, "versions"): _text(text, f"versions.{key}") for key, text in versions.items()},
        _count(facts.get("rounds"), "rounds"),
        _positive(facts.get("budget_s"), "budget_s"),
        _flag(facts.get("quick", False), "quick"),
        {_name(key, "workloads"): _figures(row, key) for key, row in workloads.items()},
        _optional(_positive, facts.get("copy_us"), "copy_us"),
        _text(facts.get("note", ""), "note"),
    )
