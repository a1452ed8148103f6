"""Generators of products and attention pass values on; slots are named until buffers are known."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from hybrid.backends.cpu import attend, gemm
from hybrid.backends.generated import Generated, SlotRef, Template, pack_words
from hybrid.backends.plan import Access, AttendKernel, Dims, GemmKernel, Operand
from hybrid.core import dtypes as dt
from hybrid.ir.scalar.program import Builder

FOLDERS = [Path(package.__file__ or "").parent for package in (gemm, attend)]
CLASSES = [
    (path, node)
    for folder in FOLDERS
    for path in sorted(folder.glob("*.py"))
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.ClassDef)
]


def targets_of(tree: ast.AST) -> list[ast.expr]:
    """Everything that is assigned to, each name of a tuple on its own."""
    found: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            found += node.targets
        elif isinstance(node, (ast.AnnAssign, ast.AugAssign, ast.For)):
            found.append(node.target)
    return [leaf for target in found for leaf in getattr(target, "elts", [target])]


@pytest.mark.parametrize(("path", "node"), CLASSES, ids=lambda x: getattr(x, "name", ""))
def test_classes_are_values_or_set_their_fields_when_they_are_made(path, node):
    assert [ast.unparse(base) for base in node.bases] in ([], ["NamedTuple"]), node.name
    for function in ast.walk(node):
        if isinstance(function, ast.FunctionDef) and function.name != "__init__":
            set_later = [t for t in targets_of(function) if isinstance(t, ast.Attribute)]
            assert not set_later, f"{path.name}: {node.name}.{function.name}"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_no_function_sets_a_field_of_an_argument(folder):
    for path in folder.glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef):
                assert not [t for t in targets_of(node) if isinstance(t, ast.Attribute)], node.name


# ---- slots
def kernel(slots: tuple[int, ...], bits: int = 0) -> GemmKernel:
    """(a @ b + bias) * scalar, with slots of a, b, the result and the bias."""
    builder = Builder()
    total, bias, scalar = builder.arg("f64"), builder.arg("f64"), builder.param("f64")
    plain, rows, cols = Dims((), ()), Dims((24,), (24,)), Dims((24,), (1,))
    a, b, out = (Operand(slot, dt.float64, 3, plain, rows, cols) for slot in slots[:3])
    reads = (Access(slots[3], dt.float64, 5, (0, 1)),)
    program = builder.program((total + bias) * scalar)
    return GemmKernel(1, 24, 24, 24, a, b, (out,), dt.float64, "chain", program, reads, (bits,))


def test_templates_do_not_depend_on_slots():
    one, two = gemm.templates(kernel((0, 1, 2, 3))), gemm.templates(kernel((9, 4, 7, 7)))
    assert one == two
    named = {word.operand for word in one[0].words if isinstance(word, SlotRef)}
    assert named == {"a", "b", "out0", "read0"}


@pytest.mark.parametrize("slots", [(0, 1, 2, 3), (9, 4, 7, 7), (5, 5, 5, 5)], ids=str)
def test_slots_go_where_their_operands_are(slots):
    made = gemm.templates(kernel((0, 1, 2, 3)))
    placed = gemm.over_slots(kernel(slots), made, -1)
    assert placed == gemm.generate(kernel(slots))
    by_name = dict(zip(("a", "b", "out0", "read0"), slots))
    for word, value in zip(made[0].words, placed[0].words):
        assert value == (by_name[word.operand] if isinstance(word, SlotRef) else word % (1 << 64))


@pytest.mark.parametrize("swap", [False, True])
def test_a_product_computed_as_its_transpose_keeps_its_operands(swap):
    element = gemm.element_of(dt.float64)
    geometry = gemm.geometry.option(kernel((0, 1, 2, 3)), element, gemm.host_target(), swap)
    assert geometry.swapped == swap and geometry.a.name == ("b" if swap else "a")
    made = gemm.product(kernel((6, 7, 8, 9)), geometry, element)
    assert {6, 7, 8, 9} <= set(made[0].words)


@pytest.mark.parametrize("bits", [0, 0x5107 << 48, (0x5107 << 48) + 1, (1 << 64) - 1])
def test_no_bits_of_a_scalar_are_taken_for_a_slot(bits):
    one, two = (gemm.generate(kernel((0, 1, 2, 3), b))[0] for b in (bits, 1234567))
    differ = [pair for pair in zip(one.words, two.words) if pair[0] != pair[1]]
    assert differ == [(bits, 1234567)] and one.text == two.text


def test_words_are_unsigned_and_slots_are_looked_up():
    words = (-8, SlotRef("q"), 3, SlotRef("q", is_offset=True))
    slots = {SlotRef("q"): 2, SlotRef("q", is_offset=True): -16}
    assert pack_words(words, slots) == ((1 << 64) - 8, 2, 3, (1 << 64) - 16)
    made = Template(Generated("text", "symbol", (), 1, 1, 64), words).over(slots)
    assert made.words == pack_words(words, slots) and made.symbol == "symbol"
    with pytest.raises(KeyError):
        pack_words(words, {})


def test_attention_of_other_buffers_is_the_same_function():
    builder = Builder()
    weight = builder.program(builder.arg("f32") - builder.arg("f32"))

    def at(slots: list[int], offset: int) -> AttendKernel:
        def access(slot: int, *strides: int) -> Access:
            return Access(slot, dt.float32, offset, strides)

        reads = (*(access(slot, 4, 1) for slot in slots[:3]), None, None)
        writes = (access(slots[3], 4, 1), access(slots[4], 1), access(slots[5], 1))
        return AttendKernel(False, (), 40, 40, 4, 4, 0.5, False, reads, writes, weight)

    (one,), (two,) = (
        attend.generate(at([0, 1, 2, 3, 4, 5], 0)),
        attend.generate(at([9, 8, 7, 6, 5, 4], 6)),
    )
    assert one.symbol == two.symbol and one._replace(words=()) == two._replace(words=())
    changed = [pair for pair in zip(one.words, two.words) if pair[0] != pair[1]]
    assert len(changed) == 12 and {new for _, new in changed} == {9, 8, 7, 6, 5, 4, 24}
