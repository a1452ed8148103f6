"""What is left when a function is dropped: nothing that ends inside of the garbage collector.

A thread that frees native code there may wait for a fork, whose child would then never collect
again; so what replays are made of dies with its last reference."""

from __future__ import annotations

import gc
import types
from collections.abc import Callable
from typing import Any

import pytest

import hybrid as hb
from hybrid import nn, optim


def counting() -> Callable[..., Any]:
    state = {"n": 0}

    def f(x: Any) -> Any:
        state["n"] += 1
        return {"twice": x * 2, "n": state["n"]}

    return f


def training() -> Callable[..., Any]:
    layer, log = nn.Linear(4, 2), list[Any]()
    optimizer = optim.SGD(layer.parameters(), lr=0.1)

    def f(x: Any) -> Any:
        loss = (layer(x) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        log.append(loss.item())
        return loss

    return f


def structured() -> Callable[..., Any]:
    return lambda x, batch=None: x * 2 if batch is None else x + batch["y"]


@pytest.mark.parametrize("make", [counting, training, structured])
def test_a_dropped_function_leaves_no_generated_code_to_the_collector(
    make: Callable[[], Any],
) -> None:
    f = hb.function(make())
    for _ in range(8):
        f(hb.ones(3, 4))
        if make is structured:
            f(hb.ones(3, 4), batch={"y": hb.ones(4)})
    gc.collect()
    gc.disable()
    try:
        del f
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found = [o for o in gc.garbage if type(o) is types.FunctionType]
        ours = [o.__code__.co_filename for o in found if "<hybrid" in o.__code__.co_filename]
        assert not ours, ours
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
