"""Data and models of the demonstration.

Invariant: the same seed gives the same weights, batches and therefore the same bits in both modes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import nn

__all__ = ["Digits", "load_digits", "cnn", "mlp"]


class Digits(NamedTuple):
    """Images (N, 1, 8, 8) float32 in 0..1 and labels (N,) int64, for training and held out."""

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


def load_digits(seed: int = 0) -> Digits:
    """scikit-learn's 1797 handwritten digits (UCI Optical Recognition of Handwritten Digits), a
    fifth held out."""
    try:
        from sklearn.datasets import load_digits as load
        from sklearn.model_selection import train_test_split
    except ImportError as missing:
        raise SystemExit(
            "the demo needs scikit-learn, matplotlib and tqdm: pip install 'hybrid[demo]'"
        ) from missing
    data: Any = load()
    images = (data.images / 16.0).astype(np.float32)[:, None]
    labels = data.target.astype(np.int64)
    parts = train_test_split(images, labels, test_size=0.2, random_state=seed, stratify=labels)
    train_x, test_x, train_y, test_y = map(np.ascontiguousarray, parts)
    return Digits(train_x, train_y, test_x, test_y)


def cnn() -> nn.Module:
    """Two convolutions with pooling and a linear classifier, for 8 x 8 images."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(32 * 2 * 2, 10),
    )


def mlp() -> nn.Module:
    """Two hidden layers, of 256 and 128, with dropout on the image and between them."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(64, 256),
        nn.GELU(approximate="tanh"),
        nn.Dropout(0.3),
        nn.Linear(256, 128),
        nn.GELU(approximate="tanh"),
        nn.Linear(128, 10),
    )
