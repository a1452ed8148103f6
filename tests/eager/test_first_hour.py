"""What newcomers try first: NumPy arrays and lists as operands, typical mistakes, their messages."""

from __future__ import annotations

import numpy as np
import pytest

import hybrid
from hybrid import nn, optim
from hybrid.core import spelling

F = nn.functional
A = np.arange(12, dtype=np.float32).reshape(4, 3) / 7 - 0.5
IMAGES = np.linspace(-1, 1, 192, dtype=np.float32).reshape(1, 3, 8, 8)
WEIGHT = np.linspace(-1, 1, 108, dtype=np.float32).reshape(4, 3, 3, 3)
CLASSES = np.array([0, 2, 1, 1])
TAKES_ARRAYS = {
    "cross_entropy": lambda c: F.cross_entropy(c(A), c(CLASSES)),
    "nll_loss": lambda c: F.nll_loss(c(A), c(CLASSES)),
    "mse_loss": lambda c: F.mse_loss(c(A), c(A + 1)),
    "conv1d": lambda c: F.conv1d(c(IMAGES[0]), c(IMAGES[0, :, :, :3][:, :8])),
    "conv2d": lambda c: F.conv2d(c(IMAGES), c(WEIGHT)),
    "conv3d": lambda c: F.conv3d(c(IMAGES[None]), c(WEIGHT[:, None])),
    "conv_transpose2d": lambda c: F.conv_transpose2d(c(IMAGES), c(WEIGHT[:3])),
    "conv_transpose3d": lambda c: F.conv_transpose3d(c(IMAGES), c(WEIGHT[:1, None])),
    "max_pool2d": lambda c: F.max_pool2d(c(IMAGES), 2),
    "avg_pool2d": lambda c: F.avg_pool2d(c(IMAGES), 2),
    "max_pool3d": lambda c: F.max_pool3d(c(IMAGES), 2),
    "avg_pool1d": lambda c: F.avg_pool1d(c(IMAGES[0]), 2),
    "layer_norm": lambda c: F.layer_norm(c(A), (3,)),
    "rms_norm": lambda c: F.rms_norm(c(A), (3,)),
    "group_norm": lambda c: F.group_norm(c(IMAGES), 3),
    "batch_norm": lambda c: F.batch_norm(c(IMAGES)),
    "attention": lambda c: F.scaled_dot_product_attention(c(IMAGES), c(IMAGES), c(IMAGES)),
    "embedding": lambda c: F.embedding(c(CLASSES), c(A)),
    "dropout": lambda c: F.dropout(c(A), 0.5, training=False) + 0,
    "softmax": lambda c: F.softmax(c(A), axis=0),
    "flatten": lambda c: nn.Flatten()(c(IMAGES)),
    "topk": lambda c: hybrid.topk(c(A), 2).values,
    "nonzero": lambda c: hybrid.nonzero(c(A))[0],
    "roll": lambda c: hybrid.roll(c(A), 1),
    "flip": lambda c: hybrid.flip(c(A)),
    "repeat": lambda c: hybrid.repeat(c(A), 2),
    "tile": lambda c: hybrid.tile(c(A), (2, 1)),
    "reshape": lambda c: hybrid.reshape(c(A), (3, 4)),
    "permute_dims": lambda c: hybrid.permute_dims(c(A), (1, 0)),
    "moveaxis": lambda c: hybrid.moveaxis(c(A), 0, 1),
    "squeeze": lambda c: hybrid.squeeze(c(A[None]), 0),
    "expand_dims": lambda c: hybrid.expand_dims(c(A), 0),
    "split": lambda c: hybrid.split(c(A), 2)[1],
    "unstack": lambda c: hybrid.unstack(c(A))[1],
    "diagonal": lambda c: hybrid.diagonal(c(A)),
    "broadcast_to": lambda c: hybrid.broadcast_to(c(A), (2, 4, 3)),
    "full_like": lambda c: hybrid.full_like(c(A), 2.0),
}


