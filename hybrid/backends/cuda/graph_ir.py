"""IR text of a replay on a card: buffers are compared with those of the instantiated graphs, nodes
that use another one are updated, and one graph is launched.

Invariant: a graph is launched only when all its nodes hold the addresses of this call; the caller
holds the GIL, so one thread at a time is in here.
"""

from __future__ import annotations

import struct

from ..cpu.machine.asm import UNLIKELY, Fn
from .function import CODE_SHIFT

__all__ = [
    "FUNCTIONS",
    "TABLE",
    "TABLE_WORDS",
    "NODE",
    "WATCHED",
    "COPY",
    "GRAPH_HEAD",
    "CHECK_FAILED",
    "PARAMS",
    "NAMES",
    "plan_text",
]

NAMES = ("hy_gpu_plan", "hy_gpu_nothing")

# of the driver, whose addresses the table holds
FUNCTIONS = (
    "cuCtxSetCurrent",
    "cuLaunchKernel",
    "cuGraphLaunch",
    "cuGraphExecKernelNodeSetParams_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuStreamSynchronize",
    "cuMemcpyHtoDAsync_v2",
)
_TABLE = (
    "nodes_n",
    "nodes",
    "watched_n",
    "watched",
    "graphs_n",
    "graphs",
    "graph_bytes",
    "limit",  # most words to change before the graph used longest ago is taken
    "clock",  # counts replays
    "copies_n",
    "copies",
    "stream",  # address of the word that holds the stream
    "wait",  # address of the word that says whether to wait for failed checks
    "failed",  # address of the host's word that a failed check writes
    "context",
    "status",  # of a plan that waits for its own checks: the card's status words, and what they are
    "blank",  # when nothing has failed
    *FUNCTIONS,
)
TABLE = {name: 8 * i for i, name in enumerate(_TABLE)}
TABLE_WORDS = len(_TABLE)


def _record(*names: str) -> dict[str, int]:
    return {**{n: 8 * i for i, n in enumerate(names)}, "size": 8 * len(names)}


# a kernel: its node, its CUDA_KERNEL_NODE_PARAMS, whether it has to be updated
NODE = _record("node", "params", "dirty")
# a slot whose buffer may be another one in each call, as an offset in the buffers of the call, and
# the words that hold its address: (address of the word, number of the node) each
WATCHED = _record("buf", "fixups_n", "fixups")
# offsets of both slots, bytes: the new value's memory starts as a copy of the old one
COPY = _record("target", "source", "nbytes")
# an instantiated graph: handle, when it ran last, then the buffers that its nodes hold
GRAPH_HEAD = 16
CHECK_FAILED = 1 << 30  # above all statuses of the driver

# CUDA_KERNEL_NODE_PARAMS (v2): function, blocks, threads, shared bytes, address of the address of
# the words, then what is not used
PARAMS = struct.Struct("<Q3I3II4xQ24x")
_FUNCTION, _SIZES, _WORDS = 0, range(8, 36, 4), 40


def _cost() -> Fn:
    """How many words of a graph's nodes hold another address than in this call."""
    writer = Fn("hy_graph_cost", "i64", "noinline", table="ptr", graph="ptr", bufs="ptr")
    watched, total = writer.ld("%table", TABLE["watched"]), writer.var("i64")
    held = writer.at("%graph", GRAPH_HEAD)
    writer.st("i64", 0, total)
    with writer.each(writer.ld("%table", TABLE["watched_n"], "i64")) as index:
        record = writer.nth(watched, index, WATCHED["size"])
        buffer = writer.ld(writer.at("%bufs", writer.ld(record, WATCHED["buf"], "i64")))
        same = writer.cmp("eq", buffer, writer.ld(writer.nth(held, index)), "ptr")
        more = writer.pick(same, 0, writer.ld(record, WATCHED["fixups_n"], "i64"))
        writer.st("i64", writer.add(writer.ld(total, 0, "i64"), more), total)
    writer.ret(writer.ld(total, 0, "i64"))
    return writer


