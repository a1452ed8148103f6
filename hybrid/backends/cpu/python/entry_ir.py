"""IR text of the replay entry: one generic native function, driven by a table per specialisation.

Invariant: until the kernels run nothing visible is changed except that handles with a new value are
marked busy (`_v` null), and every path out gives back each reference, handle and block it took.
"""

from __future__ import annotations

from ..machine.asm import UNLIKELY, Fn
from ..machine.control import BLOCK_HEADER, OOM
from .abi import ALIGNED, C_CONTIGUOUS, OWNS_DATA, SIZE, WRITEABLE, Layout
from .entry_table import (
    CLAMP,
    FORM_NONE,
    FORM_TUPLE,
    LARGE_STATES,
    OUT,
    RELEASE_GIL,
    RESULT,
    STATE,
    TABLE,
)
from .launch_ir import LAUNCH_NAMES, Slots
from .records import Record, Section
from .take_ir import Taking

__all__ = ["entry_text", "NAMES"]

# an array is written in place only with all of these flags
IN_PLACE = C_CONTIGUOUS | OWNS_DATA | ALIGNED | WRITEABLE
NAMES = ("hy_entry", "hy_entry_of", *LAUNCH_NAMES)


class _Replay(Taking):
    """The functions of a replay."""

    # ---- new memory
    def new_array(self) -> Fn:
        """A fresh array by an OUT record; null with an exception set."""
        asm = Fn("hy_new_array", "ptr", "noinline", api="ptr", out="ptr")
        out = Record(asm, "%out", OUT)
        maker = out.pointer("maker")
        with asm.when(asm.cmp("ne", maker, "null", "ptr"), unlikely=True):
            call = self.api(asm, "%api", "PyObject_CallNoArgs")
            asm.ret(asm.call("ptr", call, f"ptr {maker}"))
        asm.label(asm.fresh())
        descr = out.pointer("descr")
        self.incref(asm, descr)  # the call steals it
        ndim = asm.op(f"trunc i64 {out.number('ndim')} to i32")
        asm.ret(
            asm.call(
                "ptr",
                self.api(asm, "%api", "new_array"),
                f"ptr {self.api(asm, '%api', 'ndarray')}",
                f"ptr {descr}",
                f"i32 {ndim}",
                f"ptr {out.pointer('dims')}",
                "ptr null",
                "ptr null",
                "i32 0",
                "ptr null",
            )
        )
        return asm

    def _made(self, asm: Fn, api: str, out: str) -> str:
        """A fresh array by the OUT record at an address; to `error` when there is none."""
        made = asm.call("ptr", "@hy_new_array", f"ptr {api}", f"ptr {out}")
        asm.go_if(asm.cmp("eq", made, "null", "ptr"), "error")
        return made

    def make_results(self) -> Fn:
        """Allocate what the call returns; no other allocation can run the garbage collector."""
        asm = Fn("hy_make_results", "i1", "noinline", table="ptr", block="ptr")
        api = asm.ld("%table")
        results, outs = Section(asm, "results"), Section(asm, "outs")
        count = results.count()
        with asm.each(count) as index:
            result = results.record(index)
            with asm.when(asm.cmp("eq", result.number("handle"), 0)):
                alloc = self.api(asm, api, "PyType_GenericAlloc")
                tensor = asm.call("ptr", alloc, f"ptr {result.pointer('type')}", "i64 0")
                asm.go_if(asm.cmp("eq", tensor, "null", "ptr"), "error")
                asm.st("ptr", tensor, result.spot("at"))
        with asm.when(asm.cmp("eq", asm.ld("%table", TABLE["form"], "i64"), FORM_TUPLE)):
            pack = asm.call("ptr", self.api(asm, api, "PyTuple_New"), f"i64 {count}")
            asm.go_if(asm.cmp("eq", pack, "null", "ptr"), "error")
            asm.st("ptr", pack, "%block", BLOCK_HEADER)
        with outs.each() as out:
            array = self._made(asm, api, out.address)
            asm.st("ptr", array, out.spot("at"))
            asm.st("ptr", asm.ld(array, self.layout.array_data), out.spot("buf"))
        asm.ret("true")
        asm.label("error")
        asm.ret("false")
        return asm

    def sole(self) -> Fn:
        """Whether nobody but the taken reference holds the value and its memory.

        The block took the handle's reference, so a count of 1 is the block's own; the base of a
        large value is a holder of memory that belongs to this one array."""
        asm = Fn("hy_sole", "i1", "noinline", v="ptr", block_type="ptr")
        layout = self.layout
        asm.go_if(asm.cmp("ne", asm.ld("%v", layout.refcount, "i32"), 1, "i32"), "no")
        flags, base = asm.ld("%v", layout.array_flags, "i32"), asm.ld("%v", layout.array_base)
        with asm.when(asm.cmp("eq", base, "null", "ptr")):
            asm.ret(asm.cmp("eq", asm.op(f"and i32 {flags}, {IN_PLACE}"), IN_PLACE, "i32"))
        asm.label(asm.fresh())
        mine = IN_PLACE & ~OWNS_DATA
        fits = asm.cmp("eq", asm.op(f"and i32 {flags}, {mine}"), mine, "i32")
        fits = asm.both(fits, asm.cmp("eq", self.type_of(asm, base), "%block_type", "ptr"))
        alone = asm.cmp("eq", asm.ld(base, layout.refcount, "i32"), 1, "i32")
        asm.ret(asm.both(fits, alone))
        asm.label("no")
        asm.ret("false")
        return asm

    def _is_sole(self, asm: Fn, value: str, state: Record) -> str:
        return asm.call("i1", "@hy_sole", f"ptr {value}", f"ptr {state.pointer('block_type')}")

    def spare(self) -> Fn:
        """Memory that Python code allocates for a new state value: 0 none is missing, 1 one was
        made (all checks have to be made again: Python ran), 2 an exception is set."""
        asm = Fn("hy_spare", "i32", "noinline", table="ptr", block="ptr")
        api, states = asm.ld("%table"), Section(asm, "states")
        with asm.each(states.count()) as index:
            next_ = asm.fresh()
            state = states.record(index)
            out, news = Record(asm, state.pointer("out"), OUT), state.spot("news")
            asm.go_if(asm.cmp("eq", out.pointer("maker"), "null", "ptr"), next_, unlikely=False)
            asm.go_if(asm.cmp("ne", state.pointer("const"), "null", "ptr"), next_)
            asm.go_if(state.is_set("source"), next_)
            asm.go_if(asm.cmp("ne", asm.ld(news), "null", "ptr"), next_)
            with asm.when(state.is_set("in_place")):
                value = asm.ld(asm.ld(state.spot("handle")), self.slots.value)
                asm.go_if(self._is_sole(asm, value, state), next_, unlikely=False)
            asm.st("ptr", self._made(asm, api, out.address), news)
            asm.ret(1)
            asm.label(next_)
        asm.ret(0)
        asm.label("error")
        asm.ret(2)
        return asm

    def prepare(self) -> Fn:
        """Decide for each state where its new value is written.  0: an exception is set."""
        asm = Fn("hy_prepare", "i1", "noinline", table="ptr", block="ptr")
        api, states = asm.ld("%table"), Section(asm, "states")
        flags = asm.ld("%table", TABLE["flags"], "i64")
        keeps_gil = asm.cmp("eq", asm.op(f"and i64 {flags}, {RELEASE_GIL}"), 0)
        with asm.each(states.count()) as index:
            next_, fresh = asm.fresh(), asm.fresh()
            state = states.record(index)
            value = asm.ld(state.spot("input"))
            news, buf = state.spot("news"), state.spot("buf")
            owned = asm.cmp("eq", asm.ld(news), "null", "ptr")
            with asm.when(asm.both(state.is_set("in_place"), owned)):
                with asm.when(self._is_sole(asm, value, state)):
                    asm.st("ptr", asm.ld(value, self.layout.array_data), buf)
                    asm.go(next_)
                    asm.label(asm.fresh())
            self._give_back(asm, state, value, keeps_gil)
            self._other_value(asm, state, news, next_, fresh)
            asm.label(fresh)
            made = asm.call(
                "i1", "@hy_fresh_state", f"ptr {api}", f"ptr {state.address}", "ptr %block"
            )
            asm.go_if(asm.op(f"xor i1 {made}, true"), "error")
            asm.label(next_)
        asm.ret("true")
        asm.label("error")
        asm.ret("false")
        return asm

    def _give_back(self, asm: Fn, state: Record, value: str, keeps_gil: str) -> None:
        """A value that is not written in place is readable again, unless other threads run
        meanwhile: two replays must not start from one value."""
        handle = asm.ld(state.spot("handle"))
        empty = asm.cmp("eq", asm.ld(handle, self.slots.value), "null", "ptr")
        with asm.when(asm.both(keeps_gil, empty)):
            self.incref(asm, value)
            asm.st("ptr", value, handle, self.slots.value)

    def _other_value(self, asm: Fn, state: Record, news: str, done: str, fresh: str) -> None:
        """The new value is a constant or another array of the call, else go to `fresh`."""
        source, const = state.number("source"), state.pointer("const")
        with asm.when(asm.cmp("ne", const, "null", "ptr")):
            self.incref(asm, const)
            asm.st("ptr", const, news)
            asm.go(done)
            asm.label(asm.fresh())
        asm.go_if(asm.cmp("eq", source, 0), fresh, unlikely=False)
        shared = asm.ld(asm.at("%block", source))
        self.incref(asm, shared)
        asm.st("ptr", shared, news)
        asm.go(done)

    def fresh_state(self) -> Fn:
        """A new array for a state, with the old contents where kernels write only a part of it."""
        asm = Fn("hy_fresh_state", "i1", "noinline", api="ptr", r="ptr", block="ptr")
        state = Record(asm, "%r", STATE)
        news = state.spot("news")
        with asm.when(asm.cmp("eq", asm.ld(news), "null", "ptr")):
            asm.st("ptr", self._made(asm, "%api", state.pointer("out")), news)
        data = asm.ld(asm.ld(news), self.layout.array_data)
        asm.st("ptr", data, state.spot("buf"))
        with asm.when(state.is_set("partial")):
            word = state.spot("input")
            copy = asm.ld(word, 8)  # made where the value is not contiguous
            old = asm.pick(asm.cmp("ne", copy, "null", "ptr"), copy, asm.ld(word), "ptr")
            asm.call(
                "ptr",
                self.api(asm, "%api", "memcpy"),
                f"ptr {data}",
                f"ptr {asm.ld(old, self.layout.array_data)}",
                f"i64 {state.number('nbytes')}",
            )
        asm.ret("true")
        asm.label("error")
        asm.ret("false")
        return asm

    # ---- the end
    def rollback(self) -> Fn:
        """Give the taken values back to their handles."""
        asm = Fn("hy_rollback", "void", "noinline", table="ptr", block="ptr")
        states = Section(asm, "states")
        kind, busy = asm.ld("%table", TABLE["kind"]), asm.ld("%table", TABLE["busy"])
        with states.each() as state:
            word = state.spot("input")
            value = asm.ld(word)
            with asm.when(asm.cmp("ne", value, "null", "ptr")):  # taken
                handle = asm.ld(state.spot("handle"))
                with asm.when(asm.cmp("eq", asm.ld(handle, self.slots.value), "null", "ptr")):
                    asm.st("ptr", value, handle, self.slots.value)
                    asm.st("ptr", "null", word)
                    self.mark(asm, handle, busy, kind, busy)
        asm.ret()
        return asm

    def fill(self) -> Fn:
        """Put values into the new tensors."""
        asm = Fn("hy_fill", "void", "noinline", table="ptr", block="ptr")
        none, slots = self.api(asm, asm.ld("%table"), "none"), self.slots
        with Section(asm, "results").each() as result:
            with asm.when(asm.cmp("eq", result.number("handle"), 0)):
                tensor = asm.ld(result.spot("at"))
                first, second = asm.ld(result.spot("source")), asm.ld(result.spot("other"))
                array = asm.pick(asm.cmp("ne", first, "null", "ptr"), first, second, "ptr")
                const = result.pointer("const")
                array = asm.pick(asm.cmp("ne", const, "null", "ptr"), const, array, "ptr")
                aval = result.pointer("aval")
                for value, slot in ((array, slots.value), (aval, slots.aval), (none, slots.node)):
                    self.incref(asm, value)
                    asm.st("ptr", value, tensor, slot)
        asm.ret()
        return asm

    def commit(self) -> Fn:
        """Swap new values into the handles; what they held is left in the block to be dropped."""
        asm = Fn("hy_commit", "void", "noinline", table="ptr", block="ptr")
        api, states = asm.ld("%table"), Section(asm, "states")
        kind, busy = asm.ld("%table", TABLE["kind"]), asm.ld("%table", TABLE["busy"])
        with states.each() as state:
            news = state.spot("news")
            fresh = asm.cmp("ne", asm.ld(news), "null", "ptr")
            word = asm.pick(fresh, news, state.spot("input"), "ptr")
            handle = asm.ld(state.spot("handle"))
            value = asm.ld(word)
            asm.st("ptr", asm.ld(handle, self.slots.value), word)
            asm.st("ptr", value, handle, self.slots.value)
            self.mark(asm, handle, busy, kind, busy)
            aval = state.pointer("aval")
            old = asm.ld(handle, self.slots.aval)
            with asm.when(asm.cmp("ne", aval, old, "ptr"), unlikely=True):
                self.incref(asm, aval)
                asm.st("ptr", aval, handle, self.slots.aval)
                with asm.when(asm.cmp("ne", old, "null", "ptr")):
                    self.decref(asm, api, old)  # avals are interned: this never frees one
        asm.ret()
        return asm

    def deliver(self) -> Fn:
        """Move the result out of the block."""
        asm = Fn("hy_deliver", "ptr", "noinline", table="ptr", block="ptr")
        form, results = asm.ld("%table", TABLE["form"], "i64"), Section(asm, "results")
        asm.go_if(asm.cmp("eq", form, FORM_NONE), "none", unlikely=False)
        asm.go_if(asm.cmp("eq", form, FORM_TUPLE), "many", unlikely=False)
        word = Record(asm, results.start, RESULT).spot("at")
        tensor = asm.ld(word)
        asm.st("ptr", "null", word)
        asm.ret(tensor)
        asm.label("many")
        pack = asm.ld("%block", BLOCK_HEADER)
        asm.st("ptr", "null", "%block", BLOCK_HEADER)
        items = asm.at(pack, self.layout.tuple_items)
        with asm.each(results.count()) as index:
            word = results.record(index).spot("at")
            asm.st("ptr", asm.ld(word), asm.nth(items, index))
            asm.st("ptr", "null", word)
        asm.ret(pack)
        asm.label("none")
        none = self.api(asm, asm.ld("%table"), "none")
        self.incref(asm, none)
        asm.ret(none)
        return asm

    def cleanup(self) -> Fn:
        """Drop every reference the block still owns and give it back."""
        asm = Fn("hy_cleanup", "void", "noinline", table="ptr", block="ptr")
        api, words = asm.ld("%table"), asm.at("%block", BLOCK_HEADER)
        with asm.each(asm.ld("%table", TABLE["owned_n"], "i64")) as index:
            word = asm.nth(words, index)
            obj = asm.ld(word)
            with asm.when(asm.cmp("ne", obj, "null", "ptr")):
                asm.st("ptr", "null", word)  # first: dropping may run Python
                self.decref(asm, api, obj)
        asm.call(
            "void",
            self.api(asm, api, "put"),
            f"ptr {self.api(asm, api, 'ctl')}",
            f"ptr {asm.at('%table', TABLE['pool0'])}",
            "ptr %block",
        )
        asm.ret()
        return asm

    def init_block(self) -> Fn:
        """A fresh block: empty object words, base pointers of the arena and the constants."""
        asm = Fn("hy_init_block", "void", "noinline", table="ptr", block="ptr")
        words, fills = asm.at("%block", BLOCK_HEADER), asm.ld("%table", TABLE["fills"])
        with asm.each(asm.ld("%table", TABLE["owned_n"], "i64")) as index:
            asm.st("ptr", "null", asm.nth(words, index))
        with asm.each(asm.ld("%table", TABLE["fills_n"], "i64")) as index:
            row = asm.nth(fills, index, 24)  # buf, address or 0, offset in the block
            there = asm.ld(row, 8)
            base = asm.pick(asm.cmp("ne", there, "null", "ptr"), there, "%block", "ptr")
            address = asm.at(base, asm.ld(row, 16, "i64"))
            asm.st("ptr", address, asm.at("%block", asm.ld(row, 0, "i64")))
        asm.st("i64", 1, "%block", 8)
        asm.ret()
        return asm

    def run(self) -> Fn:
        """Run the plan: 0, or step << 32 | status."""
        asm = Fn("hy_run", "i64", "noinline", table="ptr", block="ptr")
        api, failed, saved = asm.ld("%table"), asm.var("i64"), asm.var("ptr")
        asm.st("ptr", "null", saved)
        flags = asm.ld("%table", TABLE["flags"], "i64")
        release = asm.cmp("ne", asm.op(f"and i64 {flags}, {RELEASE_GIL}"), 0)
        with asm.when(release):
            self.count(asm, api, "inflight", 1)
            asm.st("ptr", asm.call("ptr", self.api(asm, api, "PyEval_SaveThread")), saved)
        bufs = asm.at("%block", asm.ld("%table", TABLE["bufs_at"], "i64"))
        status = asm.call(
            "i64",
            self.api(asm, api, "plan"),
            f"ptr {self.api(asm, api, 'ctl')}",
            f"ptr {asm.ld('%table', TABLE['steps'])}",
            f"i64 {asm.ld('%table', TABLE['steps_n'], 'i64')}",
            f"ptr {bufs}",
            f"i64 {asm.ld('%table', TABLE['need'], 'i64')}",
            f"ptr {failed}",
        )
        with asm.when(release):
            asm.call("void", self.api(asm, api, "PyEval_RestoreThread"), f"ptr {asm.ld(saved)}")
            self.count(asm, api, "inflight", -1)
        with asm.when(asm.cmp("eq", status, 0)):
            asm.ret(0)
        asm.label(asm.fresh())
        small = asm.pick(asm.cmp("ult", status, CLAMP), status, CLAMP)
        small = asm.pick(asm.cmp("eq", status, OOM), CLAMP + 1, small)
        step = asm.ld(failed, 0, "i64")
        asm.ret(asm.op(f"or i64 {asm.op(f'shl i64 {step}, 32')}, {small}"))
        return asm

    def begin(self) -> Fn:
        """Everything before the kernels: 0 ready, 1 a check failed, 2 an exception is set."""
        asm = Fn("hy_begin", "i32", "noinline", table="ptr", args="ptr", block="ptr")
        both = "ptr %table", "ptr %block"
        with asm.when(asm.cmp("eq", asm.ld("%block", 8, "i64"), 0), unlikely=True):
            asm.call("void", "@hy_init_block", *both)
        checked = "ptr %table", "ptr %args", "ptr %block"
        flags = asm.ld("%table", TABLE["flags"], "i64")
        large = asm.cmp("ne", asm.op(f"and i64 {flags}, {LARGE_STATES}"), 0)

        def stage(name: str, args: tuple[str, ...], bad: str) -> None:
            asm.go_if(asm.op(f"xor i1 {asm.call('i1', '@hy_' + name, *args)}, true"), bad)

        # nothing from the last `check` to the commit runs Python in this thread
        stage("make_results", both, "error")
        asm.label("look")
        stage("check", checked, "miss")
        with asm.when(large, unlikely=True):
            made = asm.call("i32", "@hy_spare", *both)
            asm.go_if(asm.cmp("eq", made, 1, "i32"), "look")
            asm.go_if(asm.cmp("eq", made, 2, "i32"), "error")
        stage("take", both, "miss")
        stage("point", both, "error")
        stage("prepare", both, "error")
        asm.ret(0)
        asm.label("miss")
        asm.ret(1)
        asm.label("error")
        asm.ret(2)
        return asm

    def entry(self) -> Fn:
        """entry(*tensors): the result, NotImplemented (a check failed) or an int (a kernel did)."""
        asm = Fn("hy_entry", "ptr", self_="ptr", args="ptr", nargs="i64")
        table = self.table(asm, "%self_")
        api = asm.ld(table)
        fits = asm.call("i1", "@hy_precheck", f"ptr {table}", "ptr %args", "i64 %nargs")
        asm.go_if(asm.op(f"xor i1 {fits}, true"), "miss")
        block = asm.call(
            "ptr",
            self.api(asm, api, "take"),
            f"ptr {self.api(asm, api, 'ctl')}",
            f"ptr {asm.at(table, TABLE['pool0'])}",
            f"i64 {asm.ld(table, TABLE['block_bytes'], 'i64')}",
        )
        asm.go_if(asm.cmp("eq", block, "null", "ptr"), "nomem")
        both = (f"ptr {table}", f"ptr {block}")
        ready = asm.call("i32", "@hy_begin", f"ptr {table}", "ptr %args", f"ptr {block}")
        asm.go_if(asm.cmp("ne", ready, 0, "i32"), "undo")
        status = asm.call("i64", "@hy_run", *both)
        asm.go_if(asm.cmp("ne", status, 0), "failed")
        asm.call("void", "@hy_fill", *both)
        asm.call("void", "@hy_commit", *both)
        result = asm.call("ptr", "@hy_deliver", *both)
        asm.call("void", "@hy_cleanup", *both)
        asm.ret(result)
        asm.label("failed")
        self._leave(asm, both)
        asm.ret(asm.call("ptr", self.api(asm, api, "PyLong_FromLongLong"), f"i64 {status}"))
        asm.label("undo")
        self._leave(asm, both)
        asm.go_if(asm.cmp("eq", ready, 1, "i32"), "miss")
        asm.ret("null")
        asm.label("nomem")
        asm.ret(asm.call("ptr", self.api(asm, api, "PyErr_NoMemory")))
        asm.label("miss")
        missed = self.api(asm, api, "notimpl")
        self.incref(asm, missed)
        asm.ret(missed)
        return asm

    def entry_of(self) -> Fn:
        """entry_of((tensor, ...)): the same for the items of a tuple."""
        asm = Fn("hy_entry_of", "ptr", self_="ptr", args="ptr", nargs="i64")
        pack = asm.ld("%args")
        items, count = asm.at(pack, self.layout.tuple_items), asm.ld(pack, SIZE, "i64")
        asm.ret(asm.call("ptr", "@hy_entry", "ptr %self_", f"ptr {items}", f"i64 {count}"))
        return asm

    def _leave(self, asm: Fn, both: tuple[str, ...]) -> None:
        asm.call("void", "@hy_rollback", *both)
        asm.call("void", "@hy_cleanup", *both)


def entry_text(layout: Layout, slots: Slots) -> str:
    """The whole module for one object layout."""
    replay = _Replay(layout, slots)
    names = (
        "known_type",
        "precheck",
        "check",
        "met_once",
        "take",
        "point",
        "new_array",
        "make_results",
        "sole",
        "fresh_state",
        "spare",
        "prepare",
        "hold",
        "init_block",
        "begin",
        "run",
        "rollback",
        "fill",
        "commit",
        "deliver",
        "cleanup",
        "entry",
        "entry_of",
    )
    functions = [*replay.launchers(), *(getattr(replay, n)() for n in names)]
    return "".join(f.text() for f in functions) + UNLIKELY
