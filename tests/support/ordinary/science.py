"""Numerical programs: integrators, iterations until convergence, simulations, solvers."""

from __future__ import annotations

import random
from collections import deque

import hybrid as hb
from ordinary import Run, labels, normal


def adaptive_integrator(function):
    def slope(t, y):
        return -2.0 * y + hb.sin(y * t)

    @function
    def integrate(y, end):
        t, step = 0.0, 0.2
        while t < end:
            step = min(step, end - t)
            k1 = slope(t, y)
            k2 = slope(t + step, y + step * k1)
            error = float((step * (k2 - k1) / 2).abs().max())
            if error < 0.05:
                y, t = y + step * (k1 + k2) / 2, t + step
            step = step * min(2.0, max(0.3, 0.9 * (0.05 / (error + 1e-12)) ** 0.5))
        return y

    return Run(integrate, lambda k: (normal(k, 3), 1.0))


def runge_kutta(function):
    @function
    def rk4(y, t, dt):
        def f(t, y):
            return hb.stack([y[1], -y[0] * (1 + 0.1 * t)])

        k1 = f(t, y)
        k2 = f(t + dt / 2, y + dt / 2 * k1)
        k3 = f(t + dt / 2, y + dt / 2 * k2)
        k4 = f(t + dt, y + dt * k3)
        return y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    held = [hb.tensor([1.0, 0.0])]

    def turn(k):
        held[0] = rk4(held[0], 0.05 * k, 0.05)
        return held[0]

    return Run(turn, lambda k: (k,))


def k_means(function):
    points = normal(0, 40, 2)

    @function
    def lloyd(centers):
        distance = ((points.unsqueeze(1) - centers) ** 2).sum(axis=-1)
        nearest = distance.argmin(axis=1)
        members = hb.one_hot(nearest, 3)
        return (members.T @ points) / (members.sum(axis=0).unsqueeze(1) + 1e-6), nearest

    return Run(lambda c: lloyd(lloyd(c)[0]), lambda k: (normal(k + 1, 3, 2),))


def k_means_until_stable(function):
    points = normal(0, 30, 2)

    @function
    def cluster(centers):
        previous = None
        for iteration in range(20):
            nearest = ((points.unsqueeze(1) - centers) ** 2).sum(axis=-1).argmin(axis=1)
            if previous is not None and (nearest == previous).all():
                break
            members = hb.one_hot(nearest, 3)
            centers = (members.T @ points) / (members.sum(axis=0).unsqueeze(1) + 1e-6)
            previous = nearest
        return centers, iteration

    return Run(cluster, lambda k: (normal(k + 1, 3, 2),))


def power_iteration(function):
    @function
    def dominant(matrix, vector):
        value = 0.0
        for _ in range(30):
            product = matrix @ vector
            following = product.norm()
            vector = product / following
            if abs(float(following) - value) < 1e-3:
                break
            value = float(following)
        return following, vector

    def problem(k):
        half = normal(k, 4, 4)
        return half @ half.T, hb.ones(4)

    return Run(dominant, problem)


def newton_method(function):
    def f(x):
        return x**3 - 2 * x - 5

    @function
    def solve(x):
        for _ in range(15):
            value = f(x)
            if value.abs() < 1e-4:
                return x
            x = x - value / (3 * x**2 - 2)
        return x

    return Run(solve, lambda k: (hb.tensor(2.0 + 0.01 * k),))


def page_rank(function):
    links = (normal(0, 8, 8) > 0.5).astype(hb.float32) + 0.01
    matrix = links / links.sum(axis=0)

    @function
    def rank(start, damping=0.85):
        r = start / start.sum()
        for _ in range(10):
            r = damping * (matrix @ r) + (1 - damping) / 8
        return r

    return Run(rank, lambda k: (normal(k, 8).abs(),))


def descent_until_tolerance(function):
    @function
    def minimize(x, target):
        steps = 0
        gradient = 2 * (x - target)
        while gradient.norm() > 0.5 and steps < 50:
            x = x - 0.2 * gradient
            gradient = 2 * (x - target)
            steps += 1
        return x, steps

    return Run(minimize, lambda k: (normal(k, 3), normal(k + 1, 3)))


