"""The same products a hundred times have the same bits each time, and streams of random numbers
those of the host."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gpu_device import DEVICE, SIMULATED, differences, here, there

import hybrid
from hybrid.nn import functional as F

pytestmark = pytest.mark.filterwarnings("ignore:libcublasLt")
REPEATS = 3 if SIMULATED else 100


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def attention(q: Any, k: Any, v: Any) -> Any:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


CASES: dict[str, tuple[Any, list[tuple[int, ...]]]] = {
    "square": (hybrid.matmul, [(512, 512), (512, 512)]),
    "skinny": (hybrid.matmul, [(16, 3000), (3000, 48)]),
    "batched": (hybrid.matmul, [(24, 65, 300), (24, 300, 33)]),
    "column": (hybrid.matmul, [(700, 900), (900, 1)]),
    "convolution": (F.conv2d, [(8, 16, 28, 28), (32, 16, 3, 3)]),
    "attention": (attention, [(2, 4, 256, 64)] * 3),
    "all": (lambda x: x.sum(), [(1500, 1501)]),
    "columns": (lambda x: x.sum(0), [(5000, 300)]),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_repeats_have_the_same_bits(name: str, dtype: str) -> None:
    function, shapes = CASES[name]
    operands = [there(draw(*shape)).to(dtype) for shape in shapes]
    traced = hybrid.function(function)
    first = here(function(*operands))
    for repeat in range(REPEATS):
        for way in (function, traced):
            told = differences(here(way(*operands)), first)
            assert not told, f"repeat {repeat}: {told}"


def test_random_numbers_are_those_of_the_host() -> None:
    def draws(device: Any) -> list[np.ndarray]:
        hybrid.manual_seed(11)
        found = [hybrid.rand(1000, device=device), hybrid.randn(33, 77, device=device)]
        found += [hybrid.randint(0, 1000, (501,), device=device)]
        found += [hybrid.dropout(hybrid.ones(4097, device=device), 0.3)]
        return [here(t) for t in found]

    for found, wanted in zip(draws(DEVICE), draws("cpu"), strict=True):
        assert not differences(found, wanted)


def test_random_numbers_go_on_in_replays() -> None:
    def runs(device: Any) -> list[np.ndarray]:
        hybrid.manual_seed(5)
        noisy = hybrid.function(lambda x: x + hybrid.rand(50, device=x.device))
        x = hybrid.zeros(50, device=device)
        return [here(noisy(x)) for _ in range(8)]

    for found, wanted in zip(runs(DEVICE), runs("cpu"), strict=True):
        assert not differences(found, wanted)
