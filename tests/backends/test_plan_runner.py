"""Plans on every backend: slots, segments between host steps, errors; the oracle of ops."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from backend_kinds import arrays, values

from hybrid.backends.api import backend
from hybrid.backends.plan import (
    Access,
    GemmKernel,
    HostStep,
    LoopKernel,
    Operand,
    Plan,
    ScatterKernel,
    Slot,
)
from hybrid.core import dtypes as dt
from hybrid.core.aval import Aval, aval
from hybrid.core.errors import BackendError, IndexOutOfRange, Site, UnsupportedError
from hybrid.ir.contract import Dims
from hybrid.ir.op import MapOp, RowOp
from hybrid.ir.oracle import reference as evaluate
from hybrid.ir.oracle import round_to
from hybrid.ir.scalar.program import Builder, Program

F = dt.float32


def program(f: Any, *types: str) -> Program:
    s = Builder()
    return s.program(f(s, *[s.arg(t) for t in types]))


def flat(slot: int, a: Aval) -> Access:
    return Access(slot, a.dtype, 0, (1,))


def loop(n: int, p: Program, reads: Any, writes: Any, **more: Any) -> LoopKernel:
    return LoopKernel((n,), None, p, tuple(reads), tuple(writes), **more)


def make(
    kind: str,
    slots: Any,
    steps: Any,
    outputs: Any,
    consts: Any = (),
    arena: int = 0,
    messages: Any = None,
    sites: Any = None,
) -> Any:
    """A plan of a backend as a function of host arrays."""
    run = backend(kind).compile(
        Plan(
            tuple(slots),
            tuple(steps),
            tuple(outputs),
            tuple(consts),
            arena,
            sites or (None,) * len(steps),
            messages or ("",) * len(steps),
        )
    )
    return lambda inputs: arrays(run(values(inputs, kind)), kind)


def test_kernels_arena_consts_host_and_state(backend_kind):
    n = 1000
    a = aval((n,), F)
    slots = [
        Slot("input", a, 0),
        Slot("const", a, 0),
        Slot("arena", a, 64),
        Slot("arena", a, 8192),
        Slot("output", a),
        Slot("state", a, 0),
    ]
    add, double = program(lambda s, x, y: x + y, "f32", "f32"), program(lambda s, x: x * 2, "f32")
    steps = [
        loop(n, add, [flat(0, a), flat(1, a)], [flat(2, a)]),
        loop(n, double, [flat(2, a)], [flat(2, a)]),
        HostStep(lambda x: x[::-1], (2,), (3,)),
        loop(n, add, [flat(3, a), flat(0, a)], [flat(4, a)]),
        loop(n, double, [flat(4, a)], [flat(5, a)]),
    ]
    c = np.linspace(0, 1, n, dtype=F)
    run = make(backend_kind, slots, steps, (4, 5), [c], 8192 + 4 * n)
    x = np.arange(n, dtype=F)
    for v in (x, np.repeat(x, 2)[::2]):
        kept = v.copy()
        out, state = run([v])
        want = ((x + c) * np.float32(2))[::-1] + x
        np.testing.assert_array_equal(out, want)
        np.testing.assert_array_equal(state, want * 2)
        np.testing.assert_array_equal(v, kept)
    first = run([x])[0]
    second = run([x + 1])[0]
    np.testing.assert_array_equal(first, want)
    assert not np.shares_memory(first, second)


def test_products_and_scatters(backend_kind):
    m, k, n = 5, 7, 3
    sa, sb, so = aval((m, k), F), aval((k, n), F), aval((m, n), F)
    si, st = aval((m,), dt.int64), aval((4, n), F)
    one = Dims((), ())
    gemm = GemmKernel(
        1,
        m,
        n,
        k,
        Operand(0, F, 0, one, Dims((m,), (k,)), Dims((k,), (1,))),
        Operand(1, F, 0, one, Dims((k,), (n,)), Dims((n,), (1,))),
        (Operand(3, F, 0, one, Dims((m,), (n,)), Dims((n,), (1,))),),
        F,
    )
    zero = LoopKernel((4 * n,), None, _zeros(), (), (Access(4, F, 0, (1,)),))
    scatter = ScatterKernel(
        m, n, Access(4, F, 0, (n, 1)), Access(2, dt.int64, 0, (1,)), Access(3, F, 0, (n, 1))
    )
    run = make(
        backend_kind,
        [
            Slot("input", sa, 0),
            Slot("input", sb, 1),
            Slot("input", si, 2),
            Slot("arena", so, 0),
            Slot("output", st),
        ],
        [gemm, zero, scatter],
        (4,),
        arena=so.nbytes,
    )
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(shape).astype(F) for shape in ((m, k), (k, n)))
    i = np.array([3, 0, 3, 1, 0])
    want = np.zeros((4, n), np.float64)
    np.add.at(want, i, x.astype(np.float64) @ y)
    np.testing.assert_allclose(run([x, y, i])[0], want, rtol=1e-5, atol=1e-6)


def _zeros() -> Program:
    s = Builder()
    return s.program(s.const("f32", 0.0))


def test_a_failed_check_names_message_and_line(backend_kind):
    a = aval((6,), dt.int64)
    bad = program(lambda s, i: i > 4, "i64")
    copy = program(lambda s, i: i, "i64")
    site = Site("model.py", 12, "forward")
    steps = [loop(6, copy, [flat(0, a)], [flat(1, a)]), loop(6, bad, [flat(0, a)], [], check=True)]
    run = make(
        backend_kind,
        [Slot("input", a, 0), Slot("output", a)],
        steps,
        (1,),
        messages=("", "index above 4"),
        sites=(None, site),
    )
    np.testing.assert_array_equal(run([np.arange(6) % 5])[0], np.arange(6) % 5)
    with pytest.raises(IndexOutOfRange, match=r"index above 4 \(at model.py:12 in forward"):
        run([np.arange(6)])


def test_unknown_slots_are_refused(backend_kind):
    a = aval((6,), F)
    with pytest.raises(BackendError, match="unknown kind 'heap'"):
        make(backend_kind, [Slot("heap", a)], [], (0,))([])


# ---- reference
def test_rounding_to_bfloat16_is_done_once():
    half_way, eps = 1 + 2.0**-8, 2.0**-7  # between two bfloat16 values, and their distance
    pairs = [
        (half_way, 1),
        (half_way + 2.0**-40, 1 + eps),
        (half_way - 2.0**-40, 1),
        (1 + 3 * 2.0**-8, 1 + 2 * eps),
        (-half_way - 2.0**-40, -1 - eps),
        (np.inf, np.inf),
        (-np.inf, -np.inf),
        (np.nan, np.nan),
        (0.0, 0.0),
        (-0.0, -0.0),
        (1e300, np.inf),
        (-1e300, -np.inf),
        (3.39e38, float(ml_dtypes.finfo(dt.bfloat16).max)),
        (3.4e38, np.inf),
        (1e-45, 0.0),
        (2.0**-134, 0.0),
        (2.0**-134 + 2.0**-170, 2.0**-133),
        (1e-320, 0.0),
    ]
    x, want = (np.array(column) for column in zip(*pairs))
    got = round_to(x, dt.bfloat16).astype(np.float64)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(want))


def test_evaluate_computes_in_double_and_rounds_once():
    def infer(a: Aval) -> tuple[Aval, ...]:
        return (a, a.with_(a.shape[:1]))

    op = RowOp("r_two", 1, infer, body=None, nout=2, reference=lambda x: (np.exp(x), x.sum(1)))
    x = np.array([[1e8, 1.0], [-1e8, 3.0]], F)
    e, s = evaluate(op, {}, [x])
    assert e.dtype == F and s.dtype == F
    np.testing.assert_array_equal(s, np.array([1e8 + 1, -1e8 + 3]).astype(F))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(e, np.exp(x.astype(np.float64)).astype(F))
    with pytest.raises(UnsupportedError, match="r_none has no reference"):
        evaluate(MapOp("r_none", 1, lambda a: (a,), body=None), {}, [x])
    with pytest.raises(UnsupportedError, match="gives 1 results, not 2"):
        evaluate(RowOp("r_few", 1, infer, body=None, reference=np.exp), {}, [x])
