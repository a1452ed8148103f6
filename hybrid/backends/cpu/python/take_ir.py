"""IR text of the first half of a replay: checking a call and taking its values; and of loops over
the records of the table that drives it.

Invariant: a check changes nothing, and every taken value is owned by the block from the moment its
handle is marked busy (`_v` null); a value that was copied before is owned already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ..machine.asm import Fn
from .abi import ALIGNED, C_CONTIGUOUS
from .entry_table import GUARDS_AT_ONCE, INPUT, OUT, RESULT, STATE, TABLE
from .launch_ir import LaunchWriter

__all__ = ["Section", "TableRecord", "Taking"]

CONTIGUOUS_ALIGNED = C_CONTIGUOUS | ALIGNED
GUARDS_BYTES = 16 * GUARDS_AT_ONCE
SECTIONS = {"inputs": INPUT, "states": STATE, "outs": OUT, "results": RESULT}


class TableRecord:
    """One record at an address; each method writes the loads that it needs where it is called."""

    def __init__(self, writer: Fn, address: str, words: Mapping[str, int]) -> None:
        self.asm, self.address, self.words = writer, address, words

    def pointer(self, name: str) -> str:
        """A word that is an address."""
        return self.asm.ld(self.address, self.words[name])

    def number(self, name: str) -> str:
        """A word that is a number."""
        return self.asm.ld(self.address, self.words[name], "i64")

    def spot(self, name: str) -> str:
        """The address that a word gives as an offset in the block of the call."""
        return self.asm.at("%block", self.number(name))

    def is_set(self, name: str) -> str:
        """Whether a number is not 0."""
        return self.asm.cmp("ne", self.number(name), 0)


class Section:
    """The records of one kind; its address is loaded where it is made."""

    def __init__(self, writer: Fn, name: str, table: str = "%table") -> None:
        self.asm, self.name, self.table = writer, name, table
        self.words = SECTIONS[name]
        self.start = writer.ld(table, TABLE[name])

    def count(self) -> str:
        """The number of records."""
        return self.asm.ld(self.table, TABLE[self.name + "_n"], "i64")

    def record(self, index: str) -> TableRecord:
        """The record of that number."""
        return TableRecord(
            self.asm, self.asm.nth(self.start, index, self.words["size"]), self.words
        )

    @contextmanager
    def each(self) -> Iterator[TableRecord]:
        """For each record, in order."""
        with self.asm.each(self.count()) as index:
            yield self.record(index)


class Taking(LaunchWriter):
    """The functions that check a call and take its values."""

    # ---- checks
    def type_ok(self, writer: Fn, table: str, target: str, miss: str) -> None:
        """Go to `miss` unless the exact type of obj is accepted."""
        types = writer.ld(table, TABLE["types"])
        type_word = self.type_of(writer, target)
        with writer.when(writer.cmp("ne", type_word, writer.ld(types), "ptr")):
            known = writer.call("i1", "@hy_known_type", f"ptr {table}", f"ptr {type_word}")
            writer.go_if(writer.op(f"xor i1 {known}, true"), miss)

    def known_type(self) -> Fn:
        writer = Fn("hy_known_type", "i1", "noinline", table="ptr", kind="ptr")
        types = writer.ld("%table", TABLE["types"])
        with writer.each(writer.ld("%table", TABLE["types_n"], "i64")) as index:
            writer.go_if(
                writer.cmp("eq", writer.ld(writer.nth(types, index)), "%kind", "ptr"), "yes"
            )
        writer.ret("false")
        writer.label("yes")
        writer.ret("true")
        return writer

    def precheck(self) -> Fn:
        """Arguments only, before anything is allocated: number, types, avals."""
        writer = Fn("hy_precheck", "i1", "noinline", table="ptr", args="ptr", nargs="i64")
        writer.go_if(writer.cmp("ne", "%nargs", writer.ld("%table", TABLE["nargs"], "i64")), "miss")
        inputs = Section(writer, "inputs")
        with writer.each("%nargs") as index:
            handle = writer.ld(writer.nth("%args", index))
            self.type_ok(writer, "%table", handle, "miss")
            want = inputs.record(index).pointer("aval")
            writer.go_if(writer.cmp("ne", writer.ld(handle, self.slots.aval), want, "ptr"), "miss")
        writer.ret("true")
        writer.label("miss")
        writer.ret("false")
        return writer

    def check(self) -> Fn:
        """Everything, without side effects; fills in the handles of this call."""
        writer = Fn("hy_check", "i1", "noinline", table="ptr", args="ptr", block="ptr")
        ndarray = self.api(writer, writer.ld("%table"), "ndarray")
        handles = writer.at("%block", writer.ld("%table", TABLE["handles_at"], "i64"))
        guards, inputs = writer.ld("%table", TABLE["guards"]), Section(writer, "inputs")
        nargs, count = writer.ld("%table", TABLE["nargs"], "i64"), inputs.count()
        with writer.each(writer.ld("%table", TABLE["guards_n"], "i64")) as index:
            group = writer.nth(guards, index, GUARDS_BYTES)
            for offset in range(0, GUARDS_BYTES, 16):
                place = writer.ld(writer.ld(group, offset), 0, "i64")
                same = writer.cmp("eq", place, writer.ld(group, offset + 8, "i64"))
                writer.go_if(writer.op(f"xor i1 {same}, true"), "miss")
        with writer.each(nargs) as index:
            writer.st("ptr", writer.ld(writer.nth("%args", index)), writer.nth(handles, index))
        with writer.each(count, nargs) as index:
            writer.st(
                "ptr", writer.ld(inputs.record(index).pointer("place")), writer.nth(handles, index)
            )
        with writer.each(count) as index:
            record = inputs.record(index)
            self._check_handle(writer, record, writer.ld(writer.nth(handles, index)), ndarray)
        with writer.each(writer.ld("%table", TABLE["distinct_n"], "i64")) as index:
            handle = writer.ld(writer.nth(handles, index))
            with writer.each(count, writer.add(index, 1)) as later:
                writer.go_if(
                    writer.cmp("eq", handle, writer.ld(writer.nth(handles, later)), "ptr"), "miss"
                )
        with writer.when(writer.cmp("ne", writer.ld("%table", TABLE["places_n"], "i64"), 0)):
            once = writer.call("i1", "@hy_met_once", "ptr %table", f"ptr {handles}")
            writer.go_if(writer.op(f"xor i1 {once}, true"), "miss")
        writer.ret("true")
        writer.label("miss")
        writer.ret("false")
        return writer

    def _check_handle(self, writer: Fn, record: TableRecord, handle: str, ndarray: str) -> None:
        """Go to `miss` unless a handle is what its input was specialised on."""
        slots = self.slots
        writer.go_if(writer.cmp("eq", handle, "null", "ptr"), "miss")
        self.type_ok(writer, "%table", handle, "miss")
        aval = writer.ld(handle, slots.aval)
        writer.go_if(writer.cmp("ne", aval, record.pointer("aval"), "ptr"), "miss")
        node = record.pointer("node")
        asked = writer.cmp("ne", node, "null", "ptr")
        other = writer.cmp("ne", writer.ld(handle, slots.node), node, "ptr")
        writer.go_if(writer.both(asked, other), "miss")
        plain = record.is_set("plain")
        linked = writer.cmp("ne", writer.ld(handle, slots.extra), "null", "ptr")
        writer.go_if(writer.both(plain, linked), "miss")
        with writer.when(writer.cmp("eq", record.number("unread"), 0)):
            value = writer.ld(handle, slots.value)
            writer.go_if(writer.cmp("eq", value, "null", "ptr"), "miss")
            writer.go_if(writer.cmp("ne", self.type_of(writer, value), ndarray, "ptr"), "miss")

    def met_once(self) -> Fn:
        """Whether all checked handles are different objects.  A handle that was met has no record
        until all get theirs back; no Python runs in between."""
        writer = Fn("hy_met_once", "i1", "noinline", table="ptr", handles="ptr")
        inputs = Section(writer, "inputs")
        count = inputs.count()
        for result in ("true", "false"):
            if result == "true":
                with writer.each(count) as index:
                    handle = writer.ld(writer.nth("%handles", index))
                    met = writer.cmp("eq", writer.ld(handle, self.slots.aval), "null", "ptr")
                    writer.go_if(met, "again")
                    writer.st("ptr", "null", handle, self.slots.aval)
            else:
                writer.label("again")
            with writer.each(count) as index:
                aval = inputs.record(index).pointer("aval")
                writer.st("ptr", aval, writer.ld(writer.nth("%handles", index)), self.slots.aval)
            writer.ret(result)
        return writer

    def copies(self) -> Fn:
        """Contiguous copies of inputs, where Python code makes them: 0 none is missing, 1 one was
        made (all checks have to be made again), 2 an exception is set.

        The copied value is owned, too: while it is the handle's the copy stands for it."""
        writer = Fn("hy_copies", "i32", "noinline", table="ptr", block="ptr")
        library, inputs = writer.ld("%table"), Section(writer, "inputs")
        handles = writer.at("%block", writer.ld("%table", TABLE["handles_at"], "i64"))
        with writer.each(inputs.count()) as index:
            record, next_ = inputs.record(index), writer.fresh()
            writer.go_if(record.is_set("unread"), next_)
            value = writer.ld(writer.ld(writer.nth(handles, index)), self.slots.value)
            place = record.spot("word")
            copied = writer.cmp("eq", writer.ld(place), value, "ptr")
            writer.go_if(copied, next_)
            for offset in (0, 8):
                self._drop(writer, library, place, offset)
            flags = writer.ld(value, self.layout.array_flags, "i32")
            plain = writer.op(f"and i32 {flags}, {CONTIGUOUS_ALIGNED}")
            writer.go_if(writer.cmp("eq", plain, CONTIGUOUS_ALIGNED, "i32"), next_, unlikely=False)
            self.incref(writer, value)
            writer.st("ptr", value, place)
            made = writer.call(
                "ptr",
                self.api(writer, library, "PyObject_CallOneArg"),
                f"ptr {self.api(writer, library, 'copier')}",
                f"ptr {value}",
            )
            writer.go_if(writer.cmp("eq", made, "null", "ptr"), "error")
            writer.st("ptr", made, place, 8)
            writer.ret(1)
            writer.label(next_)
        writer.ret(0)
        writer.label("error")
        writer.ret(2)
        return writer

    def _drop(self, writer: Fn, library: str, place: str, offset: int) -> None:
        """Give up a reference of the block, if there is one."""
        owned = writer.ld(place, offset)
        with writer.when(writer.cmp("ne", owned, "null", "ptr"), unlikely=True):
            writer.st("ptr", "null", place, offset)
            self.decref(writer, library, owned)

    # ---- taking values
    def take(self) -> Fn:
        """Take the values of this call (owned by the block), states first: a handle met twice is
        then empty.

        1 taken, 0 two places hold one handle (states are put back by the caller's rollback)."""
        writer = Fn("hy_take", "i1", "noinline", table="ptr", block="ptr")
        handles = writer.at("%block", writer.ld("%table", TABLE["handles_at"], "i64"))
        inputs, states = Section(writer, "inputs"), Section(writer, "states")
        type_word, busy = writer.ld("%table", TABLE["kind"]), writer.ld("%table", TABLE["busy"])
        with states.each() as state_record:
            handle = writer.ld(state_record.spot("handle"))
            value = writer.ld(handle, self.slots.value)
            writer.go_if(writer.cmp("eq", value, "null", "ptr"), "alias")
            with writer.when(state_record.is_set("hold"), unlikely=True):
                self.incref(writer, handle)  # a place may drop it while we run
                writer.st(
                    "ptr", handle, writer.at("%block", writer.add(state_record.number("news"), 8))
                )
            writer.st("ptr", "null", handle, self.slots.value)
            self.mark(writer, handle, type_word, busy, busy)
            self._drop(writer, writer.ld("%table"), state_record.spot("input"), 0)
            writer.st("ptr", value, state_record.spot("input"))
        with writer.each(inputs.count()) as index:
            record = inputs.record(index)
            left = writer.op(f"or i64 {record.number('state')}, {record.number('unread')}")
            with writer.when(writer.cmp("eq", left, 0)):
                value = writer.ld(writer.ld(writer.nth(handles, index)), self.slots.value)
                writer.go_if(writer.cmp("eq", value, "null", "ptr"), "alias")
                place = record.spot("word")
                with writer.when(writer.cmp("eq", writer.ld(place), "null", "ptr")):
                    self.incref(writer, value)
                    writer.st("ptr", value, place)
        writer.call("void", "@hy_hold", "ptr %table", "ptr %block")
        writer.ret("true")
        writer.label("alias")
        writer.ret("false")
        return writer

    def mark(self, writer: Fn, handle: str, previous: str, new: str, busy: str) -> None:
        """Change the type of a handle, where readers in other threads have to see it.

        The busy type has the same layout, so only the pointer to the type moves.  Counts of the
        types are left alone: the handle is held until its type is put back."""
        with writer.when(writer.cmp("ne", busy, "null", "ptr"), unlikely=True):
            type_word = self.type_of(writer, handle)
            marked = writer.pick(
                writer.cmp("eq", type_word, previous, "ptr"), new, type_word, "ptr"
            )
            writer.st("ptr", marked, handle, self.layout.type)

    def hold(self) -> Fn:
        """Own the handles that will be returned as they are."""
        writer = Fn("hy_hold", "void", "noinline", table="ptr", block="ptr")
        with Section(writer, "results").each() as result:
            offset = result.number("handle")
            with writer.when(writer.cmp("ne", offset, 0)):
                handle = writer.ld(writer.at("%block", offset))
                self.incref(writer, handle)
                writer.st("ptr", handle, result.spot("at"))
        writer.ret()
        return writer

    def point(self) -> Fn:
        """Base pointers of the inputs, copied where not contiguous.  0: an exception is set."""
        writer = Fn("hy_point", "i1", "noinline", table="ptr", block="ptr")
        with Section(writer, "inputs").each() as record:
            place, next_ = record.spot("word"), writer.fresh()
            writer.go_if(record.is_set("unread"), next_)
            value = writer.ld(place)
            flags = writer.ld(value, self.layout.array_flags, "i32")
            plain = writer.op(f"and i32 {flags}, {CONTIGUOUS_ALIGNED}")
            where = writer.var("ptr")
            writer.st("ptr", value, where)
            with writer.when(writer.cmp("ne", plain, CONTIGUOUS_ALIGNED, "i32"), unlikely=True):
                with writer.when(writer.cmp("eq", writer.ld(place, 8), "null", "ptr")):
                    copy = self.api(writer, writer.ld("%table"), "copy_array")
                    fresh = writer.call("ptr", copy, f"ptr {value}", "i32 0")
                    writer.go_if(writer.cmp("eq", fresh, "null", "ptr"), "error")
                    writer.st("ptr", fresh, place, 8)  # owned, next to the value
                writer.st("ptr", writer.ld(place, 8), where)
            data = writer.ld(writer.ld(where), self.layout.array_data)
            writer.st("ptr", data, record.spot("buf"))
            writer.label(next_)
        writer.ret("true")
        writer.label("error")
        writer.ret("false")
        return writer
