"""IR text of what native code that touches Python objects has in common, and of eager kernel
launches.

Invariant: reference counts are exact, and offsets inside objects come from the probe; addresses of
C functions and objects are read from the API block (API gives the byte offsets, entry.py fills it
in).
"""

from __future__ import annotations

from typing import NamedTuple

from ..machine.asm import Fn
from .abi import SIZE, PythonLayout

__all__ = [
    "LaunchWriter",
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
    "PyObject_CallOneArg",
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
    "copier",  # what makes copies where Python code does
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


class LaunchWriter:
    """Functions of a module, for one object layout."""

    def __init__(self, layout: PythonLayout, slots: Slots) -> None:
        self.layout, self.slots = layout, slots

    # ---- small pieces
    def api(self, writer: Fn, api: str, name: str) -> str:
        return writer.ld(api, API[name])

    def incref(self, writer: Fn, target: str) -> None:
        """+1 on the low half of the count; objects whose low half is saturated are immortal."""
        count = writer.add(writer.ld(target, self.layout.refcount, "i32"), 1, "i32")
        with writer.when(writer.cmp("ne", count, 0, "i32")):
            writer.st("i32", count, target, self.layout.refcount)

    def decref(self, writer: Fn, library: str, target: str) -> None:
        """-1, unless the low half is negative: then the object is immortal (Python 3.12 on)."""
        count = writer.ld(target, self.layout.refcount, "i32")
        with writer.when(writer.cmp("sge", count, 0, "i32")):
            less = writer.add(count, -1, "i32")
            writer.st("i32", less, target, self.layout.refcount)
            with writer.when(writer.cmp("eq", less, 0, "i32"), unlikely=True):
                writer.call("void", self.api(writer, library, "_Py_Dealloc"), f"ptr {target}")

    def count(self, writer: Fn, api: str, name: str, step: int) -> None:
        """Add to a counter of the API block (the GIL is held)."""
        writer.st("i64", writer.add(writer.ld(api, API[name], "i64"), step), api, API[name])

    def type_of(self, writer: Fn, target: str) -> str:
        return writer.ld(target, self.layout.type)

    def table(self, writer: Fn, owner: str) -> str:
        return writer.ld(writer.ld(owner, self.slots.table), self.layout.array_data)

    # ---- eager launches
    def pointer(self) -> Fn:
        """Address of an ndarray's data, or an int as one; null and *bad set for anything else."""
        writer = Fn("hy_pointer", "ptr", "noinline", api="ptr", obj="ptr", bad="ptr")
        type_word = self.type_of(writer, "%obj")
        with writer.when(writer.cmp("eq", type_word, self.api(writer, "%api", "ndarray"), "ptr")):
            writer.ret(writer.ld("%obj", self.layout.array_data))
        writer.label(writer.fresh())
        with writer.when(
            writer.cmp("ne", type_word, self.api(writer, "%api", "int"), "ptr"), unlikely=True
        ):
            writer.st("i64", 1, "%bad")
            writer.ret("null")
        writer.label(writer.fresh())
        value = writer.call("i64", self.api(writer, "%api", "PyLong_AsLongLong"), "ptr %obj")
        with writer.when(writer.cmp("eq", value, -1), unlikely=True):
            error = writer.call("ptr", self.api(writer, "%api", "PyErr_Occurred"))
            with writer.when(writer.cmp("ne", error, "null", "ptr")):
                writer.st("i64", 2, "%bad")
        writer.ret(writer.op(f"inttoptr i64 {value} to ptr"))
        return writer

    def _pointer_of(self, writer: Fn, library: str, target: str, problem: str) -> str:
        return writer.call(
            "ptr", "@hy_pointer", f"ptr {library}", f"ptr {target}", f"ptr {problem}"
        )

    def _fail(self, writer: Fn, label: str, library: str, message: str) -> None:
        writer.label(label)
        writer.call(
            "void",
            self.api(writer, library, "PyErr_SetString"),
            f"ptr {self.api(writer, library, 'type_error')}",
            f"ptr {self.api(writer, library, message)}",
        )
        writer.ret("null")

    def run_one(self) -> Fn:
        """Run one step, releasing the GIL for long work; the status as a Python int.

        Giving the GIL up and getting it back costs more than a short kernel takes, and work of one
        chunk is short."""
        writer = Fn("hy_run_one", "ptr", "noinline", api="ptr", step="ptr", bufs="ptr")
        failed, saved = writer.var("i64"), writer.var("ptr")
        writer.st("ptr", "null", saved)
        flags = writer.ld("%step", 40, "i64")
        long = writer.both(
            writer.cmp("ugt", writer.ld("%step", 16, "i64"), writer.ld("%step", 24, "i64")),
            writer.cmp("eq", writer.op(f"and i64 {flags}, {KEEP_GIL}"), 0),
        )
        with writer.when(long):
            writer.st(
                "ptr", writer.call("ptr", self.api(writer, "%api", "PyEval_SaveThread")), saved
            )
        status = writer.call(
            "i64",
            self.api(writer, "%api", "plan"),
            f"ptr {self.api(writer, '%api', 'ctl')}",
            "ptr %step",
            "i64 1",
            "ptr %bufs",
            f"i64 {writer.ld('%step', 32, 'i64')}",
            f"ptr {failed}",
        )
        with writer.when(long):
            restore = self.api(writer, "%api", "PyEval_RestoreThread")
            writer.call("void", restore, f"ptr {writer.ld(saved)}")
        make = self.api(writer, "%api", "PyLong_FromLongLong")
        writer.ret(writer.call("ptr", make, f"i64 {status}"))
        return writer

    def call(self) -> Fn:
        """Bound kernel: call(*arrays or addresses) -> status.  Table: api, pointer count, step."""
        writer = Fn("hy_call", "ptr", self_="ptr", args="ptr", nargs="i64")
        buffers, problem = writer.var("ptr", MAX_POINTERS), writer.var("i64")
        writer.st("i64", 0, problem)
        table = self.table(writer, "%self_")
        library = writer.ld(table)
        writer.go_if(writer.cmp("ne", "%nargs", writer.ld(table, 8, "i64")), "arity")
        self._gather(writer, library, "%args", "%nargs", buffers, problem)
        self._run(writer, library, writer.at(table, 16), buffers, problem)
        return writer

    def _gather(
        self, writer: Fn, library: str, items: str, count: str, buffers: str, problem: str
    ) -> None:
        """Base pointers of `count` objects; to `wrong` when one gives none."""
        with writer.each(count) as index:
            got = self._pointer_of(writer, library, writer.ld(writer.nth(items, index)), problem)
            writer.st("ptr", got, writer.nth(buffers, index))
        writer.go_if(writer.cmp("ne", writer.ld(problem, 0, "i64"), 0), "wrong")

    def _run(self, writer: Fn, library: str, step: str, buffers: str, problem: str) -> None:
        """Run the step; then the ends of a call that has wrong arguments."""
        writer.ret(
            writer.call("ptr", "@hy_run_one", f"ptr {library}", f"ptr {step}", f"ptr {buffers}")
        )
        writer.label("wrong")
        writer.go_if(writer.cmp("eq", writer.ld(problem, 0, "i64"), 1), "mistyped")
        writer.ret("null")  # PyLong_AsLongLong has set the error
        self._fail(writer, "mistyped", library, "text_pointer")
        self._fail(writer, "arity", library, "text_arity")

    def launch(self) -> Fn:
        """launch(code, words, items, grain, scratch, pointers) -> status; self's table: api."""
        writer = Fn("hy_launch", "ptr", self_="ptr", args="ptr", nargs="i64")
        buffers, problem, step = (
            writer.var("ptr", MAX_POINTERS),
            writer.var("i64"),
            writer.var("ptr", 6),
        )
        writer.st("i64", 0, problem)
        library = writer.ld(self.table(writer, "%self_"))
        writer.go_if(writer.cmp("ne", "%nargs", 6), "arity")
        for offset in range(0, 40, 8):
            writer.st(
                "ptr",
                self._pointer_of(writer, library, writer.ld("%args", offset), problem),
                step,
                offset,
            )
        writer.st("i64", 0, step, 40)
        grain = writer.ld(step, 24, "i64")
        writer.st("i64", writer.pick(writer.cmp("eq", grain, 0), 1, grain), step, 24)
        sequence = writer.ld("%args", 40)
        is_tuple = writer.cmp(
            "eq", self.type_of(writer, sequence), self.api(writer, library, "tuple"), "ptr"
        )
        is_list = writer.cmp(
            "eq", self.type_of(writer, sequence), self.api(writer, library, "list"), "ptr"
        )
        writer.go_if(writer.op(f"xor i1 {writer.either(is_tuple, is_list)}, true"), "mistyped")
        count = writer.ld(sequence, SIZE, "i64")
        writer.go_if(writer.cmp("ugt", count, MAX_POINTERS), "arity")
        # a tuple holds its items, a list a pointer to them
        inline = writer.at(sequence, self.layout.tuple_items)
        items = writer.pick(is_tuple, inline, writer.ld(sequence, self.layout.list_items), "ptr")
        self._gather(writer, library, items, count, buffers, problem)
        self._run(writer, library, step, buffers, problem)
        return writer

    def launchers(self) -> list[Fn]:
        return [self.pointer(), self.run_one(), self.call(), self.launch()]
