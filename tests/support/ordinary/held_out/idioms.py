"""Python's own tools around tensors: decorators, contexts, caches, hooks, exceptions."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import warnings
from collections import ChainMap
from dataclasses import dataclass, field, replace

import numpy as np
from ordinary import Run, labels, normal

import hybrid as hb
from hybrid import nn, optim

F = nn.functional


def registered_losses(function):
    registry = {}

    def register(name, **defaults):
        def wrap(fn):
            @functools.wraps(fn)
            def inner(*args, **kwargs):
                return fn(*args, **{**defaults, **kwargs})

            registry[name] = inner
            return inner

        return wrap

    @register("focal", gamma=2.0)
    def focal(logits, y, gamma):
        log_p = logits.log_softmax(axis=1).gather(1, y.unsqueeze(1)).squeeze(1)
        return -(((1 - hb.exp(log_p)) ** gamma) * log_p).mean()

    @register("margin", margin=1.0)
    def margin_loss(logits, y, margin):
        right = logits.gather(1, y.unsqueeze(1))
        violation = (margin + logits - right).clip(0, None)
        return (violation.sum(axis=1) - margin).mean()

    @register("smooth", epsilon=0.1)
    def smooth(logits, y, epsilon):
        log_p = logits.log_softmax(axis=1)
        return (1 - epsilon) * F.nll_loss(log_p, y) - epsilon * log_p.mean()

    model = nn.Linear(6, 4)
    optimizer = optim.SGD(model.parameters(), lr=0.05)

    @function
    def step(name, x, y):
        loss = registry[name](model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    names = ["focal", "margin", "smooth"]
    return Run(step, lambda k: (names[k % 3], normal(k, 12, 6), labels(k, 12, 4)), model.state_dict)


def evaluation_context(function):
    @contextlib.contextmanager
    def evaluating(model):
        was_training = model.training
        model.eval()
        try:
            with hb.no_grad():
                yield model
        finally:
            model.train(was_training)

    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))
    optimizer = optim.Adam(model.parameters(), lr=1e-3)

    @function
    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with evaluating(model) as frozen:
            accuracy = (frozen(x).argmax(axis=1) == y).float().mean().item()
        return loss.item(), accuracy

    return Run(
        step,
        lambda k: (normal(k, 16, 8), labels(k, 16, 3)),
        lambda: (model.training, model.state_dict()),
    )


def pipeline_of_generators(function):
    def chunks(x, size):
        for start in range(0, x.shape[0], size):
            yield x[start : start + size]

    def normalized(parts):
        for part in parts:
            yield (part - part.mean(axis=0)) / (part.std(axis=0) + 1e-5)

    def enumerate_weighted(parts):
        for i, part in enumerate(parts, start=1):
            yield 1.0 / i, part

    @function
    def pooled(x):
        total = hb.zeros(x.shape[1])
        for weight, part in enumerate_weighted(normalized(chunks(x, 8))):
            total = total + weight * (part**3).mean(axis=0)
        return total

    return Run(pooled, lambda k: (normal(k, 32, 6),))


def cached_position_table(function):
    @functools.cache
    def positions(length, width):
        angle = np.arange(length)[:, None] / 10000 ** (np.arange(0, width, 2) / width)
        table = np.zeros((length, width), dtype=np.float32)
        table[:, 0::2], table[:, 1::2] = np.sin(angle), np.cos(angle)
        return hb.tensor(table)

    layer = nn.Linear(16, 16)

    @function
    def encode(x):
        return layer(x + positions(x.shape[1], x.shape[2])).relu().mean(axis=1)

    return Run(encode, lambda k: (normal(k, 2, (8, 12, 16)[k % 3], 16),))


def fallback_on_bad_shapes(function):
    failures = []

    class ShapeMismatch(ValueError):
        pass

    def check(x, width):
        if x.shape[-1] != width:
            raise ShapeMismatch(f"expected width {width}, got {x.shape[-1]}")
        return x

    projection = normal(1, 6, 4)

    @function
    def project(x):
        try:
            return check(x, 6) @ projection
        except ShapeMismatch as error:
            failures.append(str(error))
            padded = F.pad(x, (0, 6 - x.shape[-1]))
            return padded @ projection

    return Run(project, lambda k: (normal(k, 5, 4 if k % 11 == 5 else 6),), lambda: failures)


def closure_over_configuration(function):
    @dataclass(frozen=True)
    class Config:
        width: int = 16
        activation: str = "relu"
        residual: bool = True
        scale: float = 0.5
        norms: tuple = field(default=("pre",))

    def build(config, seed):
        w = normal(seed, config.width, config.width, scale=1 / math.sqrt(config.width))
        activation = getattr(hb, config.activation)

        def block(x):
            y = (x - x.mean(axis=-1, keepdims=True)) if "pre" in config.norms else x
            y = activation(y @ w) * config.scale
            return x + y if config.residual else y

        return block

    base = Config()
    blocks = [
        build(base, 1),
        build(replace(base, activation="tanh", residual=False), 2),
        build(replace(base, scale=0.1, norms=()), 3),
    ]

    @function
    def forward(x):
        for block in blocks:
            x = block(x)
        return x

    return Run(forward, lambda k: (normal(k, 8, 16),))


def lazily_computed_statistics(function):
    class Batch:
        def __init__(self, x, **extras):
            self._x = x
            self._extras = extras

        @functools.cached_property
        def mean(self):
            return self._x.mean(axis=0)

        @functools.cached_property
        def covariance(self):
            centered = self._x - self.mean
            return centered.T @ centered / (len(self._x) - 1)

        def __getattr__(self, name):
            try:
                return self.__dict__["_extras"][name]
            except KeyError:
                raise AttributeError(name) from None

    @function
    def frechet(x, y):
        a, b = Batch(x, weight=0.7), Batch(y, weight=0.3)
        distance = ((a.mean - b.mean) ** 2).sum()
        spread = ((a.covariance - b.covariance) ** 2).sum()
        return a.weight * distance + b.weight * spread

    return Run(frechet, lambda k: (normal(k, 20, 4), normal(k + 1, 20, 4)))


def callbacks_with_events(function):
    class Callback:
        def on_step_end(self, trainer, loss): ...

        def on_epoch_end(self, trainer): ...

    class History(Callback):
        def __init__(self):
            self.losses, self.epochs = [], []

        def on_step_end(self, trainer, loss):
            self.losses.append(loss.item())

        def on_epoch_end(self, trainer):
            self.epochs.append(sum(self.losses) / len(self.losses))
            self.losses.clear()

    class DecayRate(Callback):
        def on_epoch_end(self, trainer):
            for group in trainer.optimizer.param_groups:
                group["lr"] *= 0.95

    class Trainer:
        def __init__(self, model, callbacks, steps_per_epoch):
            self.model, self.callbacks, self.steps_per_epoch = model, callbacks, steps_per_epoch
            self.optimizer = optim.SGD(model.parameters(), lr=0.1)
            self.step_count = 0

        def fire(self, event, *args):
            for callback in self.callbacks:
                getattr(callback, event)(self, *args)

        @function
        def step(self, x, y):
            loss = F.mse_loss(self.model(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.step_count += 1
            self.fire("on_step_end", loss)
            if self.step_count % self.steps_per_epoch == 0:
                self.fire("on_epoch_end")
            return loss

    history = History()
    trainer = Trainer(nn.Linear(5, 1), [history, DecayRate()], 10)
    return Run(
        lambda x, y: trainer.step(x, y),
        lambda k: (normal(k, 10, 5), normal(k + 1, 10, 1)),
        lambda: (vars(history), trainer.step_count, trainer.optimizer.param_groups[0]["lr"]),
    )


def options_in_layers(function):
    defaults = {"scale": 1.0, "bias": 0.0, "activation": "tanh"}

    def apply(x, *, scale, bias, activation, **unused):
        if unused:
            warnings.warn(f"unused options: {sorted(unused)}", stacklevel=2)
        return getattr(hb, activation)(scale * x + bias)

    @function
    def run(x, *overrides, **last):
        options = ChainMap(last, *overrides, defaults)
        return apply(x, **options)

    overrides = [{"scale": 2.0}, {"bias": 0.5, "activation": "sigmoid"}, {}]

    def turn(k, x):
        return run(x, overrides[k % 3], clip=1) if k % 4 == 3 else run(x, overrides[k % 3])

    return Run(turn, lambda k: (k, normal(k, 20)))


def counted_and_timed_calls(function):
    counts = {}

    def counted(fn):
        signature = inspect.signature(fn)

        @functools.wraps(fn)
        def wrapper(*args, **kwargs):
            counts[fn.__name__] = counts.get(fn.__name__, 0) + 1
            signature.bind(*args, **kwargs)
            return fn(*args, **kwargs)

        return wrapper

    @counted
    def attention(q, k, v):
        return ((q @ k.T) / math.sqrt(q.shape[-1])).softmax(axis=-1) @ v

    @counted
    def feed_forward(x, w1, w2):
        return hb.gelu(x @ w1) @ w2

    w1, w2 = normal(1, 8, 16, scale=0.3), normal(2, 16, 8, scale=0.3)

    @function
    def block(x):
        x = x + attention(x, x, x)
        return x + feed_forward(x, w1, w2=w2)

    return Run(block, lambda k: (normal(k, 6, 8),), lambda: counts)


def operators_on_a_class(function):
    class Dual:
        __slots__ = ("value", "slope")

        def __init__(self, value, slope=0.0):
            self.value, self.slope = value, slope

        def __add__(self, other):
            other = other if isinstance(other, Dual) else Dual(other)
            return Dual(self.value + other.value, self.slope + other.slope)

        __radd__ = __add__

        def __mul__(self, other):
            other = other if isinstance(other, Dual) else Dual(other)
            return Dual(
                self.value * other.value, self.slope * other.value + self.value * other.slope
            )

        __rmul__ = __mul__

        def __pow__(self, n):
            return functools.reduce(lambda a, b: a * b, [self] * n)

        def sin(self):
            return Dual(hb.sin(self.value), hb.cos(self.value) * self.slope)

    @function
    def derivative(x):
        d = Dual(x, hb.ones_like(x))
        y = 3 * d**3 + 2 * d.sin() * d + 1.0
        return y.value, y.slope

    return Run(derivative, lambda k: (normal(k, 30),))
