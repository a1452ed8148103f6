"""What the yardsticks measure is what their texts say: counts of instructions, for each core."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from benchmarks.kernels import cores, scalar_math
from hybrid.backends.cpu.machine.core import KNOWN
from hybrid.backends.cpu.machine.host import machine
from hybrid.backends.cpu.measure import texts


@pytest.mark.parametrize("name", KNOWN)
def test_products_keep_multiply_adds_busy_on_every_known_core(name):
    """At most a tenth of the cycles is lost to loads and the front end, nothing is spilled."""
    core = KNOWN[name]
    geometry, loop = cores.inner_loop(name, core)
    lanes = 16 * 4 // core.vector_bytes  # registers of 16 floats
    steps, rest = divmod(loop.fma, geometry.rows * geometry.tile_vectors * lanes)
    assert steps >= 1 and rest == 0
    assert loop.spills == 0
    assert loop.peak(core) >= 0.9 * loop.bound(core)


@pytest.mark.parametrize("dtype", texts.FMA)
@pytest.mark.parametrize("width", [16, 32, 64])
def test_the_peak_is_multiply_adds_in_registers(dtype, width):
    chains = texts.chains(width)
    if not chains:
        assert width > machine().vector_bytes
        return
    text = cores.assembly(machine().name, texts.fma_text(dtype, width))
    (loop,) = cores.loops_of(text, "peak")
    assert (loop.fma, loop.loads, loop.spills) == (chains, 0, 0)
    assert len(loop.lines) <= chains + 3  # counter, comparison, jump


def test_a_cycle_is_one_operation_that_waits_for_the_one_before():
    text = cores.assembly(machine().name, texts.clock_text())
    (loop,) = cores.loops_of(text, "peak")
    kinds = Counter(line.split()[0].rstrip("q") for line in loop.lines)
    assert kinds["add"] == kinds["xor"] == texts.CHAIN // 2
    assert len(loop.lines) <= texts.CHAIN + 3  # counter, comparison, jump


@pytest.mark.parametrize("kind, touched", [("load", 1), ("store", 1), ("copy", 2)])
def test_the_bandwidth_is_of_whole_lines(kind, touched):
    text = cores.assembly(machine().name, texts.traffic_text(kind))
    loop = max(cores.loops_of(text, "peak"), key=lambda one: one.loads)
    vectors = 64 // machine().vector_bytes
    assert loop.spills == 0
    # a load may be an operand of the sum that uses it
    assert loop.loads == texts.LINES * vectors * touched


@pytest.mark.parametrize("case", scalar_math.CASES, ids=lambda case: case.name)
def test_scalar_functions_get_the_same_values(case):
    """Both libraries compute the same function of the same arguments."""
    chosen = scalar_math.calls(case, "float64", 8)
    found = [np.asarray(call()) for library, call in chosen.items() if library != "PyTorch"]
    for other in found[1:]:
        np.testing.assert_allclose(found[0], other, rtol=1e-13)
    assert found[0].shape == (8,)


def test_ratios_of_scalar_functions_are_to_the_faster_library():
    calls = {"hybrid": lambda: None, "NumPy": lambda: sum(range(3000)), "PyTorch": lambda: None}
    row = scalar_math.compared("nothing", calls, 11, 1)
    assert row.low <= row.ratio <= row.high and row.least["NumPy"] > row.least["PyTorch"]
    assert row.ratio > 0.1  # beside NumPy it would be far less
    (text,) = scalar_math.lines([row])
    assert text.startswith("nothing")
