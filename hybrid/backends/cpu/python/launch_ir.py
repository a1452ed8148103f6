"""IR text of what native code that touches Python objects has in common, and of eager kernel
launches.

Invariant: reference counts are exact, and offsets inside objects come from the probe; addresses of
C functions and objects are read from the API block (API gives the byte offsets, entry.py fills it
in).
"""

from __future__ import annotations

from typing import NamedTuple

from ..machine.asm import Fn
from .abi import SIZE, Layout

__all__ = [
    "Writer",
    "Slots",
    "API",
    "API_BYTES",
    "PY_FUNCTIONS",
    "MAX_POINTERS",
    "KEEP_GIL",
    "LAUNCH_NAMES",
]

LAUNCH_NAMES = ("hy_call", "hy_launch")
MAX_POINTERS = 64
KEEP_GIL = 2  # step flag of a bound kernel: too short to be worth releasing the GIL

PY_FUNCTIONS = (
    "PyEval_SaveThread",
    "PyEval_RestoreThread",
    "PyLong_FromLongLong",
    "PyLong_AsLongLong",
    "PyErr_Occurred",
    "PyErr_SetString",
    "PyErr_NoMemory",
    "_Py_Dealloc",
    "PyType_GenericAlloc",
    "PyTuple_New",
    "PyObject_CallNoArgs",
)
_API = (
    "ctl",
    "plan",
    "take",
    "put",
    "memcpy",
    "ndarray",
    "new_array",
    "copy_array",
    "none",
    "notimpl",
    "list",
    "tuple",
    "int",
    "type_error",
    "text_arity",
    "text_pointer",
    "inflight",  # count of replays that gave up the GIL
    *PY_FUNCTIONS,
)
API = {name: 8 * i for i, name in enumerate(_API)}
API_BYTES = 8 * len(_API)


class Slots(NamedTuple):
    """Offsets in a tensor handle, and of the table in the object a native function is bound to."""

    v: int
    a: int
    node: int
    x: int
    table: int


