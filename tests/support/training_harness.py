"""A program run with plain Python and with @function, and a small net to train."""

from __future__ import annotations

from typing import Any

import numpy as np
from adversary.common import check

import hybrid.nn as nn
import hybrid.optim as optim
from hybrid import random as rnd
from hybrid.decorator import Function

RNG = np.random.default_rng(0)
DATA = [RNG.standard_normal((4, 8)).astype("f4") for _ in range(8)]


def both(program: Any, replays: int | None = None) -> Function:
    """Run a program with plain Python and with @function; all it returns must agree to the bit."""

    def seeded(jit: Any) -> Any:
        rnd.manual_seed(0)
        return program(jit)

    made = check(seeded)
    if replays is not None:
        assert made[0].cache_info().replays >= replays, made[0].explain()
    return made[0]


class Net(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])
        self.drop = nn.Dropout(dropout)
        self.scale = 2.0

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = self.drop(layer(x).relu()) * self.scale
        return x


def trainer(jit: Any, opt_class: Any = optim.Adam, **kw: Any) -> tuple[Any, Any, Any]:
    net = Net(kw.pop("dropout", 0.0))
    opt = opt_class(net.parameters(), **kw)

    @jit
    def step(x: Any, y: Any) -> Any:
        opt.zero_grad()
        loss = ((net(x) - y) ** 2).mean()
        loss.backward()
        opt.step()
        return loss

    return net, opt, step


def state(net: Any) -> list[Any]:
    return [p for p in net.parameters()] + [p.grad for p in net.parameters()]
