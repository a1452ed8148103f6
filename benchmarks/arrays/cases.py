"""What is called: for each function that hybrid and NumPy share, the arguments of one call.

Invariant: a call is the same text for both libraries, but for what RANDOM and LINALG say; what is
not timed is in UNTIMED, by its reason (a test holds the tables against both libraries).
"""

from __future__ import annotations

from math import isqrt
from typing import Any

import numpy as np

__all__ = ["ITEMS", "cases", "untimed", "scope"]


def _lines(rng: np.random.Generator, size: int) -> dict[str, np.ndarray]:
    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    def uniform(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, size).astype(np.float32)

    ends = np.zeros(9, np.float32)
    return {
        "a": normal(size),
        "b": normal(size),
        "z": normal(size),
        "p": uniform(0.1, 3),
        "u": uniform(-0.99, 0.99),
        "q": uniform(1.1, 3),
        "i": rng.integers(0, 1000, size),
        "j": rng.integers(1, 1000, size),
        "s": rng.integers(0, 20, size),
        "k": rng.integers(0, size, size),
        "e": rng.integers(-10, 10, size).astype(np.int32),
        "m": rng.random(size) < 0.5,
        "n": rng.random(size) < 0.5,
        "c": normal(size) + 1j * normal(size),
        "d": normal(size) + 1j * normal(size),
        "S": np.sort(normal(size)),
        "B": rng.integers(0, 255, size, np.uint8),
        "f": np.where(rng.random(size) < 0.5, normal(size), np.float32(np.nan)),
        "r": rng.integers(0, 3, size // 2),
        "h": normal(size // 2),
        "o": np.concatenate([ends, normal(size - 18), ends]),
        "x": rng.standard_normal(size),
        "w": rng.uniform(0.1, 3, size),
    }


def _matrices(rng: np.random.Generator, size: int) -> dict[str, np.ndarray]:
    side = isqrt(size)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    square = normal(side, side)
    half = rng.random((side, side)) < 0.5
    positive = (square @ square.T / side + np.eye(side)).astype(np.float32)
    return {
        "M": square,
        "W": normal(side, side),
        "Z": normal(side, side),
        "H": half,
        "V": normal(int(half.sum())),
        "F": rng.random((side, side)) < 0.0001,
        "L": rng.random((side, side)) < 0.01,
        "A": rng.random((side, side)) < 0.99,
        "R": rng.integers(0, side, side),
        "I": rng.integers(0, side, (side, side)),
        "v": normal(100),
        "t": normal(side),
        "T": normal(size // 3, 3),
        "U": normal(size // 3, 3),
        "y": normal(100, size // 100),
        "P": positive,
        "D": square[:200, :200].copy(),
        "Q": positive[:200, :200].copy(),
    }


def arrays(size: int) -> dict[str, np.ndarray]:
    """The arguments by name, of `size` elements (matrices: as many rows as columns)."""
    rng = np.random.default_rng(0)
    return {**_lines(rng, size), **_matrices(rng, size)}


# arguments -> functions
CALLS = {
    "a": """abs absolute angle argmax argmin argsort argwhere around atan arctan
        array asarray asarray_chkfinite asanyarray ascontiguousarray asinh arcsinh atleast_1d
        atleast_2d atleast_3d average cbrt ceil copy cos cosh count_nonzero cumprod cumsum
        cumulative_prod cumulative_sum deg2rad degrees diff ediff1d empty_like exp exp2
        expm1 fabs fix flatnonzero flip frexp gradient i0 imag iscomplex iscomplexobj isfinite isinf
        isnan isneginf isposinf isreal isrealobj max amax mean median min amin modf nan_to_num ndim
        negative nonzero ones_like positive prod ptp rad2deg radians ravel real real_if_close
        reciprocal rint round shape sign signbit sin sinc sinh size sort spacing square squeeze std
        sum tan tanh trapezoid trunc floor unwrap var zeros_like linalg.norm linalg.vector_norm
        fft.fft fft.rfft fft.fftshift fft.ifftshift""",
    "f": """nanargmax nanargmin nancumprod nancumsum nanmax nanmean nanmedian nanmin nanprod nanstd
        nansum nanvar""",
    "p": "log log10 log1p log2 sqrt",
    "u": "acos arccos asin arcsin atanh arctanh",
    "q": "acosh arccosh",
    "a, b": """add allclose append arctan2 array_equal array_equiv atan2 broadcast_arrays
        copysign divide equal fmax fmin greater greater_equal heaviside hypot
        inner isclose less less_equal logaddexp logaddexp2 maximum minimum multiply nextafter
        not_equal subtract true_divide vdot vecdot linalg.vecdot dot""",
    "a, p": "divmod floor_divide fmod mod remainder",
    "p, a": "float_power pow power",
    "m": "all any bitwise_not logical_not invert bitwise_invert packbits",
    "m, n": "logical_and logical_or logical_xor",
    "i": "bincount bitwise_count unique unique_all unique_counts unique_inverse unique_values",
    "i, j": """bitwise_and bitwise_or bitwise_xor gcd lcm intersect1d setdiff1d setxor1d union1d
        isin""",
    "i, s": """bitwise_left_shift bitwise_right_shift left_shift right_shift""",
    "B": "unpackbits",
    "a, e": "ldexp",
    "a, v": "convolve correlate",
    "(a, b)": "column_stack concat concatenate dstack hstack stack vstack lexsort",
    "[[a], [b]]": "block",
    "M": """corrcoef cov diagonal fliplr flipud matrix_transpose rot90 trace transpose
        tril triu fft.fft2 fft.ifft2 fft.rfft2 fft.fftn fft.ifftn fft.rfftn linalg.diagonal
        linalg.matrix_norm linalg.matrix_transpose linalg.qr linalg.trace""",
    "v, a[:10000]": "kron",
    "M, W": "matmul linalg.matmul",
    "M, t": "matvec",
    "t, M": "vecmat",
    "t, t": "outer linalg.outer",
    "y, y, axes=([1], [1])": "tensordot linalg.tensordot",
    "T, U": "cross linalg.cross",
    "P": "linalg.cholesky linalg.det linalg.inv linalg.slogdet",
    "P, t": "linalg.solve",
    "Q": "linalg.eigh linalg.eigvalsh linalg.matrix_rank",
    "D": """linalg.cond linalg.eig linalg.eigvals linalg.pinv linalg.svd linalg.svdvals""",
    "D, D[:, 0]": "linalg.lstsq",
    "D, 5": "linalg.matrix_power",
    "[M, W, M]": "linalg.multi_dot",
    "c": "conj conjugate fft.ifft fft.irfft fft.hfft",
    "t": "diag diagflat  fft.ihfft",
    "t, 9": "vander",
    "v": "roots poly",
    "v, v[:9]": "polydiv",
    "v, v": "polyadd polymul polysub",
    "v, a": "polyval",
    "v, ": "polyder polyint",
    "a, b, 3": "polyfit",
    "a, 20": "histogram histogram_bin_edges argpartition partition",
    "a, b, 20": "histogram2d",
    "(a, b), 20": "histogramdd",
    "a > 0, a": "compress extract",
    "a, S[::5000]": "digitize",
    "S, a": "searchsorted",
    "a, S, b": "interp",
    "a, 0.3": "quantile",
    "a, 30.0": "percentile",
    "f, 0.3": "nanquantile",
    "f, 30.0": "nanpercentile",
    "a, 2": "delete repeat",
    "a, (2,)": "tile",
    "a, 5, 1.0": "insert",
    "a, 10": "pad",
    "a, 100": "roll array_split split",
    "M, 0, 1": "moveaxis swapaxes",
    "M, 1": "rollaxis",
    "M, 10": "hsplit vsplit",
    "M[:, :, None], 1": "dsplit",
    "M,": "unstack",
    "o": "trim_zeros",
    "a, 0": "expand_dims",
    "a, 'float64'": "astype",
    "a, (10, -1)": "reshape",
    "a, (10, 50)": "resize",
    "M, (1, 0)": "permute_dims",
    "c.reshape((side, -1))": "fft.irfft2 fft.irfftn",
    "a, (10, size)": "broadcast_to",
    "a, -1, 1": "clip",
    "a, k": "take",
    "M, I, 1": "take_along_axis",
    "M, I, W, 1": "put_along_axis",
    "z, k, a": "put",
    "z, m, a": "place putmask",
    "z, a": "copyto",
    "Z, 1.0": "fill_diagonal",
    "m, a, b": "where",
    "r, (h, h, h)": "choose",
    "(m, n), (a, b)": "select",
    "a, [m], [1.0]": "piecewise",
    "'i,i->', a, b": "einsum",
    "(i, i), (1000, 1000)": "ravel_multi_index",
    "k, (1000, size)": "unravel_index",
    "size": "arange bartlett blackman hamming hanning empty ones zeros fft.fftfreq fft.rfftfreq",
    "size, 8.0": "kaiser",
    "size, 1.0": "full",
    "a, 1.0": "full_like",
    "side": "eye identity tri diag_indices tril_indices triu_indices",
    "M ,": "diag_indices_from tril_indices_from triu_indices_from",
    "0.0, 5.0, size": " linspace logspace",
    "1.0, 5.0, size": "geomspace",
    "(side, side)": "indices",
    "t, t ": "meshgrid",
    "t, r": "ix_",
}
# the same functions on other dtypes: suffix -> arguments -> functions
OTHERS = {
    "complex64": {
        "c": """abs angle cos cumprod cumsum exp gradient isfinite log mean nan_to_num nansum
            negative prod real round sin sort sqrt square std sum tanh var linalg.norm""",
        "c, d": "add allclose divide dot equal isclose multiply subtract vdot",
        "c, k": "take",
        "m, c, d": "where",
    },
    "float64": {
        "x": """abs argmax argsort cos cumsum exp log1p max mean median rint sin sort sqrt square
            std sum tanh""",
        "w, x": "add divide multiply power",
    },
    "of a mask": {"H": "argwhere flatnonzero nonzero"},
    "of a mask of 1%": {"L": "argwhere flatnonzero nonzero"},
    "of many values": {"a": "unique", "a, b": "intersect1d setdiff1d setxor1d union1d"},
    "with inverse": {"i, return_inverse=True": "unique"},
    "of many values with inverse": {"a, return_inverse=True": "unique"},
    "int64": {
        "i": "abs argmax cumsum max mean prod sort square sum",
        "i, j": "add equal floor_divide maximum multiply remainder",
    },
}
# methods of a Generator, and functions of hybrid.random: size= is added
RANDOM = {
    "": """random normal standard_normal exponential standard_exponential gumbel laplace logistic
        lognormal  uniform standard_cauchy""",
    "0, 100": "integers",
    "2.0, 3.0": "beta f gamma",
    "2.0": "chisquare pareto power standard_gamma standard_t rayleigh weibull",
    "20, 0.3": "binomial negative_binomial",
    "5.0": "poisson",
    "0.3": "geometric logseries",
    "30, 20, 10": "hypergeometric",
    "3.0, 2.0": "noncentral_chisquare wald",
    "3.0, 2.0, 1.0": "noncentral_f",
    "0.0, 1.0, 2.0": "triangular",
    "0.0, 2.0": "vonmises",
    "1.5": "zipf",
    "100": "choice",
}
TAKEN = {"a": "permutation permuted"}  # the same, without size=
# reads and writes of items of a matrix
ITEMS = {
    "x[i,j]": "Z.__getitem__((7, 5))",
    "x[i]": "Z.__getitem__(7)",
    "x[i,j]=1": "Z.__setitem__((7, 5), 1.0)",
    "x[i]=1": "Z.__setitem__(7, 1.0)",
    "x[i]=row": "Z.__setitem__(7, t)",
    "x[:,j]=1": "Z.__setitem__((slice(None), 7), 1.0)",
    "x[rows]=1": "Z.__setitem__([3, 9, 4], 1.0)",
    "x[points]": "Z.__getitem__((R, R))",
    "x[points]=1": "Z.__setitem__((R, R), 1.0)",
    "x[few]": "Z.__getitem__(F)",
    "x[few]=1": "Z.__setitem__(F, 1.0)",
    "x[mask]": "Z.__getitem__(H)",
    "x[mask of 1%]": "Z.__getitem__(L)",
    "x[mask of 99%]": "Z.__getitem__(A)",
    "x[mask]=1": "Z.__setitem__(H, 1.0)",
    "x[mask]=values": "Z.__setitem__(H, V)",
    "x[i]+=1": "Z.__setitem__(7, Z[7].__iadd__(1.0))",
}
UNTIMED = {
    "it says something of types or shapes": """broadcast_shapes can_cast finfo iinfo
        isdtype isscalar promote_types result_type""",
    "it calls a function of the user's": "apply_along_axis apply_over_axes fromfunction fromiter "
    "mask_indices",
    "it is another name of vstack, which NumPy 2.5 has no more": "row_stack",
    "it shares memory of another library": "from_dlpack frombuffer",
    "it takes an array of many small matrices, shapes or counts": """linalg.tensorinv
        linalg.tensorsolve""",
    "it changes its argument, so that each call finds another one": "random.shuffle",
    "a row of it is a sample of many numbers": """random.dirichlet random.multinomial
        random.multivariate_hypergeometric random.multivariate_normal""",
}


def cases() -> dict[str, str]:
    """Name -> call, with `xp` for the library and `rng` for its random functions."""
    made = {}
    for table, form in (
        (CALLS, "xp.{name}({given})"),
        (RANDOM, "rng.{name}({given}, size=size)"),
        (TAKEN, "rng.{name}({given})"),
    ):
        for given, names in table.items():
            for name in names.split():
                shown = name if table is CALLS else f"random.{name}"
                made[shown] = form.format(name=name, given=given.strip(", ")).replace("(, ", "(")
    for suffix, calls in OTHERS.items():
        for given, names in calls.items():
            made |= {f"{name} {suffix}": f"xp.{name}({given})" for name in names.split()}
    return made | ITEMS


def untimed() -> dict[str, str]:
    """Name -> why it is not timed."""
    return {name: reason for reason, names in UNTIMED.items() for name in names.split()}


def scope(xp: Any, rng: Any, size: int, convert: Any) -> dict[str, Any]:
    """What a call's text may name."""
    found = {name: convert(array) for name, array in arrays(size).items()}
    return {**found, "xp": xp, "rng": rng, "size": size, "side": isqrt(size)}
