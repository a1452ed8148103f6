"""States and settings with numbers in them that go into a step and come out of it changed."""

from __future__ import annotations

import dataclasses
import random
from types import SimpleNamespace
from typing import Any, NamedTuple

from ordinary import Run, normal

import hybrid as hb


def _batch(k):
    return normal(k, 16, 4), normal(k + 1, 16, 1)


def _loss(params, x, y):
    return hb.mean((hb.tanh(x @ params["w"]) @ params["v"] - y) ** 2)


def _parameters():
    return {"w": normal(1, 4, 8, scale=0.4), "v": normal(2, 8, 1, scale=0.4)}


def train_state_dataclass(function):
    @dataclasses.dataclass(frozen=True)
    class TrainState:
        step: int
        params: Any
        momentum: Any

        def apply_gradients(self, grads, rate):
            momentum = {n: 0.9 * self.momentum[n] + g for n, g in grads.items()}
            params = {n: p - rate * momentum[n] for n, p in self.params.items()}
            return dataclasses.replace(self, step=self.step + 1, params=params, momentum=momentum)

    params = _parameters()
    zeros = {n: hb.zeros_like(p) for n, p in params.items()}
    held = {"state": TrainState(0, params, zeros)}

    @function
    def train_step(state, x, y):
        loss, grads = hb.value_and_grad(_loss)(state.params, x, y)
        return state.apply_gradients(grads, 0.1 / (1 + 0.01 * state.step)), loss

    def turn(x, y):
        held["state"], loss = train_step(held["state"], x, y)
        return loss.item()

    return Run(turn, _batch, lambda: vars(held["state"]))


def named_tuple_optimizer(function):
    class AdamState(NamedTuple):
        count: int
        mu: Any
        nu: Any

    def update(grads, state):
        count = state.count + 1
        mu = {n: 0.9 * state.mu[n] + 0.1 * g for n, g in grads.items()}
        nu = {n: 0.99 * state.nu[n] + 0.01 * g * g for n, g in grads.items()}
        scale, second = 1 - 0.9**count, 1 - 0.99**count
        updates = {n: -0.01 * (mu[n] / scale) / ((nu[n] / second).sqrt() + 1e-8) for n in mu}
        return updates, AdamState(count=count, mu=mu, nu=nu)

    params = _parameters()
    zeros = {n: hb.zeros_like(p) for n, p in params.items()}
    held = {"params": params, "state": AdamState(0, zeros, dict(zeros))}

    @function
    def step(params, state, x, y):
        loss, grads = hb.value_and_grad(_loss)(params, x, y)
        updates, state = update(grads, state)
        return {n: p + updates[n] for n, p in params.items()}, state, loss

    def turn(x, y):
        held["params"], held["state"], loss = step(held["params"], held["state"], x, y)
        return float(loss)

    return Run(turn, _batch, lambda: (held["params"], tuple(held["state"])))


def config_with_rates(function):
    w = normal(3, 4, 1)

    @function
    def step(x, y, cfg):
        loss = hb.mean((x @ w - y) ** 2) + cfg["decay"] * (w * w).sum()
        return loss * cfg["loss"]["scale"] + cfg["loss"]["margin"]

    def arguments(k):
        cfg = {"decay": 1e-3 * k, "loss": {"scale": 1.0 + 0.1 * k, "margin": 0.5}}
        return *_batch(k), cfg

    return Run(step, arguments)


def decayed_rate_of_settings(function):
    held = {"w": normal(4, 4, 1)}

    @function
    def step(w, x, y, hp):
        rate = hp["lr"] * hp["decay"] ** hp["step"]
        grad = x.T @ (x @ w - y) / x.shape[0]
        return w - rate * grad, rate

    def turn(x, y, hp):
        held["w"], rate = step(held["w"], x, y, hp)
        return rate

    return Run(
        turn, lambda k: (*_batch(k), {"lr": 0.1, "decay": 0.97, "step": k}), lambda: held["w"]
    )


def integrator_carry(function):
    held = {"carry": (normal(5, 6), 0.0)}

    @function
    def advance(carry, dt):
        x, t = carry
        k1 = hb.sin(x) * (1 + t)
        k2 = hb.sin(x + dt * k1 / 2) * (1 + t + dt / 2)
        return (x + dt * k2, t + dt)

    def turn(dt):
        held["carry"] = advance(held["carry"], dt)
        return held["carry"][1]

    return Run(turn, lambda k: (0.01 * (1 + k % 3),), lambda: held["carry"])


def weighted_terms(function):
    @function
    def total(terms):
        loss = hb.zeros(())
        for value, weight in terms:
            loss = loss + weight * (value * value).mean()
        return loss

    return Run(total, lambda k: ([(normal(k, 5), 0.1 * k), (normal(k + 1, 3), 1 / (k + 1))],))


def namespace_of_settings(function):
    w = normal(6, 4, 3)

    @function
    def forward(x, cfg):
        h = x @ w / cfg.temperature
        return hb.clip(h, -cfg.bound, cfg.bound) * cfg.gain.value

    def arguments(k):
        gain = SimpleNamespace(value=1.0 + 0.05 * k)
        return normal(k, 8, 4), SimpleNamespace(temperature=1 + 0.1 * k, bound=2.0, gain=gain)

    return Run(forward, arguments)


def transitions_with_rewards(function):
    class Transition(NamedTuple):
        state: Any
        reward: float
        done: bool

    w = normal(7, 4, 1)

    @function
    def targets(batch, discount):
        values = []
        for transition in batch:
            value = hb.tanh(transition.state @ w).sum()
            value = value * 0.0 if transition.done else value
            values.append(transition.reward + discount * value)
        return hb.stack(values)

    def arguments(k):
        pick = random.Random(k)
        made = [Transition(normal(4 * k + j, 4), pick.uniform(-1, 1), j == 3) for j in range(4)]
        return made, 0.9

    return Run(targets, arguments)


def replaced_named_tuple(function):
    class Average(NamedTuple):
        count: int
        mean: Any

    held = {"average": Average(0, hb.zeros(5))}

    @function
    def observe(average, x):
        count = average.count + 1
        return average._replace(count=count, mean=average.mean + (x - average.mean) / count)

    def turn(x):
        held["average"] = observe(held["average"], x)
        return held["average"].count

    return Run(turn, lambda k: (normal(k, 5),), lambda: tuple(held["average"]))


def scaled_loss_state(function):
    @function
    def step(scaler, x):
        loss = (x * x).mean() * scaler["scale"]
        return {**scaler, "seen": scaler["seen"] + 1, "scale": scaler["scale"] * 1.01}, loss

    held = {"scaler": {"scale": 8.0, "growth": 1.01, "seen": 0}}

    def turn(x):
        held["scaler"], loss = step(held["scaler"], x)
        return loss.item()

    return Run(turn, lambda k: (normal(k, 6),), lambda: held["scaler"])
