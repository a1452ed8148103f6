"""The replay entry against its Python twin: checks, state in place or swapped, failures."""

from __future__ import annotations

import gc
import sys

import numpy as np
import pytest
from entry_harness import (
    BIG,
    A,
    Param,
    T,
    both,
    native_replay,
    ones,
    spec_of,
    step_spec,
    tensor,
    words,
)
from native_kernels import code

from hybrid.backends.cpu.machine import alloc
from hybrid.backends.cpu.python import abi
from hybrid.backends.cpu.python.entry import build_entry
from hybrid.backends.cpu.python.replay import OUT_OF_MEMORY_STATUS, PythonEntry, decode_failure
from hybrid.backends.plan import Slot
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.ir.tensor import Handle, Leaf

pytestmark = pytest.mark.skipif(not abi.available(), reason=abi.why_not())


@both
@pytest.mark.parametrize("release", [False, True])
@pytest.mark.parametrize(
    "a", [A, BIG, aval((), dt.float32), aval((0, 3), dt.float32), aval((1,), dt.float32)]
)
def test_training_step(build, release, a):
    states = [ones(*a.shape, value=k, cls=Param) for k in range(5)]
    x = ones(*a.shape, value=10)
    f = build(step_spec(states, release, a))
    for r in range(6):
        y = f(x)
        assert type(y) is T and y._a is a and y._node is None and not hasattr(y, "_x")
        assert y._v.shape == a.shape and y._v.dtype == np.float32 and y._v.flags.c_contiguous
        np.testing.assert_array_equal(y._v, np.full(a.shape, 10.0 + 10 * r))
        for k, s in enumerate(states):
            np.testing.assert_array_equal(s._v, np.full(a.shape, k + 10.0 * (r + 1)))
            assert s._a is a


@pytest.mark.parametrize("a", [A, BIG])
def test_in_place_only_when_nobody_else_holds_the_value(a):
    p, x = ones(*a.shape), ones(*a.shape)
    if a is BIG:
        p._v = alloc.empty(a)
        p._v[...] = 1
        assert alloc.is_block(p._v.base)
    f = build_entry(step_spec([p], a=a))
    f(x)
    where = p._v.ctypes.data
    f(x)
    assert p._v.ctypes.data == where
    holders = [
        lambda v: v,
        lambda v: [v],
        lambda v: v[1:],
        lambda v: memoryview(v),
        lambda v: np.asarray(v).view(),
        lambda v: v.base if v.base is not None else v,
        lambda v: tensor(v),
        lambda v: v.reshape(-1),
    ]
    for hold in holders:
        before = p._v.copy()
        held = hold(p._v)
        where = p._v.ctypes.data
        f(x)
        assert p._v.ctypes.data != where
        kept = held._v if isinstance(held, T) else held
        if isinstance(kept, np.ndarray):
            assert np.unique(kept).tolist() == np.unique(before).tolist()
        del held, kept
        where = p._v.ctypes.data
        f(x)
        assert p._v.ctypes.data == where
        np.testing.assert_array_equal(p._v, before + 2)


def test_memory_of_others_is_never_written():
    x, a = ones(4, 5), A
    backing = np.zeros((2, 4, 5), np.float32)
    read_only = np.zeros((4, 5), np.float32)
    read_only.flags.writeable = False
    raw = bytearray(80)
    for value in (
        backing[0],
        read_only,
        np.frombuffer(raw, np.float32).reshape(4, 5),
        np.zeros((5, 4), np.float32).T,
        np.zeros((8, 5), np.float32)[::2],
    ):
        p = tensor(value)
        del value
        f = build_entry(step_spec([p], a=a))
        y = f(x)
        assert (y._v == 1).all() and (p._v == 1).all() and p._v.flags.c_contiguous
    assert not backing.any() and not read_only.any() and not any(raw)


@both
def test_inputs_need_not_be_contiguous(build):
    big = np.arange(80, dtype=np.float32).reshape(8, 10)
    s = spec_of([("add", (0, 0, 1))], slots=(Slot("input", A, 0), Slot("output", A)), outputs=(1,))
    f = build(s)
    for v in (big[:4, :5], big[::2, ::2], np.asfortranarray(big[:4, :5]), big[3::-1, 4::-1]):
        np.testing.assert_array_equal(f(tensor(v))._v, v + v)
    odd = np.zeros(81, np.uint8)[1:].view(np.float32).reshape(4, 5)  # not aligned
    np.testing.assert_array_equal(f(tensor(odd))._v, odd)


def snapshot(handles):
    return [(id(getattr(h, "_v", None)), h._a, h._node) for h in handles]


class Other(Handle):
    __slots__ = ()


def _refuses_arguments(f, p, q, x):
    for wrong in (
        (),
        (x, x),
        (p,),
        (q,),
        (1,),
        (None,),
        (ones(5, 4),),
        (tensor(np.ones((4, 5))),),
        (ones(4, 5, cls=Other),),
        (np.ones((4, 5), np.float32),),
    ):
        before = snapshot([p, q, x])
        assert f(*wrong) is NotImplemented
        assert snapshot([p, q, x]) == before


