"""What a demonstration measured: one run per mode, and the two runs of a model as a pair.

Invariant: step number k of both runs of a pair had the same batch and was timed right beside the
other one; ratios are taken of such neighbours only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import Comparison

__all__ = ["WARM", "Run", "Pair"]

WARM = 5  # steps left out of all times: the traced run records and compiles in them


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
    def timed(self) -> np.ndarray:
        """Seconds of the steps after the recording calls (of all, where there are no others)."""
        return self.seconds[WARM:] if len(self.seconds) > WARM else self.seconds

    @property
    def median_us(self) -> float:
        """Median time of a step in microseconds, the recording calls left out."""
        return float(np.median(self.timed)) * 1e6

    @property
    def accuracy(self) -> float:
        """Held-out accuracy after the last epoch."""
        return float(self.accuracies[-1])


class Pair(NamedTuple):
    """One model trained both ways, step by step in turns."""

    eager: Run
    traced: Run

    @property
    def ratios(self) -> np.ndarray:
        """Eager over traced time of each pair of neighbouring steps."""
        return self.eager.timed / self.traced.timed

    @property
    def speed_up(self) -> float:
        """Median of the paired ratios."""
        return float(np.median(self.ratios))

    @property
    def spread(self) -> tuple[float, float]:
        """Eight of ten paired ratios lie between these two."""
        low, high = np.quantile(self.ratios, (0.1, 0.9))
        return float(low), float(high)

    @property
    def different(self) -> np.ndarray:
        """For each step: the 32 bits of the two losses are not the same."""
        return self.eager.losses.view(np.uint32) != self.traced.losses.view(np.uint32)

    @property
    def same_bits(self) -> bool:
        """All losses and all predictions are equal bit for bit."""
        same_guess = (self.eager.predictions == self.traced.predictions).all()
        return bool(same_guess) and not self.different.any()
