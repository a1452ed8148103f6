"""Pooling over windows of images [N, C, H, W]: one gather forward and one backward, padding too.

Invariant: windows are walked in row-major order; the maximum is the first one (a NaN wins), sums
are added in that order.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.errors import ShapeError
from ...ir.door.bind import as_tensor, bind
from ...ir.door.bind import convert as astype
from ...ir.op import MapOp, Op, register
from ...ir.scalar.program import TYPE, Builder, Val
from ..axes.reduce import mean
from ..axes.views import reshape
from ..base.common import draw, need_float, pair, wide
from ..base.surface import public
from ..build.create import ones
from ..elementwise.arithmetic import divide
from ..indexing.index import ALONG

Pair = tuple[int, int]
Ints = tuple[int, ...]
Tensor = Any
PARAMS = ("kernel", "stride", "padding", "dilation")


def _pooled(
    name: str, shape: Ints, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair
) -> Ints:
    if len(shape) != 4:
        raise ShapeError(f"{name} takes images [N, C, H, W], not shape {shape}")
    if min(*kernel, *stride, *dilation) < 1 or any(
        not 0 <= 2 * p <= k for p, k in zip(padding, kernel)
    ):
        raise ShapeError(
            f"{name}: kernel {kernel}, stride {stride} and dilation {dilation} must be positive, "
            f"padding {padding} at most half the kernel"
        )
    out = tuple(
        (shape[2 + i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
        for i in (0, 1)
    )
    if min(out) < 1:
        raise ShapeError(f"{name}: a window of {kernel} does not fit images of {shape[2:]}")
    return shape[:2] + out


def _index_type(*shapes: Ints) -> str:
    """Type for the arithmetic on element numbers: i32 where it suffices, which is twice as fast."""
    return "i32" if max(map(prod, shapes)) < 2**31 else "i64"


def _at(s: Builder, x: Any, ty: str, *coords: Val) -> Val:
    """The element of x with these coordinates, which have type ty."""
    total = coords[0]
    for c, n in zip(coords[1:], x.shape[1:]):
        total = total * n + c
    return x.at(s.convert(total, "i64"))


def _window(
    s: Builder, x: Any, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair
) -> Iterator[tuple[Val, Val | None, Val]]:
    """(element, whether it lies in the image or None when it must, its number in H * W) of a
    window, in order."""
    size, ty = x.shape[2:], _index_type(x.shape)
    n, c, *at_out = (s.convert(s.coord(a), ty) for a in range(4))
    plane = (n * x.shape[1] + c) * (size[0] * size[1])
    base = [at_out[a] * stride[a] - padding[a] for a in (0, 1)]
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            at = [base[0] + i * dilation[0], base[1] + j * dilation[1]]
            inside = None
            for a in (0, 1):
                if padding[a]:
                    ok = (at[a] >= 0) & (at[a] < size[a])
                    at[a] = s.max(s.min(at[a], size[a] - 1), 0)
                    inside = ok if inside is None else inside & ok
            place = at[0] * size[1] + at[1]
            yield x.at(s.convert(plane + place, "i64")), inside, place


# ---- maximum
def _max_infer(x: Aval, **p: Pair) -> tuple[Aval, ...]:
    shape = _pooled("max_pool2d", x.shape, **p)
    return x.with_(shape), x.with_(shape, dt.int32 if prod(x.shape[2:]) < 2**31 else dt.int64)


def _max_body(s: Builder, x: Any, **p: Pair) -> tuple[Val, Val]:
    place = TYPE[dt.int32 if prod(x.shape[2:]) < 2**31 else dt.int64]
    best: Any = None
    where: Any = None
    seen: Any = None
    for v, inside, at in _window(s, x, **p):
        v = v if inside is None else s.select(inside, v, float("-inf"))
        if best is None:
            best, where, seen = v, at, inside
            continue
        better = (v > best) | ((v != v) & (best == best))
        if inside is not None and max(p["dilation"]) > 1:
            # places of padding may lie between those of the window: take the first one inside
            better = better | s.select(seen, False, inside)
            seen = seen | inside
        best, where = s.select(better, v, best), s.select(better, at, where)
    return best, s.convert(where, place)


def _numpy_windows(
    x: np.ndarray, fill: float, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair
) -> np.ndarray:
    full = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation))
    p = np.pad(x, ((0, 0), (0, 0), *((q, q) for q in padding)), constant_values=fill)
    w = np.lib.stride_tricks.sliding_window_view(p, full, (2, 3))
    return w[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def _max_reference(x: np.ndarray, **p: Pair) -> tuple[np.ndarray, np.ndarray]:
    w = _numpy_windows(wide(x), -np.inf, **p)
    at = np.broadcast_to(np.arange(prod(x.shape[2:])).reshape(x.shape[2:]), x.shape)
    a = _numpy_windows(at, 0, **p)
    flat, places = w.reshape(*w.shape[:4], -1), a.reshape(*a.shape[:4], -1)
    best = flat.argmax(-1)[..., None]
    return np.take_along_axis(flat, best, -1)[..., 0], np.take_along_axis(places, best, -1)[..., 0]


def _max_vjp(gs: tuple[Any, Any], outs: tuple[Any, Any], x: Tensor, **p: Pair) -> tuple[Any]:
    return (None if gs[0] is None else bind(MAX_GRAD, gs[0], outs[1], shape=x.shape, **p),)


def _cases(channels: int = 2) -> list[tuple[Ints, dict[str, Pair]]]:
    def row(h: int, w: int, k: Pair, s: Pair, p: Pair, d: Pair) -> tuple[Ints, dict[str, Pair]]:
        return (2, channels, h, w), {"kernel": k, "stride": s, "padding": p, "dilation": d}

    return [
        row(4, 6, (2, 2), (2, 2), (0, 0), (1, 1)),
        row(5, 7, (3, 2), (2, 3), (1, 1), (1, 1)),
        row(6, 6, (2, 2), (1, 1), (0, 0), (2, 1)),
        row(3, 3, (3, 3), (3, 3), (1, 1), (1, 1)),
    ]


MAX_POOL = register(
    MapOp(
        "max_pool2d",
        1,
        _max_infer,
        body=_max_body,
        gathers=(0,),
        params=PARAMS,
        nout=2,
        vjp=_max_vjp,
        accepts="f",
        reference=_max_reference,
        ulp=0.0,
        facts=frozenset(["optional_grads"]),
        keeps=frozenset(["out"]),
        samples=lambda rng: (([draw(rng, *s)], p) for s, p in _cases()),
        doc="Maxima over windows, and where they are (numbers in H * W).",
    )
)


def _covering(
    s: Builder,
    shape: Ints,
    out: Ints,
    ty: str,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Iterator[tuple[Val, Val, Val | None]]:
    """(row, column, validity) of the windows that may cover an element of the image,
    the last one first."""
    found: list[list[tuple[Val, Any]]] = []
    for a in (0, 1):
        at = s.convert(s.coord(2 + a), ty) + padding[a]
        last = _quotient(s, at, stride[a])
        reach = dilation[a] * (kernel[a] - 1)
        tight = (
            stride[a] == kernel[a]
            and dilation[a] == 1
            and padding[a] == 0
            and shape[2 + a] % stride[a] == 0
        )
        axis: list[tuple[Val, Any]] = []
        for t in range(reach // stride[a] + 1):
            i = last - t
            ok = None
            if not tight:
                start = i * stride[a]
                ok = (i >= 0) & (i < out[2 + a]) & (at - start <= reach)
                if dilation[a] > 1:
                    ok = ok & (
                        (at - start) - _quotient(s, at - start, dilation[a]) * dilation[a] == 0
                    )
                i = s.max(s.min(i, out[2 + a] - 1), 0)
            axis.append((i, ok))
        found.append(axis)
    for i, iok in found[0]:
        for j, jok in found[1]:
            yield i, j, iok if jok is None else jok if iok is None else iok & jok


def _quotient(s: Builder, x: Val, d: int) -> Val:
    """floor(x / d): a shift, or floating arithmetic (vector units have no integer division), exact
    for sizes that fit in memory."""
    if d & (d - 1) == 0:
        return x >> (d.bit_length() - 1)
    return s.convert(s.floor((s.convert(x, "f64") + 0.5) / float(d)), x.type)


def _max_grad_body(s: Builder, g: Any, at: Any, *, shape: Ints, **p: Pair) -> Val:
    ty = _index_type(shape, g.shape)
    n, c, h, w = (s.convert(s.coord(a), ty) for a in range(4))
    me = h * shape[3] + w
    total: Any = None
    for i, j, ok in _covering(s, shape, g.shape, ty, **p):
        mine = s.convert(_at(s, at, ty, n, c, i, j), ty) == me
        mine = mine if ok is None else mine & ok
        part = s.select(mine, _at(s, g, ty, n, c, i, j), 0.0)
        total = part if total is None else total + part
    return total


def _max_grad_reference(g: np.ndarray, at: np.ndarray, *, shape: Ints, **p: Pair) -> np.ndarray:
    out = np.zeros((prod(shape[:2]), prod(shape[2:])), wide(g).dtype)
    rows = np.arange(out.shape[0])[:, None]
    np.add.at(out, (rows, at.reshape(out.shape[0], -1)), wide(g).reshape(out.shape[0], -1))
    return out.reshape(shape)


def _max_grad_samples(rng: np.random.Generator) -> Any:
    for shape, p in _cases():
        at = _max_reference(draw(rng, *shape), **p)[1]
        yield [draw(rng, *at.shape), at], {"shape": shape, **p}


def _max_grad_vjp(
    u: Tensor, out: Tensor, g: Tensor, at: Tensor, shape: Ints, **p: Pair
) -> tuple[Any, None]:
    flat = reshape(u, shape[:2] + (prod(shape[2:]),))
    places = astype(reshape(at, at.shape[:2] + (prod(at.shape[2:]),)), dt.int64)
    return reshape(bind(ALONG, flat, places, axis=2), at.shape), None


MAX_GRAD = register(
    MapOp(
        "max_pool2d_grad",
        2,
        lambda g, at, shape, **p: (g.with_(shape),),
        body=_max_grad_body,
        gathers=(0, 1),
        params=("shape", *PARAMS),
        vjp=_max_grad_vjp,
        accepts="f",
        reference=_max_grad_reference,
        ulp=4.0,
        samples=_max_grad_samples,
        keeps=frozenset("1"),
        doc="Gradient of max_pool2d from the places of the maxima.",
    )
)


# ---- sums
def _sum_body(s: Builder, x: Any, **p: Pair) -> Val:
    total: Any = None
    for v, inside, _ in _window(s, x, **p):
        v = v if inside is None else s.select(inside, v, 0.0)
        total = v if total is None else total + v
    return total


def _sum_grad_body(s: Builder, g: Any, *, shape: Ints, **p: Pair) -> Val:
    ty = _index_type(shape, g.shape)
    n, c = s.convert(s.coord(0), ty), s.convert(s.coord(1), ty)
    total: Any = None
    for i, j, ok in _covering(s, shape, g.shape, ty, **p):
        v = _at(s, g, ty, n, c, i, j)
        v = v if ok is None else s.select(ok, v, 0.0)
        total = v if total is None else total + v
    return total


def _sum_grad_reference(g: np.ndarray, *, shape: Ints, **p: Pair) -> np.ndarray:
    padded = tuple(n + 2 * q for n, q in zip(shape[2:], p["padding"]))
    out = np.zeros(shape[:2] + padded, wide(g).dtype)
    for i in range(p["kernel"][0]):
        for j in range(p["kernel"][1]):
            at = [
                slice(o * d, o * d + (n - 1) * st + 1, st)
                for o, d, n, st in zip((i, j), p["dilation"], g.shape[2:], p["stride"])
            ]
            out[:, :, at[0], at[1]] += wide(g)
    a, b = p["padding"]
    return out[:, :, a : a + shape[2], b : b + shape[3]]


SUM_POOL = register(
    MapOp(
        "sum_pool2d",
        1,
        lambda x, **p: (x.with_(_pooled("avg_pool2d", x.shape, **p)),),
        body=_sum_body,
        gathers=(0,),
        params=PARAMS,
        vjp=lambda g, out, x, **p: (bind(SUM_POOL_GRAD, g, shape=x.shape, **p),),
        accepts="f",
        keeps=frozenset(["shape"]),
        reference=lambda x, **p: _numpy_windows(wide(x), 0, **p).sum((-1, -2)),
        ulp=8.0,
        samples=lambda rng: (([draw(rng, *s, low=0.5, high=1.5)], p) for s, p in _cases()),
        doc="Sums over windows.",
    )
)
SUM_POOL_GRAD: Op = register(
    MapOp(
        "sum_pool2d_grad",
        1,
        lambda g, shape, **p: (g.with_(shape),),
        body=_sum_grad_body,
        gathers=(0,),
        params=("shape", *PARAMS),
        vjp=lambda u, out, g, shape, **p: (bind(SUM_POOL, u, **p),),
        accepts="f",
        keeps=frozenset(["shape"]),
        reference=_sum_grad_reference,
        ulp=8.0,
        samples=lambda rng: (
            ([draw(rng, *_pooled("", s, **p), low=0.5, high=1.5)], {"shape": s, **p})
            for s, p in _cases()
        ),
        doc="The adjoint of sum_pool2d.",
    )
)


# ---- public
def _settings(kernel: Any, stride: Any, padding: Any, dilation: Any = 1) -> dict[str, Pair]:
    k = pair(kernel, "kernel_size")
    return {
        "kernel": k,
        "stride": k if stride is None else pair(stride, "stride"),
        "padding": pair(padding, "padding"),
        "dilation": pair(dilation, "dilation"),
    }


def _images(name: str, x: Tensor) -> Tensor:
    need_float(name, x._a)
    if x.ndim not in (3, 4):
        raise ShapeError(f"{name} takes images [N, C, H, W] or [C, H, W], not shape {x.shape}")
    return reshape(x, (1, *x.shape)) if x.ndim == 3 else x


@public(functional=True)
def max_pool2d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    *,
    return_indices: bool = False,
) -> Any:
    """PyTorch's max_pool2d: maxima over windows (padding counts as -inf);
    the gradient goes to the first maximum."""
    x = as_tensor(x)
    images = _images("max_pool2d", x)
    out, at = bind(MAX_POOL, images, **_settings(kernel_size, stride, padding, dilation))
    if x.ndim == 3:
        out, at = reshape(out, out.shape[1:]), reshape(at, at.shape[1:])
    return (out, astype(at, dt.int64)) if return_indices else out


@public(functional=True)
def avg_pool2d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    *,
    count_include_pad: bool = True,
) -> Tensor:
    """PyTorch's avg_pool2d: means over windows; padding counts as zeros, or not at all."""
    x = as_tensor(x)
    images, p = _images("avg_pool2d", x), _settings(kernel_size, stride, padding)
    out = bind(SUM_POOL, images, **p)
    if count_include_pad or p["padding"] == (0, 0):
        out = divide(out, prod(p["kernel"]))
    else:
        one = ones((1, 1, *images.shape[2:]), dtype=x.dtype, device=x.device)
        out = divide(out, bind(SUM_POOL, one, **p))
    return reshape(out, out.shape[1:]) if x.ndim == 3 else out


