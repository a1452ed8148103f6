"""The replay entry against its Python twin: checks, state in place or swapped, failures,
references, threads."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import threading
import tracemalloc
import weakref

import numpy as np
import pytest
from native_kernels import code

from hybrid.backends.cpu import alloc, probe
from hybrid.backends.cpu import pool as P
from hybrid.backends.cpu.entry import (
    OUT_OF_MEMORY_STATUS,
    PythonEntry,
    ReplaySpec,
    build_entry,
    decode_failure,
)
from hybrid.backends.plan import Slot
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.ir.tensor import Handle, Leaf

pytestmark = pytest.mark.skipif(not probe.available(), reason=probe.why_not())


class T(Handle):
    __slots__ = ()


class Param(Handle):
    __slots__ = ()


def tensor(a, cls=T, node=None):
    t = cls.__new__(cls)
    t._v, t._a, t._node = a, aval(a.shape, dt.canonical(a.dtype)), node
    return t


def ones(*shape, value=1.0, cls=T):
    return tensor(np.full(shape, value, np.float32), cls)


A = aval((4, 5), dt.float32)
BIG = aval(
    (alloc.LARGE // 1024 + 1, 256), dt.float32
)  # large arrays own their memory through a block


def words(*slots):
    return np.array([w for s in slots for w in ((s, 0) if isinstance(s, int) else s)], np.uint64)


class Steps:
    """Step descriptors and what keeps their words alive."""

    def __init__(self, *steps):
        self.keep = [words(*slots) for _, slots, *_ in steps]
        self.rows = tuple(
            (code(name), w.ctypes.data, *(rest or (20, 20)), 4096 if name == "scratch" else 0, 0)
            for (name, _, *rest), w in zip(steps, self.keep)
        )


def spec_of(steps=(), a=A, **more):
    s = Steps(*[(n, sl, *(rest or (a.size, 64))) for n, sl, *rest in steps])
    keep = (s.keep, more.pop("keep", None))
    return ReplaySpec(
        more.pop("types", (T, Param)), more.pop("args", (a,)), steps=s.rows, keep=keep, **more
    )


def step_spec(states, release=False, a=A, in_place=True, **more):
    """y = x + p0; p_k += x for every state."""
    n = len(states)
    slots = (
        Slot("input", a, 0),
        *(Slot("input", a, 1 + k) for k in range(n)),
        *(Slot("state", a, 1 + k, in_place) for k in range(n)),
        Slot("output", a),
    )
    steps = [("add", (0, 1, 2 * n + 1)), *(("add", (1 + k, 0, 1 + n + k)) for k in range(n))]
    return spec_of(
        steps,
        a,
        slots=slots,
        outputs=(2 * n + 1,),
        captures=tuple((s, a) for s in states),
        states=tuple((1 + k, 1 + n + k) for k in range(n)),
        release_gil=release,
        **more,
    )


both = pytest.mark.parametrize("build", [build_entry, PythonEntry])


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


@both
def test_every_mismatch_is_a_miss_without_side_effects(build):
    p, q = ones(4, 5), ones(4, 5, cls=Param)
    x = ones(4, 5)
    place = [q]
    address = probe.list_item_address(place, 0)
    watch = np.array([7, 8], np.uint64)
    slots = (
        Slot("input", A, 0),
        Slot("input", A, 1),
        Slot("input", A, 2),
        Slot("state", A, 1, True),
        Slot("state", A, 2, False),
        Slot("output", A),
    )
    s = spec_of(
        [("add", (1, 0, 3)), ("add", (2, 0, 4)), ("add", (0, 0, 5))],
        slots=slots,
        outputs=(5,),
        captures=((p, A),),
        places=((address, A),),
        states=((1, 3), (2, 4)),
        guards=((watch.ctypes.data, 7), (watch.ctypes.data + 8, 8)),
        keep=(place, watch),
    )
    f = build(s)
    assert type(f(x)) is T

    class Other(Handle):
        __slots__ = ()

    def with_(h, name, value):
        old = getattr(h, name)
        setattr(h, name, value)
        before, refs = snapshot([p, q, x]), sys.getrefcount(value)
        got = f(x)
        assert sys.getrefcount(value) == refs
        assert got is NotImplemented and snapshot([p, q, x]) == before
        setattr(h, name, old)
        assert type(f(x)) is T

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
def test_nodes_and_links_can_be_accepted(build):
    p, x = ones(4, 5), ones(4, 5)
    p._node = leaf = Leaf(p)
    p._x = object()
    assert build(step_spec([p]))(x) is NotImplemented
    assert build(step_spec([p], tracked=frozenset([1])))(x) is NotImplemented
    f = build(step_spec([p], nodes={1: leaf}, linked=frozenset([1])))
    assert type(f(x)) is T and p._node is leaf
    p._node = Leaf(p)
    assert f(x) is NotImplemented
    assert type(build(step_spec([p], tracked=frozenset([1]), linked=frozenset([1])))(x)) is T


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
    s = ReplaySpec(
        (T,),
        (A,),
        (Slot("input", A, 0), Slot("output", aval((20,), dt.int64))),
        (row,),
        outputs=(1,),
        keep=keep,
    )
    assert decode_failure(build(s)(x)) == (0, OUT_OF_MEMORY_STATUS)
    s = ReplaySpec(
        (T,), (A,), (Slot("input", A, 0), Slot("output", A)), (), outputs=(1,), arena_bytes=1 << 60
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


def test_two_places_with_one_handle():
    p, x = ones(4, 5), ones(4, 5)
    place = [p, ones(4, 5)]
    address = probe.list_item_address(place, 0)
    slots = (
        Slot("input", A, 0),
        Slot("input", A, 1),
        Slot("input", A, 2),
        Slot("state", A, 1, True),
        Slot("state", A, 2, True),
    )
    for states in (((1, 3), (2, 4)), ((1, 3),), ((2, 4),)):
        used = tuple(s for i, s in enumerate(slots) if s.kind == "input" or (s.index, i) in states)
        moved = tuple((k, used.index(slots[i])) for k, i in states)
        s = spec_of(
            [],
            slots=used,
            form="none",
            places=((address, A), (address + 8, A)),
            states=moved,
            keep=place,
        )
        for f in (build_entry(s), PythonEntry(s)):
            place[1] = p
            value = p._v
            assert f(x) is NotImplemented and p._v is value
            place[1] = ones(4, 5)
            assert f(x) is None
    s = spec_of(
        [], slots=slots[:3], form="none", places=((address, A), (address + 8, A)), keep=place
    )
    place[1] = p
    assert build_entry(s)(x) is None and PythonEntry(s)(x) is None  # nothing is written: harmless


def test_a_state_replaced_in_its_place_while_running_stays_alive():
    place = [ones(4, 5)]
    s = spec_of(
        [("slow", (3,), 400, 10_000)],
        slots=(
            Slot("input", A, 0),
            Slot("input", A, 1),
            Slot("state", A, 1, True),
            Slot("arena", aval((400,), dt.int64), 0),
        ),
        arena_bytes=3200,
        form="none",
        places=((probe.list_item_address(place, 0), A),),
        states=((1, 2),),
        release_gil=True,
        keep=place,
    )
    f, x = build_entry(s), ones(4, 5)
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            place[0] = ones(4, 5)

    t = threading.Thread(target=swap)
    t.start()
    for _ in range(50):
        assert f(x) in (None, NotImplemented)
    stop.set()
    t.join()


def test_references_are_exact():
    states = [ones(4, 5) for _ in range(4)]
    x, bad = ones(4, 5, value=0.0), ones(4, 5)
    const = np.zeros((4, 5), np.float32)
    n = len(states)
    slots = (
        Slot("input", A, 0),
        *(Slot("input", A, 1 + k) for k in range(n)),
        *(Slot("state", A, 1 + k, k % 2 == 0) for k in range(n)),
        Slot("output", A),
        Slot("const", A, 0),
    )
    out = 2 * n + 1
    s = spec_of(
        [
            ("check", (0,)),
            ("add", (0, 1, out)),
            *(("add", (1 + k, 0, 1 + n + k)) for k in range(n)),
        ],
        slots=slots,
        outputs=(out, 0, out + 1, 1 + n, 2 + n, ~0, ~2),
        captures=tuple((s, A) for s in states),
        consts=(const,),
        states=tuple((1 + k, 1 + n + k) for k in range(n)),
        form="tuple",
    )
    f = build_entry(s)
    strided = tensor(np.zeros((5, 4), np.float32).T)
    watched = [
        x,
        bad,
        const,
        A,
        T,
        None,
        NotImplemented,
        strided,
        strided._v,
        bad._v,
        x._v,
        f,
        np.dtype(np.float32),
        *states,
    ]
    f(x), f(bad), f(), f(strided)
    gc.collect()
    before = [sys.getrefcount(w) for w in watched]
    tracemalloc.start()
    f(x), f(bad), f(), f(strided)
    start = tracemalloc.get_traced_memory()[0]
    for _ in range(25_000):
        f(x)
        f(bad)
        f(1)
        f(strided)
    grown = tracemalloc.get_traced_memory()[0] - start
    tracemalloc.stop()
    assert [sys.getrefcount(w) for w in watched] == before
    assert grown < 10_000


def test_dropping_the_callable_frees_everything():
    p = ones(4, 5)
    s = step_spec([p])
    f = build_entry(s)
    f(ones(4, 5))
    dead = weakref.ref(p)
    kept = weakref.ref(s.keep[0][0])
    p._x = f  # a cycle through the entry
    del p, s, f
    gc.collect()
    assert dead() is None and kept() is None


def test_dropping_the_callable_frees_its_arenas():
    def mapped():
        with open("/proc/self/statm") as f:
            return int(f.read().split()[0]) * 4096

    x, size = ones(4, 5), 1 << 28
    slots = (Slot("input", A, 0), Slot("output", A))
    start = mapped()
    for _ in range(16):
        f = build_entry(spec_of([("add", (0, 0, 1))], slots=slots, outputs=(1,), arena_bytes=size))
        assert type(f(x)) is T
        del f
    assert mapped() - start < 4 * size


def test_two_threads_in_one_entry():
    a = aval((64, 64), dt.float32)
    arena = (Slot("input", a, 0), Slot("arena", a, 0), Slot("output", a))
    s = spec_of(
        [("add", (0, 0, 1)), ("add", (1, 0, 2))] + [("add", (1, 0, 2))] * 5,
        a,
        slots=arena,
        outputs=(2,),
        arena_bytes=a.nbytes,
        release_gil=True,
    )
    f, errors = build_entry(s), []

    def work(value):
        x = ones(64, 64, value=value)
        for _ in range(500):
            if not (f(x)._v == 3 * value).all():
                errors.append(value)

    crowd = [threading.Thread(target=work, args=(float(v),)) for v in range(6)]
    [t.start() for t in crowd]
    [t.join() for t in crowd]
    assert not errors


def test_a_busy_state_is_an_error_for_others_never_half_written():
    n = 200_000
    a = aval((n,), dt.int64)
    p = tensor(np.zeros(n, np.int64))
    slots = (Slot("input", a, 0), Slot("state", a, 0, True))
    s = spec_of(
        [("count", (0,), n, n)],
        a,
        args=(),
        slots=slots,
        form="none",
        captures=((p, a),),
        states=((0, 1),),
        release_gil=True,
    )
    f, stop, mixed, done = build_entry(s), threading.Event(), [], []

    def look():
        while not stop.is_set():
            try:
                v = p._v
            except AttributeError:
                continue  # busy: an error, nothing half-written
            if v[0] != v[-1] or v[0] != v[n // 2]:
                mixed.append((v[0], v[-1]))
            del v

    def step():
        while len(done) < 60:
            if f() is None:
                done.append(1)

    crowd = [threading.Thread(target=t) for t in (look, step, step)]
    [t.start() for t in crowd]
    [t.join() for t in crowd[1:]]
    stop.set()
    crowd[0].join()
    assert not mixed and p._v.min() == p._v.max() == len(done)


def test_finalizers_may_call_back():
    p, x = ones(4, 5), ones(4, 5)
    f = build_entry(step_spec([p]))
    calls = []

    class Loud(np.ndarray):
        def __del__(self):
            calls.append(type(f(x)))

    for _ in range(20):
        base = np.zeros((4, 5), np.float32).view(Loud)
        p._v = np.asarray(base).view(np.ndarray)
        del base
        assert type(f(x)) is T
    assert set(calls) <= {T} and len(calls) >= 20


@pytest.mark.parametrize(
    "change, text",
    [
        (dict(form="what"), "form"),
        (dict(outputs=()), "exactly one output"),
        (dict(outputs=(2,)), "arena slot"),
        (dict(states=((1, 1), (1, 3))), "two new values"),
        (dict(tensor_types=(int,)), "classes of tensors"),
        (dict(arena_bytes=10), "outside the arena"),
        (dict(states=()), "not the new value"),
        (dict(outputs=(1,)), "old value"),
        (dict(consts=(np.zeros((3, 4)).T,)), "contiguous"),
    ],
)
def test_invalid_specs_are_refused(change, text):
    good = dict(
        tensor_types=(T,),
        arg_avals=(A,),
        steps=(),
        outputs=(0,),
        captures=((ones(4, 5), A),),
        slots=(
            Slot("input", A, 0),
            Slot("input", A, 1),
            Slot("arena", A, 0),
            Slot("state", A, 1, True),
        ),
        states=((1, 3),),
        arena_bytes=128,
    )
    assert callable(build_entry(ReplaySpec(**good)))
    with pytest.raises(ValueError, match=text):
        build_entry(ReplaySpec(**{**good, **change}))


def test_without_the_probe_python_serves(monkeypatch):
    monkeypatch.setattr(P.pool(), "native", None)
    f = build_entry(step_spec([ones(4, 5)]))
    assert type(f) is PythonEntry and type(f(ones(4, 5))) is T
    x = np.zeros(10, np.int64)
    assert P.launch(code("count"), words(0), 10, 4, 0, [x]) == 0
    g = P.kernel_caller(code("count"), words(0), 10, 4, 0, 1)
    assert g(x) == 0 and (x == 2).all()
    with pytest.raises(TypeError):
        g(x, x)


def test_exit_while_a_daemon_thread_is_inside():
    text = f"""
        import sys, threading, time
        sys.path[:0] = {sys.path!r}
        import test_entry as t
        a = t.aval((4000,), t.dt.int64)
        slots = (t.Slot("input", t.A, 0), t.Slot("arena", a, 0))
        f = t.build_entry(t.spec_of([("slow", (1,), 4000, 10)], slots=slots, arena_bytes=32_000, form="none", release_gil=True))
        x, inside = t.ones(4, 5), threading.Event()
        def forever():
            while True:
                inside.set()
                f(x)
        threading.Thread(target=forever, daemon=True).start()
        inside.wait()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)], capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
