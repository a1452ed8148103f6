"""The records of branches and loops: nodes whose parameters are the graphs of what they run.

Invariant: the body of a record is its meaning: the graphs run node by node with the kernels of
eager mode; native code that a backend makes of them gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..core import dtypes as dt
from ..core.aval import Aval, aval
from ..core.errors import DTypeError, ShapeError
from ..ir.algorithm import Branch, Traversal, While
from ..ir.door.evaluate import evaluate_eager, evaluate_reference
from ..ir.graph.graph import Const, Graph, Value, make_node
from ..ir.graph.region import Region
from ..ir.op import OPS, HostOp, register

__all__ = ["WHILE", "WALK", "BRANCH"]

Run = Callable[[Graph, Sequence[Any]], list[Any]]


def _given(results: Sequence[np.ndarray]) -> Any:
    """Fresh arrays, as the body of a record gives them."""
    copies = [np.array(x, copy=True) for x in results]
    return copies[0] if len(copies) == 1 else tuple(copies)


def _same(what: str, found: Sequence[Aval], expected: Sequence[Aval]) -> None:
    kinds = [a.dtype for a in found] != [a.dtype for a in expected]
    if kinds or [a.shape for a in found] != [a.shape for a in expected]:
        text = f"{what} are {list(map(str, found))}, not {list(map(str, expected))}"
        raise DTypeError(text) if kinds else ShapeError(text)


def _beside(avals: Sequence[Aval], results: Sequence[Aval]) -> tuple[Aval, ...]:
    """Results on the device of the operands; graphs are of the host."""
    return tuple([avals[0].with_(a.shape, a.dtype) for a in results])


# ---- while
def _while_infer(*avals: Aval, test: Region, body: Region, carry: int) -> tuple[Aval, ...]:
    _same("arguments of the test", test.ins, avals)
    _same("arguments of the body", body.ins, avals)
    _same("results of the test", test.outs, [aval((), dt.bool_)])
    _same("results of the body", body.outs, avals[:carry])
    return _beside(avals, body.outs)


def _while(run: Run) -> Callable[..., Any]:
    def loop(*arrays: np.ndarray, test: Region, body: Region, carry: int) -> Any:
        values, rest = list(arrays[:carry]), arrays[carry:]
        while bool(run(test.graph, [*values, *rest])[0]):
            values = run(body.graph, [*values, *rest])
        return _given(values)

    return loop


def _while_samples(rng: Any) -> Iterator[Any]:
    state, limit = aval((3,), dt.int64), aval((), dt.int64)
    for start in (1, 5):
        ins = [Value(state), Value(limit)]
        total = make_node(OPS["sum"], {"axes": (0, 1), "dtype": dt.int64}, ins[:1])
        less = make_node(OPS["less"], {}, [total.outputs[0], ins[1]])
        test = Region(Graph(ins, [total, less], less.outputs))
        ins = [Value(state), Value(limit)]
        double = make_node(OPS["add"], {}, [ins[0], ins[0]])
        body = Region(Graph(ins, [double], double.outputs))
        arrays = np.full(3, start), np.array(11)
        yield arrays, {"test": test, "body": body, "carry": 1}


WHILE = register(
    HostOp(
        "while_loop",
        None,
        _while_infer,
        body=_while(evaluate_eager),
        algorithm=lambda test, body, carry: While(carry),
        params=("test", "body", "carry"),
        reference=_while(evaluate_reference),
        samples=_while_samples,
        ulp=0.0,
        doc="A graph applied to what it gave while another one says so.",
    )
)


# ---- scan
def _row(value: Aval, count: int) -> Aval:
    if not value.shape or value.shape[0] != count:
        raise ShapeError(f"{value} has no {count} rows")
    return value.with_(value.shape[1:])


def _walk_infer(
    *avals: Aval, body: Region, carry: int, rows: int, count: int, reverse: bool
) -> tuple[Aval, ...]:
    end = carry + rows
    walked = [_row(value, count) for value in avals[carry:end]]
    _same("arguments of the body", body.ins, (*avals[:carry], *walked, *avals[end:]))
    _same("results of the body", body.outs[:carry], avals[:carry])
    stacked = [value.with_((count, *value.shape)) for value in body.outs[carry:]]
    return _beside([*avals, *body.ins, *body.outs], [*body.outs[:carry], *stacked])


def _walk(run: Run) -> Callable[..., Any]:
    def loop(
        *arrays: np.ndarray, body: Region, carry: int, rows: int, count: int, reverse: bool
    ) -> Any:
        values, rest = list(arrays[:carry]), arrays[carry + rows :]
        stacked = [np.empty((count, *a.shape), a.dtype) for a in body.outs[carry:]]
        for i in range(count - 1, -1, -1) if reverse else range(count):
            given = [np.array(x[i]) for x in arrays[carry : carry + rows]]
            values = run(body.graph, [*values, *given, *rest])
            for whole, made in zip(stacked, values[carry:]):
                whole[i] = made
            values = values[:carry]
        return _given([*values, *stacked])

    return loop


def _walk_samples(rng: Any) -> Iterator[Any]:
    state = aval((2,), dt.int64)
    for reverse, count in ((False, 4), (True, 3), (False, 0)):
        ins = [Value(state), Value(state)]
        total = make_node(OPS["add"], {}, ins)
        body = Region(Graph(ins, [total], [total.outputs[0], ins[0]]))
        arrays = rng.integers(-9, 9, 2), rng.integers(-9, 9, (count, 2))
        yield arrays, {"body": body, "carry": 1, "rows": 1, "count": count, "reverse": reverse}


WALK = register(
    HostOp(
        "scan",
        None,
        _walk_infer,
        body=_walk(evaluate_eager),
        algorithm=lambda body, carry, rows, count, reverse: Traversal(carry, rows, count, reverse),
        params=("body", "carry", "rows", "count", "reverse"),
        reference=_walk(evaluate_reference),
        samples=_walk_samples,
        ulp=0.0,
        doc="A graph applied to what it gave and the next row, whose other results are stacked.",
    )
)


# ---- branches
def _branch_infer(*avals: Aval, branches: tuple[Region, ...]) -> tuple[Aval, ...]:
    _same("the position", avals[:1], [aval((), dt.int64)])
    for branch in branches:
        _same("arguments of a branch", branch.ins, avals[1:])
        _same("results of a branch", branch.outs, branches[0].outs)
    return _beside(avals, branches[0].outs)


def _branch(run: Run) -> Callable[..., Any]:
    def choose(index: np.ndarray, *arrays: np.ndarray, branches: tuple[Region, ...]) -> Any:
        chosen = branches[min(max(int(index), 0), len(branches) - 1)]
        return _given(run(chosen.graph, arrays))

    return choose


def _branch_samples(rng: Any) -> Iterator[Any]:
    state = aval((3,), dt.int64)
    ins = [Value(state)]
    double = make_node(OPS["add"], {}, [ins[0], ins[0]])
    half = Const(state, np.full(3, 7))
    half.data.flags.writeable = False
    graphs = Graph(ins, [double], double.outputs), Graph([Value(state)], [], [half])
    for index in (-1, 0, 5):
        arrays = np.array(index), rng.integers(-9, 9, 3)
        yield arrays, {"branches": tuple(map(Region, graphs))}


BRANCH = register(
    HostOp(
        "switch",
        None,
        _branch_infer,
        body=_branch(evaluate_eager),
        algorithm=lambda branches: Branch(),
        params=("branches",),
        reference=_branch(evaluate_reference),
        samples=_branch_samples,
        ulp=0.0,
        doc="The graph that a position names.",
    )
)
