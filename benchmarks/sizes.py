"""Sizes of the workloads, equal for hybrid and every peer, and the timing loop.

Invariant: float32, the same arithmetic, the loss read back as a Python float in every step.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

MLP = {
    "small": (32, 64, 64, 10),
    "mid": (32, 784, 256, 10),
    "big": (512, 1024, 1024, 10),
}  # batch, in, hidden, out
GPT = {"batch": 8, "length": 64, "width": 128, "heads": 4, "layers": 4, "vocabulary": 65}
LSTM = {"batch": 16, "length": 32, "embedding": 64, "hidden": 128, "vocabulary": 65}
CNN = {"batch": 32}
TRAINING = ("toy", "mlp_small", "mlp_mid", "mlp_big", "cnn", "lstm", "gpt")
KERNELS = (
    "gelu",
    "softmax",
    "layernorm",
    "gemm_64",
    "gemm_256",
    "gemm_1024",
    "add_eager",
    "add_eager_grad",
)
ALL = TRAINING + KERNELS

generator = np.random.default_rng(0)


class NoSuchWorkload(Exception):
    """A framework does not offer this workload; the worker then exits with status 3."""


def randn(*shape: int, scale: float = 1.0) -> np.ndarray:
    """Normal float32 samples from the shared generator."""
    return (generator.standard_normal(shape) * scale).astype(np.float32)


def median_us(run: Callable[[], object], budget: float = 2.0) -> float:
    """Median over 7 batches of the mean time of a call, microseconds;
    the batches fill `budget` seconds."""
    for _ in range(5):
        run()
    start = time.perf_counter()
    run()
    duration = time.perf_counter() - start
    repeats = max(1, int(budget / 7 / max(duration, 1e-7)))
    means = []
    for _ in range(7):
        start = time.perf_counter()
        for _ in range(repeats):
            run()
        means.append((time.perf_counter() - start) / repeats)
    return sorted(means)[3] * 1e6
