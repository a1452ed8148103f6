"""Train each model eagerly and traced, compare bit for bit, print a table, write a report.

Invariant: both runs execute the same Python function on the same data; only the decorator differs.
"""
from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import function, manual_seed, nn, no_grad, optim, tensor
from .models import Digits, cnn, load_digits, mlp
from .report import write_report

__all__ = ["run_demo", "Run", "train"]


LEARNING_RATE = 5e-3


class Run(NamedTuple):
    """One training run: losses and seconds per step, held-out accuracy, predictions."""

    model: str
    mode: str
    losses: np.ndarray
    seconds: np.ndarray
    accuracy: float
    predictions: np.ndarray

    @property
    def median_us(self) -> float:
        """Median time of a step in microseconds, the recording calls left out."""
        return float(np.median(self.seconds[5:])) * 1e6


def _accuracy(net: nn.Module, data: Digits) -> tuple[float, np.ndarray]:
    net.eval()
    with no_grad():
        guess = net(tensor(data.test_x)).argmax(axis=1).numpy().copy()
    net.train()
    return float((guess == data.test_y).mean()), guess


def train(name: str, make: Callable[[], nn.Module], data: Digits, traced: bool, epochs: int, batch: int, seed: int,
          bar: Any) -> Run:
    """Train a fresh model; every step's loss is read back as a float."""
    manual_seed(seed)
    net = make()
    optimizer = optim.Adam(net.parameters(), lr=LEARNING_RATE)

    def step(x: Any, y: Any) -> Any:
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    run = function(step) if traced else step
    order, losses, seconds = np.random.default_rng(seed), [], []
    per_epoch = len(data.train_x) // batch
    for epoch in range(epochs):
        optimizer.lr = LEARNING_RATE * (1 - epoch / epochs) + 1e-5
        shuffled = order.permutation(len(data.train_x))
        for i in range(per_epoch):
            pick = shuffled[i * batch:(i + 1) * batch]
            x, y = tensor(data.train_x[pick]), tensor(data.train_y[pick])
            start = time.perf_counter()
            loss = run(x, y).item()
            seconds.append(time.perf_counter() - start)
            losses.append(loss)
            bar.update(1)
    accuracy, guess = _accuracy(net, data)
    return Run(name, "traced" if traced else "eager", np.array(losses, np.float32), np.array(seconds), accuracy, guess)


def _row(eager: Run, traced: Run) -> tuple[str, ...]:
    same = eager.losses.tobytes() == traced.losses.tobytes()
    first = "" if same else f" (first at step {int(np.argmax(eager.losses != traced.losses))})"
    return (eager.model, f"{eager.median_us:.0f} us", f"{traced.median_us:.0f} us",
            f"{eager.median_us / traced.median_us:.1f} x", f"{traced.accuracy:.2%}",
            f"equal in all {len(eager.losses)} steps" if same else "DIFFERENT" + first)


def run_demo(epochs: int = 30, batch: int = 64, seed: int = 0, out: str = "report.html") -> int:
    """The whole demonstration; returns 0 when losses are equal bit for bit and accuracy is above 97 %."""
    data = load_digits(seed)
    from tqdm import tqdm
    steps = 4 * epochs * (len(data.train_x) // batch)
    runs: list[Run] = []
    with tqdm(total=steps, unit="step", desc="training") as bar:
        for name, make in (("CNN", cnn), ("MLP", mlp)):
            for traced in (False, True):
                bar.set_description(f"{name}, {'traced' if traced else 'eager'}")
                runs.append(train(name, make, data, traced, epochs, batch, seed, bar))
    head = ("model", "eager step", "traced step", "speed-up", "held-out", "losses, bit for bit")
    rows = [_row(runs[i], runs[i + 1]) for i in (0, 2)]
    widths = [max(len(r[k]) for r in [head, *rows]) for k in range(len(head))]
    for r in [head, tuple("-" * w for w in widths), *rows]:
        print("  ".join(c.ljust(w) for c, w in zip(r, widths)))
    write_report(out, data, runs, head, rows)
    print(f"report: {out}")
    good = all("equal" in r[-1] for r in rows) and all(r.accuracy > 0.97 for r in runs)
    return 0 if good else 1
