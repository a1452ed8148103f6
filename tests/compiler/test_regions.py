"""Kinds of regions and walks: none is missing, and times of regions keep their order."""

from __future__ import annotations

import pytest

from hybrid.backends.emit.form import FormKind, Walk
from hybrid.backends.emit.loops import _EMIT
from hybrid.compiler.lower.fuse import _Fusion
from hybrid.compiler.lower.regions import HEADS, HeadRegion
from hybrid.ir.graph.graph import Graph
from hybrid.ir.op import KINDS


def test_every_kind_of_op_has_a_region():
    fused = {"map", "row", "view", "contract"}
    assert fused | set(HEADS) == set(KINDS) and not fused & set(HEADS)
    assert all(issubclass(r, HeadRegion) for r in HEADS.values())


def test_every_kind_of_form_has_code():
    assert set(_EMIT) == set(FormKind)
    assert [k for k in FormKind if k.columns] == [
        FormKind.COLUMN,
        FormKind.STRIP_PART,
        FormKind.STRIP_JOIN,
    ]


@pytest.mark.parametrize(
    ("stride", "walk"), [(0, Walk.SAME), (1, Walk.ADJACENT), (3, Walk.STRIDED), (-1, Walk.STRIDED)]
)
def test_walk_of_a_stride(stride, walk):
    assert Walk.of(stride) is walk and walk.lane_by_lane == (walk is Walk.STRIDED)


def test_times_between_two_regions_keep_their_order():
    fusion = _Fusion(Graph((), (), ()))
    first, second = fusion.next_time(), fusion.next_time()
    between = [fusion.next_time(first) for _ in range(1000)]
    inner = fusion.next_time(between[0])
    times = [first, *between, inner, second, fusion.next_time()]
    assert times == sorted(times) and len(set(times)) == len(times)
