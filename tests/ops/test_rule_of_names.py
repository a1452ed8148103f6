"""One name, one meaning: `hybrid.*` is NumPy's where libraries differ, and a call that would mean
something else silently is right or a clear error."""

from __future__ import annotations

import copy
import importlib
import inspect
import itertools
import math
import warnings

import numpy as np
import pytest

import hybrid as hb

A = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
T = hb.tensor(A)
WHOLE = hb.arange(6)
ZERO = hb.tensor(3.0)  # 0-d


def same(got, want) -> None:
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype and got.shape == want.shape
    np.testing.assert_array_equal(got, want)


# ---- as NumPy, in plain calls and in replays
CALLS = {
    "split of sections": (lambda x: hb.split(x, 2, 2)[1], lambda a: np.split(a, 2, 2)[1]),
    "split at places": (
        lambda x: hb.split(x, [1, -1, 9], 2)[2],
        lambda a: np.split(a, [1, -1, 9], 2)[2],
    ),
    "split backwards": (lambda x: x.split([3, 1], 2)[1], lambda a: np.split(a, [3, 1], 2)[1]),
    "transpose": (lambda x: x.transpose(2, 0, 1), lambda a: a.transpose(2, 0, 1)),
    "transpose of a tuple": (lambda x: x.transpose((1, 2, 0)), lambda a: a.transpose(1, 2, 0)),
    "transpose of all": (lambda x: x.transpose(None), lambda a: a.transpose(None)),
    "diagonal": (lambda x: hb.diagonal(x, 1), lambda a: np.diagonal(a, 1)),
    "diagonal of the last": (
        lambda x: hb.linalg.diagonal(x, offset=-1),
        lambda a: np.linalg.diagonal(a, offset=-1),
    ),
    "trace": (lambda x: hb.trace(x, 0, 1, 2), lambda a: np.trace(a, 0, 1, 2)),
    "trace method": (lambda x: x.trace(1), lambda a: a.trace(1)),
    "trace of the last": (lambda x: hb.linalg.trace(x), lambda a: np.linalg.trace(a)),
    "trace of ints": (
        lambda x: hb.trace(x.astype("int8")),
        lambda a: np.trace(a.astype("int8")),
    ),
    "diff": (lambda x: hb.diff(x * x, 2), lambda a: np.diff(a * a, 2)),
    "diff of ends": (
        lambda x: hb.diff(x, 1, 1, prepend=0.0, append=x[:, :1]),
        lambda a: np.diff(a, 1, 1, prepend=np.float32(0), append=a[:, :1]),
    ),
    "norm": (lambda x: hb.norm(x, 1), lambda a: np.linalg.norm(a.ravel(), 1)),
    "norm method": (lambda x: x.norm(math.inf, 1), lambda a: np.abs(a).max(1)),
    "norm of none": (lambda x: hb.norm(x[0, 0], None), lambda a: np.linalg.norm(a[0, 0], None)),
    "repeat": (lambda x: x.repeat([2, 0, 1], 1), lambda a: a.repeat([2, 0, 1], 1)),
    "repeat by one": (lambda x: hb.repeat(x, [2], 0), lambda a: a.repeat([2], 0)),
    "roll both": (lambda x: hb.roll(x, 1, (0, 2)), lambda a: np.roll(a, 1, (0, 2))),
    "roll twice": (lambda x: hb.roll(x, (1, 1), 2), lambda a: np.roll(a, (1, 1), 2)),
    "roll all": (lambda x: hb.roll(x, (1, 4)), lambda a: np.roll(a, (1, 4))),
    "where of floats": (lambda x: hb.where(x % 2, x, -x), lambda a: np.where(a % 2, a, -a)),
    "sum of no axis": (lambda x: x[0, 0, 0].sum(axis=0), lambda a: a[0, 0, 0].sum(axis=0)),
    "einsum of bools": (
        lambda x: hb.einsum("abc,bc->ab", x % 5 > 1, x[0] % 3 > 1),
        lambda a: np.einsum("abc,bc->ab", a % 5 > 1, a[0] % 3 > 1),
    ),
    "einsum of a bool": (
        lambda x: hb.einsum("abc->b", x % 5 > 3),
        lambda a: np.einsum("abc->b", a % 5 > 3),
    ),
    "isin": (lambda x: hb.isin(x, A[1, :, ::2] * 1.5), lambda a: np.isin(a, A[1, :, ::2] * 1.5)),
    "isin of many": (lambda x: hb.isin(x, x * 2), lambda a: np.isin(a, a * 2)),
    "running sums": (
        lambda x: hb.cumulative_sum(x, axis=1, include_initial=True),
        lambda a: np.cumulative_sum(a, axis=1, include_initial=True),
    ),
    "running products": (
        lambda x: hb.cumulative_prod(-x, axis=0, include_initial=True, dtype="float64"),
        lambda a: np.cumulative_prod(-a, axis=0, include_initial=True, dtype="float64"),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_mean_what_they_mean_to_numpy(name):
    ours, theirs = CALLS[name]
    want = theirs(A)
    same(ours(T), want)
    traced = hb.function(ours)
    for _ in range(4):
        same(traced(T), want)


@pytest.mark.parametrize(
    "name", [n for n in CALLS if not {"ints", "isin", "einsum"} & {*n.split()}]
)
def test_their_gradients(name):
    ours, _ = CALLS[name]
    x = hb.tensor(A + 0.5, dtype="float64", requires_grad=True)
    weights = hb.asarray(np.cos(np.arange(ours(x).size)).reshape(ours(x).shape))
    (ours(x) * weights).sum().backward()
    direction = np.sin(np.arange(24.0)).reshape(A.shape)
    with hb.no_grad():
        ends = [(ours(x + s * 1e-6 * direction) * weights).sum().item() for s in (1, -1)]
    slope = (x.grad * direction).sum().item()
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-5)


def test_dtypes_of_python():
    for dtype in (float, "float", "float64", np.float64):
        assert hb.zeros(2, dtype=dtype).dtype is T.astype(dtype).dtype is hb.float64
    assert hb.asarray(1.5).dtype is hb.ones(2).dtype is hb.float32
    assert T.astype(int).dtype is hb.int64 and T.astype(bool).dtype is hb.bool
    assert T.float().dtype is hb.float32  # a method of PyTorch's


def test_whole_numbers_between_ends_round_down():
    for ends in ((-3, 3, 5), (0, 5, 4), (5, -7, 9), (-1, 1, 1)):
        for endpoint in (True, False):
            want = np.linspace(*ends, endpoint=endpoint, dtype=int)
            same(hb.linspace(*ends, endpoint, dtype=int), want)


def test_bounds_beyond_what_integers_hold():
    x = np.array([-128, 3, 127], np.int8)
    t = hb.tensor(x)
    for bounds in ((-999, 999), (None, 300), (-300, 5), (0, 10**30)):
        same(hb.clip(t, *bounds), np.clip(x, *bounds))
    with pytest.raises(OverflowError, match="300"):
        hb.clip(t, 300, None)


@pytest.mark.parametrize("size", [0, 3, 40])
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "float32"])
def test_elements_that_are_among_others(size, dtype):
    x = np.array([0, 1, 3, 7, 100, 0.0 * -1, 9]).astype(dtype)
    test = np.arange(size).astype(dtype) * np.array(2, dtype)
    f = hb.function(hb.isin)
    for run in (hb.isin, f, f, f):
        same(run(hb.tensor(x), hb.tensor(test)), np.isin(x, test))
    same(hb.isin(hb.tensor(x), test, invert=True), ~np.isin(x, test))
    nan = hb.tensor([hb.nan, 1.0, -0.0])
    assert hb.isin(nan, [hb.nan, 0.0] * 20).tolist() == [False, False, True]
    if size == 40 and dtype == "int8":
        assert hb.isin(hb.tensor([300, 2]), hb.tensor(test)).tolist() == [False, True]
        assert hb.isin(hb.tensor([2.5, 2.0]), hb.tensor(test)).tolist() == [False, True]


