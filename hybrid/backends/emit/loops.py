"""Loop kernels -> LLVM IR text with the kernel ABI, and the argument words of one kernel.

Invariant: the text depends on the Form only (cached by it); sizes, strides, offsets, slots and
run-time scalars are words.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from ...core.cache import Bounded
from ...core.errors import BackendError
from ...core.shapes import contiguous_strides
from ...ir.scalar.program import ScalarType
from ..generated import Generated
from ..plan import Access, LoopKernel
from .body import WIDTH
from .code import check_externals, finish_module
from .columns import BLOCK as ROW_BLOCK
from .columns import STRIP, cells_per_strip, emit_columns
from .form import Axes, Form, FormKind, OperandForm, Strides, Walk, Words, affine_values
from .lanes import memory_scalar
from .maps import emit_map, unroll_of
from .memory import SIZE
from .programs.analysis import cost, uniform_values
from .rows import BLOCK, emit_rows, row_buffers
from .split_rows import cells_per_row, emit_join, emit_part, pass_forms
from .tiles import BLOCK_ALONG, BLOCK_DOWN, emit_tiled

__all__ = ["Layout", "generate", "generate_all", "lay_out", "SIGNATURE"]

SIGNATURE = "define i64 @NAME(ptr %bufs, ptr %args, i64 %begin, i64 %end, ptr %scratch)"
# Sizes at which another way of walking begins to pay; results do not depend on them.
_BLOCK = 1024  # elements of a row per item of a map kernel
_STREAM = 1 << 24  # bytes of a result from which on it is stored past the caches
_TILE = 8  # axes at least this long are worth tiles
_LONG, _FEW = 32768, 32  # rows at least this long, and at most so many, are cut into blocks
# columns at least this deep, in at most so many strips, are cut into blocks
_DEEP, _NARROW = (2048, 4)
_BUFFERED = 65536  # rows up to this length may keep intermediate values in scratch


_EMIT = {
    FormKind.MAP: emit_map,
    FormKind.TILED: emit_tiled,
    FormKind.ROW: emit_rows,
    FormKind.COLUMN: emit_columns,
    FormKind.ROW_PART: emit_part,
    FormKind.ROW_JOIN: emit_join,
    FormKind.STRIP_PART: emit_columns,
    FormKind.STRIP_JOIN: emit_columns,
}


class Layout(NamedTuple):
    """A kernel's form and numbers, without code."""

    form: Form
    words: tuple[int, ...]
    items: int
    grain: int
    scratch: int = 0


_TEXTS = Bounded[tuple[str, str]](4096, 16 << 20, lambda made: len(made[0]))


def text_of(form: Form) -> tuple[str, str]:
    """(module text, symbol) of a form."""
    return _TEXTS.of(form, lambda: _text(form))


def _text(form: Form) -> tuple[str, str]:
    code = _EMIT[form.kind](form)
    text, symbol = finish_module(code, SIGNATURE, form.kind)
    check_externals(text)
    return text, symbol


