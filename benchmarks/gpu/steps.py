"""Training steps, the loss read back in each: the small workloads, GPT-2 and ResNet-50.

Invariant: a case is prepared (weights, recording, compilation of every contestant) before any of
it is timed.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

import hybrid as hb

from .. import workloads
from ..sizes import TRAINING
from .models import GPT2, SMALL_GPT2, gpt2, hybrid_library, resnet50, step_of, torch_library
from .records import Row
from .timing import Device, in_turns

__all__ = ["CASES", "GPT2_CASES", "RESNET_CASES", "prepare"]

CASES = TRAINING
GPT2_CASES = ("GPT-2 float32, batch 4", "GPT-2 bfloat16, batch 16")
RESNET_CASES = ("ResNet-50 float32, batch 64",)
Call = Callable[[], Any]
Calls = dict[str, Call]
Makers = dict[str, Callable[[], Call]]
SAMPLE_US = 40_000.0


def _small(name: str, device: Device, peers: bool) -> Makers:
    kind = "cuda" if device.is_cuda else "cpu"

    def jax() -> Call:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        from ..peers import peer_jax

        return peer_jax.build(name, True, kind)

    def torch(mode: str) -> Call:
        from ..peers import peer_torch

        return peer_torch.build(name, mode, kind)

    makers: Makers = {
        "hybrid traced": lambda: workloads.build(name, True, device.name),
        "hybrid eager": lambda: workloads.build(name, False, device.name),
    }
    if peers:
        makers |= {"torch": lambda: torch("eager"), "jax": jax}
    if peers and device.is_cuda:
        makers["torch graph"] = lambda: torch("graph")
    return makers


def _hybrid_step(model: Any, optimizer: Any, forward: Any, traced: bool) -> Callable[..., Any]:
    step = step_of(forward, optimizer)
    return hb.function(step) if traced else step


def _gpt2(name: str, device: Device, peers: bool) -> Makers:
    half = "bfloat16" in name
    sizes = SMALL_GPT2 if device.small else GPT2
    batch = (16 if half else 4) if not device.small else 2
    made = np.random.default_rng(0).integers(0, sizes["vocabulary"], (2, batch, sizes["length"]))
    if half and not hasattr(hb, "autocast"):
        raise NotImplementedError("there is no autocast")
    makers: Makers = {"hybrid traced": lambda: _gpt2_ours(device, made, sizes, half)}
    if peers:
        for label, compiled in (("torch", False), ("torch.compile", True)):
            makers[label] = lambda c=compiled: _gpt2_theirs(device, made, sizes, half, c)
    return makers


def _gpt2_ours(device: Device, made: np.ndarray, sizes: dict[str, int], half: bool) -> Any:
    model = gpt2(hybrid_library(device.name), sizes).to(device.name)
    tokens, labels = (hb.tensor(x, device=device.name) for x in made)
    optimizer = hb.optim.Adam(model.parameters(), lr=1e-4)

    def forward(tokens: Any, labels: Any) -> Any:
        if half:
            with hb.autocast(dtype="bfloat16", device=device.name):
                logits = model(tokens)
        else:
            logits = model(tokens)
        return hb.nn.functional.cross_entropy(
            logits.reshape(-1, sizes["vocabulary"]), labels.reshape(-1)
        )

    step = _hybrid_step(model, optimizer, forward, True)
    return lambda: step(tokens, labels).item()


def _gpt2_theirs(
    device: Device, made: np.ndarray, sizes: dict[str, int], half: bool, compiled: bool
) -> Call:
    import torch

    kind = "cuda" if device.is_cuda else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    tokens, labels = (torch.from_numpy(x).to(kind) for x in made)

    model = gpt2(torch_library(kind), sizes).to(kind)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

    def forward(tokens: Any, labels: Any) -> Any:
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=half):
            logits = model(tokens)
            return torch.nn.functional.cross_entropy(
                logits.reshape(-1, sizes["vocabulary"]), labels.reshape(-1)
            )

    step = step_of(torch.compile(forward) if compiled else forward, optimizer)
    return lambda: step(tokens, labels).item()


def _resnet(name: str, device: Device, peers: bool) -> Makers:
    batch, extent = (2, 32) if device.small else (64, 224)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, 3, extent, extent)).astype(np.float32)
    labels = rng.integers(0, 1000, batch)
    makers: Makers = {
        "hybrid traced": lambda: _resnet_ours(device, images, labels, True),
        "hybrid eager": lambda: _resnet_ours(device, images, labels, False),
    }
    if peers:
        for label, compiled in (("torch", False), ("torch.compile", True)):
            makers[label] = lambda c=compiled: _resnet_theirs(device, images, labels, c)
    return makers


def _resnet_ours(device: Device, images: Any, labels: Any, traced: bool) -> Callable[[], Any]:
    hb.manual_seed(0)
    model = resnet50(hybrid_library(device.name)).to(device.name)
    batch = hb.tensor(images, device=device.name), hb.tensor(labels, device=device.name)
    optimizer = hb.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    forward = lambda x, y: hb.nn.functional.cross_entropy(model(x), y)  # noqa: E731
    step = _hybrid_step(model, optimizer, forward, traced)
    return lambda: step(*batch).item()


def _resnet_theirs(device: Device, images: Any, labels: Any, compiled: bool) -> Call:
    import torch

    kind = "cuda" if device.is_cuda else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    batch = torch.from_numpy(images).to(kind), torch.from_numpy(labels).to(kind)

    model = resnet50(torch_library(kind)).to(kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    forward = lambda x, y: torch.nn.functional.cross_entropy(model(x), y)  # noqa: E731
    step = step_of(torch.compile(forward) if compiled else forward, optimizer)
    return lambda: step(*batch).item()


def _maker(name: str) -> Callable[[str, Device, bool], Makers]:
    if name in GPT2_CASES:
        return _gpt2
    return _resnet if name in RESNET_CASES else _small


def _ready(label: str, make: Callable[[], Call]) -> Call:
    """A contestant that has recorded and compiled what it will."""
    call = make()
    for _ in range(3 if "eager" in label else 5):
        call()
    return call


def prepare(
    name: str, device: Device, peers: bool, early: Callable[[Row], None]
) -> Callable[[], Row]:
    """Build a case and run every contestant until it is compiled; gives what measures it.

    `early` gets our own times as soon as they can be had: compiling a peer may take minutes."""
    calls: Calls = {}
    failed: list[str] = []
    makers = _maker(name)(name, device, peers)
    for number, (label, make) in enumerate(makers.items()):
        try:
            calls[label] = _ready(label, make)
        except Exception as error:
            traceback.print_exc()
            failed.append(f"{label}: {type(error).__name__}: {error}"[:300])
        last_of_ours = label.startswith("hybrid") and not any(
            other.startswith("hybrid") for other in list(makers)[number + 1 :]
        )
        if last_of_ours and peers:
            early(_timed(name, calls, device, "without peers", 3))
    device.synchronize()
    return lambda: _timed(name, calls, device, "; ".join(failed), 3 if device.small else 15)


def _timed(name: str, calls: Calls, device: Device, note: str, samples: int) -> Row:
    counts = {}
    for label, call in calls.items():
        once = min(device.wall_us(call, 1) for _ in range(2))
        counts[label] = 1 if device.small else max(1, min(200, int(SAMPLE_US / once)))
    contestants = {
        label: lambda call=call, count=counts[label]: device.wall_us(call, count)
        for label, call in calls.items()
    }
    return Row(name, in_turns(contestants, samples, 10.0), note=note)
