"""Schedules of a tiled product: which outputs and which part of k a block of threads takes.

Invariant: everything here divides evenly (`check` says so), and nothing here can change a bit of a
result: every output is its own chain, in blocks of 256 k.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from .forms import Accumulator, GemmOperand, Spacing, WalkForm

__all__ = [
    "ALONG_DEEP_K",
    "ALONG_K",
    "BLOCK",
    "SWAPPED",
    "LoadForm",
    "Tile",
    "Visit",
    "is_deep",
    "load_form",
]

BLOCK = 256  # k per block: part of the numerics contract
# Threads along k where a factor is turned; more where the second half of them puts pairs of lines
# into the place of the next pair (SWAPPED), which keeps banks apart and touches half the lines.
ALONG_K, ALONG_DEEP_K, SWAPPED = 8, 16, 2


class Tile(NamedTuple):
    """`rows` x `cols` outputs of a block of threads, in steps of `depth` k.

    A thread has `thread_rows` x `thread_cols` outputs in chunks of at most 16 bytes; `lanes_down`
    threads of a warp lie along the rows.  Factors arrive in `stages` buffers; `resident` blocks are
    to fit a multiprocessor."""

    name: str
    rows: int
    cols: int
    depth: int
    thread_rows: int
    thread_cols: int
    lanes_down: int
    stages: int
    resident: int = 1

    @property
    def lanes_across(self) -> int:
        return 32 // self.lanes_down

    @property
    def warps_across(self) -> int:
        return self.cols // (self.lanes_across * self.thread_cols)

    @property
    def warps(self) -> int:
        return self.rows // (self.lanes_down * self.thread_rows) * self.warps_across

    @property
    def threads(self) -> int:
        return 32 * self.warps

    @property
    def steps(self) -> int:
        """Steps in a block of k."""
        return BLOCK // self.depth


class LoadForm(NamedTuple):
    """How a factor comes into shared memory: threads side by side `along` its lines (m or n) or
    along k, `vector` elements at once, directly (`direct`) or widened on the way.  `far`: lines lie
    4 GB apart or more, or backwards."""

    operand: GemmOperand
    lines: WalkForm
    k: WalkForm
    along: Literal["lines", "k"]
    vector: int
    direct: bool
    far: bool

    @property
    def name(self) -> str:
        return self.operand.name

    @property
    def parts(self) -> tuple[str, str]:
        """Names of the walks over lines and over k."""
        return ("a.rows", "a.cols") if self.operand.is_left else ("b.cols", "b.rows")

    @property
    def tabled(self) -> bool:
        """Whether the offset of a k is looked up: it takes divisions."""
        return self.k.rank > 1

    def pitch(self, lines: int, element: Accumulator) -> int:
        """Elements from k to k in shared memory: turned factors are stored without conflicts."""
        return lines + (16 // element.size if self.along == "k" else 0)


def is_deep(form: LoadForm, tile: Tile, element: Accumulator, outputs: int, ragged: bool) -> bool:
    """Whether 16 threads lie along k; a thread then takes 4 of the lines at a time, and which k it
    is at is known."""
    whole = tile.depth % ALONG_DEEP_K == 0 and tile.threads % (4 * ALONG_DEEP_K) == 0
    return form.along == "k" and element.size == 4 and outputs % 4 == 0 and whole and not ragged


class Visit(NamedTuple):
    """One access of each thread: constants on top of the thread's own k and line."""

    k: int
    line: int


def load_form(
    operand: GemmOperand, element: Accumulator, runs: tuple[int, int], far: bool
) -> LoadForm:
    """The best way to load a factor; `runs` are the lengths of the fastest dimensions of its lines
    and its k."""
    is_left = operand.is_left
    lines, k = (operand.rows, operand.cols) if is_left else (operand.cols, operand.rows)
    vector = operand.row_vector if is_left else operand.col_vector
    direct = _is_direct(operand.dtype, element)
    along: Literal["lines", "k"] = "lines"
    if k.step is Spacing.ADJACENT and (lines.step is not Spacing.ADJACENT or runs[1] > runs[0]):
        along = "k"
    whole = direct and along == "lines" and vector * operand.size == 16
    return LoadForm(operand, lines, k, along, vector if whole else 1, direct, far)


def _is_direct(dtype: str, element: Accumulator) -> bool:
    if element.is_float:
        return dtype == {4: "float32", 8: "float64"}[element.size]
    return dtype in (f"int{8 * element.size}", f"uint{8 * element.size}")
