"""What a record's docstring says of shapes and dtypes is what its function does."""

import pytest

import hybrid
from hybrid.core.errors import DTypeError, ShapeError
from hybrid.ir.op import Op, in_words
from hybrid.ops.base.surface import SURFACE

FUNCTIONS = [
    row.function
    for row in SURFACE
    if isinstance(getattr(row.function, "op", None), Op) and in_words(row.function.op)
]


def result_of(function, dtype):
    """The dtype of the result for operands of one dtype; the error's type where there is one."""
    operands = [hybrid.ones(2, dtype=dtype)] * function.op.nin
    try:
        return function(*operands).dtype.name
    except DTypeError:
        return "DTypeError"


def told(function, kind):
    """The same, as the docstring has it."""
    text = in_words(function.op)
    refused = {"float": "DTypeError for floating", "int": "DTypeError for int"}
    if refused[kind.rstrip("0123456789").replace("bool", "int")] in text:
        return "DTypeError"
    if "The result is bool" in text:
        return "bool"
    if kind != "float64" and "computed as float32" in text:
        return "float32"
    return "int64" if kind == "bool" and "Bools are taken as int64" in text else kind


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.op.name)
@pytest.mark.parametrize("dtype", ["bool", "int32", "float64"])
def test_dtypes_are_as_told(function, dtype):
    assert result_of(function, dtype) == told(function, dtype)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.op.name)
def test_shapes_are_as_told(function):
    assert in_words(function.op) in " ".join(function.__doc__.split("\n        "))
    sizes = range(2, 2 + function.op.nin)
    raised = None
    try:
        function(*[hybrid.ones(size, dtype="int8").astype(bool) for size in sizes])
    except (ShapeError, DTypeError) as error:
        raised = error
    if function.op.nin > 1:
        assert isinstance(raised, ShapeError) and "or ShapeError" in function.__doc__
    else:
        assert not isinstance(raised, ShapeError) and "ShapeError" not in in_words(function.op)
