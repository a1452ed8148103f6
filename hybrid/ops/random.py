"""Random numbers: counter-based Philox4x32-10, in the algebra; generators whose state is two
tensors.

Invariant: element i of draw number n of a generator is a function of (seed, n, i) only; every draw
advances the offset by one, in program order, so eager and traced code see one stream.
"""

from __future__ import annotations

import math
import os
import threading
import time
from typing import Any

import numpy as np

from ..core import dtypes as dt
from ..core.aval import Aval, Device
from ..core.aval import device as to_device
from ..core.errors import DTypeError, HybridError, ShapeError
from ..core.shapes import as_shape
from ..ir.bind import as_tensor, bind, literal
from ..ir.bind import convert as astype
from ..ir.mode import ROOTS, Versioned
from ..ir.op import NO_GRAD, Op, register
from ..ir.scalar import TYPE, Builder, Val
from ..ir.tensor import Handle
from .elementwise import add, log, multiply, negative, subtract, where
from .formulas import cos_turns
from .formulas import log as log_
from .index import take
from .place import stack
from .reduce import argmax, broadcast_to
from .sort import argsort

__all__ = [
    "Generator",
    "default_generator",
    "manual_seed",
    "get_state",
    "set_state",
    "random_bits",
    "rand",
    "randn",
    "uniform",
    "normal",
    "randint",
    "bernoulli",
    "permutation",
    "randperm",
    "shuffle",
    "rand_like",
    "randn_like",
    "categorical",
    "choice",
    "philox",
    "dropout",
    "seed",
]

Ints = tuple[int, ...]
Tensor = Any
_TWO_PI = np.longdouble("6.28318530717958647692528676655900577")
_M0, _M1, _W0, _W1 = 0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85


