"""Functions under PyTorch's names give what PyTorch gives: pad, one_hot, cosine_similarity,
meshgrid, masked_fill, double-precision optimizers.  Eager and replayed."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hybrid as hb
import hybrid.nn.functional as F


def check(f: Callable[..., Any], want: Any, *args: Any) -> None:
    """f gives `want` eagerly and in three decorated calls, bits and dtype."""
    traced = hb.function(f)
    plain = f(*args).numpy()
    for got in (plain, *[traced(*args).numpy() for _ in range(3)]):
        assert got.dtype == plain.dtype and got.tobytes() == plain.tobytes()
    np.testing.assert_allclose(plain, np.asarray(want), rtol=1e-6, atol=1e-12)
    assert plain.shape == np.shape(want)


X = hb.arange(5, dtype="float32")
# (mode, widths, PyTorch's answer)
PADS = [
    ("reflect", (-1, 2), [1, 2, 3, 4, 3, 2]),
    ("reflect", (2, -1), [2, 1, 0, 1, 2, 3]),
    ("reflect", (-2, -2), [2]),
    ("reflect", (4, 4), [4, 3, 2, 1, 0, 1, 2, 3, 4, 3, 2, 1, 0]),
    ("reflect", (4, -3), [4, 3, 2, 1, 0, 1]),
    ("reflect", (-3, 3), [3, 4, 3, 2, 1]),
    ("replicate", (-1, 2), [1, 2, 3, 4, 4, 4]),
    ("replicate", (6, 0), [0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
    ("replicate", (-3, 3), [3, 4, 4, 4, 4]),
    ("circular", (-1, 2), [1, 2, 3, 4, 1, 2]),
    ("circular", (2, -1), [2, 3, 0, 1, 2, 3]),
    ("circular", (5, 5), [0, 1, 2, 3, 4] * 3),
    ("constant", (-1, 2), [1, 2, 3, 4, 0, 0]),
    ("constant", (2, -1), [0, 0, 0, 1, 2, 3]),
    ("constant", (-2, -3), []),
    ("constant", (0, 0), [0, 1, 2, 3, 4]),
    ("constant", (), [0, 1, 2, 3, 4]),
]


@pytest.mark.parametrize("mode, widths, want", PADS)
def test_pad_is_pytorchs(mode: str, widths: Any, want: Any) -> None:
    check(lambda x: F.pad(x, widths, mode) * 1.0, np.array(want, np.float32), X)


def test_pad_takes_the_last_axis_first() -> None:
    x = hb.arange(6, dtype="float32").reshape(1, 2, 3)
    want = np.pad(x.numpy(), ((0, 0), (3, 0), (1, 2)), constant_values=7.0)
    check(lambda x: F.pad(x, (1, 2, 3, 0), value=7.0), want, x)
    check(
        lambda x: F.pad(x, [1, 2, 1, 1], "reflect"),
        np.pad(x.numpy(), ((0, 0), (1, 1), (1, 2)), "reflect"),
        x,
    )
    y = hb.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    F.pad(y, (1, -1), "circular").sum().backward()
    assert y.grad.tolist() == [[2.0, 0.0], [2.0, 0.0]]
    big = F.pad(hb.ones(1, dtype="float64"), (1, 0), value=0.1)
    assert big.tolist() == [0.1, 1.0]
    assert F.pad(hb.tensor([1, 2]), (1, 0), value=1.5).tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    "args",
    [
        ((1,),),
        ((1, 2, 3),),
        ((1,) * 4,),
        ((5, 5), "reflect"),
        ((6, 0), "circular"),
        ((-3, 3), "circular"),
        ((-3, -3),),
        ((-3, -3), "replicate"),
    ],
)
def test_pad_refuses(args: Any) -> None:
    with pytest.raises(hb.ShapeError):
        F.pad(X, *args)


def test_pad_refuses_modes_and_values() -> None:
    for args in (((1, 1), "edge"), ((1, 1), "reflect", 2.0)):
        with pytest.raises(hb.HybridError):
            F.pad(X, *args)


def test_one_hot_is_pytorchs() -> None:
    index = hb.tensor([[0, 2], [1, 0]])
    want = np.eye(4, dtype=np.int64)[index.numpy()]
    check(lambda i: F.one_hot(i, 4), want, index)
    assert F.one_hot(index).tolist() == np.eye(3)[index.numpy()].tolist()
    assert F.one_hot(index, 4).dtype is hb.int64 and F.one_hot(hb.tensor(2)).tolist() == [0, 0, 1]
    assert F.one_hot(index[:0], 3).shape == (0, 2, 3)
    assert F.one_hot(hb.tensor([1], dtype="uint8"), 2).tolist() == [[0, 1]]
    traced = hb.function(lambda i: F.one_hot(i, 2))
    good = hb.tensor([0, 1])
    for f in (lambda i: F.one_hot(i, 2), traced, traced, traced):
        assert f(good).tolist() == [[1, 0], [0, 1]]
    for bad in ([0, 2], [-1, 0]):
        for f in (lambda i: F.one_hot(i, 2), traced):
            with pytest.raises(hb.IndexOutOfRange):
                f(hb.tensor(bad))
    for index, n in (
        (hb.tensor([], dtype="int64"), -1),
        (hb.tensor([], dtype="int64"), 0),
        (hb.tensor([0]), -2),
    ):
        with pytest.raises((hb.ShapeError, hb.IndexOutOfRange)):
            F.one_hot(index, n)
    with pytest.raises(hb.DTypeError):
        F.one_hot(hb.tensor([0.5]), 2)


def _cosine(a: np.ndarray, b: np.ndarray, axis: int, eps: float = 1e-8) -> np.ndarray:
    a, b = np.broadcast_arrays(a, b)
    x = a / np.maximum(np.sqrt((a * a).sum(axis, keepdims=True)), eps)
    y = b / np.maximum(np.sqrt((b * b).sum(axis, keepdims=True)), eps)
    return (x * y).sum(axis)


@pytest.mark.parametrize(
    "a, b, axis",
    [
        ((2, 4), (2, 4), 1),
        ((2, 1), (2, 4), 1),
        ((4,), (2, 4), 1),
        ((2, 4), (4,), -1),
        ((3, 1, 4), (2, 1), 1),
        ((1, 4), (3, 4), 0),
        ((2, 3, 4), (4,), 2),
    ],
)
def test_cosine_similarity_broadcasts_first(a: Any, b: Any, axis: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=a), rng.normal(size=b)
    check(
        lambda x, y: hb.cosine_similarity(x, y, axis),
        _cosine(x, y, axis),
        hb.tensor(x),
        hb.tensor(y),
    )


def test_cosine_similarity_of_zero_and_tiny_vectors() -> None:
    a = hb.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    b = hb.tensor([[1.0, 0.0]], requires_grad=True)
    out = hb.cosine_similarity(a, b)
    out.sum().backward()
    np.testing.assert_allclose(out.numpy(), [0.6, 0.0], rtol=1e-6)
    np.testing.assert_allclose(a.grad.numpy(), [[0.128, -0.096], [1e8, 0.0]], rtol=1e-5)
    np.testing.assert_allclose(b.grad.numpy(), [[0.0, 0.8]], atol=1e-6)
    tiny = hb.tensor([1e-9, 0.0])
    assert abs(hb.cosine_similarity(tiny, tiny, 0).item() - 0.01) < 1e-7
    with pytest.raises(hb.ShapeError):
        hb.cosine_similarity(hb.ones(2, 3), hb.ones(4), 1)
    with pytest.raises(hb.ShapeError):
        hb.cosine_similarity(hb.ones(2, 3), hb.ones(3), 2)


def test_meshgrid_of_one_list() -> None:
    x, y = hb.arange(2), hb.arange(3) * 0.5
    want = np.meshgrid(x.numpy(), y.numpy())
    for given in (
        (x, y),
        ([x, y],),
        ((x, y),),
        ([x.numpy(), y.numpy()],),
        ([[0, 1], [0, 0.5, 1]],),
    ):
        got = hb.meshgrid(*given)
        assert type(got) is tuple and [g.tolist() for g in got] == [w.tolist() for w in want]
        check(lambda k=given: hb.meshgrid(*k)[0], want[0])
    assert hb.meshgrid([x, x])[0].shape == (2, 2) and hb.meshgrid(x)[0].shape == (2,)
    assert hb.meshgrid([1, 2, 3])[0].tolist() == [1, 2, 3] and hb.meshgrid() == ()
    assert hb.meshgrid([x, y])[0].dtype is hb.int64
    with pytest.raises(hb.ShapeError):
        hb.meshgrid(hb.ones(2, 2))


@pytest.mark.parametrize(
    "d", ["float16", "bfloat16", "float32", "float64", "int8", "int64", "bool"]
)
@pytest.mark.parametrize("value", [2, 2.5, True, -1, float("-inf"), "f64", "i64", "np"])
def test_masked_fill_keeps_the_dtype(d: str, value: Any) -> None:
    x, mask = hb.ones(3, dtype=d), hb.tensor([True, False, True])
    v = {"f64": hb.tensor(2.5, dtype="float64"), "i64": hb.tensor(3), "np": np.float64(1.5)}.get(
        value, value
    )
    if value == float("-inf") and d in ("int8", "int64"):
        with pytest.raises(OverflowError):
            x.masked_fill(mask, v)
        return
    got = x.masked_fill(mask, v)
    assert got.dtype is x.dtype and got.tolist()[1] == x.tolist()[1]
    check(
        lambda x, m: x.masked_fill(m, v).astype("float64"), got.astype("float64").numpy(), x, mask
    )


def test_masked_fill_broadcasts_and_has_a_gradient() -> None:
    x = hb.ones(3, 1, requires_grad=True)
    y = x.masked_fill(hb.tensor([True, False]), 0)
    assert y.shape == (3, 2) and y.dtype is hb.float32
    y.sum().backward()
    assert x.grad.tolist() == [[1.0]] * 3
    with pytest.raises(OverflowError, match="int8"):
        hb.ones(2, dtype="int8").masked_fill(hb.tensor([True, False]), 300)


# ---- optimizers in double precision
def _adam(p: float, g: float, steps: int, lr: float, decoupled: bool) -> float:
    m = v = 0.0
    for t in range(1, steps + 1):
        if decoupled:
            p *= 1 - lr * 0.01
        m, v = m + (g - m) * (1 - 0.9), v * 0.999 + (1 - 0.999) * g * g
        p -= lr / (1 - 0.9**t) * m / (np.sqrt(v) / np.sqrt(1 - 0.999**t) + 1e-8)
    return p


def _trained(make: Callable[[Any], Any], decorated: bool, d: str = "float64") -> tuple[Any, Any]:
    p = hb.tensor([1.0], dtype=d, requires_grad=True)
    opt = make([p])

    def step() -> None:
        opt.zero_grad()
        (p * 0.3).sum().backward()
        opt.step()

    run = hb.function(step) if decorated else step
    for _ in range(5):
        run()
    return p, opt


@pytest.mark.parametrize("decorated", [False, True])
def test_optimizers_use_double_precision_numbers(decorated: bool) -> None:
    p, _ = _trained(lambda ps: hb.optim.SGD(ps, lr=0.1), decorated)
    want = 1.0
    for _ in range(5):
        want -= 0.1 * 0.3
    assert abs(p.item() - want) < 1e-15
    for make, decoupled in ((hb.optim.Adam, False), (hb.optim.AdamW, True)):
        p, opt = _trained(lambda ps, m=make: m(ps, lr=0.1), decorated)
        assert abs(p.item() - _adam(1.0, 0.3, 5, 0.1, decoupled)) < 1e-14
        assert opt.lr.dtype is hb.float64 and opt.lr.item() == 0.1
        opt.lr = 0.3
        assert opt.lr.item() == 0.3
    p, opt = _trained(lambda ps: hb.optim.Adam(ps, lr=0.1), decorated, "bfloat16")
    assert opt.lr.dtype is hb.float32 and p.dtype is hb.bfloat16


def test_a_group_of_both_precisions() -> None:
    ps = [hb.tensor([1.0], dtype=d, requires_grad=True) for d in ("float32", "float64")]
    opt = hb.optim.SGD(ps, lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.01)
    one = hb.optim.SGD(
        [hb.tensor([1.0], requires_grad=True)],
        lr=0.1,
        momentum=0.9,
        dampening=0.1,
        weight_decay=0.01,
    )
    for o in (opt, one):
        for p in o.param_groups[0]["params"]:
            p.grad = hb.ones_like(p)
        o.step()
    assert ps[0].item() == one.param_groups[0]["params"][0].item()
    assert abs(ps[1].item() - (1 - 0.1 * 1.01)) < 1e-15
    fresh = hb.optim.SGD(ps, lr=0.2, momentum=0.9, dampening=0.1, weight_decay=0.01)
    fresh.load_state_dict(opt.state_dict())
    assert fresh.lr.item() == 0.1
