"""Few rows times a matrix that lies k by k, added up row by row: the interpreter's bits in every
layout, and when this is done."""

from __future__ import annotations

import numpy as np
import pytest
from gemm_harness import execute, same
from product_cases import Case, matmul_case

from hybrid.backends.cpu.gemm import Target, element_of, generate
from hybrid.backends.cpu.gemm.vectors import sweep_shape
from hybrid.backends.cpu.machine.core import Core
from hybrid.backends.cpu.machine.systems import Cache
from hybrid.core import dtypes as dt

SMALL = Core()._replace(second=Cache(1 << 10, 8))  # holds no matrix of these tests
WIDE, AVX2 = Target(64, 32, 2, core=SMALL), Target(32, 16, 2, core=SMALL)
SIZES = [(rows, 530 + 7 * rows, 9 + rows) for rows in range(1, 9)]  # rows, columns, k
SIZES += [(1, 512, 256), (3, 2050, 5), (2, 600, 300), (5, 1100, 515), (1, 4200, 2), (4, 560, 3)]


def _swept(case: Case, target: Target) -> bool:
    return sweep_shape(case.kernel, element_of(case.kernel.acc), target) is not None


def _check(case: Case, target: Target, pieces: int = 2) -> None:
    assert _swept(case, target)
    want = case.expected()
    arrays = [buffer.copy() for buffer in case.buffers]
    execute(generate(case.kernel, len(arrays), target), arrays, pieces)
    for got, wanted in zip(arrays, want):
        same(got, wanted)


@pytest.mark.parametrize("target", [WIDE, AVX2], ids=["wide", "avx2"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_rows_in_every_number(size: tuple[int, int, int], target: Target) -> None:
    rows, columns, depth = size
    _check(matmul_case(1, rows, columns, depth, epilogue=rows % 2 == 0, odd=rows % 3), target)
    if rows > 1:  # one column is a product in another order
        case = matmul_case(1, columns, rows, depth, "tn", epilogue=rows % 2 == 1)
        _check(case, target)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("layout", ["nn", "tn"])
def test_batches_and_turned_results(layout: str, turned: bool) -> None:
    _check(matmul_case(3, 4, 700, 270, layout, epilogue=True, out_turned=turned), WIDE, pieces=3)
    swapped = matmul_case(3, 700, 4, 270, "t" + layout[0], epilogue=True, out_turned=turned)
    _check(swapped, WIDE, pieces=5)


@pytest.mark.parametrize(
    "dtype", [dt.float64, dt.float16, dt.bfloat16, dt.int32, dt.int64, dt.uint8], ids=str
)
@pytest.mark.parametrize("rows", [1, 3, 7])
def test_dtypes(dtype: np.dtype, rows: int) -> None:
    _check(matmul_case(2, rows, 1030, 260, dtype=dtype), WIDE)


def test_special_values() -> None:
    case = matmul_case(1, 2, 600, 20)
    for buffer in case.buffers[:2]:
        buffer[::7], buffer[3::31], buffer[5::41] = -0.0, np.inf, np.nan
    _check(case, WIDE)


def test_what_is_not_swept() -> None:
    """Nothing, more rows, a matrix that lies n by n, and what the second cache holds."""
    for batch, rows, columns, depth in (
        (0, 2, 600, 5),
        (1, 2, 0, 5),
        (1, 0, 600, 5),
        (1, 2, 600, 0),
    ):
        assert not _swept(matmul_case(batch, rows, columns, depth), WIDE)
    assert not _swept(matmul_case(1, 9, 600, 20), WIDE)
    assert not _swept(matmul_case(1, 2, 600, 20, "nt"), WIDE)
    assert not _swept(matmul_case(1, 2, 600, 20), Target(64, 32, 2))
    assert not _swept(matmul_case(1, 2, 130, 2000), WIDE)  # short pieces, whatever is done
    assert not _swept(matmul_case(1, 2, 1000, 2000), Target(64, 32, 64, core=SMALL))
    assert _swept(matmul_case(1, 2, 4096, 20), Target(64, 32, 64, core=SMALL))


def test_one_text_for_any_number_of_columns_and_k() -> None:
    texts = {
        generate(matmul_case(1, 2, columns, depth).kernel, 3, WIDE)[0].text
        for columns, depth in ((600, 20), (1111, 300), (4096, 7))
    }
    assert len(texts) == 1