def kalman_filter(function):
    class Filter:
        def __init__(self):
            self.x, self.p = hb.zeros(2), hb.eye(2)
            self.f = hb.tensor([[1.0, 0.1], [0.0, 1.0]])
            self.h = hb.tensor([[1.0, 0.0]])

        @function
        def update(self, z):
            x, p = self.f @ self.x, self.f @ self.p @ self.f.T + 0.01 * hb.eye(2)
            innovation = z - self.h @ x
            gain = p @ self.h.T / (self.h @ p @ self.h.T + 0.1)
            self.x = x + gain @ innovation
            self.p = (hb.eye(2) - gain @ self.h) @ p
            return self.x

    kalman = Filter()
    return Run(lambda z: kalman.update(z), lambda k: (normal(k, 1),), lambda: vars(kalman))


def jacobi_solver(function):
    matrix = normal(0, 5, 5) * 0.1 + 2 * hb.eye(5)
    diagonal = hb.diagonal(matrix)
    rest = matrix - diagonal * hb.eye(5)

    @function
    def solve(b):
        x = b / diagonal
        for _ in range(8):
            x = (b - rest @ x) / diagonal
        return x, (matrix @ x - b).norm()

    return Run(solve, lambda k: (normal(k, 5),))


def conjugate_gradient(function):
    half = normal(0, 6, 6)
    matrix = half @ half.T + hb.eye(6)

    @function
    def solve(b):
        x, r = hb.zeros(6), b
        p, old = r, r @ r
        for _ in range(6):
            ap = matrix @ p
            alpha = old / (p @ ap)
            x, r = x + alpha * p, r - alpha * ap
            new = r @ r
            if new < 1e-3:
                break
            p, old = r + new / old * p, new
        return x

    return Run(solve, lambda k: (normal(k, 6),))


def mandelbrot(function):
    real = hb.linspace(-2, 0.5, 12).reshape(1, 12)
    imaginary = hb.linspace(-1, 1, 8).reshape(8, 1)

    @function
    def escape_times(zoom):
        cr, ci = real * zoom, imaginary * zoom
        x, y, count = cr * 0 + ci * 0, cr * 0 + ci * 0, hb.zeros(8, 12)
        for _ in range(8):
            x, y = x * x - y * y + cr, 2 * x * y + ci
            count = count + (x * x + y * y < 4)
        return count

    return Run(escape_times, lambda k: (hb.tensor(1.0 / (1 + 0.01 * k)),))


def leapfrog_bodies(function):
    class Bodies:
        position, velocity, time = normal(1, 4, 2), normal(2, 4, 2) * 0.1, 0.0

    bodies = Bodies()

    def forces(position):
        delta = position.unsqueeze(1) - position.unsqueeze(0)
        distance = (delta**2).sum(axis=-1, keepdims=True) + 0.1
        return -(delta / distance**1.5).sum(axis=1)

    @function
    def advance(dt=0.01):
        bodies.velocity = bodies.velocity + dt / 2 * forces(bodies.position)
        bodies.position = bodies.position + dt * bodies.velocity
        bodies.velocity = bodies.velocity + dt / 2 * forces(bodies.position)
        bodies.time += dt
        return bodies.position

    return Run(lambda: advance(), lambda k: (), lambda: vars(bodies))


def game_of_life(function):
    held = {"grid": (normal(0, 12, 12) > 0).astype(hb.float32), "generation": 0}

    @function
    def generation():
        grid = held["grid"]
        around = sum(
            hb.roll(hb.roll(grid, i, axis=0), j, axis=1)
            for i in (-1, 0, 1)
            for j in (-1, 0, 1)
            if (i, j) != (0, 0)
        )
        alive = (around == 3) | ((grid == 1) & (around == 2))
        held["grid"] = alive.astype(hb.float32)
        held["generation"] += 1
        return alive.sum()

    return Run(generation, lambda k: (), lambda: held)


