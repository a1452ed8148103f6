"""Kernels of every kind over values that are special: zeros of both signs, infinities, NaN, tiny ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from cross_harness import Case, kernel_case
from emit_harness import ALL_TYPES, buffers, random_map, sample, special
from product_cases import Case as Product
from product_cases import conv_case, matmul_case
from record_cases import cases, cast, params_for

from hybrid.backends.op_kernels import LoopKernels
from hybrid.backends.plan import Access, LoopKernel
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.core.errors import DTypeError
from hybrid.core.shapes import contiguous_strides
from hybrid.ir.op import OPS, Op, common_dtype
from hybrid.ir.scalar.program import Program

EXTENT = 83  # several vectors, one more, and a part of one
FLOATS = (dt.float32, dt.float64, dt.float16, dt.bfloat16)


def loop_case(name: str, kernel: LoopKernel) -> Case:
    """A loop kernel over arrays as large as it reads and writes."""
    return kernel_case(name, kernel, buffers(kernel))


def _longer(kernel: LoopKernel) -> LoopKernel:
    """One line of elements as a line of `EXTENT` of them."""
    plain = kernel.group is None and len(kernel.shape) == 1
    return kernel._replace(shape=(EXTENT,)) if plain else kernel


def _kernels(op: Op, dtype: np.dtype) -> list[LoopKernel]:
    """The loop kernels of a record on its first sample."""
    found: list[LoopKernel] = []
    for arrays, given in cases(op)[:1]:
        arrays, params = cast(arrays, dtype, op), params_for(given, dtype, op)
        ins = tuple(aval(np.shape(a), dt.canonical(np.asarray(a).dtype)) for a in arrays)
        free = [i for i in range(len(ins)) if i not in op.fixed]
        if op.kind == "map" and free and not op.gathers and not op.has("convert"):
            common = common_dtype(op, ins)
            ins = tuple(a if i in op.fixed else a.with_(dtype=common) for i, a in enumerate(ins))
        outs = tuple(op.infer(*ins, **params))
        loop = LoopKernels(op, params, ins, outs)
        made = loop.kernels([contiguous_strides(a.shape) for a in ins])
        found += [kernel for kernel in made if isinstance(kernel, LoopKernel)]
    return found


def of_records(dtypes: Sequence[np.dtype] = (*FLOATS, dt.int32, dt.uint8)) -> Iterator[Case]:
    """Every elementwise and row record in these dtypes; in those of integers that take no others."""
    for name, op in OPS.items():
        if op.kind not in ("map", "row") or name.startswith(("test_", "_test")):
            continue
        for dtype in dtypes:
            if dt.is_float(dtype) != ("f" in op.accepts):
                continue
            try:
                kernels = _kernels(op, dtype)
            except DTypeError:  # a record for other dtypes
                continue
            for number, kernel in enumerate(kernels):
                yield loop_case(f"{name} {dtype.name} {number}", _longer(kernel))


def _facts(program: Program) -> set[tuple[str, ...]]:
    """Which primitives are used on which types."""
    return {
        (instr.prim, instr.type, *(program.instrs[a].type for a in instr.args))
        for instr in program.instrs
    }


def few(found: list[Case], most: int = 60) -> list[Case]:
    """Cases that use every primitive on every type that any of at most `most` instructions does,
    short ones first."""
    chosen, seen = [], set[tuple[str, ...]]()
    programs = {case.name: case.kernels[0].program for case in found}
    for case in sorted(found, key=lambda case: len(programs[case.name].instrs)):
        facts = _facts(programs[case.name]) - seen
        if facts and len(programs[case.name].instrs) <= most:
            chosen.append(case)
            seen |= facts
    return chosen


def of_random_programs(count: int, steps: int = 12) -> Iterator[Case]:
    """Any primitives of any types on any values."""
    for seed in range(count):
        rng = np.random.default_rng(seed)
        types = [str(t) for t in rng.choice(ALL_TYPES, 3)]
        program = random_map(rng, types, steps)
        arrays = [sample(rng, ty, (EXTENT,)) for ty in types]
        outs = [program.instrs[o].type for o in program.outs]
        arrays += [np.zeros_like(sample(rng, ty, (EXTENT,))) for ty in outs]
        every = [Access(i, dt.canonical(b.dtype), 0, (1,)) for i, b in enumerate(arrays)]
        reads, writes = tuple(every[: len(types)]), tuple(every[len(types) :])
        kernel = LoopKernel((EXTENT,), None, program, reads, writes)
        yield kernel_case(f"random {seed}", kernel, arrays)


def of_products(every: bool = True) -> Iterator[Case]:
    """Products in all layouts, with epilogues, of one line, and convolutions."""
    found: dict[str, Product] = {}
    for layout in ("nn", "nt", "tn", "tt"):
        found[layout] = matmul_case(1, 37, 45, 300, layout, epilogue=layout == "nt")
        found[f"even {layout}"] = matmul_case(2, 24, 32, 40, layout)
        for dtype in (dt.float64, dt.float16, dt.bfloat16, dt.int32, dt.int8):
            if every or layout == ("tt" if dtype is dt.int8 else "nn"):
                found[f"{layout} {dtype.name}"] = matmul_case(
                    1, 9, 21, 35, layout, dtype=dtype, epilogue=dtype is dt.float64
                )
    for dtype in (dt.float32, dt.float64, dt.bfloat16, dt.int64) if every else (dt.float32,):
        found[f"row {dtype.name}"] = matmul_case(1, 1, 45, 300, "nt", dtype=dtype, order="lanes")
        found[f"column {dtype.name}"] = matmul_case(1, 45, 1, 300, dtype=dtype, order="lanes")
    found["turned"] = matmul_case(3, 17, 30, 20, out_turned=True, odd=1)
    for gradient in (False, True):
        images, filters = (2, 5, 9, 21), (18, 5, 3, 3)
        found[f"images {gradient}"] = conv_case(images, filters, weight_gradient=gradient)
        found[f"strided images {gradient}"] = conv_case(
            (3, 4, 11, 10), (6, 2, 3, 3), stride=(2, 1), groups=2, weight_gradient=gradient
        )
    found["with a bias"] = conv_case((1, 3, 7, 7), (20, 3, 2, 2), bias=True)
    for name, case in found.items():
        yield kernel_case(f"product {name}", case.kernel, case.buffers)
        if dt.is_float(case.kernel.a.dtype):
            yield kernel_case(f"special product {name}", case.kernel, _special(case))


def _special(case: Product) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    factors = {case.kernel.a.slot, case.kernel.b.slot}
    return [
        special(rng, buffer.dtype, buffer.size) if slot in factors else buffer
        for slot, buffer in enumerate(case.buffers)
    ]
