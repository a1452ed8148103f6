"""Calls of NumPy's functions with complex operands, and of hybrid's under the same names.

Invariant: a row is (name, arguments, keywords); arrays among them, also in lists, become tensors.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import hybrid as hb

RNG = np.random.default_rng(11)
NAN, INF = np.nan, np.inf


def numbers(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape) + 1j * RNG.normal(size=shape)


Z, W, V, U = numbers(3, 4), numbers(3, 4), numbers(6), numbers(4)
R, X = RNG.normal(size=(3, 4)), np.arange(6.0) ** 1.5
SIZES = RNG.uniform(1, 2, (3, 4)) * np.exp(1j * np.pi * RNG.uniform(-0.9, 0.9, (3, 4)))
HALVES = np.array([0.5 + 1.5j, -0.25 - 2.5j, 2.675 + 3j])
TIES = np.array([2 + 1j, 1 - 1j, 1 - 2j, 2 + 1j, 0j, 1 - 1j, 3])
GAPS = np.array([1 + 2j, complex(NAN, 1), 3 - 1j, complex(0, NAN), 2j])
WILD = np.array([complex(INF, 1), complex(2, -INF), complex(NAN, INF), 1 + 1j, 0])
M = numbers(2, 3, 4)

CALLS: list[tuple[Any, ...]] = [
    # reductions
    ("sum", Z),
    ("sum", M, {"axis": (0, 2), "keepdims": True}),
    ("mean", Z, {"axis": 1}),
    ("prod", Z, {"axis": 0}),
    ("var", Z),
    ("var", M, {"axis": 1, "ddof": 1}),
    ("std", Z, {"axis": 0}),
    ("average", Z, {"axis": 0}),
    ("average", Z, {"axis": 0, "weights": np.array([1.0, 2, 3])}),
    ("average", Z, {"axis": 1, "weights": U}),
    ("cov", Z),
    ("cov", Z, W),
    ("cov", Z, {"rowvar": False, "ddof": 0}),
    ("cov", Z, {"aweights": np.array([1.0, 2, 3, 4])}),
    ("corrcoef", Z),
    ("corrcoef", V, V[::-1] * 1j),
    ("cumsum", Z),
    ("cumsum", Z, {"axis": 1}),
    ("cumprod", Z, {"axis": 0}),
    ("cumulative_sum", Z, {"axis": 0, "include_initial": True}),
    ("cumulative_prod", Z, {"axis": 1}),
    ("nansum", GAPS),
    ("nanprod", GAPS),
    ("nanmean", GAPS),
    ("nanvar", GAPS),
    ("nanstd", GAPS),
    ("nancumsum", GAPS),
    ("nancumprod", GAPS),
    ("count_nonzero", TIES),
    ("any", Z, {"axis": 0}),
    ("all", TIES),
    # steps and curves
    ("diff", Z),
    ("diff", Z, {"n": 2, "axis": 0, "prepend": 1j}),
    ("ediff1d", Z),
    ("ediff1d", V, {"to_begin": np.array([1j])}),
    ("gradient", V),
    ("gradient", Z, {"axis": 1}),
    ("gradient", V, X),
    ("gradient", V, {"edge_order": 2}),
    ("trapezoid", Z),
    ("trapezoid", V, X),
    ("interp", np.array([0.5, 3.0, -1, 99]), X, V),
    ("interp", np.array([0.5, -1.0, 99]), X, V, {"left": 1j, "right": 2.0}),
    ("cross", Z[:, :3], W[:, :3]),
    ("convolve", V, U),
    ("convolve", U, V, {"mode": "same"}),
    ("convolve", V, X[:3], {"mode": "valid"}),
    ("correlate", V, U, {"mode": "full"}),
    ("correlate", U, V, {"mode": "same"}),
    ("correlate", V, U),
    # polynomials
    ("polyval", U, Z),
    ("polyval", R[0], Z),
    ("polyval", U, R),
    ("polyadd", U, V),
    ("polysub", U, V),
    ("polymul", U, V),
    ("polydiv", V, U),
    ("polyder", V),
    ("polyint", V, {"k": 1j}),
    ("polyfit", X, V, 2),
    ("polyfit", V, V**2 + 1j, 2),
    ("vander", U),
    ("vander", U, 3, {"increasing": True}),
    # comparisons
    ("isclose", Z, Z + 1e-9),
    ("isclose", GAPS, GAPS, {"equal_nan": True}),
    ("isclose", WILD, WILD),
    ("allclose", Z, Z + 1e-9j),
    ("array_equal", Z, Z),
    ("array_equal", Z, W),
    ("array_equal", GAPS, GAPS, {"equal_nan": True}),
    ("array_equiv", Z, Z),
    ("equal", Z, W),
    ("not_equal", Z, R),
    ("isnan", GAPS),
    ("isinf", WILD),
    ("isfinite", WILD),
    ("iscomplex", TIES),
    ("isreal", TIES),
    ("iscomplexobj", Z),
    ("isrealobj", Z),
    ("real_if_close", np.array([1 + 0j, 2 + 1e-18j])),
    ("real_if_close", Z),
    ("nan_to_num", WILD),
    ("nan_to_num", WILD, {"nan": 1.0, "posinf": 2.0, "neginf": -3.0}),
    # selection
    ("where", R > 0, Z, W),
    ("where", R > 0, Z, 0),
    ("where", R > 0, R, 1j),
    ("select", [R > 0.5, R < -0.5], [Z, W]),
    ("select", [R > 0.5, R < -0.5], [Z, R], {"default": 2j}),
    ("choose", np.array([0, 1, 1, 0]), [U, V[:4]]),
    ("compress", [True, False, True], Z, {"axis": 0}),
    ("extract", R > 0, Z),
    ("argwhere", TIES),
    ("nonzero", TIES),
    ("flatnonzero", TIES),
    ("take", Z, np.array([2, 0]), {"axis": 1}),
    ("take_along_axis", Z, np.array([[0], [1], [3]]), {"axis": 1}),
    ("trim_zeros", np.array([0, 1j, 2, 0])),
    ("histogram", X, {"bins": 3, "weights": V}),
    ("cumsum", np.zeros((0, 3)) * 1j, {"axis": 0}),
    ("mean", np.zeros((0, 3)) * 1j, {"axis": 1}),
    ("var", np.array(2 + 1j)),
    ("cov", np.array([[1 + 1j], [2]])),
    ("nan_to_num", np.array(complex(NAN, -INF))),
    # order, as NumPy has it: by real parts, then by imaginary ones
    ("sort", TIES),
    ("sort", Z, {"axis": 0}),
    ("argsort", TIES, {"stable": True}),
    ("unique", TIES),
    ("unique_counts", TIES),
    ("unique_inverse", TIES),
    ("union1d", TIES, V),
    ("intersect1d", TIES, np.array([2 + 1j, 3, 9])),
    ("setdiff1d", TIES, np.array([2 + 1j, 9])),
    ("setxor1d", TIES, np.array([2 + 1j, 9])),
    ("isin", TIES, np.array([2 + 1j, 3, 9])),
    # arrangement
    ("concatenate", [Z, R]),
    ("stack", [Z, W], {"axis": 1}),
    ("hstack", [Z, W]),
    ("vstack", [Z, W]),
    ("dstack", [Z, W]),
    ("column_stack", [V, X]),
    ("block", [[Z, W], [W, R]]),
    ("append", Z, W),
    ("insert", V, 2, 1j),
    ("delete", V, 2),
    ("array_split", V, 4),
    ("split", V, 3),
    ("reshape", Z, (4, 3)),
    ("ravel", Z),
    ("transpose", M),
    ("moveaxis", M, 0, 2),
    ("flip", Z),
    ("flipud", Z),
    ("rot90", Z),
    ("roll", Z, 1),
    ("tile", Z, (2, 1)),
    ("repeat", Z, 2, {"axis": 0}),
    ("resize", Z, (2, 3)),
    ("broadcast_to", U, (2, 4)),
    ("squeeze", Z[None]),
    ("expand_dims", Z, 1),
    ("atleast_2d", V),
    ("pad", Z, 1, {"constant_values": 1j}),
    ("meshgrid", U, V),
    ("tril", Z),
    ("triu", Z, 1),
    ("diag", U),
    ("diag", Z),
    ("diagflat", U),
    ("diagonal", Z),
    ("trace", Z),
    ("apply_along_axis", lambda row: row.sum(), 1, Z),
    ("apply_over_axes", lambda x, axis: x.sum(axis, keepdims=True), M, [0, 2]),
    # products
    ("kron", Z, U),
    ("outer", U, V),
    ("inner", Z, W),
    ("vdot", Z, W),
    ("dot", Z, W.T),
    ("matmul", Z, W.T),
    ("tensordot", Z, W, ([0], [0])),
    ("tensordot", M, W, 2),
    ("einsum", "ij,kj->ik", Z, W),
    ("einsum", "ij->j", Z),
    ("einsum", "ij,j", R, U),
    ("vecdot", Z, W),
    ("matvec", Z, U),
    ("vecmat", U, Z.T),
    # elementwise
    ("angle", Z),
    ("angle", Z, {"deg": True}),
    ("real", Z),
    ("imag", Z),
    ("conj", Z),
    ("conjugate", Z),
    ("absolute", Z),
    ("abs", Z),
    ("sign", Z),
    ("sign", np.array([0j, 3j, -2])),
    ("reciprocal", Z),
    ("square", Z),
    ("positive", Z),
    ("negative", Z),
    ("sqrt", Z),
    ("exp", Z),
    ("exp2", Z),
    ("expm1", Z),
    ("log", Z),
    ("log2", Z),
    ("log10", Z),
    ("log1p", Z),
    ("sinh", Z),
    ("arctan", Z),
    ("sinc", Z),
    ("power", SIZES, W),
    ("power", SIZES, 3),
    ("power", SIZES, R),
    ("pow", R**2, 1j),
    ("float_power", SIZES, W),
    ("add", Z, 1j),
    ("subtract", R, Z),
    ("multiply", Z, W),
    ("divide", Z, W),
    ("true_divide", R, Z),
    ("round", HALVES),
    ("around", HALVES, 1),
    ("rint", HALVES),
    ("logical_and", TIES, 1),
    ("logical_not", TIES),
    ("logical_xor", TIES, TIES[::-1]),
    # made
    ("linspace", 0, 1 + 2j, 5),
    ("linspace", 1j, 3, 4, {"endpoint": False}),
    ("linspace", U, V[:4], 3),
    ("linspace", 0, 1, 5, {"dtype": "complex128"}),
    ("logspace", 0, 1j, 5),
    ("logspace", 0, 2, 3, {"base": 1 + 1j}),
    ("geomspace", 1, 1j, 4),
    ("geomspace", 1 + 1j, 8 + 8j, 4),
    ("geomspace", -1, -16, 5),
    ("zeros", (2, 3), {"dtype": "complex128"}),
    ("ones", 3, {"dtype": "complex64"}),
    ("full", (2,), 1 + 2j, {"dtype": "complex128"}),
    ("full_like", R, 2, {"dtype": "complex128"}),
    ("zeros_like", Z),
    ("ones_like", Z),
    ("full_like", Z, 1j),
    ("empty", (0, 2), {"dtype": "complex64"}),
    ("eye", 3, {"dtype": "complex128"}),
    ("eye", 3, 4, 1, {"dtype": "complex64"}),
    ("identity", 3, {"dtype": "complex64"}),
    ("tri", 3, {"dtype": "complex128"}),
    ("arange", 5, {"dtype": "complex128"}),
    ("arange", 1, 4, 0.5, {"dtype": "complex64"}),
    ("array", [[1j, 2], [3, 4]], {"dtype": "complex128"}),
    ("asarray", Z.T),
    ("asarray", [R, R], {"dtype": "complex128"}),
    ("copy", Z),
    ("astype", Z, "complex64"),
]

# what orders its operands, or takes real numbers alone, in NumPy too or (marked) only here
REFUSED: list[tuple[Any, ...]] = [
    ("less", Z, W),
    ("greater_equal", Z, 0),
    ("max", Z),
    ("min", Z),
    ("argmax", Z),
    ("argmin", Z),
    ("maximum", Z, W),
    ("minimum", Z, W),
    ("fmax", Z, W),
    ("clip", Z, 0, 1),
    ("ptp", Z),
    ("nanmax", Z),
    ("nanargmin", Z),
    ("median", Z),
    ("nanmedian", Z),
    ("quantile", Z, 0.5),
    ("percentile", Z, 50),
    ("partition", V, 2),
    ("searchsorted", X, V),
    ("digitize", V, X),
    ("histogram", V),
    ("bincount", TIES),
    ("unwrap", Z),
    ("copysign", Z, W),
    ("signbit", Z),
    ("nextafter", Z, W),
    ("spacing", Z),
    ("floor", Z),
    ("ceil", Z),
    ("trunc", Z),
    ("fix", Z),
    ("floor_divide", Z, W),
    ("remainder", Z, W),
    ("fmod", Z, W),
    ("divmod", Z, W),
    ("modf", Z),
    ("frexp", Z),
    ("ldexp", Z, 2),
    ("fabs", Z),
    ("cbrt", Z),
    ("hypot", Z, W),
    ("arctan2", Z, W),
    ("logaddexp", Z, W),
    ("deg2rad", Z),
    ("degrees", Z),
    ("heaviside", Z, W),
    ("i0", Z),
    ("isposinf", Z),
    ("isneginf", Z),
    ("bitwise_and", Z, W),
    ("gcd", Z, W),
    ("interp", V, X, X),
    ("packbits", V),
]


def in_dtype(value: Any, dtype: str) -> Any:
    """An argument with its arrays, complex and real, in single or double precision."""
    if isinstance(value, (list, tuple)):
        return type(value)([in_dtype(part, dtype) for part in value])
    if isinstance(value, str) and value == "complex128":
        return dtype
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fc":
        return value
    if value.dtype.kind == "c":
        return value.astype(dtype)
    return value.astype("float32" if dtype == "complex64" else "float64")


def tensors(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)([tensors(part) for part in value])
    return hb.tensor(value) if isinstance(value, np.ndarray) else value


def split_row(row: tuple[Any, ...]) -> tuple[str, list[Any], dict[str, Any]]:
    name, *args = row
    more = args.pop() if args and isinstance(args[-1], dict) else {}
    return name, args, more


def keywords(name: str, more: dict[str, Any]) -> dict[str, Any]:
    """Under hybrid's names: ddof of var and std is the standard's correction."""
    renamed = {"ddof": "correction"} if name in ("var", "std") else {}
    return {renamed.get(key, key): tensors(value) for key, value in more.items()}


def label(row: tuple[Any, ...]) -> str:
    name, args, more = split_row(row)
    shapes = [list(a.shape) if isinstance(a, np.ndarray) else type(a).__name__ for a in args]
    return f"{name}-{shapes}-{list(more)}".replace(" ", "")


def leaves(result: Any) -> list[Any]:
    if isinstance(result, (list, tuple)):
        return [leaf for part in result for leaf in leaves(part)]
    return [result]
