"""Containers that a call makes and fills with numbers that it reads: they are built again, shown and
summed by replays.

Each body runs plainly and decorated, in turns, from equal starts; what it returns, prints and
leaves (which objects are one included) must be the same, and in the end all calls are replays."""

from __future__ import annotations

import collections
import contextlib
import io
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hybrid as hb

pytestmark = [
    pytest.mark.skipif(
        not sys.modules["hybrid.trace.serve.paths"].SUPPORTED, reason="nothing is followed"
    ),
    pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly"),
]
# x is a tensor, s has a list `log`, a dict `table`, a counter `n` and a place `held`
REPLAYED = """
m = {}; m["loss"] = x.mean().item(); print(m); return x * 2
m = {"k": 1}; m["loss"] = x.mean().item(); m.update(n=s.n, x=x * 2); return m
m = {k: float(v) for k, v in {"a": x.mean(), "b": x.sum()}.items()}; s.log.append(m); return x
m = {"a": x.mean().item(), "b": 2}; print(" ".join(f"{k}={v:.2f}" for k, v in m.items())); return x
m = {"a": x.mean().item(), "b": 2}; print(", ".join([f"{k}={v}" for k, v in m.items()])); return x
r = [(x * i).sum().item() for i in range(4)]; print(sum(r) / len(r), max(r), min(r)); return r
r = [(x * i).sum().item() for i in range(4)]; print(sorted(r), sorted(r, reverse=True)); return r[::-1]
r = [(x * i).sum().item() for i in range(5)]; return sum(r[-3:]) / len(r[-3:])
return sum((x * i).sum().item() for i in range(3)), max(float((x * i).sum()) for i in range(1, 3))
return list(v.item() for v in x), tuple(float(v) for v in x), dict((k, x[k].item()) for k in range(2))
m = dict(loss=x.mean().item(), n=3); return {**m, "b": [*m.values(), 1.0], "keys": list(m)}
m = {}; s.log.append(m); m["loss"] = x.mean().item(); s.held = m; return x
m = []; m.append(x.mean().item()); print(m); m.append(x.sum().item()); print(m); return m, m
m = []; k = m; k.append(x.mean().item()); print(m is k, len(m), bool(m)); return m, k
m = {"a": 0.0}; m["a"] += x.mean().item(); m["a"] += 1; print(m["a"] / 3); return m.get("b", m["a"])
for i, (k, v) in enumerate({"a": x.mean().item(), "b": s.n}.items()): print(i, k, v); return x
for k, v in zip(["a", "b"], [x.mean().item(), x.sum().item()]): print(f"{k}: {v:.3f}"); return x
for k, v in sorted({"b": x.mean().item(), "a": 2.0}.items()): print(k, v); return x
r = [x[0].item(), x[1].item()]; r += [1.0]; r.extend([s.n]); r.insert(0, 7); del r[1]; return r + [r.pop()]
v = x.mean().item(); r = [v * k for k in (1, 2, 3)]; print([v - k for k in r]); return r
r = [x.mean().item()]; g = (k * 2 for k in r); r.append(1.0); return sum(g)
r = {"a": {}, "b": []}; r["a"]["l"] = x.mean().item(); r["b"].append(x.sum().item()); s.log.append(r); return x
r = [x[k].item() for k in range(3)]; return x * 2 if any(v > 9 for v in r) else x
r = [x[k].item() for k in range(2)]; return x / (1 + abs(max(r)))
print(shown({"loss": x.mean().item()}), named(loss=x.sum().item(), n=3)); return x
s.n += 1; d = {}; d["n"] = s.n; return x * sum(d.values())
for k in ("a", "b"): s.table.setdefault(k, []).append(x.sum().item()); return x
a, b = [x.mean().item(), x.sum().item()]; t = (a, [b]); t[1].append(a); return t
"""
TRICKY = """
m = {}; keep(m); m["a"] = x.mean().item(); return len(s.log)
m = {"a": x.mean().item()}; s.log.append(m); s.log[-1]["a"] = 2; return m
m = {"a": x.mean().item()}; s.log.append(m); y = s.log[-1]["a"]; return x * y
m = {"a": x.mean().item()}; s.held = m; s.held["a"] += 1; return dict(s.held)
r = [x.mean().item()]; f = lambda: r.append(2.0); f(); print(r); return r
r = [x.mean().item()]; g = (v for v in r); print(list(g), list(g)); return r
r = [x.mean().item(), 1.0]; i = iter(r); print(next(i), list(i), list(i)); return r
m = {"a": x.mean().item()}; k = m.items(); m["b"] = 2.0; print(list(k), list(k)); return m
r = [v.item() for v in x]; r.sort(); return r
m = {"a": x.mean().item(), "b": x.sum().item()}; return max(m, key=m.get)
r = [x.mean().item()]; r.append(r[0]); r[:] = r[:1] * 2; return r
m = collections.defaultdict(list); m["a"].append(x.mean().item()); return dict(m)
r = [x.mean().item()]; s.table["r"] = r; s.log.append(r); r.append(3.0); return [r, s.table["r"] is r]
v = x.mean().item(); g = (v * k for k in range(2)); v = 5.0; return list(g)
r = [x[0].item()]; print(np.mean(r), r == [0.5], 0.5 in r); return sum(r, s.n)
m = {True: x[0].item()}; m[1] = x[1].item(); m[1.0] = 2.0; return m, list(map(type, m))
"""


