"""Products on a card: every schedule has the bits of the contract, in every layout and dtype."""

import re

import numpy as np
import pytest
from emit_harness import same_bits
from gpu import SimulatedDriver, run_all
from product_cases import conv_case, matmul_case
from ptx_harness import checked_ptx

from hybrid.backends.cuda.function import Card
from hybrid.backends.cuda.gemm import generate, schedule
from hybrid.backends.cuda.gemm.choose import TILES, TRIALS, WIDE_TILES, candidates, choose
from hybrid.backends.cuda.gemm.schedule import Schedule, functions
from hybrid.backends.cuda.gemm.shape import merged
from hybrid.core import dtypes as dt
from hybrid.core.errors import UnsupportedError

CARD = Card()
SMALL = {tile.name: tile for tile in TILES + WIDE_TILES}
TRIED = {tile.name: tile for tile in TRIALS}
F64, BF16, F16 = dt.float64, dt.bfloat16, dt.float16


def bits(array):
    return array.view(np.uint16) if dt.is_half(array.dtype) else array


def agree(case, made, orders=(0, 1)):
    wanted = case.expected()
    for order in orders:
        found = [buffer.copy() for buffer in case.buffers]
        assert run_all(made, found, order, races=order == 0) == 0
        for slot, (got, want) in enumerate(zip(found, wanted)):
            assert same_bits(bits(got), bits(want)), f"slot {slot} in order {order}"


def made_with(case, tile, split=False, turned=False, guarded=False):
    chosen = Schedule(SMALL[tile] if tile else None, split, turned)
    return functions(case.kernel, chosen, CARD, len(case.buffers), guarded)


@pytest.mark.parametrize("layout", ["nn", "nt", "tn", "tt"])
@pytest.mark.parametrize("sizes", [(1, 32, 64, 32), (2, 37, 50, 45)])
def test_layouts_and_edges(layout, sizes):
    case = matmul_case(*sizes, layout)
    agree(case, made_with(case, "32x32"))


@pytest.mark.parametrize("tile", sorted(SMALL))
def test_every_tile(tile):
    rows, cols = SMALL[tile].rows, SMALL[tile].cols
    case = matmul_case(1, rows + 1, min(cols + 4, 132), 20, "nt")
    if tile in {t.name for t in WIDE_TILES}:
        case = matmul_case(1, rows + 1, cols + 2, 20, "nt", dtype=F64)
    agree(case, made_with(case, tile), orders=(1,))


@pytest.mark.parametrize("k", [512, 700, 768, 1024])
@pytest.mark.parametrize("tile", ["128x64", "64x64", "16x16"])
def test_groups_of_threads_that_do_not_divide_a_tile(tile, k):
    """Three groups finish rows in turns that end behind the tile, where the next tile is."""
    made = SMALL[tile]
    case = matmul_case(1, 2 * made.rows + 2, made.cols + 6, k, "nt")
    chosen = Schedule(made, together=True)
    agree(case, functions(case.kernel, chosen, CARD, len(case.buffers)), orders=(0,))


@pytest.mark.parametrize("layout", ["nn", "nt", "tt"])
@pytest.mark.parametrize("tile", ["128x128", "64x64", "32x64", "16x32"])
def test_factors_that_are_turned_in_whole_steps(tile, layout):
    """More threads lie along k where no step is partial."""
    rows, cols = SMALL[tile].rows, SMALL[tile].cols
    case = matmul_case(1, rows + 3, cols - 1, 320, layout)
    agree(case, made_with(case, tile), orders=(1,))


@pytest.mark.parametrize("k", [0, 1, 256, 257, 530])
@pytest.mark.parametrize("split", [False, True])
def test_blocks_of_k(k, split):
    if k == 0:
        case = matmul_case(2, 3, 5, 0)
        agree(case, generate(case.kernel, CARD, len(case.buffers)))
        return
    case = matmul_case(1, 34, 36, k, "nn", epilogue=True)
    agree(case, made_with(case, "32x32", split))


@pytest.mark.parametrize("dtype", [F64, BF16, F16, dt.int8, dt.int32, dt.uint64, dt.bool_])
def test_dtypes(dtype):
    case = matmul_case(1, 33, 34, 70, "nt", dtype=dtype)
    wide = case.kernel.acc.itemsize == 8
    agree(case, made_with(case, "32x32w" if wide else "32x32"))
    agree(case, made_with(case, None), orders=(1,))


