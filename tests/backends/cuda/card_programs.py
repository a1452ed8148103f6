"""Programs that train on a card, and what their plans and batches are.

Invariant: the CPU runs each program first; a card gives its bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import hybrid
from hybrid import nn, optim
from hybrid.backends.cuda.executable import PlanOnCard
from hybrid.core.aval import HOST
from hybrid.ir.mode import ROOTS
from hybrid.nn import functional as F
from hybrid.ops.indexing import generators

Batch = tuple[np.ndarray, ...]
RNG = np.random.default_rng(0)


def forget_generators() -> None:
    """The default generators of cards: their state is memory of a driver that goes."""
    for device in [device for device in generators._DEFAULT if device is not HOST]:
        del generators._DEFAULT[device]
    ROOTS[:] = [root for root in ROOTS if getattr(root, "device", HOST) is HOST]


def executable_of(function: Any) -> PlanOnCard:
    """What the only plan of a function runs on."""
    (state,) = function._signatures.values()
    (plan,) = state.plans
    assert isinstance(plan.run.executable, PlanOnCard)
    return plan.run.executable


def on(kind: str, *arrays: np.ndarray) -> list[Any]:
    return [hybrid.tensor(array, device=kind) for array in arrays]


# ---- four training steps
class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.start = nn.Embedding(7, 4), nn.Parameter(hybrid.zeros(1, 5))
        self.enter, self.state = nn.Linear(4, 20), nn.Linear(5, 20, bias=False)
        self.out = nn.Linear(5, 7)

    def forward(self, tokens: Any) -> Any:
        hidden = self.start.expand(tokens.shape[0], 5)
        cell, made = hidden, []
        projected = self.enter(self.embed(tokens))
        for step in range(tokens.shape[1]):
            gates = projected[:, step] + self.state(hidden)
            enter, forget, leave, update = gates.chunk(4, 1)
            cell = forget.sigmoid() * cell + enter.sigmoid() * update.tanh()
            hidden = leave.sigmoid() * cell.tanh()
            made.append(hidden)
        return self.out(hybrid.stack(made, 1)).reshape(-1, 7)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.norm = nn.Embedding(7, 8), nn.LayerNorm(8)
        self.qkv, self.project = nn.Linear(8, 24), nn.Linear(8, 8)
        self.drop, self.head = nn.Dropout(0.25), nn.Linear(8, 7)

    def forward(self, tokens: Any) -> Any:
        hidden = self.tokens(tokens)
        batch, length, width = hidden.shape
        parts = self.qkv(self.norm(hidden)).chunk(3, -1)
        query, key, value = [p.reshape(batch, length, 2, 4).swapaxes(1, 2) for p in parts]
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        mixed = mixed.swapaxes(1, 2).reshape(batch, length, width)
        return self.head(self.drop(hidden + self.project(mixed))).reshape(-1, 7)


def perceptron() -> Any:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 7))


def convolutions() -> Any:
    first, second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
    rest = nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 7)
    return nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(2), second, *rest)


def floats(*shape: int) -> Batch:
    inputs = RNG.standard_normal(shape).astype("f4")
    return inputs, RNG.integers(0, 7, shape[0])


def tokens(*shape: int) -> Batch:
    return RNG.integers(0, 7, shape), RNG.integers(0, 7, shape).reshape(-1)


PROGRAMS: dict[str, tuple[Callable[[], Any], Callable[[], Batch]]] = {
    "mlp": (perceptron, lambda: floats(6, 8)),
    "cnn": (convolutions, lambda: floats(3, 1, 8, 8)),
    "lstm": (Recurrent, lambda: tokens(2, 4)),
    "gpt": (Attention, lambda: tokens(2, 6)),
}


def training(build: Callable[[], Any], kind: str) -> tuple[Any, Any]:
    """A model and its training step on a kind of device."""
    hybrid.manual_seed(0)
    model = build().to(kind)
    if kind != "cpu":
        hybrid.default_generator(kind).manual_seed(1)
    else:
        hybrid.manual_seed(1)
    optimizer = optim.Adam(model.parameters(), lr=1e-2)

    def step(inputs: Any, labels: Any) -> Any:
        loss = F.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return model, step


def trained_with_the_bits_of_the_cpu(name: str, steps: int) -> Any:
    """A program's traced step after as many steps, whose losses and parameters are the CPU's."""
    build, batch = PROGRAMS[name]
    batches = [batch() for _ in range(steps)]
    model, step = training(build, "cpu")
    want = [step(*on("cpu", *arrays)).numpy() for arrays in batches]
    state = [p.numpy() for p in model.parameters()]
    model, step = training(build, "cuda")
    traced = hybrid.function(step)
    losses = [traced(*on("cuda", *arrays)) for arrays in batches]
    executable_of(traced)
    for got, wanted in zip([*losses, *model.parameters()], [*want, *state], strict=True):
        np.testing.assert_array_equal(got.numpy(), wanted)
    return traced
