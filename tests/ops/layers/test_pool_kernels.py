"""Kernels of pooling: loads of vectors instead of gathers, and none of them in a row of several
axes, where places are not evenly spaced."""

import numpy as np
import pytest

import hybrid
from hybrid.backends.emit.loops import generate
from hybrid.backends.plan import LoopKernel


def loops_of(function, *args):
    """The loop kernels that a traced call replays, with its bits checked against eager's."""
    traced = hybrid.function(function)
    for _ in range(3):
        got = traced(*args)
    for mine, want in zip(got, function(*args)):
        assert mine.numpy().tobytes() == want.numpy().tobytes()
    plan = traced.prepared(*args)[0].result.plan
    return [step for step in plan.steps if isinstance(step, LoopKernel)]


def gathering(kernels):
    return [k for k in kernels if any(access.gather for access in k.reads)]


WINDOWS = [(2, 2, 0), (2, 2, 1), (3, 2, 1), (3, 1, 1), (3, 3, 0), (2, 4, 0)]


@pytest.mark.parametrize("kernel, stride, padding", WINDOWS)
@pytest.mark.parametrize("pool", [hybrid.max_pool2d, hybrid.avg_pool2d])
def test_windows_are_read_by_vectors(pool, kernel, stride, padding):
    images = hybrid.tensor(np.random.default_rng(0).standard_normal((2, 3, 24, 40)), "float32")

    def both(x):
        pooled = pool(x, kernel, stride, padding)
        return pooled, hybrid.grad(lambda x: (pool(x, kernel, stride, padding) * pooled).sum())(x)

    found = gathering(loops_of(both, images))
    assert len(found) == 2
    for loop in found:
        gathers = "masked.gather" in generate(loop).text
        # a quotient by 3 of the number of a column is not the same in all vectors
        assert gathers == (stride == 3 and loop.shape == images.shape), loop.shape


@pytest.mark.parametrize("axes", [(2, 3), (1, 2, 3), (3,)])
def test_a_sum_over_several_axes_reads_what_pooling_stored(axes):
    rng = np.random.default_rng(1)
    images = hybrid.tensor(rng.standard_normal((2, 3, 8, 20)), dtype="float32")
    weights = hybrid.tensor(rng.standard_normal((2, 3, 4, 10)), dtype="float32")

    def step(x, w):
        gradient = hybrid.grad(lambda x: (hybrid.max_pool2d(x, 2) * w).sum())(x)
        return gradient, gradient.sum(axis=axes)

    kernels = loops_of(step, images, weights)
    rows = [k for k in kernels if k.group is not None]
    assert len(rows) == 1 and bool(gathering(rows)) == (axes == (3,))
    assert len(gathering(kernels)) == 2
