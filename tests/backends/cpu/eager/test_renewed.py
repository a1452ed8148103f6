"""Values that take the place of old ones: only where nobody else holds those, with the same bits."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import hybrid
from hybrid.backends.cpu.eager import renewed as module
from hybrid.ir.door.together import together
from hybrid.ops.elementwise.arithmetic import add
from hybrid.ops.elementwise.updates import ADAM_UPDATE

LARGE = (1 << 18) + 3  # elements of more than a megabyte, with an odd tail
NUMBERS = (0.01, 0.9, 0.999, 1e-8, 0.1, 3.0)
GIVEN = (("decoupled", False), ("maximize", False))


def tensors(count: int, size: int = LARGE, dtype: str = "float32") -> list:
    """So many lines of positive numbers of their own."""
    draw = np.random.default_rng(count)
    return [hybrid.tensor(draw.random(size).astype(dtype)) for _ in range(count)]


def updated(held: list, into: tuple[int, ...] = (0, 2, 3)) -> list:
    """New values of parameters and moments: of each call (parameter, gradient, moments)."""
    numbers = [hybrid.tensor(number) for number in NUMBERS]
    made = together(ADAM_UPDATE, GIVEN, [*held, *numbers], 4, len(numbers), into)
    assert made is not None
    return list(made[0])


def expected(held: list) -> list:
    """The same of single calls."""
    made = []
    for start in range(0, len(held), 4):
        numbers = [hybrid.tensor(number) for number in NUMBERS]
        call = hybrid.ops.elementwise.updates.adam_update
        made += [t.numpy().copy() for t in call(*held[start : start + 4], *numbers)]
    return made


def same_bits(found: list, wanted: list) -> bool:
    return all([a.tobytes() == b.tobytes() for a, b in zip(found, wanted, strict=True)])


def test_values_of_nobody_else_are_written_over():
    held = tensors(8)
    wanted, places = expected(held), [t._v.ctypes.data for t in held]
    found = updated(held)
    assert same_bits(found, wanted)
    assert [value.ctypes.data for value in found] == [places[i] for i in (0, 2, 3, 4, 6, 7)]


def test_other_threads_counts_give_the_same_bits():
    wanted = expected(tensors(4))
    before = hybrid.get_num_threads()
    try:
        for threads in (1, 2, 4):
            hybrid.set_num_threads(threads)
            assert same_bits(updated(tensors(4)), wanted)
    finally:
        hybrid.set_num_threads(before)


@pytest.mark.parametrize("size", [0, 1, 5, 1000])
def test_small_values_are_made_anew(size):
    held = tensors(4, size)
    wanted, before = expected(held), [t.numpy().copy() for t in held]
    assert same_bits(updated(held), wanted)
    assert same_bits([t._v for t in held], before)


HOLDERS = {
    "an array": lambda t: t._v,
    "a view of NumPy's": lambda t: t._v[1:],
    "numpy()": lambda t: t.numpy(),
    "another handle": lambda t: t.detach(),
    "a view": lambda t: t[2:],
    "a reshaped one": lambda t: t.reshape(1, -1),
    "memory": lambda t: memoryview(t._v),
    "DLPack": lambda t: np.from_dlpack(t, copy=False),
    "an iterator": lambda t: iter(t._v),
}


@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS.keys())
def test_what_somebody_holds_is_kept(holder):
    for number in (0, 2, 3):
        held = tensors(4)
        wanted, before = expected(held), held[number].numpy().copy()
        other = holder(held[number])
        found = updated(held)
        assert same_bits(found, wanted)
        assert held[number]._v.tobytes() == before.tobytes(), number
        assert found[(0, None, 1, 2)[number]].ctypes.data != held[number]._v.ctypes.data
        del other


def test_one_value_of_two_handles_is_kept():
    first = tensors(4)
    second = [t.detach() for t in first[:1]] + tensors(3)
    before, wanted = first[0].numpy().copy(), expected([*first, *second])
    assert same_bits(updated([*first, *second]), wanted)
    assert first[0]._v.tobytes() == before.tobytes()


def test_values_out_of_order_are_not_taken():
    held = tensors(4)
    held[1] = hybrid.ones((LARGE, 2))[:, 0]
    numbers, before = [hybrid.tensor(n) for n in NUMBERS], held[0].numpy().copy()
    assert together(ADAM_UPDATE, GIVEN, [*held, *numbers], 4, 6, (0, 2, 3)) is None
    assert held[0]._v.tobytes() == before.tobytes()
    weight = hybrid.tensor(before, requires_grad=True)
    weight.grad = held[1]
    hybrid.optim.SGD([weight], lr=1.0).step()
    assert (weight.numpy() == before - 1.0).all()


def test_memory_that_must_not_be_written_is_kept():
    held = tensors(4)
    held[0]._v.flags.writeable = False
    wanted, before = expected(held), held[0].numpy().copy()
    assert same_bits(updated(held), wanted)
    assert held[0]._v.tobytes() == before.tobytes()


def test_sums_of_gradients_are_made_where_the_first_lies(monkeypatch):
    places: list[int] = []
    called = module._called

    def spy(batch, handles):
        places.append(handles[0]._v.ctypes.data)
        made = called(batch, handles)
        places.append(made[0].ctypes.data)
        return made

    monkeypatch.setattr(module, "_called", spy)
    x = hybrid.tensor(np.ones(LARGE, np.float32), requires_grad=True)
    (x * 2.0 + x * 3.0 + x * 4.0).sum().backward()
    assert x.grad.numpy().tolist() == [9.0] * LARGE
    assert len(places) == 4 and places[0] == places[1] == places[2] == places[3]


def test_a_gradient_that_goes_two_ways_is_kept():
    """Both operands of a sum get one handle: adding to one must not change the other."""
    x = hybrid.tensor(np.ones(LARGE, np.float32), requires_grad=True)
    y = hybrid.tensor(np.ones(LARGE, np.float32), requires_grad=True)
    total = x + y
    (total * 2.0 + x * 5.0 + y * 7.0).sum().backward()
    assert set(x.grad.numpy().tolist()) == {7.0} and set(y.grad.numpy().tolist()) == {9.0}
    seed = hybrid.tensor(np.full(LARGE, 3.0, np.float32))
    (x + y + x).backward(seed)
    assert set(x.grad.numpy().tolist()) == {13.0} and set(seed.numpy().tolist()) == {3.0}


def test_steps_leave_snapshots_and_tapes_alone():
    weight = hybrid.tensor(np.ones(LARGE, np.float32), requires_grad=True)
    optimizer = hybrid.optim.Adam([weight], lr=0.5)
    snapshots = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = (weight * weight).sum()
        loss.backward()
        once = weight.grad.numpy().copy()
        snapshots.append((optimizer.state_dict(), weight.numpy(), weight.numpy().copy()))
        optimizer.step()
        weight.grad = None
        loss.backward()  # the tape has the values that the loss was made of
        assert weight.grad.numpy().tobytes() == once.tobytes()
    for state, kept, value in snapshots:
        assert kept.tobytes() == value.tobytes()
    steps = [state["group0.step"].item() for state, _, _ in snapshots]
    means = [state["param0.exp_avg"].numpy()[0] for state, _, _ in snapshots]
    assert steps == [0, 1, 2] and len(set(means)) == 3


def test_readers_beside_a_step_see_whole_values():
    weight = hybrid.tensor(np.zeros(LARGE, np.float32), requires_grad=True)
    optimizer = hybrid.optim.SGD([weight], lr=1.0)
    weight.grad = hybrid.tensor(np.full(LARGE, -1.0, np.float32))
    done, torn = threading.Event(), []

    def read():
        while not done.is_set():
            seen = weight.numpy()
            if seen[0] != seen[-1] or seen[0] != seen[LARGE // 2]:
                torn.append(seen)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(200):
        optimizer.step()
    done.set()
    for reader in readers:
        reader.join()
    assert not torn and weight.numpy()[0] == 200.0


def test_addition_of_many_sizes_at_once():
    sizes = [1, LARGE, 17, LARGE + 64, 0]
    pairs = [t for size in sizes for t in tensors(2, size)]
    wanted = [(a + b).numpy().copy() for a, b in zip(pairs[::2], pairs[1::2])]
    made = together(add.op, (), pairs, 2, 0, (0,))
    assert made is not None and same_bits(list(made[0]), wanted)


def test_a_hundred_parameters_are_few_calls(monkeypatch):
    launched = []
    called = module._called
    monkeypatch.setattr(module, "_called", lambda *given: launched.append(given) or called(*given))
    params = [hybrid.tensor(np.ones(5, np.float32), requires_grad=True) for _ in range(100)]
    alone = [hybrid.tensor(np.ones(5, np.float32), requires_grad=True) for _ in range(100)]
    for p, q in zip(params, alone):
        p.grad, q.grad = hybrid.ones(5), hybrid.ones(5)
    hybrid.optim.AdamW(params, lr=0.1).step()
    assert 1 <= len(launched) <= 4
    for parameter in alone:
        hybrid.optim.AdamW([parameter], lr=0.1).step()
    assert same_bits([p._v for p in params], [q._v for q in alone])
