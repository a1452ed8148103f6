"""Examples in the docstrings of methods that no module holds under its own name."""

import doctest

import pytest

import hybrid
from hybrid.eager.methods import CONVERSIONS
from hybrid.ops.base.surface import SURFACE

NAMES = sorted({*CONVERSIONS, *(name for row in SURFACE for name in row.inplace)})


@pytest.mark.parametrize("name", NAMES)
def test_examples_of_generated_methods_run(name):
    finder = doctest.DocTestFinder(recurse=False)
    (test,) = finder.find(vars(hybrid.Tensor)[name], name, module=False, globs={})
    assert test.examples, name
    result = doctest.DocTestRunner().run(test)
    assert not result.failed, name
