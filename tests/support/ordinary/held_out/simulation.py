"""Filters, samplers, integrators and optimisers written by hand."""

from __future__ import annotations

import math

import numpy as np
from ordinary import Run, array, normal

import hybrid as hb


def particle_filter(function):
    class Filter:
        def __init__(self, n=64):
            self.n = n
            self.particles = hb.zeros(n)
            self.weights = hb.full((n,), 1.0 / n)
            self.resampled = 0

        @function
        def step(self, observation):
            self.particles = 0.9 * self.particles + 0.5 * hb.randn(self.n)
            likelihood = hb.exp(-0.5 * ((observation - self.particles) / 0.4) ** 2)
            weights = self.weights * likelihood + 1e-12
            self.weights = weights / weights.sum()
            effective = 1.0 / (self.weights**2).sum()
            estimate = (self.weights * self.particles).sum()
            if effective < self.n / 2:
                positions = (hb.arange(self.n) + np.random.rand()) / self.n
                index = hb.searchsorted(self.weights.cumsum(0), positions).clip(0, self.n - 1)
                self.particles = self.particles[index]
                self.weights = hb.full((self.n,), 1.0 / self.n)
                self.resampled += 1
            return estimate

    held = Filter()
    return Run(
        lambda z: held.step(z),
        lambda k: (hb.tensor(math.sin(k / 5.0)),),
        lambda: (held.particles, held.weights, held.resampled),
    )


def extended_kalman(function):
    state = {"x": hb.tensor([0.0, 0.0, 0.1, 1.0]), "p": hb.eye(4), "rejected": 0}
    q, r = 0.01 * hb.eye(4), hb.tensor([[0.1, 0.0], [0.0, 0.05]])

    def motion(x, dt):
        return hb.stack(
            [
                x[0] + dt * x[3] * hb.cos(x[2]),
                x[1] + dt * x[3] * hb.sin(x[2]),
                x[2],
                x[3],
            ]
        )

    def inverse(m):
        det = m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0]
        return hb.stack([hb.stack([m[1, 1], -m[0, 1]]), hb.stack([-m[1, 0], m[0, 0]])]) / det

    @function
    def track(z, dt=0.1):
        x, p = state["x"], state["p"]
        c, s, v = hb.cos(x[2]), hb.sin(x[2]), x[3]
        f = hb.eye(4)
        f[0, 2], f[0, 3] = -dt * v * s, dt * c
        f[1, 2], f[1, 3] = dt * v * c, dt * s
        x, p = motion(x, dt), f @ p @ f.T + q
        h = hb.eye(4)[:2]
        y = z - h @ x
        gain_inverse = inverse(h @ p @ h.T + r)
        distance = y @ gain_inverse @ y
        if distance > 20:
            state["rejected"] += 1
        else:
            gain = p @ h.T @ gain_inverse
            x, p = x + gain @ y, (hb.eye(4) - gain @ h) @ p
        state["x"], state["p"] = x, p
        return x

    def measurement(k):
        noise = array(k, 2, scale=0.2)
        if k % 31 == 30:
            noise = noise + 40
        return (hb.tensor(np.array([0.1 * k, 0.01 * k], dtype="f4") + noise),)

    return Run(track, measurement, lambda: state)


def hamiltonian_sampler(function):
    precision = hb.tensor([1.0, 4.0, 0.25])

    def potential(q):
        return 0.5 * (precision * q * q).sum() + 0.1 * (q**4).sum()

    gradient = hb.grad(potential)

    @function
    def sample(q, step=0.15, steps=8):
        p = hb.randn(3)
        start = potential(q) + 0.5 * (p * p).sum()
        proposal = q
        p = p - 0.5 * step * gradient(proposal)
        for i in range(steps):
            proposal = proposal + step * p
            if i != steps - 1:
                p = p - step * gradient(proposal)
        p = p - 0.5 * step * gradient(proposal)
        end = potential(proposal) + 0.5 * (p * p).sum()
        if np.log(np.random.rand()) < (start - end).item():
            return proposal, True
        return q, False

    chain = {"q": hb.zeros(3), "accepted": 0}

    def turn():
        chain["q"], accepted = sample(chain["q"])
        chain["accepted"] += accepted
        return chain["q"]

    return Run(turn, lambda k: (), lambda: chain)


