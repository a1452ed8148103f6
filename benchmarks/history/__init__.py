"""The history of the benchmarks: one line per run, and a picture of the ratios over commits.

Invariant: appending keeps every byte that was there; reading trusts none of them.
"""

from .draw import draw
from .entry import Commit, Entry, Figures, Machine, Malformed, dump, figures_of, header, parse
from .facts import commit_of, machine_facts, versions_of
from .store import History, append, read

__all__ = [
    "Commit",
    "Entry",
    "Figures",
    "History",
    "Machine",
    "Malformed",
    "append",
    "commit_of",
    "draw",
    "dump",
    "figures_of",
    "header",
    "machine_facts",
    "parse",
    "read",
    "versions_of",
]
