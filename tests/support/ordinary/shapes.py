"""Shapes that change: last batches, growing sequences, texts, graphs, images."""

from __future__ import annotations

import random

import numpy as np

import hybrid as hb
from hybrid import nn, optim
from ordinary import Run, array, labels, normal

F = nn.functional


def last_partial_batch(function):
    model = nn.Linear(5, 3)
    optimizer = optim.Adam(model.parameters(), lr=0.01)

    @function
    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    def batch(k):
        size = 3 if k % 10 == 9 else 8
        return normal(k, size, 5), labels(k, size, 3)

    return Run(step, batch, model.state_dict)


def growing_sequence(function):
    layer = nn.Linear(4, 4)
    history = [normal(0, 1, 4)]

    @function
    def extend(sequence):
        following = layer(sequence).tanh().mean(axis=0, keepdims=True)
        return hb.concat([sequence, following], axis=0)

    def turn(k):
        history[0] = history[0][:1] if k % 40 == 0 else extend(history[0])
        return history[0][-1]

    return Run(turn, lambda k: (k,))


def key_value_cache(function):
    query, key, value = (nn.Linear(8, 8) for _ in range(3))

    class Cache:
        keys = values = None

    cache = Cache()

    @function
    def decode(x):
        new_key, new_value = key(x), value(x)
        if cache.keys is None:
            cache.keys, cache.values = new_key, new_value
        else:
            cache.keys = hb.concat([cache.keys, new_key], axis=0)
            cache.values = hb.concat([cache.values, new_value], axis=0)
        scores = query(x) @ cache.keys.T / 8**0.5
        return scores.softmax(axis=-1) @ cache.values

    def turn(k, x):
        if k % 32 == 0:
            cache.keys = cache.values = None
        with hb.no_grad():
            return decode(x)

    return Run(turn, lambda k: (k, normal(k, 1, 8)))


def hundred_text_lengths(function):
    table, out = nn.Embedding(30, 8), nn.Linear(8, 2)

    @function
    def classify(ids):
        return out(table(ids).mean(axis=0)).log_softmax(axis=-1)

    return Run(classify, lambda k: (labels(k, 1 + (k * 37) % 100, 30),))


def trained_on_text_lengths(function):
    table, out = nn.Embedding(30, 8), nn.Linear(8, 30)
    optimizer = optim.Adam([*table.parameters(), *out.parameters()], lr=0.01)

    @function
    def step(ids):
        loss = F.cross_entropy(out(table(ids[:-1])), ids[1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Run(step, lambda k: (labels(k, 5 + (k * 13) % 40, 30),), out.state_dict)


def graph_sizes(function):
    first, second = nn.Linear(4, 8), nn.Linear(8, 2)

    @function
    def propagate(features, source, target):
        hidden = first(features).relu()
        gathered = hb.index_add(hb.zeros_like(hidden), 0, target, hidden[source])
        return second(gathered + hidden).sum(axis=0)

    def graph(k):
        nodes, edges = 4 + k % 6, 6 + k % 9
        return normal(k, nodes, 4), labels(k, edges, nodes), labels(k + 1, edges, nodes)

    return Run(propagate, graph)


def image_sizes(function):
    convolution = nn.Conv2d(1, 3, 3, padding=1)

    @function
    def features(image):
        return convolution(image).relu().mean(axis=(2, 3))

    return Run(features, lambda k: (normal(k, 1, 1, 8 + 2 * (k % 4), 8 + 2 * (k % 3)),))


def random_batch_sizes(function):
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))

    @function
    def serve(requests):
        return model(requests).sigmoid()

    sizes = [random.Random(7 + k).randint(1, 12) for k in range(220)]
    return Run(serve, lambda k: (normal(k, sizes[k % 220], 4),))


def ragged_list(function):
    layer = nn.Linear(3, 2)

    @function
    def pool(pieces):
        return hb.stack([layer(piece).max(axis=0) for piece in pieces])

    def batch(k):
        return ([normal(k + j, 1 + (k + j) % 4, 3) for j in range(3)],)

    return Run(pool, batch)


