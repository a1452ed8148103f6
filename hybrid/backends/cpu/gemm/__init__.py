"""Matrix products and convolutions for the CPU: GemmKernel -> kernel-ABI functions.

Invariant: `generate` depends on the kernel and the target only, and the bits of a result depend on
the kernel's logical shape and `order` only (docs/architecture.md, Numerics contract).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from ....core.errors import UnsupportedError
from ....core.extents import apart
from ...emit.code import Code
from ...generated import Generated, SlotRef, Template
from ...plan import GemmKernel
from .combine import COMBINE_VECTORS, Sums, combine
from .driver import packed_bytes, write_packing, write_product
from .epilogue import finish_of
from .finish import finish_functions
from .geometry import Geometry, Target, choose, host_target, with_batch_in_columns
from .levels import Product
from .micro import ELEMENTS, PackedElement, micro_kernel
from .pack import TRANSPOSE, transpose_function
from .vectors import FINISHED, SweepShape, dot_shape, sweep_shape, write_dots, write_sweep
from .words import GemmWords

__all__ = [
    "Generated",
    "Target",
    "element_of",
    "generate",
    "host_target",
    "over_slots",
    "product",
    "templates",
]

ABI = "define i64 @NAME(ptr %bufs, ptr %args, i64 %begin, i64 %end, ptr %scratch)"
ATTRIBUTES = 'nounwind "prefer-vector-width"="512" "min-legal-vector-width"="512"'


def element_of(acc: np.dtype) -> PackedElement:
    """Accumulator type of a dtype; unsigned integers wrap like signed ones."""
    name = {
        "uint32": "i32",
        "uint64": "i64",
        "int32": "i32",
        "int64": "i64",
        "float32": "f32",
        "float64": "f64",
    }.get(acc.name)
    if name is None:
        raise UnsupportedError(
            f"products cannot accumulate in {acc.name}; use float32, float64, int32 or int64"
        )
    return ELEMENTS[name]


def module(functions: list[tuple[str, Code]], prefix: str) -> tuple[str, str]:
    """(text, symbol) of functions whose names start with @NAME."""
    declared: dict[str, str] = {}
    bodies = []
    for signature, code in functions:
        declared.update(code.declared)
        bodies += [f"{signature} {ATTRIBUTES} {{", "entry:", *code.entry, *code.lines, "}", ""]
    text = "\n".join(sorted(declared.values()) + bodies)
    symbol = f"{prefix}_{hashlib.blake2b(text.encode(), digest_size=10).hexdigest()}"
    return text.replace("@NAME", f"@{symbol}"), symbol


@apart
def _grain(cost: float, items: int) -> int:
    """Items per chunk: about four microseconds of work."""
    return max(1, int(16000 * items / max(cost, 1.0)))


def _combined(
    kernel: GemmKernel, first: Template, swapped: bool, blocks: int, element: PackedElement
) -> list[Template]:
    """A kernel that leaves block sums in the workspace, and the one that adds them."""
    words = GemmWords()
    lines, columns = (kernel.n, kernel.m) if swapped else (kernel.m, kernel.n)
    sums = Sums(element, blocks, kernel.batch, lines, columns)
    finish = finish_of(kernel, swapped, COMBINE_VECTORS, element, columns % 16 == 0)
    functions = [(ABI, combine(finish, words, sums)), *finish_functions(finish, words)]
    if finish.transposed:
        functions.append((TRANSPOSE, transpose_function(element)))
    text, symbol = module(functions, "gemm_sum")
    temp = sums.blocks * sums.block_bytes + 16 * element.size
    grain = _grain(sums.items * (60.0 + 20 * blocks), sums.items)
    # the finishing transpose reads 16 lines of a tile, of which there is one
    scratch = 256 * COMBINE_VECTORS * element.size
    second = Generated(text, symbol, (), sums.items, grain, scratch, temp)
    return [
        first._replace(function=first.function._replace(temp=temp)),
        Template(second, words.finish()),
    ]


def _product(kernel: GemmKernel, geometry: Geometry, element: PackedElement) -> list[Template]:
    words = GemmWords()
    columns = geometry.b.lines.length if geometry.b_mode == "segmented" else geometry.n
    group = 0 if geometry.patch is None else geometry.patch.group
    finish = finish_of(
        kernel, geometry.swapped, geometry.tile_vectors, element, columns % 16 == 0, group
    )
    product = write_product(kernel, geometry, element, finish, words)
    functions = [(ABI, product.code), *map(micro_kernel, product.variants)]
    packs = geometry.b_mode == "trans" and not geometry.ahead
    if packs or (finish.transposed and not product.scheme.direct):
        functions.append((TRANSPOSE, transpose_function(element)))
    if not product.scheme.direct:
        functions += finish_functions(finish, words)
    text, symbol = module(functions, "gemm")
    grain = _grain(geometry.cost, geometry.items)
    scratch = max(product.scheme.scratch, 64)
    function = Generated(text, symbol, (), geometry.items, grain, scratch)
    first = Template(function, words.finish())
    if geometry.split:
        return _combined(kernel, first, geometry.swapped, geometry.blocks, element)
    if geometry.ahead:
        temp = packed_bytes(geometry, product.scheme)
        return [_packing(product, temp), first._replace(function=function._replace(temp=temp))]
    return [first]


def _packing(product: Product, temp: int) -> Template:
    """The kernel that packs b into the workspace before the items of a product begin."""
    words, geometry, element = GemmWords(), product.geometry, product.element
    functions = [(ABI, write_packing(product, words))]
    if geometry.b_mode == "trans":
        functions.append((TRANSPOSE, transpose_function(element)))
    text, symbol = module(functions, "gemm_pack")
    items = 0 if geometry.items == 0 else geometry.blocks * geometry.column_panels
    grain = _grain(1.0 * geometry.b.lines.size * geometry.b.k.size, items)
    return Template(Generated(text, symbol, (), items, grain, 64, temp), words.finish())


def _dots(kernel: GemmKernel, element: PackedElement, target: Target) -> list[Template]:
    words = GemmWords()
    shape = dot_shape(kernel, element, target)
    finish = finish_of(kernel, shape.swapped, shape.group_vectors, element)
    functions = [(ABI, write_dots(shape, finish, words))]
    if not shape.split:
        functions += finish_functions(finish, words)
        if finish.transposed:
            functions.append((TRANSPOSE, transpose_function(element)))
    text, symbol = module(functions, "gemm_dot")
    items = 0 if kernel.m == 0 or kernel.n == 0 else shape.items
    grain = _grain(0.15 * kernel.k * shape.lines * shape.others * shape.batch + 60 * items, items)
    function = Generated(text, symbol, (), items, grain, shape.scratch)
    first = Template(function, words.finish())
    if shape.split:
        return _combined(kernel, first, shape.swapped, shape.blocks, element)
    return [first]


def _swept(kernel: GemmKernel, shape: SweepShape) -> list[Template]:
    words, element = GemmWords(), shape.element
    finish = finish_of(kernel, shape.swapped, FINISHED, element)
    functions = [(ABI, write_sweep(shape, finish, words)), *finish_functions(finish, words)]
    if finish.transposed:
        functions.append((TRANSPOSE, transpose_function(element)))
    text, symbol = module(functions, "gemm_sweep")
    grain = _grain(0.3 * kernel.k * shape.lines * shape.batch, shape.items)
    function = Generated(text, symbol, (), shape.items, grain, shape.scratch)
    return [Template(function, words.finish())]


@apart
def _work(kernel: GemmKernel) -> int:
    """Multiply-adds."""
    return kernel.batch * kernel.m * kernel.n * kernel.k


def templates(
    kernel: GemmKernel, workspace: bool = False, target: Target | None = None
) -> list[Template]:
    """The functions that compute a product, to run in order, over buffers chosen later: the
    kernel's slots are not looked at.  Without a workspace long sums are not split."""
    element = element_of(kernel.acc)
    target = target or host_target(_work(kernel))
    if not workspace:
        target = target._replace(workspace=False)
    if kernel.order == "lanes":
        return _dots(kernel, element, target)
    shape = sweep_shape(kernel, element, target)
    if shape is not None:
        return _swept(kernel, shape)
    geometry, joined = choose(kernel, element, target), with_batch_in_columns(kernel)
    if joined is not None:
        other = choose(joined, element, target)
        if other.cost < geometry.cost:
            return _product(joined, other, element)
    return _product(kernel, geometry, element)