@pytest.mark.parametrize("dtype", ["bool", "int8", "float32", "float64"])
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_distinct_values(dtype, axis):
    x = np.array([[3, 1, 3], [0, 2, 0], [3, 1, 3]]).astype(dtype)
    for asked in itertools.product([False, True], repeat=3):
        want, got = np.unique(x, *asked, axis), hb.unique(hb.tensor(x), *asked, axis)
        for one, other in zip(got, want, strict=True) if any(asked) else [(got, want)]:
            same(one, other)
    nan = hb.tensor([hb.nan, 1.0, hb.nan])
    assert [hb.unique(nan).size, hb.unique(nan, equal_nan=False).size] == [2, 3]
    assert hb.unique_values(nan).size == 3 and hb.unique(nan.bfloat16()).dtype is hb.bfloat16


def test_counts_of_repetitions():
    a = np.arange(3)
    for counts in ([1, 2, 0], np.array([3, 0, 1], np.uint8), [True, False, True], [0, 0, 0], [4]):
        same(hb.repeat(hb.tensor(a), counts), np.repeat(a, counts))
        same(hb.repeat(hb.tensor(a), hb.tensor(counts)), np.repeat(a, counts))
    f = hb.function(lambda x, n: x.repeat(n) * 2)
    for k in range(5):  # the counts decide the shape
        same(f(hb.tensor(a), hb.tensor([k, 1, 2])), np.repeat(a, [k, 1, 2]) * 2)
    for counts, error in (
        ([1, 2], hb.ShapeError),
        ([1, -1, 1], hb.ShapeError),
        ([1.0, 1.0, 1.0], hb.DTypeError),
        (-1, hb.ShapeError),
    ):
        with pytest.raises(error, match="repeat"):
            hb.repeat(hb.tensor(a), counts)


