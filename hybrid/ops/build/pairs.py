"""Complex numbers as pairs of real ones: views between the two, and pairs put together.

Invariant: a complex tensor in memory is its pairs (real part, imaginary part), a last axis of 2 of
real numbers, so everything is computed on those; a gradient of a complex tensor holds the gradients
of both parts, as PyTorch has it: for a real function L, dL/dRe + i dL/dIm.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.errors import DTypeError, ShapeError
from ...core.shapes import broadcast_shapes, contiguous_strides
from ...ir.door.bind import bind, constant_of, literal
from ...ir.op import OPS, Fact, MapOp, Op, PlaceOp, ViewOp, extend, register
from ..axes.slices import SLICE, narrow
from ..axes.views import apart
from ..base.common import SHAPE_ONLY, draw, shapes_of
from ..elementwise.arithmetic import negative
from .create import FULL, full

Ints = tuple[int, ...]
Tensor = Any


def check_parts(name: str, *parts: Aval) -> None:
    """Only float32 and float64 numbers are the parts of complex ones."""
    for part in parts:
        if dt.real_of(dt.complex_of(part.dtype)) is not part.dtype:
            raise DTypeError(f"{name} takes float32 and float64, not {part.dtype.name}")


# ---- the views
def _pairs_infer(operand: Aval) -> tuple[Aval, ...]:
    if not dt.is_complex(operand.dtype):
        raise DTypeError(f"complex_pairs takes complex tensors, not {operand.dtype.name}")
    return (operand.with_((*operand.shape, 2), dt.real_of(operand.dtype)),)


def _pairs_layout(operand: Aval, strides: Ints, offset: int = 0) -> tuple[int, Ints]:
    return 2 * offset, (*[2 * s for s in strides], 1)


def _numbers_infer(operand: Aval) -> tuple[Aval, ...]:
    if not operand.ndim or operand.shape[-1] != 2:
        raise ShapeError(f"complex_numbers: shape {operand.shape} has no last axis of pairs")
    check_parts("complex_numbers", operand)
    return (operand.with_(operand.shape[:-1], dt.complex_of(operand.dtype)),)


def _numbers_layout(operand: Aval, strides: Ints, offset: int = 0) -> Any:
    if strides[-1] != 1 or offset % 2 or any(s % 2 for s in strides[:-1]):
        return None
    return offset // 2, tuple(s // 2 for s in strides[:-1])


def _complex_samples(rng: np.random.Generator) -> Any:
    for shape in ((3, 4), (), (0, 2), (1,)):
        yield [draw(rng, *shape) + 1j * draw(rng, *shape)], {}


def pairs_of(numbers: np.ndarray) -> np.ndarray:
    """An array of complex numbers as pairs of their parts."""
    return np.stack([numbers.real, numbers.imag], -1)


def joined(real: Any, imaginary: Any) -> np.ndarray:
    """Complex numbers with exactly these parts, in the widest type: a sum with 1j * imaginary would
    lose the parts of infinities."""
    out = np.empty(np.broadcast_shapes(np.shape(real), np.shape(imaginary)), np.clongdouble)
    out.real, out.imag = real, imaginary
    return out


def _numbers_of(pairs: np.ndarray) -> np.ndarray:
    return joined(pairs[..., 0], pairs[..., 1])


PAIRS = register(
    ViewOp(
        "complex_pairs",
        1,
        _pairs_infer,
        layout=_pairs_layout,
        accepts="c",
        facts=frozenset(["to_pairs"]),
        keeps=SHAPE_ONLY,
        vjp=lambda gradient, out, operand: (numbers_of(gradient),),
        write_back=lambda base, value: numbers_of(value),
        reference=pairs_of,
        samples=_complex_samples,
        doc="Complex numbers as pairs (real part, imaginary part) along a new last axis.",
    )
)
NUMBERS = register(
    ViewOp(
        "complex_numbers",
        1,
        _numbers_infer,
        layout=_numbers_layout,
        accepts="f",
        facts=frozenset(["of_pairs"]),
        keeps=SHAPE_ONLY,
        vjp=lambda gradient, out, operand: (bind(PAIRS, gradient),),
        write_back=lambda base, value: bind(PAIRS, value),
        reference=_numbers_of,
        samples=shapes_of([((3, 2), {}), ((2,), {}), ((0, 2), {}), ((2, 2, 2), {})]),
        doc="Pairs along the last axis as complex numbers.",
    )
)


def numbers_of(pairs: Tensor) -> Tensor:
    """Pairs as complex numbers, which nobody writes the pairs through."""
    return apart(NUMBERS, pairs)


def pairs_in(x: Tensor) -> Tensor:
    """The pairs of a complex tensor, which nobody writes through."""
    return apart(PAIRS, x)


def part_of(x: Tensor, number: int) -> Tensor:
    """The real (0) or imaginary part (1) of a complex tensor, as a view."""
    return narrow(bind(PAIRS, x), x.ndim, number, 1, drop=True)


def parts_of(x: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of a complex tensor, which nobody writes through; those of a literal
    are literals."""
    constant = constant_of(x)
    if constant is not None:
        dtype = dt.real_of(x.dtype)
        number = constant.item()
        return literal(number.real, dtype, x.device), literal(number.imag, dtype, x.device)
    pairs = apart(PAIRS, x)
    box = {"sizes": (*x.shape, 1), "step": (1,) * pairs.ndim, "drop": (x.ndim,)}
    lead = (0,) * x.ndim
    return apart(SLICE, pairs, begin=(*lead, 0), **box), apart(
        SLICE, pairs, begin=(*lead, 1), **box
    )


