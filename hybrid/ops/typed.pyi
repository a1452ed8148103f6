"""Made by `python tests/support/surface.py` from the marks at the functions: do not edit."""

import builtins
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..eager.tensor import Tensor as Tensor
from .indexing.generators import Generator as Generator

ArrayLike: TypeAlias = Any  # what hybrid.asarray takes
__all__ = [
    "Generator",
    "abs",
    "acos",
    "acosh",
    "adaptive_avg_pool2d",
    "add",
    "all",
    "amax",
    "amin",
    "any",
    "arange",
    "argmax",
    "argmin",
    "argsort",
    "asin",
    "asinh",
    "astype",
    "atan",
    "atan2",
    "atanh",
    "atleast_1d",
    "avg_pool1d",
    "avg_pool2d",
    "batch_norm",
    "bernoulli",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "bitwise_and",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "broadcast_arrays",
    "broadcast_to",
    "categorical",
    "cbrt",
    "ceil",
    "celu",
    "chunk",
    "clip",
    "clone",
    "concat",
    "conv1d",
    "conv2d",
    "conv_transpose2d",
    "copysign",
    "cos",
    "cosh",
    "cosine_similarity",
    "count_nonzero",
    "cross_entropy",
    "cumulative_prod",
    "cumulative_sum",
    "default_generator",
    "diagonal",
    "diff",
    "divide",
    "dot",
    "dropout",
    "einsum",
    "elu",
    "embed_diagonal",
    "embedding",
    "empty",
    "empty_like",
    "equal",
    "erf",
    "erfc",
    "exp",
    "exp2",
    "expand_dims",
    "expm1",
    "eye",
    "flatten",
    "flip",
    "floor",
    "floor_divide",
    "fmod",
    "full",
    "full_like",
    "gelu",
    "gelu_tanh",
    "getitem",
    "greater",
    "greater_equal",
    "group_norm",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hstack",
    "huber_loss",
    "hypot",
    "index_add",
    "isfinite",
    "isin",
    "isinf",
    "isnan",
    "kl_div",
    "kron",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "less",
    "less_equal",
    "linear",
    "linspace",
    "log",
    "log10",
    "log1p",
    "log2",
    "log_sigmoid",
    "log_softmax",
    "logaddexp",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "logsumexp",
    "manual_seed",
    "masked_select",
    "matmul",
    "matrix_transpose",
    "max",
    "max_pool1d",
    "max_pool2d",
    "maximum",
    "mean",
    "meshgrid",
    "min",
    "minimum",
    "mish",
    "moveaxis",
    "mse_loss",
    "multiply",
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
    "pad",
    "permute_dims",
    "positive",
    "pow",
    "power",
    "prod",
    "put_along_axis",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "random_bits",
    "randperm",
    "reciprocal",
    "relu",
    "relu6",
    "remainder",
    "repeat",
    "reshape",
    "rms_norm",
    "roll",
    "round",
    "rsqrt",
    "scaled_dot_product_attention",
    "searchsorted",
    "selu",
    "setitem",
    "sigmoid",
    "sign",
    "signbit",
    "silu",
    "sin",
    "sinh",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "softsign",
    "sort",
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
    "tril",
    "triu",
    "trunc",
    "unfold",
    "unique",
    "unique_all",
    "unique_counts",
    "unique_inverse",
    "unique_values",
    "unstack",
    "var",
    "vecdot",
    "vstack",
    "where",
    "zeros",
    "zeros_like",
]

def abs(x: ArrayLike, /) -> Tensor:
    """|x|; the most negative integer stays as it is. The gradient at 0 is 0."""

def acos(x: ArrayLike, /) -> Tensor:
    """Arccosine."""

def acosh(x: ArrayLike, /) -> Tensor:
    """Inverse hyperbolic cosine."""

def adaptive_avg_pool2d(x: ArrayLike, output_size: Any) -> Tensor:
    """Means over equal windows so that the result has `output_size`, which must divide the image."""

