"""The workloads in PyTorch: eager, under torch.compile, and the whole step as one CUDA graph.

Invariant: float32 is strict on every device (no TF32).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..sizes import CNN, GPT, LSTM, MLP, TRAINING, NoSuchWorkload, generator, randn

torch.set_num_threads(len(os.sched_getaffinity(0)))
torch.manual_seed(0)
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


class LSTMModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        width, hidden, vocabulary = LSTM["embedding"], LSTM["hidden"], LSTM["vocabulary"]
        self.embed = nn.Embedding(vocabulary, width)
        self.from_input = nn.Linear(width, 4 * hidden)
        self.from_state = nn.Linear(hidden, 4 * hidden, bias=False)
        self.out = nn.Linear(hidden, vocabulary)

    def forward(self, tokens: Any) -> Any:
        hidden = torch.zeros(tokens.shape[0], LSTM["hidden"], device=tokens.device)
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
    model: Any, loss_function: Callable[..., Any], mode: str, sgd: bool = False
) -> Callable[..., Any]:
    """A training step; torch.compile gets the forward pass with the loss (it
    makes the backward from it)."""
    whole = mode == "graph"
    parameters, settings = model.parameters(), {"fused": True, "capturable": True} if whole else {}
    optimizer = (
        torch.optim.SGD(parameters, lr=0.01)
        if sgd
        else torch.optim.Adam(parameters, lr=1e-3, **settings)
    )
    forward: Callable[..., Any] = lambda *batch: loss_function(model, *batch)  # noqa: E731
    if mode != "eager":
        forward = torch.compile(forward)

    def step(*batch: Any) -> Any:
        loss = forward(*batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return _captured(step, forward, optimizer) if whole else step


def _captured(
    step: Callable[..., Any], forward: Callable[..., Any], optimizer: Any
) -> Callable[..., Any]:
    """The whole step as one CUDA graph: forward, backward and optimizer; a batch that is not the
    one it was captured with is copied into that."""
    held: list[Any] = []

    def capture(batch: tuple[Any, ...]) -> None:
        static = [one.clone() for one in batch]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step(*static)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = forward(*static)
            loss.backward()
            optimizer.step()
        held[:] = graph, loss, static, batch

    def replay(*batch: Any) -> Any:
        if not held:
            capture(batch)
        graph, loss, static, first = held
        for target, one, known in zip(static, batch, first):
            if one is not known:
                target.copy_(one, non_blocking=True)
        graph.replay()
        return loss

    return replay


def _tensor(array: Any, device: str) -> Any:
    return torch.from_numpy(array).to(device)


def _integers(device: str, high: int, *shape: int) -> Any:
    return _tensor(generator.integers(0, high, shape), device)


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


def _toy(mode: str, device: str) -> Callable[[], Any]:
    step = trainer(nn.Linear(1, 1).to(device), _squared_error, mode, sgd=True)

    def run() -> float:
        inputs = _tensor(generator.random((1, 1), dtype="float32"), device)
        return step(inputs, inputs * 3).item()

    return run


def _training(name: str, mode: str, device: str) -> Callable[[], Any]:
    if name == "toy":
        return _toy(mode, device)
    if name.startswith("mlp_"):
        batch, width, hidden, outputs = MLP[name[4:]]
        model: Any = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
        inputs, labels = _tensor(randn(batch, width), device), _integers(device, outputs, batch)
        step = trainer(model.to(device), _cross_entropy, mode)
    elif name == "cnn":
        batch = CNN["batch"]
        inputs = _tensor(randn(batch, 1, 28, 28), device)
        labels = _integers(device, 10, batch)
        step = trainer(_cnn().to(device), _cross_entropy, mode)
    else:
        sizes = LSTM if name == "lstm" else GPT
        vocabulary, shape = sizes["vocabulary"], (sizes["batch"], sizes["length"])
        inputs, labels = (
            _integers(device, vocabulary, *shape),
            _integers(device, vocabulary, *shape),
        )
        model = LSTMModel() if name == "lstm" else GPTModel()
        step = trainer(model.to(device), _sequence_cross_entropy(vocabulary), mode)
    return lambda: step(inputs, labels).item()


def _gelu(x: Any) -> Any:
    return 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))


def _layer_norm(inputs: Any, weight: Any, bias: Any) -> Any:
    mean = inputs.mean(-1, keepdim=True)
    variance = ((inputs - mean) ** 2).mean(-1, keepdim=True)
    return (inputs - mean) * torch.rsqrt(variance + 1e-5) * weight + bias


def _kernel(name: str, device: str) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    if name == "gelu":
        return _gelu, (_tensor(randn(1 << 22), device),)
    if name == "softmax":
        inputs = _tensor(randn(4096, 1024), device)
        return (lambda logits: torch.softmax(logits * 2.0 + 1.0, -1)), (inputs,)
    if name == "layernorm":
        scale, shift = torch.ones(1024, device=device), torch.zeros(1024, device=device)
        return _layer_norm, (_tensor(randn(4096, 1024), device), scale, shift)
    if name.startswith("gemm_"):
        extent = int(name[5:])
        return (lambda matrix: matrix @ matrix), (_tensor(randn(extent, extent), device),)
    if name not in ("add_eager", "add_eager_grad"):
        raise NoSuchWorkload(name)
    vector = torch.ones(8, requires_grad=name == "add_eager_grad", device=device)
    return (lambda vector: vector + vector), (vector,)


def build(name: str, compiled: bool | str, device: str = "cpu") -> Callable[[], Any]:
    """A function without arguments that runs one step or one call; `compiled` may be "graph"."""
    mode = compiled if isinstance(compiled, str) else ("eager", "compile")[compiled]
    if name in TRAINING:
        return _training(name, mode, device)
    function, operands = _kernel(name, device)
    if mode != "eager":
        function = torch.compile(function)
    if device == "cpu" or name.startswith("add_eager"):  # of small calls, the host's time
        return lambda: function(*operands)
    return lambda: (function(*operands), torch.cuda.synchronize())
