"""The Python array API standard 2025.12: its namespace, its signatures, its answers about dtypes.

The signatures are the standard's own
(https://data-apis.org/array-api/2025.12/API_specification/)."""

from __future__ import annotations

import inspect
import math
import operator

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.array_api import make_strategies_namespace

import hybrid as hb
from hybrid.core import dtypes as dt

STANDARD = """
arange(start, /, stop=None, step=1, *, dtype=None, device=None)
asarray(obj, /, *, dtype=None, device=None, copy=None)
empty(shape, *, dtype=None, device=None)
empty_like(x, /, *, dtype=None, device=None)
eye(n_rows, n_cols=None, /, *, k=0, dtype=None, device=None)
from_dlpack(x, /, *, device=None, copy=None)
full(shape, fill_value, *, dtype=None, device=None)
full_like(x, /, fill_value, *, dtype=None, device=None)
linspace(start, stop, /, num, *, dtype=None, device=None, endpoint=True)
meshgrid(*arrays, indexing='xy')
ones(shape, *, dtype=None, device=None)
ones_like(x, /, *, dtype=None, device=None)
tril(x, /, *, k=0)
triu(x, /, *, k=0)
zeros(shape, *, dtype=None, device=None)
zeros_like(x, /, *, dtype=None, device=None)
astype(x, dtype, /, *, copy=True, device=None)
can_cast(from_, to, /)
finfo(type, /)
iinfo(type, /)
isdtype(dtype, kind)
result_type(*arrays_and_dtypes)
abs(x, /)
acos(x, /)
acosh(x, /)
add(x1, x2, /)
asin(x, /)
asinh(x, /)
atan(x, /)
atan2(x1, x2, /)
atanh(x, /)
bitwise_and(x1, x2, /)
bitwise_left_shift(x1, x2, /)
bitwise_invert(x, /)
bitwise_or(x1, x2, /)
bitwise_right_shift(x1, x2, /)
bitwise_xor(x1, x2, /)
ceil(x, /)
clip(x, /, min=None, max=None)
conj(x, /)
copysign(x1, x2, /)
cos(x, /)
cosh(x, /)
divide(x1, x2, /)
equal(x1, x2, /)
exp(x, /)
expm1(x, /)
floor(x, /)
floor_divide(x1, x2, /)
greater(x1, x2, /)
greater_equal(x1, x2, /)
hypot(x1, x2, /)
imag(x, /)
isfinite(x, /)
isinf(x, /)
isnan(x, /)
less(x1, x2, /)
less_equal(x1, x2, /)
log(x, /)
log1p(x, /)
log2(x, /)
log10(x, /)
logaddexp(x1, x2, /)
logical_and(x1, x2, /)
logical_not(x, /)
logical_or(x1, x2, /)
logical_xor(x1, x2, /)
maximum(x1, x2, /)
minimum(x1, x2, /)
multiply(x1, x2, /)
negative(x, /)
nextafter(x1, x2, /)
not_equal(x1, x2, /)
positive(x, /)
pow(x1, x2, /)
real(x, /)
reciprocal(x, /)
remainder(x1, x2, /)
round(x, /)
sign(x, /)
signbit(x, /)
sin(x, /)
sinh(x, /)
square(x, /)
sqrt(x, /)
subtract(x1, x2, /)
tan(x, /)
tanh(x, /)
trunc(x, /)
take(x, indices, /, *, axis=None)
take_along_axis(x, indices, /, *, axis=-1)
matmul(x1, x2, /)
matrix_transpose(x, /)
tensordot(x1, x2, /, *, axes=2)
vecdot(x1, x2, /, *, axis=-1)
broadcast_arrays(*arrays)
broadcast_shapes(*shapes)
broadcast_to(x, /, shape)
concat(arrays, /, *, axis=0)
expand_dims(x, /, axis)
flip(x, /, *, axis=None)
moveaxis(x, source, destination, /)
permute_dims(x, /, axes)
repeat(x, repeats, /, *, axis=None)
reshape(x, /, shape, *, copy=None)
roll(x, /, shift, *, axis=None)
squeeze(x, /, axis)
stack(arrays, /, *, axis=0)
tile(x, repetitions, /)
unstack(x, /, *, axis=0)
argmax(x, /, *, axis=None, keepdims=False)
argmin(x, /, *, axis=None, keepdims=False)
count_nonzero(x, /, *, axis=None, keepdims=False)
nonzero(x, /)
searchsorted(x1, x2, /, *, side='left', sorter=None)
where(condition, x1, x2, /)
isin(x1, x2, /, *, invert=False)
unique_all(x, /)
unique_counts(x, /)
unique_inverse(x, /)
unique_values(x, /)
argsort(x, /, *, axis=-1, descending=False, stable=True)
sort(x, /, *, axis=-1, descending=False, stable=True)
cumulative_sum(x, /, *, axis=None, dtype=None, include_initial=False)
cumulative_prod(x, /, *, axis=None, dtype=None, include_initial=False)
max(x, /, *, axis=None, keepdims=False)
mean(x, /, *, axis=None, keepdims=False)
min(x, /, *, axis=None, keepdims=False)
prod(x, /, *, axis=None, dtype=None, keepdims=False)
std(x, /, *, axis=None, correction=0.0, keepdims=False)
sum(x, /, *, axis=None, dtype=None, keepdims=False)
var(x, /, *, axis=None, correction=0.0, keepdims=False)
all(x, /, *, axis=None, keepdims=False)
any(x, /, *, axis=None, keepdims=False)
diff(x, /, *, axis=-1, n=1, prepend=None, append=None)
"""
KINDS = inspect.Parameter


