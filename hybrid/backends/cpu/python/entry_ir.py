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
        f = Fn("hy_new_array", "ptr", "noinline", api="ptr", out="ptr")
        maker = f.ld("%out", OUT["maker"])
        with f.when(f.cmp("ne", maker, "null", "ptr"), unlikely=True):
            f.ret(f.call("ptr", self.api(f, "%api", "PyObject_CallNoArgs"), f"ptr {maker}"))
        f.label(f.fresh())
        descr = f.ld("%out", OUT["descr"])
        self.incref(f, descr)  # the call steals it
        ndim = f.op(f"trunc i64 {f.ld('%out', OUT['ndim'], 'i64')} to i32")
        f.ret(
            f.call(
                "ptr",
                self.api(f, "%api", "new_array"),
                f"ptr {self.api(f, '%api', 'ndarray')}",
                f"ptr {descr}",
                f"i32 {ndim}",
                f"ptr {f.ld('%out', OUT['dims'])}",
                "ptr null",
                "ptr null",
                "i32 0",
                "ptr null",
            )
        )
        return f

    def make_results(self) -> Fn:
        """Allocate what the call returns; no other allocation can run the garbage collector."""
        f = Fn("hy_make_results", "i1", "noinline", table="ptr", block="ptr")
        api = f.ld("%table")
        results, outs = f.ld("%table", TABLE["results"]), f.ld("%table", TABLE["outs"])
        count = f.ld("%table", TABLE["results_n"], "i64")
        with f.each(count) as i:
            r = f.nth(results, i, RESULT["size"])
            with f.when(f.cmp("eq", f.ld(r, RESULT["handle"], "i64"), 0)):
                t = f.call(
                    "ptr",
                    self.api(f, api, "PyType_GenericAlloc"),
                    f"ptr {f.ld(r, RESULT['type'])}",
                    "i64 0",
                )
                f.go_if(f.cmp("eq", t, "null", "ptr"), "error")
                f.st("ptr", t, f.at("%block", f.ld(r, RESULT["at"], "i64")))
        with f.when(f.cmp("eq", f.ld("%table", TABLE["form"], "i64"), FORM_TUPLE)):
            t = f.call("ptr", self.api(f, api, "PyTuple_New"), f"i64 {count}")
            f.go_if(f.cmp("eq", t, "null", "ptr"), "error")
            f.st("ptr", t, "%block", BLOCK_HEADER)
        with f.each(f.ld("%table", TABLE["outs_n"], "i64")) as i:
            o = f.nth(outs, i, OUT["size"])
            a = f.call("ptr", "@hy_new_array", f"ptr {api}", f"ptr {o}")
            f.go_if(f.cmp("eq", a, "null", "ptr"), "error")
            f.st("ptr", a, f.at("%block", f.ld(o, OUT["at"], "i64")))
            f.st("ptr", f.ld(a, self.lay.array_data), f.at("%block", f.ld(o, OUT["buf"], "i64")))
        f.ret("true")
        f.label("error")
        f.ret("false")
        return f

    def sole(self) -> Fn:
        """Whether nobody but the taken reference holds the value and its memory."""
        f = Fn("hy_sole", "i1", "noinline", v="ptr", block_type="ptr")
        lay = self.lay
        f.go_if(f.cmp("ne", f.ld("%v", lay.refcount, "i32"), 1, "i32"), "no")
        flags, base = f.ld("%v", lay.array_flags, "i32"), f.ld("%v", lay.array_base)
        with f.when(f.cmp("eq", base, "null", "ptr")):
            f.ret(f.cmp("eq", f.op(f"and i32 {flags}, {IN_PLACE}"), IN_PLACE, "i32"))
        f.label(f.fresh())
        mine = IN_PLACE & ~OWNS_DATA
        ok = f.cmp("eq", f.op(f"and i32 {flags}, {mine}"), mine, "i32")
        ok = f.both(ok, f.cmp("eq", self.type_of(f, base), "%block_type", "ptr"))
        f.ret(f.both(ok, f.cmp("eq", f.ld(base, lay.refcount, "i32"), 1, "i32")))
        f.label("no")
        f.ret("false")
        return f

    def spare(self) -> Fn:
        """Memory that Python code allocates for a new state value: 0 none is missing, 1 one was
        made (all checks have to be made again: Python ran), 2 an exception is set."""
        f = Fn("hy_spare", "i32", "noinline", table="ptr", block="ptr")
        api, states = f.ld("%table"), f.ld("%table", TABLE["states"])
        with f.each(f.ld("%table", TABLE["states_n"], "i64")) as i:
            next_ = f.fresh()
            r = f.nth(states, i, STATE["size"])
            out = f.ld(r, STATE["out"])
            news = f.at("%block", f.ld(r, STATE["news"], "i64"))
            f.go_if(f.cmp("eq", f.ld(out, OUT["maker"]), "null", "ptr"), next_, unlikely=False)
            f.go_if(f.cmp("ne", f.ld(r, STATE["const"]), "null", "ptr"), next_)
            f.go_if(f.cmp("ne", f.ld(r, STATE["source"], "i64"), 0), next_)
            f.go_if(f.cmp("ne", f.ld(news), "null", "ptr"), next_)
            with f.when(f.cmp("ne", f.ld(r, STATE["in_place"], "i64"), 0)):
                v = f.ld(f.ld(f.at("%block", f.ld(r, STATE["handle"], "i64"))), self.s.v)
                sole = f.call("i1", "@hy_sole", f"ptr {v}", f"ptr {f.ld(r, STATE['block_type'])}")
                f.go_if(sole, next_, unlikely=False)
            a = f.call("ptr", "@hy_new_array", f"ptr {api}", f"ptr {out}")
            f.go_if(f.cmp("eq", a, "null", "ptr"), "error")
            f.st("ptr", a, news)
            f.ret(1)
            f.label(next_)
        f.ret(0)
        f.label("error")
        f.ret(2)
        return f

    def prepare(self) -> Fn:
        """Decide for each state where its new value is written.  0: an exception is set."""
        f = Fn("hy_prepare", "i1", "noinline", table="ptr", block="ptr")
        api, states = f.ld("%table"), f.ld("%table", TABLE["states"])
        flags = f.ld("%table", TABLE["flags"], "i64")
        keeps_gil = f.cmp("eq", f.op(f"and i64 {flags}, {RELEASE_GIL}"), 0)
        with f.each(f.ld("%table", TABLE["states_n"], "i64")) as i:
            next_, fresh = f.fresh(), f.fresh()
            r = f.nth(states, i, STATE["size"])
            v = f.ld(f.at("%block", f.ld(r, STATE["input"], "i64")))
            news = f.at("%block", f.ld(r, STATE["news"], "i64"))
            buf = f.at("%block", f.ld(r, STATE["buf"], "i64"))
            owned = f.cmp("eq", f.ld(news), "null", "ptr")
            with f.when(f.both(f.cmp("ne", f.ld(r, STATE["in_place"], "i64"), 0), owned)):
                sole = f.call("i1", "@hy_sole", f"ptr {v}", f"ptr {f.ld(r, STATE['block_type'])}")
                with f.when(sole):
                    f.st("ptr", f.ld(v, self.lay.array_data), buf)
                    f.go(next_)
                    f.label(f.fresh())
            # readable again, unless other threads run meanwhile: two replays must not start from
            # one value
            h = f.ld(f.at("%block", f.ld(r, STATE["handle"], "i64")))
            with f.when(f.both(keeps_gil, f.cmp("eq", f.ld(h, self.s.v), "null", "ptr"))):
                self.incref(f, v)
                f.st("ptr", v, h, self.s.v)
            source, const = f.ld(r, STATE["source"], "i64"), f.ld(r, STATE["const"])
            with f.when(f.cmp("ne", const, "null", "ptr")):
                self.incref(f, const)
                f.st("ptr", const, news)
                f.go(next_)
                f.label(f.fresh())
            f.go_if(f.cmp("eq", source, 0), fresh, unlikely=False)
            shared = f.ld(f.at("%block", source))
            self.incref(f, shared)
            f.st("ptr", shared, news)
            f.go(next_)
            f.label(fresh)
            ok = f.call("i1", "@hy_fresh_state", f"ptr {api}", f"ptr {r}", "ptr %block")
            f.go_if(f.op(f"xor i1 {ok}, true"), "error")
            f.label(next_)
        f.ret("true")
        f.label("error")
        f.ret("false")
        return f

    def fresh_state(self) -> Fn:
        """A new array for a state, with the old contents where kernels write only a part of it."""
        f = Fn("hy_fresh_state", "i1", "noinline", api="ptr", r="ptr", block="ptr")
        news = f.at("%block", f.ld("%r", STATE["news"], "i64"))
        with f.when(f.cmp("eq", f.ld(news), "null", "ptr")):
            made = f.call("ptr", "@hy_new_array", "ptr %api", f"ptr {f.ld('%r', STATE['out'])}")
            f.go_if(f.cmp("eq", made, "null", "ptr"), "error")
            f.st("ptr", made, news)
        a = f.ld(news)
        data = f.ld(a, self.lay.array_data)
        f.st("ptr", data, f.at("%block", f.ld("%r", STATE["buf"], "i64")))
        with f.when(f.cmp("ne", f.ld("%r", STATE["partial"], "i64"), 0)):
            word = f.at("%block", f.ld("%r", STATE["input"], "i64"))
            copy = f.ld(word, 8)  # made where the value is not contiguous
            old = f.pick(f.cmp("ne", copy, "null", "ptr"), copy, f.ld(word), "ptr")
            f.call(
                "ptr",
                self.api(f, "%api", "memcpy"),
                f"ptr {data}",
                f"ptr {f.ld(old, self.lay.array_data)}",
                f"i64 {f.ld('%r', STATE['nbytes'], 'i64')}",
            )
        f.ret("true")
        f.label("error")
        f.ret("false")
        return f

    # ---- the end
    def rollback(self) -> Fn:
        """Give the taken values back to their handles."""
        f = Fn("hy_rollback", "void", "noinline", table="ptr", block="ptr")
        states = f.ld("%table", TABLE["states"])
        kind, busy = f.ld("%table", TABLE["kind"]), f.ld("%table", TABLE["busy"])
        with f.each(f.ld("%table", TABLE["states_n"], "i64")) as i:
            r = f.nth(states, i, STATE["size"])
            word = f.at("%block", f.ld(r, STATE["input"], "i64"))
            v = f.ld(word)
            with f.when(f.cmp("ne", v, "null", "ptr")):  # taken
                h = f.ld(f.at("%block", f.ld(r, STATE["handle"], "i64")))
                with f.when(f.cmp("eq", f.ld(h, self.s.v), "null", "ptr")):
                    f.st("ptr", v, h, self.s.v)
                    f.st("ptr", "null", word)
                    self.mark(f, h, busy, kind, busy)
        f.ret()
        return f

    def fill(self) -> Fn:
        """Put values into the new tensors."""
        f = Fn("hy_fill", "void", "noinline", table="ptr", block="ptr")
        none = self.api(f, f.ld("%table"), "none")
        results = f.ld("%table", TABLE["results"])
        with f.each(f.ld("%table", TABLE["results_n"], "i64")) as i:
            r = f.nth(results, i, RESULT["size"])
            with f.when(f.cmp("eq", f.ld(r, RESULT["handle"], "i64"), 0)):
                t = f.ld(f.at("%block", f.ld(r, RESULT["at"], "i64")))
                first = f.ld(f.at("%block", f.ld(r, RESULT["source"], "i64")))
                second = f.ld(f.at("%block", f.ld(r, RESULT["other"], "i64")))
                v = f.pick(f.cmp("ne", first, "null", "ptr"), first, second, "ptr")
                const = f.ld(r, RESULT["const"])
                v = f.pick(f.cmp("ne", const, "null", "ptr"), const, v, "ptr")
                for value, offset in (
                    (v, self.s.v),
                    (f.ld(r, RESULT["aval"]), self.s.a),
                    (none, self.s.node),
                ):
                    self.incref(f, value)
                    f.st("ptr", value, t, offset)
        f.ret()
        return f

    def commit(self) -> Fn:
        """Swap new values into the handles; what they held is left in the block to be dropped."""
        f = Fn("hy_commit", "void", "noinline", table="ptr", block="ptr")
        api, states = f.ld("%table"), f.ld("%table", TABLE["states"])
        kind, busy = f.ld("%table", TABLE["kind"]), f.ld("%table", TABLE["busy"])
        with f.each(f.ld("%table", TABLE["states_n"], "i64")) as i:
            r = f.nth(states, i, STATE["size"])
            news = f.at("%block", f.ld(r, STATE["news"], "i64"))
            fresh = f.cmp("ne", f.ld(news), "null", "ptr")
            word = f.pick(fresh, news, f.at("%block", f.ld(r, STATE["input"], "i64")), "ptr")
            h, v = f.ld(f.at("%block", f.ld(r, STATE["handle"], "i64"))), f.ld(word)
            f.st("ptr", f.ld(h, self.s.v), word)
            f.st("ptr", v, h, self.s.v)
            self.mark(f, h, busy, kind, busy)
            a, old = f.ld(r, STATE["aval"]), f.ld(h, self.s.a)
            with f.when(f.cmp("ne", a, old, "ptr"), unlikely=True):
                self.incref(f, a)
                f.st("ptr", a, h, self.s.a)
                with f.when(f.cmp("ne", old, "null", "ptr")):
                    self.decref(f, api, old)  # avals are interned: this never frees one
        f.ret()
        return f

    def deliver(self) -> Fn:
        """Move the result out of the block."""
        f = Fn("hy_deliver", "ptr", "noinline", table="ptr", block="ptr")
        form, results = f.ld("%table", TABLE["form"], "i64"), f.ld("%table", TABLE["results"])
        f.go_if(f.cmp("eq", form, FORM_NONE), "none", unlikely=False)
        f.go_if(f.cmp("eq", form, FORM_TUPLE), "many", unlikely=False)
        word = f.at("%block", f.ld(results, RESULT["at"], "i64"))
        t = f.ld(word)
        f.st("ptr", "null", word)
        f.ret(t)
        f.label("many")
        t = f.ld("%block", BLOCK_HEADER)
        f.st("ptr", "null", "%block", BLOCK_HEADER)
        items = f.at(t, self.lay.tuple_items)
        with f.each(f.ld("%table", TABLE["results_n"], "i64")) as i:
            word = f.at("%block", f.ld(f.nth(results, i, RESULT["size"]), RESULT["at"], "i64"))
            f.st("ptr", f.ld(word), f.nth(items, i))
            f.st("ptr", "null", word)
        f.ret(t)
        f.label("none")
        none = self.api(f, f.ld("%table"), "none")
        self.incref(f, none)
        f.ret(none)
        return f

    def cleanup(self) -> Fn:
        """Drop every reference the block still owns and give it back."""
        f = Fn("hy_cleanup", "void", "noinline", table="ptr", block="ptr")
        api, words = f.ld("%table"), f.at("%block", BLOCK_HEADER)
        with f.each(f.ld("%table", TABLE["owned_n"], "i64")) as i:
            word = f.nth(words, i)
            obj = f.ld(word)
            with f.when(f.cmp("ne", obj, "null", "ptr")):
                f.st("ptr", "null", word)  # first: dropping may run Python
                self.decref(f, api, obj)
        f.call(
            "void",
            self.api(f, api, "put"),
            f"ptr {self.api(f, api, 'ctl')}",
            f"ptr {f.at('%table', TABLE['pool0'])}",
            "ptr %block",
        )
        f.ret()
        return f

    def init_block(self) -> Fn:
        """A fresh block: empty object words, base pointers of the arena and the constants."""
        f = Fn("hy_init_block", "void", "noinline", table="ptr", block="ptr")
        words, fills = f.at("%block", BLOCK_HEADER), f.ld("%table", TABLE["fills"])
        with f.each(f.ld("%table", TABLE["owned_n"], "i64")) as i:
            f.st("ptr", "null", f.nth(words, i))
        with f.each(f.ld("%table", TABLE["fills_n"], "i64")) as i:
            r = f.nth(fills, i, 24)  # buf, address or 0, offset in the block
            there = f.ld(r, 8)
            base = f.pick(f.cmp("ne", there, "null", "ptr"), there, "%block", "ptr")
            f.st("ptr", f.at(base, f.ld(r, 16, "i64")), f.at("%block", f.ld(r, 0, "i64")))
        f.st("i64", 1, "%block", 8)
        f.ret()
        return f

    def run(self) -> Fn:
        """Run the plan: 0, or step << 32 | status."""
        f = Fn("hy_run", "i64", "noinline", table="ptr", block="ptr")
        api, failed, saved = f.ld("%table"), f.var("i64"), f.var("ptr")
        f.st("ptr", "null", saved)
        flags = f.ld("%table", TABLE["flags"], "i64")
        release = f.cmp("ne", f.op(f"and i64 {flags}, {RELEASE_GIL}"), 0)
        with f.when(release):
            self.count(f, api, "inflight", 1)
            f.st("ptr", f.call("ptr", self.api(f, api, "PyEval_SaveThread")), saved)
        bufs = f.at("%block", f.ld("%table", TABLE["bufs_at"], "i64"))
        status = f.call(
            "i64",
            self.api(f, api, "plan"),
            f"ptr {self.api(f, api, 'ctl')}",
            f"ptr {f.ld('%table', TABLE['steps'])}",
            f"i64 {f.ld('%table', TABLE['steps_n'], 'i64')}",
            f"ptr {bufs}",
            f"i64 {f.ld('%table', TABLE['need'], 'i64')}",
            f"ptr {failed}",
        )
        with f.when(release):
            f.call("void", self.api(f, api, "PyEval_RestoreThread"), f"ptr {f.ld(saved)}")
            self.count(f, api, "inflight", -1)
        with f.when(f.cmp("eq", status, 0)):
            f.ret(0)
        f.label(f.fresh())
        small = f.pick(f.cmp("ult", status, CLAMP), status, CLAMP)
        small = f.pick(f.cmp("eq", status, OOM), CLAMP + 1, small)
        step = f.ld(failed, 0, "i64")
        f.ret(f.op(f"or i64 {f.op(f'shl i64 {step}, 32')}, {small}"))
        return f

    def begin(self) -> Fn:
        """Everything before the kernels: 0 ready, 1 a check failed, 2 an exception is set."""
        f = Fn("hy_begin", "i32", "noinline", table="ptr", args="ptr", block="ptr")
        both = "ptr %table", "ptr %block"
        with f.when(f.cmp("eq", f.ld("%block", 8, "i64"), 0), unlikely=True):
            f.call("void", "@hy_init_block", *both)
        checked = "ptr %table", "ptr %args", "ptr %block"
        flags = f.ld("%table", TABLE["flags"], "i64")
        large = f.cmp("ne", f.op(f"and i64 {flags}, {LARGE_STATES}"), 0)

        def stage(name: str, args: tuple[str, ...], bad: str) -> None:
            f.go_if(f.op(f"xor i1 {f.call('i1', '@hy_' + name, *args)}, true"), bad)

        # nothing from the last `check` to the commit runs Python in this thread
        stage("make_results", both, "error")
        f.label("look")
        stage("check", checked, "miss")
        with f.when(large, unlikely=True):
            made = f.call("i32", "@hy_spare", *both)
            f.go_if(f.cmp("eq", made, 1, "i32"), "look")
            f.go_if(f.cmp("eq", made, 2, "i32"), "error")
        stage("take", both, "miss")
        stage("point", both, "error")
        stage("prepare", both, "error")
        f.ret(0)
        f.label("miss")
        f.ret(1)
        f.label("error")
        f.ret(2)
        return f

    def entry(self) -> Fn:
        """entry(*tensors): the result, NotImplemented (a check failed) or an int (a kernel did)."""
        f = Fn("hy_entry", "ptr", self_="ptr", args="ptr", nargs="i64")
        table = self.table(f, "%self_")
        api = f.ld(table)
        fits = f.call("i1", "@hy_precheck", f"ptr {table}", "ptr %args", "i64 %nargs")
        f.go_if(f.op(f"xor i1 {fits}, true"), "miss")
        block = f.call(
            "ptr",
            self.api(f, api, "take"),
            f"ptr {self.api(f, api, 'ctl')}",
            f"ptr {f.at(table, TABLE['pool0'])}",
            f"i64 {f.ld(table, TABLE['block_bytes'], 'i64')}",
        )
        f.go_if(f.cmp("eq", block, "null", "ptr"), "nomem")
        both = (f"ptr {table}", f"ptr {block}")
        ready = f.call("i32", "@hy_begin", f"ptr {table}", "ptr %args", f"ptr {block}")
        f.go_if(f.cmp("ne", ready, 0, "i32"), "undo")
        status = f.call("i64", "@hy_run", *both)
        f.go_if(f.cmp("ne", status, 0), "failed")
        f.call("void", "@hy_fill", *both)
        f.call("void", "@hy_commit", *both)
        result = f.call("ptr", "@hy_deliver", *both)
        f.call("void", "@hy_cleanup", *both)
        f.ret(result)
        f.label("failed")
        self._leave(f, both)
        f.ret(f.call("ptr", self.api(f, api, "PyLong_FromLongLong"), f"i64 {status}"))
        f.label("undo")
        self._leave(f, both)
        f.go_if(f.cmp("eq", ready, 1, "i32"), "miss")
        f.ret("null")
        f.label("nomem")
        f.ret(f.call("ptr", self.api(f, api, "PyErr_NoMemory")))
        f.label("miss")
        missed = self.api(f, api, "notimpl")
        self.incref(f, missed)
        f.ret(missed)
        return f

    def entry_of(self) -> Fn:
        """entry_of((tensor, ...)): the same for the items of a tuple."""
        f = Fn("hy_entry_of", "ptr", self_="ptr", args="ptr", nargs="i64")
        t = f.ld("%args")
        items, count = f.at(t, self.lay.tuple_items), f.ld(t, SIZE, "i64")
        f.ret(f.call("ptr", "@hy_entry", "ptr %self_", f"ptr {items}", f"i64 {count}"))
        return f

    def _leave(self, f: Fn, both: tuple[str, ...]) -> None:
        f.call("void", "@hy_rollback", *both)
        f.call("void", "@hy_cleanup", *both)


def entry_text(layout: Layout, slots: Slots) -> str:
    """The whole module for one object layout."""
    w = _Replay(layout, slots)
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
    parts = [*w.launchers(), *(getattr(w, n)() for n in names)]
    return "".join(p.text() for p in parts) + UNLIKELY
