"""Python state that a step keeps: counters, logs, caches, averages, stored outputs."""

from __future__ import annotations

from collections import Counter, defaultdict, deque

import numpy as np

import hybrid as hb
from hybrid import nn, optim
from ordinary import Run, array, labels, normal

F = nn.functional

steps_done = 0
best_loss = None


def global_counter(function):
    weight = hb.tensor(array(0, 4), requires_grad=True)

    @function
    def step(x):
        global steps_done
        steps_done += 1
        loss = ((x * weight) ** 2).sum()
        loss.backward()
        weight.assign(weight.detach() - 0.01 * weight.grad)
        weight.grad = None
        return loss

    return Run(step, lambda k: (normal(k, 4),), lambda: (steps_done, weight))


def attribute_counter(function):
    class Trainer:
        def __init__(self):
            self.model = nn.Linear(4, 2)
            self.optimizer = optim.SGD(self.model.parameters(), lr=0.05)
            self.iteration = 0

        @function
        def step(self, x, y):
            loss = F.cross_entropy(self.model(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.iteration += 1
            return loss

    trainer = Trainer()
    return Run(
        lambda x, y: trainer.step(x, y),
        lambda k: (normal(k, 6, 4), labels(k, 6, 2)),
        lambda: (trainer.iteration, trainer.model.state_dict()),
    )


def nonlocal_counter(function):
    calls = 0
    total = hb.zeros(3)

    @function
    def accumulate(x):
        nonlocal calls, total
        calls += 1
        total = total + x
        return total / 2

    return Run(accumulate, lambda k: (normal(k, 3),), lambda: (calls, total))


def mean_by_counter(function):
    count = 0
    mean = hb.zeros(5)

    @function
    def update(x):
        nonlocal count, mean
        count += 1
        mean = mean + (x - mean) / count
        return mean

    return Run(update, lambda k: (normal(k, 5),), lambda: (count, mean))


def log_of_tensors(function):
    model = nn.Linear(3, 1)
    optimizer = optim.Adam(model.parameters())
    losses = []

    @function
    def step(x, y):
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())

    return Run(step, lambda k: (normal(k, 8, 3), normal(k + 1, 8, 1)), lambda: losses)


def log_of_floats(function):
    model = nn.Linear(3, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    losses = []

    @function
    def step(x, y):
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))

    return Run(step, lambda k: (normal(k, 8, 3), normal(k + 1, 8, 1)), lambda: losses)


def window_deque(function):
    window = deque(maxlen=4)

    @function
    def smooth(x):
        window.append(x * 0.5)
        return hb.stack(list(window)).mean(axis=0)

    return Run(smooth, lambda k: (normal(k, 5),), lambda: list(window))


def dictionary_cache(function):
    cache = {}

    @function
    def encode(x, length):
        if length not in cache:
            cache[length] = hb.sin(hb.arange(length) * 0.1).reshape(length, 1)
        return (x + cache[length]).sum(axis=0)

    return Run(encode, lambda k: (normal(k, 3 + k % 4, 2), 3 + k % 4), lambda: sorted(cache))


def moving_average_attribute(function):
    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.average = hb.zeros(4)
            self.momentum = 0.9

        def forward(self, x):
            self.average = self.momentum * self.average + (1 - self.momentum) * x.mean(axis=0)
            return x - self.average

    norm = Norm()
    forward = function(lambda x: norm(x))
    return Run(forward, lambda k: (normal(k, 6, 4),), lambda: norm.average)


def running_statistics(function):
    class Statistics:
        def __init__(self, size):
            self.count, self.mean, self.square = 0, hb.zeros(size), hb.zeros(size)

        def update(self, x):
            self.count += 1
            delta = x - self.mean
            self.mean = self.mean + delta / self.count
            self.square = self.square + delta * (x - self.mean)

        @property
        def variance(self):
            return self.square / max(self.count - 1, 1)

    statistics = Statistics(4)

    @function
    def normalize(x):
        statistics.update(x)
        return (x - statistics.mean) / (statistics.variance + 1e-5).sqrt()

    return Run(normalize, lambda k: (normal(k, 4),), lambda: vars(statistics))


def stored_output(function):
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.last_hidden = None

        @function
        def forward(self, x):
            hidden = self.layer(x).relu()
            self.last_hidden = hidden.detach()
            return hidden.sum()

    encoder = Encoder()
    return Run(lambda x: encoder(x), lambda k: (normal(k, 3, 4),), lambda: encoder.last_hidden)


