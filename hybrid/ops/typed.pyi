"""Made by `python tests/support/surface.py` from the marks at the functions: do not edit."""

import builtins
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..eager.tensor import Tensor as Tensor
from .indexing.generators import Generator as Generator

from typing import TypedDict
from typing_extensions import Unpack

class Loop(TypedDict, total=False):
    where: Any
    dtype: Any
    casting: str
    order: str
    subok: bool


ArrayLike: TypeAlias = Any  # what hybrid.asarray takes
__all__ = [
    "Generator",
    "abs",
    "absolute",
    "acos",
    "acosh",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "add",
    "all",
    "allclose",
    "amax",
    "amin",
    "angle",
    "any",
    "append",
    "apply_along_axis",
    "apply_over_axes",
    "arange",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "argmax",
    "argmin",
    "argpartition",
    "argsort",
    "argwhere",
    "around",
    "array_equal",
    "array_equiv",
    "array_split",
    "ascontiguousarray",
    "asin",
    "asinh",
    "astype",
    "atan",
    "atan2",
    "atanh",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "average",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "bartlett",
    "batch_norm",
    "bernoulli",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "bincount",
    "bitwise_and",
    "bitwise_count",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_not",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "blackman",
    "block",
    "broadcast_arrays",
    "broadcast_to",
    "categorical",
    "cbrt",
    "ceil",
    "celu",
    "choose",
    "chunk",
    "clip",
    "clone",
    "column_stack",
    "compress",
    "concat",
    "concatenate",
    "conj",
    "conjugate",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "convolve",
    "copy",
    "copysign",
    "copyto",
    "corrcoef",
    "correlate",
    "cos",
    "cosh",
    "cosine_similarity",
    "count_nonzero",
    "cov",
    "cross",
    "cross_entropy",
    "cumprod",
    "cumsum",
    "cumulative_prod",
    "cumulative_sum",
    "default_generator",
    "deg2rad",
    "degrees",
    "delete",
    "diag",
    "diag_indices",
    "diag_indices_from",
    "diagflat",
    "diagonal",
    "diff",
    "digitize",
    "divide",
    "divmod",
    "dot",
    "dropout",
    "dsplit",
    "dstack",
    "ediff1d",
    "einsum",
    "elu",
    "embed_diagonal",
    "embedding",
    "empty",
    "empty_like",
    "equal",
    "erf",
    "erfc",
    "erfinv",
    "exp",
    "exp2",
    "expand_dims",
    "expit",
    "expm1",
    "extract",
    "eye",
    "fabs",
    "fill_diagonal",
    "fix",
    "flatnonzero",
    "flatten",
    "flip",
    "fliplr",
    "flipud",
    "float_power",
    "floor",
    "floor_divide",
    "fmax",
    "fmin",
    "fmod",
    "frexp",
    "fromfunction",
    "full",
    "full_like",
    "gcd",
    "gelu",
    "gelu_tanh",
    "geomspace",
    "getitem",
    "gradient",
    "greater",
    "greater_equal",
    "group_norm",
    "hamming",
    "hanning",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "heaviside",
    "histogram",
    "histogram2d",
    "histogram_bin_edges",
    "histogramdd",
    "hsplit",
    "hstack",
    "huber_loss",
    "hypot",
    "i0",
    "identity",
    "imag",
    "index_add",
    "indices",
    "inner",
    "insert",
    "interp",
    "intersect1d",
    "invert",
    "isclose",
    "iscomplex",
    "iscomplexobj",
    "isfinite",
    "isin",
    "isinf",
    "isnan",
    "isneginf",
    "isposinf",
    "isreal",
    "isrealobj",
    "isscalar",
    "ix_",
    "kaiser",
    "kl_div",
    "kron",
    "l1_loss",
    "layer_norm",
    "lcm",
    "ldexp",
    "leaky_relu",
    "left_shift",
    "less",
    "less_equal",
    "lexsort",
    "linear",
    "linspace",
    "log",
    "log10",
    "log1p",
    "log2",
    "log_sigmoid",
    "log_softmax",
    "logaddexp",
    "logaddexp2",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "logit",
    "logspace",
    "logsumexp",
    "manual_seed",
    "mask_indices",
    "masked_select",
    "matmul",
    "matrix_transpose",
    "matvec",
    "max",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "maximum",
    "mean",
    "median",
    "meshgrid",
    "min",
    "minimum",
    "mish",
    "mod",
    "modf",
    "moveaxis",
    "mse_loss",
    "multiply",
    "nan_to_num",
    "nanargmax",
    "nanargmin",
    "nancumprod",
    "nancumsum",
    "nanmax",
    "nanmean",
    "nanmedian",
    "nanmin",
    "nanpercentile",
    "nanprod",
    "nanquantile",
    "nanstd",
    "nansum",
    "nanvar",
    "ndim",
    "negative",
    "nextafter",
    "nll_loss",
    "nonzero",
    "norm",
    "normal_pdf",
    "normalize",
    "not_equal",
    "one_hot",
    "ones",
    "ones_like",
    "outer",
    "packbits",
    "pad",
    "partition",
    "percentile",
    "permute_dims",
    "piecewise",
    "place",
    "poly",
    "polyadd",
    "polyder",
    "polydiv",
    "polyfit",
    "polyint",
    "polymul",
    "polysub",
    "polyval",
    "positive",
    "pow",
    "power",
    "prod",
    "ptp",
    "put",
    "put_along_axis",
    "putmask",
    "quantile",
    "rad2deg",
    "radians",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "random_bits",
    "randperm",
    "ravel",
    "ravel_multi_index",
    "real",
    "real_if_close",
    "reciprocal",
    "relu",
    "relu6",
    "remainder",
    "repeat",
    "reshape",
    "resize",
    "right_shift",
    "rint",
    "rms_norm",
    "roll",
    "rollaxis",
    "roots",
    "rot90",
    "round",
    "row_stack",
    "rsqrt",
    "scaled_dot_product_attention",
    "searchsorted",
    "select",
    "selu",
    "setdiff1d",
    "setitem",
    "setxor1d",
    "shape",
    "sigmoid",
    "sign",
    "signbit",
    "silu",
    "sin",
    "sinc",
    "sinh",
    "size",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "softsign",
    "sort",
    "spacing",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "subtract",
    "sum",
    "swapaxes",
    "take",
    "take_along_axis",
    "tan",
    "tanh",
    "tensordot",
    "tile",
    "topk",
    "trace",
    "transpose",
    "trapezoid",
    "tri",
    "tril",
    "tril_indices",
    "tril_indices_from",
    "trim_zeros",
    "triu",
    "triu_indices",
    "triu_indices_from",
    "true_divide",
    "trunc",
    "unfold",
    "union1d",
    "unique",
    "unique_all",
    "unique_counts",
    "unique_inverse",
    "unique_values",
    "unpackbits",
    "unravel_index",
    "unstack",
    "unwrap",
    "vander",
    "var",
    "vdot",
    "vecdot",
    "vecmat",
    "vsplit",
    "vstack",
    "where",
    "xlogy",
    "zeros",
    "zeros_like",
]

