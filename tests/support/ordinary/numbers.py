"""Python numbers that change from call to call: rates, temperatures, times, indices, bounds."""

from __future__ import annotations

import math

import hybrid as hb
from hybrid import nn, optim
from ordinary import Run, labels, normal

F = nn.functional

temperature = 5.0


def rate_argument(function):
    weight = hb.tensor(normal(0, 5).numpy(), requires_grad=True)

    @function
    def step(x, rate):
        loss = ((x @ weight) ** 2).mean()
        loss.backward()
        with hb.no_grad():
            weight.assign(weight - rate * weight.grad)
        weight.grad = None
        return loss

    return Run(step, lambda k: (normal(k, 4, 5), 0.1 / (1 + k)), lambda: weight)


def cosine_schedule(function):
    class Cosine:
        def __init__(self, base, total):
            self.base, self.total, self.step = base, total, 0

        def next(self):
            self.step += 1
            return self.base * 0.5 * (1 + math.cos(math.pi * self.step / self.total))

    schedule = Cosine(0.1, 300)
    weights = [normal(0, 3)]

    @function
    def descend(gradient):
        weights[0] = weights[0] - schedule.next() * gradient
        return weights[0]

    return Run(descend, lambda k: (normal(k, 3),), lambda: (schedule.step, weights))