def wanted(row: str) -> tuple[str, inspect.Signature]:
    space: dict = {}
    exec(f"def {row}: ...", space)
    name = row.partition("(")[0]
    return name, inspect.signature(space[name])


@pytest.mark.parametrize("row", STANDARD.split("\n")[1:-1], ids=lambda row: row.partition("(")[0])
def test_functions_can_be_called_as_the_standard_has_them(row):
    name, signature = wanted(row)
    ours = inspect.signature(getattr(hb, name))
    every = signature.parameters.values()
    for needed in (True, False):  # with what is needed only, and with all that there is
        given = [p for p in every if p.default is p.empty or not needed]
        placed = [
            p.name for p in given if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ] + [p.name for p in given if p.kind is p.VAR_POSITIONAL]
        ours.bind(*placed, **{p.name: p.name for p in given if p.kind is p.KEYWORD_ONLY})
    named = [p for p in every if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for parameter in named:
        assert parameter.name in ours.parameters, parameter
        mine = ours.parameters[parameter.name]
        assert mine.kind in (KINDS.POSITIONAL_OR_KEYWORD, KINDS.KEYWORD_ONLY), mine
        if parameter.default is not parameter.empty:
            assert mine.default == parameter.default


METHODS = """abs add and array_namespace bool complex dlpack dlpack_device eq float floordiv ge
getitem gt index int invert le lshift lt matmul mod mul ne neg or pos pow rshift setitem sub truediv
xor"""
BINARY = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift"


def test_a_tensor_has_every_method_and_attribute():
    names = [f"__{n}__" for n in METHODS.split()] + ["to_device"]
    names += [f"__{way}{n}__" for n in BINARY.split() for way in "ri"]
    names += "dtype device mT ndim shape size T".split()
    assert not [n for n in names if not hasattr(hb.Tensor, n)]
    dlpack = inspect.signature(hb.Tensor.__dlpack__).parameters
    assert list(dlpack) == ["self", "stream", "max_version", "dl_device", "copy"]
    assert all(dlpack[n].kind is KINDS.KEYWORD_ONLY for n in list(dlpack)[1:])


def test_the_namespace():
    x = hb.zeros(2)
    assert hb.__array_api_version__ == "2025.12" and x.__array_namespace__() is hb
    assert x.__array_namespace__(api_version="2022.12") is hb
    with pytest.raises(hb.ArgumentError, match=r"2031.12.*2025.12"):
        x.__array_namespace__(api_version="2031.12")
    info = hb.__array_namespace_info__()
    assert info.capabilities() == {
        "boolean indexing": True,
        "data-dependent shapes": True,
        "max dimensions": 64,
    }
    assert info.default_device() in info.devices() and type(info.devices()) is tuple
    defaults = info.default_dtypes(device=info.default_device())
    assert defaults["real floating"] is hb.asarray(1.0).dtype
    assert defaults["integral"] is hb.asarray(1).dtype
    assert defaults["indexing"] is hb.argsort(hb.zeros(2)).dtype
    floats = info.dtypes(kind="real floating", device="cpu")
    assert floats == {"float32": hb.float32, "float64": hb.float64}
    assert info.dtypes(kind=("bool", "signed integer")) == {
        "bool": hb.bool,
        **{f"int{n}": getattr(hb, f"int{n}") for n in (8, 16, 32, 64)},
    }
    assert all(getattr(hb, name) is dtype for name, dtype in info.dtypes().items())
    assert "float16" not in info.dtypes()  # the standard's dtypes
    for call in (lambda: info.dtypes(kind="float"), lambda: hb.isdtype(hb.int8, "float")):
        with pytest.raises(hb.ArgumentError, match="kinds are bool"):
            call()


def test_importing_all_leaves_the_builtin_bool_alone():
    space: dict = {}
    exec("from hybrid import *", space)
    assert "bool" not in space and hb.bool is hb.bool_ and "bool" in dir(hb)


@pytest.mark.parametrize("name", sorted({d.name for d in dt.ALL}))
def test_kinds_of_dtypes(name):
    dtype = hb.zeros(0, dtype=name).dtype
    group = name.rstrip("0123456789")
    holds = {
        "bool": ["bool"],
        "int": ["signed integer", "integral", "numeric"],
        "uint": ["unsigned integer", "integral", "numeric"],
        "float": ["real floating", "numeric"],
        "bfloat": ["real floating", "numeric"],
        "complex": ["complex floating", "numeric"],
    }[group]
    every = "bool/signed integer/unsigned integer/integral/real floating/complex floating/numeric"
    assert [k for k in every.split("/") if hb.isdtype(dtype, k)] == holds
    assert hb.isdtype(dtype, (holds[0], hb.int8)) and hb.isdtype(dtype, dtype)
    assert hb.isdtype(dtype, hb.int8) == (name == "int8") and not hb.isdtype(dtype, ())


def test_casts_and_common_dtypes():
    pairs = [(a, b) for a in dt.ALL for b in dt.ALL]
    assert all(hb.can_cast(a, b) == np.can_cast(a, b) for a, b in pairs)
    assert not hb.can_cast(hb.zeros(1), "int8") and hb.can_cast(hb.zeros(1), "int8", "unsafe")
    for number in (1, 1.0, True):
        with pytest.raises(hb.DTypeError, match="number"):
            hb.can_cast(number, "int8")
    x, i = hb.zeros(2, dtype="float16"), hb.zeros(2, dtype="int8")
    for operands, name in (
        ((x, 1.5), "float16"),
        ((i, 1.5), "float32"),
        ((i, 1, True), "int8"),
        ((i, "int32"), "int32"),
        ((i, np.int32), "int32"),
        ((x, np.float64(1)), "float64"),
        ((hb.bool, 3), "int64"),
        ((1.5,), "float32"),
        ((float,), "float64"),
        ((1, 2.5), "float32"),
        ((True,), "bool"),
    ):
        assert hb.result_type(*operands).name == name, operands
    with pytest.raises(hb.DTypeError, match="at least one"):
        hb.result_type()


@pytest.mark.parametrize("dtype", dt.FLOATS, ids=str)
def test_limits_of_floats_are_python_numbers(dtype):
    ours, theirs = hb.finfo(dtype), ml_dtypes.finfo(dtype)
    for name in ("max", "min", "eps", "smallest_normal", "tiny", "resolution"):
        value = getattr(ours, name)
        assert type(value) is float and value == float(getattr(theirs, name))
    assert ours.bits == theirs.bits and ours.dtype is dtype and hb.finfo(hb.zeros(1, dtype=dtype))
    assert (hb.zeros(1, dtype=dtype) + ours.eps).dtype is dtype and "eps=" in repr(ours)
    with pytest.raises(AttributeError):
        _ = ours.nothing


def test_limits_of_complex_numbers_are_their_parts():
    assert hb.finfo(hb.complex64).max == hb.finfo("float32").max
    assert hb.finfo(hb.zeros(1, dtype="complex128")).dtype is hb.float64


def test_limits_of_integers():
    for dtype in dt.INTS:
        ours, theirs = hb.iinfo(dtype), np.iinfo(dtype)
        assert (ours.max, ours.min, ours.bits, ours.dtype) == (
            theirs.max,
            theirs.min,
            theirs.bits,
            dtype,
        )
    with pytest.raises(hb.DTypeError, match="finfo"):
        hb.iinfo("float32")


@pytest.mark.parametrize(
    "shapes", [(), ((),), ((2, 1), (3,)), ((0,), (1,)), (2, (5, 1)), ((1, 1), (4, 1), (1, 3))]
)
def test_broadcast_shapes(shapes):
    assert hb.broadcast_shapes(*shapes) == np.broadcast_shapes(*shapes)


def test_shapes_that_do_not_broadcast():
    with pytest.raises(ValueError, match="broadcast"):
        hb.broadcast_shapes((2,), (3,))


def test_results_are_tuples_with_the_standards_names():
    x = hb.tensor([[3, 1], [3, 2]])
    assert hb.unique_all(x)._fields == ("values", "indices", "inverse_indices", "counts")
    assert hb.unique_counts(x)._fields == ("values", "counts")
    assert hb.unique_inverse(x)._fields == ("values", "inverse_indices")
    for made in (
        hb.unstack(x),
        hb.meshgrid(x[0], x[1]),
        hb.broadcast_arrays(x, 1, x[0]),
        hb.nonzero(x),
    ):
        assert type(made) is tuple and all(isinstance(t, hb.Tensor) for t in made)


def test_copies_and_devices():
    x = hb.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert hb.astype(x, "float32", copy=False) is x and hb.astype(x, "float32") is not x
    assert x.astype(dtype=hb.int8, device="cpu").dtype is hb.int8
    row = hb.reshape(x, (4,), copy=True)
    view, same = hb.reshape(x, 4), hb.reshape(x, (2, 2), copy=True)
    x[0, 0] = 9.0
    assert row[0].item() == same[0, 0].item() == 1.0 and view[0].item() == 9.0
    assert hb.asarray(x, copy=False) is x and hb.asarray(x, copy=True) is not x
    with pytest.raises(ValueError, match="copy"):
        hb.asarray(x, dtype="float64", copy=False)
    a = np.arange(3.0)
    assert not np.shares_memory(hb.from_dlpack(a, copy=True).numpy(), a)
    assert np.shares_memory(hb.from_dlpack(a, copy=False, device="cpu").numpy(), a)
    assert np.from_dlpack(x).tolist() == x.tolist() and x.__dlpack_device__() == (1, 0)


# ---- special cases of the standard that NumPy has otherwise
FLOORS = [
    (math.inf, 2.0, math.inf),
    (math.inf, -2.0, -math.inf),
    (-math.inf, 2.0, -math.inf),
    (-math.inf, -2.0, math.inf),
    (math.inf, 0.0, math.inf),
    (3.0, math.inf, 0.0),
    (3.0, -math.inf, -0.0),
    (-3.0, math.inf, -0.0),
    (-3.0, -math.inf, 0.0),
    (0.0, -math.inf, -0.0),
    (math.inf, math.inf, math.nan),
    (math.nan, math.inf, math.nan),
    (7.5, -2.0, -4.0),
]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_floor_divide_by_and_of_infinities(dtype):
    x, y = (hb.tensor(column, dtype=dtype) for column in list(zip(*FLOORS))[:2])
    want = np.array([row[2] for row in FLOORS], np.float32)

    def in_place(x, y):
        z = x.clone()
        z //= y
        return z

    for divide in (hb.floor_divide, operator.floordiv, in_place, lambda x, y: divmod(x, y)[0]):
        got = hb.function(divide)
        for run in (divide, got, got, got):
            result = run(x, y).astype("float32").numpy()
            np.testing.assert_array_equal(result, want)
            np.testing.assert_array_equal(np.signbit(result)[:10], np.signbit(want)[:10])


# ---- hypothesis' strategies for arrays of any library of the standard
STRATEGIES = make_strategies_namespace(hb, api_version="2025.12")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(STRATEGIES.arrays(STRATEGIES.real_dtypes(), STRATEGIES.array_shapes(min_dims=0)))
def test_arrays_that_hypothesis_makes(x):
    assert isinstance(x, hb.Tensor)
    host = np.asarray(x)
    np.testing.assert_array_equal(hb.asarray(host), host)
    np.testing.assert_array_equal(hb.flip(x), np.flip(host))
    np.testing.assert_array_equal(hb.isnan(x), np.isnan(host))
    assert (
        hb.max(x).dtype is x.dtype and hb.sum(x).dtype is hb.cumulative_sum(hb.reshape(x, -1)).dtype
    )
