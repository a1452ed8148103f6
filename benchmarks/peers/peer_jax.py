"""The workloads in JAX, jitted whole with donated state."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..sizes import CNN, GPT, LSTM, MLP, NoSuchWorkload, generator, randn

Params = dict[str, Any]
tree_map = jax.tree.map


def _normal(*shape: int, scale: float = 1.0) -> Any:
    return jnp.asarray(randn(*shape, scale=scale))


def _integers(high: int, *shape: int) -> Any:
    return jnp.asarray(generator.integers(0, high, shape))


def adam_trainer(loss: Callable[..., Any], params: Any) -> Callable[..., float]:
    """Adam with PyTorch's formula; state is donated."""

    @functools.partial(jax.jit, donate_argnums=(0,))
    def step(state: Any, *batch: Any) -> Any:
        params, means, squares, count = state
        value, gradients = jax.value_and_grad(loss)(params, *batch)
        count = count + 1
        means = tree_map(lambda mean, grad: 0.9 * mean + 0.1 * grad, means, gradients)
        squares = tree_map(
            lambda square, grad: 0.999 * square + 0.001 * grad * grad, squares, gradients
        )
        params = tree_map(
            lambda param, mean, square: (
                param
                - 1e-3 * (mean / (1 - 0.9**count)) / (jnp.sqrt(square / (1 - 0.999**count)) + 1e-8)
            ),
            params,
            means,
            squares,
        )
        return (params, means, squares, count), value

    zeros = [tree_map(jnp.zeros_like, params) for _ in range(2)]
    held = [(params, *zeros, jnp.float32(0))]

    def run(*batch: Any) -> float:
        held[0], value = step(held[0], *batch)
        return float(value)

    return run


def cross_entropy(logits: Any, labels: Any) -> Any:
    """Mean over all positions of the negative log-probability of the label."""
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1))


def _toy() -> Callable[[], float]:
    held: list[Any] = [{"weight": jnp.zeros((1, 1)), "bias": jnp.zeros(1)}]

    def loss(params: Params, inputs: Any, targets: Any) -> Any:
        return jnp.sum((inputs @ params["weight"] + params["bias"] - targets) ** 2)

    @jax.jit
    def step(params: Params, inputs: Any, targets: Any) -> Any:
        value, gradients = jax.value_and_grad(loss)(params, inputs, targets)
        return tree_map(lambda param, grad: param - 0.01 * grad, params, gradients), value

    def run() -> float:
        inputs = generator.random((1, 1), dtype="float32")
        held[0], value = step(held[0], inputs, inputs * 3)
        return float(value)

    return run


def _mlp(size: str) -> Callable[[], float]:
    batch, width, hidden, outputs = MLP[size]
    params = {
        "weight1": _normal(width, hidden, scale=0.05),
        "bias1": jnp.zeros(hidden),
        "weight2": _normal(hidden, outputs, scale=0.05),
        "bias2": jnp.zeros(outputs),
    }

    def loss(params: Params, inputs: Any, labels: Any) -> Any:
        middle = jax.nn.relu(inputs @ params["weight1"] + params["bias1"])
        return cross_entropy(middle @ params["weight2"] + params["bias2"], labels)

    step = adam_trainer(loss, params)
    inputs, labels = _normal(batch, width), _integers(outputs, batch)
    return lambda: step(inputs, labels)


def _convolved(inputs: Any, weight: Any, bias: Any) -> Any:
    out = jax.lax.conv_general_dilated(inputs, weight, (1, 1), "SAME")
    return out + bias[None, :, None, None]


def _pooled(inputs: Any) -> Any:
    window = (1, 1, 2, 2)
    return jax.lax.reduce_window(inputs, -jnp.inf, jax.lax.max, window, window, "VALID")


def _cnn() -> Callable[[], float]:
    params = {
        "kernel1": _normal(16, 1, 3, 3, scale=0.1),
        "bias1": jnp.zeros(16),
        "kernel2": _normal(32, 16, 3, 3, scale=0.1),
        "bias2": jnp.zeros(32),
        "weight": _normal(1568, 10, scale=0.05),
        "bias": jnp.zeros(10),
    }

    def loss(params: Params, images: Any, labels: Any) -> Any:
        hidden = _pooled(jax.nn.relu(_convolved(images, params["kernel1"], params["bias1"])))
        hidden = _pooled(jax.nn.relu(_convolved(hidden, params["kernel2"], params["bias2"])))
        flat = hidden.reshape(hidden.shape[0], -1)
        return cross_entropy(flat @ params["weight"] + params["bias"], labels)

    step = adam_trainer(loss, params)
    images, labels = _normal(CNN["batch"], 1, 28, 28), _integers(10, CNN["batch"])
    return lambda: step(images, labels)


def _token_batch(sizes: dict[str, int]) -> tuple[Any, Any]:
    shape = sizes["vocabulary"], sizes["batch"], sizes["length"]
    return _integers(*shape), _integers(*shape)


