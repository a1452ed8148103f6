"""Deferred mode: whether calls are deferred, ordinary programs, what is compiled and how often."""

from __future__ import annotations

import io
import random
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
from deferred_harness import A, Net, bits, clock, deferred, same

import hybrid as hb
import hybrid.optim as optim
from hybrid.decorator import function
from hybrid.ir.door import bind as door
from hybrid.trace.fallback import segments as kept
from hybrid.trace.fallback.deferred import CHOICE, LASTS, MOST_TURNS, TURNS, Deferral
from hybrid.trace.fallback.segments import Segments

pytestmark = [
    pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly"),
    pytest.mark.usefixtures("always"),
]


# ---- the choice
def test_the_faster_way_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    CHOICE[0] = "auto"
    for slow, verdict in ((True, "eager"), (False, "deferred")):
        now = [0.0]
        monkeypatch.setattr("hybrid.trace.fallback.deferred.perf_counter", lambda now=now: now[0])
        deferral = Deferral(Segments())

        def f(x: Any, slow: bool = slow, now: list[float] = now) -> Any:
            now[0] += 1.0 + (slow == (door.current_mode() is not None))
            return hb.exp(x) + 1.0

        turns = []
        for _ in range(20):
            if deferral.verdict:
                break
            turns.append(deferral.turn())
            deferral.run(f, (hb.tensor(A),), {}, turns[-1])
        assert deferral.verdict == verdict and turns.count(False) == 4


