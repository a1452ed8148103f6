"""Native code for watching a thread: which events reach a hook in Python.

`profile` and `trace` are hooks of the kinds that PyEval_SetProfile and PyEval_SetTrace take: they
look the code of a frame up in a table and call Python for code that is not in it.  `evaluate`
stands in for the function that evaluates frames (PEP 523): it tells of code that is not in the
table before that runs, takes the hooks off while code of the table runs, so that the interpreter
runs it at full speed, and puts them back when it returns or calls other code.  Where
`sys.monitoring` gives the events (the word SETS is 0), there are no hooks to take off.

Invariant: words of another run or thread change nothing; an event of unknown code is told.
"""

from __future__ import annotations

import sys

from ..machine.asm import UNLIKELY, Fn
from .monitor import ASIDE

__all__ = ["filter_text"]

BITS = 13
SLOTS = 1 << BITS  # of the table
MOST = SLOTS // 2  # of them in use
EVENTS = ["call", "exception", "line", "return", "c_call", "c_exception", "c_return", "opcode"]
CALL, RETURN, C_CALL, C_EXCEPTION, C_RETURN = 0, 3, 4, 5, 6
FUNCTIONS = (
    "PyFrame_GetCode",
    "PyFrame_GetBack",
    "Py_DecRef",
    "PyObject_Vectorcall",
    "PyEval_SetProfile",
    "PyEval_SetTrace",
    "PyObject_GetAttr",
    "PyObject_SetAttr",
    "_PyEval_EvalFrameDefault",
    "PyLong_FromVoidPtr",
    "PyDict_SetItem",
    "PyErr_Fetch",
    "PyErr_Restore",
)
# words that native code reads
TABLE, EPOCH, NAMES, NONE, LOCAL_TRACE = range(0, 40, 8)
# the thread that is watched, 0, or ASIDE; moves whenever a watch begins or ends; whether hooks are
# on
THREAD, RUN, HOOKED = range(40, 64, 8)
# Python objects: the hooks, what is told of results, the dict of objects that were looked at, what
# is told of code that is called and not in the table
PROFILE, TRACE, RETURNED, LOOKED, MET = range(64, 104, 8)
SETS = 104  # whether hooks are set: else the interpreter tells of the code that was met
DEPTH, DEEPEST = 112, 120  # evaluations inside one another, and how many may be
FIRST_FUNCTION = 128
(
    CODE_OF,
    BACK_OF,
    DECREF,
    VECTORCALL,
    SET_PROFILE,
    SET_TRACE,
    GET,
    SET,
    EVALUATE,
    LONG,
    DICT_SET,
    FETCH,
    RESTORE,
) = range(FIRST_FUNCTION, FIRST_FUNCTION + 8 * len(FUNCTIONS), 8)
# of a frame: its code, globals, first variable
OLD = sys.version_info < (3, 12)
FRAME_CODE, FRAME_GLOBALS, FRAME_LOCALS = (32, 8, 72) if OLD else (0, 24, 72)
LOOKS, OURS = 1, 2  # bits of a record: calls are told with an argument; it is a hook
GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)  # spreads addresses over the table


def _find() -> str:
    """The record of a code object in the table, or null; a record: its address, of which the lowest
    bits are LOOKS and OURS, and when it was last entered."""
    asm = Fn("find", "ptr", words="ptr", code="ptr")
    table = asm.ld("%words", TABLE)
    wanted = asm.op("ptrtoint ptr %code to i64")
    mixed = asm.op(f"mul i64 {asm.op(f'lshr i64 {wanted}, 4')}, {GOLDEN}")
    first = asm.op(f"lshr i64 {mixed}, {64 - BITS}")
    asm.go("look")
    asm.ended = True
    asm.lines.append("look:")
    asm.lines.append(f"  %slot = phi i64 [{first}, %entry], [%next, %on]")
    asm.block, asm.ended = "look", False
    record = asm.nth(table, "%slot", 16)
    key = asm.ld(record, 0, "i64")
    asm.go_if(asm.cmp("eq", asm.op(f"and i64 {key}, -4"), wanted), "found", unlikely=False)
    asm.branch(asm.cmp("eq", key, 0), "none", "on")
    asm.label("on")
    asm.do("%more = add i64 %slot, 1")
    asm.do(f"%next = and i64 %more, {SLOTS - 1}")
    asm.go("look")
    asm.label("found")
    asm.ret(record)
    asm.label("none")
    asm.ret("null")
    return asm.text().replace("define ptr", "define internal ptr")


