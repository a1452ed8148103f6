"""An error in passes, lowering, compilation or serving never reaches the user of a call that ran."""

from __future__ import annotations

import os
import warnings

import pytest

import hybrid
from hybrid import decorator
from hybrid import function as decorate
from hybrid.backends.cpu import executable, kernels
from hybrid.backends.cpu.machine import jit
from hybrid.backends.cpu.machine.diskcache import DiskCache
from hybrid.backends.cpu.python import entry
from hybrid.compiler import failure, pipeline
from hybrid.decorator import RunsEagerly
from hybrid.trace.record import expected, guards, outcome, recorder, recording
from hybrid.trace.serve import plans, served
from hybrid.trace.serve import prepare as preparing
from hybrid.trace.serve.native import facts as native_facts
from hybrid.trace.watch.events import Watch

ERRORS = (MemoryError, RecursionError, RuntimeError, OSError, AssertionError, KeyError)


def step(scale: float):
    """A step with state, a product, a reduction, a placement and a check; `scale` names kernels."""

    def run(x, w, i):
        y = (x @ w).tanh() * scale + x[:, :1]
        w.assign(w - 0.125 * y.mean(axis=0) * w)
        y = y + w[i]
        return y.sum(axis=1), hybrid.concat([y, x], axis=1)

    return run


def data():
    x = hybrid.asarray([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75], [3.0, 1.0, -2.0]])
    return (
        x,
        hybrid.asarray([[1.0, 0.5, 0.25], [0.0, -1.0, 2.0], [0.5, 0.5, 0.5]]),
        hybrid.asarray(1),
    )


def results(fn, calls: int = 6):
    x, w, i = data()
    out = []
    for _ in range(calls):
        a, b = fn(x, w, i)
        out.append((a.tolist(), b.tolist(), w.tolist()))
    return out


def run(scale: float):
    """(results and states of six calls, messages, the function)."""
    fn = decorate(step(scale))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        got = results(fn)
    return got, [str(w.message) for w in said if issubclass(w.category, RunsEagerly)], fn


def check(scale: float, eager: bool = True, words: str = "", plain=None):
    want = results(step(scale)) if plain is None else plain
    got, said, fn = run(scale)
    assert got == want
    assert len(said) == 1, said
    info = fn.cache_info()
    assert info.records == 2 and info.replays == (0 if eager else 4), fn.explain()
    assert words in said[0] and words in fn.explain()
    return said[0], fn


@pytest.fixture
def cold(monkeypatch):
    """No object code from disk or memory: every kernel of a plan is generated and compiled."""
    old = jit.set_cache(None)
    monkeypatch.setattr(jit, "_CODES", jit._CODES.__class__())
    kernels._GENERATED.clear()
    yield
    jit.set_cache(old)


def broken(error):
    def fail(*args, **kwargs):
        raise error("made to fail")

    return fail


# ---- the pipeline's own steps
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("name", [s.name for s in pipeline.STEPS])
def test_each_step_of_the_pipeline(monkeypatch, name, error):
    steps = [s._replace(run=broken(error)) if s.name == name else s for s in pipeline.STEPS]
    monkeypatch.setattr(pipeline, "STEPS", tuple(steps))
    said, fn = check(1.5, words=f"{name} failed")
    assert error.__name__ in said and __file__ in said
    assert "cannot be compiled" in fn.explain()


def test_an_error_inside_a_pass_names_the_node_and_its_line(monkeypatch):
    monkeypatch.setattr("hybrid.compiler.passes.simplify._unit", broken(ZeroDivisionError))
    said, _ = check(1.5, words="simplify failed at")
    assert "in run: " in said and "ZeroDivisionError: made to fail" in said


INSIDE = {
    "fuse": ("hybrid.compiler.lower.trial.Trial.operands", "fuse failed at"),
    "assign": ("hybrid.compiler.lower.assignment._Assign.choose_home", "assign failed at"),
    "kernels": ("hybrid.compiler.lower.kernels.KernelProgram.run", "kernels failed at"),
    "contraction": ("hybrid.compiler.lower.kernels.contraction", "kernels failed at matmul"),
    "share": ("hybrid.compiler.lower.shared_factors._turned", "share failed at"),
    "schedule": ("hybrid.compiler.lower.schedule._Scheduler.blocked", "schedule failed"),
    "memory": ("hybrid.compiler.lower.memory.Arena.take", "memory failed at"),
}


