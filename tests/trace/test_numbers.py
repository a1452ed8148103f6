"""Python numbers as run-time scalars: an operand that a number becomes is computed in each call.

Each program runs decorated and plain with the same numbers; results, bits, exceptions and Python
state must agree, and a number that flows to operands never records again once it has settled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from actions.harness import both, box, data, suite
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import hybrid as hb
from hybrid import nn, optim
from hybrid.decorator import Function, function
from hybrid.trace.follow.rows import SUPPORTED

pytestmark = [
    pytest.mark.skipif(not SUPPORTED, reason="calls are followed on CPython 3.11 only"),
    pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly"),
]

PROGRAMS, program = suite()
FIXED, fixed = suite()
rate = 0.5


@program
def attribute_from_outside(jit: Any) -> Any:
    s = box(rate=0.1)
    f = jit(lambda x: x * s.rate - s.rate / x)

    def call(k: int) -> Any:
        s.rate = 0.1 / (1 + k)
        return f(data(k))

    return call, s


@program
def cell_from_outside(jit: Any) -> Any:
    beta = 0.0
    f = jit(lambda x: (1 - beta) * x + beta * x * x)

    def call(k: int) -> Any:
        nonlocal beta
        beta = k * 0.01
        return f(data(k))

    return call, None


@program
def global_from_outside(jit: Any) -> Any:
    f = jit(lambda x: hb.softmax(x / rate))

    def call(k: int) -> Any:
        global rate
        rate = 0.5 + k
        return f(data(k))

    return call, None


@program
def counter_and_schedule(jit: Any) -> Any:
    s = box(t=0, beta=0.9)

    @jit
    def f(x: Any) -> Any:
        s.t += 1
        return x / (1 - s.beta**s.t) + max(s.t, 3) * x - min(s.t % 4, 2) + abs(-s.t)

    return lambda k: f(data(k)), s


@program
def adam_written_by_hand(jit: Any) -> Any:
    s = box(t=0, m=data(0), v=data(1), p=data(2))

    @jit
    def f(g: Any) -> Any:
        s.t += 1
        s.m = 0.9 * s.m + 0.1 * g
        s.v = 0.99 * s.v + 0.01 * g * g
        mean, square = s.m / (1 - 0.9**s.t), s.v / (1 - 0.99**s.t)
        s.p = s.p - 0.1 * mean / (square.sqrt() + 1e-8)
        return s.p

    return lambda k: f(data(k)), s


@program
def cosine_of_a_counter(jit: Any) -> Any:
    s = box(t=0)

    @jit
    def f(x: Any) -> Any:
        s.t += 1
        return x * (0.05 * (1 + math.cos(math.pi * s.t / 30))) + math.sqrt(s.t) - math.log(s.t)

    return lambda k: f(data(k)), s


@program
def arguments(jit: Any) -> Any:
    f = jit(lambda x, time, step: x + step * hb.sin(x) + math.sin(time) * 0.1)
    return lambda k: f(data(k), 0.1 * k, 1 + k % 3), None


@program
def argument_by_keyword(jit: Any) -> Any:
    f = jit(lambda x, scale=2.0: x * scale)
    return lambda k: f(data(k), scale=0.5 * k), None


@program
def argument_through_a_helper(jit: Any) -> Any:
    def scaled(x: Any, n: Any) -> Any:
        return x * (n * n)

    f = jit(lambda x, n: scaled(x, n) + scaled(x, n + 1))
    return lambda k: f(data(k), k % 7), None


@program
def argument_returned_and_stored(jit: Any) -> Any:
    s = box(last=0, log=[])

    @jit
    def f(x: Any, n: Any) -> Any:
        s.last = n + 1
        s.log.append(n * 2)
        return x * n, n, n % 3 == 0

    return lambda k: f(data(k), k), s


@program
def clamp_by_arguments(jit: Any) -> Any:
    f = jit(lambda x, low, high: x.clip(-low, high) + hb.where(x > low, x, high))
    return lambda k: f(data(k), 0.5 * k, 3.0 + k), None


@program
def maximum_and_comparison(jit: Any) -> Any:
    s = box(n=0)

    @jit
    def f(x: Any) -> Any:
        s.n += 1
        return hb.maximum(x, s.n), x < s.n, s.n >= x, s.n - x, s.n // x, s.n**x, x // s.n

    return lambda k: f(data(k)), s


@program
def in_place(jit: Any) -> Any:
    s = box(x=data(3), n=0.0)

    @jit
    def f(y: Any) -> Any:
        s.x -= s.n * y
        s.x *= s.n
        return s.x + 1

    def call(k: int) -> Any:
        s.n = 0.25 * k
        return f(data(k))

    return call, s


@program
def items_of_containers(jit: Any) -> Any:
    d, cells = {"momentum": 0.5}, [1.0, 2.0]
    f = jit(lambda x: x * d["momentum"] + cells[1])

    def call(k: int) -> Any:
        d["momentum"], cells[1] = 0.5 + 0.01 * k, 1.0 * k
        return f(data(k))

    return call, (d, cells)


@program
def number_of_a_module(jit: Any) -> Any:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = 1.0

        def forward(self, x: Any) -> Any:
            return x * self.scale

    net = Scaled()
    f = jit(lambda x: net(x))

    def call(k: int) -> Any:
        net.scale = 1.0 + k
        return f(data(k))

    return call, None


@program
def training_with_a_rate(jit: Any) -> Any:
    weight = hb.asarray(np.ones(4, np.float32)).requires_grad_()

    @jit
    def step(x: Any, rate: Any) -> Any:
        loss = ((x * weight * rate) ** 2 / rate).sum()
        loss.backward()
        with hb.no_grad():
            weight.assign(weight - rate * 1e-4 * weight.grad)
        weight.grad = None
        return loss

    return lambda k: step(data(k), 0.5 + 0.1 * k), weight


@program
def power_by_an_argument(jit: Any) -> Any:
    f = jit(lambda x, n: x**n)
    return lambda k: f(data(k), 1.25 + k), None


@program
def branch_on_an_argument(jit: Any) -> Any:
    f = jit(lambda x, n: x * n if n % 5 else x + n)
    return lambda k: f(data(k), k), None


@program
def asked_for_its_type(jit: Any) -> Any:
    f = jit(lambda x, n: x * n if isinstance(n, int) else x - n)
    return lambda k: f(data(k), k), None


def stepping(schedule: Callable[[Any, Any, Any], None]) -> Callable[[Any], Any]:
    """A program that trains, and gives numbers to tensors by `schedule(optimizer, state, rate)`."""

    def program(jit: Any) -> Any:
        weight = hb.asarray(np.full(4, 0.1, np.float32)).requires_grad_()
        optimizer = optim.SGD([weight], lr=0.1, momentum=0.9)
        s = box(n=0, held=hb.zeros(()), row=hb.zeros(3), weight=weight)

        @jit
        def step(x: Any, rate: Any) -> Any:
            s.n += 1
            schedule(optimizer, s, rate)
            loss = ((x * 0.01 * weight) ** 2).mean() + s.held + s.row.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        return lambda k: step(data(k % 5), 0.1 / (1 + k)), s

    return program


def warm_up(optimizer: Any, s: Any, rate: Any) -> None:
    optimizer.lr = 0.1 * min(1.0, s.n / 20)


def groups(optimizer: Any, s: Any, rate: Any) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * 0.5
        group["momentum"] = 1 - rate


def assigned(optimizer: Any, s: Any, rate: Any) -> None:
    s.held.assign(s.n)
    s.row.assign(rate)


PROGRAMS["rate_of_an_optimizer"] = stepping(warm_up)
PROGRAMS["entries_of_its_groups"] = stepping(groups)
PROGRAMS["numbers_given_to_tensors"] = stepping(assigned)


@pytest.mark.parametrize("name", PROGRAMS)
def test_numbers_that_flow_never_record_again(name: str) -> None:
    (f,) = both(PROGRAMS[name], 40)
    info = f.cache_info()
    assert info.replays >= 28 and info.eager == info.deferred == 0, f.explain()
    assert info.records <= 10 and info.compilations <= 3, f.explain()


@fixed
def count_of_a_loop(jit: Any) -> Any:
    def f(x: Any, n: Any, r: Any) -> Any:
        for _ in range(n):
            x = x * r
        return x

    f = jit(f)
    return lambda k: f(data(k), k % 4, 0.5 + 0.1 * k), None


@fixed
def position_in_a_list(jit: Any) -> Any:
    table = [data(j) for j in range(4)]
    f = jit(lambda x, n: x + table[n])
    return lambda k: f(data(k), k % 4), None


@fixed
def shape_and_axis(jit: Any) -> Any:
    f = jit(lambda x, n: x.reshape(n, -1).sum(axis=n - 1 if n < 2 else 0))
    return lambda k: f(data(k), 1 + k % 2), None


@fixed
def text_of_a_number(jit: Any) -> Any:
    f = jit(lambda x, n: (x * n, f"{n}"))
    return lambda k: f(data(k), k % 3), None


@fixed
def captured_by_a_closure(jit: Any) -> Any:
    def f(x: Any, n: Any) -> Any:
        def inner() -> Any:
            return x * n

        return inner()

    f = jit(f)
    return lambda k: f(data(k), k % 3), None


@fixed
def in_a_comprehension(jit: Any) -> Any:
    f = jit(lambda x, n: sum([x * j * n for j in (1, 2)], x))
    return lambda k: f(data(k), k % 3), None


@fixed
def looked_at_by_a_function(jit: Any) -> Any:
    f = jit(lambda x, p: nn.functional.leaky_relu(x - 3, p) + hb.full((4,), p))
    return lambda k: f(data(k), (k % 3) / 4), None


@pytest.mark.parametrize("name", FIXED)
def test_numbers_that_python_looks_at_are_part_of_the_signature(name: str) -> None:
    (f,) = both(FIXED[name], 40)
    info = f.cache_info()
    assert info.replays >= 24 and info.eager <= 1, f.explain()  # a fourth number waits once


def series(
    jit: Callable[[Any], Any], body: Callable[[Any, Any], Any], x: Any, numbers: list[Any], how: str
) -> list[Any]:
    """What a function of a tensor and a number gives for these numbers, one after the other."""
    s = box(n=None)
    f = jit(body if how == "argument" else (lambda x: body(x, s.n)))
    out: list[Any] = []
    for number in numbers:
        s.n = number
        try:
            result = f(x, number) if how == "argument" else f(x)
            out.append((str(result.dtype), result.shape, result.numpy().tobytes()))
        except Exception as error:
            out.append((type(error).__name__, str(error)))
    return out


BODIES: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, n: x + n,
    "subtract from": lambda x, n: n - x,
    "multiply": lambda x, n: n * x,
    "divide": lambda x, n: x / n,
    "divide by": lambda x, n: n / x,
    "floor": lambda x, n: x // n,
    "remainder": lambda x, n: x % n,
    "power": lambda x, n: x**n,
    "power of": lambda x, n: n**x,
    "less": lambda x, n: x < n,
    "equal": lambda x, n: n == x,
    "maximum": lambda x, n: hb.maximum(x, n),
    "where": lambda x, n: hb.where(x > 0, x, n),
    "clip": lambda x, n: x.clip(n, 5),
    "square": lambda x, n: x * (n * n),
    "clamped": lambda x, n: x + min(max(n, -3), 7),
    "negative": lambda x, n: x * -n,
    "parity": lambda x, n: x - n % 10,
    "shift": lambda x, n: x << n,
    "bits": lambda x, n: x & n,
    "zero times": lambda x, n: x * (n * 0.0) + (n * -0.0),
}
DTYPES = ("float32", "float64", "float16", "bfloat16", "int8", "int32", "int64", "uint8", "bool")
NUMBERS = st.one_of(
    st.sampled_from([0, 1, 2, 3, -1, 0.5, -0.0, 0.0, 1.0, 2.0, True, False, 127, 128, 255, -129]),
    st.sampled_from([math.nan, math.inf, -math.inf, 5e-324, 1e-40, 1e308, 65504.0, 65520.0, 0.1]),
    st.sampled_from([2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400, 16777217]),
    st.integers(-300, 300),
    st.floats(width=64),
    st.floats(width=32),
)


@pytest.mark.parametrize("how", ["argument", "attribute"])
@settings(max_examples=60, deadline=None, derandomize=True, phases=(Phase.generate,))
@given(
    name=st.sampled_from(sorted(BODIES)),
    dtype=st.sampled_from(DTYPES),
    kind=st.sampled_from([int, float, None]),
    numbers=st.lists(NUMBERS, min_size=6, max_size=9),
)
def test_every_number_gives_the_bits_of_its_literal(
    how: str, name: str, dtype: str, kind: Any, numbers: list[Any]
) -> None:
    if kind is not None:  # more of one type: those share a plan
        numbers = [n for n in numbers if type(n) is kind] + [kind(k) for k in (4, 0, 1, 9, 2, 6)]
    x = hb.asarray(np.array([1, 0, 2, 3, 7], np.float32)).astype(dtype)
    body = BODIES[name]
    want = series(lambda f: f, body, x, numbers, how)
    assert series(function, body, x, numbers, how) == want, (name, dtype, numbers)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int8", "int64"])
def test_all_numbers_of_a_type_share_one_plan(dtype: str) -> None:
    made: list[Function] = []

    def jit(f: Any) -> Any:
        made.append(function(f))
        return made[-1]

    x = hb.asarray(np.array([1, 0, 2], np.float32)).astype(dtype)
    whole = [4, 5, 6, 0, 1, -1, 127, -128, 3, 2, 100]
    want = series(lambda f: f, BODIES["multiply"], x, whole, "argument")
    assert series(jit, BODIES["multiply"], x, whole, "argument") == want
    info = made[0].cache_info()
    assert info.records == 3 and info.compilations == 1 and info.replays == len(whole) - 3
    special = [4.5, 0.1, 1.0, 0.0, -0.0, 1.0, math.nan, math.inf, -math.inf, 5e-324, 1e-40, 1e300]
    want = series(lambda f: f, BODIES["multiply"], x, special, "argument")
    assert series(jit, BODIES["multiply"], x, special, "argument") == want
    info = made[1].cache_info()
    assert info.records == 3 and info.compilations == 1 and info.replays == len(special) - 3


def test_a_number_that_does_not_fit_raises_as_eagerly_and_leaves_everything() -> None:
    s = box(n=0)

    @function
    def f(x: Any, n: Any) -> Any:
        s.n += 1
        return x + n

    x = hb.asarray(np.arange(3, dtype=np.int8))
    for k in range(6):
        f(x, k)
    before = f.cache_info().replays
    with pytest.raises(OverflowError, match="Python integer 300 does not fit int8"):
        f(x, 300)
    assert s.n == 7  # as the plain function leaves it
    assert f(x, 7).tolist() == [7, 8, 9] and s.n == 8
    assert before >= 2 and f.cache_info().replays == before + 1


def test_the_type_of_a_number_is_part_of_the_signature() -> None:
    f = function(lambda x, n: x * n)
    x = hb.asarray(np.arange(3, dtype=np.int32))
    for k in range(8):
        assert f(x, k).dtype == np.int32 and f(x, k + 0.5).dtype == np.float32
        assert f(x, np.float64(k)).dtype == np.float64
        assert f(x, k % 2 == 0).dtype == np.int32


def test_gradients_of_results_with_numbers_in_them() -> None:
    def grads(jit: Any) -> list[Any]:
        f = jit(lambda x, n, m: (x * n) ** m / n)
        out = []
        for k in range(10):
            x = hb.asarray(np.arange(1, 4, dtype=np.float32)).requires_grad_()
            f(x, 0.5 + k, 1.5 + k % 3).sum().backward()
            out.append(x.grad.numpy().tobytes())
        return out

    traced: list[Function] = []
    assert grads(lambda f: traced.append(function(f)) or traced[0]) == grads(lambda f: f)
    assert traced[0].cache_info().replays >= 6


def test_a_place_that_two_names_share() -> None:
    """Which dict an instance has is no fact: a number in a shared one is found in two ways."""
    a, b = box(k=2.0), box(k=5.0)
    f = function(lambda x: x * a.k + b.k)
    own = vars(a)
    for k in range(30):
        a.__dict__ = vars(b) if (k // 6) % 2 else own
        b.k, own["k"] = 1.0 + k, 2.0 + k
        assert np.array_equal(f(data(1)).numpy(), (data(1) * a.k + b.k).numpy()), k


def test_a_quotient_that_nobody_uses_still_raises() -> None:
    s = box(n=9)

    @function
    def f(x: Any) -> Any:
        s.n -= 1
        unused = 1 / s.n  # noqa: F841
        return x * 2

    for k in range(8):
        f(data(k))
    assert f.cache_info().replays >= 4
    with pytest.raises(ZeroDivisionError):
        f(data(0))
    assert s.n == 0


def test_equal_numbers_and_a_tape() -> None:
    def grads(jit: Any) -> list[Any]:
        f, out = jit(lambda x, low, high: x.clip(low, high) * low * high), []
        for k in range(12):
            x = hb.asarray(np.arange(1, 4, dtype=np.float32)).requires_grad_()
            result = f(x, 1.0 + k % 2, 2.0)
            result.sum().backward()
            out += [result.numpy().tobytes(), x.grad.numpy().tobytes()]
        return out

    assert grads(function) == grads(lambda f: f)


def test_compiled_beside_its_calls() -> None:
    s = box(n=0)

    def body(x: Any, rate: Any) -> Any:
        s.n += 1
        return x * rate + s.n

    f = function(body, wait=False)
    for k in range(40):
        n = s.n + 1
        assert np.array_equal(f(data(1), 0.5 * k).numpy(), (data(1) * (0.5 * k) + n).numpy())
        f.wait()
    assert f.cache_info().replays >= 30


def test_two_counters_become_one_place() -> None:
    a, b = box(n=0), box(n=0)

    @function
    def f(x: Any) -> Any:
        a.n += 1
        b.n += 1
        return x * a.n

    for _ in range(8):
        f(data(1))
    assert f.cache_info().replays >= 4 and a.n == b.n == 8
    a.__dict__ = vars(b)
    assert np.array_equal(f(data(1)).numpy(), (data(1) * 10).numpy()) and b.n == 10


def test_no_version_dies_with_its_numbers() -> None:
    f = function(lambda x, n, m: x * n + m)
    for k in range(2000):
        f(data(1), k, k * 0.5)
    info = f.cache_info()
    assert info.records <= 4 and info.signatures <= 4 and info.replays >= 1996
