"""Every elementwise and row record on a simulated card: the CPU's bits under two schedules of
threads, no races, as code for sm_90 and for sm_80 (which is assembled where ptxas is at hand)."""

from pathlib import Path

import pytest
from emit_harness import buffers
from gpu import check, to_ptx
from ptx_harness import PTXAS, assemble
from record_kernels import NAMES, kernels

from hybrid.backends.cuda.function import Card
from hybrid.backends.cuda.kernels import generate


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
