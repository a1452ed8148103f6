"""Programs of users on a simulated card, against the CPU's bits.

Invariant: each test is a program as somebody with PyTorch in mind writes it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from gpu import SimulatedDriver

import hybrid
from hybrid import nn, optim
from hybrid.backends.cuda import exchange

Card = SimulatedDriver


# ---- between devices
def test_gradients_follow_a_move(simulated: Card) -> None:
    x = hybrid.tensor([1.0, 2.0], requires_grad=True)
    loss = ((x * 3).to("cuda") ** 2).cpu().sum()
    loss.backward()
    assert x.grad.device == "cpu" and x.grad.tolist() == [18.0, 36.0]
    weight = hybrid.ones(2, device="cuda", requires_grad=True)
    (weight.to("cpu", hybrid.float64) * 2).sum().backward()
    assert weight.grad.device == "cuda" and weight.grad.dtype is hybrid.float32
    second = hybrid.grad(lambda a: hybrid.grad(lambda b: (b.cuda() ** 3).sum())(a).sum())
    assert second(x).tolist() == [6.0, 12.0]


def test_a_move_without_gradients(simulated: Card) -> None:
    x = hybrid.ones(2, requires_grad=True)
    with hybrid.no_grad():
        assert not x.cuda().requires_grad
    assert not hybrid.tensor(x, device="cuda").requires_grad
    assert hybrid.tensor(x, device="cuda", requires_grad=True).is_leaf
    assert not hybrid.arange(3).cuda().requires_grad


def test_copies_stay_on_their_device(simulated: Card) -> None:
    source = hybrid.ones(2, device="cuda", requires_grad=True)
    target = hybrid.zeros(3, 2)
    target.copy_(source)
    assert target.device == "cpu"
    target.sum().backward()
    assert source.grad.tolist() == [3.0, 3.0]
    there = hybrid.zeros(2, device="cuda").copy_(hybrid.ones(2))
    assert there.device == "cuda" and there.tolist() == [1.0, 1.0]
    with pytest.raises(hybrid.DeviceError, match="cpu"):
        hybrid.zeros(2).add_(source)


def test_numpy_refuses_a_tensor_of_a_card_clearly(simulated: Card) -> None:
    x = hybrid.ones(3, device="cuda")
    kept = len(exchange._GIVEN)
    for _ in range(2):
        with pytest.raises((RuntimeError, BufferError), match="(?i)unsupported device"):
            np.from_dlpack(x)
    assert len(exchange._GIVEN) == kept
    assert np.from_dlpack(x.cpu()).tolist() == [1.0, 1.0, 1.0]
    assert np.asarray(x).tolist() == x.numpy().tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("kind", [optim.Adam, partial(optim.SGD, momentum=0.9)])
def test_an_optimizer_made_before_the_move(kind: Any, traced: bool, simulated: Card) -> None:
    results = []
    for early in (True, False):
        hybrid.manual_seed(0)
        model = nn.Linear(3, 2)
        snapshot, view = model.state_dict(), model.weight.T
        first = kind(model.parameters(), lr=0.1) if early else None
        weight = model.weight
        assert model.to("cuda").weight is weight and weight.is_leaf
        optimizer = first or kind(model.parameters(), lr=0.1)
        x = hybrid.ones(2, 3, device="cuda")

        def train() -> hybrid.Tensor:
            optimizer.zero_grad()
            loss = (model(x) ** 2).sum()
            loss.backward()
            optimizer.step()
            return loss

        step = hybrid.function(train) if traced else train
        losses = [step().item() for _ in range(5)]
        assert view.device == snapshot["weight"].device == "cpu" and optimizer.lr.device == "cuda"
        model.cpu()
        assert weight.grad.device == "cpu"
        optimizer.step()
        model.cuda()
        losses.append(step().item())
        results.append([losses, weight.tolist(), model.bias.tolist()])
    assert results[0] == results[1]


def test_a_module_takes_another_dtype_in_place() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 3))
    model[1].weight = model[0].weight  # shared
    weight, row = model[0].weight, model[0].weight[0]
    model.to(hybrid.float16)
    assert model[1].weight is model[0].weight is weight and weight.dtype is hybrid.float16
    with hybrid.no_grad():
        weight.fill_(1.0)
    assert row.dtype is hybrid.float32 and row.tolist() != [1.0] * 3


def test_a_result_from_before_a_move(simulated: Card) -> None:
    model = nn.Linear(2, 1)
    early = model(hybrid.ones(3, 2)).sum()
    model.to("cuda")
    with pytest.raises(hybrid.DeviceError, match="was moved from cpu to cuda before backward"):
        early.backward()
    assert model.weight.grad is None
    early = model(hybrid.ones(3, 2, device="cuda")).sum()
    model.to(hybrid.bfloat16)
    early.backward()
    assert model.weight.grad.dtype is hybrid.bfloat16 and model.weight.grad.tolist() == [[3.0, 3.0]]


@pytest.mark.parametrize("movable", [hybrid.ones(2), nn.Linear(1, 1)])
def test_a_device_is_no_number(movable: Any) -> None:
    with pytest.raises(hybrid.DeviceError, match="a device is a name"):
        movable.to(0)


@pytest.mark.parametrize("kind", [optim.Adam, partial(optim.SGD, momentum=0.9)])
def test_one_optimizer_over_two_devices(kind: Any, simulated: Card) -> None:
    results = []
    for second in ("cpu", "cuda"):
        hybrid.manual_seed(0)
        first, last = nn.Linear(3, 4), nn.Linear(4, 2).to(second)
        optimizer = kind([*first.parameters(), *last.parameters()], lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            hidden = first(hybrid.ones(2, 3)).tanh()
            (last(hidden.to(second)) ** 2).sum().backward()
            optimizer.step()
        results.append([p.tolist() for p in (*first.parameters(), *last.parameters())])
    assert results[0] == results[1]


# ---- random numbers
@pytest.mark.parametrize(
    "draw",
    [
        lambda x: hybrid.random.choice(x, 3),
        lambda x: hybrid.random.normal(x, 1.0),
        lambda x: hybrid.random.uniform(0.0, x),
        lambda x: hybrid.random.permutation(x),
    ],
)
def test_draws_are_where_their_tensors_are(draw: Any, simulated: Card) -> None:
    results = []
    for where in ("cpu", "cuda"):
        hybrid.manual_seed(3)
        hybrid.default_generator(where).manual_seed(3)
        drawn = draw(hybrid.arange(1.0, 5.0, device=where))
        assert drawn.device == where
        results.append(drawn.tolist())
    assert results[0] == results[1]


def test_a_distribution_per_element_has_numbers_per_element() -> None:
    drawn = hybrid.random.normal(hybrid.zeros(8), 1.0)
    assert len(set(drawn.tolist())) == 8
    assert hybrid.random.uniform([0.0, 1.0], np.ones((3, 1))).shape == (3, 2)
    assert hybrid.random.normal().shape == hybrid.random.normal(0.0, 1.0, ()).shape == ()


def test_a_generator_of_another_device_is_refused(simulated: Card) -> None:
    here, there = hybrid.Generator(1), hybrid.Generator(1, device="cuda:0")
    with pytest.raises(hybrid.DeviceError, match="a generator on cpu draws there, not on cuda"):
        hybrid.rand(3, generator=here, device="cuda")
    with pytest.raises(hybrid.DeviceError, match="generator"):
        nn.functional.dropout(hybrid.ones(3), generator=there)
    assert hybrid.rand(3, generator=there, device="cuda").device == "cuda"
    assert hybrid.rand(3, generator=there).device == "cuda"
