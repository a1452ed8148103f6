"""What people pass to a step: NumPy batches, dataclasses, named tuples, lambdas, modes."""

from __future__ import annotations

import argparse
import array as arrays
import enum
import functools
import random
from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

import hybrid as hb
from hybrid import nn, optim
from ordinary import Run, array, normal

F = nn.functional


def regression():
    model = nn.Linear(6, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    return model, optimizer


def numpy_batch(function):
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = optim.Adam(model.parameters(), lr=1e-2)

    @function
    def step(x, y):
        loss = F.mse_loss(model(hb.asarray(x)), hb.asarray(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Run(step, lambda k: (array(k, 8, 6), array(k + 1, 8, 1)), model.state_dict)


def numpy_double_batch(function):
    weight = normal(1, 5, 3)

    @function
    def predict(x):
        return hb.tanh(hb.tensor(x.astype(np.float32)) @ weight).sum(axis=0)

    return Run(predict, lambda k: (array(k, 4, 5).astype("f8"),))


def numpy_beside_tensor(function):
    @function
    def blend(x, mask):
        return (x * mask + (1 - mask) * x.mean()).exp()

    return Run(blend, lambda k: (normal(k, 4, 4), (array(k, 4, 4) > 0).astype("f4")))


def numpy_labels(function):
    model = nn.Linear(6, 4)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    @function
    def step(x, y):
        loss = F.cross_entropy(model(hb.tensor(x)), hb.tensor(y))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    def batch(k):
        return array(k, 8, 6), np.random.default_rng(k).integers(0, 4, 8)

    return Run(step, batch, model.state_dict)


def slice_of_dataset(function):
    data = array(0, 400, 6)
    center = hb.zeros(6)

    @function
    def distance(rows):
        x = hb.tensor(rows)
        return ((x - center) ** 2).sum(axis=1).sqrt()

    return Run(distance, lambda k: (data[k : k + 8],))


def dataclass_batch(function):
    @dataclass
    class Batch:
        x: hb.Tensor
        y: hb.Tensor
        weight: float = 1.0

    model, optimizer = regression()

    @function
    def step(batch):
        loss = F.mse_loss(model(batch.x), batch.y) * batch.weight
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Run(step, lambda k: (Batch(normal(k, 8, 6), normal(k + 1, 8, 1)),), model.state_dict)


def dataclass_result(function):
    @dataclass
    class Output:
        logits: hb.Tensor
        hidden: hb.Tensor
        extras: dict = field(default_factory=dict)

    first, second = nn.Linear(4, 8), nn.Linear(8, 3)

    @function
    def forward(x):
        hidden = first(x).tanh()
        logits = second(hidden)
        return Output(logits, hidden, {"norm": logits.norm()})

    return Run(forward, lambda k: (normal(k, 5, 4),))


def named_tuple_batch(function):
    Transition = namedtuple("Transition", "state action reward following")
    value = nn.Linear(4, 2)

    @function
    def td_error(batch):
        now = hb.take_along_axis(value(batch.state), batch.action, axis=1)
        after = value(batch.following).max(axis=1, keepdims=True)
        return F.huber_loss(now, (batch.reward + 0.9 * after).detach())

    def batch(k):
        action = hb.tensor(np.random.default_rng(k).integers(0, 2, (6, 1)))
        return (Transition(normal(k, 6, 4), action, normal(k + 1, 6, 1), normal(k + 2, 6, 4)),)

    return Run(td_error, batch)


def namespace_argument(function):
    @function
    def simulate(world):
        velocity = world.velocity + world.force * 0.1
        return SimpleNamespace(
            position=world.position + velocity * 0.1,
            velocity=velocity,
            force=-world.position,
        )

    start = SimpleNamespace(position=normal(1, 5), velocity=normal(2, 5), force=normal(3, 5))
    worlds = [start]

    def turn():
        worlds[0] = simulate(worlds[0])
        return worlds[0].position

    return Run(turn, lambda k: ())


def dict_batch(function):
    model, optimizer = regression()

    @function
    def step(batch):
        prediction = model(batch["inputs"])
        loss = ((prediction - batch["targets"]) ** 2 * batch["mask"]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss, "prediction": prediction.detach()}

    def batch(k):
        return (
            {
                "inputs": normal(k, 8, 6),
                "targets": normal(k + 1, 8, 1),
                "mask": hb.tensor((array(k, 8, 1) > 0).astype("f4")),
            },
        )

    return Run(step, batch, model.state_dict)


def ordered_parameters(function):
    @function
    def decay(parameters, rate):
        return OrderedDict((name, value * rate) for name, value in parameters.items())

    def call(k):
        return OrderedDict(weight=normal(k, 3, 3), bias=normal(k + 1, 3)), 0.5

    return Run(decay, call)


def functional_parameters(function):
    def loss_of(parameters, x, y):
        hidden = hb.tanh(x @ parameters["hidden"]["weight"] + parameters["hidden"]["bias"])
        return ((hidden @ parameters["out"]["weight"] - y) ** 2).mean()

    @function
    def update(parameters, x, y):
        gradients = hb.grad(loss_of)(parameters, x, y)
        return {
            layer: {name: p - 0.1 * gradients[layer][name] for name, p in values.items()}
            for layer, values in parameters.items()
        }

    held = [
        {
            "hidden": {"weight": normal(1, 4, 8), "bias": hb.zeros(8)},
            "out": {"weight": normal(2, 8, 1)},
        }
    ]

    def turn(x, y):
        held[0] = update(held[0], x, y)

    return Run(turn, lambda k: (normal(k, 6, 4), normal(k + 1, 6, 1)), lambda: held)


def list_of_features(function):
    mixer = nn.Linear(9, 4)

    @function
    def fuse(features):
        return mixer(hb.concat([f / f.norm() for f in features], axis=-1))

    return Run(fuse, lambda k: ([normal(k, 5, 3), normal(k + 1, 5, 2), normal(k + 2, 5, 4)],))


def fresh_lambda(function):
    @function
    def apply(x, activation):
        return activation(x * 2.0 + 1.0).sum()

    return Run(apply, lambda k: (normal(k, 16), lambda t: hb.tanh(t) * 0.5))


def partial_argument(function):
    def leaky(x, slope):
        return hb.where(x > 0, x, x * slope)

    @function
    def apply(x, activation):
        return activation(x - 0.1).mean(axis=0)

    return Run(apply, lambda k: (normal(k, 4, 6), functools.partial(leaky, slope=0.2)))


def keyword_arguments(function):
    layer = nn.Linear(5, 5)

    @function
    def block(x, *, scale=1.0, residual=True, activation="relu"):
        y = getattr(F, activation)(layer(x)) * scale
        return x + y if residual else y

    def turn(x):
        return block(block(x, scale=0.5), residual=False, activation="tanh")

    return Run(turn, lambda k: (normal(k, 3, 5),))


def star_arguments(function):
    @function
    def weighted(*tensors, **weights):
        total = hb.zeros(4)
        for tensor, weight in zip(tensors, weights.values()):
            total = total + tensor * weight
        return total

    def turn(a, b, c):
        return weighted(a, b, c, first=0.2, second=0.3, third=0.5)

    return Run(turn, lambda k: (normal(k, 4), normal(k + 1, 4), normal(k + 2, 4)))


def enum_mode(function):
    class Reduction(enum.Enum):
        MEAN = "mean"
        SUM = "sum"

    @function
    def loss(x, y, reduction):
        errors = (x - y).abs()
        return errors.mean() if reduction is Reduction.MEAN else errors.sum()

    kinds = list(Reduction)
    return Run(loss, lambda k: (normal(k, 7), normal(k + 1, 7), kinds[k % 2]))


def string_mode(function):
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))

    @function
    def forward(x, phase):
        model.train(phase == "train")
        return model(x).softmax(axis=-1)

    return Run(forward, lambda k: (normal(k, 3, 4), "eval" if k % 5 == 4 else "train"))


def buffer_argument(function):
    @function
    def level(samples):
        signal = hb.tensor(np.frombuffer(samples, dtype=np.int16).astype("f4")) / 32768
        return (signal**2).mean().sqrt()

    def sound(k):
        numbers = np.random.default_rng(k).integers(-3000, 3000, 64)
        return (arrays.array("h", numbers.tolist()),)

    return Run(level, sound)


def numpy_scalar(function):
    weight = normal(0, 4)

    @function
    def shrink(x, rate):
        return (x - weight * rate).sum()

    rates = np.linspace(0.1, 1.0, 220, dtype=np.float32)
    return Run(shrink, lambda k: (normal(k, 4), rates[k % 220]))


def python_list_of_numbers(function):
    table = normal(0, 20, 4)

    @function
    def lookup(ids):
        return table[hb.tensor(ids)].mean(axis=0)

    return Run(lookup, lambda k: ([(k * 7 + j) % 20 for j in range(5)],))


def optional_argument(function):
    query, key = nn.Linear(4, 4), nn.Linear(4, 4)

    @function
    def attend(x, mask=None):
        scores = query(x) @ key(x).T / 2.0
        if mask is not None:
            scores = hb.where(mask, scores, -1e9)
        return scores.softmax(axis=-1) @ x

    lower = hb.tensor(np.tril(np.ones((5, 5), bool)))
    return Run(attend, lambda k: (normal(k, 5, 4), lower if k % 2 else None))


def range_of_steps(function):
    @function
    def unrolled(x, steps):
        for step in steps:
            x = x + hb.sin(x) * 0.1 * step
        return x

    return Run(unrolled, lambda k: (normal(k, 6), range(4)))


def namespace_of_options(function):
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4))

    @function
    def predict(options, x):
        decay = [options.gamma**k for k in range(4)]
        chosen = [name for name in sorted(vars(options)) if name.startswith("use_")]
        scale = hb.tensor(decay) * len(chosen)
        logits = model(x) * scale
        return (logits / options.temperature).softmax(axis=-1)

    def given(k):
        pick = random.Random(k)
        flags = {f"use_{name}": True for name in "abc"[: pick.randint(1, 3)]}
        options = argparse.Namespace(gamma=pick.random(), temperature=1 + pick.random(), **flags)
        return options, normal(k, 5, 6)

    return Run(predict, given)


