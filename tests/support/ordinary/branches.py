"""Branches on tensors: if, while, break, guards, accept and reject, line search."""

from __future__ import annotations

import math

import hybrid as hb
from hybrid import nn, optim
from ordinary import Run, labels, normal

F = nn.functional


def if_on_loss(function):
    model = nn.Linear(4, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.05)

    @function
    def step(x, y):
        loss = F.mse_loss(model(x), y)
        if loss > 1.0:
            loss = loss.sqrt()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Run(step, lambda k: (normal(k, 8, 4), normal(k + 1, 8, 1)), model.state_dict)


def if_else_sign(function):
    @function
    def rectify(x):
        if x.sum() > 0:
            return x * 2
        else:
            return -x

    return Run(rectify, lambda k: (normal(k, 5),))


def rare_branch(function):
    @function
    def guarded(x):
        y = hb.tanh(x)
        if y.abs().max() > 0.9995:
            y = y * 0.5
        return y

    return Run(guarded, lambda k: (normal(k, 6, scale=4.0 if k % 50 == 49 else 0.8),))


def while_large(function):
    @function
    def shrink(x):
        while x.norm() > 1.0:
            x = x * 0.7
        return x

    return Run(shrink, lambda k: (normal(k, 4, scale=1 + k % 5),))


def for_with_break(function):
    @function
    def iterate(x):
        for _ in range(20):
            update = x - hb.cos(x)
            x = x - 0.5 * update
            if update.abs().max() < 1e-2:
                break
        return x

    return Run(iterate, lambda k: (normal(k, 3),))


def and_or_not(function):
    @function
    def route(x, y):
        if (x.mean() > 0 and y.mean() > 0) or not x.max() < 2:
            return x + y
        return x - y

    return Run(route, lambda k: (normal(k, 4), normal(k + 1, 4)))


def builtin_max(function):
    @function
    def worst(a, b):
        return max(F.l1_loss(a, b), F.mse_loss(a, b)) + min(a.mean(), b.mean())

    return Run(worst, lambda k: (normal(k, 5), normal(k + 1, 5)))


def chained_comparison(function):
    @function
    def trust(ratio, radius):
        if 0.25 < ratio < 0.75:
            return radius
        return radius * 0.25 if ratio <= 0.25 else radius * 2

    return Run(trust, lambda k: (normal(k).abs(), normal(k + 1, 1).abs()))


def early_return(function):
    @function
    def project(x):
        size = x.norm()
        if size <= 1:
            return x
        x = x / size
        return x

    return Run(project, lambda k: (normal(k, 3, scale=0.6),))


def continue_in_loop(function):
    layers = [nn.Linear(4, 4) for _ in range(4)]

    @function
    def forward(x):
        used = 0
        for layer in layers:
            y = layer(x)
            if y.mean() < 0:
                continue
            x = x + y
            used += 1
        return x, used

    return Run(forward, lambda k: (normal(k, 2, 4),))


def caught_overflow(function):
    @function
    def safe(x):
        try:
            if not hb.isfinite(hb.exp(x)).all():
                raise OverflowError("too large")
            return hb.exp(x)
        except OverflowError:
            return x * 0 + 1e30

    return Run(safe, lambda k: (normal(k, 4, scale=100.0 if k % 9 == 8 else 1.0),))


def assert_finite(function):
    layer = nn.Linear(5, 5)

    @function
    def forward(x):
        y = layer(x).softmax(axis=-1)
        assert hb.isfinite(y).all(), "not finite"
        return y

    return Run(forward, lambda k: (normal(k, 3, 5),))


def skip_bad_batches(function):
    model = nn.Linear(4, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.05)

    @function
    def step(x, y):
        loss = F.mse_loss(model(x), y)
        if hb.isnan(loss):
            return None
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    def batch(k):
        x = normal(k, 8, 4)
        return x * math.nan if k % 20 == 19 else x, normal(k + 1, 8, 1)

    return Run(step, batch, model.state_dict)


