"""Parameters of an op that are equal as Python values but not in bits are different parameters."""

from __future__ import annotations

import numpy as np
import pytest

import hybrid as hb


@pytest.mark.parametrize("order", [(0.0, -0.0), (-0.0, 0.0)], ids=str)
@pytest.mark.parametrize("traced", [False, True])
def test_signed_zeros_of_parameters(order: tuple[float, float], traced: bool) -> None:
    def slopes(x: hb.Tensor) -> list[hb.Tensor]:
        return [hb.nn.functional.leaky_relu(x, slope) for slope in (*order, *order)]

    f = hb.function(slopes) if traced else slopes
    x = hb.tensor([-1.0, -0.0, 2.0])
    for _ in range(4):
        got = f(x)
    want = [np.where(x.numpy() > 0, x.numpy(), x.numpy() * np.float32(k)) for k in order]
    for y, w in zip(got, [*want, *want]):
        assert np.signbit(y.numpy()).tolist() == np.signbit(w).tolist()