def _hook(name: str) -> Fn:
    """The start of a hook: finds the record of the frame's code."""
    asm = Fn(name, "i32", me="ptr", frame="ptr", what="i32", value="ptr")
    asm.do("%words = load ptr, ptr @words")
    asm.do("%which = zext i32 %what to i64")
    # work of a hook, which is none of the program
    asm.go_if(asm.cmp("eq", asm.ld("%words", THREAD, "i64"), 0), "quiet", unlikely=False)
    return asm


def _record_of(asm: Fn, frame: str) -> str:
    """The record of the code of a frame."""
    code = asm.call("ptr", asm.ld("%words", CODE_OF), f"ptr {frame}")
    record = asm.call("ptr", "@find", "ptr %words", f"ptr {code}")
    # the frame keeps the code
    asm.call("void", asm.ld("%words", DECREF), f"ptr {code}")
    return record


def _tell(asm: Fn, setter: int) -> str:
    """Call the hook; its result is one reference.  One that raises is taken off, as Python does."""
    arguments = asm.var("ptr", 4)
    asm.st("ptr", "%frame", arguments, 8)
    event = asm.op(f"load ptr, ptr {asm.nth(asm.ld('%words', NAMES), '%which')}")
    asm.st("ptr", event, arguments, 16)
    thread = asm.ld("%words", THREAD, "i64")
    run = asm.ld("%words", RUN, "i64")
    asm.st("i64", 0, "%words", THREAD)  # the hook's own frames are none of the program
    missing = asm.op("icmp eq ptr %value, null")
    none = asm.ld("%words", NONE)
    asm.st("ptr", asm.pick(missing, none, "%value", "ptr"), arguments, 24)
    result = asm.call(
        "ptr",
        asm.ld("%words", VECTORCALL),
        "ptr %me",
        f"ptr {asm.at(arguments, 8)}",
        f"i64 {3 - (1 << 63)}",  # the word before the arguments may be written
        "ptr null",
    )
    with asm.when(asm.cmp("eq", run, asm.ld("%words", RUN, "i64"))):
        asm.st("i64", thread, "%words", THREAD)
    with asm.when(asm.op(f"icmp eq ptr {result}, null"), unlikely=True):
        asm.call("void", asm.ld("%words", setter), "ptr null", "ptr null")
        asm.ret(-1)
    return result


def _profile() -> str:
    asm = _hook("profile")
    for ignored in C_RETURN, C_EXCEPTION:
        asm.go_if(asm.cmp("eq", "%what", ignored, "i32"), "quiet", unlikely=False)
    record = _record_of(asm, "%frame")
    asm.go_if(asm.op(f"icmp eq ptr {record}, null"), "tell", unlikely=False)
    asm.go_if(asm.cmp("eq", "%what", C_CALL, "i32"), "quiet", unlikely=False)
    asm.branch(asm.cmp("eq", "%what", CALL, "i32"), "enter", "leave")
    asm.label("enter")
    asm.st("i64", asm.ld("%words", EPOCH, "i64"), record, 8)
    told = asm.op(f"trunc i64 {asm.ld(record, 0, 'i64')} to i1")
    asm.branch(told, "tell", "quiet")
    asm.label("leave")
    back = asm.call("ptr", asm.ld("%words", BACK_OF), "ptr %frame")
    asm.go_if(asm.op(f"icmp eq ptr {back}, null"), "quiet", unlikely=False)
    caller = _record_of(asm, back)
    asm.call("void", asm.ld("%words", DECREF), f"ptr {back}")
    asm.branch(asm.op(f"icmp eq ptr {caller}, null"), "tell", "quiet")
    asm.label("tell")
    result = _tell(asm, SET_PROFILE)
    asm.call("void", asm.ld("%words", DECREF), f"ptr {result}")
    asm.go("quiet")
    asm.label("quiet")
    asm.ret(0)
    return asm.text()


