"""Kernels and whole plans as code for AArch64, emulated: the bits of this machine's code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from cross_harness import Case, differences, lacking, plan_case, run_here, run_there
from cross_kernels import FLOATS, few, of_products, of_random_programs, of_records
from cross_programs import FEW, PROGRAMS, inputs_of, plan_of

from hybrid.backends.cpu.gemm.tilings import Target, target_of
from hybrid.backends.cpu.machine.core import KNOWN
from hybrid.backends.cpu.machine.target import AARCH64, Processor
from hybrid.core import dtypes as dt

LACKING = lacking()
pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING)
NEON = Processor(AARCH64.triple, "neoverse-n1")
SVE = Processor(AARCH64.triple, "neoverse-v1", scalable=32)
LONGER = ("-cpu", "max,sve-max-vq=2,sve-default-vector-length=32")


def target(name: str) -> Target:
    return target_of(KNOWN[name], 3)


def check(
    cases: Sequence[Case], folder: Path, processor: Processor = NEON, options: Sequence[str] = ()
) -> None:
    core = KNOWN[processor.name]
    if processor.scalable:
        core = core._replace(vector_bytes=processor.scalable, masked=0.0)
    there = run_there(cases, processor, target_of(core, 3), folder, options)
    told = [
        line for case, made in zip(cases, there) for line in differences(case, run_here(case), made)
    ]
    assert not told, "\n".join(told[:20])


def plans(*names: str) -> list[Case]:
    return [
        plan_case(name, plan, inputs_of(plan, 1))
        for name in names
        for plan in [plan_of(*PROGRAMS[name]())]
    ]


def test_kernels_have_the_same_bits(tmp_path: Path) -> None:
    """Every primitive of every type, random programs, products of every kind."""
    few_records = few(list(of_records()))
    check([*few_records, *of_random_programs(30), *of_products(every=False)], tmp_path)


def test_plans_have_the_same_bits(tmp_path: Path) -> None:
    """A training step, a block of a GPT, a convolutional net; scans, orders, gathers, rows."""
    check(plans(*FEW), tmp_path)


def test_longer_vectors_have_the_same_bits(tmp_path: Path) -> None:
    """Vectors of 256 bits, with masked instructions."""
    check([*list(of_products(every=False))[:8], *plans("mlp", "moved")], tmp_path, SVE, LONGER)


@pytest.mark.slow
@pytest.mark.parametrize(
    "dtypes", [*[(d,) for d in FLOATS], (dt.int32, dt.uint8)], ids=lambda dtypes: dtypes[0].name
)
def test_every_record_has_the_same_bits(tmp_path: Path, dtypes: tuple[np.dtype, ...]) -> None:
    check(list(of_records(dtypes)), tmp_path)


@pytest.mark.slow
def test_random_programs_have_the_same_bits(tmp_path: Path) -> None:
    check(list(of_random_programs(300)), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("which", [(NEON, ()), (SVE, LONGER)], ids=["neon", "sve"])
def test_every_program_has_the_same_bits(tmp_path: Path, which: tuple) -> None:  # type: ignore[type-arg]
    check([*plans(*PROGRAMS), *of_products()], tmp_path, *which)