@pytest.mark.parametrize("name", INSIDE)
def test_an_error_inside_a_step(monkeypatch, name):
    target, words = INSIDE[name]
    monkeypatch.setattr(target, broken(RecursionError))
    check(1.5, words=words)


# ---- compilation
COMPILE = {
    "loops": (kernels, "generate_loop", "a LoopKernel"),
    "products": (kernels, "templates", "a GemmKernel"),
    "words": (executable, "step_table", "compile failed"),
    "segments": (executable, "Segment", "compile failed"),
    "many": (kernels, "compile_many", "compile failed"),
    "emit": (jit.Beside, "emit", "Kernel ("),
    "parse": (jit.llvm, "parse_assembly", "compile failed"),
    "symbols": (jit, "object_symbols", "Kernel ("),
    "link": (jit, "_Engine", "compile failed"),
    "object": (jit.llvm.ObjectFileRef, "from_data", "compile failed"),
}


@pytest.mark.parametrize("error", (MemoryError, RuntimeError, AssertionError))
@pytest.mark.parametrize("name", COMPILE)
def test_each_step_of_compilation(monkeypatch, cold, name, error):
    where, what, words = COMPILE[name]
    plain = results(step(2.5))
    before = preparing.Prepared.__init__

    def prepared(self, r):  # kernels of eager calls are compiled as always
        with monkeypatch.context() as m:
            m.setattr(where, what, broken(error))
            before(self, r)

    monkeypatch.setattr(preparing.Prepared, "__init__", prepared)
    said, _ = check(2.5, words=words, plain=plain)
    assert __file__ in said and "made to fail" in said


@pytest.mark.parametrize("what", ["get", "put", "_path"])
@pytest.mark.parametrize("error", ERRORS)
def test_a_broken_disk_cache_is_no_disk_cache(monkeypatch, tmp_path, cold, what, error):
    plain = results(step(3.5))
    jit.set_cache(DiskCache(tmp_path))
    monkeypatch.setattr(DiskCache, what, broken(error))
    got, said, fn = run(3.5)
    assert got == plain and not said and fn.cache_info().replays == 4


def test_a_disk_cache_that_cannot_be_made(monkeypatch, cold):
    plain = results(step(3.5))
    with monkeypatch.context() as m:
        m.setattr(jit, "_CACHE", jit._UNSET)
        m.setattr(jit, "default_cache", broken(PermissionError))
        got, said, fn = run(3.5)
    assert got == plain and not said and fn.cache_info().replays == 4


# ---- looking at the call, the guard
LOOKING = {
    "analysis": (decorator, "analyse"),
    "recording": (decorator, "recording_of"),
    "value": (recording.Recording, "__init__"),
    "facts": (recording, "read_facts"),
    "graph": (recorder.Recorder, "graph"),
    "results": (outcome, "spec_of"),
    "difference": (decorator, "difference"),
    "broken": (expected.Facts, "broken"),
    "guard": (guards.Guard, "__init__"),
    "watch": (Watch, "__exit__"),
    "recorder": (recorder.Recorder, "__init__"),
    "plan": (plans.ReplayPlan, "__init__"),
    "fetch": (expected, "fetch"),
}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("name", LOOKING)
def test_each_step_of_looking_at_a_call(monkeypatch, name, error):
    where, what = LOOKING[name]
    want = results(step(1.5))
    old = getattr(where, what)

    def fail(*args, **kwargs):
        if name == "watch":
            old(*args, **kwargs)  # the hooks must go, whatever happens
        raise error("made to fail")

    monkeypatch.setattr(where, what, fail)
    got, said, fn = run(1.5)
    assert got == want
    assert len(said) <= 1 and (name == "fetch" or said), said
    assert fn.cache_info().replays == 0 or name == "fetch"