def add(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """x + y; on bool tensors logical or, as in NumPy."""

def all(x: ArrayLike, /, axis: Any = None, *, keepdims: builtins.bool = False) -> Tensor:
    """Whether every element over the axes is nonzero (NaN is)."""

def amax(x: ArrayLike, /, axis: Any = None, *, keepdims: builtins.bool = False) -> Tensor:
    """Largest element over axes, NaN if any is, +0 before -0; ShapeError where there is no element."""

def amin(x: ArrayLike, /, axis: Any = None, *, keepdims: builtins.bool = False) -> Tensor:
    """Smallest element over axes, NaN if any is, -0 before +0; gradient and errors as `max`'s."""

def any(x: ArrayLike, /, axis: Any = None, *, keepdims: builtins.bool = False) -> Tensor:
    """Whether some element over the axes is nonzero (NaN is)."""

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

def argmax(
    x: ArrayLike,
    /,
    axis: builtins.int | None = None,
    *,
    keepdims: builtins.bool = False,
) -> Tensor:
    """Position (int64) of the first maximum along an axis, or in the flattened tensor."""

def argmin(
    x: ArrayLike,
    /,
    axis: builtins.int | None = None,
    *,
    keepdims: builtins.bool = False,
) -> Tensor:
    """Position (int64) of the first minimum along an axis, or in the flattened tensor."""

def argsort(
    x: ArrayLike,
    axis: builtins.int = -1,
    *,
    descending: builtins.bool = False,
    stable: builtins.bool = True,
) -> Tensor:
    """Positions (int64) that sort x along an axis; equal elements keep their order, NaN is largest."""

def asin(x: ArrayLike, /) -> Tensor:
    """Arcsine."""

def asinh(x: ArrayLike, /) -> Tensor:
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

def atan(x: ArrayLike, /) -> Tensor:
    """Arctangent."""

def atan2(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """The angle of the point (x, y), quadrants and signed zeros as in C."""

def atanh(x: ArrayLike, /) -> Tensor:
    """Inverse hyperbolic tangent."""

def atleast_1d(x: ArrayLike) -> Tensor:
    """x, with one axis when it has none."""

def avg_pool1d(
    x: ArrayLike,
    kernel_size: builtins.int,
    stride: builtins.int | None = None,
    padding: builtins.int = 0,
) -> Tensor:
    """PyTorch's avg_pool1d over [N, C, L] (or [C, L])."""

def avg_pool2d(
    x: ArrayLike,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    *,
    count_include_pad: builtins.bool = True,
) -> Tensor:
    """PyTorch's avg_pool2d: means over windows; padding counts as zeros, or not at all."""

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

def bitwise_and(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """Bits set in both."""

def bitwise_invert(x: ArrayLike, /) -> Tensor:
    """All bits flipped."""

def bitwise_left_shift(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """x * 2^n, wrapping; counts outside 0..width-1 give 0."""

def bitwise_or(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """Bits set in either."""

def bitwise_right_shift(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """floor(x / 2^n); counts outside 0..width-1 give 0 or -1."""

def bitwise_xor(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """Bits set in one only."""

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

def cbrt(x: ArrayLike, /) -> Tensor:
    """Cube root."""

def ceil(x: ArrayLike, /) -> Tensor:
    """The smallest integer not below x. Integers stay as they are; the gradient is zero."""

def celu(x: ArrayLike, alpha: builtins.float = 1.0) -> Tensor:
    """x where positive, alpha * (e^(x/alpha) - 1) elsewhere."""

def chunk(
    x: ArrayLike,
    chunks: builtins.int,
    axis: builtins.int = 0,
) -> builtins.tuple[Tensor, ...]:
    """At most `chunks` pieces of equal size (the last may be smaller), as PyTorch's chunk."""

def clip(x: ArrayLike, min: Any = None, max: Any = None) -> Tensor:
    """x limited to [min, max]; either may be None, a number or a tensor that broadcasts."""

def clone(x: ArrayLike, /) -> Tensor:
    """The same elements in a tensor of their own."""

def concat(xs: Sequence[ArrayLike], axis: builtins.int | None = 0) -> Tensor:
    """Tensors joined along an existing axis (None: flattened first); dtypes are promoted, and sequences of Python numbers take the dtype of the tensors."""

def conv1d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: builtins.int = 1,
    padding: Any = 0,
    dilation: builtins.int = 1,
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

def copysign(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """|x| with the sign of y, that of zeros and infinities too; a NaN y counts as positive, whatever its sign bit: the sign of a NaN is unspecified here, and numpy.copysign of .numpy() reads it. The gradient at x = 0 is zero."""

def cos(x: ArrayLike, /) -> Tensor:
    """Cosine, exact for huge arguments too."""

def cosh(x: ArrayLike, /) -> Tensor:
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

def cumulative_prod(
    x: ArrayLike,
    axis: builtins.int | None = None,
    *,
    dtype: Any = None,
    include_initial: builtins.bool = False,
) -> Tensor:
    """Running products along an axis (optional for one dimension), behind a one if `include_initial`."""

def cumulative_sum(
    x: ArrayLike,
    axis: builtins.int | None = None,
    *,
    dtype: Any = None,
    include_initial: builtins.bool = False,
) -> Tensor:
    """Running sums along an axis (optional for one dimension), behind a zero if `include_initial`."""

def default_generator(device: Any = None) -> Generator:
    """The generator of a device, which functions use when none is given."""

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

def divide(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """x / y; a zero divisor gives an infinity, or NaN for 0 / 0."""

def dot(a: ArrayLike, b: ArrayLike, /) -> Tensor:
    """NumPy's dot: products with scalars, inner products, matmul; with more dimensions, sums over the last axis of a and the second last of b."""

def dropout(
    x: ArrayLike,
    p: builtins.float = 0.5,
    training: builtins.bool = True,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """x with elements zeroed with probability p, the others scaled by 1 / (1 - p); x itself when not training."""

def einsum(spec: builtins.str, *operands: ArrayLike) -> Tensor:
    """Einstein summation in NumPy's notation, for example ``einsum("bij,bjk->bik", a, b)``."""

def elu(x: ArrayLike, alpha: builtins.float = 1.0) -> Tensor:
    """x where positive, alpha * (e^x - 1) elsewhere."""

def embed_diagonal(x: ArrayLike, offset: builtins.int = 0) -> Tensor:
    """Square matrices with the last axis of x on diagonal `offset` (torch.diag_embed)."""

def embedding(weight: ArrayLike, index: Any) -> Tensor:
    """Rows of weight[n, d] at integer indices of any shape; negative indices are errors, as in PyTorch."""

def empty(
    shape: Any,
    *sizes: builtins.int,
    dtype: Any = None,
    device: Any = None,
    requires_grad: builtins.bool = False,
) -> Tensor:
    """Zeros of a shape given as a tuple or as several ints; float32 by default."""

def empty_like(
    x: ArrayLike,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: builtins.bool = False,
) -> Tensor:
    """Zeros with the shape, dtype and device of x."""

def equal(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """x == y."""

def erf(x: ArrayLike, /) -> Tensor:
    """The error function."""

def erfc(x: ArrayLike, /) -> Tensor:
    """1 - erf(x), accurate in the tail."""

def exp(x: ArrayLike, /) -> Tensor:
    """e^x."""

def exp2(x: ArrayLike, /) -> Tensor:
    """2^x."""

def expand_dims(x: ArrayLike, axis: Any = 0) -> Tensor:
    """x with axes of size 1 inserted at the positions `axis` of the result."""

def expm1(x: ArrayLike, /) -> Tensor:
    """e^x - 1, exact near 0."""

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

def flatten(x: ArrayLike, start: builtins.int = 0, stop: builtins.int = -1) -> Tensor:
    """Axes start..stop (inclusive) as one axis."""

def flip(x: ArrayLike, axis: Any = None) -> Tensor:
    """x in reverse order along the axes (all by default)."""

def floor(x: ArrayLike, /) -> Tensor:
    """The largest integer not above x. Integers stay as they are; the gradient is zero."""

def floor_divide(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """floor(x / y); integer division by zero gives 0, and a finite number divided by an infinity a zero of either sign, as the array API has it. Not differentiable."""

def fmod(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """x - y*trunc(x/y), exactly, with the sign of x (C's fmod)."""

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
    device: Any = None,
    requires_grad: builtins.bool = False,
) -> Tensor:
    """`full` with the shape, dtype and device of x."""

def gelu(x: ArrayLike, /) -> Tensor:
    """x * Phi(x), Phi the normal distribution function; -0 at minus infinity."""

def gelu_tanh(x: ArrayLike, /) -> Tensor:
    """gelu in Hendrycks and Gimpel's tanh form."""

def getitem(x: ArrayLike, key: Any) -> Tensor:
    """x[key]: ints, slices, None, ..., integer and bool tensors, or a tuple of them, as in NumPy."""

def greater(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """x > y."""

def greater_equal(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """x >= y."""

def group_norm(
    x: ArrayLike,
    num_groups: builtins.int,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: builtins.float = 1e-05,
) -> Tensor:
    """PyTorch's group_norm: x[N, C, ...] normalised over groups of channels."""

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

def hstack(xs: Sequence[ArrayLike]) -> Tensor:
    """Tensors side by side (along axis 1; 1-D tensors along axis 0)."""

def huber_loss(
    x: ArrayLike,
    target: Any,
    *,
    reduction: builtins.str = 'mean',
    delta: builtins.float = 1.0,
) -> Tensor:
    """Quadratic up to `delta`, linear above (PyTorch's huber_loss)."""

def hypot(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """sqrt(x^2 + y^2) without overflow. Its gradient at the origin is zero, as norm's."""

def index_add(x: ArrayLike, axis: builtins.int, index: Any, source: Any) -> Tensor:
    """x plus slices of `source` added at integer indices along an axis (torch.index_add)."""

def isfinite(x: ArrayLike, /) -> Tensor:
    """Whether x is a finite number."""

def isin(x: Any, test: Any, /, *, invert: builtins.bool = False) -> Tensor:
    """Whether each element of x equals some element of `test`; NaN equals nothing."""

def isinf(x: ArrayLike, /) -> Tensor:
    """Whether x is infinite."""

def isnan(x: ArrayLike, /) -> Tensor:
    """Whether x is NaN."""

def kl_div(
    x: ArrayLike,
    target: Any,
    *,
    reduction: builtins.str = 'mean',
    log_target: builtins.bool = False,
) -> Tensor:
    """PyTorch's kl_div: t * (log t - x) for log probabilities x; 'batchmean' divides by the first size."""

def kron(a: ArrayLike, b: ArrayLike, /) -> Tensor:
    """Kronecker product of tensors of one rank."""

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

def leaky_relu(x: ArrayLike, negative_slope: builtins.float = 0.01) -> Tensor:
    """x where positive, negative_slope * x elsewhere."""

def less(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """x < y."""

def less_equal(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """x <= y."""

def linear(x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> Tensor:
    """x[..., in] @ weight[out, in].T + bias[out], rounded once; the result is [..., out]."""

def linspace(
    start: builtins.float,
    stop: builtins.float,
    num: builtins.int = 50,
    endpoint: builtins.bool = True,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: builtins.bool = False,
) -> Tensor:
    """`num` evenly spaced numbers from start to stop; the end is exact."""

def log(x: ArrayLike, /) -> Tensor:
    """Natural logarithm."""

def log10(x: ArrayLike, /) -> Tensor:
    """Logarithm to base 10."""

def log1p(x: ArrayLike, /) -> Tensor:
    """log(1 + x), exact near 0."""

def log2(x: ArrayLike, /) -> Tensor:
    """Logarithm to base 2."""

def log_sigmoid(x: ArrayLike, /) -> Tensor:
    """log(sigmoid(x)) without overflow."""

def log_softmax(x: ArrayLike, axis: builtins.int = -1) -> Tensor:
    """Logarithm of `softmax` along an axis, exact where the softmax itself would be 0."""

def logaddexp(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """log(e^x + e^y) without overflow. Equal operands share the gradient, infinities too."""

def logical_and(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """x and y."""

def logical_not(x: ArrayLike, /) -> Tensor:
    """not x."""

def logical_or(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """x or y."""

def logical_xor(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """x exclusive or y."""

def logsumexp(x: ArrayLike, axis: Any = None, *, keepdims: builtins.bool = False) -> Tensor:
    """log(sum(exp(x))) over axes, without overflow."""

def manual_seed(seed: builtins.int) -> Generator:
    """Seed the default generators of all devices; gives that of the default device."""

def masked_select(x: ArrayLike, mask: ArrayLike) -> Tensor:
    """Elements of x where the mask (of x's shape) is true, in order, as one axis."""

def matmul(x: ArrayLike, y: ArrayLike, /) -> Any:
    """a @ b: matrices in the last two axes, leading axes broadcast."""

def matrix_transpose(x: ArrayLike) -> Tensor:
    """The last two axes exchanged."""

def max(x: ArrayLike, /, axis: Any = None, *, keepdims: builtins.bool = False) -> Tensor:
    """Largest element over axes, NaN if any is, +0 before -0; ShapeError where there is no element."""

def max_pool1d(
    x: ArrayLike,
    kernel_size: builtins.int,
    stride: builtins.int | None = None,
    padding: builtins.int = 0,
    dilation: builtins.int = 1,
) -> Tensor:
    """PyTorch's max_pool1d over [N, C, L] (or [C, L])."""

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

def maximum(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """The larger of x and y; NaN if either is; -0 is below +0. Ties, zeros of both signs too, share the gradient; with a NaN both have all of it."""

def mean(
    x: ArrayLike,
    /,
    axis: Any = None,
    *,
    dtype: Any = None,
    keepdims: builtins.bool = False,
) -> Tensor:
    """Mean over axes, as `sum` takes them; NaN of no elements."""

def meshgrid(
    *arrays: ArrayLike,
    indexing: builtins.str = 'xy',
    sparse: builtins.bool = False,
) -> builtins.tuple[Tensor, ...]:
    """Coordinate matrices of one-dimensional tensors ('xy' as NumPy's default, 'ij' for matrix order), given one by one or as one list of tensors; each keeps its dtype. `sparse`: each of size 1 along the other axes, to be broadcast."""

def min(x: ArrayLike, /, axis: Any = None, *, keepdims: builtins.bool = False) -> Tensor:
    """Smallest element over axes, NaN if any is, -0 before +0; gradient and errors as `max`'s."""

def minimum(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """The smaller of x and y; NaN if either is; -0 is below +0. Ties, zeros of both signs too, share the gradient; with a NaN both have all of it."""

def mish(x: ArrayLike) -> Tensor:
    """x * tanh(softplus(x))."""

def moveaxis(x: ArrayLike, source: Any, destination: Any) -> Tensor:
    """Axes of x moved to new positions; the others keep their order."""

def mse_loss(x: ArrayLike, target: Any, *, reduction: builtins.str = 'mean') -> Tensor:
    """Squared differences; ShapeError unless x and target have one shape (nothing broadcasts)."""

def multiply(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """x * y; on bool tensors logical and, as in NumPy."""

def negative(x: ArrayLike, /) -> Tensor:
    """-x; unsigned integers wrap."""

def nextafter(x: ArrayLike, y: ArrayLike, /) -> Tensor:
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
    """Index tensors (int64, one per axis) of the nonzero elements; reads the data on the host."""

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

def not_equal(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """x != y."""

def one_hot(index: ArrayLike, num_classes: builtins.int, *, dtype: Any = None) -> Tensor:
    """[..., num_classes] with 1 where the class is the index (all 0 where it is out of range); float32 by default. `nn.functional.one_hot` is PyTorch's: int64, checked."""

def ones(
    shape: Any,
    *sizes: builtins.int,
    dtype: Any = None,
    device: Any = None,
    requires_grad: builtins.bool = False,
) -> Tensor:
    """Ones of a shape given as a tuple or as several ints; float32 by default."""

def ones_like(
    x: ArrayLike,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: builtins.bool = False,
) -> Tensor:
    """Ones with the shape, dtype and device of x."""

def outer(a: ArrayLike, b: ArrayLike, /) -> Tensor:
    """All products of the elements of two tensors (flattened), as a matrix."""

def pad(
    x: ArrayLike,
    pad_width: Any,
    mode: builtins.str = 'constant',
    *,
    constant_values: Any = 0,
) -> Tensor:
    """NumPy's pad: widths as an int, (before, after), or one pair per axis."""

def permute_dims(x: ArrayLike, axes: Sequence[builtins.int]) -> Tensor:
    """Axis i of the result is axis axes[i] of x."""

def positive(x: ArrayLike, /) -> Tensor:
    """x itself."""

def pow(x: ArrayLike, y: Any) -> Tensor:
    """x to the power y. The exponents 2, 3, -1 and 0.5, given as Python numbers, are products, a reciprocal and a square root."""

def power(x: ArrayLike, y: Any) -> Tensor:
    """x to the power y. The exponents 2, 3, -1 and 0.5, given as Python numbers, are products, a reciprocal and a square root."""

def prod(
    x: ArrayLike,
    /,
    axis: Any = None,
    *,
    dtype: Any = None,
    keepdims: builtins.bool = False,
) -> Tensor:
    """Product over axes (all by default), with the dtype rule of `sum`."""

def put_along_axis(
    x: ArrayLike,
    indices: Any,
    values: Any,
    axis: builtins.int = -1,
) -> Tensor:
    """A copy of x with `values` written where take_along_axis reads; the last write to an element stays."""

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

def randperm(x: Any, *, generator: Generator | None = None, device: Any = None) -> Tensor:
    """0..x-1 in random order for an int, else x with its first axis in random order."""

def reciprocal(x: ArrayLike, /) -> Tensor:
    """1 / x."""

def relu(x: ArrayLike, /) -> Tensor:
    """x, or 0 where x is negative: -0 and NaN stay. The gradient is 0 at both zeros, as in PyTorch."""

def relu6(x: ArrayLike) -> Tensor:
    """x limited to [0, 6]."""

def remainder(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """x - y*floor(x/y), exactly, with the sign of y (Python's %); an integer modulo zero is 0."""

def repeat(x: ArrayLike, repeats: Any, axis: builtins.int | None = None) -> Tensor:
    """Each element `repeats` times along an axis (None: of the flattened tensor); a sequence or a tensor holds one count for each position of the axis, and is read on the host."""

def reshape(x: ArrayLike, shape: Any, *, copy: builtins.bool | None = None) -> Tensor:
    """x under another shape; one size may be -1."""

def rms_norm(
    x: ArrayLike,
    normalized_shape: Any,
    weight: ArrayLike | None = None,
    eps: builtins.float | None = None,
) -> Tensor:
    """PyTorch's rms_norm over the last axes; eps defaults to the machine epsilon of x's dtype."""

def roll(x: ArrayLike, shift: Any, axis: Any = None) -> Tensor:
    """Elements moved along axes, those pushed out at one end re-entering at the other."""

def round(x: ArrayLike, decimals: builtins.int = 0) -> Tensor:
    """x rounded to the nearest multiple of 10^-decimals, halves to even; computed as NumPy does, by scaling."""

def rsqrt(x: ArrayLike, /) -> Tensor:
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

def selu(x: ArrayLike) -> Tensor:
    """1.0507 * elu(x, 1.6733): the self-normalising elu."""

def setitem(x: ArrayLike, key: Any, value: Any) -> Tensor:
    """A tensor like x after x[key] = value; the last write to an element stays."""

def sigmoid(x: ArrayLike, /) -> Tensor:
    """1 / (1 + e^-x), accurate in both tails."""

def sign(x: ArrayLike, /) -> Tensor:
    """-1, 0 or 1 (0 for both zeros); NaN stays NaN. Its gradient is zero."""

def signbit(x: ArrayLike, /) -> Tensor:
    """Whether x is negative, -0 and minus infinity included; false for every NaN: the sign bit of a NaN is unspecified here, and numpy.signbit of .numpy() reads it."""

def silu(x: ArrayLike, /) -> Tensor:
    """x * sigmoid(x); -0 at minus infinity."""

def sin(x: ArrayLike, /) -> Tensor:
    """Sine, exact for huge arguments too."""

def sinh(x: ArrayLike, /) -> Tensor:
    """Hyperbolic sine."""

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
    axis: builtins.int = -1,
    *,
    descending: builtins.bool = False,
    stable: builtins.bool = True,
) -> Tensor:
    """x sorted along an axis; equal elements keep their order, NaN is largest."""

def split(
    x: ArrayLike,
    indices_or_sections: Any,
    axis: builtins.int = 0,
) -> builtins.tuple[Tensor, ...]:
    """NumPy's split: that many equal sections, or the pieces between the positions of a sequence."""

def sqrt(x: ArrayLike, /) -> Tensor:
    """Square root, correctly rounded."""

def square(x: ArrayLike, /) -> Tensor:
    """x * x."""

def squeeze(x: ArrayLike, axis: Any = None) -> Tensor:
    """x without axes of size 1: all of them, or those of `axis`, which must have size 1."""

def stack(xs: Sequence[ArrayLike], axis: builtins.int = 0) -> Tensor:
    """Tensors of one shape joined along a new axis, dtypes as in `concat`."""

def std(
    x: ArrayLike,
    axis: Any = None,
    *,
    correction: builtins.float = 0.0,
    keepdims: builtins.bool = False,
) -> Tensor:
    """Standard deviation over axes; see `var`. Its gradient where all elements are equal is zero, as in PyTorch."""

def subtract(x: ArrayLike, y: ArrayLike, /) -> Tensor:
    """x - y."""

def sum(
    x: ArrayLike,
    /,
    axis: Any = None,
    *,
    dtype: Any = None,
    keepdims: builtins.bool = False,
) -> Tensor:
    """Sum over axes: an int, a tuple, or None for all; the reduced axes go unless `keepdims`."""

def swapaxes(x: ArrayLike, axis1: builtins.int, axis2: builtins.int) -> Tensor:
    """x with two axes exchanged."""

def take(x: ArrayLike, indices: Any, axis: builtins.int | None = None) -> Tensor:
    """Slices of x at integer indices along an axis (None: of the flattened tensor); negative ones wrap."""

def take_along_axis(x: ArrayLike, indices: Any, axis: builtins.int = -1) -> Tensor:
    """NumPy's take_along_axis: one index per result element along an axis; other axes broadcast."""

def tan(x: ArrayLike, /) -> Tensor:
    """Tangent, exact for huge arguments too."""

def tanh(x: ArrayLike, /) -> Tensor:
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
) -> Tensor:
    """Sum along the diagonal of two axes (the first two by default, as NumPy's; `hybrid.linalg.trace` is that of the last two), with the dtype rule of `sum`."""

def tril(x: ArrayLike, k: builtins.int = 0) -> Tensor:
    """x with zeros above diagonal k of the last two axes."""

def triu(x: ArrayLike, k: builtins.int = 0) -> Tensor:
    """x with zeros below diagonal k of the last two axes."""

def trunc(x: ArrayLike, /) -> Tensor:
    """x without its fraction. Integers stay as they are; the gradient is zero."""

def unfold(x: ArrayLike, kernel: Any, stride: Any = 1, dilation: Any = 1) -> Tensor:
    """Sliding windows over the last two axes, as two new last axes."""

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

def unstack(x: ArrayLike, axis: builtins.int = 0) -> builtins.tuple[Tensor, ...]:
    """The slices along an axis, without it."""

def var(
    x: ArrayLike,
    axis: Any = None,
    *,
    correction: builtins.float = 0.0,
    keepdims: builtins.bool = False,
) -> Tensor:
    """Variance over axes; divides by the count minus `correction` (array API; PyTorch's default is 1)."""

def vecdot(a: ArrayLike, b: ArrayLike, /, *, axis: builtins.int = -1) -> Tensor:
    """Dot products along an axis; the other axes broadcast."""

def vstack(xs: Sequence[ArrayLike]) -> Tensor:
    """Tensors on top of each other (1-D tensors are rows)."""

def where(condition: ArrayLike, left: ArrayLike, right: ArrayLike, /) -> Tensor:
    """x where the condition holds, else y."""

def zeros(
    shape: Any,
    *sizes: builtins.int,
    dtype: Any = None,
    device: Any = None,
    requires_grad: builtins.bool = False,
) -> Tensor:
    """Zeros of a shape given as a tuple or as several ints; float32 by default."""

def zeros_like(
    x: ArrayLike,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: builtins.bool = False,
) -> Tensor:
    """Zeros with the shape, dtype and device of x."""