# ---- pairs put together
def _pair_infer(real: Aval, imaginary: Aval) -> tuple[Aval, ...]:
    if real.shape != imaginary.shape:
        raise ShapeError(f"parts of shapes {real.shape} and {imaginary.shape}")
    return (real.with_((*real.shape, 2)),)


def _pair_layout(real: Aval, imaginary: Aval) -> list[tuple[int, Ints, Ints]]:
    steps = contiguous_strides((*real.shape, 2))[:-1]
    return [(0, real.shape, steps), (1 if real.size else 0, real.shape, steps)]


def _pair_samples(rng: np.random.Generator) -> Any:
    for shape in ((3, 4), (), (0, 2)):
        yield [draw(rng, *shape), draw(rng, *shape)], {}


PAIR = register(
    PlaceOp(
        "pair_parts",
        2,
        _pair_infer,
        layout=_pair_layout,
        accepts="f",
        facts=frozenset(["weaves"]),
        keeps=SHAPE_ONLY,
        vjp=lambda gradient, out, real, imaginary: (
            lambda: narrow(gradient, gradient.ndim - 1, 0, 1, drop=True),
            lambda: narrow(gradient, gradient.ndim - 1, 1, 1, drop=True),
        ),
        reference=lambda real, imaginary: np.stack([real, imaginary], -1),
        samples=_pair_samples,
        doc="Two tensors side by side: pairs along a new last axis.",
    )
)


def complex_of(real: Tensor, imaginary: Tensor) -> Tensor:
    """The complex tensor with these parts, tensors of one shape and dtype."""
    return numbers_of(bind(PAIR, real, imaginary))


def _conjugate_infer(real: Aval, imaginary: Aval) -> tuple[Aval, ...]:
    check_parts("complex_conjugate", real, imaginary)
    shape = broadcast_shapes("complex_conjugate", real.shape, imaginary.shape)
    return (real.with_((*shape, 2)),)


CONJUGATE = register(
    MapOp(
        "complex_conjugate",
        2,
        _conjugate_infer,
        body=lambda algebra, real, imaginary: (real, -imaginary),
        accepts="f",
        facts=frozenset(["woven"]),
        vjp=lambda gradient, out, real, imaginary: (
            lambda: narrow(gradient, gradient.ndim - 1, 0, 1, drop=True),
            lambda: negative(narrow(gradient, gradient.ndim - 1, 1, 1, drop=True)),
        ),
        reference=lambda real, imaginary: np.stack(np.broadcast_arrays(real, -imaginary), -1),
        samples=_pair_samples,
        doc="Complex conjugates, over their parts.",
    )
)


