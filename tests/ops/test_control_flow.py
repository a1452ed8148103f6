"""Branches and loops as functions, eagerly: values, gradients, what is carried, errors."""

import numpy as np
import pytest

import hybrid as h
from hybrid.core.errors import ArgumentError, DTypeError, ShapeError


# ---- branches
@pytest.mark.parametrize(
    ("pred", "taken"),
    [
        (True, 1), (False, 2), (1, 1), (0, 2), (0.0, 2), (-0.0, 2), (np.nan, 1), (np.bool_(False), 2),
        (h.tensor(True), 1), (h.tensor(False), 2), (h.tensor(np.nan), 1), (h.tensor(0), 2),
    ],
)  # fmt: skip
def test_cond_takes_the_branch_that_a_scalar_names(pred, taken):
    assert h.cond(pred, lambda: 1, lambda: 2).item() == taken


def test_only_the_branch_that_is_taken_runs():
    ran = []
    h.cond(True, lambda: ran.append("true") or 1, lambda: ran.append("false") or 1)
    h.switch(1, [lambda: ran.append(0) or 1, lambda: ran.append(1) or 1])
    assert ran == ["true", 1]


def test_operands_are_trees_and_results_are_tensors():
    tree = {"a": h.ones(2), "b": (3, None)}
    got = h.cond(True, lambda t, k: {"sum": t["a"] + k, "n": t["b"][0]}, lambda t, k: 0, tree, 2)
    assert got["sum"].tolist() == [3.0, 3.0]
    assert isinstance(got["n"], h.Tensor) and got["n"].item() == 3


@pytest.mark.parametrize(("index", "taken"), [(-5, 0), (0, 0), (1, 1), (2, 2), (9, 2)])
def test_switch_clamps(index, taken):
    branches = [lambda x, k=k: x + k for k in range(3)]
    assert h.switch(index, branches, h.tensor(0)).item() == taken
    assert h.switch(h.tensor(index, dtype=h.int8), branches, h.tensor(0)).item() == taken


def test_errors_of_branches():
    with pytest.raises(ShapeError, match=r"cond: pred has to be a scalar.*\(2,\)"):
        h.cond(h.ones(2), int, int)
    with pytest.raises(ArgumentError, match="cond: pred has to be a scalar"):
        h.cond("yes", int, int)
    with pytest.raises(ArgumentError, match="true_fun"):
        h.cond(True, 3, int)
    with pytest.raises(ArgumentError, match="the result of cond's true_fun holds"):
        h.cond(True, lambda: "text", lambda: 1)
    with pytest.raises(DTypeError, match="switch: index has to be an integer, not float32"):
        h.switch(h.tensor(1.0), [int])
    with pytest.raises(DTypeError, match="switch: index has to be an integer, not bool"):
        h.switch(True, [int])
    with pytest.raises(ArgumentError, match="at least one branch"):
        h.switch(0, [])
    with pytest.raises(ArgumentError, match="it takes a list"):
        h.switch(0, int)


def test_an_error_in_a_branch_is_the_users():
    with pytest.raises(ZeroDivisionError):
        h.cond(True, lambda: 1 / 0, lambda: 1)


# ---- loops
@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_loops_agree_with_python(count):
    x = h.tensor([0.5, -1.25])
    expected = x
    for i in range(count):
        expected = h.sin(expected) + i
    fori = h.fori_loop(0, count, lambda i, t: h.sin(t) + i, x)
    bounds = h.fori_loop(h.tensor(0), h.tensor(count), lambda i, t: h.sin(t) + i, x)
    loop = h.while_loop(lambda c: c[0] < count, lambda c: (c[0] + 1, h.sin(c[1]) + c[0]), (0, x))[1]
    last, ys = h.scan(lambda t, i: (h.sin(t) + i, t), x, h.arange(count))
    for got in (fori, bounds, loop, last):
        assert got.numpy().tobytes() == expected.numpy().tobytes()
    assert ys.shape == (count, 2) and ys.dtype == h.float32


def test_dtypes_of_a_carry():
    for dtype in (h.bool_, h.int8, h.uint32, h.float16, h.float64):
        start = h.ones(3, dtype=dtype)
        assert h.while_loop(lambda x: False, lambda x: x, start).dtype == dtype
        assert h.fori_loop(0, 3, lambda i, x: x, start).dtype == dtype
    assert h.while_loop(lambda x: x < 3, lambda x: x + 1, 0).dtype == h.int64
    assert h.while_loop(lambda x: x < 3, lambda x: 7, 0).item() == 7
    assert h.while_loop(lambda x: x < 3, lambda x: 7, 0.5).dtype == h.float32


def test_an_empty_carry_and_a_tree():
    assert h.fori_loop(0, 3, lambda i, c: c, ()) == ()
    got = h.fori_loop(
        0, 3, lambda i, c: {"n": c["n"] + i, "l": [c["l"][0] * 2]}, {"n": 0, "l": [1.0]}
    )
    assert got["n"].item() == 3 and got["l"][0].item() == 8.0


