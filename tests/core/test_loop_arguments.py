"""What NumPy's universal functions take beside operands: `out`, `where`, `dtype`, `casting`,
`order`, `subok`."""

import inspect
import types

import numpy as np
import pytest

import hybrid as hb

RNG = np.random.default_rng(3)
X, Y = RNG.uniform(0.2, 0.9, (3, 4)), RNG.uniform(1.1, 2.0, 4)
I, J = RNG.integers(1, 9, (3, 4)), RNG.integers(1, 4, 4)
MASK = RNG.random((3, 4)) > 0.4
GENERAL = {"matmul", "matvec", "vecmat", "vecdot"}
NAMES = sorted(
    name
    for name, value in vars(np).items()
    if isinstance(value, np.ufunc)
    and isinstance(getattr(hb, name, None), types.FunctionType)
    and name not in GENERAL
)


def operands_of(ufunc):
    """Operands that a ufunc takes, floats before integers, and a dtype of results."""
    kinds = [t.partition("->")[0] for t in ufunc.types]
    if ufunc.nin == 2 and "dl" in kinds:  # ldexp
        return (X, J), np.float64
    whole = not any("d" in kind for kind in kinds)
    pair = (I, J) if whole else (X + ("cosh" in ufunc.__name__), Y)
    wanted = [t.partition("->")[2] for t in ufunc.types if t.startswith("l" if whole else "d")]
    return pair[: ufunc.nin], None if "?" in wanted else (np.int64 if whole else np.float64)


