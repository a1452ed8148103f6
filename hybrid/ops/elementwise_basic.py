"""Elementwise records: arithmetic, comparison, logic, bits, rounding, selection and conversion.

Invariant: a record is the only description of its op; semantics are those of the array API standard
2025.12, of NumPy where it is silent, and of PyTorch for gradients at special points.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import dtypes as dt
from ..core.aval import Aval
from ..core.errors import DTypeError
from ..ir.bind import as_tensor, public
from ..ir.bind import convert as convert_to
from ..ir.op import NO_GRAD, map_op
from ..ir.scalar import TYPE, Builder, Val
from .common import SHAPE_ONLY, wide
from .formulas import tools

__all__ = [
    "add",
    "subtract",
    "multiply",
    "divide",
    "floor_divide",
    "remainder",
    "fmod",
    "negative",
    "positive",
    "clone",
    "abs",
    "sign",
    "square",
    "reciprocal",
    "floor",
    "ceil",
    "trunc",
    "round",
    "minimum",
    "maximum",
    "clip",
    "copysign",
    "signbit",
    "nextafter",
    "isnan",
    "isinf",
    "isfinite",
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "logical_and",
    "logical_or",
    "logical_xor",
    "logical_not",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_right_shift",
    "where",
    "astype",
    "reference_of",
]

Tensor = Any
Function = Callable[..., Any]
FLOATS = ("f32", "f64")
COMMUTATIVE = frozenset(["commutative"])
IDEMPOTENT = frozenset(["idempotent"])


def reference_of(f: Callable[..., Any]) -> Callable[..., Any]:
    """A NumPy oracle from a NumPy function: operands are widened first."""

    def reference(*xs: np.ndarray, **params: Any) -> Any:
        return f(*[wide(x) for x in xs], **params)

    return reference


def _is_bool(x: Val) -> bool:
    return x.type == "b1"


# ---- arithmetic
# -------------------------------------------------------------------------------------------
add: Function = public(
    map_op(
        "add",
        2,
        lambda s, x, y: x | y if _is_bool(x) else x + y,
        vjp=lambda g, out, x, y: (g, g),
        reference=reference_of(np.add),
        facts=COMMUTATIVE,
        unit={0: -0.0, 1: -0.0},
        doc="x + y; on bool tensors logical or, as in NumPy.",
    )
)

subtract: Function = public(
    map_op(
        "subtract",
        2,
        lambda s, x, y: x - y,
        vjp=lambda g, out, x, y: (g, lambda: negative(g)),
        accepts="iuf",
        reference=reference_of(np.subtract),
        unit={1: 0.0},
        doc="x - y.",
    )
)

multiply: Function = public(
    map_op(
        "multiply",
        2,
        lambda s, x, y: x & y if _is_bool(x) else x * y,
        vjp=lambda g, out, x, y: (lambda: multiply(g, y), lambda: multiply(g, x)),
        reference=reference_of(np.multiply),
        facts=COMMUTATIVE,
        unit={0: 1.0, 1: 1.0},
        doc="x * y; on bool tensors logical and, as in NumPy.",
    )
)

divide: Function = public(
    map_op(
        "divide",
        2,
        lambda s, x, y: x / y,
        result="float",
        accepts="f",
        vjp=lambda g, out, x, y: (
            lambda: divide(g, y),
            lambda: negative(multiply(g, divide(out, y))),
        ),
        reference=reference_of(np.divide),
        unit={1: 1.0},
        doc="x / y; integers are divided as float32.",
    )
)


def _fmod_steps(s: Builder, r: Val, y: Val, steps: int) -> Val:
    """r modulo y, up to one y below zero, for a quotient below 2^(53*steps): every step is
    exact."""
    for _ in range(steps):
        r = s.fma(-s.trunc(r / y), y, r)
    return r


def _fmod(s: Builder, x: Val, y: Val) -> Val:
    """C's fmod: exact, with the sign of x."""
    if (
        x.type == "f32"
    ):  # the largest quotient of float32 values is 2^277, which double precision holds
        return s.convert(_fmod_wide(s, s.convert(x, "f64"), s.convert(y, "f64"), ((0, 6),)), "f32")
    return _fmod_wide(s, x, y, ((2, 14), (1, 14), (0, 14)))


