"""What a code object may read, store and call, found from its bytecode alone.

An abstract run over the value stack (`stack.py`): a slot is a set of expressions, locals are
flow-insensitive (one set per name), so the result covers every path.
Invariant: what is not understood is TOP, and an opcode without an effect here sets
`Summary.unknown`.
"""

from __future__ import annotations

import dis
import platform
import sys
from functools import lru_cache
from types import CodeType
from typing import Any

from . import opcodes_311, opcodes_312, opcodes_313
from .stack import EMPTY, NEW, NULLS, TOPS, Args, Slot, Stack, Summary

__all__ = [
    "Machine",
    "summarize",
    "offsets",
    "handles_errors",
    "uncertain",
    "BUILD_CLASS",
    "TABLES",
    "SUPPORTED",
    "UNSUPPORTED",
]

BUILD_CLASS: Slot = frozenset([("glob", "__build_class__")])
SUPER: Slot = frozenset([("glob", "super")])
REMAINDER = 6  # BINARY_OP operand of %
FIRST_INPLACE = 13  # BINARY_OP operands from here on are the augmented assignments

TABLES = {(3, 11): opcodes_311.TABLE, (3, 12): opcodes_312.TABLE, (3, 13): opcodes_313.TABLE}
SUPPORTED = sys.implementation.name == "cpython" and sys.version_info[:2] in TABLES
# why a function runs eagerly where there is no table, after "it"
UNSUPPORTED = (
    "is recorded on CPython {0[0]}.{0[1]} to {1[0]}.{1[1]} only; this is {2} {3[0]}.{3[1]}"
).format(min(TABLES), max(TABLES), platform.python_implementation(), sys.version_info)
_TABLE = TABLES.get(sys.version_info[:2], {})
_BEFORE_312 = sys.version_info < (3, 12)


@lru_cache(4096)
def offsets(code: CodeType) -> list[int]:
    """Start offsets of the instructions (a frame's f_lasti may point into inline caches)."""
    return [i.offset for i in dis.get_instructions(code)]


@lru_cache(4096)
def handles_errors(code: CodeType) -> bool:
    """Whether the code has an except, finally or with block."""
    return any(i.opname == "PUSH_EXC_INFO" for i in dis.get_instructions(code))


@lru_cache(4096)
def uncertain(code: CodeType) -> frozenset[int]:
    """Offsets of the calls that may not have run although their line did: those after a branch
    within the line, and those of a second copy of the line (`finally`)."""
    starts = {a: n for a, _, n in code.co_lines()}
    out, lines, line, apart = set(), set[int | None](), None, False
    for i in dis.get_instructions(code):
        if i.offset in starts and starts[i.offset] != line:
            line = starts[i.offset]
            apart = line in lines
            lines.add(line)
        apart = (
            apart or i.opname in ("FOR_ITER", "SEND") or "JUMP" in i.opname and "_IF_" in i.opname
        )
        if apart and i.opname in ("CALL", "CALL_KW", "CALL_FUNCTION_EX"):
            out.add(i.offset)
    return frozenset(out)


@lru_cache(4096)
def summarize(code: CodeType) -> Summary:
    """The summary of one code object; needs a supported interpreter."""
    return Machine(code).run()


