"""Small eager calls: the time of the host, per call.

Invariant: the queue of the device is empty when a sample starts and never full before it ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hybrid as hb
from hybrid.nn import functional as F

from .records import Row
from .timing import Device, in_turns

__all__ = ["CASES", "measure"]

CALLS = 400  # fewer than a queue holds


def _ours(device: Device) -> dict[str, Callable[[], Any]]:
    one = hb.ones(8, device=device.name)
    leaf = hb.ones(8, device=device.name, requires_grad=True)
    matrix, batch = hb.ones(64, 64, device=device.name), hb.ones(32, 64, device=device.name)
    weight, bias = hb.ones(64, device=device.name), hb.zeros(64, device=device.name)
    return {
        "a + a, 8 floats": lambda: one + one,
        "a + a with a gradient": lambda: leaf + leaf,
        "a * 2.0": lambda: one * 2.0,
        "exp(a)": lambda: hb.exp(one),
        "a.sum()": lambda: one.sum(),
        "softmax 32x64": lambda: F.softmax(batch, -1),
        "layer norm 32x64": lambda: F.layer_norm(batch, (64,), weight, bias),
        "matmul 32x64x64": lambda: batch @ matrix,
        "view a[2:6]": lambda: one[2:6],
        "forward and backward of (a * a).sum()": lambda: _backward(leaf),
    }


def _theirs() -> dict[str, Callable[[], Any]]:
    import torch
    import torch.nn.functional as functions

    made = {"device": "cuda" if torch.cuda.is_available() else "cpu"}
    one, leaf = torch.ones(8, **made), torch.ones(8, requires_grad=True, **made)
    matrix, batch = torch.ones(64, 64, **made), torch.ones(32, 64, **made)
    weight, bias = torch.ones(64, **made), torch.zeros(64, **made)
    calls = [
        lambda: one + one,
        lambda: leaf + leaf,
        lambda: one * 2.0,
        lambda: torch.exp(one),
        lambda: one.sum(),
        lambda: torch.softmax(batch, -1),
        lambda: functions.layer_norm(batch, (64,), weight, bias),
        lambda: batch @ matrix,
        lambda: one[2:6],
        lambda: _backward(leaf),
    ]
    return dict(zip(CASES, calls, strict=True))


def _backward(leaf: Any) -> Any:
    leaf.grad = None
    (leaf * leaf).sum().backward()
    return leaf.grad


CASES = tuple(_ours(Device("cpu")))


def measure(name: str, device: Device, peers: bool, rate: float) -> Row:
    """One call beside PyTorch's; `rate` is not used."""
    calls = {"hybrid": _ours(device)[name]}
    if peers:
        calls["torch"] = _theirs()[name]
    for call in calls.values():
        for _ in range(50):
            call()
    contestants = {
        label: lambda call=call: device.host_us(call, CALLS) for label, call in calls.items()
    }
    if peers:
        import torch

        wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
        contestants["torch"] = lambda: (wait(), device.host_us(calls["torch"], CALLS))[1]
    in_turns(contestants, 3, 0.0)
    return Row(name, in_turns(contestants, 41, 4.0))
