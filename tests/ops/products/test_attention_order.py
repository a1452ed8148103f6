"""Attention in one order: the kernels against the definition bit for bit, eagerly and replayed, for any
tile size, layout and number of threads.
"""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from attention_harness import attend, normal, same, step

import hybrid
from hybrid.backends.attend import attend_kernel
from hybrid.backends.cpu.attend import generate
from hybrid.backends.cpu.gemm.geometry import Target
from hybrid.backends.cpu.machine.jit import compile_many
from hybrid.backends.cpu.python.runtime import launch
from hybrid.backends.interpret import node_kernel
from hybrid.core.shapes import contiguous_strides
from hybrid.ir.door.bind import bind
from hybrid.ir.graph.graph import Value, make_node
from hybrid.ops.products.attend import ATTENTION, ATTENTION_GRAD


# ---- the order
def rest_of(mask: str | None, factor: bool, m: int, n: int, d: Any) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    made = {
        "bool": lambda: rng.random((m, n)) > 0.4,
        "bool by key": lambda: rng.random((1, n)) > 0.4,
        "float": lambda: rng.normal(size=(m, n)).astype(d),
        "float by key": lambda: rng.normal(size=(2, 1, n)).astype(d),
        "float by query": lambda: rng.normal(size=(m, 1)).astype(d),
        "one number": lambda: rng.normal(size=(1, 1)).astype(d),
    }
    out = [made[mask]()] if mask else []
    return [*out, (rng.random((2, m, n)) > 0.3).astype(d) * d(1.25)] if factor else out


def check_order(
    m: int,
    n: int,
    e: int,
    f: int,
    causal: bool = False,
    mask: str | None = None,
    factor: bool = False,
    d: Any = np.float32,
) -> None:
    """The kernels against the definition, forward and backward."""
    q, k, v = normal(1, 2, m, e, d=d), normal(2, 2, n, e, d=d), normal(3, 2, n, f, d=d)
    rest = rest_of(mask, factor, m, n, d)
    params = {"scale": 1 / math.sqrt(max(e, 1)), "causal": causal, "masked": mask is not None}
    params["narrow"] = ""

    def run(op: Any, xs: list[np.ndarray]) -> list[np.ndarray]:
        ts = [hybrid.tensor(x) for x in xs]
        want = node_kernel(make_node(op, params, [Value(t._a) for t in ts]), xs)
        got = [np.asarray(t) for t in bind(op, *ts, **params)]
        for x, y in zip(got, want, strict=True):
            same(x, y, f"{op.name} {(m, n, e, f)} {params}")
        return got

    out, peak, total = run(ATTENTION, [q, k, v, *rest])
    g = normal(4, *out.shape, d=d)
    run(ATTENTION_GRAD, [g, q, k, v, peak, total, (g * out).sum(-1), *rest])


SIZES = [
    *[(1, 1, 1, 1), (3, 5, 4, 6), (33, 40, 7, 17), (70, 65, 16, 33), (64, 63, 16, 80)],
    *[(1, 300, 33, 40), (2, 290, 5, 17), (4, 70, 9, 9), (16, 40, 5, 5), (17, 40, 5, 5)],
    *[(20, 300, 5, 3), (300, 20, 3, 5), (2, 0, 3, 3), (0, 3, 2, 2), (5, 4, 0, 3), (5, 4, 3, 0)],
]


@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_order_float32(size: Any, causal: bool) -> None:
    check_order(*size, causal)


@pytest.mark.parametrize("keys", [255, 256, 257, 513])
def test_order_at_borders_of_blocks(keys: int) -> None:
    check_order(35, keys, 2, 3)
    check_order(keys, 35, 2, 3)
    check_order(40, keys, 1, 2, True)


def test_order_of_many_causal_blocks() -> None:
    check_order(270, 530, 2, 3, True)


@pytest.mark.parametrize("size", [(3, 5, 4, 6), (33, 34, 7, 17)], ids=str)
def test_order_float64(size: Any) -> None:
    check_order(*size, d=np.float64)
    check_order(*size, True, "float", True, np.float64)


@pytest.mark.parametrize(
    "mask", ["bool", "bool by key", "float", "float by key", "float by query", "one number"]
)
def test_order_with_masks(mask: str) -> None:
    check_order(40, 70, 5, 6, False, mask)
    check_order(33, 40, 5, 6, True, mask, True)


def test_bits_depend_on_no_tile_size() -> None:
    """Wide and narrow machines run other tiles; so do few and many batch positions."""
    a = [hybrid.tensor(normal(i, 3, s, 9))._a for i, s in enumerate((70, 300, 300))]
    rows = [hybrid.tensor(normal(4, 3, 70))._a] * 3
    params = {"scale": 0.5, "causal": False, "masked": False, "narrow": ""}
    for op, ins in ((ATTENTION, a), (ATTENTION_GRAD, [a[0], *a, *rows])):
        avals = [*ins, *op.infer(*ins, **params)]
        places = [(i, (0, contiguous_strides(x.shape))) for i, x in enumerate(avals)]
        kernel = attend_kernel(op, params, avals, places)
        values = [normal(20 + i, *x.shape) for i, x in enumerate(ins)]
        results = []
        for target in (Target(64, 32, 1), Target(32, 16, 1), Target(64, 32, 99)):
            outs = [np.full(x.shape, 7, np.float32) for x in avals[len(ins) :]]
            run(generate(kernel, target), [*values, *outs])
            results.append(outs)
        for other in results[1:]:
            for x, y in zip(results[0], other, strict=True):
                same(x, y, op.name)


