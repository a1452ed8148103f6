"""Branches of Python on values of device tensors: each way is a plan, which waits for its checks."""

import numpy as np
import pytest

import hybrid as h
from hybrid.backends.cuda.machine.devices import device_state
from hybrid.trace.follow.rows import SUPPORTED

pytestmark = pytest.mark.usefixtures("simulated")


def there(*values):
    return h.tensor(np.asarray(values, np.float32), device="cuda")


def here(tensor):
    return tensor.cpu().tolist()


def test_every_way_is_replayed():
    @h.function
    def program(x):
        if x.sum() > 0:
            return x * 2
        return x - 1 if x[0].item() < -5 else x + 10

    for k in range(6):
        assert here(program(there(1 + k, 2))) == [2 + 2 * k, 4]
        assert here(program(there(-6 - k, 2))) == [-7 - k, 1]
        assert here(program(there(-2, k / 8))) == [8, 10 + k / 8]
    info = program.cache_info()
    assert (info.plans, info.eager) == (3, 0) and info.replays >= 9, program.explain()


def test_a_way_that_is_not_taken_writes_nothing():
    total, count = there(0, 0), h.tensor(0, device="cuda")

    @h.function
    def program(x):
        nonlocal total, count
        total += x
        if x.sum() > 0:
            count += 1
            return x
        total *= 2
        return -x

    wanted = np.zeros(2, np.float32)
    for k in range(12):
        x = np.asarray([1 + k, -3 if k % 3 else 3], np.float32) * (1 if k % 2 else -1)
        wanted += x
        got, way = here(program(there(*x))), x.sum() > 0
        wanted *= 1 if way else 2
        assert got == (x if way else -x).tolist() and here(total) == wanted.tolist()
    assert program.cache_info().eager == 0 and program.cache_info().replays >= 6


def test_a_loop_of_python_is_one_node_for_every_number_of_turns():
    @h.function
    def program(x):
        turns = 0
        while x.sum() < 100:
            x, turns = x * 2, turns + 1
        return x, turns

    for start in (1, 3, 200, 40, 0.01, 1):
        got, turns = program(there(start, start))
        wanted, count = start, 0
        while wanted * 2 < 100:
            wanted, count = wanted * 2, count + 1
        assert turns == count and here(got) == pytest.approx([wanted, wanted])


@pytest.mark.skipif(not SUPPORTED, reason="calls are followed on some CPython versions only")
def test_turns_of_several_ways_are_one_node():
    def root(c):
        low, high = c * 0 - 8, c * 0 + 8
        for _ in range(16):
            middle = (low + high) / 2
            if (middle**3 - c).sum() > 0:
                high = middle
            else:
                low = middle
        return low, high

    program = h.function(root)
    for k in range(9):
        value = (-1) ** k * 3.7 * k
        assert [here(t) for t in program(there(value))] == [here(t) for t in root(there(value))]
    info = program.cache_info()
    assert info.plans <= 3 and info.replays >= 4 and info.eager == 0, program.explain()


def test_an_index_that_only_one_way_may_use():
    table = there(1, 2, 3)

    @h.function
    def program(i):
        if i < 3:
            return table[i]
        return table[0] * 0

    for i in (0, 1, 7, 2, 9, 900, 1, 3):
        assert program(h.tensor(i, device="cuda")).item() == (i + 1 if i < 3 else 0)
    assert program.cache_info().plans == 2 and program.cache_info().eager == 0
    with pytest.raises(h.IndexOutOfRange, match="test_branches_on_card.py"):
        program(h.tensor(-7, device="cuda")).item()
    assert program(h.tensor(1, device="cuda")).item() == 2


def test_an_error_from_before_is_raised_and_not_taken_for_a_branch():
    table = there(1, 2, 3)

    @h.function
    def program(x):
        return x + 1 if x.sum() > 0 else x - 1

    for k in range(4):
        program(there(1, k)), program(there(-9, k))
    assert program.cache_info().plans == 2
    table[h.tensor(77, device="cuda")]  # noqa: B018 (fails on the card, where nobody looks yet)
    with pytest.raises(h.IndexOutOfRange, match="77|index"):
        for _ in range(3):
            here(program(there(1, 2)))
    assert here(program(there(1, 2))) == [2, 3]
    assert not device_state().status.failed()


def test_gradients_on_the_way_that_was_taken():
    def program(device):
        w = h.tensor(np.asarray([0.5, -2.0], np.float32), device=device, requires_grad=True)
        optimizer = h.optim.SGD([w], lr=0.1)

        def step(x):
            optimizer.zero_grad()
            loss = (w * x).sum()
            if loss > 0:
                loss = loss * loss
            loss.backward()
            if w.grad.abs().max() > 4:
                w.grad *= 0.25
            optimizer.step()
            return loss

        return step, w

    plain, w = program("cpu")
    traced, there_w = program("cuda")
    traced = h.function(traced)
    for k in range(24):
        x = np.asarray([k % 5 - 2, (k * 7) % 3 - 1], np.float32)
        wanted, got = plain(h.tensor(x)), traced(h.tensor(x, device="cuda"))
        assert wanted.detach().numpy().tobytes() == got.detach().numpy().tobytes()
        assert w.detach().numpy().tobytes() == there_w.detach().numpy().tobytes()
    assert traced.cache_info().replays > 8 and traced.cache_info().eager == 0, traced.explain()


@pytest.mark.filterwarnings("ignore:.*runs eagerly")
def test_a_plan_whose_checks_cannot_be_settled_is_not_replayed(monkeypatch):
    monkeypatch.setattr("hybrid.backends.cuda.executable.steps", refused)

    @h.function
    def program(x):
        return x + 1 if x.sum() > 0 else x - 1

    for k in range(6):
        assert here(program(there(1, k))) == [2, 1 + k]
        assert here(program(there(-9, k))) == [-10, k - 1]
    assert "branches on values of tensors, and the device has no kernels" in program.explain()


def refused(*given):
    raise h.BackendError("no functions for a card")
