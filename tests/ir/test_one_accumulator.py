"""Accumulator, bias and rounding of products are defined once, for eager calls and for plans."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

import hybrid
from hybrid.backends import product as eager
from hybrid.backends.cpu.gemm import epilogue
from hybrid.backends.cuda.gemm import forms
from hybrid.compiler.lower import composition
from hybrid.compiler.lower import contraction as planned
from hybrid.core import dtypes as dt
from hybrid.ir import contract
from hybrid.ir.scalar import half
from hybrid.ir.scalar.program import Builder

ROOT = Path(hybrid.__file__).parent


def test_eager_and_plans_use_the_same_functions():
    assert eager.accumulator is planned.accumulator is contract.accumulator
    assert eager.rounded is composition.rounded is contract.rounded
    assert epilogue.epilogue_of is forms.epilogue_of is eager.epilogue_of


def test_there_is_no_second_definition():
    """No other function of the tree is called so, and none in the files about products rounds."""
    for path in ROOT.rglob("*.py"):
        for n in ast.walk(ast.parse(path.read_text())):
            if isinstance(n, ast.FunctionDef) and path != ROOT / "ir" / "contract.py":
                takes = {a.arg for a in n.args.args}
                assert n.name != "accumulator", path
                describes = path.name == "composition.py" and "self" in takes
                assert not (n.name == "rounded" and "bias" in takes) or describes, path
    products = [ROOT / f"compiler/lower/{name}.py" for name in ("contraction", "composition")]
    for folder in ("backends/cpu/gemm", "backends/cuda/gemm"):
        products += (ROOT / folder).glob("*.py")
    for path in products:
        text = path.read_text()
        for own in (
            "half.pack",
            "half.round_to",
            "from ....ir import half",
            "from ..ir import half",
        ):
            assert own not in text, f"{path.name} rounds by itself"


@pytest.mark.parametrize("d", [dt.float16, dt.bfloat16, dt.float32, dt.float64, dt.int8, dt.int64])
def test_the_definition(d):
    acc = contract.accumulator(d)
    assert acc.itemsize >= max(d.itemsize, 4)
    s = Builder()
    total, bias = s.arg("f32"), s.arg("f32")
    if dt.is_half(d):
        got = contract.rounded(s, total, bias, d)
        assert got.id == half.pack(s, total + bias, d).id and got.type == "u16"
        assert contract.rounded(s, total, None, d).id == half.pack(s, total, d).id


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64", "int32", "int8"])
@pytest.mark.parametrize("bias", [False, True])
def test_bits_of_products_with_and_without_epilogue(name, bias):
    """Eager equals traced for every way a product's sum is rounded: plain, bias, epilogue."""
    rng = np.random.default_rng(0)
    if name.startswith("int"):
        x, w, b = (rng.integers(-9, 9, s) for s in ((5, 300), (7, 300), (7,)))
    else:
        x, w, b = (rng.standard_normal(s) * 30 for s in ((5, 300), (7, 300), (7,)))
    x, w, b = (hybrid.asarray(v).astype(name) for v in (x, w, b))
    x[0, 0] = 100
    args = (x, w, b) if bias else (x, w)

    def plain(*args):
        return hybrid.nn.functional.linear(*args)

    def more(*args):
        y = hybrid.nn.functional.linear(*args)
        return y * 2, hybrid.maximum(y, 0) + y, y.T

    for fn in (plain, more):
        want, traced = fn(*args), hybrid.function(fn)
        for _ in range(4):
            got = traced(*args)
        assert traced.cache_info().replays
        for a, c in zip(want if fn is more else [want], got if fn is more else [got]):
            assert np.asarray(a).tobytes() == np.asarray(c).tobytes()
