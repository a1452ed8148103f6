"""The loop kernels of every elementwise and row record."""

import numpy as np
from record_cases import cases, cast, params_for

from hybrid.backends.op_kernels import LoopKernels
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.core.errors import DTypeError
from hybrid.core.shapes import contiguous_strides
from hybrid.ir.op import OPS, common_dtype

NAMES = [n for n, op in OPS.items() if op.kind in ("map", "row") and not n.startswith("test_")]


def kernels(name):
    """The loop kernels of a record on its first samples, in float32 and bfloat16 (or int32)."""
    op = OPS[name]
    for d in (dt.float32, dt.bfloat16) if "f" in op.accepts else (dt.int32,):
        for xs, p in cases(op)[:1]:
            arrays, params = cast(xs, d, op), params_for(p, d, op)
            ins = tuple(aval(np.shape(a), dt.canonical(np.asarray(a).dtype)) for a in arrays)
            free = [i for i in range(len(ins)) if i not in op.fixed]
            if op.kind == "map" and free and not op.gathers and not op.has("convert"):
                try:
                    common = common_dtype(op, ins)
                except DTypeError:  # a record for other dtypes
                    continue
                ins = tuple(
                    a if i in op.fixed else a.with_(dtype=common) for i, a in enumerate(ins)
                )
            if name == "nextafter" and dt.is_half(ins[0].dtype):
                continue
            try:
                outs = tuple(op.infer(*ins, **params))
            except DTypeError:
                continue
            loop = LoopKernels(op, params, ins, outs)
            yield from loop.kernels([contiguous_strides(a.shape) for a in ins])
