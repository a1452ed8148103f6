"""IR text of what runs the graphs of branches and loops: kernels like any other, driven by words.

A block is a graph's plan: its steps, base pointers (in scratch), and what fills those.  Carried
values move between two buffers by pointers; nothing is copied but what a block passes through.
Invariant: the values a loop begins with are only read, and results are written where they belong.
"""

from __future__ import annotations

from ..machine.asm import UNLIKELY, Fn
from ..machine.target import control_text

__all__ = ["driver_text", "NAMES", "HEADER", "BLOCK", "CARRY", "ROW", "INTERRUPTED", "POLL_CYCLES"]

NAMES = ("hy_while", "hy_walk", "hy_switch")
INTERRUPTED = 0xFFFFFFF0  # status of a loop that a signal's handler ended
POLL_CYCLES = 1 << 27  # ticks between two looks for signals: about 50 ms
BIG = INTERRUPTED  # statuses from here on are passed on as they are


def _offsets(*names: str) -> dict[str, int]:
    return {name: 8 * k for k, name in enumerate(names)}


# words of a step, and of the records that they lead to
HEADER = _offsets(
    "plan", "control", "memcpy", "ensure", "release", "signals", "fetch", "aside", "state",
    "carry_n", "carry", "test", "body", "pred",
    "rows_n", "rows", "ys_n", "ys", "count", "reverse", "index", "blocks_n",
)  # fmt: skip
BLOCK = _offsets("steps", "count", "bufs", "fills", "fills_n", "scratch", "shared", "need", "bases")
CARRY = _offsets("bytes", "init", "out", "spare", "test_in", "body_in", "body_out", "mode")
ROW = _offsets("bytes", "outer", "slot", "mode")
POINTED, COPIED, KEPT = 0, 1, 2  # modes: the block writes there itself, is copied, is unchanged


class _Writer(Fn):
    """A function of the driver."""

    def word(self, name: str) -> str:
        return self.ld("%args", HEADER[name], "i64")

    def table(self, name: str) -> str:
        return self.ld("%args", HEADER[name])

    def scratch(self, offset: str) -> str:
        return self.at("%scratch", offset)

    def copy(self, target: str, source: str, nbytes: str) -> None:
        given = f"ptr {target}", f"ptr {source}", f"i64 {nbytes}"
        self.call("ptr", self.table("memcpy"), *given)

    def fill(self, block: str) -> str:
        """Fill the base pointers of a block; where they are."""
        self.call("void", "@hy_fill", f"ptr {block}", "ptr %bufs", "ptr %scratch")
        return self.scratch(self.ld(block, BLOCK["bufs"], "i64"))

    def run(self, block: str) -> str:
        return self.call("i64", "@hy_block", "ptr %args", f"ptr {block}", "ptr %scratch")

    def poll(self, last: str) -> None:
        """Look for signals now and then; to `stopped` where a handler raised."""
        now = self.call("i64", "@hy_ticks")
        passed = self.op(f"sub i64 {now}, {self.ld(last, 0, 'i64')}")
        with self.when(self.cmp("ugt", passed, POLL_CYCLES), unlikely=True):
            self.st("i64", now, last)
            stop = self.call("i32", "@hy_signals", "ptr %args")
            self.go_if(self.cmp("ne", stop, 0, "i32"), "stopped")


def _kernel(name: str) -> _Writer:
    return _Writer(name, "i64", bufs="ptr", args="ptr", begin="i64", end="i64", scratch="ptr")


def _signals() -> Fn:
    """Run the handlers of signals that wait, holding the GIL; what one raised is put aside."""
    writer = _Writer("hy_signals", "i32", "noinline", args="ptr")
    state = writer.call("i32", writer.table("ensure"))
    found = writer.call("i32", writer.table("signals"))
    with writer.when(writer.cmp("ne", found, 0, "i32")):
        aside = writer.table("aside")
        places = [f"ptr {writer.at(aside, offset)}" for offset in (0, 8, 16)]
        writer.call("void", writer.table("fetch"), *places)
    writer.call("void", writer.table("release"), f"i32 {state}")
    writer.ret(found)
    return writer