def _fmod_wide(s: Builder, x: Val, y: Val, stages: tuple[tuple[int, int], ...]) -> Val:
    ax, ay = s.abs(x), s.abs(y)
    r = ax
    for level, steps in stages:  # modulo y * 2^(700 level) first, so that no quotient overflows
        modulus = ay
        for _ in range(level):
            modulus = modulus * 2.0**700
        part = _fmod_steps(s, r, modulus, steps)
        part = s.select(part < 0, part + modulus, part)
        r = s.select(ay < 2.0 ** (1024 - 700 * level), part, r) if level else part
    r = s.select((ay == tools.INF) & (ax < tools.INF), ax, r)
    return s.copysign(r, x)


def _divmod(s: Builder, x: Val, y: Val) -> tuple[Val, Val]:
    """Quotient and remainder with the sign of the divisor, by NumPy's rules."""
    if x.type not in FLOATS:
        return _divmod_int(s, x, y)
    part = _fmod(s, x, y)
    quotient = (x - part) / y
    wrong = (part != 0) & ((y < 0) ^ (part < 0))
    quotient = s.select(wrong, quotient - 1.0, quotient)
    rest = s.select(wrong, part + y, s.select(part == 0, s.copysign(s.const(x.type, 0.0), y), part))
    whole = s.floor(quotient)
    whole = s.select(quotient - whole > 0.5, whole + 1.0, whole)
    whole = s.select(quotient == 0, s.copysign(s.const(x.type, 0.0), x / y), whole)
    return s.select(y == 0, x / y, whole), rest


def _divmod_int(s: Builder, x: Val, y: Val) -> tuple[Val, Val]:
    zero = s.const(x.type, 0)
    quotient, rest = x // y, x % y
    if x.type[0] == "i":
        wrong = (rest != 0) & ((rest ^ y) < 0)
        quotient, rest = s.select(wrong, quotient - 1, quotient), s.select(wrong, rest + y, rest)
    return s.select(y == 0, zero, quotient), s.select(y == 0, zero, rest)


def _reference_int(f: Callable[..., Any]) -> Callable[..., Any]:
    """A NumPy oracle whose integer division by zero is 0."""

    def reference(x: np.ndarray, y: np.ndarray) -> Any:
        if x.dtype.kind in "iu":
            return np.where(y == 0, np.zeros_like(x), f(x, np.where(y == 0, np.ones_like(y), y)))
        return f(x.astype(np.float64), y.astype(np.float64))  # exact for half and single precision

    return reference


floor_divide: Function = public(
    map_op(
        "floor_divide",
        2,
        lambda s, x, y: _divmod(s, x, y)[0],
        vjp=lambda g, out, x, y: (None, None),
        accepts="iuf",
        reference=_reference_int(np.floor_divide),
        keeps=SHAPE_ONLY,
        doc="floor(x / y); integer division by zero gives 0. Not differentiable.",
    )
)

remainder: Function = public(
    map_op(
        "remainder",
        2,
        lambda s, x, y: _divmod(s, x, y)[1],
        accepts="iuf",
        vjp=lambda g, out, x, y: (g, lambda: negative(multiply(g, floor_divide(x, y)))),
        reference=_reference_int(np.remainder),
        doc="x - y*floor(x/y), exactly, with the sign of y (Python's %); an integer modulo zero is 0.",
    )
)

fmod: Function = public(
    map_op(
        "fmod",
        2,
        lambda s, x, y: (
            _fmod(s, x, y) if x.type in FLOATS else s.select(y == 0, s.const(x.type, 0), x % y)
        ),
        accepts="iuf",
        vjp=lambda g, out, x, y: (g, lambda: negative(multiply(g, trunc(divide(x, y))))),
        reference=_reference_int(np.fmod),
        doc="x - y*trunc(x/y), exactly, with the sign of x (C's fmod).",
    )
)

negative: Function = public(
    map_op(
        "negative",
        1,
        lambda s, x: -x,
        vjp=lambda g, out, x: (negative(g),),
        accepts="iuf",
        reference=reference_of(np.negative),
        facts=frozenset(["involution"]),
        doc="-x; unsigned integers wrap.",
    )
)

positive: Function = public(
    map_op(
        "positive",
        1,
        lambda s, x: x,
        vjp=lambda g, out, x: (g,),
        reference=lambda x: x,
        facts=frozenset(["pure_copy"]),
        doc="x itself.",
    )
)

clone: Function = public(
    map_op(
        "clone",
        1,
        lambda s, x: x,
        vjp=lambda g, out, x: (g,),
        reference=lambda x: x,
        facts=frozenset(["pure_copy"]),
        doc="The same elements in a tensor of their own.",
    )
)

