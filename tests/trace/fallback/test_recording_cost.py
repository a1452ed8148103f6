"""What recording costs, by counts: events that reach Python, recordings, compilations."""

from __future__ import annotations

import dataclasses
import dis
import gc
import subprocess
import sys
import textwrap
import threading
import warnings
from typing import Any

import pytest

import hybrid as hb
from benchmarks.workloads import build
from hybrid import nn
from hybrid.backends.api import event_filter
from hybrid.backends.cpu.watch import hooks
from hybrid.backends.events import Hooks, PlainHooks
from hybrid.decorator import RunsEagerly, function, set_executor
from hybrid.trace.fallback import budget
from hybrid.trace.heap import patches
from hybrid.trace.heap.allowlist import trusted
from hybrid.trace.serve.prepare import NativeExecutor
from hybrid.trace.watch import events
from hybrid.trace.watch.events import Watch

SWITCHES = sys.version_info[:2] == (3, 11)


class Clock:
    """Seconds that pass when somebody says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def passes(self) -> None:
        """One second, in a way that no replay can repeat: as a text."""
        self.now = float(str(self.now + 1.0))


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    before, budget.CLOCK[0] = budget.CLOCK[0], made
    # a call that is recorded takes ten seconds more
    watched = Watch.__enter__

    def enter(self: Watch) -> Watch:
        made.now += 10.0
        return watched(self)

    monkeypatch.setattr(Watch, "__enter__", enter)
    yield made
    budget.CLOCK[0] = before


@pytest.fixture
def compilations():
    class Counting(NativeExecutor):
        made = 0

        def prepare(self, recording: Any) -> Any:
            Counting.made += 1
            return super().prepare(recording)

    previous = set_executor(Counting())
    yield Counting
    set_executor(previous)


# ---- hooks
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


@pytest.mark.skipif(not SWITCHES, reason="hooks stay on inside hybrid on this interpreter")
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
    assert few == many or not SWITCHES


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
        "ran": sorted({name(c) for c in watch.ran if patches.own_code(c.co_filename)}),
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
            if part == "executed" and not SWITCHES:
                # later interpreters tell a plain hook of them from its second event on
                assert all(set(found[part][code]) >= set(ran) for code, ran in wanted.items())
            else:
                assert found[part] == wanted, part


def test_the_filter_is_used_here():
    assert isinstance(event_filter(), hooks.NativeFilter)
    assert event_filter().switches is SWITCHES


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
    found.begin(Hooks(lambda *_: None, lambda *_: None, lambda _: None, {}))
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
        found.begin(Hooks(profile, lambda *_: None, lambda value: None, {}))
        user()
    finally:
        found.end()
        sys.setprofile(None)
        sys.settrace(None)
    assert ("c_call", user.__code__) in seen


# ---- giving up by cost
@dataclasses.dataclass
class Config:
    k: float


def test_fresh_objects_stop_being_recorded(clock, compilations):
    f = function(lambda x, config: x * config.k)

    def plain(x: Any) -> Any:
        clock.passes()
        return x * 2.0

    f.fn = lambda x, config: plain(x)
    x, calls = hb.ones(2), 2000
    start = clock.now
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(calls):
            assert f(x, Config(2.0)).tolist() == [2.0, 2.0]
            gc.collect(0)
    free = budget.START * 11.0
    assert clock.now - start <= calls * 1.0 * (1 + budget.SHARE) + free + 11.0
    assert f.cache_info().records <= budget.START + calls * budget.SHARE / 10 + 1
    assert compilations.made <= budget.START
    assert [w.category for w in told] == [RunsEagerly]


def test_ever_new_shapes_stop_being_recorded(clock, compilations):
    def double(x: Any) -> Any:
        clock.passes()
        return x * 2

    f = function(double)
    start, calls = clock.now, 1500
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsEagerly)
        for number in range(calls):
            f(hb.ones(1 + number % 750))
    assert clock.now - start <= calls * (1 + budget.SHARE) + (budget.START + 1) * 11.0
    assert compilations.made <= budget.START // 2 + 10


def test_what_never_settles_is_given_up_and_tried_again_seldom(clock, compilations):
    box = {"n": 0}

    def drifting(x: Any) -> Any:
        clock.now += 1.0
        box["n"] += 1
        return x * box["n"]

    f = function(drifting)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for number in range(1, 3 * budget.AGAIN):
            assert f(hb.ones(1)).item() == number
    assert len(told) == 1 and compilations.made <= 2
    # given up at once; tried again after AGAIN calls, and given up for twice as long
    assert f.cache_info().records <= budget.GIVE_UP + 2 * 2


def test_what_was_given_up_is_replayed_when_its_reason_is_gone():
    box = {"talks": True}

    def f(x: Any) -> Any:
        if box["talks"]:
            print(end="")
        return x * 2

    step = function(f)
    x = hb.ones(2)
    with pytest.warns(RunsEagerly, match="print"):
        for _ in range(4):
            step(x)
    box["talks"] = False
    for _ in range(budget.AGAIN + 10):
        assert step(x).tolist() == [2.0, 2.0]
    assert step.cache_info().replays > 0, step.explain()
    assert step.cache_info().records == 4


def test_settled_functions_pay_nothing():
    f = function(lambda x: x * 2)
    for size in (2, 3, 4, 5) * 30:
        f(hb.ones(size))
    info = f.cache_info()
    assert (info.records, info.plans, info.eager) == (8, 4, 0)


def test_the_account():
    account = budget.Budget()
    for _ in range(budget.START):
        assert account.allows(0)
        account.recorded(100.0)
    assert account.allows(0)  # the first that is not free
    account.recorded(10.0)
    assert not account.allows(0)
    for _ in range(99):
        account.ran(1.0)
    assert not account.allows(0)
    account.ran(1.0)
    assert account.allows(0)
    account.recorded(10.0)
    assert not account.allows(99) and account.allows(100)  # replays count as the eager call


# ---- views held outside
HOLDS = {
    "detach": lambda w: w.detach(),
    "data": lambda w: w.data,
    "slice of detach": lambda w: w.detach()[1:],
    "shape of detach": lambda w: w.detach().reshape(16),
    "slice": lambda w: w[:],
    "view of a view": lambda w: w[1:].T[0],
    "two": lambda w: (w.data, w.detach()[0]),
}


class Counted(nn.Module):
    """A layer with state that has no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", hb.zeros(4))

    def forward(self, x: Any) -> Any:
        with hb.no_grad():
            self.total.assign(self.total + x.sum(0))
        return x * 2