def losses_weighted_by_config(function):
    model = nn.Linear(5, 3)

    @function
    def evaluate(config, x, y):
        total = sum(config["weights"].values())
        weights = {name: value / total for name, value in config["weights"].items()}
        out = model(x)
        parts = {
            "fit": (out - y).square().mean(),
            "size": out.abs().mean(),
            "smooth": (out[1:] - out[:-1]).square().mean(),
        }
        loss = hb.tensor(0.0)
        for name, part in parts.items():
            loss = loss + weights[name] * part
        return loss, {name: part for name, part in parts.items() if weights[name] > config["floor"]}

    def given(k):
        pick = random.Random(k)
        weights = {name: pick.random() for name in ("fit", "size", "smooth")}
        return (
            {"weights": weights, "floor": pick.random() / 3},
            normal(k, 6, 5),
            normal(k + 1, 6, 3),
        )

    return Run(evaluate, given)


def overlap_of_tags(function):
    left, right = nn.Linear(8, 8), nn.Linear(8, 8)
    optimizer = optim.SGD([*left.parameters(), *right.parameters()], lr=0.05)

    @function
    def step(tags, features):
        names = list(tags)
        overlap = np.zeros((len(names), len(names)), dtype=np.float32)
        for i, one in enumerate(names):
            for j, other in enumerate(names):
                both = tags[one] & tags[other]
                overlap[i, j] = len(both) / max(1, len(tags[one] | tags[other]))
        scores = left(features) @ right(features).T
        loss = ((scores.sigmoid() - hb.tensor(overlap)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    def batch(k):
        pick = random.Random(k)
        tags = {f"item{pick.randrange(999)}_{n}": set(pick.sample("abcdefgh", 3)) for n in range(5)}
        return tags, normal(k, 5, 8)

    return Run(step, batch, left.state_dict)
