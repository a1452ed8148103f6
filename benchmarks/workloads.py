"""The workloads in hybrid: `build(name, traced, device)` gives a function to time.

Invariant: the eager and the traced variant run the same Python function, on every device the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import hybrid as hb
from hybrid import nn, optim
from hybrid.backends.api import backend
from hybrid.nn import functional as F

from .sizes import CNN, GPT, LSTM, MLP, TRAINING, NoSuchWorkload, generator, randn


class LSTMModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        width, hidden, vocabulary = LSTM["embedding"], LSTM["hidden"], LSTM["vocabulary"]
        self.embed = nn.Embedding(vocabulary, width)
        self.from_input = nn.Linear(width, 4 * hidden)
        self.from_state = nn.Linear(hidden, 4 * hidden, bias=False)
        self.out = nn.Linear(hidden, vocabulary)

    def forward(self, tokens: Any) -> Any:
        hidden = hb.zeros(tokens.shape[0], LSTM["hidden"], device=tokens.device)
        cell = hidden
        states = []
        projected = self.from_input(self.embed(tokens))
        for step in range(LSTM["length"]):
            gates = projected[:, step] + self.from_state(hidden)
            enter, forget, leave, update = gates.chunk(4, 1)
            cell = hb.sigmoid(forget) * cell + hb.sigmoid(enter) * hb.tanh(update)
            hidden = hb.sigmoid(leave) * hb.tanh(cell)
            states.append(hidden)
        return self.out(hb.stack(states, 1))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        width = GPT["width"]
        self.norm1, self.qkv = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.norm2, self.up = nn.LayerNorm(width), nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, inputs: Any) -> Any:
        batch, length, width = inputs.shape
        heads = GPT["heads"]
        query, key, value = [
            part.reshape(batch, length, heads, width // heads).swapaxes(1, 2)
            for part in self.qkv(self.norm1(inputs)).chunk(3, -1)
        ]
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        middle = inputs + self.project(mixed.swapaxes(1, 2).reshape(batch, length, width))
        return middle + self.down(F.gelu(self.up(self.norm2(middle)), approximate="tanh"))


class GPTModel(nn.Module):
    def __init__(self, layers: int = GPT["layers"], longest: int = GPT["length"]) -> None:
        super().__init__()
        width, vocabulary = GPT["width"], GPT["vocabulary"]
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(hb.zeros(longest, width))
        self.blocks = nn.ModuleList([Block() for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: Any) -> Any:
        hidden = self.tokens(tokens) + self.positions[: tokens.shape[1]]
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(self.norm(hidden))


class Training(NamedTuple):
    """A step, what gives its arguments, and what it changes."""

    step: Callable[..., Any]
    batch: Callable[[], tuple[Any, ...]]
    model: Any
    optimizer: Any


def trainer(
    model: Any,
    loss_function: Callable[..., Any],
    traced: bool,
    batch: Callable[[], tuple[Any, ...]],
    sgd: bool = False,
) -> Training:
    """A training step over a model: forward, backward, optimizer."""
    optimizer = (
        optim.SGD(model.parameters(), lr=0.01) if sgd else optim.Adam(model.parameters(), lr=1e-3)
    )

    def step(*batch: Any) -> Any:
        loss = loss_function(model, *batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return Training(hb.function(step) if traced else step, batch, model, optimizer)


def _cross_entropy(classes: int) -> Callable[..., Any]:
    return lambda model, inputs, labels: F.cross_entropy(
        model(inputs).reshape(-1, classes), labels.reshape(-1)
    )


def _tensor(array: Any, device: str) -> Any:
    return hb.tensor(array, device=device)


def _integers(device: str, high: int, *shape: int) -> Any:
    return _tensor(generator.integers(0, high, shape), device)


def _squared_error(model: Any, inputs: Any, targets: Any) -> Any:
    return ((model(inputs) - targets) ** 2).sum()


def _plain_cross_entropy(model: Any, inputs: Any, labels: Any) -> Any:
    return F.cross_entropy(model(inputs), labels)


def _cnn() -> Any:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 10),
    )


def training(name: str, traced: bool, device: str = "cpu") -> Training:
    """The training step of a workload, its model and batches on a device."""
    if name == "toy":

        def fresh_batch() -> tuple[Any, ...]:
            inputs = _tensor(generator.random((1, 1), dtype="float32"), device)
            return inputs, inputs * 3

        model: Any = nn.Linear(1, 1).to(device)
        return trainer(model, _squared_error, traced, fresh_batch, sgd=True)
    if name.startswith("mlp_"):
        batch, inputs, hidden, outputs = MLP[name[4:]]
        model = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
        samples = _tensor(randn(batch, inputs), device), _integers(device, outputs, batch)
        return trainer(model.to(device), _plain_cross_entropy, traced, lambda: samples)
    if name == "cnn":
        batch = CNN["batch"]
        samples = _tensor(randn(batch, 1, 28, 28), device), _integers(device, 10, batch)
        return trainer(_cnn().to(device), _plain_cross_entropy, traced, lambda: samples)
    sizes = LSTM if name == "lstm" else GPT
    vocabulary, shape = sizes["vocabulary"], (sizes["batch"], sizes["length"])
    samples = _integers(device, vocabulary, *shape), _integers(device, vocabulary, *shape)
    model = LSTMModel() if name == "lstm" else GPTModel()
    return trainer(model.to(device), _cross_entropy(vocabulary), traced, lambda: samples)


def _gelu(x: Any) -> Any:
    return 0.5 * x * (1 + hb.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))


def _layer_norm(inputs: Any, weight: Any, bias: Any) -> Any:
    mean = inputs.mean(-1, keepdims=True)
    variance = ((inputs - mean) ** 2).mean(-1, keepdims=True)
    return (inputs - mean) * hb.rsqrt(variance + 1e-5) * weight + bias


def kernel(name: str, device: str) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    if name == "gelu":
        return _gelu, (_tensor(randn(1 << 22), device),)
    if name == "softmax":
        inputs = _tensor(randn(4096, 1024), device)
        return (lambda logits: F.softmax(logits * 2.0 + 1.0, -1)), (inputs,)
    if name == "layernorm":
        scale, shift = hb.ones(1024, device=device), hb.zeros(1024, device=device)
        return _layer_norm, (_tensor(randn(4096, 1024), device), scale, shift)
    if name.startswith("gemm_"):
        extent = int(name[5:])
        inputs = _tensor(randn(extent, extent) / math.sqrt(extent), device)
        return (lambda matrix: matrix @ matrix), (inputs,)
    if name not in ("add_eager", "add_eager_grad"):
        raise NoSuchWorkload(name)
    with_gradient = name == "add_eager_grad"
    vector = hb.ones(8, requires_grad=with_gradient, device=device)
    return (lambda vector: vector + vector), (vector,)


def build(name: str, traced: bool, device: str = "cpu") -> Callable[[], Any]:
    """A function without arguments that runs one step (training) or one call (kernels)."""
    hb.manual_seed(0)
    if name in TRAINING:
        made = training(name, traced, device)
        return lambda: made.step(*made.batch()).item()
    function, operands = kernel(name, device)
    if traced:
        function = hb.function(function)
    if device == "cpu" or name.startswith("add_eager"):  # of small calls, the host's time
        return lambda: function(*operands)
    wait = backend(hb.device(device).kind).synchronize
    return lambda: (function(*operands), wait())
