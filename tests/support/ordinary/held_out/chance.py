"""Random numbers, augmentation, prints, logs and clocks around a step."""

from __future__ import annotations

import csv
import io
import logging
import random
import time

import numpy as np
from ordinary import Run, array, labels, normal
from tqdm import trange

import hybrid as hb
from hybrid import nn, optim

F = nn.functional
logger = logging.getLogger("experiment")


def mixed_with_beta(function):
    model = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 4))
    optimizer = optim.SGD(model.parameters(), lr=0.05)

    @function
    def step(x, y, alpha=0.4):
        lam = np.random.beta(alpha, alpha)
        order = np.random.permutation(len(x))
        mixed = hb.tensor((lam * x + (1 - lam) * x[order]).astype(np.float32))
        logits = model(mixed)
        loss = lam * F.cross_entropy(logits, hb.tensor(y))
        loss = loss + (1 - lam) * F.cross_entropy(logits, hb.tensor(y[order]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    def batch(k):
        return array(k, 16, 12), np.random.default_rng(k).integers(0, 4, 16)

    return Run(step, batch, model.state_dict)


def cutout_squares(function):
    layer = nn.Conv2d(1, 4, 3)

    @function
    def forward(images, size=5):
        images = images.copy()
        height, width = images.shape[2:]
        for image in images:
            top = np.random.randint(0, height - size)
            left = np.random.randint(0, width - size)
            image[:, top : top + size, left : left + size] = 0.0
        return layer(hb.tensor(images)).relu().mean(axis=(2, 3))

    return Run(forward, lambda k: (array(k, 6, 1, 16, 16),))


def flip_and_jitter(function):
    @function
    def augment(images):
        if random.random() < 0.5:
            images = hb.flip(images, axis=-1)
        dy, dx = random.randint(-2, 2), random.randint(-2, 2)
        images = hb.roll(hb.roll(images, dy, axis=-2), dx, axis=-1)
        brightness = random.uniform(0.8, 1.2)
        return (images * brightness + 0.05 * hb.randn_like(images)).clip(0.0, 1.0)

    return Run(augment, lambda k: (normal(k, 4, 3, 12, 12).abs(),))


def epoch_in_random_order(function):
    data, targets = array(5, 60, 8), array(6, 60, 1)
    model = nn.Linear(8, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.01)

    @function
    def epoch(batch_size=20):
        total = 0.0
        order = np.random.permutation(len(data))
        for start in range(0, len(data), batch_size):
            rows = order[start : start + batch_size]
            loss = F.mse_loss(model(hb.tensor(data[rows])), hb.tensor(targets[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        return total / len(data)

    return Run(lambda: epoch(), lambda k: (), model.state_dict)


def logged_every_few_steps(function):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    log = logging.Logger("run", level=logging.INFO)
    log.addHandler(handler)
    model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))
    optimizer = optim.Adam(model.parameters(), lr=0.01)

    @function
    def step(index, x, y):
        logits = model(x)
        loss = F.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if index % 5 == 0:
            accuracy = (logits.argmax(axis=1) == y).float().mean().item()
            log.info("step %d | loss %.4f | acc %5.1f%%", index, loss.item(), 100 * accuracy)
        if not np.isfinite(loss.item()):
            log.warning("loss is not finite at step %d", index)
        return loss

    return Run(step, lambda k: (k, normal(k, 16, 6), labels(k, 16, 3)), lambda: stream.getvalue())


def rows_of_metrics(function):
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=["step", "loss", "grad_norm", "lr"])
    writer.writeheader()
    model = nn.Linear(5, 2)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    @function
    def step(number, x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        norm = hb.sqrt(sum((p.grad**2).sum() for p in model.parameters()))
        optimizer.step()
        writer.writerow(
            {
                "step": number,
                "loss": round(loss.item(), 5),
                "grad_norm": f"{norm.item():.3f}",
                "lr": optimizer.param_groups[0]["lr"],
            }
        )
        return loss

    return Run(step, lambda k: (k, normal(k, 8, 5), labels(k, 8, 2)), lambda: out.getvalue())


def examples_per_second(function):
    class Throughput:
        def __init__(self):
            self.seconds, self.examples = 0.0, 0

        def __enter__(self):
            self.started = time.perf_counter()
            return self

        def __exit__(self, *exc):
            self.seconds += time.perf_counter() - self.started

    meter = Throughput()
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 8))

    @function
    def infer(x):
        with meter, hb.no_grad():
            y = model(x)
            meter.examples += x.shape[0]
        return y

    return Run(infer, lambda k: (normal(k, 16, 8),), lambda: meter.examples)


def dropped_words(function):
    table = nn.Embedding(50, 8)
    head = nn.Linear(8, 2)
    unknown = 0

    @function
    def classify(tokens, rate=0.15):
        kept = [unknown if random.random() < rate else token for token in tokens]
        vectors = table(hb.tensor(kept))
        return head(vectors.mean(axis=0)).log_softmax(axis=-1)

    return Run(classify, lambda k: (np.random.default_rng(k).integers(1, 50, 12).tolist(),))


def negative_samples(function):
    vocabulary, size = 40, 16
    inner = nn.Embedding(vocabulary, size)
    outer = nn.Embedding(vocabulary, size)
    frequency = 1.0 / np.arange(1, vocabulary + 1)
    frequency = frequency**0.75 / (frequency**0.75).sum()
    optimizer = optim.SGD([*inner.parameters(), *outer.parameters()], lr=0.2)

    @function
    def skip_gram(center, context):
        negatives = np.random.choice(vocabulary, size=(len(center), 5), p=frequency)
        v = inner(hb.tensor(center))
        positive = F.log_sigmoid((v * outer(hb.tensor(context))).sum(axis=-1))
        others = hb.einsum("bd,bnd->bn", v, outer(hb.tensor(negatives)))
        loss = -(positive + F.log_sigmoid(-others).sum(axis=-1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    def pairs(k):
        rng = np.random.default_rng(k)
        return rng.integers(0, vocabulary, 32), rng.integers(0, vocabulary, 32)

    return Run(skip_gram, pairs, inner.state_dict)


def bar_with_postfix(function):
    model = nn.Linear(6, 1)
    optimizer = optim.Adam(model.parameters(), lr=0.01)

    @function
    def fit(x, y):
        bar = trange(4, desc="fit", leave=False, file=io.StringIO())
        for _ in bar:
            loss = F.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            bar.set_postfix(loss=f"{loss.item():.3f}")
        return loss.item()

    return Run(fit, lambda k: (normal(k, 16, 6), normal(k + 1, 16, 1)), model.state_dict)


def masked_language_batch(function):
    words, mask_token = 30, 29
    embed, head = nn.Embedding(words, 16), nn.Linear(16, words)
    optimizer = optim.AdamW([*embed.parameters(), *head.parameters()], lr=1e-3)
    rng = np.random.default_rng(7)

    @function
    def step(tokens):
        chosen = rng.random(tokens.shape) < 0.15
        chosen[:, 0] = True
        inputs = np.where(chosen, mask_token, tokens)
        hidden = embed(hb.tensor(inputs))
        hidden = hidden + hidden.mean(axis=1, keepdims=True)
        logits = head(hidden).reshape(-1, words)
        losses = F.cross_entropy(logits, hb.tensor(tokens.reshape(-1)), reduction="none")
        weight = hb.tensor(chosen.reshape(-1).astype(np.float32))
        loss = (losses * weight).sum() / weight.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Run(
        step, lambda k: (np.random.default_rng(k).integers(0, words - 1, (8, 12)),), head.state_dict
    )
