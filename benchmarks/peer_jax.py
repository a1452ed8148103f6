"""The workloads in JAX, jitted whole with donated state."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .sizes import CNN, GPT, LSTM, MLP, NoSuchWorkload, randn, rng

tree_map = jax.tree.map


def J(*shape: int, scale: float = 1.0) -> Any:
    return jnp.asarray(randn(*shape, scale=scale))


def _integers(high: int, *shape: int) -> Any:
    return jnp.asarray(rng.integers(0, high, shape))


def adam_trainer(loss: Callable[..., Any], params: Any) -> Callable[..., float]:
    """Adam with PyTorch's formula; state is donated."""

    @functools.partial(jax.jit, donate_argnums=(0,))
    def step(state: Any, *batch: Any) -> Any:
        p, m, v, t = state
        value, g = jax.value_and_grad(loss)(p, *batch)
        t = t + 1
        m = tree_map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = tree_map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        p = tree_map(
            lambda p, m, v: p - 1e-3 * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8),
            p,
            m,
            v,
        )
        return (p, m, v, t), value

    box = [
        (params, tree_map(jnp.zeros_like, params), tree_map(jnp.zeros_like, params), jnp.float32(0))
    ]

    def run(*batch: Any) -> float:
        box[0], value = step(box[0], *batch)
        return float(value)

    return run


def cross_entropy(logits: Any, y: Any) -> Any:
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[..., None], -1))


def _toy() -> Callable[[], float]:
    box: list[Any] = [{"w": jnp.zeros((1, 1)), "b": jnp.zeros(1)}]

    @jax.jit
    def step(p: Any, x: Any, y: Any) -> Any:
        value, g = jax.value_and_grad(lambda p: jnp.sum((x @ p["w"] + p["b"] - y) ** 2))(p)
        return tree_map(lambda a, b: a - 0.01 * b, p, g), value

    def run() -> float:
        x = rng.random((1, 1), dtype="float32")
        box[0], value = step(box[0], x, x * 3)
        return float(value)

    return run


