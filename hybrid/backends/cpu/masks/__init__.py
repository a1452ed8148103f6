"""Masks: how many elements are true, where they are, and elements taken or replaced there.

Invariant: inputs and outputs are contiguous, and counts are those of the mask beside them.
"""

from __future__ import annotations

from ....ir.algorithm import TrueCounts, TrueElements, TruePlaces, TrueReplaced
from .elements import replaced, taken
from .places import counts, places

__all__ = ["GENERATE"]

GENERATE = {TrueCounts: counts, TruePlaces: places, TrueElements: taken, TrueReplaced: replaced}