@pytest.mark.parametrize("tile", [None, "32x32"])
def test_results_in_columns(tile):
    case = matmul_case(2, 33, 36, 20, epilogue=True, out_turned=True)
    assert choose(case.kernel, CARD).turned
    agree(case, made_with(case, tile, turned=True))


def test_tiles_in_groups_of_rows(monkeypatch):
    monkeypatch.setattr(schedule, "WAVES", 0)
    for batch in (1, 2):
        case = matmul_case(batch, 300, 40, 10)
        agree(case, made_with(case, "16x16"), orders=(0,))
        case = matmul_case(batch, 300, 12, 300)
        agree(case, made_with(case, "16x16", split=True), orders=(0,))


class Shifted(SimulatedDriver):
    """The first buffers start between the multiples of 16."""

    def __init__(self, count):
        super().__init__(order=1)
        self.count, self.shifted = count, set()

    def allocate(self, nbytes):
        if len(self.shifted) == self.count:
            return super().allocate(nbytes)
        address = super().allocate(nbytes + 16) + 8
        self.shifted.add(address)
        return address

    def free(self, address):
        super().free(address - 8 * (address in self.shifted))


@pytest.mark.parametrize("dtype", [dt.float32, F64, BF16])
@pytest.mark.parametrize("split", [False, True])
def test_buffers_that_start_anywhere(dtype, split):
    # a kernel is made for aligned buffers, and a view of one may start between
    case = matmul_case(2, 36, 40, 300, "tn", dtype=dtype, epilogue=dtype != BF16)
    made = made_with(case, "32x32w" if dtype == F64 else "32x32", split)
    wanted, found = case.expected(), [buffer.copy() for buffer in case.buffers]
    run_all(made, found, 1, driver=Shifted(len(found)))
    for got, want in zip(found, wanted):
        assert same_bits(bits(got), bits(want))


def test_factors_that_start_anywhere():
    case = matmul_case(1, 32, 32, 32, odd=1)
    agree(case, made_with(case, "32x32"))


@pytest.mark.parametrize("k", [257, 512, 700])
def test_blocks_of_k_side_by_side(k):
    cases = [matmul_case(1, 18, 36, k, "nt", epilogue=True), matmul_case(1, 18, 20, k, dtype=F64)]
    for case, tile in zip(cases, ("16x32", "16x16w")):
        together = Schedule(SMALL[tile], together=True)
        orders = (1,) if case.kernel.acc == F64 else (0, 1)
        agree(case, functions(case.kernel, together, CARD, len(case.buffers)), orders)


@pytest.mark.parametrize("room", [1, 50 << 20])
def test_many_blocks_of_k(room):
    card = CARD._replace(l2_bytes=room)
    convolution = conv_case((30, 2, 16, 16), (3, 2, 3, 3), weight_gradient=True)
    for case in (convolution, matmul_case(1, 10, 12, 5000, epilogue=True)):
        made = functions(case.kernel, Schedule(SMALL["16x16"], True), card, len(case.buffers))
        assert len(made) == (4 if room == 1 else 2)
        agree(case, made, orders=(1,))


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("tile", [None, "32x32"])
def test_convolutions(tile, split):
    cases = [
        conv_case((2, 3, 9, 8), (5, 3, 3, 3), bias=True),
        conv_case((2, 4, 9, 9), (6, 2, 3, 3), stride=(2, 2), groups=2),
        conv_case((2, 3, 4, 5, 6), (5, 3, 2, 3, 2), bias=True),
        conv_case((1, 4, 5, 5, 4), (6, 2, 3, 2, 2), stride=(2, 1, 2), groups=2),
        conv_case((1, 30, 6, 6), (4, 30, 3, 3)),
        conv_case((3, 2, 4, 5, 5), (3, 2, 2, 3, 2), weight_gradient=True),
        conv_case((9, 2, 8, 8), (3, 2, 3, 3), weight_gradient=True),
    ]
    for case in cases[4 * split :]:
        agree(case, made_with(case, tile, split and tile is not None), orders=(1,))


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("few", [False, True])
def test_lanes(split, few):
    for sizes in ((1, 35, 1, 700), (2, 6, 3, 30), (1, 1, 1, 512)):
        case = matmul_case(*sizes, "nt", order="lanes", epilogue=True)
        lanes = Schedule(None, split, few=few)
        agree(case, functions(case.kernel, lanes, CARD, len(case.buffers)), orders=(1,))


