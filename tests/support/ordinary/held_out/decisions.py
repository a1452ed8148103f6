"""Algorithms that look at tensors to decide what comes next."""

from __future__ import annotations

import math

import numpy as np
from ordinary import Run, array, labels, normal

import hybrid as hb
from hybrid import nn, optim

F = nn.functional


def strong_line_search(function):
    scale = hb.tensor(np.logspace(0, 1, 10).astype("f4"))

    def objective(x):
        return 0.5 * (scale * x * x).sum() + hb.cos(x).sum()

    @function
    def descend(x, iterations=5):
        taken = []
        for _ in range(iterations):
            value, gradient = hb.value_and_grad(objective)(x)
            slope = -(gradient * gradient).sum()
            t = 1.0
            while objective(x - t * gradient) > value + 1e-4 * t * slope and t > 1e-6:
                t *= 0.5
            x = x - t * gradient
            taken.append(t)
        return x, taken

    return Run(descend, lambda k: (normal(k, 10),))


def levenberg_marquardt(function):
    t = hb.linspace(0, 4, 25)

    def residual(p, y):
        return p[0] * hb.exp(-p[1] * t) + p[2] - y

    def jacobian(p):
        decay = hb.exp(-p[1] * t)
        return hb.stack([decay, -p[0] * t * decay, hb.ones_like(t)], axis=1)

    def solve3(a, b):
        # Cramer's rule
        def det(m):
            return (
                m[0, 0] * (m[1, 1] * m[2, 2] - m[1, 2] * m[2, 1])
                - m[0, 1] * (m[1, 0] * m[2, 2] - m[1, 2] * m[2, 0])
                + m[0, 2] * (m[1, 0] * m[2, 1] - m[1, 1] * m[2, 0])
            )

        columns = []
        for i in range(3):
            m = a.clone()
            m[:, i] = b
            columns.append(det(m))
        return hb.stack(columns) / det(a)

    @function
    def fit(p, y):
        damping = 1e-2
        r = residual(p, y)
        cost = (r * r).sum().item()
        for iteration in range(12):
            j = jacobian(p)
            normal_matrix = j.T @ j
            step = solve3(normal_matrix + damping * hb.eye(3), -(j.T @ r))
            trial = p + step
            r_trial = residual(trial, y)
            trial_cost = (r_trial * r_trial).sum().item()
            if trial_cost < cost:
                converged = cost - trial_cost < 1e-6 * cost
                p, r, cost = trial, r_trial, trial_cost
                damping = max(damping / 3, 1e-7)
                if converged:
                    break
            else:
                damping *= 2
        return p, cost, iteration

    def problem(k):
        rng = np.random.default_rng(k)
        a, b, c = rng.uniform(1, 3), rng.uniform(0.5, 1.5), rng.uniform(-0.5, 0.5)
        x = np.linspace(0, 4, 25)
        y = a * np.exp(-b * x) + c + 0.05 * rng.standard_normal(25)
        return hb.tensor([1.0, 1.0, 0.0]), hb.tensor(y.astype("f4"))

    return Run(fit, problem)


def mixture_until_converged(function):
    def log_normal(x, mean, variance):
        return -0.5 * ((x - mean) ** 2 / variance + hb.log(2 * math.pi * variance))

    @function
    def expectation_maximization(x, components=3, tolerance=1e-3):
        mean = hb.linspace(-2, 2, components)
        variance = hb.ones(components)
        weight = hb.full((components,), 1 / components)
        previous = -math.inf
        for iteration in range(40):
            joint = log_normal(x.unsqueeze(1), mean, variance) + hb.log(weight)
            evidence = hb.logsumexp(joint, axis=1, keepdims=True)
            likelihood = evidence.mean().item()
            responsibility = hb.exp(joint - evidence)
            mass = responsibility.sum(axis=0) + 1e-6
            mean = (responsibility * x.unsqueeze(1)).sum(axis=0) / mass
            spread = (x.unsqueeze(1) - mean) ** 2
            variance = (responsibility * spread).sum(axis=0) / mass + 1e-3
            weight = mass / x.shape[0]
            if abs(likelihood - previous) < tolerance:
                break
            previous = likelihood
        return {"mean": mean, "weight": weight, "likelihood": likelihood, "steps": iteration + 1}

    return Run(expectation_maximization, lambda k: (normal(k, 100),))


def spread_out_centers(function):
    @function
    def k_means_plus_plus(points, k=4):
        rng = np.random.default_rng(0)
        centers = [points[int(rng.integers(len(points)))]]
        nearest = ((points - centers[0]) ** 2).sum(axis=1)
        for _ in range(k - 1):
            p = nearest.numpy().astype(np.float64)
            index = int(rng.choice(len(p), p=p / p.sum()))
            centers.append(points[index])
            nearest = hb.minimum(nearest, ((points - centers[-1]) ** 2).sum(axis=1))
        return hb.stack(centers), nearest.sum().item()

    return Run(k_means_plus_plus, lambda k: (normal(k, 50, 3),))


def sinkhorn_plan(function):
    @function
    def transport(cost, epsilon=0.1, max_iterations=60):
        n, m = cost.shape
        a, b = hb.full((n,), 1.0 / n), hb.full((m,), 1.0 / m)
        kernel = hb.exp(-cost / epsilon)
        u, v = hb.ones(n), hb.ones(m)
        for _ in range(max_iterations):
            u = a / (kernel @ v)
            v = b / (kernel.T @ u)
            error = ((u * (kernel @ v)) - a).abs().sum()
            if error < 1e-3:
                break
        plan = u[:, None] * kernel * v[None, :]
        return plan, (plan * cost).sum()

    return Run(transport, lambda k: (normal(k, 12, 10).abs(),))