def _trace() -> str:
    asm = _hook("trace")
    record = _record_of(asm, "%frame")
    asm.go_if(asm.op(f"icmp ne ptr {record}, null"), "quiet", unlikely=False)
    call = asm.cmp("eq", "%what", CALL, "i32")
    asm.go_if(call, "tell", unlikely=False)
    # a frame that was there before the hook, or whose call the hook did not care for
    name = asm.ld("%words", LOCAL_TRACE)
    local = asm.call("ptr", asm.ld("%words", GET), "ptr %frame", f"ptr {name}")
    with asm.when(asm.op(f"icmp eq ptr {local}, null"), unlikely=True):
        asm.ret(-1)
    asm.call("void", asm.ld("%words", DECREF), f"ptr {local}")
    absent = asm.op(f"icmp eq ptr {local}, {asm.ld('%words', NONE)}")
    asm.branch(absent, "quiet", "tell")
    asm.label("tell")
    result = _tell(asm, SET_TRACE)
    wanted = asm.op(f"icmp ne ptr {result}, {asm.ld('%words', NONE)}")
    with asm.when(asm.both(call, wanted)):
        name = asm.ld("%words", LOCAL_TRACE)
        setter = asm.ld("%words", SET)
        done = asm.call("i32", setter, "ptr %frame", f"ptr {name}", f"ptr {result}")
        with asm.when(asm.cmp("ne", done, 0, "i32"), unlikely=True):
            asm.call("void", asm.ld("%words", DECREF), f"ptr {result}")
            asm.ret(-1)
    asm.call("void", asm.ld("%words", DECREF), f"ptr {result}")
    asm.go("quiet")
    asm.label("quiet")
    asm.ret(0)
    return asm.text()


def _switch(asm: Fn, hooked: bool) -> None:
    """Put the hooks on, or take them off."""
    asm.st("i64", int(hooked), "%words", HOOKED)
    with asm.when(asm.cmp("ne", asm.ld("%words", SETS, "i64"), 0)):
        _set(asm, hooked)


def _set(asm: Fn, hooked: bool) -> None:
    for setter, name, word in (SET_TRACE, "trace", TRACE), (SET_PROFILE, "profile", PROFILE):
        hook = f"@{name}" if hooked else "null"
        target = asm.ld("%words", word) if hooked else "null"
        asm.call("void", asm.ld("%words", setter), f"ptr {hook}", f"ptr {target}")


def _default(asm: Fn) -> str:
    """Evaluate the frame as the interpreter does."""
    arguments = "ptr %thread", "ptr %frame", "i32 %throw"
    return asm.call("ptr", asm.ld("%words", EVALUATE), *arguments)


def _deeper(asm: Fn) -> str:
    """The same, for a frame of the thread that is watched."""
    asm.st("i64", asm.add("%depth", 1), "%words", DEPTH)
    result = _default(asm)
    with asm.when(asm.cmp("eq", "%run", asm.ld("%words", RUN, "i64"))):
        asm.st("i64", "%depth", "%words", DEPTH)
    return result


def _same_run(asm: Fn, run: str) -> None:
    """Go to `out` unless the watch goes on."""
    asm.go_if(asm.cmp("ne", run, asm.ld("%words", RUN, "i64")), "out")
    asm.go_if(asm.cmp("ne", "%here", asm.ld("%words", THREAD, "i64")), "out")


def _look(asm: Fn) -> None:
    """Note the first argument of a frame, by its address."""
    seen = asm.ld("%frame", FRAME_LOCALS)
    asm.go_if(asm.op(f"icmp eq ptr {seen}, null"), "known", unlikely=True)
    key = asm.call("ptr", asm.ld("%words", LONG), f"ptr {seen}")
    asm.go_if(asm.op(f"icmp eq ptr {key}, null"), "raised", unlikely=True)
    entries = asm.ld("%words", LOOKED)
    setter = asm.ld("%words", DICT_SET)
    done = asm.call("i32", setter, f"ptr {entries}", f"ptr {key}", f"ptr {seen}")
    asm.call("void", asm.ld("%words", DECREF), f"ptr {key}")
    asm.branch(asm.cmp("ne", done, 0, "i32"), "raised", "known")
    asm.label("raised")  # no memory: the watch knows less than it thinks, so it ends in an error
    asm.ret("null")


