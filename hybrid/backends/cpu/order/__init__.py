"""Orders, sorted values, elements by their place in the order, and parts around them.

Invariant: inputs and outputs are contiguous; which way is taken changes no bit of a result.
"""

from __future__ import annotations

from ....ir.algorithm import Order, Ranks, Sort, StableParts
from .positions import generate
from .ranks import parted, selected
from .sorts import sorted_values

__all__ = ["GENERATE"]

GENERATE = {Order: generate, Sort: sorted_values, Ranks: selected, StableParts: parted}