def _fill() -> Fn:
    """Base pointers of a block: constants, places in scratch, buffers of the plan around it."""
    writer = Fn("hy_fill", "void", "noinline", block="ptr", bufs="ptr", scratch="ptr")
    target = writer.at("%scratch", writer.ld("%block", BLOCK["bufs"], "i64"))
    rows = writer.ld("%block", BLOCK["fills"])
    with writer.each(writer.ld("%block", BLOCK["fills_n"], "i64")) as index:
        row = writer.nth(rows, index, 24)
        place = writer.nth(target, writer.ld(row, 0, "i64"))
        kind, value = writer.ld(row, 8, "i64"), writer.ld(row, 16, "i64")
        constant = writer.op(f"inttoptr i64 {value} to ptr")
        with writer.when(writer.cmp("eq", kind, 0)):
            writer.st("ptr", constant, place)
        with writer.when(writer.cmp("eq", kind, 1)):
            writer.st("ptr", writer.at("%scratch", value), place)
        with writer.when(writer.cmp("eq", kind, 2)):
            writer.st("ptr", writer.ld(writer.nth("%bufs", value)), place)
    writer.ret()
    return writer


def _status() -> Fn:
    """The status of a failed step, numbered among all steps inside: 1 + its number."""
    writer = Fn("hy_status", "i64", "noinline", base="ptr", status="i64")
    first = writer.ld("%base", 0, "i64")
    with writer.when(writer.cmp("uge", "%status", BIG)):
        writer.ret("%status")
    writer.label(writer.fresh())
    nested = writer.cmp("ne", writer.ld("%base", 8, "i64"), 0)
    writer.ret(writer.pick(nested, writer.add(first, "%status"), writer.add(first, 1)))
    return writer


def _block() -> Fn:
    """The steps of a block in order: here, or, where they are large, over the threads."""
    writer = Fn("hy_block", "i64", "noinline", args="ptr", block="ptr", scratch="ptr")
    steps, count = writer.ld("%block", BLOCK["steps"]), writer.ld("%block", BLOCK["count"], "i64")
    bufs = writer.at("%scratch", writer.ld("%block", BLOCK["bufs"], "i64"))
    bases = writer.ld("%block", BLOCK["bases"])
    failed = writer.var("i64")
    shared = writer.cmp("ne", writer.ld("%block", BLOCK["shared"], "i64"), 0)
    writer.go_if(shared, "shared", unlikely=False)
    own = writer.at("%scratch", writer.ld("%block", BLOCK["scratch"], "i64"))
    with writer.each(count) as index:
        step = writer.nth(steps, index, 48)
        items = writer.ld(step, 16, "i64")
        given = f"ptr {bufs}", f"ptr {writer.ld(step, 8)}", "i64 0", f"i64 {items}", f"ptr {own}"
        status = writer.call("i64", writer.ld(step), *given)
        with writer.when(writer.cmp("ne", status, 0), unlikely=True):
            base = writer.nth(bases, index, 16)
            writer.ret(writer.call("i64", "@hy_status", f"ptr {base}", f"i64 {status}"))
        writer.label(writer.fresh())
    writer.ret(0)
    writer.label("shared")
    status = writer.call(
        "i64",
        writer.ld("%args", HEADER["plan"]),
        f"ptr {writer.ld('%args', HEADER['control'])}",
        f"ptr {steps}",
        f"i64 {count}",
        f"ptr {bufs}",
        f"i64 {writer.ld('%block', BLOCK['need'], 'i64')}",
        f"ptr {failed}",
    )
    with writer.when(writer.cmp("eq", status, 0)):
        writer.ret(0)
    writer.label(writer.fresh())
    base = writer.nth(bases, writer.ld(failed, 0, "i64"), 16)
    writer.ret(writer.call("i64", "@hy_status", f"ptr {base}", f"i64 {status}"))
    return writer


