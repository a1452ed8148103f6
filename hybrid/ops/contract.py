"""Contractions: matmul, linear, conv2d with their gradients; tensordot, vecdot, outer.

Invariant: a record's layout (ir/contract.py) says what is summed in which order; gradients are
contractions again.  Half types accumulate in float32 and are rounded once, bias included.
"""

from __future__ import annotations

import operator
from math import prod
from typing import Any

import numpy as np

from ..core import dtypes as dt
from ..core.aval import Aval
from ..core.errors import DTypeError, ShapeError
from ..core.shapes import normalize_axis
from ..ir import contract as layouts
from ..ir.bind import as_tensor, bind, flat
from ..ir.op import Op, register
from .common import Part, draw, pair, wide
from .elementwise import add, multiply
from .movement import (
    embed,
    expand_dims,
    flip,
    matrix_transpose,
    moveaxis,
    permute_dims,
    reshape,
    slice_,
    swapaxes,
)
from .reduce import sum as sum_
from .reduce import sum_like

__all__ = [
    "matmul",
    "linear",
    "conv2d",
    "conv1d",
    "conv_transpose2d",
    "conv2d_weight_grad",
    "tensordot",
    "vecdot",
    "outer",
    "dot",
    "kron",
]

Ints = tuple[int, ...]
Pair = tuple[int, int]
Tensor = Any


def _inferred(shape_of: Any) -> Any:
    def infer(*avals: Aval, **params: Any) -> tuple[Aval, ...]:
        return (avals[0].with_(shape_of(*[a.shape for a in avals], **params)),)

    return infer


# ---- matmul
# --------------------------------------------------------------------------------------------
def _matmul_vjp(g: Tensor, out: Tensor, a: Tensor, b: Tensor) -> tuple[Any, Any]:
    if a.ndim == 1 and b.ndim == 1:
        return lambda: multiply(g, b), lambda: multiply(g, a)
    if b.ndim == 1:
        return (
            lambda: multiply(expand_dims(g, -1), b),
            lambda: matmul(reshape(g, (g.size,)), reshape(a, (g.size, a.shape[-1]))),
        )
    if a.ndim == 1:

        def by_row() -> Tensor:
            return sum_like(
                reshape(matmul(expand_dims(g, -2), matrix_transpose(b)), g.shape[:-1] + a.shape),
                a.shape,
            )

        return by_row, lambda: multiply(expand_dims(a, -1), expand_dims(g, -2))
    if b.ndim == 2 and a.ndim > 2:
        rows = prod(a.shape[:-1])
        return (
            lambda: matmul(g, matrix_transpose(b)),
            lambda: matmul(
                matrix_transpose(reshape(a, (rows, a.shape[-1]))), reshape(g, (rows, g.shape[-1]))
            ),
        )
    return (
        lambda: sum_like(matmul(g, matrix_transpose(b)), a.shape),
        lambda: sum_like(matmul(matrix_transpose(a), g), b.shape),
    )


def _matmul_samples(rng: np.random.Generator) -> Any:
    for a, b in [
        ((3, 4), (4, 5)),
        ((1, 7), (7, 1)),
        ((4,), (4,)),
        ((2, 3, 4), (4,)),
        ((4,), (2, 4, 3)),
        ((2, 1, 3, 4), (5, 4, 2)),
        ((2, 3, 4), (4, 5)),
        ((3, 0), (0, 2)),
        ((0, 3), (3, 2)),
    ]:
        yield [draw(rng, *a, lo=0.5, hi=1.5), draw(rng, *b, lo=0.5, hi=1.5)], {}


MATMUL = register(
    Op(
        "matmul",
        "contract",
        2,
        _inferred(layouts.matmul_shape),
        layout=layouts.matmul_layout,
        vjp=_matmul_vjp,
        reference=lambda a, b: np.matmul(wide(a), wide(b)),
        samples=_matmul_samples,
        ulp=8.0,
        accepts="iuf",
        doc="Matrix product with NumPy's rules for every rank.",
    )
)