class Writer:
    """Functions of a module, for one object layout."""

    def __init__(self, lay: Layout, slots: Slots) -> None:
        self.lay, self.s = lay, slots

    # ---- small pieces
    def api(self, f: Fn, api: str, name: str) -> str:
        return f.ld(api, API[name])

    def incref(self, f: Fn, obj: str) -> None:
        """+1 on the low half of the count; objects whose low half is saturated are immortal."""
        n = f.add(f.ld(obj, self.lay.refcount, "i32"), 1, "i32")
        with f.when(f.cmp("ne", n, 0, "i32")):
            f.st("i32", n, obj, self.lay.refcount)

    def decref(self, f: Fn, api: str, obj: str) -> None:
        n = f.ld(obj, self.lay.refcount, "i32")
        with f.when(f.cmp("sge", n, 0, "i32")):
            less = f.add(n, -1, "i32")
            f.st("i32", less, obj, self.lay.refcount)
            with f.when(f.cmp("eq", less, 0, "i32"), unlikely=True):
                f.call("void", self.api(f, api, "_Py_Dealloc"), f"ptr {obj}")

    def count(self, f: Fn, api: str, name: str, by: int) -> None:
        """Add to a counter of the API block (the GIL is held)."""
        f.st("i64", f.add(f.ld(api, API[name], "i64"), by), api, API[name])

    def type_of(self, f: Fn, obj: str) -> str:
        return f.ld(obj, self.lay.type)

    def table(self, f: Fn, owner: str) -> str:
        return f.ld(f.ld(owner, self.s.table), self.lay.array_data)

    # ---- eager launches
    def pointer(self) -> Fn:
        """Address of an ndarray's data, or an int as one; null and *bad set for anything else."""
        f = Fn("hy_pointer", "ptr", "noinline", api="ptr", obj="ptr", bad="ptr")
        kind = self.type_of(f, "%obj")
        with f.when(f.cmp("eq", kind, self.api(f, "%api", "ndarray"), "ptr")):
            f.ret(f.ld("%obj", self.lay.array_data))
        f.label(f.fresh())
        with f.when(f.cmp("ne", kind, self.api(f, "%api", "int"), "ptr"), unlikely=True):
            f.st("i64", 1, "%bad")
            f.ret("null")
        f.label(f.fresh())
        value = f.call("i64", self.api(f, "%api", "PyLong_AsLongLong"), "ptr %obj")
        with f.when(f.cmp("eq", value, -1), unlikely=True):
            error = f.call("ptr", self.api(f, "%api", "PyErr_Occurred"))
            with f.when(f.cmp("ne", error, "null", "ptr")):
                f.st("i64", 2, "%bad")
        f.ret(f.op(f"inttoptr i64 {value} to ptr"))
        return f

    def _fail(self, f: Fn, label: str, api: str, text: str) -> None:
        f.label(label)
        f.call(
            "void",
            self.api(f, api, "PyErr_SetString"),
            f"ptr {self.api(f, api, 'type_error')}",
            f"ptr {self.api(f, api, text)}",
        )
        f.ret("null")

    def run_one(self) -> Fn:
        """Run one step, releasing the GIL for long work; the status as a Python int."""
        f = Fn("hy_run_one", "ptr", "noinline", api="ptr", step="ptr", bufs="ptr")
        failed, saved = f.var("i64"), f.var("ptr")
        f.st("ptr", "null", saved)
        flags = f.ld("%step", 40, "i64")
        long = f.both(
            f.cmp("ugt", f.ld("%step", 16, "i64"), f.ld("%step", 24, "i64")),
            f.cmp("eq", f.op(f"and i64 {flags}, {KEEP_GIL}"), 0),
        )
        with f.when(long):
            f.st("ptr", f.call("ptr", self.api(f, "%api", "PyEval_SaveThread")), saved)
        status = f.call(
            "i64",
            self.api(f, "%api", "plan"),
            f"ptr {self.api(f, '%api', 'ctl')}",
            "ptr %step",
            "i64 1",
            "ptr %bufs",
            f"i64 {f.ld('%step', 32, 'i64')}",
            f"ptr {failed}",
        )
        with f.when(long):
            f.call("void", self.api(f, "%api", "PyEval_RestoreThread"), f"ptr {f.ld(saved)}")
        f.ret(f.call("ptr", self.api(f, "%api", "PyLong_FromLongLong"), f"i64 {status}"))
        return f

    def call(self) -> Fn:
        """Bound kernel: call(*arrays or addresses) -> status.  Table: api, pointer count, step."""
        f = Fn("hy_call", "ptr", self_="ptr", args="ptr", nargs="i64")
        bufs, bad = f.var("ptr", MAX_POINTERS), f.var("i64")
        f.st("i64", 0, bad)
        table = self.table(f, "%self_")
        api = f.ld(table)
        f.go_if(f.cmp("ne", "%nargs", f.ld(table, 8, "i64")), "arity")
        with f.each("%nargs") as i:
            got = f.call(
                "ptr", "@hy_pointer", f"ptr {api}", f"ptr {f.ld(f.nth('%args', i))}", f"ptr {bad}"
            )
            f.st("ptr", got, f.nth(bufs, i))
        f.go_if(f.cmp("ne", f.ld(bad, 0, "i64"), 0), "wrong")
        f.ret(f.call("ptr", "@hy_run_one", f"ptr {api}", f"ptr {f.at(table, 16)}", f"ptr {bufs}"))
        self._wrong(f, bad, api)
        return f

    def _wrong(self, f: Fn, bad: str, api: str) -> None:
        f.label("wrong")
        f.go_if(f.cmp("eq", f.ld(bad, 0, "i64"), 1), "mistyped")
        f.ret("null")  # PyLong_AsLongLong has set the error
        self._fail(f, "mistyped", api, "text_pointer")
        self._fail(f, "arity", api, "text_arity")

    def launch(self) -> Fn:
        """launch(code, words, items, grain, scratch, pointers) -> status; self's table: api."""
        f = Fn("hy_launch", "ptr", self_="ptr", args="ptr", nargs="i64")
        bufs, bad, step = f.var("ptr", MAX_POINTERS), f.var("i64"), f.var("ptr", 6)
        f.st("i64", 0, bad)
        api = f.ld(self.table(f, "%self_"))
        f.go_if(f.cmp("ne", "%nargs", 6), "arity")
        for k in range(5):
            got = f.call(
                "ptr", "@hy_pointer", f"ptr {api}", f"ptr {f.ld('%args', 8 * k)}", f"ptr {bad}"
            )
            f.st("ptr", got, step, 8 * k)
        f.st("i64", 0, step, 40)
        grain = f.ld(step, 24, "i64")
        f.st("i64", f.pick(f.cmp("eq", grain, 0), 1, grain), step, 24)
        seq = f.ld("%args", 40)
        is_tuple = f.cmp("eq", self.type_of(f, seq), self.api(f, api, "tuple"), "ptr")
        is_list = f.cmp("eq", self.type_of(f, seq), self.api(f, api, "list"), "ptr")
        f.go_if(f.op(f"xor i1 {f.either(is_tuple, is_list)}, true"), "mistyped")
        count = f.ld(seq, SIZE, "i64")
        f.go_if(f.cmp("ugt", count, MAX_POINTERS), "arity")
        items = f.pick(
            is_tuple, f.at(seq, self.lay.tuple_items), f.ld(seq, self.lay.list_items), "ptr"
        )
        with f.each(count) as i:
            got = f.call(
                "ptr", "@hy_pointer", f"ptr {api}", f"ptr {f.ld(f.nth(items, i))}", f"ptr {bad}"
            )
            f.st("ptr", got, f.nth(bufs, i))
        f.go_if(f.cmp("ne", f.ld(bad, 0, "i64"), 0), "wrong")
        f.ret(f.call("ptr", "@hy_run_one", f"ptr {api}", f"ptr {step}", f"ptr {bufs}"))
        self._wrong(f, bad, api)
        return f

    def launchers(self) -> list[Fn]:
        return [self.pointer(), self.run_one(), self.call(), self.launch()]