def _refuses_changed_handles(f, p, q, x):
    def with_(h, name, value):
        old = getattr(h, name)
        setattr(h, name, value)
        before, refs = snapshot([p, q, x]), sys.getrefcount(value)
        got = f(x)
        assert sys.getrefcount(value) == refs
        assert got is NotImplemented and snapshot([p, q, x]) == before
        setattr(h, name, old)
        assert type(f(x)) is T

    for h in (p, q, x):
        with_(h, "_a", aval((5, 4), dt.float32))
        with_(h, "_node", Leaf(h))
        with_(h, "_v", "no array")
        value = h._v
        del h._v
        assert f(x) is NotImplemented
        h._v = value
        del value
        assert type(f(x)) is T
    for h in (p, q):
        h._x = object()
        assert f(x) is NotImplemented
        del h._x
    x._x = object()  # matters only where a value is replaced
    assert type(f(x)) is T


@both
def test_every_mismatch_is_a_miss_without_side_effects(build):
    p, q = ones(4, 5), ones(4, 5, cls=Param)
    x = ones(4, 5)
    place, watch = [q], np.array([7, 8], np.uint64)
    inputs = [Slot("input", A, number) for number in range(3)]
    states = Slot("state", A, 1, True), Slot("state", A, 2, False)
    s = spec_of(
        [("add", (1, 0, 3)), ("add", (2, 0, 4)), ("add", (0, 0, 5))],
        slots=(*inputs, *states, Slot("output", A)),
        outputs=(5,),
        captures=((p, A),),
        places=((abi.list_item_address(place, 0), A),),
        states=((1, 3), (2, 4)),
        guards=((watch.ctypes.data, 7), (watch.ctypes.data + 8, 8)),
        keep=(place, watch),
    )
    f = build(s)
    assert type(f(x)) is T
    _refuses_arguments(f, p, q, x)
    _refuses_changed_handles(f, p, q, x)
    for k in (0, 1):
        watch[k] += 1
        assert f(x) is NotImplemented
        watch[k] -= 1
    for other in (p, x, 5, Other.__new__(Other), ones(4, 4)):
        place[0] = other
        assert f(x) is NotImplemented
    replacement = place[0] = ones(4, 5, value=3, cls=Param)
    assert type(f(x)) is T
    assert (replacement._v == 4).all()


@both
def test_arguments_must_be_distinct(build):
    c, x, y = ones(4, 5), ones(4, 5), ones(4, 5)
    slots = (Slot("input", A, 0), Slot("input", A, 1), Slot("input", A, 2), Slot("output", A))
    f = build(
        spec_of([("add", (0, 1, 3))], slots=slots, outputs=(3,), args=(A, A), captures=((c, A),))
    )
    assert type(f(x, y)) is T and type(f(y, x)) is T
    for wrong in ((x, x), (c, x), (x, c)):
        assert f(*wrong) is NotImplemented


@both
def test_nodes_can_be_accepted_and_links_never(build):
    p, x = ones(4, 5), ones(4, 5)
    p._node = leaf = Leaf(p)
    assert build(step_spec([p]))(x) is NotImplemented
    f = build(step_spec([p], nodes={1: leaf}))
    assert type(f(x)) is T and p._node is leaf
    p._node = Leaf(p)
    assert f(x) is NotImplemented
    g = build(step_spec([p], tracked=(1,)))
    assert type(g(x)) is T
    p._x = object()
    assert f(x) is NotImplemented and g(x) is NotImplemented


@both
@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("release", [True, False])
def test_failure_rolls_back(build, in_place, release):
    p, q, x = ones(4, 5), ones(4, 5), ones(4, 5, value=0.0)
    slots = (
        *(Slot("input", A, k) for k in range(3)),
        Slot("state", A, 1, False),
        Slot("state", A, 2, in_place),
        Slot("output", A),
    )
    s = spec_of(
        [("add", (1, 1, 3)), ("add", (0, 1, 5)), ("check", (0,)), ("add", (2, 2, 4))],
        slots=slots,
        outputs=(5,),
        captures=((p, A), (q, A)),
        states=((1, 3), (2, 4)),
        release_gil=release,
    )
    f = build(s)
    assert type(f(x)) is T and (p._v == 2).all() and (q._v == 2).all()
    x._v[2, 3] = 1
    for _ in range(50):
        before, refs = snapshot([p, q, x]), [sys.getrefcount(h._v) for h in (p, q, x)]
        r = f(x)
        assert [sys.getrefcount(h._v) for h in (p, q, x)] == refs
        assert type(r) is int and decode_failure(r) == (2, 14)
        assert snapshot([p, q, x]) == before
    assert (p._v == 2).all() and (q._v == 2).all()
    x._v[2, 3] = 0
    assert type(f(x)) is T and (p._v == 4).all()


