"""Python as people use it around tensors: classes, contexts, callbacks, dispatch, generators."""

from __future__ import annotations

import abc
import contextlib
import functools
import itertools
import operator
import time

import hybrid as hb
from hybrid import nn, optim
from ordinary import Run, labels, normal

F = nn.functional

CONFIG = {"scale": 0.5, "activation": "tanh", "layers": [4, 4]}


def timing_context(function):
    totals = {}

    @contextlib.contextmanager
    def timed(name):
        start = time.perf_counter()
        try:
            yield
        finally:
            totals[name] = totals.get(name, 0.0) + time.perf_counter() - start

    layer = nn.Linear(5, 5)

    @function
    def forward(x):
        with timed("layer"):
            x = layer(x)
        with timed("activation"):
            x = x.relu()
        return x

    return Run(forward, lambda k: (normal(k, 3, 5),), lambda: sorted(totals))


def flag_context(function):
    class Scope:
        def __init__(self, model):
            self.model = model

        def __enter__(self):
            self.was, self.model.training = self.model.training, False

        def __exit__(self, *error):
            self.model.training = self.was

    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))

    @function
    def both(x):
        noisy = model(x)
        with Scope(model[1]):
            clean = model(x)
        return noisy, clean

    return Run(both, lambda k: (normal(k, 3, 4),))


def computed_property(function):
    class Gaussian:
        def __init__(self, mean, log_scale):
            self.mean, self.log_scale = mean, log_scale

        @property
        def scale(self):
            return hb.exp(self.log_scale)

        def log_prob(self, x):
            return -0.5 * ((x - self.mean) / self.scale) ** 2 - self.log_scale

    @function
    def likelihood(x, mean, log_scale):
        return Gaussian(mean, log_scale).log_prob(x).sum()

    return Run(likelihood, lambda k: (normal(k, 5), normal(k + 1, 5), normal(k + 2, 5) * 0.1))


def class_hierarchy(function):
    class Layer(abc.ABC):
        gain = 1.0

        @abc.abstractmethod
        def transform(self, x): ...

        def __call__(self, x):
            return self.transform(x) * self.gain

    class Affine(Layer):
        def __init__(self, seed):
            self.weight = normal(seed, 4, 4)

        def transform(self, x):
            return x @ self.weight

    class Residual(Affine):
        gain = 0.5

        def transform(self, x):
            return x + super().transform(x)

    layers = [Affine(1), Residual(2), Residual(3)]

    @function
    def forward(x):
        return functools.reduce(lambda value, layer: layer(value), layers, x)

    return Run(forward, lambda k: (normal(k, 3, 4),))


def generator_loader(function):
    model = nn.Linear(4, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.02)

    def batches(x, y, size):
        for start in range(0, len(x), size):
            yield x[start : start + size], y[start : start + size]

    @function
    def epoch(x, y):
        total = hb.tensor(0.0)
        for inputs, targets in batches(x, y, 4):
            loss = F.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total = total + loss.detach()
        return total

    return Run(epoch, lambda k: (normal(k, 12, 4), normal(k + 1, 12, 1)), model.state_dict)


def outside_iterator(function):
    stream = itertools.cycle([normal(j, 4) for j in range(5)])

    @function
    def mix(x):
        return x * 0.5 + next(stream)

    return Run(mix, lambda k: (normal(k, 4),))


def callback_list(function):
    class Callbacks:
        def __init__(self):
            self.seen = []

        def after_forward(self, y):
            self.seen.append(y.mean())

        def after_loss(self, loss):
            return loss * 0.5

    callbacks, layer = [Callbacks(), Callbacks()], nn.Linear(4, 2)

    @function
    def step(x):
        y = layer(x)
        for callback in callbacks:
            callback.after_forward(y.detach())
        loss = (y**2).mean()
        for callback in callbacks:
            loss = callback.after_loss(loss)
        return loss

    return Run(step, lambda k: (normal(k, 3, 4),), lambda: [len(c.seen) for c in callbacks])


def caught_key_error(function):
    overrides = {"b": 2.0}

    @function
    def scale(x, name):
        try:
            factor = overrides[name]
        except KeyError:
            factor = 1.0
        return x * factor

    return Run(scale, lambda k: (normal(k, 4), "ab"[k % 2]))


def caught_shape_error(function):
    @function
    def add(x, y):
        try:
            return x + y
        except hb.ShapeError:
            return x.sum() + y.sum()

    return Run(add, lambda k: (normal(k, 3), normal(k + 1, 3 if k % 2 else 4)))


def raises_for_bad_input(function):
    @function
    def log(x, base):
        if base <= 0:
            raise ValueError(f"base {base} is not positive")
        return hb.log(x.abs() + 1) / base

    return Run(log, lambda k: (normal(k, 4), -1 if k % 11 == 10 else 2))


def cached_helper(function):
    @functools.cache
    def positions(length, size):
        return hb.sin(hb.arange(length).reshape(-1, 1) / 10.0 ** hb.arange(size))

    @function
    def encode(x):
        return x + positions(*x.shape)

    return Run(encode, lambda k: (normal(k, 5, 3),))


def wrapped_tensor(function):
    class Vector:
        def __init__(self, data):
            self.data = data

        def __add__(self, other):
            return Vector(self.data + other.data)

        def __mul__(self, factor):
            return Vector(self.data * factor)

        def __abs__(self):
            return self.data.norm()

    @function
    def length(a, b):
        return abs(Vector(a) + Vector(b) * 2.0)

    return Run(length, lambda k: (normal(k, 4), normal(k + 1, 4)))


