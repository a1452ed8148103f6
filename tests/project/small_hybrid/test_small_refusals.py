"""What the small program does not replay and why, facts that change, and state after errors."""

from __future__ import annotations

import functools
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from small_harness import (
    bits,
    calls,
    entry_of,
    gradients,
    mean,
    scope,
    small,
    tanh,
    tensor,
    transpose,
)


# ---- what is not replayed
def reading(x):
    y = x * 2.0
    return y * y.item()


def branching(x):
    if mean(x) > 0.0:
        return x
    return -x


def showing(x):
    return x * float(repr(x)[7:-1])


@pytest.mark.parametrize(
    ("program", "offset", "why"),
    [
        (reading, 2, "reads a tensor in Python with .item()"),
        (branching, 1, "branches on the value of a tensor"),
        (showing, 1, "reads a tensor in Python with repr()"),
    ],
)
def test_a_reason_names_the_users_line(program, offset, why):
    for x in (tensor(2.0), tensor(-3.0)):
        traced, results, said = calls(program, x, times=6)
        assert all(bits(result) == bits(program(x)) for result in results)
        line = program.__code__.co_firstlineno + offset
        expected = (
            f"{program.__name__} runs eagerly because it {why} ({Path(__file__).name}:{line}: "
        )
        assert len(said) == 1 and said[0].startswith(expected)
        assert traced.explain().startswith(f"EAGER {why}")


COUNT, LOG, SCALE, STRANGE = 0, [], 2.0, iter(())


def counting(x):
    global COUNT
    COUNT += 1
    return x + 1.0


def logging(x):
    LOG.append(1)
    return x + 1.0


def printing(x):
    print(end="")
    return x + 1.0


def iterating(x):
    for _ in STRANGE:
        x = x + 1.0
    return x + 1.0


def helper(x, *, held=(LOG,)):
    helper.uses += 1
    return x + 1.0 * len(held)


helper.uses = 0


def helped(x):
    return helper(x)


def drawing(x, *, numbers=itertools.count()):
    for number in numbers:
        return x + 1.0 + 0 * number


def importing(x):
    import time  # noqa: F401

    return x + 1.0


def differentiable(x):
    return x * WEIGHT


WEIGHT = None


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (counting, "sees COUNT change"),
        (logging, "sees LOG change"),
        (printing, "uses print, a builtin_function_or_method: it may do anything"),
        (helped, "sees helper change"),
        (drawing, "uses drawing, a count: it may do anything"),
        (iterating, "uses STRANGE, a tuple_iterator: it may do anything"),
        (importing, "uses time, a module: it may do anything"),
        (differentiable, "returns a result whose gradient may be asked for later"),
    ],
)
def test_python_that_a_replay_would_leave_out(program, why):
    global WEIGHT
    WEIGHT = tensor(1.0, requires_grad=True)
    before, length, helps = COUNT, len(LOG), helper.uses
    traced, results, said = calls(program, tensor(1.0), times=6)
    assert traced.explain() == f"EAGER {why}" and len(said) == 1
    assert len({r.item() for r in results}) == 1
    assert COUNT - before == 6 * (program is counting)
    assert len(LOG) - length == 6 * (program is logging)
    assert helper.uses - helps == 6 * (program is helped)


def test_other_arguments_and_results():
    traced, results, said = calls(functools.partial(pow, 2), 3)
    assert results == [8] * 4 and traced.explain().startswith("EAGER") and len(said) == 1
    traced, results, said = calls(lambda xs: xs[0] + xs[1], [tensor(1.0), tensor(2.0)])
    assert traced.explain() == "EAGER takes a list as an argument" and results[-1].item() == 3.0
    traced, results, said = calls(lambda x: (x, 3.0), tensor(1.0))
    assert traced.explain() == "EAGER returns a float" and results[-1][1] == 3.0


def test_a_tensor_that_no_name_leads_to():
    x = tensor(1.0)
    with scope(grad=True):
        weight = tensor(2.0, requires_grad=True)
        older = weight * weight

    def program(x):
        (slope,) = gradients(older, [weight])  # of values that only the tape holds
        weight.assign(weight - slope)
        return x + slope

    traced, _, _ = calls(program, x)
    assert traced.explain() == "EAGER uses a tensor from before the call that no name leads to"


def test_an_argument_that_is_also_captured():
    weight = tensor(1.0)

    def program(x):
        weight.assign(weight + x)
        return x * 1.0

    other = tensor(2.0)
    traced, _, _ = calls(program, other)
    assert traced.explain() == "REPLAY" and weight.item() == 9.0
    for expected in (18.0, 36.0):
        assert traced(weight).item() == expected == weight.item()