@both
def test_out_of_memory_in_a_kernel_and_in_the_arena(build):
    x = ones(4, 5)
    keep = words(1)
    row = (code("scratch"), keep.ctypes.data, 20, 4, 1 << 60, 0)
    s = native_replay(
        slots=(Slot("input", A, 0), Slot("output", aval((20,), dt.int64))),
        steps=(row,),
        outputs=(1,),
        keep=keep,
    )
    assert decode_failure(build(s)(x)) == (0, OUT_OF_MEMORY_STATUS)
    s = native_replay(
        slots=(Slot("input", A, 0), Slot("output", A)), steps=(), outputs=(1,), arena_bytes=1 << 60
    )
    with pytest.raises(MemoryError):
        build(s)(x)


@both
def test_forms_and_kinds_of_outputs(build):
    x, p, q, w = (ones(4, 5, value=v) for v in (1, 2, 3, 4))
    const = np.full((4, 5), 100, np.float32)
    slots = (
        Slot("input", A, 0),
        Slot("const", A, 0),
        Slot("arena", A, 128),
        Slot("output", A),
        Slot("state", A, 1, True),
        Slot("input", A, 1),
        Slot("state", A, 2, False),
        Slot("input", A, 2),
        Slot("input", A, 3),
    )
    s = spec_of(
        [("add", (0, 1, 2)), ("add", (2, 2, 3)), ("add", (5, 0, 4)), ("add", (7, 0, 6))],
        slots=slots,
        outputs=(3, 0, 1, 4, 6, ~0, ~1, ~3, 3),
        captures=((p, A), (q, A), (w, A)),
        consts=(const,),
        arena_bytes=512,
        states=((1, 4), (2, 6), (3, 0)),
        form="tuple",
    )
    f = build(s)
    for r in range(1, 4):
        out = f(x)
        assert type(out) is tuple and len(out) == 9 and gc.is_tracked(out)
        assert [float(t._v[0, 0]) for t in out] == [202, 1, 100, 2 + r, 3 + r, 1, 2 + r, 1, 202]
        assert out[5] is x and out[6] is p and out[7] is w and out[0] is not out[8]
        assert out[1]._v is x._v and w._v is x._v and out[2]._v is const
        assert out[3]._v is p._v and out[4]._v is q._v
    for form, outputs, want in (("none", (), None), ("tuple", (), ())):
        assert build(spec_of([], slots=(), outputs=outputs, form=form))(x) == want


@both
def test_states_that_swap_or_take_constants_or_outputs(build):
    p, q, r, x = (ones(4, 5, value=v) for v in (1, 2, 3, 10))
    const = np.full((4, 5), 100, np.float32)
    slots = (
        Slot("input", A, 0),
        Slot("input", A, 1),
        Slot("input", A, 2),
        Slot("const", A, 0),
        Slot("output", A),
    )
    s = spec_of(
        [("add", (0, 1, 4))],
        slots=slots,
        outputs=(4,),
        captures=((p, A), (q, A), (r, A)),
        consts=(const,),
        states=((1, 2), (2, 1), (3, 3)),
    )
    f = build(s)
    pv, qv = p._v, q._v
    y = f(x)
    assert p._v is qv and q._v is pv and r._v is const and (y._v == 11).all()
    s = spec_of(
        [("add", (0, 1, 4))],
        slots=slots,
        outputs=(4,),
        captures=((p, A), (q, A), (r, A)),
        consts=(const,),
        states=((1, 4),),
    )
    y = build(s)(x)
    assert p._v is y._v and (y._v == 12).all()


@both
def test_state_of_another_shape(build):
    b = aval((20,), dt.float32)
    p, x = ones(4, 5), ones(4, 5)
    slots = (Slot("input", A, 0), Slot("input", A, 1), Slot("state", b, 1, False))
    s = spec_of(
        [("add", (0, 1, 2))], slots=slots, outputs=(2,), captures=((p, A),), states=((1, 2),)
    )
    f = build(s)
    y = f(x)
    assert p._a is b and p._v.shape == (20,) and y._v is p._v and y._a is b
    assert f(x) is NotImplemented


@pytest.mark.parametrize("a", [A, BIG])
def test_partial_writes_start_from_the_old_contents(a):
    p, x = ones(*a.shape), ones(*a.shape, value=5)
    slots = (Slot("input", a, 0), Slot("input", a, 1), Slot("state", a, 1, True))
    s = spec_of(
        [("add", (0, 1, 2), 7, 64)],
        a,
        slots=slots,
        outputs=(~1,),
        captures=((p, a),),
        states=((1, 2),),
        partial=frozenset([2]),
    )
    f, g = build_entry(s), PythonEntry(s)
    want = np.ones(a.shape, np.float32)
    for k in range(8):
        held = [p._v] if k % 2 else None
        if k == 5:
            p._v = np.asfortranarray(p._v)
        if k == 6:
            g(x)
            want.reshape(-1)[:7] += 5
        assert f(x) is p
        want.reshape(-1)[:7] += 5
        np.testing.assert_array_equal(p._v, want)
        del held
