"""Harness of the pitfall tests: run a program with plain Python and with @function and compare.

Invariant: `check` fails on any difference in results, bits, prints or exceptions, and on a refusal
that gives more than one message per function or that names no line of the program.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from adversary.common import norm as _norm
from adversary.common import same

import hybrid as hb
import hybrid.nn as nn
from hybrid.decorator import Function, RunsEagerly, function

__all__ = ["A", "B", "Net", "Outcome", "check", "flat", "mlp", "norm", "t", "train_step"]

A = np.float32([0.5, -1.25, 3.0, -0.0, 1e-40, 7.5, -2.0])  # odd size, signed zero, a subnormal
B = np.float32([2.0, np.inf, -np.inf, np.nan, 0.0, 1.5, -3.25])


def t(data: Any = A, **kw: Any) -> Any:
    """A fresh tensor."""
    return hb.tensor(np.asarray(data, np.float32), **kw)


class Net(nn.Module):
    """Two layers with dropout, the model of most tests."""

    def __init__(self, width: int = 7, p: float = 0.0) -> None:
        super().__init__()
        self.first, self.drop, self.last = nn.Linear(width, 5), nn.Dropout(p), nn.Linear(5, 3)

    def forward(self, x: Any) -> Any:
        return self.last(self.drop(self.first(x).relu()))


def mlp(seed: int = 0, **kw: Any) -> Net:
    """A model with fixed weights."""
    hb.manual_seed(seed)
    return Net(**kw)


def train_step(net: Any, opt: Any) -> Callable[[Any], Any]:
    """The usual step, undecorated."""

    def step(x: Any) -> Any:
        opt.zero_grad()
        loss = (net(x) ** 2).mean()
        loss.backward()
        opt.step()
        return loss.detach()

    return step


def flat(net: Any) -> list[Any]:
    """Parameters and their gradients."""
    return [p.detach() for p in net.parameters()] + [p.grad for p in net.parameters()]


def norm(v: Any) -> Any:
    """Results as plain data: arrays, numbers, lists; dicts as lists of their items."""
    if isinstance(v, dict):
        return [[norm(k), norm(x)] for k, x in v.items()]
    return [norm(x) for x in v] if isinstance(v, (list, tuple)) else _norm(v)


class Outcome:
    """The functions that a decorated run made, and what they said."""

    def __init__(self) -> None:
        self.functions: list[Function] = []
        self.messages: list[warnings.WarningMessage] = []

    @property
    def replays(self) -> int:
        return sum(f.cache_info().replays for f in self.functions)

    @property
    def records(self) -> int:
        return sum(f.cache_info().records for f in self.functions)

    def text(self) -> str:
        return "\n".join(f.explain() for f in self.functions)


def _run(program: Any, jit: Any) -> Any:
    hb.manual_seed(0)
    np.random.seed(0)
    out = io.StringIO()
    error = ""
    result: Any = None
    with contextlib.redirect_stdout(out):
        try:
            result = norm(program(jit))
        except AssertionError:
            raise
        except Exception as e:
            error = f"{type(e).__name__}: {e}"
    after = [norm(hb.rand((3,)))]
    return result, out.getvalue(), error, after


def _difference(a: Any, b: Any, path: str = "") -> str:
    """Where two results differ first, and both values there; '' when they are the same."""
    if same(a, b):
        return ""
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return next(
            d for i, (x, y) in enumerate(zip(a, b)) if (d := _difference(x, y, f"{path}[{i}]"))
        )
    return f"{path or 'the result'}: {a!r} became {b!r}"


def _said(got: Outcome, says: str, file: str) -> None:
    """One message per function, at most; it names a line of the caller's file."""
    assert len(got.messages) <= len(got.functions), [str(m.message) for m in got.messages]
    for m in got.messages:
        assert re.search(r"\w+\.py:\d+", str(m.message)), m.message
        assert m.filename == file, (m.filename, str(m.message))
    assert any(re.search(says, str(m.message)) for m in got.messages) or not says, [
        str(m.message) for m in got.messages
    ] + [got.text()]


def check(program: Callable[[Any], Any], replays: int | None = None, says: str = "") -> Outcome:
    """Run program(jit) eagerly and decorated: results, bits, prints, errors, random numbers agree.

    `replays`: at least so many calls must be replayed; `says`: a RunsEagerly message must match."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.Widened)  # said once, so not to both
        want = _run(program, lambda f: f)
    got = Outcome()

    def jit(f: Any) -> Function:
        got.functions.append(function(f))
        return got.functions[-1]

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RunsEagerly)
        have = _run(program, jit)
    got.messages = [w for w in caught if issubclass(w.category, RunsEagerly)]
    assert want[1] == have[1], "printed text differs"
    assert want[2] == have[2], f"raised something else: {want[2]!r} became {have[2]!r}"
    where = _difference(want[0], have[0])
    assert not where, f"results differ at {where}\n{got.text()}"
    assert same(want[3], have[3]), "the random stream differs"
    _said(got, says, sys._getframe(1).f_code.co_filename)
    if replays is not None:
        assert got.replays >= replays, got.text()
    return got
