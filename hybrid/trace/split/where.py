"""Where to cut a function at whose instructions calls of it were refused.

Invariant: what is given are legal cuts; which ones decides how fast the function is, never what it
does.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import CodeType

from .cut import legal
from .flow import NoCut, Shape

__all__ = ["cuts_for"]

LOADS = ("LOAD_FAST", "LOAD_DEREF", "LOAD_GLOBAL")
FAR = 48  # instructions from a site to the nearest legal place


def cuts_for(code: CodeType, sites: Mapping[int, str]) -> frozenset[int]:
    """Cuts behind the reads among the sites, and around other refused ones, up to where operations
    run; where there are cuts inside of a loop, also around what takes its next item."""
    try:
        shape = Shape(code)
    except NoCut:
        return frozenset()
    fits, cuts = legal(code), set[int]()
    running = sorted([at for at, kind in sites.items() if kind == "operation"])

    def nearest(places: list[int]) -> set[int]:
        return {*[k for k in places[:FAR] if fits(k)][:1]}

    for at in sorted(sites):
        place = shape.offsets.index(at)
        behind = shape.offsets[place + 1 :]
        if sites[at] == "read":
            cuts |= nearest(behind)
        elif sites[at] == "call":
            start = max([k for k in cuts if k <= at], default=0)
            if any(start <= k < at for k in running):
                cuts |= nearest(shape.offsets[: place + 1][::-1])
            later = [k for k in running if k > at]
            until = [k for k in behind if k <= later[0]][::-1] if later else []
            cuts |= nearest(until) or nearest(behind)
    for at in {method for k in cuts for method in shape.methods.get(k, ())}:
        # no replay gives a method that waits for its call: look it up apart
        cuts |= nearest([shape.following[at]])
        before = shape.before[at]
        loaded = shape.instructions[before].opname in LOADS
        if any(max([k for k in cuts if k <= at], default=0) <= k < at for k in running):
            cuts |= nearest([before] if loaded else [at])
    for at, instruction in shape.instructions.items():
        if instruction.opname == "FOR_ITER" and at in shape.depths:
            body, out = shape.following[at], instruction.argval
            deep = shape.depths[at]
            inside = [k for k in cuts if body < k < out and shape.depths[k] >= deep]
            if inside and at not in cuts:
                cuts.update([k for k in (at, body, out) if fits(k)])
    return frozenset(cuts)
