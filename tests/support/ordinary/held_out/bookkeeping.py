"""What a loop keeps beside its weights: meters, schedules, caches, records."""

from __future__ import annotations

import copy
import math
from collections import defaultdict, deque

import numpy as np
from ordinary import Run, array, labels, normal

import hybrid as hb
from hybrid import nn, optim

F = nn.functional


def precision_and_recall(function):
    class BinaryMetrics:
        def __init__(self):
            self.reset()

        def reset(self):
            self.tp = self.fp = self.fn = self.seen = 0

        def update(self, predicted, target):
            self.tp += int((predicted & target).sum())
            self.fp += int((predicted & ~target).sum())
            self.fn += int((~predicted & target).sum())
            self.seen += len(target)

        @property
        def f1(self):
            denominator = 2 * self.tp + self.fp + self.fn
            return 2 * self.tp / denominator if denominator else 0.0

    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    metrics = BinaryMetrics()

    @function
    def validate(x, y):
        with hb.no_grad():
            probability = model(x).squeeze(-1).sigmoid()
        metrics.update(probability > 0.5, y > 0)
        return metrics.f1

    return Run(validate, lambda k: (normal(k, 32, 8), normal(k + 1, 32)), lambda: vars(metrics))


def stop_and_restore(function):
    class EarlyStopping:
        def __init__(self, patience=10, min_delta=1e-3):
            self.patience, self.min_delta = patience, min_delta
            self.best = math.inf
            self.waited = 0
            self.weights = None
            self.stopped = False

        def __call__(self, loss, model):
            if loss < self.best - self.min_delta:
                self.best = loss
                self.waited = 0
                self.weights = copy.deepcopy(model.state_dict())
            else:
                self.waited += 1
                if self.waited >= self.patience:
                    self.stopped = True
                    model.load_state_dict(self.weights)
                    self.waited = 0
            return self.stopped

    model = nn.Linear(6, 1)
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    stopper = EarlyStopping()
    held_out = normal(1000, 32, 6), normal(1001, 32, 1)

    @function
    def epoch(x, y):
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with hb.no_grad():
            validation = F.mse_loss(model(held_out[0]), held_out[1]).item()
        return loss.item(), stopper(validation, model)

    return Run(
        epoch,
        lambda k: (normal(k, 16, 6), normal(k + 1, 16, 1)),
        lambda: (stopper.best, stopper.waited, stopper.stopped, model.state_dict()),
    )


def warmup_then_cosine(function):
    class Schedule:
        def __init__(self, optimizer, base, warmup, total):
            self.optimizer, self.base, self.warmup, self.total = optimizer, base, warmup, total
            self.count = 0

        def rate(self):
            if self.count < self.warmup:
                return self.base * (self.count + 1) / self.warmup
            progress = (self.count - self.warmup) / max(1, self.total - self.warmup)
            return 0.5 * self.base * (1 + math.cos(math.pi * min(1.0, progress)))

        def step(self):
            self.count += 1
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate()

    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = optim.AdamW(model.parameters(), lr=0.0)
    schedule = Schedule(optimizer, 3e-3, 20, 180)

    @function
    def train_step(x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        return loss.item()

    return Run(
        train_step,
        lambda k: (normal(k, 16, 10), labels(k, 16, 4)),
        lambda: (schedule.count, optimizer.param_groups[0]["lr"], model.state_dict()),
    )


def memoized_gaussian_blur(function):
    kernels = {}

    def kernel(sigma):
        key = round(sigma, 2)
        if key not in kernels:
            radius = int(3 * sigma + 0.5)
            t = np.arange(-radius, radius + 1, dtype=np.float32)
            weights = np.exp(-0.5 * (t / sigma) ** 2)
            kernels[key] = hb.tensor((weights / weights.sum()).reshape(1, 1, -1))
        return kernels[key]

    @function
    def blur(signal, sigma):
        k = kernel(sigma)
        return hb.conv1d(signal, k, padding=k.shape[-1] // 2)

    return Run(
        blur,
        lambda k: (normal(k, 4, 1, 64), (0.5, 1.0, 2.0)[k % 3]),
        lambda: {key: value.shape for key, value in kernels.items()},
    )


def polyak_with_decay_ramp(function):
    class Ema:
        def __init__(self, model, decay=0.99):
            self.decay, self.updates = decay, 0
            self.shadow = {k: v.clone() for k, v in model.state_dict().items()}

        def update(self, model):
            self.updates += 1
            decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
            for name, value in model.state_dict().items():
                self.shadow[name] = decay * self.shadow[name] + (1 - decay) * value

    model = nn.Sequential(nn.Linear(6, 16), nn.SiLU(), nn.Linear(16, 2))
    optimizer = optim.SGD(model.parameters(), lr=0.05)
    ema = Ema(model)

    @function
    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ema.update(model)
        return loss

    return Run(
        step,
        lambda k: (normal(k, 16, 6), labels(k, 16, 2)),
        lambda: (ema.updates, ema.shadow),
    )


def halve_rate_when_rising(function):
    recent = deque(maxlen=10)
    model = nn.Linear(5, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    @function
    def step(x, y):
        loss = ((model(x) - y) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        value = loss.item()
        if len(recent) == recent.maxlen and value > 1.5 * sum(recent) / len(recent):
            for group in optimizer.param_groups:
                group["lr"] = group["lr"] * 0.5
            recent.clear()
        recent.append(value)
        return value

    return Run(
        step,
        lambda k: (normal(k, 12, 5), normal(k + 1, 12, 1)),
        lambda: (list(recent), optimizer.param_groups[0]["lr"], model.state_dict()),
    )


def counts_in_numpy(function):
    confusion = np.zeros((4, 4), dtype=np.int64)
    model = nn.Linear(6, 4)

    @function
    def evaluate(x, y):
        with hb.no_grad():
            predicted = model(x).argmax(axis=1)
        np.add.at(confusion, (y, predicted.numpy()), 1)
        return confusion.diagonal().sum() / confusion.sum()

    return Run(
        evaluate,
        lambda k: (normal(k, 24, 6), np.random.default_rng(k).integers(0, 4, 24)),
        lambda: confusion,
    )


def observation_normalizer(function):
    class RunningMeanStd:
        def __init__(self, shape):
            self.mean = np.zeros(shape)
            self.var = np.ones(shape)
            self.count = 1e-4

        def update(self, x):
            mean, var, count = x.mean(axis=0), x.var(axis=0), x.shape[0]
            delta = mean - self.mean
            total = self.count + count
            self.mean = self.mean + delta * count / total
            m2 = self.var * self.count + var * count + delta**2 * self.count * count / total
            self.var = m2 / total
            self.count = total

    stats = RunningMeanStd((5,))
    policy = nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 2))

    @function
    def act(observations):
        stats.update(observations)
        scaled = (observations - stats.mean) / np.sqrt(stats.var + 1e-8)
        x = hb.tensor(np.clip(scaled, -5, 5).astype(np.float32))
        return policy(x).softmax(axis=-1)

    return Run(act, lambda k: (array(k, 8, 5).astype(np.float64),), lambda: vars(stats))


def norms_by_layer(function):
    model = nn.Sequential(
        nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1)
    )
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    history = defaultdict(list)

    @function
    def step(x, y):
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        for name, parameter in model.named_parameters():
            if name.endswith("weight"):
                history[name].append(parameter.grad.norm().item())
        optimizer.step()
        return loss.item()

    return Run(step, lambda k: (normal(k, 16, 8), normal(k + 1, 16, 1)), lambda: dict(history))