def train_and_hold(jit: Any, hold: Any, when: int, between: Any = None) -> tuple[list[Any], Any]:
    hb.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), Counted())
    rule = hb.optim.SGD(net.parameters(), lr=0.1)

    @jit
    def step(x: Any) -> Any:
        loss = (net(x) ** 2).sum()
        loss.backward()
        rule.step()
        rule.zero_grad()
        return loss

    x, held, seen = hb.ones(2, 4) * hb.asarray([[1.0], [3.0]]), [], []
    for number in range(14):
        if number == when:
            found = hold(net[0].weight)
            held += found if isinstance(found, tuple) else [found]
            held.append(net[1].total[1:])
        seen.append(step(x).item())
        if between is not None and held:
            between(held[0])
        seen += [(view.numpy().tobytes(), view.requires_grad) for view in held]
    seen += [p.numpy().tobytes() for p in net.parameters()]
    return seen, step


@pytest.mark.parametrize("when", [0, 1, 5])
@pytest.mark.parametrize("hold", HOLDS)
def test_views_of_parameters_held_outside(hold, when):
    want, _ = train_and_hold(lambda f: f, HOLDS[hold], when)
    got, step = train_and_hold(function, HOLDS[hold], when)
    assert got == want
    info = step.cache_info()
    assert info.records <= 3 and info.eager == 0 and info.replays >= 11, step.explain()
    plan = next(s.plans[0] for s in step._signatures.values())
    assert plan.served is not None  # the native way


def test_writing_through_a_view_between_calls():
    def halve(view: Any) -> None:
        with hb.no_grad():
            view *= 0.5

    want, _ = train_and_hold(lambda f: f, HOLDS["data"], 3, halve)
    got, step = train_and_hold(function, HOLDS["data"], 3, halve)
    assert got == want and step.cache_info().replays >= 11


def test_a_view_that_the_call_reads_after_the_write():
    def run(jit: Any) -> Any:
        p = hb.ones(4)
        box = {"view": p[:2]}

        @jit
        def step(x: Any) -> Any:
            p.assign(p + x)
            return box["view"].sum()

        return [step(hb.ones(4)).item() for _ in range(8)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsEagerly)
        assert run(function) == run(lambda f: f)


def test_an_error_of_a_replay_leaves_held_views_linked():
    p = hb.zeros(4)
    view = p[:2]

    @function
    def step(index: Any) -> Any:
        p.assign(p + 1)
        return p[index]

    good, bad = hb.asarray([1]), hb.asarray([9])
    for _ in range(4):
        step(good)
    with pytest.raises(hb.IndexOutOfRange if hasattr(hb, "IndexOutOfRange") else IndexError):
        step(bad)
    assert view.tolist() == p[:2].tolist()
    step(good)
    assert view.tolist() == p[:2].tolist() == [p[0].item()] * 2
