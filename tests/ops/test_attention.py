"""scaled_dot_product_attention: its order bit for bit, errors, masks, special values, gradients."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest

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

attend = hybrid.scaled_dot_product_attention
INF = float("inf")


def bits(x: Any) -> np.ndarray:
    x = np.ascontiguousarray(x)
    x = np.where(np.isnan(x), np.asarray(np.nan, x.dtype), x)
    return x.reshape(-1).view(np.uint8)


def same(got: Any, want: Any, what: str = "") -> None:
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape and got.dtype == want.dtype
    np.testing.assert_array_equal(bits(got), bits(want), err_msg=what)


def normal(seed: int, *shape: int, d: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(d)


def exact(
    q: Any, k: Any, v: Any, mask: Any = None, causal: bool = False, scale: Any = None
) -> np.ndarray:
    """Attention in long double; a row without a key gives 0."""
    q, k, v = (np.asarray(x).astype(np.longdouble) for x in (q, k, v))
    s = q @ np.swapaxes(k, -1, -2) * (1 / np.sqrt(q.shape[-1]) if scale is None else scale)
    if mask is not None:
        s = np.where(mask, s, -np.inf) if mask.dtype == bool else s + mask.astype(np.longdouble)
    if causal:
        s = np.where(np.tri(*s.shape[-2:], dtype=bool), s, -np.inf)
    top = s.max(-1, initial=-np.inf, keepdims=True)
    p = np.exp(s - np.where(top == -np.inf, 0, top))
    total = p.sum(-1, keepdims=True)
    with np.errstate(all="ignore"):
        return (p @ v) / np.where(total == 0, 1, total)


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


def step(*xs: Any, **more: Any) -> tuple[Any, ...]:
    out = attend(*xs[:3], *xs[3:], **more)
    leaves = [x for x in xs if x.requires_grad]
    return (out, *hybrid.gradients((out * out).sum(), leaves))


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


# ---- values
@pytest.mark.parametrize("features", [1, 7, 16, 64, 80])
@pytest.mark.parametrize("keys", [1, 63, 64, 65, 255, 256, 257, 513])
def test_values(keys: int, features: int) -> None:
    q, k, v = normal(1, 2, 33, features), normal(2, 2, keys, features), normal(3, 2, keys, 24)
    for causal in (False, True):
        got = np.asarray(attend(*map(hybrid.tensor, (q, k, v)), is_causal=causal))
        want = exact(q, k, v, causal=causal)
        assert np.abs(got - want).max() <= 4e-7 * max(features, 16) ** 0.5


@pytest.mark.parametrize("d", [np.float16, ml_dtypes.bfloat16], ids=str)
def test_half_types_are_rounded_once(d: Any) -> None:
    """The error is that of rounding the exact result, up to a tenth."""
    unit = 2.0**-11 if d is np.float16 else 2.0**-8
    q, k, v = (normal(i, 4, 100, 64).astype(d) for i in range(3))
    q = (q * d(3)).astype(d)
    want = exact(q, k, v)
    got = np.asarray(attend(*map(hybrid.tensor, (q, k, v)))).astype(np.longdouble)
    rounded = want.astype(np.float32).astype(d).astype(np.longdouble)
    own, least = np.abs(got - want), np.abs(rounded - want)
    assert own.max() <= 1.1 * least.max() and own.mean() <= 1.1 * least.mean()
    assert (own <= 1.01 * unit * np.abs(want) + 1e-6).all()


def test_rows_without_a_key_are_zero() -> None:
    q, k, v = normal(1, 2, 5, 8), normal(2, 2, 300, 8), normal(3, 2, 300, 6)
    keep = np.random.default_rng(1).random((2, 5, 300)) > 0.5
    keep[0, 2] = False
    keep[1, 0, 100:] = False  # whole blocks
    keep[1, 1, :290] = False
    v[0, 7, 3], v[0, 8, 2] = np.nan, np.inf  # not even then
    for mask in (keep, np.where(keep, 0, -INF).astype(np.float32)):
        xs = [hybrid.tensor(x) for x in (q, k, v, mask)]
        out = np.asarray(attend(*xs))
        same(out[0, 2], np.zeros(6, np.float32))
        np.testing.assert_allclose(out[1], exact(q, k, v, keep)[1].astype(np.float32), atol=2e-6)
    clean = np.where(np.isfinite(v), v, 0).astype(np.float32)
    xs = [hybrid.tensor(x, requires_grad=True) for x in (q, k, clean)]
    _, dq, dk, dv = step(*xs, hybrid.tensor(keep))
    assert not np.asarray(dq)[0, 2].any()
    for x in (dq, dk, dv):
        assert np.isfinite(np.asarray(x)).all()


def test_no_keys_no_queries_no_features() -> None:
    zeros = hybrid.zeros
    same(attend(zeros(2, 3, 4), zeros(2, 0, 4), zeros(2, 0, 5)), np.zeros((2, 3, 5), np.float32))
    assert attend(zeros(2, 0, 4), zeros(2, 3, 4), zeros(2, 3, 5)).shape == (2, 0, 5)
    assert attend(zeros(0, 3, 4), zeros(0, 3, 4), zeros(0, 3, 5)).shape == (0, 3, 5)
    assert attend(zeros(3, 4), zeros(3, 4), zeros(3, 0)).shape == (3, 0)
    v = hybrid.tensor(normal(1, 4, 2))
    mean = np.asarray(attend(zeros(3, 0), zeros(4, 0), v))
    np.testing.assert_allclose(mean, np.tile(np.asarray(v).mean(0), (3, 1)), rtol=1e-6)
    xs = [zeros(3, 4, requires_grad=True), zeros(0, 4, requires_grad=True)]
    _, dq, dk, dv = step(*xs, zeros(0, 5, requires_grad=True))
    same(dq, np.zeros((3, 4), np.float32))
    assert dk.shape == (0, 4) and dv.shape == (0, 5)


def test_special_scores() -> None:
    """NaN and +inf make a row NaN, -inf is a key that takes no part, huge scores do not overflow."""
    q, k, v = np.ones((4, 1), np.float32), np.zeros((300, 1), np.float32), normal(1, 300, 3)
    mask = np.zeros((4, 300), np.float32)
    mask[0, 280], mask[1, 3] = np.nan, INF
    mask[2, :299] = -INF
    mask[3, 5] = 3e38
    out = np.asarray(attend(*map(hybrid.tensor, (q, k, v, mask))))
    assert np.isnan(out[:2]).all()
    same(out[2], v[299])
    same(out[3], v[5])
    keep = np.ones((4, 300), bool)
    k[7] = np.nan
    keep[0, 7] = False
    out = np.asarray(attend(*map(hybrid.tensor, (q, k, v, keep))))
    assert np.isfinite(out[0]).all() and np.isnan(out[1:]).all()


def test_causal_is_upper_left() -> None:
    for m, n in ((3, 7), (7, 3), (64, 64), (300, 290)):
        q, k, v = normal(1, m, 8), normal(2, n, 8), normal(3, n, 8)
        got = attend(*map(hybrid.tensor, (q, k, v)), is_causal=True)
        np.testing.assert_allclose(np.asarray(got), exact(q, k, v, causal=True), atol=3e-6)
    later = v.copy()
    later[200:] = np.nan  # tiles of keys that a query does not see are not read
    got = np.asarray(
        attend(hybrid.tensor(q), hybrid.tensor(k), hybrid.tensor(later), is_causal=True)
    )
    assert np.isfinite(got[:192]).all()


def test_masks_broadcast() -> None:
    q, k, v = normal(1, 2, 3, 4, 8), normal(2, 2, 3, 6, 8), normal(3, 2, 3, 6, 8)
    rng = np.random.default_rng(0)
    for shape in ((6,), (4, 6), (1, 6), (4, 1), (3, 1, 6), (2, 1, 1, 6), (2, 3, 4, 6), (3, 4, 6)):
        for mask in (rng.random(shape) > 0.3, rng.normal(size=shape).astype(np.float32)):
            got = attend(*map(hybrid.tensor, (q, k, v, mask)))
            np.testing.assert_allclose(np.asarray(got), exact(q, k, v, mask), atol=3e-6)
    mask = rng.normal(size=(5, 1, 1, 4, 6)).astype(np.float32)
    assert attend(*map(hybrid.tensor, (q, k, v, mask))).shape == (5, 2, 3, 4, 8)


def test_broadcast_heads_and_grouped_heads() -> None:
    q, k, v = normal(1, 2, 6, 5, 8), normal(2, 6, 7, 8), normal(3, 7, 3)
    got = attend(*map(hybrid.tensor, (q, k, v)))
    np.testing.assert_allclose(np.asarray(got), exact(q, k, v), atol=3e-6)
    k, v = normal(2, 2, 2, 7, 8), normal(3, 2, 2, 7, 8)
    mask = np.random.default_rng(1).random((2, 6, 5, 7)) > 0.3
    repeated = [np.repeat(x, 3, 1) for x in (k, v)]
    for m in (None, mask, mask[:, :1], mask[0, 0]):
        rest = [] if m is None else [hybrid.tensor(m)]
        got = attend(*map(hybrid.tensor, (q, k, v)), *rest, enable_gqa=True)
        np.testing.assert_allclose(np.asarray(got), exact(q, *repeated, m), atol=3e-6)
    with pytest.raises(hybrid.ShapeError, match="no multiple"):
        attend(hybrid.ones(4, 2, 3), hybrid.ones(3, 2, 3), hybrid.ones(3, 2, 3), enable_gqa=True)


# ---- gradients
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("m", "n"), [(9, 9), (70, 300), (300, 33)])
def test_gradients_are_those_of_the_formula(m: int, n: int, masked: bool) -> None:
    d = np.float64
    xs = [normal(1, 2, m, 8, d=d), normal(2, 2, n, 8, d=d), normal(3, 2, n, 6, d=d)]
    xs += [normal(4, m, n, d=d)] if masked else []

    def formula(q: Any, k: Any, v: Any, mask: Any = None) -> Any:
        s = hybrid.matmul(q, hybrid.matrix_transpose(k)) * 0.3
        s = s if mask is None else s + mask
        return hybrid.matmul(hybrid.softmax(s, -1), v)

    def grads(fn: Any) -> list[Any]:
        ts = [hybrid.tensor(x, requires_grad=True) for x in xs]
        out = fn(*ts)
        return [out, *hybrid.gradients((out * out * out).sum(), ts)]

    for a, b in zip(grads(lambda *a: attend(*a, scale=0.3)), grads(formula), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-11, atol=1e-12)


def test_second_derivatives() -> None:
    xs = [hybrid.tensor(normal(i, 5, 4, d=np.float64), requires_grad=True) for i in range(3)]

    def formula(q: Any, k: Any, v: Any) -> Any:
        s = hybrid.matmul(q, hybrid.matrix_transpose(k)) * 0.5
        s = hybrid.where(hybrid.tril(hybrid.ones(5, 5, dtype=bool)), s, -INF)
        return hybrid.matmul(hybrid.softmax(s, -1), v)

    def second(fn: Any) -> list[Any]:
        first = hybrid.gradients((fn(*xs) ** 2).sum(), xs, create_graph=True)
        return hybrid.gradients(sum((g**2).sum() for g in first), xs)

    got, want = second(lambda *a: attend(*a, is_causal=True)), second(formula)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-9, atol=1e-11)


def test_scale_may_be_a_tensor() -> None:
    xs = [normal(i, 6, 4, d=np.float64) for i in range(3)]
    scale = hybrid.tensor(np.float64(0.3), requires_grad=True)
    out = attend(*map(hybrid.tensor, xs), scale=scale)
    np.testing.assert_allclose(np.asarray(out), exact(*xs, scale=0.3).astype(float), rtol=1e-12)
    (slope,) = hybrid.gradients((out * out).sum(), [scale])
    near = [float((exact(*xs, scale=0.3 + h) ** 2).sum()) for h in (1e-5, -1e-5)]
    assert abs(slope.item() - (near[0] - near[1]) / 2e-5) < 1e-7


def test_only_some_gradients() -> None:
    q, k, v = (normal(i, 6, 4) for i in range(3))
    full = step(*[hybrid.tensor(x, requires_grad=True) for x in (q, k, v)])
    for i in range(3):
        xs = [hybrid.tensor(x, requires_grad=j == i) for j, x in enumerate((q, k, v))]
        same(step(*xs)[1], full[1 + i])


# ---- dropout
def test_dropout_is_one_stream_and_scales() -> None:
    q, k, v = (hybrid.tensor(normal(i, 3, 50, 8)) for i in range(3))
    v = hybrid.ones(3, 50, 8)

    def fn(q: Any, k: Any) -> Any:
        return attend(q, k, v, dropout_p=0.25)

    hybrid.manual_seed(3)
    want = [fn(q, k) for _ in range(4)]
    assert abs(float(np.mean([np.asarray(w) for w in want])) - 1) < 0.05
    assert not np.array_equal(np.asarray(want[0]), np.asarray(want[1]))
    hybrid.manual_seed(3)
    traced = hybrid.function(fn)
    for w in want:
        same(traced(q, k), w)
    assert not np.asarray(attend(q, k, v, dropout_p=1.0)).any()
    with pytest.raises(hybrid.HybridError, match="no probability"):
        attend(q, k, v, dropout_p=1.5)


def test_dropout_gradients_use_the_same_weights() -> None:
    xs = [normal(i, 7, 4, d=np.float64) for i in range(3)]

    def value(ys: list[np.ndarray]) -> Any:
        hybrid.manual_seed(11)
        ts = [hybrid.tensor(y, requires_grad=True) for y in ys]
        return (attend(*ts, dropout_p=0.4) ** 2).sum(), ts

    total, ts = value(xs)
    grads = hybrid.gradients(total, ts)
    for i, g in enumerate(grads):
        direction = normal(20 + i, 7, 4, d=np.float64)
        moved = [
            float(value([x + (h * direction if j == i else 0) for j, x in enumerate(xs)])[0].item())
            for h in (1e-5, -1e-5)
        ]
        slope = (moved[0] - moved[1]) / 2e-5
        assert abs(float((np.asarray(g) * direction).sum()) - slope) < 1e-6 * (1 + abs(slope))


# ---- errors, and a whole step
def test_errors() -> None:
    x = hybrid.ones(4, 3)
    with pytest.raises(hybrid.ShapeError, match="attention"):
        attend(x, hybrid.ones(4, 2), x)
    with pytest.raises(hybrid.ShapeError, match="attention"):
        attend(x, x, hybrid.ones(5, 3))
    with pytest.raises(hybrid.ShapeError, match="does not broadcast"):
        attend(x, x, x, hybrid.ones(3, 4))
    with pytest.raises(hybrid.ShapeError, match="not both"):
        attend(x, x, x, x, is_causal=True)
    with pytest.raises(hybrid.DTypeError, match="bool mask"):
        attend(x, x, x, hybrid.ones(4, 4, dtype="int32"))
    with pytest.raises(hybrid.DTypeError, match="floating"):
        attend(hybrid.arange(4).reshape(2, 2), [[1, 2]], [[1, 2]])
    with pytest.raises(TypeError, match="scale is a number, not a str"):
        attend(x, x, x, scale="large")
    with pytest.raises(TypeError, match="dropout_p is a number, not a NoneType"):
        attend(x, x, x, dropout_p=None)
    with pytest.raises(hybrid.DTypeError, match="one dtype"):
        half = hybrid.ones(4, 3, dtype="float16")
        bind(ATTENTION, half, half, half, scale=1.0, causal=False, masked=False, narrow="bfloat16")


def test_in_a_training_step() -> None:
    """Replays of a step with attention give the bits of eager steps; no queries x keys in memory."""

    class Net(hybrid.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = hybrid.nn.Linear(16, 48), hybrid.nn.Linear(16, 16)

        def forward(self, x: Any) -> Any:
            q, k, v = [a.reshape(2, 40, 2, 8).transpose(1, 2) for a in self.qkv(x).chunk(3, -1)]
            y = attend(q, k, v, is_causal=True).transpose(1, 2).reshape(2, 40, 16)
            return x + self.out(y)

    x = hybrid.tensor(normal(1, 2, 40, 16))
    losses = []
    for traced in (False, True):
        hybrid.manual_seed(0)
        net = Net()
        adam = hybrid.optim.Adam(net.parameters(), lr=0.01)

        def step(x: Any, net: Any = net, adam: Any = adam) -> Any:
            loss = (net(x) ** 2).mean()
            loss.backward()
            adam.step()
            adam.zero_grad()
            return loss

        fn = hybrid.function(step) if traced else step
        losses.append([fn(x).item() for _ in range(6)])
    assert losses[0] == losses[1]
