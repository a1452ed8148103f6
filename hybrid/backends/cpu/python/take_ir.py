"""IR text of the first half of a replay: checking a call and taking its values.

Invariant: a check changes nothing, and every taken value is owned by the block from the moment its
handle is marked busy (`_v` null).
"""

from __future__ import annotations

from ..machine.asm import Fn
from .abi import ALIGNED, C_CONTIGUOUS
from .entry_table import GUARDS_AT_ONCE, TABLE
from .launch_ir import Writer
from .records import Record, Section

__all__ = ["Taking"]

CONTIGUOUS_ALIGNED = C_CONTIGUOUS | ALIGNED
GUARDS_BYTES = 16 * GUARDS_AT_ONCE


class Taking(Writer):
    """The functions that check a call and take its values."""

    # ---- checks
    def type_ok(self, asm: Fn, table: str, obj: str, miss: str) -> None:
        """Go to `miss` unless the exact type of obj is accepted."""
        types = asm.ld(table, TABLE["types"])
        kind = self.type_of(asm, obj)
        with asm.when(asm.cmp("ne", kind, asm.ld(types), "ptr")):
            known = asm.call("i1", "@hy_known_type", f"ptr {table}", f"ptr {kind}")
            asm.go_if(asm.op(f"xor i1 {known}, true"), miss)

    def known_type(self) -> Fn:
        asm = Fn("hy_known_type", "i1", "noinline", table="ptr", kind="ptr")
        types = asm.ld("%table", TABLE["types"])
        with asm.each(asm.ld("%table", TABLE["types_n"], "i64")) as index:
            asm.go_if(asm.cmp("eq", asm.ld(asm.nth(types, index)), "%kind", "ptr"), "yes")
        asm.ret("false")
        asm.label("yes")
        asm.ret("true")
        return asm

    def precheck(self) -> Fn:
        """Arguments only, before anything is allocated: number, types, avals."""
        asm = Fn("hy_precheck", "i1", "noinline", table="ptr", args="ptr", nargs="i64")
        asm.go_if(asm.cmp("ne", "%nargs", asm.ld("%table", TABLE["nargs"], "i64")), "miss")
        inputs = Section(asm, "inputs")
        with asm.each("%nargs") as index:
            handle = asm.ld(asm.nth("%args", index))
            self.type_ok(asm, "%table", handle, "miss")
            want = inputs.record(index).pointer("aval")
            asm.go_if(asm.cmp("ne", asm.ld(handle, self.slots.aval), want, "ptr"), "miss")
        asm.ret("true")
        asm.label("miss")
        asm.ret("false")
        return asm

    def check(self) -> Fn:
        """Everything, without side effects; fills in the handles of this call."""
        asm = Fn("hy_check", "i1", "noinline", table="ptr", args="ptr", block="ptr")
        ndarray = self.api(asm, asm.ld("%table"), "ndarray")
        handles = asm.at("%block", asm.ld("%table", TABLE["handles_at"], "i64"))
        guards, inputs = asm.ld("%table", TABLE["guards"]), Section(asm, "inputs")
        nargs, count = asm.ld("%table", TABLE["nargs"], "i64"), inputs.count()
        with asm.each(asm.ld("%table", TABLE["guards_n"], "i64")) as index:
            group = asm.nth(guards, index, GUARDS_BYTES)
            for offset in range(0, GUARDS_BYTES, 16):
                word = asm.ld(asm.ld(group, offset), 0, "i64")
                same = asm.cmp("eq", word, asm.ld(group, offset + 8, "i64"))
                asm.go_if(asm.op(f"xor i1 {same}, true"), "miss")
        with asm.each(nargs) as index:
            asm.st("ptr", asm.ld(asm.nth("%args", index)), asm.nth(handles, index))
        with asm.each(count, nargs) as index:
            asm.st("ptr", asm.ld(inputs.record(index).pointer("place")), asm.nth(handles, index))
        with asm.each(count) as index:
            record = inputs.record(index)
            self._check_handle(asm, record, asm.ld(asm.nth(handles, index)), ndarray)
        with asm.each(asm.ld("%table", TABLE["distinct_n"], "i64")) as index:
            handle = asm.ld(asm.nth(handles, index))
            with asm.each(count, asm.add(index, 1)) as later:
                asm.go_if(asm.cmp("eq", handle, asm.ld(asm.nth(handles, later)), "ptr"), "miss")
        with asm.when(asm.cmp("ne", asm.ld("%table", TABLE["places_n"], "i64"), 0)):
            once = asm.call("i1", "@hy_met_once", "ptr %table", f"ptr {handles}")
            asm.go_if(asm.op(f"xor i1 {once}, true"), "miss")
        asm.ret("true")
        asm.label("miss")
        asm.ret("false")
        return asm

    def _check_handle(self, asm: Fn, record: Record, handle: str, ndarray: str) -> None:
        """Go to `miss` unless a handle is what its input was specialised on."""
        slots = self.slots
        asm.go_if(asm.cmp("eq", handle, "null", "ptr"), "miss")
        self.type_ok(asm, "%table", handle, "miss")
        aval = asm.ld(handle, slots.aval)
        asm.go_if(asm.cmp("ne", aval, record.pointer("aval"), "ptr"), "miss")
        node = record.pointer("node")
        asked = asm.cmp("ne", node, "null", "ptr")
        other = asm.cmp("ne", asm.ld(handle, slots.node), node, "ptr")
        asm.go_if(asm.both(asked, other), "miss")
        plain = record.is_set("plain")
        linked = asm.cmp("ne", asm.ld(handle, slots.extra), "null", "ptr")
        asm.go_if(asm.both(plain, linked), "miss")
        value = asm.ld(handle, slots.value)
        asm.go_if(asm.cmp("eq", value, "null", "ptr"), "miss")
        asm.go_if(asm.cmp("ne", self.type_of(asm, value), ndarray, "ptr"), "miss")

    def met_once(self) -> Fn:
        """Whether all checked handles are different objects.  A handle that was met has no record
        until all get theirs back; no Python runs in between."""
        asm = Fn("hy_met_once", "i1", "noinline", table="ptr", handles="ptr")
        inputs = Section(asm, "inputs")
        count = inputs.count()
        for result in ("true", "false"):
            if result == "true":
                with asm.each(count) as index:
                    handle = asm.ld(asm.nth("%handles", index))
                    met = asm.cmp("eq", asm.ld(handle, self.slots.aval), "null", "ptr")
                    asm.go_if(met, "again")
                    asm.st("ptr", "null", handle, self.slots.aval)
            else:
                asm.label("again")
            with asm.each(count) as index:
                aval = inputs.record(index).pointer("aval")
                asm.st("ptr", aval, asm.ld(asm.nth("%handles", index)), self.slots.aval)
            asm.ret(result)
        return asm

    # ---- taking values
    def take(self) -> Fn:
        """Take the values of this call (owned by the block), states first: a handle met twice is
        then empty.

        1 taken, 0 two places hold one handle (states are put back by the caller's rollback)."""
        asm = Fn("hy_take", "i1", "noinline", table="ptr", block="ptr")
        handles = asm.at("%block", asm.ld("%table", TABLE["handles_at"], "i64"))
        inputs, states = Section(asm, "inputs"), Section(asm, "states")
        kind, busy = asm.ld("%table", TABLE["kind"]), asm.ld("%table", TABLE["busy"])
        with states.each() as state:
            handle = asm.ld(state.spot("handle"))
            value = asm.ld(handle, self.slots.value)
            asm.go_if(asm.cmp("eq", value, "null", "ptr"), "alias")
            with asm.when(state.is_set("hold"), unlikely=True):
                self.incref(asm, handle)  # a place may drop it while we run
                asm.st("ptr", handle, asm.at("%block", asm.add(state.number("news"), 8)))
            asm.st("ptr", "null", handle, self.slots.value)
            self.mark(asm, handle, kind, busy, busy)
            asm.st("ptr", value, state.spot("input"))
        with asm.each(inputs.count()) as index:
            record = inputs.record(index)
            with asm.when(asm.cmp("eq", record.number("state"), 0)):
                value = asm.ld(asm.ld(asm.nth(handles, index)), self.slots.value)
                asm.go_if(asm.cmp("eq", value, "null", "ptr"), "alias")
                self.incref(asm, value)
                asm.st("ptr", value, record.spot("word"))
        asm.call("void", "@hy_hold", "ptr %table", "ptr %block")
        asm.ret("true")
        asm.label("alias")
        asm.ret("false")
        return asm

    def mark(self, asm: Fn, handle: str, old: str, new: str, busy: str) -> None:
        """Change the type of a handle, where readers in other threads have to see it.

        The busy type has the same layout, so only the pointer to the type moves.  Counts of the
        types are left alone: the handle is held until its type is put back."""
        with asm.when(asm.cmp("ne", busy, "null", "ptr"), unlikely=True):
            kind = self.type_of(asm, handle)
            marked = asm.pick(asm.cmp("eq", kind, old, "ptr"), new, kind, "ptr")
            asm.st("ptr", marked, handle, self.layout.type)

    def hold(self) -> Fn:
        """Own the handles that will be returned as they are."""
        asm = Fn("hy_hold", "void", "noinline", table="ptr", block="ptr")
        with Section(asm, "results").each() as result:
            offset = result.number("handle")
            with asm.when(asm.cmp("ne", offset, 0)):
                handle = asm.ld(asm.at("%block", offset))
                self.incref(asm, handle)
                asm.st("ptr", handle, result.spot("at"))
        asm.ret()
        return asm

    def point(self) -> Fn:
        """Base pointers of the inputs, copied where not contiguous.  0: an exception is set."""
        asm = Fn("hy_point", "i1", "noinline", table="ptr", block="ptr")
        with Section(asm, "inputs").each() as record:
            word = record.spot("word")
            value = asm.ld(word)
            flags = asm.ld(value, self.layout.array_flags, "i32")
            plain = asm.op(f"and i32 {flags}, {CONTIGUOUS_ALIGNED}")
            where = asm.var("ptr")
            asm.st("ptr", value, where)
            with asm.when(asm.cmp("ne", plain, CONTIGUOUS_ALIGNED, "i32"), unlikely=True):
                copy = self.api(asm, asm.ld("%table"), "copy_array")
                fresh = asm.call("ptr", copy, f"ptr {value}", "i32 0")
                asm.go_if(asm.cmp("eq", fresh, "null", "ptr"), "error")
                asm.st("ptr", fresh, asm.at(word, 8))  # owned, next to the value
                asm.st("ptr", fresh, where)
            data = asm.ld(asm.ld(where), self.layout.array_data)
            asm.st("ptr", data, record.spot("buf"))
        asm.ret("true")
        asm.label("error")
        asm.ret("false")
        return asm
