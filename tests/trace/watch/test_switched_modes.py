"""Modules that decorated functions put into training and evaluation themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid import nn, optim
from hybrid.decorator import function
from hybrid.trace.follow.rows import SUPPORTED

pytestmark = [
    pytest.mark.skipif(not SUPPORTED, reason="no table of instructions for this interpreter"),
    pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly"),
]
Make = Callable[[Any], tuple[Callable[[int], Any], Any]]


def data(k: int) -> Any:
    return hb.tensor(np.linspace(-1 - k % 5, 2, 12, dtype="f4").reshape(3, 4) / 8)


class Norm(nn.Module):
    """Centres by the batch in training, by the running mean else."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", hb.zeros(4))

    def forward(self, x: Any) -> Any:
        if not self.training:
            return x - self.mean
        mean = x.mean(axis=0)
        self.mean.assign(self.mean * 0.9 + mean.detach() * 0.1)
        return x - mean


def network() -> Any:
    hb.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 4), Norm(), nn.Dropout(0.5), nn.Linear(4, 2))


def two_functions(decorate: Any) -> Any:
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=1e-3)

    @decorate
    def step(x: Any) -> Any:
        model.train()
        loss = (model(x) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    @decorate
    def evaluate(x: Any) -> Any:
        model.eval()
        with hb.no_grad():
            return model(x).argmax(axis=-1)

    return lambda k: (evaluate if k % 3 == 2 else step)(data(k)), model


def by_argument(decorate: Any) -> Any:
    model = network()

    @decorate
    def forward(x: Any, phase: str) -> Any:
        model.train(phase == "train")
        return model(x)

    return lambda k: forward(data(k), "eval" if k % 4 == 3 else "train"), model


def looks_before(decorate: Any) -> Any:
    model = network()

    @decorate
    def forward(x: Any) -> Any:
        was = model.training
        first = model(x)
        model.eval()
        return first, model(x), was, model.training

    def turn(k: int) -> Any:
        if k % 3 == 0:
            model.train()
        return forward(data(k))

    return turn, model


def mixed(decorate: Any) -> Any:
    model = network()

    @decorate
    def forward(x: Any) -> Any:
        model.train()
        model[1].eval()
        return model(x)

    def turn(k: int) -> Any:
        model[k % 4].train(k % 2 == 0)
        return forward(data(k))

    return turn, model


def toggled(decorate: Any) -> Any:
    """Turns each call's mode around, so two starts take turns."""
    model = network()

    @decorate
    def forward(x: Any) -> Any:
        model.train(not model.training)
        return model(x)

    return lambda k: forward(data(k)), model


def put_back(decorate: Any) -> Any:
    model = network()

    @contextlib.contextmanager
    def evaluating() -> Iterator[None]:
        before = model.training
        model.eval()
        try:
            yield
        finally:
            model.train(before)

    @decorate
    def forward(x: Any) -> Any:
        with evaluating():
            y = model(x)
        return model(x) + y

    return lambda k: forward(data(k)), model


def own_method(decorate: Any) -> Any:
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.drop = Norm(), nn.Dropout(0.3)

        def train(self, mode: bool = True) -> Any:
            super().train(mode)
            self.norm.eval()
            return self

        def forward(self, x: Any) -> Any:
            return self.drop(self.norm(x)) if self.training else self.norm(x)

    model = Frozen()

    @decorate
    def forward(x: Any, train: bool) -> Any:
        model.train(train)
        return model(x)

    return lambda k: forward(data(k), k % 3 != 0), model


def by_attribute(decorate: Any) -> Any:
    model = network()

    @decorate
    def forward(x: Any, train: bool) -> Any:
        model[2].training = train
        return model(x)

    return lambda k: forward(data(k), k % 3 != 0), model


def raises(decorate: Any) -> Any:
    model = network()

    @decorate
    def forward(x: Any, train: bool) -> Any:
        model.train(train)
        if x.shape[0] == 2:
            raise ValueError("two rows")
        return model(x)

    def turn(k: int) -> Any:
        try:
            return forward(data(k)[: 2 if k % 5 == 4 else 3], k % 2 == 0)
        except ValueError as error:
            return str(error)

    return turn, model


PROGRAMS = [two_functions, by_argument, looks_before, mixed, toggled, put_back, own_method]
PROGRAMS += [by_attribute, raises]


def run(make: Make, decorate: Any, calls: int = 40) -> list[Any]:
    turn, model = make(decorate)
    hb.manual_seed(2)
    found = []
    for k in range(calls):
        result = turn(k)
        shown = [r.numpy().tobytes() if isinstance(r, hb.Tensor) else r for r in _parts(result)]
        modes = [module.training for module in model.modules()]
        state = [value.numpy().tobytes() for value in model.state_dict().values()]
        found.append((shown, modes, state))
    return found


def _parts(result: Any) -> tuple[Any, ...]:
    return result if type(result) is tuple else (result,)


@pytest.mark.parametrize("make", PROGRAMS, ids=lambda make: make.__name__)
def test_same_as_the_plain_function(make: Make) -> None:
    for number, (plain, traced) in enumerate(zip(run(make, lambda f: f), run(make, function))):
        assert plain == traced, number


@pytest.mark.parametrize(
    "make", [two_functions, by_argument, looks_before, toggled], ids=lambda make: make.__name__
)
def test_calls_that_find_another_mode_are_replayed(make: Make) -> None:
    functions: list[Any] = []

    def decorate(f: Any) -> Any:
        functions.append(function(f))
        return functions[-1]

    run(make, decorate, 60)
    infos = [f.cache_info() for f in functions]
    assert sum(info.records + info.eager for info in infos) <= 24, functions[0].explain()
