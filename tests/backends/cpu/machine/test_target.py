"""Instruction sets: helpers around kernels, code for a machine that is not this one, its loops."""

from __future__ import annotations

import platform

import numpy as np
import pytest

from benchmarks.kernels.cores import assembly, loops_of
from hybrid.backends.cpu.attend.tile import tile_function, tile_shape
from hybrid.backends.cpu.gemm import element_of, module
from hybrid.backends.cpu.gemm.geometry import choose
from hybrid.backends.cpu.gemm.tilings import target_of
from hybrid.backends.cpu.machine import target as t
from hybrid.backends.cpu.machine.core import KNOWN
from hybrid.backends.cpu.machine.engine import NAMES, engine_text
from hybrid.backends.cpu.machine.jit import object_for
from hybrid.backends.cpu.machine.systems import Linux
from hybrid.backends.cpu.machine.systems.objects import object_symbols
from hybrid.backends.product import kernel_of
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.core.errors import BackendError
from hybrid.ir import contract as layouts

LINUX = Linux()
GENERIC = {"x86-64": "haswell", "AArch64": "generic"}


@pytest.mark.parametrize("instructions", t.INSTRUCTION_SETS, ids=lambda each: each.name)
def test_the_engine_needs_nothing_from_outside(instructions: t.InstructionSet) -> None:
    processor = t.Processor(instructions.triple, GENERIC[instructions.name])
    binary = object_for(processor, engine_text(LINUX, instructions), NAMES)
    assert object_symbols(binary)[0] >= set(NAMES)
    others = [each for each in t.INSTRUCTION_SETS if each is not instructions]
    assert not any(each.pause in engine_text(LINUX, instructions) for each in others)


def test_code_that_calls_others_is_refused_for_any_machine() -> None:
    processor = t.Processor(t.AARCH64.triple, "generic")
    text = "define double @f(double %a, double %b) {\n %c = frem double %a, %b\n ret double %c\n}\n"
    with pytest.raises(BackendError, match="fmod"):
        object_for(processor, text, ["f"])


def test_sets_by_the_name_of_a_machine() -> None:
    assert t.instruction_set("arm64") is t.instruction_set("aarch64") is t.AARCH64
    assert t.instruction_set("AMD64") is t.X86_64 and t.instruction_set("riscv64") is None
    assert platform.machine() in t.native_set().machines


def test_lengths_of_scalable_vectors_are_told() -> None:
    text = "declare void @g()\ndefine void @f() nounwind {\nret void\n}\n"
    plain = t.Processor(t.AARCH64.triple, "neoverse-v1")
    assert plain.fitted(text) == text
    told = plain._replace(scalable=64).fitted(text)
    assert "define void @f() nounwind vscale_range(4,4) {" in told and told.count("vscale") == 1


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64], ids=str)
@pytest.mark.parametrize("name", KNOWN)
def test_tiles_of_attention_stay_in_registers(name: str, dtype: np.dtype, few: bool) -> None:
    element = element_of(dtype)
    shape = tile_shape(element, target_of(KNOWN[name], 2), 2, few)
    text, symbol = module([tile_function(element, shape)], "tile")
    loops = loops_of(assembly(name, text), f"{symbol}.tile")
    whole = max(loops, key=lambda loop: loop.fma)
    registers = 16 * element.size // KNOWN[name].vector_bytes
    masks = registers * shape.vectors if KNOWN[name].vector_bytes == 32 else 0  # vectors there
    assert whole.fma == shape.rows * shape.vectors * registers and whole.spills <= masks


@pytest.mark.parametrize("name", KNOWN)
def test_columns_read_under_a_mask_are_packed_where_masks_are_dear(name: str) -> None:
    shapes = (200, 100), (100, 90)
    contraction = layouts.matmul_layout(
        [aval(shape, dt.float32) for shape in shapes], [(100, 1), (90, 1)], (0, 0)
    )
    kernel = kernel_of(contraction, [dt.float32] * 2, dt.float32)
    geometry = choose(kernel, element_of(dt.float32), target_of(KNOWN[name], 1))
    ragged = geometry.b.lines.size % 16 != 0 and geometry.b_mode == "direct"
    assert not (ragged and KNOWN[name].masked)
    assert ragged or KNOWN[name].masked