def _grain(work: int, elements: int) -> int:
    """Items per chunk: some ten microseconds of work."""
    return max(1, 262144 // max(1, elements * (4 + work)))


def _memory(kernel: LoopKernel) -> tuple[list[int], list[ScalarType]]:
    """Element sizes and program types of reads then writes, checked against the accesses."""
    outs = () if kernel.check else kernel.program.outs
    types = [*kernel.program.args, *(kernel.program.instrs[o].type for o in outs)]
    operands = (*kernel.reads, *kernel.writes)
    if len(types) != len(operands):
        raise BackendError(f"kernel has {len(operands)} operands, its program {len(types)}")
    sizes = [SIZE[memory_scalar(t)] for t in types]
    for access, size, scalar_type in zip(operands, sizes, types):
        if access.dtype.itemsize != size:
            raise BackendError(
                f"operand of dtype {access.dtype.name} does not hold program type {scalar_type}"
            )
    return sizes, types


def _base_words(
    operands: tuple[Access, ...], sizes: list[int], params: tuple[int, ...]
) -> list[int]:
    words: list[int] = []
    for access, size in zip(operands, sizes):
        words += (access.slot, access.offset * size)
    return words + list(params)


def _stride_words(strides: list[Strides], sizes: list[int]) -> list[int]:
    """Strides of operands in bytes, then those of affine values."""
    units = [*sizes, *[1] * (len(strides) - len(sizes))]
    return [stride * unit for line, unit in zip(strides, units) for stride in line]


def _walk_strides(operands: tuple[Access, ...], rank: int) -> list[Strides]:
    return [(0,) * rank if a.gather else tuple(a.strides) for a in operands]


def _every_other(walks: list[Walk], along: Sequence[int], reads: int) -> list[Walk]:
    """With operands of stride 2 along the inner axis by name."""
    named = zip(walks[:reads], along)
    return [Walk.EVERY_OTHER if s == 2 else w for w, s in named] + walks[reads:]


def _inner_walks(
    operands: tuple[Access, ...], strides: list[Strides], reads: int = 0
) -> list[Walk]:
    """Of operands, then of affine values, along the last axis; a stride of 2 of the first `reads`
    has a name of its own."""
    walks = [Walk.of(s[-1]) for s in strides]
    for number, operand in enumerate(operands):
        walks[number] = Walk.GATHERED if operand.gather else walks[number]
    return _every_other(walks, [line[-1] for line in strides], reads)


def _affine_forms(
    attrs: list[int | None], walks: list[Walk], outer: Sequence[Strides]
) -> tuple[tuple[int | None, Walk], ...]:
    """Affine values by how they lie along a row and along the outer axes."""
    counted = [w is Walk.ADJACENT and not any(line) for w, line in zip(walks, outer)]
    return tuple(
        (attr, Walk.COUNTED if c else walk) for attr, walk, c in zip(attrs, walks, counted)
    )


def _line_walk(strides: Strides) -> Walk:
    """Along a row whose axes are merged as far as one operand allows."""
    if not strides:
        return Walk.ADJACENT
    return Walk.AXES if len(strides) > 1 else Walk.of(strides[0])


def _unsigned(words: list[int]) -> tuple[int, ...]:
    return tuple(w & 0xFFFFFFFFFFFFFFFF for w in words)


def _map_kernel(kernel: LoopKernel, plain: bool) -> Layout:
    program, operands = kernel.program, (*kernel.reads, *kernel.writes)
    (sizes, types), count = _memory(kernel), len(operands)
    attrs, affine = affine_values(program, kernel.shape)
    if kernel.check:
        # a failed check reports the linear index: one more affine value, the last
        attrs, affine = [*attrs, None], [*affine, contiguous_strides(kernel.shape)]
    walks = [*_walk_strides(operands, len(kernel.shape)), *affine]
    lead = len(kernel.reads) if kernel.writes else None
    dims, strides = Axes.of(kernel.shape, walks, lead)
    if not dims:
        dims, strides = (1,), [(1,)] * len(walks)
    crossing = None if plain else _crossing_axis(kernel, dims, strides)
    if crossing is not None and dims[-1] >= _TILE:
        return _tiled_kernel(kernel, Axes(dims, strides).last(crossing), attrs)
    if crossing is not None and dims[crossing] > 4 * dims[-1]:
        # a short inner axis that some operand strides over: walk the other axis, and stride over
        # the results
        dims, strides = Axes(dims, strides).last(crossing).swapped()
    length, outer = dims[-1], dims[:-1]
    rows = prod(outer)
    inner = _inner_walks(operands, strides, len(kernel.reads))
    inner = inner if plain else _woven(kernel, strides, inner)
    forms = [OperandForm(t, i) for t, i in zip(types, inner)]
    form = Form(
        FormKind.MAP,
        program,
        *_split_forms(forms, len(kernel.reads)),
        _affine_forms(attrs, inner[count:], [line[:-1] for line in strides[count:]]),
        len(outer),
        check=kernel.check,
    )
    form = form if plain else _shortened(_streamed(kernel, form), length, rows)
    block = _BLOCK if length > 2 * _BLOCK else max(length, 1)
    blocks = -(-length // block)
    words = _base_words(operands, sizes, kernel.params) + [*outer, length, block, blocks or 1]
    words += _stride_words(strides, sizes)
    work = cost(program, range(len(program.instrs)))
    return Layout(form, _unsigned(words), rows * blocks, _grain(work, block))


def _woven(kernel: LoopKernel, strides: list[Strides], walks: list[Walk]) -> list[Walk]:
    """With results by name that fill each other's gaps."""
    walks = list(walks)
    for number, (left, right) in enumerate(
        zip(kernel.writes, kernel.writes[1:]), len(kernel.reads)
    ):
        here = (left.slot, left.dtype, left.offset + 1, strides[number])
        beside = here == (right.slot, right.dtype, right.offset, strides[number + 1])
        if beside and strides[number][-1] == 2 and walks[number] is Walk.STRIDED:
            walks[number : number + 2] = Walk.EVEN, Walk.ODD
    return walks


def _streamed(kernel: LoopKernel, form: Form) -> Form:
    """With results marked that would only flush the caches; not what overwrites an operand."""
    size, reads = prod(kernel.shape), {a.slot for a in kernel.reads}
    large = [
        w.walk is Walk.ADJACENT and size * a.dtype.itemsize >= _STREAM and a.slot not in reads
        for w, a in zip(form.writes, kernel.writes)
    ]
    return form._replace(writes=tuple(w._replace(stream=x) for w, x in zip(form.writes, large)))


def _shortened(form: Form, length: int, rows: int) -> Form:
    """A map of many rows of a few vectors: as many as a turn of the usual loop would have."""
    vectors = max(1, -(-length // WIDTH))
    numbers = range(len(form.program.instrs))
    most = max(1, unroll_of(form.program, numbers, Walk.STRIDED in form.walks))
    if rows < 2 or vectors > (1 if any(w.stream for w in form.writes) else most):
        return form
    return form._replace(short=vectors, whole=length % WIDTH == 0)


def _crossing_axis(kernel: LoopKernel, dims: tuple[int, ...], strides: list[Strides]) -> int | None:
    """The outer axis along which an operand is adjacent that is not so along the inner axis."""
    if len(dims) < 2 or kernel.check:
        return None
    for number, access in enumerate(kernel.reads):
        if not access.gather and abs(strides[number][-1]) > 1:
            for axis in range(len(dims) - 1):
                if strides[number][axis] == 1 and dims[axis] >= _TILE:
                    return axis
    return None


def _tiled_kernel(kernel: LoopKernel, axes: Axes, attrs: list[int | None]) -> Layout:
    """A map kernel whose last two axes are walked in tiles."""
    operands, (dims, strides) = (*kernel.reads, *kernel.writes), axes
    sizes, types = _memory(kernel)
    walks = _inner_walks(operands, strides)
    for number, line in enumerate(strides[: len(kernel.reads)]):
        if line[-2] == 1 and abs(line[-1]) > 1:
            walks[number] = Walk.TURNED
    reads, writes = _split_forms(
        [OperandForm(t, x) for t, x in zip(types, walks)], len(kernel.reads)
    )
    form = Form(
        FormKind.TILED,
        kernel.program,
        reads,
        writes,
        tuple(zip(attrs, walks[len(operands) :])),
        len(dims) - 1,
    )
    blocks = -(-dims[-1] // BLOCK_ALONG)
    words = _base_words(operands, sizes, kernel.params) + [*dims, BLOCK_ALONG, blocks]
    words += _stride_words(strides, sizes)
    items = prod(dims[:-2]) * -(-dims[-2] // BLOCK_DOWN) * blocks
    work = cost(kernel.program, range(len(kernel.program.instrs)))
    return Layout(form, _unsigned(words), items, _grain(work, BLOCK_ALONG * BLOCK_DOWN))


def _split_forms(
    forms: list[OperandForm], reads: int
) -> tuple[tuple[OperandForm, ...], tuple[OperandForm, ...]]:
    return tuple(forms[:reads]), tuple(forms[reads:])


def _row_kernel(kernel: LoopKernel, start: int, plain: bool) -> Layout:
    """Rows along the last axes; the order inside a row is row-major whatever the strides are."""
    program, operands = kernel.program, (*kernel.reads, *kernel.writes)
    (sizes, types), count = _memory(kernel), len(operands)
    attrs, affine = affine_values(program, kernel.shape)
    walks = [*_walk_strides(operands, len(kernel.shape)), *affine]
    outside = [w[:start] for w in walks]
    outer, outer_strides = Axes.of(kernel.shape[:start], outside, len(kernel.reads))
    row_shape, inside = kernel.shape[start:], [w[start:] for w in walks]
    length = prod(row_shape)
    lines = [Axes.of(row_shape, [w]).strides[0] for w in inside]
    inner = [line[0] if len(line) == 1 else 0 for line in lines]
    kinds, mixed = _row_walks(operands, row_shape, inside, lines)
    kinds = _every_other(kinds, inner, len(kernel.reads))
    several = [k for k, kind in enumerate(kinds) if kind.several_axes]
    buffered = length <= _BUFFERED and not plain
    if buffered and length > WIDTH:
        kinds[:count] = [Walk.COPIED if k is Walk.RUNS else k for k in kinds[:count]]
    forms = [OperandForm(t, k) for t, k in zip(types, kinds)]
    form = Form(
        FormKind.ROW,
        program,
        *_split_forms(forms, len(kernel.reads)),
        _affine_forms(attrs, kinds[count:], outer_strides[count:]),
        len(outer),
        multi=len(mixed.shape) if mixed.strides else 0,
        short=int(length <= WIDTH and not plain),
        buffered=buffered,
    )
    form = form._replace(writes=_row_writes(kernel, form, start))
    form = form if plain else _streamed(kernel, form)
    words = _base_words(operands, sizes, kernel.params) + [*outer, length, length, 1]
    words += _stride_words([(*s, x) for s, x in zip(outer_strides, inner)], sizes)
    if form.multi:
        merged = dict(zip(several, mixed.strides))
        words += mixed.shape
        words += _stride_words([merged.get(k, (0,) * form.multi) for k in range(len(walks))], sizes)
    offsets, scratch = _row_buffers(form, length)
    work = cost(program, range(len(program.instrs)))
    return Layout(form, _unsigned(words + offsets), prod(outer), _grain(work, length), scratch)


def _row_walks(
    operands: tuple[Access, ...], shape: Strides, inside: list[Strides], lines: list[Strides]
) -> tuple[list[Walk], Axes]:
    """How operands and affine values lie along a row, and the axes of those that need several."""
    kinds = [_line_walk(line) for line in lines]
    for number, operand in enumerate(operands):
        kinds[number] = Walk.GATHERED if operand.gather else kinds[number]
    mixed = Axes.of(shape, [w for w, k in zip(inside, kinds) if k is Walk.AXES])
    runs = iter(mixed.strides)
    return [Walk.RUNS if k is Walk.AXES and next(runs)[-1] == 1 else k for k in kinds], mixed


def _row_buffers(form: Form, length: int) -> tuple[list[int], int]:
    """Offsets of the row buffers in scratch, and its bytes: a tail may be written whole."""
    offsets, scratch = [], 0
    for scalar_type in row_buffers(form):
        offsets.append(scratch)
        scratch += -(-length * SIZE[memory_scalar(scalar_type)] // 64) * 64 + 512
    return offsets, scratch


def _row_writes(kernel: LoopKernel, form: Form, start: int) -> tuple[OperandForm, ...]:
    """How results are stored: once per row or per element (late if memory is an operand's)."""
    uniform, slots = uniform_values(form), {a.slot for a in kernel.reads}
    single = prod(kernel.shape[start:]) == 1
    writes = []
    for write, access, result in zip(form.writes, kernel.writes, kernel.program.outs):
        if uniform[result] and (
            single or write.walk is Walk.SAME or not any(access.strides[start:])
        ):
            write = write._replace(walk=Walk.ONCE)
        elif write.walk is Walk.SAME and not prod(kernel.shape):
            write = write._replace(
                walk=Walk.ADJACENT
            )  # never stored; strides of empty arrays mean nothing
        elif write.walk is Walk.SAME:
            raise BackendError("a value of every element is written to one element per row")
        writes.append(write._replace(late=access.slot in slots))
    return tuple(writes)


def _column_kernel(kernel: LoopKernel, start: int, stop: int) -> Layout:
    """Reductions along axes start..stop; the other axes, in any order, are the columns."""
    program, operands = kernel.program, (*kernel.reads, *kernel.writes)
    sizes, types = _memory(kernel)
    shape = kernel.shape
    attrs, affine = affine_values(program, shape)
    walks = [*_walk_strides(operands, len(shape)), *affine]
    lead = next((k for k, a in enumerate(kernel.reads) if any(a.strides)), len(kernel.reads))
    dims, strides = Axes.of(
        shape[:start] + shape[stop:], [w[:start] + w[stop:] for w in walks], lead
    )
    if not dims:
        dims, strides = (1,), [(1,)] * len(walks)
    group, along = Axes.of(shape[start:stop], [w[start:stop] for w in walks])
    if not group:
        group, along = (1,), [(0,)] * len(walks)
    length, outer = dims[-1], dims[:-1]
    kinds = _inner_walks(operands, strides, len(kernel.reads))
    reads, writes = _split_forms(
        [OperandForm(t, k) for t, k in zip(types, kinds)], len(kernel.reads)
    )
    form = Form(
        FormKind.COLUMN,
        program,
        reads,
        writes,
        tuple(zip(attrs, kinds[len(operands) :])),
        len(outer),
        group=len(group),
    )
    strips = -(-length // STRIP)
    words = _base_words(operands, sizes, kernel.params) + [*outer, length, STRIP, strips]
    for number, (line, group_line) in enumerate(zip(strides, along)):
        size = sizes[number] if number < len(operands) else 1
        words += [x * size for x in (*line[:-1], *group_line, line[-1])]
    words += group
    work = cost(program, range(len(program.instrs)))
    return Layout(
        form, _unsigned(words), prod(outer) * strips, _grain(work, prod(group) * min(length, STRIP))
    )


def lay_out(kernel: LoopKernel, plain: bool = False) -> Layout:
    """Form and numbers of a kernel; `plain` leaves out what only a CPU wants, such as tiles."""
    if kernel.group is None:
        return _map_kernel(kernel, plain)
    start, stop = kernel.group
    if kernel.check:
        raise BackendError("a check kernel has no reduction")
    if stop == len(kernel.shape):
        return _row_kernel(kernel, start, plain)
    return _column_kernel(kernel, start, stop)


def generate(kernel: LoopKernel) -> Generated:
    """Code and argument words of a loop kernel."""
    made = lay_out(kernel)
    text, symbol = text_of(made.form)
    return Generated(text, symbol, made.words, made.items, made.grain, made.scratch)


def generate_all(kernel: LoopKernel, temp_slot: int) -> list[Generated]:
    """Functions that together are the kernel, to run in order; workspace is slot `temp_slot`.

    Few long rows, and long narrow columns, are cut into the blocks of their sums, so that all
    threads take part."""
    if kernel.group is None:
        return [generate(kernel)]
    start, stop = kernel.group
    length = prod(kernel.shape[start:stop])
    if stop == len(kernel.shape):
        rows = prod(kernel.shape[:start])
        return (
            _long_rows(kernel, length, rows, temp_slot)
            if length >= _LONG and 0 < rows <= _FEW
            else [generate(kernel)]
        )
    return _long_columns(kernel, length, temp_slot) if length >= _DEEP else [generate(kernel)]


def _long_rows(kernel: LoopKernel, length: int, rows: int, temp_slot: int) -> list[Generated]:
    made = lay_out(kernel, plain=True)
    forms = pass_forms(made.form)
    if not forms:
        return [generate(kernel)]
    blocks = -(-length // BLOCK)
    cells = cells_per_row(made.form, blocks)
    words = list(made.words)
    words[Words(made.form).n + 2] = blocks
    generated = []
    for form in forms:
        text, symbol = text_of(form)
        items, grain = (rows * blocks, 4) if form.kind is FormKind.ROW_PART else (rows, 1)
        generated.append(
            Generated(text, symbol, (*words, temp_slot, cells), items, grain, 0, rows * cells * 8)
        )
    return generated


def _long_columns(kernel: LoopKernel, length: int, temp_slot: int) -> list[Generated]:
    made = lay_out(kernel)
    if not 0 < made.items <= _NARROW:
        return [generate(kernel)]
    blocks = -(-length // ROW_BLOCK)
    words = (*made.words, temp_slot, blocks)
    temp = made.items * blocks * cells_per_strip(made.form) * 8
    generated = []
    for kind, items in (
        (FormKind.STRIP_PART, made.items * blocks),
        (FormKind.STRIP_JOIN, made.items),
    ):
        form = made.form._replace(kind=kind)
        text, symbol = text_of(form)
        generated.append(Generated(text, symbol, words, items, 1, 0, temp))
    return generated
