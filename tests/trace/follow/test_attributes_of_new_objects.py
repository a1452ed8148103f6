"""Objects that a call makes, with what it draws or reads in their attributes: followed where each
read is seen, rebuilt where they are left behind, looked at in every other case."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import io
import json
import operator
import random
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hybrid as hb

pytestmark = [
    pytest.mark.filterwarnings("ignore::hybrid.RunsEagerly"),
    pytest.mark.skipif(
        not sys.modules["hybrid.trace.serve.paths"].SUPPORTED, reason="nothing is followed"
    ),
]

CLASSES = """
class T:
    extra = 7
    def __init__(self, v=None): self.v = v
    def report(self): return self.v
    def __enter__(self): self.v = draw(); return self
    def __exit__(self, *error): self.d = self.v * 2
    @property
    def twice(self): return self.v * 2
    def __repr__(self): return f"T({self.v})"
    def __eq__(self, other): return self.v == other.v
    def __lt__(self, other): return self.v < other.v
    __hash__ = None
@dataclasses.dataclass
class D:
    a: float
    b: object = None
class S:
    __slots__ = ("v", "w")
    def __init__(self, v): self.v = v
def made():
    t = T()
    t.v = draw()
    return t
"""
# bodies of a function, one a line
REPLAYED = """
t = T(draw()); log.append(t.v); return x * 2
t = made(); log.append(t.v); return x * t.v
t = T(draw()); return x * 2, t
t = made(); log.append(t); return x * 2
t = T(draw()); log.append(t.report()); return x * 2
ts = [T(draw()), made()]; log.append([t.v for t in ts]); return x * 2
d = D(draw()); log.append(d.a); return x * 2
d = D(draw(), T(draw())); return x * 2, d
q = S(draw()); q.w = q.v + 1; return x * 2, q
n = types.SimpleNamespace(); n.v = draw(); return x * 2, n
t = made(); t.v += 1; log.append(t.v); return x * t.v
t = T(draw()); t.v = 3.0; log.append(t.v); return x * 2, t
t = T((draw(), draw())); a, b = t.v; log.append(a - b); return x * 2, t
t = made(); u = T(t); log.append(u.v.v); return x * 2, u
with T() as t: x = x * 3; log.append(t.d); return x, t
t = T(draw()); y = x * 2 if t.v > 0.5 else x; return y, t
t = T(x.sum().item()); log.append(t.v); return x * 2, t
s.n += 1; t = T(s.n); return x * t.v, t
e = ValueError(); e.v = draw(); log.append(e.v); return x * 2
"""
OTHERS = """
ts = [T(draw()) for _ in range(3)]; log.append(sum(t.v for t in ts)); return x * 2
t = T(draw()); log.append(getattr(t, "v")); return x * 2
t = made(); log.append(getattr(t, s.name)); return x * 2
t = T(draw()); log.append(vars(t)["v"]); return x * 2
t = made(); log.append(dict(t.__dict__)); return x * 2
t = T(draw()); log.append(operator.attrgetter("v")(t)); return x * 2
t = T(draw()); log.append(t.twice); return x * 2
t = made(); log.append(repr(t)); return x * 2
t = T(draw()); print(t); return x * 2
t = made(); u = copy.copy(t); log.append(u.v); return x * 2
t = T(draw()); u = copy.deepcopy(t); log.append(u.v); return x * 2, u
ts = [T(draw()), made()]; log.append(max(ts).v); return x * 2
ts = [T(draw()), made()]; log.append(sorted(ts, key=lambda t: t.v)[0].v); return x * 2
d = {"a": made()}; log.append(d["a"].v); return x * 2
d = D(draw()); log.append(repr(d)); return x * 2
d = D(draw()); log.append(dataclasses.asdict(d)); return x * 2
d = D(draw()); log.append(dataclasses.replace(d, b=3).a); return x * 2
d = D(draw()); log.append(d == D(d.a)); return x * 2
n = types.SimpleNamespace(v=draw()); log.append(n.v); return x * 2
t = T(); setattr(t, "v", draw()); log.append(t.v); return x * 2
t = made(); del t.v; t.v = 3.0; log.append(t.v); return x * 2, t
t = T(draw()); t.__dict__.update(v=5.0); log.append(t.v); return x * 2, t
t = made(); t.__dict__["v"] = 5.0; log.append(t.v); return x * 2, t
t = T([draw(), 1]); t.v.append(draw()); log.append(t.v[0]); return x * 2, t
t = T(draw()); s.last = t; return x * 2
t = made(); s.last = t; log.append(s.last.v); return x * 2
t = s.last or T(0); t.v = draw(); s.last = t; return x * 2
f = functools.partial(T, draw()); log.append(f().v); return x * 2
t = made(); g = lambda: t.v; log.append(g()); return x * 2
t = T(draw()); h = t.report; log.append(h()); return x * 2
t = T(draw()); log.append(json.dumps({"v": t.v})); return x * 2
t = made(); log.append([getattr(t, k) for k in ("v", "extra")]); return x * 2
t = T(draw()); log.append(tuple(map(operator.attrgetter("v"), [t, t]))); return x * 2
t = type("X", (), {})(); t.v = draw(); log.append(t.v); return x * 2
t = made(); log.append(next(iter([t])).v); return x * 2
t = T(draw()); log.append(list(zip([t], [1]))[0][0].v); return x * 2
t = made(); s.box["t"] = t; log.append(s.box["t"].v); return x * 2
t = T(draw()); m = list([t]); log.append(m[0].v); return x * 2
t = made(); log.append((lambda *a: a[0].v)(t)); return x * 2
t = T(draw()); log.append((lambda **a: a["t"].v)(t=t)); return x * 2
"""


def _plain(value: Any) -> Any:
    if isinstance(value, hb.Tensor):
        return value.numpy().tobytes()
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *map(_plain, value)]
    if isinstance(value, dict):
        return [(key, _plain(part)) for key, part in value.items()]
    if hasattr(value, "__slots__"):
        return [type(value).__name__, *[_plain(getattr(value, n, 0)) for n in value.__slots__]]
    fields = getattr(value, "__dict__", None)
    return type(value).__name__, repr(value) if fields is None else _plain(fields)


def _run(body: str, jit: Callable[[Any], Any]) -> tuple[list[Any], str, Any]:
    s = types.SimpleNamespace(n=0, last=None, box={}, name="v")
    space: dict[str, Any] = {"draw": random.Random(5).random, "log": [], "s": s}
    modules = dataclasses, operator, copy, types, functools, json
    space.update({module.__name__: module for module in modules})
    exec(CLASSES, space)
    lines = body.replace(": x =", ":\n        x =").replace("; ", "\n    ")
    exec(compile(f"def f(x):\n    {lines}\n", f"<{body[:40]}>", "exec"), space)
    step, found = jit(space["f"]), []
    with contextlib.redirect_stdout(io.StringIO()) as out:
        for k in range(24):
            x = hb.tensor(np.random.default_rng(k).standard_normal(4).astype("f4"))
            found.append(repr((_plain(step(x)), _plain(space["log"]), _plain(s))))
            del space["log"][: 4 * (k % 5 == 4)]
    return found, out.getvalue(), step


@pytest.mark.parametrize("body", REPLAYED.strip().splitlines())
def test_attributes_that_are_followed(body: str) -> None:
    expected, found = _run(body, lambda f: f), _run(body, hb.function)
    assert found[:2] == expected[:2]
    assert found[2].cache_info().replays >= 14, found[2].explain()


@pytest.mark.parametrize("body", OTHERS.strip().splitlines())
def test_attributes_that_others_read(body: str) -> None:
    assert _run(body, hb.function)[:2] == _run(body, lambda f: f)[:2]