def _lstm() -> Callable[[], float]:
    width, units, vocabulary = LSTM["embedding"], LSTM["hidden"], LSTM["vocabulary"]
    params = {
        "embedding": _normal(vocabulary, width),
        "from_input": _normal(width, 4 * units, scale=0.1),
        "gate_bias": jnp.zeros(4 * units),
        "from_state": _normal(units, 4 * units, scale=0.1),
        "out": _normal(units, vocabulary, scale=0.1),
        "out_bias": jnp.zeros(vocabulary),
    }

    def loss(params: Params, tokens: Any, labels: Any) -> Any:
        start = jnp.zeros((tokens.shape[0], units))
        embedded = params["embedding"][tokens]
        projected = embedded @ params["from_input"] + params["gate_bias"]

        def advance(state: Any, gates: Any) -> Any:
            hidden, cell = state
            parts = jnp.split(gates + hidden @ params["from_state"], 4, 1)
            enter, forget, leave, update = parts
            cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(enter) * jnp.tanh(update)
            hidden = jax.nn.sigmoid(leave) * jnp.tanh(cell)
            return (hidden, cell), hidden

        _, states = jax.lax.scan(advance, (start, start), projected.swapaxes(0, 1))
        return cross_entropy(states.swapaxes(0, 1) @ params["out"] + params["out_bias"], labels)

    step = adam_trainer(loss, params)
    tokens, labels = _token_batch(LSTM)
    return lambda: step(tokens, labels)


def _norm(inputs: Any, weight: Any, bias: Any) -> Any:
    mean = inputs.mean(-1, keepdims=True)
    variance = ((inputs - mean) ** 2).mean(-1, keepdims=True)
    return (inputs - mean) * jax.lax.rsqrt(variance + 1e-5) * weight + bias


def _block_params(width: int) -> Params:
    return {
        "scale1": jnp.ones(width),
        "shift1": jnp.zeros(width),
        "qkv": _normal(width, 3 * width, scale=0.05),
        "qkv_bias": jnp.zeros(3 * width),
        "project": _normal(width, width, scale=0.05),
        "project_bias": jnp.zeros(width),
        "scale2": jnp.ones(width),
        "shift2": jnp.zeros(width),
        "up": _normal(width, 4 * width, scale=0.05),
        "up_bias": jnp.zeros(4 * width),
        "down": _normal(4 * width, width, scale=0.05),
        "down_bias": jnp.zeros(width),
    }


def _block(inputs: Any, block: Params, mask: Any) -> Any:
    batch, length, width = inputs.shape
    heads = GPT["heads"]
    normed = _norm(inputs, block["scale1"], block["shift1"])
    query, key, value = [
        part.reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3)
        for part in jnp.split(normed @ block["qkv"] + block["qkv_bias"], 3, -1)
    ]
    scores = (query @ key.swapaxes(-1, -2)) / math.sqrt(width // heads)
    mixed = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf)) @ value
    joined = mixed.transpose(0, 2, 1, 3).reshape(batch, length, width)
    middle = inputs + (joined @ block["project"] + block["project_bias"])
    normed = _norm(middle, block["scale2"], block["shift2"])
    raised = jax.nn.gelu(normed @ block["up"] + block["up_bias"], approximate=True)
    return middle + (raised @ block["down"] + block["down_bias"])


def _gpt() -> Callable[[], float]:
    width, length, vocabulary = GPT["width"], GPT["length"], GPT["vocabulary"]
    params = {
        "tokens": _normal(vocabulary, width),
        "positions": jnp.zeros((length, width)),
        "blocks": [_block_params(width) for _ in range(GPT["layers"])],
        "scale": jnp.ones(width),
        "shift": jnp.zeros(width),
        "head": _normal(width, vocabulary, scale=0.05),
    }
    mask = jnp.tril(jnp.ones((length, length), bool))

    def loss(params: Params, tokens: Any, labels: Any) -> Any:
        hidden = params["tokens"][tokens] + params["positions"]
        for block in params["blocks"]:
            hidden = _block(hidden, block, mask)
        return cross_entropy(
            _norm(hidden, params["scale"], params["shift"]) @ params["head"], labels
        )

    step = adam_trainer(loss, params)
    tokens, labels = _token_batch(GPT)
    return lambda: step(tokens, labels)


def _gelu(x: Any) -> Any:
    return 0.5 * x * (1 + jnp.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))


def _kernel(name: str) -> Callable[[], Any]:
    if name == "add_eager":
        vector = jnp.ones(8)
        return lambda: vector + vector
    function: Callable[..., Any]
    operands: tuple[Any, ...]
    if name == "gelu":
        function, operands = _gelu, (_normal(1 << 22),)
    elif name == "softmax":
        function = lambda logits: jax.nn.softmax(logits * 2.0 + 1.0, -1)  # noqa: E731
        operands = (_normal(4096, 1024),)
    elif name == "layernorm":
        function, operands = _norm, (_normal(4096, 1024), jnp.ones(1024), jnp.zeros(1024))
    elif name.startswith("gemm_"):
        function = lambda matrix: matrix @ matrix  # noqa: E731
        operands = (_normal(int(name[5:]), int(name[5:])),)
    else:
        raise NoSuchWorkload(f"no JAX version of {name}")
    compiled = jax.jit(function)
    return lambda: compiled(*operands).block_until_ready()


def build(name: str, compiled: bool, device: str = "cpu") -> Callable[[], Any]:
    """A function without arguments that runs one step or one call."""
    jax.config.update("jax_default_device", jax.devices(device)[0])
    jax.config.update("jax_default_matmul_precision", "highest")  # no TF32
    if name.startswith("mlp_"):
        return _mlp(name[4:])
    makers = {"toy": _toy, "cnn": _cnn, "lstm": _lstm, "gpt": _gpt}
    return makers[name]() if name in makers else _kernel(name)
