"""`step_through`: the operations of one call, replayed or not, and their values on demand."""

import numpy as np
import pytest

import hybrid as hb
from hybrid import nn, optim
from tests.support.emit_harness import same_bits as same


def trainable():
    hb.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))
    optimizer = optim.Adam(model.parameters(), lr=1e-2)

    @hb.function
    def step(x, y):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step, model


def batch():
    return hb.tensor(np.linspace(-1, 1, 20, dtype="f4").reshape(4, 5)), hb.tensor([0, 1, 2, 0])


def test_the_values_are_those_of_that_call_whatever_comes_after():
    step, model = trainable()
    for _ in range(3):
        step(*batch())
    weight = model[0].weight.numpy().copy()
    steps = hb.step_through(step, *batch())
    assert steps[0].op == "linear" and all(found.replayed for found in steps)
    for _ in range(4):  # the parameters, dropout's generator and Adam's state move on
        step(*batch())
    assert same(steps[0].inputs[1].numpy(), weight)
    losses = [s.outputs[0] for s in steps if s.op == "counted_mean"]
    assert losses[0].item() == steps.result.item()


def test_a_replay_and_an_eager_call_have_the_same_steps():
    replayed, _ = trainable()
    for _ in range(3):
        replayed(*batch())
    first = hb.step_through(replayed, *batch())
    eager, _ = trainable()
    for _ in range(3):
        eager.fn(*batch())
    second = hb.step_through(eager.fn, *batch())
    assert same(first.result.numpy(), second.result.numpy())
    assert not any(found.replayed for found in second)
    written = {value.tobytes() for s in second for value in map(hb.Tensor.numpy, s.outputs)}
    wanted = [s for s in first if s.op in ("linear", "relu", "cross_entropy", "matmul")]
    assert wanted
    assert all(v.numpy().tobytes() in written for s in wanted for v in s.outputs)


def test_the_replay_that_was_stepped_through_leaves_what_a_replay_leaves():
    watched, first = trainable()
    for k in range(6):
        if k == 4:
            hb.step_through(watched, *batch())[3].outputs  # noqa: B018
        else:
            watched(*batch())
    plain, second = trainable()
    for _ in range(6):
        plain(*batch())
    for one, other in zip(first.parameters(), second.parameters()):
        assert same(one.numpy(), other.numpy())


def test_data_that_changes_after_the_call_changes_no_step():
    @hb.function
    def total(a):
        return (hb.tensor(a) * 2).sum()

    data = np.ones(3, "f4")
    for _ in range(4):
        total(data)
    steps = hb.step_through(total, data)
    data[:] = 100
    assert steps[0].replayed and steps[0].outputs[0].tolist() == [2, 2, 2]
    assert steps[-1].outputs[0].item() == steps.result.item() == 6


def test_writing_to_a_value_changes_nothing_else():
    steps = hb.step_through(lambda x: (x * 2) + 1, hb.ones(2))
    value = steps[0].outputs[0]
    value += 5
    assert steps[0].outputs[0].tolist() == [2, 2] and steps[1].inputs[0].tolist() == [2, 2]


def test_a_call_that_branches_on_a_tensor_runs_eagerly():
    @hb.function
    def signed(x):
        if x.sum() > 0:
            return x.exp()
        return x - 1

    for _ in range(4):
        signed(hb.ones(2))
    known, new = hb.step_through(signed, hb.ones(2)), hb.step_through(signed, -hb.ones(2))
    assert known[-1].op == "exp" and new[-1].op == "subtract"
    assert not known[-1].replayed and new.result.tolist() == [-2, -2]


def test_an_error_is_kept_with_the_steps_before_it():
    steps = hb.step_through(lambda i: (hb.arange(3) + 1)[i], hb.tensor([5]))
    assert isinstance(steps.error, IndexError) and steps.result is None
    assert [found.op for found in steps][:2] == ["arange", "add"]
    with pytest.raises(TypeError, match="step_through takes a function"):
        hb.step_through(3)


def test_lines_and_texts():
    def two_lines(x):
        y = x * 2
        return hb.sqrt(y) + y

    steps = hb.step_through(two_lines, hb.tensor([1.0, -1.0]))
    line = two_lines.__code__.co_firstlineno
    assert [found.op for found in steps.at(line + 2)] == ["sqrt", "add"]
    with pytest.raises(hb.HybridError, match=rf"line {line + 9}; lines: {line + 1}, {line + 2}"):
        steps.at(line + 9)
    assert "1: sqrt -> float32[2]" in str(steps) and "3 steps" in repr(steps)
    assert "output 0: float32[2], min 1.41421, max 1.41421, 1 NaN" in str(steps[1])
    shown = steps._repr_html_()
    assert "<b>sqrt</b>" in shown and "y = x * 2" in shown and shown.count("<tr>") == 4