def dynamic_loss_scale(function):
    weight = hb.tensor(normal(0, 4).numpy(), requires_grad=True)
    scaler = {"scale": 1024.0, "good": 0}

    @function
    def step(x):
        loss = ((x * weight).sum() ** 2) * scaler["scale"]
        loss.backward()
        gradient = weight.grad
        weight.grad = None
        if hb.isfinite(gradient).all():
            weight.assign(weight.detach() - 0.001 * gradient / scaler["scale"])
            scaler["good"] += 1
            if scaler["good"] % 40 == 0:
                scaler["scale"] *= 2
        else:
            scaler["scale"] /= 2
            scaler["good"] = 0
        return loss

    def batch(k):
        return (normal(k, 4, scale=1e30 if k % 60 == 59 else 1.0),)

    return Run(step, batch, lambda: (weight, scaler))


def metropolis(function):
    held = {"x": hb.zeros(2), "accepted": 0}

    def energy(x):
        return (x**2).sum() / 2

    @function
    def propose(noise, level):
        candidate = held["x"] + noise
        if energy(held["x"]) - energy(candidate) > level:
            held["x"] = candidate
            held["accepted"] += 1
        return held["x"]

    return Run(propose, lambda k: (normal(k, 2), hb.log(normal(k + 1).abs() + 1e-3)), lambda: held)


def backtracking_search(function):
    target = normal(9, 4)

    def cost(x):
        return ((x - target) ** 4).sum() + (x**2).sum()

    @function
    def search(x):
        value, gradient = hb.value_and_grad(cost)(x)
        size = 1.0
        while cost(x - size * gradient) > value - 0.1 * size * (gradient**2).sum():
            size *= 0.5
            if size < 1e-6:
                break
        return x - size * gradient

    return Run(search, lambda k: (normal(k, 4),))


def clipped_gradients(function):
    model = nn.Linear(6, 2)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    @function
    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        total = sum((p.grad**2).sum() for p in model.parameters()).sqrt()
        if total > 1.0:
            for p in model.parameters():
                p.grad = p.grad / total
        optimizer.step()
        return loss

    return Run(
        step, lambda k: (normal(k, 8, 6, scale=1 + k % 3), labels(k, 8, 2)), model.state_dict
    )


def none_on_one_path(function):
    @function
    def detect(x):
        peak = x.max()
        return x.argmax() if peak > 1.5 else None

    return Run(detect, lambda k: (normal(k, 8),))


def elif_ladder(function):
    @function
    def schedule(error):
        if error < 0.1:
            gain = error * 0
        elif error < 0.5:
            gain = error * 0.5
        elif error < 1.0:
            gain = error
        else:
            gain = hb.sqrt(error)
        return gain + 1

    return Run(schedule, lambda k: (normal(k).abs(),))


def any_all_guards(function):
    @function
    def sanitize(x):
        if (x < -2).any():
            x = hb.maximum(x, -2.0)
        if (x > 0).all():
            x = x - 1
        return x

    return Run(sanitize, lambda k: (normal(k, 6),))


def comparison_in_comprehension(function):
    heads = [nn.Linear(3, 1) for _ in range(3)]

    @function
    def vote(x):
        positive = [head for head in heads if head(x).sum() > 0]
        return sum((head(x) for head in positive), hb.zeros(2, 1)), len(positive)

    return Run(vote, lambda k: (normal(k, 2, 3),))


def plateau_detector(function):
    held = {"best": hb.tensor(1e9), "bad": 0, "rate": 0.1}

    @function
    def observe(loss):
        if loss < held["best"]:
            held["best"], held["bad"] = loss, 0
        else:
            held["bad"] += 1
            if held["bad"] > 5:
                held["rate"], held["bad"] = held["rate"] * 0.5, 0
        return loss * held["rate"]

    return Run(observe, lambda k: (normal(k).abs() + 20 / (k + 1),), lambda: held)


def bounded_while_with_counter(function):
    @function
    def collatz_like(x):
        steps = 0
        while (x > 0.1).any() and steps < 12:
            x = hb.where(x > 0.1, x * 0.6, x)
            steps += 1
        return x, steps

    return Run(collatz_like, lambda k: (normal(k, 5).abs(),))


def truth_of_mask(function):
    @function
    def masked(x, mask):
        if not mask.any():
            return x.mean()
        return (x * mask).sum() / mask.sum()

    return Run(masked, lambda k: (normal(k, 5), normal(k + 1, 5) > (3 if k % 4 == 0 else 0)))