def gaussian_mixture(function):
    data = normal(0, 30)

    @function
    def em_step(means, variances, weights):
        density = hb.exp(-((data.unsqueeze(1) - means) ** 2) / (2 * variances)) / variances.sqrt()
        share = density * weights
        share = share / share.sum(axis=1, keepdims=True)
        count = share.sum(axis=0)
        means = (share * data.unsqueeze(1)).sum(axis=0) / count
        variances = (share * (data.unsqueeze(1) - means) ** 2).sum(axis=0) / count + 1e-3
        return means, variances, count / len(data)

    held = [(hb.tensor([-1.0, 1.0]), hb.ones(2), hb.full((2,), 0.5))]

    def turn(k):
        if k % 30 == 0:
            held[0] = (normal(k, 2), hb.ones(2), hb.full((2,), 0.5))
        held[0] = em_step(*held[0])
        return held[0]

    return Run(turn, lambda k: (k,))


def limited_memory_newton(function):
    pairs = deque(maxlen=3)
    held = {"x": normal(0, 4), "g": None}

    def cost(x):
        return ((x - 1) ** 2 * hb.tensor([1.0, 2.0, 3.0, 4.0])).sum()

    @function
    def direction(gradient):
        q, alphas = gradient, []
        for s, y in reversed(pairs):
            alpha = (s @ q) / (y @ s + 1e-8)
            alphas.append(alpha)
            q = q - alpha * y
        for (s, y), alpha in zip(pairs, reversed(alphas)):
            q = q + s * (alpha - (y @ q) / (y @ s + 1e-8))
        return -q

    def turn(k):
        if k % 40 == 0:
            pairs.clear()
            held["x"] = normal(k, 4)
        gradient = hb.grad(cost)(held["x"])
        following = held["x"] + 0.1 * direction(gradient)
        pairs.append((following - held["x"], hb.grad(cost)(following) - gradient))
        held["x"] = following
        return following

    return Run(turn, lambda k: (k,))


def bisection(function):
    @function
    def root(low, high):
        for _ in range(12):
            middle = (low + high) / 2
            if middle**3 + middle - 1 > 0:
                high = middle
            else:
                low = middle
        return (low + high) / 2

    return Run(root, lambda k: (hb.tensor(0.0 - 0.001 * k), hb.tensor(1.0 + 0.002 * k)))


def heat_equation(function):
    rod = hb.zeros(20)

    @function
    def conduct(left, right):
        rod[0] = left
        rod[-1] = right
        rod[1:-1] = rod[1:-1] + 0.2 * (rod[2:] - 2 * rod[1:-1] + rod[:-2])
        return rod.sum()

    return Run(conduct, lambda k: (normal(k), normal(k + 1)), lambda: rod)


def random_walks(function):
    walkers = [hb.zeros(10)]

    @function
    def walk():
        steps = hb.where(hb.rand(10) < 0.5, -1.0, 1.0)
        walkers[0] = walkers[0] + steps
        return walkers[0].abs().max()

    return Run(walk, lambda k: (), lambda: walkers)


def monte_carlo_pi(function):
    class Estimate:
        inside, total = 0, 0

        @function
        def sample(self):
            x, y = hb.rand(64), hb.rand(64)
            self.inside += int((x**2 + y**2 < 1).sum())
            self.total += 64
            return 4 * self.inside / self.total

    estimate = Estimate()
    return Run(lambda: estimate.sample(), lambda k: (), lambda: vars(estimate))


def simulated_annealing(function):
    weights = normal(0, 10)
    held = {"x": (normal(1, 10) > 0), "temperature": 2.0}
    dice = random.Random(1)

    def energy(x):
        return (weights * x).sum() + ((x.sum() - 5) ** 2).astype(hb.float32)

    @function
    def sweep(flip):
        candidate = hb.logical_xor(held["x"], flip)
        change = (energy(candidate) - energy(held["x"])).item()
        if change < 0 or dice.random() < 2.718281828 ** (-change / held["temperature"]):
            held["x"] = candidate
        held["temperature"] *= 0.98
        return change

    return Run(sweep, lambda k: (hb.arange(10) == k % 10,), lambda: held)


def label_propagation(function):
    adjacency = (normal(0, 9, 9).abs() > 0.8).astype(hb.float32)
    adjacency = adjacency + adjacency.T + hb.eye(9)

    @function
    def propagate(seeds):
        scores = hb.one_hot(seeds, 3)
        for _ in range(10):
            following = adjacency @ scores
            following = following / following.sum(axis=1, keepdims=True)
            if (following - scores).abs().max() < 0.05:
                return following
            scores = following
        return scores

    return Run(propagate, lambda k: (labels(k, 9, 3),))
