"""Tensors whose data instructions read that are no calls: masks, indices, texts, unpacking.

Invariant: such a read is seen by Python, so recordings that agree prove nothing about it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from frozen import frozen

import hybrid as hb

pytestmark = pytest.mark.filterwarnings("ignore::hybrid.trace.serve.told.reports.RunsEagerly")
TABLE = [1.5, 2.5, 3.5, 4.5]


def masked(x: Any) -> Any:
    """A mask among indices."""
    return x + x[x > 0].sum()


def masked_store(x: Any) -> Any:
    """A mask where something is stored."""
    y = x * 1
    y[x > 0] = hb.arange(int((x > 0).sum()), dtype=hb.float32)
    return y


def masked_change(x: Any) -> Any:
    """A mask of an augmented assignment."""
    y = x * 1
    y[x > 0] *= 2.0
    return y


def index_of_list(x: Any) -> Any:
    """A tensor as the index of a list."""
    return x * TABLE[hb.argmax(x)]


def slice_of_list(x: Any) -> Any:
    """A tensor as a bound."""
    return x * len(TABLE[: hb.argmax(x)])


def repeated_list(x: Any) -> Any:
    """A list as long as a tensor says."""
    return x * len([1] * hb.argmax(x))


def text(x: Any) -> Any:
    """The text of a tensor."""
    return x * len(f"{hb.argmax(x) * 9}")


def within(x: Any) -> Any:
    """A tensor among numbers."""
    return x + (hb.argmax(x) in (0, 1))


@pytest.mark.parametrize("same", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "step",
    [
        *(masked, masked_store, masked_change, index_of_list, slice_of_list),
        *(repeated_list, text, within),
    ],
)
def test_reads_by_instructions(step: Callable[[Any], Any], same: int) -> None:
    traced = hb.function(step, wait=True)
    for turn in [5] * same + list(range(8)):
        given = hb.tensor(np.sin(np.arange(4) * 1.7 + turn).astype("f4"))
        assert frozen(traced(given)) == frozen(step(given)), turn