def test_scan_reversed_with_trees_and_without_xs():
    xs = {"a": h.arange(4), "b": h.ones((4, 2))}
    last, ys = h.scan(lambda c, x: (c * 10 + x["a"], x["a"]), 0, xs, reverse=True)
    assert last.item() == 3210 and ys.tolist() == [0, 1, 2, 3]
    last, ys = h.scan(lambda c, x: (c + 1, (c, None)), 0, None, 3)
    assert last.item() == 3 and ys[0].tolist() == [0, 1, 2] and ys[1] is None
    last, ys = h.scan(lambda c, x: (c, {"y": x["b"]}), 0, {"b": h.ones((0, 2))})
    assert ys["y"].shape == (0, 2)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: h.while_loop(lambda x: h.ones(2), lambda x: x, 0), ShapeError, "scalar"),
        (lambda: h.while_loop(lambda x: True, lambda x: h.ones(2), 0.0), ShapeError, r"\(\) became \(2,\)"),
        (lambda: h.while_loop(lambda x: True, lambda x: x / 2, 1), DTypeError, "int64 became float32"),
        (lambda: h.while_loop(lambda x: True, lambda x: (x,), 1), ArgumentError, "another structure"),
        (lambda: h.while_loop(lambda x: True, lambda x: "a", 1), ArgumentError, "tensors and numbers"),
        (lambda: h.while_loop(1, lambda x: x, 1), ArgumentError, "cond_fun"),
        (lambda: h.fori_loop(0, 2, lambda i, x: x + 0.5, 1), DTypeError, "fori_loop's body_fun changes"),
        (lambda: h.fori_loop(0, 2.5, lambda i, x: x, 1), DTypeError, "upper has to be an integer"),
        (lambda: h.scan(lambda c, x: c, 0, h.ones(3)), ArgumentError, r"\(carry, y\)"),
        (lambda: h.scan(lambda c, x: (c, x), 0), ArgumentError, "xs or a length"),
        (lambda: h.scan(lambda c, x: (c, x), 0, h.ones(3), 4), ShapeError, "length is 4"),
        (lambda: h.scan(lambda c, x: (c, x), 0, None, -1), ArgumentError, "0 or more"),
        (lambda: h.scan(lambda c, x: (c, x), 0, (h.ones(3), h.ones(4))), ShapeError, "differ"),
        (lambda: h.scan(lambda c, x: (c, x), 0, h.tensor(3)), ShapeError, "scalar"),
        (lambda: h.scan(lambda c, x: (x, 0), 0, h.ones(3)), DTypeError, "int64 became float32"),
    ],
)  # fmt: skip
def test_errors_of_loops(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


# ---- gradients
def _loops(x, w):
    """A scalar of x and w through every function, nested; the trip count follows the values."""

    def inner(t):
        return h.fori_loop(0, 3, lambda i, u: h.sin(u) * w + i, t)

    def body(c):
        n, t = c
        t = h.cond(t.sum() > 0, lambda u: inner(u), lambda u: u * u + w, t)
        return n + 1, t

    n, t = h.while_loop(lambda c: c[0] < 4, body, (0, x))
    last, ys = h.scan(lambda c, y: (c * 0.5 + y, h.tanh(c)), t, h.stack([x, t, w]))
    return (last * last).sum() + ys.sum() + h.switch(n, [h.sin, h.cos], t).sum()


def test_gradients_against_finite_differences():
    rng = np.random.default_rng(0)
    x, w = (rng.uniform(0.3, 0.9, 3) for _ in range(2))
    got = h.grad(_loops, argnums=(0, 1))(h.tensor(x), h.tensor(w))
    for number in range(2):
        for i in range(3):
            values = []
            for step in (1e-6, -1e-6):
                moved = [x.copy(), w.copy()]
                moved[number][i] += step
                values.append(_loops(*map(h.tensor, moved)).item())
            slope = (values[0] - values[1]) / 2e-6
            assert abs(slope - got[number].numpy()[i]) < 1e-5 * max(1, abs(slope)), (number, i)


def test_second_derivatives():
    def cube(x):
        return h.fori_loop(0, 2, lambda i, t: t * x, x)

    def steps(x):
        return h.while_loop(lambda t: t < 100, lambda t: t * x, x)  # x ** 7 at 2

    assert h.grad(h.grad(cube))(h.tensor(2.0)).item() == 12.0
    assert h.grad(h.grad(steps))(h.tensor(2.0)).item() == 7 * 6 * 2.0**5


def test_captured_parameters_have_gradients():
    w = h.ones(3, requires_grad=True)
    h.scan(lambda c, x: (c * w + x, c), h.ones(3), h.ones((4, 3)))[0].sum().backward()
    assert w.grad.tolist() == [10.0] * 3


def test_agrees_with_jax():
    jax = pytest.importorskip("jax")
    lax, jnp = jax.lax, jax.numpy
    xs = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)

    def ours(x):
        last, ys = h.scan(lambda c, y: (c * 0.5 + y, c * y), x, h.tensor(xs))
        return (last * ys).sum()

    def theirs(x):
        last, ys = lax.scan(lambda c, y: (c * 0.5 + y, c * y), x, jnp.array(xs))
        return (last * ys).sum()

    x = np.ones(3, np.float32)
    assert np.allclose(h.grad(ours)(h.tensor(x)).numpy(), jax.grad(theirs)(jnp.array(x)), rtol=1e-5)
