"""The hooks of a watch: which events reach Python, and that filtered hooks see what plain ones see."""

from __future__ import annotations

import dis
import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest

import hybrid as hb
from benchmarks.workloads import build
from hybrid import nn
from hybrid.backends.api import event_filter
from hybrid.backends.cpu.watch import hooks
from hybrid.backends.events import Hooks, PlainHooks
from hybrid.decorator import function
from hybrid.trace.heap import patches
from hybrid.trace.heap.allowlist import trusted
from hybrid.trace.watch import events
from hybrid.trace.watch.events import Watch

SETS = sys.version_info < (3, 12)


def count_events(step: Any, calls: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Events that reach Python in the latest of some recorded calls: the user's, and others."""
    seen = {"user": 0, "hybrid": 0}

    def counting(hook: Any) -> Any:
        def counted(self: Watch, frame: Any, event: str, value: Any) -> Any:
            seen["hybrid" if trusted(frame.f_code.co_filename) else "user"] += 1
            return hook(self, frame, event, value)

        return counted

    monkeypatch.setattr(Watch, "_profile", counting(Watch._profile))
    monkeypatch.setattr(Watch, "_trace", counting(Watch._trace))
    for _ in range(calls):
        seen.update(user=0, hybrid=0)
        step()
    return seen


def test_no_event_of_hybrid_reaches_python(monkeypatch):
    build("gpt", True)()  # the first recording of a process learns which code is hybrid's
    seen = count_events(build("gpt", True), 1, monkeypatch)
    assert seen["hybrid"] <= 20 < seen["user"], seen


def test_few_events_of_hybrid_reach_python(monkeypatch):
    build("lstm", True)()
    seen = count_events(build("lstm", True), 1, monkeypatch)
    assert seen["hybrid"] <= 20_000, seen


def test_events_do_not_grow_with_the_work_of_hybrid(monkeypatch):
    """A loop inside hybrid (a reduction over many tensors, a deep tape) costs no events."""

    def step(count: int) -> dict[str, int]:
        f = function(lambda xs: hb.stack(xs).sum())
        xs = [hb.ones(3) for _ in range(count)]
        f(xs), f(xs)
        with monkeypatch.context() as patch:
            again = function(lambda xs: hb.stack(xs).sum())
            return count_events(lambda: again(xs), 1, patch)

    few, many = step(3), step(40)
    assert few == many


def record_with(filtered: bool, f: Any, *args: Any, monkeypatch: Any) -> Watch:
    """The watch of one call."""
    with monkeypatch.context() as patch:
        if not filtered:
            patch.setattr(events, "event_filter", PlainHooks)
        watch = Watch()
        with watch:
            f(*args)
    return watch


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.calls: list[int] = []

    @property
    def factor(self) -> float:
        return 2.0

    def forward(self, x: Any) -> Any:
        try:
            hb.ones(2) + hb.ones(3)
        except hb.ShapeError:
            pass
        picked = [row * self.factor for row in x]
        return sorted(map(lambda row: self.inner(row).sum(), picked), key=lambda row: row.ndim)


class Items:
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        if index >= 3:
            raise IndexError(index)
        return float(index)


def generated(n: int) -> Any:
    for number in range(n):
        yield hb.ones(2) * number


PROGRAMS = {
    "module": lambda: Scale()(hb.ones(2, 3)),
    "hook": lambda: hooked()(hb.ones(2, 3)),
    "items": lambda: hb.asarray(Items()) if False else hb.tensor(list(Items())),
    "generator": lambda: sum(x.sum() for x in generated(3)),
    "gradient": lambda: hb.grad(lambda x: (x * x).sum())(hb.ones(3)),
    "nested": lambda: hb.grad(lambda x: hb.grad(lambda y: (y**3).sum())(x).sum())(hb.ones(3)),
    "raises": lambda: raising(),
    "closure": lambda: optimised(),
    "sorted": lambda: sorted([hb.ones(2), hb.ones(1)], key=lambda t: t.shape[0]),
}


def hooked() -> nn.Module:
    made = nn.Linear(3, 3)
    made.register_forward_hook(lambda module, args, out: out * 2)
    return made


def raising() -> None:
    try:
        hb.grad(lambda x: 1 / 0)(hb.ones(2))
    except ZeroDivisionError:
        hb.ones(2) + 1


def optimised() -> Any:
    p = hb.ones(3, requires_grad=True)
    rule = hb.optim.SGD([p], lr=0.1)

    def closure() -> Any:
        rule.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    closure()
    rule.step()
    return p


def described(watch: Watch) -> dict[str, Any]:
    """What a watch saw, without addresses."""

    def name(code: Any) -> str:
        return f"{code.co_filename}:{code.co_firstlineno}:{code.co_name}"

    def start(code: Any, at: int) -> int:
        """An event may stand in the cache behind its instruction."""
        return max(i.offset for i in dis.get_instructions(code) if i.offset <= at)

    return {
        "frames": {name(c): [sorted(v) for v in vs] for c, vs in watch.frames.items()},
        "globals": {name(c): len(vs) for c, vs in watch.globals.items()},
        "returns": {
            (name(c), start(c, at)): [type(v).__name__ for v in vs]
            for (c, at), vs in watch.returns.items()
            if c is not record_with.__code__
        },
        "ccalls": sorted(
            (name(code), start(code, at), called.__name__)
            for code, at, called, _ in watch.ccalls.values()
            if not code.co_filename.startswith("<string>")
        ),
        "lines": {
            name(c): sorted(lines)
            for c, lines in watch.lines.items()
            if not c.co_filename.startswith("<string>")
        },
        "executed": {name(c): sorted(found) for c, found in watch.executed.items()},
        "reasons": list(watch.reasons),
        "ran": sorted({name(c) for c, _ in watch.ran.values() if patches.own_code(c.co_filename)}),
        "looked": len(watch.looked),
        "kept": sorted(watch.kept.values()),
    }


@pytest.mark.parametrize("program", PROGRAMS)
def test_filtered_hooks_see_what_plain_ones_see(program, monkeypatch):
    run = PROGRAMS[program]
    run()
    plain = described(record_with(False, run, monkeypatch=monkeypatch))
    for _ in range(3):  # the first learns which code is quiet
        found = described(record_with(True, run, monkeypatch=monkeypatch))
        for part, wanted in plain.items():
            if part == "executed" and not SETS:
                # later interpreters tell a plain hook of them from its second event on
                assert all(set(found[part][code]) >= set(ran) for code, ran in wanted.items())
            else:
                assert found[part] == wanted, part


def test_the_filter_is_used_here():
    assert isinstance(event_filter(), hooks.NativeFilter)
    assert event_filter().switches


def test_hooks_and_evaluator_are_given_back():
    f = function(lambda x: x * 2)
    for _ in range(3):
        f(hb.ones(2))
    found = event_filter()
    assert sys.getprofile() is None and sys.gettrace() is None
    assert found._evaluator(found._interpreter()) == found._words[hooks.ir.EVALUATE // 8]
    assert found._words[hooks.ir.THREAD // 8] == 0


def test_deep_recursion_with_a_raised_limit():
    """Native stack is spent on frames only while Python's own limit bounds them."""

    def down(n: int) -> int:
        return 0 if n == 0 else 1 + down(n - 1)

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(60_000)
    try:
        f = function(lambda x: x * down(40_000))
        for _ in range(3):
            assert f(hb.ones(1)).tolist() == [40_000.0]
    finally:
        sys.setrecursionlimit(limit)


def test_a_function_that_goes_deep_is_no_matter_for_others():
    def down(n: int) -> int:
        return 0 if n == 0 else 1 + down(n - 1)

    filtered, found = [], event_filter()
    depth = found._left() + 10
    deep = function(lambda x: x * down(depth))
    for _ in range(6):
        assert deep(hb.ones(1)).tolist() == [depth]
    assert deep.cache_info().replays > 0 and deep.fn.__code__ in found._deep.values()

    class Deep:
        def __call__(self, x: hb.Tensor) -> hb.Tensor:
            return x * down(depth)

    class Other:
        def __call__(self, x: hb.Tensor) -> hb.Tensor:
            filtered.append(found._evaluator(found._interpreter()) == found._evaluate)
            return x * 2

    function(Deep())(hb.ones(1))
    assert Deep in found._deep.values()
    function(Other())(hb.ones(2))
    function(Other().__call__)(hb.ones(2))
    assert filtered == [True, True]


@pytest.mark.parametrize("kilobytes", [256, 512, 2048])
def test_recursion_in_a_thread_with_a_small_stack(kilobytes):
    """Frames that fit a small stack without a watch do with it: Python frames take none of it."""
    source = f"""
        import threading, sys
        import hybrid as hb
        def down(n):
            return 0 if n == 0 else 1 + down(n - 1)
        f = hb.function(lambda x: x * down(900))
        f(hb.ones(1))
        def run():
            for _ in range(3):
                assert f(hb.ones(1)).item() == 900.0
        threading.stack_size({kilobytes} << 10)
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        print("done")
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)], capture_output=True, text=True
    )
    assert ran.stdout.strip() == "done", ran.stderr


def test_other_threads_are_not_watched():
    stop, counted = threading.Event(), []

    def other() -> None:
        while not stop.is_set():
            counted.append(hb.ones(2).sum().shape)

    thread = threading.Thread(target=other)
    thread.start()
    try:
        for number in range(10):
            f = function(lambda x, k=number: (x * k).sum())
            for _ in range(3):
                assert f(hb.ones(2)).item() == 2.0 * number
    finally:
        stop.set()
        thread.join()
    assert counted


def test_quiet_code_is_bounded():
    found = event_filter()
    found.begin(Hooks(lambda *_: None, lambda *_: None, lambda _: None, {}, lambda *_: False))
    found.end()
    sys.setprofile(None)
    sys.settrace(None)
    kept = len(found._kept)
    assert kept <= hooks.MOST
    for number in range(hooks.MOST + 10):
        space: dict[str, Any] = {}
        exec(f"def f(): return {number}", space)
        found.quiet(space["f"].__code__, None)
    assert len(found._kept) == hooks.MOST
    f = function(lambda x: x * 2)
    for _ in range(3):
        assert f(hb.ones(2)).tolist() == [2.0, 2.0]
    assert len(found._kept) < hooks.MOST and f.cache_info().replays == 1


def test_a_pause_that_outlives_quiet_code():
    """Quiet code that pauses and returns (a context manager): resuming tells its caller's events."""
    found, seen = event_filter(), []

    def begin() -> None:
        assert found.pause()

    def end() -> None:
        found.resume()

    def user() -> None:
        begin()
        end()
        len(seen)

    for quiet in begin, end, type(found).pause, type(found).resume:
        found.quiet(quiet.__code__, None)
    try:
        profile = lambda frame, event, value: seen.append((event, frame.f_code))  # noqa: E731
        found.begin(Hooks(profile, lambda *_: None, lambda value: None, {}, lambda *_: False))
        user()
    finally:
        found.end()
        sys.setprofile(None)
        sys.settrace(None)
    assert ("c_call", user.__code__) in seen
