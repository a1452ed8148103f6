"""IR text of the replay entry: one generic native function, driven by a table per specialisation.

Invariant: until the kernels run nothing visible is changed except that handles with a new value are
marked busy (`_v` null), and every path out gives back each reference, handle and block it took.
"""

from __future__ import annotations

from ..machine.asm import UNLIKELY, Fn
from ..machine.control import BLOCK_HEADER, OOM
from .abi import SIZE, PythonLayout
from .entry_table import (
    CLAMP,
    COPIES_FIRST,
    FORM_NONE,
    FORM_TUPLE,
    LARGE_STATES,
    RELEASE_GIL,
    RESULT,
    TABLE,
)
from .launch_ir import LAUNCH_NAMES, Slots
from .memory_ir import Making
from .take_ir import Section, TableRecord

__all__ = ["entry_text", "NAMES"]

NAMES = ("hy_entry", "hy_entry_of", *LAUNCH_NAMES)


class _Replay(Making):
    """The functions of a replay."""

    def rollback(self) -> Fn:
        """Give the taken values back to their handles."""
        writer = Fn("hy_rollback", "void", "noinline", table="ptr", block="ptr")
        states = Section(writer, "states")
        type_word, busy = writer.ld("%table", TABLE["kind"]), writer.ld("%table", TABLE["busy"])
        with states.each() as state_record:
            place = state_record.spot("input")
            value = writer.ld(place)
            with writer.when(writer.cmp("ne", value, "null", "ptr")):  # taken
                handle = writer.ld(state_record.spot("handle"))
                with writer.when(
                    writer.cmp("eq", writer.ld(handle, self.slots.value), "null", "ptr")
                ):
                    writer.st("ptr", value, handle, self.slots.value)
                    writer.st("ptr", "null", place)
                    self.mark(writer, handle, busy, type_word, busy)
        writer.ret()
        return writer

    def fill(self) -> Fn:
        """Put values into the new tensors."""
        writer = Fn("hy_fill", "void", "noinline", table="ptr", block="ptr")
        none, slots = self.api(writer, writer.ld("%table"), "none"), self.slots
        with Section(writer, "results").each() as result:
            with writer.when(writer.cmp("eq", result.number("handle"), 0)):
                tensor = writer.ld(result.spot("at"))
                first, second = writer.ld(result.spot("source")), writer.ld(result.spot("other"))
                array = writer.pick(writer.cmp("ne", first, "null", "ptr"), first, second, "ptr")
                const = result.pointer("const")
                array = writer.pick(writer.cmp("ne", const, "null", "ptr"), const, array, "ptr")
                aval = result.pointer("aval")
                for value, slot in ((array, slots.value), (aval, slots.aval), (none, slots.node)):
                    self.incref(writer, value)
                    writer.st("ptr", value, tensor, slot)
        writer.ret()
        return writer

    def commit(self) -> Fn:
        """Swap new values into the handles; what they held is left in the block to be dropped."""
        writer = Fn("hy_commit", "void", "noinline", table="ptr", block="ptr")
        library, states = writer.ld("%table"), Section(writer, "states")
        type_word, busy = writer.ld("%table", TABLE["kind"]), writer.ld("%table", TABLE["busy"])
        with states.each() as state_record:
            news = state_record.spot("news")
            fresh = writer.cmp("ne", writer.ld(news), "null", "ptr")
            place = writer.pick(fresh, news, state_record.spot("input"), "ptr")
            handle = writer.ld(state_record.spot("handle"))
            value = writer.ld(place)
            writer.st("ptr", writer.ld(handle, self.slots.value), place)
            writer.st("ptr", value, handle, self.slots.value)
            self.mark(writer, handle, busy, type_word, busy)
            aval = state_record.pointer("aval")
            previous = writer.ld(handle, self.slots.aval)
            with writer.when(writer.cmp("ne", aval, previous, "ptr"), unlikely=True):
                self.incref(writer, aval)
                writer.st("ptr", aval, handle, self.slots.aval)
                with writer.when(writer.cmp("ne", previous, "null", "ptr")):
                    self.decref(
                        writer, library, previous
                    )  # avals are interned: this never frees one
        writer.ret()
        return writer

    def deliver(self) -> Fn:
        """Move the result out of the block."""
        writer = Fn("hy_deliver", "ptr", "noinline", table="ptr", block="ptr")
        form, results = writer.ld("%table", TABLE["form"], "i64"), Section(writer, "results")
        writer.go_if(writer.cmp("eq", form, FORM_NONE), "none", unlikely=False)
        writer.go_if(writer.cmp("eq", form, FORM_TUPLE), "many", unlikely=False)
        place = TableRecord(writer, results.start, RESULT).spot("at")
        tensor = writer.ld(place)
        writer.st("ptr", "null", place)
        writer.ret(tensor)
        writer.label("many")
        whole = writer.ld("%block", BLOCK_HEADER)
        writer.st("ptr", "null", "%block", BLOCK_HEADER)
        items = writer.at(whole, self.layout.tuple_items)
        with writer.each(results.count()) as index:
            place = results.record(index).spot("at")
            writer.st("ptr", writer.ld(place), writer.nth(items, index))
            writer.st("ptr", "null", place)
        writer.ret(whole)
        writer.label("none")
        none = self.api(writer, writer.ld("%table"), "none")
        self.incref(writer, none)
        writer.ret(none)
        return writer

    def cleanup(self) -> Fn:
        """Drop every reference the block still owns and give it back."""
        writer = Fn("hy_cleanup", "void", "noinline", table="ptr", block="ptr")
        library, words = writer.ld("%table"), writer.at("%block", BLOCK_HEADER)
        with writer.each(writer.ld("%table", TABLE["owned_n"], "i64")) as index:
            place = writer.nth(words, index)
            target = writer.ld(place)
            with writer.when(writer.cmp("ne", target, "null", "ptr")):
                writer.st("ptr", "null", place)  # first: dropping may run Python
                self.decref(writer, library, target)
        writer.call(
            "void",
            self.api(writer, library, "put"),
            f"ptr {self.api(writer, library, 'ctl')}",
            f"ptr {writer.at('%table', TABLE['pool0'])}",
            "ptr %block",
        )
        writer.ret()
        return writer

    def init_block(self) -> Fn:
        """A fresh block: empty object words, base pointers of the arena and the constants."""
        writer = Fn("hy_init_block", "void", "noinline", table="ptr", block="ptr")
        words, fills = writer.at("%block", BLOCK_HEADER), writer.ld("%table", TABLE["fills"])
        with writer.each(writer.ld("%table", TABLE["owned_n"], "i64")) as index:
            writer.st("ptr", "null", writer.nth(words, index))
        with writer.each(writer.ld("%table", TABLE["fills_n"], "i64")) as index:
            fill = writer.nth(fills, index, 24)  # buf, address or 0, offset in the block
            there = writer.ld(fill, 8)
            owner = writer.pick(writer.cmp("ne", there, "null", "ptr"), there, "%block", "ptr")
            address = writer.at(owner, writer.ld(fill, 16, "i64"))
            writer.st("ptr", address, writer.at("%block", writer.ld(fill, 0, "i64")))
        writer.st("i64", 1, "%block", 8)
        writer.ret()
        return writer

    def run(self) -> Fn:
        """Run the plan: 0, or step << 32 | status."""
        writer = Fn("hy_run", "i64", "noinline", table="ptr", block="ptr")
        library, failed, saved = writer.ld("%table"), writer.var("i64"), writer.var("ptr")
        writer.st("ptr", "null", saved)
        flags = writer.ld("%table", TABLE["flags"], "i64")
        release = writer.cmp("ne", writer.op(f"and i64 {flags}, {RELEASE_GIL}"), 0)
        with writer.when(release):
            self.count(writer, library, "inflight", 1)
            writer.st(
                "ptr", writer.call("ptr", self.api(writer, library, "PyEval_SaveThread")), saved
            )
        buffers = writer.at("%block", writer.ld("%table", TABLE["bufs_at"], "i64"))
        status = writer.call(
            "i64",
            self.api(writer, library, "plan"),
            f"ptr {self.api(writer, library, 'ctl')}",
            f"ptr {writer.ld('%table', TABLE['steps'])}",
            f"i64 {writer.ld('%table', TABLE['steps_n'], 'i64')}",
            f"ptr {buffers}",
            f"i64 {writer.ld('%table', TABLE['need'], 'i64')}",
            f"ptr {failed}",
        )
        with writer.when(release):
            writer.call(
                "void", self.api(writer, library, "PyEval_RestoreThread"), f"ptr {writer.ld(saved)}"
            )
            self.count(writer, library, "inflight", -1)
        with writer.when(writer.cmp("eq", status, 0)):
            writer.ret(0)
        writer.label(writer.fresh())
        small = writer.pick(writer.cmp("ult", status, CLAMP), status, CLAMP)
        small = writer.pick(writer.cmp("eq", status, OOM), CLAMP + 1, small)
        step = writer.ld(failed, 0, "i64")
        writer.ret(writer.op(f"or i64 {writer.op(f'shl i64 {step}, 32')}, {small}"))
        return writer

    def begin(self) -> Fn:
        """Everything before the kernels: 0 ready, 1 a check failed, 2 an exception is set."""
        writer = Fn("hy_begin", "i32", "noinline", table="ptr", args="ptr", block="ptr")
        context = "ptr %table", "ptr %block"
        with writer.when(writer.cmp("eq", writer.ld("%block", 8, "i64"), 0), unlikely=True):
            writer.call("void", "@hy_init_block", *context)
        checked = "ptr %table", "ptr %args", "ptr %block"
        flags = writer.ld("%table", TABLE["flags"], "i64")

        def stage(name: str, args: tuple[str, ...], problem: str) -> None:
            writer.go_if(
                writer.op(f"xor i1 {writer.call('i1', '@hy_' + name, *args)}, true"), problem
            )

        # nothing from the last `check` to the commit runs Python in this thread
        stage("make_results", context, "error")
        writer.label("look")
        stage("check", checked, "miss")
        for flag, function in ((LARGE_STATES, "@hy_spare"), (COPIES_FIRST, "@hy_copies")):
            wanted = writer.cmp("ne", writer.op(f"and i64 {flags}, {flag}"), 0)
            with writer.when(wanted, unlikely=True):
                made = writer.call("i32", function, *context)
                writer.go_if(writer.cmp("eq", made, 1, "i32"), "look")
                writer.go_if(writer.cmp("eq", made, 2, "i32"), "error")
        stage("take", context, "miss")
        stage("point", context, "error")
        stage("prepare", context, "error")
        writer.ret(0)
        writer.label("miss")
        writer.ret(1)
        writer.label("error")
        writer.ret(2)
        return writer

    def entry(self) -> Fn:
        """entry(*tensors): the result, NotImplemented (a check failed) or an int (a kernel did)."""
        writer = Fn("hy_entry", "ptr", self_="ptr", args="ptr", nargs="i64")
        table = self.table(writer, "%self_")
        library = writer.ld(table)
        suitable = writer.call("i1", "@hy_precheck", f"ptr {table}", "ptr %args", "i64 %nargs")
        writer.go_if(writer.op(f"xor i1 {suitable}, true"), "miss")
        block = writer.call(
            "ptr",
            self.api(writer, library, "take"),
            f"ptr {self.api(writer, library, 'ctl')}",
            f"ptr {writer.at(table, TABLE['pool0'])}",
            f"i64 {writer.ld(table, TABLE['block_bytes'], 'i64')}",
        )
        writer.go_if(writer.cmp("eq", block, "null", "ptr"), "nomem")
        context = (f"ptr {table}", f"ptr {block}")
        ready = writer.call("i32", "@hy_begin", f"ptr {table}", "ptr %args", f"ptr {block}")
        writer.go_if(writer.cmp("ne", ready, 0, "i32"), "undo")
        status = writer.call("i64", "@hy_run", *context)
        writer.go_if(writer.cmp("ne", status, 0), "failed")
        writer.call("void", "@hy_fill", *context)
        writer.call("void", "@hy_commit", *context)
        result = writer.call("ptr", "@hy_deliver", *context)
        writer.call("void", "@hy_cleanup", *context)
        writer.ret(result)
        writer.label("failed")
        self._leave(writer, context)
        to_int = self.api(writer, library, "PyLong_FromLongLong")
        writer.ret(writer.call("ptr", to_int, f"i64 {status}"))
        writer.label("undo")
        self._leave(writer, context)
        writer.go_if(writer.cmp("eq", ready, 1, "i32"), "miss")
        writer.ret("null")
        writer.label("nomem")
        writer.ret(writer.call("ptr", self.api(writer, library, "PyErr_NoMemory")))
        writer.label("miss")
        missed = self.api(writer, library, "notimpl")
        self.incref(writer, missed)
        writer.ret(missed)
        return writer

    def entry_of(self) -> Fn:
        """entry_of((tensor, ...)): the same for the items of a tuple."""
        writer = Fn("hy_entry_of", "ptr", self_="ptr", args="ptr", nargs="i64")
        whole = writer.ld("%args")
        items, count = writer.at(whole, self.layout.tuple_items), writer.ld(whole, SIZE, "i64")
        writer.ret(writer.call("ptr", "@hy_entry", "ptr %self_", f"ptr {items}", f"i64 {count}"))
        return writer

    def _leave(self, writer: Fn, context: tuple[str, ...]) -> None:
        writer.call("void", "@hy_rollback", *context)
        writer.call("void", "@hy_cleanup", *context)


def entry_text(layout: PythonLayout, slots: Slots) -> str:
    """The whole module for one object layout."""
    replay = _Replay(layout, slots)
    names = (
        "known_type",
        "precheck",
        "check",
        "met_once",
        "copies",
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
