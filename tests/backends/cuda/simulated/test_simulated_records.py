"""Every elementwise and row record on a simulated card: the CPU's bits under two schedules of
threads, no races, as code for sm_90 and for sm_80 (which is assembled where ptxas is at hand)."""

from pathlib import Path

import numpy as np
import pytest
from emit_harness import sample
from gpu import check, to_ptx
from ptx_harness import PTXAS, assemble
from record_kernels import NAMES, kernels

from hybrid.backends.cuda.function import Card
from hybrid.backends.cuda.kernels import generate
from hybrid.backends.plan import LoopKernel
from hybrid.core import dtypes as dt

GATHERED = 4096  # elements of an operand that is read by index


def values(rng: np.random.Generator, dtype: np.dtype, count: int) -> np.ndarray:
    """Special values and random bits; of integers small ones, which are indices too."""
    if dt.is_half(dtype):
        with np.errstate(all="ignore"):
            return sample(rng, "f32", (count,)).astype(dtype)
    if dtype.kind == "f":
        return sample(rng, f"f{8 * dtype.itemsize}", (count,))
    return rng.integers(0, 2 if dtype.kind == "b" else 4, count).astype(dtype)


def buffers(kernel: LoopKernel) -> list[np.ndarray]:
    """An array for every slot, as large as the kernel reads and writes."""
    sizes: dict[int, tuple[np.dtype, int]] = {}
    for access in (*kernel.reads, *kernel.writes):
        far = [(n - 1) * s for n, s in zip(kernel.shape, access.strides)]
        count = GATHERED if access.gather else access.offset + 1 + sum(x for x in far if x > 0)
        before = sizes.get(access.slot, (access.dtype, 0))[1]
        sizes[access.slot] = np.dtype(access.dtype), max(before, count)
    rng = np.random.default_rng(len(sizes))
    missing = (np.dtype(np.uint8), 1)
    return [values(rng, *sizes.get(slot, missing)) for slot in range(max(sizes) + 1)]


@pytest.mark.parametrize("name", NAMES)
def test_record_has_the_cpus_bits(name: str) -> None:
    for kernel in kernels(name):
        given = buffers(kernel)
        check(kernel, given, orders=(0, 1))
        check(kernel, given, orders=(2,), arch="sm_80")


@pytest.mark.skipif(PTXAS is None, reason="ptxas is not installed; it comes with the CUDA toolkit")
@pytest.mark.parametrize("name", NAMES)
def test_record_assembles_for_older_cards(name: str, tmp_path: Path) -> None:
    for kernel in kernels(name):
        for function in generate(kernel, Card(), len(kernel.reads) + len(kernel.writes)):
            assert assemble(to_ptx(function.text, "sm_80"), tmp_path, "sm_80")["spills"] == 0
