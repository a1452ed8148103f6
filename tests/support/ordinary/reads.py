"""Values that Python reads: float(loss), .item(), masks, positions as list indices, NumPy."""

from __future__ import annotations

import math
import random

import numpy as np

import hybrid as hb
from hybrid import nn, optim
from ordinary import Run, labels, normal

F = nn.functional


def trainable():
    model = nn.Sequential(nn.Linear(5, 10), nn.ReLU(), nn.Linear(10, 3))
    return model, optim.SGD(model.parameters(), lr=0.05)


def returns_float(function):
    model, optimizer = trainable()

    @function
    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss)

    return Run(step, lambda k: (normal(k, 8, 5), labels(k, 8, 3)), model.state_dict)


def returns_accuracy(function):
    model, _ = trainable()

    @function
    def evaluate(x, y):
        return int((model(x).argmax(axis=1) == y).sum()) / len(y)

    return Run(evaluate, lambda k: (normal(k, 8, 5), labels(k, 8, 3)))


def item_in_dictionary(function):
    model, optimizer = trainable()

    @function
    def step(x, y):
        logits = model(x)
        loss = F.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss.item(), "confidence": logits.softmax(axis=1).max(axis=1).mean().item()}

    return Run(step, lambda k: (normal(k, 8, 5), labels(k, 8, 3)), model.state_dict)


def early_stopping(function):
    model, optimizer = trainable()
    stopper = {"best": math.inf, "patience": 0, "stopped": False}

    @function
    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        value = loss.item()
        if value < stopper["best"]:
            stopper["best"], stopper["patience"] = value, 0
        else:
            stopper["patience"] += 1
        stopper["stopped"] = stopper["patience"] > 10
        return loss

    return Run(step, lambda k: (normal(k, 8, 5), labels(k, 8, 3)), lambda: stopper)


def position_into_list(function):
    words = ["zero", "one", "two"]
    model, _ = trainable()

    @function
    def name_of(x):
        return words[int(model(x).sum(axis=0).argmax())]

    return Run(name_of, lambda k: (normal(k, 4, 5),))


def choose_expert(function):
    experts = [nn.Linear(5, 2) for _ in range(3)]
    gate = nn.Linear(5, 3)

    @function
    def forward(x):
        index = gate(x).mean(axis=0).argmax().item()
        return experts[index](x)

    return Run(forward, lambda k: (normal(k, 2, 5),))


def boolean_mask(function):
    @function
    def positives(x):
        chosen = x[x > 0]
        return chosen.sum(), chosen.size

    return Run(positives, lambda k: (normal(k, 12),))


def masked_rows(function):
    layer = nn.Linear(3, 3)

    @function
    def valid_only(x, valid):
        rows = layer(x)[valid]
        return rows.mean(axis=0) if len(rows) else hb.zeros(3)

    return Run(valid_only, lambda k: (normal(k, 6, 3), normal(k + 1, 6) > 0))


def numpy_in_the_middle(function):
    @function
    def whiten(x):
        covariance = (x.T @ x / len(x)).numpy()
        values, vectors = np.linalg.eigh(covariance.astype("f8"))
        basis = hb.tensor((vectors / np.sqrt(values + 1e-3)).astype("f4"))
        return x @ basis

    return Run(whiten, lambda k: (normal(k, 16, 3),))


def lists_to_python(function):
    model, _ = trainable()

    @function
    def predict(x):
        return model(x).argmax(axis=-1).tolist()

    return Run(predict, lambda k: (normal(k, 6, 5),))


def confusion_matrix(function):
    model, _ = trainable()
    matrix = np.zeros((3, 3), int)

    @function
    def update(x, y):
        for truth, guess in zip(y.numpy(), model(x).argmax(axis=1).numpy()):
            matrix[truth, guess] += 1

    return Run(update, lambda k: (normal(k, 8, 5), labels(k, 8, 3)), lambda: matrix)


def top_words(function):
    vocabulary = [f"w{j}" for j in range(20)]
    table = normal(0, 20, 6)

    @function
    def nearest(query):
        values, ids = hb.topk(table @ query, 3)
        return [vocabulary[j] for j in ids.tolist()], values

    return Run(nearest, lambda k: (normal(k, 6),))


