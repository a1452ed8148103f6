"""Made by `python tests/support/surface.py` from the marks at the functions: do not edit."""

import builtins
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from .eager.tensor import Tensor
from .core.errors import LinAlgError as LinAlgError
from .ops.typed import kron as kron
from .ops.typed import matmul as matmul
from .ops.typed import matrix_transpose as matrix_transpose
from .ops.typed import tensordot as tensordot
from .ops.typed import vecdot as vecdot

ArrayLike: TypeAlias = Any  # what hybrid.asarray takes

def cholesky(a: ArrayLike, /, *, upper: builtins.bool = False) -> Tensor:
    """The lower triangle L with a = L @ L.mH, or the upper one U with a = U.mH @ U; only that triangle of a is read. [..., n, n]; dtypes as in `inv`."""

def cholesky_solve(b: ArrayLike, factor: ArrayLike, upper: builtins.bool = False) -> Tensor:
    """The x of a @ x = b from the Cholesky factor of a (what `cholesky` gives), as PyTorch's `cholesky_solve(b, factor)`."""

def cond(x: ArrayLike, p: Any = None) -> Tensor:
    """Condition numbers [...] of matrices: the largest singular value divided by the smallest (p None, 2; -2: the other way round), else norm(x, p) * norm(inv(x), p); inf for a singular matrix."""

def cross(x1: Any, x2: Any, /, *, axis: builtins.int = -1) -> Tensor:
    """Cross products of vectors of size 3 along an axis (array API); other axes broadcast."""

def det(a: ArrayLike) -> Tensor:
    """Determinants [...] of square matrices [..., n, n]; dtypes as in `inv`."""

def diagonal(x: ArrayLike, /, *, offset: builtins.int = 0) -> Tensor:
    """The diagonals of matrices, which are the last two axes (array API)."""

def eig(a: ArrayLike, /) -> builtins.tuple[Tensor, ...]:
    """Eigenvalues [..., n] and eigenvectors [..., n, n] (columns of length 1) of square matrices, in LAPACK's order: complex64 of float32, complex128 of float64, also where NumPy gives real ones. Other dtypes as in `inv`."""

def eigh(a: ArrayLike, UPLO: builtins.str = 'L') -> builtins.tuple[Tensor, ...]:
    """Eigenvalues [..., n] in increasing order and eigenvectors [..., n, n] (columns) of symmetric (Hermitian) matrices, of which the lower ('L') or upper ('U') triangle is read. Dtypes as in `inv`; eigenvalues are real."""

def eigvals(a: ArrayLike, /) -> Tensor:
    """Eigenvalues of square matrices alone, complex numbers; see `eig`. Their gradient is finite where the matrix has n independent vectors."""

def eigvalsh(a: ArrayLike, UPLO: builtins.str = 'L') -> Tensor:
    """Eigenvalues of symmetric matrices alone; see `eigh`. Their gradient is finite everywhere."""

def inv(a: ArrayLike) -> Tensor:
    """Inverses of square matrices, [..., n, n]; float32, float64, complex64 and complex128 stay, integers and bools give float32, half types raise DTypeError."""

def lstsq(
    a: ArrayLike,
    b: ArrayLike,
    rcond: builtins.float | None = None,
) -> builtins.tuple[Tensor, ...]:
    """The x with the least |b - a @ x| (and the least |x| among these), the sums of squared residuals, the rank of a and its singular values."""

def lu(a: ArrayLike, *, pivot: builtins.bool = True) -> builtins.tuple[Tensor, ...]:
    """A permutation P, a lower triangle L with ones on its diagonal and an upper one U with a = P @ L @ U, as PyTorch's and SciPy's."""

def lu_factor(a: ArrayLike, *, pivot: builtins.bool = True) -> builtins.tuple[Tensor, ...]:
    """Both triangles of `lu` in one matrix [..., m, n] (the ones are left out), and the pivots (int32, from 1): row i was exchanged with row pivots[i] - 1, as PyTorch's."""

def lu_solve(
    LU: ArrayLike,
    pivots: ArrayLike,
    B: ArrayLike,
    *,
    left: builtins.bool = True,
    adjoint: builtins.bool = False,
) -> Tensor:
    """The x of a @ x = B from what `lu_factor` gives of a; `adjoint`: of a.mH @ x = B; `left=False`: of x @ a = B. PyTorch's."""

def matrix_exp(a: ArrayLike) -> Tensor:
    """Exponentials of square matrices: 1 + a + a @ a / 2 + ...; [..., n, n], dtypes as in `inv`."""

