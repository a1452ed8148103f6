"""Trees, graphs and nested containers walked in Python."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ordinary import Run, array, labels, normal

import hybrid as hb
from hybrid import nn, optim

F = nn.functional


def child_sum_tree(function):
    @dataclass
    class Node:
        word: int
        children: list

    embed, gates, forget = nn.Embedding(20, 6), nn.Linear(12, 18), nn.Linear(12, 6)

    def encode(node):
        x = embed(hb.tensor(node.word))
        states = [encode(child) for child in node.children]
        h_sum = sum((h for h, _ in states), hb.zeros(6))
        i, o, u = gates(hb.concat([x, h_sum])).chunk(3)
        c = i.sigmoid() * u.tanh()
        for h, child_c in states:
            c = c + forget(hb.concat([x, h])).sigmoid() * child_c
        return o.sigmoid() * c.tanh(), c

    @function
    def embed_tree(root):
        return encode(root)[0]

    def grow(rng, depth):
        children = [grow(rng, depth - 1) for _ in range(int(rng.integers(0, 3)))] if depth else []
        return Node(int(rng.integers(20)), children)

    return Run(embed_tree, lambda k: (grow(np.random.default_rng(k), 2),))


def message_passing(function):
    message, update = nn.Linear(16, 8), nn.Linear(16, 8)

    @function
    def propagate(features, edges, rounds=3):
        source, target = hb.tensor(edges[:, 0]), hb.tensor(edges[:, 1])
        h = features
        for _ in range(rounds):
            m = message(hb.concat([h[source], h[target]], axis=1)).relu()
            gathered = hb.index_add(hb.zeros(h.shape[0], 8), 0, target, m)
            h = update(hb.concat([h, gathered], axis=1)).tanh()
        return h.mean(axis=0)

    def graph(k):
        rng = np.random.default_rng(k)
        return normal(k, 10, 8), rng.integers(0, 10, (24, 2))

    return Run(propagate, graph)


def neighbors_in_dictionary(function):
    layers = [nn.Linear(6, 6) for _ in range(2)]

    @function
    def encode(features, adjacency):
        h = dict(features)
        for layer in layers:
            following = {}
            for node, neighbors in adjacency.items():
                around = [h[n] for n in neighbors]
                gathered = hb.stack(around).mean(axis=0) if around else hb.zeros(6)
                following[node] = layer(h[node] + gathered).relu()
            h = following
        return hb.stack([h[node] for node in sorted(h)]).sum(axis=0)

    graphs = [
        {"a": ["b", "c"], "b": ["a"], "c": ["a", "d"], "d": ["c"]},
        {"a": ["b"], "b": ["a", "c", "d"], "c": ["b"], "d": []},
        {"a": [], "b": ["c"], "c": ["b"], "d": ["a"]},
    ]

    def example(k):
        return {name: normal(4 * k + i, 6) for i, name in enumerate("abcd")}, graphs[k % 3]

    return Run(encode, example)


def arithmetic_expressions(function):
    operations = {
        "+": lambda a, b: a + b,
        "*": lambda a, b: a * b,
        "max": hb.maximum,
        "tanh": hb.tanh,
    }

    def evaluate(expression, environment):
        if isinstance(expression, str):
            return environment[expression]
        if isinstance(expression, (int, float)):
            return expression
        name, *operands = expression
        return operations[name](*(evaluate(o, environment) for o in operands))

    programs = [
        ("+", ("*", "x", 2.0), "y"),
        ("tanh", ("*", "x", ("+", "y", 1))),
        ("max", "x", ("*", "y", ("tanh", "x"))),
        ("+", ("+", "x", "y"), ("*", "x", "y")),
    ]

    @function
    def run(expression, environment):
        return evaluate(expression, environment)

    return Run(run, lambda k: (programs[k % 4], {"x": normal(k, 32), "y": normal(k + 1, 32)}))


def soft_decision_tree(function):
    depth = 3
    splits = [nn.Linear(5, 1) for _ in range(2**depth - 1)]
    leaves = hb.tensor(array(9, 2**depth, 3), requires_grad=True)
    optimizer = optim.Adam([*(p for s in splits for p in s.parameters()), leaves], lr=0.01)

    def route(x, node, probability):
        if node >= len(splits):
            return probability * leaves[node - len(splits)].softmax(axis=0)
        right = splits[node](x).sigmoid()
        return route(x, 2 * node + 1, probability * (1 - right)) + route(
            x, 2 * node + 2, probability * right
        )

    @function
    def step(x, y):
        p = route(x, 0, hb.ones(x.shape[0], 1))
        loss = -hb.log(p.gather(1, y.unsqueeze(1)) + 1e-8).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Run(step, lambda k: (normal(k, 16, 5), labels(k, 16, 3)), lambda: leaves)


def mapped_parameter_tree(function):
    def tree_map(f, *trees):
        head = trees[0]
        if isinstance(head, dict):
            return {key: tree_map(f, *(t[key] for t in trees)) for key in head}
        if isinstance(head, (list, tuple)):
            return type(head)(tree_map(f, *parts) for parts in zip(*trees))
        return f(*trees)

    def forward(params, x):
        for layer in params["hidden"]:
            x = hb.tanh(x @ layer["w"] + layer["b"])
        return x @ params["out"]["w"]

    def initial():
        sizes = [4, 12, 12]
        hidden = [
            {"w": normal(i, a, b, scale=0.4), "b": hb.zeros(b)}
            for i, (a, b) in enumerate(zip(sizes, sizes[1:]))
        ]
        return {"hidden": hidden, "out": {"w": normal(7, 12, 1, scale=0.3)}}

    state = {"params": initial()}
    state["velocity"] = tree_map(hb.zeros_like, state["params"])

    @function
    def update(params, velocity, x, y):
        loss, grads = hb.value_and_grad(lambda p: ((forward(p, x) - y) ** 2).mean())(params)
        velocity = tree_map(lambda v, g: 0.9 * v + g, velocity, grads)
        params = tree_map(lambda p, v: p - 0.01 * v, params, velocity)
        return loss, params, velocity

    def turn(x, y):
        loss, state["params"], state["velocity"] = update(state["params"], state["velocity"], x, y)
        return loss.item()

    return Run(turn, lambda k: (normal(k, 16, 4), normal(k + 1, 16, 1)), lambda: state)


def shortest_paths(function):
    @function
    def relax(weights, start):
        n = weights.shape[0]
        distance = hb.where(hb.arange(n) == start, 0.0, 1e6)
        for _ in range(n - 1):
            shorter = (distance[:, None] + weights).min(axis=0)
            updated = hb.minimum(distance, shorter)
            if (updated == distance).all():
                break
            distance = updated
        return distance

    return Run(relax, lambda k: (normal(k, 9, 9).abs() + 0.1, k % 9))