# ---- Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011)
# ------------------------
def philox(s: Builder, counter: tuple[Val, ...], key: tuple[Val, Val]) -> tuple[Val, Val, Val, Val]:
    """Ten rounds of Philox4x32: four u32 words from a counter of four and a key of two."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    m0, m1 = s.const("u32", _M0), s.const("u32", _M1)
    for r in range(10):
        c0, c1, c2, c3 = s.mulhi(m1, c2) ^ c1 ^ k0, m1 * c2, s.mulhi(m0, c0) ^ c3 ^ k1, m0 * c0
        if r < 9:
            k0, k1 = k0 + _W0, k1 + _W1
    return c0, c1, c2, c3


def _words(s: Builder, seed: Val, offset: Val) -> tuple[Val, Val, Val, Val]:
    i = s.convert(s.index(), "u64")

    def halves(v: Val) -> tuple[Val, Val]:
        return s.convert(v, "u32"), s.convert(v >> 32, "u32")

    return philox(s, (*halves(i), *halves(offset)), halves(seed))


def _long(s: Builder, low: Val, high: Val) -> Val:
    return (s.convert(high, "u64") << 32) | s.convert(low, "u64")


def _oracle(seed: np.ndarray, offset: np.ndarray, shape: Ints) -> list[np.ndarray]:
    """The same words by NumPy in uint64."""
    i = np.arange(math.prod(shape), dtype=np.uint64)
    low = np.uint64(0xFFFFFFFF)
    c = [
        i & low,
        i >> np.uint64(32),
        np.full_like(i, int(offset) & 0xFFFFFFFF),
        np.full_like(i, int(offset) >> 32),
    ]
    k = [int(seed) & 0xFFFFFFFF, int(seed) >> 32]
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(_M0), c[2] * np.uint64(_M1)
        c = [
            (p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k[0]),
            p1 & low,
            (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k[1]),
            p0 & low,
        ]
        k = [(k[0] + _W0) & 0xFFFFFFFF, (k[1] + _W1) & 0xFFFFFFFF]
    return [w.reshape(shape) for w in c]


# ---- records
# ---------------------------------------------------------------------------------------------
_FRACTION = {
    dt.float16: 11,
    dt.bfloat16: 8,
    dt.float32: 24,
}  # bits of a uniform number, so that 1.0 never comes


def _drawn(
    seed: Aval, offset: Aval, *rest: Aval, shape: Ints, dtype: np.dtype | None = None
) -> tuple[Aval, ...]:
    return (seed.with_(shape, dtype or dt.bool_),)


def _bits_body(s: Builder, seed: Val, offset: Val, *, shape: Ints, dtype: np.dtype) -> Val:
    w = _words(s, seed, offset)
    return _long(s, w[0], w[1]) if dtype.itemsize == 8 else s.convert(w[0], TYPE[dtype])


def _unit(s: Builder, w: tuple[Val, ...], d: np.dtype) -> Val:
    """A number in [0, 1) with as many bits as d holds."""
    if d is dt.float64:
        return (
            s.convert((s.convert(w[0], "u64") << 21) | s.convert(w[1] >> 11, "u64"), "f64")
            * 2.0**-53
        )
    n = _FRACTION[d]
    return s.convert(w[0] >> (32 - n), "f32") * 2.0**-n


def _unit_oracle(w: list[np.ndarray], d: np.dtype) -> np.ndarray:
    if d is dt.float64:
        return ((w[0] << np.uint64(21)) | (w[1] >> np.uint64(11))).astype(np.float64) * 2.0**-53
    n = _FRACTION[d]
    return (w[0] >> np.uint64(32 - n)).astype(np.float64) * 2.0**-n


def _uniform_body(s: Builder, seed: Val, offset: Val, *, shape: Ints, dtype: np.dtype) -> Val:
    return _unit(s, _words(s, seed, offset), dtype)


def _normal_body(s: Builder, seed: Val, offset: Val, *, shape: Ints, dtype: np.dtype) -> Val:
    """Box and Muller: sqrt(-2 log u) cos(2 pi v), u in (0, 1]."""
    w = _words(s, seed, offset)
    if dtype is dt.float64:
        u = (s.convert(_long(s, w[1], w[0]) >> 11, "f64") + 1.0) * 2.0**-53
        v = s.convert(_long(s, w[3], w[2]) >> 11, "f64") * 2.0**-53
    else:
        u = s.convert(w[0], "f32") * 2.0**-32 + 2.0**-33
        v = s.convert(w[1] >> 8, "f32") * 2.0**-24
    return s.sqrt(log_(s, u) * -2.0) * cos_turns(s, v)


def _normal_oracle(
    seed: np.ndarray, offset: np.ndarray, shape: Ints, dtype: np.dtype
) -> np.ndarray:
    w = _oracle(seed, offset, shape)
    if dtype is dt.float64:
        u = ((((w[0] << np.uint64(32)) | w[1]) >> np.uint64(11)).astype(np.float64) + 1) * 2.0**-53
        v = (((w[2] << np.uint64(32)) | w[3]) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return np.sqrt(-2 * np.log(u)) * np.cos(_TWO_PI * v)
    u = w[0].astype(np.float32) * np.float32(2.0**-32) + np.float32(2.0**-33)
    v = (w[1] >> np.uint64(8)).astype(np.float64) * 2.0**-24
    return np.sqrt(-2 * np.log(u.astype(np.float64))) * np.cos(_TWO_PI * v)


def _integer_body(
    s: Builder, seed: Val, offset: Val, low: Val, count: Val, *, shape: Ints, dtype: np.dtype
) -> Val:
    w = _words(s, seed, offset)
    return s.convert(s.mulhi(_long(s, w[0], w[1]), count) + low, TYPE[dtype])


def _integer_oracle(
    seed: np.ndarray,
    offset: np.ndarray,
    low: np.ndarray,
    count: np.ndarray,
    shape: Ints,
    dtype: np.dtype,
) -> np.ndarray:
    w = _oracle(seed, offset, shape)
    both = zip((w[0] | (w[1] << np.uint64(32))).ravel().tolist(), range(math.prod(shape)))
    got = [(((v * int(count)) >> 64) + int(low)) & (2**64 - 1) for v, _ in both]
    return np.array(got, np.uint64).reshape(shape).astype(dtype)


def _bernoulli_body(s: Builder, seed: Val, offset: Val, p: Val, *, shape: Ints) -> Val:
    return _unit(s, _words(s, seed, offset), dt.float32) < p


def _state(*rows: tuple[Any, ...]) -> Any:
    def samples(rng: np.random.Generator) -> Any:
        for shape, *extra, params in rows:
            yield (
                [np.array(0x123456789ABCDEF0, np.uint64), np.array(7, np.uint64), *extra],
                {"shape": shape, **params},
            )

    return samples


def _random_op(
    name: str,
    body: Any,
    reference: Any,
    samples: Any,
    *,
    params: tuple[str, ...] = ("shape", "dtype"),
    nin: int = 2,
    ulp: float = 0.0,
    doc: str,
) -> Op:
    return register(
        Op(
            name,
            "map",
            nin,
            _drawn,
            body=body,
            params=params,
            reference=reference,
            samples=samples,
            ulp=ulp,
            vjp=NO_GRAD,
            fixed=tuple(range(nin)),
            accepts="uf",
            doc=doc,
        )
    )


BITS = _random_op(
    "random_bits",
    _bits_body,
    lambda seed, offset, shape, dtype: (
        lambda w: (w[0] | (w[1] << np.uint64(32))) if dtype.itemsize == 8 else w[0]
    )(_oracle(seed, offset, shape)),
    _state(
        ((3, 5), {"dtype": dt.uint32}), ((70,), {"dtype": dt.uint64}), ((), {"dtype": dt.uint32})
    ),
    doc="Random words.",
)
UNIFORM = _random_op(
    "random_uniform",
    _uniform_body,
    lambda seed, offset, shape, dtype: _unit_oracle(_oracle(seed, offset, shape), dtype),
    _state(
        ((70,), {"dtype": dt.float32}),
        ((3, 5), {"dtype": dt.float64}),
        ((9,), {"dtype": dt.bfloat16}),
        ((0,), {"dtype": dt.float32}),
    ),
    doc="Uniform numbers in [0, 1).",
)
NORMAL = _random_op(
    "random_normal",
    _normal_body,
    _normal_oracle,
    _state(((70,), {"dtype": dt.float32}), ((3, 5), {"dtype": dt.float64})),
    ulp=64.0,
    doc="Standard normal numbers.",
)
INTEGER = _random_op(
    "random_integer",
    _integer_body,
    _integer_oracle,
    _state(((70,), np.array(2**64 - 5, np.uint64), np.array(10, np.uint64), {"dtype": dt.int64})),
    nin=4,
    doc="low + a uniform integer below count, modulo 2**64.",
)
BERNOULLI = _random_op(
    "random_bernoulli",
    _bernoulli_body,
    lambda seed, offset, p, shape: _unit_oracle(_oracle(seed, offset, shape), dt.float32) < p,
    _state(
        ((70,), np.array(0.3, np.float32), {}), ((2, 3), np.array([0.0, 0.5, 1.0], np.float32), {})
    ),
    params=("shape",),
    nin=3,
    doc="True with probability p.",
)


# ---- generators
# --------------------------------------------------------------------------------------------
_DRAWING = threading.RLock()  # two threads that draw at once must not get the same numbers
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: globals().update(_DRAWING=threading.RLock()))


class Generator(Versioned):
    """A stream of random numbers: seed and offset (how many draws were made) as uint64 tensors.

    >>> g = Generator(0)
    >>> a = rand(3, generator=g).tolist()
    >>> a == rand(3, generator=g.manual_seed(0)).tolist()
    True
    """

    def __init__(self, seed: int | None = None, device: Any = "cpu") -> None:
        n = int.from_bytes(os.urandom(8), "little") if seed is None else int(seed)
        dev = to_device(device)
        self.device = dev
        self.seed = as_tensor(np.array(n % 2**64, np.uint64), dev)
        self.offset = as_tensor(np.array(0, np.uint64), dev)

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream of that seed."""
        self.seed.assign(literal(int(seed) % 2**64, dt.uint64, self.device))
        self.offset.assign(literal(0, dt.uint64, self.device))
        return self

    def get_state(self) -> Tensor:
        """Seed and offset as a tensor of two."""
        return stack([self.seed, self.offset])

    def set_state(self, state: Any) -> Generator:
        """Go on from a state of `get_state`."""
        t = as_tensor(state, self.device)
        if t.shape != (2,) or t.dtype is not dt.uint64:
            raise HybridError(
                "a generator's state is a uint64 tensor of two elements (see get_state)"
            )
        self.seed.assign(take(t, 0))
        self.offset.assign(take(t, 1))
        return self

    def draw(self, op: Op, *inputs: Tensor, **params: Any) -> Tensor:
        """The next draw; the offset moves on."""
        with _DRAWING:
            while not hasattr(
                self.offset, "_v"
            ):  # a recorded function in another thread is drawing
                time.sleep(50e-6)
            out = bind(op, self.seed, self.offset, *inputs, **params)
            self.offset.assign(add(self.offset, 1))
        return out


