"""The workloads in hybrid: `build(name, traced)` gives a function to time.

Invariant: the eager and the traced variant run the same Python function.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import hybrid as hb
from hybrid import nn, optim
from hybrid.nn import functional as F

from .sizes import CNN, GPT, LSTM, MLP, NoSuchWorkload, randn, rng


class LSTMModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        d = LSTM
        self.embed = nn.Embedding(d["V"], d["E"])
        self.wx = nn.Linear(d["E"], 4 * d["H"])
        self.wh = nn.Linear(d["H"], 4 * d["H"], bias=False)
        self.out = nn.Linear(d["H"], d["V"])

    def forward(self, x: Any) -> Any:
        h = hb.zeros(x.shape[0], LSTM["H"])
        c = h
        states = []
        projected = self.wx(self.embed(x))
        for t in range(LSTM["T"]):
            gates = projected[:, t] + self.wh(h)
            i, f, o, u = gates.chunk(4, 1)
            c = hb.sigmoid(f) * c + hb.sigmoid(i) * hb.tanh(u)
            h = hb.sigmoid(o) * hb.tanh(c)
            states.append(h)
        return self.out(hb.stack(states, 1))


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
        self.positions = nn.Parameter(hb.zeros(g["T"], g["C"]))
        self.blocks = nn.ModuleList([Block() for _ in range(g["L"])])
        self.norm, self.head = nn.LayerNorm(g["C"]), nn.Linear(g["C"], g["V"], bias=False)

    def forward(self, x: Any) -> Any:
        x = self.tokens(x) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def trainer(
    model: Any, loss_function: Callable[..., Any], traced: bool, sgd: bool = False
) -> Callable[..., Any]:
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

    return hb.function(step) if traced else step


def _cross_entropy(classes: int) -> Callable[..., Any]:
    return lambda m, x, y: F.cross_entropy(m(x).reshape(-1, classes), y.reshape(-1))


def _integers(high: int, *shape: int) -> Any:
    return hb.tensor(rng.integers(0, high, shape))


def _training(name: str, traced: bool) -> tuple[Callable[..., Any], Callable[[], tuple[Any, ...]]]:
    if name == "toy":
        step = trainer(nn.Linear(1, 1), lambda m, x, y: ((m(x) - y) ** 2).sum(), traced, sgd=True)

        def batch() -> tuple[Any, ...]:
            x = hb.tensor(rng.random((1, 1), dtype="float32"))
            return x, x * 3

        return step, batch
    if name.startswith("mlp_"):
        b, i, h, o = MLP[name[4:]]
        model: Any = nn.Sequential(nn.Linear(i, h), nn.ReLU(), nn.Linear(h, o))
        data = hb.tensor(randn(b, i)), _integers(o, b)
        return trainer(model, lambda m, x, y: F.cross_entropy(m(x), y), traced), lambda: data
    if name == "cnn":
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
        data = hb.tensor(randn(CNN["B"], 1, 28, 28)), _integers(10, CNN["B"])
        return trainer(model, lambda m, x, y: F.cross_entropy(m(x), y), traced), lambda: data
    d = LSTM if name == "lstm" else GPT
    data = _integers(d["V"], d["B"], d["T"]), _integers(d["V"], d["B"], d["T"])
    return trainer(
        LSTMModel() if name == "lstm" else GPTModel(), _cross_entropy(d["V"]), traced
    ), lambda: data


def _kernel(name: str) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    if name == "gelu":
        return (lambda x: 0.5 * x * (1 + hb.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))), (
            hb.tensor(randn(1 << 22)),
        )
    if name == "softmax":
        return (lambda x: F.softmax(x * 2.0 + 1.0, -1)), (hb.tensor(randn(4096, 1024)),)
    if name == "layernorm":

        def norm(x: Any, weight: Any, bias: Any) -> Any:
            m = x.mean(-1, keepdims=True)
            v = ((x - m) ** 2).mean(-1, keepdims=True)
            return (x - m) * hb.rsqrt(v + 1e-5) * weight + bias

        return norm, (hb.tensor(randn(4096, 1024)), hb.ones(1024), hb.zeros(1024))
    if name.startswith("gemm_"):
        n = int(name[5:])
        return (lambda a: a @ a), (hb.tensor(randn(n, n) / math.sqrt(n)),)
    if name not in ("add_eager", "add_eager_grad"):
        raise NoSuchWorkload(name)
    grad = name == "add_eager_grad"
    return (lambda a: a + a), (hb.ones(8, requires_grad=grad),)


def build(name: str, traced: bool) -> Callable[[], Any]:
    """A function without arguments that runs one step (training) or one call (kernels)."""
    hb.manual_seed(0)
    if name in ("toy", "cnn", "lstm", "gpt") or name.startswith("mlp_"):
        step, batch = _training(name, traced)
        return lambda: step(*batch()).item()
    fn, args = _kernel(name)
    if traced:
        fn = hb.function(fn)
    return lambda: fn(*args)