class Machine(Stack):
    """One abstract run.  Each effect method takes the instruction and edits the stack."""

    def run(self) -> Summary:
        """To a fixpoint over stacks and locals."""
        while True:
            before = dict(self.env)
            self.states, self.work = {0: ()}, [0]
            while self.work and self.S.unknown is None:
                self.step(self.work.pop())
            if self.S.unknown or dict(self.env) == before:
                self.S.later = set() if self.S.unknown else self.reads_after_stores()
                return self.S

    def step(self, n: int) -> None:
        i, self.now = self.ins[n], n
        for h in self.table:
            if h.start <= i.offset < h.end:
                st = list(self.states[n][: h.depth])
                self.flow(self.index[h.target], st + [TOPS] * (h.depth - len(st) + 1 + h.lasti))
        self.st, self.goes = list(self.states[n]), [n + 1]
        effect = _TABLE.get(i.opname, "defer")
        try:
            getattr(self, "x_" + effect)(i)
        except IndexError:  # a stack shape this table does not describe
            self.S.unknown = i.opname
            return
        for m in self.goes:
            self.flow(m, self.st)

    # ---- stack and control
    def x_nothing(self, i: Any) -> None: ...

    def x_defer(self, i: Any) -> None:
        self.S.unknown = i.opname

    def x_drop(self, i: Any) -> None:
        self.drop(1)

    def x_drop_two(self, i: Any) -> None:
        self.drop(2)

    def x_leave(self, i: Any) -> None:
        self.goes = []

    def x_unseen(self, i: Any) -> None:
        self.st.append(BUILD_CLASS if i.opname == "LOAD_BUILD_CLASS" else TOPS)

    def x_test(self, i: Any) -> None:
        self.st[-1] = TOPS

    def x_push_null(self, i: Any) -> None:
        self.st.append(NULLS)

    def x_push_exc(self, i: Any) -> None:
        self.st[-1:] = [TOPS, TOPS]

    def x_copy(self, i: Any) -> None:
        self.st.append(self.st[-i.arg])

    def x_swap(self, i: Any) -> None:
        st = self.st
        st[-1], st[-i.arg] = st[-i.arg], st[-1]

    def x_jump(self, i: Any) -> None:
        self.goes = [self.target(i)]

    def x_pop_jump(self, i: Any) -> None:
        self.drop(1)
        self.goes.append(self.target(i))

    def x_jump_or_pop(self, i: Any) -> None:
        self.flow(self.target(i), self.st)
        self.drop(1)

    def x_send_popping(self, i: Any) -> None:
        self.flow(self.target(i), self.st[:-2] + [TOPS])
        self.st[-1] = TOPS

    def x_send(self, i: Any) -> None:
        self.st[-1] = TOPS
        self.flow(self.target(i), self.st)

    def x_end_send(self, i: Any) -> None:
        del self.st[-2]

    def x_cleanup_throw(self, i: Any) -> None:
        self.st[-3:] = [TOPS, TOPS]

    def x_before_with(self, i: Any) -> None:
        o = self.st[-1]
        self.mk("attr", o, "__enter__", i.offset)
        self.st[-1] = self.mk("attr", o, "__exit__", i.offset)
        self.result(i)

    def x_intrinsic(self, i: Any) -> None:
        if i.arg == 6:  # list to tuple: what it holds stays known
            return
        if i.arg not in (3, 5):  # StopIteration error, unary plus
            self.S.unknown = f"{i.opname} {i.argrepr}"
        self.st[-1] = frozenset([("call", i.offset)])

    # ---- names
    def x_load_const(self, i: Any) -> None:
        self.st.append(NEW if isinstance(i.argval, CodeType) else frozenset([("const", i.argval)]))

    def fast(self, name: str) -> Slot:
        """A local; from 3.13 on also a cell that a new function is closed over."""
        return self.local(name) if name in self.code.co_freevars else self.env[name]

    def x_load_fast(self, i: Any) -> None:
        self.st.append(self.fast(i.argval))

    def x_load_two(self, i: Any) -> None:
        self.st += [self.fast(v) for v in i.argval]

    def x_store_fast(self, i: Any) -> None:
        self.store(i.argval, self.st.pop())

    def x_store_two(self, i: Any) -> None:
        for v in i.argval:
            self.store(v, self.st.pop())

    def x_store_load(self, i: Any) -> None:
        self.store(i.argval[0], self.st.pop())
        self.st.append(self.env[i.argval[1]])

    def x_load_name(self, i: Any) -> None:
        null = i.opname == "LOAD_GLOBAL" and i.arg & 1
        value: Slot = frozenset([("glob", i.argval)])
        self.S.reads |= value
        self.st += (
            [value]
            if not null
            else [NULLS, value]
            if sys.version_info < (3, 13)
            else [value, NULLS]
        )

    def x_store_name(self, i: Any) -> None:
        self.drop(1)
        self.x_delete_name(i)

    def x_delete_name(self, i: Any) -> None:
        self.S.stores.add(("glob", i.argval, i.offset))

    def x_load_deref(self, i: Any) -> None:
        self.st.append(self.local(i.argval))

    def x_store_deref(self, i: Any) -> None:
        value = self.st.pop()
        if i.argval in self.code.co_cellvars:
            self.store(i.argval, value)
        else:
            self.x_delete_deref(i)

    def x_delete_deref(self, i: Any) -> None:
        if i.argval in self.code.co_freevars:
            self.S.stores.add(("cell", i.argval, i.offset))

    def x_import_name(self, i: Any) -> None:
        names = self.st.pop()
        self.drop(1)
        self.st.append(frozenset([("import", i.argval, names == frozenset([("const", None)]))]))

    def x_import_from(self, i: Any) -> None:
        self.st.append(self.mk("attr", self.st[-1], i.argval, i.offset))

    # ---- attributes and items
    def x_load_attr(self, i: Any) -> None:
        kind, o = self.super_of(self.st.pop())
        self.st.append(self.mk(kind, o, i.argval, i.offset))
        if not _BEFORE_312 and i.arg & 1:
            self.st.append(o)

    def x_load_method(self, i: Any) -> None:
        kind, o = self.super_of(self.st.pop())
        self.st += [self.mk(kind, o, i.argval, i.offset), o]

    def super_of(self, o: Slot) -> tuple[str, Slot]:
        """The object behind `super()`, whose attributes are looked up in its other classes."""
        e = next(iter(o)) if len(o) == 1 else ("top",)
        callee, args = self.S.calls.get(e[1], (EMPTY, [])) if e[0] == "call" else (EMPTY, [])
        if callee != SUPER or len(args) not in (0, 2) or not self.code.co_varnames:
            return "attr", o
        return "super", args[1] if args else self.env[self.code.co_varnames[0]]

    def x_load_super_attr(self, i: Any) -> None:
        o = self.st.pop()
        cls = self.st.pop()
        self.drop(1)
        self.S.calls[i.offset] = (SUPER, Args([cls, o]))
        self.S.reads.add(("glob", "super"))
        self.st.append(self.mk("super", o, i.argval, i.offset))
        if i.arg & 1:
            self.st.append(o)

    def x_store_attr(self, i: Any) -> None:
        o = self.st.pop()
        self.drop(1)
        self.S.stores |= {("attr", e, i.argval, i.offset) for e in o}

    def x_delete_attr(self, i: Any) -> None:
        self.S.deletes.add(i.offset)
        self.S.stores |= {("attr", e, i.argval, i.offset) for e in self.st.pop()}

    def item(self, o: Slot, k: Slot, i: Any) -> Slot:
        keys = self.constants(k)
        if keys:
            return EMPTY.union(*[self.mk("item", o, key, i.offset) for key in keys])
        self.mk("deep", k, i.offset)
        return self.mk("elem", o, i.offset)

    def x_subscr(self, i: Any) -> None:
        k, o = self.st.pop(), self.st.pop()
        self.st.append(self.item(o, k, i))

    def x_binary_slice(self, i: Any) -> None:
        stop, start, o = self.st.pop(), self.st.pop(), self.st.pop()
        self.mk("deep", stop | start, i.offset)
        self.st.append(self.mk("elem", o, i.offset) | frozenset([("call", i.offset)]))

    def store_item(self, o: Slot, k: Slot, i: Any) -> None:
        keys = self.constants(k)
        if keys and len(keys) == 1:
            self.S.stores |= {("item", e, keys[0], i.offset) for e in o}
        else:
            self.mk("deep", k, i.offset)
            self.S.stores |= {("all", e, i.offset) for e in o}

    def x_store_subscr(self, i: Any) -> None:
        k, o = self.st.pop(), self.st.pop()
        self.mk("deep", self.st.pop(), i.offset)  # `tensor[k] = nested list` reads the list
        self.store_item(o, k, i)

    def x_store_slice(self, i: Any) -> None:
        stop, start, o = self.st.pop(), self.st.pop(), self.st.pop()
        self.mk("deep", stop | start | self.st.pop(), i.offset)
        self.S.stores |= {("all", e, i.offset) for e in o}

    def x_delete_subscr(self, i: Any) -> None:
        self.S.deletes.add(i.offset)
        k, o = self.st.pop(), self.st.pop()
        self.store_item(o, k, i)

    def x_contains(self, i: Any) -> None:
        o, k = self.st.pop(), self.st.pop()
        self.item(o, k, i)
        self.st.append(NEW)

    def x_get_iter(self, i: Any) -> None:
        self.st[-1] |= {("iter", i.offset)}

    def x_for_iter_popping(self, i: Any) -> None:
        self.flow(self.target(i), self.st[:-1])
        self.st.append(self.mk("elem", self.st[-1], i.offset))

    def x_for_iter(self, i: Any) -> None:
        # the compiler's view: the END_FOR at the target drops the item that was not there
        self.flow(self.target(i), self.st + [EMPTY])
        self.st.append(self.mk("elem", self.st[-1], i.offset))

    def x_unpack(self, i: Any) -> None:
        self.st += [self.mk("elem", self.st.pop(), i.offset)] * i.arg

    def x_unpack_ex(self, i: Any) -> None:
        self.st += [self.mk("elem", self.st.pop(), i.offset) | NEW] * (
            (i.arg & 255) + 1 + (i.arg >> 8)
        )

    # ---- operators, containers, formatting
    def x_unary(self, i: Any) -> None:
        self.st[-1] = frozenset([("call", i.offset)])

    def x_is_(self, i: Any) -> None:
        b, a = self.st.pop(), self.st.pop()
        if self.constants(a) is None and self.constants(b) is None:
            self.mk("same", a | b, i.offset)
        self.st.append(NEW)

    def x_compare(self, i: Any) -> None:
        b, a = self.st.pop(), self.st.pop()
        self.mk("deep", a | b, i.offset)  # list == list, str % dict, list + list
        self.result(i)

    def x_binary(self, i: Any) -> None:
        a = self.st[-2]
        if i.arg % FIRST_INPLACE == REMAINDER:  # text % values
            self.mk("text", self.st[-1], i.offset)
        self.x_compare(i)
        if i.arg >= FIRST_INPLACE:
            self.S.stores |= {("inplace", e, i.offset) for e in a}
            self.st[-1] |= a

    def x_build(self, i: Any) -> None:
        k = {"BUILD_MAP": 2 * i.arg, "BUILD_CONST_KEY_MAP": i.arg + 1}.get(i.opname, i.arg)
        items = self.st[len(self.st) - k :] if k else []
        self.drop(k)
        if i.opname == "BUILD_STRING":
            self.result(i)
        else:
            self.st.append(self.boxed([e for s in items for e in s], i.offset) | NEW)

    def x_gather(self, i: Any) -> None:
        o = self.st.pop()
        self.st[-i.arg] |= self.boxed(o, i.offset)

    def x_gather_all(self, i: Any) -> None:
        o = self.st.pop()
        self.st[-i.arg] |= self.boxed(self.mk("elem", o, i.offset), i.offset)

    def x_map_add(self, i: Any) -> None:
        o, k = self.st.pop(), self.st.pop()
        self.st[-i.arg] |= self.boxed(o | k, i.offset)

    def x_format_value(self, i: Any) -> None:
        if i.arg & 4:
            self.drop(1)
        self.x_format_simple(i)

    def x_format_simple(self, i: Any) -> None:
        self.mk("text", self.st.pop(), i.offset)
        self.result(i)

    def x_format_spec(self, i: Any) -> None:
        self.drop(1)
        self.x_format_simple(i)

    def x_convert_value(self, i: Any) -> None:
        self.x_format_simple(i)

    # ---- functions and calls
    def x_make_function(self, i: Any) -> None:
        self.drop(bin(i.arg).count("1") + 1)
        self.st.append(NEW)

    def x_make_function_plain(self, i: Any) -> None:
        self.st[-1] = NEW

    def x_set_function_attribute(self, i: Any) -> None:
        del self.st[-2]

    def x_call(self, i: Any) -> None:
        args = self.st[len(self.st) - i.arg :] if i.arg else []
        self.drop(i.arg)
        b, a = self.st.pop(), self.st.pop()
        method = NULLS not in (a, b)
        self.S.calls[i.offset] = (
            b if a == NULLS else a,
            Args([b, *args] if method else args, method),
        )
        self.result(i)

    def x_call_kw(self, i: Any) -> None:
        self.drop(1)
        self.x_call(i)

    def x_call_ex(self, i: Any) -> None:
        args = [self.st.pop() for _ in range((i.arg & 1) + 1)]
        f = self.st.pop()
        if sys.version_info >= (3, 13):  # callable, NULL, args
            f = self.st.pop()
        elif self.st and self.st[-1] == NULLS:
            self.st.pop()
        every = args + [self.mk("elem", a, i.offset) for a in args]
        self.S.calls[i.offset] = (f, Args(every, spread=True))
        self.result(i)
