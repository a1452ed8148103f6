"""The binding of cuBLASLt, against a library with its functions that computes on the host."""

import ctypes
import gc
import itertools
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from hybrid.backends.cuda.blas.library import CublasLt, OperandAddresses
from hybrid.backends.cuda.blas.problem import MatrixLayout, Problem, tight
from hybrid.core import dtypes as dt
from hybrid.core.errors import DeviceError

SOURCE = Path(__file__).with_name("fake_cublaslt.c")
STREAM = 0x77


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    made = tmp_path_factory.mktemp("lt") / "libfake.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, SOURCE], check=True)
    return str(made)


@pytest.fixture
def library(path):
    return CublasLt(path, driver=path)


def stored(array, turned, layout):
    """Memory in which the matrices of an array lie as a layout says."""
    array = np.swapaxes(array, 1, 2) if turned else array
    batch, lines, elements = array.shape
    step = layout.batch or lines * layout.line
    memory = np.full(batch * step + lines * layout.line, np.nan, np.float32)
    for number, line in itertools.product(range(batch), range(lines)):
        start = number * layout.batch + line * layout.line
        memory[start : start + elements] = array[number, line]
    return memory


def address(array):
    return array.__array_interface__["data"][0]


def multiply(library, problem, layouts=None, seed=0):
    rng = np.random.default_rng(seed)
    _, batch, m, n, k, left_turned, right_turned, biased = problem
    left, right = (rng.integers(-4, 5, s).astype("f4") for s in ((batch, m, k), (batch, k, n)))
    bias = rng.integers(-4, 5, n).astype("f4")
    layouts = layouts or tight(problem)
    algorithm = library.algorithm(problem)
    assert algorithm.workspace == 4096 and library.algorithm(problem) is algorithm
    call = library.call(problem, algorithm, layouts)
    memory = stored(left, left_turned, layouts[0]), stored(right, right_turned, layouts[1])
    out = np.zeros((batch, m, layouts[2].line), "f4")
    workspace = np.zeros(4096, np.uint8)
    for _ in range(2):
        given = [*map(address, memory), address(bias) * biased, *map(address, (out, workspace))]
        call(OperandAddresses(*given), STREAM)
    np.testing.assert_array_equal(out[:, :, :n], left @ right + bias * biased)


@pytest.mark.parametrize("turned", list(itertools.product((False, True), repeat=2)))
@pytest.mark.parametrize("batch", [1, 3])
def test_factors_of_both_orders(library, turned, batch):
    multiply(library, Problem(dt.float32, batch, 5, 7, 6, *turned, False))
    multiply(library, Problem(dt.float32, batch, 5, 7, 6, *turned, True))


def test_lines_with_gaps(library):
    problem = Problem(dt.float32, 2, 5, 7, 6, False, True, True)
    multiply(library, problem, (MatrixLayout(8, 40), MatrixLayout(9, 70), MatrixLayout(12, 60)))


def test_layouts_that_an_algorithm_refuses(library):
    problem = Problem(dt.float32, 1, 5, 7, 6, False, False, False)
    algorithm = library.algorithm(problem)
    gaps = MatrixLayout(6, 0), MatrixLayout(999, 0), MatrixLayout(7, 0)
    assert library.call(problem, algorithm, gaps) is None


def test_errors_say_which_call_failed(library):
    problem = Problem(dt.float32, 1, 5, 7, 6, False, False, False)
    call = library.call(problem, library.algorithm(problem), tight(problem))
    with pytest.raises(DeviceError, match="cublasLtMatmul failed: an argument is not valid"):
        call(OperandAddresses(1, 1, 0, 1, 1), STREAM + 1)


def test_descriptions_go_with_the_calls(library, path):
    alive = ctypes.c_int.in_dll(ctypes.PyDLL(path), "fake_alive")
    gc.collect()
    before = alive.value
    multiply(library, Problem(dt.float32, 1, 3, 4, 5, False, False, True))
    gc.collect()
    assert alive.value == before
