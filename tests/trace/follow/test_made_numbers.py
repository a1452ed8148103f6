"""Numbers that a function of the library makes operands of after some arithmetic of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from actions.harness import box

import hybrid as hb
import hybrid.nn.functional as F
from hybrid.decorator import function
from hybrid.trace.follow.rows import SUPPORTED

pytestmark = [
    pytest.mark.skipif(not SUPPORTED, reason="no table of instructions for this interpreter"),
    pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly"),
]
PLACE = box(p=0.5)
WEIGHT = hb.tensor([0.5] * 8, requires_grad=True)


def helper(x: Any, share: float) -> Any:
    return F.dropout(x, share)


def graded(x: Any, p: float) -> Any:
    (F.dropout(x * WEIGHT, p) * x).sum().backward()
    found, WEIGHT.grad = WEIGHT.grad, None
    return found


def attribute(x: Any, p: float) -> Any:
    return hb.dropout(x, PLACE.p) + x


BODIES: dict[str, Callable[[Any, float], Any]] = {
    "argument": lambda x, p: F.dropout(x, p) * 2,
    "keyword": lambda x, p: F.dropout(x, p=p),
    "all keywords": lambda x, p: hb.dropout(training=True, p=p, x=x),
    "arithmetic": lambda x, p: hb.dropout(x, p * 0.5 + 0.1),
    "twice": lambda x, p: hb.dropout(hb.dropout(x, p), p) + p,
    "two shares": lambda x, p: hb.dropout(hb.dropout(x, p), p / 2),
    "in a helper": lambda x, p: helper(x, p) - x,
    "attribute": attribute,
    "gradient": graded,
    "double": lambda x, p: hb.dropout(x.astype(hb.float64), p),
    "half": lambda x, p: hb.dropout(x.astype(hb.float16), p),
    "whole": lambda x, p: hb.dropout(x.astype(hb.int32), p),
    "not training": lambda x, p: hb.dropout(x, p, False) * p,
    "training by number": lambda x, p: hb.dropout(x, p, p > 0.2),
    "decides": lambda x, p: hb.dropout(x, p) if p < 0.3 else x * p,
    "shown": lambda x, p: (hb.dropout(x, p), f"{p:.3f}"),
}
SHARES = {
    "ramp": [0.1 + 0.01 * k for k in range(30)],
    "edges": [0.3, 0.4, 0.0, 0.5, 1.0, 1, 0, 0.25, 1e-300, 0.5, -0.1, 1 - 2**-53, 0.75, True, 0.6]
    * 2,
}


def run(decorate: Callable[[Any], Any], body: Any, shares: list[Any]) -> tuple[Any, list[Any]]:
    """The decorated body, and what its calls give."""
    hb.manual_seed(3)
    f, found = decorate(body), []
    for k, p in enumerate(shares):
        x = hb.tensor(np.linspace(-1 - k, 2, 8, dtype="f4"))
        PLACE.p = p
        try:
            result = f(x, p)
        except Exception as error:
            found.append((type(error), str(error)))
            continue
        text = result[1:] if type(result) is tuple else ()
        tensor = result[0] if type(result) is tuple else result
        found.append((str(tensor.dtype), tensor.numpy().tobytes(), text, hb.random.get_state()))
    return f, found


@pytest.mark.parametrize("shares", SHARES.values(), ids=list(SHARES))
@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
def test_same_as_the_plain_function(body: Any, shares: list[Any]) -> None:
    plain, traced = (run(how, body, shares)[1] for how in ((lambda f: f), function))
    assert str(plain) == str(traced)


@pytest.mark.parametrize(
    "name",
    [*("argument", "keyword", "all keywords", "arithmetic", "twice", "two shares", "in a helper")]
    + [*("attribute", "gradient", "double", "half", "whole")],
)
def test_a_ramp_is_one_plan(name: str) -> None:
    f, _ = run(function, BODIES[name], SHARES["ramp"])
    assert f.cache_info().replays >= 24, f.explain()
