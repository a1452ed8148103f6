"""What the follower notes of calls of Python's own world in one recorded call.

Invariant: the calls are in program order.
"""

from __future__ import annotations

import collections
from typing import Any, NamedTuple

from ...host.table import CallSite, HostFunction
from ..terms import HostCall, Term

__all__ = ["Hosted", "HostNotes"]


class Hosted(NamedTuple):
    """One such call: what it is for, the function and the object whose method it is (UNKNOWN:
    none), the arguments and the names of the last of them, what stands for its result, where it
    is (code, offset; `site` for people), and how many operations had run."""

    entry: HostFunction
    function: Any
    owner: Any
    arguments: tuple[Term, ...]
    names: tuple[str, ...]
    call: HostCall
    at: tuple[int, int]
    site: CallSite
    ran: int


class HostNotes:
    """`hosted`: the calls; `host_calls`: how often the watch saw such calls, by code and offset;
    `unhosted`: instructions whose calls are not as noted; `texts`: calls that make a text;
    `pure_calls`: those that compute with followed arrays or texts; `states`: of the global
    generators of random numbers, by id; `walks_unknown`: whether a loop goes over an object that
    is not known; `boxes`: lists and dicts that were arguments, and where;
    `drawn`: the random numbers; `calls`: how often calls ran; `touches`: uses of cached functions,
    `caches` these and their dicts by the ids of the dicts, `unkept`: whether one had no result
    yet."""

    def __init__(self) -> None:
        self.hosted: list[Hosted] = []
        self.host_calls: collections.Counter[tuple[int, int]] = collections.Counter()
        self.unhosted: set[tuple[int, int]] = set()
        self.texts: collections.Counter[tuple[int, int]] = collections.Counter()
        self.pure_calls: set[tuple[int, int]] = set()
        self.states: dict[int, Any] = {}
        self.walks_unknown = False
        self.drawn: dict[HostCall, Any] = {}
        self.calls: collections.Counter[tuple[int, int]] = collections.Counter()
        self.touches: list[Hosted] = []
        self.caches: dict[int, tuple[Any, dict[Any, Any]]] = {}
        self.unkept = False
        self.boxes: list[tuple[Any, tuple[int, int]]] = []