def lennard_jones(function):
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 2), axis=-1).reshape(-1, 2)
    box = 4.5

    class System:
        def __init__(self):
            self.x = hb.tensor((grid * 1.5).astype("f4"))
            self.v = normal(4, 9, 2, scale=0.2)
            self.a = hb.zeros(9, 2)
            self.energies = []

    system = System()

    def forces(x):
        d = x[:, None, :] - x[None, :, :]
        d = d - box * hb.round(d / box)
        r2 = (d * d).sum(axis=-1) + 1e6 * hb.eye(9)
        s6 = 1.0 / r2**3
        f = (24 * (2 * s6 * s6 - s6) / r2)[:, :, None] * d
        return f.sum(axis=1).clip(-50, 50), 2 * (s6 * s6 - s6).sum()

    @function
    def verlet(dt=0.005):
        x = (system.x + dt * system.v + 0.5 * dt * dt * system.a) % box
        a, potential = forces(x)
        system.v = system.v + 0.5 * dt * (system.a + a)
        system.x, system.a = x, a
        kinetic = 0.5 * (system.v**2).sum()
        system.energies.append((kinetic + potential).item())
        return kinetic, potential

    return Run(lambda: verlet(), lambda k: (), lambda: vars(system))


def embedded_runge_kutta(function):
    def rhs(t, y, mu):
        return hb.stack([y[1], mu * (1 - y[0] ** 2) * y[1] - y[0]])

    @function
    def solve(y, mu, t_end=1.0, rtol=1e-3, atol=1e-4):
        t, h, evaluations = 0.0, 0.1, 0
        times, states = [t], [y]
        while t < t_end:
            h = min(h, t_end - t)
            k1 = rhs(t, y, mu)
            k2 = rhs(t + h / 2, y + h / 2 * k1, mu)
            k3 = rhs(t + 3 * h / 4, y + 3 * h / 4 * k2, mu)
            new = y + h * (2 / 9 * k1 + 1 / 3 * k2 + 4 / 9 * k3)
            k4 = rhs(t + h, new, mu)
            lower = y + h * (7 / 24 * k1 + 1 / 4 * k2 + 1 / 3 * k3 + 1 / 8 * k4)
            scale = atol + rtol * hb.maximum(y.abs(), new.abs())
            error = float((((new - lower) / scale) ** 2).mean().sqrt())
            evaluations += 4
            if error <= 1.0:
                t, y = t + h, new
                times.append(t)
                states.append(y)
            h *= min(5.0, max(0.2, 0.9 * (error + 1e-10) ** (-1 / 3)))
        return times, hb.stack(states), evaluations

    return Run(solve, lambda k: (normal(k, 2), 1.0 + (k % 3)))


def ising_checkerboard(function):
    board = (np.indices((12, 12)).sum(axis=0) % 2).astype(bool)
    masks = [hb.tensor(board), hb.tensor(~board)]
    lattice = {"spins": hb.where(normal(0, 12, 12) > 0, 1.0, -1.0), "magnetization": []}

    @function
    def sweep(temperature):
        spins = lattice["spins"]
        for mask in masks:
            neighbors = sum(hb.roll(spins, s, axis=a) for s in (1, -1) for a in (0, 1))
            change = 2 * spins * neighbors
            accept = hb.rand(12, 12) < hb.exp(-change / temperature)
            spins = hb.where(mask & accept, -spins, spins)
        lattice["spins"] = spins
        m = spins.mean().abs().item()
        lattice["magnetization"].append(m)
        return m

    return Run(sweep, lambda k: (2.0 + 0.01 * (k % 50),), lambda: lattice)


