"""Matrix products: strict float32 of every layout and size that matters, and half types.

Invariant: TF32 is off on both sides unless the row says "fast".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hybrid as hb
from hybrid.nn import functional as F

from .records import Row
from .timing import Device, in_turns

__all__ = ["CASES", "measure"]

Shape = tuple[int, ...]
# name -> (rows, inner, columns, what is transposed, dtype)
SIZES: dict[str, tuple[int, int, int, str, str]] = {
    "float32 1024": (1024, 1024, 1024, "nn", "float32"),
    "float32 2048": (2048, 2048, 2048, "nn", "float32"),
    "float32 4096": (4096, 4096, 4096, "nn", "float32"),
    "float32 8192": (8192, 8192, 8192, "nn", "float32"),
    "float32 4096 x weight transposed": (4096, 4096, 4096, "nt", "float32"),
    "float32 4096 left transposed": (4096, 4096, 4096, "tn", "float32"),
    "float32 GPT-2 up 4096x768x3072": (4096, 768, 3072, "nt", "float32"),
    "float32 GPT-2 head 4096x768x50304": (4096, 768, 50304, "nt", "float32"),
    "float32 GPT-2 weight gradient 3072x4096x768": (3072, 4096, 768, "tn", "float32"),
    "float32 small 32x784x256": (32, 784, 256, "nt", "float32"),
    "float32 512x128x384": (512, 128, 384, "nt", "float32"),
    "float32 skinny 16x8192x64": (16, 8192, 64, "nn", "float32"),
    "float64 2048": (2048, 2048, 2048, "nn", "float64"),
    "bfloat16 4096": (4096, 4096, 4096, "nn", "bfloat16"),
    "bfloat16 8192": (8192, 8192, 8192, "nn", "bfloat16"),
    "float16 4096": (4096, 4096, 4096, "nn", "float16"),
    "fast float32 4096": (4096, 4096, 4096, "nn", "float32"),
}
OTHERS = ("float32 convolution 64x64x56", "float32 attention 4x12x1024x64")
CASES = (*SIZES, *OTHERS)


def _product(one: Any, other: Any, layout: str) -> Any:
    return (one.T if layout[0] == "t" else one) @ (other.T if layout[1] == "t" else other)


def _case(name: str, small: bool) -> tuple[list[Shape], str, int, Any, Any]:
    """Shapes of the operands, their dtype, operations of a call, our function and PyTorch's."""
    cut = 16 if small else 1
    if name == OTHERS[0]:
        batch = 64 // cut
        count = 2 * batch * 64 * 64 * 9 * 56 * 56
        shapes: list[Shape] = [(batch, 64, 56, 56), (64, 64, 3, 3)]
        theirs = lambda torch, x, w: torch.nn.functional.conv2d(x, w, padding=1)  # noqa: E731
        return shapes, "float32", count, lambda x, w: F.conv2d(x, w, padding=1), theirs
    if name == OTHERS[1]:
        length = 1024 // cut
        count = 2 * 2 * 4 * 12 * length * (length + 1) // 2 * 64
        attend = lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)  # noqa: E731
        theirs = lambda torch, q, k, v: torch.nn.functional.scaled_dot_product_attention(  # noqa: E731
            q, k, v, is_causal=True
        )
        return [(4, 12, length, 64)] * 3, "float32", count, attend, theirs
    rows, inner, columns, layout, dtype = SIZES[name]
    rows, inner, columns = max(rows // cut, 1), max(inner // cut, 1), max(columns // cut, 1)
    left = (inner, rows) if layout[0] == "t" else (rows, inner)
    right = (columns, inner) if layout[1] == "t" else (inner, columns)
    ours = lambda a, b: _product(a, b, layout)  # noqa: E731
    return (
        [left, right],
        dtype,
        2 * rows * inner * columns,
        ours,
        lambda torch, a, b: _product(a, b, layout),
    )


def _peer(shapes: list[Shape], dtype: str, function: Any, fast: bool) -> Callable[[], Any]:
    import torch

    cuda = "cuda" if torch.cuda.is_available() else "cpu"
    operands = [torch.randn(*s, device=cuda).to(getattr(torch, dtype)) for s in shapes]

    def call() -> Any:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = fast
        return function(torch, *operands)

    return call


def measure(name: str, device: Device, peers: bool, rate: float) -> Row:
    """One product beside PyTorch's; `rate` is not used."""
    shapes, dtype, operations, ours, theirs = _case(name, device.small)
    fast = name.startswith("fast")
    if fast and not hasattr(hb, "set_matmul_precision"):
        return Row(name, {}, note="there is no set_matmul_precision")
    operands = [hb.randn(*shape, device=device.name).to(dtype) for shape in shapes]
    calls: dict[str, Callable[[], Any]] = {"hybrid": lambda: ours(*operands)}
    if peers:
        calls["torch"] = _peer(shapes, dtype, theirs, fast)
    if fast:
        hb.set_matmul_precision("fast")
    try:
        for call in calls.values():
            call()
        # a guess of 40 TFLOP/s; a sample has at least three calls and about 5 ms
        count = 2 if device.small else max(3, min(200, int(5000 / max(operations / 40e6, 1))))
        contestants = {
            label: lambda call=call: device.device_us([call] * count)
            for label, call in calls.items()
        }
        in_turns(contestants, 1, 0.0)
        times = in_turns(contestants, 3 if device.small else 9, 5.0)
    finally:
        if fast:
            hb.set_matmul_precision("strict")
    return Row(name, times, operations=operations)