def keep(m: Any) -> None:
    m["kept"] = len(m)


def shown(m: Any) -> str:
    return ", ".join(f"{k}={v:.3g}" for k, v in m.items())


def named(**m: Any) -> str:
    return "|".join([f"{k}:{v}" for k, v in m.items()])


def _lines(body: str) -> str:
    """The statements of a body, one a line; what follows a loop's head is in it but the last."""
    head, *rest = body.split(": ", 1) if body.startswith("for ") else [body]
    if rest:
        inside, last = rest[0].rsplit("; ", 1)
        return f"    {head}:\n        {inside}\n    {last}\n"
    return "".join(f"    {line}\n" for line in body.split("; "))


def _run(body: str, jit: Callable[[Any], Any]) -> tuple[Any, ...]:
    s = types.SimpleNamespace(n=0, log=[], table={}, held=None)
    space = {
        "s": s,
        "np": np,
        "collections": collections,
        "keep": keep,
        "shown": shown,
        "named": named,
    }
    exec(compile(f"def f(x):\n{_lines(body)}", f"<{body[:40]}>", "exec"), space)
    step, found = jit(space["f"]), []
    with contextlib.redirect_stdout(io.StringIO()) as out:
        for k in range(24):
            found.append(step(hb.tensor(np.random.default_rng(k).standard_normal(4).astype("f4"))))
    return _plain((found, s.n, s.log, s.table, s.held), {}), out.getvalue(), step


def _plain(value: Any, seen: dict[int, int]) -> Any:
    """What can be compared: values by type and bits, lists and dicts with who they are."""
    if isinstance(value, hb.Tensor):
        return value.numpy().tobytes(), str(value.dtype)
    if isinstance(value, (list, dict)):
        mark = seen.setdefault(id(value), len(seen))
        items = value.items() if isinstance(value, dict) else value
        return type(value).__name__, mark, [_plain(item, seen) for item in items]
    if isinstance(value, tuple):
        return [_plain(item, seen) for item in value]
    return type(value).__name__, repr(value)


@pytest.mark.parametrize("body", REPLAYED.strip().splitlines())
def test_containers_of_numbers_that_were_read(body: str) -> None:
    expected = _run(body, lambda f: f)
    found = _run(body, hb.function)
    assert found[:2] == expected[:2]
    assert found[2].cache_info().replays >= 16, found[2].explain()


@pytest.mark.parametrize("body", TRICKY.strip().splitlines())
def test_containers_that_others_reach(body: str) -> None:
    assert _run(body, hb.function)[:2] == _run(body, lambda f: f)[:2]