def optimizers_from_scratch(function):
    class RMSprop:
        def __init__(self, params, lr=1e-2, decay=0.9, eps=1e-8):
            self.params, self.lr, self.decay, self.eps = list(params), lr, decay, eps
            self.square = [hb.zeros_like(p) for p in self.params]

        def step(self):
            for i, p in enumerate(self.params):
                if p.grad is None:
                    continue
                g = p.grad
                self.square[i] = self.decay * self.square[i] + (1 - self.decay) * g * g
                p.assign(p.detach() - self.lr * g / (self.square[i].sqrt() + self.eps))
                p.grad = None

    w1 = hb.tensor(array(1, 6, 16, scale=0.3), requires_grad=True)
    w2 = hb.tensor(array(2, 16, 1, scale=0.3), requires_grad=True)
    optimizer = RMSprop([w1, w2])

    @function
    def train(x, y):
        loss = ((hb.maximum(x @ w1, 0.0) @ w2 - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        return float(loss)

    return Run(
        train,
        lambda k: (normal(k, 20, 6), normal(k + 1, 20, 1)),
        lambda: (w1, w2, optimizer.square),
    )


def fitted_predator_prey(function):
    theta = hb.tensor([0.8, 0.5, 0.4, 0.9], requires_grad=True)

    def field(y, p):
        prey, predator = y[0], y[1]
        return hb.stack(
            [p[0] * prey - p[1] * prey * predator, p[2] * prey * predator - p[3] * predator]
        )

    def trajectory(p, y, steps, dt):
        out = []
        for _ in range(steps):
            k1 = field(y, p)
            k2 = field(y + dt * k1, p)
            y = y + dt * (k1 + k2) / 2
            out.append(y)
        return hb.stack(out)

    @function
    def fit(start, observed):
        loss = ((trajectory(theta, start, 8, 0.1) - observed) ** 2).mean()
        loss.backward()
        with hb.no_grad():
            theta.sub_(0.05 * theta.grad.clip(-1, 1))
            theta.clamp_(0.05, 2.0)
        theta.grad = None
        return loss.item()

    return Run(
        fit, lambda k: (normal(k, 2).abs() + 0.5, normal(k + 1, 8, 2).abs() + 0.5), lambda: theta
    )


def wave_on_a_string(function):
    previous, current = hb.zeros(50), hb.exp(-((hb.arange(50) - 20.0) ** 2) / 10)
    frames = []

    @function
    def advance(courant=0.5):
        nonlocal previous, current
        laplacian = hb.zeros(50)
        laplacian[1:-1] = current[2:] - 2 * current[1:-1] + current[:-2]
        following = 2 * current - previous + courant**2 * laplacian
        following[0] = following[-1] = 0.0
        previous, current = current, following
        if len(frames) < 30:
            frames.append(following.numpy().copy())
        return (following**2).sum()

    return Run(lambda: advance(), lambda k: (), lambda: (previous, current, frames))


def bayesian_regression_gibbs(function):
    x = normal(0, 40, 3)
    true = hb.tensor([1.0, -2.0, 0.5])
    y = x @ true + 0.3 * normal(1, 40)
    chain = {"beta": hb.zeros(3), "sigma2": 1.0, "trace": []}

    @function
    def sweep():
        beta, sigma2 = chain["beta"], chain["sigma2"]
        for j in range(3):
            rest = y - x @ beta + x[:, j] * beta[j]
            precision = (x[:, j] ** 2).sum() / sigma2 + 0.1
            mean = (x[:, j] @ rest) / sigma2 / precision
            draw = mean + hb.randn(()) / precision.sqrt()
            beta = hb.where(hb.arange(3) == j, draw, beta)
        squares = ((y - x @ beta) ** 2).sum().item()
        chain["sigma2"] = (squares / 2 + 1.0) / np.random.gamma(40 / 2 + 1.0)
        chain["beta"] = beta
        chain["trace"].append(chain["sigma2"])
        return beta

    return Run(lambda: sweep(), lambda k: (), lambda: chain)
