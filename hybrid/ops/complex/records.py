"""How records of complex functions are made: of the parts of operands, giving those of the result.

Invariant: float32 and float64 results are within the record's bound of the true complex value,
measured against its modulus; derivatives are those of analytic functions, times the gradient, by
the conjugate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.shapes import broadcast_shapes
from ...ir.door.bind import bind, constant_of, current_mode
from ...ir.op import Op, extend, map_op
from ...ir.scalar.program import Val
from ..axes.views import broadcast_arrays
from ..build.pairs import (
    check_parts,
    complex_of,
    conjugate,
    joined,
    numbers_of,
    pairs_in,
    parts_of,
)
from ..elementwise.arithmetic import multiply

__all__ = ["analytic", "apply", "each_part", "enter"]

Tensor = Any
Parts = tuple[Val, Val]


def apply(op: Op, *numbers: Tensor) -> Tensor:
    """A record over parts on complex tensors."""
    return numbers_of(bind(op, *[part for x in numbers for part in parts_of(x)]))


def _infer(name: str) -> Callable[..., tuple[Aval, ...]]:
    def infer(*avals: Aval) -> tuple[Aval, ...]:
        check_parts(name, *avals)
        return (avals[0].with_((*broadcast_shapes(name, *[a.shape for a in avals]), 2)),)

    return infer


def _reference(function: Callable[..., Any]) -> Callable[..., Any]:
    """An oracle over parts from a function of complex arrays."""

    def reference(*parts: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            out = np.asarray(function(*map(joined, parts[::2], parts[1::2])))
        return np.stack([out.real, out.imag], -1)

    return reference


def _samples(nin: int, domain: tuple[float, float]) -> Callable[..., Any]:
    def samples(rng: np.random.Generator) -> Any:
        for shape in ((7,), (3, 5), (), (0, 2)):
            yield [rng.uniform(*domain, shape) for _ in range(2 * nin)], {}

    return samples


def _vjp(slopes: Callable[..., tuple[Any, ...]]) -> Callable[..., Any]:
    """The gradients of all parts; `slopes(out, *operands)` gives the derivative by each."""

    def vjp(gradient: Any, out: Any, *parts: Tensor) -> tuple[Any, ...]:
        whole = numbers_of(gradient)
        numbers = [
            complex_of(*broadcast_arrays(real, imaginary))
            for real, imaginary in zip(parts[::2], parts[1::2])
        ]
        pulled: list[Any] = []
        for slope in slopes(numbers_of(out), *numbers):
            pulled += parts_of(multiply(whole, conjugate(slope)))
        return tuple(pulled)

    return vjp


def analytic(
    base: Any,
    body: Callable[..., Parts],
    slopes: Callable[..., tuple[Any, ...]],
    function: Callable[..., Any],
    *,
    ulp: float = 8.0,
    domain: tuple[float, float] = (-3.0, 3.0),
) -> Op:
    """Enter what the record behind the function `base` does with complex tensors: `body` over their
    parts, NumPy's `function` its oracle."""
    record: Op = base.op
    assert record.nin is not None
    made = map_op(
        f"complex_{record.name}",
        2 * record.nin,
        body,
        vjp=_vjp(slopes),
        infer=_infer(record.name),
        accepts="f",
        facts=frozenset(["modulus", "woven"]),
        ulp=ulp,
        domain=domain,
        reference=_reference(function),
        samples=_samples(record.nin, domain),
        doc=f"`{record.name}` of complex numbers, over their parts.",
    )
    extend(record, on_complex=lambda *numbers: apply(made, *numbers))
    return made


def enter(function: Any, rule: Callable[..., Any]) -> None:
    """Enter what the record behind a public function does with complex tensors."""
    extend(function.op, on_complex=rule)


def _whole(tensors: tuple[Tensor, ...]) -> bool:
    """Whether an eager call takes one walk over pairs; a graph keeps parts, which fuse with all."""
    shape = tensors[0].shape
    alike = all(dt.is_complex(x.dtype) and x.shape == shape for x in tensors)
    return alike and current_mode() is None and all(constant_of(x) is None for x in tensors)


def each_part(function: Any, anywhere: bool = False) -> None:
    """Enter that a record, or that behind a public function, does with complex tensors what it does
    with their parts, one by one; `anywhere`: whatever the place of an element."""
    record: Op = getattr(function, "op", function)

    def rule(*tensors: Tensor, **params: Any) -> Tensor:
        given = {k: dt.real_of(v) if isinstance(v, np.dtype) else v for k, v in params.items()}
        if anywhere and _whole(tensors):
            return numbers_of(bind(record, *[pairs_in(x) for x in tensors], **given))
        parts = [parts_of(x) if dt.is_complex(x.dtype) else (x, x) for x in tensors]
        return complex_of(*[bind(record, *[p[k] for p in parts], **given) for k in (0, 1)])

    extend(record, on_complex=rule)