abs: Function = public(
    map_op(
        "abs",
        1,
        lambda s, x: x if x.type[0] == "u" else s.abs(x),
        vjp=lambda g, out, x: (multiply(g, sign(x)),),
        accepts="iuf",
        reference=reference_of(np.abs),
        facts=IDEMPOTENT,
        doc="|x|; the most negative integer stays as it is.",
    )
)


def _sign_body(s: Builder, x: Val) -> Val:
    if x.type[0] == "u":
        return s.select(x != 0, 1, s.const(x.type, 0))
    out = s.select(x > 0, 1, s.select(x < 0, -1, s.const(x.type, 0)))
    return s.select(x == x, out, x) if x.type in FLOATS else out


sign: Function = public(
    map_op(
        "sign",
        1,
        _sign_body,
        vjp=lambda g, out, x: (None,),
        reference=lambda x: np.sign(x) + x.dtype.type(0),
        accepts="iuf",
        facts=IDEMPOTENT,
        doc="-1, 0 or 1 (0 for both zeros); NaN stays NaN. Its gradient is zero.",
    )
)

square: Function = public(
    map_op(
        "square",
        1,
        lambda s, x: x * x,
        vjp=lambda g, out, x: (multiply(g, multiply(x, 2.0)),),
        accepts="iuf",
        reference=reference_of(np.square),
        doc="x * x.",
    )
)

reciprocal: Function = public(
    map_op(
        "reciprocal",
        1,
        lambda s, x: 1.0 / x,
        result="float",
        accepts="f",
        vjp=lambda g, out, x: (negative(multiply(g, square(out))),),
        reference=reference_of(lambda x: 1.0 / x),
        doc="1 / x.",
    )
)


# ---- rounding
# ---------------------------------------------------------------------------------------------
def _rounding(name: str, prim: str, f: Callable[..., Any], doc: str) -> Callable[..., Any]:
    return public(
        map_op(
            name,
            1,
            lambda s, x: s.op(prim, x) if x.type in FLOATS else x,
            vjp=lambda g, out, x: (None,),
            reference=lambda x: (
                f(x) if x.dtype.kind in "f" else x if x.dtype.kind in "iu" else f(wide(x))
            ),
            accepts="iuf",
            facts=IDEMPOTENT,
            doc=doc + " Integers stay as they are; the gradient is zero.",
        )
    )


floor: Function = _rounding("floor", "floor", np.floor, "The largest integer not above x.")
ceil: Function = _rounding("ceil", "ceil", np.ceil, "The smallest integer not below x.")
trunc: Function = _rounding("trunc", "trunc", np.trunc, "x without its fraction.")
_round: Function = _rounding("round", "rint", np.rint, "The nearest integer, halves to even.")


def round(x: Tensor, decimals: int = 0) -> Tensor:
    """x rounded to the nearest multiple of 10^-decimals, halves to even; computed as NumPy does, by
    scaling."""
    if not decimals:
        return _round(x)
    d, scale = as_tensor(x)._a.dtype, 10.0 ** builtins.abs(decimals)
    if decimals > 0:
        return divide(_round(multiply(x, scale)), scale) if dt.is_float(d) else _round(x)
    return astype(multiply(_round(divide(x, scale)), scale), d)


# ---- minimum, maximum, clip
# -------------------------------------------------------------------------------
def _split_ties(g: Tensor, x: Tensor, y: Tensor, lost: Callable[..., Tensor]) -> Tensor:
    """g where x won, g/2 where x equals y, 0 where it lost."""
    return where(equal(x, y), multiply(g, 0.5), where(lost(x, y), 0.0, g))


def _least(x: np.ndarray, y: np.ndarray) -> Any:
    """NumPy's minimum with -0 below +0."""
    return np.where(x == y, np.where(np.signbit(x), x, y), np.minimum(x, y))


def _most(x: np.ndarray, y: np.ndarray) -> Any:
    """NumPy's maximum with -0 below +0."""
    return np.where(x == y, np.where(np.signbit(x), y, x), np.maximum(x, y))


minimum: Function = public(
    map_op(
        "minimum",
        2,
        lambda s, x, y: x & y if _is_bool(x) else s.min(x, y),
        vjp=lambda g, out, x, y: (
            lambda: _split_ties(g, x, y, greater),
            lambda: _split_ties(g, y, x, greater),
        ),
        reference=reference_of(_least),
        facts=COMMUTATIVE,
        doc="The smaller of x and y; NaN if either is; -0 is below +0. Ties share the gradient.",
    )
)

