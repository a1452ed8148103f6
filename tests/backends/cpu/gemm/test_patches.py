"""Factors read where they lie, in panels of rows at distances that all panels share: the oracle's
bits whatever the panels are, for the positions of images and the weights of their gradients."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from gemm_harness import AVX2, WIDE, check, execute, expected, noise, same, steps

from hybrid.backends.cpu.gemm import Target, element_of, geometry, product
from hybrid.backends.cpu.gemm.factors import b_modes, factor, patches_of
from hybrid.backends.cpu.gemm.geometry import Geometry, with_batch_in_columns
from hybrid.backends.cpu.gemm.tilings import patched
from hybrid.backends.plan import Access, Dims, GemmKernel, Operand
from hybrid.backends.product import kernel_of
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.ir import contract as C
from hybrid.ir.scalar.program import Builder

# images, filters, size, stride, dilation, groups
CASES = [
    ((2, 3, 7, 23), 20, 3, 1, 1, 1),
    ((3, 4, 9, 9), 33, 4, 2, 1, 1),
    ((2, 30, 6, 6), 17, 3, 1, 1, 1),
    ((1, 4, 9, 11), 8, 3, 1, 2, 2),
    ((2, 5, 5, 5), 16, 2, 3, 1, 1),
    ((4, 2, 3, 3), 5, 3, 1, 1, 1),
    ((2, 3, 5, 6, 9), 7, 2, 1, 1, 1),
    ((1, 4, 5, 7, 5), 6, 2, 2, 1, 2),
    ((2, 2, 3, 3, 20), 18, 3, 1, 1, 1),
]


def cuts(kernel: GemmKernel, target: Target) -> Iterator[Geometry]:
    """All ways to have patches of a factor."""
    element = element_of(kernel.acc)
    for swapped in (False, True):
        a, b = geometry.factors_of(kernel, element)
        if swapped:
            a, b = b, a
        for mode, _ in b_modes(b):
            if mode == "segmented":
                continue
            vectors = geometry._vectors(b, mode)
            for tiling in patched(a, vectors, kernel.k, element, target):
                whole = geometry._whole(kernel, (a, b), swapped, tiling, vectors)
                yield whole._replace(a_mode="patches", b_mode=mode)


def tried(kernel: GemmKernel, target: Target, seed: int) -> list[Geometry]:
    """Some of them, with items of all kinds."""
    found = list(cuts(kernel, target))
    picked = np.random.default_rng(seed).choice(len(found), min(5, len(found)), replace=False)
    smaller = [{}, {"panels_m": 1}, {"panels_n": 1}, {"panels_m": 2, "panels_n": 1}]
    return [found[i]._replace(**smaller[n % 4]) for n, i in enumerate(picked)]


@pytest.mark.parametrize("target", [WIDE, AVX2], ids=["wide", "avx2"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_patch_gives_the_same_bits(case, target: Target) -> None:  # type: ignore[no-untyped-def]
    xs, o, size, stride, dilation, groups = case
    rng = np.random.default_rng(len(xs) + o)
    axes = len(xs) - 2
    how = {"stride": (stride,) * axes, "dilation": (dilation,) * axes, "groups": groups}
    x, w, b = noise(rng, xs), noise(rng, (o, xs[1] // groups, *[size] * axes)), noise(rng, (o,))
    g = noise(rng, C.conv_shape(xs, w.shape, **how))
    forward = C.conv_layout(*described(x, w, b), (0, 0, 0), **how)
    weight = C.conv_weight_layout(*described(g, x), (0, 0), kernel=(size,) * axes, **how)
    for contraction, arrays in ((forward, [x, w, b]), (weight, [g, x])):
        want = expected(contraction, [a.ravel() for a in arrays], dt.float32)
        made = kernel_of(contraction, [dt.float32] * len(arrays), dt.float32)
        for kernel in filter(None, (made, with_batch_in_columns(made))):
            for number, cut in enumerate(tried(kernel, target, o)):
                out = np.full(want.size + 64, 77, np.float32)
                split = {"split": 1} if kernel.k > 512 and number % 2 else {}
                may = cut.b_mode != "direct" and geometry._may_pack_ahead(cut.b, target)
                if may and not split and number % 2:
                    split = {"ahead": True}
                slot = len(arrays) + 1
                gens = product(kernel, cut._replace(**split), element_of(dt.float32), slot)
                execute(gens, [*arrays, out], pieces=1 + number % 3)
                same(out[: want.size], want)
                assert (out[want.size :] == 77).all()


def described(*arrays: np.ndarray):  # type: ignore[no-untyped-def]
    return [aval(a.shape, dt.float32) for a in arrays], [steps(a) for a in arrays]


def test_epilogues_read_in_other_runs_than_the_patches() -> None:
    """A sum with the inside of a padded image, in place of another one's inside."""
    rng = np.random.default_rng(2)
    images, channels, filters, height, width = 2, 3, 20, 6, 10
    wider = noise(rng, (images, channels, height, width + 3))
    w, padded = noise(rng, (filters, channels)), noise(rng, (images, filters, 8, width + 2))
    kernel = inside_of_images(wider.shape, width, padded.shape)
    sums = np.zeros((images, filters, height, width), np.float32)
    for k in range(channels):
        wide = w[None, :, k, None, None].astype(np.float64) * wider[:, k, None, :, :width]
        sums = (wide + sums).astype(np.float32)  # exact in float64: one rounding
    want = padded.copy()
    view = want[:, :, 1:-1, 1:-1]
    view[...] = sums + view * np.float32(2)
    seen = set()
    for made in filter(None, (kernel, with_batch_in_columns(kernel))):
        for cut in cuts(made, WIDE):
            got = padded.copy()
            execute(product(made, cut, element_of(dt.float32), 3), [wider, w, got])
            same(got, want)
            seen.add(cut.patch.group)
    assert seen == {width, height * width, filters}


