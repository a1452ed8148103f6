"""Kernels that memory bounds, as shares of a copy's speed: rows, maps, columns, gathers, Adam.

Invariant: operands and results rotate through more memory than the card's cache holds; PyTorch does
the same on arrays of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import hybrid as hb
from hybrid.nn import functional as F

from .records import Row
from .timing import Device, in_turns

__all__ = ["CASES", "Case", "measure", "copy_rate"]

Maker = Callable[[Any], Callable[[], Any]]
ROTATED = 256 << 20  # bytes that are gone through before the same ones come again
SAMPLE_US = 4000.0
RATE = 2.5e6  # bytes a microsecond, a guess that sets how many calls a sample has


class Case(NamedTuple):
    """One kernel: bytes of a call; what makes a call on fresh operands in each library."""

    nbytes: int
    ours: Maker
    theirs: Maker
    compiled: bool = True  # torch.compile takes part


def _tensor_of(device: Device, *shape: int) -> Any:
    return hb.randn(*shape, device=device.name)


def _torch() -> Any:
    import torch

    return torch


def _theirs(*shape: int) -> Any:
    torch = _torch()
    return torch.randn(*shape, device="cuda" if torch.cuda.is_available() else "cpu")


def _simple(nbytes: int, ours: Any, theirs: Any, *shapes: tuple[int, ...], **more: Any) -> Case:
    """A function of tensors of these shapes."""

    def made(device: Device) -> Callable[[], Any]:
        operands = [_tensor_of(device, *shape) for shape in shapes]
        return lambda: ours(*operands)

    def other(wrap: Any) -> Callable[[], Any]:
        operands = [_theirs(*shape) for shape in shapes]
        function = wrap(lambda *given: theirs(_torch(), *given))
        return lambda: function(*operands)

    return Case(nbytes, made, other, **more)


def _rows(count: int, width: int) -> Case:
    return _simple(
        8 * count * width,
        lambda x: F.softmax(x, -1),
        lambda torch, x: torch.softmax(x, -1),
        (count, width),
    )


def _norm(count: int, width: int) -> Case:
    return _simple(
        8 * count * width,
        lambda x, w, b: F.layer_norm(x, (width,), w, b),
        lambda torch, x, w, b: torch.nn.functional.layer_norm(x, (width,), w, b),
        (count, width),
        (width,),
        (width,),
    )


def _norm_grad(count: int, width: int) -> Case:
    """Gradients of input, scale and shift from the saved statistics."""
    shapes = [(count, width), (width,), (width,)]

    def ours(device: Device) -> Callable[[], Any]:
        leaves = [_tensor_of(device, *shape).requires_grad_() for shape in shapes]
        seed = _tensor_of(device, count, width)
        out = F.layer_norm(leaves[0], (width,), *leaves[1:])
        return lambda: hb.gradients(out, leaves, seed)

    def theirs(wrap: Any) -> Callable[[], Any]:
        torch = _torch()
        leaves = [_theirs(*shape).requires_grad_() for shape in shapes]
        seed = _theirs(count, width)
        out = wrap(lambda x, w, b: torch.nn.functional.layer_norm(x, (width,), w, b))(*leaves)
        return lambda: torch.autograd.grad(out, leaves, seed, retain_graph=True)

    return Case(12 * count * width, ours, theirs)


def _indices(rows: int, count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, rows, count)


def _gather(rows: int, width: int, count: int) -> Case:
    def ours(device: Device) -> Callable[[], Any]:
        table = _tensor_of(device, rows, width)
        index = hb.tensor(_indices(rows, count), device=device.name)
        return lambda: F.embedding(index, table)

    def theirs(wrap: Any) -> Callable[[], Any]:
        torch, table = _torch(), _theirs(rows, width)
        index = torch.from_numpy(_indices(rows, count)).to(table.device)
        function = wrap(torch.nn.functional.embedding)
        return lambda: function(index, table)

    return Case(8 * width * count, ours, theirs)


def _scatter(rows: int, width: int, count: int) -> Case:
    """The gradient of a gather: a table of zeros, and each update read and added once."""

    def ours(device: Device) -> Callable[[], Any]:
        table = _tensor_of(device, rows, width).requires_grad_()
        index = hb.tensor(_indices(rows, count), device=device.name)
        out, seed = F.embedding(index, table), _tensor_of(device, count, width)
        return lambda: hb.gradients(out, [table], seed)

    def theirs(wrap: Any) -> Callable[[], Any]:
        torch, table = _torch(), _theirs(rows, width).requires_grad_()
        index = torch.from_numpy(_indices(rows, count)).to(table.device)
        out = wrap(torch.nn.functional.embedding)(index, table)
        seed = _theirs(count, width)
        return lambda: torch.autograd.grad(out, [table], seed, retain_graph=True)

    return Case(4 * width * (rows + 3 * count), ours, theirs)


def _adam(count: int) -> Case:
    def ours(device: Device) -> Callable[[], Any]:
        parameter = hb.nn.Parameter(_tensor_of(device, count))
        parameter.grad = _tensor_of(device, count)
        optimizer = hb.optim.Adam([parameter], lr=1e-3)
        return optimizer.step

    def theirs(wrap: Any) -> Callable[[], Any]:
        torch = _torch()
        parameter = torch.nn.Parameter(_theirs(count))
        parameter.grad = _theirs(count)
        return torch.optim.Adam([parameter], lr=1e-3, fused=True).step

    return Case(28 * count, ours, theirs, compiled=False)


def _cross_entropy(count: int, classes: int) -> Case:
    def ours(device: Device) -> Callable[[], Any]:
        logits = _tensor_of(device, count, classes)
        labels = hb.tensor(_indices(classes, count), device=device.name)
        return lambda: F.cross_entropy(logits, labels)

    def theirs(wrap: Any) -> Callable[[], Any]:
        torch, logits = _torch(), _theirs(count, classes)
        labels = torch.from_numpy(_indices(classes, count)).to(logits.device)
        function = wrap(torch.nn.functional.cross_entropy)
        return lambda: function(logits, labels)

    return Case(4 * count * classes, ours, theirs)


def _gelu(count: int, **more: Any) -> Case:
    return _simple(
        8 * count,
        lambda x: F.gelu(x, approximate="tanh"),
        lambda torch, x: torch.nn.functional.gelu(x, approximate="tanh"),
        (count,),
        **more,
    )


def _column_sums(count: int, width: int) -> Case:
    return _simple(4 * count * width, lambda x: x.sum(0), lambda torch, x: x.sum(0), (count, width))


def cases(small: bool) -> dict[str, Case]:
    """All cases; `small`: a thousandth of the sizes, to try the program without a GPU."""
    cut = 64 if small else 1
    million = (1 << 20) // (cut * 16 if small else 1)
    return {
        "softmax 4096x1024": _rows(4096 // cut, 1024),
        "softmax 32768x1024": _rows(32768 // cut, 1024),
        "softmax 8192x8192": _rows(8192 // cut, 8192),
        "layer norm 32768x1024": _norm(32768 // cut, 1024),
        "layer norm gradients 32768x1024": _norm_grad(32768 // cut, 1024),
        "gelu 16M": _gelu(16 * million),
        "gelu 256M": _gelu(256 * million, compiled=False),
        "add 256M": _simple(
            12 * 256 * million,
            lambda x, y: x + y,
            lambda torch, x, y: x + y,
            (256 * million,),
            (256 * million,),
            compiled=False,
        ),
        "column sums 32768x1024": _column_sums(32768 // cut, 1024),
        "column sums 8192x8192": _column_sums(8192 // cut, 8192),
        "sum of 256M": _simple(
            4 * 256 * million, lambda x: x.sum(), lambda torch, x: x.sum(), (256 * million,)
        ),
        "cross entropy 4096x50304": _cross_entropy(4096 // cut, 50304),
        "gather 16384 of 50304x768": _gather(50304, 768, 16384 // cut),
        "its gradient": _scatter(50304 // cut, 768, 16384 // cut),
        "Adam 124M": _adam(124 * million),
    }


CASES = tuple(cases(True))


class _Rotation:
    """Calls on several sets of operands in turn; each set's last result is held, as a program
    would, so results rotate through memory too."""

    def __init__(self, calls: list[Callable[[], Any]]) -> None:
        self.calls = calls
        self.held: list[Any] = [None] * len(calls)

    def sample(self, device: Device, count: int) -> float:
        """Microseconds of a call."""

        def turn(number: int) -> Callable[[], None]:
            place = number % len(self.calls)

            def call() -> None:
                self.held[place] = self.calls[place]()

            return call

        return device.device_us([turn(number) for number in range(count)])


def _rotating(make: Callable[[], Callable[[], Any]], nbytes: int) -> _Rotation:
    rotation = _Rotation([make() for _ in range(max(2, math.ceil(ROTATED / max(nbytes, 1 << 22))))])
    for place, call in enumerate(rotation.calls):
        rotation.held[place] = call()
    return rotation


def measure(name: str, device: Device, peers: bool, rate: float) -> Row:
    """One case beside its peers; `rate`: bytes of a copy a microsecond."""
    case = cases(device.small)[name]
    makers: dict[str, Callable[[], Callable[[], Any]]] = {"hybrid": lambda: case.ours(device)}
    if peers:
        torch = _torch()
        makers["torch"] = lambda: case.theirs(lambda function: function)
        if case.compiled:
            makers["torch.compile"] = lambda: case.theirs(torch.compile)
    count = max(3, min(300, int(SAMPLE_US * RATE / max(case.nbytes, 1))))
    count = 3 if device.small else count
    rotations = {name: _rotating(make, case.nbytes) for name, make in makers.items()}
    contestants = {
        name: lambda rotation=rotation: rotation.sample(device, count)
        for name, rotation in rotations.items()
    }
    in_turns(contestants, 2, 0.0)
    times = in_turns(contestants, 3 if device.small else 11, 6.0)
    return Row(name, times, case.nbytes, bound_us=case.nbytes / rate)


def copy_rate(device: Device) -> float:
    """Bytes that the fastest copy reads and writes in a microsecond."""
    best = 0.0
    for nbytes in (16 << 20, 64 << 20, 1 << 30) if not device.small else (1 << 20,):
        pairs = max(1, ROTATED // nbytes) if not device.small else 1
        calls = [_copy(device, nbytes) for _ in range(pairs)]
        for _ in range(5):
            repeated = calls * max(1, 16 // pairs)
            best = max(best, 2 * nbytes / device.device_us(repeated))
    return best


def _copy(device: Device, nbytes: int) -> Callable[[], Any]:
    source = hb.zeros(nbytes // 4, device=device.name)
    if not device.is_cuda:
        array = np.asarray(source)
        target = np.empty_like(array)
        return lambda: np.copyto(target, array)
    made = hb.zeros(nbytes // 4, device=device.name)
    from hybrid.backends.cuda.machine.driver import driver

    used = driver()
    start, end = (t.__cuda_array_interface__["data"][0] for t in (source, made))
    return lambda kept=(source, made): used.on_device(end, start, nbytes)
