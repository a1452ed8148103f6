"""Results that are read on the host in the middle or at the end of a step."""

from __future__ import annotations

import numpy as np
from ordinary import Run, labels, normal

import hybrid as hb
from hybrid import nn

F = nn.functional


def names_with_scores(function):
    classes = ["cat", "dog", "horse", "ship", "truck"]
    model = nn.Linear(12, 5)

    @function
    def predict(x):
        probabilities = model(x).softmax(axis=1)
        best = probabilities.argmax(axis=1)
        return [
            (classes[index], round(row[index], 3))
            for index, row in zip(best.tolist(), probabilities.tolist())
        ]

    return Run(predict, lambda k: (normal(k, 6, 12),))


def suppressed_boxes(function):
    def iou(box, boxes):
        low = hb.maximum(box[:2], boxes[:, :2])
        high = hb.minimum(box[2:], boxes[:, 2:])
        inter = (high - low).clip(0, None).prod(axis=1)
        area = (box[2:] - box[:2]).prod()
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        return inter / (area + areas - inter)

    @function
    def nms(boxes, scores, threshold=0.5):
        order = hb.argsort(scores, descending=True)
        keep = []
        while len(order) > 0:
            first = int(order[0])
            keep.append(first)
            if len(order) == 1:
                break
            rest = order[1:]
            overlap = iou(boxes[first], boxes[rest])
            order = rest[overlap <= threshold]
        return keep

    def detections(k):
        rng = np.random.default_rng(k)
        corner = rng.random((12, 2)) * 4
        size = rng.random((12, 2)) * 3 + 1
        return hb.tensor(np.hstack([corner, corner + size]).astype("f4")), hb.tensor(
            rng.random(12).astype("f4")
        )

    return Run(nms, detections)


def error_percentiles(function):
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))

    @function
    def report(x, y):
        with hb.no_grad():
            error = (model(x) - y).abs().squeeze(-1).numpy()
        p50, p90, p99 = np.percentile(error, [50, 90, 99])
        return {"p50": float(p50), "p90": float(p90), "p99": float(p99), "max": float(error.max())}

    return Run(report, lambda k: (normal(k, 64, 8), normal(k + 1, 64, 1)))


def recall_at_five(function):
    users, items = normal(1, 20, 8), normal(2, 60, 8)

    @function
    def evaluate(ids, relevant):
        scores = users[hb.tensor(ids)] @ items.T
        top = scores.topk(5).indices.tolist()
        hits = [len(set(found) & wanted) / len(wanted) for found, wanted in zip(top, relevant)]
        return sum(hits) / len(hits)

    def queries(k):
        rng = np.random.default_rng(k)
        relevant = [set(rng.choice(60, 4, replace=False).tolist()) for _ in range(6)]
        return rng.integers(0, 20, 6).tolist(), relevant

    return Run(evaluate, queries)


def crop_around_peak(function):
    detector = nn.Conv2d(1, 1, 5, padding=2)

    @function
    def crop(image, half=4):
        heat = detector(image[None, None])[0, 0]
        row, column = divmod(int(heat.argmax()), heat.shape[1])
        row = min(max(row, half), image.shape[0] - half)
        column = min(max(column, half), image.shape[1] - half)
        patch = image[row - half : row + half, column - half : column + half]
        return patch - patch.mean(), (row, column)

    return Run(crop, lambda k: (normal(k, 24, 24),))


def area_under_curve(function):
    weight = normal(3, 10)

    @function
    def auc(x, y):
        score = (x @ weight).numpy()
        order = np.argsort(score)
        ranks = np.empty(len(score))
        ranks[order] = np.arange(1, len(score) + 1)
        positive = y == 1
        n, m = positive.sum(), (~positive).sum()
        return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))

    def batch(k):
        y = np.random.default_rng(k).integers(0, 2, 40)
        y[:2] = 0, 1
        return normal(k, 40, 10), y

    return Run(auc, batch)


def active_learning_pick(function):
    model = nn.Sequential(nn.Linear(6, 24), nn.Dropout(0.3), nn.ReLU(), nn.Linear(24, 3))
    picked = []

    @function
    def query(pool, budget=4):
        draws = hb.stack([model(pool).softmax(axis=-1) for _ in range(5)])
        mean = draws.mean(axis=0)
        entropy = -(mean * hb.log(mean + 1e-9)).sum(axis=-1)
        chosen = hb.argsort(entropy, descending=True)[:budget].tolist()
        picked.extend(chosen)
        return pool[chosen], entropy[chosen].mean().item()

    return Run(query, lambda k: (normal(k, 40, 6),), lambda: picked)


def calibration_bins(function):
    @function
    def expected_calibration_error(logits, y, bins=5):
        confidence = logits.softmax(axis=1).max(axis=1)
        correct = (logits.argmax(axis=1) == y).float()
        edges = np.linspace(0, 1, bins + 1)
        total = 0.0
        for low, high in zip(edges[:-1], edges[1:]):
            inside = (confidence > low) & (confidence <= high)
            count = int(inside.sum())
            if count > 0:
                gap = abs(correct[inside].mean().item() - confidence[inside].mean().item())
                total += gap * count / len(y)
        return total

    return Run(expected_calibration_error, lambda k: (normal(k, 50, 4), labels(k, 50, 4)))
