"""Steps that also print, log, time, show progress, write files or draw numbers in Python."""

from __future__ import annotations

import csv
import io
import json
import logging
import random
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

import hybrid as hb
from hybrid import nn, optim
from ordinary import Run, array, labels, normal

F = nn.functional


def trainable(rate=0.01):
    model = nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 1))
    return model, optim.Adam(model.parameters(), lr=rate)


def prints_loss(function):
    model, optimizer = trainable()

    @function
    def step(x, y):
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"loss {loss.item():.4f}")
        return loss

    return Run(step, lambda k: (normal(k, 8, 5), normal(k + 1, 8, 1)), model.state_dict)


def prints_every_tenth(function):
    model, optimizer = trainable()

    @function
    def step(number, x, y):
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if number % 10 == 0:
            print("step", number, "loss", loss.item())

    return Run(step, lambda k: (k, normal(k, 8, 5), normal(k + 1, 8, 1)), model.state_dict)


def prints_shape(function):
    layer = nn.Linear(5, 3)

    @function
    def forward(x):
        y = layer(x)
        print("hidden", y.shape, y.dtype)
        return y.relu().sum()

    return Run(forward, lambda k: (normal(k, 4, 5),))


def prints_in_the_middle(function):
    @function
    def pipeline(x):
        x = (x - x.mean()) / x.std()
        print("starting")
        x = hb.exp(-(x**2)) * 2
        print("done", end="\n\n")
        return x.cumsum(axis=0)[-1]

    return Run(pipeline, lambda k: (normal(k, 12),))


def logs_with_logging(function):
    stream = io.StringIO()
    logger = logging.Logger("training", logging.INFO)
    logger.addHandler(logging.StreamHandler(stream))
    model, optimizer = trainable()

    @function
    def step(x, y):
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        logger.info("loss=%.5f", loss.item())
        logger.debug("not shown")
        return loss

    return Run(step, lambda k: (normal(k, 8, 5), normal(k + 1, 8, 1)), lambda: stream.getvalue())


def quiet_debug_log(function):
    logger = logging.Logger("quiet", logging.WARNING)

    @function
    def forward(x):
        logger.debug("input %s", x.shape)
        return hb.softmax(x * 3, axis=-1)

    return Run(forward, lambda k: (normal(k, 4, 6),))


def timed_step(function):
    model, optimizer = trainable()
    times = []

    @function
    def step(x, y):
        start = time.perf_counter()
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
        return loss

    return Run(
        step,
        lambda k: (normal(k, 8, 5), normal(k + 1, 8, 1)),
        lambda: (len(times), all(t > 0 for t in times), model.state_dict()),
    )


def tokens_per_second(function):
    table = normal(0, 50, 8)
    speed = {}

    @function
    def encode(ids):
        begin = time.time()
        vectors = table[ids].mean(axis=1)
        speed["tokens"] = ids.size / max(time.time() - begin, 1e-9)
        return vectors

    return Run(encode, lambda k: (labels(k, 12, 50).reshape(3, 4),), lambda: len(speed))


def progress_bar(function):
    model, optimizer = trainable()

    class Bar:  # what tqdm does, without its clock
        def __init__(self):
            self.n, self.text, self.file = 0, "", io.StringIO()

        def update(self, n=1):
            self.n += n
            self.file.write(f"\r{self.n}it {self.text}")

        def set_postfix(self, **values):
            self.text = ", ".join(f"{name}={value:.3g}" for name, value in values.items())

    bar = Bar()

    @function
    def step(x, y):
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        bar.set_postfix(loss=loss.item())
        bar.update()

    return Run(step, lambda k: (normal(k, 8, 5), normal(k + 1, 8, 1)), lambda: bar.file.getvalue())


def loop_with_tqdm(function):
    from tqdm import tqdm

    layers = [nn.Linear(6, 6) for _ in range(3)]

    @function
    def forward(x):
        for layer in tqdm(layers, file=io.StringIO(), disable=None):
            x = x + layer(x).relu()
        return x.mean()

    return Run(forward, lambda k: (normal(k, 4, 6),))