def test_products_of_complex_vectors_conjugate_the_first():
    x, y = np.array([1j, 2j, 3 - 1j], np.complex64), np.array([1, 2j, 3], np.complex64)
    same(hb.vecdot(hb.tensor(x), hb.tensor(y)), np.vecdot(x, y))


# ---- 0-d tensors
@pytest.mark.parametrize("name", "sum prod max min mean std var all any argmax argmin".split())
@pytest.mark.parametrize("axis", [0, -1, None, ()])
def test_the_axis_of_a_number(name, axis):
    if name.startswith("arg") and axis == ():
        return
    want = getattr(np.array([3.0], np.float32), name)(axis=None)
    got = getattr(ZERO, name)(axis=axis, keepdims=True)
    assert got.shape == () and got.item() == want
    with pytest.raises(hb.ShapeError, match="axis 1 is out of range"):
        getattr(ZERO, name)(axis=1)


def test_numbers_that_have_no_order_or_places():
    same(hb.cumulative_sum(ZERO, 0), np.cumsum(np.array(3, np.float32), 0))
    with pytest.raises(IndexError, match="axis 3 is out of range"):  # and a ValueError, as NumPy's
        hb.expand_dims(ZERO, 3)
    for call in (ZERO.sort, ZERO.argsort, ZERO.nonzero):
        with pytest.raises(hb.ShapeError, match="at least one dimension"):
            call()


