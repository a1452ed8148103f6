"""Opcode tables, code summaries, comparison of facts, and native pairs against the Python guard."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import dis
import functools
import json.decoder
import sys
import types
import warnings
from typing import Any

import numpy as np
import pytest
from adversary.common import NS
from reference_executor import ReferenceExecutor
from test_trace_fuzz import MUTATIONS, t, world

import hybrid as hb
from hybrid.decorator import function, set_executor
from hybrid.trace.bytecode import host_reads
from hybrid.trace.bytecode.effects import EFFECTS
from hybrid.trace.bytecode.expressions import Expr, depth, named
from hybrid.trace.bytecode.opcodes import HOST_TABLES, TABLES
from hybrid.trace.bytecode.summary import summarize
from hybrid.trace.heap.facts import Key, fetch, same
from hybrid.trace.record.wording import Wording
from hybrid.trace.serve.native import facts as native_form


def test_every_opcode_is_in_the_table() -> None:
    table = TABLES[sys.version_info[:2]]
    names = {n for n, code in dis.opmap.items() if code < 256 and not n.startswith("INSTRUMENTED")}
    assert names <= set(table), names - set(table)


@pytest.mark.parametrize("version", list(TABLES))
def test_every_effect_exists(version: Any) -> None:
    assert set(TABLES[version].values()) <= set(EFFECTS)
    assert set(HOST_TABLES[version].values()) <= set(host_reads.EFFECTS)
    assert set(HOST_TABLES[version]) <= set(TABLES[version])


def codes(code: types.CodeType) -> Any:
    yield code
    for c in code.co_consts:
        if isinstance(c, types.CodeType):
            yield from codes(c)


@pytest.mark.parametrize("module", [contextlib, functools, json.decoder, dataclasses])
def test_real_code_is_followed(module: Any) -> None:
    with open(module.__file__) as f:
        source = f.read()
    unknown = {summarize(c).unknown for c in codes(compile(source, module.__file__, "exec"))} - {
        None
    }
    allowed = (
        "GET_AWAITABLE",
        "BEFORE_ASYNC_WITH",
        "MATCH_",
        "CALL_INTRINSIC_1 INTRINSIC_IMPORT_STAR",
        "IMPORT_STAR",
        "LOAD_FROM_DICT",
        "GET_AITER",
        "GET_ANEXT",
        "END_ASYNC_FOR",
    )
    assert not [u for u in unknown if u is not None and not u.startswith(allowed)]


def test_summaries() -> None:
    def f(a: Any, b: Any) -> Any:
        for x in a.items:
            b.k = x["n"] + G
        return [v for v in a.items if v]

    s = summarize(f.__code__)
    kinds = {e.kind for e in s.reads}
    assert {"attr", "elem", "item", "glob"} <= kinds and s.unknown is None
    assert [(k, e, n) for k, e, n, _ in s.stores] == [("attr", named("arg", "b"), "k")]


G = 1


@pytest.mark.parametrize(
    "a, b, equal",
    [
        (1, 1, True),
        (1, True, False),
        (1, 1.0, False),
        (0.0, -0.0, False),
        (float("nan"), float("nan"), True),
        ((1, 2.0), (1, 2.0), True),
        ((1, 2.0), (1, 2), False),
        (np.float32(-0.0), np.float32(0), False),
        ("a", "a", True),
        (frozenset([1]), frozenset([True]), False),
        (complex(0, -0.0), complex(0, 0.0), False),
        ([1], [1], False),
        (np.int32(1), np.int64(1), False),
        (slice(1, 2), slice(1, 2), True),
        (b"x", "x", False),
    ],
)
def test_same(a: Any, b: Any, equal: bool) -> None:
    assert same(a, b) is equal


def test_same_never_calls_user_code() -> None:
    class Bad:
        def __eq__(self, other: Any) -> bool:
            raise AssertionError

        __hash__ = object.__hash__

    x, y = Bad(), Bad()
    assert (
        same(x, x)
        and not same(x, y)
        and not same((x,), (y,))
        and not same(frozenset([x]), frozenset([y]))
    )


def test_key_and_fetch_are_total() -> None:
    assert repr(fetch("attr", object(), "nothing")) == "<missing>"
    assert repr(fetch("item", [], 3)) == "<missing>"
    assert fetch("len", [1, 2], None) == 2 and Key("len", 1, None) == ("len", 1, None)


def holds(guards: Any) -> bool:
    return all(ctypes.c_uint64.from_address(a).value == w for a, w in guards)


needs_layout = pytest.mark.skipif(
    not native_form.available(), reason="CPython's layout is not known here"
)


@needs_layout
@pytest.mark.parametrize("change", range(len(MUTATIONS)))
def test_native_pairs_notice_what_the_guard_notices(change: int) -> None:
    W, g = world()
    body = """def f(x):
    for l in W.layers: x = x * l.w + l.b
    x = W.fn(x) * W.cfg.k + W.cfg.sub.b * sum(W.nums) * W.obj.prop
    x = W.obj.method(x) * W.obj.shared * W.obj() * W.table[W.key] * W.flags.get('gain', 1.0) * len(W.nums)
    x = x * max(W.table.values()) if W.flags['relu'] else x
    return x * G * closure() + W.state * W.t + W.deep[0]['q'][1].v + W.tensors['a'] + W.tensors['b'] + W.alias.k"""
    exec(body, g)
    old = set_executor(ReferenceExecutor())
    try:
        f = function(g["f"])
        for _ in range(3):
            f(t(1.0))
    finally:
        set_executor(old)
    (state,) = f._signatures.values()
    plan, x = state.plans[0], t(1.0)
    caps = plan.guard([x])
    assert caps is not None
    native = native_form.native_facts(plan.recording, [x, *caps])
    assert native is not None and holds(native.guards)
    kinds = {k.kind for k in native.rest}
    assert kinds <= {"attr", "nd", "set"} and len(native.guards) > 30, [
        Wording(plan.recording.facts).place(k) for k in native.rest
    ]
    before = [caps[i] for i in range(len(caps))]
    with contextlib.suppress(TypeError):
        MUTATIONS[change](W, g, 3.0)
    now = plan.guard([x])
    if now is None:
        assert plan.recording.facts.broken() in native.rest or not holds(native.guards)
    elif any(a is not b for a, b in zip(now, before)):
        # a capture was rebound: its pointer is read, not guarded
        moved = [i for i, (a, b) in enumerate(zip(now, before)) if a is not b]
        assert all(1 + i in native.pointers for i in moved) or not holds(native.guards)


@needs_layout
def test_native_places_follow_rebinding() -> None:
    box = NS(w=t(1.0), table={"v": t(2.0)}, items=[t(3.0)])
    f = function(lambda x: x * box.w + box.table["v"] - box.items[0])
    for _ in range(3):
        f(t(0.5))
    (state,) = f._signatures.values()
    plan, x = state.plans[0], t(0.5)
    caps = plan.guard([x])
    native = native_form.native_facts(plan.recording, [x, *caps])
    assert native is not None and list(native.pointers) == [1, 2, 3]
    box.w, box.table["v"], box.items[0] = t(4.0), t(5.0), t(6.0)
    now = plan.guard([x])
    assert [ctypes.c_uint64.from_address(p).value for p in native.pointers.values()] == [
        id(c) for c in now
    ]
    assert holds(native.guards)


def test_unsupported_interpreter_runs_eagerly(monkeypatch: Any) -> None:
    monkeypatch.setattr(sys.modules["hybrid.trace.serve.paths"], "SUPPORTED", False)
    f, x = function(lambda x: x + 1), hb.tensor([1.0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert [f(x).tolist() for _ in range(3)] == [[2.0]] * 3
    assert "is recorded on CPython" in str(caught[0].message) and f.cache_info().records == 0


def test_deep_recursion_of_summaries_ends() -> None:
    source = (
        "def f(a):\n"
        + "".join(f"    a = a.x{i % 3}[{i}](a.y, a)\n" for i in range(300))
        + "    return a\n"
    )
    space: dict[str, Any] = {}
    exec(
        "def outer():\n    while True:\n"
        + "".join(f"        a{i} = (a{(i * 7) % 40}, a{(i * 3) % 40}.b)\n" for i in range(40))
        + "\n"
        + source,
        space,
    )
    assert (
        summarize(space["f"].__code__).unknown is None
        and summarize(space["outer"].__code__).unknown is None
    )
    inner = Expr("attr", named("arg", "a"), "b", 1)
    assert depth(Expr("attr", inner, "c", 2)) == 3
