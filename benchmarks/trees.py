"""A TreeLSTM over parse trees, every tree another one: recursion over data that never repeats.

Binary trees of 8 to 24 leaves go through the cell of Tai, Socher and Manning (2015), one at a time.
The whole step (loss, gradient, update) and inference alone run eagerly, decorated and, where it can
be imported, in PyTorch, in turns on each tree.  Results decorated are the eager ones to the bit.
Reported: seconds for all trees, recordings and compilations included, and microseconds of a tree of
the second half.

    python -m benchmarks.trees [--trees 1000] [--size 64]
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

import hybrid
from hybrid import nn, optim

WORDS, CLASSES = 100, 5
RATE = 0.05
Step = Callable[["Node", int], Any]


class Node:
    """A leaf with a word, or an inner node."""

    def __init__(self, word: int = 0, children: Iterable[Node] = ()) -> None:
        self.word, self.children = word, tuple(children)


def tree(pick: random.Random, leaves: int) -> Node:
    """A random binary tree."""
    if leaves == 1:
        return Node(pick.randrange(WORDS))
    left = pick.randrange(1, leaves)
    return Node(0, (tree(pick, left), tree(pick, leaves - left)))


def sentences(count: int) -> list[tuple[Node, int]]:
    """Trees, each another one, and the class of each."""
    pick = random.Random(0)
    return [(tree(pick, pick.randrange(8, 25)), pick.randrange(CLASSES)) for _ in range(count)]


class TreeLSTM(nn.Module):
    """Composes the states of children up to the root."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, size)
        self.leaf = nn.Linear(size, 3 * size)
        self.gates = nn.Linear(2 * size, 5 * size)
        self.out = nn.Linear(size, CLASSES)

    def word(self, word: int) -> tuple[Any, Any]:
        """The state of a leaf."""
        i, o, u = hybrid.chunk(self.leaf(self.embed(hybrid.tensor(word))), 3)
        memory = hybrid.sigmoid(i) * hybrid.tanh(u)
        return memory, hybrid.sigmoid(o) * hybrid.tanh(memory)

    def join(self, left: tuple[Any, Any], right: tuple[Any, Any]) -> tuple[Any, Any]:
        """The state of an inner node."""
        gates = self.gates(hybrid.concat([left[1], right[1]]))
        i, first, second, o, u = hybrid.chunk(gates, 5)
        kept = hybrid.sigmoid(first) * left[0] + hybrid.sigmoid(second) * right[0]
        memory = hybrid.sigmoid(i) * hybrid.tanh(u) + kept
        return memory, hybrid.sigmoid(o) * hybrid.tanh(memory)

    def state(self, node: Node) -> tuple[Any, Any]:
        """The state of any node."""
        if not node.children:
            return self.word(node.word)
        left, right = node.children
        return self.join(self.state(left), self.state(right))

    def forward(self, node: Node) -> Any:
        """The scores of the classes."""
        return self.out(self.state(node)[1])


class Way(NamedTuple):
    """One way to run the trees: `run` gives a value to compare, or None."""

    name: str
    run: Step
    function: Any = None


def ours(size: int, trains: bool, decorated: bool) -> Way:
    """hybrid's own."""
    hybrid.manual_seed(0)
    model = TreeLSTM(size)
    optimizer = optim.SGD(model.parameters(), lr=RATE)

    def train(node: Node, label: Any) -> Any:
        loss = nn.functional.cross_entropy(model(node), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    def infer(node: Node, label: Any) -> Any:
        with hybrid.no_grad():
            return model(node)

    step: Any = train if trains else infer
    call = hybrid.function(step) if decorated else step

    def run(node: Node, label: int) -> Any:
        return call(node, hybrid.tensor(label))

    return Way("decorated" if decorated else "eager", run, call if decorated else None)


def theirs(size: int, trains: bool) -> Way | None:
    """The same model in PyTorch; None where it cannot be imported."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    sizes = {"leaf": (size, 3 * size), "gates": (2 * size, 5 * size), "out": (size, CLASSES)}
    layers = torch.nn.ModuleDict({name: torch.nn.Linear(*given) for name, given in sizes.items()})
    layers["embed"] = torch.nn.Embedding(WORDS, size)
    optimizer = torch.optim.SGD(layers.parameters(), lr=RATE)

    def state(node: Node) -> Any:
        if not node.children:
            gates = layers["leaf"](layers["embed"](torch.tensor(node.word)))
            i, o, u = torch.chunk(gates, 3)
            memory = torch.sigmoid(i) * torch.tanh(u)
        else:
            left, right = map(state, node.children)
            gates = layers["gates"](torch.cat([left[1], right[1]]))
            i, first, second, o, u = torch.chunk(gates, 5)
            kept = torch.sigmoid(first) * left[0] + torch.sigmoid(second) * right[0]
            memory = torch.sigmoid(i) * torch.tanh(u) + kept
        return memory, torch.sigmoid(o) * torch.tanh(memory)

    def train(node: Node, label: int) -> None:
        scores = layers["out"](state(node)[1])
        loss = torch.nn.functional.cross_entropy(scores, torch.tensor(label))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def infer(node: Node, label: int) -> None:
        with torch.no_grad():
            layers["out"](state(node)[1])

    return Way("torch", train if trains else infer)


def compared(ways: list[Way], given: list[tuple[Node, int]], what: str) -> dict[str, list[float]]:
    """Seconds of each tree by each way, in turns."""
    seconds: dict[str, list[float]] = {way.name: [] for way in ways}
    for node, label in tqdm(given, what):
        found = set()
        for way in ways:
            start = perf_counter()
            result = way.run(node, label)
            seconds[way.name].append(perf_counter() - start)
            if result is not None:
                found.add(np.asarray(result.detach()).tobytes())
        assert len(found) == 1, "results differ"
    return seconds


def main(argv: list[str] | None = None) -> None:
    """Print one line per way, for training and for inference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--trees", type=int, default=1000)
    parser.add_argument("--size", type=int, default=64)
    args = parser.parse_args(argv)
    given = sentences(args.trees)
    for trains in (True, False):
        what = "training" if trains else "inference"
        ways = [ours(args.size, trains, decorated) for decorated in (False, True)]
        peer = theirs(args.size, trains)
        seconds = compared(ways if peer is None else [*ways, peer], given, what)
        for name, taken in seconds.items():
            late = statistics.median(taken[len(taken) // 2 :]) * 1e6
            ratio = sum(seconds["eager"]) / sum(taken)
            print(
                f"{what:10} {name:10} {sum(taken):8.3f} s in all ({ratio:5.2f} times as fast as "
                f"eager) {late:8.0f} us a tree in the second half"
            )
        print(f"{what:10} {ways[1].function.cache_info()}")


if __name__ == "__main__":
    main()