_DEFAULT: dict[Device, Generator] = {}


def default_generator(device: Any = "cpu") -> Generator:
    """The generator that functions use when none is given; seeded from the system's entropy."""
    dev = to_device(device)
    g = _DEFAULT.get(dev)
    if g is None:
        g = _DEFAULT.setdefault(dev, Generator(device=dev))
        ROOTS.append(g)
    return g


def manual_seed(seed: int) -> Generator:
    """Seed the default generators."""
    for g in _DEFAULT.values():
        g.manual_seed(seed)
    return default_generator().manual_seed(seed)


seed = manual_seed


def get_state() -> Tensor:
    """State of the default generator."""
    return default_generator().get_state()


def set_state(state: Any) -> None:
    """Make the default generator go on from a state of `get_state`."""
    default_generator().set_state(state)


# ---- functions
# ---------------------------------------------------------------------------------------------
def _source(generator: Generator | None, device: Any) -> Generator:
    return generator if generator is not None else default_generator(device or "cpu")


def _float_dtype(dtype: Any) -> np.dtype:
    d = dt.canonical(dtype) if dtype is not None else dt.default_float
    if not dt.is_float(d):
        raise DTypeError(
            f"random numbers of {d.name} need randint; this function makes floating ones"
        )
    return d


def _shape(shape: tuple[Any, ...]) -> Ints:
    return as_shape(shape[0] if len(shape) == 1 and not hasattr(shape[0], "__index__") else shape)


