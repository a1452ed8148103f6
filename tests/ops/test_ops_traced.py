"""Composed functions under @hybrid.function: the bits of eager calls, draw after draw."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from backend_kinds import KINDS, tensor

import hybrid
from hybrid.core.aval import HOST

RNG = np.random.default_rng(9)


def draw(*shape: int, kind: str = HOST.kind) -> hybrid.Tensor:
    return tensor(RNG.normal(size=shape).astype(np.float32), kind)


class Data(NamedTuple):
    """What the functions below read beside their argument."""

    image: hybrid.Tensor
    weight: hybrid.Tensor
    index: hybrid.Tensor
    mask: hybrid.Tensor
    volume: hybrid.Tensor
    taps: hybrid.Tensor


ARRAYS = (
    RNG.normal(size=(2, 3, 8, 8)).astype(np.float32),
    RNG.normal(size=(5, 3, 3, 3)).astype(np.float32),
    np.array([0, 1, 2, 5]),
    RNG.random((4, 4)) > 0.4,
    np.random.default_rng(10).normal(size=(2, 3, 4, 5, 6)).astype(np.float32),
    np.random.default_rng(11).normal(size=(5, 3, 2, 3, 3)).astype(np.float32),
)
DATA = {kind: Data(*[tensor(a, kind) for a in ARRAYS]) for kind in KINDS}


def at(x: hybrid.Tensor) -> Data:
    return DATA[x.device.kind]


FUNCTIONS = {
    "zeros": lambda x: x + hybrid.zeros(4, 6, device=x.device),
    "arange": lambda x: x * hybrid.arange(6, device=x.device),
    "rand": lambda x: x * hybrid.rand(4, 6, device=x.device),
    "dropout": lambda x: hybrid.dropout(x, 0.5),
    "cross_entropy": lambda x: hybrid.cross_entropy(x, at(x).index),
    "smoothing": lambda x: hybrid.cross_entropy(x, at(x).index, label_smoothing=0.1),
    "nll": lambda x: hybrid.nll_loss(x, at(x).index),
    "softmax0": lambda x: hybrid.softmax(x, 0),
    "log_softmax": lambda x: hybrid.log_softmax(x),
    "getitem": lambda x: x[:, at(x).index] + x[1:2, :4],
    "slices": lambda x: x[::-1, 1] * x[:, -1],
    "setitem": lambda x: hybrid.setitem(x, (slice(0, 2), at(x).index), 1.0),
    "masked": lambda x: hybrid.setitem(x, x > 0, 0.5),
    "take": lambda x: hybrid.take(x, at(x).index, 1),
    "embedding": lambda x: hybrid.embedding(x, hybrid.tensor([0, 3], device=x.device)),
    "pool": lambda x: hybrid.max_pool2d(
        hybrid.conv2d(at(x).image * x[0, 0], at(x).weight, padding=1), 2
    ),
    "avg_pool": lambda x: hybrid.avg_pool2d(at(x).image * x[0, 0], 3, 2, 1),
    "volumes": lambda x: hybrid.max_pool3d(
        hybrid.conv3d(at(x).volume * x[0, 0], at(x).taps, padding=1), 2
    ),
    "transposed volumes": lambda x: hybrid.avg_pool3d(
        hybrid.conv_transpose3d(at(x).volume * x[0, 0], at(x).taps[:3], stride=2), 3, 2, 1
    ),
    "lines": lambda x: hybrid.max_pool1d(hybrid.conv1d(x[:3], at(x).taps[..., 0, 0]), 2),
    "permutation": lambda x: hybrid.random.permutation(x),
    "sort": lambda x: hybrid.sort(x),
    "cumulative": lambda x: hybrid.cumulative_sum(x, 1),
    "norm": lambda x: hybrid.norm(x, axis=0),
    "layer_norm": lambda x: hybrid.layer_norm(x, 6, x[0], x[1]),
    "batch_norm": lambda x: hybrid.batch_norm(x, training=True),
    "attention": lambda x: hybrid.scaled_dot_product_attention(x, x * 2, x, is_causal=True),
    "masked_attention": lambda x: hybrid.scaled_dot_product_attention(x, x, x, at(x).mask),
    "einsum": lambda x: hybrid.einsum("ij,kj->ik", x, x),
    "one_hot": lambda x: hybrid.one_hot(at(x).index, 6) * x,
    "pad": lambda x: hybrid.pad(x, 1, constant_values=2.0),
    "tile": lambda x: hybrid.tile(x, 2),
    "roll": lambda x: hybrid.roll(x, 1, 0),
    "split": lambda x: hybrid.split(x, 2)[1] * 2,
    "stack": lambda x: hybrid.stack([x, x]),
    "topk": lambda x: hybrid.topk(x, 2).values,
    "unfold": lambda x: hybrid.unfold(x, 2),
    "std": lambda x: hybrid.std(x, 0),
    "var": lambda x: hybrid.var(x),
    "logsumexp": lambda x: hybrid.logsumexp(x, 0),
    "prod": lambda x: hybrid.prod(x, axis=1),
    "max": lambda x: hybrid.max(x, axis=0),
    "linear": lambda x: hybrid.linear(x, x, x[:, 0]),
    "diagonal": lambda x: hybrid.diagonal(x, 1),
    "bce": lambda x: hybrid.binary_cross_entropy_with_logits(x, hybrid.one_hot(at(x).index, 6)),
    "tril": lambda x: hybrid.tril(x),
}


def same(a: list[np.ndarray], b: list[np.ndarray]) -> None:
    for x, y in zip(a, b, strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape
        np.testing.assert_array_equal(x.view(np.uint32), y.view(np.uint32))


def results(fn, x: hybrid.Tensor) -> list[np.ndarray]:
    """Five calls on different data, from one state of the generator."""
    hybrid.manual_seed(12)
    return [np.asarray(fn(x * float(k))) for k in range(1, 6)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values(name, backend_kind) -> None:
    x, fn = draw(4, 6, kind=backend_kind), FUNCTIONS[name]
    traced = hybrid.function(fn)
    same(results(fn, x), results(traced, x))
    assert "3 replays" in traced.explain()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients(name, backend_kind) -> None:
    fn = FUNCTIONS[name]

    def loss(x):
        return (fn(x) ** 2).sum()

    x, grad = draw(4, 6, kind=backend_kind), hybrid.grad(loss)
    traced = hybrid.function(grad)
    same(results(grad, x), results(traced, x))
    assert "3 replays" in traced.explain()


def test_a_bad_index_raises_in_a_replay_and_changes_nothing() -> None:
    x = draw(4, 6)
    traced = hybrid.function(lambda t, i: hybrid.take(t, i, 0) * hybrid.rand(1))
    good, bad = hybrid.tensor([0, 3]), hybrid.tensor([0, 4])
    for _ in range(3):
        traced(x, good)
    state = np.asarray(hybrid.random.get_state())
    with pytest.raises(IndexError, match="axis 0 has size 4"):
        traced(x, bad)
    np.testing.assert_array_equal(np.asarray(hybrid.random.get_state()), state)
    traced(x, good)