def run(made: list[Any], arrays: list[np.ndarray]) -> None:
    """Generated functions over arrays."""
    codes = compile_many([(g.symbol, g.text) for g in made])
    for g, code in zip(made, codes, strict=True):
        words = np.array(g.words, np.uint64)
        assert launch(code.address, words, g.items, g.grain, g.scratch, arrays) == 0


# ---- eager, traced, threads
def qkv(*shape: int, keys: int | None = None, d: Any = np.float32, grad: bool = True) -> list[Any]:
    xs = [normal(i, *shape, d=np.float32).astype(d) for i in range(3)]
    if keys is not None:
        xs[1:] = [
            normal(7 + i, *shape[:-2], keys, shape[-1], d=np.float32).astype(d) for i in range(2)
        ]
    return [hybrid.tensor(x, requires_grad=grad) for x in xs]


@pytest.mark.parametrize("d", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("shape", "keys", "causal"),
    [
        ((5, 7), None, True),
        ((2, 3, 65, 16), 63, True),
        ((2, 257, 8), 513, False),
        ((4, 1, 64), 300, False),
    ],
    ids=str,
)
def test_eager_is_traced_at_any_number_of_threads(
    d: Any, shape: Any, keys: int | None, causal: bool
) -> None:
    xs = qkv(*shape, keys=keys, d=d)
    want = step(*xs, is_causal=causal)
    traced = hybrid.function(lambda *a: step(*a, is_causal=causal))
    for threads in (1, 2):
        with hybrid.num_threads(threads):
            for x, y in zip(step(*xs, is_causal=causal), want, strict=True):
                same(x, y)
            for _ in range(3):
                for x, y in zip(traced(*xs), want, strict=True):
                    same(x, y)
    assert "REPLAY" in traced.explain()


def test_layouts_give_the_same_bits() -> None:
    """Heads split off a projection, transposed keys, reversed and stretched rows."""
    x = hybrid.tensor(normal(1, 2, 20, 48), requires_grad=True)

    def heads(x: Any) -> tuple[Any, ...]:
        q, k, v = [a.reshape(2, 20, 4, 4).permute_dims((0, 2, 1, 3)) for a in x.chunk(3, -1)]
        return q, k, v

    def fn(x: Any) -> tuple[Any, ...]:
        q, k, v = heads(x)
        out = attend(q, k, v, is_causal=True).permute_dims((0, 2, 1, 3)).reshape(2, 20, 16)
        return out, hybrid.gradients((out * out).sum(), [x])[0]

    want = fn(x)
    copies = [hybrid.tensor(np.array(a)) for a in heads(x)]
    out = attend(*copies, is_causal=True).permute_dims((0, 2, 1, 3)).reshape(2, 20, 16)
    same(out, want[0])
    traced = hybrid.function(fn)
    for _ in range(3):
        for a, b in zip(traced(x), want, strict=True):
            same(a, b)
    assert "REPLAY" in traced.explain()
    turned = hybrid.tensor(normal(2, 3, 9, 40))
    k = turned.permute_dims((0, 2, 1))
    q, v = hybrid.tensor(normal(3, 3, 11, 9)), hybrid.tensor(normal(4, 3, 40, 5))[:, ::-1, ::-1]
    want_one = attend(q, hybrid.tensor(np.array(k)), hybrid.tensor(np.array(v)))
    same(attend(q, k, v), want_one)
    traced = hybrid.function(lambda q, t, v: attend(q, t.permute_dims((0, 2, 1)), v))
    for _ in range(3):
        same(traced(q, turned, v), want_one)


def test_single_columns_of_any_layout() -> None:
    wide = [hybrid.tensor(normal(i, 2, 12, 3)) for i in range(3)]

    def fn(*xs: Any) -> Any:
        return attend(*[x[:, ::2, 1:2] for x in xs])

    want = attend(*[hybrid.tensor(np.array(x)[:, ::2, 1:2]) for x in wide])
    traced = hybrid.function(fn)
    for _ in range(3):
        same(fn(*wide), want)
        same(traced(*wide), want)


def test_what_people_are_shown() -> None:
    fn = hybrid.function(lambda q: attend(q, q, q, is_causal=True))
    q = hybrid.tensor(normal(1, 2, 40, 8))
    for _ in range(3):
        fn(q)
    assert "REPLAY" in fn.explain()
    (row,) = hybrid.profile(fn, q, runs=2)
    assert row.kind == "attend" and row.shape == "2x 40x40 of 8" and row.ops > 2 * 820 * 32