def nonzero_positions(function):
    @function
    def spikes(signal):
        (where,) = hb.nonzero(signal > 1.0)
        return where, signal[where].sum()

    return Run(spikes, lambda k: (normal(k, 20),))


def unique_labels(function):
    @function
    def prototypes(x, y):
        return {int(c): x[y == c].mean(axis=0) for c in hb.unique(y)}

    return Run(prototypes, lambda k: (normal(k, 10, 3), labels(k, 10, 3)))


def threshold_on_host(function):
    @function
    def sparsify(x, share=0.25):
        magnitude = np.sort(np.abs(np.asarray(x)).ravel())
        threshold = float(magnitude[int(len(magnitude) * (1 - share))])
        return hb.where(x.abs() >= threshold, x, 0.0)

    return Run(sparsify, lambda k: (normal(k, 24),))


def lengths_on_host(function):
    @function
    def pool(x, lengths):
        longest = int(lengths.max())
        x = x[:, :longest]
        mask = hb.arange(longest) < hb.expand_dims(lengths, axis=1)
        return (x * mask).sum(axis=1) / lengths

    def batch(k):
        return normal(k, 3, 8), labels(k, 3, 7) + 1

    return Run(pool, batch)


def formatted_report(function):
    model, optimizer = trainable()
    report = []

    @function
    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        report.append(f"{loss:.3f}")

    return Run(step, lambda k: (normal(k, 8, 5), labels(k, 8, 3)), lambda: report)


def loss_curve_mean(function):
    history = []

    @function
    def track(x):
        value = float((x**2).mean())
        history.append(value)
        return x / (1 + sum(history[-5:]) / len(history[-5:]))

    return Run(track, lambda k: (normal(k, 6),), lambda: history)


def gradient_norms_logged(function):
    model, optimizer = trainable()
    norms = {}

    @function
    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        for name, p in model.named_parameters():
            norms.setdefault(name, []).append(p.grad.norm().item())
        optimizer.step()
        return loss

    return Run(step, lambda k: (normal(k, 8, 5), labels(k, 8, 3)), lambda: norms)


def integer_from_tensor(function):
    @function
    def repeat_first(x, times):
        return x[: int(times)].sum()

    return Run(repeat_first, lambda k: (normal(k, 8), hb.tensor(1 + k % 7)))


def bool_flag_returned(function):
    @function
    def converged(x, y):
        return bool((x - y).abs().max() < 1.0)

    return Run(converged, lambda k: (normal(k, 2), normal(k + 1, 2)))


def decoded_without_gradients(function):
    embed, cell, head = nn.Embedding(12, 8), nn.LSTMCell(8, 10), nn.Linear(10, 12)
    vocabulary = [f"w{j}" for j in range(12)]

    @function
    def caption(features, longest=6):
        words, state = [], (features, hb.zeros(1, 10))
        token = 0
        with hb.no_grad():
            for _ in range(longest):
                state = cell(embed(hb.tensor([token])), state)
                token = int(head(state[0]).argmax())
                if token == 11:
                    break
                words.append(vocabulary[token])
        return " ".join(words)

    return Run(caption, lambda k: (normal(k, 1, 10),))


def settings_from_bad_words(function):
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4))
    names = {0: "left", 1: "right", 2: "up"}
    unknown = []

    @function
    def act(observation):
        scores = model(observation).softmax(axis=-1)
        try:
            name = names[int(scores.argmax())]
            sure = (scores.max() * 100).round() / 100
        except KeyError as error:
            unknown.append(error.args[0])
            return "stay", scores.sum()
        return name, sure * scores.std() + scores.mean()

    return Run(act, lambda k: (normal(k, 6),), lambda: list(unknown))


def counted_scope(function):
    model, depth = nn.Linear(5, 5), []

    class Scope:
        def __init__(self, name):
            self.name = name

        def __enter__(self):
            depth.append(self.name)
            return len(depth)

        def __exit__(self, *error):
            depth.append(f"/{self.name}")
            del depth[:-6]

    @function
    def refined(x):
        for turn in range(3):
            with Scope(f"turn {turn}") as level:
                x = model(x).tanh() + x / level
                if float(x.abs().max()) > 3.0:
                    x = x / x.norm() * 2
                    break
                x = x * 1.5 - x.mean()
        return x

    return Run(refined, lambda k: (normal(k, 5),), lambda: list(depth))


