"""jvp, linearize, hvp, jacfwd, jacrev, hessian: values, nesting, trees, errors, traced bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from record_cases import bits

import hybrid as hb
from hybrid.core import trees

X = hb.tensor([0.3, -1.2, 2.0], dtype="float64")
V = hb.tensor([1.0, 0.5, -2.0], dtype="float64")
W = hb.tensor([[0.2, -0.4, 1.0], [1.5, 0.1, 0.7]], dtype="float64")
STEP = 1e-5


def layers(x: Any) -> Any:
    hidden = hb.tanh(W @ x)
    return hb.softmax(hidden) * hb.exp(hidden)


def total(x: Any) -> Any:
    return (layers(x) * layers(x * 0.5)).sum()


def differences(f: Any, x: Any, v: Any) -> Any:
    return (np.asarray(f(x + v * STEP)) - np.asarray(f(x - v * STEP))) / (2 * STEP)


def near(got: Any, want: Any, tolerance: float = 1e-8) -> None:
    np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=tolerance, atol=tolerance)


def same_bits(f: Any, *args: Any) -> None:
    """Three decorated calls repeat the bits of the plain one."""
    want, traced = trees.leaves(f(*args)), hb.function(f, wait=True)
    for _ in range(3):
        for a, b in zip(trees.leaves(traced(*args)), want, strict=True):
            assert bits(np.asarray(a)).tolist() == bits(np.asarray(b)).tolist()


def nested(x: Any, v: Any) -> Any:
    """Every way to two derivatives along v."""
    along = lambda f: lambda x: hb.jvp(f, (x,), (v,))[1]  # noqa: E731
    return (
        along(along(total))(x),
        (hb.grad(along(total))(x) * v).sum(),
        (along(hb.grad(total))(x) * v).sum(),
        (hb.hvp(total, (x,), (v,))[1][0] * v).sum(),
        v @ hb.hessian(total)(x) @ v,
        v @ hb.jacrev(hb.jacfwd(total))(x) @ v,
        v @ hb.linearize(hb.grad(total), x)[1](v),
    )


def test_jvp_against_differences() -> None:
    out, tangent = hb.jvp(layers, (X,), (V,))
    near(out, layers(X), 0)
    near(tangent, differences(layers, X, V))


def test_two_derivatives_in_every_way() -> None:
    want = differences(lambda x: hb.jvp(total, (x,), (V,))[1], X, V)
    for got in nested(X, V):
        near(got, want)


@pytest.mark.parametrize(
    "f",
    [
        nested,
        lambda x, v: hb.jvp(layers, (x,), (v,)),
        lambda x, v: (hb.jacfwd(layers)(x), hb.jacrev(layers)(x), hb.hessian(total)(v)),
        lambda x, v: hb.jvp(hb.function(layers), (x,), (v,)),
    ],
)
def test_traced_bits_are_eager_ones(f: Any) -> None:
    same_bits(f, X, V)


def test_derivatives_of_decorated_functions() -> None:
    decorated = hb.function(layers, wait=True)
    for _ in range(4):
        near(hb.jvp(decorated, (X,), (V,))[1], hb.jvp(layers, (X,), (V,))[1], 0)
        near(hb.jacrev(decorated)(X), hb.jacrev(layers)(X), 0)


def test_linearize_runs_the_function_once() -> None:
    calls = []

    def counted(x: Any) -> Any:
        calls.append(1)
        return layers(x)

    out, along = hb.linearize(counted, X)
    near(along(V), hb.jvp(layers, (X,), (V,))[1], 0)
    near(along(V * 2), 2 * along(V), 1e-14)
    near(out, layers(X), 0)
    assert len(calls) == 1


def test_jacobians_agree_and_have_the_shape_of_both() -> None:
    x = hb.reshape(hb.arange(6.0), (2, 3)) / 3
    f = lambda x: hb.stack([x.sum(axis=0), (x * x).prod(axis=0)])  # noqa: E731
    forward, reverse = hb.jacfwd(f)(x), hb.jacrev(f)(x)
    assert forward.shape == reverse.shape == (2, 3, 2, 3)
    near(forward, reverse, 1e-6)


def test_trees() -> None:
    def f(p: Any, n: int, y: Any) -> Any:
        return {"a": p["w"] * y, "n": [(p["b"][0] ** n).sum()]}

    p = {"w": X, "b": (V, None)}
    tangents = ({"w": V, "b": (X, None)}, None, None)
    out, tangent = hb.jvp(f, (p, 2, 3.0), tangents)
    assert set(out) == set(tangent) == {"a", "n"}
    near(tangent["a"], V * 3)
    near(tangent["n"][0], (2 * V * X).sum())
    near(hb.jvp(f, (p, 2, 3.0), ({"w": None, "b": None}, None, 1.0))[1]["a"], X)
    rows = hb.jacrev(f, argnums=(0, 2))(p, 2, hb.tensor(3.0, dtype="float64"))
    columns = hb.jacfwd(f, argnums=(0, 2))(p, 2, hb.tensor(3.0, dtype="float64"))
    assert rows["a"][0]["b"][1] is None and rows["a"][1].shape == (3,)
    for a, b in zip(trees.leaves(rows), trees.leaves(columns), strict=True):
        near(a, b)
    value, tangent, aux = hb.jvp(lambda x: (x * 2, "kept"), (X,), (V,), has_aux=True)
    assert aux == "kept"
    near(tangent, V * 2)
    value, pullback, aux = hb.vjp(lambda x: (x * 2, "kept"), X, has_aux=True)
    assert aux == "kept"
    near(pullback(V)[0], V * 2)
    for jacobian in (hb.jacfwd, hb.jacrev, hb.hessian):
        assert jacobian(lambda x: ((x * x).sum(), "kept"), has_aux=True)(X)[1] == "kept"


def test_what_does_not_depend_has_zero_derivatives() -> None:
    constant = lambda x: (hb.ones(2), x > 0, x)  # noqa: E731
    tangent = hb.jvp(constant, (X,), (V,))[1]
    assert tangent[0].tolist() == [0.0, 0.0] and tangent[1].dtype == np.bool_
    assert hb.jacrev(lambda x: hb.ones(2))(X).shape == (2, 3)
    assert not np.any(np.asarray(hb.hessian(lambda x: x.sum())(X)))
    near(hb.jvp(lambda x: hb.stop_gradient(x) * x, (X,), (V,))[1], X * V)


def test_parameters_from_outside_are_followed() -> None:
    scale = hb.tensor(2.0, requires_grad=True, dtype="float64")
    hb.jvp(lambda x: (x * scale).sum(), (X,), (V,))[1].backward()
    near(scale.grad, V.sum())
    scale.grad = None
    (hb.hvp(lambda x: (x**3).sum() * scale, (X,), (V,))[1][0]).sum().backward()
    near(scale.grad, (6 * X * V).sum())
    value, pullback = hb.vjp(lambda x: x * scale, X)
    scale.grad = None
    value.sum().backward()
    near(scale.grad, X.sum())


def test_loops_and_branches() -> None:
    def f(x: Any) -> Any:
        x = hb.cond(x.sum() > 0, lambda v: v * v, lambda v: v, x)
        x = hb.fori_loop(0, 3, lambda i, v: hb.sin(v), x)
        return hb.scan(lambda c, v: (c * v, c + v), x.sum(), x)[1]

    near(hb.jvp(f, (X,), (V,))[1], differences(f, X, V))
    near(hb.jacfwd(f)(X), hb.jacrev(f)(X))


def test_under_no_grad_and_with_in_place_writes() -> None:
    def f(x: Any) -> Any:
        y = x * 2
        y[1:] = y[1:] * x[:-1]
        y += 1
        return y

    with hb.no_grad():
        near(hb.jvp(f, (X,), (V,))[1], differences(f, X, V))
        assert not hb.jvp(f, (X,), (V,))[1].requires_grad


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: hb.jvp(hb.sin, X, (V,)), hb.ArgumentError, "a tuple"),
        (lambda: hb.jvp(hb.sin, (X,), (V, V)), hb.ArgumentError, "1 primals and 2"),
        (lambda: hb.jvp(hb.sin, (X,), (V[:2],)), hb.ShapeError, r"\(2,\) does not fit"),
        (lambda: hb.jvp(hb.sin, (X,), (V.astype("float32"),)), hb.DTypeError, "astype"),
        (lambda: hb.jvp(hb.sin, (X,), ([V],)), hb.ArgumentError, "structure"),
        (lambda: hb.jvp(hb.sin, (hb.arange(3),), (V,)), hb.HybridError, "int64"),
        (lambda: hb.jvp(lambda x: 3, (X,), (V,)), hb.HybridError, "returns tensors, not 3"),
        (lambda: hb.jvp(3, (X,), (V,)), hb.ArgumentError, "takes a function"),
        (lambda: hb.linearize(hb.sin, X)[1](V, V), hb.ArgumentError, "1 primals and 2"),
        (lambda: hb.hvp(hb.sin, (X,), (V,)), hb.ShapeError, "one element"),
        (lambda: hb.jacfwd(hb.sin, argnums=1)(X), hb.ArgumentError, "argnums"),
        (lambda: hb.jacrev(hb.sin, argnums=1)(X), hb.ArgumentError, "argnums"),
        (lambda: hb.jacrev(hb.sin)(hb.arange(3)), hb.HybridError, "int64"),
        (lambda: hb.jacrev(lambda x: "a")(X), hb.HybridError, "returns tensors"),
        (lambda: hb.jacfwd(lambda x: x, has_aux=True)(X), hb.ArgumentError, "aux"),
    ],
)
def test_errors(call: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        call()
