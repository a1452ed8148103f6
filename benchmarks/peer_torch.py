"""The workloads in PyTorch, eager and under torch.compile."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F

from .sizes import CNN, GPT, LSTM, MLP, NoSuchWorkload, generator, randn

torch.set_num_threads(len(os.sched_getaffinity(0)))
torch.manual_seed(0)


class LSTMModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        width, hidden, vocabulary = LSTM["embedding"], LSTM["hidden"], LSTM["vocabulary"]
        self.embed = nn.Embedding(vocabulary, width)
        self.from_input = nn.Linear(width, 4 * hidden)
        self.from_state = nn.Linear(hidden, 4 * hidden, bias=False)
        self.out = nn.Linear(hidden, vocabulary)

    def forward(self, tokens: Any) -> Any:
        hidden = torch.zeros(tokens.shape[0], LSTM["hidden"])
        cell = hidden
        states = []
        projected = self.from_input(self.embed(tokens))
        for step in range(LSTM["length"]):
            gates = projected[:, step] + self.from_state(hidden)
            enter, forget, leave, update = gates.chunk(4, 1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(update)
            hidden = torch.sigmoid(leave) * torch.tanh(cell)
            states.append(hidden)
        return self.out(torch.stack(states, 1))


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
            part.reshape(batch, length, heads, width // heads).transpose(1, 2)
            for part in self.qkv(self.norm1(inputs)).chunk(3, -1)
        ]
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        middle = inputs + self.project(mixed.transpose(1, 2).reshape(batch, length, width))
        return middle + self.down(F.gelu(self.up(self.norm2(middle)), approximate="tanh"))


class GPTModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        width, vocabulary = GPT["width"], GPT["vocabulary"]
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.zeros(GPT["length"], width))
        self.blocks = nn.ModuleList([Block() for _ in range(GPT["layers"])])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: Any) -> Any:
        hidden = self.tokens(tokens) + self.positions
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(self.norm(hidden))


def trainer(
    model: Any, loss_function: Callable[..., Any], compiled: bool, sgd: bool = False
) -> Callable[..., Any]:
    """A training step; torch.compile gets the forward pass with the loss (it
    makes the backward from it)."""
    optimizer = (
        torch.optim.SGD(model.parameters(), lr=0.01)
        if sgd
        else torch.optim.Adam(model.parameters(), lr=1e-3)
    )
    forward: Callable[..., Any] = lambda *batch: loss_function(model, *batch)  # noqa: E731
    if compiled:
        forward = torch.compile(forward)

    def step(*batch: Any) -> Any:
        loss = forward(*batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


def _integers(high: int, *shape: int) -> Any:
    return torch.from_numpy(generator.integers(0, high, shape))


def _squared_error(model: Any, inputs: Any, targets: Any) -> Any:
    return ((model(inputs) - targets) ** 2).sum()


def _cross_entropy(model: Any, inputs: Any, labels: Any) -> Any:
    return F.cross_entropy(model(inputs), labels)


def _sequence_cross_entropy(classes: int) -> Callable[..., Any]:
    return lambda model, inputs, labels: F.cross_entropy(
        model(inputs).reshape(-1, classes), labels.reshape(-1)
    )


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


def _toy(compiled: bool) -> Callable[[], Any]:
    step = trainer(nn.Linear(1, 1), _squared_error, compiled, sgd=True)

    def run() -> float:
        inputs = torch.from_numpy(generator.random((1, 1), dtype="float32"))
        return step(inputs, inputs * 3).item()

    return run


def _training(name: str, compiled: bool) -> Callable[[], Any]:
    if name == "toy":
        return _toy(compiled)
    if name.startswith("mlp_"):
        batch, width, hidden, outputs = MLP[name[4:]]
        model: Any = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
        inputs, labels = torch.from_numpy(randn(batch, width)), _integers(outputs, batch)
        step = trainer(model, _cross_entropy, compiled)
    elif name == "cnn":
        model, batch = _cnn(), CNN["batch"]
        inputs, labels = torch.from_numpy(randn(batch, 1, 28, 28)), _integers(10, batch)
        step = trainer(model, _cross_entropy, compiled)
    else:
        sizes = LSTM if name == "lstm" else GPT
        vocabulary, shape = sizes["vocabulary"], (sizes["batch"], sizes["length"])
        inputs, labels = _integers(vocabulary, *shape), _integers(vocabulary, *shape)
        model = LSTMModel() if name == "lstm" else GPTModel()
        step = trainer(model, _sequence_cross_entropy(vocabulary), compiled)
    return lambda: step(inputs, labels).item()


def _gelu(x: Any) -> Any:
    return 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))


def _layer_norm(inputs: Any, weight: Any, bias: Any) -> Any:
    mean = inputs.mean(-1, keepdim=True)
    variance = ((inputs - mean) ** 2).mean(-1, keepdim=True)
    return (inputs - mean) * torch.rsqrt(variance + 1e-5) * weight + bias


def _kernel(name: str) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    if name == "gelu":
        return _gelu, (torch.from_numpy(randn(1 << 22)),)
    if name == "softmax":
        inputs = torch.from_numpy(randn(4096, 1024))
        return (lambda logits: torch.softmax(logits * 2.0 + 1.0, -1)), (inputs,)
    if name == "layernorm":
        inputs = torch.from_numpy(randn(4096, 1024))
        return _layer_norm, (inputs, torch.ones(1024), torch.zeros(1024))
    if name.startswith("gemm_"):
        extent = int(name[5:])
        return (lambda matrix: matrix @ matrix), (torch.from_numpy(randn(extent, extent)),)
    if name not in ("add_eager", "add_eager_grad"):
        raise NoSuchWorkload(name)
    with_gradient = name == "add_eager_grad"
    return (lambda vector: vector + vector), (torch.ones(8, requires_grad=with_gradient),)


def build(name: str, compiled: bool) -> Callable[[], Any]:
    """A function without arguments that runs one step or one call."""
    if name in ("toy", "cnn", "lstm", "gpt") or name.startswith("mlp_"):
        return _training(name, compiled)
    function, operands = _kernel(name)
    if compiled:
        function = torch.compile(function)
    return lambda: function(*operands)
