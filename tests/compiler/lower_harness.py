"""Comparing lowered plans with node-by-node evaluation, and what every plan must satisfy."""

from __future__ import annotations

from typing import Any

import numpy as np
from graph_ops import Build, T, random_inputs

from hybrid import ops  # noqa: F401  (registers the records)
from hybrid.backends.interpret import node_kernel, run_plan
from hybrid.backends.plan import GemmKernel, HostStep, LoopKernel, Plan
from hybrid.compiler.pipeline import lower
from hybrid.core import dtypes as dt
from hybrid.core.errors import Site
from hybrid.ir.door import bind as door
from hybrid.ir.door.evaluate import evaluate
from hybrid.ir.graph.graph import Graph
from hybrid.ir.graph.verify import verify
from hybrid.ir.scalar.program import REDUCTIONS, Program
from hybrid.trace.record.recorder import Recorder

DTYPES = [
    (dt.float32,),
    (dt.bfloat16, dt.float32),
    (dt.float16,),
    (dt.float64,),
    (dt.int32, dt.float32),
]


def same(a: np.ndarray, b: np.ndarray) -> bool:
    nan = (
        np.isnan(a) & np.isnan(b) if dt.is_float(dt.canonical(a.dtype)) else np.zeros(a.shape, bool)
    )
    return (a.shape, a.dtype) == (b.shape, b.dtype) and np.where(nan, 0, a).tobytes() == np.where(
        nan, 0, b
    ).tobytes()


def check(g: Graph, states=(), seed: int = 0) -> Plan:
    """Compare the plan with node-by-node evaluation and return it."""
    plan = lower(verify(g), states)
    well_formed(plan)
    for s in (seed, seed + 1):
        xs = random_inputs(g, s)
        want = evaluate(g, xs, node_kernel)
        for k, (a, b) in enumerate(zip(want, run_plan(plan, xs), strict=True)):
            assert same(a, b), f"output {k}: {b} instead of {a}"
    return plan


def well_formed(plan: Plan) -> None:
    """What a backend relies on and no output shows."""
    for k in plan.steps:
        if isinstance(k, LoopKernel):
            made = [
                any(i.prim in REDUCTIONS for i in _cone(k.program, n.args))
                for n in k.program.instrs
            ]
            reduced = [n.prim in REDUCTIONS for n in k.program.instrs]
            assert k.group is not None or not any(reduced)
            if k.group is not None and k.group[1] != len(k.shape):
                assert not any(m and r for m, r in zip(made, reduced)), (
                    "reductions of a column kernel in a chain"
                )
                assert all(not any(w.strides[slice(*k.group)]) for w in k.writes)
            assert len(k.reads) == len(k.program.args) and len(k.writes) == len(k.program.outs) * (
                not k.check
            )
    assert len(plan.sites) == len(plan.messages) == len(plan.steps)


def _cone(program: Program, args) -> list:
    """Instructions that the given ones need."""
    todo, seen = list(args), set()
    while todo:
        k = todo.pop()
        if k not in seen:
            seen.add(k)
            todo += program.instrs[k].args
    return [program.instrs[k] for k in seen]


def kinds(plan: Plan) -> str:
    """g: contraction, m: map, r: lanes, c: columns, k: check, h: host, s: scatter."""
    out = ""
    for k in plan.steps:
        if isinstance(k, LoopKernel):
            out += (
                "k"
                if k.check
                else "m"
                if k.group is None
                else "r"
                if k.group[1] == len(k.shape)
                else "c"
            )
        else:
            out += "g" if isinstance(k, GemmKernel) else "h" if isinstance(k, HostStep) else "s"
    return out


# ---- checks, order, state
def embedding_step() -> tuple[Graph, list[tuple[int, int]]]:
    b = Build()
    w, i = b.input(5, 4), b.input(3, d=dt.int64)
    j = b(T.checked, b(T.add, i, 1), n=5, site=Site("net.py", 7, "forward"))
    u = b(T.scatter, j, b(T.relu, b(T.take, b(T.root, w), b(T.reshape, j, shape=(3, 1)))), rows=5)
    return b.graph(b(T.add, w, u), u), [(0, 0)]


def graph_of(function: Any, *inputs: Any) -> Graph:
    """The graph of a call."""
    recorder = Recorder(inputs)
    outer = door.push_mode(recorder)
    try:
        result = function(*inputs)
    finally:
        door.pop_mode(outer)
    results = result if isinstance(result, tuple) else (result,)
    return recorder.graph([recorder.ref(tensor) for tensor in results])