def optimizer_rate_schedule(function):
    model = nn.Linear(4, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    @function
    def step(x, y):
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    def turn(k, x, y):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * 0.97**k
        return step(x, y)

    return Run(turn, lambda k: (k, normal(k, 8, 4), normal(k + 1, 8, 1)), model.state_dict)


def global_temperature(function):
    @function
    def sample(logits):
        return hb.softmax(logits / temperature, axis=-1)

    def turn(logits):
        global temperature
        temperature = max(0.1, temperature * 0.98)
        return sample(logits)

    return Run(turn, lambda k: (normal(k, 3, 6),), lambda: temperature)


def euler_integrator(function):
    @function
    def euler(state, time, step):
        angle, speed = state
        force = -hb.sin(angle) + math.sin(time) * 0.1
        return angle + step * speed, speed + step * force

    held = [(hb.tensor([1.0, 0.5]), hb.zeros(2)), 0.0]

    def turn(k):
        step = 0.01 * (1 + k % 3)
        held[0] = euler(held[0], held[1], step)
        held[1] += step
        return held[0][0]

    return Run(turn, lambda k: (k,), lambda: held)


def ring_index(function):
    memory = hb.zeros(16, 3)

    @function
    def write(position, x):
        memory[position % 16] = x
        return memory.mean(axis=0)

    return Run(write, lambda k: (k, normal(k, 3)), lambda: memory)


def sliding_slice(function):
    signal = normal(0, 400)

    @function
    def window(start):
        part = signal[start : start + 8]
        return (part - part.mean()) / (part.std() + 1e-6)

    return Run(window, lambda k: (k,))


def warmup_rate(function):
    class Trainer:
        step_number = 0
        weight = normal(0, 4)

        @function
        def step(self, gradient):
            self.step_number += 1
            rate = 0.1 * min(1.0, self.step_number / 50)
            self.weight = self.weight - rate * gradient
            return self.weight.norm()

    trainer = Trainer()
    return Run(
        lambda g: trainer.step(g),
        lambda k: (normal(k, 4),),
        lambda: (trainer.step_number, trainer.weight),
    )


def adam_by_hand(function):
    state = {"t": 0, "m": hb.zeros(4), "v": hb.zeros(4), "p": normal(0, 4)}

    @function
    def adam(gradient):
        state["t"] += 1
        state["m"] = 0.9 * state["m"] + 0.1 * gradient
        state["v"] = 0.999 * state["v"] + 0.001 * gradient**2
        mean = state["m"] / (1 - 0.9 ** state["t"])
        square = state["v"] / (1 - 0.999 ** state["t"])
        state["p"] = state["p"] - 0.01 * mean / (square.sqrt() + 1e-8)
        return state["p"]

    return Run(adam, lambda k: (normal(k, 4),), lambda: state)


def bias_correction_argument(function):
    @function
    def corrected(moment, step):
        return moment / (1.0 - 0.99**step)

    return Run(corrected, lambda k: (normal(k, 5), k + 1))


def clamp_bound(function):
    @function
    def clip(x, bound):
        return x.clip(-bound, bound).sum()

    return Run(clip, lambda k: (normal(k, 9), 0.5 + 0.01 * k))


def loss_weight_ramp(function):
    model = nn.Linear(4, 4)
    optimizer = optim.SGD(model.parameters(), lr=0.05)

    @function
    def step(x, ramp):
        y = model(x)
        loss = F.mse_loss(y, x) + ramp * y.abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Run(step, lambda k: (normal(k, 6, 4), min(1.0, k / 100)), model.state_dict)


def momentum_in_dictionary(function):
    config = {"momentum": 0.5, "velocity": hb.zeros(3)}

    @function
    def push(gradient):
        config["velocity"] = config["momentum"] * config["velocity"] + gradient
        return config["velocity"]

    def turn(gradient):
        config["momentum"] = min(0.99, config["momentum"] + 0.005)
        return push(gradient)

    return Run(turn, lambda k: (normal(k, 3),), lambda: config)


def dropout_ramp(function):
    @function
    def forward(x, probability):
        return F.dropout(x, probability) * 2

    return Run(forward, lambda k: (normal(k, 4, 8), 0.1 + 0.002 * k))


def number_of_steps(function):
    @function
    def diffuse(x, steps):
        for _ in range(steps):
            x = 0.5 * x + 0.25 * (hb.roll(x, 1, axis=0) + hb.roll(x, -1, axis=0))
        return x

    return Run(diffuse, lambda k: (normal(k, 12), 1 + k % 4))


def closure_number(function):
    beta = 0.0

    @function
    def blend(a, b):
        return (1 - beta) * a + beta * b

    def turn(a, b):
        nonlocal beta
        beta = beta + 0.004
        return blend(a, b)

    return Run(turn, lambda k: (normal(k, 5), normal(k + 1, 5)), lambda: beta)


def noise_level_index(function):
    betas = [0.0001 + 0.0199 * j / 219 for j in range(220)]
    alphas = []
    product = 1.0
    for beta in betas:
        product *= 1 - beta
        alphas.append(product)
    model = nn.Linear(6, 6)

    @function
    def diffusion_loss(x, noise, t):
        signal = math.sqrt(alphas[t]) * x + math.sqrt(1 - alphas[t]) * noise
        return F.mse_loss(model(signal), noise)

    return Run(diffusion_loss, lambda k: (normal(k, 4, 6), normal(k + 1, 4, 6), (k * 37) % 220))


def scale_by_length(function):
    @function
    def mean(values, length):
        return values.sum(axis=0) / length

    return Run(mean, lambda k: (normal(k, 6, 2), 1 + k % 6))


def layer_by_index(function):
    layers = nn.ModuleList([nn.Linear(5, 5) for _ in range(3)])

    @function
    def run_layer(x, index):
        return layers[index](x).relu()

    return Run(run_layer, lambda k: (normal(k, 2, 5), k % 3))


def epsilon_greedy(function):
    value = nn.Linear(4, 3)

    @function
    def probabilities(state, epsilon):
        best = F.one_hot(value(state).argmax(axis=-1), 3)
        return best * (1 - epsilon) + epsilon / 3

    return Run(probabilities, lambda k: (normal(k, 2, 4), max(0.05, 1.0 - k / 150)))


def teacher_forcing_share(function):
    table, out = nn.Embedding(12, 6), nn.Linear(6, 12)

    @function
    def loss(ids, share):
        logits = out(table(ids[:-1]))
        mixed = share * F.cross_entropy(logits, ids[1:])
        return mixed + (1 - share) * logits.logsumexp(axis=-1).mean()

    return Run(loss, lambda k: (labels(k, 7, 12), 1.0 - k / 250))


def timeout_integer(function):
    @function
    def discount(rewards, horizon, gamma=0.95):
        weights = hb.pow(gamma, hb.arange(8, dtype=hb.float32))
        return (rewards * weights).sum() + gamma**horizon

    return Run(discount, lambda k: (normal(k, 8), 5 + k % 50))