def match_statement(function):
    @function
    def apply(x, command):
        match command:
            case ("scale", factor):
                return x * factor
            case ("shift", amount):
                return x + amount
            case "negate":
                return -x
            case _:
                return x

    commands = [("scale", 2.0), ("shift", 1.0), "negate", None]
    return Run(apply, lambda k: (normal(k, 4), commands[k % 4]))


def comprehension_chains(function):
    weights = {f"layer{j}": normal(j, 4) for j in range(4)}

    @function
    def combine(x):
        scaled = {name: x * w for name, w in weights.items() if not name.endswith("2")}
        ordered = sorted(scaled, reverse=True)
        return hb.stack([scaled[name] for name in ordered]).sum(axis=0)

    return Run(combine, lambda k: (normal(k, 4),))


def registry_by_name(function):
    registry = {}

    def register(f):
        registry[f.__name__] = f
        return f

    @register
    def swish(x):
        return x * x.sigmoid()

    @register
    def cube(x):
        return x**3

    @function
    def activate(x, name):
        return registry[name](x)

    return Run(activate, lambda k: (normal(k, 6), ("swish", "cube")[k % 2]))


def module_level_config(function):
    weights = [normal(j, 4, 4) for j in range(len(CONFIG["layers"]))]

    @function
    def forward(x):
        for weight in weights:
            x = getattr(hb, CONFIG["activation"])(x @ weight) * CONFIG["scale"]
        return x

    def turn(k, x):
        CONFIG["scale"] = 0.5 if k < 60 else 0.25
        return forward(x)

    return Run(turn, lambda k: (k, normal(k, 2, 4)))


def own_decorator(function):
    def counted(f):
        @functools.wraps(f)
        def wrapper(*args, **kwargs):
            wrapper.calls += 1
            return f(*args, **kwargs)

        wrapper.calls = 0
        return wrapper

    @counted
    def helper(x):
        return x.relu() + 1

    @function
    def forward(x):
        return helper(helper(x))

    return Run(forward, lambda k: (normal(k, 4),), lambda: helper.calls)


def closure_factory(function):
    def make_layer(seed):
        weight = normal(seed, 4, 4)

        def layer(x):
            return (x @ weight).tanh()

        return layer

    layers = [make_layer(j) for j in range(3)]

    @function
    def forward(x):
        for layer in layers:
            x = layer(x)
        return x

    return Run(forward, lambda k: (normal(k, 2, 4),))


def slots_and_dispatch(function):
    class Scale:
        __slots__ = ("factor",)

        def __init__(self, factor):
            self.factor = factor

    class Shift:
        __slots__ = ("amount",)

        def __init__(self, amount):
            self.amount = amount

    pipeline = [Scale(2.0), Shift(1.0), Scale(0.5)]

    @function
    def run(x):
        for stage in pipeline:
            if isinstance(stage, Scale):
                x = x * stage.factor
            elif isinstance(stage, Shift):
                x = x + stage.amount
        return x

    return Run(run, lambda k: (normal(k, 4),))


def single_dispatch(function):
    @functools.singledispatch
    def penalty(value):
        raise TypeError(type(value))

    @penalty.register
    def _(value: hb.Tensor):
        return (value**2).sum()

    @penalty.register
    def _(value: list):
        return sum(penalty(item) for item in value)

    @function
    def regularize(weights):
        return penalty(weights) * 0.01

    return Run(regularize, lambda k: ([normal(k, 3), [normal(k + 1, 2), normal(k + 2, 2)]],))


def walrus_and_ternary(function):
    cache = {}

    @function
    def scaled(x, key):
        if (factor := cache.get(key)) is None:
            factor = cache[key] = 1.0 + len(cache)
        return x * factor if factor > 1 else x

    return Run(scaled, lambda k: (normal(k, 3), "abc"[k % 3]), lambda: cache)


def try_finally(function):
    active = []

    @function
    def guarded(x):
        active.append("step")
        try:
            return x.softmax(axis=0)
        finally:
            active.pop()

    return Run(guarded, lambda k: (normal(k, 5),), lambda: active)


def exit_stack(function):
    @function
    def evaluate(x):
        with contextlib.ExitStack() as stack:
            stack.enter_context(hb.no_grad())
            return (x @ x.T).trace() if hasattr(x, "trace") else hb.diagonal(x @ x.T).sum()

    return Run(evaluate, lambda k: (normal(k, 3, 4),))


def itertools_pairs(function):
    @function
    def pairwise(points):
        total = 0.0
        for a, b in itertools.combinations(points, 2):
            total = total + (a - b).norm()
        return functools.reduce(operator.add, points) * total

    return Run(pairwise, lambda k: ([normal(k + j, 3) for j in range(4)],))


def attribute_by_name(function):
    class Model:
        def __init__(self):
            for j in range(3):
                setattr(self, f"weight{j}", normal(j, 4))

        @function
        def forward(self, x):
            for j in range(3):
                x = x * getattr(self, f"weight{j}") + 0.1
            return x

    model = Model()
    return Run(lambda x: model.forward(x), lambda k: (normal(k, 4),))


def trainer_class(function):
    class Trainer:
        def __init__(self, model, optimizer, log_every=25):
            self.model, self.optimizer = model, optimizer
            self.log_every, self.step_number, self.running = log_every, 0, 0.0

        @function
        def train_step(self, x, y):
            loss = F.cross_entropy(self.model(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            return loss

        def fit_batch(self, x, y):
            loss = self.train_step(x, y)
            self.running += loss.item()
            self.step_number += 1
            if self.step_number % self.log_every == 0:
                print(f"step {self.step_number}: {self.running / self.log_every:.4f}")
                self.running = 0.0

    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    trainer = Trainer(model, optim.Adam(model.parameters(), lr=0.01))
    return Run(trainer.fit_batch, lambda k: (normal(k, 8, 4), labels(k, 8, 3)), model.state_dict)
