"""NumPy's names and places of arguments, of every function that both libraries have."""

import inspect
import types

import numpy as np
import pytest

import hybrid as hb
from hybrid.core.spelling import SPELLINGS
from hybrid.ir.numpys import asks_nothing, counterparts, numpys_parameters

KIND = inspect.Parameter
X = np.array([[3.0, 1.0, 2.0]], np.float32)
HOMES = {"hybrid": hb, "hybrid.linalg": hb.linalg, "hybrid.fft": hb.fft, "hybrid.eager": hb.Tensor}
# what NumPy's gufuncs alone have, and places whose meaning here is PyTorch's or the standard's
REFUSED = {"axes", "axis"}
OWN_ORDER = {"flatten"}


def shared():
    for home, space in HOMES.items():
        for name in sorted(vars(space)):
            function = getattr(space, name, None)
            theirs = numpys_parameters(name, home)
            if isinstance(function, types.FunctionType) and theirs:
                ours = inspect.signature(function).parameters
                if "generator" not in ours and hasattr(function, "__wrapped__"):
                    yield f"{home}.{name}", function, tuple(ours.values()), theirs


ROWS = {row[0]: row[1:] for row in shared()}


def plain(default):
    return default if isinstance(default, (bool, int, str)) else None


@pytest.mark.parametrize("name", ROWS)
def test_every_keyword_of_numpys_is_taken(name):
    function, ours, theirs = ROWS[name]
    pairs, names = counterparts(ours, theirs), [p.name for p in ours]
    for parameter in theirs:
        known = parameter.name in pairs or SPELLINGS.get(parameter.name) in names
        keyword = parameter.kind in (KIND.POSITIONAL_OR_KEYWORD, KIND.KEYWORD_ONLY)
        if keyword and not known and parameter.name not in ("out", *REFUSED):
            assert asks_nothing(parameter.name, plain(parameter.default), theirs), parameter
    places = [p.name for p in ours if p.kind <= KIND.POSITIONAL_OR_KEYWORD]
    there = [pairs.get(p.name) for p in theirs if p.kind <= KIND.POSITIONAL_OR_KEYWORD]
    if name.split(".")[-1] not in OWN_ORDER:
        assert there[: len(places)] == places[: len(there)]


CALLS = {
    "a": (lambda m, x: m.sum(a=x, axis=0)),
    "a of a row": (lambda m, x: m.argmax(a=x)),
    "m": (lambda m, x: m.rot90(m=x)),
    "arrays": (lambda m, x: m.stack(arrays=[x, x])),
    "array": (lambda m, x: m.pad(array=x, pad_width=1)),
    "element": (lambda m, x: m.isin(element=x, test_elements=[1.0], assume_unique=True)),
    "condition": (lambda m, x: m.extract(condition=x > 1, arr=x)),
    "shape": (lambda m, x: m.reshape(x, shape=(3, 1), order="C")),
    "sections": (lambda m, x: m.array_split(ary=x, indices_or_sections=2, axis=1)[0]),
    "places": (lambda m, x: m.sum(x, 0, "float64", None, True)),
    "places of a mask": (lambda m, x: m.max(x, 1, None, True, 2.5, x > 1)),
    "places of ddof": (lambda m, x: m.std(x, 1, None, None, 1)),
    "places of a dtype": (lambda m, x: m.full((2, 3), 3, "int32")),
    "places of eye": (lambda m, x: m.eye(2, 3, 1, "int32", "F")),
    "N and M": (lambda m, x: m.eye(N=2, M=3, dtype="float32")),
    "places of linspace": (lambda m, x: m.linspace(0, 1, 5, True, False, "float32")),
    "memory": (lambda m, x: m.zeros_like(x, order="F", subok=False)),
    "overwriting": (lambda m, x: m.median(x, overwrite_input=True)),
    "methods": (lambda m, x: x.copy(order="K") + x.mean(1, "float32", None, True)),
    "joins in a dtype": (lambda m, x: m.concatenate([x, x], 1, dtype="float64")),
    "joins that narrow": (lambda m, x: m.stack([x, x], dtype="int8", casting="unsafe")),
    "joins above": (lambda m, x: m.vstack([x, x[0]], dtype="float64", casting="safe")),
    "joins beside": (lambda m, x: m.hstack([x, x], dtype="float64")),
    "another shape": (lambda m, x: m.full_like(x, 7, shape=(2, 2), dtype="int16")),
    "zeros of a shape": (lambda m, x: m.zeros_like(x, shape=4) + m.ones_like(x, shape=(2, 4))),
    "dtype behind a shape": (lambda m, x: m.zeros((2,), "int8", "F") + m.ones(2, "int8")),
    "dtype behind a range": (lambda m, x: m.arange(0, 4, 1, "int32")),
    "einsum": (lambda m, x: m.einsum("ij,kj->ik", x, x, optimize="optimal")),
    "sorts flat": (lambda m, x: m.sort(x, axis=None, kind="stable")),
    "orders flat": (lambda m, x: m.argsort(x, None, stable=True)),
    "sorts a number": (lambda m, x: m.sort(x[0, 0], axis=None)),
    "algorithms": (lambda m, x: m.sort(x, -1, "heapsort", None)),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_in_numpys_words(name):
    function = CALLS[name]
    want, got = function(np, X), function(hb, hb.tensor(X))
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-6)
    traced = hb.function(lambda x: function(hb, x))
    for _ in range(3):
        assert traced(hb.tensor(X)).numpy().tobytes() == got.numpy().tobytes()


def test_distinct_values_in_any_order_may_be_sorted():
    assert hb.unique(hb.tensor([2, 1, 2]), sorted=False).tolist() == [1, 2]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: hb.sum(x, a=x), "both x and a"),
        (lambda x: hb.sum(), "missing a required argument: 'x'"),
        (lambda x: hb.sum(x, 0, None, dtype="int64"), "two values for 'dtype'|multiple values"),
        (lambda x: hb.sum(x, 0, None, None, False, 0, True, 1), "2 positional .* 8 were given"),
        (lambda x: hb.sort(x, kind="bogus"), "kind"),
        (lambda x: hb.reshape(x, (3, 1), order="bogus"), "order"),
        (lambda x: hb.max(x, 0, True), "out is True"),
        (lambda x: hb.concat([x, x], dtype="int8"), "casting='unsafe'"),
        (lambda x: hb.zeros((2,), "int8", 3), "a shape, a dtype and an order"),
        (lambda x: hb.nn.functional.relu(x, 1, 2), "positional"),
    ],
)
def test_mistakes_are_told(call, message):
    with pytest.raises(TypeError, match=message):
        call(hb.tensor(X))
