"""Calls of Python's own world that replays make again: prints, log records, clocks, warnings.

A program is run plainly and decorated, and must leave the same results, texts and Python state;
from some call on it must be replayed."""

from __future__ import annotations

import csv
import gc
import io
import json
import logging
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid import nn, optim

pytestmark = pytest.mark.skipif(
    not sys.modules["hybrid.trace.serve.paths"].SUPPORTED, reason="nothing is followed"
)
Program = Callable[[Any], tuple[Callable[[int], Any], Callable[[], Any]]]
PROGRAMS: dict[str, Program] = {}


def program(make: Program) -> Program:
    PROGRAMS[make.__name__] = make
    return make


def data(k: int, *shape: int) -> Any:
    return hb.tensor(np.random.default_rng(k).standard_normal(shape or (4,)).astype("f4"))


@program
def prints_a_loss(jit: Any) -> Any:
    layer, out = nn.Linear(3, 2), io.StringIO()
    opt = optim.SGD(layer.parameters(), lr=0.1)

    @jit
    def step(x: Any) -> Any:
        loss = (layer(x) ** 2).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        print(f"loss {loss.item():.5f}", end=";", file=out)
        return loss

    return lambda k: step(data(k, 2, 3)), lambda: (out.getvalue(), layer.state_dict())


@program
def texts_of_every_kind(jit: Any) -> Any:
    out, names = io.StringIO(), []

    class Counter:
        n = 0

    counter = Counter()

    @jit
    def f(x: Any) -> Any:
        counter.n += 1
        y = x * 2
        mean = y.mean().item()
        print("%d: %.3f" % (counter.n, mean), file=out)  # noqa: UP031
        print("{} {:.2e}".format(counter.n, mean), str(mean), repr(counter.n), file=out, sep="|")  # noqa: UP032
        print(f"{mean!r:>20} {counter.n:03d} {x.shape} {x.dtype} {len(names)}", file=out)
        names.append(f"step {counter.n}")
        return y

    return lambda k: f(data(k)), lambda: (out.getvalue(), names, counter.n)


@program
def tensors_that_are_shown(jit: Any) -> Any:
    out, lines, w = io.StringIO(), list[str](), hb.ones(4, requires_grad=True)

    @jit
    def f(x: Any) -> Any:
        y = (w * x).sum()
        print(x, y, w, x.sum(), "end", file=out)
        print(f"{x}: {y} {y:.3f}", x.astype("float64"), file=out)
        lines.append(str(y) + repr(x))
        return x * 2

    return lambda k: f(data(k)), lambda: (out.getvalue(), lines)


@program
def branches_on_a_counter(jit: Any) -> Any:
    out = io.StringIO()

    @jit
    def f(x: Any, step: int) -> Any:
        total = (x * step).sum()
        if step % 3 == 0:
            print("step", step, "total", total.item(), file=out)
        return total

    return lambda k: f(data(k), k), out.getvalue


@program
def branches_on_a_tensor(jit: Any) -> Any:
    out = io.StringIO()

    @jit
    def f(x: Any) -> Any:
        if x.sum() > 0:
            print("positive", file=out)
            return x * 2
        print("negative", x.sum().item(), file=out)
        return x * 3

    return lambda k: f(data(k)), out.getvalue


@program
def log_records(jit: Any) -> Any:
    logger, seen = logging.Logger("training", logging.INFO), list[Any]()

    class Keep(logging.StreamHandler):
        pass

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        logging.Formatter("%(levelname)s %(filename)s:%(lineno)d %(funcName)s %(message)s")
    )
    logger.addHandler(handler)

    @jit
    def f(x: Any) -> Any:
        y = x + 1
        logger.info("mean %.4f of %s", y.mean().item(), x.shape)
        logger.debug("not shown %d", 3)
        logger.log(logging.WARNING, "careful")
        return y

    return lambda k: f(data(k)), lambda: (stream.getvalue(), seen)


@program
def rows_and_files(jit: Any) -> Any:
    table, stream, lines = io.StringIO(), io.BytesIO(), list[str]()
    writer = csv.writer(table)

    @jit
    def f(x: Any) -> Any:
        low, high = x.min(), x.max()
        writer.writerow([f"{low.item():.3f}", high.item(), "end"])
        stream.write(b"abc")
        lines.append(json.dumps({"low": float(low), "n": [1, round(float(high), 3)]}))
        return (x - low) / (high - low)

    return lambda k: f(data(k)), lambda: (table.getvalue(), stream.getvalue(), lines)


@program
def clocks(jit: Any) -> Any:
    spent: list[float] = []
    box = {"rate": 0.0, "last": 0.0, "ns": 0}

    @jit
    def f(x: Any) -> Any:
        start, begin = time.perf_counter(), time.monotonic_ns()
        y = hb.exp(x) @ x
        spent.append(time.perf_counter() - start)
        box["rate"] = x.size / max(time.perf_counter() - start, 1e-9)
        box["ns"] = time.monotonic_ns() - begin
        return y

    def state() -> Any:
        return len(spent), all(s > 0 for s in spent), box["rate"] > 0, box["ns"] > 0

    return lambda k: f(data(k)), state


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_leave_what_plain_python_leaves(name: str) -> None:
    calls = 14
    hb.manual_seed(3)
    plain, plain_state = PROGRAMS[name](lambda fn: fn)
    expected = [plain(k) for k in range(calls)]
    made: list[Any] = []
    hb.manual_seed(3)
    call, state = PROGRAMS[name](lambda fn: made.append(hb.function(fn)) or made[-1])
    for k in range(calls):
        assert np.array_equal(call(k).numpy(), expected[k].numpy()), k
    left, other = state(), plain_state()
    if isinstance(left, tuple) and isinstance(left[-1], dict):
        assert left[0] == other[0]
        assert all(np.array_equal(left[1][n].numpy(), other[1][n].numpy()) for n in left[1])
    else:
        assert left == other
    info = made[0].cache_info()
    assert info.replays >= 3 and info.eager == 0, made[0].explain()


