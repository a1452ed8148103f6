"""What is decided for a product: how factors are read, how the result is cut, by caches."""

from __future__ import annotations

import numpy as np
import pytest
from gemm_harness import check

from hybrid.backends.cpu.gemm import Target, element_of, generate
from hybrid.backends.cpu.gemm.factors import BLOCK
from hybrid.backends.cpu.gemm.geometry import Geometry, choose, with_batch_in_columns
from hybrid.backends.cpu.machine.core import Core, Measured, usable
from hybrid.backends.cpu.machine.systems import Cache
from hybrid.backends.cpu.machine.systems.linux import caches_in
from hybrid.backends.cpu.measure.calibration import SANE, counted
from hybrid.backends.plan import Dims, GemmKernel
from hybrid.backends.product import kernel_of
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.ir import contract as layouts

GOLDEN_COVE = Target(
    64, 32, 1, core=Core(Cache(48 << 10, 12), Cache(2 << 20, 16), Measured(beyond=0.1275))
)
ZEN_3 = Target(
    32, 16, 1, core=Core(Cache(32 << 10, 8), Cache(512 << 10, 8), Measured(beyond=0.045))
)


def kernel_for(m: int, k: int, n: int, turned: tuple[bool, bool] = (False, False)) -> GemmKernel:
    """An m x k by k x n product, each factor as it is or a transposed array's."""
    left = np.zeros((k, m), np.float32).T if turned[0] else np.zeros((m, k), np.float32)
    right = np.zeros((n, k), np.float32).T if turned[1] else np.zeros((k, n), np.float32)
    contraction = layouts.matmul_layout(
        [aval(array.shape, dt.float32) for array in (left, right)],
        [tuple(stride // 4 for stride in array.strides) for array in (left, right)],
        (0, 0),
    )
    return kernel_of(contraction, [dt.float32] * 2, dt.float32)


def chosen(
    target: Target, m: int, k: int, n: int, turned: tuple[bool, bool] = (False, False)
) -> Geometry:
    """What is decided for such a product."""
    kernel = kernel_for(m, k, n, turned)
    return choose(kernel, element_of(kernel.acc), target)


def test_rows_at_powers_of_two_share_few_sets():
    first = Cache(32 << 10, 8)  # 64 sets of 8 lines
    assert usable(first, 4096, 64) == 8 * 64  # all rows in one set
    assert usable(first, 4096, 128) == 2 * 8 * 64
    assert usable(first, 2048, 64) == 2 * 8 * 64
    assert usable(first, 4096 + 64, 64) == first.size
    assert usable(first, 4096 + 4, 64) == usable(first, 0, 64) == first.size
    assert usable(first, -4096, 64) == usable(first, 4096, 64)
    assert usable(first, 64, 1 << 20) == first.size


@pytest.mark.parametrize("target", [GOLDEN_COVE, ZEN_3], ids=["golden cove", "zen 3"])
def test_factors_far_apart_are_packed(target):
    far = chosen(target, 1024, 1024, 1024)
    assert (far.a_mode, far.b_mode) == ("rows", "unit")
    assert chosen(target, 1024, 1024, 1024, (True, False)).a_mode == "cols"
    assert chosen(target, 1024, 1024, 1024, (False, True)).b_mode == "trans"


@pytest.mark.parametrize("target", [GOLDEN_COVE, ZEN_3], ids=["golden cove", "zen 3"])
def test_lines_of_large_results_are_asked_for(target):
    """What the second cache does not hold; sums of earlier blocks wherever they lie."""
    for size, depth, wanted in ((1024, 64, True), (96, 64, False), (96, 4096, True)):
        text = generate(kernel_for(size, depth, size), 3, target)[0].text
        assert ("llvm.prefetch" in text) == wanted, (size, depth)


@pytest.mark.parametrize("target", [GOLDEN_COVE, ZEN_3], ids=["golden cove", "zen 3"])
def test_threads_cut_by_rows_first(target):
    """Each keeps the rows of what flows; of a weight's gradient the larger factor is cut."""
    two = target._replace(threads=2)
    for m, k, n in ((16, 512, 128), (16, 128, 512), (64, 128, 128)):
        made = chosen(two, m, k, n)
        assert (made.items_n if made.swapped else made.items_m) >= 2, (m, k, n)
    wide = chosen(two, 512, 512, 64, (True, False))
    assert (wide.items_n if wide.swapped else wide.items_m) >= 2


def test_results_in_short_runs_cost_more():
    """Their vectors span two runs, so they are stored lane by lane."""
    joined = with_batch_in_columns(kernel_for(64, 256, 49)._replace(batch=16))
    assert joined is not None
    (out,) = joined.outs
    runs = joined._replace(outs=(out._replace(cols=Dims((16, 49), (64 * 49, 1))),))
    line = joined._replace(outs=(out._replace(cols=Dims((16 * 49,), (1,))),))
    costs = [choose(kernel, element_of(line.acc), GOLDEN_COVE).cost for kernel in (runs, line)]
    assert costs[0] > costs[1] * 1.02


@pytest.mark.parametrize("target", [GOLDEN_COVE, ZEN_3], ids=["golden cove", "zen 3"])
def test_small_factors_are_read_where_they_lie(target):
    near = chosen(target, 64, 64, 64)
    assert (near.a_mode, near.b_mode) == ("direct", "direct")
    # one row panel reads b once: there is nothing to gain
    assert chosen(target, 4, 256, 128).b_mode == "direct"


@pytest.mark.parametrize("target", [GOLDEN_COVE, ZEN_3], ids=["golden cove", "zen 3"])
@pytest.mark.parametrize("rows", [4, 16, 64])
def test_large_factors_are_never_read_in_short_pieces(target, rows):
    """Pieces far apart are waited for one by one; whole rows and columns are streams."""
    made = chosen(target, rows, 3072, 768)
    assert (made.swapped, made.b_mode) == (False, "unit")
    # nor as rows of the transpose, which go along k
    other = chosen(target, 768, 3072, rows, (True, True))
    assert other.b_mode == "unit" if other.swapped else other.a_mode == "rows"
    # columns next to each other are one stream however they are read
    narrow = chosen(target, rows, 100_000, 16)
    assert narrow.swapped or narrow.b_mode == "direct"


@pytest.mark.parametrize("target", [GOLDEN_COVE, ZEN_3], ids=["golden cove", "zen 3"])
@pytest.mark.parametrize("size", [512, 1024, 4096])
def test_columns_of_an_item_stay_in_the_second_cache(target, size):
    got = chosen(target, size, size, size)
    room = target.core.second.size
    assert got.panels_n * got.tile_vectors * 16 * BLOCK * 4 <= room // 4
    # sums that wait for their last block of k take memory of every thread
    assert got.panels_m * got.panels_n * got.rows * got.tile_vectors * 16 * 4 <= 5 * room // 4


def test_caches_are_read_and_ordinary_where_nothing_is_told(tmp_path):
    ordinary = caches_in(str(tmp_path))
    assert [cache.size for cache in ordinary] == [32 << 10, 512 << 10, 8 << 20]
    for number, (level, kind, size, ways) in enumerate(
        [(1, "Data", "48K", "12"), (1, "Instruction", "64K", "8"), (2, "Unified", "2M", "many")]
    ):
        folder = tmp_path / f"index{number}"
        folder.mkdir()
        for name, text in (
            ("level", str(level)),
            ("type", kind),
            ("size", size),
            ("ways_of_associativity", ways),
        ):
            (folder / name).write_text(text + "\n")
    assert caches_in(str(tmp_path)) == (Cache(48 << 10, 12), Cache(2 << 20, 8), ordinary[2])


def test_bits_do_not_depend_on_what_a_machine_costs():
    """As far from the model as a calibration is believed; the decisions do depend on it."""
    rng, model, decided = np.random.default_rng(0), Measured(), set()
    changes = [dict.fromkeys(model._fields, SANE), dict.fromkeys(model._fields, 1 / SANE)]
    changes += [{name: times} for name in model._fields for times in (SANE, 1 / SANE)]
    for m, k, n in ((70, 1030, 130), (16, 700, 300)):
        a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((m, k), (k, n)))
        for change in changes:
            figures = {name: getattr(model, name) * times for name, times in change.items()}
            target = Target(64, 32, 8, core=counted(Core(), figures))
            decided.add(chosen(target, m, k, n)._replace(cost=0))
            check(layouts.matmul_layout, [a, b], target, pieces=2)
    assert len(decided) > 4
