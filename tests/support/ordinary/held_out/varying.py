"""Inputs whose sizes change from call to call."""

from __future__ import annotations

import math

import numpy as np
from ordinary import Run, array, labels, normal

import hybrid as hb
from hybrid import nn, optim

F = nn.functional


def loader_with_remainder(function):
    x, y = array(1, 45, 6), np.random.default_rng(2).integers(0, 3, 45)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    losses = []

    @function
    def train_batch(inputs, targets):
        loss = F.cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    def epoch(size=16):
        total = 0.0
        for start in range(0, len(x), size):
            rows = slice(start, start + size)
            inputs = hb.tensor(x[rows])
            total += train_batch(inputs, hb.tensor(y[rows])).item() * len(inputs)
        losses.append(total / len(x))
        return losses[-1]

    return Run(epoch, lambda k: (), lambda: losses)


def padded_with_mask(function):
    embed = nn.Embedding(30, 12)
    attend = nn.Linear(12, 1)
    head = nn.Linear(12, 3)

    def pad(sequences):
        longest = max(len(s) for s in sequences)
        ids = np.zeros((len(sequences), longest), dtype=np.int64)
        mask = np.zeros((len(sequences), longest), dtype=bool)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = True
        return hb.tensor(ids), hb.tensor(mask)

    @function
    def classify(sequences):
        ids, mask = pad(sequences)
        vectors = embed(ids)
        scores = attend(vectors).squeeze(-1).masked_fill(~mask, -1e9)
        pooled = (scores.softmax(axis=1).unsqueeze(-1) * vectors).sum(axis=1)
        return head(pooled).argmax(axis=1)

    def sentences(k):
        rng = np.random.default_rng(k)
        return ([rng.integers(1, 30, rng.integers(3, 14)).tolist() for _ in range(6)],)

    return Run(classify, sentences)


def cached_attention(function):
    class Attention(nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            self.heads, self.size = heads, width // heads
            self.qkv = nn.Linear(width, 3 * width)
            self.out = nn.Linear(width, width)
            self.cache = None

        def forward(self, x):
            b, t, w = x.shape
            q, k, v = (
                part.reshape(b, t, self.heads, self.size).swapaxes(1, 2)
                for part in self.qkv(x).chunk(3, axis=-1)
            )
            if self.cache is not None:
                k = hb.concat([self.cache[0], k], axis=2)
                v = hb.concat([self.cache[1], v], axis=2)
            self.cache = (k, v)
            weights = (q @ k.swapaxes(-2, -1) / math.sqrt(self.size)).softmax(axis=-1)
            return self.out((weights @ v).swapaxes(1, 2).reshape(b, t, w))

    layer = Attention(16, 2)

    @function
    def decode(token):
        with hb.no_grad():
            return token + layer(token)

    def turn(k, token):
        if k % 25 == 0:
            layer.cache = None
        return decode(token)

    return Run(
        turn,
        lambda k: (k, normal(k, 1, 1, 16)),
        lambda: None if layer.cache is None else layer.cache[0],
    )


def sets_of_points(function):
    phi = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 32))
    rho = nn.Linear(32, 2)
    optimizer = optim.Adam([*phi.parameters(), *rho.parameters()], lr=1e-3)

    @function
    def step(clouds, y):
        pooled = hb.stack([phi(cloud).max(axis=0) for cloud in clouds])
        loss = F.cross_entropy(rho(pooled), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    def batch(k):
        sizes = np.random.default_rng(k).integers(5, 12, 4)
        return [normal(10 * k + i, int(n), 3) for i, n in enumerate(sizes)], labels(k, 4, 2)

    return Run(step, batch, rho.state_dict)


def audio_of_any_length(function):
    first, second = normal(1, 8, 1, 9, scale=0.3), normal(2, 8, 8, 5, scale=0.2)
    head = nn.Linear(16, 4)

    @function
    def embed(wave):
        x = (wave - wave.mean()) / (wave.std() + 1e-5)
        x = hb.conv1d(x.reshape(1, 1, -1), first, stride=4).relu()
        x = hb.conv1d(x, second, stride=2).relu()
        return head(hb.concat([x.mean(axis=-1), x.max(axis=-1)], axis=1))

    return Run(embed, lambda k: (normal(k, 200 + 8 * (k * 7 % 40)),))


def segments_averaged(function):
    projection = nn.Linear(4, 8)

    @function
    def average(tokens, lengths):
        hidden = projection(tokens).tanh()
        ends = np.cumsum(lengths)
        parts = [hidden[end - n : end].mean(axis=0) for end, n in zip(ends, lengths)]
        return hb.stack(parts)

    def batch(k):
        lengths = np.random.default_rng(k).integers(1, 6, 5)
        return normal(k, int(lengths.sum()), 4), lengths

    return Run(average, batch)


def resized_images(function):
    conv = nn.Conv2d(3, 8, 3, padding=1)
    head = nn.Linear(8, 5)

    @function
    def classify(image):
        h, w = image.shape[-2:]
        if h % 2 or w % 2:
            image = F.pad(image, (0, w % 2, 0, h % 2))
        x = conv(image.unsqueeze(0)).relu()
        x = F.max_pool2d(x, 2)
        return head(x.mean(axis=(2, 3))).softmax(axis=-1)[0]

    sizes = [(16, 16), (15, 20), (24, 18), (17, 17), (20, 20)]
    return Run(classify, lambda k: (normal(k, 3, *sizes[k % 5]),))


def curriculum_of_lengths(function):
    embed, cell, head = nn.Embedding(12, 8), nn.LSTMCell(8, 16), nn.Linear(16, 12)
    parameters = [*embed.parameters(), *cell.parameters(), *head.parameters()]
    optimizer = optim.Adam(parameters, lr=1e-2)

    @function
    def step(tokens):
        h = c = hb.zeros(tokens.shape[0], 16)
        loss = 0.0
        for t in range(tokens.shape[1] - 1):
            h, c = cell(embed(tokens[:, t]), (h, c))
            loss = loss + F.cross_entropy(head(h), tokens[:, t + 1])
        loss = loss / (tokens.shape[1] - 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    def batch(k):
        length = 3 + min(k // 20, 6)
        return (hb.tensor(np.random.default_rng(k).integers(0, 12, (4, length))),)

    return Run(step, batch, head.state_dict)
