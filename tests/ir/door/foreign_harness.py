"""Data of Python and NumPy beside tensors: one function eagerly and replayed, compared bit for bit."""

from collections.abc import Callable
from typing import Any

import numpy as np

import hybrid as hb

TENTH = [0.1, 0.2, 1e300]
D = np.array([1.0, 2.0, 3.0])


def both(f: Callable[..., Any], *args: Any) -> list[np.ndarray]:
    """The result of f, eagerly and of three decorated calls, which must be replayed in the end."""

    def one(g: Callable[..., Any]) -> np.ndarray:
        return np.array(g(*[hb.tensor(a) for a in args]).numpy())

    traced = hb.function(f)
    out = [one(f)] + [one(traced) for _ in range(3)]
    for other in out[1:]:
        assert other.dtype == out[0].dtype and other.tobytes() == out[0].tobytes()
    return out


def same(got: np.ndarray, want: Any) -> None:
    assert got.dtype == want.dtype and got.shape == want.shape and got.tobytes() == want.tobytes()