def padded_to_longest(function):
    table = nn.Embedding(20, 4)

    @function
    def encode(rows):
        longest = max(len(row) for row in rows)
        padded = hb.tensor([row + [0] * (longest - len(row)) for row in rows])
        mask = (padded != 0).astype(hb.float32).unsqueeze(-1)
        return (table(padded) * mask).sum(axis=1)

    def texts(k):
        pick = random.Random(k)
        return ([[pick.randint(1, 19) for _ in range(pick.randint(1, 7))] for _ in range(3)],)

    return Run(encode, texts)


def bucketed_lengths(function):
    table, out = nn.Embedding(20, 6), nn.Linear(6, 20)

    @function
    def loss(ids):
        return F.cross_entropy(out(table(ids)).reshape(-1, 20), ids.reshape(-1))

    def batch(k):
        length = (4, 8, 16)[k % 3]
        return (labels(k, 2 * length, 20).reshape(2, length),)

    return Run(loss, batch)


def list_that_grows(function):
    outputs = []

    @function
    def collect(x):
        outputs.append(x.tanh())
        return hb.stack(outputs).mean(axis=0)

    def turn(k, x):
        if k % 25 == 0:
            outputs.clear()
        return collect(x)

    return Run(turn, lambda k: (k, normal(k, 4)), lambda: outputs)


def multi_crop(function):
    layer = nn.Linear(6, 3)

    @function
    def embed(large, small):
        parts = [layer(crop.reshape(-1, 6)).mean(axis=0) for crop in (large, small)]
        return F.cosine_similarity(parts[0], parts[1], axis=0)

    return Run(embed, lambda k: (normal(k, 4 + k % 2, 6), normal(k, 2, 6)))


def even_and_odd_halves(function):
    @function
    def merge(x):
        middle = x.shape[0] // 2
        left, right = x[:middle], x[middle:]
        return left.sum() - right.sum()

    return Run(merge, lambda k: (normal(k, 4 + k % 5),))


def scalar_and_vector(function):
    @function
    def standard(x):
        return (x - 1) * 2 if x.ndim == 0 else (x - x.mean()) / x.size

    return Run(standard, lambda k: (normal(k) if k % 2 else normal(k, 3),))


def numpy_batches_of_sizes(function):
    center = normal(0, 4)

    @function
    def distances(rows):
        return ((hb.tensor(rows) - center) ** 2).sum(axis=1)

    return Run(distances, lambda k: (array(k, 1 + k % 9, 4),))


def window_that_fills(function):
    window = []

    @function
    def average(items):
        return hb.stack(items).mean(axis=0)

    def turn(x):
        window.append(x)
        del window[:-6]
        return average(list(window))

    return Run(turn, lambda k: (normal(k, 3),))


def sparse_updates(function):
    scores = hb.zeros(50)

    @function
    def bump(ids):
        scores[ids] = scores[ids] + 1.0
        return scores.sum()

    def ids(k):
        return (hb.tensor(np.unique(np.random.default_rng(k).integers(0, 50, 1 + k % 6))),)

    return Run(bump, ids, lambda: scores)


def small_cnn(function):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = nn.Conv2d(1, 4, 3, padding=1)
            self.pool, self.flat = nn.MaxPool2d(2), nn.Flatten()
            self.head = nn.Linear(64, 3)

        def forward(self, x):
            return self.head(self.flat(self.pool(self.convolution(x).relu())))

    net = Net()
    optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)

    @function
    def step(x, y):
        logits = net(x)
        loss = F.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss, (logits.argmax(axis=1) == y).sum()

    return Run(step, lambda k: (normal(k, 4, 1, 8, 8), labels(k, 4, 3)), net.state_dict)


def neighbors_as_lists(function):
    inner, outer = nn.Linear(4, 8), nn.Linear(8, 2)

    @function
    def convolve(graph, features):
        source, goal = [], []
        for node, others in graph.items():
            for other in others:
                source.append(other)
                goal.append(node)
        degree = [len(graph[node]) for node in graph]
        h = inner(features).relu()
        sums = hb.index_add(hb.zeros(6, 8), 0, hb.tensor(goal), h[hb.tensor(source)])
        mean = sums / hb.tensor(degree).unsqueeze(-1)
        return outer(mean).log_softmax(axis=-1)

    def graph(k):
        pick = random.Random(k)
        return {n: pick.sample(range(6), pick.randint(1, 3)) for n in range(6)}, normal(k, 6, 4)

    return Run(convolve, graph)
