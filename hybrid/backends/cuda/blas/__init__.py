"""Products on tensor cores: GemmKernel -> a call of NVIDIA's library, with copies before and the
epilogue after where they are needed.

Invariant: which products go to the library, and by which algorithm, depends on sizes and dtypes
(problem.py); an epilogue runs over the rounded sum, as it does when ops are called one by one.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import NamedTuple

from ....core.shapes import contiguous_strides
from ...plan import Access, Dims, GemmKernel, Kernel, Operand
from .. import emit
from ..function import Addresses, Card, GpuFunction, LibraryCall
from .library import Call, Library, OperandAddresses, library
from .problem import ALIGNMENT, MatrixLayout, Problem, alignment, is_for_library, tight
from .rest import copy_kernel, epilogue_kernel, stores_sum

__all__ = ["generate", "takes"]

PAGE = 256  # bytes that parts of the workspace start at a multiple of
Step = GpuFunction | LibraryCall


class _Spot(NamedTuple):
    """Where an operand of the library starts: bytes into a slot."""

    slot: int
    offset: int


class _Matrix(NamedTuple):
    """A factor or the result: indices of a line, of its elements, and whether they are swapped."""

    operand: Operand
    outer: Dims
    inner: Dims
    turned: bool

    @staticmethod
    def of(operand: Operand) -> _Matrix:
        outer, inner = operand.rows, operand.cols
        turned = _last(inner) != 1 and _last(outer) == 1
        return _Matrix(operand, outer, inner, turned)

    def layout(self, least: int) -> MatrixLayout | None:
        """How it lies, if the library can walk that; `least`: what lines must be aligned to."""
        lines, elements = self.outer, self.inner
        if self.turned:
            lines, elements = elements, lines
        line, batch = _one(lines), _one(self.operand.batch)
        if _one(elements) != 1 or line is None or batch is None or batch < 0:
            return None
        found, itemsize = MatrixLayout(line, batch), self.operand.dtype.itemsize
        whole = self.operand.offset * itemsize % least == 0
        fits = line >= elements.size and whole and alignment(found, itemsize) % least == 0
        return found if fits else None


def _last(dims: Dims) -> int:
    return dims.strides[-1] if dims.strides else 0


def _one(dims: Dims) -> int | None:
    """The one stride of an index, if it has one; 0 for an index of one value."""
    axes = [pair for pair in zip(dims.sizes, dims.strides) if pair[0] != 1]
    for (_, stride), (size, inner) in zip(axes, axes[1:]):
        if stride != size * inner:
            return None
    return axes[-1][1] if axes else 0


class _Plan:
    """The steps of one product while they are put together."""

    def __init__(
        self,
        kernel: GemmKernel,
        card: Card,
        temp_slot: int,
        guarded: bool,
        moving: Collection[int],
    ) -> None:
        self.kernel, self.card, self.temp_slot, self.guarded = kernel, card, temp_slot, guarded
        self.moving = moving
        self.left, self.right = _Matrix.of(kernel.a), _Matrix.of(kernel.b)
        self.problem = Problem(
            kernel.a.dtype,
            kernel.batch,
            kernel.m,
            kernel.n,
            kernel.k,
            self.left.turned,
            self.right.turned,
            kernel.biased,
        )
        self.before: list[Step] = []
        self.after: list[Step] = []
        self.temp = 0

    def steps(self, used: Library) -> list[Step] | None:
        """The steps, or None where the library does not know how."""
        algorithm = used.algorithm(self.problem)
        if algorithm is None:
            return None
        gaps = tight(self.problem)
        itemsize = self.kernel.a.dtype.itemsize
        least = [alignment(layout, itemsize) for layout in gaps]
        out = _Matrix.of(self.kernel.outs[0])
        layouts = [self._layout(m, x) for m, x in zip((self.left, self.right), least)]
        direct = stores_sum(self.kernel) and not self.guarded and not out.turned
        layouts.append(self._layout(out, least[2]) if direct else None)
        wanted = tuple([given or gap for given, gap in zip(layouts, gaps)])
        call = used.call(self.problem, algorithm, (wanted[0], wanted[1], wanted[2]))
        if call is None and any(layouts):
            layouts, call = [None] * 3, used.call(self.problem, algorithm, gaps)
        if call is None:
            return None
        workspace = _Spot(self.temp_slot, self._take(algorithm.workspace))
        spots = [
            self._spot(matrix) if layout else self._copied(matrix)
            for matrix, layout in zip((self.left, self.right), layouts)
        ]
        spots.append(self._bias())
        spots.append(self._spot(out) if layouts[2] else self._rest())
        spots.append(workspace)
        slots = tuple(dict.fromkeys(spot.slot for spot in spots if spot.slot >= 0))
        aligned = tuple([slot for slot in slots if slot != self.temp_slot])
        run = partial(_run, call, tuple(spots))
        step = LibraryCall("matmul", run, slots, aligned, self.temp)
        return [*self.before, step, *self.after]

    def _layout(self, matrix: _Matrix, least: int) -> MatrixLayout | None:
        """How an operand lies that the library may walk where it is."""
        return None if matrix.operand.slot in self.moving else matrix.layout(least)

    def _take(self, nbytes: int) -> int:
        """Bytes of the workspace slot."""
        start = self.temp
        self.temp += -(-nbytes // PAGE) * PAGE
        return start

    def _spot(self, matrix: _Matrix) -> _Spot:
        operand = matrix.operand
        return _Spot(operand.slot, operand.offset * operand.dtype.itemsize)

    def _copied(self, matrix: _Matrix) -> _Spot:
        """The operand without gaps, in the order it has."""
        operand, outer, inner = matrix.operand, matrix.outer, matrix.inner
        sizes = operand.batch.sizes, outer.sizes, inner.sizes
        shape = sizes[0] + sizes[1] + sizes[2]
        strides = operand.batch.strides + outer.strides + inner.strides
        written = contiguous_strides(shape)
        if matrix.turned:
            first, second = len(sizes[0]), len(sizes[2])
            swapped = contiguous_strides(sizes[0] + sizes[2] + sizes[1])
            written = swapped[:first] + swapped[first + second :] + swapped[first:][:second]
        return self._copy(operand, shape, strides, written)

    def _copy(
        self,
        operand: Operand,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        written: tuple[int, ...],
    ) -> _Spot:
        itemsize, count = operand.dtype.itemsize, 1
        for size in shape:
            count *= size
        start = self._take(count * itemsize)
        target = Access(self.temp_slot, operand.dtype, start // itemsize, written)
        kernel = copy_kernel(operand, shape, strides, target)
        self.before += emit.generate(kernel, self.card, self.temp_slot, self.guarded)
        return _Spot(self.temp_slot, start)

    def _bias(self) -> _Spot:
        """The bias as adjacent elements; slot -2 where there is none."""
        kernel = self.kernel
        if not kernel.biased:
            return _Spot(-2, 0)
        read, columns = kernel.reads[0], kernel.outs[0].cols
        dims = Dims(columns.sizes, read.strides[len(read.strides) - len(columns.sizes) :])
        itemsize = read.dtype.itemsize
        stays = read.slot not in self.moving and read.offset * itemsize % ALIGNMENT == 0
        if _one(dims) == 1 and stays:
            return _Spot(read.slot, read.offset * itemsize)
        none = Dims((), ())
        operand = Operand(read.slot, read.dtype, read.offset, none, none, dims)
        return self._copy(operand, dims.sizes, dims.strides, contiguous_strides(dims.sizes))

    def _rest(self) -> _Spot:
        """The sums in the workspace, and the epilogue that reads them there."""
        kernel, itemsize = self.kernel, self.kernel.a.dtype.itemsize
        start = self._take(kernel.batch * kernel.m * kernel.n * itemsize)
        loop = epilogue_kernel(kernel, self.temp_slot, start // itemsize)
        self.after += emit.generate(loop, self.card, self.temp_slot, self.guarded)
        return _Spot(self.temp_slot, start)


def _run(call: Call, spots: tuple[_Spot, ...], addresses: Addresses, stream: int) -> None:
    operands = [addresses[spot.slot] + spot.offset if spot.slot >= 0 else 0 for spot in spots]
    call(OperandAddresses(*operands), stream)


def takes(kernel: Kernel) -> bool:
    """Whether a kernel goes to a library that is there, if that knows how."""
    return isinstance(kernel, GemmKernel) and is_for_library(kernel) and library() is not None


def generate(
    kernel: GemmKernel,
    card: Card,
    temp_slot: int,
    guarded: bool = False,
    moving: Collection[int] = (),
) -> list[Step] | None:
    """The steps of a product that runs on tensor cores; None for all others, and where the library
    is missing or does not know how.  It touches no slot in `moving`."""
    if not is_for_library(kernel):
        return None
    used = library()
    return None if used is None else _Plan(kernel, card, temp_slot, guarded, moving).steps(used)
