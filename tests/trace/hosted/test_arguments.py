"""What is printed and logged beside followed numbers: whatever facts decide, however it is written.

Each expression is printed by a plain and by a decorated function, beside a counter and a value read
from a tensor, while what it looks at changes from outside; the texts must be the same, and the
calls in between must be replays."""

from __future__ import annotations

import io
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid.backends.api import layout
from hybrid.trace.bytecode.summary import depths

pytestmark = pytest.mark.skipif(
    not sys.modules["hybrid.trace.serve.paths"].SUPPORTED, reason="nothing is followed"
)
EXPRESSIONS = """
len(s.pair)
len(s.names), len(s.text), len(s.recent)
s.names['a'], s.pair[1], s.rates[0], s.recent[0]
x.shape[0], x.shape[-1] / 2, x.dtype, len(x), x.ndim
max(s.rates), sum(s.rates), min(s.pair), round(s.rates[0], 1)
s.text.upper(), '-'.join(['b', s.text]), s.text.split(',')[0], s.text * 2
x.shape == (4,), not s.rates, s.pair is None, 'a' in s.names
*s.pair
*s.pair, *s.rates
*[1, len(s.names)], s.text
s.n * len(s.names) + s.pair[0]
s.n, s.n > len(s.names)
f'{len(s.names)} {x.shape[0]:3d} {s.n} {s.text!r:>9}'
f'{x.sum():.3f} {s.pair[0]!r:>6} {s.rates[0] * 2:g}'
'%d %s' % (s.n, len(s.names))
'{} {:>5} {}'.format(s.n, len(s.names), s.text[:2])
{'n': s.n, 'k': len(s.names)}
[s.n, len(s.names), s.pair]
type(x).__name__, s.__class__.__name__
str(s.pair), repr(s.text), str(s.rates[0]) + s.text
(s.n, (s.pair, len(s.text)))
'big' if len(s.names) > 1 else 'small', s.names.get('a'), s.names.get('z', s.pair)
*(s.n, s.text), **s.options
s.rates, s.names, [s.rates, {'k': (s.pair, [s.text])}]
sorted(s.names), list(s.pair), [v * 2 for v in s.rates], list(s.recent), dict(s.options)
f'{s.rates} {s.names!r} {[len(s.text)]}'
abs(s.pair[0]), pow(s.pair[1], 2), divmod(s.pair[1], 2), bool(s.names), int('3') + s.pair[0]
"""
CHANGES: dict[int, Callable[[Any], Any]] = {
    8: lambda s: setattr(s, "pair", (5, 6, 7)),
    12: lambda s: s.names.update(b=2),
    16: lambda s: s.rates.__setitem__(0, -1.5),
    20: lambda s: setattr(s, "text", "c,d,e"),
    24: lambda s: s.recent.append(3),
    28: lambda s: s.options.update(sep="/"),
}


def _state() -> Any:
    return types.SimpleNamespace(
        n=0, pair=(1, 2), names={"a": 1}, rates=[0.25, 2.0], text="a,b", recent=[1], options={}
    )


def _run(expression: str, jit: Callable[[Any], Any]) -> tuple[Any, Any]:
    out, s = io.StringIO(), _state()
    text = f"def f(x):\n    s.n += 1\n    print({expression}, file=out)\n"
    text += "    print(s.n, x.mean().item(), file=out)\n    return x * s.n\n"
    space = {"s": s, "out": out}
    exec(compile(text, f"<{expression}>", "exec"), space)
    step = jit(space["f"])
    for k in range(36):
        CHANGES.get(k, lambda s: None)(s)
        size = 4 if k < 32 else 6
        x = hb.tensor(np.random.default_rng(k).standard_normal(size).astype("f4"))
        out.write(str(step(x).numpy().tolist()))
    return out.getvalue().split("["), step


@pytest.mark.parametrize("expression", EXPRESSIONS.strip().splitlines())
def test_arguments_that_facts_decide(expression: str) -> None:
    expected, _ = _run(expression, lambda f: f)
    found, step = _run(expression, hb.function)
    assert found == expected
    assert step.cache_info().replays >= 8, step.explain()


@pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly")
def test_a_list_that_the_call_changes_is_shown_as_it_is() -> None:
    def run(jit: Any) -> str:
        out, rates, log = io.StringIO(), [1.0, 2.0], list[Any]()

        @jit
        def step(x: Any) -> Any:
            print(rates, log, file=out)
            rates[0] = rates[0] * 0.5
            log.append(len(log))
            print(rates, log[-2:], file=out)
            return x * rates[0]

        for k in range(40):
            if k == 7:
                rates[1] = 9.0
            out.write(str(step(hb.ones(2) * k).numpy().tolist()))
        return out.getvalue()

    assert run(hb.function) == run(lambda f: f)


def test_operands_are_those_of_the_frame() -> None:
    known = layout()
    assert known is not None
    seen = []

    def look(*given: Any) -> Any:
        frame = sys._getframe(1)
        known_depths = depths(frame.f_code)
        depth = known_depths[max(at for at in known_depths if at <= frame.f_lasti)]
        seen.append([known.operand(frame, place) for place in (depth - 1, depth - 2)])
        return given[-1]

    def frames(first: Any, count: int) -> Any:
        third = {"a": count}
        return [(first, look(count, third)) for _ in range(2)], lambda: third

    mark = object()
    frames(mark, 7)
    assert len(seen) == 2 and all(pair[0] == {"a": 7} and pair[1] == 7 for pair in seen)