def over_slots(kernel: GemmKernel, made: Sequence[Template], temp_slot: int) -> list[Generated]:
    """Templates over the slots of a kernel and of its workspace."""
    slots = {SlotRef("a"): kernel.a.slot, SlotRef("b"): kernel.b.slot, SlotRef("temp"): temp_slot}
    slots |= {SlotRef(f"out{i}"): out.slot for i, out in enumerate(kernel.outs)}
    slots |= {SlotRef(f"read{i}"): read.slot for i, read in enumerate(kernel.reads)}
    return [template.over(slots) for template in made]


def product(
    kernel: GemmKernel, geometry: Geometry, element: PackedElement, temp_slot: int = -1
) -> list[Generated]:
    """A 'chain' product with the decisions of `geometry`; any decisions give the same bits."""
    return over_slots(kernel, _product(kernel, geometry, element), temp_slot)


def generate(
    kernel: GemmKernel, temp_slot: int = -1, target: Target | None = None
) -> list[Generated]:
    """The functions that compute a product, to run in order.

    `temp_slot`: buffer slot of a workspace as large as the greatest `temp`; without one long sums
    are not split. Results must not overlap the factors; a read of the epilogue may be the very
    elements of a result."""
    return over_slots(kernel, templates(kernel, temp_slot >= 0, target), temp_slot)