def scaled_loss_with_skips(function):
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = optim.SGD(model.parameters(), lr=1e-2)

    class GradScaler:
        def __init__(self, scale=2.0**14, growth_interval=20):
            self.scale, self.good, self.growth_interval = scale, 0, growth_interval
            self.skipped = 0

        def step(self, loss):
            (loss * self.scale).backward()
            parameters = list(model.parameters())
            finite = all(bool(hb.isfinite(p.grad).all()) for p in parameters)
            if finite:
                for p in parameters:
                    p.grad = p.grad / self.scale
                optimizer.step()
                self.good += 1
                if self.good == self.growth_interval:
                    self.scale *= 2
                    self.good = 0
            else:
                self.scale /= 2
                self.good = 0
                self.skipped += 1
            optimizer.zero_grad()

    scaler = GradScaler()

    @function
    def step(x, y):
        loss = F.mse_loss(model(x), y)
        scaler.step(loss)
        return loss

    def batch(k):
        x = array(k, 8, 6)
        if k % 37 == 36:
            x[0, 0] = np.inf
        return hb.tensor(x), normal(k + 1, 8, 1)

    return Run(step, batch, lambda: (vars(scaler), model.state_dict()))


def truncated_normal_by_rejection(function):
    @function
    def sample(n, low, high):
        out = hb.randn(n)
        bad = (out < low) | (out > high)
        rounds = 0
        while bad.any():
            out = hb.where(bad, hb.randn(n), out)
            bad = (out < low) | (out > high)
            rounds += 1
        return out, rounds

    return Run(sample, lambda k: (64, -1.0, 1.5))


def golden_section(function):
    ratio = (math.sqrt(5) - 1) / 2

    @function
    def minimize(a, b, target):
        def f(x):
            return (x - target) ** 2 + 0.1 * hb.sin(5 * x)

        c, d = b - ratio * (b - a), a + ratio * (b - a)
        fc, fd = f(c), f(d)
        while abs(b - a) > 1e-2:
            if fc < fd:
                b, d, fd = d, c, fc
                c = b - ratio * (b - a)
                fc = f(c)
            else:
                a, c, fc = c, d, fd
                d = a + ratio * (b - a)
                fd = f(d)
        return (a + b) / 2

    return Run(minimize, lambda k: (hb.tensor(-2.0), hb.tensor(2.0), hb.tensor(math.sin(k) * 1.5)))


def iterative_shrinkage(function):
    design = normal(0, 30, 12)
    step_size = 1.0 / float((design**2).sum())

    def soft(x, threshold):
        return hb.sign(x) * (x.abs() - threshold).maximum(0.0)

    @function
    def lasso(y, penalty=0.5):
        x = hb.zeros(12)
        for iteration in range(100):
            following = soft(x - step_size * (design.T @ (design @ x - y)), step_size * penalty)
            if (following - x).abs().max().item() < 2e-3:
                break
            x = following
        return x, (x != 0).sum().item(), iteration

    return Run(lasso, lambda k: (normal(k + 1, 30),))


def nucleus_sampling(function):
    @function
    def next_token(logits, top_p=0.9, temperature=0.8):
        probabilities = (logits / temperature).softmax(axis=-1).numpy()
        order = np.argsort(-probabilities)
        cumulative = np.cumsum(probabilities[order])
        keep = order[: int(np.searchsorted(cumulative, top_p)) + 1]
        weights = probabilities[keep].astype(np.float64)
        return int(np.random.choice(keep, p=weights / weights.sum()))

    return Run(next_token, lambda k: (normal(k, 40, scale=2.0),))


def clip_by_global_norm(function):
    model = nn.Sequential(nn.Linear(10, 20), nn.Tanh(), nn.Linear(20, 5))
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    clipped = []

    def clip_grad_norm(parameters, max_norm):
        grads = [p.grad for p in parameters if p.grad is not None]
        total = hb.stack([g.norm() for g in grads]).norm()
        coefficient = max_norm / (total + 1e-6)
        if coefficient < 1:
            for p in parameters:
                p.grad = p.grad * coefficient
        return total

    @function
    def step(index, x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        total = clip_grad_norm(list(model.parameters()), 0.6)
        if total > 0.6:
            clipped.append(index)
        optimizer.step()
        return loss.item(), total.item()

    return Run(
        step,
        lambda k: (k, normal(k, 12, 10), labels(k, 12, 5)),
        lambda: (clipped, model.state_dict()),
    )


def deflated_eigenvectors(function):
    @function
    def leading(matrix, count=3):
        values, vectors = [], []
        for _ in range(count):
            v = hb.ones(matrix.shape[0]) / math.sqrt(matrix.shape[0])
            value = hb.tensor(0.0)
            for _ in range(50):
                w = matrix @ v
                new = v @ w
                v = w / w.norm()
                if hb.abs(new - value) < 1e-3:
                    break
                value = new
            values.append(value.item())
            vectors.append(v)
            matrix = matrix - value * hb.outer(v, v)
        return values, hb.stack(vectors, axis=1)

    def symmetric(k):
        a = normal(k, 8, 8)
        return (a @ a.T / 8,)

    return Run(leading, symmetric)
