"""Made by `python tests/support/surface.py` from the marks at the functions: do not edit."""

import builtins
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..ir.tensor import Handle
from ..ops.typed import Loop
from .tensor import Tensor
from typing_extensions import Unpack

ArrayLike: TypeAlias = Any  # what hybrid.asarray takes

class TensorMethods(Handle):
    def abs(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """|x|; the most negative integer stays as it is. The gradient at 0 is 0."""

    def acos(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """Arccosine."""

    def acosh(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """Inverse hyperbolic cosine."""

    def add(self, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """x + y; on bool tensors logical or, as in NumPy."""

    def add_(self, *args: Any, **kwargs: Any) -> Tensor:
        """`add` whose result this tensor takes; returns self."""

    def all(
        self,
        /,
        axis: Any = None,
        *,
        keepdims: builtins.bool = False,
        where: Any = True,
        out: Any = None,
    ) -> Tensor:
        """Whether every element over the axes, in the mask `where`, is nonzero (NaN is)."""

    def allclose(
        self,
        b: Any,
        rtol: Any = 1e-05,
        atol: Any = 1e-08,
        equal_nan: builtins.bool = False,
    ) -> Tensor:
        """Whether all elements are close, as `isclose` says; a 0-d bool tensor."""

    def amax(
        self,
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
        self,
        /,
        axis: Any = None,
        *,
        keepdims: builtins.bool = False,
        initial: Any = None,
        where: Any = True,
        out: Any = None,
    ) -> Tensor:
        """Smallest element over axes, NaN if any is, -0 before +0; at most `initial`; mask, gradient and errors as `max`'s."""

    def angle(self, deg: builtins.bool = False) -> Tensor:
        """The angle of each element with the positive real axis, in radians from -pi to pi, in degrees with `deg`; NaN for NaN."""

    def any(
        self,
        /,
        axis: Any = None,
        *,
        keepdims: builtins.bool = False,
        where: Any = True,
        out: Any = None,
    ) -> Tensor:
        """Whether some element over the axes, in the mask `where`, is nonzero (NaN is)."""

    def argmax(
        self,
        /,
        axis: builtins.int | None = None,
        *,
        keepdims: builtins.bool = False,
        out: Any = None,
    ) -> Tensor:
        """Position (int64) of the first maximum along an axis, or in the flattened tensor."""

    def argmin(
        self,
        /,
        axis: builtins.int | None = None,
        *,
        keepdims: builtins.bool = False,
        out: Any = None,
    ) -> Tensor:
        """Position (int64) of the first minimum along an axis, or in the flattened tensor."""

    def argpartition(self, kth: Any, axis: builtins.int | None = -1) -> Tensor:
        """Positions (int64) along an axis (None: of the flattened tensor) that put the kth smallest element (or several) in its sorted place, none larger before and none smaller behind it; elements within these parts, and equal ones, keep their order (with more than 8 kth all are sorted)."""

    def argsort(
        self,
        axis: builtins.int | None = -1,
        *,
        descending: builtins.bool = False,
        stable: builtins.bool | None = True,
    ) -> Tensor:
        """Positions (int64) that sort x along an axis (None: of the flattened tensor); equal elements keep their order, NaN is largest."""

    def argwhere(self) -> Tensor:
        """Positions (int64, one row each) of the elements that are not zero; reads on the host how many there are."""

    def asin(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """Arcsine."""

    def asinh(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """Inverse hyperbolic sine."""

    def astype(
        self,
        /,
        dtype: Any,
        *,
        copy: builtins.bool = True,
        device: Any = None,
    ) -> Tensor:
        """x with its elements converted to `dtype`, in a tensor of its own; with copy=False (and `to`) a tensor that has the dtype is returned as it is."""

    def atan(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """Arctangent."""

    def atanh(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """Inverse hyperbolic tangent."""

    def bfloat16(self) -> Tensor:
        """Elements as bfloat16."""

    def bmm(self, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Any:
        """a @ b: matrices in the last two axes, leading axes broadcast."""

    def bool(self) -> Tensor:
        """Elements as bool."""

    def broadcast_to(self, shape: Any) -> Tensor:
        """x repeated along axes of size 1 and new leading axes, as a view."""

    def ceil(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """The smallest integer not below x. Integers and bools stay; the gradient is zero."""

    def choose(self, choices: Any, *, mode: builtins.str = 'raise', out: Any = None) -> Tensor:
        """Element [a[i]][i] of the choices, which broadcast with a and each other."""

    def chunk(
        self,
        chunks: builtins.int,
        axis: builtins.int = 0,
    ) -> builtins.tuple[Tensor, ...]:
        """At most `chunks` pieces of equal size (the last may be smaller), as PyTorch's chunk."""

    def clamp(self, min: Any = None, max: Any = None) -> Tensor:
        """x limited to [min, max]; either may be None, a number or a tensor that broadcasts."""

    def clamp_(self, *args: Any, **kwargs: Any) -> Tensor:
        """`clip` whose result this tensor takes; returns self."""

    def clip(self, min: Any = None, max: Any = None, *, out: Any = None) -> Tensor:
        """x limited to [min, max]; either may be None, a number or a tensor that broadcasts."""

    def clone(self) -> Tensor:
        """A tensor of its own with the same value; gradients flow through it."""

    def compress(
        self,
        condition: Any,
        axis: builtins.int | None = None,
        *,
        out: Any = None,
    ) -> Tensor:
        """Slices along an axis where a condition holds, as `hybrid.compress(condition, x, axis)`."""

    def conj(self, *, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """The complex conjugate of each element; the elements of a real tensor."""

    def conjugate(self, *, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """The complex conjugate of each element; the elements of a real tensor."""

    def contiguous(self) -> Tensor:
        """This tensor: how a value lies in memory is nothing that code can see."""

    def copy(self) -> Tensor:
        """A tensor of its own with the same value; gradients flow through it."""

    def copy_(self, other: Any) -> Tensor:
        """Take another tensor's elements (broadcast, cast, moved to this device); gradients follow."""

    def cos(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """Cosine, exact for huge arguments too."""

    def cosh(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """Hyperbolic cosine."""

    def count_nonzero(self, /, axis: Any = None, *, keepdims: builtins.bool = False) -> Tensor:
        """How many elements are nonzero, as int64."""

    def cpu(self) -> Tensor:
        """This tensor on the default device, the CPU; itself where it is there."""

    def cuda(self, device: Any = None, non_blocking: builtins.bool = False) -> Tensor:
        """This tensor on a CUDA device, given by its number or name (None: the current one)."""

    def cumprod(
        self,
        axis: builtins.int | None = None,
        dtype: Any = None,
        *,
        out: Any = None,
    ) -> Tensor:
        """Running products along an axis, or of the flattened tensor; otherwise as `cumsum`."""

    def cumsum(
        self,
        axis: builtins.int | None = None,
        dtype: Any = None,
        *,
        out: Any = None,
    ) -> Tensor:
        """Running sums along an axis, or of the flattened tensor (`cumulative_sum` asks for an axis)."""

    def cumulative_sum(
        self,
        axis: builtins.int | None = None,
        *,
        dtype: Any = None,
        include_initial: builtins.bool = False,
        out: Any = None,
    ) -> Tensor:
        """Running sums along an axis (optional for one dimension), behind a zero if `include_initial`."""

    def diagonal(
        self,
        offset: builtins.int = 0,
        axis1: builtins.int = 0,
        axis2: builtins.int = 1,
    ) -> Tensor:
        """The diagonal of two axes (the first two by default, as NumPy's; `hybrid.linalg.diagonal` is that of the last two), as a new last axis."""

    def dim(self) -> builtins.int:
        """Number of axes."""

    def div(self, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """x / y; a zero divisor gives an infinity, or NaN for 0 / 0."""

    def div_(self, *args: Any, **kwargs: Any) -> Tensor:
        """`divide` whose result this tensor takes; returns self."""

    def divide(self, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """x / y; a zero divisor gives an infinity, or NaN for 0 / 0."""

    def dot(self, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Any:
        """a @ b: matrices in the last two axes, leading axes broadcast."""

    def double(self) -> Tensor:
        """Elements as float64."""

    def element_size(self) -> builtins.int:
        """Bytes of one element."""

    def eq(self, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """x == y."""

    def erf(self, /, out: Any = None) -> Tensor:
        """The error function."""

    def erfinv(self, /, out: Any = None) -> Tensor:
        """The inverse of erf: y with erf(y) = x; infinite at -1 and 1, NaN beyond."""

    def exp(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """e^x."""

    def exp2(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """2^x."""

    def exp_(self, *args: Any, **kwargs: Any) -> Tensor:
        """`exp` whose result this tensor takes; returns self."""

    def expand(self, *sizes: Any) -> Tensor:
        """Broadcast to a shape; -1 keeps a size."""

    def expand_dims(self, axis: Any = 0) -> Tensor:
        """x with axes of size 1 inserted at the positions `axis` of the result."""

    def expm1(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """e^x - 1, exact near 0."""

    def fill_(self, value: Any) -> Tensor:
        """Take one number everywhere as the new value; returns self."""

    def flatten(
        self,
        start: Any = 0,
        stop: builtins.int = -1,
        *,
        order: builtins.str = 'C',
    ) -> Tensor:
        """Axes start..stop (inclusive) as one axis, as a tensor of its own: as NumPy's, it is no view, and writes to it stay in it (`reshape` and `ravel` are views where NumPy's are)."""

    def flip(self, axis: Any = None) -> Tensor:
        """x in reverse order along the axes (all by default)."""

    def float(self) -> Tensor:
        """Elements as float32."""

    def floor(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """The largest integer not above x. Integers and bools stay; the gradient is zero."""

    def gather(self, dim: builtins.int, index: Any) -> Tensor:
        """One element per position of `index` along an axis (PyTorch's order of `take_along_axis`)."""

    def ge(self, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """x >= y."""

    def gelu(self, /, out: Any = None) -> Tensor:
        """x * Phi(x), Phi the normal distribution function; -0 at minus infinity."""

    def gt(self, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """x > y."""

    def half(self) -> Tensor:
        """Elements as float16."""

    def i0(self, /, out: Any = None) -> Tensor:
        """The modified Bessel function of the first kind of order 0; infinite at both infinities."""

    def index_select(self, dim: builtins.int, index: Any) -> Tensor:
        """Slices at integer positions along an axis (PyTorch's order of `take`)."""

    def int(self) -> Tensor:
        """Elements as int32."""

    def is_floating_point(self) -> builtins.bool:
        """Whether the dtype is floating."""

    def is_pinned(self) -> builtins.bool:
        """Whether `pin_memory` made this tensor's memory."""

    def isclose(
        self,
        b: Any,
        rtol: Any = 1e-05,
        atol: Any = 1e-08,
        equal_nan: builtins.bool = False,
    ) -> Tensor:
        """Whether |a - b| <= atol + rtol * |b|, element by element, or a equals b (infinities too)."""

    def isfinite(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """Whether x is a finite number."""

    def isinf(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """Whether x is infinite."""

    def isnan(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """Whether x is NaN."""

    def item(self, *args: Any) -> Any:
        """The only element as a Python number, or the one at a place: its number in the flattened tensor, or an integer for each axis (also as a tuple)."""

    def le(self, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """x <= y."""

    def log(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """Natural logarithm."""

    def log10(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """Logarithm to base 10."""

    def log1p(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """log(1 + x), exact near 0."""

    def log2(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """Logarithm to base 2."""

    def log_softmax(self, axis: builtins.int = -1) -> Tensor:
        """Logarithm of `softmax` along an axis, exact where the softmax itself would be 0."""

    def logical_not(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """not x."""

    def logit(self, /, out: Any = None) -> Tensor:
        """log(x / (1 - x)), the inverse of expit, exact next to 1/2; infinite at 0 and 1, NaN beyond."""

    def logsumexp(self, axis: Any = None, *, keepdims: builtins.bool = False) -> Tensor:
        """log(sum(exp(x))) over axes, without overflow."""

    def long(self) -> Tensor:
        """Elements as int64."""

    def lt(self, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """x < y."""

    def masked_fill(self, mask: Any, value: Any) -> Tensor:
        """`value` (a number, or a tensor that broadcasts) where mask is true, else this tensor."""

    def matmul(self, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Any:
        """a @ b: matrices in the last two axes, leading axes broadcast."""

    def max(
        self,
        /,
        axis: Any = None,
        *,
        keepdims: builtins.bool = False,
        initial: Any = None,
        where: Any = True,
        out: Any = None,
    ) -> Tensor:
        """Largest element over axes, NaN if any is, +0 before -0; at least `initial`. ShapeError where there is no element and no `initial`."""

    def maximum(self, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """The larger of x and y; NaN if either is; -0 is below +0. Ties, zeros of both signs too, share the gradient; with a NaN both have all of it."""

    def mean(
        self,
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
        self,
        axis: Any = None,
        *,
        keepdims: builtins.bool = False,
        out: Any = None,
    ) -> Tensor:
        """The middle element over the axes (all by default), or the mean of the two in the middle."""

    def min(
        self,
        /,
        axis: Any = None,
        *,
        keepdims: builtins.bool = False,
        initial: Any = None,
        where: Any = True,
        out: Any = None,
    ) -> Tensor:
        """Smallest element over axes, NaN if any is, -0 before +0; at most `initial`; mask, gradient and errors as `max`'s."""

    def minimum(self, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """The smaller of x and y; NaN if either is; -0 is below +0. Ties, zeros of both signs too, share the gradient; with a NaN both have all of it."""

    def mm(self, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Any:
        """a @ b: matrices in the last two axes, leading axes broadcast."""

    def moveaxis(self, source: Any, destination: Any) -> Tensor:
        """Axes of x moved to new positions; the others keep their order."""

    def mul(self, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """x * y; on bool tensors logical and, as in NumPy."""

    def mul_(self, *args: Any, **kwargs: Any) -> Tensor:
        """`multiply` whose result this tensor takes; returns self."""

    def multiply(self, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """x * y; on bool tensors logical and, as in NumPy."""

    def nan_to_num(
        self,
        copy: builtins.bool = True,
        nan: Any = 0.0,
        posinf: Any = None,
        neginf: Any = None,
    ) -> Tensor:
        """x with numbers in the place of NaN and of the infinities: by default 0 and the largest and smallest number of the dtype."""

    def nanmean(
        self,
        axis: Any = None,
        dtype: Any = None,
        *,
        keepdims: builtins.bool = False,
        where: Any = True,
        out: Any = None,
    ) -> Tensor:
        """Mean of the elements over axes that are not NaN, and in the mask `where`; NaN where there is none."""

    def nanmedian(
        self,
        axis: Any = None,
        *,
        keepdims: builtins.bool = False,
        out: Any = None,
    ) -> Tensor:
        """`median` of the elements that are not NaN; NaN where there is none."""

    def nanquantile(
        self,
        q: Any,
        axis: Any = None,
        *,
        method: builtins.str = 'linear',
        keepdims: builtins.bool = False,
        weights: Any = None,
        out: Any = None,
    ) -> Tensor:
        """`quantile` of the elements that are not NaN; NaN where there is none."""

    def nansum(
        self,
        axis: Any = None,
        dtype: Any = None,
        *,
        keepdims: builtins.bool = False,
        initial: Any = None,
        where: Any = True,
        out: Any = None,
    ) -> Tensor:
        """`sum` with 0 in the place of NaN and of elements that are not in the mask `where`; `initial` is added."""

    def ne(self, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """x != y."""

    def neg(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """-x; unsigned integers wrap."""

    def neg_(self, *args: Any, **kwargs: Any) -> Tensor:
        """`negative` whose result this tensor takes; returns self."""

    def nelement(self) -> builtins.int:
        """Number of elements."""

    def nonzero(self) -> builtins.tuple[Tensor, ...]:
        """Index tensors (int64, one per axis) of the nonzero elements; reads on the host how many there are."""

    def norm(
        self,
        ord: builtins.float | None = 2,
        axis: Any = None,
        *,
        keepdims: builtins.bool = False,
    ) -> Tensor:
        """Vector norm over axes (all by default): ord 2, 1, 0, inf, -inf or any other power."""

    def numel(self) -> builtins.int:
        """Number of elements."""

    def numpy(self) -> np.ndarray:
        """A NumPy view of the value (on a GPU: a copy), of the same shape and dtype, that cannot be made writable."""

    def outer(self, b: ArrayLike, /, *, out: Any = None) -> Tensor:
        """All products of the elements of two tensors (flattened), as a matrix."""

    def permute(self, *axes: Any) -> Tensor:
        """Axes in another order."""

    def permute_dims(self, *axes: Any) -> Tensor:
        """Axes in another order."""

    def pin_memory(self) -> Tensor:
        """This tensor of the host in memory that a CUDA device reads directly, so that `.to("cuda", non_blocking=True)` does not wait for the copy."""

    def pow(self, y: Any, *, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """x to the power y. The exponents 2, 3, -1 and 0.5, given as Python numbers, are products, a reciprocal and a square root."""

    def pow_(self, *args: Any, **kwargs: Any) -> Tensor:
        """`power` whose result this tensor takes; returns self."""

    def prod(
        self,
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
        self,
        axis: Any = None,
        *,
        keepdims: builtins.bool = False,
        out: Any = None,
    ) -> Tensor:
        """The largest element less the smallest one, over axes (all by default)."""

    def put(self, ind: Any, v: Any, mode: builtins.str = 'raise') -> None:
        """Write values at row-major positions of `a`, in place: a.ravel()[ind] = v."""

    def quantile(
        self,
        q: Any,
        axis: Any = None,
        *,
        method: builtins.str = 'linear',
        keepdims: builtins.bool = False,
        weights: Any = None,
        out: Any = None,
    ) -> Tensor:
        """The values below which the shares q (0 to 1) of the elements over the axes lie."""

    def ravel(self, order: builtins.str = 'C') -> Tensor:
        """All elements as one axis, the last index running fastest, or the first with order 'F'."""

    def reciprocal(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """1 / x."""

    def relu(self, /, out: Any = None) -> Tensor:
        """x, or 0 where x is negative: -0 and NaN stay. The gradient is 0 at both zeros, as in PyTorch."""

    def relu_(self, *args: Any, **kwargs: Any) -> Tensor:
        """`relu` whose result this tensor takes; returns self."""

    def repeat(self, repeats: Any, axis: builtins.int | None = None) -> Tensor:
        """Each element `repeats` times along an axis (None: of the flattened tensor); a sequence or a tensor holds one count for each position of the axis, and is read on the host."""

    def reshape(
        self,
        *shape: Any,
        order: builtins.str = 'C',
        copy: builtins.bool | None = None,
    ) -> Tensor:
        """The same elements in another shape; one size may be -1. `order` and `copy` are those of `hybrid.reshape`."""

    def roll(self, shift: Any, axis: Any = None) -> Tensor:
        """Elements moved along axes, those pushed out at one end re-entering at the other."""

    def round(self, decimals: builtins.int = 0, *, out: Any = None) -> Tensor:
        """Rounded to a number of decimals, halves to even (NumPy's formula: scaled, rounded, scaled back)."""

    def rsqrt(self, /, out: Any = None) -> Tensor:
        """1 / sqrt(x)."""

    def searchsorted(
        self,
        x: Any,
        /,
        side: builtins.str = 'left',
        sorter: ArrayLike | None = None,
    ) -> Tensor:
        """Positions (int64) at which elements of x keep the one-dimensional `edges` sorted."""

    def sigmoid(self, /, out: Any = None) -> Tensor:
        """1 / (1 + e^-x), accurate in both tails."""

    def sign(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """-1, 0 or 1 (0 for both zeros); NaN stays NaN. Its gradient is zero."""

    def silu(self, /, out: Any = None) -> Tensor:
        """x * sigmoid(x); -0 at minus infinity."""

    def sin(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """Sine, exact for huge arguments too."""

    def sinc(self, /, out: Any = None) -> Tensor:
        """sin(pi x) / (pi x), 1 at 0 and exactly 0 at other whole numbers; NaN at infinity."""

    def sinh(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """Hyperbolic sine."""

    def softmax(self, axis: builtins.int = -1) -> Tensor:
        """exp(x) divided by its sum along an axis, without overflow; same shape and dtype."""

    def softplus(self, beta: builtins.float = 1.0, threshold: builtins.float = 20.0) -> Tensor:
        """log(1 + e^(beta*x)) / beta, and x itself where beta*x > threshold."""

    def sort(
        self,
        axis: builtins.int | None = -1,
        *,
        descending: builtins.bool = False,
        stable: builtins.bool | None = True,
    ) -> Tensor:
        """x sorted along an axis (None: flattened first); equal elements keep their order whatever `stable` says, NaN is largest."""

    def split(
        self,
        indices_or_sections: Any,
        axis: builtins.int = 0,
    ) -> builtins.tuple[Tensor, ...]:
        """NumPy's split: that many equal sections, or the pieces between the positions of a sequence."""

    def sqrt(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """Square root, correctly rounded."""

    def square(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """x * x."""

    def squeeze(self, axis: Any = None) -> Tensor:
        """x without axes of size 1: all of them, or those of `axis`, which must have size 1."""

    def std(
        self,
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

    def sub(self, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """x - y."""

    def sub_(self, *args: Any, **kwargs: Any) -> Tensor:
        """`subtract` whose result this tensor takes; returns self."""

    def subtract(self, y: ArrayLike, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """x - y."""

    def sum(
        self,
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

    def swapaxes(self, axis1: builtins.int, axis2: builtins.int) -> Tensor:
        """x with two axes exchanged."""

    def take(
        self,
        indices: Any,
        axis: builtins.int | None = None,
        *,
        mode: builtins.str = 'raise',
        out: Any = None,
    ) -> Tensor:
        """Slices of x at integer indices along an axis (None: of the flattened tensor); negative ones wrap."""

    def take_along_axis(self, indices: Any, axis: builtins.int | None = -1) -> Tensor:
        """NumPy's take_along_axis: one index per result element along an axis (None: of the flattened tensor); other axes broadcast."""

    def tan(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """Tangent, exact for huge arguments too."""

    def tanh(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """Hyperbolic tangent."""

    def tile(self, reps: Any) -> Tensor:
        """x repeated as a whole along each axis."""

    def to(
        self,
        *args: Any,
        dtype: Any = None,
        device: Any = None,
        non_blocking: builtins.bool = False,
    ) -> Tensor:
        """This tensor with another dtype and/or on another device: `t.to("float16")`, `t.to(other.device)`, `t.to(other)` (both of another tensor)."""

    def to_device(self, device: Any, /, *, stream: Any = None) -> Tensor:
        """This tensor on another device (array API)."""

    def tolist(self) -> Any:
        """Nested lists of Python numbers; of a scalar the number."""

    def topk(
        self,
        k: builtins.int,
        axis: builtins.int = -1,
        *,
        largest: builtins.bool = True,
    ) -> builtins.tuple[Tensor, ...]:
        """The k largest (or smallest) elements along an axis, sorted, and their positions."""

    def trace(
        self,
        offset: builtins.int = 0,
        axis1: builtins.int = 0,
        axis2: builtins.int = 1,
        dtype: Any = None,
        *,
        out: Any = None,
    ) -> Tensor:
        """Sum along the diagonal of two axes (the first two by default, as NumPy's; `hybrid.linalg.trace` is that of the last two), with the dtype rule of `sum`."""

    def transpose(self, *axes: Any) -> Tensor:
        """Axes in another order, as NumPy's: all reversed (no argument), or a permutation, as ints or as one sequence. Two axes are swapped by `x.swapaxes(i, j)`."""

    def tril(self, k: builtins.int = 0) -> Tensor:
        """x with zeros above diagonal k of the last two axes."""

    def triu(self, k: builtins.int = 0) -> Tensor:
        """x with zeros below diagonal k of the last two axes."""

    def trunc(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor:
        """x without its fraction. Integers and bools stay; the gradient is zero."""

    def type(self, /, dtype: Any, *, copy: builtins.bool = True, device: Any = None) -> Tensor:
        """x with its elements converted to `dtype`, in a tensor of its own; with copy=False (and `to`) a tensor that has the dtype is returned as it is."""

    def type_as(self, other: ArrayLike) -> Tensor:
        """Elements converted to the dtype of another tensor."""

    def unbind(self, axis: builtins.int = 0) -> builtins.tuple[Tensor, ...]:
        """The slices along an axis, without it."""

    def unsqueeze(self, dim: builtins.int) -> Tensor:
        """A new axis of size 1 (PyTorch's name of expand_dims)."""

    def unstack(self, axis: builtins.int = 0) -> builtins.tuple[Tensor, ...]:
        """The slices along an axis, without it."""

    def var(
        self,
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

    def view(self, *shape: Any) -> Tensor:
        """The same elements in another shape (`reshape`); one size may be -1."""

    def where(self, x: Any = ..., y: Any = ..., /) -> Any:
        """x where the condition holds, else y; of a condition alone, its `nonzero`."""

    def xlogy(self, y: ArrayLike, /, out: Any = None) -> Tensor:
        """x log(y), 0 for x = 0 unless y is NaN. There the gradient by x is 0 for y <= 0, as PyTorch's."""

    def zero_(self) -> Tensor:
        """Take zeros as the new value; returns self."""

    @property
    def T(self) -> Tensor: ...

    @property
    def mT(self) -> Tensor: ...

    @property
    def imag(self) -> Tensor: ...

    @property
    def real(self) -> Tensor: ...

    def __abs__(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor: ...

    def __add__(self, other: Any, /) -> Tensor: ...

    def __radd__(self, other: Any, /) -> Tensor: ...

    def __iadd__(self, other: Any, /) -> Tensor: ...

    def __and__(self, other: Any, /) -> Tensor: ...

    def __rand__(self, other: Any, /) -> Tensor: ...

    def __iand__(self, other: Any, /) -> Tensor: ...

    def __delitem__(self, key: Any) -> None: ...

    def __divmod__(self, other: Any) -> Any: ...

    def __eq__(self, other: Any, /) -> Tensor: ...  # type: ignore[override]

    def __floordiv__(self, other: Any, /) -> Tensor: ...

    def __rfloordiv__(self, other: Any, /) -> Tensor: ...

    def __ifloordiv__(self, other: Any, /) -> Tensor: ...

    def __ge__(self, other: Any, /) -> Tensor: ...

    def __getitem__(self, key: Any) -> Tensor: ...

    def __gt__(self, other: Any, /) -> Tensor: ...

    def __invert__(self) -> Any: ...

    def __le__(self, other: Any, /) -> Tensor: ...

    def __lshift__(self, other: Any, /) -> Tensor: ...

    def __rlshift__(self, other: Any, /) -> Tensor: ...

    def __ilshift__(self, other: Any, /) -> Tensor: ...

    def __lt__(self, other: Any, /) -> Tensor: ...

    def __matmul__(self, other: Any, /) -> Tensor: ...

    def __rmatmul__(self, other: Any, /) -> Tensor: ...

    def __imatmul__(self, other: Any, /) -> Tensor: ...

    def __mod__(self, other: Any, /) -> Tensor: ...

    def __rmod__(self, other: Any, /) -> Tensor: ...

    def __imod__(self, other: Any, /) -> Tensor: ...

    def __mul__(self, other: Any, /) -> Tensor: ...

    def __rmul__(self, other: Any, /) -> Tensor: ...

    def __imul__(self, other: Any, /) -> Tensor: ...

    def __ne__(self, other: Any, /) -> Tensor: ...  # type: ignore[override]

    def __neg__(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor: ...

    def __or__(self, other: Any, /) -> Tensor: ...

    def __ror__(self, other: Any, /) -> Tensor: ...

    def __ior__(self, other: Any, /) -> Tensor: ...

    def __pos__(self, /, out: Any = None, **loop: Unpack[Loop]) -> Tensor: ...

    def __pow__(self, other: Any, /) -> Tensor: ...

    def __rpow__(self, other: Any, /) -> Tensor: ...

    def __ipow__(self, other: Any, /) -> Tensor: ...

    def __rdivmod__(self, other: Any) -> Any: ...

    def __round__(self, decimals: Any = None) -> Any: ...

    def __rshift__(self, other: Any, /) -> Tensor: ...

    def __rrshift__(self, other: Any, /) -> Tensor: ...

    def __irshift__(self, other: Any, /) -> Tensor: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def __sub__(self, other: Any, /) -> Tensor: ...

    def __rsub__(self, other: Any, /) -> Tensor: ...

    def __isub__(self, other: Any, /) -> Tensor: ...

    def __truediv__(self, other: Any, /) -> Tensor: ...

    def __rtruediv__(self, other: Any, /) -> Tensor: ...

    def __itruediv__(self, other: Any, /) -> Tensor: ...

    def __trunc__(self) -> builtins.int: ...

    def __xor__(self, other: Any, /) -> Tensor: ...

    def __rxor__(self, other: Any, /) -> Tensor: ...

    def __ixor__(self, other: Any, /) -> Tensor: ...
