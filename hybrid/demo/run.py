"""Train each model eagerly and traced, in turns, compare bit for bit, and report.

Invariant: both modes execute the same Python function on the same data from the same start; they
share no weights, no optimizer and no stream of random numbers, and only the decorator differs.
"""

from __future__ import annotations

import inspect as source
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .. import (
    HybridError,
    compare,
    function,
    inspect,
    manual_seed,
    nn,
    no_grad,
    optim,
    random,
    tensor,
)
from .models import Digits, cnn, load_digits, mlp
from .report import write_report
from .result import Pair, Run

__all__ = ["run_demo", "Run", "Pair", "train_in_turns", "make_step"]

LEARNING_RATE = 5e-3
HEAD = (
    "model",
    "eager step",
    "traced step",
    "speed-up",
    "8 of 10 pairs",
    "held-out accuracy",
    "losses, bit for bit",
)


def make_step(net: nn.Module, optimizer: optim.Optimizer) -> Callable[[Any, Any], Any]:
    """The training step that both runs execute."""

    def step(images: Any, labels: Any) -> Any:
        loss = nn.functional.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


class Learner:
    """A fresh model in one mode, with all that its training changes: weights, optimizer, place in
    the stream of random numbers, and what was measured."""

    def __init__(
        self, make_model: Callable[[], nn.Module], traced: bool, seed: int, device: str = "cpu"
    ) -> None:
        manual_seed(seed)
        self.net, self.device = make_model().to(device), device
        self.optimizer = optim.Adam(self.net.parameters(), lr=LEARNING_RATE)
        plain = make_step(self.net, self.optimizer)
        self.mode: Literal["eager", "traced"] = "traced" if traced else "eager"
        self.step: Any = function(plain) if traced else plain
        # dropout draws from the one default generator; each learner goes on where it stopped
        self.generator = random.default_generator(device)
        self.stream = random.get_state().to(device)  # on any device the same numbers follow
        self.losses: list[float] = []
        self.seconds: list[float] = []
        self.guesses: list[np.ndarray] = []

    def on_device(self, array: np.ndarray) -> Any:
        """A tensor of a host array."""
        return tensor(array, device=self.device)

    def learn(self, images: np.ndarray, labels: np.ndarray) -> None:
        """One step, timed; its loss is read back as a float."""
        self.generator.set_state(self.stream)
        batch = self.on_device(images), self.on_device(labels)
        start = time.perf_counter()
        loss = self.step(*batch).item()
        self.seconds.append(time.perf_counter() - start)
        self.losses.append(loss)
        self.stream = self.generator.get_state()

    def guess(self, images: np.ndarray) -> None:
        """Keep what the model reads in the held-out images now."""
        self.net.eval()
        with no_grad():
            best = self.net(self.on_device(images)).argmax(axis=1)
            self.guesses.append(best.cpu().numpy().copy())
        self.net.train()

    def result(self, name: str, digits: Digits, batch: int) -> Run:
        """What was measured; for the traced mode also what was compiled."""
        compiled, drawing = None, ""
        if self.mode == "traced":
            self.generator.set_state(self.stream)
            first = digits.train_x[:batch], digits.train_y[:batch]
            example = self.on_device(first[0]), self.on_device(first[1])
            compiled = compare(self.step, *example, repeat=5)
            if self.step.cache_info().replays:
                drawing = inspect(self.step, *example)._repr_html_()
        return Run(
            name,
            self.mode,
            np.array(self.losses, np.float32),
            np.array(self.seconds),
            np.array([(guess == digits.test_y).mean() for guess in self.guesses]),
            self.guesses[-1],
            compiled,
            drawing,
        )


def train_in_turns(
    name: str,
    make_model: Callable[[], nn.Module],
    digits: Digits,
    epochs: int,
    batch: int,
    seed: int,
    progress: Any,
    device: str = "cpu",
) -> Pair:
    """Train two fresh models of one seed, one eagerly and one traced: each batch goes to both, one
    right after the other, so that a drift of the machine meets both alike."""
    learners = [Learner(make_model, traced, seed, device) for traced in (False, True)]
    order = np.random.default_rng(seed)
    for epoch in range(epochs):
        for learner in learners:
            learner.optimizer.lr = LEARNING_RATE * (1 - epoch / epochs) + 1e-5
        shuffled = order.permutation(len(digits.train_x))
        for first in range(0, len(shuffled) - batch + 1, batch):
            pick = shuffled[first : first + batch]
            images, labels = digits.train_x[pick], digits.train_y[pick]
            for learner in learners:
                learner.learn(images, labels)
                progress.update(1)
            # who goes second finds the batch in the caches: both do so equally often
            learners.reverse()
        for learner in learners:
            learner.guess(digits.test_x)
    results = {learner.mode: learner.result(name, digits, batch) for learner in learners}
    return Pair(results["eager"], results["traced"])


def _row(pair: Pair) -> tuple[str, ...]:
    lower, upper = pair.spread
    steps = len(pair.different)
    verdict = f"equal in all {steps} steps"
    if pair.different.any():
        verdict = f"DIFFERENT, first at step {int(np.argmax(pair.different))}"
    elif not pair.same_bits:
        verdict = "DIFFERENT predictions"
    return (
        pair.eager.model,
        f"{pair.eager.median_us:.0f} us",
        f"{pair.traced.median_us:.0f} us",
        f"{pair.speed_up:.1f} x",
        f"{lower:.1f} to {upper:.1f} x",
        f"{pair.traced.accuracy:.2%}",
        verdict,
    )


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(HEAD, *rows)]
    for row in [HEAD, tuple("-" * width for width in widths), *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def run_demo(
    epochs: int = 30,
    batch: int = 64,
    seed: int = 0,
    out: str = "report.html",
    device: str = "cpu",
) -> int:
    """The whole demonstration; returns 0 when losses and predictions are equal bit for bit,
    1 when not."""
    try:
        tensor(0.0, device=device)
    except HybridError as error:
        raise SystemExit(f"--device {device}: {error}") from error
    if epochs < 1 or batch < 1:
        raise SystemExit("--epochs and --batch must be at least 1")
    if not Path(out).absolute().parent.is_dir():
        raise SystemExit(f"--out {out}: there is no such folder")
    digits = load_digits(seed)
    if batch > len(digits.train_x):
        raise SystemExit(f"--batch {batch}: there are only {len(digits.train_x)} training images")
    from tqdm import tqdm

    pairs: list[Pair] = []
    steps = 4 * epochs * (len(digits.train_x) // batch)
    with tqdm(total=steps, unit="step", mininterval=0.3) as progress:
        for name, make_model in (("CNN", cnn), ("MLP", mlp)):
            progress.set_description(f"{name}, eager and traced in turns")
            pair = train_in_turns(name, make_model, digits, epochs, batch, seed, progress, device)
            pairs.append(pair)
    rows = [_row(pair) for pair in pairs]
    _print_table(rows)
    print("step: median; speed-up: median over pairs of neighbouring steps, timed in turns")
    write_report(out, digits, pairs, HEAD, rows, textwrap.dedent(source.getsource(make_step)))
    print(f"report: {out}")
    return 0 if all(pair.same_bits for pair in pairs) else 1