@pytest.mark.parametrize("hook", [n for n in vars(recorder.Recorder) if n.startswith("on_")])
def test_hooks_of_the_recorder_never_raise(monkeypatch, hook):
    want = results(step(1.5))
    monkeypatch.setattr(recorder.Recorder, hook, recorder._safely(broken(MemoryError)))
    got, said, fn = run(1.5)
    assert got == want and len(said) <= 1 and (said or fn.cache_info().replays == 4)


# ---- the fast way: a slower one is right
SERVING = {
    "served": (served.Served, "__init__"),
    "connect": (plans, "serve"),
    "needs": (plans, "needs_of"),
    "replay": (served, "replay_of"),
    "facts": (plans, "native_facts"),
    "native facts": (native_facts, "_pointers"),
    "entry": (executable, "native_entry"),
    "spec": (entry, "native_replay"),
    "build": (entry, "entry_of"),
    "table": (entry._Builder, "built"),
    "guard": (served, "FactGuard"),
}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("name", SERVING)
def test_a_plan_whose_native_entry_cannot_be_made_runs_without(monkeypatch, name, error):
    if name == "guard":
        monkeypatch.setattr(plans, "native_facts", lambda *a: None)
    monkeypatch.setattr(*SERVING[name], broken(error))
    said, fn = check(1.5, eager=False, words="cannot be served by a native entry")
    assert "is replayed more slowly" in said


def test_refreshing_native_facts_may_fail(monkeypatch):
    class Config:
        pass

    config = Config()
    config.scale = 2.0

    def plain(x):
        return x * config.scale

    fn = decorate(plain)
    x = hybrid.asarray([1.0, 2.0])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(4):
            fn(x)
        monkeypatch.setattr(plans, "native_facts", broken(MemoryError))
        for k in range(4):
            config.scale = float("2.0")  # equal, another object
            setattr(config, f"more{k}", 1)
            assert fn(x).tolist() == [2.0, 4.0]
    assert len(said) <= 1
    assert fn.cache_info().records == 2


# ---- the reason
def test_a_reason_is_found_whatever_the_error_is():
    class Odd(Exception):
        def __str__(self):
            raise ValueError

    assert failure.reason(Odd(), "cannot be compiled") == "cannot be compiled: Odd"
    assert failure.reason(KeyError("x\ny"), "d") == "d: KeyError: 'x\\ny'"


@pytest.mark.usefixtures("whole_calls")
def test_messages_made_errors_say_the_reason_once(monkeypatch):
    steps = [s._replace(run=broken(MemoryError)) if s.name == "fuse" else s for s in pipeline.STEPS]
    monkeypatch.setattr(pipeline, "STEPS", tuple(steps))
    x, w, i = data()
    fn = decorate(step(1.5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fn(x, w, i)
        with pytest.raises(RunsEagerly, match="fuse failed.*MemoryError"):
            fn(x, w, i)
        fn(x, w, i)

    @decorate
    def prints(x):
        os.times()
        return x * 2

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prints(x)
        with pytest.raises(RunsEagerly, match="runs eagerly because it calls"):
            prints(x)
        assert prints(x).tolist() == (x * 2).tolist()


def test_a_backend_without_a_compiler_runs_eagerly(monkeypatch):
    cpu = hybrid.backends.api.backend("cpu")
    monkeypatch.setattr(type(cpu), "compile", broken(NotImplementedError))
    check(1.5, words="compile failed")


def test_other_signatures_of_the_function_go_on(monkeypatch):
    """A failure belongs to its signature."""
    fn = decorate(lambda x: x * 2 + 1)
    small, large = hybrid.ones(3), hybrid.ones(5)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(3):
            fn(small)
        with monkeypatch.context() as m:
            m.setattr("hybrid.compiler.pipeline.fuse", broken(RuntimeError))
            for _ in range(3):
                assert fn(large).tolist() == [3.0] * 5
        before = fn.cache_info().replays
        assert fn(small).tolist() == [3.0] * 3
    assert fn.cache_info().replays == before + 1 and len(said) == 1
    assert "signature 1: EAGER; it cannot be compiled" in fn.explain()
