"""`out=` of every function that has it in NumPy: the tensor takes the result and is returned."""

import inspect

import numpy as np
import pytest

import hybrid as hb
from hybrid.ir.numpys import takes_out

X = np.array([[1.0, 4.0], [9.0, 0.5]], np.float32)
ONE = (
    "abs sqrt exp sin floor negative isnan square sum mean max argmin cumsum any median var".split()
)
TWO = "add multiply divide power maximum less logical_and arctan2 matmul dot outer".split()


@pytest.mark.parametrize("name", ONE + TWO)
def test_the_result_is_numpys(name):
    given = [X] * (2 if name in TWO else 1)
    wanted = getattr(np, name)(*given)
    out = hb.zeros(wanted.shape, dtype=np.asarray(wanted).dtype)
    function = getattr(hb, name)
    plain = function(*map(hb.tensor, given))
    out = out.astype(plain.dtype)
    found = function(*map(hb.tensor, given), out=out)
    assert found is out and out.numpy().tobytes() == plain.numpy().tobytes()
    np.testing.assert_allclose(out.numpy(), wanted, rtol=1e-6)


def test_functions_of_numpy_with_out_take_it():
    """Those whose results are tensors; NumPy's signature says which have it."""
    for name in dir(np):
        function = getattr(hb, name, None)
        if name[0] == "_" or not inspect.isfunction(function) or not takes_out(name):
            continue
        parameters = inspect.signature(function).parameters
        assert "out" in parameters or hasattr(function, "__wrapped__"), name


def test_methods_and_spellings():
    x, out = hb.tensor(X), hb.zeros(2)
    assert x.sum(axis=0, out=out) is out and out.tolist() == [10.0, 4.5]
    assert hb.sum(x, dim=1, out=out).tolist() == [5.0, 9.5]
    assert x.clip(0.0, 1.0, out=x) is x and x.tolist() == [[1.0, 1.0], [1.0, 0.5]]
    assert hb.add(x, 1.0, x) is x and x.tolist() == [[2.0, 2.0], [2.0, 1.5]]
    assert hb.add(x, x, out=None) is not x


def test_what_out_may_be():
    x = hb.tensor(X)
    line, rows = hb.zeros(4), hb.zeros(3, 2, 2)
    hb.multiply(x[0], 2.0, out=line[1:3])
    assert line.tolist() == [0.0, 2.0, 8.0, 0.0]
    assert hb.negative(x, out=rows)[2].tolist() == (-X).tolist()  # it broadcasts
    quotient, rest = hb.zeros(2, 2), hb.zeros(2, 2)
    made = hb.divmod(x, 2.0, out=(quotient, rest))
    assert made[0] is quotient and made[1] is rest and rest.tolist() == np.mod(X, 2).tolist()
    array = np.zeros((2, 2), np.float32)
    assert hb.exp(x, out=array) is array and np.allclose(array, np.exp(X))
    wide = hb.zeros((2, 2), dtype="float64")
    assert hb.sqrt(x, out=wide).dtype is hb.float64


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (lambda x: hb.add(x, x, out=hb.zeros(2, 2, dtype="int64")), TypeError, "casting"),
        (lambda x: hb.add(x, x, out=hb.zeros(3)), ValueError, "shape"),
        (lambda x: hb.add(x, x, out=3), TypeError, "out is 3: it has to be a tensor or an array"),
        (lambda x: hb.divmod(x, x, out=(x,)), ValueError, "1 parts for 2 results"),
        (lambda x: hb.sum(x, out=hb.zeros(()), bogus=1), TypeError, "bogus"),
        (lambda x: hb.where(x > 0, x, x, out=x), TypeError, "always fresh"),
        (lambda x: hb.reshape(x, (4,), out=x), TypeError, "always fresh"),
        (lambda x: hb.grad(hb.sum, out=x), TypeError, "out"),
    ],
)
def test_refusals_leave_it_as_it_was(call, kind, message):
    x = hb.tensor(X)
    with pytest.raises(kind, match=message):
        call(x)
    assert x.tolist() == X.tolist()


def test_gradients_and_replays():
    weight, out = hb.ones(2, 2, requires_grad=True), hb.zeros(2, 2)
    hb.multiply(weight, hb.tensor(X), out=out)
    out.sum().backward()
    assert weight.grad.tolist() == X.tolist()

    @hb.function
    def step(a, total):
        return hb.add(a, total, out=total)

    total = hb.zeros(2, 2)
    for k in range(5):
        assert step(hb.tensor(X) + k, total) is total
    np.testing.assert_allclose(total.numpy(), 5 * X + 10)
    assert step.cache_info().replays >= 3 and step.cache_info().eager == 0
