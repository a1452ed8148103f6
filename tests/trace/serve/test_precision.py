"""The precision of products is part of the mode: eager entries, signatures and direct replays."""

import sys

import numpy as np
import pytest

import hybrid as hb
from hybrid.backends import product
from hybrid.core.precision import MATMUL

pytestmark = pytest.mark.usefixtures("whole_calls")


@pytest.fixture(autouse=True)
def strict_again():
    yield
    hb.set_matmul_precision("strict")


def test_words():
    assert hb.get_matmul_precision() == "strict"
    hb.set_matmul_precision("fast")
    assert hb.get_matmul_precision() == "fast" and hb.get_float32_matmul_precision() == "high"
    hb.set_float32_matmul_precision("highest")
    assert hb.get_matmul_precision() == "strict"
    for wrong in ("Fast", None, 1, ["fast"]):
        with pytest.raises(ValueError, match="'strict' or 'fast'"):
            hb.set_matmul_precision(wrong)


def test_the_cpu_gives_the_same_bits():
    x = hb.randn(30, 40)
    strict = (x @ x.T).numpy()
    hb.set_matmul_precision("fast")
    np.testing.assert_array_equal((x @ x.T).numpy(), strict)


def test_eager_kernels_are_made_for_the_setting(monkeypatch):
    made, kernel_of = [], product.kernel_of

    def noted(*args):
        made.append(kernel_of(*args).fast)
        return kernel_of(*args)

    for name, module in list(sys.modules.items()):
        if name.startswith("hybrid.") and vars(module).get("kernel_of") is kernel_of:
            monkeypatch.setattr(module, "kernel_of", noted)
    x = hb.randn(31, 41)
    for setting in ("strict", "fast", "strict", "fast"):
        hb.set_matmul_precision(setting)
        x @ x.T, x @ x.T
    assert False in made and True in made
    before = len(made)
    hb.set_matmul_precision("strict")
    x @ x.T
    assert len(made) == before


def test_functions_keep_a_plan_for_each_setting():
    f = hb.function(lambda x: x @ x.T)
    x = hb.randn(20, 20)
    for _ in range(4):
        f(x)
    assert f._direct is not None
    hb.set_matmul_precision("fast")
    assert f._direct is None
    for _ in range(4):
        f(x)
    assert len(f._signatures) == 2 and f.cache_info().records == 4
    hb.set_matmul_precision("strict")
    f(x)
    assert f._direct is not None and f.cache_info().records == 4


def test_plans_say_what_is_allowed():
    hb.set_matmul_precision("fast")
    assert product.may_be_fast(np.dtype("float32")) and not product.may_be_fast(np.dtype("f8"))
    hb.set_matmul_precision("strict")
    assert not product.may_be_fast(np.dtype("float32")) and not MATMUL.fast


def test_a_function_that_sets_it_is_not_replayed():
    @hb.function
    def f(x):
        hb.set_matmul_precision("strict")
        return x @ x

    x = hb.randn(5, 5)
    with pytest.warns(hb.RunsEagerly, match="sets the precision of products"):
        for _ in range(4):
            f(x)
    assert f.cache_info().replays == 0 and "precision" in f.explain()
