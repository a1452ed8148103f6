"""Every mode of pad beside NumPy's, eager and traced, and its gradients."""

from __future__ import annotations

import numpy as np
import pytest

import hybrid

RNG = np.random.default_rng(0)
ARRAYS = {
    "ints": RNG.integers(-9, 9, 4),
    "bytes": RNG.integers(-100, 100, (2, 3)).astype(np.int8),
    "float32": RNG.normal(size=(3, 2)).astype(np.float32),
    "doubles": RNG.normal(size=(2, 1, 3)),
    "bools": np.array([True, False, False, True, True]),
    "nan": np.array([1.0, np.nan, 3.0, 4.0]),
    "one": np.ones((1, 1), np.float32),
    "none": np.float32(3),
}
WIDTHS = [0, 1, 3, 7, (0, 1), (9, 0), (5, 13), ((2,),), np.array([1, 2])]
PAIRS = [((1, 2), (3, 0)), ((1,), (2,)), {0: 3, 1: (0, 5)}, {-1: 4}]
MODES = [
    ("edge", {}),
    ("wrap", {}),
    ("reflect", {}),
    ("reflect", {"reflect_type": "odd"}),
    ("symmetric", {}),
    ("symmetric", {"reflect_type": "odd"}),
    ("mean", {}),
    ("mean", {"stat_length": (1, 3)}),
    ("median", {}),
    ("median", {"stat_length": 2}),
    ("minimum", {"stat_length": 99}),
    ("maximum", {"stat_length": (2, 1)}),
    ("linear_ramp", {}),
    ("linear_ramp", {"end_values": (-4, 2)}),
    ("constant", {"constant_values": (1, 2)}),
]


@pytest.mark.parametrize("mode, given", MODES, ids=str)
def test_pads_as_numpy_does(mode, given):
    for name, array in ARRAYS.items():
        for widths in WIDTHS + PAIRS * (np.ndim(array) == 2):
            want = np.pad(array, widths, mode, **given)
            got = hybrid.pad(hybrid.tensor(array), widths, mode, **given).numpy()
            assert got.dtype == want.dtype, (name, widths)
            rule = {"rtol": 1e-6} if want.dtype.kind == "f" else {"rtol": 0}
            np.testing.assert_allclose(got, want, **rule, err_msg=f"{name} {widths}")


@pytest.mark.parametrize("mode, given", MODES, ids=str)
def test_replays_and_gradients(mode, given):
    pad = hybrid.function(lambda x: hybrid.pad(x, ((3, 7), (0, 4)), mode, **given))
    x = hybrid.tensor(RNG.normal(size=(3, 2)))
    weights = RNG.normal(size=(13, 6))
    for _ in range(3):
        assert pad(x).numpy().tobytes() == pad.__wrapped__(x).numpy().tobytes()
    slope = hybrid.grad(lambda x: (pad(x) * weights).sum())(x).numpy()
    for place in np.ndindex(3, 2):
        step = np.zeros((3, 2))
        step[place] = 1e-6
        ends = [np.pad(x.numpy() + s, ((3, 7), (0, 4)), mode, **given) for s in (step, -step)]
        assert abs(((ends[0] - ends[1]) * weights).sum() / 2e-6 - slope[place]) < 1e-6, place


def test_gradients_reach_the_ends_of_ramps():
    ends = hybrid.tensor([1.0, 2.0], requires_grad=True)
    hybrid.pad(hybrid.zeros(3), (2, 4), "linear_ramp", end_values=ends).sum().backward()
    assert ends.grad.tolist() == [1.5, 2.5]


def test_empty_keeps_the_middle():
    x = hybrid.tensor(ARRAYS["float32"])
    assert hybrid.pad(x, ((1, 2), (3, 0)), "empty")[1:4, 3:].tolist() == x.tolist()
    assert hybrid.pad(hybrid.zeros((0, 2)), 1, "empty").shape == (2, 4)
    assert hybrid.pad(hybrid.zeros((0, 2)), ((0, 0), (2, 3)), "symmetric").shape == (0, 7)


REFUSED = [
    (1, "near", {}, "mode 'near' is not one of 'constant'"),
    (1, "edge", {"reflect_type": "odd"}, "mode 'edge' takes no reflect_type"),
    (1, "mean", {"end_values": 3}, "mode 'mean' takes no end_values"),
    (1, "reflect", {"reflect_type": "up"}, "reflect_type is 'up'"),
    (1, "maximum", {"stat_length": 0}, "stat_length"),
    (1, "mean", {"stat_length": -1}, "stat_length"),
    (1, "linear_ramp", {"end_values": (1, 2, 3)}, "end_values of shape"),
    (1.5, "edge", {}, "widths"),
    ({2: 1}, "edge", {}, "axis 2"),
    (((1, 2),) * 3, "edge", {}, "3 pairs for 2 dimensions"),
    (2**62, "wrap", {}, "elements"),
]


@pytest.mark.parametrize("widths, mode, given, message", REFUSED, ids=str)
def test_refusals_say_why(widths, mode, given, message):
    with pytest.raises(hybrid.HybridError, match=message):
        hybrid.pad(hybrid.ones((3, 2)), widths, mode, **given)
    with pytest.raises(hybrid.ShapeError, match="axis 0 has no elements"):
        hybrid.pad(hybrid.ones((0, 2)), 1, "edge")
