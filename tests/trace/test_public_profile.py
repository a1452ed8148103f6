"""hybrid.profile: one row per kernel, lines of the user, nothing changed."""

import numpy as np
import pytest

import hybrid
from hybrid import nn, optim


def test_profile_of_a_training_step():
    hybrid.manual_seed(0)
    model = nn.Linear(8, 4)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    @hybrid.function
    def step(x):
        loss = (model(x) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    x = hybrid.randn(16, 8)
    with pytest.raises(hybrid.HybridError, match="at least twice"):
        hybrid.profile(step, x)
    for _ in range(4):
        step(x)
    before = model.weight.numpy().copy()
    p = hybrid.profile(step, x, runs=3)
    assert len(p) == len(step.prepared(x)[0].result.plan.steps)
    assert np.array_equal(before, model.weight.numpy())
    assert abs(sum(r.share for r in p) - 1) < 1e-6 and p.seconds > 0
    assert "test_public_profile.py" in str(p) and "<table>" in p._repr_html_()
    assert p.slowest()[0].seconds >= p.slowest()[-1].seconds


def test_profile_refuses_plain_functions():
    with pytest.raises(TypeError):
        hybrid.profile(lambda x: x, hybrid.ones(2))