ITEMS = [slice(None), 0, [0, 1], ..., None, True, False, np.array(True), slice(0, 1)]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_truth_values_and_dots_in_indices(length):
    """An ellipsis that stands for no axis separates what is beside it; True is a new axis."""
    for key in itertools.product(ITEMS, repeat=length):
        if sum(item is ... for item in key) > 1:
            continue
        try:
            want = A[key]
        except IndexError:
            with pytest.raises((IndexError, hb.ShapeError)):
                T[key]
            continue
        ours = tuple(hb.tensor(k) if isinstance(k, np.ndarray) else k for k in key)
        for each in (key, ours):
            same(T[each], want)
            got, there = T.clone(), A.copy()
            got[each], there[key] = 7.0, 7.0
            same(got, there)


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3), (2, 0, 4), (0, 0, 0)])
def test_a_mask_without_elements_fits(shape):
    same(T[hb.zeros(shape, dtype=bool)], A[np.zeros(shape, bool)])
    for wrong in ((1,), (2, 4)):
        with pytest.raises(IndexError, match="mask"):
            T[hb.zeros(wrong, dtype=bool)]


def test_a_mask_that_is_a_number_in_replays():
    f = hb.function(lambda x, m: x[m].sum() + x[m].shape[0])
    for k in range(6):
        assert f(T[0, 0], hb.tensor(k % 2 == 0)).item() == (7.0 if k % 2 == 0 else 0.0)


