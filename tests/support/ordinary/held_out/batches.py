"""Steps fed from NumPy: images, records, tables, series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ordinary import Run, array

import hybrid as hb
from hybrid import nn, optim

F = nn.functional

MEAN = np.array([0.49, 0.48, 0.45], dtype=np.float32)
STD = np.array([0.25, 0.24, 0.26], dtype=np.float32)


def byte_images(function):
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 8 * 8, 10),
    )
    optimizer = optim.Adam(model.parameters(), lr=1e-3)

    @function
    def train_batch(images, targets):
        pixels = (images.astype(np.float32) / 255.0 - MEAN) / STD
        x = hb.tensor(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
        logits = model(x)
        loss = F.cross_entropy(logits, hb.tensor(targets))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        accuracy = float((logits.argmax(axis=1) == hb.tensor(targets)).float().mean())
        return loss.item(), accuracy

    def batch(k):
        rng = np.random.default_rng(k)
        return rng.integers(0, 256, (8, 16, 16, 3), dtype=np.uint8), rng.integers(0, 10, 8)

    return Run(train_batch, batch, model.state_dict)


def dataclass_of_arrays(function):
    @dataclass
    class Batch:
        inputs: np.ndarray
        targets: np.ndarray
        mask: np.ndarray

        def __len__(self):
            return len(self.inputs)

        def tensors(self):
            return hb.tensor(self.inputs), hb.tensor(self.targets), hb.tensor(self.mask)

    model = nn.Sequential(nn.Linear(12, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)

    @function
    def fit(batch):
        x, y, mask = batch.tensors()
        error = (model(x).squeeze(-1) - y) ** 2
        loss = (error * mask).sum() / mask.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss.item(), "n": len(batch)}

    def batch(k):
        mask = (array(k + 2, 16) > -0.5).astype(np.float32)
        return (Batch(array(k, 16, 12), array(k + 1, 16), mask),)

    return Run(fit, batch, model.state_dict)


class Experience(NamedTuple):
    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    next_observation: np.ndarray
    done: np.ndarray


def double_q_targets(function):
    online = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 3))
    target = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 3))
    target.load_state_dict(online.state_dict())
    optimizer = optim.Adam(online.parameters(), lr=1e-3)

    @function
    def update(batch):
        observation, action, reward, following, done = (hb.tensor(part) for part in batch)
        q = online(observation).gather(1, action.unsqueeze(1)).squeeze(1)
        with hb.no_grad():
            best = online(following).argmax(axis=1)
            future = target(following).gather(1, best.unsqueeze(1)).squeeze(1)
            goal = reward + 0.99 * future * (1.0 - done)
        loss = F.smooth_l1_loss(q, goal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item(), (q - goal).detach().abs().numpy()

    def batch(k):
        rng = np.random.default_rng(k)
        return (
            Experience(
                array(k, 32, 6),
                rng.integers(0, 3, 32),
                array(k + 1, 32),
                array(k + 2, 32, 6),
                (rng.random(32) < 0.1).astype(np.float32),
            ),
        )

    return Run(update, batch, online.state_dict)


def collated_samples(function):
    encoder = nn.Linear(10, 4)

    def collate(samples):
        keys = samples[0].keys()
        return {key: hb.tensor(np.stack([s[key] for s in samples])) for key in keys}

    @function
    def evaluate(samples):
        batch = collate(samples)
        logits = encoder(batch["features"])
        correct = (logits.argmax(axis=1) == batch["label"]).sum()
        return F.cross_entropy(logits, batch["label"]), correct.item() / len(samples)

    def samples(k):
        rng = np.random.default_rng(k)
        return (
            [
                {"features": array(100 * k + i, 10), "label": np.int64(rng.integers(4))}
                for i in range(8)
            ],
        )

    return Run(evaluate, samples)


def columns_of_a_table(function):
    embeddings = nn.ModuleDict({"city": nn.Embedding(20, 4), "device": nn.Embedding(5, 2)})
    head = nn.Sequential(nn.Linear(2 + 4 + 2, 16), nn.ReLU(), nn.Linear(16, 1))
    parameters = [*embeddings.parameters(), *head.parameters()]
    optimizer = optim.SGD(parameters, lr=0.05, momentum=0.9)

    def standardize(column):
        return (column - column.mean()) / (column.std() + 1e-6)

    @function
    def click_step(frame):
        numeric = np.stack([standardize(frame["age"]), np.log1p(frame["visits"])], axis=1)
        columns = [hb.tensor(numeric.astype(np.float32))]
        for name, table in embeddings.items():
            columns.append(table(hb.tensor(frame[name])))
        logit = head(hb.concat(columns, axis=1)).squeeze(1)
        loss = F.binary_cross_entropy_with_logits(logit, hb.tensor(frame["clicked"]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    def frame(k):
        rng = np.random.default_rng(k)
        return (
            {
                "age": rng.uniform(18, 80, 64),
                "visits": rng.poisson(3, 64).astype(np.float64),
                "city": rng.integers(0, 20, 64),
                "device": rng.integers(0, 5, 64),
                "clicked": (rng.random(64) < 0.3).astype(np.float32),
            },
        )

    return Run(click_step, frame, head.state_dict)


def smoothed_one_hot(function):
    weight = hb.tensor(array(3, 20, 5, scale=0.1), requires_grad=True)
    bias = hb.zeros(5, requires_grad=True)

    @function
    def softmax_regression(x, y, smoothing=0.1):
        target = np.eye(5, dtype=np.float32)[y]
        target = target * (1 - smoothing) + smoothing / 5
        log_p = (hb.tensor(x) @ weight + bias).log_softmax(axis=-1)
        loss = -(hb.tensor(target) * log_p).sum(axis=-1).mean()
        loss.backward()
        with hb.no_grad():
            for p in (weight, bias):
                p -= 0.1 * p.grad
                p.grad = None
        return loss.item()

    def batch(k):
        return array(k, 32, 20), np.random.default_rng(k).integers(0, 5, 32)

    return Run(softmax_regression, batch, lambda: (weight, bias))


def windows_of_a_series(function):
    model = nn.Sequential(nn.Linear(24, 32), nn.GELU(), nn.Linear(32, 6))
    optimizer = optim.Adam(model.parameters(), lr=1e-3)

    @function
    def forecast_step(series):
        windows = np.lib.stride_tricks.sliding_window_view(series, 30)[::4]
        past, future = hb.tensor(windows[:, :24].copy()), hb.tensor(windows[:, 24:].copy())
        level = past.mean(axis=1, keepdims=True)
        prediction = model(past - level) + level
        loss = (prediction - future).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    def series(k):
        t = np.arange(k, k + 120)
        return ((np.sin(t / 6) + 0.1 * array(k, 120)).astype(np.float32),)

    return Run(forecast_step, series, model.state_dict)
