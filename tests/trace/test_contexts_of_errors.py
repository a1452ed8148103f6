"""An error of the user's has the context that plain Python gives it, whichever way a call runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid.core.errors import HybridError, LinAlgError
from hybrid.trace.fallback import deferred
from hybrid.trace.split import splitting

pytestmark = pytest.mark.filterwarnings("ignore")
WRONG: dict[str, Callable[[Any, int], Any]] = {
    "raises": lambda y, k: _raise(ValueError(y.sum().item() + k)),
    "adds a text": lambda y, k: y + "a",
    "text first": lambda y, k: "a" + y,
    "unary of a text": lambda y, k: hb.exp("a" * k),
    "unary of an object": lambda y, k: hb.exp(object()),
    "shapes of a product": lambda y, k: y @ hb.ones(98 + k % 2),
    "shapes of a sum": lambda y, k: y + hb.ones(3 + 2 * (k % 2)),
    "a large number": lambda y, k: hb.tensor([1], dtype="int8") + 10**30,
    "compared with a large number": lambda y, k: hb.tensor([1]) < 10**400,
    "an axis": lambda y, k: y.sum(axis=3 + k),
    "a shape": lambda y, k: y.reshape(5 + k),
    "an index": lambda y, k: y[7 + k],
    "an index of data": lambda y, k: hb.take(y, hb.tensor([9 + k])),
    "a singular matrix": lambda y, k: hb.linalg.inv(hb.zeros(2, 2) * k),
    "no positive matrix": lambda y, k: hb.linalg.cholesky(-hb.ones(2, 2) - k),
    "eigenvalues of NaN": lambda y, k: hb.linalg.eigvals(hb.full((2, 2), np.nan) + k),
    "concatenated": lambda y, k: hb.concat([y, hb.ones(2, 2)]),
    "a dtype": lambda y, k: y.astype("float3"),
    "a gate": lambda y, k: hb.where(y, "a", "b"),
    "a key": lambda y, k: {"a": y}[k],
    "an attribute": lambda y, k: y.absent,
    "handled": lambda y, k: _handles(y, k),
    "in a loop": lambda y, k: [hb.maximum(y, z) for z in (y, 1.0, hb.ones(3))],
}


def _raise(error: Exception) -> Any:
    raise error


def _handles(y: Any, k: int) -> Any:
    try:
        return y @ hb.ones(9)
    except HybridError:
        return y + "b" * k


def _plain(wrong: Callable[[Any, int], Any]) -> Callable[[Any, int], Any]:
    def whole(x: Any, k: int) -> Any:
        y = x * 2
        if k < 4:
            return y
        return wrong(y, k)

    return whole


def _reading(wrong: Callable[[Any, int], Any]) -> Callable[[Any, int], Any]:
    def reads(x: Any, k: int) -> Any:
        y = x * 2
        if y.sum().item() > 1e6:
            print("large")
        return wrong(y * 3, k) if k >= 4 else y

    return reads


def _shown(error: BaseException | None) -> Any:
    """An error with its chain, each by type and text."""
    if error is None:
        return None
    text = str(error).split(" (at ")[0]
    chain = _shown(error.__cause__), _shown(error.__context__)
    return type(error).__name__, text, error.__suppress_context__, chain


def _outcome(function: Callable[..., Any], x: Any, k: int) -> Any:
    try:
        return "result", function(x, k).tolist()
    except Exception as error:
        return _shown(error)


@pytest.fixture(params=["auto", "deferred", "pieces", "never"])
def way(request: Any) -> Iterator[str]:
    before = deferred.CHOICE[0], splitting.PIECES[0]
    deferred.CHOICE[0] = {"deferred": "always", "never": "never"}.get(request.param, "auto")
    splitting.PIECES[0] = "always" if request.param == "pieces" else "never"
    yield request.param
    deferred.CHOICE[0], splitting.PIECES[0] = before


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("form", [_plain, _reading])
def test_the_chain_of_an_error_is_that_of_plain_python(name: str, form: Any, way: str) -> None:
    plain = form(WRONG[name])
    decorated = hb.function(plain)
    for grad in (False, True):
        x = hb.ones(4, requires_grad=grad)
        for k in (0, 1, 2, 4, 5, 4, 5, 4, 5, 6, 6, 6, 0):
            wanted, found = _outcome(plain, x, k), _outcome(decorated, x, k)
            assert found == wanted, (k, way)
            if name != "handled" and found[0] != "result":
                cause, context = found[3]
                assert context is None or found[2], f"{name}: {context}"
                assert context is None or cause == context or cause is None


def test_errors_of_a_matrix_have_no_context() -> None:
    nan = hb.full((2, 2), np.nan)
    calls = [
        lambda: hb.linalg.inv(hb.zeros(2, 2)),
        lambda: hb.linalg.cholesky(-hb.ones(2, 2)),
        lambda: hb.linalg.eigvals(nan),
        lambda: hb.linalg.eig(nan),
        lambda: hb.linalg.pinv(nan),
        lambda: hb.linalg.lstsq(nan, hb.ones(2)),
    ]
    for call in calls:
        replayed = hb.function(call)
        for run in (call, replayed, replayed, replayed, replayed):
            try:
                run()
            except Exception as error:
                assert error.__context__ is None, call


def test_replayed_errors_of_a_matrix_have_no_context() -> None:
    inverse = hb.function(lambda a: hb.linalg.inv(a * 2))
    for _ in range(4):
        inverse(hb.eye(2))
    with pytest.raises(LinAlgError) as found:
        inverse(hb.zeros(2, 2))
    assert inverse.cache_info().replays and found.value.__context__ is None