def csv_rows(function):
    table = io.StringIO()
    writer = csv.writer(table)

    @function
    def measure(number, x):
        low, high = x.min(), x.max()
        writer.writerow([number, f"{low.item():.3f}", f"{high.item():.3f}"])
        return (x - low) / (high - low)

    return Run(measure, lambda k: (k, normal(k, 20)), table.getvalue)


def json_log(function):
    lines = []
    model = nn.Linear(5, 3)

    @function
    def evaluate(x, y):
        logits = model(x)
        loss = F.cross_entropy(logits, y)
        correct = (logits.argmax(axis=1) == y).sum()
        lines.append(json.dumps({"loss": round(float(loss), 4), "correct": int(correct)}))
        return logits

    return Run(evaluate, lambda k: (normal(k, 6, 5), labels(k, 6, 3)), lambda: lines)


def checkpoint_file(function):
    folder = Path(tempfile.mkdtemp())
    model, optimizer = trainable()

    @function
    def step(number, x, y):
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if number % 25 == 0:
            weights = {name: value.numpy() for name, value in model.state_dict().items()}
            np.savez(folder / "last.npz", **weights)
        return loss

    def state():
        with np.load(folder / "last.npz") as saved:
            return {name: saved[name] for name in saved.files}

    return Run(step, lambda k: (k, normal(k, 8, 5), normal(k + 1, 8, 1)), state)


def random_augmentation(function):
    @function
    def augment(image):
        if random.random() < 0.5:
            image = hb.flip(image, axis=-1)
        return image * random.uniform(0.8, 1.2)

    return Run(augment, lambda k: (normal(k, 3, 8, 8),))


def numpy_noise(function):
    model, optimizer = trainable()

    @function
    def step(x, y):
        noise = hb.tensor(np.random.randn(8, 5).astype("f4"))
        loss = F.mse_loss(model(x + 0.1 * noise), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Run(step, lambda k: (normal(k, 8, 5), normal(k + 1, 8, 1)), model.state_dict)


def numpy_generator_batches(function):
    generator = np.random.default_rng(3)
    data, target = normal(0, 64, 5), normal(1, 64, 1)
    model, optimizer = trainable()

    @function
    def step():
        rows = hb.tensor(generator.permutation(64)[:8])
        loss = F.mse_loss(model(data[rows]), target[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Run(step, lambda k: (), model.state_dict)


def stochastic_depth(function):
    blocks = [nn.Linear(6, 6) for _ in range(4)]
    dice = random.Random(5)

    @function
    def forward(x):
        for block in blocks:
            if dice.random() > 0.2:
                x = x + block(x).tanh()
        return x

    return Run(forward, lambda k: (normal(k, 3, 6),))


def shuffled_order(function):
    weights = [normal(j, 4) for j in range(5)]

    @function
    def visit(x):
        order = list(range(5))
        random.shuffle(order)
        for index in order:
            x = x * 0.9 + weights[index] * 0.1
        return x

    return Run(visit, lambda k: (normal(k, 4),))


def library_random(function):
    @function
    def sample(mean, spread):
        noise = hb.randn(4, 3)
        return mean + spread * noise, hb.rand(2)

    return Run(sample, lambda k: (normal(k, 3), normal(k + 1, 3).abs()), hb.random.get_state)


def deprecation_warning(function):
    @function
    def old_name(x):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.warn("use new_name", DeprecationWarning)
        return x.relu() * 2

    return Run(old_name, lambda k: (normal(k, 6),))


def writes_standard_error(function):
    @function
    def forward(x):
        if x.ndim != 2:
            sys.stderr.write("expected a batch\n")
        return (x**3).sum(axis=-1)

    return Run(forward, lambda k: (normal(k, 3, 4),))


def random_crop(function):
    @function
    def crop(image):
        top, left = np.random.randint(0, 5, 2)
        return image[:, top : top + 8, left : left + 8].mean(axis=0)

    return Run(crop, lambda k: (hb.tensor(array(k, 3, 12, 12)),))