# ---- errors that say what was meant
MISTAKES = {
    "bool as axis": (lambda: hb.sum(T, True), hb.ArgumentError, "axis is True"),
    "unbiased as axis": (lambda: hb.std(T, False), hb.ArgumentError, "axis is False"),
    "tensor as axis": (lambda: hb.max(T, T), hb.ArgumentError, r"hybrid\.maximum"),
    "tensor as axis of min": (lambda: T.min(T), hb.ArgumentError, r"hybrid\.minimum"),
    "size": (lambda: T.size(0), hb.ArgumentError, r"x\.shape\[i\]"),
    "two axes": (lambda: T.transpose(1, 2), hb.ShapeError, r"x\.swapaxes\(1, 2\)"),
    "unequal sections": (lambda: hb.split(WHOLE, 4), hb.ShapeError, r"range\(4, 6, 4\)"),
    "no sections": (lambda: hb.split(WHOLE, 0), hb.ShapeError, "0 equal sections"),
    "negative power": (lambda: WHOLE**-1, ValueError, "astype"),
    "nan in integers": (
        lambda: WHOLE.clone().__setitem__(0, math.nan),
        OverflowError,
        "nan does not fit int64",
    ),
    "NumPy's nan in integers": (
        lambda: WHOLE.clone().__setitem__([0], np.float64("nan")),
        OverflowError,
        "nan does not fit int64",
    ),
    "power and modulus": (lambda: pow(WHOLE, 2, 5), TypeError, "out is 5"),
    "masked array": (lambda: hb.asarray(np.ma.array([1, 2], mask=[0, 1])), TypeError, "filled"),
    "text": (lambda: hb.asarray(np.array(["a"], np.dtypes.StringDType())), TypeError, "StringD"),
    "window of 0": (lambda: hb.unfold(T, 0), hb.ShapeError, "begin at 1"),
    "writable": (lambda: T.numpy().setflags(write=True), ValueError, "WRITEABLE"),
    "writable view": (
        lambda: np.asarray(T)[1:].setflags(write=True),
        ValueError,
        "WRITEABLE",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told(name):
    call, error, text = MISTAKES[name]
    with pytest.raises(error, match=text):
        call()


def test_python_asks_a_tensor():
    assert "a" not in WHOLE and 3 in WHOLE and 9 not in WHOLE
    assert math.trunc(hb.tensor(-2.5)) == -2 and math.floor(hb.tensor(-2.5)) == -3
    same(hb.ones(2, dtype="bfloat16").numpy().astype("float32"), np.ones(2, np.float32))
    for x in (T.mT, hb.zeros((0, 3)), ZERO, T[::-1], hb.broadcast_to(ZERO, (2, 2))):
        assert not x.numpy().flags.writeable
        same(x.numpy(), x.clone().numpy())


# ---- dim and keepdim
def with_axis():
    for name in hb.ops.__all__:
        function = getattr(hb, name)
        if "axis" in inspect.signature(function).parameters:
            yield name


@pytest.mark.parametrize("name", sorted(with_axis()))
def test_dim_is_a_spelling_of_axis(name):
    function = getattr(hb, name)
    x = hb.tensor([[1.0, 0.5, 0.25]])
    more = {
        "take": (WHOLE[:1],), "take_along_axis": (WHOLE[:1, None],), "repeat": (2,), "split": (1,),
        "chunk": (1,), "topk": (1,), "roll": (1,), "unflatten": ((1, 1),), "vecdot": (x,),
        "put_along_axis": (WHOLE[:1, None], x[:, :1]), "cosine_similarity": (x, 1)[:1],
        "index_add": None, "random.permutation": None,
    }.get(name, ())  # fmt: skip
    if more is None:
        return
    given = [x, x] if name in ("concat", "stack") else x
    try:
        want = function(given, *more, axis=0)
    except (TypeError, ValueError):
        pytest.skip("takes other operands")
    got = function(given, *more, dim=0)
    pairs = zip(got, want) if isinstance(want, tuple) else [(got, want)]
    for one, other in pairs:
        same(one, other)
    with pytest.raises(hb.ArgumentError, match="both axis and dim"):
        function(given, *more, axis=7, dim=1)


def test_keepdim_and_ddof():
    same(T.sum(dim=(0, 2), keepdim=True), A.sum((0, 2), keepdims=True))
    same(hb.std(T, ddof=1), hb.std(T, correction=1))
    same(T.softmax(dim=-1), T.softmax(-1))
    f = hb.function(lambda x: x.mean(dim=1, keepdim=True) * 2)
    for _ in range(4):
        same(f(T), A.mean(1, keepdims=True) * 2)
    assert f.cache_info().replays


# ---- a function beside a package
def test_trace_is_the_function_and_the_package_is_found():
    assert inspect.isfunction(hb.trace) and hb.trace is hb.ops.trace
    found = importlib.import_module("hybrid.trace.serve.served")
    import hybrid.trace.serve.served as served
    from hybrid.trace.serve import served as again

    assert served is again is found is hb.trace.serve.served
    assert hb.trace(hb.eye(3)).item() == 3.0


# ---- copies
def test_a_copy_of_a_result_keeps_its_gradient():
    x = hb.ones(2, requires_grad=True)
    y = copy.copy(x * 3)
    y.sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]
    leaf = copy.copy(x)
    assert leaf.is_leaf and leaf.requires_grad and leaf is not x and leaf.grad is None
    plain = copy.copy(WHOLE)
    plain[0] = 9
    assert WHOLE[0].item() == 0 and plain.dtype is WHOLE.dtype


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_deep_copies_of_views_are_views_of_the_copy(order):
    base = hb.arange(5.0)
    given = [base, base[1:], base.detach()]
    made = copy.deepcopy([given[k] for k in order])
    made = [made[order.index(k)] for k in range(3)]
    made[0][2] = 9.0
    made[1][0] = 7.0
    assert made[0].tolist() == made[2].tolist() == [0.0, 7.0, 9.0, 3.0, 4.0]
    assert base.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    alone = copy.deepcopy(base[1:])
    alone[0] = 5.0
    assert base[1].item() == 1.0


# ---- NumPy scalars
def test_a_scalar_that_widens_is_told_once_a_line():
    def run(x, scalar):
        return x * scalar

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            assert run(T, np.sqrt(2)).dtype is hb.float64
        line = run.__code__.co_firstlineno + 1
    assert [(w.category, w.lineno, w.filename) for w in told] == [(hb.Widened, line, __file__)]
    assert "float(...)" in str(told[0].message)


def test_scalars_that_do_not_widen_are_not_told():
    x = T.clone()
    x *= np.float64(2)  # in place the tensor's dtype stays, as in NumPy
    same(x, A * 2)
    assert (T * np.float32(2)).dtype is hb.float32 and (T > np.float64(1)).dtype is hb.bool
    assert (WHOLE * np.float64(2)).dtype is hb.float64
    assert (T.double() * np.float64(2)).dtype is hb.float64
