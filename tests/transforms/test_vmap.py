"""vmap against a Python loop: axes, trees, nesting, models, loops, rules, state, errors; eager and
traced bits."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from backend_kinds import KINDS, tensor
from test_derivatives import near, same_bits
from test_rules_and_checkpoint import MADE

import hybrid as hb
import hybrid.nn.functional as F
from hybrid.core import trees
from hybrid.ir.mode import Mode
from hybrid.ir.op import OPS
from hybrid.transforms.batching import Batching
from hybrid.transforms.layer import Layer

RNG = np.random.default_rng(7)


def draw(*shape: int) -> Any:
    return hb.tensor(RNG.normal(size=shape))


X = draw(4, 3)
Y = draw(4, 3)


def looped(f: Any, *args: Any) -> Any:
    """f of every row, stacked."""
    count = next(len(a) for a in trees.leaves(args))
    rows = [f(*trees.map_tree(lambda a, k=k: a[k], args)) for k in range(count)]
    flat = [trees.flatten(row) for row in rows]
    return trees.unflatten(flat[0][1], [hb.stack(list(c)) for c in zip(*[r[0] for r in flat])])


def agree(f: Any, *args: Any, tolerance: float = 1e-9) -> None:
    got, want = trees.leaves(hb.vmap(f)(*args)), trees.leaves(looped(f, *args))
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        near(a, b, tolerance)


# ---- axes and trees
def test_axes_of_arguments_and_results() -> None:
    f = lambda a, b, c: (a @ b + c, {"s": a.sum()})  # noqa: E731
    a, b, c = draw(3, 4), draw(3, 2, 4), hb.tensor(2.0, dtype="float64")
    out, more = hb.vmap(f, in_axes=(1, -1, None), out_axes=(-1, {"s": 0}))(a, b, c)
    want = looped(lambda a, b: a @ b + c, a.T, hb.moveaxis(b, -1, 0))
    near(out, want.T)
    near(more["s"], a.sum(axis=0))
    pair = hb.vmap(lambda p, y: p["w"] * y + p["b"], in_axes=({"w": 0, "b": None}, 0))
    near(pair({"w": X, "b": Y[0]}, Y), X * Y + Y[0])
    near(hb.vmap(lambda x, k: x * k)(X, k=Y), X * Y)
    near(hb.vmap(lambda x: 3.0)(X), [3.0] * 4)
    near(hb.vmap(lambda x: (x, 1), out_axes=(0, None))(X)[1], 1)
    near(hb.vmap(lambda x: x)(np.asarray(X)), X)
    passed = hb.vmap(lambda x: x)(X)
    passed += 1
    near(passed - 1, X)


def test_shapes_inside_are_those_of_a_row() -> None:
    def f(x: Any) -> Any:
        assert x.shape == (3,) and x.ndim == 1 and len(x) == 3 and x.size == 3
        assert isinstance(x, hb.Tensor)
        a, b, c = x
        return hb.stack([c, a, b]).reshape(3, 1)[::-1] * x.shape[0]

    agree(f, X)


@pytest.mark.parametrize("size", [0, 1])
def test_few_rows(size: int) -> None:
    x = draw(size, 3)
    got = hb.vmap(hb.grad(lambda r: (hb.softmax(r) * hb.cumulative_sum(r)).sum()))(x)
    assert got.shape == (size, 3)
    got = hb.vmap(lambda r, i: r[i])(x, hb.zeros(size, dtype="int64"))
    assert got.shape == (size,)


def test_nested() -> None:
    near(hb.vmap(lambda r: hb.vmap(lambda a: a * r.sum())(r))(X), X * X.sum(axis=1, keepdims=True))
    outer = hb.vmap(hb.vmap(lambda a, b: a - b, in_axes=(0, None)), in_axes=(None, 0))(X[0], Y[1])
    near(outer, X[0][None, :] - Y[1][:, None])
    matmul = hb.vmap(hb.vmap(lambda u, v: u @ v, (None, 1)), (0, None))
    near(matmul(X, Y.T), X @ Y.T)
    f = lambda a, b: hb.vmap(lambda c: hb.sin(c * a).sum() * b)(b)  # noqa: E731
    agree(hb.grad(lambda a, b: f(a, b).sum()), X, Y)


# ---- indices, writes, branches
def pick(x: Any, i: Any) -> Any:
    return x[i] * 2 + hb.take(x, i) + hb.embedding(x.reshape(3, 1), i.reshape(1))[0, 0]


def masked(x: Any, i: Any) -> Any:
    return hb.where(x > 0, x, 0.0).sum() + hb.sort(x)[i] + x[hb.argsort(x)][0]


def written(x: Any, i: Any) -> Any:
    fresh = hb.zeros(3, dtype="float64")
    fresh[1:] = x[:2]
    fresh[0] = x.sum()
    view = x[1:] * 1
    view *= 2
    head = view[:1]
    head += fresh[0]
    x += fresh
    fresh[hb.stack([i, i])] = x[:2]
    return hb.concat([x, view, fresh])


def branched(x: Any, i: Any) -> Any:
    y = hb.cond(x.sum() > 0, lambda v: v * 2, lambda v: -v, x)
    y = hb.switch(i, [hb.sin, hb.cos, lambda v: v * v], y)
    y = hb.while_loop(lambda v: hb.abs(v).sum() < 9, lambda v: v * 1.5 + hb.sign(v), y)
    y = hb.fori_loop(0, i, lambda k, v: v * 0.5 + k, y)
    return hb.scan(lambda c, v: (c + v, c * v), x[0], y)


INDEX = hb.tensor([2, 0, 1, 1])


@pytest.mark.parametrize("f", [pick, masked, written, branched])
def test_indices_writes_and_branches(f: Any) -> None:
    agree(lambda x, i: f(x * 1, i), X, INDEX)
    agree(hb.grad(lambda x, i: sum(t.sum() for t in trees.leaves(f(x * 1, i)))), X, INDEX)
    same_bits(lambda x, i: hb.vmap(lambda x, i: f(x * 1, i))(x, i), X, INDEX)
    outer = lambda x: sum(  # noqa: E731
        (t * t).sum() for t in trees.leaves(hb.vmap(lambda x, i: f(x * 1, i))(x, INDEX))
    )
    inner = lambda x: sum(  # noqa: E731
        (t * t).sum() for t in trees.leaves(looped(lambda x, i: f(x * 1, i), x, INDEX))
    )
    near(hb.grad(outer)(X), hb.grad(inner)(X))


def test_long_loops_are_one_operation_of_a_recording() -> None:
    weight, xs = draw(3, 3), draw(4, 50, 3)

    def f(x: Any, rows: Any) -> Any:
        def step(c: Any, v: Any) -> Any:
            c = hb.tanh(weight @ c + v + Y[0])
            return c, {"sum": c.sum(), "one": v[0]}

        last, ys = hb.scan(step, x, rows, reverse=True)
        done = hb.fori_loop(3, 60, lambda i, c: c * 0.9 + i, last)
        alone = hb.scan(lambda c, v: (c + v, v), Y[0], hb.ones(40, 3, dtype="float64"))
        return done, ys, alone[0] * x

    many = lambda x, rows: hb.vmap(f)(x, rows)  # noqa: E731
    agree(f, X, xs)
    same_bits(many, X, xs)
    same_bits(lambda x, rows: hb.vmap(lambda v: many(x * v, rows))(Y[0]), X, xs)
    traced = hb.function(many, wait=True)
    for _ in range(3):
        traced(X, xs)
    assert str(traced.graph(X, xs)).count(" = scan(") == 3
    loss = lambda x: sum(t.sum() for t in trees.leaves(f(x, xs[0])))  # noqa: E731
    agree(hb.grad(loss), X)
    same_bits(lambda x: hb.vmap(hb.grad(loss))(x), X)


# ---- derivatives
def quartic(x: Any) -> Any:
    return (hb.tanh(x) * hb.softmax(x * x)).sum() ** 2


DERIVATIVES = {
    "grad": hb.grad(quartic),
    "value_and_grad": hb.value_and_grad(quartic),
    "grad of grad": hb.grad(lambda x: (hb.grad(quartic)(x) ** 2).sum()),
    "jvp": lambda x: hb.jvp(quartic, (x,), (hb.ones(3, dtype="float64"),)),
    "hvp": lambda x: hb.hvp(quartic, (x,), (x,)),
    "jacfwd": hb.jacfwd(lambda x: hb.softmax(x) * x),
    "jacrev": hb.jacrev(lambda x: hb.softmax(x) * x),
    "hessian": hb.hessian(quartic),
    "vjp": lambda x: hb.vjp(lambda x: hb.sin(x) * x, x)[1](x),
    "stop": hb.grad(lambda x: (hb.stop_gradient(x) * x).sum()),
    "no_grad": lambda x: hb.grad(lambda y: _no_grad(y).sum())(x),
}


def _no_grad(x: Any) -> Any:
    with hb.no_grad():
        fixed = x * 3
    return fixed * x


@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives_inside_outside_and_traced(name: str) -> None:
    f = DERIVATIVES[name]
    agree(f, X)
    many = lambda x: hb.vmap(f)(x)  # noqa: E731
    same_bits(many, X)
    total = lambda g: lambda x: sum((t * t).sum() for t in trees.leaves(g(x)))  # noqa: E731
    loop = lambda x: looped(f, x)  # noqa: E731
    near(hb.grad(total(many))(X), hb.grad(total(loop))(X))
    near(hb.jvp(total(many), (X,), (Y,))[1], hb.jvp(total(loop), (X,), (Y,))[1])
    same_bits(hb.grad(total(many)), X)


@pytest.mark.parametrize("make", MADE)
def test_rules_of_ones_own(make: Any) -> None:
    f = make()
    shared = hb.tensor(0.5, dtype="float64")
    g = lambda x: (f(x * shared, 3) * x).sum()  # noqa: E731
    agree(g, X)
    agree(hb.grad(g), X)
    agree(hb.grad(lambda x: (hb.grad(g)(x) ** 2).sum()), X)
    total = lambda many: lambda x, s: (many(lambda r: (f(r * s, 3) * r).sum(), x) ** 2).sum()  # noqa: E731
    over = total(lambda h, x: hb.vmap(h)(x))
    loop = total(looped)
    for a, b in zip(hb.grad(over, (0, 1))(X, shared), hb.grad(loop, (0, 1))(X, shared)):
        near(a, b)
    near(hb.jvp(over, (X, shared), (Y, shared))[1], hb.jvp(loop, (X, shared), (Y, shared))[1])


def test_rules_are_used_in_the_gradient_of_vmap() -> None:
    f = hb.custom_vjp(lambda x: x * 1)
    f.defvjp(lambda x: (x * 1, x), lambda x, g: (g * x * 10,))
    near(hb.grad(lambda x: hb.vmap(f)(x).sum())(X), X * 10)
    near(hb.vmap(hb.grad(lambda x: f(x).sum()))(X), X * 10)
    near(hb.grad(lambda x: hb.vmap(lambda r: f(r) * X[0])(x).sum())(X), X * 10 * X[0])


# ---- models
class Net(hb.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = hb.nn.Conv2d(1, 3, 3, padding=1)
        self.norm = hb.nn.LayerNorm(12)
        self.head = hb.nn.Linear(12, 5)
        self.table = hb.nn.Embedding(4, 12)

    def forward(self, image: Any, word: Any) -> Any:
        x = F.max_pool2d(F.relu(self.conv(image[None])), 2)
        x = self.norm(x.reshape(1, 12)) + self.table(word)
        return self.head(F.gelu(x))


def functional(net: Any, params: Any, *args: Any) -> Any:
    """The module with other parameters."""
    return hb.nn.functional_call(net, params, args)


def cnn_loss(p: Any, image: Any, label: Any) -> Any:
    x = F.max_pool2d(F.relu(F.conv2d(image[None], p["conv"], p["bias"], padding=1)), 2)
    x = F.layer_norm(x.reshape(1, 12), 12, p["weight"], p["shift"])
    x = x + hb.embedding(p["table"], label.reshape(1))
    return F.cross_entropy(F.linear(F.gelu(x), p["head"], p["out"]), label.reshape(1))


def cnn_parameters() -> Any:
    shapes = {
        "conv": (3, 1, 3, 3),
        "bias": (3,),
        "weight": (12,),
        "shift": (12,),
        "table": (5, 12),
        "head": (5, 12),
        "out": (5,),
    }
    return {k: draw(*s) for k, s in shapes.items()}


IMAGES, LABELS = draw(6, 1, 4, 4), hb.tensor([0, 1, 4, 2, 2, 3])


def test_gradients_of_each_example() -> None:
    p = cnn_parameters()
    each = hb.vmap(hb.grad(cnn_loss), in_axes=(None, 0, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = each(p, IMAGES, LABELS)
    want = looped(lambda i, t: hb.grad(cnn_loss)(p, i, t), IMAGES, LABELS)
    for name in p:
        near(got[name], want[name], 1e-9)
    same_bits(lambda p, i, t: each(p, i, t), p, IMAGES, LABELS)
    mean = hb.grad(lambda p: hb.vmap(cnn_loss, (None, 0, 0))(p, IMAGES, LABELS).mean())(p)
    for name in p:
        near(mean[name], got[name].mean(axis=0), 1e-9)


def test_many_models_at_once() -> None:
    models = [cnn_parameters() for _ in range(3)]
    stacked = {k: hb.stack([m[k] for m in models]) for k in models[0]}
    got = hb.vmap(hb.grad(cnn_loss), in_axes=(0, None, None))(stacked, IMAGES[0], LABELS[0])
    for number, model in enumerate(models):
        want = hb.grad(cnn_loss)(model, IMAGES[0], LABELS[0])
        for name in model:
            near(got[name][number], want[name], 1e-9)
    grid = hb.vmap(hb.vmap(cnn_loss, (None, 0, 0)), (0, None, None))(stacked, IMAGES, LABELS)
    assert grid.shape == (3, 6)
    near(grid[1, 2], cnn_loss(models[1], IMAGES[2], LABELS[2]), 1e-9)


def test_modules_and_decorated_functions_inside() -> None:
    hb.random.manual_seed(3)
    net = hb.nn.Sequential(hb.nn.Linear(3, 8), hb.nn.Tanh(), hb.nn.Linear(8, 2))
    x = hb.tensor(np.asarray(X, np.float32))
    near(hb.vmap(net)(x), net(x), 1e-6)
    decorated = hb.function(lambda r: net(r).sum(), wait=True)
    for _ in range(4):
        decorated(x[0])
    near(hb.vmap(decorated)(x), net(x).sum(axis=1), 1e-6)
    hb.vmap(lambda r: net(r).sum())(x).sum().backward()
    grads = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    net(x).sum().backward()
    for a, b in zip(grads, net.parameters()):
        near(a, b.grad, 1e-5)


def test_attention() -> None:
    def f(q: Any, k: Any, v: Any) -> Any:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    q, k, v = draw(3, 2, 5, 4), draw(3, 2, 5, 4), draw(3, 2, 5, 4)
    agree(f, q, k, v)
    agree(hb.grad(lambda *qkv: (f(*qkv) ** 2).sum(), (0, 1, 2)), q, k, v)


# ---- random numbers
def test_rows_draw_their_own_numbers_which_do_not_depend_on_how_many_follow() -> None:
    def f(x: Any) -> Any:
        return x * 0 + hb.rand(3).astype(x.dtype), hb.random.normal((2,)), F.dropout(x * 0 + 1, 0.5)

    hb.random.manual_seed(5)
    four = hb.vmap(f)(X)
    after = hb.rand(2)
    hb.random.manual_seed(5)
    two = hb.vmap(f)(X[:2])
    assert np.asarray(after).tobytes() == np.asarray(hb.rand(2)).tobytes()
    for many, few in zip(four, two):
        near(many[:2], few, 0)
    assert len({row.tobytes() for row in np.asarray(four[0])}) == 4
    hb.random.manual_seed(5)
    first = f(X[0])
    near(four[0][0], first[0], 0)

    traced = hb.function(lambda x: hb.vmap(f)(x), wait=True)
    hb.random.manual_seed(5)
    runs = [traced(X) for _ in range(4)]
    hb.random.manual_seed(5)
    for run in runs:
        for a, b in zip(run, hb.vmap(f)(X)):
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


# ---- what cannot be
OUTSIDE = hb.zeros(3, dtype="float64")
LEAF = hb.ones(3, dtype="float64", requires_grad=True)


@pytest.mark.parametrize(
    "f, text",
    [
        (lambda x: x if x.sum() > 0 else -x, "hybrid.where"),
        (lambda x: x * float(x.sum()), r"float\(\) reads a batched value"),
        (lambda x: x[x > 0], "reads a batched value"),
        (lambda x: np.sin(np.asarray(x)), "reads a batched value"),
        (lambda x: x.sum().item(), "reads a batched value"),
        (lambda x: f"{x.sum()}", "reads a batched value"),
        (lambda x: OUTSIDE.assign(x), "return it instead"),
        (lambda x: OUTSIDE.__setitem__(0, x[0]), "return it instead"),
        (lambda x: (x * LEAF).sum().backward(), "hybrid.grad"),
        (lambda x: hb.tap(x, "name"), "one row"),
        (lambda x: hb.nonzero(x), "reads a batched value"),
    ],
)
def test_values_of_a_row_do_not_leave(f: Any, text: str) -> None:
    with pytest.raises(hb.HybridError, match=text) as caught:
        hb.vmap(f)(X)
    assert "test_vmap.py" in str(caught.value)
    near(OUTSIDE, [0.0] * 3)
    assert LEAF.grad is None
    near(hb.vmap(hb.sin)(X), hb.sin(X))  # nothing is left behind


def test_what_is_the_same_for_all_rows_may_be_read_and_written() -> None:
    total = hb.zeros(3, dtype="float64")

    def f(x: Any) -> Any:
        total.assign(total + Y[0])
        scale = 2.0 if Y.sum() > -100 else 3.0
        return x * scale * float(Y[0, 0])

    near(hb.vmap(f)(X), X * 2.0 * Y[0, 0])
    near(total, Y[0])
    assert "tensor" in hb.vmap(lambda x: (repr(x), x * 0)[1])(X).__repr__()


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: hb.vmap(hb.add)(X, Y[:2]), hb.ShapeError, "different numbers of rows"),
        (lambda: hb.vmap(hb.add)(X, 3), hb.ArgumentError, "no rows"),
        (lambda: hb.vmap(hb.add, in_axes=None)(X, Y), hb.ArgumentError, "no argument has rows"),
        (lambda: hb.vmap(hb.add, in_axes=(0,))(X, Y), hb.ArgumentError, "1 parts"),
        (lambda: hb.vmap(hb.add, in_axes=({"a": 0}, 0))(X, Y), hb.ArgumentError, "in_axes"),
        (lambda: hb.vmap(hb.sin, in_axes=2)(X), hb.ShapeError, "2"),
        (lambda: hb.vmap(hb.sin)(hb.tensor(1.0)), hb.ShapeError, "0"),
        (lambda: hb.vmap(hb.sin, out_axes=(0, 0))(X), hb.ArgumentError, "out_axes"),
        (lambda: hb.vmap(hb.sin, out_axes=None)(X), hb.ArgumentError, "another for each row"),
        (lambda: hb.vmap(lambda x: "a")(X), hb.ArgumentError, "returned 'a'"),
        (lambda: hb.vmap(3), hb.ArgumentError, "function"),
    ],
)
def test_errors(call: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        call()


# ---- the mode
HANDED_ON = {"on_late", "on_switch", "on_effect"}  # of no tensor, so the same for all rows


def test_every_hook_of_a_mode_is_decided() -> None:
    hooks = {name for name in vars(Mode) if name.startswith("on_")}
    assert {name for name in hooks if name not in vars(Batching)} == HANDED_ON
    assert hooks <= set(vars(Layer))


def test_every_draw_says_that_it_is_one() -> None:
    assert all(op.has("draw") for name, op in OPS.items() if name.startswith("random_"))


@pytest.mark.parametrize("kind", KINDS)
def test_on_every_device(kind: str) -> None:
    p = {name: tensor(np.asarray(t, np.float32), kind) for name, t in cnn_parameters().items()}
    images, labels = tensor(np.asarray(IMAGES, np.float32), kind), tensor(np.asarray(LABELS), kind)
    each = hb.vmap(hb.grad(cnn_loss), in_axes=(None, 0, 0))
    got = each(p, images, labels)
    want = looped(lambda i, t: hb.grad(cnn_loss)(p, i, t), images, labels)
    for name in p:
        near(got[name], want[name], 1e-4)
        assert got[name].device == p[name].device
    same_bits(lambda p, i, t: each(p, i, t), p, images, labels)
    drawn = hb.vmap(lambda x: x * 0 + hb.rand(4, device=x.device))(images[:, 0, 0])
    assert drawn.shape == (6, 4)
    tangent = hb.jvp(lambda i: cnn_loss(p, i, labels[0]), (images[0],), (images[1],))[1]
    near(tangent, (hb.grad(cnn_loss, 1)(p, images[0], labels[0]) * images[1]).sum(), 1e-4)


ASKED = {
    "rule": lambda x: MADE[0]()(x, 2),
    "checkpoint": hb.checkpoint(lambda x: hb.sin(hb.exp(x))),
    "vmap": lambda x: hb.vmap(lambda a: hb.grad(quartic)(a) * MADE[1]()(a, 2))(x),
    "jvp": lambda x: hb.jvp(quartic, (x[0],), (x[1],))[1],
}


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.filterwarnings("ignore::hybrid.RunsEagerly")
def test_gradients_that_are_asked_for_outside_of_a_recorded_call(name: str) -> None:
    f, x = ASKED[name], hb.tensor(np.asarray(X), requires_grad=True)
    reads = lambda x: (float(f(x).sum()), f(x))[1]  # noqa: E731

    def gradient(call: Any) -> bytes:
        x.grad = None
        call(x).sum().backward()
        return np.asarray(x.grad).tobytes()

    want = gradient(f)
    for call in (hb.function(f, wait=True), hb.function(reads, wait=True)):
        assert [gradient(call) for _ in range(4)] == [want] * 4