def _leaf(out: Tensor, requires_grad: bool) -> Tensor:
    return out.requires_grad_() if requires_grad else out


def random_bits(
    *shape: Any, dtype: Any = dt.uint32, generator: Generator | None = None, device: Any = None
) -> Tensor:
    """Random words of an unsigned dtype."""
    d = dt.canonical(dtype)
    if dt.kind(d) != "u":
        raise DTypeError(f"random_bits makes unsigned integers, not {d.name}")
    return _source(generator, device).draw(BITS, shape=_shape(shape), dtype=d)


def rand(
    *shape: Any,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform numbers in [0, 1)."""
    out = _source(generator, device).draw(UNIFORM, shape=_shape(shape), dtype=_float_dtype(dtype))
    return _leaf(out, requires_grad)


def randn(
    *shape: Any,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Standard normal numbers."""
    out = _source(generator, device).draw(NORMAL, shape=_shape(shape), dtype=_float_dtype(dtype))
    return _leaf(out, requires_grad)


def rand_like(x: Tensor, *, dtype: Any = None, generator: Generator | None = None) -> Tensor:
    """`rand` with the shape, dtype and device of x."""
    return rand(x.shape, dtype=dtype or x.dtype, generator=generator, device=x.device)


def randn_like(x: Tensor, *, dtype: Any = None, generator: Generator | None = None) -> Tensor:
    """`randn` with the shape, dtype and device of x."""
    return randn(x.shape, dtype=dtype or x.dtype, generator=generator, device=x.device)


def uniform(
    low: Any = 0.0,
    high: Any = 1.0,
    size: Any = (),
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Uniform numbers between low and high."""
    return add(
        multiply(
            rand(as_shape(size), dtype=dtype, generator=generator, device=device),
            subtract(high, low)
            if isinstance(low, Handle) or isinstance(high, Handle)
            else high - low,
        ),
        low,
    )


def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = (),
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Normal numbers of that mean and standard deviation."""
    return add(
        multiply(randn(as_shape(size), dtype=dtype, generator=generator, device=device), std), mean
    )


def randint(
    low: int,
    high: int | None = None,
    size: Any = (),
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Integers low..high-1 (or 0..low-1), int64 by default."""
    if high is None:
        low, high = 0, low
    d = dt.canonical(dtype) if dtype is not None else dt.default_int
    if (
        not dt.is_int(d)
        or high <= low
        or not (dt.can_hold(d, int(low)) and dt.can_hold(d, int(high) - 1))
    ):
        raise HybridError(f"randint: {low}..{high - 1} is empty or does not fit {d.name}")
    g = _source(generator, device)
    first, count = (
        literal(v % 2**64, dt.uint64, g.device) for v in (int(low), int(high) - int(low))
    )
    return g.draw(INTEGER, first, count, shape=as_shape(size), dtype=d)


def bernoulli(
    p: Any, size: Any = None, *, generator: Generator | None = None, device: Any = None
) -> Tensor:
    """True with probability p (a number, or a tensor that broadcasts to the size)."""
    if isinstance(p, (int, float)):
        g = _source(generator, device)
        return g.draw(
            BERNOULLI,
            literal(float(p), dt.float32, g.device),
            shape=as_shape(() if size is None else size),
        )
    t = as_tensor(p)
    shape = t.shape if size is None else as_shape(size)
    return _source(generator, t.device).draw(
        BERNOULLI, broadcast_to(astype(t, dt.float32), shape), shape=shape
    )


def permutation(x: Any, *, generator: Generator | None = None, device: Any = None) -> Tensor:
    """0..x-1 in random order for an int, else x with its first axis in random order."""
    if hasattr(x, "__index__") and not isinstance(x, Handle):
        return argsort(random_bits(int(x), dtype=dt.uint64, generator=generator, device=device))
    x = as_tensor(x)
    if x.ndim == 0:
        raise ShapeError("permutation of a 0-d tensor; pass an int for a random order of 0..n-1")
    return take(x, permutation(x.shape[0], generator=generator, device=x.device), 0)


randperm = permutation


def shuffle(x: Tensor, *, generator: Generator | None = None) -> None:
    """Give x its first axis in random order."""
    x.assign(permutation(x, generator=generator))


def categorical(logits: Tensor, axis: int = -1, *, generator: Generator | None = None) -> Tensor:
    """One class per row, drawn with the probabilities softmax(logits) (Gumbel maximum)."""
    u = rand(
        logits.shape, dtype=dt.compute_type(logits.dtype), generator=generator, device=logits.device
    )
    tiny = 2.0**-25
    return argmax(subtract(logits, log(negative(log(add(u, tiny))))), axis)


def choice(
    x: Any, size: Any = (), *, generator: Generator | None = None, device: Any = None
) -> Tensor:
    """Elements of x (or of 0..x-1) drawn with replacement."""
    n = int(x) if hasattr(x, "__index__") and not isinstance(x, Handle) else as_tensor(x).shape[0]
    at = randint(0, n, size, generator=generator, device=device)
    return (
        at if hasattr(x, "__index__") and not isinstance(x, Handle) else take(as_tensor(x), at, 0)
    )


def dropout(
    x: Tensor, p: float = 0.5, training: bool = True, *, generator: Generator | None = None
) -> Tensor:
    """x with elements zeroed with probability p, the others scaled by 1 / (1 - p); x itself when
    not training."""
    if not 0.0 <= p <= 1.0:
        raise HybridError(f"dropout: p = {p} is no probability")
    if not training or p == 0.0:
        return x
    if p == 1.0:
        return where(bernoulli(0.0, x.shape, generator=generator, device=x.device), x, 0)
    keep = bernoulli(1.0 - p, x.shape, generator=generator, device=x.device)
    return where(keep, multiply(x, 1.0 / (1.0 - p)), 0)
