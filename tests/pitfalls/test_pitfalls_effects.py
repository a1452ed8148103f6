"""Pitfalls of tracing: Python side effects in the body."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import time
from typing import Any

import numpy as np
import pytest
from pitfall_harness import A, check, mlp, t

import hybrid as hb

pytestmark = pytest.mark.usefixtures("whole_calls")


def test_print_in_the_body() -> None:
    def program(jit: Any) -> Any:
        @jit
        def f(x: Any) -> Any:
            print("loss", x.sum())
            return x * 2

        return [f(t()) for _ in range(6)]

    check(program, replays=2)


def test_print_of_a_constant_f_string() -> None:
    def program(jit: Any) -> Any:
        @jit
        def f(x: Any, k: int) -> Any:
            print(f"shape {x.shape} k={k:03d}")
            return x * k

        return [f(t(), k % 2) for k in range(8)]

    check(program, replays=2)


def test_f_string_that_nobody_prints() -> None:
    def program(jit: Any) -> Any:
        @jit
        def f(x: Any) -> Any:
            name = f"{x.shape}-{x.dtype}-{'a' * 3}"
            return x * len(name), name

        return [f(t()) for _ in range(6)]

    check(program, replays=4)


def test_counter_on_self_and_global() -> None:
    def program(jit: Any) -> Any:
        class M:
            n = 0

        def step(self: Any, x: Any) -> Any:
            self.n += 1
            return x * self.n

        step = jit(step)
        m = M()
        return [step(m, t()) for _ in range(12)] + [m.n]

    check(program, replays=9)


def test_counter_in_a_module_attribute_and_a_dict() -> None:
    def program(jit: Any) -> Any:
        net, seen = mlp(), {"calls": 0}
        object.__setattr__(net, "calls", 0)

        @jit
        def f(x: Any) -> Any:
            net.calls = net.calls + 1
            seen["calls"] += 2
            return net(x).detach()

        return [f(t()) for _ in range(12)] + [net.calls, seen]

    check(program, replays=6)


def test_list_append_of_a_tensor() -> None:
    def program(jit: Any) -> Any:
        acts: list[Any] = []

        @jit
        def f(x: Any) -> Any:
            h = hb.relu(x)
            acts.append(h)
            return h.sum()

        out = [f(t(A + k)) for k in range(8)]
        return [*out, len(acts), acts, acts[-1]]

    check(program, replays=4)


def test_bounded_list_of_tensors() -> None:
    def program(jit: Any) -> Any:
        acts: list[Any] = []

        @jit
        def f(x: Any) -> Any:
            h = hb.relu(x)
            acts.append(h)
            if len(acts) > 2:
                acts.pop(0)
            return h.sum()

        return [[f(t(A + k)), *acts, len(acts)] for k in range(12)]

    check(program)


def test_attribute_as_an_output_channel() -> None:
    def program(jit: Any) -> Any:
        net = mlp()
        net.hidden = None

        @jit
        def f(x: Any) -> Any:
            net.hidden = net.first(x).detach()
            return net.hidden.mean()

        kept = []
        for k in range(8):
            kept.append([f(t(A + k)), net.hidden])
        return kept

    check(program, replays=4)


def test_tensors_stored_in_dict_list_global_and_cell() -> None:
    box: dict[str, Any] = {}

    def program(jit: Any) -> Any:
        box.clear()
        last, slots = t(), [None, None]

        @jit
        def f(x: Any) -> Any:
            nonlocal last
            box["y"] = x * 2
            slots[1] = last
            last = x + last
            return last - box["y"]

        return [[f(t(A + k)), last, box["y"], *slots] for k in range(10)]

    check(program)


def test_python_guard_around_a_device_op() -> None:
    def program(jit: Any) -> Any:
        class M:
            started = False

            def __init__(self) -> None:
                self.v = t()

        def tick(self: Any) -> Any:
            if not self.started:
                self.started = True
                self.v.add_(1)
            return self.v * 1

        m, tick = M(), jit(tick)
        return [tick(m) for _ in range(8)] + [m.v, m.started]

    check(program, replays=4)


def test_iterator_consumed_in_the_body() -> None:
    def program(jit: Any) -> Any:
        it, gen = iter([t(A + k) for k in range(20)]), (t(A * k) for k in range(20))
        f, g = jit(lambda: next(it) * 2), jit(lambda: next(gen) * 2)
        return [f() for _ in range(9)] + [g() for _ in range(9)]

    check(program, says="next|generator|iterator")


def test_iterator_as_an_argument_and_inside() -> None:
    def program(jit: Any) -> Any:
        f = jit(lambda it: next(it) * 2)
        it = iter([t(A + k) for k in range(20)])

        @jit
        def g(xs: Any) -> Any:
            inner, total = iter(xs), 0
            for x in inner:
                total = total + x * next(inner)
            return total

        return [f(it) for _ in range(9)] + [g([t(A + i) for i in range(4)]) for _ in range(6)]

    check(program)


def test_generator_and_contextmanager_inside() -> None:
    def program(jit: Any) -> Any:
        cfg = {"k": 1.0}

        @contextlib.contextmanager
        def scaled(k: float) -> Any:
            old, cfg["k"] = cfg["k"], k
            try:
                yield k * 2
            finally:
                cfg["k"] = old

        def pieces(x: Any) -> Any:
            for i in range(3):
                yield x * i

        @jit
        def f(x: Any) -> Any:
            with scaled(4.0) as k:
                y = x * cfg["k"] + k
            return y + sum(pieces(x)) * cfg["k"]

        return [f(t()) for _ in range(8)] + [cfg]

    check(program)


def test_generator_function_runs_as_it_is() -> None:
    @hb.function
    def gen(x: Any) -> Any:
        yield x * 2

    with pytest.warns(hb.RunsEagerly, match="generator"):
        assert [next(gen(t())).tolist() for _ in range(4)] == [(t() * 2).tolist()] * 4


@pytest.mark.parametrize("read", ["time", "perf_counter", "environ", "file", "urandom", "uuid"])
def test_clock_environment_file_reads(read: str, tmp_path: Any) -> None:
    path = tmp_path / "k.txt"
    clock = iter(range(1, 99))

    def value() -> float:
        if read == "time":
            return time.time() * 0.0 + next(clock)
        if read == "perf_counter":
            return time.perf_counter() * 0.0 + 2.0
        if read == "environ":
            return float(os.environ["HYBRID_TEST_K"])
        if read == "urandom":
            return len(os.urandom(4))
        if read == "uuid":
            import uuid

            return len(str(uuid.uuid4()))
        return float(path.read_text())

    def program(jit: Any) -> Any:
        nonlocal clock
        clock = iter(range(1, 99))
        f, out = jit(lambda x: x * value()), []
        for k in range(10):
            os.environ["HYBRID_TEST_K"] = str(k // 3)
            path.write_text(str(k // 3))
            out.append(f(t()))
        return out

    try:
        got = check(program)
    finally:
        os.environ.pop("HYBRID_TEST_K", None)
    assert got.messages or read == "environ"


def test_mutating_an_argument_container() -> None:
    def program(jit: Any) -> Any:
        pop = jit(lambda stack: stack.pop() + 1)
        s = [t(A + k) for k in range(12)]
        out = []
        for _ in range(6):
            out += [pop(s), len(s)]

        @jit
        def fill(d: Any, x: Any) -> Any:
            d["y"] = x * 2
            return x + 1

        for k in range(8):
            d: dict[str, Any] = {}
            out += [fill(d, t(A + k)), d]
        return out

    check(program)


def test_replacing_items_of_an_argument_list() -> None:
    def program(jit: Any) -> Any:
        @jit
        def f(xs: Any) -> Any:
            xs[0] = xs[0] + xs[1]
            return xs[0] * 2

        xs = [t(), t(A * 2)]
        return [[f(xs), *xs] for _ in range(8)]

    check(program)


def test_np_random_and_random_inside() -> None:
    def program(jit: Any) -> Any:
        random.seed(0)
        f, g = jit(lambda x: x + np.random.randn()), jit(lambda x: x * random.random())
        rng = np.random.default_rng(0)
        h = jit(lambda x: x * rng.standard_normal())
        return [[f(t()), g(t()), h(t())] for _ in range(6)]

    assert not check(program, replays=9).messages


def test_dataclass_dict_and_namedtuple_arguments() -> None:
    @dataclasses.dataclass
    class Batch:
        x: Any
        k: float = 2.0

    def program(jit: Any) -> Any:
        f, out = jit(lambda b: b.x * b.k), []
        b = Batch(t())
        for i in range(12):
            if i % 4 == 3:
                b.k += 1
            if i % 5 == 4:
                b.x = t(A + i)
            out.append(f(b))
        g = jit(lambda b: Batch(b.x * 2, b.k))
        made = [g(Batch(t(A + i), 3.0)) for i in range(6)]
        return [*out, *[[m.x, m.k] for m in made]]

    check(program)


def test_writing_a_numpy_array_inside() -> None:
    def program(jit: Any) -> Any:
        log = np.zeros(8, np.float32)

        @jit
        def f(x: Any, i: int) -> Any:
            log[i] += 1
            return x * 2

        return [f(t(), k % 2) for k in range(12)] + [log]

    check(program)


def test_hook_that_collects_activations() -> None:
    def program(jit: Any) -> Any:
        net, seen = mlp(), []
        f = jit(lambda x: net(x).detach())
        out = [f(t(A + k)) for k in range(4)]
        remove = net.first.register_forward_hook(lambda m, args, y: seen.append(y.detach()))
        out += [f(t(A + k)) for k in range(4)]
        remove()
        return out + [f(t(A + k)) for k in range(4)] + [len(seen), *seen]

    check(program, replays=2)


def test_exception_swallowed_by_the_body_still_counts() -> None:
    def program(jit: Any) -> Any:
        log: list[str] = []

        @jit
        def f(x: Any, d: Any) -> Any:
            try:
                b = d["bias"]
            except KeyError as e:
                log.append(str(e))
                b = 0
            return x + b

        return [f(t(), {} if k % 3 else {"bias": 2.0}) for k in range(10)] + [log]

    check(program)
