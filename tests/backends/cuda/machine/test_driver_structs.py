"""What is handed to NVIDIA's driver and cuBLASLt lies as their headers (CUDA 12 and 13) say."""

import ctypes

import pytest

from hybrid.backends.cuda.blas.library import _Result
from hybrid.backends.cuda.graph_ir import PARAMS
from hybrid.backends.cuda.machine import driver

OFFSETS = {
    driver._KernelNode: {
        "function": 0,
        "grid_x": 8,
        "block_x": 20,
        "shared": 32,
        "parameters": 40,
        "extra": 48,
        "kernel": 56,
        "context": 64,
    },
    driver._CopyNode: {
        "source_kind": 32,
        "source": 48,
        "source_pitch": 72,
        "target_kind": 120,
        "target": 136,
        "width": 176,
        "depth": 192,
    },
    _Result: {"algorithm": 0, "workspace": 64, "state": 72, "waves": 76, "reserved": 80},
}
SIZES = {driver._KernelNode: 72, driver._CopyNode: 200, _Result: 96}


@pytest.mark.parametrize("kind", OFFSETS, ids=lambda kind: kind.__doc__)
def test_a_structure(kind):
    assert {name: getattr(kind, name).offset for name in OFFSETS[kind]} == OFFSETS[kind]
    assert ctypes.sizeof(kind) == SIZES[kind]


def test_native_code_packs_a_kernel_node_as_it_is():
    assert PARAMS.size == ctypes.sizeof(driver._KernelNode)
    node = driver._KernelNode.from_buffer_copy(PARAMS.pack(1 << 40, *range(1, 8), 1 << 41))
    sizes = [getattr(node, f"{name}_{axis}") for name in ("grid", "block") for axis in "xyz"]
    assert (node.function, node.parameters, node.shared) == (1 << 40, 1 << 41, 7)
    assert sizes == [1, 2, 3, 4, 5, 6] and not (node.extra or node.kernel or node.context)