def _no_bools(name: str, *xs: Tensor) -> None:
    if all(x.dtype is dt.bool_ for x in xs):
        raise DTypeError(f"{name} does not take bool tensors; convert one with .astype")


def _matmul(a: Tensor, b: Tensor, /) -> Tensor:
    a, b = as_tensor(a), as_tensor(b)
    _no_bools("matmul", a, b)
    return bind(MATMUL, a, b)


matmul = flat(MATMUL, _matmul)
matmul.__name__ = matmul.__qualname__ = "matmul"
matmul.__doc__ = "a @ b: matrices in the last two axes, leading axes broadcast; a 1-D operand is a row or a column."


# ---- linear
# --------------------------------------------------------------------------------------------
def _linear_vjp(
    g: Tensor, out: Tensor, x: Tensor, w: Tensor, b: Tensor | None = None
) -> tuple[Any, ...]:
    rows = prod(x.shape[:-1])

    def flat() -> Tensor:
        return reshape(g, (rows, w.shape[0]))

    grads = lambda: matmul(g, w), WeightPart(g, x, w.shape)
    return grads if b is None else (*grads, lambda: sum_(flat(), axis=0))


class WeightPart(Part):
    """The gradient of a weight[out, in] from one use: g[rows, out] transposed times x[rows, in]."""

    __slots__ = ("_g", "_x", "rows", "shape")

    def __init__(self, g: Tensor, x: Tensor, shape: Ints) -> None:
        self._g, self._x, self.rows, self.shape = g, x, prod(x.shape[:-1]), shape

    def factors(self) -> tuple[Tensor, Tensor]:
        """g and x as matrices."""
        return reshape(self._g, (self.rows, self.shape[0])), reshape(
            self._x, (self.rows, self.shape[1])
        )

    def __call__(self) -> Tensor:
        g, x = self.factors()
        return matmul(matrix_transpose(g), x)


def _linear_samples(rng: np.random.Generator) -> Any:
    def one(*s: int) -> np.ndarray:
        return draw(rng, *s, lo=0.5, hi=1.5)

    yield [one(3, 4), one(5, 4), one(5)], {}
    yield [one(2, 3, 4), one(5, 4)], {}
    yield [one(4), one(3, 4), one(3)], {}
    yield [one(6, 4), one(1, 4), one(1)], {}
    yield [one(0, 4), one(3, 4), one(3)], {}


