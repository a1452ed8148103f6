"""The switch for the precision of float32 products, for all devices.

Invariant: one setting a process; a recorded function replays only under the one it was recorded
with.
"""

from __future__ import annotations

from typing import Any, Literal

from ...core.errors import ArgumentError
from ...core.precision import MATMUL
from .arguments import described
from .context import LOCAL

__all__ = [
    "MatmulPrecision",
    "get_matmul_precision",
    "set_matmul_precision",
    "get_float32_matmul_precision",
    "set_float32_matmul_precision",
]

MatmulPrecision = Literal["strict", "fast"]
_FAST = {"strict": False, "fast": True}
_FLOAT32 = {"highest": False, "high": True, "medium": True}


def set_matmul_precision(precision: str) -> None:
    """Choose how float32 products are computed, in the whole process and from now on.

    "strict" (the default): one order of sums in float32, the same bits on every device.  "fast":
    on CUDA, factors of products and of attention are rounded to TF32 (10 bits of mantissa) for
    tensor cores, sums are float32; eager and traced calls still give the same bits.  On the CPU
    both are the same.  Products of bfloat16 and float16 run on tensor cores in either mode.

    >>> import hybrid
    >>> hybrid.set_matmul_precision("fast")
    >>> hybrid.get_matmul_precision()
    'fast'
    >>> hybrid.set_matmul_precision("strict")
    """
    _set("set_matmul_precision", precision, _FAST)


def set_float32_matmul_precision(precision: str) -> None:
    """`set_matmul_precision` with PyTorch's words: "highest" is strict, "high" and "medium" are
    fast.  Raises ArgumentError for another word.

    >>> import hybrid
    >>> hybrid.set_float32_matmul_precision("highest")
    >>> hybrid.get_float32_matmul_precision()
    'highest'
    """
    _set("set_float32_matmul_precision", precision, _FLOAT32)


def _set(name: str, precision: Any, words: dict[str, bool]) -> None:
    known = words.get(precision) if type(precision) is str else None
    if known is None:
        choices = " or ".join(map(repr, words))
        raise ArgumentError(f"{name}: precision is {described(precision)}: it is {choices}")
    if LOCAL.mode is not None:
        LOCAL.mode.on_effect("sets the precision of products")
        if LOCAL.mode.defers:
            LOCAL.mode.flush()  # what was collected has the precision it was collected with
    MATMUL.set(known)


def get_matmul_precision() -> MatmulPrecision:
    """ "strict" or "fast"; see `set_matmul_precision`.

    >>> import hybrid
    >>> hybrid.get_matmul_precision()
    'strict'
    """
    return "fast" if MATMUL.fast else "strict"


def get_float32_matmul_precision() -> Literal["highest", "high"]:
    """ "highest" or "high"; see `set_float32_matmul_precision`.

    >>> import hybrid
    >>> hybrid.get_float32_matmul_precision()
    'highest'
    """
    return "high" if MATMUL.fast else "highest"