def conjugate(x: Tensor) -> Tensor:
    """The complex conjugate of a complex tensor; a real one itself."""
    return numbers_of(bind(CONJUGATE, *parts_of(x))) if dt.is_complex(x.dtype) else x


def _full(record: Aval, value: complex) -> Tensor:
    """One complex number everywhere."""
    dtype = dt.real_of(record.dtype)
    parts = [
        full(record.shape, part, dtype=dtype, device=record.device)
        for part in (value.real, value.imag)
    ]
    return complex_of(*parts)


extend(FULL, on_complex=_full)


# ---- what records that only say where elements are do with pairs
def _named(name: str) -> Op:
    return OPS[name]


def _numbers(record: Aval) -> Aval:
    """The record of the complex numbers whose pairs have this one."""
    return record.with_(record.shape[:-1], dt.complex_of(record.dtype))


def _in_pairs(name: str, given: tuple[tuple[str, Any], ...], *avals: Aval) -> tuple[Aval, ...]:
    outs = _named(name).infer(*[_numbers_infer(a)[0] for a in avals], **dict(given))
    return tuple([out.with_((*out.shape, 2), dt.real_of(out.dtype)) for out in outs])


def _view_layout(
    operand: Aval, strides: Ints, offset: int = 0, *, name: str, given: tuple[Any, ...]
) -> Any:
    numbers = _numbers(operand)
    at = _numbers_layout(operand, strides, offset)
    layout = _named(name).layout
    assert layout is not None
    placed = None if at is None else layout(numbers, at[1], at[0], **dict(given))
    return None if placed is None else _pairs_layout(numbers, tuple(placed[1]), placed[0])


def _place_layout(*avals: Aval, name: str, given: tuple[Any, ...]) -> list[tuple[int, Ints, Ints]]:
    layout = _named(name).layout
    assert layout is not None
    boxes = layout(*map(_numbers, avals), **dict(given))
    return [(2 * at, (*shape, 2), (*[2 * s for s in steps], 1)) for at, shape, steps in boxes]


def _reference(*arrays: np.ndarray, name: str, given: tuple[Any, ...]) -> np.ndarray:
    reference = _named(name).reference
    assert reference is not None
    return pairs_of(reference(*map(_numbers_of, arrays), **dict(given)))


def _of_name(name: str, given: Any = (), shapes: Any = ()) -> Any:
    return lambda rng: [([draw(rng, *s) for s in shapes], {"name": name, "given": given})]


VIEWED = register(
    ViewOp(
        "view_of_pairs",
        1,
        lambda operand, name, given: _in_pairs(name, given, operand),
        layout=_view_layout,
        params=("name", "given"),
        accepts="f",
        facts=frozenset(["in_pairs"]),
        reference=_reference,
        samples=_of_name("permute_dims", (("axes", (1, 0)),), [(3, 4, 2)]),
        doc="What another view record does with the complex numbers that pairs stand for.",
    )
)


def _placed(name: str, facts: tuple[Fact, ...], samples: Any) -> Op:
    return register(
        PlaceOp(
            name,
            None,
            lambda *avals, name, given: _in_pairs(name, given, *avals),
            layout=_place_layout,
            params=("name", "given"),
            accepts="f",
            facts=frozenset(("in_pairs", *facts)),
            reference=_reference,
            samples=samples,
            doc="What another record of its kind does with the complex numbers of pairs.",
        )
    )


_STEPS = ("begin", (1,)), ("step", (2,)), ("drop", ())
_placed("place_of_pairs", (), _of_name("concat", (("axis", 0),), [(3, 2), (1, 2)]))
_placed("write_of_pairs", ("base",), _of_name("slice_set", _STEPS, [(5, 2), (2, 2)]))
_placed("embed_of_pairs", ("zeros",), _of_name("embed", (("shape", (5,)), *_STEPS), [(2, 2)]))
