"""What is public is what the marks at the functions say, in every place and in every written file."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import surface

import hybrid
from hybrid import nn
from hybrid.core.spelling import Missing
from hybrid.ir.op import OPS
from hybrid.ops.base.surface import SPACES, SURFACE, public

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("path", sorted(surface.files()))
def test_written_files_say_what_the_marks_say(path):
    assert path not in surface.stale(), f"{path} is out of date: run `{surface.COMMAND}`"


def test_every_row_is_where_it_says():
    for row in SURFACE:
        for space, names in (
            (hybrid, row.hybrid),
            *[(getattr(hybrid, space), getattr(row, space)) for space in SPACES],
            (nn.functional, row.functional),
            (hybrid.Tensor, row.method + row.inplace),
            (hybrid.Tensor, tuple(f"__{n}__" for n in row.operator)),
        ):
            assert all(hasattr(space, n) for n in names), row


def test_a_method_is_the_function_of_its_name():
    for row in SURFACE:
        for name in row.method if row.hybrid else ():
            assert vars(hybrid.Tensor)[name] is getattr(hybrid, row.name), row
        for name in row.functional if row.hybrid else ():
            assert getattr(nn.functional, name) is getattr(hybrid, row.name), row


def test_nothing_else_is_public():
    assert set(hybrid.ops.__all__) == {n for row in SURFACE for n in row.hybrid}
    for space in SPACES:
        said = {n for row in SURFACE for n in getattr(row, space)}
        assert set(getattr(hybrid, space).__all__) == said | set(surface.ERRORS.get(space, ()))
    assert set(nn.functional.__all__) == {n for row in SURFACE for n in row.functional}


def test_names_are_marked_once():
    for place in ("hybrid", *SPACES, "functional", "method", "inplace", "operator"):
        names = [n for row in SURFACE for n in getattr(row, place)]
        assert len(names) == len(set(names)), place


def test_records_of_gradients_and_updates_are_no_public_names():
    inner = [n for n in OPS if n.endswith(("_grad", "_update"))]
    assert len(inner) > 10
    assert not [n for n in inner if hasattr(hybrid, n)]


def test_the_stub_of_tensor_has_every_method():
    stub = surface.methods()
    said = set(re.findall(r"^    def (\w+)\(", stub, re.MULTILINE))
    own = (ROOT / "hybrid/eager/tensor.py").read_text()
    said |= set(re.findall(r"^    def (\w+)\(", own, re.MULTILINE))
    names = {n for n, f in vars(hybrid.Tensor).items() if not isinstance(f, Missing)}
    plain = {n for n in names if not n.startswith("_")}
    assert plain <= said, sorted(plain - said)


def test_a_mark_names_its_places():
    def probe(x):
        return x

    try:
        public(probe, hybrid=("probe", "sonde"), method=True, inplace=True, operator="xor")
        row = SURFACE[-1]
    finally:
        SURFACE.pop()
    assert (row.name, row.hybrid, row.random) == ("probe", ("probe", "sonde"), ())
    assert (row.method, row.inplace, row.operator) == (("probe",), ("probe_",), ("xor",))
    assert row.family == __name__


def test_an_op_with_method_and_functional_entry_is_one_file(tmp_path):
    """A record added to a family's file is everywhere, and in the written files."""
    subprocess.run(["cp", "-r", str(ROOT / "hybrid"), str(tmp_path)], check=True)
    (tmp_path / "tests").mkdir()
    subprocess.run(["cp", "-r", str(ROOT / "tests/support"), str(tmp_path / "tests")], check=True)
    family = tmp_path / "hybrid/ops/elementwise/arithmetic.py"
    family.write_text(
        family.read_text()
        + """

twice: Function = public(
    map_op(
        "twice",
        1,
        lambda s, x: x + x,
        vjp=lambda g, out, x: (add(g, g),),
        reference=lambda x: x + x,
        doc="x + x.",
    ),
    method=True,
    inplace=True,
    functional=True,
)
"""
    )
    (tmp_path / "docs").mkdir()
    code = (
        "import hybrid as h; x = h.tensor([1.0]); h.nn.functional.twice(x.twice()).twice_();"
        "from support import surface; w = surface.files();"
        "assert all('twice' in w[p] for p in w if p[7:-4] not in surface.SPACES), w;"
        "assert '`hybrid.twice`' in w['docs/ops.md']; print('all there')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "tests",
        env={"PYTHONPATH": f"{tmp_path}:{tmp_path / 'tests'}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert ran.stdout.strip() == "all there", ran.stderr
