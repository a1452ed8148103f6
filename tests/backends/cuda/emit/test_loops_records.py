"""Every elementwise and row record as PTX, assembled where ptxas is at hand."""

import pytest
from ptx_harness import checked_ptx
from record_kernels import NAMES, kernels

from hybrid.backends.cuda.emit import generate
from hybrid.backends.cuda.function import Card


@pytest.mark.parametrize("name", NAMES)
def test_record_is_valid_ptx(name, tmp_path):
    for kernel in kernels(name):
        checked_ptx(generate(kernel, Card(), temp_slot=99), tmp_path)
