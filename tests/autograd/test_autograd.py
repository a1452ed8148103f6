"""The tape and its functional forms: gradients, accumulation, nesting, scopes, memory, errors."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hybrid as hb


def leaf(data, dtype=None):
    return hb.tensor(data, dtype=dtype, requires_grad=True)


# ---- backward
def test_backward_accumulates_and_may_run_twice():
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    y.backward()
    assert x.grad.tolist() == [2.0, 4.0]
    y.backward()
    assert x.grad.tolist() == [4.0, 8.0]
    x.grad = None
    (x * 3).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


def test_backward_needs_a_gradient_and_one_element():
    with pytest.raises(hb.HybridError, match="requires_grad=True"):
        hb.ones(2).sum().backward()
    x = leaf([1.0, 2.0])
    with pytest.raises(hb.ShapeError, match="explicit gradient"):
        (x * 2).backward()
    with pytest.raises(hb.ShapeError, match="does not fit"):
        (x * 2).backward(hb.ones(3))
    (x * 2).backward(hb.tensor([1.0, 10.0]))
    assert x.grad.tolist() == [2.0, 20.0]


def test_seed_is_not_the_gradient_object():
    x, g = leaf([1.0]), hb.tensor([5.0])
    x.clone().backward(g)
    assert x.grad is not g
    x.grad += 1
    assert g.tolist() == [5.0]


def test_backward_to_chosen_inputs_only():
    x, y = leaf([1.0]), leaf([2.0])
    (x * y).sum().backward(inputs=[x])
    assert x.grad.tolist() == [2.0] and y.grad is None


def test_gradients_may_be_written_by_the_user():
    w, x = leaf([[1.0, 2.0]]), leaf([[3.0, 4.0]])
    (w.T @ x).sum().backward()
    w.grad *= 0.5
    assert w.grad.tolist() == [[3.5, 3.5]] and x.grad.tolist() == [[3.0, 3.0]]
    a, b = leaf([1.0]), leaf([1.0])
    ga, gb = hb.gradients((a + b).sum(), [a, b])
    ga += 1
    assert gb.tolist() == [1.0]
    (a + b).sum().backward()
    a.grad += 1
    assert b.grad.tolist() == [1.0]


def test_grad_setter_checks():
    x = leaf([1.0, 2.0])
    x.grad = hb.ones(2)
    with pytest.raises(hb.ShapeError):
        x.grad = hb.ones(3)
    with pytest.raises(hb.HybridError, match="leaf"):
        (x * 2).grad = hb.ones(2)
    assert (x * 2).grad is None


SHAPES = st.lists(st.integers(1, 3), max_size=3).map(tuple)


@st.composite
def broadcast_pair(draw):
    shape = draw(SHAPES)

    def part():
        kept = shape[draw(st.integers(0, len(shape))) :]
        return tuple(1 if draw(st.booleans()) else n for n in kept)

    return part(), part()


@settings(max_examples=40, deadline=None)
@given(broadcast_pair())
def test_gradient_of_broadcasting(shapes):
    a, b = (hb.ones(s, dtype="float64", requires_grad=True) for s in shapes)
    out = a * b
    ga, gb = hb.gradients(out.sum(), [a, b])
    assert ga.shape == shapes[0] and gb.shape == shapes[1]
    assert np.all(ga.numpy() == out.size / a.size) and np.all(gb.numpy() == out.size / b.size)


def test_gradients_of_mixed_dtypes_take_the_dtype_of_the_input():
    h, x = leaf([1.0, 2.0], "bfloat16"), leaf([3.0, 4.0])
    (h * x).sum().backward()
    assert h.grad.dtype is hb.bfloat16 and x.grad.dtype is hb.float32
    assert h.grad.tolist() == [3.0, 4.0]


def test_integers_take_no_gradient():
    with pytest.raises(hb.DTypeError, match="floating"):
        hb.tensor([1], requires_grad=True)
    with pytest.raises(hb.HybridError, match="differentiate"):
        hb.grad(lambda i: i.sum())(hb.tensor([1, 2]))
    x, i = leaf([1.0, 2.0, 3.0]), hb.tensor([2, 0])
    (x[i] * i).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0, 2.0]
    assert not x.argmax().requires_grad and not (x > 1).requires_grad
    assert not x.astype("int32").requires_grad


def test_multi_output_ops():
    x = leaf(np.arange(6.0))
    a, b, c = x.split(3)
    (b * 2).sum().backward()
    assert x.grad.tolist() == [0, 0, 2, 2, 0, 0]
    v, i = hb.topk(x, 2)
    (g,) = hb.gradients(v.sum(), x)
    assert g.tolist() == [0, 0, 0, 0, 1, 1] and not i.requires_grad
    assert (a * c).requires_grad


def test_values_saved_by_the_tape_survive_writes():
    x = leaf([1.0, 2.0])
    y = x * 1
    z = (y * y).sum()
    y += 100
    z.backward()
    assert x.grad.tolist() == [2.0, 4.0]
    x.grad = None
    z = (x * x).sum()
    x.assign([50.0, 60.0])
    z.backward()
    assert x.grad.tolist() == [2.0, 4.0]


def test_leaf_in_place_is_refused_outside_no_grad():
    x = leaf([1.0])
    with pytest.raises(hb.HybridError, match="no_grad"):
        x += 1
    with pytest.raises(hb.HybridError, match="no_grad"):
        x[0] = 2.0
    with hb.no_grad():
        x += 1
    assert x.tolist() == [2.0] and x.requires_grad and x.is_leaf


def test_in_place_on_intermediate_is_differentiated():
    x = leaf([1.0, 2.0])
    y = x * 2
    y *= 3
    y[0] = 0.0
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 6.0]


# ---- gradients
def test_gradients_of_intermediates_and_their_inputs():
    x = leaf([2.0])
    y = x * x
    z = y * y
    gx, gy = hb.gradients(z.sum(), [x, y])
    assert gx.tolist() == [32.0] and gy.tolist() == [8.0]
    assert x.grad is None


def test_gradients_of_several_outputs_with_weights():
    x = leaf([1.0, 2.0])
    (g,) = hb.gradients([x * 2, (x * x).sum()], x, [hb.tensor([1.0, 0.0]), None])
    assert g.tolist() == [4.0, 4.0]


def test_unused_inputs():
    x, y = leaf([1.0]), leaf([1.0])
    with pytest.raises(hb.HybridError, match="allow_unused"):
        hb.gradients((x * 2).sum(), [x, y])
    gx, gy = hb.gradients((x * 2).sum(), [x, y], allow_unused=True)
    assert gx.tolist() == [2.0] and gy is None
    assert hb.grad(lambda a, b: a.sum(), 1)(x, y).tolist() == [0.0]
    with pytest.raises(hb.HybridError, match="require"):
        hb.gradients((x * 2).sum(), hb.ones(1))


def test_only_what_is_asked_for_is_computed():
    x, w = leaf([1.0]), leaf([1.0])
    ran = []

    @hb.custom_gradient
    def costly(t):
        return t * 1, lambda g: ran.append(1) or g

    hb.gradients((x * costly(w)).sum(), x)
    assert not ran


# ---- functional forms
def test_grad_of_trees_and_argnums():
    def loss(params, x, *, scale):
        return ((params["w"] * x + params["b"][0]) * scale).sum()

    params = {"w": hb.tensor([1.0, 2.0]), "b": (hb.tensor(0.5), None)}
    g = hb.grad(loss)(params, hb.tensor([3.0, 4.0]), scale=2.0)
    assert (
        list(g) == ["w", "b"]
        and g["w"].tolist() == [6.0, 8.0]
        and g["b"][0].item() == 4.0
        and g["b"][1] is None
    )
    gp, gx = hb.grad(loss, (0, 1))(params, hb.tensor([3.0, 4.0]), scale=2.0)
    assert gx.tolist() == [2.0, 4.0] and gp["w"].tolist() == [6.0, 8.0]
    assert not g["w"].requires_grad


def test_value_and_grad_with_aux():
    (v, aux), g = hb.value_and_grad(lambda x: ((x * x).sum(), "more"), has_aux=True)(
        hb.tensor([3.0])
    )
    assert v.item() == 9.0 and aux == "more" and g.tolist() == [6.0] and not v.requires_grad
    g, aux = hb.grad(lambda x: (x.sum(), x.shape), has_aux=True)(hb.ones(2))
    assert g.tolist() == [1.0, 1.0] and aux == (2,)
    with pytest.raises(hb.HybridError, match="returns a tensor"):
        hb.grad(lambda x: 3.0)(hb.ones(2))


def test_nested_grad_and_perturbation_confusion():
    def f(x):
        return x**4

    d = f
    for want in (32.0, 48.0, 48.0, 24.0):
        d = hb.grad(d)
        np.testing.assert_allclose(d(hb.tensor(2.0, dtype="float64")).item(), want, rtol=1e-12)
    # d/dx (x * d/dy (x + y)) = 1, not 2
    x = hb.tensor(1.0)
    assert hb.grad(lambda x: x * hb.grad(lambda y: x + y)(hb.tensor(2.0)))(x).item() == 1.0
    # the inner gradient depends on the outer variable
    got = hb.grad(lambda x: hb.grad(lambda y: x * y * y)(hb.tensor(3.0)) * x)(hb.tensor(2.0))
    assert got.item() == 2 * 6.0 * 2.0


def test_grad_under_no_grad_and_inside_backward():
    with hb.no_grad():
        assert hb.grad(lambda x: (x * x).sum())(hb.tensor([3.0])).tolist() == [6.0]
        assert not hb.grad_enabled() if hasattr(hb, "grad_enabled") else True
    w = leaf([2.0])
    inner = hb.grad(lambda x: (w * x * x).sum())(hb.tensor([3.0]))
    inner.sum().backward()
    assert w.grad.tolist() == [6.0]


def test_vjp():
    out, pull = hb.vjp(lambda x, y: {"p": x * y, "s": x + y}, hb.tensor([2.0]), hb.tensor([3.0]))
    assert out["p"].tolist() == [6.0] and not out["p"].requires_grad
    gx, gy = pull({"p": hb.tensor([1.0]), "s": hb.tensor([10.0])})
    assert gx.tolist() == [13.0] and gy.tolist() == [12.0]
    gx, gy = pull({"p": hb.tensor([0.0]), "s": hb.tensor([1.0])})
    assert gx.tolist() == [1.0] and gy.tolist() == [1.0]


def test_higher_order_by_create_graph():
    x = leaf([3.0])
    (g,) = hb.gradients((x**3).sum(), x, create_graph=True)
    (h,) = hb.gradients(g.sum(), x)
    assert h.tolist() == [18.0]
    (x**2).sum().backward(create_graph=True)
    assert x.grad.requires_grad
    g = x.grad
    x.grad = None
    g.sum().backward()
    assert x.grad.tolist() == [2.0]


def test_custom_gradient():
    @hb.custom_gradient
    def double_backward(x, y):
        """Sum whose gradient is doubled."""
        return x + y, lambda g: (g * 2, None)

    x, y = leaf([1.0]), leaf([1.0])
    double_backward(x, y).sum().backward()
    assert x.grad.tolist() == [2.0] and y.grad is None
    assert double_backward.__name__ == "double_backward"

    @hb.custom_gradient
    def pair(x):
        return (x * 2, x * 3), lambda g, h: g + 10 * h

    a, b = pair(x)
    (g,) = hb.gradients(b.sum(), x)
    assert g.tolist() == [10.0]
    assert hb.grad(lambda t: (pair(t)[0]).sum())(hb.ones(1)).tolist() == [1.0]

    @hb.custom_gradient
    def wrong(x):
        return x * 1, lambda g: (g, g)

    with pytest.raises(hb.HybridError, match="2 gradients for 1"):
        wrong(x).sum().backward()


# ---- scopes
def test_scopes_nest_and_restore_on_errors():
    x = leaf([1.0])
    with hb.no_grad():
        assert not (x * 2).requires_grad
        with hb.enable_grad():
            assert (x * 2).requires_grad
        with hb.set_grad_enabled(True):
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    with pytest.raises(ZeroDivisionError), hb.no_grad():
        1 / 0
    assert (x * 2).requires_grad

    @hb.no_grad()
    def f():
        return x * 2

    @hb.no_grad
    def g():
        """Doc."""
        return x * 2

    assert not f().requires_grad and not g().requires_grad and g.__doc__ == "Doc."
    assert not x.detach().requires_grad and not hb.stop_gradient(x).requires_grad


def test_no_grad_is_thread_local():
    x, seen, inside, go = leaf([1.0]), [], threading.Event(), threading.Event()

    def other():
        with hb.no_grad():
            inside.set()
            go.wait(10)
            seen.append((x * 2).requires_grad)

    t = threading.Thread(target=other)
    t.start()
    inside.wait(10)
    assert (x * 2).requires_grad
    go.set()
    t.join()
    assert seen == [False]


def test_backward_in_threads():
    xs = [leaf([float(i)]) for i in range(4)]

    def work(x):
        for _ in range(50):
            (x * x).sum().backward()

    ts = [threading.Thread(target=work, args=(x,)) for x in xs]
    [t.start() for t in ts]
    [t.join() for t in ts]
    assert [x.grad.item() for x in xs] == [0.0, 100.0, 200.0, 300.0]


# ---- size and memory
def test_deep_chains_do_not_recurse():
    x = leaf(1.0)
    y = x
    for _ in range(200_000):
        y = y + x
    y.backward()
    assert x.grad.item() == 200_001.0
    del y
    gc.collect()


def test_memory_of_the_tape_goes_with_the_loss():
    x = leaf(np.ones(1000, np.float32))
    big = x * 2
    loss = (big * big).sum()
    refs = [weakref.ref(big), weakref.ref(loss)]
    values = weakref.ref(big.numpy().base if big.numpy().base is not None else big.numpy())
    loss.backward()
    del big, loss
    gc.collect()
    assert [r() for r in refs] == [None, None] and values() is None


def test_leaf_dies_with_its_gradient():
    x = leaf([1.0])
    (x * x).sum().backward(create_graph=True)
    ref = weakref.ref(x)
    del x
    gc.collect()
    assert ref() is None


def test_numpy_seed_and_scalar_seed():
    x = leaf([1.0, 2.0])
    (x * 2).backward(np.array([1.0, 2.0]))
    assert x.grad.tolist() == [2.0, 4.0] and x.grad.dtype is hb.float32


def test_special_values_flow():
    x = leaf([0.0, -0.0, np.inf, np.nan, 1e-45])
    (x * 1).sum().backward()
    assert x.grad.tolist() == [1.0] * 5
    (g,) = hb.gradients(hb.relu(x).sum(), x)
    assert g.tolist()[:3] == [0.0, 0.0, 1.0]
    e = hb.zeros((0, 3), requires_grad=True)
    e.sum().backward()
    assert e.grad.shape == (0, 3)