def rebuilt_parameters(function):
    parameters = {"w": normal(1, 3, 2), "b": hb.zeros(2)}

    @function
    def step(x, y):
        nonlocal parameters

        def loss_of(p):
            return ((x @ p["w"] + p["b"] - y) ** 2).mean()

        loss, gradients = hb.value_and_grad(loss_of)(parameters)
        parameters = {name: p - 0.1 * gradients[name] for name, p in parameters.items()}
        return loss

    return Run(step, lambda k: (normal(k, 8, 3), normal(k + 1, 8, 2)), lambda: parameters)


def history_of_lists(function):
    model = nn.Linear(4, 3)
    history = defaultdict(list)

    @function
    def evaluate(x, y):
        logits = model(x)
        history["loss"].append(F.cross_entropy(logits, y).detach())
        history["accuracy"].append((logits.argmax(axis=1) == y).mean(dtype=hb.float32))
        return logits

    return Run(evaluate, lambda k: (normal(k, 8, 4), labels(k, 8, 3)), lambda: dict(history))


def seen_shapes(function):
    seen = set()

    @function
    def pool(x):
        seen.add(x.shape)
        return x.max(axis=0) - x.min(axis=0)

    return Run(pool, lambda k: (normal(k, 2 + k % 3, 4),), lambda: sorted(seen))


def every_tenth_step(function):
    class State:
        step = 0
        target = hb.ones(4)
        online = hb.ones(4)

    state = State()

    @function
    def step(x):
        state.online = state.online * 0.95 + x * 0.05
        state.step += 1
        if state.step % 10 == 0:
            state.target = state.online
        return (x - state.target).sum()

    return Run(step, lambda k: (normal(k, 4),), lambda: (state.step, state.target, state.online))


def cleared_buffer(function):
    gradients = []

    @function
    def flush(x):
        gradients.append(x * 0.1)
        gradients.append(x * 0.2)
        total = sum(gradients[1:], gradients[0])
        gradients.clear()
        return total

    return Run(flush, lambda k: (normal(k, 4),), lambda: gradients)


def counted_classes(function):
    counter = Counter()
    model = nn.Linear(4, 3)

    @function
    def classify(x, kind):
        counter[kind] += 1
        return model(x).log_softmax(axis=-1)

    return Run(
        classify, lambda k: (normal(k, 2, 4), ("train", "valid")[k % 3 == 0]), lambda: counter
    )


def ring_of_states(function):
    class Ring:
        def __init__(self, size):
            self.items, self.position = [hb.zeros(3)] * size, 0

        def push(self, item):
            self.items[self.position] = item
            self.position = (self.position + 1) % len(self.items)

    ring = Ring(4)

    @function
    def step(x):
        ring.push(x)
        return hb.stack(ring.items).mean(axis=0)

    return Run(step, lambda k: (normal(k, 3),), lambda: (ring.items, ring.position))


def best_so_far(function):
    @function
    def track(loss):
        global best_loss
        best_loss = loss if best_loss is None else hb.minimum(best_loss, loss)
        return best_loss * 1.0

    return Run(track, lambda k: (normal(k, 1).abs().sum(),), lambda: best_loss)


def epoch_totals(function):
    class Meter:
        def __init__(self):
            self.reset()

        def reset(self):
            self.total, self.count = 0.0, 0

        def add(self, value, n=1):
            self.total = self.total + value * n
            self.count += n

        @property
        def mean(self):
            return self.total / self.count

    meter = Meter()
    model = nn.Linear(5, 1)

    @function
    def evaluate(x, y):
        loss = F.l1_loss(model(x), y).detach()
        meter.add(loss, len(x))
        return loss

    def turn(k, x, y):
        if k % 20 == 0:
            meter.reset()
        evaluate(x, y)
        return meter.mean

    return Run(turn, lambda k: (k, normal(k, 4, 5), normal(k + 1, 4, 1)), lambda: meter.count)


def hidden_state_carried(function):
    cell = nn.LSTMCell(4, 6)
    memory = {"state": (hb.zeros(1, 6), hb.zeros(1, 6))}

    @function
    def listen(x):
        with hb.no_grad():
            memory["state"] = cell(x, memory["state"])
        return memory["state"][0].sum()

    return Run(listen, lambda k: (normal(k, 1, 4),), lambda: memory)


def numpy_bookkeeping(function):
    visits = np.zeros(5, int)

    @function
    def visit(x, cell):
        visits[cell] += 1
        return x * 2 + 1

    return Run(visit, lambda k: (normal(k, 3), k % 5), lambda: visits)