def _linear_reference(x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    out = np.matmul(wide(x), wide(w).T)
    return out if b is None else out + wide(b)


LINEAR = register(
    Op(
        "linear",
        "contract",
        None,
        _inferred(layouts.linear_shape),
        layout=layouts.linear_layout,
        vjp=_linear_vjp,
        reference=_linear_reference,
        samples=_linear_samples,
        ulp=8.0,
        accepts="iuf",
        keeps=frozenset("01"),
        doc="x[..., in] @ weight[out, in].T + bias[out].",
    )
)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x[..., in] @ weight[out, in].T + bias[out], rounded once."""
    return bind(LINEAR, x, weight) if bias is None else bind(LINEAR, x, weight, bias)


# ---- convolution
# ---------------------------------------------------------------------------------------
CONV = ("stride", "dilation", "groups")


def _images(x: np.ndarray, kernel: Pair, stride: Pair, dilation: Pair) -> np.ndarray:
    """Patches [N, C, OH, OW, KH, KW] of padded images."""
    full = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation))
    w = np.lib.stride_tricks.sliding_window_view(x, full, (2, 3))
    return w[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def _conv_reference(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    *,
    stride: Pair,
    dilation: Pair,
    groups: int,
) -> np.ndarray:
    p = _images(wide(x), w.shape[2:], stride, dilation)
    n, c, oh, ow, kh, kw = p.shape
    p = p.reshape(n, groups, c // groups, oh, ow, kh, kw)
    v = wide(w).reshape(groups, w.shape[0] // groups, *w.shape[1:])
    out = np.einsum("ngchwij,gocij->ngohw", p, v).reshape(n, w.shape[0], oh, ow)
    return out if b is None else out + wide(b)[:, None, None]


def _conv_vjp(
    g: Tensor,
    out: Tensor,
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    stride: Pair,
    dilation: Pair,
    groups: int,
) -> tuple[Any, ...]:
    grads = (
        lambda: _input_grad(g, w, x.shape, stride, dilation, groups),
        lambda: bind(
            CONV_WEIGHT, g, x, kernel=w.shape[2:], stride=stride, dilation=dilation, groups=groups
        ),
    )
    return grads if b is None else (*grads, lambda: sum_(g, axis=(0, 2, 3)))


def _swap_channels(w: Tensor, groups: int) -> Tensor:
    """w[O, C / groups, KH, KW] -> [C, O / groups, KH, KW], group by group."""
    if groups == 1:
        return swapaxes(w, 0, 1)
    o, c, kh, kw = w.shape
    v = swapaxes(reshape(w, (groups, o // groups, c, kh, kw)), 1, 2)
    return reshape(v, (groups * c, o // groups, kh, kw))


def _input_grad(
    g: Tensor, w: Tensor, shape: Ints, stride: Pair, dilation: Pair, groups: int
) -> Tensor:
    """Gradient of the padded images: a convolution of the spread-out gradient with the flipped
    weight."""
    reach = [dilation[i] * (w.shape[2 + i] - 1) for i in (0, 1)]
    # rows that no window reaches (a stride that does not divide) stay zero: they are padding at the
    # end
    inner = [shape[2 + i] + reach[i] for i in (0, 1)]
    spread = embed(g, g.shape[:2] + tuple(inner), (0, 0, *reach), (1, 1, *stride))
    turned = flip(_swap_channels(w, groups), (2, 3))
    return bind(CONV2D, spread, turned, stride=(1, 1), dilation=dilation, groups=groups)


def _conv_samples(rng: np.random.Generator) -> Any:
    def one(*s: int) -> np.ndarray:
        return draw(rng, *s, lo=0.5, hi=1.5)

    yield (
        [one(2, 3, 5, 6), one(4, 3, 2, 3), one(4)],
        {"stride": (1, 1), "dilation": (1, 1), "groups": 1},
    )
    yield [one(1, 4, 7, 6), one(6, 2, 3, 2)], {"stride": (2, 1), "dilation": (1, 2), "groups": 2}
    yield (
        [one(2, 1, 4, 4), one(1, 1, 1, 1), one(1)],
        {"stride": (3, 2), "dilation": (1, 1), "groups": 1},
    )


CONV2D = register(
    Op(
        "conv2d",
        "contract",
        None,
        _inferred(layouts.conv2d_shape),
        layout=layouts.conv2d_layout,
        vjp=_conv_vjp,
        params=CONV,
        reference=_conv_reference,
        samples=_conv_samples,
        ulp=8.0,
        accepts="f",
        keeps=frozenset("01"),
        doc="Convolution of padded images x[N, C, H, W] with weight[O, C / groups, KH, KW], plus bias[O].",
    )
)


def _weight_reference(
    g: np.ndarray, x: np.ndarray, *, kernel: Pair, stride: Pair, dilation: Pair, groups: int
) -> np.ndarray:
    n, o, oh, ow = g.shape
    p = _images(wide(x), kernel, stride, dilation).reshape(
        n, groups, x.shape[1] // groups, oh, ow, *kernel
    )
    v = wide(g).reshape(n, groups, o // groups, oh, ow)
    return np.einsum("ngchwij,ngohw->gocij", p, v).reshape(o, x.shape[1] // groups, *kernel)


def _weight_vjp(
    u: Tensor,
    out: Tensor,
    g: Tensor,
    x: Tensor,
    kernel: Pair,
    stride: Pair,
    dilation: Pair,
    groups: int,
) -> tuple[Any, Any]:
    return (
        lambda: bind(CONV2D, x, u, stride=stride, dilation=dilation, groups=groups),
        lambda: _input_grad(g, u, x.shape, stride, dilation, groups),
    )


def _weight_samples(rng: np.random.Generator) -> Any:
    def one(*s: int) -> np.ndarray:
        return draw(rng, *s, lo=0.5, hi=1.5)

    yield (
        [one(2, 4, 4, 4), one(2, 3, 5, 6)],
        {"kernel": (2, 3), "stride": (1, 1), "dilation": (1, 1), "groups": 1},
    )
    yield (
        [one(1, 6, 3, 4), one(1, 4, 7, 6)],
        {"kernel": (3, 2), "stride": (2, 1), "dilation": (1, 2), "groups": 2},
    )


CONV_WEIGHT = register(
    Op(
        "conv2d_weight_grad",
        "contract",
        2,
        _inferred(layouts.conv2d_weight_shape),
        layout=layouts.conv2d_weight_layout,
        vjp=_weight_vjp,
        params=("kernel", *CONV),
        reference=_weight_reference,
        samples=_weight_samples,
        ulp=12.0,
        accepts="f",
        doc="Gradient of conv2d's weight from the output gradient and the padded images.",
    )
)


def conv2d_weight_grad(
    g: Tensor, x: Tensor, kernel: Any, *, stride: Any = 1, dilation: Any = 1, groups: int = 1
) -> Tensor:
    """Gradient of the weight of conv2d(x, ...) for padded images x and output gradient g."""
    return bind(
        CONV_WEIGHT,
        g,
        x,
        kernel=pair(kernel, "kernel"),
        stride=pair(stride, "stride"),
        dilation=pair(dilation, "dilation"),
        groups=operator.index(groups),
    )


def _padded(x: Tensor, padding: Any, kernel: Ints, dilation: Pair, stride: Pair) -> Tensor:
    if padding == "valid":
        return x
    if padding == "same":
        if stride != (1, 1):
            raise ShapeError("conv2d: padding='same' needs stride 1")
        total = [d * (k - 1) for k, d in zip(kernel, dilation)]
        before = [t // 2 for t in total]
    else:
        before = list(pair(padding, "padding"))
        total = [2 * b for b in before]
    if min(before) < 0:
        raise ShapeError(f"conv2d: padding {padding} is negative")
    if not any(total):
        return x
    n, c, h, w = x.shape
    return embed(x, (n, c, h + total[0], w + total[1]), (0, 0, *before), (1, 1, 1, 1))


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """PyTorch's conv2d: x[N, C, H, W] (or [C, H, W]), weight[O, C / groups, KH, KW], bias[O].

    padding: int, pair, 'valid' or 'same'.
    """
    if x.ndim == 3:
        return reshape_first(
            conv2d(expand_dims(x, 0), weight, bias, stride, padding, dilation, groups)
        )
    if x.ndim != 4 or weight.ndim != 4:
        raise ShapeError(
            f"conv2d takes x[N, C, H, W] and weight[O, C/groups, KH, KW], not {x.shape} and "
            f"{weight.shape}"
        )
    stride, dilation = pair(stride, "stride"), pair(dilation, "dilation")
    if min(stride) < 1 or min(dilation) < 1:
        raise ShapeError(f"conv2d: stride {stride} and dilation {dilation} must be positive")
    x = _padded(x, padding, weight.shape[2:], dilation, stride)
    xs = (x, weight) if bias is None else (x, weight, bias)
    return bind(CONV2D, *xs, stride=stride, dilation=dilation, groups=operator.index(groups))


def reshape_first(x: Tensor) -> Tensor:
    """x without its first axis, which has size 1."""
    return reshape(x, x.shape[1:])


def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: Any = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """PyTorch's conv1d: x[N, C, L] (or [C, L]), weight[O, C / groups, K]."""
    pad = padding if isinstance(padding, str) else (0, operator.index(padding))
    out = conv2d(
        expand_dims(x, -2), expand_dims(weight, -2), bias, (1, stride), pad, (1, dilation), groups
    )
    return reshape(out, out.shape[:-2] + out.shape[-1:])


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """PyTorch's conv_transpose2d: the input gradient of conv2d, weight[C, O / groups, KH, KW]."""
    stride, dilation = pair(stride, "stride"), pair(dilation, "dilation")
    padding, extra = pair(padding, "padding"), pair(output_padding, "output_padding")
    full = [
        (x.shape[2 + i] - 1) * stride[i] + dilation[i] * (weight.shape[2 + i] - 1) + 1 + extra[i]
        for i in (0, 1)
    ]
    channels = weight.shape[1] * groups
    out = _input_grad(x, weight, (x.shape[0], channels, *full), stride, dilation, groups)
    sizes = tuple(full[i] - 2 * padding[i] for i in (0, 1))
    if min(sizes) < 1:
        raise ShapeError(f"conv_transpose2d: padding {padding} leaves an image of {sizes}")
    if any(padding):
        out = slice_(out, (0, 0, *padding), out.shape[:2] + sizes)
    return out if bias is None else add(out, reshape(bias, (channels, 1, 1)))


# ---- other products
# --------------------------------------------------------------------------------------
def _axes_pair(axes: Any, a: Tensor, b: Tensor) -> tuple[list[int], list[int]]:
    if hasattr(axes, "__index__"):
        n = operator.index(axes)
        return list(range(a.ndim - n, a.ndim)), list(range(n))
    left, right = ([v] if hasattr(v, "__index__") else list(v) for v in axes)
    return (
        [normalize_axis(v, a.ndim, "tensordot") for v in left],
        [normalize_axis(v, b.ndim, "tensordot") for v in right],
    )


def tensordot(a: Tensor, b: Tensor, /, *, axes: Any = 2) -> Tensor:
    """Sum of products over pairs of axes: an int (last of a with first of b) or two sequences."""
    a, b = as_tensor(a), as_tensor(b)
    left, right = _axes_pair(axes, a, b)
    if len(left) != len(right) or any(a.shape[i] != b.shape[j] for i, j in zip(left, right)):
        raise ShapeError(f"tensordot: axes {axes} of shapes {a.shape} and {b.shape} do not pair up")
    free_a = [i for i in range(a.ndim) if i not in left]
    free_b = [i for i in range(b.ndim) if i not in right]
    k = prod(a.shape[i] for i in left)
    rows, cols = tuple(a.shape[i] for i in free_a), tuple(b.shape[i] for i in free_b)
    x = reshape(permute_dims(a, free_a + left), (prod(rows), k))
    y = reshape(permute_dims(b, right + free_b), (k, prod(cols)))
    return reshape(matmul(x, y), rows + cols)


def vecdot(a: Tensor, b: Tensor, /, *, axis: int = -1) -> Tensor:
    """Dot products along an axis; the other axes broadcast."""
    a, b = as_tensor(a), as_tensor(b)
    x, y = moveaxis(a, axis, -1), moveaxis(b, axis, -1)
    if x.shape[-1] != y.shape[-1]:
        raise ShapeError(f"vecdot: axis {axis} has size {x.shape[-1]} and {y.shape[-1]}")
    out = matmul(expand_dims(x, -2), expand_dims(y, -1))
    return reshape(out, out.shape[:-2])


def outer(a: Tensor, b: Tensor, /) -> Tensor:
    """All products of the elements of two tensors (flattened), as a matrix."""
    a, b = as_tensor(a), as_tensor(b)
    return multiply(reshape(a, (a.size, 1)), reshape(b, (1, b.size)))


def dot(a: Tensor, b: Tensor, /) -> Tensor:
    """NumPy's dot for up to two dimensions: products with scalars, inner products, matmul."""
    a, b = as_tensor(a), as_tensor(b)
    if a.ndim == 0 or b.ndim == 0:
        return multiply(a, b)
    return matmul(a, b) if b.ndim <= 2 else tensordot(a, b, axes=((a.ndim - 1,), (b.ndim - 2,)))


def kron(a: Tensor, b: Tensor, /) -> Tensor:
    """Kronecker product of tensors of one rank."""
    a, b = as_tensor(a), as_tensor(b)
    if a.ndim != b.ndim:
        raise ShapeError(f"kron takes tensors of one rank, not {a.shape} and {b.shape}")
    x = reshape(a, tuple(v for n in a.shape for v in (n, 1)))
    y = reshape(b, tuple(v for n in b.shape for v in (1, n)))
    return reshape(multiply(x, y), tuple(m * n for m, n in zip(a.shape, b.shape)))