def always_released(function):
    weight, busy = normal(5, 8, 8), {"count": 0}

    @function
    def reserved(x):
        busy["count"] += 1
        try:
            y = (x @ weight).relu()
            best = int(y.sum(axis=1).argmax())
            row = y[best] - y.mean(axis=0)
            return row / (row.norm() + 1e-6), best
        finally:
            busy["count"] -= 1

    return Run(reserved, lambda k: (normal(k, 4, 8),), lambda: dict(busy))


def appended_between(function):
    layer, head = nn.Linear(6, 6), nn.Linear(6, 3)
    classes = ["cat", "dog", "cow"]

    @function
    def described(x):
        found = []
        hidden = layer(x).relu() + x
        found.append(classes[int(head(hidden).argmax())])
        hidden = layer(hidden * 0.5).relu() + hidden
        found.append(classes[int(head(hidden).argmin())])
        return found, (hidden - hidden.mean()) / (hidden.std() + 1e-5)

    return Run(described, lambda k: (normal(k, 6),))


def stepped_while_it_falls(function):
    target = normal(9, 6)

    @function
    def descend(x, rate=0.5):
        errors = [float(((x - target) ** 2).sum())]
        while len(errors) < 6:
            step = (x - target) * rate
            trial = x - step / (1 + step.abs().max())
            error = float(((trial - target) ** 2).sum())
            if error > errors[-1]:
                rate = rate / 2
                continue
            x = trial
            errors.append(round(error, 4))
            rate = min(rate * 1.5, 0.9)
        return x, errors

    return Run(descend, lambda k: (normal(k, 6),))


def box_of_the_largest(function):
    blur = nn.Conv2d(1, 1, 3, padding=1)

    @function
    def window(image, size=6):
        heat = blur(image[None, None])[0, 0].abs()
        place = int((heat + heat.mean()).argmax())
        top = min(max(place // 20 - size // 2, 0), 20 - size)
        left = min(max(place % 20 - size // 2, 0), 20 - size)
        part = image[top : top + size, left : left + size]
        return (part - part.min()) / (part.max() - part.min() + 1e-6), (top, left)

    return Run(window, lambda k: (normal(k, 20, 20),))


def records_of_people(function):
    model = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 1))

    @function
    def rank(records):
        rows = sorted(records, key=lambda row: (row["city"], row["name"]))
        ages = [row["age"] for row in rows]
        mean = sum(ages) / len(ages)
        x = hb.tensor([[row["age"] - mean, row["income"], float(row["member"])] for row in rows])
        scores = model(x).squeeze(-1).sigmoid()
        best = (scores / scores.sum()).tolist()
        return {row["name"]: score for row, score in zip(rows, best)}

    def people(k):
        pick = random.Random(k)
        cities = ["Rome", "Oslo", "Lima"]
        return (
            [
                {
                    "name": f"person {pick.randrange(10**6)}",
                    "city": pick.choice(cities),
                    "age": pick.randint(18, 90),
                    "income": pick.random(),
                    "member": pick.random() < 0.5,
                }
                for _ in range(8)
            ],
        )

    return Run(rank, people)


def parsed_dates(function):
    model = nn.Sequential(nn.Linear(4, 12), nn.GELU(), nn.Linear(12, 1))

    def features(day):
        year, month, rest = (int(part) for part in day.split("-"))
        return [np.sin(month), np.cos(month), rest / 31, (year - 2000) / 50]

    @function
    def forecast(days, sales):
        x = hb.tensor(np.array([features(day) for day in days], dtype=np.float32))
        predicted = model(x).squeeze(-1)
        late = max(days)
        error = (predicted - hb.tensor(sales)).abs()
        return f"{late}: {error.mean().item():.4f}", predicted

    def given(k):
        pick = random.Random(k)
        dates = [(pick.randint(10, 30), pick.randint(1, 12), pick.randint(1, 28)) for _ in range(6)]
        days = [f"20{year}-{month}-{day}" for year, month, day in dates]
        return days, [pick.random() for _ in range(6)]

    return Run(forecast, given)