def close(ours, theirs):
    ours = ours if isinstance(ours, tuple) else (ours,)
    theirs = theirs if isinstance(theirs, tuple) else (theirs,)
    for own, there in zip(ours, theirs, strict=True):
        assert own.numpy().dtype == there.dtype
        np.testing.assert_allclose(own.numpy(), there, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", ["hybrid", "numpy", "traced"])
def test_masks_and_dtypes_are_numpys(name, way):
    ufunc = getattr(np, name)
    arrays, dtype = operands_of(ufunc)
    try:
        plain = ufunc(*arrays)
        keywords = {} if dtype is None or ufunc.nout > 1 else {"dtype": dtype}
        parts = plain if isinstance(plain, tuple) else (plain,)
        outs = tuple([np.full(part.shape, 1).astype(part.dtype) for part in parts])
        given = tuple([hb.tensor(out) for out in outs])
        want = ufunc(*arrays, out=outs, where=MASK, **keywords)
    except TypeError:
        pytest.skip("NumPy has no such loop")
    function = ufunc if way == "numpy" else getattr(hb, name)
    call = lambda *xs: function(*xs, out=given, where=hb.tensor(MASK), **keywords)  # noqa: E731
    call = hb.function(call) if way == "traced" else call
    for _ in range(4 if way == "traced" else 1):
        got = call(*[hb.tensor(array) for array in arrays])
    close(got, want)
    assert (got if isinstance(got, tuple) else (got,))[0] is given[0]


def test_the_loop_of_a_dtype_decides_the_operands():
    small, third = hb.tensor(np.float32(1)), hb.tensor(np.float32(3))
    assert hb.divide(small, third, dtype="float64").item() == 1 / 3
    assert hb.add(hb.tensor([1, 2]), 1, dtype=hb.float32).dtype == hb.float32
    assert hb.less(small, third, dtype=bool).item() is True
    assert hb.abs(hb.tensor([3 + 4j]), dtype="float64").tolist() == [5.0]
    assert hb.ldexp(small, hb.tensor([3]), dtype="float64").tolist() == [8.0]
    assert hb.add(small, third, dtype="bfloat16").dtype == hb.bfloat16
    assert np.power(hb.tensor([2, 3]), 2, dtype=np.float64).dtype == hb.float64


BAD = {
    "a loop that loses": lambda m: m.add(hb.tensor([1.5]), 1, dtype="int64"),
    "a loop that does not exist": lambda m: m.less(hb.tensor([1.5]), 1, dtype="float64"),
    "casting": lambda m: m.add(hb.tensor([1, 2]), 1, dtype="float32", casting="no"),
    "casting of a result": lambda m: m.add(
        hb.tensor([1.5]), 1, out=hb.zeros(1, dtype="float64"), casting="no"
    ),
    "integers for a mask": lambda m: m.add(
        hb.tensor([1.5]), 1, out=hb.tensor([0.0]), where=hb.tensor([1])
    ),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("module", [np, hb])
def test_what_does_not_fit_is_an_error(name, module):
    with pytest.raises(hb.DTypeError):
        BAD[name](module)


def test_elements_that_nothing_defines_are_an_error():
    for module in (np, hb):
        with pytest.raises(hb.ArgumentError, match="pass out="):
            module.add(hb.tensor([1.0]), 1, where=hb.tensor([True]))
    x = hb.tensor([1.0])
    assert hb.add(x, 1, where=True).item() == 2.0
    with pytest.raises(hb.ArgumentError, match="parts"):
        hb.add(x, 1, out=(x, x), where=hb.tensor([True]))


def test_casting_of_integers_by_the_rule_given():
    x = hb.tensor([1.5])
    assert hb.add(x, 1, dtype="int64", casting="unsafe").tolist() == [2]
    assert np.add(x, 1, dtype="int64", casting="unsafe").tolist() == [2]


def test_no_gradient_comes_from_what_the_mask_hides():
    a, b = hb.tensor([1.0, 2.0, 3.0]), hb.tensor([2.0, 0.0, 4.0])

    def quotient(a, b):
        return hb.divide(a, b, out=hb.zeros(3), where=b != 0).sum()

    for f in (quotient, hb.function(quotient)):
        for _ in range(4):
            over, under = hb.grad(f, (0, 1))(a, b)
        assert over.tolist() == [0.5, 0.0, 0.25]
        assert under.tolist() == [-0.25, 0.0, -3 / 16]


def test_functions_and_methods_of_other_forms_take_them():
    x = hb.tensor([1.0, 2.0])
    out = hb.zeros(2)
    assert hb.round(x=hb.tensor([1.5]), out=hb.zeros(1)).tolist() == [2.0]
    assert hb.logical_and(x, [0, 1], out=hb.zeros(2, dtype=bool), dtype=bool).tolist() == [
        False,
        True,
    ]
    assert hb.matmul(x, x, dtype="float64").dtype == hb.float64
    assert hb.power(x, 2.0, out=out, where=x > 1).tolist() == [0.0, 4.0]
    with pytest.raises(hb.ArgumentError, match="unexpected"):
        hb.divmod(x, x, dtype="float64", wheer=True)
    with pytest.raises(TypeError, match="dtype"):
        hb.relu(x, dtype="float64")
    assert list(inspect.signature(hb.relu).parameters) == ["x", "out"]


@pytest.mark.parametrize("casting", ["same", 3, hb.ones(2)])
def test_rules_of_casting_are_named(casting):
    x = hb.ones(2)
    for call in (
        lambda: hb.add(x, x, dtype="float64", casting=casting),
        lambda: np.add(x, x, dtype="float64", casting=casting),
        lambda: hb.copyto(x, hb.zeros(2), casting=casting),
        lambda: hb.concat([x, x], dtype="float64", casting=casting),
        lambda: hb.can_cast("float32", "float64", casting),
    ):
        with pytest.raises((hb.ArgumentError, TypeError, ValueError), match="casting"):
            call()


@pytest.mark.parametrize("name", NAMES)
def test_orders_and_subclasses_change_nothing(name):
    arrays = operands_of(getattr(np, name))[0]
    function, given = getattr(hb, name), [hb.tensor(array) for array in arrays]
    plain, told = function(*given), function(*given, order="F", subok=False)
    for one, other in zip(*[r if isinstance(r, tuple) else (r,) for r in (plain, told)]):
        assert one.dtype is other.dtype and (one.numpy() == other.numpy()).all()
    with pytest.raises(hb.HybridError, match="order is"):
        function(*given, order="Z")
