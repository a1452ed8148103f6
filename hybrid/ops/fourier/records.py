"""The records of discrete Fourier transforms: NumPy's pocketfft on pairs of parts.

Invariant: a transform's adjoint is the inverse one with the scaling on the other side, so every
gradient is a transform again; sizes are fitted before, in public ops.  float32 is transformed in
float32, other dtypes are refused by the functions over these records.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.errors import DTypeError
from ...ir.door.bind import bind
from ...ir.op import HostOp, register
from ..base.common import draw
from ..elementwise.arithmetic import multiply

__all__ = ["FULL_FFT", "HALF_FFT", "HALF_INVERSE", "Norm"]

Tensor = Any
Ints = tuple[int, ...]
Norm = Literal["backward", "ortho", "forward"]
OTHER: dict[str, Norm] = {"backward": "forward", "forward": "backward", "ortho": "ortho"}


def _numbers(pairs: np.ndarray) -> np.ndarray:
    """Pairs as complex numbers."""
    whole = np.ascontiguousarray(pairs)
    kind = np.complex64 if whole.dtype == np.float32 else np.complex128
    made: np.ndarray = whole.view(kind)[..., 0]
    return made


def _pairs(numbers: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Complex numbers as pairs of the dtype of other pairs."""
    real = np.float32 if like.dtype == np.float32 else np.float64
    kind = np.complex64 if real == np.float32 else np.complex128
    whole = np.ascontiguousarray(numbers, kind)
    return whole.view(real).reshape(*whole.shape, 2)


def _shaped(record: Aval, shape: Ints) -> tuple[Aval, ...]:
    """One output of that shape; DTypeError for what is not float32 or float64."""
    if record.dtype not in (dt.float32, dt.float64):
        raise DTypeError(f"a transform takes float32 or float64, not {record.dtype.name}")
    return (record.with_(shape),)


# ---- complex to complex
def _full(pairs: np.ndarray, axes: Ints, inverse: bool, norm: Norm) -> np.ndarray:
    function = np.fft.ifftn if inverse else np.fft.fftn
    return _pairs(function(_numbers(pairs), axes=axes, norm=norm), pairs)


def _full_vjp(
    gradient: Tensor, out: Tensor, pairs: Tensor, axes: Ints, inverse: bool, norm: str
) -> tuple[Any]:
    return (lambda: bind(FULL_FFT, gradient, axes=axes, inverse=not inverse, norm=OTHER[norm]),)


def _full_samples(rng: np.random.Generator) -> Any:
    for shape, axes in (((6, 2), (0,)), ((3, 4, 2), (0, 1)), ((2, 5, 3, 2), (1,)), ((1, 2), (0,))):
        for inverse in (False, True):
            yield [draw(rng, *shape)], {"axes": axes, "inverse": inverse, "norm": "backward"}


FULL_FFT = register(
    HostOp(
        "complex_fft",
        1,
        lambda pairs, axes, inverse, norm: _shaped(pairs, pairs.shape),
        body=_full,
        vjp=_full_vjp,
        params=("axes", "inverse", "norm"),
        accepts="f",
        facts=frozenset(["total"]),
        reference=lambda pairs, axes, inverse, norm: _full(
            pairs.astype(np.float64), axes, inverse, norm
        ),
        samples=_full_samples,
        ulp=64.0,
        doc="The discrete Fourier transform of pairs over axes, or the inverse one.",
    )
)


# ---- real to the half of the spectrum, and back
def _half(operand: np.ndarray, axis: int, norm: Norm) -> np.ndarray:
    return _pairs(np.fft.rfft(operand, axis=axis, norm=norm), operand)


def _half_back(pairs: np.ndarray, axis: int, size: int, norm: Norm) -> np.ndarray:
    return np.asarray(np.fft.irfft(_numbers(pairs), size, axis, norm), pairs.dtype)


def _weights(size: int, ends: float, inner: float) -> np.ndarray:
    """Factors of the half spectrum of that many samples: of the frequencies that stand for
    themselves, and of those that stand for two."""
    made = np.full(size // 2 + 1, inner)
    made[0] = ends
    if size % 2 == 0:
        made[-1] = ends
    return made


def _scaled(pairs: Tensor, axis: int, factors: np.ndarray) -> Tensor:
    """Pairs times one factor for each place along an axis."""
    shape = [1] * pairs.ndim
    shape[axis] = -1
    return multiply(pairs, factors.reshape(shape).astype(pairs.dtype))


def _half_vjp(gradient: Tensor, out: Tensor, operand: Tensor, axis: int, norm: str) -> tuple[Any]:
    """irfft counts inner frequencies twice, so they are halved before."""
    size = operand.shape[axis]

    def pull() -> Tensor:
        halved = _scaled(gradient, axis, _weights(size, 1.0, 0.5))
        return bind(HALF_INVERSE, halved, axis=axis, size=size, norm=OTHER[norm])

    return (pull,)


def _half_back_vjp(
    gradient: Tensor, out: Tensor, pairs: Tensor, axis: int, size: int, norm: str
) -> tuple[Any]:
    def pull() -> Tensor:
        found = bind(HALF_FFT, gradient, axis=axis, norm=OTHER[norm])
        return _scaled(found, axis, _weights(size, 1.0, 2.0))

    return (pull,)


def _half_samples(rng: np.random.Generator) -> Any:
    for shape, axis in (((6,), 0), ((5,), 0), ((3, 4), 1), ((4, 3), 0), ((1,), 0)):
        yield [draw(rng, *shape)], {"axis": axis, "norm": "backward"}


def _half_back_samples(rng: np.random.Generator) -> Any:
    for shape, axis, size in (((4, 2), 0, 6), ((3, 2), 0, 5), ((2, 3, 2), 1, 4), ((1, 2), 0, 1)):
        yield [draw(rng, *shape)], {"axis": axis, "size": size, "norm": "backward"}


HALF_FFT = register(
    HostOp(
        "real_fft",
        1,
        lambda operand, axis, norm: _shaped(
            operand,
            (*operand.shape[:axis], operand.shape[axis] // 2 + 1, *operand.shape[axis + 1 :], 2),
        ),
        body=_half,
        vjp=_half_vjp,
        params=("axis", "norm"),
        accepts="f",
        facts=frozenset(["total"]),
        reference=lambda operand, axis, norm: _half(operand.astype(np.float64), axis, norm),
        samples=_half_samples,
        ulp=64.0,
        doc="The frequencies from 0 up of the transform of real numbers along an axis, as pairs.",
    )
)
HALF_INVERSE = register(
    HostOp(
        "real_inverse_fft",
        1,
        lambda pairs, axis, size, norm: _shaped(
            pairs, (*pairs.shape[:axis], size, *pairs.shape[axis + 1 : -1])
        ),
        body=_half_back,
        vjp=_half_back_vjp,
        params=("axis", "size", "norm"),
        accepts="f",
        facts=frozenset(["total"]),
        reference=lambda pairs, axis, size, norm: _half_back(
            pairs.astype(np.float64), axis, size, norm
        ),
        samples=_half_back_samples,
        ulp=64.0,
        doc="The real numbers whose transform along an axis has these frequencies from 0 up.",
    )
)