def abs(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """|x|; the most negative integer stays as it is. The gradient at 0 is 0."""

def absolute(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """|x|; the most negative integer stays as it is. The gradient at 0 is 0."""

def acos(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Arccosine."""

def acosh(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Inverse hyperbolic cosine."""

def adaptive_avg_pool1d(x: ArrayLike, output_size: Any) -> Tensor:
    """Means over equal windows so that the result has `output_size`, which must divide the length of x[N, C, L] (or [C, L]); ShapeError where it does not."""

def adaptive_avg_pool2d(x: ArrayLike, output_size: Any) -> Tensor:
    """Means over equal windows so that the result has `output_size`, which must divide the image."""

def adaptive_avg_pool3d(x: ArrayLike, output_size: Any) -> Tensor:
    """Means over equal windows so that the result has `output_size`, which must divide volumes x[N, C, D, H, W] (or [C, D, H, W]); ShapeError where it does not."""

def add(x: ArrayLike, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """x + y; on bool tensors logical or, as in NumPy."""

def all(
    x: ArrayLike,
    /,
    axis: Any = None,
    *,
    keepdims: builtins.bool = False,
    where: Any = True,
    out: Any = None,
) -> Tensor:
    """Whether every element over the axes, in the mask `where`, is nonzero (NaN is)."""

def allclose(
    a: Any,
    b: Any,
    rtol: Any = 1e-05,
    atol: Any = 1e-08,
    equal_nan: builtins.bool = False,
) -> Tensor:
    """Whether all elements are close, as `isclose` says; a 0-d bool tensor."""

def amax(
    x: ArrayLike,
    /,
    axis: Any = None,
    *,
    keepdims: builtins.bool = False,
    initial: Any = None,
    where: Any = True,
    out: Any = None,
) -> Tensor:
    """Largest element over axes, NaN if any is, +0 before -0; at least `initial`. ShapeError where there is no element and no `initial`."""

def amin(
    x: ArrayLike,
    /,
    axis: Any = None,
    *,
    keepdims: builtins.bool = False,
    initial: Any = None,
    where: Any = True,
    out: Any = None,
) -> Tensor:
    """Smallest element over axes, NaN if any is, -0 before +0; at most `initial`; mask, gradient and errors as `max`'s."""

def angle(x: ArrayLike, deg: builtins.bool = False) -> Tensor:
    """The angle of each element with the positive real axis, in radians from -pi to pi, in degrees with `deg`; NaN for NaN."""

def any(
    x: ArrayLike,
    /,
    axis: Any = None,
    *,
    keepdims: builtins.bool = False,
    where: Any = True,
    out: Any = None,
) -> Tensor:
    """Whether some element over the axes, in the mask `where`, is nonzero (NaN is)."""

def append(arr: ArrayLike, values: Any, axis: builtins.int | None = None) -> Tensor:
    """`values` behind `arr` along an axis (None: both flattened); errors are those of `concat`."""

def apply_along_axis(
    func1d: Callable[..., Any],
    axis: builtins.int,
    arr: Any,
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    """The results of func1d(line, *args, **kwargs) for each line of arr along an axis; what they have of axes takes the place of that one."""

def apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Tensor:
    """func(x, axis) for one axis after the other; an axis that it removes is kept with size 1."""

def arange(
    start: Any,
    stop: Any = None,
    step: Any = 1,
    dtype: Any = None,
    *,
    device: Any = None,
    requires_grad: builtins.bool = False,
) -> Tensor:
    """start, start + step, ... below stop; int64 for ints, float32 when one is a float."""

def arccos(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Arccosine."""

def arccosh(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Inverse hyperbolic cosine."""

def arcsin(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Arcsine."""

def arcsinh(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Inverse hyperbolic sine."""

def arctan(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Arctangent."""

def arctan2(x: ArrayLike, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """The angle of the point (x, y), quadrants and signed zeros as in C."""

def arctanh(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Inverse hyperbolic tangent."""

def argmax(
    x: ArrayLike,
    /,
    axis: builtins.int | None = None,
    *,
    keepdims: builtins.bool = False,
    out: Any = None,
) -> Tensor:
    """Position (int64) of the first maximum along an axis, or in the flattened tensor."""

def argmin(
    x: ArrayLike,
    /,
    axis: builtins.int | None = None,
    *,
    keepdims: builtins.bool = False,
    out: Any = None,
) -> Tensor:
    """Position (int64) of the first minimum along an axis, or in the flattened tensor."""

def argpartition(a: ArrayLike, kth: Any, axis: builtins.int | None = -1) -> Tensor:
    """Positions (int64) along an axis (None: of the flattened tensor) that put the kth smallest element (or several) in its sorted place, none larger before and none smaller behind it; elements within these parts, and equal ones, keep their order (with more than 8 kth all are sorted)."""

def argsort(
    x: ArrayLike,
    axis: builtins.int | None = -1,
    *,
    descending: builtins.bool = False,
    stable: builtins.bool | None = True,
) -> Tensor:
    """Positions (int64) that sort x along an axis (None: of the flattened tensor); equal elements keep their order, NaN is largest."""

def argwhere(a: ArrayLike) -> Tensor:
    """Positions (int64, one row each) of the elements that are not zero; reads on the host how many there are."""

def around(x: ArrayLike, decimals: builtins.int = 0, *, out: Any = None) -> Tensor:
    """x rounded to the nearest multiple of 10^-decimals, halves to even; computed as NumPy does, by scaling; both parts of complex numbers."""

def array_equal(a1: Any, a2: Any, equal_nan: builtins.bool = False) -> Tensor:
    """Whether two tensors have one shape and equal elements; a 0-d bool tensor."""

def array_equiv(a1: Any, a2: Any) -> Tensor:
    """Whether two tensors broadcast to one shape with equal elements; a 0-d bool tensor."""

def array_split(
    ary: ArrayLike,
    indices_or_sections: Any,
    axis: builtins.int = 0,
) -> builtins.list[Tensor]:
    """ary cut along an axis into so many pieces, the first ones longer by one where that has to be, or at the given positions."""

def ascontiguousarray(a: Any, dtype: Any = None) -> Tensor:
    """a as a tensor of at least one axis, converted to `dtype` where one is given: how a value lies in memory is nothing that code can see."""

def asin(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Arcsine."""

def asinh(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Inverse hyperbolic sine."""

def astype(
    x: ArrayLike,
    /,
    dtype: Any,
    *,
    copy: builtins.bool = True,
    device: Any = None,
) -> Tensor:
    """x with its elements converted to `dtype`, in a tensor of its own; with copy=False (and `to`) a tensor that has the dtype is returned as it is."""

def atan(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Arctangent."""

def atan2(x: ArrayLike, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """The angle of the point (x, y), quadrants and signed zeros as in C."""

def atanh(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Inverse hyperbolic tangent."""

def atleast_1d(*xs: ArrayLike) -> Any:
    """x, with one axis when it has none; of several tensors a tuple."""

def atleast_2d(*xs: ArrayLike) -> Any:
    """x, with leading axes of size 1 up to two; of several tensors a tuple."""

def atleast_3d(*xs: ArrayLike) -> Any:
    """x as [1, n, 1] or [m, n, 1] below three axes; of several tensors a tuple."""

def average(
    a: ArrayLike,
    axis: Any = None,
    weights: Any = None,
    returned: builtins.bool = False,
    *,
    keepdims: builtins.bool = False,
) -> Any:
    """The sum of a * weights over axes by the sum of the weights; the mean without weights."""

def avg_pool1d(
    x: ArrayLike,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    *,
    count_include_pad: builtins.bool = True,
) -> Tensor:
    """PyTorch's avg_pool1d over [N, C, L] (or [C, L]); see `avg_pool2d`."""

def avg_pool2d(
    x: ArrayLike,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    *,
    count_include_pad: builtins.bool = True,
) -> Tensor:
    """PyTorch's avg_pool2d: means over windows; padding counts as zeros, or not at all."""

def avg_pool3d(
    x: ArrayLike,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    *,
    count_include_pad: builtins.bool = True,
) -> Tensor:
    """PyTorch's avg_pool3d over volumes [N, C, D, H, W] (or [C, D, H, W]); see `avg_pool2d`."""

def bartlett(M: builtins.int, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The triangle of M points from 0 to 1 and back."""

def batch_norm(
    x: ArrayLike,
    running_mean: ArrayLike | None = None,
    running_var: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    training: builtins.bool = False,
    momentum: builtins.float = 0.1,
    eps: builtins.float = 1e-05,
) -> Tensor:
    """PyTorch's batch_norm of x[N, C, ...] over all axes but 1; the other tensors are [C]."""

def bernoulli(
    p: Any,
    size: Any = None,
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """True with probability p (a number, or a tensor that broadcasts to the size)."""

def binary_cross_entropy(
    x: ArrayLike,
    target: Any,
    weight: Any = None,
    *,
    reduction: builtins.str = 'mean',
) -> Tensor:
    """-(t log x + (1 - t) log(1 - x)) for probabilities x, as PyTorch has it: logarithms are at least -100, and the gradient of x is (x - t) / (x (1 - x)) with a divisor of at least 1e-12."""

def binary_cross_entropy_with_logits(
    x: ArrayLike,
    target: Any,
    weight: Any = None,
    *,
    reduction: builtins.str = 'mean',
    pos_weight: Any = None,
) -> Tensor:
    """binary_cross_entropy of sigmoid(x), without overflow."""

def bincount(x: ArrayLike, /, weights: Any = None, minlength: builtins.int = 0) -> Tensor:
    """How often each number from 0 to the largest element of x occurs (int64), or the sums of the weights there; at least `minlength` numbers."""

def bitwise_and(
    x: ArrayLike,
    y: ArrayLike,
    /,
    out: Any = None,
    **loop: Unpack[Loop],
) -> Tensor:
    """Bits set in both."""

def bitwise_count(x: ArrayLike, *, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """The number of ones in the binary form of |x|, as uint8."""

def bitwise_invert(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """All bits flipped."""

def bitwise_left_shift(
    x: ArrayLike,
    y: ArrayLike,
    /,
    out: Any = None,
    **loop: Unpack[Loop],
) -> Tensor:
    """x * 2^n, wrapping; counts outside 0..width-1 give 0."""

def bitwise_not(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """All bits flipped."""

def bitwise_or(
    x: ArrayLike,
    y: ArrayLike,
    /,
    out: Any = None,
    **loop: Unpack[Loop],
) -> Tensor:
    """Bits set in either."""

def bitwise_right_shift(
    x: ArrayLike,
    y: ArrayLike,
    /,
    out: Any = None,
    **loop: Unpack[Loop],
) -> Tensor:
    """floor(x / 2^n); counts outside 0..width-1 give 0 or -1."""

def bitwise_xor(
    x: ArrayLike,
    y: ArrayLike,
    /,
    out: Any = None,
    **loop: Unpack[Loop],
) -> Tensor:
    """Bits set in one only."""

def blackman(M: builtins.int, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The Blackman window of M points: 0.42 - 0.5 cos(u) + 0.08 cos(2 u) with u = 2 pi n / (M - 1)."""

def block(arrays: Any) -> Tensor:
    """A tensor of blocks in nested lists: the innermost lists are joined along the last axis, those around them along the one before, and so on."""

def broadcast_arrays(*arrays: ArrayLike) -> builtins.tuple[Tensor, ...]:
    """All tensors broadcast to their common shape."""

def broadcast_to(x: ArrayLike, shape: Any) -> Tensor:
    """x repeated along axes of size 1 and new leading axes, as a view."""

def categorical(
    logits: ArrayLike,
    axis: builtins.int = -1,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """One class per row, drawn with the probabilities softmax(logits)."""

def cbrt(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Cube root."""

def ceil(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """The smallest integer not below x. Integers and bools stay; the gradient is zero."""

def celu(x: ArrayLike, alpha: builtins.float = 1.0) -> Tensor:
    """x where positive, alpha * (e^(x/alpha) - 1) elsewhere."""

def choose(
    a: ArrayLike,
    choices: Any,
    *,
    mode: builtins.str = 'raise',
    out: Any = None,
) -> Tensor:
    """Element [a[i]][i] of the choices, which broadcast with a and each other."""

def chunk(
    x: ArrayLike,
    chunks: builtins.int,
    axis: builtins.int = 0,
) -> builtins.tuple[Tensor, ...]:
    """At most `chunks` pieces of equal size (the last may be smaller), as PyTorch's chunk."""

def clip(x: ArrayLike, min: Any = None, max: Any = None, *, out: Any = None) -> Tensor:
    """x limited to [min, max]; either may be None, a number or a tensor that broadcasts."""

def clone(x: ArrayLike, /, out: Any = None) -> Tensor:
    """The same elements in a tensor of their own."""

def column_stack(tup: Sequence[ArrayLike]) -> Tensor:
    """1-D tensors as the columns of a matrix; matrices side by side."""

def compress(
    condition: Any,
    a: ArrayLike,
    axis: builtins.int | None = None,
    *,
    out: Any = None,
) -> Tensor:
    """Slices along an axis (None: of the flattened tensor) where a 1-D condition, which may be shorter, is not zero; reads the condition on the host."""

def concat(
    xs: Sequence[ArrayLike],
    axis: builtins.int | None = 0,
    *,
    dtype: Any = None,
    casting: builtins.str = 'same_kind',
    out: Any = None,
) -> Tensor:
    """Tensors joined along an existing axis (None: flattened first); dtypes are promoted, and sequences of Python numbers take the dtype of the tensors. `dtype` is that of the result, if NumPy's `casting` rule allows it."""

def concatenate(
    xs: Sequence[ArrayLike],
    axis: builtins.int | None = 0,
    *,
    dtype: Any = None,
    casting: builtins.str = 'same_kind',
    out: Any = None,
) -> Tensor:
    """Tensors joined along an existing axis (None: flattened first); dtypes are promoted, and sequences of Python numbers take the dtype of the tensors. `dtype` is that of the result, if NumPy's `casting` rule allows it."""

def conj(x: ArrayLike, *, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """The complex conjugate of each element; the elements of a real tensor."""

def conjugate(x: ArrayLike, *, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """The complex conjugate of each element; the elements of a real tensor."""

def conv1d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: builtins.int = 1,
) -> Tensor:
    """PyTorch's conv1d: x[N, C, L] (or [C, L]), weight[O, C / groups, K]; see `conv2d`."""

def conv2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: builtins.int = 1,
) -> Tensor:
    """PyTorch's conv2d: x[N, C, H, W] (or [C, H, W]), weight[O, C / groups, KH, KW], bias[O]."""

def conv3d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: builtins.int = 1,
) -> Tensor:
    """PyTorch's conv3d over volumes: x[N, C, D, H, W] (or [C, D, H, W]), weight[O, C / groups, KD, KH, KW], bias[O]."""

def conv_transpose1d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: builtins.int = 1,
    dilation: Any = 1,
) -> Tensor:
    """PyTorch's conv_transpose1d, the input gradient of conv1d: x[N, C, L] (or [C, L]), weight[C, O / groups, K]; see `conv_transpose2d`."""

def conv_transpose2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: builtins.int = 1,
    dilation: Any = 1,
) -> Tensor:
    """PyTorch's conv_transpose2d, the input gradient of conv2d: weight[C, O / groups, KH, KW]."""

def conv_transpose3d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: builtins.int = 1,
    dilation: Any = 1,
) -> Tensor:
    """PyTorch's conv_transpose3d, the input gradient of conv3d: x[N, C, D, H, W] (or [C, D, H, W]), weight[C, O / groups, KD, KH, KW]."""

def convolve(a: Any, v: Any, mode: builtins.str = 'full') -> Tensor:
    """The convolution of two sequences: sum over k of a[k] * v[n - k]."""

def copy(a: Any) -> Tensor:
    """The elements of a in a tensor of their own."""

def copysign(
    x: ArrayLike,
    y: ArrayLike,
    /,
    out: Any = None,
    **loop: Unpack[Loop],
) -> Tensor:
    """|x| with the sign of y, that of zeros and infinities too; a NaN y counts as positive, whatever its sign bit: the sign of a NaN is unspecified here, and numpy.copysign of .numpy() reads it. The gradient at x = 0 is zero."""

def copyto(
    dst: ArrayLike,
    src: Any,
    casting: builtins.str = 'same_kind',
    where: Any = True,
) -> None:
    """Write `src`, which broadcasts, into `dst`, in place, where the mask `where` is true."""

def corrcoef(
    x: ArrayLike,
    y: Any = None,
    rowvar: builtins.bool = True,
    *,
    dtype: Any = None,
) -> Tensor:
    """The correlation coefficients of variables, as `cov` takes them: between -1 and 1 (both parts of complex ones). Those of a variable that is constant are NaN and have the gradient 0."""

def correlate(a: Any, v: Any, mode: builtins.str = 'valid') -> Tensor:
    """The cross-correlation of two sequences: sum over n of a[n + k] * conj(v[n]); modes are those of `convolve`."""

def cos(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Cosine, exact for huge arguments too."""

def cosh(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Hyperbolic cosine."""

def cosine_similarity(
    a: ArrayLike,
    b: ArrayLike,
    axis: builtins.int = 1,
    eps: builtins.float = 1e-08,
) -> Tensor:
    """Cosine of the angle between tensors along an axis of their common shape, as PyTorch has it: each norm is taken along the whole axis and is at least eps."""

def count_nonzero(
    x: ArrayLike,
    /,
    axis: Any = None,
    *,
    keepdims: builtins.bool = False,
) -> Tensor:
    """How many elements are nonzero, as int64."""

def cov(
    m: ArrayLike,
    y: Any = None,
    rowvar: builtins.bool = True,
    bias: builtins.bool = False,
    ddof: builtins.int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Tensor:
    """The covariances of variables: rows of m (columns where not rowvar), and of y if given; of complex ones with the conjugate of the second."""

def cross(
    a: Any,
    b: Any,
    axisa: builtins.int = -1,
    axisb: builtins.int = -1,
    axisc: builtins.int = -1,
    axis: builtins.int | None = None,
) -> Tensor:
    """Cross products of vectors along the axes axisa and axisb, or `axis` for all; those of the result lie along axisc."""

def cross_entropy(
    logits: ArrayLike,
    target: Any,
    weight: ArrayLike | None = None,
    *,
    ignore_index: builtins.int = -100,
    reduction: builtins.str = 'mean',
    label_smoothing: builtins.float = 0.0,
) -> Tensor:
    """PyTorch's cross_entropy of logits [N, C, ...] (or [C])."""

def cumprod(
    a: ArrayLike,
    axis: builtins.int | None = None,
    dtype: Any = None,
    *,
    out: Any = None,
) -> Tensor:
    """Running products along an axis, or of the flattened tensor; otherwise as `cumsum`."""

def cumsum(
    a: ArrayLike,
    axis: builtins.int | None = None,
    dtype: Any = None,
    *,
    out: Any = None,
) -> Tensor:
    """Running sums along an axis, or of the flattened tensor (`cumulative_sum` asks for an axis)."""

def cumulative_prod(
    x: ArrayLike,
    axis: builtins.int | None = None,
    *,
    dtype: Any = None,
    include_initial: builtins.bool = False,
    out: Any = None,
) -> Tensor:
    """Running products along an axis (optional for one dimension), behind a one if `include_initial`."""

def cumulative_sum(
    x: ArrayLike,
    axis: builtins.int | None = None,
    *,
    dtype: Any = None,
    include_initial: builtins.bool = False,
    out: Any = None,
) -> Tensor:
    """Running sums along an axis (optional for one dimension), behind a zero if `include_initial`."""

def default_generator(device: Any = None) -> Generator:
    """The generator of a device, which functions use when none is given."""

def deg2rad(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Degrees as radians: x * (pi / 180)."""

def degrees(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Radians as degrees: x * (180 / pi)."""

def delete(arr: ArrayLike, obj: Any, axis: builtins.int | None = None) -> Tensor:
    """arr without the slices at `obj` (an integer, a slice, integers or a mask) along an axis (None: of the flattened tensor). Positions in a tensor are read on the host."""

def diag(v: ArrayLike, k: builtins.int = 0) -> Tensor:
    """The matrix with a 1-D tensor on diagonal k, or diagonal k of a matrix."""

def diag_indices(n: builtins.int, ndim: builtins.int = 2) -> builtins.tuple[Tensor, ...]:
    """Positions of the main diagonal of a tensor with `ndim` axes of size n."""

def diag_indices_from(arr: ArrayLike) -> builtins.tuple[Tensor, ...]:
    """Positions of the main diagonal of a tensor whose axes have one size."""

def diagflat(v: ArrayLike, k: builtins.int = 0) -> Tensor:
    """The matrix with all elements of v on diagonal k."""

def diagonal(
    x: ArrayLike,
    offset: builtins.int = 0,
    axis1: builtins.int = 0,
    axis2: builtins.int = 1,
) -> Tensor:
    """The diagonal of two axes (the first two by default, as NumPy's; `hybrid.linalg.diagonal` is that of the last two), as a new last axis."""

def diff(
    x: ArrayLike,
    n: builtins.int = 1,
    axis: builtins.int = -1,
    *,
    prepend: Any = None,
    append: Any = None,
) -> Tensor:
    """Differences of neighbours along an axis, n times; prepend and append are joined to x first (a number, or a 0-d tensor, as one position of the axis)."""

def digitize(x: Any, bins: Any, right: builtins.bool = False) -> Tensor:
    """Which bin each element is in (int64): i where bins[i-1] <= x < bins[i], or with `right` bins[i-1] < x <= bins[i]; 0 and len(bins) are below and above all."""

def divide(x: ArrayLike, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """x / y; a zero divisor gives an infinity, or NaN for 0 / 0."""

def divmod(
    x: ArrayLike,
    y: Any,
    *,
    out: Any = None,
    **loop: Unpack[Loop],
) -> builtins.tuple[Tensor, Tensor]:
    """(floor_divide(x, y), remainder(x, y)) in one go, with their special values and gradients."""

def dot(a: ArrayLike, b: ArrayLike, /, *, out: Any = None) -> Tensor:
    """NumPy's dot: products with scalars, inner products, matmul; with more dimensions, sums over the last axis of a and the second last of b."""

def dropout(
    x: ArrayLike,
    p: builtins.float = 0.5,
    training: builtins.bool = True,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """x with elements zeroed with probability p, the others scaled by 1 / (1 - p); x itself when not training."""

def dsplit(ary: ArrayLike, indices_or_sections: Any) -> builtins.list[Tensor]:
    """ary cut along axis 2 into equal pieces, or at the given positions."""

def dstack(tup: Sequence[ArrayLike]) -> Tensor:
    """Tensors joined along the third axis, as `atleast_3d` makes them."""

def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Tensor:
    """Differences of neighbours in the flattened tensor, between to_begin and to_end."""

def einsum(spec: Any, *operands: Any, optimize: Any = True, out: Any = None) -> Tensor:
    """Einstein summation in NumPy's notation, for example ``einsum("bij,bjk->bik", a, b)``, or with lists of labels (integers in 0..51, or ...): ``einsum(a, [0, 1], b, [1, 2], [0, 2])``."""

def elu(x: ArrayLike, alpha: builtins.float = 1.0) -> Tensor:
    """x where positive, alpha * (e^x - 1) elsewhere."""

def embed_diagonal(x: ArrayLike, offset: builtins.int = 0) -> Tensor:
    """Square matrices with the last axis of x on diagonal `offset` (torch.diag_embed)."""

def embedding(weight: ArrayLike, index: Any) -> Tensor:
    """Rows of weight[n, d] at integer indices of any shape; negative indices are errors, as in PyTorch."""

def empty(
    shape: Any,
    *sizes: Any,
    dtype: Any = None,
    device: Any = None,
    requires_grad: builtins.bool = False,
) -> Tensor:
    """Zeros of a shape given as a tuple, which a dtype may follow, or as several ints; float32 by default."""

def empty_like(
    x: ArrayLike,
    *,
    dtype: Any = None,
    shape: Any = None,
    device: Any = None,
    requires_grad: builtins.bool = False,
) -> Tensor:
    """Zeros with the shape, dtype and device of x, as far as others are not given."""

def equal(x: ArrayLike, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """x == y."""

def erf(x: ArrayLike, /, out: Any = None) -> Tensor:
    """The error function."""

def erfc(x: ArrayLike, /, out: Any = None) -> Tensor:
    """1 - erf(x), accurate in the tail."""

def erfinv(x: ArrayLike, /, out: Any = None) -> Tensor:
    """The inverse of erf: y with erf(y) = x; infinite at -1 and 1, NaN beyond."""

def exp(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """e^x."""

def exp2(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """2^x."""

def expand_dims(x: ArrayLike, axis: Any = 0) -> Tensor:
    """x with axes of size 1 inserted at the positions `axis` of the result."""

def expit(x: ArrayLike, /, out: Any = None) -> Tensor:
    """1 / (1 + e^-x), accurate in both tails."""

def expm1(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """e^x - 1, exact near 0."""

def extract(condition: Any, arr: ArrayLike) -> Tensor:
    """The elements of arr, flattened, where the condition, flattened, is not zero; reads the condition on the host."""

def eye(
    n_rows: builtins.int,
    n_cols: builtins.int | None = None,
    /,
    k: builtins.int = 0,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: builtins.bool = False,
) -> Tensor:
    """A matrix (square by default) with ones on diagonal k."""

def fabs(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """|x| as a floating number. The gradient at 0 is 0."""

def fill_diagonal(a: ArrayLike, val: Any, wrap: builtins.bool = False) -> None:
    """Write `val` (a number, or values that are repeated) on the main diagonal of `a`, in place; `wrap` goes on below it in a tall matrix. No value leaves it as it is."""

def fix(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """x without its fraction. Integers and bools stay; the gradient is zero."""

def flatnonzero(a: ArrayLike) -> Tensor:
    """Row-major positions (int64) of the elements that are not zero; reads the data on the host."""

def flatten(
    x: ArrayLike,
    start: Any = 0,
    stop: builtins.int = -1,
    *,
    order: builtins.str = 'C',
) -> Tensor:
    """Axes start..stop (inclusive) as one axis, as a tensor of its own: as NumPy's, it is no view, and writes to it stay in it (`reshape` and `ravel` are views where NumPy's are)."""

def flip(x: ArrayLike, axis: Any = None) -> Tensor:
    """x in reverse order along the axes (all by default)."""

def fliplr(m: ArrayLike) -> Tensor:
    """m in reverse order along axis 1; ShapeError below two dimensions."""

def flipud(m: ArrayLike) -> Tensor:
    """m in reverse order along axis 0; ShapeError for a tensor without axes."""

def float_power(x: ArrayLike, y: Any, *, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """x to the power y in float64 (complex128 where one is complex), whatever the operands are: NumPy's float_power, whose result hybrid's default of float32 does not change."""

def floor(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """The largest integer not above x. Integers and bools stay; the gradient is zero."""

def floor_divide(
    x: ArrayLike,
    y: ArrayLike,
    /,
    out: Any = None,
    **loop: Unpack[Loop],
) -> Tensor:
    """floor(x / y); integer division by zero gives 0, and a finite number divided by an infinity a zero of either sign, as the array API has it. Not differentiable."""

def fmax(x: ArrayLike, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """The larger of x and y; of a number and NaN the number; -0 is below +0. Ties give the gradient to x, as in PyTorch."""

def fmin(x: ArrayLike, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """The smaller of x and y; of a number and NaN the number; -0 is below +0. Ties give the gradient to x, as in PyTorch."""

def fmod(x: ArrayLike, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """x - y*trunc(x/y), exactly, with the sign of x (C's fmod)."""

def frexp(
    x: ArrayLike,
    *,
    out: Any = None,
    **loop: Unpack[Loop],
) -> builtins.tuple[Tensor, Tensor]:
    """(mantissa, exponent) with x = mantissa * 2^exponent and a mantissa in [0.5, 1), int32 exponents; zeros, infinities and NaN are their own mantissa, with exponent 0."""

def fromfunction(
    function: Callable[..., Any],
    shape: Sequence[builtins.int],
    *,
    dtype: Any = None,
    **kwargs: Any,
) -> Any:
    """What `function(i, j, ..., **kwargs)` makes of the positions of a shape, one tensor of that shape per axis; float32 by default."""

def full(
    shape: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: builtins.bool = False,
) -> Tensor:
    """A tensor of that shape holding `fill_value` (a number, or a tensor or sequence that broadcasts)."""

def full_like(
    x: ArrayLike,
    fill_value: Any,
    *,
    dtype: Any = None,
    shape: Any = None,
    device: Any = None,
    requires_grad: builtins.bool = False,
) -> Tensor:
    """`full` with the shape, dtype and device of x, as far as others are not given."""

def gcd(x: ArrayLike, y: Any, *, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """The greatest common divisor of |x| and |y|; gcd(0, y) is |y|."""

def gelu(x: ArrayLike, /, out: Any = None) -> Tensor:
    """x * Phi(x), Phi the normal distribution function; -0 at minus infinity."""

def gelu_tanh(x: ArrayLike, /, out: Any = None) -> Tensor:
    """gelu in Hendrycks and Gimpel's tanh form."""

def geomspace(
    start: Any,
    stop: Any,
    num: builtins.int = 50,
    endpoint: builtins.bool = True,
    dtype: Any = None,
    axis: builtins.int = 0,
) -> Tensor:
    """`num` numbers from start to stop with a constant ratio, along a new axis where the ends are tensors; the ends are exact; float32 (or complex64) for Python numbers. Complex numbers lie on a spiral."""

def getitem(x: ArrayLike, key: Any) -> Tensor:
    """x[key]: ints, slices, None, ..., integer and bool tensors, or a tuple of them, as in NumPy."""

def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: builtins.int = 1) -> Any:
    """The slopes of samples along axes: central differences inside, one-sided ones of the first or second order (`edge_order`) at the ends."""

def greater(x: ArrayLike, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """x > y."""

def greater_equal(
    x: ArrayLike,
    y: ArrayLike,
    /,
    out: Any = None,
    **loop: Unpack[Loop],
) -> Tensor:
    """x >= y."""

def group_norm(
    x: ArrayLike,
    num_groups: builtins.int,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: builtins.float = 1e-05,
) -> Tensor:
    """PyTorch's group_norm: x[N, C, ...] normalised over groups of channels."""

def hamming(M: builtins.int, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The Hamming window of M points: 0.54 - 0.46 cos(2 pi n / (M - 1))."""

def hanning(M: builtins.int, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The Hann window of M points: 0.5 - 0.5 cos(2 pi n / (M - 1))."""

def hardsigmoid(x: ArrayLike) -> Tensor:
    """x + 3 limited to [0, 6], divided by 6."""

def hardswish(x: ArrayLike) -> Tensor:
    """x * hardsigmoid(x)."""

def hardtanh(
    x: ArrayLike,
    min_val: builtins.float = -1.0,
    max_val: builtins.float = 1.0,
) -> Tensor:
    """x limited to [min_val, max_val]; its gradient is 0 at the borders, unlike clip's."""

def heaviside(
    x: ArrayLike,
    y: ArrayLike,
    /,
    out: Any = None,
    **loop: Unpack[Loop],
) -> Tensor:
    """0 below zero, 1 above, y where x is zero, NaN for NaN. The gradient goes to y."""

def histogram(
    a: ArrayLike,
    bins: Any = 10,
    range: Any = None,
    density: builtins.bool | None = None,
    weights: Any = None,
) -> builtins.tuple[Tensor, Tensor]:
    """How many elements lie between the edges of each bin, and the edges."""

def histogram2d(
    x: Any,
    y: Any,
    bins: Any = 10,
    range: Any = None,
    density: builtins.bool | None = None,
    weights: Any = None,
) -> builtins.tuple[Tensor, Tensor, Tensor]:
    """`histogramdd` of points with the coordinates x and y: counts, edges of x, edges of y."""

def histogram_bin_edges(
    a: ArrayLike,
    bins: Any = 10,
    range: Any = None,
    weights: Any = None,
) -> Tensor:
    """The edges that `histogram` takes for the same arguments."""

def histogramdd(
    sample: Any,
    bins: Any = 10,
    range: Any = None,
    density: builtins.bool | None = None,
    weights: Any = None,
) -> builtins.tuple[Tensor, builtins.list[Tensor]]:
    """How many points lie in each box of a grid, as floats, and the edges along each dimension."""

def hsplit(ary: ArrayLike, indices_or_sections: Any) -> builtins.list[Tensor]:
    """ary cut along axis 1 (of a 1-D tensor: 0) into equal pieces, or at the given positions."""

def hstack(
    xs: Sequence[ArrayLike],
    *,
    dtype: Any = None,
    casting: builtins.str = 'same_kind',
) -> Tensor:
    """Tensors side by side (along axis 1; 1-D tensors along axis 0)."""

def huber_loss(
    x: ArrayLike,
    target: Any,
    *,
    reduction: builtins.str = 'mean',
    delta: builtins.float = 1.0,
) -> Tensor:
    """Quadratic up to `delta`, linear above (PyTorch's huber_loss)."""

def hypot(x: ArrayLike, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """sqrt(x^2 + y^2) without overflow. Its gradient at the origin is zero, as norm's."""

def i0(x: ArrayLike, /, out: Any = None) -> Tensor:
    """The modified Bessel function of the first kind of order 0; infinite at both infinities."""

def identity(n: builtins.int, dtype: Any = None) -> Tensor:
    """The n x n matrix with ones on its diagonal; float32 by default."""

def imag(x: ArrayLike) -> Tensor:
    """The imaginary part of each element, as a view of a complex tensor; zeros for a real one."""

def index_add(x: ArrayLike, axis: builtins.int, index: Any, source: Any) -> Tensor:
    """x plus slices of `source` added at integer indices along an axis (torch.index_add)."""

def indices(
    dimensions: Sequence[builtins.int],
    dtype: Any = None,
    sparse: builtins.bool = False,
) -> Any:
    """The positions of all elements of a shape, [axes, *shape], int64 by default; sparse: a tuple of one tensor per axis that broadcast to them."""

def inner(a: Any, b: Any, /) -> Tensor:
    """Sums of products over the last axes of a and b; products where one of them is 0-d."""

def insert(
    arr: ArrayLike,
    obj: Any,
    values: Any,
    axis: builtins.int | None = None,
) -> Tensor:
    """arr with `values`, in its dtype, put in before the positions `obj` (an integer, a slice, integers or a mask) along an axis (None: of the flattened tensor). Positions in a tensor are read on the host."""

def interp(
    x: Any,
    xp: Any,
    fp: Any,
    left: Any = None,
    right: Any = None,
    period: Any = None,
) -> Tensor:
    """The values at x of the function that is linear between the points (xp, fp), xp increasing."""

def intersect1d(
    ar1: Any,
    ar2: Any,
    assume_unique: builtins.bool = False,
    return_indices: builtins.bool = False,
) -> Any:
    """The distinct values that both tensors hold, in increasing order; reads the data."""

def invert(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """All bits flipped."""

def isclose(
    a: Any,
    b: Any,
    rtol: Any = 1e-05,
    atol: Any = 1e-08,
    equal_nan: builtins.bool = False,
) -> Tensor:
    """Whether |a - b| <= atol + rtol * |b|, element by element, or a equals b (infinities too)."""

def iscomplex(x: ArrayLike, /, out: Any = None) -> Tensor:
    """Whether x has an imaginary part that is not zero."""

def iscomplexobj(x: Any) -> builtins.bool:
    """Whether x has a complex dtype, whatever its elements are."""

def isfinite(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Whether x is a finite number."""

def isin(x: Any, test: Any, /, *, invert: builtins.bool = False) -> Tensor:
    """Whether each element of x equals some element of `test`; NaN equals nothing."""

def isinf(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Whether x is infinite."""

def isnan(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Whether x is NaN."""

def isneginf(x: ArrayLike, /, out: Any = None) -> Tensor:
    """Whether x is negative infinity."""

def isposinf(x: ArrayLike, /, out: Any = None) -> Tensor:
    """Whether x is positive infinity."""

def isreal(x: ArrayLike, /, out: Any = None) -> Tensor:
    """Whether x has no imaginary part, or one of zero."""

def isrealobj(x: Any) -> builtins.bool:
    """Whether x has a real dtype."""

def isscalar(element: Any) -> builtins.bool:
    """Whether x is a number, a text or a NumPy scalar; no tensor is."""

def ix_(*args: Any) -> builtins.tuple[Tensor, ...]:
    """Sequences of positions, one per axis, shaped so that indexing with them picks all combinations; masks stand for the positions where they are true."""

def kaiser(
    M: builtins.int,
    beta: builtins.float,
    *,
    dtype: Any = None,
    device: Any = None,
) -> Tensor:
    """The Kaiser window of M points: I0(beta sqrt(1 - (2 n / (M - 1) - 1)^2)) / I0(beta), with the modified Bessel function I0; its weights are computed on the host."""

def kl_div(
    x: ArrayLike,
    target: Any,
    *,
    reduction: builtins.str = 'mean',
    log_target: builtins.bool = False,
) -> Tensor:
    """PyTorch's kl_div: t * (log t - x) for log probabilities x; 'batchmean' divides by the first size."""

def kron(a: ArrayLike, b: ArrayLike, /) -> Tensor:
    """Kronecker product of tensors; one of fewer dimensions gets axes of size 1 before its own."""

def l1_loss(x: ArrayLike, target: Any, *, reduction: builtins.str = 'mean') -> Tensor:
    """Absolute differences; ShapeError unless x and target have one shape."""

def layer_norm(
    x: ArrayLike,
    normalized_shape: Any,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: builtins.float = 1e-05,
) -> Tensor:
    """PyTorch's layer_norm over the last axes: (x - mean) / sqrt(var + eps) * weight + bias."""

def lcm(x: ArrayLike, y: Any, *, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """The least common multiple of |x| and |y|; lcm(0, y) is 0."""

def ldexp(x: ArrayLike, y: Any, *, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """x * 2^y for integers y, rounded once: without the overflow of the power on its own."""

def leaky_relu(x: ArrayLike, negative_slope: builtins.float = 0.01) -> Tensor:
    """x where positive, negative_slope * x elsewhere."""

def left_shift(
    x: ArrayLike,
    y: ArrayLike,
    /,
    out: Any = None,
    **loop: Unpack[Loop],
) -> Tensor:
    """x * 2^n, wrapping; counts outside 0..width-1 give 0."""

def less(x: ArrayLike, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """x < y."""

def less_equal(
    x: ArrayLike,
    y: ArrayLike,
    /,
    out: Any = None,
    **loop: Unpack[Loop],
) -> Tensor:
    """x <= y."""

def lexsort(keys: Any, axis: builtins.int = -1) -> Tensor:
    """Positions (int64) that sort by the last key, equal ones by the key before it, and so on."""

def linear(x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> Tensor:
    """x[..., in] @ weight[out, in].T + bias[out], rounded once; the result is [..., out]."""

def linspace(
    start: Any,
    stop: Any,
    num: builtins.int = 50,
    endpoint: builtins.bool = True,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: builtins.bool = False,
    axis: builtins.int = 0,
    retstep: builtins.bool = False,
) -> Any:
    """`num` evenly spaced numbers from start to stop, along a new axis where these are no single numbers; the end is exact."""

def log(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Natural logarithm."""

def log10(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Logarithm to base 10."""

def log1p(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """log(1 + x), exact near 0."""

def log2(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Logarithm to base 2."""

def log_sigmoid(x: ArrayLike, /, out: Any = None) -> Tensor:
    """log(sigmoid(x)) without overflow."""

def log_softmax(x: ArrayLike, axis: builtins.int = -1) -> Tensor:
    """Logarithm of `softmax` along an axis, exact where the softmax itself would be 0."""

def logaddexp(
    x: ArrayLike,
    y: ArrayLike,
    /,
    out: Any = None,
    **loop: Unpack[Loop],
) -> Tensor:
    """log(e^x + e^y) without overflow. Equal operands share the gradient, infinities too. The error is at most 2 last places of the result, or of 1 where that is larger: a result next to 0 has lost the digits that the two sizes cancel."""

def logaddexp2(
    x: ArrayLike,
    y: ArrayLike,
    /,
    out: Any = None,
    **loop: Unpack[Loop],
) -> Tensor:
    """log2(2^x + 2^y) without overflow. Equal operands share the gradient. The error is that of `logaddexp`."""

def logical_and(
    x: ArrayLike,
    y: ArrayLike,
    /,
    out: Any = None,
    **loop: Unpack[Loop],
) -> Tensor:
    """x and y."""

def logical_not(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """not x."""

def logical_or(
    x: ArrayLike,
    y: ArrayLike,
    /,
    out: Any = None,
    **loop: Unpack[Loop],
) -> Tensor:
    """x or y."""

def logical_xor(
    x: ArrayLike,
    y: ArrayLike,
    /,
    out: Any = None,
    **loop: Unpack[Loop],
) -> Tensor:
    """x exclusive or y."""

def logit(x: ArrayLike, /, out: Any = None) -> Tensor:
    """log(x / (1 - x)), the inverse of expit, exact next to 1/2; infinite at 0 and 1, NaN beyond."""

def logspace(
    start: Any,
    stop: Any,
    num: builtins.int = 50,
    endpoint: builtins.bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: builtins.int = 0,
) -> Tensor:
    """`num` numbers from base^start to base^stop whose logarithms are evenly spaced, along a new axis where the ends are tensors; float32 (or complex64) for Python numbers."""

def logsumexp(x: ArrayLike, axis: Any = None, *, keepdims: builtins.bool = False) -> Tensor:
    """log(sum(exp(x))) over axes, without overflow."""

def manual_seed(seed: builtins.int) -> Generator:
    """Seed the default generators of all devices; gives that of the default device."""

def mask_indices(
    n: builtins.int,
    mask_func: Callable[..., Any],
    k: Any = 0,
) -> builtins.tuple[Tensor, ...]:
    """Positions in an n x n matrix where `mask_func(ones, k)`, such as `hybrid.triu`, is not zero; that is read on the host."""

def masked_select(x: ArrayLike, mask: ArrayLike) -> Tensor:
    """Elements of x where the mask (of x's shape) is true, in order, as one axis."""

def matmul(x: ArrayLike, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Any:
    """a @ b: matrices in the last two axes, leading axes broadcast."""

def matrix_transpose(x: ArrayLike) -> Tensor:
    """The last two axes exchanged."""

def matvec(x1: ArrayLike, x2: Any, *, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """x1 @ x2 of matrices x1[..., m, n] and vectors x2[..., n], as [..., m]; stacks broadcast."""

def max(
    x: ArrayLike,
    /,
    axis: Any = None,
    *,
    keepdims: builtins.bool = False,
    initial: Any = None,
    where: Any = True,
    out: Any = None,
) -> Tensor:
    """Largest element over axes, NaN if any is, +0 before -0; at least `initial`. ShapeError where there is no element and no `initial`."""

def max_pool1d(
    x: ArrayLike,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    *,
    return_indices: builtins.bool = False,
) -> Any:
    """PyTorch's max_pool1d over [N, C, L] (or [C, L]); see `max_pool2d`."""

def max_pool2d(
    x: ArrayLike,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    *,
    return_indices: builtins.bool = False,
) -> Any:
    """PyTorch's max_pool2d: maxima over windows (padding counts as -inf); the gradient goes to the first maximum."""

def max_pool3d(
    x: ArrayLike,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    *,
    return_indices: builtins.bool = False,
) -> Any:
    """PyTorch's max_pool3d over volumes [N, C, D, H, W] (or [C, D, H, W]); see `max_pool2d`."""

def maximum(x: ArrayLike, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """The larger of x and y; NaN if either is; -0 is below +0. Ties, zeros of both signs too, share the gradient; with a NaN both have all of it."""

def mean(
    x: ArrayLike,
    /,
    axis: Any = None,
    *,
    dtype: Any = None,
    keepdims: builtins.bool = False,
    where: Any = True,
    out: Any = None,
) -> Tensor:
    """Mean over axes, as `sum` takes them, of the elements in the mask `where`; NaN of no elements."""

def median(
    a: ArrayLike,
    axis: Any = None,
    *,
    keepdims: builtins.bool = False,
    out: Any = None,
) -> Tensor:
    """The middle element over the axes (all by default), or the mean of the two in the middle."""

def meshgrid(
    *arrays: ArrayLike,
    indexing: builtins.str = 'xy',
    sparse: builtins.bool = False,
    copy: builtins.bool = True,
) -> builtins.tuple[Tensor, ...]:
    """Coordinate matrices of one-dimensional tensors ('xy' as NumPy's default, 'ij' for matrix order), given one by one or as one list of tensors; each keeps its dtype. `sparse`: each of size 1 along the other axes, to be broadcast; `copy`: False gives views of the tensors."""

def min(
    x: ArrayLike,
    /,
    axis: Any = None,
    *,
    keepdims: builtins.bool = False,
    initial: Any = None,
    where: Any = True,
    out: Any = None,
) -> Tensor:
    """Smallest element over axes, NaN if any is, -0 before +0; at most `initial`; mask, gradient and errors as `max`'s."""

def minimum(x: ArrayLike, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """The smaller of x and y; NaN if either is; -0 is below +0. Ties, zeros of both signs too, share the gradient; with a NaN both have all of it."""

def mish(x: ArrayLike) -> Tensor:
    """x * tanh(softplus(x))."""

def mod(x: ArrayLike, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """x - y*floor(x/y), exactly, with the sign of y (Python's %); an integer modulo zero is 0."""

def modf(
    x: ArrayLike,
    *,
    out: Any = None,
    **loop: Unpack[Loop],
) -> builtins.tuple[Tensor, Tensor]:
    """(fraction, whole part) of x, both with its sign; an infinity has the fraction 0."""

def moveaxis(x: ArrayLike, source: Any, destination: Any) -> Tensor:
    """Axes of x moved to new positions; the others keep their order."""

def mse_loss(x: ArrayLike, target: Any, *, reduction: builtins.str = 'mean') -> Tensor:
    """Squared differences; ShapeError unless x and target have one shape (nothing broadcasts)."""

def multiply(
    x: ArrayLike,
    y: ArrayLike,
    /,
    out: Any = None,
    **loop: Unpack[Loop],
) -> Tensor:
    """x * y; on bool tensors logical and, as in NumPy."""

def nan_to_num(
    x: Any,
    copy: builtins.bool = True,
    nan: Any = 0.0,
    posinf: Any = None,
    neginf: Any = None,
) -> Tensor:
    """x with numbers in the place of NaN and of the infinities: by default 0 and the largest and smallest number of the dtype."""

def nanargmax(
    a: ArrayLike,
    axis: builtins.int | None = None,
    *,
    keepdims: builtins.bool = False,
    out: Any = None,
) -> Tensor:
    """Position (int64) of the first largest element that is not NaN, along an axis or in the flattened tensor."""

def nanargmin(
    a: ArrayLike,
    axis: builtins.int | None = None,
    *,
    keepdims: builtins.bool = False,
    out: Any = None,
) -> Tensor:
    """Position (int64) of the first smallest element that is not NaN; otherwise as `nanargmax`."""

def nancumprod(
    a: ArrayLike,
    axis: builtins.int | None = None,
    dtype: Any = None,
    *,
    out: Any = None,
) -> Tensor:
    """`cumprod` with 1 in the place of NaN."""

def nancumsum(
    a: ArrayLike,
    axis: builtins.int | None = None,
    dtype: Any = None,
    *,
    out: Any = None,
) -> Tensor:
    """`cumsum` with 0 in the place of NaN."""

def nanmax(
    a: ArrayLike,
    axis: Any = None,
    *,
    keepdims: builtins.bool = False,
    initial: Any = None,
    where: Any = True,
    out: Any = None,
) -> Tensor:
    """Largest element over axes that is not NaN, NaN where there is none; at least `initial`."""

def nanmean(
    a: ArrayLike,
    axis: Any = None,
    dtype: Any = None,
    *,
    keepdims: builtins.bool = False,
    where: Any = True,
    out: Any = None,
) -> Tensor:
    """Mean of the elements over axes that are not NaN, and in the mask `where`; NaN where there is none."""

def nanmedian(
    a: ArrayLike,
    axis: Any = None,
    *,
    keepdims: builtins.bool = False,
    out: Any = None,
) -> Tensor:
    """`median` of the elements that are not NaN; NaN where there is none."""

def nanmin(
    a: ArrayLike,
    axis: Any = None,
    *,
    keepdims: builtins.bool = False,
    initial: Any = None,
    where: Any = True,
    out: Any = None,
) -> Tensor:
    """Smallest element over axes that is not NaN; otherwise as `nanmax`."""

def nanpercentile(
    a: ArrayLike,
    q: Any,
    axis: Any = None,
    *,
    method: builtins.str = 'linear',
    keepdims: builtins.bool = False,
    weights: Any = None,
    out: Any = None,
) -> Tensor:
    """`nanquantile` with q from 0 to 100."""

def nanprod(
    a: ArrayLike,
    axis: Any = None,
    dtype: Any = None,
    *,
    keepdims: builtins.bool = False,
    initial: Any = None,
    where: Any = True,
    out: Any = None,
) -> Tensor:
    """`prod` with 1 in the place of NaN and of elements that are not in the mask `where`, times `initial`."""

def nanquantile(
    a: ArrayLike,
    q: Any,
    axis: Any = None,
    *,
    method: builtins.str = 'linear',
    keepdims: builtins.bool = False,
    weights: Any = None,
    out: Any = None,
) -> Tensor:
    """`quantile` of the elements that are not NaN; NaN where there is none."""

def nanstd(
    a: ArrayLike,
    axis: Any = None,
    dtype: Any = None,
    *,
    ddof: builtins.float = 0,
    keepdims: builtins.bool = False,
    where: Any = True,
    mean: Any = None,
    correction: builtins.float | None = None,
    out: Any = None,
) -> Tensor:
    """Standard deviation of the elements over axes that are not NaN; see `nanvar`."""

def nansum(
    a: ArrayLike,
    axis: Any = None,
    dtype: Any = None,
    *,
    keepdims: builtins.bool = False,
    initial: Any = None,
    where: Any = True,
    out: Any = None,
) -> Tensor:
    """`sum` with 0 in the place of NaN and of elements that are not in the mask `where`; `initial` is added."""

def nanvar(
    a: ArrayLike,
    axis: Any = None,
    dtype: Any = None,
    *,
    ddof: builtins.float = 0,
    keepdims: builtins.bool = False,
    where: Any = True,
    mean: Any = None,
    correction: builtins.float | None = None,
    out: Any = None,
) -> Tensor:
    """Variance of the elements over axes that are not NaN, and in the mask `where`; their number is reduced by `ddof` (or `correction`)."""

def ndim(a: Any) -> builtins.int:
    """The number of axes of a tensor, a number or a nested sequence."""

def negative(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """-x; unsigned integers wrap."""

def nextafter(
    x: ArrayLike,
    y: ArrayLike,
    /,
    out: Any = None,
    **loop: Unpack[Loop],
) -> Tensor:
    """The next representable number after x towards y (float32 and float64). The gradient goes to x unless x is y already, as in PyTorch."""

def nll_loss(
    log_probs: ArrayLike,
    target: Any,
    weight: ArrayLike | None = None,
    *,
    ignore_index: builtins.int = -100,
    reduction: builtins.str = 'mean',
) -> Tensor:
    """PyTorch's nll_loss: log probabilities [N, C, ...] (or [C]) and class indices [N, ...]."""

def nonzero(x: ArrayLike) -> builtins.tuple[Tensor, ...]:
    """Index tensors (int64, one per axis) of the nonzero elements; reads on the host how many there are."""

def norm(
    x: ArrayLike,
    ord: builtins.float | None = 2,
    axis: Any = None,
    *,
    keepdims: builtins.bool = False,
) -> Tensor:
    """Vector norm over axes (all by default): ord 2, 1, 0, inf, -inf or any other power."""

def normal_pdf(x: ArrayLike) -> Tensor:
    """e^(-x^2 / 2) / sqrt(2 pi): the density of the standard normal distribution."""

def normalize(
    x: ArrayLike,
    p: builtins.float = 2.0,
    axis: builtins.int = 1,
    eps: builtins.float = 1e-12,
) -> Tensor:
    """x divided by its norm along an axis (at least eps)."""

def not_equal(
    x: ArrayLike,
    y: ArrayLike,
    /,
    out: Any = None,
    **loop: Unpack[Loop],
) -> Tensor:
    """x != y."""

def one_hot(index: ArrayLike, num_classes: builtins.int, *, dtype: Any = None) -> Tensor:
    """[..., num_classes] with 1 where the class is the index (all 0 where it is out of range); float32 by default. `nn.functional.one_hot` is PyTorch's: int64, checked."""

def ones(
    shape: Any,
    *sizes: Any,
    dtype: Any = None,
    device: Any = None,
    requires_grad: builtins.bool = False,
) -> Tensor:
    """Ones of a shape given as a tuple, which a dtype may follow, or as several ints; float32 by default."""

def ones_like(
    x: ArrayLike,
    *,
    dtype: Any = None,
    shape: Any = None,
    device: Any = None,
    requires_grad: builtins.bool = False,
) -> Tensor:
    """Ones with the shape, dtype and device of x, as far as others are not given."""

def outer(a: ArrayLike, b: ArrayLike, /, *, out: Any = None) -> Tensor:
    """All products of the elements of two tensors (flattened), as a matrix."""

def packbits(
    a: ArrayLike,
    axis: builtins.int | None = None,
    bitorder: builtins.str = 'big',
) -> Tensor:
    """Eight elements along an axis (None: of the flattened tensor) as one uint8, a bit each that says whether the element is not 0; zeros fill the last byte up."""

def pad(
    x: ArrayLike,
    pad_width: Any,
    mode: builtins.str = 'constant',
    *,
    constant_values: Any = 0,
    end_values: Any = 0,
    stat_length: Any = None,
    reflect_type: builtins.str = 'even',
) -> Tensor:
    """NumPy's pad: widths as one, (before, after), one pair per axis, or a dictionary from axes to these."""

def partition(a: ArrayLike, kth: Any, axis: builtins.int | None = -1) -> Tensor:
    """a with the kth smallest element (or several) along an axis (None: of the flattened tensor) in its sorted place, none larger before and none smaller behind it; elements within these parts, and equal ones, keep their order (with more than 8 kth all are sorted)."""

def percentile(
    a: ArrayLike,
    q: Any,
    axis: Any = None,
    *,
    method: builtins.str = 'linear',
    keepdims: builtins.bool = False,
    weights: Any = None,
    out: Any = None,
) -> Tensor:
    """`quantile` with q from 0 to 100."""

def permute_dims(x: ArrayLike, axes: Sequence[builtins.int]) -> Tensor:
    """Axis i of the result is axis axes[i] of x."""

def piecewise(
    x: ArrayLike,
    condlist: Any,
    funclist: Sequence[Any],
    *args: Any,
    **kw: Any,
) -> Tensor:
    """Each function (or number) on the elements where its condition holds, the last one that holds; one function more than conditions is for the rest; 0 elsewhere, in x's dtype."""

def place(arr: ArrayLike, mask: Any, vals: Any) -> None:
    """Write values where the mask (of arr's size) is true, in place, repeated as needed: the n-th true element takes the n-th value. The mask is read on the host."""

def poly(seq_of_zeros: Any) -> Tensor:
    """The coefficients of the polynomial with these zeros, or with the eigenvalues of a square matrix, and the leading coefficient 1."""

def polyadd(a1: Any, a2: Any) -> Tensor:
    """The coefficients of the sum of two polynomials."""

def polyder(p: Any, m: builtins.int = 1) -> Tensor:
    """The coefficients of the m-th derivative of a polynomial."""

def polydiv(u: Any, v: Any) -> builtins.tuple[Tensor, Tensor]:
    """The coefficients of quotient and remainder of two polynomials, as floats."""

def polyfit(
    x: Any,
    y: Any,
    deg: builtins.int,
    rcond: builtins.float | None = None,
    full: builtins.bool = False,
    w: Any = None,
    cov: builtins.bool | builtins.str = False,
) -> Any:
    """The coefficients, the highest power first, of the polynomial of degree `deg` that fits the points (x, y) with the least squares; for each column of a matrix y."""

def polyint(p: Any, m: builtins.int = 1, k: Any = None) -> Tensor:
    """The coefficients of the m-th antiderivative of a polynomial, as floats; k holds the constants of integration (0 by default), the first of them first."""

def polymul(a1: Any, a2: Any) -> Tensor:
    """The coefficients of the product of two polynomials."""

def polysub(a1: Any, a2: Any) -> Tensor:
    """The coefficients of the difference of two polynomials."""

def polyval(p: Any, x: Any) -> Tensor:
    """The values at x of the polynomial with the coefficients p, by Horner's rule."""

def positive(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """x itself."""

def pow(x: ArrayLike, y: Any, *, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """x to the power y. The exponents 2, 3, -1 and 0.5, given as Python numbers, are products, a reciprocal and a square root."""

def power(x: ArrayLike, y: Any, *, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """x to the power y. The exponents 2, 3, -1 and 0.5, given as Python numbers, are products, a reciprocal and a square root."""

def prod(
    x: ArrayLike,
    /,
    axis: Any = None,
    *,
    dtype: Any = None,
    keepdims: builtins.bool = False,
    initial: Any = None,
    where: Any = True,
    out: Any = None,
) -> Tensor:
    """Product over axes (all by default), with the dtype rule of `sum`, times `initial`."""

def ptp(
    a: ArrayLike,
    axis: Any = None,
    *,
    keepdims: builtins.bool = False,
    out: Any = None,
) -> Tensor:
    """The largest element less the smallest one, over axes (all by default)."""

def put(a: ArrayLike, ind: Any, v: Any, mode: builtins.str = 'raise') -> None:
    """Write values at row-major positions of `a`, in place: a.ravel()[ind] = v."""

def put_along_axis(
    arr: ArrayLike,
    indices: Any,
    values: Any,
    axis: builtins.int | None = -1,
) -> None:
    """Write values where `take_along_axis` reads, in place; the last write to an element stays."""

def putmask(a: ArrayLike, mask: Any, values: Any) -> None:
    """Write values where the mask (of a's size) is true, in place: element n takes value n, repeated as needed."""

def quantile(
    a: ArrayLike,
    q: Any,
    axis: Any = None,
    *,
    method: builtins.str = 'linear',
    keepdims: builtins.bool = False,
    weights: Any = None,
    out: Any = None,
) -> Tensor:
    """The values below which the shares q (0 to 1) of the elements over the axes lie."""

def rad2deg(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Radians as degrees: x * (180 / pi)."""

def radians(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Degrees as radians: x * (pi / 180)."""

def rand(
    *shape: Any,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
    requires_grad: builtins.bool = False,
) -> Tensor:
    """Uniform numbers in [0, 1), of a shape given as a tuple or as several ints; float32 by default."""

def rand_like(
    x: ArrayLike,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """`rand` with the shape, dtype and device of x."""

def randint(
    low: builtins.int,
    high: builtins.int | None = None,
    size: Any = (),
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Integers low..high-1 (or 0..low-1), int64 by default."""

def randn(
    *shape: Any,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
    requires_grad: builtins.bool = False,
) -> Tensor:
    """Standard normal numbers, of a shape given as a tuple or as several ints; float32 by default."""

def randn_like(
    x: ArrayLike,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """`randn` with the shape, dtype and device of x."""

def random_bits(
    *shape: Any,
    dtype: Any = ...,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Random words of an unsigned dtype."""

def randperm(
    x: Any,
    axis: builtins.int = 0,
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """0..x-1 in random order for an int, else x with the slices along an axis in random order."""

def ravel(a: ArrayLike, order: builtins.str = 'C') -> Tensor:
    """All elements as one axis, the last index running fastest, or the first with order 'F'."""

def ravel_multi_index(
    multi_index: Any,
    dims: Any,
    mode: builtins.str | Sequence[builtins.str] = 'raise',
    order: builtins.str = 'C',
) -> Tensor:
    """Row-major numbers (order 'F': column-major) of positions given axis by axis."""

def real(x: ArrayLike) -> Tensor:
    """The real part of each element, as a view of a complex tensor; a real tensor itself."""

def real_if_close(a: ArrayLike, tol: builtins.float = 100) -> Tensor:
    """The real part of a complex tensor whose imaginary parts are all below `tol` times the precision of the dtype (below `tol` itself where that is at most 1); else the tensor."""

def reciprocal(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """1 / x."""

def relu(x: ArrayLike, /, out: Any = None) -> Tensor:
    """x, or 0 where x is negative: -0 and NaN stay. The gradient is 0 at both zeros, as in PyTorch."""

def relu6(x: ArrayLike) -> Tensor:
    """x limited to [0, 6]."""

def remainder(
    x: ArrayLike,
    y: ArrayLike,
    /,
    out: Any = None,
    **loop: Unpack[Loop],
) -> Tensor:
    """x - y*floor(x/y), exactly, with the sign of y (Python's %); an integer modulo zero is 0."""

def repeat(x: ArrayLike, repeats: Any, axis: builtins.int | None = None) -> Tensor:
    """Each element `repeats` times along an axis (None: of the flattened tensor); a sequence or a tensor holds one count for each position of the axis, and is read on the host."""

def reshape(
    x: ArrayLike,
    shape: Any,
    order: builtins.str = 'C',
    *,
    copy: builtins.bool | None = None,
) -> Tensor:
    """x under another shape; one size may be -1."""

def resize(a: ArrayLike, new_shape: Any) -> Tensor:
    """The elements of a in row-major order, repeated or cut off to fill a new shape."""

def right_shift(
    x: ArrayLike,
    y: ArrayLike,
    /,
    out: Any = None,
    **loop: Unpack[Loop],
) -> Tensor:
    """floor(x / 2^n); counts outside 0..width-1 give 0 or -1."""

def rint(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """The nearest integer as a floating number, halves to even. Its gradient is zero."""

def rms_norm(
    x: ArrayLike,
    normalized_shape: Any,
    weight: ArrayLike | None = None,
    eps: builtins.float | None = None,
) -> Tensor:
    """PyTorch's rms_norm over the last axes; eps defaults to the machine epsilon of x's dtype."""

def roll(x: ArrayLike, shift: Any, axis: Any = None) -> Tensor:
    """Elements moved along axes, those pushed out at one end re-entering at the other."""

def rollaxis(a: ArrayLike, axis: builtins.int, start: builtins.int = 0) -> Tensor:
    """Axis `axis` moved before position `start`; `moveaxis` says more clearly where it goes."""

def roots(p: Any) -> Tensor:
    """The zeros of the polynomial with these coefficients, complex numbers always: the eigenvalues of its companion matrix (R. Horn, C. Johnson, "Matrix analysis", 1985)."""

def rot90(m: ArrayLike, k: builtins.int = 1, axes: Sequence[builtins.int] = ...) -> Tensor:
    """m turned k times by a right angle in the plane of two axes, from the first to the second."""

def round(x: ArrayLike, decimals: builtins.int = 0, *, out: Any = None) -> Tensor:
    """x rounded to the nearest multiple of 10^-decimals, halves to even; computed as NumPy does, by scaling; both parts of complex numbers."""

def row_stack(
    xs: Sequence[ArrayLike],
    *,
    dtype: Any = None,
    casting: builtins.str = 'same_kind',
) -> Tensor:
    """Tensors on top of each other (1-D tensors are rows)."""

def rsqrt(x: ArrayLike, /, out: Any = None) -> Tensor:
    """1 / sqrt(x)."""

def scaled_dot_product_attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    attn_mask: Any = None,
    dropout_p: builtins.float = 0.0,
    is_causal: builtins.bool = False,
    scale: builtins.float | None = None,
    enable_gqa: builtins.bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """PyTorch's attention: softmax(q @ k.T * scale + mask) @ v."""

def searchsorted(
    edges: ArrayLike,
    x: Any,
    /,
    side: builtins.str = 'left',
    sorter: ArrayLike | None = None,
) -> Tensor:
    """Positions (int64) at which elements of x keep the one-dimensional `edges` sorted."""

def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Tensor:
    """Elements of the first choice whose condition holds, else the default."""

def selu(x: ArrayLike) -> Tensor:
    """1.0507 * elu(x, 1.6733): the self-normalising elu."""

def setdiff1d(ar1: Any, ar2: Any, assume_unique: builtins.bool = False) -> Tensor:
    """The distinct values of ar1 that ar2 does not hold, in increasing order (in that of ar1 with `assume_unique`) and in its dtype; reads the data."""

def setitem(x: ArrayLike, key: Any, value: Any) -> Tensor:
    """A tensor like x after x[key] = value; the last write to an element stays."""

def setxor1d(ar1: Any, ar2: Any, assume_unique: builtins.bool = False) -> Tensor:
    """The distinct values that one of two tensors holds and the other does not, in increasing order; reads the data."""

def shape(a: Any) -> builtins.tuple[builtins.int, ...]:
    """The sizes of the axes of a tensor, a number or a nested sequence."""

def sigmoid(x: ArrayLike, /, out: Any = None) -> Tensor:
    """1 / (1 + e^-x), accurate in both tails."""

def sign(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """-1, 0 or 1 (0 for both zeros); NaN stays NaN. Its gradient is zero."""

def signbit(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Whether x is negative, -0 and minus infinity included; false for every NaN: the sign bit of a NaN is unspecified here, and numpy.signbit of .numpy() reads it."""

def silu(x: ArrayLike, /, out: Any = None) -> Tensor:
    """x * sigmoid(x); -0 at minus infinity."""

def sin(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Sine, exact for huge arguments too."""

def sinc(x: ArrayLike, /, out: Any = None) -> Tensor:
    """sin(pi x) / (pi x), 1 at 0 and exactly 0 at other whole numbers; NaN at infinity."""

def sinh(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Hyperbolic sine."""

def size(a: Any, axis: Any = None) -> builtins.int:
    """The number of elements, or the size of an axis, or of several together."""

def smooth_l1_loss(
    x: ArrayLike,
    target: Any,
    *,
    reduction: builtins.str = 'mean',
    beta: builtins.float = 1.0,
) -> Tensor:
    """Quadratic below `beta`, linear above (PyTorch's smooth_l1_loss)."""

def softmax(x: ArrayLike, axis: builtins.int = -1) -> Tensor:
    """exp(x) divided by its sum along an axis, without overflow; same shape and dtype."""

def softplus(
    x: ArrayLike,
    beta: builtins.float = 1.0,
    threshold: builtins.float = 20.0,
) -> Tensor:
    """log(1 + e^(beta*x)) / beta, and x itself where beta*x > threshold."""

def softsign(x: ArrayLike) -> Tensor:
    """x / (1 + |x|)."""

def sort(
    x: ArrayLike,
    axis: builtins.int | None = -1,
    *,
    descending: builtins.bool = False,
    stable: builtins.bool | None = True,
) -> Tensor:
    """x sorted along an axis (None: flattened first); equal elements keep their order whatever `stable` says, NaN is largest."""

def spacing(x: ArrayLike, *, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """The distance from x to the next number away from zero, with the sign of x (float32 and float64); NaN for infinities. Its gradient is zero."""

def split(
    x: ArrayLike,
    indices_or_sections: Any,
    axis: builtins.int = 0,
) -> builtins.tuple[Tensor, ...]:
    """NumPy's split: that many equal sections, or the pieces between the positions of a sequence."""

def sqrt(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Square root, correctly rounded."""

def square(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """x * x."""

def squeeze(x: ArrayLike, axis: Any = None) -> Tensor:
    """x without axes of size 1: all of them, or those of `axis`, which must have size 1."""

def stack(
    xs: Sequence[ArrayLike],
    axis: builtins.int = 0,
    *,
    dtype: Any = None,
    casting: builtins.str = 'same_kind',
    out: Any = None,
) -> Tensor:
    """Tensors of one shape joined along a new axis, dtypes as in `concat`."""

def std(
    x: ArrayLike,
    axis: Any = None,
    *,
    dtype: Any = None,
    correction: builtins.float = 0.0,
    keepdims: builtins.bool = False,
    where: Any = True,
    mean: Any = None,
    out: Any = None,
) -> Tensor:
    """Standard deviation over axes; see `var`. Its gradient where all elements are equal is zero, as in PyTorch."""

def subtract(
    x: ArrayLike,
    y: ArrayLike,
    /,
    out: Any = None,
    **loop: Unpack[Loop],
) -> Tensor:
    """x - y."""

def sum(
    x: ArrayLike,
    /,
    axis: Any = None,
    *,
    dtype: Any = None,
    keepdims: builtins.bool = False,
    initial: Any = None,
    where: Any = True,
    out: Any = None,
) -> Tensor:
    """Sum over axes: an int, a tuple, or None for all; the reduced axes go unless `keepdims`."""

def swapaxes(x: ArrayLike, axis1: builtins.int, axis2: builtins.int) -> Tensor:
    """x with two axes exchanged."""

def take(
    x: ArrayLike,
    indices: Any,
    axis: builtins.int | None = None,
    *,
    mode: builtins.str = 'raise',
    out: Any = None,
) -> Tensor:
    """Slices of x at integer indices along an axis (None: of the flattened tensor); negative ones wrap."""

def take_along_axis(x: ArrayLike, indices: Any, axis: builtins.int | None = -1) -> Tensor:
    """NumPy's take_along_axis: one index per result element along an axis (None: of the flattened tensor); other axes broadcast."""

def tan(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Tangent, exact for huge arguments too."""

def tanh(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """Hyperbolic tangent."""

def tensordot(a: ArrayLike, b: ArrayLike, /, axes: Any = 2) -> Tensor:
    """Sum of products over pairs of axes: an int (last of a with first of b) or two sequences."""

def tile(x: ArrayLike, reps: Any) -> Tensor:
    """x repeated as a whole along each axis."""

def topk(
    x: ArrayLike,
    k: builtins.int,
    axis: builtins.int = -1,
    *,
    largest: builtins.bool = True,
) -> builtins.tuple[Tensor, ...]:
    """The k largest (or smallest) elements along an axis, sorted, and their positions."""

def trace(
    x: ArrayLike,
    offset: builtins.int = 0,
    axis1: builtins.int = 0,
    axis2: builtins.int = 1,
    dtype: Any = None,
    *,
    out: Any = None,
) -> Tensor:
    """Sum along the diagonal of two axes (the first two by default, as NumPy's; `hybrid.linalg.trace` is that of the last two), with the dtype rule of `sum`."""

def transpose(a: ArrayLike, axes: Sequence[builtins.int] | None = None) -> Tensor:
    """All axes reversed, or axis i of the result is axis axes[i] of a."""

def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: builtins.int = -1) -> Tensor:
    """The integral of samples along an axis by the trapezoidal rule; x holds their places, or dx their distance."""

def tri(
    N: builtins.int,
    M: builtins.int | None = None,
    k: builtins.int = 0,
    dtype: Any = None,
) -> Tensor:
    """An N x M matrix (square by default) of ones on and below diagonal k; float32 by default."""

def tril(x: ArrayLike, k: builtins.int = 0) -> Tensor:
    """x with zeros above diagonal k of the last two axes."""

def tril_indices(
    n: builtins.int,
    k: builtins.int = 0,
    m: builtins.int | None = None,
) -> builtins.tuple[Tensor, ...]:
    """Positions on and below diagonal k of an n x m matrix, in row-major order."""

def tril_indices_from(arr: ArrayLike, k: builtins.int = 0) -> builtins.tuple[Tensor, ...]:
    """`tril_indices` for the shape of a matrix; ShapeError for other numbers of dimensions."""

def trim_zeros(filt: Any, trim: builtins.str = 'fb', axis: Any = None) -> Tensor:
    """x without the zeros at its ends along axes (all by default); reads the data."""

def triu(x: ArrayLike, k: builtins.int = 0) -> Tensor:
    """x with zeros below diagonal k of the last two axes."""

def triu_indices(
    n: builtins.int,
    k: builtins.int = 0,
    m: builtins.int | None = None,
) -> builtins.tuple[Tensor, ...]:
    """Positions on and above diagonal k of an n x m matrix, in row-major order."""

def triu_indices_from(arr: ArrayLike, k: builtins.int = 0) -> builtins.tuple[Tensor, ...]:
    """`triu_indices` for the shape of a matrix; ShapeError for other numbers of dimensions."""

def true_divide(
    x: ArrayLike,
    y: ArrayLike,
    /,
    out: Any = None,
    **loop: Unpack[Loop],
) -> Tensor:
    """x / y; a zero divisor gives an infinity, or NaN for 0 / 0."""

def trunc(x: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """x without its fraction. Integers and bools stay; the gradient is zero."""

def unfold(x: ArrayLike, kernel: Any, stride: Any = 1, dilation: Any = 1) -> Tensor:
    """Sliding windows over the last two axes, as two new last axes."""

def union1d(ar1: Any, ar2: Any) -> Tensor:
    """The distinct values of two tensors, in increasing order; reads the data."""

def unique(
    x: ArrayLike,
    return_index: builtins.bool = False,
    return_inverse: builtins.bool = False,
    return_counts: builtins.bool = False,
    axis: builtins.int | None = None,
    *,
    equal_nan: builtins.bool = True,
) -> Any:
    """NumPy's unique: distinct values in increasing order (None: of the flattened tensor), or distinct slices along an axis; reads the data on the host."""

def unique_all(x: ArrayLike) -> builtins.tuple[Tensor, ...]:
    """Distinct values in increasing order with positions and counts; reads the data on the host."""

def unique_counts(x: ArrayLike) -> builtins.tuple[Tensor, ...]:
    """Distinct values and how often each occurs, as a named tuple (values, counts)."""

def unique_inverse(x: ArrayLike) -> builtins.tuple[Tensor, ...]:
    """Distinct values and, for every element, the position of its value, as a named tuple (values, inverse_indices)."""

def unique_values(x: ArrayLike) -> Tensor:
    """Distinct values in increasing order, each NaN a value of its own; reads the data on the host."""

def unpackbits(
    a: ArrayLike,
    axis: builtins.int | None = None,
    count: builtins.int | None = None,
    bitorder: builtins.str = 'big',
) -> Tensor:
    """The bits of uint8 elements along an axis (None: of the flattened tensor), a uint8 each; `count` of them, zeros behind the last, or without the last ones where it is negative."""

def unravel_index(
    indices: Any,
    shape: Any,
    order: builtins.str = 'C',
) -> builtins.tuple[Tensor, ...]:
    """The position on each axis of a shape that row-major numbers (order 'F': column-major) mean."""

def unstack(x: ArrayLike, axis: builtins.int = 0) -> builtins.tuple[Tensor, ...]:
    """The slices along an axis, without it."""

def unwrap(
    p: Any,
    discont: Any = None,
    axis: builtins.int = -1,
    *,
    period: Any = 6.283185307179586,
) -> Tensor:
    """Phases along an axis, with periods added where neighbours differ by more than `discont` (half a period by default)."""

def vander(
    x: Any,
    N: builtins.int | None = None,
    increasing: builtins.bool = False,
) -> Tensor:
    """The powers of the elements of a sequence, one row each: from N - 1 (len(x) - 1 by default) down to 0, or up with `increasing`."""

def var(
    x: ArrayLike,
    axis: Any = None,
    *,
    dtype: Any = None,
    correction: builtins.float = 0.0,
    keepdims: builtins.bool = False,
    where: Any = True,
    mean: Any = None,
    out: Any = None,
) -> Tensor:
    """Variance over axes; divides by the count minus `correction` (array API; PyTorch's default is 1)."""

def vdot(a: Any, b: Any, /) -> Tensor:
    """The sum of products of the elements of two flattened tensors of one size, of complex ones with the conjugate of a."""

def vecdot(
    a: ArrayLike,
    b: ArrayLike,
    /,
    *,
    axis: builtins.int = -1,
    out: Any = None,
    **loop: Unpack[Loop],
) -> Tensor:
    """Dot products along an axis, of complex tensors with the conjugate of a; the other axes broadcast."""

def vecmat(x1: ArrayLike, x2: Any, *, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
    """conj(x1) @ x2 of vectors x1[..., n] and matrices x2[..., n, m], as [..., m]; stacks broadcast."""

def vsplit(ary: ArrayLike, indices_or_sections: Any) -> builtins.list[Tensor]:
    """ary cut along axis 0 into equal pieces, or at the given positions."""

def vstack(
    xs: Sequence[ArrayLike],
    *,
    dtype: Any = None,
    casting: builtins.str = 'same_kind',
) -> Tensor:
    """Tensors on top of each other (1-D tensors are rows)."""

def where(condition: Any, x: Any = ..., y: Any = ..., /) -> Any:
    """x where the condition holds, else y; of a condition alone, its `nonzero`."""

def xlogy(x: ArrayLike, y: ArrayLike, /, out: Any = None) -> Tensor:
    """x log(y), 0 for x = 0 unless y is NaN. There the gradient by x is 0 for y <= 0, as PyTorch's."""

def zeros(
    shape: Any,
    *sizes: Any,
    dtype: Any = None,
    device: Any = None,
    requires_grad: builtins.bool = False,
) -> Tensor:
    """Zeros of a shape given as a tuple, which a dtype may follow, or as several ints; float32 by default."""

def zeros_like(
    x: ArrayLike,
    *,
    dtype: Any = None,
    shape: Any = None,
    device: Any = None,
    requires_grad: builtins.bool = False,
) -> Tensor:
    """Zeros with the shape, dtype and device of x, as far as others are not given."""