def _fill() -> Fn:
    """Put the addresses of this call into the words of all nodes; those are dirty that the graph
    (null: none) holds another address of."""
    writer = Fn("hy_graph_fill", "void", "noinline", table="ptr", graph="ptr", bufs="ptr")
    watched, nodes = writer.ld("%table", TABLE["watched"]), writer.ld("%table", TABLE["nodes"])
    held, none = writer.at("%graph", GRAPH_HEAD), writer.cmp("eq", "%graph", "null", "ptr")
    with writer.each(writer.ld("%table", TABLE["watched_n"], "i64")) as index:
        record = writer.nth(watched, index, WATCHED["size"])
        buffer = writer.ld(writer.at("%bufs", writer.ld(record, WATCHED["buf"], "i64")))
        differs = writer.var("i64")
        writer.st("i64", 0, differs)
        with writer.when(writer.op(f"xor i1 {none}, true")):
            other = writer.cmp("ne", buffer, writer.ld(writer.nth(held, index)), "ptr")
            writer.st("i64", writer.pick(other, 1, 0), differs)
        fixups = writer.ld(record, WATCHED["fixups"])
        with writer.each(writer.ld(record, WATCHED["fixups_n"], "i64")) as number:
            fixup = writer.nth(fixups, number, 16)
            writer.st("ptr", buffer, writer.ld(fixup))
            node = writer.nth(nodes, writer.ld(fixup, 8, "i64"), NODE["size"])
            dirty = writer.ld(node, NODE["dirty"], "i64")
            both = writer.op(f"or i64 {dirty}, {writer.ld(differs, 0, 'i64')}")
            writer.st("i64", both, node, NODE["dirty"])
    writer.ret()
    return writer


def _note(writer: Fn, value: str | None) -> None:
    """Write down which buffers a graph's nodes hold: those of the call, or nothing at all."""
    watched, held = writer.ld("%table", TABLE["watched"]), writer.at("%graph", GRAPH_HEAD)
    with writer.each(writer.ld("%table", TABLE["watched_n"], "i64")) as index:
        record = writer.nth(watched, index, WATCHED["size"])
        buffer = value or writer.ld(writer.at("%bufs", writer.ld(record, WATCHED["buf"], "i64")))
        writer.st("ptr", buffer, writer.nth(held, index))


def _update() -> Fn:
    """Make the nodes of a graph hold the addresses of this call; the driver's status."""
    writer = Fn("hy_graph_update", "i64", "noinline", table="ptr", graph="ptr", bufs="ptr")
    writer.call("void", "@hy_graph_fill", "ptr %table", "ptr %graph", "ptr %bufs")
    result, nodes = writer.var("i64"), writer.ld("%table", TABLE["nodes"])
    writer.st("i64", 0, result)
    update = writer.ld("%table", TABLE["cuGraphExecKernelNodeSetParams_v2"])
    with writer.each(writer.ld("%table", TABLE["nodes_n"], "i64")) as index:
        node, next_ = writer.nth(nodes, index, NODE["size"]), writer.fresh()
        clean = writer.cmp("eq", writer.ld(node, NODE["dirty"], "i64"), 0)
        writer.go_if(clean, next_, unlikely=False)
        writer.st("i64", 0, node, NODE["dirty"])
        status = writer.call(
            "i32",
            update,
            f"ptr {writer.ld('%graph')}",
            f"ptr {writer.ld(node, NODE['node'])}",
            f"ptr {writer.ld(node, NODE['params'])}",
        )
        with writer.when(writer.cmp("ne", status, 0, "i32"), unlikely=True):
            writer.st("i64", writer.op(f"zext i32 {status} to i64"), result)
        writer.label(next_)
    with writer.when(writer.cmp("ne", writer.ld(result, 0, "i64"), 0), unlikely=True):
        _note(writer, "inttoptr (i64 -1 to ptr)")
        writer.ret(writer.ld(result, 0, "i64"))
    writer.label(writer.fresh())
    _note(writer, None)
    writer.ret(0)
    return writer