@pytest.mark.parametrize("split", [False, True])
def test_lanes_of_rows_side_by_side(split):
    case = matmul_case(1, 40, 1, 270, "tt", order="lanes")
    agree(case, functions(case.kernel, Schedule(None, split), CARD, 3), orders=(0,))
    case = matmul_case(1, 1, 40, 30, order="lanes")
    assert choose(case.kernel, CARD).turned
    agree(case, generate(case.kernel, CARD, len(case.buffers)))


@pytest.mark.parametrize("dtype", [F64, BF16, F16, dt.int8, dt.uint64])
def test_lanes_of_dtypes(dtype):
    case = matmul_case(1, 5, 1, 300, dtype=dtype, order="lanes")
    agree(case, generate(case.kernel, CARD, len(case.buffers)))
    case = matmul_case(1, 5, 1, 0, dtype=dtype, order="lanes")
    agree(case, generate(case.kernel, CARD, len(case.buffers)))


def test_a_failed_check_stops_what_follows():
    case = matmul_case(1, 33, 33, 20)
    for tile in (None, "32x32"):
        (function,) = made_with(case, tile, guarded=True)
        assert -1 in [function.words[position] for position in function.slots]
        agree(case, [function], orders=(0,))


def test_nothing_is_made_where_a_size_is_0():
    assert generate(matmul_case(1, 4, 4, 4).kernel._replace(m=0), CARD, 3) == []


def test_a_size_that_threads_cannot_count_is_refused():
    with pytest.raises(UnsupportedError, match="2147483648 rows"):
        generate(matmul_case(1, 4, 4, 4).kernel._replace(m=1 << 31), CARD, 3)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_batch_among_the_columns(groups):
    case = conv_case((3, 4, 6, 6), (6, 4 // groups, 3, 3), groups=groups, bias=True)
    kernel = merged(case.kernel)
    assert (kernel.batch, kernel.n) == (groups, 3 * 16)
    agree(case, generate(case.kernel, CARD, len(case.buffers)))
    agree(case, made_with(case._replace(kernel=kernel), "32x32"), orders=(1,))


def test_half_types_with_a_bias():
    case = conv_case((1, 3, 6, 6), (5, 3, 3, 3), bias=True, dtype=BF16)
    agree(case, made_with(case, "32x32"), orders=(1,))


def test_texts_depend_on_forms():
    first, second = (matmul_case(1, m, n, k) for m, n, k in ((64, 64, 512), (96, 128, 768)))
    (one,), (other,) = (made_with(case, "64x64") for case in (first, second))
    assert one.symbol == other.symbol and one.words != other.words


@pytest.mark.parametrize("tile", [None, *sorted(SMALL)])
def test_kernels_assemble(tile, tmp_path):
    wide = tile in {t.name for t in WIDE_TILES}
    case = matmul_case(1, 256, 256, 600, "nt", dtype=F64 if wide else dt.float32, epilogue=True)
    made = made_with(case, tile)
    (ptx,) = checked_ptx(made, tmp_path)
    assert not re.search(r"mad\.(rn|f32|f64)", ptx)


@pytest.mark.parametrize("tile", sorted(TRIED))
def test_trials_agree(tile):
    case = matmul_case(1, 130, 132, 20, "nt")
    agree(case, functions(case.kernel, Schedule(TRIED[tile]), CARD, 3), orders=(1,))


def test_what_does_not_fit_is_not_chosen():
    kernel = matmul_case(1, 4, 4, 4).kernel._replace(m=4096, n=4096, k=4096)
    large = choose(kernel, CARD).tile
    assert large.rows * large.cols >= 128 * 64
    small = choose(kernel, CARD._replace(shared_bytes=64 << 10)).tile
    assert small.stages * small.depth * (small.rows + small.cols) * 4 <= 48 << 10


def test_every_size_has_a_schedule():
    for m, n, k in ((1, 1, 1), (4096, 4096, 4096), (3, 50000, 7), (50000, 3, 7), (8, 8, 90000)):
        kernel = matmul_case(1, 1, 1, 1).kernel._replace(m=m, n=n, k=k)
        assert choose(kernel, CARD) in list(candidates(kernel, CARD))