def test_that_deferred_calls_are_faster_is_found_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first eager calls make their kernels."""
    CHOICE[0] = "auto"
    now, ran = [0.0], Counter[bool]()
    monkeypatch.setattr("hybrid.trace.fallback.deferred.perf_counter", lambda: now[0])
    deferral = Deferral(Segments())

    def f(x: Any) -> Any:
        eager = door.current_mode() is None
        ran[eager] += 1
        now[0] += (5.0 if ran[True] < TURNS + 3 else 1.0) if eager else 2.0
        return hb.exp(x) + 1.0

    verdicts = []
    while deferral.verdict != "eager":
        verdicts.append(deferral.verdict)
        deferral.run(f, (hb.tensor(A),), {}, deferral.turn())
    assert verdicts.count("deferred") == LASTS
    assert ran[True] <= TURNS + MOST_TURNS


def test_segments_that_never_repeat_are_given_up() -> None:
    CHOICE[0] = "auto"
    deferral = Deferral(Segments())
    for k in range(200):
        if deferral.verdict:
            break
        deferral.run(lambda x: x * 2.0 + 1.0, (hb.zeros(k + 1),), {}, deferral.turn())
    assert deferral.verdict == "eager" and deferral.segments.compilations == 0


# ---- ordinary programs
def _printing(x: Any, out: Any) -> Any:
    y = hb.exp(x) * 2.0
    print(float(y.sum()), file=out)
    return y + 1.0


def _logging(x: Any, out: Any) -> Any:
    y = x * x
    out.write(f"{y} {time.time() > 0}")
    return (y - x).sum()


def _python_random(x: Any, out: Any) -> Any:
    return x * random.random() + np.random.rand() * x


def _reads_and_branches(x: Any, out: Any) -> Any:
    clock()
    loss = (x * x).sum()
    if float(loss) > 10:
        return loss * 2.0
    return loss - 1.0


def _reads_in_a_loop(x: Any, out: Any) -> Any:
    clock()
    for k in range(5):
        x = x * 1.5 + k
        out.write(str(x.sum().item()))
        if bool(x.sum() > 1e6):
            break
    return x


def _numpy_in_the_middle(x: Any, out: Any) -> Any:
    clock()
    y = np.asarray(hb.sin(x))
    return hb.tensor(y + 1) * x, y.tolist()


def _in_place(x: Any, out: Any) -> Any:
    clock()
    y = x * 2.0
    z = y.detach()
    y += 1.0
    y[0] = 5.0
    y[1, :2] *= x[0, 2:]
    return y, z, x


def _views(x: Any, out: Any) -> Any:
    clock()
    y = x + 0.0
    row, turned = y[1], y.T
    row += 3.0
    turned[0] = 7.0
    y *= 2.0
    return y, row, turned, row[1:]


def _outer_view(x: Any, out: Any) -> Any:
    clock()
    row = x[0]
    row += 1.0
    return row * 2.0


def _several_results(x: Any, out: Any) -> Any:
    clock()
    values, places = hb.sort(x + 1.0), hb.argmax(x, 1)
    return values, places, hb.split(x * 2.0, 2, 1), {"a": x, "b": x.mean(0)}


def _checked_index(x: Any, out: Any) -> Any:
    clock()
    return (x * 2.0)[hb.tensor([2, 0, 1, 1])] + hb.take(x, hb.argmax(x, 0), 0)


def _empty(x: Any, out: Any) -> Any:
    clock()
    return (x[:0] * 2.0 + 1.0).sum(0), (x[0, 0] * 3.0 + 1.0)


def _integers(x: Any, out: Any) -> Any:
    clock()
    k = (x > 0).astype("int32") * 3
    return k // 2, k % 2, -k, (k == 3) & (x < 1)


def _specials(x: Any, out: Any) -> Any:
    clock()
    y = hb.maximum(x, -x) * -0.0
    return y, y + 0.0, 1.0 / y, hb.sqrt(-x), hb.where(x > 0, x, y), hb.copysign(x, -1.0)


PROGRAMS = [value for name, value in list(globals().items()) if name.startswith("_") and
            getattr(value, "__code__", None) is not None and value.__code__.co_varnames[:2] == ("x", "out")]  # fmt: skip


@pytest.mark.parametrize("body", PROGRAMS, ids=lambda body: body.__name__)
@pytest.mark.parametrize("recorded", [False, True])
def test_ordinary_programs(body: Any, recorded: bool) -> None:
    def program(jit: Any) -> Any:
        random.seed(3)
        np.random.seed(3)
        out = io.StringIO()
        f = jit(body)
        results = []
        for k in range(6):
            x = hb.tensor(A + k % 2)
            results.append([f(x, out), x])
        return results, out.getvalue() if "time" not in body.__code__.co_names else ""

    if recorded:
        hb.manual_seed(7)
        expected = bits(program(lambda fn: fn))
        hb.manual_seed(7)
        assert bits(program(function)) == expected
    else:
        made: list[Any] = []
        expected = bits(program(lambda fn: fn))
        assert bits(program(lambda fn: made.append(deferred(fn)) or made[-1])) == expected
        assert made[0].cache_info().deferred == 6


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW])
def test_a_training_step_that_logs(kind: Any) -> None:
    def program(jit: Any) -> Any:
        net, log = Net(), io.StringIO()
        opt = kind(net.parameters(), lr=0.05)

        @jit
        def step(x: Any, y: Any) -> Any:
            clock()
            loss = ((net(x) - y) ** 2).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            print(f"{loss.item():.9g}", file=log)
            return loss

        rng = np.random.default_rng(0)
        for _ in range(30):
            data = rng.standard_normal((6, 4)).astype(np.float32)
            step(hb.tensor(data), hb.tensor(data[:, :2]))
        state = [*net.state_dict().values(), *[p.grad for p in net.parameters()]]
        return state, bits(opt.state_dict()), log.getvalue(), hb.rand(3)

    f = same(program, calls=28)
    info = f.cache_info()
    assert info.compilations <= info.segments + 2 and info.segments <= 6


def test_early_stopping_and_a_generator_made_outside() -> None:
    def program(jit: Any) -> Any:
        batches = (hb.full((3,), float(k)) for k in range(100))

        @jit
        def run(limit: Any) -> Any:
            total = hb.zeros(3)
            for batch in batches:
                total = total + batch * 0.5
                if total.sum().item() > limit:
                    return total
            return None

        return [run(float(limit)) for limit in (5, 5, 5, 5, 50, 500)]

    same(program, calls=0)


def test_gradients_outside_of_a_deferred_forward() -> None:
    def program(jit: Any) -> Any:
        w = hb.tensor(A[:2].copy(), requires_grad=True)

        @jit
        def forward(x: Any) -> Any:
            clock()
            return hb.sin(x * w).sum() * 2.0

        out = []
        for k in range(6):
            loss = forward(hb.full((2, 4), 0.1 * k))
            (loss * loss).backward()
            out += [loss, w.grad.clone()]
            w.grad = None
        return out

    same(program, calls=4)


def test_no_grad_grad_of_a_lambda_and_higher_derivatives() -> None:
    def program(jit: Any) -> Any:
        @jit
        def f(x: Any) -> Any:
            clock()
            with hb.no_grad():
                a = x * 2.0
            g = hb.grad(lambda t: (t**3).sum())(x + a)
            gg = hb.grad(lambda t: hb.grad(lambda u: (u**3).sum())(t).sum())(x)
            return a, g, gg

        return [f(hb.tensor(A[:2])) for _ in range(5)]

    same(program, calls=3)


def test_outputs_are_kept_mutated_and_fed_back() -> None:
    def program(jit: Any) -> Any:
        @jit
        def f(x: Any) -> Any:
            clock()
            return x * 1.5 + 1.0, x

        x, seen = hb.tensor(A[:2]), []
        for _ in range(6):
            y, given = f(x)
            assert given is x
            seen.append(y)
            z = y.clone()
            y += 1.0
            x = z
        return seen, x

    same(program, calls=4)


def test_nested_functions_run_inside() -> None:
    def program(jit: Any) -> Any:
        inner = jit(lambda x: hb.exp(x) + 1.0)

        @jit
        def outer(x: Any) -> Any:
            clock()
            y = x * 2.0
            return inner(y) - y, hb.sum(inner(x))

        return [outer(hb.tensor(A[:2])) for _ in range(6)]

    hb.manual_seed(7)
    expected = bits(program(lambda fn: fn))
    assert bits(program(function)) == expected


def test_a_large_function_inside_replays_on_its_own() -> None:
    def large(x: Any) -> Any:
        for _ in range(20):
            x = hb.sin(x) * 0.5
        return x

    inner, small = function(large), function(lambda x: x * 2.0 + 1.0)

    def body(large: Any, small: Any, x: Any) -> Any:
        y = small(x + 1.0)
        z = large(y) - y
        if float(z.sum()) > 1e9:
            return y
        return small(z), large(x)

    f, x = deferred(lambda x: body(inner, small, x)), hb.tensor(A[:2])
    for _ in range(6):
        assert bits(f(x)) == bits(body(large, lambda x: x * 2.0 + 1.0, x))
    assert inner.cache_info().replays == 10 and inner.cache_info().records == 2
    assert small.cache_info().replays == 0 and small.cache_info().records == 2
    with pytest.raises(TypeError):
        deferred(lambda x: (x * 2.0, inner(x, 1)))(x)


# ---- numbers and counts
def test_changing_numbers_never_compile_again() -> None:
    @deferred
    def f(x: Any, k: float) -> Any:
        return hb.exp(x * k) + 2.0 * x - k

    def plain(x: Any, k: float) -> Any:
        return hb.exp(x * k) + 2.0 * x - k

    x = hb.tensor(A)
    for k in range(2, 40):
        assert bits(f(x, k / 8)) == bits(plain(x, k / 8))
    info = f.cache_info()
    assert info.deferred == 38 and info.compilations == 1 and info.segments == 1
    for _ in range(4):
        assert bits(f(x, 0.25)) == bits(plain(x, 0.25))
    assert f.cache_info().compilations == 1


def test_numbers_that_stay_are_compiled_in() -> None:
    @deferred
    def f(x: Any, k: float) -> Any:
        return x * 2.0 + k

    x = hb.tensor(A)
    for _ in range(4):
        f(x, 3.0)
    assert f.cache_info().compilations == 1
    for k in (4.0, 5.0, 6.0, -0.0, 0.0, float("nan"), 3.0):
        assert bits(f(x, k)) == bits(x * 2.0 + k)
    assert f.cache_info().compilations == 2


def test_a_steady_loop_compiles_nothing() -> None:
    @deferred
    def f(x: Any) -> Any:
        for _ in range(10):
            x = hb.sin(x) * 0.5 + x
            if x.sum().item() != x.sum().item():
                break
        return x

    for _ in range(3):
        f(hb.tensor(A[:2]))
    before = f.cache_info()
    for _ in range(10):
        f(hb.tensor(A[:2]))
    after = f.cache_info()
    assert after.compilations == before.compilations and after.segments == before.segments


def test_compilations_are_paid_for_by_native_runs() -> None:
    """Segments that come twice and never again do not compile for ever."""
    f = deferred(lambda x: hb.exp(x) * 2.0 + 1.0)
    for k in range(1, 60):
        for _ in range(2):
            assert f(hb.zeros(k)).tolist() == [3.0] * k
    assert f.cache_info().compilations <= kept.MOST_UNPAID + 60 // kept.PAYS
    for _ in range(4):
        f(hb.zeros(59))
    assert f._segments.native >= 1


def test_a_long_loop_is_cut_at_the_same_place() -> None:
    @deferred
    def f(x: Any) -> Any:
        for _ in range(5000):
            x = x * 0.999 + 0.001
        return x

    x = hb.tensor(A[:2])
    expected = x
    for _ in range(5000):
        expected = expected * 0.999 + 0.001
    assert all(bits(f(x)) == bits(expected) for _ in range(3))
    assert f.cache_info().segments <= 4


def test_results_that_are_not_held_are_not_computed_twice() -> None:
    """Other holders than before are served by a plan that computes more."""

    @deferred
    def f(x: Any, keep: list[Any]) -> Any:
        y = x * 2.0
        z = hb.exp(y)
        if keep:
            keep.append(y)
        return z - 1.0

    x = hb.tensor(A[:2])
    for k in range(12):
        kept_here: list[Any] = [0] if k % 3 else []
        assert bits(f(x, kept_here)) == bits(hb.exp(x * 2.0) - 1.0)
        assert not kept_here or bits(kept_here[1]) == bits(x * 2.0)
    assert f.cache_info().compilations <= 2