@public
def adaptive_avg_pool2d(x: Tensor, output_size: Any) -> Tensor:
    """Means over equal windows so that the result has `output_size`,
    which must divide the image."""
    size = pair(output_size, "output_size")
    if size == (1, 1):
        return mean(x, axis=(-2, -1), keepdims=True)
    if any(n % k for n, k in zip(x.shape[-2:], size)):
        raise ShapeError(
            f"adaptive_avg_pool2d: {size} does not divide images of {x.shape[-2:]}; use avg_pool2d"
        )
    return avg_pool2d(x, tuple(n // k for n, k in zip(x.shape[-2:], size)))


def _as_images(x: Tensor) -> Tensor:
    return reshape(x, x.shape[:-1] + (1, x.shape[-1]))


@public
def max_pool1d(
    x: Tensor, kernel_size: int, stride: int | None = None, padding: int = 0, dilation: int = 1
) -> Tensor:
    """PyTorch's max_pool1d over [N, C, L] (or [C, L])."""
    out = max_pool2d(
        _as_images(x), (1, kernel_size), (1, stride or kernel_size), (0, padding), (1, dilation)
    )
    return reshape(out, out.shape[:-2] + out.shape[-1:])


@public
def avg_pool1d(x: Tensor, kernel_size: int, stride: int | None = None, padding: int = 0) -> Tensor:
    """PyTorch's avg_pool1d over [N, C, L] (or [C, L])."""
    out = avg_pool2d(_as_images(x), (1, kernel_size), (1, stride or kernel_size), (0, padding))
    return reshape(out, out.shape[:-2] + out.shape[-1:])