def _launches() -> Fn:
    """Start the kernels one by one; the driver's status."""
    writer = Fn("hy_graph_launches", "i64", "noinline", table="ptr", stream="ptr", bufs="ptr")
    writer.call("void", "@hy_graph_fill", "ptr %table", "ptr null", "ptr %bufs")
    nodes, launch = (
        writer.ld("%table", TABLE["nodes"]),
        writer.ld("%table", TABLE["cuLaunchKernel"]),
    )
    with writer.each(writer.ld("%table", TABLE["nodes_n"], "i64")) as index:
        params = writer.ld(writer.nth(nodes, index, NODE["size"]), NODE["params"])
        sizes = [writer.ld(params, at, "i32") for at in _SIZES]
        status = writer.call(
            "i32",
            launch,
            f"ptr {writer.ld(params, _FUNCTION)}",
            *(f"i32 {size}" for size in sizes),
            "ptr %stream",
            f"ptr {writer.ld(params, _WORDS)}",
            "ptr null",
        )
        with writer.when(writer.cmp("ne", status, 0, "i32"), unlikely=True):
            writer.ret(writer.op(f"zext i32 {status} to i64"))
        writer.label(writer.fresh())
    writer.ret(0)
    return writer


def _copies(writer: Fn, table: str, stream: str) -> None:
    """Old contents into fresh memory; to `failed` with the status."""
    records, copy = (
        writer.ld(table, TABLE["copies"]),
        writer.ld(table, TABLE["cuMemcpyDtoDAsync_v2"]),
    )
    with writer.each(writer.ld(table, TABLE["copies_n"], "i64")) as index:
        record = writer.nth(records, index, COPY["size"])
        target, source = (
            writer.ld(writer.at("%bufs", writer.ld(record, COPY[name], "i64")))
            for name in ("target", "source")
        )
        with writer.when(writer.cmp("ne", target, source, "ptr"), unlikely=True):
            nbytes = writer.ld(record, COPY["nbytes"], "i64")
            given = f"ptr {target}", f"ptr {source}", f"i64 {nbytes}", f"ptr {stream}"
            status = writer.call("i32", copy, *given)
            with writer.when(writer.cmp("ne", status, 0, "i32"), unlikely=True):
                writer.ret(writer.op(f"zext i32 {status} to i64"))
            writer.label(writer.fresh())


def _choose() -> Fn:
    """The graph to launch: the one that holds the call's addresses; else one that was never used;
    else the one that holds most of them or, where that is far from them, the one that was used
    longest ago."""
    writer = Fn("hy_graph_choose", "ptr", "noinline", table="ptr", bufs="ptr", cost="ptr")
    nearest, oldest, least = writer.var("ptr"), writer.var("ptr"), writer.var("i64")
    graphs, size = (
        writer.ld("%table", TABLE["graphs"]),
        writer.ld("%table", TABLE["graph_bytes"], "i64"),
    )
    writer.st("i64", -1, least)
    writer.st("i64", -1, "%cost")
    with writer.each(writer.ld("%table", TABLE["graphs_n"], "i64")) as index:
        graph = writer.at(graphs, writer.op(f"mul i64 {index}, {size}"))
        words = writer.call("i64", "@hy_graph_cost", "ptr %table", f"ptr {graph}", "ptr %bufs")
        with writer.when(writer.cmp("ult", words, writer.ld("%cost", 0, "i64"))):
            writer.st("i64", words, "%cost")
            writer.st("ptr", graph, nearest)
        used = writer.ld(graph, 8, "i64")
        with writer.when(writer.cmp("ult", used, writer.ld(least, 0, "i64"))):
            writer.st("i64", used, least)
            writer.st("ptr", graph, oldest)
    limit = writer.ld("%table", TABLE["limit"], "i64")
    words = writer.ld("%cost", 0, "i64")
    near = writer.both(
        writer.cmp("ule", words, limit), writer.cmp("ne", writer.ld(least, 0, "i64"), 0)
    )
    near = writer.either(near, writer.cmp("eq", words, 0))
    writer.ret(writer.pick(near, writer.ld(nearest), writer.ld(oldest), "ptr"))
    return writer


