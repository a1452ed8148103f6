"""What generic code needs to know of an op stands in its record: writes through views, joining of
gradient parts, reductions of truth values."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import hybrid
from hybrid.core.errors import HybridError
from hybrid.ir.door.bind import bind
from hybrid.ir.op import KINDS, OPS, MapOp, Op, ViewOp, extend, register
from hybrid.ops.base.common import Part
from hybrid.ops.build import parts

ROOT = Path(hybrid.__file__).parent
VIEWS = [op for op in OPS.values() if op.kind == "view"]


@pytest.mark.parametrize("op", VIEWS, ids=lambda op: op.name)
def test_what_is_written_through_a_view_is_what_it_shows(op):
    rng = np.random.default_rng(0)
    for arrays, params in op.samples(rng):
        taken = np.asarray(arrays[0], np.complex64 if op.accepts == "c" else np.float32)
        base = hybrid.asarray(taken)
        shown = bind(op, base, **params)
        value = hybrid.asarray(rng.standard_normal(shown.shape).astype(shown.dtype))
        if op.write_back is None:
            with pytest.raises(HybridError, match="cannot be written"):
                shown.assign(value)
            continue
        new = op.write_back(base, value, **params)
        assert bind(op, new, **params).tolist() == value.tolist()
        shown.assign(value)
        assert base.tolist() == new.tolist()
        # elements that the view does not show stay
        marks = bind(op, hybrid.arange(base.size, dtype=base.dtype).reshape(base.shape), **params)
        seen = np.asarray(marks).reshape(-1)
        seen = np.concatenate([seen.real, seen.imag])
        hidden = np.setdiff1d(np.arange(base.size), seen.astype(int)) if seen.size else []
        old = taken.reshape(-1)
        assert np.asarray(new).reshape(-1)[hidden].tolist() == old[hidden].tolist()


def test_a_new_view_is_writable_by_its_record_alone():
    op = register(
        ViewOp(
            "t_reversed_rows",
            1,
            lambda a: (a,),
            layout=lambda a, strides, offset=0: (
                offset + (a.shape[0] - 1) * strides[0],
                (-strides[0], *strides[1:]),
            ),
            write_back=lambda base, value: bind(OPS["t_reversed_rows"], value),
            reference=lambda x: x[::-1],
            samples=lambda rng: [([rng.standard_normal((3, 1))], {})],
        )
    )
    try:
        x = hybrid.asarray([[1.0], [2.0], [3.0]])
        y = bind(op, x)
        y[0] = 9.0
        assert x.tolist() == [[1.0], [2.0], [9.0]] and y.tolist() == [[9.0], [2.0], [1.0]]
    finally:
        del OPS["t_reversed_rows"]


def test_parts_of_any_record_join():
    calls = []

    class Piece(Part):
        def __init__(self, value):
            self.value = value

        @property
        def op(self):
            return record

        def __call__(self):
            return hybrid.asarray(self.value)

    def join(pieces):
        calls.append(len(pieces))
        return hybrid.asarray(sum(p.value for p in pieces))

    record = MapOp("t_pieces", 1, lambda a: (a,), body=lambda s, x: x, join=join)
    assert parts.total([Piece(1.0), Piece(2.0), Piece(4.0)]).item() == 7.0 and calls == [3]
    assert parts.total([Piece(1.0)]).item() == 1.0 and calls == [3]
    record = MapOp("t_pieces", 1, lambda a: (a,), body=lambda s, x: x)
    assert parts.total([Piece(1.0), Piece(2.0)]).item() == 3.0


def test_parts_of_several_records_are_added_in_one_order():
    w = hybrid.asarray(np.random.default_rng(1).standard_normal((6, 5)).astype(np.float32))
    x = hybrid.asarray(np.random.default_rng(2).standard_normal((2, 5)).astype(np.float32))
    w.requires_grad_()

    def grad(first):
        def uses(w):
            products = [hybrid.nn.functional.linear(x * k, w).sum() for k in (1.5, 2.5)]
            slices = [(w[k] * k).sum() for k in (1, 3)]
            terms = slices + products if first else products + slices
            return terms[0] + terms[1] + terms[2] + terms[3]

        return hybrid.grad(uses)(w)

    plain = np.asarray(grad(True))
    assert np.asarray(grad(False)).tobytes() == plain.tobytes()


def test_truth_reductions():
    x = hybrid.asarray([[True, False], [True, True]])
    assert hybrid.max(x, axis=1).tolist() == [True, True]
    assert hybrid.min(x, axis=1).tolist() == [False, True]
    assert OPS["max"].truth is OPS["any"] and OPS["min"].truth is OPS["all"]
    assert hybrid.all(hybrid.asarray([0, 2]), axis=()).tolist() == [False, True]


def test_a_field_is_entered_once():
    with pytest.raises(HybridError, match="already says"):
        extend(OPS["slice"], write_back=lambda *a: None)


def test_generic_code_names_no_record():
    for folder in ("eager", "autograd", "trace", "compiler", "ir", "backends"):
        for path in (ROOT / folder).rglob("*.py"):
            found = re.findall(
                r"\bop is (?:not )?[A-Z_]{3,}\b|import.*\b(?:SLICE|RESHAPE|PERMUTE)\b",
                path.read_text(),
            )
            assert not found, f"{path}: {found}"


def test_a_record_is_of_a_kind_and_holds_what_its_kind_needs():
    with pytest.raises(HybridError, match="make a record of a kind"):
        Op("t_none", 1, lambda a: (a,))
    with pytest.raises(TypeError, match="body"):
        MapOp("t_none", 1, lambda a: (a,))
    with pytest.raises(TypeError, match="layout"):
        ViewOp("t_none", 1, lambda a: (a,))
    assert {cls: kind for kind, cls in KINDS.items()} == {
        cls: cls.__dataclass_fields__["kind"].default for cls in KINDS.values()
    }


def test_register_refuses_what_types_cannot_see():
    def record(name="t_none", **more):
        return MapOp(name, 1, lambda a: (a,), body=lambda s, x: x, **more)

    with pytest.raises(HybridError, match="comutative; facts are base, commutative"):
        register(record(facts=frozenset(["comutative"]), reference=abs))
    with pytest.raises(HybridError, match="no reference"):
        register(record())
    with pytest.raises(HybridError, match="already registered"):
        register(record("exp", reference=abs))
    assert "t_none" not in OPS
