"""Train each model eagerly and traced, compare bit for bit, print a table, write a report.

Invariant: both runs execute the same Python function on the same data; only the decorator differs.
"""

from __future__ import annotations

import inspect as source
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import Comparison, compare, function, inspect, manual_seed, nn, no_grad, optim, tensor
from .models import Digits, cnn, load_digits, mlp
from .report import write_report

__all__ = ["run_demo", "Run", "train", "make_step"]

LEARNING_RATE = 5e-3
WARM = 5  # steps left out of the medians: the traced run records and compiles in them
HEAD = (
    "model",
    "eager step",
    "traced step",
    "speed-up",
    "held-out accuracy",
    "losses, bit for bit",
)


class Run(NamedTuple):
    """One training run: losses and seconds per step, held-out accuracy per epoch, predictions,
    what was compiled."""

    model: str
    mode: str
    losses: np.ndarray
    seconds: np.ndarray
    accuracies: np.ndarray
    predictions: np.ndarray
    compiled: Comparison | None
    drawing: str

    @property
    def median_us(self) -> float:
        """Median time of a step in microseconds, the recording calls left out."""
        return (
            float(np.median(self.seconds[WARM:] if len(self.seconds) > WARM else self.seconds))
            * 1e6
        )

    @property
    def accuracy(self) -> float:
        """Held-out accuracy after the last epoch."""
        return float(self.accuracies[-1])


def make_step(net: nn.Module, optimizer: optim.Optimizer) -> Callable[[Any, Any], Any]:
    """The training step that both runs execute."""

    def step(x: Any, y: Any) -> Any:
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def _guess(net: nn.Module, data: Digits) -> np.ndarray:
    net.eval()
    with no_grad():
        guess = net(tensor(data.test_x)).argmax(axis=1).numpy().copy()
    net.train()
    return guess


def train(
    name: str,
    make: Callable[[], nn.Module],
    data: Digits,
    traced: bool,
    epochs: int,
    batch: int,
    seed: int,
    bar: Any,
) -> Run:
    """Train a fresh model; every step's loss is read back as a float."""
    manual_seed(seed)
    net = make()
    optimizer = optim.Adam(net.parameters(), lr=LEARNING_RATE)
    plain = make_step(net, optimizer)
    step: Any = function(plain) if traced else plain
    order, losses, seconds, accuracies = np.random.default_rng(seed), [], [], []
    x, y, guess = tensor(data.train_x[:batch]), tensor(data.train_y[:batch]), data.test_y
    for epoch in range(epochs):
        optimizer.lr = LEARNING_RATE * (1 - epoch / epochs) + 1e-5
        shuffled = order.permutation(len(data.train_x))
        for i in range(len(data.train_x) // batch):
            pick = shuffled[i * batch : (i + 1) * batch]
            x, y = tensor(data.train_x[pick]), tensor(data.train_y[pick])
            start = time.perf_counter()
            losses.append(step(x, y).item())
            seconds.append(time.perf_counter() - start)
            bar.update(1)
        guess = _guess(net, data)
        accuracies.append((guess == data.test_y).mean())
    return Run(
        name,
        "traced" if traced else "eager",
        np.array(losses, np.float32),
        np.array(seconds),
        np.array(accuracies),
        guess,
        compare(step, x, y, repeat=5) if traced else None,
        inspect(step, x, y)._repr_html_() if traced and step.cache_info().replays else "",
    )


def _row(eager: Run, traced: Run) -> tuple[str, ...]:
    same = _equal(eager, traced)
    first = "" if same else f", first at step {int(np.argmax(eager.losses != traced.losses))}"
    return (
        eager.model,
        f"{eager.median_us:.0f} us",
        f"{traced.median_us:.0f} us",
        f"{eager.median_us / traced.median_us:.1f} x",
        f"{traced.accuracy:.2%}",
        f"equal in all {len(eager.losses)} steps" if same else "DIFFERENT" + first,
    )


def _equal(eager: Run, traced: Run) -> bool:
    """Losses and predictions are the same bits."""
    return eager.losses.tobytes() == traced.losses.tobytes() and bool(
        (eager.predictions == traced.predictions).all()
    )


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(r[k]) for r in [HEAD, *rows]) for k in range(len(HEAD))]
    for r in [HEAD, tuple("-" * w for w in widths), *rows]:
        print("  ".join(c.ljust(w) for c, w in zip(r, widths)).rstrip())


def run_demo(epochs: int = 30, batch: int = 64, seed: int = 0, out: str = "report.html") -> int:
    """The whole demonstration; returns 0 when losses and predictions are equal bit for bit,
    1 when not."""
    if epochs < 1 or batch < 1:
        raise SystemExit("--epochs and --batch must be at least 1")
    if not Path(out).absolute().parent.is_dir():
        raise SystemExit(f"--out {out}: there is no such folder")
    data = load_digits(seed)
    if batch > len(data.train_x):
        raise SystemExit(f"--batch {batch}: there are only {len(data.train_x)} training images")
    from tqdm import tqdm

    runs: list[Run] = []
    with tqdm(total=4 * epochs * (len(data.train_x) // batch), unit="step", mininterval=0.3) as bar:
        for name, make in (("CNN", cnn), ("MLP", mlp)):
            for traced in (False, True):
                bar.set_description(f"{name}, {'traced' if traced else 'eager'}".ljust(11))
                runs.append(train(name, make, data, traced, epochs, batch, seed, bar))
    rows = [_row(runs[i], runs[i + 1]) for i in (0, 2)]
    _print_table(rows)
    write_report(out, data, runs, HEAD, rows, textwrap.dedent(source.getsource(make_step)))
    print(f"report: {out}")
    return 0 if all(_equal(runs[i], runs[i + 1]) for i in (0, 2)) else 1