def _checked(writer: Fn, table: str) -> None:
    """Wait, and return what `_plan` says of checks."""
    wait = writer.ld(table, TABLE["cuStreamSynchronize"])
    stream = writer.ld(writer.ld(table, TABLE["stream"]))
    waited = writer.call("i32", wait, f"ptr {stream}")
    status = writer.op(f"zext i32 {waited} to i64")
    word = writer.ld(table, TABLE["failed"])
    value = writer.ld(word, 0, "i64")
    with writer.when(writer.either(writer.cmp("ne", status, 0), writer.cmp("eq", value, 0))):
        writer.ret(status)
    writer.label(writer.fresh())
    own = writer.ld(table, TABLE["status"])
    with writer.when(writer.cmp("eq", own, "null", "ptr")):
        writer.ret(CHECK_FAILED)
    writer.label(writer.fresh())
    writer.st("i64", 0, word)
    clear, blank = (
        writer.ld(table, TABLE["cuMemcpyHtoDAsync_v2"]),
        writer.ld(table, TABLE["blank"]),
    )
    writer.call("i32", clear, f"ptr {own}", f"ptr {blank}", "i64 16", f"ptr {stream}")
    writer.call("i32", wait, f"ptr {stream}")
    number = writer.op(f"lshr i64 {value}, {CODE_SHIFT}")
    writer.ret(writer.add(number, CHECK_FAILED))


def _plan() -> Fn:
    """What the entry calls to run a plan: 0, the driver's status, or CHECK_FAILED where a check
    has failed that is waited for, with the number of the check where the plan has a status of its
    own, which is clear then: no other thread has met it.  `steps`: the table."""
    writer = Fn(
        "hy_gpu_plan",
        "i64",
        ctl="ptr",
        steps="ptr",
        count="i64",
        bufs="ptr",
        need="i64",
        failed="ptr",
    )
    table = writer.ld("%steps")
    writer.st("i64", 0, "%failed")
    given = f"ptr {table}", "ptr %bufs"
    started = writer.call("i64", "@hy_graph_start", *given)
    wanted = writer.cmp("ne", writer.ld(writer.ld(table, TABLE["wait"]), 0, "i64"), 0)
    with writer.when(writer.both(writer.cmp("eq", started, 0), wanted), unlikely=True):
        _checked(writer, table)
    writer.label(writer.fresh())
    writer.ret(started)
    return writer


def _start() -> Fn:
    """Start a plan: 0, or the driver's status."""
    writer = Fn("hy_graph_start", "i64", "noinline", table="ptr", bufs="ptr")
    table, cost = "%table", writer.var("i64")
    stream = writer.ld(writer.ld(table, TABLE["stream"]))
    enter = writer.ld(table, TABLE["cuCtxSetCurrent"])
    status = writer.call("i32", enter, f"ptr {writer.ld(table, TABLE['context'])}")
    with writer.when(writer.cmp("ne", status, 0, "i32"), unlikely=True):
        writer.ret(writer.op(f"zext i32 {status} to i64"))
    writer.label(writer.fresh())
    _copies(writer, table, stream)
    given = f"ptr {table}", f"ptr {stream}", "ptr %bufs"
    graphs = writer.ld(table, TABLE["graphs_n"], "i64")
    with writer.when(writer.cmp("eq", graphs, 0), unlikely=True):
        writer.ret(writer.call("i64", "@hy_graph_launches", *given))
    writer.label(writer.fresh())
    graph = writer.call("ptr", "@hy_graph_choose", f"ptr {table}", "ptr %bufs", f"ptr {cost}")
    clock = writer.add(writer.ld(table, TABLE["clock"], "i64"), 1)
    writer.st("i64", clock, table, TABLE["clock"])
    writer.st("i64", clock, graph, 8)
    with writer.when(writer.cmp("ne", writer.ld(cost, 0, "i64"), 0), unlikely=True):
        changed = f"ptr {table}", f"ptr {graph}", "ptr %bufs"
        updated = writer.call("i64", "@hy_graph_update", *changed)
        with writer.when(writer.cmp("ne", updated, 0), unlikely=True):
            writer.ret(updated)
        writer.label(writer.fresh())
    launch = writer.ld(table, TABLE["cuGraphLaunch"])
    status = writer.call("i32", launch, f"ptr {writer.ld(graph)}", f"ptr {stream}")
    writer.ret(writer.op(f"zext i32 {status} to i64"))
    return writer


def _nothing() -> Fn:
    """In the place of memcpy: old contents are copied when the plan runs."""
    writer = Fn("hy_gpu_nothing", "ptr", target="ptr", source="ptr", nbytes="i64")
    writer.ret("%target")
    return writer


def plan_text() -> str:
    """The whole module."""
    parts = (_cost, _fill, _update, _launches, _choose, _start, _plan, _nothing)
    return "".join(part().text() for part in parts) + UNLIKELY