class _Carried:
    """What a loop carries: the current buffers and those that the next values go to."""

    def __init__(self, writer: _Writer) -> None:
        self.writer, self.count = writer, writer.word("carry_n")
        self.rows = writer.table("carry")
        self.current = writer.scratch(writer.word("state"))
        self.following = writer.nth(self.current, self.count)
        self.first = writer.var("i64")
        writer.st("i64", 1, self.first)
        with writer.each(self.count) as index:
            row = self.row(index)
            for name, place in (("init", self.current), ("out", self.following)):
                slot = writer.ld(row, CARRY[name], "i64")
                base = writer.ld(writer.nth("%bufs", slot))
                writer.st("ptr", base, writer.nth(place, index))

    def row(self, index: str) -> str:
        return self.writer.nth(self.rows, index, 64)

    def give(self, body: str, test: str | None) -> None:
        """Tell the blocks where the carried values are, and where the next ones go."""
        writer = self.writer
        with writer.each(self.count) as index:
            row, value = self.row(index), writer.ld(writer.nth(self.current, index))
            for name, bufs in (("body_in", body), ("test_in", test)):
                if bufs is not None:
                    slot = writer.ld(row, CARRY[name], "i64")
                    writer.st("ptr", value, writer.nth(bufs, slot))
            mode = writer.ld(row, CARRY["mode"], "i64")
            with writer.when(writer.cmp("eq", mode, POINTED)):
                slot = writer.ld(row, CARRY["body_out"], "i64")
                following = writer.ld(writer.nth(self.following, index))
                writer.st("ptr", following, writer.nth(body, slot))

    def take(self, body: str) -> None:
        """The next values become the current ones."""
        writer = self.writer
        with writer.each(self.count) as index:
            row = self.row(index)
            with writer.when(writer.cmp("eq", writer.ld(row, CARRY["mode"], "i64"), COPIED)):
                slot = writer.ld(row, CARRY["body_out"], "i64")
                source = writer.ld(writer.nth(body, slot))
                target = writer.ld(writer.nth(self.following, index))
                writer.copy(target, source, writer.ld(row, CARRY["bytes"], "i64"))
        first = writer.cmp("ne", writer.ld(self.first, 0, "i64"), 0)
        with writer.each(self.count) as index:
            row = self.row(index)
            with writer.when(writer.cmp("ne", writer.ld(row, CARRY["mode"], "i64"), KEPT)):
                here, there = (writer.nth(p, index) for p in (self.current, self.following))
                old, new = writer.ld(here), writer.ld(there)
                spare = writer.scratch(writer.ld(row, CARRY["spare"], "i64"))
                writer.st("ptr", new, here)
                writer.st("ptr", writer.pick(first, spare, old, "ptr"), there)
        writer.st("i64", 0, self.first)

    def finish(self) -> None:
        """The last values go where the results belong."""
        writer = self.writer
        with writer.each(self.count) as index:
            row, value = self.row(index), writer.ld(writer.nth(self.current, index))
            out = writer.ld(writer.nth("%bufs", writer.ld(row, CARRY["out"], "i64")))
            with writer.when(writer.cmp("ne", value, out, "ptr")):
                writer.copy(out, value, writer.ld(row, CARRY["bytes"], "i64"))


def _ends(writer: _Writer, status: str) -> None:
    """The ends of a loop that failed or was interrupted."""
    writer.label("failed")
    writer.ret(writer.ld(status, 0, "i64"))
    writer.label("stopped")
    writer.ret(INTERRUPTED)


def _ran(writer: _Writer, status: str, block: str) -> None:
    """Run a block; to `failed` with its status."""
    found = writer.run(block)
    writer.st("i64", found, status)
    writer.go_if(writer.cmp("ne", found, 0), "failed")


def _while() -> Fn:
    writer = _kernel("hy_while")
    test, body = writer.table("test"), writer.table("body")
    test_bufs, body_bufs = writer.fill(test), writer.fill(body)
    carried, status, last = _Carried(writer), writer.var("i64"), writer.var("i64")
    writer.st("i64", writer.call("i64", "@hy_ticks"), last)
    pred = writer.word("pred")
    writer.label("again")
    carried.give(body_bufs, test_bufs)
    _ran(writer, status, test)
    more = writer.ld(writer.ld(writer.nth(test_bufs, pred)), 0, "i8")
    writer.go_if(writer.cmp("eq", more, 0, "i8"), "done", unlikely=False)
    _ran(writer, status, body)
    carried.take(body_bufs)
    writer.poll(last)
    writer.go("again")
    writer.label("done")
    carried.finish()
    writer.ret(0)
    _ends(writer, status)
    return writer