def scaled(x):
    return x * SCALE


def test_a_fact_that_changes_is_recorded_again(monkeypatch):
    x = tensor(3.0)
    traced, results, _ = calls(scaled, x)
    assert traced.explain() == "REPLAY" and results[-1].item() == 6.0
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 5.0)
    assert traced(x).item() == 15.0 and traced.explain() == "RECORD sees SCALE change"
    assert [traced(x).item() for _ in range(3)] == [15.0] * 3 and traced.explain() == "REPLAY"


@pytest.mark.parametrize(("before", "after"), [(0.0, -0.0), (1, True), (2.0, 2)])
def test_facts_are_compared_by_type_and_bits(monkeypatch, before, after):
    monkeypatch.setattr(sys.modules[__name__], "SCALE", before)
    traced, _, _ = calls(scaled, tensor(-3.0))
    monkeypatch.setattr(sys.modules[__name__], "SCALE", after)
    assert bits(traced(tensor(-3.0))) == bits(scaled(tensor(-3.0)))
    assert traced.explain() == "RECORD sees SCALE change"


def test_facts_of_the_code_inside(monkeypatch):
    def program(x):
        return (lambda y: scaled(y))(x)

    traced, _, _ = calls(program, tensor(3.0))
    assert traced.explain() == "REPLAY"
    monkeypatch.setattr(sys.modules[__name__], "scaled", tanh)
    assert bits(traced(tensor(3.0))) == bits(tanh(tensor(3.0)))


def test_one_tensor_passed_twice_has_a_signature_of_its_own():
    def program(x, y):
        x.assign(x + 1.0)
        return x * y

    x, y = tensor(1.0), tensor(10.0)
    traced, results, _ = calls(program, x, y)
    assert [r.item() for r in results] == [20.0, 30.0, 40.0, 50.0]
    assert [traced(x, x).item() for _ in range(4)] == [36.0, 49.0, 64.0, 81.0]
    assert traced.explain() == "REPLAY\nREPLAY"


def test_recordings_that_differ_say_where():
    xs = [tensor(1.0)]

    def program(x):
        return tanh(x) if xs else x

    traced, _, _ = calls(program, tensor(1.0), times=1)
    entry = entry_of(traced)
    other = calls(lambda x: -x, tensor(1.0), times=1)[0]
    message = entry.recording.difference(entry_of(other).recording)
    assert "negative(%x0)" in message and "tanh(%x0)" in message


# ---- transactions
def test_state_is_committed_at_the_end_only():
    first, second = tensor([[1.0, 2.0]]), tensor([[3.0, 4.0]])

    def program(x):
        first.assign(first + x)
        second.assign((second @ transpose(first)) * first)
        return mean(second)

    x = tensor([[0.5, 0.25]])
    traced, _, _ = calls(program, x)
    assert traced.explain() == "REPLAY"
    plan, before = entry_of(traced).plan, bits(first, second, x)
    space = plan.run.__globals__
    for number in range(len(plan.kernels)):

        def failing(*arrays):
            raise KeyboardInterrupt

        kernel, space[f"kernel{number}"] = space[f"kernel{number}"], failing
        with pytest.raises(KeyboardInterrupt):
            traced(x)
        space[f"kernel{number}"] = kernel
        assert bits(first, second, x) == before
    program(x)
    eager = bits(first, second)
    for handle, (aval, data) in zip((first, second), before):
        handle.assign(np.frombuffer(data, aval.dtype).reshape(aval.shape))
    traced(x)
    assert bits(first, second) == eager


def test_results_of_a_replay_refuse_a_gradient():
    weight = tensor(1.0, requires_grad=True)

    def program(x):
        loss = weight * weight * x
        (slope,) = gradients(loss, [weight])
        weight.assign(weight - 0.1 * slope)
        return loss

    _, results, _ = calls(program, tensor(1.0))
    gradients(results[0], [weight])
    with pytest.raises(RuntimeError, match="a replay keeps no tape"):
        gradients(results[-1], [weight])


def test_an_error_in_hybrids_own_work_reaches_nobody(monkeypatch):
    def failing(graph):
        raise ZeroDivisionError("no")

    monkeypatch.setattr(small, "lower", failing)
    traced, results, said = calls(lambda x: x + 1.0, tensor(1.0), times=6)
    assert [r.item() for r in results] == [2.0] * 6
    assert traced.explain() == "EAGER cannot be replayed: no" and len(said) == 1


def test_an_error_in_the_users_code_is_his():
    def program(x):
        return x @ x

    with pytest.raises((IndexError, ValueError)):
        calls(program, tensor([1.0]))
    assert not isinstance(small.STATE.mode, small.Recorder)
