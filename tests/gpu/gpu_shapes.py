"""Programs on arrays of the sizes at which GPU schedules change: rows from 1 to 20,000, flat maps
with odd starts, columns, full reductions, products of all layouts, convolutions, attention,
gathers and their gradients.

`NAMES` lists them; `case(name)` gives a function and its host arrays.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

import hybrid as hb
from hybrid.nn import functional as F

__all__ = ["NAMES", "case"]

Program = Callable[..., tuple[Any, ...]]

ROWS: dict[str, Callable[[Any, Any], Any]] = {
    "sum": lambda x, axis: x.sum(axis),
    "mean": lambda x, axis: x.mean(axis),
    "max": lambda x, axis: x.amax(axis) if axis is not None else x.max(),
    "argmax": lambda x, axis: x.argmax(axis),
    "var": lambda x, axis: x.var(axis),
    "logsumexp": lambda x, axis: hb.logsumexp(x, axis),
    "softmax": lambda x, axis: F.softmax(x, axis),
    "log_softmax": lambda x, axis: F.log_softmax(x, axis),
}
WITHOUT_ALL = ("softmax", "log_softmax", "logsumexp")
ROW_SIZES = [
    (3, 1),
    (5, 31),
    (1, 64),
    (70, 65),
    (300, 257),
    (40, 1024),
    (9, 2048),
    (33, 2049),
    (6, 5000),
    (3, 20000),
    (1, 70001),
]
COLUMN_SIZES = [
    (1, 7),
    (31, 5),
    (255, 64),
    (256, 33),
    (257, 130),
    (1000, 96),
    (5000, 12),
    (20001, 3),
]
ALL_SIZES = [(1, 1), (63, 65), (4096, 1), (1, 4097), (300, 1001), (1500, 1500)]
MAP_SIZES = [1, 3, 127, 128, 129, 1023, 65537, 1048579]
PRODUCTS = [
    (1, 1, 1),
    (1, 513, 1),
    (1, 300, 77),
    (5, 256, 1),
    (17, 255, 33),
    (64, 257, 64),
    (128, 128, 128),
    (129, 511, 130),
    (8, 2048, 16),
    (300, 1030, 260),
    (1024, 1024, 1024),
    (2000, 8, 9),
    (16, 5000, 700),
]
CONVOLUTIONS = [  # batch, channels, height, outputs, kernel, stride, padding, groups
    (2, 3, 9, 4, 3, 1, 1, 1),
    (1, 16, 14, 32, 3, 2, 1, 1),
    (4, 8, 7, 8, 1, 1, 0, 1),
    (2, 8, 11, 8, 3, 1, 1, 8),
    (8, 32, 28, 16, 5, 2, 2, 2),
    (3, 3, 32, 24, 7, 2, 3, 1),
]
VOLUMES = [  # as of images; the depth is the smallest extent
    (2, 3, 3, 4, 3, 1, 1, 1),
    (1, 4, 5, 6, 2, 2, 1, 2),
    (2, 4, 4, 4, 3, 1, 1, 4),
]
ATTENTIONS = [  # batch, heads, queries, keys, features, causal
    (1, 1, 1, 1, 4, False),
    (2, 3, 17, 33, 16, False),
    (1, 2, 64, 64, 32, True),
    (1, 2, 257, 300, 64, False),
    (2, 4, 512, 512, 64, True),
    (1, 1, 33, 700, 20, False),
]
GATHERS = [(10, 4, 7), (65, 128, 512), (1000, 1, 5000), (300, 33, 64), (5000, 768, 999)]
ORDERED_SIZES = [(1, 1), (5, 255), (3, 257), (40, 1000), (2, 5000), (1, 70001)]
HALVES = ("float16", "bfloat16")


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def _normal(name: str, *shape: int, dtype: str = "float32") -> np.ndarray:
    made = _rng(name + str(shape)).standard_normal(shape)
    return made.astype(getattr(hb, dtype))


def _with_gradients(function: Callable[..., Any], wanted: tuple[int, ...]) -> Program:
    """Result and gradients of a function, weighted so that no element is like its neighbour."""

    def program(*operands: Any) -> tuple[Any, ...]:
        def loss(*moving: Any) -> Any:
            given = list(operands)
            for position, operand in zip(wanted, moving):
                given[position] = operand
            out = function(*given)
            weights = hb.arange(out.numel(), device=out.device).reshape(out.shape) % 7 - 3
            return (out * weights.to(out.dtype)).sum()

        found = hb.grad(loss, tuple(range(len(wanted))))(*[operands[i] for i in wanted])
        return function(*operands), *found

    return program


def _row(kind: str, size: tuple[int, int], axis: int | None, dtype: str) -> Any:
    function = ROWS[kind]
    arrays = [_normal(kind, *size, dtype=dtype)]
    if kind in ("argmax",) or axis is None:
        return (lambda x: (function(x, axis),)), arrays
    return _with_gradients(lambda x: function(x, axis), (0,)), arrays


def _norm(size: tuple[int, int]) -> Any:
    width = size[1]
    arrays = [_normal("norm", *size), _normal("scale", width), _normal("shift", width)]
    return _with_gradients(lambda x, w, b: F.layer_norm(x, (width,), w, b), (0, 1, 2)), arrays


def _map(size: int, start: int, dtype: str) -> Any:
    arrays = [_normal("map", size + 8, dtype=dtype), _normal("other", size + 8, dtype=dtype)]

    def program(x: Any, y: Any) -> tuple[Any, ...]:
        left, right = x[start : start + size], y[1 : 1 + size]
        return left + right, F.gelu(left, approximate="tanh") * right, hb.exp(-hb.abs(left))

    return program, arrays


def _strided(size: int) -> Any:
    arrays = [_normal("strided", size, size + 3), _normal("column", size, 1)]
    return (lambda x, y: (x.T * 2 + y.T[:, :1], x[::2, 1::3] * 3, x[::-1] + y)), arrays


def _product(m: int, k: int, n: int, layout: str, dtype: str) -> Any:
    left = (k, m) if layout[0] == "t" else (m, k)
    right = (n, k) if layout[1] == "t" else (k, n)
    arrays = [_normal("left", *left, dtype=dtype), _normal("right", *right, dtype=dtype)]

    def product(a: Any, b: Any) -> Any:
        return (a.T if layout[0] == "t" else a) @ (b.T if layout[1] == "t" else b)

    if dtype != "float32" or m * n * k > 1 << 27:
        return (lambda a, b: (product(a, b),)), arrays
    return _with_gradients(product, (0, 1)), arrays


def _linear(m: int, k: int, n: int) -> Any:
    arrays = [_normal("inputs", m, k), _normal("weight", n, k), _normal("bias", n)]
    return _with_gradients(lambda x, w, b: F.relu(F.linear(x, w, b)), (0, 1, 2)), arrays


def _batched(batch: int, m: int, k: int, n: int) -> Any:
    arrays = [
        _normal("left", batch, m, k),
        _normal("right", 1, k, n),
        _normal("third", batch, n, k),
    ]
    return (lambda a, b, c: (a @ b, a @ c.swapaxes(1, 2), (a @ b) @ c)), arrays


def _convolution(axes: int, *sizes: int) -> Any:
    batch, channels, extent, outputs, kernel, stride, padding, groups = sizes
    extents = [extent + place for place in range(axes)]
    arrays = [
        _normal("images", batch, channels, *extents),
        _normal("kernel", outputs, channels // groups, *[kernel] * axes),
        _normal("bias", outputs),
    ]
    function = getattr(F, f"conv{axes}d")

    def convolve(x: Any, w: Any, b: Any) -> Any:
        return function(x, w, b, stride=stride, padding=padding, groups=groups)

    return _with_gradients(convolve, (0, 1, 2)), arrays


def _attention(batch: int, heads: int, m: int, n: int, features: int, causal: bool) -> Any:
    sizes = ((m, features), (n, features), (n, features))
    arrays = [_normal(f"part{i}", batch, heads, *size) for i, size in enumerate(sizes)]

    def attend(q: Any, k: Any, v: Any) -> Any:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    return _with_gradients(attend, (0, 1, 2)), arrays


def _gather(rows: int, width: int, count: int) -> Any:
    picks = _rng(f"{rows} {count}").integers(0, rows, count)
    arrays = [_normal("table", rows, width), picks]
    return _with_gradients(lambda table, at: F.embedding(at, table) * 2, (0,)), arrays


def _ordered(rows: int, width: int, dtype: str) -> Any:
    """Running sums and orders along each axis, with equal keys and NaNs."""
    values = np.rint(_normal("ordered", rows, width) * 40) / 8
    values[0, width // 2] = np.nan
    arrays = [values.astype(getattr(hb, dtype))]

    def program(x: Any) -> tuple[Any, ...]:
        found = []
        for axis in (0, 1):
            found += [hb.sort(x, axis=axis), hb.argsort(x, axis=axis)]
            found += [hb.cumulative_sum(x, axis=axis), hb.cumulative_prod(x / 4, axis=axis)]
        return tuple(found)

    return program, arrays


def _other(name: str) -> Any:
    x = _normal("other", 6, 700)
    programs: dict[str, Program] = {
        "cumsum": lambda t: (hb.cumulative_sum(t, axis=1), hb.cumulative_sum(t, axis=0)),
        "sort": lambda t: (hb.sort(t, axis=1),),
        "argsort": lambda t: (hb.argsort(t, axis=1),),
        "scatter": lambda t: (hb.take(t, hb.tensor([5, 0, 0, 3], device=t.device), 0),),
        "norm": lambda t: (hb.sqrt((t * t).sum(-1)), t / hb.sqrt((t * t).sum(0))),
        "pool": lambda t: (F.max_pool2d(t.reshape(1, 6, 20, 35), 3, 2),),
        "pool of volumes": lambda t: (
            F.max_pool3d(t.reshape(1, 6, 5, 10, 14), 3, 2, 1),
            F.avg_pool3d(t.reshape(2, 3, 5, 10, 14), 2, 1),
        ),
        "where": lambda t: (
            hb.where(t > 0, t, -t),
            hb.clip(t, -1, 1),
            hb.maximum(t, t.T.reshape(6, 700)),
        ),
        "casts": lambda t: (
            t > 0,
            *(t.to(kind) for kind in ("float16", "bfloat16", "int32", "float64")),
        ),
        "joined": lambda t: (hb.concat([t, t * 2], 0), hb.stack([t, -t], 1)),
    }
    return programs[name], [x]


def _table() -> dict[str, Callable[[], Any]]:
    made: dict[str, Callable[[], Any]] = {}
    for kind in ROWS:
        for size in ROW_SIZES:
            made[f"{kind} rows {size}"] = lambda k=kind, s=size: _row(k, s, -1, "float32")
        for size in COLUMN_SIZES:
            made[f"{kind} columns {size}"] = lambda k=kind, s=size: _row(k, s, 0, "float32")
        for size in ALL_SIZES if kind not in WITHOUT_ALL else ():
            made[f"{kind} all {size}"] = lambda k=kind, s=size: _row(k, s, None, "float32")
        for dtype in ("float64", *HALVES):
            made[f"{kind} rows {dtype}"] = lambda k=kind, d=dtype: _row(k, (20, 1500), -1, d)
    for size in ROW_SIZES:
        made[f"layer_norm {size}"] = lambda s=size: _norm(s)
    for extent in MAP_SIZES:
        for start in (0, 1):
            made[f"map {extent} from {start}"] = lambda e=extent, s=start: _map(e, s, "float32")
        made[f"map {extent} bfloat16"] = lambda e=extent: _map(e, 1, "bfloat16")
    for extent in (5, 64, 333):
        made[f"strided {extent}"] = lambda e=extent: _strided(e)
    _products(made)
    for sizes in CONVOLUTIONS:
        made[f"convolution {sizes}"] = lambda s=sizes: _convolution(2, *s)
    for sizes in VOLUMES:
        made[f"volumes {sizes}"] = lambda s=sizes: _convolution(3, *s)
    for shapes in ATTENTIONS:
        made[f"attention {shapes}"] = lambda s=shapes: _attention(*s)
    for size in ORDERED_SIZES:
        made[f"ordered {size}"] = lambda s=size: _ordered(*s, "float32")
    for dtype in ("float64", *HALVES):
        made[f"ordered {dtype}"] = lambda d=dtype: _ordered(7, 600, d)
    for table in GATHERS:
        made[f"gather {table}"] = lambda t=table: _gather(*t)
    for name in "cumsum sort argsort scatter norm pool where casts joined".split():
        made[name] = lambda n=name: _other(n)
    made["pool of volumes"] = lambda: _other("pool of volumes")
    return made


def _products(made: dict[str, Callable[[], Any]]) -> None:
    for m, k, n in PRODUCTS:
        for layout in ("nn", "nt", "tn", "tt") if m * n * k < 1 << 24 else ("nn", "nt"):
            made[f"product {m}x{k}x{n} {layout}"] = lambda s=(m, k, n), t=layout: _product(
                *s, t, "float32"
            )
        made[f"linear {m}x{k}x{n}"] = lambda s=(m, k, n): _linear(*s)
    for dtype in ("float64", "int32", *HALVES):
        for size in ((1, 300, 77), (17, 255, 33), (129, 511, 130)):
            made[f"product {size} {dtype}"] = lambda s=size, d=dtype: _product(*s, "nn", d)
    for batched in ((3, 17, 40, 9), (12, 64, 300, 65)):
        made[f"batched {batched}"] = lambda s=batched: _batched(*s)


CASES = _table()
NAMES = tuple(CASES)


def case(name: str) -> tuple[Program, list[np.ndarray]]:
    """The function of a case, from tensors to a tuple of tensors, and its arrays."""
    function, arrays = CASES[name]()
    return function, arrays