def _call_aside(asm: Fn, word: int, *values: str) -> tuple[str, list[str]]:
    """Call a hook from between the program's instructions: its result, and the error that is on its
    way, which waits meanwhile (one is where a generator is closed)."""
    error = asm.var("ptr", 3)
    places = [f"ptr {asm.at(error, 8 * index)}" for index in range(3)]
    asm.call("void", asm.ld("%words", FETCH), *places)
    arguments = asm.var("ptr", 1 + len(values))
    for index, value in enumerate(values, 1):
        asm.st("ptr", value, arguments, 8 * index)
    asm.st("i64", 0, "%words", THREAD)
    told = asm.call(
        "ptr",
        asm.ld("%words", VECTORCALL),
        f"ptr {asm.ld('%words', word)}",
        f"ptr {asm.at(arguments, 8)}",
        f"i64 {len(values) - (1 << 63)}",  # the word before the arguments may be written
        "ptr null",
    )
    with asm.when(asm.cmp("eq", "%run", asm.ld("%words", RUN, "i64"))):
        asm.st("i64", "%here", "%words", THREAD)
    return told, [asm.ld(error, 8 * index) for index in range(3)]


def _go_on(asm: Fn, told: str, error: list[str], *held: str) -> None:
    """After a hook; one that raises has the program raise, as where a hook raises when a function
    returns.  `held`: references to give back then."""
    with asm.when(asm.op(f"icmp eq ptr {told}, null"), unlikely=True):
        for value in (*error, *held):
            asm.call("void", "@release", "ptr %words", f"ptr {value}")
        asm.ret("null")
    asm.call("void", asm.ld("%words", DECREF), f"ptr {told}")
    asm.call("void", asm.ld("%words", RESTORE), *[f"ptr {part}" for part in error])


def _returned(asm: Fn, result: str) -> None:
    """Tell Python what code of the table gave to other code (None where it raised)."""
    failed = asm.op(f"icmp eq ptr {result}, null")
    value = asm.pick(failed, asm.ld("%words", NONE), result, "ptr")
    told, error = _call_aside(asm, RETURNED, value)
    with asm.when(asm.cmp("eq", "%run", asm.ld("%words", RUN, "i64"))):
        _switch(asm, True)
    _go_on(asm, told, error, result)


def _release() -> str:
    """Give a reference back, if it is one."""
    asm = Fn("release", "void", words="ptr", value="ptr")
    with asm.when(asm.op("icmp ne ptr %value, null")):
        asm.call("void", asm.ld("%words", DECREF), "ptr %value")
    asm.ret()
    return asm.text().replace("define void", "define internal void")


def _hook_again(asm: Fn, result: str) -> None:
    """Code of the table has returned to code with hooks."""
    ended = asm.either(
        asm.cmp("ne", "%run", asm.ld("%words", RUN, "i64")),
        asm.cmp("ne", "%here", asm.ld("%words", THREAD, "i64")),
    )
    with asm.when(asm.op(f"xor i1 {ended}, true")):
        _returned(asm, result)
    # paused meanwhile (a context manager, say): whoever resumes puts the hooks on for the caller
    with asm.when(asm.cmp("eq", "%run", asm.ld("%words", RUN, "i64"))):
        asm.st("i64", 1, "%words", HOOKED)


def _meet(asm: Fn, code: str, space: str) -> None:
    """Tell of code that is not in the table, which may put it there."""
    _go_on(asm, *_call_aside(asm, MET, code, space))
    asm.go_if(asm.cmp("ne", "%run", asm.ld("%words", RUN, "i64")), "plain")


