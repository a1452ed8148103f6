"""Gradients of images and transposed convolutions: phases of the stride, nothing but the box."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hybrid
from hybrid.ir.door.bind import bind
from hybrid.nn import functional as F
from hybrid.ops.products.conv_records import CONV
from hybrid.ops.products.phases import Box, images_of


def settings_of(axes: int) -> st.SearchStrategy:
    """Extents, kernel, stride, dilation, padding, groups."""
    bounds = [(1, 9 if axes < 3 else 6), (1, 4 if axes < 3 else 3), (1, 4), (1, 3), (0, 3)]
    return st.tuples(*[st.tuples(*[st.integers(*b)] * axes) for b in bounds], st.integers(1, 2))


CASES = st.one_of(settings_of(2), settings_of(3), settings_of(1))
EXTRA = st.tuples(*[st.integers(0, 3)] * 3)


def function_of(name: str, size: tuple[int, ...]) -> Callable[..., hybrid.Tensor]:
    """The convolution over as many axes."""
    return getattr(F, f"{name}{len(size)}d")


def scattered(grad: np.ndarray, weight: np.ndarray, shape, stride, dilation, groups):
    """Padded images of `shape`: every output's gradient times every tap, added where it came
    from."""
    filters, channels, *kernel = weight.shape
    images = np.zeros((grad.shape[0], channels * groups, *shape))
    reached = tuple(slice(extent) for extent in grad.shape[2:])
    for out, channel, *taps in np.ndindex(filters, channels, *kernel):
        group = out // (filters // groups)
        lines = [slice(i * d, None, s) for i, d, s in zip(taps, dilation, stride)]
        target = images[:, group * channels + channel, *lines][:, *reached]
        target += grad[:, out] * weight[out, channel, *taps]
    return images


@settings(deadline=None)
@given(CASES)
def test_gradient_of_images(case):
    size, kernel, stride, dilation, padding, groups = case
    padded = tuple(n + 2 * p for n, p in zip(size, padding))
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    if min(n - r for n, r in zip(padded, reach)) < 0:
        return
    rng = np.random.default_rng(0)
    images = hybrid.tensor(rng.standard_normal((2, groups, *size)), dtype="float64")
    weight = rng.standard_normal((2 * groups, 1, *kernel))

    def convolved(x):
        taps = hybrid.tensor(weight, dtype="float64")
        return function_of("conv", size)(x, taps, None, stride, padding, dilation, groups)

    out = convolved(images)
    grad = rng.standard_normal(out.shape)
    got = hybrid.vjp(convolved, images)[1](hybrid.tensor(grad, dtype="float64"))[0]
    want = scattered(grad, weight, padded, stride, dilation, groups)
    inner = tuple(slice(p, p + n) for p, n in zip(padding, size))
    np.testing.assert_allclose(got.numpy(), want[(..., *inner)], rtol=1e-12, atol=1e-12)


@settings(deadline=None)
@given(CASES, EXTRA)
def test_transposed(case, extra):
    size, kernel, stride, dilation, padding, groups = case
    extra = tuple(min(e, max(s, d) - 1) for e, s, d in zip(extra, stride, dilation))
    full = [
        (n - 1) * s + d * (k - 1) + 1 + e
        for n, s, d, k, e in zip(size, stride, dilation, kernel, extra)
    ]
    image = [n - 2 * p for n, p in zip(full, padding)]
    if min(image) < 1:
        return
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1, 2 * groups, *size))
    weight = rng.standard_normal((2 * groups, 1, *kernel))
    got = function_of("conv_transpose", size)(
        hybrid.tensor(x, dtype="float64"),
        hybrid.tensor(weight, dtype="float64"),
        None,
        stride,
        padding,
        extra,
        groups,
        dilation,
    )
    want = scattered(x, weight, full, stride, dilation, groups)
    inner = tuple(slice(p, p + n) for p, n in zip(padding, image))
    np.testing.assert_allclose(got.numpy(), want[(..., *inner)], rtol=1e-12, atol=1e-12)


@settings(deadline=None)
@given(CASES, EXTRA)
def test_gradients_of_transposed(case, extra):
    """<gradient, change> is <cotangent, change of the result>, for images and weights, and for what
    the gradients themselves depend on."""
    size, kernel, stride, dilation, padding, groups = case
    extra = tuple(min(e, max(s, d) - 1) for e, s, d in zip(extra, stride, dilation))
    rng = np.random.default_rng(2)

    def noise(*shape):
        return hybrid.tensor(rng.standard_normal(shape), dtype="float64")

    x, change_x = noise(1, 2 * groups, *size), noise(1, 2 * groups, *size)
    weight, change_w = noise(2 * groups, 1, *kernel), noise(2 * groups, 1, *kernel)

    def transposed(x, weight):
        transpose = function_of("conv_transpose", size)
        return transpose(x, weight, None, stride, padding, extra, groups, dilation)

    try:
        y, pull = hybrid.vjp(transposed, x, weight)
    except hybrid.ShapeError:
        return
    cotangent, other = noise(*y.shape), noise(*y.shape)
    of_x, of_w = pull(cotangent)
    moved_x = (transposed(change_x, weight) * cotangent).sum().item()
    moved_w = (transposed(x, change_w) * cotangent).sum().item()
    assert abs((of_x * change_x).sum().item() - moved_x) <= 1e-9 * (1 + abs(moved_x))
    assert abs((of_w * change_w).sum().item() - moved_w) <= 1e-9 * (1 + abs(moved_w))
    # second derivatives: the gradient of the images is linear in the cotangent and in the weight
    _, again = hybrid.vjp(lambda c, w: hybrid.vjp(transposed, x, w)[1](c)[0], cotangent, weight)
    of_c, of_w = again(change_x)
    moved = (hybrid.vjp(transposed, x, weight)[1](other)[0] * change_x).sum().item()
    assert abs((of_c * other).sum().item() - moved) <= 1e-9 * (1 + abs(moved))
    moved = (hybrid.vjp(transposed, x, change_w)[1](cotangent)[0] * change_x).sum().item()
    assert abs((of_w * change_w).sum().item() - moved) <= 1e-9 * (1 + abs(moved))


def test_gradients_of_transposed_are_one_convolution_each():
    """Not one for each phase; traced bits are the eager ones, whatever part is traced."""
    rng = np.random.default_rng(3)
    x = hybrid.tensor(rng.standard_normal((2, 8, 6, 6)), dtype="float32")
    weight = hybrid.tensor(rng.standard_normal((8, 20, 4, 4)), dtype="float32")

    def loss(x, weight):
        return (F.conv_transpose2d(x, weight, stride=2, padding=1) ** 2).sum()

    gradients = hybrid.grad(loss, (0, 1))
    traced, forward = hybrid.function(gradients), hybrid.function(loss)
    for _ in range(3):
        results = traced(x, weight), hybrid.grad(forward, (0, 1))(x, weight)
    for result in results:
        for mine, theirs in zip(gradients(x, weight), result):
            assert mine.numpy().tobytes() == theirs.numpy().tobytes()
    text = str(hybrid.profile(traced, x, weight))
    assert text.count(" product  ") == 6, text  # four phases, and a gradient of each


def test_gradients_of_transposed_for_all_rows():
    """vmap of a gradient, gradient of a vmap, tangents."""
    rng = np.random.default_rng(4)
    x = hybrid.tensor(rng.standard_normal((3, 1, 2, 5, 4)), dtype="float64")
    weight = hybrid.tensor(rng.standard_normal((2, 3, 3, 2)), dtype="float64")

    def loss(x, weight):
        return (F.conv_transpose2d(x, weight, stride=(2, 3), padding=1) ** 2).sum()

    want = [hybrid.grad(loss, (0, 1))(row, weight) for row in x]
    of_x, of_w = hybrid.vmap(hybrid.grad(loss, (0, 1)), in_axes=(0, None))(x, weight)
    for row, (left, right) in enumerate(want):
        np.testing.assert_allclose(of_x[row].numpy(), left.numpy(), rtol=1e-12)
        np.testing.assert_allclose(of_w[row].numpy(), right.numpy(), rtol=1e-12)

    def total(x):
        return hybrid.vmap(lambda row: loss(row, weight))(x).sum()

    np.testing.assert_allclose(
        hybrid.grad(total)(x).numpy(), np.stack([left.numpy() for left, _ in want]), rtol=1e-12
    )
    change = hybrid.tensor(rng.standard_normal(x[0].shape), dtype="float64")
    _, moved = hybrid.jvp(lambda row: loss(row, weight), (x[0],), (change,))
    np.testing.assert_allclose(moved.item(), (want[0][0] * change).sum().item(), rtol=1e-9)


def test_a_stride_multiplies_no_zeros():
    """Taps meet only gradients: an infinite one makes infinities in its phase and no NaN."""
    weight = np.ones((1, 1, 2, 2), np.float32)
    weight[0, 0, 0, 1] = np.inf
    x = hybrid.ones(1, 1, 3, 3)
    out = F.conv_transpose2d(x, hybrid.tensor(weight), stride=2).numpy()
    assert np.isinf(out[0, 0, ::2, 1::2]).all() and (out[0, 0, 1::2] == 1).all()
    assert (out[0, 0, ::2, ::2] == 1).all()
    # no tap reaches every third row: zeros, of whatever the weight is
    apart = F.conv_transpose2d(x, hybrid.full((1, 1, 2, 2), np.inf), stride=3).numpy()
    assert (apart[0, 0, 2::3] == 0).all() and np.isinf(apart[0, 0, 0, 0])


@pytest.mark.parametrize("stride", [1, 2, (3, 2)])
def test_padding_gets_no_gradient(stride):
    """The border that padding added is left out of the products, and traced bits are the eager
    ones, second derivatives included."""
    rng = np.random.default_rng(2)
    x = hybrid.tensor(rng.standard_normal((2, 3, 7, 8)), dtype="float32")
    weight = hybrid.tensor(rng.standard_normal((4, 3, 3, 3)), dtype="float32")

    def twice(x, weight):
        def loss(x, weight):
            return (F.conv2d(x, weight, stride=stride, padding=1) ** 2).sum()

        def norm(x, weight):
            return (hybrid.grad(loss)(x, weight) ** 2).sum()

        return hybrid.grad(loss)(x, weight), hybrid.grad(norm, (0, 1))(x, weight)

    traced = hybrid.function(twice)
    first, (left, right) = twice(x, weight)
    for _ in range(3):
        again, (other, another) = traced(x, weight)
    for mine, theirs in ((first, again), (left, other), (right, another)):
        assert mine.numpy().tobytes() == theirs.numpy().tobytes()


def test_what_padding_added_is_left_out_of_products():
    weight = hybrid.ones(4, 3, 3, 3)

    @hybrid.function
    def images(x):
        return hybrid.grad(lambda x: F.conv2d(x, weight, padding=1).sum())(x)

    x = hybrid.ones(2, 3, 7, 8)
    images(x), images(x)
    assert "@ 36x56 " in str(hybrid.profile(images, x))  # 7 x 8 columns, not 9 x 10
    # the record itself: no gradient for its border
    params = {"stride": (1, 1), "dilation": (1, 1), "groups": 1, "border": (1, 2, 1, 0)}
    got = hybrid.grad(lambda x: bind(CONV, x, weight, **params).sum())(x).numpy()
    assert (got[:, :, 1:-1, 2:] != 0).all()
    assert not got[:, :, [0, -1]].any() and not got[..., :2].any()


def test_only_the_box_is_computed():
    """One convolution for each phase, of the wanted positions and the taps that meet there."""
    made = []

    def convolve(images, taps, apart):
        made.append((images.shape[2:], taps.shape[2:], apart))
        return F.conv2d(images, taps, dilation=apart)

    box = Box((1, 1), (6, 7), (1, 1), (8, 9))
    grad, weight = hybrid.ones(1, 2, 3, 4), hybrid.ones(5, 2, 3, 3)
    got = images_of(convolve, grad, weight, box, (2, 2), (1, 1))
    assert got.shape == (1, 5, 8, 9)
    # 6 x 7 positions: 3 and 4 of each phase, where one or two taps meet, and what these reach
    assert made == [
        ((3, 4), (1, 1), (1, 1)),
        ((3, 5), (1, 2), (1, 1)),
        ((4, 4), (2, 1), (1, 1)),
        ((4, 5), (2, 2), (1, 1)),
    ]
    assert (got.numpy()[0, 0, [0, -1]] == 0).all() and (got.numpy()[0, 0, :, [0, -1]] == 0).all()
