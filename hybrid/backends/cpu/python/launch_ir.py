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

    value: int
    aval: int
    node: int
    extra: int
    table: int


class Writer:
    """Functions of a module, for one object layout."""

    def __init__(self, layout: Layout, slots: Slots) -> None:
        self.layout, self.slots = layout, slots

    # ---- small pieces
    def api(self, asm: Fn, api: str, name: str) -> str:
        return asm.ld(api, API[name])

    def incref(self, asm: Fn, obj: str) -> None:
        """+1 on the low half of the count; objects whose low half is saturated are immortal."""
        count = asm.add(asm.ld(obj, self.layout.refcount, "i32"), 1, "i32")
        with asm.when(asm.cmp("ne", count, 0, "i32")):
            asm.st("i32", count, obj, self.layout.refcount)

    def decref(self, asm: Fn, api: str, obj: str) -> None:
        """-1, unless the low half is negative: then the object is immortal (Python 3.12 on)."""
        count = asm.ld(obj, self.layout.refcount, "i32")
        with asm.when(asm.cmp("sge", count, 0, "i32")):
            less = asm.add(count, -1, "i32")
            asm.st("i32", less, obj, self.layout.refcount)
            with asm.when(asm.cmp("eq", less, 0, "i32"), unlikely=True):
                asm.call("void", self.api(asm, api, "_Py_Dealloc"), f"ptr {obj}")

    def count(self, asm: Fn, api: str, name: str, step: int) -> None:
        """Add to a counter of the API block (the GIL is held)."""
        asm.st("i64", asm.add(asm.ld(api, API[name], "i64"), step), api, API[name])

    def type_of(self, asm: Fn, obj: str) -> str:
        return asm.ld(obj, self.layout.type)

    def table(self, asm: Fn, owner: str) -> str:
        return asm.ld(asm.ld(owner, self.slots.table), self.layout.array_data)

    # ---- eager launches
    def pointer(self) -> Fn:
        """Address of an ndarray's data, or an int as one; null and *bad set for anything else."""
        asm = Fn("hy_pointer", "ptr", "noinline", api="ptr", obj="ptr", bad="ptr")
        kind = self.type_of(asm, "%obj")
        with asm.when(asm.cmp("eq", kind, self.api(asm, "%api", "ndarray"), "ptr")):
            asm.ret(asm.ld("%obj", self.layout.array_data))
        asm.label(asm.fresh())
        with asm.when(asm.cmp("ne", kind, self.api(asm, "%api", "int"), "ptr"), unlikely=True):
            asm.st("i64", 1, "%bad")
            asm.ret("null")
        asm.label(asm.fresh())
        value = asm.call("i64", self.api(asm, "%api", "PyLong_AsLongLong"), "ptr %obj")
        with asm.when(asm.cmp("eq", value, -1), unlikely=True):
            error = asm.call("ptr", self.api(asm, "%api", "PyErr_Occurred"))
            with asm.when(asm.cmp("ne", error, "null", "ptr")):
                asm.st("i64", 2, "%bad")
        asm.ret(asm.op(f"inttoptr i64 {value} to ptr"))
        return asm

    def _pointer_of(self, asm: Fn, api: str, obj: str, bad: str) -> str:
        return asm.call("ptr", "@hy_pointer", f"ptr {api}", f"ptr {obj}", f"ptr {bad}")

    def _fail(self, asm: Fn, label: str, api: str, text: str) -> None:
        asm.label(label)
        asm.call(
            "void",
            self.api(asm, api, "PyErr_SetString"),
            f"ptr {self.api(asm, api, 'type_error')}",
            f"ptr {self.api(asm, api, text)}",
        )
        asm.ret("null")

    def run_one(self) -> Fn:
        """Run one step, releasing the GIL for long work; the status as a Python int.

        Giving the GIL up and getting it back costs more than a short kernel takes, and work of one
        chunk is short."""
        asm = Fn("hy_run_one", "ptr", "noinline", api="ptr", step="ptr", bufs="ptr")
        failed, saved = asm.var("i64"), asm.var("ptr")
        asm.st("ptr", "null", saved)
        flags = asm.ld("%step", 40, "i64")
        long = asm.both(
            asm.cmp("ugt", asm.ld("%step", 16, "i64"), asm.ld("%step", 24, "i64")),
            asm.cmp("eq", asm.op(f"and i64 {flags}, {KEEP_GIL}"), 0),
        )
        with asm.when(long):
            asm.st("ptr", asm.call("ptr", self.api(asm, "%api", "PyEval_SaveThread")), saved)
        status = asm.call(
            "i64",
            self.api(asm, "%api", "plan"),
            f"ptr {self.api(asm, '%api', 'ctl')}",
            "ptr %step",
            "i64 1",
            "ptr %bufs",
            f"i64 {asm.ld('%step', 32, 'i64')}",
            f"ptr {failed}",
        )
        with asm.when(long):
            restore = self.api(asm, "%api", "PyEval_RestoreThread")
            asm.call("void", restore, f"ptr {asm.ld(saved)}")
        make = self.api(asm, "%api", "PyLong_FromLongLong")
        asm.ret(asm.call("ptr", make, f"i64 {status}"))
        return asm

    def call(self) -> Fn:
        """Bound kernel: call(*arrays or addresses) -> status.  Table: api, pointer count, step."""
        asm = Fn("hy_call", "ptr", self_="ptr", args="ptr", nargs="i64")
        bufs, bad = asm.var("ptr", MAX_POINTERS), asm.var("i64")
        asm.st("i64", 0, bad)
        table = self.table(asm, "%self_")
        api = asm.ld(table)
        asm.go_if(asm.cmp("ne", "%nargs", asm.ld(table, 8, "i64")), "arity")
        self._gather(asm, api, "%args", "%nargs", bufs, bad)
        self._run(asm, api, asm.at(table, 16), bufs, bad)
        return asm

    def _gather(self, asm: Fn, api: str, items: str, count: str, bufs: str, bad: str) -> None:
        """Base pointers of `count` objects; to `wrong` when one gives none."""
        with asm.each(count) as index:
            got = self._pointer_of(asm, api, asm.ld(asm.nth(items, index)), bad)
            asm.st("ptr", got, asm.nth(bufs, index))
        asm.go_if(asm.cmp("ne", asm.ld(bad, 0, "i64"), 0), "wrong")

    def _run(self, asm: Fn, api: str, step: str, bufs: str, bad: str) -> None:
        """Run the step; then the ends of a call that has wrong arguments."""
        asm.ret(asm.call("ptr", "@hy_run_one", f"ptr {api}", f"ptr {step}", f"ptr {bufs}"))
        asm.label("wrong")
        asm.go_if(asm.cmp("eq", asm.ld(bad, 0, "i64"), 1), "mistyped")
        asm.ret("null")  # PyLong_AsLongLong has set the error
        self._fail(asm, "mistyped", api, "text_pointer")
        self._fail(asm, "arity", api, "text_arity")

    def launch(self) -> Fn:
        """launch(code, words, items, grain, scratch, pointers) -> status; self's table: api."""
        asm = Fn("hy_launch", "ptr", self_="ptr", args="ptr", nargs="i64")
        bufs, bad, step = asm.var("ptr", MAX_POINTERS), asm.var("i64"), asm.var("ptr", 6)
        asm.st("i64", 0, bad)
        api = asm.ld(self.table(asm, "%self_"))
        asm.go_if(asm.cmp("ne", "%nargs", 6), "arity")
        for offset in range(0, 40, 8):
            asm.st("ptr", self._pointer_of(asm, api, asm.ld("%args", offset), bad), step, offset)
        asm.st("i64", 0, step, 40)
        grain = asm.ld(step, 24, "i64")
        asm.st("i64", asm.pick(asm.cmp("eq", grain, 0), 1, grain), step, 24)
        sequence = asm.ld("%args", 40)
        is_tuple = asm.cmp("eq", self.type_of(asm, sequence), self.api(asm, api, "tuple"), "ptr")
        is_list = asm.cmp("eq", self.type_of(asm, sequence), self.api(asm, api, "list"), "ptr")
        asm.go_if(asm.op(f"xor i1 {asm.either(is_tuple, is_list)}, true"), "mistyped")
        count = asm.ld(sequence, SIZE, "i64")
        asm.go_if(asm.cmp("ugt", count, MAX_POINTERS), "arity")
        # a tuple holds its items, a list a pointer to them
        inline = asm.at(sequence, self.layout.tuple_items)
        items = asm.pick(is_tuple, inline, asm.ld(sequence, self.layout.list_items), "ptr")
        self._gather(asm, api, items, count, bufs, bad)
        self._run(asm, api, step, bufs, bad)
        return asm

    def launchers(self) -> list[Fn]:
        return [self.pointer(), self.run_one(), self.call(), self.launch()]
