"""custom_vjp, custom_jvp, custom_gradient and checkpoint: derivatives of every order, state,
random numbers, errors, traced bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_derivatives import V, W, X, layers, near, same_bits, total

import hybrid as hb


def make_vjp() -> Any:
    @hb.custom_vjp
    def softplus(x: Any, power: int) -> Any:
        return hb.log(1 + hb.exp(x)) ** power

    def fwd(x: Any, power: int) -> Any:
        e = hb.exp(x)
        return hb.log(1 + e) ** power, (e, power)

    def bwd(residuals: Any, g: Any) -> Any:
        e, power = residuals
        return g * power * hb.log(1 + e) ** (power - 1) * (1 - 1 / (1 + e)), None

    softplus.defvjp(fwd, bwd)
    return softplus


def make_jvp() -> Any:
    @hb.custom_jvp
    def softplus(x: Any, power: int) -> Any:
        return hb.log(1 + hb.exp(x)) ** power

    @softplus.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        x, power = primals
        slope = power * hb.log(1 + hb.exp(x)) ** (power - 1) * hb.sigmoid(x)
        return softplus(x, power), slope * tangents[0]

    return softplus


def make_gradient() -> Any:
    def softplus(x: Any, power: int) -> Any:
        @hb.custom_gradient
        def f(x: Any) -> Any:
            inner = hb.log(1 + hb.exp(x))
            return inner**power, lambda g: g * power * inner ** (power - 1) * hb.sigmoid(x)

        return f(x)

    return softplus


def plain(x: Any, power: int) -> Any:
    return hb.log(1 + hb.exp(x)) ** power


MADE = [make_vjp, make_jvp, make_gradient, lambda: hb.checkpoint(plain)]
FORMS = {
    "grad": lambda f: hb.grad(lambda x: f(x, 2).sum())(X),
    "hessian": lambda f: hb.hessian(lambda x: f(x, 3).sum())(X),
    "jvp": lambda f: hb.jvp(lambda x: f(x, 2), (X,), (V,)),
    "jvp of grad": lambda f: hb.jvp(hb.grad(lambda x: f(x, 2).sum()), (X,), (V,))[1],
    "grad of jvp": lambda f: hb.grad(lambda x: hb.jvp(lambda x: f(x, 2), (x,), (V,))[1].sum())(X),
    "third": lambda f: hb.grad(
        lambda x: (hb.grad(lambda x: (hb.grad(lambda x: f(x, 2).sum())(x) * V).sum())(x) * V).sum()
    )(X),
}


@pytest.mark.parametrize("make", MADE)
@pytest.mark.parametrize("form", FORMS)
def test_derivatives_are_those_of_the_plain_function(make: Any, form: str) -> None:
    got, want = FORMS[form](make()), FORMS[form](plain)
    for a, b in zip(np.atleast_1d(got) if not isinstance(got, tuple) else got, want, strict=True):
        near(a, b, 1e-12)


@pytest.mark.parametrize("make", MADE)
@pytest.mark.parametrize("form", ["grad", "jvp", "grad of jvp"])
def test_traced_bits_are_eager_ones(make: Any, form: str) -> None:
    f = make()
    same_bits(lambda x: FORMS[form](lambda y, n: f(y * x.sum(), n)), X)


def test_a_rule_is_used_and_not_the_function() -> None:
    f = hb.custom_vjp(lambda x: x * 1)
    f.defvjp(lambda x: (x * 1, None), lambda res, g: (g * 10,))
    near(hb.grad(lambda x: f(x).sum())(X), [10.0] * 3)
    near(hb.jvp(f, (X,), (V,))[1], V * 10)
    g = hb.custom_jvp(lambda x, y: x * y)
    g.defjvps(lambda t, ans, x, y: t * 7, None)
    near(hb.grad(lambda x: g(x, V).sum())(X), [7.0] * 3)
    near(hb.jvp(g, (X, V), (V, X))[1], V * 7)


def test_trees_and_arguments_that_are_not_differentiated() -> None:
    @hb.custom_vjp
    def f(scale: Any, p: Any, index: Any) -> Any:
        return {"out": p["a"] * scale, "n": index + 1}

    f = hb.custom_vjp(f.fun, nondiff_argnums=(0,))

    def bwd(scale: Any, residuals: Any, g: Any) -> Any:
        assert g["n"] is None
        return {"a": g["out"] * scale * 2, "b": None}, None

    f.defvjp(lambda scale, p, index: (f.fun(scale, p, index), None), bwd)
    p = {"a": X, "b": V}
    grads = hb.grad(lambda p: f(3.0, p, hb.tensor(1))["out"].sum())(p)
    near(grads["a"], [6.0] * 3)
    near(grads["b"], [0.0] * 3)
    near(f(scale=3.0, p=p, index=hb.tensor(1))["out"], X * 3)


@pytest.mark.parametrize(
    "bwd, error, text",
    [
        (lambda res, g: (g, g), hb.ArgumentError, "2 gradients for 1"),
        (lambda res, g: (g[:1],), hb.ShapeError, "for an argument of shape"),
        (lambda res, g: ([g],), hb.ArgumentError, "structure"),
    ],
)
def test_errors_of_rules(bwd: Any, error: Any, text: str) -> None:
    f = hb.custom_vjp(lambda x: x * 1)
    with pytest.raises(hb.HybridError, match="no rule yet"):
        f(X)
    f.defvjp(lambda x: (x * 1, None), bwd)
    with pytest.raises(error, match=text):
        hb.grad(lambda x: f(x).sum())(X)
    f.defvjp(lambda x: x * 1, bwd)
    with pytest.raises(hb.ArgumentError, match="value, residuals"):
        hb.grad(lambda x: f(x).sum())(X)
    j = hb.custom_jvp(lambda x: x * 1)
    j.defjvp(lambda primals, tangents: tangents[0])
    with pytest.raises(hb.ArgumentError, match="value, tangent"):
        hb.jvp(j, (X,), (V,))


# ---- checkpoint
def test_checkpoint_keeps_bits_and_reaches_what_the_function_uses() -> None:
    weight = hb.tensor(np.asarray(W), requires_grad=True)
    before = weight * 2

    def block(x: Any) -> Any:
        return (hb.tanh(before @ x) * weight[:, 0]).sum()

    want, got = [
        hb.gradients(f(X * 1), [weight, before], allow_unused=True)
        for f in (block, hb.checkpoint(block))
    ]
    for a, b in zip(got, want):
        near(a, b, 0)
    near(hb.grad(hb.checkpoint(total))(X), hb.grad(total)(X), 0)


def test_checkpoint_lets_go_of_what_it_computes_again() -> None:
    import weakref

    refs: list[Any] = []

    @hb.checkpoint
    def block(x: Any) -> Any:
        inner = hb.exp(x)
        refs.append(weakref.ref(inner))
        refs.append(weakref.ref(inner._v))
        return hb.sin(inner).sum()

    x = hb.tensor(np.asarray(X), requires_grad=True)
    out = block(x)
    assert len(refs) == 2 and all(ref() is None for ref in refs)
    out.backward()
    assert len(refs) == 4
    near(x.grad, hb.cos(hb.exp(X)) * hb.exp(X), 0)


def test_a_plan_keeps_less_and_computes_again() -> None:
    x, sizes = hb.tensor(np.ones((256, 64), np.float32)), []

    def block(x: Any) -> Any:
        for _ in range(4):
            x = hb.sin(hb.exp(hb.tanh(x)).sum(axis=0) * 0.01 + x)
        return x

    for f in (block, hb.checkpoint(block)):
        step = hb.function(hb.grad(lambda x, f=f: f(f(f(x))).sum()), wait=True)
        found = [np.asarray(step(x)) for _ in range(4)]
        near(found[-1], found[0], 0)
        text = str(hb.inspect(step, x))
        sizes.append(int(text.split("arena ")[1].split(" bytes")[0].replace(",", "")))
    assert sizes[1] < 0.7 * sizes[0]


@pytest.mark.parametrize("traced", [False, True])
def test_checkpoint_draws_the_same_numbers_and_assigns_once(traced: bool) -> None:
    mine = hb.random.Generator(5)
    running = hb.zeros(3)

    def block(x: Any) -> Any:
        x = hb.nn.functional.dropout(x, 0.5) + hb.rand(3, generator=mine).astype(x.dtype)
        running.assign(running * 0.9 + x.detach() * 0.1)
        return hb.tanh((x - running) * hb.rand(2, 1))

    def results(f: Any) -> list[Any]:
        hb.random.manual_seed(11)
        mine.manual_seed(12)
        running.assign(hb.zeros(3))
        step = hb.grad(lambda x: f(x).sum())
        step = hb.function(step, wait=True) if traced else step
        made = [step(hb.ones(3)) for _ in range(4)]
        return [*made, hb.rand(2), hb.rand(2, generator=mine), running.clone()]

    for a, b in zip(results(hb.checkpoint(block)), results(block), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_checkpoint_of_trees_nested_and_without_gradients() -> None:
    inner = hb.checkpoint(lambda p, k=1: {"y": layers(p["x"]) * k, "n": 3})
    outer = hb.checkpoint(lambda x: inner({"x": x}, k=2)["y"].sum())
    near(hb.grad(outer)(X), 2 * hb.grad(lambda x: layers(x).sum())(X), 1e-12)
    assert inner({"x": X})["n"] == 3 and not inner({"x": X})["y"].requires_grad
    with hb.no_grad():
        near(outer(X), 2 * layers(X).sum(), 1e-12)
    with pytest.raises(hb.ArgumentError, match="function"):
        hb.checkpoint(3)
