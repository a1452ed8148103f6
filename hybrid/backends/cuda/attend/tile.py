"""The sizes that attention on a card is cut into: rows, columns and chunks of a block of threads.

A block is 128 threads: four warps as 2 x 2, each of 4 x 8 lanes.  Invariant: sizes decide where a
value is computed, never in which order it is summed; a warp's rows lie in one tile of ir/attend.py.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ....core import dtypes as dt
from ....ir.attend import BLOCK
from ....ir.scalar.program import ScalarType

__all__ = [
    "THREADS",
    "LANE_ROWS",
    "LANE_COLUMNS",
    "WARPS",
    "WIDE",
    "Element",
    "AttendTiling",
    "Area",
]

THREADS = 128
LANE_ROWS, LANE_COLUMNS = 4, 8
WARPS = 2  # along rows, and along columns
WIDE = 16  # bytes of the widest access
VALUES = 8192  # bytes of a chunk of values
COLUMNS = 64  # of values, of one block of threads


class Element(NamedTuple):
    """A floating type: its name in programs, in LLVM, and its bytes."""

    name: ScalarType
    scalar: str
    size: int

    @staticmethod
    def of(dtype: np.dtype) -> Element:
        return Element("f32", "float", 4) if dtype is dt.float32 else Element("f64", "double", 8)

    @property
    def wide(self) -> int:
        """Elements of the widest access."""
        return WIDE // self.size

    @property
    def vector(self) -> str:
        return f"<{self.wide} x {self.scalar}>"


class AttendTiling(NamedTuple):
    """What a thread holds: `rows` of a tile of products, `pairs` columns of a tile of scores; and
    how many bytes of features a product takes at a time, and of values; `keys`: the most that a
    block of 256 keys has."""

    element: Element
    rows: int
    pairs: int
    chunk: int
    values: int = VALUES
    keys: int = BLOCK

    @property
    def block_rows(self) -> int:
        return WARPS * self.warp_rows

    @property
    def warp_rows(self) -> int:
        return LANE_ROWS * self.rows

    @property
    def block_pairs(self) -> int:
        return WARPS * LANE_COLUMNS * self.pairs

    @property
    def features(self) -> int:
        """Features of one chunk of a product."""
        return self.chunk // self.element.size

    @property
    def value_rows(self) -> int:
        """Rows of one chunk of values."""
        return self.values // (COLUMNS * self.element.size)

    @property
    def columns(self) -> int:
        """Columns of values that a thread holds."""
        return COLUMNS // (WARPS * LANE_COLUMNS)


class Area(NamedTuple):
    """Rows in shared memory: where the first starts and how far they are apart, in bytes, how many
    there are and how many elements of one are filled."""

    start: int
    stride: int
    rows: int
    columns: int

    @property
    def stop(self) -> int:
        return self.start + self.stride * self.rows