def inside_of_images(shape: tuple[int, ...], width: int, padded: tuple[int, ...]) -> GemmKernel:
    """A convolution with filters of one element of the left part of images, in slot 0; to what it
    gives the inside of padded ones (slot 2) is added twice, and it goes there."""
    (images, channels, height, pitch), filters = shape, padded[1]
    s = Builder()
    program = s.program(s.arg("f32") + s.arg("f32") * 2.0)
    none, area = Dims((), ()), padded[2] * padded[3]
    strides = (filters * area, area, padded[3], 1)
    start = padded[3] + 1
    out = Operand(
        2,
        dt.float32,
        start,
        UNIT(images, strides[0]),
        UNIT(filters, strides[1]),
        Dims((height, width), strides[2:]),
    )
    weight = Operand(1, dt.float32, 0, none, UNIT(filters, channels), UNIT(channels, 1))
    plane, positions = height * pitch, Dims((height, width), (pitch, 1))
    x = Operand(0, dt.float32, 0, UNIT(images, channels * plane), UNIT(channels, plane), positions)
    return GemmKernel(
        images,
        filters,
        height * width,
        channels,
        weight._replace(batch=UNIT(images, 0)),
        x,
        (out,),
        dt.float32,
        "chain",
        program,
        (Access(2, dt.float32, start, strides),),
    )


def UNIT(size: int, stride: int) -> Dims:
    return Dims((size,), (stride,))


def test_patches_share_the_lines_out_evenly() -> None:
    element = element_of(dt.float32)
    for sizes, strides, most in [
        ((85,), (1,), 13),
        ((5, 7), (30, 2), 14),
        ((3, 4, 4), (100, 16, 2), 8),
        ((2, 9, 3), (90, 10, 3), 6),
        ((40, 1), (7, 5), 9),
    ]:
        lines = Dims(sizes, strides)
        a = factor("a", Operand(0, dt.float32, 0, *(Dims((), ()),) * 3), element, lines, UNIT(4, 1))
        places = np.zeros(1, np.int64)
        for count, stride in zip(sizes, strides):
            places = (places[:, None] + np.arange(count) * stride * 4).ravel()
        found = patches_of(a, most)
        assert found
        for patch in found:
            groups = patch.groups
            starts = groups.starts or [0]
            inside = np.arange(groups.length) * groups.stride
            got = []
            for start in (np.array(starts)[:, None] + inside).ravel():
                units = 0
                for panel in range(patch.panels):
                    count = patch.units - (panel >= patch.full)
                    offsets = patch.offsets(count * patch.unit)
                    assert 0 < len(offsets) <= most
                    got += [start + units * patch.step + offset for offset in offsets]
                    units += count
                assert units * patch.unit == patch.group
            assert got == places.tolist(), (sizes, patch)


def test_images_are_read_in_patches() -> None:
    """Where the channels fill vectors; their gradients, too, and strided ones."""
    element = element_of(dt.float32)
    for xs, filters, size, stride in [((4, 64, 30, 30), 64, 3, 1), ((16, 32, 34, 34), 64, 4, 2)]:
        x, w = np.zeros(xs, np.float32), np.zeros((filters, xs[1], size, size), np.float32)
        how = {"stride": (stride, stride), "dilation": (1, 1), "groups": 1}
        g = np.zeros(C.conv_shape(xs, w.shape, **how), np.float32)
        forward = C.conv_layout(*described(x, w), (0, 0), **how)
        weight = C.conv_weight_layout(*described(g, x), (0, 0), kernel=(size, size), **how)
        for contraction in (forward, weight):
            kernel = kernel_of(contraction, [dt.float32] * 2, dt.float32)
            assert geometry.choose(kernel, element, WIDE).a_mode == "patches"


def test_factors_that_are_converted_have_no_patches() -> None:
    rng = np.random.default_rng(3)
    how = {"stride": (1, 1), "dilation": (1, 1), "groups": 1}
    check(
        C.conv_layout,
        [noise(rng, (2, 40, 12, 12), dt.float16), noise(rng, (32, 40, 3, 3), dt.float16)],
        **how,
    )
