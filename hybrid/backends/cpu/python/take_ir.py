"""IR text of the first half of a replay: checking a call and taking its values.

Invariant: a check changes nothing, and every taken value is owned by the block from the moment its
handle is marked busy (`_v` null).
"""

from __future__ import annotations

from ..machine.asm import Fn
from .abi import ALIGNED, C_CONTIGUOUS
from .entry_table import GUARDS_AT_ONCE, INPUT, RESULT, STATE, TABLE
from .launch_ir import Writer

__all__ = ["Taking"]

CONTIGUOUS_ALIGNED = C_CONTIGUOUS | ALIGNED


class Taking(Writer):
    """The functions that check a call and take its values."""

    # ---- checks
    def type_ok(self, f: Fn, table: str, obj: str, miss: str) -> None:
        """Go to `miss` unless the exact type of obj is accepted."""
        types = f.ld(table, TABLE["types"])
        kind = self.type_of(f, obj)
        with f.when(f.cmp("ne", kind, f.ld(types), "ptr")):
            known = f.call("i1", "@hy_known_type", f"ptr {table}", f"ptr {kind}")
            f.go_if(f.op(f"xor i1 {known}, true"), miss)

    def known_type(self) -> Fn:
        f = Fn("hy_known_type", "i1", "noinline", table="ptr", kind="ptr")
        types = f.ld("%table", TABLE["types"])
        with f.each(f.ld("%table", TABLE["types_n"], "i64")) as i:
            f.go_if(f.cmp("eq", f.ld(f.nth(types, i)), "%kind", "ptr"), "yes")
        f.ret("false")
        f.label("yes")
        f.ret("true")
        return f

    def precheck(self) -> Fn:
        """Arguments only, before anything is allocated: number, types, avals."""
        f = Fn("hy_precheck", "i1", "noinline", table="ptr", args="ptr", nargs="i64")
        f.go_if(f.cmp("ne", "%nargs", f.ld("%table", TABLE["nargs"], "i64")), "miss")
        inputs = f.ld("%table", TABLE["inputs"])
        with f.each("%nargs") as i:
            h = f.ld(f.nth("%args", i))
            self.type_ok(f, "%table", h, "miss")
            want = f.ld(f.nth(inputs, i, INPUT["size"]), INPUT["aval"])
            f.go_if(f.cmp("ne", f.ld(h, self.s.a), want, "ptr"), "miss")
        f.ret("true")
        f.label("miss")
        f.ret("false")
        return f

    def check(self) -> Fn:
        """Everything, without side effects; fills in the handles of this call."""
        f = Fn("hy_check", "i1", "noinline", table="ptr", args="ptr", block="ptr")
        ndarray = self.api(f, f.ld("%table"), "ndarray")
        handles = f.at("%block", f.ld("%table", TABLE["handles_at"], "i64"))
        guards, inputs = f.ld("%table", TABLE["guards"]), f.ld("%table", TABLE["inputs"])
        nargs, count = (
            f.ld("%table", TABLE["nargs"], "i64"),
            f.ld("%table", TABLE["inputs_n"], "i64"),
        )
        with f.each(f.ld("%table", TABLE["guards_n"], "i64")) as i:
            g = f.nth(guards, i, 16 * GUARDS_AT_ONCE)
            for at in range(0, 16 * GUARDS_AT_ONCE, 16):
                same = f.cmp("eq", f.ld(f.ld(g, at), 0, "i64"), f.ld(g, at + 8, "i64"))
                f.go_if(f.op(f"xor i1 {same}, true"), "miss")
        with f.each(nargs) as i:
            f.st("ptr", f.ld(f.nth("%args", i)), f.nth(handles, i))
        with f.each(count, nargs) as i:
            f.st(
                "ptr",
                f.ld(f.ld(f.nth(inputs, i, INPUT["size"]), INPUT["place"])),
                f.nth(handles, i),
            )
        with f.each(count) as i:
            r, h = f.nth(inputs, i, INPUT["size"]), f.ld(f.nth(handles, i))
            f.go_if(f.cmp("eq", h, "null", "ptr"), "miss")
            self.type_ok(f, "%table", h, "miss")
            f.go_if(f.cmp("ne", f.ld(h, self.s.a), f.ld(r, INPUT["aval"]), "ptr"), "miss")
            node = f.ld(r, INPUT["node"])
            off = f.both(
                f.cmp("ne", node, "null", "ptr"), f.cmp("ne", f.ld(h, self.s.node), node, "ptr")
            )
            f.go_if(off, "miss")
            plain = f.cmp("ne", f.ld(r, INPUT["plain"], "i64"), 0)
            f.go_if(f.both(plain, f.cmp("ne", f.ld(h, self.s.x), "null", "ptr")), "miss")
            v = f.ld(h, self.s.v)
            f.go_if(f.cmp("eq", v, "null", "ptr"), "miss")
            f.go_if(f.cmp("ne", self.type_of(f, v), ndarray, "ptr"), "miss")
        with f.each(f.ld("%table", TABLE["distinct_n"], "i64")) as i:
            h = f.ld(f.nth(handles, i))
            with f.each(count, f.add(i, 1)) as j:
                f.go_if(f.cmp("eq", h, f.ld(f.nth(handles, j)), "ptr"), "miss")
        with f.when(f.cmp("ne", f.ld("%table", TABLE["places_n"], "i64"), 0)):
            once = f.call("i1", "@hy_met_once", "ptr %table", f"ptr {handles}")
            f.go_if(f.op(f"xor i1 {once}, true"), "miss")
        f.ret("true")
        f.label("miss")
        f.ret("false")
        return f

    def met_once(self) -> Fn:
        """Whether all checked handles are different objects.  A handle that was met has no record
        until all get theirs back; no Python runs in between."""
        f = Fn("hy_met_once", "i1", "noinline", table="ptr", handles="ptr")
        inputs, count = f.ld("%table", TABLE["inputs"]), f.ld("%table", TABLE["inputs_n"], "i64")
        for result in ("true", "false"):
            if result == "true":
                with f.each(count) as i:
                    h = f.ld(f.nth("%handles", i))
                    f.go_if(f.cmp("eq", f.ld(h, self.s.a), "null", "ptr"), "again")
                    f.st("ptr", "null", h, self.s.a)
            else:
                f.label("again")
            with f.each(count) as i:
                record = f.ld(f.nth(inputs, i, INPUT["size"]), INPUT["aval"])
                f.st("ptr", record, f.ld(f.nth("%handles", i)), self.s.a)
            f.ret(result)
        return f

    # ---- taking values
    def take(self) -> Fn:
        """Take the values of this call (owned by the block), states first: a handle met twice is
        then empty.

        1 taken, 0 two places hold one handle (states are put back by the caller's rollback)."""
        f = Fn("hy_take", "i1", "noinline", table="ptr", block="ptr")
        handles = f.at("%block", f.ld("%table", TABLE["handles_at"], "i64"))
        inputs, states = f.ld("%table", TABLE["inputs"]), f.ld("%table", TABLE["states"])
        kind, busy = f.ld("%table", TABLE["kind"]), f.ld("%table", TABLE["busy"])
        with f.each(f.ld("%table", TABLE["states_n"], "i64")) as i:
            r = f.nth(states, i, STATE["size"])
            h = f.ld(f.at("%block", f.ld(r, STATE["handle"], "i64")))
            v = f.ld(h, self.s.v)
            f.go_if(f.cmp("eq", v, "null", "ptr"), "alias")
            with f.when(f.cmp("ne", f.ld(r, STATE["hold"], "i64"), 0), unlikely=True):
                self.incref(f, h)  # a place may drop it while we run
                f.st("ptr", h, f.at("%block", f.add(f.ld(r, STATE["news"], "i64"), 8)))
            f.st("ptr", "null", h, self.s.v)
            self.mark(f, h, kind, busy, busy)
            f.st("ptr", v, f.at("%block", f.ld(r, STATE["input"], "i64")))
        with f.each(f.ld("%table", TABLE["inputs_n"], "i64")) as i:
            r = f.nth(inputs, i, INPUT["size"])
            with f.when(f.cmp("eq", f.ld(r, INPUT["state"], "i64"), 0)):
                v = f.ld(f.ld(f.nth(handles, i)), self.s.v)
                f.go_if(f.cmp("eq", v, "null", "ptr"), "alias")
                self.incref(f, v)
                f.st("ptr", v, f.at("%block", f.ld(r, INPUT["word"], "i64")))
        f.call("void", "@hy_hold", "ptr %table", "ptr %block")
        f.ret("true")
        f.label("alias")
        f.ret("false")
        return f

    def mark(self, f: Fn, h: str, old: str, new: str, busy: str) -> None:
        """Change the type of a handle, where readers in other threads have to see it.

        Counts of the types are left alone: the handle is held until its type is put back."""
        with f.when(f.cmp("ne", busy, "null", "ptr"), unlikely=True):
            kind = self.type_of(f, h)
            f.st("ptr", f.pick(f.cmp("eq", kind, old, "ptr"), new, kind, "ptr"), h, self.lay.type)

    def hold(self) -> Fn:
        """Own the handles that will be returned as they are."""
        f = Fn("hy_hold", "void", "noinline", table="ptr", block="ptr")
        results = f.ld("%table", TABLE["results"])
        with f.each(f.ld("%table", TABLE["results_n"], "i64")) as i:
            r = f.nth(results, i, RESULT["size"])
            at = f.ld(r, RESULT["handle"], "i64")
            with f.when(f.cmp("ne", at, 0)):
                h = f.ld(f.at("%block", at))
                self.incref(f, h)
                f.st("ptr", h, f.at("%block", f.ld(r, RESULT["at"], "i64")))
        f.ret()
        return f

    def point(self) -> Fn:
        """Base pointers of the inputs, copied where not contiguous.  0: an exception is set."""
        f = Fn("hy_point", "i1", "noinline", table="ptr", block="ptr")
        inputs = f.ld("%table", TABLE["inputs"])
        with f.each(f.ld("%table", TABLE["inputs_n"], "i64")) as i:
            r = f.nth(inputs, i, INPUT["size"])
            word = f.at("%block", f.ld(r, INPUT["word"], "i64"))
            v = f.ld(word)
            plain = f.op(f"and i32 {f.ld(v, self.lay.array_flags, 'i32')}, {CONTIGUOUS_ALIGNED}")
            where = f.var("ptr")
            f.st("ptr", v, where)
            with f.when(f.cmp("ne", plain, CONTIGUOUS_ALIGNED, "i32"), unlikely=True):
                fresh = f.call(
                    "ptr", self.api(f, f.ld("%table"), "copy_array"), f"ptr {v}", "i32 0"
                )
                f.go_if(f.cmp("eq", fresh, "null", "ptr"), "error")
                f.st("ptr", fresh, f.at(word, 8))  # owned, next to the value
                f.st("ptr", fresh, where)
            f.st(
                "ptr",
                f.ld(f.ld(where), self.lay.array_data),
                f.at("%block", f.ld(r, INPUT["buf"], "i64")),
            )
        f.ret("true")
        f.label("error")
        f.ret("false")
        return f