def replayed(fn: Any, *args: Any, calls: int = 5) -> Any:
    """The function, after so many calls, the last of which was a replay."""
    f = hb.function(fn)
    for _ in range(calls):
        f(*args)
    assert f.cache_info().replays, f.explain()
    return f


# ---- where it shows
def test_warnings_tell_the_line_of_the_program() -> None:
    def old(x: Any) -> Any:
        warnings.warn("use new", DeprecationWarning)
        return x + 1

    with warnings.catch_warnings(record=True) as expected:
        warnings.simplefilter("always")
        old(data(0))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        f = hb.function(old)
        for _ in range(6):
            f(data(0))
    assert f.cache_info().replays == 3
    assert len(caught) == 6
    assert {(w.filename, w.lineno, str(w.message), w.category) for w in caught} == {
        (w.filename, w.lineno, str(w.message), w.category) for w in expected
    }


def test_warnings_as_errors_end_the_call() -> None:
    def old(x: Any) -> Any:
        warnings.warn("use new", stacklevel=1)
        return x + 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        f = hb.function(old)
        for _ in range(6):
            f(data(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="use new"):
            f(data(0))


def test_prints_go_where_they_go_now(capsys: Any) -> None:
    f = replayed(lambda x: (print("here", x.shape), x * 2)[1], data(0))
    capsys.readouterr()
    f(data(0))
    assert capsys.readouterr().out == "here (4,)\n"


def test_explain_says_so() -> None:
    out = io.StringIO()

    def f(x: Any) -> Any:
        start = time.perf_counter()
        y = x * 2
        print(y.sum().item(), time.perf_counter() - start, file=out)
        return y

    text = replayed(f, data(0)).explain()
    text = str(hb.explain(replayed(f, data(0))))
    assert "calls print at the end of a replay" in text
    assert "calls time.perf_counter before the operations of a replay" in text


# ---- errors
class Broken(io.StringIO):
    pass


def test_a_stream_that_fails_raises_after_all_is_done() -> None:
    out, state = io.StringIO(), hb.zeros(2)

    def f(x: Any) -> Any:
        state.add_(x)
        print("once", file=out)
        return x * 2

    step = replayed(f, hb.ones(2), calls=6)
    out.close()
    before = state.numpy().copy()
    with pytest.raises(ValueError, match="closed file"):
        step(hb.ones(2))
    assert (state.numpy() == before + 1).all()  # once, as the plain function


def test_a_failing_print_on_a_branch_does_not_run_twice() -> None:
    out, state = io.StringIO(), hb.zeros(2)

    def f(x: Any) -> Any:
        state.add_(x)
        if x.sum() > 0:
            print("once", file=out)
            return x * 2
        return x * 3

    step = replayed(f, hb.ones(2), calls=8)
    step(hb.ones(2) * -1.0)
    out.close()
    before = state.numpy().copy()
    with pytest.raises(ValueError, match="closed file"):
        step(hb.ones(2))
    assert (state.numpy() == before + 1).all()


def test_handled_errors_of_prints_are_left_to_python() -> None:
    out = io.StringIO()

    def f(x: Any) -> Any:
        try:
            print("a", file=out)
        except ValueError:
            return x * 5
        return x * 2

    g = hb.function(f)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(6):
            assert (g(hb.ones(2)).numpy() == 2).all()
        out.close()
        assert (g(hb.ones(2)).numpy() == 5).all()


# ---- what stays alive
def test_streams_are_not_kept_alive() -> None:
    class Holder:
        out: Any = None

    holder = Holder()
    holder.out = io.StringIO()

    def f(x: Any) -> Any:
        print(x.sum().item(), file=holder.out)
        holder.out.write("b")
        return x * 2

    g = replayed(f, data(0))
    gone = weakref.ref(holder.out)
    holder.out = io.StringIO()
    for _ in range(6):
        g(data(1))
    gc.collect()
    assert gone() is None
    assert holder.out.getvalue().count("b") == 6


def test_threads_print_once_for_each_call() -> None:
    out = io.StringIO()

    def f(x: Any) -> Any:
        start = time.perf_counter()
        y = x * 2
        print(f"{y.sum().item():.1f} {time.perf_counter() > start}", file=out)
        return y

    g = replayed(f, hb.ones(2))
    before = out.getvalue().count("\n")
    workers = [
        threading.Thread(target=lambda: [g(hb.ones(2)) for _ in range(50)]) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    text = out.getvalue()
    assert text.count("4.0 True\n") == before + 200


def test_tqdm_moves_once_for_each_call() -> None:
    tqdm = pytest.importorskip("tqdm")
    out = io.StringIO()
    bar = tqdm.tqdm(total=100, file=out, mininterval=0)

    def f(x: Any) -> Any:
        y = x * 2
        bar.update(1)
        bar.set_postfix(mean=y.mean().item())
        return y

    f = hb.function(f)
    for k in range(8):
        f(data(k))
    assert bar.n == 8
    assert f.cache_info().replays >= 4, f.explain()
    assert f"mean={(data(7) * 2).mean().item():.3g}" in out.getvalue()
