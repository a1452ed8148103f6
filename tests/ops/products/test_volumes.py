"""Convolutions and pooling over one, two and three axes: a slow oracle, the order of every sum, the
bits of replays and threads, what is refused."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import hybrid
from hybrid.backends.cpu.machine.pool import num_threads
from hybrid.nn import functional as F

NAMES = "stride padding dilation groups".split()
# extents, kernel, then stride, padding, dilation and groups
SETTINGS = [
    ((9,), (3,), (2,), (1,), (2,), 2),
    ((4, 5, 6), (2, 3, 2), (1, 1, 1), (0, 0, 0), (1, 1, 1), 1),
    ((4, 5, 6), (2, 3, 2), (2, 1, 3), (1, 2, 0), (1, 2, 1), 2),
    ((3, 4, 5), (3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1), 4),  # depthwise
    ((5, 6, 4), (3, 2, 3), (2, 3, 2), (1, 1, 1), (1, 1, 1), 1),  # all phases of a line
    ((6, 1, 5), (2, 1, 1), (4, 3, 2), (0, 4, 5), (3, 1, 1), 1),  # strides over kernels, wide zeros
    ((1, 1, 1), (1, 1, 1), (1, 1, 1), (0, 0, 0), (1, 1, 1), 2),
]


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def taps_of(kernel: tuple[int, ...]) -> list[tuple[int, ...]]:
    return list(np.ndindex(*kernel))


def convolved(x: Any, w: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> np.ndarray:
    """Every output by itself, in float64."""
    x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    filters, channels, *kernel = w.shape
    counts = [
        (n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(x.shape[2:], kernel, stride, dilation)
    ]
    out = np.zeros((len(x), filters, *counts))
    for out_channel, *place in np.ndindex(filters, *counts):
        first = out_channel // (filters // groups) * channels
        for taps in taps_of(kernel):
            at = tuple(p * s + t * d for p, s, t, d in zip(place, stride, taps, dilation))
            seen = x[(slice(None), slice(first, first + channels), *at)]
            out[(slice(None), out_channel, *place)] += seen @ w[(out_channel, slice(None), *taps)]
    return out


def case_of(setting: Any) -> tuple[np.ndarray, np.ndarray, dict[str, Any], Any]:
    """Images, a weight, parameters, the function of this many axes."""
    extents, kernel, *settings = setting
    groups = settings[-1]
    x, w = noise(0, 2, 4, *extents), noise(1, 8, 4 // groups, *kernel)
    return x, w, dict(zip(NAMES, settings)), getattr(F, f"conv{len(kernel)}d")


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_convolution(setting):
    x, w, how, function = case_of(setting)
    want, bias = convolved(x, w, **how), noise(2, 8)
    got = function(hybrid.tensor(x), hybrid.tensor(w), hybrid.tensor(bias), **how)
    shifted = want + bias.reshape(-1, *(1,) * (x.ndim - 2))
    np.testing.assert_allclose(got.numpy(), shifted, rtol=1e-12, atol=1e-12)
    alone = function(hybrid.tensor(x[0]), hybrid.tensor(w), hybrid.tensor(bias), **how)
    assert alone.numpy().tobytes() == got[0].numpy().tobytes()


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_gradients(setting):
    """A convolution is linear in each argument: <g, conv(dx, w)> is <gradient of x, dx>."""
    x, w, how, function = case_of(setting)
    g = noise(3, *convolved(x, w, **how).shape)
    pull = hybrid.vjp(lambda x, w: function(x, w, **how), hybrid.tensor(x), hybrid.tensor(w))[1]
    of_x, of_w = pull(hybrid.tensor(g))
    for gradient, shape in ((of_x, x.shape), (of_w, w.shape)):
        change = noise(4, *shape)
        parts = (change, w) if gradient is of_x else (x, change)
        moved = (convolved(*parts, **how) * g).sum()
        assert abs((gradient.numpy() * change).sum() - moved) <= 1e-9 * (1 + abs(moved))


@pytest.mark.parametrize("setting", SETTINGS[:4], ids=str)
def test_second_derivatives(setting):
    """Of the norm of both gradients, against differences."""
    x, w, how, function = case_of(setting)

    def norm(x: Any, w: Any) -> Any:
        first = hybrid.grad(lambda x, w: (function(x, w, **how) ** 2).sum(), (0, 1))(x, w)
        return sum((part**2).sum() for part in first)

    found = hybrid.grad(norm, (0, 1))(hybrid.tensor(x), hybrid.tensor(w))
    for place, gradient in enumerate(found):
        given, step = [x, w], 1e-6
        change = noise(5, *gradient.shape)
        sides = []
        for sign in (1, -1):
            moved = [a + sign * step * change if i == place else a for i, a in enumerate(given)]
            sides.append(norm(*map(hybrid.tensor, moved)).item())
        slope = (sides[0] - sides[1]) / (2 * step)
        np.testing.assert_allclose((gradient.numpy() * change).sum(), slope, rtol=1e-5)


def chain(total: np.float32, pairs: Any) -> np.float32:
    """One fma after the other: exact, then rounded once."""
    for left, right in pairs:
        exact = Fraction(float(left)) * Fraction(float(right)) + Fraction(float(total))
        total = nearest(exact)
    return total


def nearest(exact: Fraction) -> np.float32:
    """The float32 nearest to a number of ordinary size, ties to even."""
    guess = np.float32(float(exact))  # off by one place at most: float64 is rounded before
    around = [np.nextafter(guess, np.float32(s)) for s in (-np.inf, np.inf)]
    candidates = sorted([guess, *around], key=lambda v: abs(Fraction(float(v)) - exact))
    first, second = candidates[:2]
    tie = abs(Fraction(float(first)) - exact) == abs(Fraction(float(second)) - exact)
    return second if tie and int(first.view(np.int32)) & 1 else first


def test_the_order_of_a_sum():
    """One chain over channels, then depth, rows, columns, in blocks of 256; zeros of padding take
    part as images do."""
    x, w = (
        noise(s, *shape).astype("f4") for s, shape in ((0, (1, 14, 4, 4, 5)), (1, (1, 14, 3, 3, 3)))
    )
    got = F.conv3d(hybrid.tensor(x), hybrid.tensor(w), padding=1).numpy()
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1), (1, 1)))
    for place in ((0, 0, 0), (1, 2, 3), (3, 3, 4)):
        window = padded[(0, slice(None), *[slice(p, p + 3) for p in place])]
        pairs = list(zip(window.ravel(), w.ravel()))
        blocks = [chain(np.float32(0), pairs[k : k + 256]) for k in range(0, len(pairs), 256)]
        want = blocks[0]
        for block in blocks[1:]:
            want = want + block
        assert got[(0, 0, *place)].tobytes() == want.tobytes(), place


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types_are_rounded_once(dtype):
    x, w, b = (
        hybrid.tensor(noise(s, *n), dtype=dtype)
        for s, n in enumerate(((2, 3, 4, 5, 6), (4, 3, 2, 3, 2), (4,)))
    )
    wide = [v.astype("float32") for v in (x, w, b)]
    for how in ({}, {"stride": 2, "padding": 1}):
        got, want = F.conv3d(x, w, b, **how), F.conv3d(*wide, **how).astype(dtype)
        assert got.numpy().tobytes() == want.numpy().tobytes()
        g = hybrid.ones_like(got)
        found = hybrid.vjp(lambda x, w: F.conv3d(x, w, **how), x, w)[1](g)
        wanted = hybrid.vjp(lambda x, w: F.conv3d(x, w, **how), *wide[:2])[1](g.astype("float32"))
        for mine, theirs in zip(found, wanted):
            assert mine.numpy().tobytes() == theirs.astype(dtype).numpy().tobytes()
    for pool in (F.max_pool3d, F.avg_pool3d):
        got, want = pool(x, 2, 1, 1), pool(wide[0], 2, 1, 1)
        near = np.abs(got.astype("float32").numpy() - want.numpy())
        assert (near <= np.abs(want.numpy()) * 2.0**-7).all()


PROGRAMS = {
    "conv3d": lambda x, w: F.conv3d(x, w, None, (1, 2, 1), 1),
    "with a bias": lambda x, w: F.conv3d(x, w, w[:, 0, 0, 0, 0], 2),
    "apart": lambda x, w: F.conv3d(x, w, None, 1, "same", 2),
    "grouped": lambda x, w: F.conv3d(x, w[:, :2], None, 1, 1, 1, 2),
    "depthwise": lambda x, w: F.conv3d(x, w[:, :1], None, 2, 1, 1, 4),
    "transposed": lambda x, w: F.conv_transpose3d(x, w[:4], None, 2, 1, 1),
    "lines": lambda x, w: F.conv1d(x[:, :, 0, 0], w[..., 0, 0], None, 2, 1),
    "transposed lines": lambda x, w: F.conv_transpose1d(x[:, :, 0, 0], w[:4, :, 0, 0], None, 3),
    "maxima": lambda x, w: F.max_pool3d(x, 3, 2, 1),
    "apart maxima": lambda x, w: F.max_pool3d(x, (2, 1, 2), 1, (1, 0, 1), (2, 1, 1)),
    "means": lambda x, w: F.avg_pool3d(x, (2, 3, 2), None, (1, 1, 0), count_include_pad=False),
    "maxima of lines": lambda x, w: F.max_pool1d(x[:, :, 0, 0], 3, 2, 1),
    "means of lines": lambda x, w: F.avg_pool1d(x[:, :, 0, 0], 3, 2, 1),
    "parts": lambda x, w: F.adaptive_avg_pool3d(x, (2, 1, 3)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_traced_bits_on_any_number_of_threads(name):
    """Value, gradients, and the gradient of their norm."""

    def program(x: Any, w: Any) -> Any:
        def loss(x: Any, w: Any) -> Any:
            return (PROGRAMS[name](x, w) ** 2).sum() + (w * x.sum()).sum()

        def norm(x: Any, w: Any) -> Any:
            return sum((part**2).sum() for part in hybrid.grad(loss, (0, 1))(x, w))

        return (
            PROGRAMS[name](x, w),
            *hybrid.grad(loss, (0, 1))(x, w),
            *hybrid.grad(norm, (0, 1))(x, w),
        )

    x, w = (
        hybrid.tensor(noise(s, *shape), dtype="float32")
        for s, shape in ((0, (2, 4, 6, 7, 9)), (1, (4, 4, 3, 3, 3)))
    )
    want, traced = program(x, w), hybrid.function(program)
    for threads in (1, 1, 1, 2, 3):
        with num_threads(threads):
            for replayed, eager in ((traced(x, w), want), (program(x, w), want)):
                for mine, theirs in zip(replayed, eager):
                    assert mine.numpy().tobytes() == theirs.numpy().tobytes()


@pytest.mark.parametrize("name", PROGRAMS)
def test_all_rows_at_once(name):
    """vmap over images, weights and both; gradients inside."""
    xs = hybrid.tensor(noise(0, 3, 1, 4, 4, 5, 6), dtype="float64")
    ws = hybrid.tensor(noise(1, 3, 4, 4, 3, 3, 3), dtype="float64")

    def program(x: Any, w: Any) -> Any:
        loss = hybrid.grad(lambda x, w: (PROGRAMS[name](x, w) ** 2).sum() + 0 * w.sum(), (0, 1))
        return PROGRAMS[name](x, w), *loss(x, w)

    for axes in ((0, None), (None, 0), (0, 0)):
        given = [a if axis == 0 else a[0] for a, axis in zip((xs, ws), axes)]
        found = hybrid.vmap(program, in_axes=axes)(*given)
        for row in range(3):
            alone = program(*[a[row] if axis == 0 else a for a, axis in zip(given, axes)])
            for mine, theirs in zip(found, alone):
                np.testing.assert_allclose(
                    mine[row].numpy(), theirs.numpy(), rtol=1e-10, atol=1e-10
                )


def test_special_values_meet_only_their_windows():
    """An infinite or NaN element reaches the outputs whose windows hold it; padding gives no NaN
    beside finite taps."""
    x, w = np.ones((1, 1, 4, 4, 4), np.float32), np.ones((1, 1, 2, 2, 2), np.float32)
    x[0, 0, 1, 2, 3] = np.nan
    hit = np.isnan(F.conv3d(hybrid.tensor(x), hybrid.tensor(w)).numpy()[0, 0])
    assert hit.sum() == 4 and hit[0:2, 1:3, 2].all()
    taps = np.full((1, 1, 2, 2, 2), np.inf, np.float32)
    spread = F.conv_transpose3d(hybrid.ones(1, 1, 2, 2, 2), hybrid.tensor(taps), stride=3).numpy()
    assert np.isinf(spread[0, 0, :2, :2, :2]).all() and not spread[0, 0, 2].any()
    signed = F.max_pool3d(hybrid.tensor(np.full((1, 1, 2, 2, 2), -0.0, np.float32)), 2)
    assert np.signbit(signed.numpy()).all()


# ---- pooling
POOLS = [
    ((7,), (3,), (2,), (1,), (1,)),
    ((4, 5, 6), (2, 2, 2), (2, 2, 2), (0, 0, 0), (1, 1, 1)),
    ((4, 5, 6), (3, 2, 1), (1, 2, 3), (1, 1, 0), (1, 1, 1)),
    ((5, 5, 5), (2, 3, 2), (1, 1, 2), (1, 1, 1), (2, 1, 3)),
    ((1, 1, 3), (1, 1, 2), (2, 5, 4), (0, 0, 1), (1, 1, 1)),  # strides over windows
]


def windows(
    x: np.ndarray, fill: float, kernel: Any, stride: Any, padding: Any, dilation: Any
) -> Any:
    x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)), constant_values=fill)
    full = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    found = np.lib.stride_tricks.sliding_window_view(x, full, tuple(range(2, x.ndim)))
    found = found[:, :, *(slice(None, None, s) for s in (*stride, *dilation))]
    return found.reshape(*found.shape[: x.ndim], -1)


@pytest.mark.parametrize("setting", POOLS, ids=str)
def test_pooling(setting):
    extents, kernel, stride, padding, dilation = setting
    x, count = noise(0, 2, 3, *extents), len(extents)
    maxima, means = getattr(F, f"max_pool{count}d"), getattr(F, f"avg_pool{count}d")
    given, largest = hybrid.tensor(x), windows(x, -np.inf, *setting[1:])
    out, at = maxima(given, kernel, stride, padding, dilation, return_indices=True)
    np.testing.assert_array_equal(out.numpy(), largest.max(-1))
    flat = np.take_along_axis(x.reshape(2, 3, -1), at.numpy().reshape(2, 3, -1), 2)
    np.testing.assert_array_equal(flat, out.numpy().reshape(2, 3, -1))
    tight = (kernel, stride, padding, (1,) * count)
    sums, counts = windows(x, 0, *tight).sum(-1), windows(np.ones_like(x), 0, *tight).sum(-1)
    np.testing.assert_allclose(means(given, *tight[:3]).numpy(), sums / np.prod(kernel), atol=1e-14)
    without = means(given, *tight[:3], count_include_pad=False)
    np.testing.assert_allclose(without.numpy(), sums / counts, atol=1e-14)
    for program in (
        lambda x: maxima(x, kernel, stride, padding, dilation),
        lambda x: means(x, *tight[:3], count_include_pad=False),
    ):
        g, change = noise(1, *program(given).shape), noise(2, *x.shape) * 1e-6
        slope = (program(hybrid.tensor(x + change)) - program(hybrid.tensor(x - change))).numpy()
        moved = hybrid.vjp(program, given)[1](hybrid.tensor(g))[0].numpy() * change
        np.testing.assert_allclose(moved.sum(), (slope * g).sum() / 2, rtol=1e-6)


def test_ties_and_nan_of_volumes():
    """The first of equal maxima in depth, rows, columns gets the gradient; a NaN is the largest."""
    x = hybrid.tensor(np.ones((1, 1, 2, 2, 2)), requires_grad=True)
    F.max_pool3d(x, 2).sum().backward()
    assert x.grad.reshape(-1).tolist() == [1.0] + [0.0] * 7
    special = np.arange(8.0).reshape(1, 1, 2, 2, 2)
    special[0, 0, 1, 0, 1] = np.nan
    out, at = F.max_pool3d(hybrid.tensor(special), 2, return_indices=True)
    assert np.isnan(out.item()) and at.item() == 5
    empty = F.max_pool3d(hybrid.full((1, 1, 2, 2, 2), -np.inf), 2, 1, 1, return_indices=True)
    assert (empty[0].numpy() == -np.inf).all() and empty[1].numpy().max() == 7


def test_parts_of_volumes():
    x = noise(0, 2, 3, 4, 6, 8)
    parts = x.reshape(2, 3, 2, 2, 3, 2, 1, 8).mean((3, 5, 7))
    given = hybrid.tensor(x)
    np.testing.assert_allclose(F.adaptive_avg_pool3d(given, (2, 3, 1)).numpy(), parts)
    whole = F.adaptive_avg_pool3d(given[0], 1).numpy()
    np.testing.assert_allclose(whole, x[0].mean((1, 2, 3), keepdims=True))
    lines = F.adaptive_avg_pool1d(given[0, 0, 0], 4).numpy()
    np.testing.assert_allclose(lines, x[0, 0, 0].reshape(6, 4, 2).mean(-1))


# ---- what is refused
def test_misfits_are_refused_in_words():
    x, w = hybrid.ones(1, 2, 4, 4, 4), hybrid.ones(3, 2, 3, 3, 3)
    turned = hybrid.ones(2, 3, 3, 3, 3)
    for call, text in [
        (lambda: F.conv3d(x[0, 0], w), r"conv3d takes x\[N, C, D, H, W\]"),
        (lambda: F.conv3d(x, w[0]), r"weight\[O, C/groups, KD, KH, KW\]"),
        (lambda: F.conv3d(x, w, groups=2), "conv3d: 2 channels"),
        (lambda: F.conv3d(x, w, hybrid.ones(2)), "conv3d: bias"),
        (lambda: F.conv3d(x, w, stride=0), "conv3d: stride"),
        (lambda: F.conv3d(x, w, dilation=2), "5x5|3x3x3 does not fit"),
        (lambda: F.conv3d(x, w, stride=(1, 2)), "three of them"),
        (lambda: F.conv3d(x, w, padding=(1, 1)), "three of them"),
        (lambda: F.conv3d(x, w, padding=-1), "negative"),
        (lambda: F.conv3d(x, w, padding="full"), "'valid' or 'same'"),
        (lambda: F.conv3d(x, w, stride=2, padding="same"), "needs stride 1"),
        (lambda: F.conv1d(x[0, 0], w[0, 0], stride=(1, 1)), "a sequence of one"),
        (lambda: F.conv_transpose3d(x, w), "conv_transpose3d: images of 2 channels"),
        (lambda: F.conv_transpose3d(x[0, 0], turned), "conv_transpose3d takes"),
        (lambda: F.conv_transpose3d(x, turned, output_padding=1), "output_padding"),
        (lambda: F.conv_transpose1d(x[0, 0], turned[:, :, 0]), "conv_transpose1d takes"),
        (lambda: F.max_pool3d(x, 5), "max_pool3d: a window"),
        (lambda: F.max_pool3d(x, 2, padding=2), "at most half"),
        (lambda: F.avg_pool3d(x[0, 0], 2), "avg_pool3d takes images"),
        (lambda: F.max_pool1d(x, 2), "max_pool1d takes images"),
        (lambda: F.avg_pool1d(x[0, 0], 2, stride=0), "avg_pool1d: kernel"),
        (lambda: F.adaptive_avg_pool3d(x, 3), "adaptive_avg_pool3d: .* does not divide"),
        (lambda: F.adaptive_avg_pool3d(x, 0), "adaptive_avg_pool3d"),
    ]:
        with pytest.raises(hybrid.ShapeError, match=text):
            call()
    with pytest.raises(hybrid.DTypeError, match="max_pool3d"):
        F.max_pool3d(hybrid.ones(1, 1, 2, 2, 2, dtype="int32"), 2)


def test_a_transposed_convolution_that_nothing_reaches():
    """Zeros, with gradients of zeros."""
    x, w = (hybrid.ones(1, 1, 1, requires_grad=True) for _ in range(2))
    out = F.conv_transpose1d(x, w, stride=3, padding=1, output_padding=2)
    assert out.tolist() == [[[0.0]]]
    assert [g.tolist() for g in hybrid.gradients([out.sum()], [x, w])] == [[[[0.0]]]] * 2