@pytest.mark.parametrize("name", TAKES_ARRAYS)
def test_arrays_and_lists_are_operands(name):
    call = TAKES_ARRAYS[name]
    want = call(hybrid.tensor).numpy()
    for convert in (np.asarray, np.ndarray.tolist):
        assert np.array_equal(call(convert).numpy(), want)


MISTAKES = {
    "add None": (lambda: hybrid.ones(3) + None, TypeError, "NoneType is not supported here"),
    "grad = 3": (lambda: setattr(hybrid.ones(3, requires_grad=True), "grad", 3), TypeError, "int"),
    "list in Sequential": (lambda: nn.Sequential([nn.ReLU()]), hybrid.HybridError, r"\*modules"),
    "optimizer of a model": (
        lambda: optim.SGD(nn.Linear(2, 2), lr=0.1),
        hybrid.HybridError,
        r"pass model.parameters\(\)",
    ),
    "an argument missing": (
        lambda: hybrid.where(1, 2),
        TypeError,
        "a condition alone, or with both",
    ),
    "padding": (
        lambda: F.conv2d(hybrid.tensor(IMAGES), hybrid.tensor(WEIGHT), padding="full"),
        hybrid.ShapeError,
        "not 'full'",
    ),
    "model to mps": (lambda: nn.Linear(2, 2).to("mps"), hybrid.DeviceError, "no device 'mps'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_messages_name_the_way_out(name):
    call, kind, text = MISTAKES[name]
    with pytest.raises(kind, match=text):
        call()


def test_module_to_takes_devices_and_dtypes():
    model = nn.Linear(3, 2)
    weight = model.weight
    assert model.to("cpu").to(device="cpu").to(hybrid.device("cpu")).weight is weight
    assert model.to("cpu", dtype="float64").weight.dtype is hybrid.float64
    assert model.to(hybrid.float32).bias.dtype is hybrid.float32


def test_a_large_numpy_argument_is_data():
    model = nn.Linear(64, 2)
    big = np.ones((32, 64), np.float32)

    @hybrid.function
    def score(x):
        return model(x).sum()

    got = [score(big).item() for _ in range(4)]
    assert got == [model(hybrid.tensor(big)).sum().item()] * 4
    assert score.cache_info().replays == 2
    assert score(big * 2).item() == model(hybrid.tensor(big * 2)).sum().item()
    assert score.cache_info().replays == 3


def test_names_of_other_libraries_lead_to_ours():
    with pytest.raises(AttributeError, match="it is called hybrid.concat here"):
        hybrid.cat  # noqa: B018
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'$"):
        hybrid.no_such_name  # noqa: B018
    assert not hasattr(hybrid, "from_numpy")
    for ours in spelling.FUNCTIONS.values():
        first = ours.partition(".")[0]
        assert hasattr(hybrid, first) or set(" (.") & set(ours), ours


def test_set_grad_enabled_works_as_a_call_a_scope_and_a_decorator():
    x = hybrid.ones(2, requires_grad=True)
    try:
        hybrid.set_grad_enabled(False)
        assert not (x * 2).requires_grad
        with hybrid.set_grad_enabled(True):
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
        hybrid.set_grad_enabled(True)
        assert (x * 2).requires_grad
        twice = hybrid.set_grad_enabled(False)(lambda: x * 2)
        assert (x * 2).requires_grad
        assert not twice().requires_grad
        assert (x * 2).requires_grad
        scope = hybrid.set_grad_enabled(False)
        for _ in range(2):
            with scope:
                assert not (x * 2).requires_grad
            assert (x * 2).requires_grad
    finally:
        hybrid.set_grad_enabled(True)


def test_device_names():
    assert hybrid.ones(1, device="cpu:0").device is hybrid.device("cpu")
    assert nn.Linear(1, 1).to("cpu:0").weight.device is hybrid.device("cpu")
    with pytest.raises(hybrid.DeviceError, match="not a int"):
        hybrid.ones(1, device=3)


def test_explain_counts_the_facts_it_leaves_out():
    model = nn.Sequential(*[nn.Linear(3, 3) for _ in range(9)])

    @hybrid.function
    def run(x):
        return model(x).sum()

    for _ in range(3):
        run(hybrid.ones((2, 3)))
    assert " more\n" in run.explain() + "\n"