def _mlp(size: str) -> Callable[[], float]:
    b, i, h, o = MLP[size]
    p = {
        "w1": J(i, h, scale=0.05),
        "b1": jnp.zeros(h),
        "w2": J(h, o, scale=0.05),
        "b2": jnp.zeros(o),
    }
    step = adam_trainer(
        lambda p, x, y: cross_entropy(jax.nn.relu(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"], y), p
    )
    x, y = J(b, i), _integers(o, b)
    return lambda: step(x, y)


def _cnn() -> Callable[[], float]:
    p = {
        "c1": J(16, 1, 3, 3, scale=0.1),
        "d1": jnp.zeros(16),
        "c2": J(32, 16, 3, 3, scale=0.1),
        "d2": jnp.zeros(32),
        "w": J(1568, 10, scale=0.05),
        "b": jnp.zeros(10),
    }

    def conv(x: Any, w: Any, b: Any) -> Any:
        return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME") + b[None, :, None, None]

    def pool(x: Any) -> Any:
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")

    def loss(p: Any, x: Any, y: Any) -> Any:
        h = pool(jax.nn.relu(conv(x, p["c1"], p["d1"])))
        h = pool(jax.nn.relu(conv(h, p["c2"], p["d2"])))
        return cross_entropy(h.reshape(h.shape[0], -1) @ p["w"] + p["b"], y)

    step = adam_trainer(loss, p)
    x, y = J(CNN["B"], 1, 28, 28), _integers(10, CNN["B"])
    return lambda: step(x, y)


def _lstm() -> Callable[[], float]:
    d = LSTM
    p = {
        "e": J(d["V"], d["E"]),
        "wx": J(d["E"], 4 * d["H"], scale=0.1),
        "bx": jnp.zeros(4 * d["H"]),
        "wh": J(d["H"], 4 * d["H"], scale=0.1),
        "o": J(d["H"], d["V"], scale=0.1),
        "ob": jnp.zeros(d["V"]),
    }

    def loss(p: Any, x: Any, y: Any) -> Any:
        h = jnp.zeros((x.shape[0], d["H"]))
        projected = p["e"][x] @ p["wx"] + p["bx"]

        def cell(state: Any, xt: Any) -> Any:
            h, c = state
            i, f, o, u = jnp.split(xt + h @ p["wh"], 4, 1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(u)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        _, states = jax.lax.scan(cell, (h, h), projected.swapaxes(0, 1))
        return cross_entropy(states.swapaxes(0, 1) @ p["o"] + p["ob"], y)

    step = adam_trainer(loss, p)
    x, y = _integers(d["V"], d["B"], d["T"]), _integers(d["V"], d["B"], d["T"])
    return lambda: step(x, y)


def _gpt() -> Callable[[], float]:
    g, c = GPT, GPT["C"]

    def block() -> dict[str, Any]:
        return {
            "g1": jnp.ones(c),
            "b1": jnp.zeros(c),
            "qkv": J(c, 3 * c, scale=0.05),
            "qb": jnp.zeros(3 * c),
            "pr": J(c, c, scale=0.05),
            "pb": jnp.zeros(c),
            "g2": jnp.ones(c),
            "b2": jnp.zeros(c),
            "f1": J(c, 4 * c, scale=0.05),
            "fb": jnp.zeros(4 * c),
            "f2": J(4 * c, c, scale=0.05),
            "fc": jnp.zeros(c),
        }

    p = {
        "te": J(g["V"], c),
        "pe": jnp.zeros((g["T"], c)),
        "bl": [block() for _ in range(g["L"])],
        "gf": jnp.ones(c),
        "bf": jnp.zeros(c),
        "hd": J(c, g["V"], scale=0.05),
    }

    def norm(x: Any, w: Any, b: Any) -> Any:
        m = x.mean(-1, keepdims=True)
        v = ((x - m) ** 2).mean(-1, keepdims=True)
        return (x - m) * jax.lax.rsqrt(v + 1e-5) * w + b

    mask = jnp.tril(jnp.ones((g["T"], g["T"]), bool))

    def loss(p: Any, x: Any, y: Any) -> Any:
        x = p["te"][x] + p["pe"]
        n, t, _ = x.shape
        for b in p["bl"]:
            parts = jnp.split(norm(x, b["g1"], b["b1"]) @ b["qkv"] + b["qb"], 3, -1)
            q, k, v = [a.reshape(n, t, g["H"], c // g["H"]).transpose(0, 2, 1, 3) for a in parts]
            a = jax.nn.softmax(
                jnp.where(mask, (q @ k.swapaxes(-1, -2)) / math.sqrt(c // g["H"]), -jnp.inf)
            )
            x = x + ((a @ v).transpose(0, 2, 1, 3).reshape(n, t, c) @ b["pr"] + b["pb"])
            x = x + (
                jax.nn.gelu(norm(x, b["g2"], b["b2"]) @ b["f1"] + b["fb"], approximate=True)
                @ b["f2"]
                + b["fc"]
            )
        return cross_entropy(norm(x, p["gf"], p["bf"]) @ p["hd"], y)

    step = adam_trainer(loss, p)
    x, y = _integers(g["V"], g["B"], g["T"]), _integers(g["V"], g["B"], g["T"])
    return lambda: step(x, y)


def _kernel(name: str) -> Callable[[], Any]:
    if name == "gelu":
        x = J(1 << 22)
        f = jax.jit(lambda x: 0.5 * x * (1 + jnp.tanh(0.7978845608 * (x + 0.044715 * x * x * x))))
        return lambda: f(x).block_until_ready()
    if name == "softmax":
        x = J(4096, 1024)
        f = jax.jit(lambda x: jax.nn.softmax(x * 2.0 + 1.0, -1))
        return lambda: f(x).block_until_ready()
    if name == "layernorm":
        x, w, b = J(4096, 1024), jnp.ones(1024), jnp.zeros(1024)

        @jax.jit
        def norm(x: Any, w: Any, b: Any) -> Any:
            m = x.mean(-1, keepdims=True)
            v = ((x - m) ** 2).mean(-1, keepdims=True)
            return (x - m) * jax.lax.rsqrt(v + 1e-5) * w + b

        return lambda: norm(x, w, b).block_until_ready()
    if name.startswith("gemm_"):
        a = J(int(name[5:]), int(name[5:]))
        f = jax.jit(lambda a: a @ a)
        return lambda: f(a).block_until_ready()
    if name == "add_eager":
        a = jnp.ones(8)
        return lambda: a + a
    raise NoSuchWorkload(f"no JAX version of {name}")


def build(name: str, compiled: bool) -> Callable[[], Any]:
    """A function without arguments that runs one step or one call."""
    if name.startswith("mlp_"):
        return _mlp(name[4:])
    makers = {"toy": _toy, "cnn": _cnn, "lstm": _lstm, "gpt": _gpt}
    return makers[name]() if name in makers else _kernel(name)
