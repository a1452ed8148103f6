"""`initial=`, `where=`, `mean=` and `dtype=` of reductions against NumPy's."""

import numpy as np
import pytest
from numeric_calls import agrees, call, draw

import hybrid
from hybrid import ArgumentError, DTypeError, ShapeError

DTYPES = ["float64", "float32", "float16", "int32", "uint8", "bool"]
STARTS = {"sum": 2, "prod": 3, "max": 1, "min": 1, "amax": 0, "amin": 1}
MASKS = [np.random.default_rng(k).random(s) > 0.4 for k, s in enumerate([(4, 5), (5,), (4, 1)])]
NONE = np.zeros((4, 5), bool)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [None, 0, -1, (0, 1)])
def test_masks_and_first_values(dtype, axis):
    x = draw(4, 5, dtype="float32").astype(dtype)
    for name, start in STARTS.items():
        agrees(call(name, x, axis, initial=start), 2e-3)
        for mask in (*MASKS, NONE):
            agrees(call(name, x, axis, initial=start, where=mask, keepdims=True), 2e-3)
    for mask in (*MASKS, NONE):
        for name in ("sum", "prod", "any", "all"):
            agrees(call(name, x, axis, where=mask), 2e-3)


@pytest.mark.parametrize("dtype", ["float64", "float32", "int32", "complex64"])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_moments(dtype, axis):
    x = draw(4, 5).astype(dtype)
    double = "complex128" if dtype == "complex64" else "float64"
    known = np.ones((4, 5), x.dtype).mean(axis=axis, keepdims=True).astype(x.dtype)
    for mask in (*MASKS, NONE):
        agrees(call("mean", x, axis, where=mask), 1e-5)
        for name in ("var", "std"):
            agrees(call(name, x, axis, where=mask, ddof=1), 1e-5)
            agrees(call(name, x, axis, where=mask, mean=known, keepdims=True), 1e-5)
    for name in ("var", "std"):
        agrees(call(name, x, axis, mean=known, correction=2), 1e-5)
        got = getattr(hybrid, name)(hybrid.tensor(x), axis, dtype=double)
        want = getattr(np, name)(x, axis, dtype=double).real
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-12)
    half = np.float16([1.0, 2.0, 4.0])
    agrees(call("var", half, where=np.array([True, False, True])))
    agrees(call("var", np.ones((2, 3, 4)), axis=(0, 2), ddof=9))


def test_the_order_of_additions_is_that_of_zeros_in_their_place():
    x = draw(7, 5000, dtype="float32")
    mask = np.random.default_rng(1).random(5000) > 0.5
    for axis in (None, 0, 1):
        found = hybrid.sum(hybrid.tensor(x), axis, where=mask)
        wanted = hybrid.sum(hybrid.tensor(np.where(mask, x, np.float32(0))), axis)
        assert found.numpy().tobytes() == wanted.numpy().tobytes()


def test_no_elements_have_the_first_value():
    x = np.zeros((0, 3), np.float32)
    agrees(call("max", x, 0, initial=2))
    agrees(call("min", x, initial=2, keepdims=True))
    assert hybrid.max(hybrid.ones(2), initial=np.float64(1.5)).dtype is hybrid.float32
    assert hybrid.tensor([1, 2]).sum(initial=1.5).item() == 4  # in the dtype of the sum
    x = hybrid.tensor(np.float16([60000, 60000]))
    assert x.sum(initial=-60000.0).item() == 60000.0  # one rounding


def test_methods():
    x, mask = hybrid.tensor([1.0, 2.0, 4.0]), [True, False, True]
    assert x.sum(where=mask).item() == 5.0 and x.max(initial=9.0, where=mask).item() == 9.0
    assert x.var(where=mask).item() == 2.25 and x.std(dtype="float64").dtype is hybrid.float64
    assert x.any(where=[False] * 3).item() is False and x.nansum(initial=1).item() == 8.0


def test_what_is_not_in_the_mask_has_no_part():
    x = hybrid.tensor([1.0, float("nan"), 3.0])
    for name, slopes in (("sum", [1, 0, 1]), ("mean", [0.5, 0, 0.5]), ("var", [-1, 0, 1])):
        given = hybrid.grad(lambda t, f=getattr(hybrid, name): f(t, where=[1, 0, 1]))(x)
        assert given.tolist() == slopes
    ties = hybrid.grad(lambda t: hybrid.max(t, initial=1.0, where=[1, 0, 0]))(x)
    assert ties.tolist() == [0.5, 0, 0]  # the first value is one more element
    start = hybrid.grad(lambda s: hybrid.sum(x[:1], initial=s) ** 2)(hybrid.tensor(2.0))
    assert start.item() == 6.0
    rows = hybrid.vmap(lambda row, m: hybrid.sum(row, where=m))
    assert rows(hybrid.ones(2, 3), hybrid.tensor([[1, 0, 1], [0, 0, 0]]) > 0).tolist() == [2, 0]


@pytest.mark.parametrize(
    "function, kind, message",
    [
        (lambda x: hybrid.max(x, where=[True, False]), ArgumentError, "takes initial="),
        (lambda x: hybrid.sum(x, where=[True] * 3), ShapeError, "do not broadcast"),
        (lambda x: hybrid.sum(x, where=[[True, False]]), ShapeError, "does not broadcast"),
        (lambda x: hybrid.sum(x, initial=[1.0, 2.0]), ShapeError, "initial is one number"),
        (lambda x: hybrid.std(x, dtype="int32"), DTypeError, "floating"),
        (lambda x: hybrid.max(x.astype("uint8"), initial=300), OverflowError, "300"),
    ],
)
def test_refusals(function, kind, message):
    with pytest.raises(kind, match=message):
        function(hybrid.tensor([1.0, 2.0]))
