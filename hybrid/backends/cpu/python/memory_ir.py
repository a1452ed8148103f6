"""IR text of what a replay allocates: results, and memory for new values that are not in place.

Invariant: a value is written in place only if nobody but the block of the call holds it; whatever
is allocated here is owned by the block at once.
"""

from __future__ import annotations

from ..machine.asm import Fn
from ..machine.control import BLOCK_HEADER
from .abi import ALIGNED, C_CONTIGUOUS, OWNS_DATA, WRITEABLE
from .entry_table import FORM_TUPLE, OUT, RELEASE_GIL, STATE, TABLE
from .take_ir import Section, TableRecord, Taking

__all__ = ["Making"]

# an array is written in place only with all of these flags
IN_PLACE = C_CONTIGUOUS | OWNS_DATA | ALIGNED | WRITEABLE


class Making(Taking):
    """The functions that find memory for results and new values."""

    def new_array(self) -> Fn:
        """A fresh array by an OUT record; null with an exception set."""
        writer = Fn("hy_new_array", "ptr", "noinline", api="ptr", out="ptr")
        out = TableRecord(writer, "%out", OUT)
        maker = out.pointer("maker")
        with writer.when(writer.cmp("ne", maker, "null", "ptr"), unlikely=True):
            call = self.api(writer, "%api", "PyObject_CallNoArgs")
            writer.ret(writer.call("ptr", call, f"ptr {maker}"))
        writer.label(writer.fresh())
        descr = out.pointer("descr")
        self.incref(writer, descr)  # the call steals it
        ndim = writer.op(f"trunc i64 {out.number('ndim')} to i32")
        writer.ret(
            writer.call(
                "ptr",
                self.api(writer, "%api", "new_array"),
                f"ptr {self.api(writer, '%api', 'ndarray')}",
                f"ptr {descr}",
                f"i32 {ndim}",
                f"ptr {out.pointer('dims')}",
                "ptr null",
                "ptr null",
                "i32 0",
                "ptr null",
            )
        )
        return writer

    def _made(self, writer: Fn, api: str, out: str) -> str:
        """A fresh array by the OUT record at an address; to `error` when there is none."""
        made = writer.call("ptr", "@hy_new_array", f"ptr {api}", f"ptr {out}")
        writer.go_if(writer.cmp("eq", made, "null", "ptr"), "error")
        return made

    def make_results(self) -> Fn:
        """Allocate what the call returns; no other allocation can run the garbage collector."""
        writer = Fn("hy_make_results", "i1", "noinline", table="ptr", block="ptr")
        library = writer.ld("%table")
        results, outs = Section(writer, "results"), Section(writer, "outs")
        count = results.count()
        with writer.each(count) as index:
            result = results.record(index)
            with writer.when(writer.cmp("eq", result.number("handle"), 0)):
                alloc = self.api(writer, library, "PyType_GenericAlloc")
                tensor = writer.call("ptr", alloc, f"ptr {result.pointer('type')}", "i64 0")
                writer.go_if(writer.cmp("eq", tensor, "null", "ptr"), "error")
                writer.st("ptr", tensor, result.spot("at"))
        with writer.when(writer.cmp("eq", writer.ld("%table", TABLE["form"], "i64"), FORM_TUPLE)):
            whole = writer.call("ptr", self.api(writer, library, "PyTuple_New"), f"i64 {count}")
            writer.go_if(writer.cmp("eq", whole, "null", "ptr"), "error")
            writer.st("ptr", whole, "%block", BLOCK_HEADER)
        with outs.each() as out:
            array = self._made(writer, library, out.address)
            writer.st("ptr", array, out.spot("at"))
            writer.st("ptr", writer.ld(array, self.layout.array_data), out.spot("buf"))
        writer.ret("true")
        writer.label("error")
        writer.ret("false")
        return writer

    def sole(self) -> Fn:
        """Whether nobody but the taken reference holds the value and its memory.

        The block took the handle's reference, so a count of 1 is the block's own; the base of a
        large value is a holder of memory that belongs to this one array."""
        writer = Fn("hy_sole", "i1", "noinline", v="ptr", block_type="ptr")
        layout = self.layout
        writer.go_if(writer.cmp("ne", writer.ld("%v", layout.refcount, "i32"), 1, "i32"), "no")
        flags, owner = (
            writer.ld("%v", layout.array_flags, "i32"),
            writer.ld("%v", layout.array_base),
        )
        with writer.when(writer.cmp("eq", owner, "null", "ptr")):
            writer.ret(writer.cmp("eq", writer.op(f"and i32 {flags}, {IN_PLACE}"), IN_PLACE, "i32"))
        writer.label(writer.fresh())
        mine = IN_PLACE & ~OWNS_DATA
        suitable = writer.cmp("eq", writer.op(f"and i32 {flags}, {mine}"), mine, "i32")
        suitable = writer.both(
            suitable, writer.cmp("eq", self.type_of(writer, owner), "%block_type", "ptr")
        )
        alone = writer.cmp("eq", writer.ld(owner, layout.refcount, "i32"), 1, "i32")
        writer.ret(writer.both(suitable, alone))
        writer.label("no")
        writer.ret("false")
        return writer

    def _is_sole(self, writer: Fn, value: str, state_record: TableRecord) -> str:
        return writer.call(
            "i1", "@hy_sole", f"ptr {value}", f"ptr {state_record.pointer('block_type')}"
        )

    def spare(self) -> Fn:
        """Memory that Python code allocates for a new state value: 0 none is missing, 1 one was
        made (all checks have to be made again: Python ran), 2 an exception is set."""
        writer = Fn("hy_spare", "i32", "noinline", table="ptr", block="ptr")
        library, states = writer.ld("%table"), Section(writer, "states")
        with writer.each(states.count()) as index:
            next_ = writer.fresh()
            state_record = states.record(index)
            out, news = (
                TableRecord(writer, state_record.pointer("out"), OUT),
                state_record.spot("news"),
            )
            writer.go_if(
                writer.cmp("eq", out.pointer("maker"), "null", "ptr"), next_, unlikely=False
            )
            writer.go_if(writer.cmp("ne", state_record.pointer("const"), "null", "ptr"), next_)
            writer.go_if(state_record.is_set("source"), next_)
            writer.go_if(writer.cmp("ne", writer.ld(news), "null", "ptr"), next_)
            with writer.when(state_record.is_set("in_place")):
                value = writer.ld(writer.ld(state_record.spot("handle")), self.slots.value)
                writer.go_if(self._is_sole(writer, value, state_record), next_, unlikely=False)
            writer.st("ptr", self._made(writer, library, out.address), news)
            writer.ret(1)
            writer.label(next_)
        writer.ret(0)
        writer.label("error")
        writer.ret(2)
        return writer

    def prepare(self) -> Fn:
        """Decide for each state where its new value is written.  0: an exception is set."""
        writer = Fn("hy_prepare", "i1", "noinline", table="ptr", block="ptr")
        library, states = writer.ld("%table"), Section(writer, "states")
        flags = writer.ld("%table", TABLE["flags"], "i64")
        keeps_gil = writer.cmp("eq", writer.op(f"and i64 {flags}, {RELEASE_GIL}"), 0)
        with writer.each(states.count()) as index:
            next_, fresh = writer.fresh(), writer.fresh()
            state_record = states.record(index)
            value = writer.ld(state_record.spot("input"))
            news, buf = state_record.spot("news"), state_record.spot("buf")
            owned = writer.cmp("eq", writer.ld(news), "null", "ptr")
            with writer.when(writer.both(state_record.is_set("in_place"), owned)):
                with writer.when(self._is_sole(writer, value, state_record)):
                    writer.st("ptr", writer.ld(value, self.layout.array_data), buf)
                    writer.go(next_)
                    writer.label(writer.fresh())
            self._give_back(writer, state_record, value, keeps_gil)
            self._other_value(writer, state_record, news, next_, fresh)
            writer.label(fresh)
            made = writer.call(
                "i1",
                "@hy_fresh_state",
                f"ptr {library}",
                f"ptr {state_record.address}",
                "ptr %block",
            )
            writer.go_if(writer.op(f"xor i1 {made}, true"), "error")
            writer.label(next_)
        writer.ret("true")
        writer.label("error")
        writer.ret("false")
        return writer

    def _give_back(self, writer: Fn, state_record: TableRecord, value: str, keeps_gil: str) -> None:
        """A value that is not written in place is readable again, unless other threads run
        meanwhile: two replays must not start from one value."""
        handle = writer.ld(state_record.spot("handle"))
        empty = writer.cmp("eq", writer.ld(handle, self.slots.value), "null", "ptr")
        with writer.when(writer.both(keeps_gil, empty)):
            self.incref(writer, value)
            writer.st("ptr", value, handle, self.slots.value)

    def _other_value(
        self, writer: Fn, state_record: TableRecord, news: str, done: str, fresh: str
    ) -> None:
        """The new value is a constant or another array of the call, else go to `fresh`."""
        source, const = state_record.number("source"), state_record.pointer("const")
        with writer.when(writer.cmp("ne", const, "null", "ptr")):
            self.incref(writer, const)
            writer.st("ptr", const, news)
            writer.go(done)
            writer.label(writer.fresh())
        writer.go_if(writer.cmp("eq", source, 0), fresh, unlikely=False)
        shared = writer.ld(writer.at("%block", source))
        self.incref(writer, shared)
        writer.st("ptr", shared, news)
        writer.go(done)

    def fresh_state(self) -> Fn:
        """A new array for a state, with the old contents where kernels write only a part of it."""
        writer = Fn("hy_fresh_state", "i1", "noinline", api="ptr", r="ptr", block="ptr")
        state_record = TableRecord(writer, "%r", STATE)
        news = state_record.spot("news")
        with writer.when(writer.cmp("eq", writer.ld(news), "null", "ptr")):
            writer.st("ptr", self._made(writer, "%api", state_record.pointer("out")), news)
        data = writer.ld(writer.ld(news), self.layout.array_data)
        writer.st("ptr", data, state_record.spot("buf"))
        with writer.when(state_record.is_set("partial")):
            place = state_record.spot("input")
            copy = writer.ld(place, 8)  # made where the value is not contiguous
            previous = writer.pick(
                writer.cmp("ne", copy, "null", "ptr"), copy, writer.ld(place), "ptr"
            )
            writer.call(
                "ptr",
                self.api(writer, "%api", "memcpy"),
                f"ptr {data}",
                f"ptr {writer.ld(previous, self.layout.array_data)}",
                f"i64 {state_record.number('nbytes')}",
            )
        writer.ret("true")
        writer.label("error")
        writer.ret("false")
        return writer