def matrix_norm(
    x: ArrayLike,
    /,
    *,
    keepdims: builtins.bool = False,
    ord: Any = 'fro',
) -> Tensor:
    """Norms [...] of matrices [..., m, n]: ord 'fro' (root of the sum of squares), 'nuc' (sum of the singular values), 2 and -2 (the largest and smallest of them), 1 and -1 (the largest and smallest sum of |x| down a column), inf and -inf (along a row). The largest of none is 0."""

def matrix_power(a: ArrayLike, n: builtins.int) -> Tensor:
    """Square matrices multiplied n times: ones on the diagonal for 0, powers of the inverse for a negative n. [..., n, n]; integers stay integers unless n is negative."""

def matrix_rank(
    A: ArrayLike,
    tol: Any = None,
    hermitian: builtins.bool = False,
    *,
    rtol: Any = None,
) -> Tensor:
    """How many singular values of each matrix [..., m, n] exceed `tol`, or `rtol` times the largest (by default max(m, n) times the precision of the dtype): int64 [...]."""

def multi_dot(arrays: Sequence[ArrayLike], *, out: Any = None) -> Tensor:
    """The product of two or more matrices, in the order of multiplications that takes the fewest; the first may be a row (one axis), the last a column."""

def norm(
    x: ArrayLike,
    ord: Any = None,
    axis: Any = None,
    keepdims: builtins.bool = False,
) -> Tensor:
    """NumPy's norm: of vectors along an axis, of matrices in two axes (ord as in `vector_norm` and `matrix_norm`)."""

def outer(x1: ArrayLike, x2: ArrayLike, /, *, out: Any = None) -> Tensor:
    """All products of the elements of two vectors, as a matrix; `hybrid.outer` flattens tensors."""

def pinv(
    a: ArrayLike,
    rcond: Any = None,
    hermitian: builtins.bool = False,
    *,
    rtol: Any = None,
) -> Tensor:
    """Moore and Penrose's inverses [..., n, m] of matrices [..., m, n]; dtypes as in `inv`."""

def qr(a: ArrayLike, mode: builtins.str = 'reduced') -> Any:
    """Q with orthonormal columns and an upper triangle R with a = Q @ R."""

def slogdet(a: ArrayLike) -> builtins.tuple[Tensor, ...]:
    """Sign (-1, 0 or 1; of complex matrices det / |det|) and logarithm of the size of determinants, which may be too large or small for a number; 0 and -inf of singular matrices. Shapes and dtypes as in `det`, the logarithm of complex ones is real."""

def solve(a: ArrayLike, b: ArrayLike) -> Tensor:
    """The x of a @ x = b. a: [..., n, n]; b: [..., n, k], or [n], which is one vector (and gives [..., n]); leading axes broadcast."""

def solve_triangular(
    a: ArrayLike,
    b: ArrayLike,
    *,
    upper: builtins.bool,
    left: builtins.bool = True,
    unitriangular: builtins.bool = False,
) -> Tensor:
    """The x of a @ x = b from the upper or the lower triangle of a, as PyTorch's: what else is in a is not read, nor is the diagonal where it is `unitriangular` (ones). `left=False`: x @ a = b."""

def svd(
    a: ArrayLike,
    full_matrices: builtins.bool = True,
    compute_uv: builtins.bool = True,
    hermitian: builtins.bool = False,
) -> Any:
    """U, S and Vh with a = U[..., :, :k] * S[..., None, :] @ Vh[..., :k, :], k = min(m, n)."""

def svdvals(x: ArrayLike, /) -> Tensor:
    """Singular values [..., min(m, n)] in decreasing order; see `svd`. Their gradient is finite everywhere."""

def tensorinv(a: ArrayLike, ind: builtins.int = 2) -> Tensor:
    """The inverse of a as a map of its last axes to its first `ind` ones: tensordot(tensorinv(a, ind), b, ind) is tensorsolve(a, b)."""

def tensorsolve(a: ArrayLike, b: ArrayLike, axes: Any = None) -> Tensor:
    """The x of tensordot(a, x, axes=x.ndim) = b; the `axes` of a are moved to its end first."""

def trace(
    x: ArrayLike,
    /,
    *,
    offset: builtins.int = 0,
    dtype: Any = None,
    out: Any = None,
) -> Tensor:
    """The sums along the diagonals of matrices, which are the last two axes (array API), with the dtype rule of `sum`."""

def vector_norm(
    x: ArrayLike,
    /,
    *,
    axis: Any = None,
    keepdims: builtins.bool = False,
    ord: builtins.float = 2,
) -> Tensor:
    """Norms of vectors along an axis, or of all elements of several axes (None: all): ord 2, 1, 0 (how many are not zero), inf, -inf, or any number p: sum(|x|^p)^(1/p)."""