def _walk() -> Fn:
    writer = _kernel("hy_walk")
    body = writer.table("body")
    bufs = writer.fill(body)
    carried, status, last = _Carried(writer), writer.var("i64"), writer.var("i64")
    writer.st("i64", writer.call("i64", "@hy_ticks"), last)
    count, backwards = writer.word("count"), writer.cmp("ne", writer.word("reverse"), 0)
    rows_n, rows = writer.word("rows_n"), writer.table("rows")
    ys_n, ys = writer.word("ys_n"), writer.table("ys")
    with writer.each(count) as step:
        mirrored = writer.op(f"sub i64 {writer.add(count, -1)}, {step}")
        position = writer.pick(backwards, mirrored, step)
        carried.give(bufs, None)
        for number, table in ((rows_n, rows), (ys_n, ys)):
            with writer.each(number) as index:
                row = writer.nth(table, index, 32)
                with writer.when(writer.cmp("eq", writer.ld(row, ROW["mode"], "i64"), POINTED)):
                    slot = writer.ld(row, ROW["slot"], "i64")
                    writer.st("ptr", _place(writer, row, position), writer.nth(bufs, slot))
        _ran(writer, status, body)
        with writer.each(ys_n) as index:
            row = writer.nth(ys, index, 32)
            with writer.when(writer.cmp("eq", writer.ld(row, ROW["mode"], "i64"), COPIED)):
                source = writer.ld(writer.nth(bufs, writer.ld(row, ROW["slot"], "i64")))
                nbytes = writer.ld(row, ROW["bytes"], "i64")
                writer.copy(_place(writer, row, position), source, nbytes)
        carried.take(bufs)
        writer.poll(last)
    carried.finish()
    writer.ret(0)
    _ends(writer, status)
    return writer


def _place(writer: _Writer, row: str, position: str) -> str:
    """The address of a row of a buffer of the plan around the loop."""
    base = writer.ld(writer.nth("%bufs", writer.ld(row, ROW["outer"], "i64")))
    return writer.at(base, writer.op(f"mul i64 {position}, {writer.ld(row, 0, 'i64')}"))


def _switch() -> Fn:
    """Blocks and their tables of results lie side by side: `blocks_n` pairs from `body` on."""
    writer = _kernel("hy_switch")
    status = writer.var("i64")
    wanted = writer.ld(writer.ld(writer.nth("%bufs", writer.word("index"))), 0, "i64")
    top = writer.add(writer.word("blocks_n"), -1)
    wanted = writer.pick(writer.cmp("sgt", wanted, top), top, wanted)
    wanted = writer.pick(writer.cmp("slt", wanted, 0), 0, wanted)
    pair = writer.nth(writer.table("body"), wanted, 16)
    block, table = writer.ld(pair), writer.ld(pair, 8)
    bufs, count = writer.fill(block), writer.word("ys_n")
    with writer.each(count) as index:
        row = writer.nth(table, index, 32)
        with writer.when(writer.cmp("eq", writer.ld(row, ROW["mode"], "i64"), POINTED)):
            slot = writer.ld(row, ROW["slot"], "i64")
            writer.st("ptr", _place(writer, row, "0"), writer.nth(bufs, slot))
    _ran(writer, status, block)
    with writer.each(count) as index:
        row = writer.nth(table, index, 32)
        with writer.when(writer.cmp("eq", writer.ld(row, ROW["mode"], "i64"), COPIED)):
            source = writer.ld(writer.nth(bufs, writer.ld(row, ROW["slot"], "i64")))
            writer.copy(_place(writer, row, "0"), source, writer.ld(row, ROW["bytes"], "i64"))
    writer.ret(0)
    writer.label("failed")
    writer.ret(writer.ld(status, 0, "i64"))
    return writer


def driver_text() -> str:
    """The whole module."""
    parts = (_signals, _fill, _status, _block, _while, _walk, _switch)
    return control_text() + "".join(part().text() for part in parts) + UNLIKELY