def _aside(asm: Fn) -> None:
    """Run a hook itself: what it calls is none of the program."""
    asm.st("i64", ASIDE, "%words", THREAD)
    result = _default(asm)
    with asm.when(asm.cmp("eq", "%run", asm.ld("%words", RUN, "i64"))):
        asm.st("i64", "%here", "%words", THREAD)
    asm.ret(result)


def _too_deep(asm: Fn) -> None:
    """Tell of None, while there is stack for what that does: it ends the watch."""
    none = asm.ld("%words", NONE)
    _meet(asm, none, none)
    asm.go("plain")


def _flag(asm: Fn, record: str, bit: int) -> str:
    return asm.cmp("ne", asm.op(f"and i64 {asm.ld(record, 0, 'i64')}, {bit}"), 0)


def _evaluate() -> str:
    asm = Fn("evaluate", "ptr", thread="ptr", frame="ptr", throw="i32")
    asm.do("%words = load ptr, ptr @words")
    asm.do("%here = ptrtoint ptr %thread to i64")
    asm.go_if(asm.cmp("ne", "%here", asm.ld("%words", THREAD, "i64")), "plain", unlikely=False)
    asm.do(f"%run = load i64, ptr {asm.at('%words', RUN)}")
    asm.do(f"%depth = load i64, ptr {asm.at('%words', DEPTH)}")
    asm.go_if(asm.cmp("uge", "%depth", asm.ld("%words", DEEPEST, "i64")), "deep")
    record = _known(asm)
    hooked = asm.cmp("ne", asm.ld("%words", HOOKED, "i64"), 0)
    asm.branch(asm.op(f"icmp eq ptr {record}, null"), "other", "quiet")
    asm.label("other")
    asm.go_if(hooked, "same", unlikely=False)
    _switch(asm, True)
    called = _deeper(asm)
    asm.do(f"%result = bitcast ptr {called} to ptr")
    _same_run(asm, "%run")
    _switch(asm, False)
    asm.go("out")
    asm.label("out")
    asm.ret("%result")
    _evaluate_quiet(asm, record, hooked)
    asm.label("aside")
    _aside(asm)
    asm.label("same")
    asm.ret(_deeper(asm))
    asm.label("deep")
    _too_deep(asm)
    asm.label("plain")
    asm.ret(_default(asm))
    return asm.text()


def _known(asm: Fn) -> str:
    """The record of a frame's code, or null, after it was told of."""
    code = asm.ld("%frame", FRAME_CODE)
    known = asm.call("ptr", "@find", "ptr %words", f"ptr {code}")
    before = asm.block
    asm.branch(asm.op(f"icmp eq ptr {known}, null"), "meet", "found")
    asm.label("meet")
    _meet(asm, code, asm.ld("%frame", FRAME_GLOBALS))
    learned = asm.call("ptr", "@find", "ptr %words", f"ptr {code}")
    met = asm.block
    asm.label("found")
    return asm.op(f"phi ptr [{known}, %{before}], [{learned}, %{met}]")


def _evaluate_quiet(asm: Fn, record: str, hooked: str) -> None:
    """Code of the table runs without hooks."""
    asm.label("quiet")
    asm.go_if(_flag(asm, record, OURS), "aside", unlikely=False)
    asm.st("i64", asm.ld("%words", EPOCH, "i64"), record, 8)
    asm.branch(_flag(asm, record, LOOKS), "look", "known")
    asm.label("look")
    _look(asm)
    asm.label("known")
    asm.go_if(asm.op(f"xor i1 {hooked}, true"), "same", unlikely=False)
    _switch(asm, False)
    result = _deeper(asm)
    _hook_again(asm, result)
    asm.ret(result)


def filter_text() -> str:
    """The module: `share(words)`, the hooks, and `evaluate`."""
    share = Fn("share", "void", words="ptr")
    share.do("store ptr %words, ptr @words")
    share.ret()
    here = Fn("here", "i64")
    here.ret(here.op(f"ptrtoint ptr {here.var('i64')} to i64"))
    head = "@words = internal global ptr null\n"
    return head + "".join(
        [
            _find(),
            _profile(),
            _trace(),
            _release(),
            _evaluate(),
            share.text(),
            here.text(),
            UNLIKELY,
        ]
    )
