"""The workloads in PyTorch, eager and under torch.compile."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F

from .sizes import CNN, GPT, LSTM, MLP, NoSuchWorkload, randn, rng

torch.set_num_threads(len(os.sched_getaffinity(0)))
torch.manual_seed(0)


class LSTMModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        d = LSTM
        self.embed = nn.Embedding(d["V"], d["E"])
        self.wx = nn.Linear(d["E"], 4 * d["H"])
        self.wh = nn.Linear(d["H"], 4 * d["H"], bias=False)
        self.out = nn.Linear(d["H"], d["V"])

    def forward(self, x: Any) -> Any:
        h = torch.zeros(x.shape[0], LSTM["H"])
        c = h
        states = []
        projected = self.wx(self.embed(x))
        for t in range(LSTM["T"]):
            i, f, o, u = (projected[:, t] + self.wh(h)).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(u)
            h = torch.sigmoid(o) * torch.tanh(c)
            states.append(h)
        return self.out(torch.stack(states, 1))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        c = GPT["C"]
        self.norm1, self.qkv, self.project = nn.LayerNorm(c), nn.Linear(c, 3 * c), nn.Linear(c, c)
        self.norm2, self.up, self.down = nn.LayerNorm(c), nn.Linear(c, 4 * c), nn.Linear(4 * c, c)

    def forward(self, x: Any) -> Any:
        b, t, c = x.shape
        heads = GPT["H"]
        q, k, v = [
            a.reshape(b, t, heads, c // heads).transpose(1, 2)
            for a in self.qkv(self.norm1(x)).chunk(3, -1)
        ]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, c)
        x = x + self.project(y)
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class GPTModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        g = GPT
        self.tokens = nn.Embedding(g["V"], g["C"])
        self.positions = nn.Parameter(torch.zeros(g["T"], g["C"]))
        self.blocks = nn.ModuleList([Block() for _ in range(g["L"])])
        self.norm, self.head = nn.LayerNorm(g["C"]), nn.Linear(g["C"], g["V"], bias=False)

    def forward(self, x: Any) -> Any:
        x = self.tokens(x) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


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
    return torch.from_numpy(rng.integers(0, high, shape))


def _training(name: str, compiled: bool) -> Callable[[], Any]:
    if name == "toy":
        step = trainer(nn.Linear(1, 1), lambda m, x, y: ((m(x) - y) ** 2).sum(), compiled, sgd=True)

        def run() -> float:
            x = torch.from_numpy(rng.random((1, 1), dtype="float32"))
            return step(x, x * 3).item()

        return run
    if name.startswith("mlp_"):
        b, i, h, o = MLP[name[4:]]
        model: Any = nn.Sequential(nn.Linear(i, h), nn.ReLU(), nn.Linear(h, o))
        x, y = torch.from_numpy(randn(b, i)), _integers(o, b)
        step = trainer(model, lambda m, x, y: F.cross_entropy(m(x), y), compiled)
    elif name == "cnn":
        model = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, 10),
        )
        x, y = torch.from_numpy(randn(CNN["B"], 1, 28, 28)), _integers(10, CNN["B"])
        step = trainer(model, lambda m, x, y: F.cross_entropy(m(x), y), compiled)
    else:
        d = LSTM if name == "lstm" else GPT
        x, y = _integers(d["V"], d["B"], d["T"]), _integers(d["V"], d["B"], d["T"])
        step = trainer(
            LSTMModel() if name == "lstm" else GPTModel(),
            lambda m, x, y: F.cross_entropy(m(x).reshape(-1, d["V"]), y.reshape(-1)),
            compiled,
        )
    return lambda: step(x, y).item()


def _kernel(name: str) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    if name == "gelu":
        return (lambda x: 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))), (
            torch.from_numpy(randn(1 << 22)),
        )
    if name == "softmax":
        return (lambda x: torch.softmax(x * 2.0 + 1.0, -1)), (torch.from_numpy(randn(4096, 1024)),)
    if name == "layernorm":

        def norm(x: Any, weight: Any, bias: Any) -> Any:
            m = x.mean(-1, keepdim=True)
            v = ((x - m) ** 2).mean(-1, keepdim=True)
            return (x - m) * torch.rsqrt(v + 1e-5) * weight + bias

        return norm, (torch.from_numpy(randn(4096, 1024)), torch.ones(1024), torch.zeros(1024))
    if name.startswith("gemm_"):
        return (lambda a: a @ a), (torch.from_numpy(randn(int(name[5:]), int(name[5:]))),)
    if name not in ("add_eager", "add_eager_grad"):
        raise NoSuchWorkload(name)
    return (lambda a: a + a), (torch.ones(8, requires_grad=name == "add_eager_grad"),)


def build(name: str, compiled: bool) -> Callable[[], Any]:
    """A function without arguments that runs one step or one call."""
    if name in ("toy", "cnn", "lstm", "gpt") or name.startswith("mlp_"):
        return _training(name, compiled)
    fn, args = _kernel(name)
    if compiled:
        fn = torch.compile(fn)
    return lambda: fn(*args)