maximum: Function = public(
    map_op(
        "maximum",
        2,
        lambda s, x, y: x | y if _is_bool(x) else s.max(x, y),
        vjp=lambda g, out, x, y: (
            lambda: _split_ties(g, x, y, less),
            lambda: _split_ties(g, y, x, less),
        ),
        reference=reference_of(_most),
        facts=COMMUTATIVE,
        doc="The larger of x and y; NaN if either is; -0 is below +0. Ties share the gradient.",
    )
)


def _inside(g: Tensor, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return where(logical_or(less(x, low), greater(x, high)), 0.0, g)


_CLIP = map_op(
    "clip",
    3,
    lambda s, x, low, high: s.min(s.max(x, low), high),
    accepts="iuf",
    vjp=lambda g, out, x, low, high: (
        lambda: _inside(g, x, low, high),
        lambda: where(logical_and(less(x, low), less(low, high)), g, 0.0),
        lambda: where(logical_or(greater(x, high), greater(low, high)), g, 0.0),
    ),
    reference=reference_of(lambda x, low, high: _least(_most(x, low), high)),
    doc="min(max(x, low), high).",
)
_CLIP_LOW = map_op(
    "clip_low",
    2,
    lambda s, x, low: s.max(x, low),
    accepts="iuf",
    vjp=lambda g, out, x, low: (
        lambda: where(less(x, low), 0.0, g),
        lambda: where(less(x, low), g, 0.0),
    ),
    reference=reference_of(_most),
    doc="max(x, low), whose ties give the gradient to x.",
)
_CLIP_HIGH = map_op(
    "clip_high",
    2,
    lambda s, x, high: s.min(x, high),
    accepts="iuf",
    vjp=lambda g, out, x, high: (
        lambda: where(greater(x, high), 0.0, g),
        lambda: where(greater(x, high), g, 0.0),
    ),
    reference=reference_of(_least),
    doc="min(x, high), whose ties give the gradient to x.",
)
_clip, _clip_low, _clip_high = public(_CLIP), public(_CLIP_LOW), public(_CLIP_HIGH)


def clip(x: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """x limited to [min, max]; either may be None, a number or a tensor that broadcasts.  NaN stays
    NaN."""
    if min is None:
        return positive(x) if max is None else _clip_high(x, max)
    return _clip_low(x, min) if max is None else _clip(x, min, max)


# ---- sign and neighbours
# ------------------------------------------------------------------------------------
def _no_nan(s: Builder, x: Val) -> Val:
    """x, or +0 for NaN: the sign of a NaN is unspecified and must not become a value."""
    return s.select(x == x, x, 0.0)


copysign: Function = public(
    map_op(
        "copysign",
        2,
        lambda s, x, y: s.copysign(x, _no_nan(s, y)),
        result="float",
        accepts="f",
        vjp=lambda g, out, x, y: (multiply(g, where(equal(x, 0.0), 0.0, divide(out, x))), None),
        reference=lambda x, y: np.copysign(x, np.where(np.isnan(y), np.zeros_like(y), y)),
        doc="|x| with the sign of y; a NaN y counts as positive.",
    )
)

signbit: Function = public(
    map_op(
        "signbit",
        1,
        lambda s, x: s.bitcast(_no_nan(s, x), tools.FORMAT[x.type].signed) < 0,
        vjp=NO_GRAD,
        result="bool",
        accepts="f",
        reference=lambda x: np.signbit(np.where(np.isnan(x), np.zeros_like(x), x)),
        doc="Whether the sign bit is set; false for NaN.",
    )
)


def _nextafter_body(s: Builder, x: Val, y: Val) -> Val:
    f = tools.FORMAT[x.type]
    bits = s.bitcast(x, f.signed)
    away = (x < y) ^ (bits < 0)  # towards larger magnitude
    moved = s.bitcast(s.select(away, bits + 1, bits - 1), x.type)
    smallest = s.copysign(s.bits(x.type, 1), y)
    out = s.select(x == y, y, s.select(x == 0, smallest, moved))
    return s.select((x == x) & (y == y), out, x + y)


def _nextafter_infer(x: Aval, y: Aval) -> tuple[Aval, ...]:
    if dt.is_half(y.dtype):
        raise DTypeError(f"nextafter takes float32 and float64, not {y.dtype.name}")
    from_shapes = np.broadcast_shapes(x.shape, y.shape)
    return (x.with_(tuple(from_shapes), y.dtype),)


nextafter: Function = public(
    map_op(
        "nextafter",
        2,
        _nextafter_body,
        vjp=NO_GRAD,
        result="float",
        accepts="f",
        infer=_nextafter_infer,
        reference=np.nextafter,
        doc="The next representable number after x towards y (float32 and float64).",
    )
)


# ---- predicates and comparisons
# -----------------------------------------------------------------------------
def _predicate(
    name: str, test: Callable[[Builder, Val], Val], whole: bool, f: Any, doc: str
) -> Callable[..., Any]:
    def body(s: Builder, x: Val) -> Val:
        return test(s, x) if x.type in FLOATS else s.const("b1", whole)

    return public(map_op(name, 1, body, vjp=NO_GRAD, result="bool", reference=f, doc=doc))


isnan: Function = _predicate("isnan", lambda s, x: x != x, False, np.isnan, "Whether x is NaN.")
isinf: Function = _predicate(
    "isinf", lambda s, x: s.abs(x) == tools.INF, False, np.isinf, "Whether x is infinite."
)
isfinite: Function = _predicate(
    "isfinite",
    lambda s, x: s.abs(x) < tools.INF,
    True,
    np.isfinite,
    "Whether x is a finite number.",
)


def _comparison(
    name: str, prim: str, on_bool: Callable[[Any, Any], Any], f: Any, doc: str, **more: Any
) -> Any:
    def body(s: Builder, x: Val, y: Val) -> Val:
        return on_bool(x, y) if _is_bool(x) else s.op(prim, x, y)

    return public(map_op(name, 2, body, vjp=NO_GRAD, result="bool", reference=f, doc=doc, **more))


equal: Function = _comparison(
    "equal", "eq", lambda x, y: ~(x ^ y), np.equal, "x == y.", facts=COMMUTATIVE
)
not_equal: Function = _comparison(
    "not_equal", "ne", lambda x, y: x ^ y, np.not_equal, "x != y.", facts=COMMUTATIVE
)
less: Function = _comparison("less", "lt", lambda x, y: ~x & y, np.less, "x < y.")
less_equal: Function = _comparison(
    "less_equal", "le", lambda x, y: ~x | y, np.less_equal, "x <= y."
)
greater: Function = _comparison("greater", "gt", lambda x, y: x & ~y, np.greater, "x > y.")
greater_equal: Function = _comparison(
    "greater_equal", "ge", lambda x, y: x | ~y, np.greater_equal, "x >= y."
)


# ---- logic and bits
# ------------------------------------------------------------------------------------------
def _logical(
    name: str, nin: int, f: Callable[..., Any], oracle: Any, doc: str, **more: Any
) -> Callable[..., Any]:
    return public(
        map_op(
            name,
            nin,
            lambda s, *xs: f(*[s.convert(x, "b1") for x in xs]),
            vjp=NO_GRAD,
            result="bool",
            reference=oracle,
            doc=doc,
            **more,
        )
    )


logical_and: Function = _logical(
    "logical_and", 2, lambda x, y: x & y, np.logical_and, "x and y.", facts=COMMUTATIVE
)
logical_or: Function = _logical(
    "logical_or", 2, lambda x, y: x | y, np.logical_or, "x or y.", facts=COMMUTATIVE
)
logical_xor: Function = _logical(
    "logical_xor", 2, lambda x, y: x ^ y, np.logical_xor, "x exclusive or y.", facts=COMMUTATIVE
)
logical_not: Function = _logical(
    "logical_not", 1, lambda x: ~x, np.logical_not, "not x.", facts=frozenset(["involution"])
)


def _bits(
    name: str,
    nin: int,
    f: Callable[..., Any],
    oracle: Any,
    doc: str,
    accepts: str = "biu",
    **more: Any,
) -> Any:
    return public(
        map_op(
            name,
            nin,
            lambda s, *xs: f(*xs),
            vjp=NO_GRAD,
            reference=oracle,
            accepts=accepts,
            doc=doc,
            **more,
        )
    )


def _oracle_shift(left: bool) -> Callable[..., Any]:
    def reference(x: np.ndarray, n: np.ndarray) -> Any:
        width = 8 * x.dtype.itemsize
        big = (n < 0) | (n >= width)
        safe = np.where(big, np.zeros_like(n), n)
        fill = (
            np.zeros_like(x)
            if left
            else np.where(x < 0, x.dtype.type(0) - x.dtype.type(1), x.dtype.type(0))
        )
        return np.where(big, fill, x << safe if left else x >> safe)

    return reference


bitwise_and: Function = _bits(
    "bitwise_and", 2, lambda x, y: x & y, np.bitwise_and, "Bits set in both.", facts=COMMUTATIVE
)
bitwise_or: Function = _bits(
    "bitwise_or",
    2,
    lambda x, y: x | y,
    np.bitwise_or,
    "Bits set in either.",
    facts=COMMUTATIVE,
    unit={0: 0, 1: 0},
)
bitwise_xor: Function = _bits(
    "bitwise_xor",
    2,
    lambda x, y: x ^ y,
    np.bitwise_xor,
    "Bits set in one only.",
    facts=COMMUTATIVE,
    unit={0: 0, 1: 0},
)
bitwise_invert: Function = _bits(
    "bitwise_invert",
    1,
    lambda x: ~x,
    np.invert,
    "All bits flipped.",
    facts=frozenset(["involution"]),
)
bitwise_left_shift: Function = _bits(
    "bitwise_left_shift",
    2,
    lambda x, n: x << n,
    _oracle_shift(True),
    "x * 2^n, wrapping; counts outside 0..width-1 give 0.",
    "iu",
    unit={1: 0},
)
bitwise_right_shift: Function = _bits(
    "bitwise_right_shift",
    2,
    lambda x, n: x >> n,
    _oracle_shift(False),
    "floor(x / 2^n); counts outside 0..width-1 give 0 or -1.",
    "iu",
    unit={1: 0},
)


# ---- selection and conversion
# ----------------------------------------------------------------------------------
where: Function = public(
    map_op(
        "where",
        3,
        lambda s, c, x, y: s.select(s.convert(c, "b1"), x, y),
        fixed=(0,),
        vjp=lambda g, out, c, x, y: (None, lambda: where(c, g, 0.0), lambda: where(c, 0.0, g)),
        keeps=frozenset(["0"]),
        reference=lambda c, x, y: np.where(c != 0, x, y),
        doc="x where the condition holds, else y.",
    )
)


def _to_odd(s: Builder, x: Val) -> Val:
    """float64 to float32 rounded to odd, so that rounding to a half type afterwards rounds once."""
    y = s.convert(x, "f32")
    back = s.convert(y, "f64")
    bits = s.bitcast(y, "u32")
    below = s.select(s.abs(back) > s.abs(x), bits - 1, bits)
    return s.select((back == x) | (x != x), y, s.bitcast(below | 1, "f32"))


def _convert_body(s: Builder, x: Val, *, dtype: np.dtype) -> Val:
    if x.type == "f64" and dt.is_half(dtype):
        return _to_odd(s, x)
    return s.convert(x, TYPE[dtype])


def _convert_reference(x: np.ndarray, *, dtype: np.dtype) -> np.ndarray:
    if x.dtype.kind in "biu" or dtype.kind not in "biu":
        return x.astype(dtype)
    w = x.astype(np.float64)
    if dtype is dt.bool_:
        return w != 0
    info = np.iinfo(dtype)
    below, above = w <= info.min, w >= float(info.max)
    inside = np.where(np.isnan(w) | below | above, 0.0, np.trunc(w)).astype(dtype)
    return np.where(
        below, np.array(info.min, dtype), np.where(above, np.array(info.max, dtype), inside)
    )


map_op(
    "convert",
    1,
    _convert_body,
    vjp=lambda g, out, x, **params: (g,),
    reference=_convert_reference,
    infer=lambda x, *, dtype: (x.with_(dtype=dtype),),
    params=("dtype",),
    facts=frozenset(["convert"]),
    keeps=SHAPE_ONLY,
    samples=lambda rng: [
        ([rng.uniform(-3, 3, (5, 7))], {"dtype": d})
        for d in (dt.float32, dt.float64, dt.int32, dt.bool_)
    ],
    doc="Elements in another dtype: floats round to nearest, float to integer truncates and saturates (NaN is 0), "
    "integers wrap.",
)


def astype(x: Tensor, dtype: Any) -> Tensor:
    """x with its elements converted to `dtype`."""
    return convert_to(as_tensor(x), dt.canonical(dtype))
