"""Calls that were made before are found again by what they were given: what is equal but not the
same (1 and True, 0.0 and -0.0, an axis and a number like it) stays apart."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import hybrid as hb
from hybrid.core.errors import HybridError
from hybrid.nn import functional as F


def both(call):
    """What two calls in a row give, or raise."""
    found = []
    for _ in range(2):
        try:
            found.append(call())
        except Exception as error:
            found.append(type(error))
    return found


def test_numbers_that_are_equal_make_different_tensors():
    for _ in range(2):
        assert [hb.full((2,), v).dtype.name for v in (1, True, 1.0)] == [
            *("int64", "bool", "float32"),
        ]
        signs = [np.signbit(hb.full((2,), v).numpy()).tolist() for v in (0.0, -0.0)]
        assert signs == [[False] * 2, [True] * 2]
        like = hb.ones(2)
        signs = [np.signbit(hb.full_like(like, v).numpy()).tolist() for v in (-0.0, 0.0)]
        assert signs == [[True] * 2, [False] * 2]
        assert np.isnan(hb.full((2,), float("nan")).numpy()).all()


def test_filled_tensors_are_of_their_own():
    first, second = hb.ones(3), hb.ones(3)
    first.add_(1.0)
    assert first.tolist() == [2.0] * 3 and second.tolist() == [1.0] * 3 == hb.ones(3).tolist()
    leaf = hb.ones_like(second, requires_grad=True)
    assert leaf.requires_grad and not hb.ones_like(second).requires_grad
    assert hb.zeros_like(hb.tensor([1, 2])).dtype.name == "int64"


def test_a_number_that_does_not_fit_is_refused_each_time():
    assert both(lambda: hb.full((2,), 300, dtype="int8")) == [OverflowError] * 2
    assert both(lambda: hb.full_like(hb.tensor([1], dtype="int8"), 300)) == [OverflowError] * 2


@pytest.mark.parametrize(
    "function", [hb.softmax, hb.log_softmax, hb.sum, hb.mean], ids=lambda f: f.__name__
)
def test_what_equals_an_axis_need_not_be_one(function):
    x = hb.tensor(np.arange(6, dtype=np.float32).reshape(2, 3))
    before = both(lambda: function(x, 1.0))
    expected = function(x, 1).numpy()
    assert (function(x, 1).numpy() == expected).all()
    assert both(lambda: function(x, 1.0)) == before
    assert all(issubclass(error, hb.ShapeError) for error in both(lambda: function(x, 5)))


def test_layer_norm_tells_its_arguments_apart():
    rng = np.random.default_rng(0)
    x, weight, bias = (hb.tensor(rng.random(s, np.float32)) for s in ((4, 8), (8,), (8,)))
    plain = F.layer_norm(x, 8).numpy()
    for _ in range(2):
        assert (F.layer_norm(x, 8).numpy() == plain).all()
        assert (F.layer_norm(x, (8,)).numpy() == plain).all()
        assert (F.layer_norm(x, [8]).numpy() == plain).all()
        scaled = F.layer_norm(x, 8, weight).numpy()
        assert (scaled == plain * weight.numpy()).all()
        shifted = F.layer_norm(x, 8, bias=bias).numpy()
        assert (shifted == plain + bias.numpy()).all()
        assert (F.layer_norm(x, 8, eps=0.5).numpy() != plain).any()
        with pytest.raises(HybridError):
            F.layer_norm(x, 4)
        with pytest.raises(HybridError):
            F.layer_norm(x, (4, 7))
    zero = hb.zeros(2, 8)
    assert np.isnan(F.layer_norm(zero, 8, eps=0.0).numpy()).all()
    assert np.isnan(F.layer_norm(zero, 8, eps=-0.0).numpy()).all()
    half = F.layer_norm(x.half(), 8, weight, bias)
    assert half.dtype.name == "float16"


def test_calls_without_a_tape():
    leaf, other = hb.ones(3, requires_grad=True), hb.tensor([1.0, 2.0, 3.0])
    for _ in range(3):
        with hb.no_grad():
            results = (
                leaf * other,
                leaf * 2.0,
                leaf * 0.0,
                leaf * -0.0,
                -leaf,
                hb.exp(leaf),
                2 + leaf,
            )
        assert not any(r.requires_grad for r in results)
        assert results[0].tolist() == [1.0, 2.0, 3.0] and results[1].tolist() == [2.0] * 3
        assert [np.signbit(r.numpy()).any() for r in results[2:4]] == [False, True]
        assert results[4].tolist() == [-1.0] * 3 and results[6].tolist() == [3.0] * 3
        assert (leaf * other).requires_grad
        with hb.no_grad(), pytest.raises(hb.ShapeError, match="multiply"):
            leaf * hb.ones(2)


def test_another_thread_without_a_tape_takes_no_gradient_away():
    leaf, other = hb.ones(3, requires_grad=True), hb.tensor([1.0, 2.0, 3.0])
    entered, done = threading.Event(), threading.Event()

    def without() -> None:
        with hb.no_grad():
            entered.set()
            done.wait(10)

    thread = threading.Thread(target=without)
    thread.start()
    entered.wait(10)
    try:
        product = leaf * other * 2.0
        assert product.requires_grad
        product.sum().backward()
    finally:
        done.set()
        thread.join()
    assert leaf.grad.tolist() == [2.0, 4.0, 6.0]


@pytest.mark.parametrize("axis", [None, 0, (0, 1), 1, (1, 2), 2])
@pytest.mark.parametrize("function", [hb.sum, hb.mean], ids=lambda f: f.__name__)
def test_gradients_spread_over_reduced_axes(function, axis):
    x = hb.tensor(np.random.default_rng(1).random((2, 3, 4)), requires_grad=True)
    outer = function(x * x, axis)
    seed = hb.tensor(np.random.default_rng(2).random(outer.shape))
    (first,) = hb.gradients(outer, [x], [seed], create_graph=True)
    axes = tuple(range(3)) if axis is None else axis
    count = 1 if function is hb.sum else np.prod([(2, 3, 4)[a] for a in np.atleast_1d(axes)])
    spread = np.expand_dims(seed.numpy(), axes) / count
    assert np.allclose(first.numpy(), 2 * x.numpy() * spread)
    (second,) = hb.gradients(first.sum(), [x])
    assert np.allclose(second.numpy(), 2 * np.broadcast_to(spread, x.shape))


VIEWS = {
    "reshape": lambda x, one: hb.reshape(x, (one, 6)),
    "reshape of a list": lambda x, one: hb.reshape(x, [one, 6]),
    "permute_dims": lambda x, one: hb.permute_dims(x, (one, 0)),
    "swapaxes": lambda x, one: hb.swapaxes(x, 0, one),
    "expand_dims": lambda x, one: hb.expand_dims(x, one),
}


@pytest.mark.parametrize("name", list(VIEWS))
@pytest.mark.parametrize("like", [1.0, True, np.int64(1)], ids=lambda v: type(v).__name__)
def test_views_refuse_what_only_equals_an_int(name, like):
    view = VIEWS[name]
    x = hb.tensor(np.arange(6, dtype=np.float32).reshape(2, 3))
    before = [v if isinstance(v, type) else v.tolist() for v in both(lambda: view(x, like))]
    expected = view(x, 1)
    assert view(x, 1).tolist() == expected.tolist()
    after = [v if isinstance(v, type) else v.tolist() for v in both(lambda: view(x, like))]
    assert after == before


def test_views_that_were_made_before_are_views_of_their_own_tensor():
    first, second = hb.zeros(2, 3), hb.ones(2, 3)
    for view in VIEWS.values():
        shown = [view(t, 1) for t in (first, second, first)]
        assert [v.sum().item() for v in shown] == [0.0, 6.0, 0.0]
    row = first.reshape(3, 2)[0]
    row.add_(1.0)
    assert first.tolist() == [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    same = first.swapaxes(1, 1)
    assert same.tolist() == first.tolist() and first.reshape(2, 3).shape == (2, 3)
    for _ in range(2):
        assert first.reshape(-1, 2).shape == (3, 2) and first.reshape((6, -1)).shape == (6, 1)
        with pytest.raises(hb.ShapeError):
            first.reshape(-1, 4)
        with pytest.raises(hb.ShapeError):
            first.permute(0, 2)
        assert hb.expand_dims([1.0, 2.0], 0).shape == (1, 2)


def _zero_or(value):
    return hb.where(hb.tensor([1.0, -1.0]) > 5, hb.tensor([1, 2]), value)


def test_numbers_beside_tensors_stay_apart():
    small = hb.tensor([1, 2], dtype="int8")
    chosen = hb.tensor([True, False])
    for _ in range(3):
        assert [_zero_or(v).dtype.name for v in (1, True, 1.0)] == ["int64", "int64", "float32"]
        signs = [np.signbit(_zero_or(v).numpy()).tolist() for v in (0.0, -0.0, 0.0, 0)]
        assert signs == [[False] * 2, [True] * 2, [False] * 2, [False] * 2]
        assert np.isnan(_zero_or(float("nan")).numpy()).all()
        with pytest.raises(OverflowError):
            hb.where(chosen, small, 300)
        assert hb.where(chosen, small, 100).tolist() == [1, 100]


def test_a_call_with_a_number_is_resolved_once(monkeypatch):
    from hybrid.ir.door import bind as door

    asked = []
    resolve = door.resolve
    x = hb.tensor([[0.5, -1.25, 7.75]])
    monkeypatch.setattr(door, "resolve", lambda *given: asked.append(given) or resolve(*given))
    for _ in range(4):
        assert hb.where(x > 0, x, -0.375).tolist() == [[0.5, -0.375, 7.75]]
        assert x.astype("float64").dtype.name == "float64"
    assert len([given for given in asked if given[0].name == "where"]) <= 1
    assert len([given for given in asked if given[0].has("convert")]) <= 1


def test_a_number_beside_a_tensor_takes_part_in_gradients_and_recordings():
    x = hb.tensor([2.0, -3.0], requires_grad=True)
    clipped = hb.function(lambda x: hb.where(x > 0, x * x, -0.0))
    for _ in range(4):
        x.grad = None
        hb.where(x > 0, x * x, 0.0).sum().backward()
        assert x.grad.tolist() == [4.0, 0.0]
        with hb.no_grad():
            assert not hb.where(x > 0, x, 1.5).requires_grad
        assert np.signbit(clipped(x).numpy()).tolist() == [False, True]
