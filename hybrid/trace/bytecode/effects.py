"""What each kind of instruction does to the frame of an abstract run.

Invariant: each effect covers all that the instruction may do; what is not understood is TOP, or
sets `Summary.unknown`.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from types import CodeType
from typing import Literal, TypeAlias

from .expressions import (
    EMPTY,
    NEW,
    NULLS,
    TOP,
    TOPS,
    Args,
    Call,
    Expr,
    Slot,
    Store,
    called_at,
    constant,
    constants,
    named,
    one,
)
from .frame import Frame

__all__ = ["EFFECTS", "BUILD_CLASS"]

Instruction: TypeAlias = dis.Instruction
BUILD_CLASS: Slot = one(named("glob", "__build_class__"))
SUPER: Slot = one(named("glob", "super"))
REMAINDER = 6  # BINARY_OP operand of %
FIRST_INPLACE = 13  # BINARY_OP operands from here on are the augmented assignments
LIST_TO_TUPLE, UNARY_POSITIVE, STOP_ITERATION = 6, 5, 3  # operands of CALL_INTRINSIC_1
_BEFORE_312, _BEFORE_313 = sys.version_info < (3, 12), sys.version_info < (3, 13)


def count_of(ins: Instruction) -> int:
    """The operand of an instruction that has one."""
    return ins.arg or 0


# ---- stack and control
def nothing(frame: Frame, ins: Instruction) -> None:
    pass


def defer(frame: Frame, ins: Instruction) -> None:
    frame.summary.unknown = ins.opname


def drop(frame: Frame, ins: Instruction) -> None:
    frame.drop(1)


def drop_two(frame: Frame, ins: Instruction) -> None:
    frame.drop(2)


def leave(frame: Frame, ins: Instruction) -> None:
    frame.goes = []


def unseen(frame: Frame, ins: Instruction) -> None:
    frame.stack.append(BUILD_CLASS if ins.opname == "LOAD_BUILD_CLASS" else TOPS)


def test(frame: Frame, ins: Instruction) -> None:
    frame.stack[-1] = TOPS


def push_null(frame: Frame, ins: Instruction) -> None:
    frame.stack.append(NULLS)


def push_exc(frame: Frame, ins: Instruction) -> None:
    frame.stack[-1:] = [TOPS, TOPS]


def copy(frame: Frame, ins: Instruction) -> None:
    frame.stack.append(frame.stack[-count_of(ins)])


def swap(frame: Frame, ins: Instruction) -> None:
    stack, below = frame.stack, -count_of(ins)
    stack[-1], stack[below] = stack[below], stack[-1]


def jump(frame: Frame, ins: Instruction) -> None:
    frame.goes = [frame.target(ins)]


def pop_jump(frame: Frame, ins: Instruction) -> None:
    frame.drop(1)
    frame.goes.append(frame.target(ins))


def jump_or_pop(frame: Frame, ins: Instruction) -> None:
    frame.flow(frame.target(ins), frame.stack)
    frame.drop(1)


def send_popping(frame: Frame, ins: Instruction) -> None:
    frame.flow(frame.target(ins), frame.stack[:-2] + [TOPS])
    frame.stack[-1] = TOPS


def send(frame: Frame, ins: Instruction) -> None:
    frame.stack[-1] = TOPS
    frame.flow(frame.target(ins), frame.stack)


def end_send(frame: Frame, ins: Instruction) -> None:
    del frame.stack[-2]


def cleanup_throw(frame: Frame, ins: Instruction) -> None:
    frame.stack[-3:] = [TOPS, TOPS]


def before_with(frame: Frame, ins: Instruction) -> None:
    manager = frame.stack[-1]
    frame.derive("attr", manager, "__enter__", ins.offset)
    frame.stack[-1] = frame.derive("attr", manager, "__exit__", ins.offset)
    frame.result(ins)


def intrinsic(frame: Frame, ins: Instruction) -> None:
    if ins.arg == LIST_TO_TUPLE:  # what it holds stays known
        return
    if ins.arg not in (STOP_ITERATION, UNARY_POSITIVE):
        frame.summary.unknown = f"{ins.opname} {ins.argrepr}"
    frame.stack[-1] = called_at(ins.offset)


# ---- names
def load_const(frame: Frame, ins: Instruction) -> None:
    value = ins.argval
    frame.stack.append(NEW if isinstance(value, CodeType) else one(constant(value)))


def load_fast(frame: Frame, ins: Instruction) -> None:
    frame.stack.append(frame.local(ins.argval))


def load_two(frame: Frame, ins: Instruction) -> None:
    frame.stack += [frame.local(name) for name in ins.argval]


def store_fast(frame: Frame, ins: Instruction) -> None:
    frame.store(ins.argval, frame.stack.pop())


def store_two(frame: Frame, ins: Instruction) -> None:
    for name in ins.argval:
        frame.store(name, frame.stack.pop())


def store_load(frame: Frame, ins: Instruction) -> None:
    stored, loaded = ins.argval
    frame.store(stored, frame.stack.pop())
    frame.stack.append(frame.variables[loaded])


def load_name(frame: Frame, ins: Instruction) -> None:
    name = named("glob", ins.argval)
    frame.read_name(name)
    value = one(name)
    if ins.opname != "LOAD_GLOBAL" or not count_of(ins) & 1:
        frame.stack.append(value)
    elif _BEFORE_313:
        frame.stack += [NULLS, value]
    else:
        frame.stack += [value, NULLS]


def store_name(frame: Frame, ins: Instruction) -> None:
    frame.drop(1)
    delete_name(frame, ins)


def delete_name(frame: Frame, ins: Instruction) -> None:
    frame.summary.stores.add(Store("glob", None, ins.argval, ins.offset))


def load_deref(frame: Frame, ins: Instruction) -> None:
    frame.stack.append(frame.cell(ins.argval))


def store_deref(frame: Frame, ins: Instruction) -> None:
    value = frame.stack.pop()
    if ins.argval in frame.code.co_cellvars:
        frame.store(ins.argval, value)
    else:
        delete_deref(frame, ins)


def delete_deref(frame: Frame, ins: Instruction) -> None:
    if ins.argval in frame.code.co_freevars:
        frame.summary.stores.add(Store("cell", None, ins.argval, ins.offset))


def import_name(frame: Frame, ins: Instruction) -> None:
    names = frame.stack.pop()
    frame.drop(1)
    module = Expr("import", None, (ins.argval, names == one(constant(None))))
    frame.summary.names.setdefault(module, ins.offset)
    frame.stack.append(one(module))


def import_from(frame: Frame, ins: Instruction) -> None:
    frame.stack.append(frame.derive("attr", frame.stack[-1], ins.argval, ins.offset))


# ---- attributes and items
def load_attr(frame: Frame, ins: Instruction) -> None:
    kind, slot = super_of(frame, frame.stack.pop())
    frame.stack.append(frame.derive(kind, slot, ins.argval, ins.offset))
    if not _BEFORE_312 and count_of(ins) & 1:
        frame.stack.append(slot)


def load_method(frame: Frame, ins: Instruction) -> None:
    kind, slot = super_of(frame, frame.stack.pop())
    frame.stack += [frame.derive(kind, slot, ins.argval, ins.offset), slot]


def super_of(frame: Frame, slot: Slot) -> tuple[Literal["attr", "super"], Slot]:
    """The object behind `super()`, whose attributes are looked up in its other classes."""
    expr = next(iter(slot)) if len(slot) == 1 else TOP
    if expr.kind != "call" or not frame.code.co_varnames:
        return "attr", slot
    callee, args = frame.summary.call(expr.at)
    if callee != SUPER or len(args) not in (0, 2):
        return "attr", slot
    return "super", args[1] if args else frame.variables[frame.code.co_varnames[0]]


def load_super_attr(frame: Frame, ins: Instruction) -> None:
    slot = frame.stack.pop()
    cls = frame.stack.pop()
    frame.drop(1)
    frame.summary.calls[ins.offset] = Call(SUPER, Args([cls, slot]))
    frame.read_name(named("glob", "super"))
    frame.stack.append(frame.derive("super", slot, ins.argval, ins.offset))
    if count_of(ins) & 1:
        frame.stack.append(slot)


def store_attr(frame: Frame, ins: Instruction) -> None:
    slot = frame.stack.pop()
    frame.drop(1)
    frame.summary.stores |= {Store("attr", e, ins.argval, ins.offset) for e in slot}


def delete_attr(frame: Frame, ins: Instruction) -> None:
    frame.summary.deletes.add(ins.offset)
    slot = frame.stack.pop()
    frame.summary.stores |= {Store("attr", e, ins.argval, ins.offset) for e in slot}


def read_item(frame: Frame, slot: Slot, key: Slot, at: int) -> Slot:
    """What `slot[key]` may be."""
    keys = constants(key)
    if keys:
        return EMPTY.union(*[frame.derive("item", slot, k, at) for k in keys])
    frame.derive("deep", key, None, at)
    return frame.derive("elem", slot, None, at)


def subscr(frame: Frame, ins: Instruction) -> None:
    key, slot = frame.stack.pop(), frame.stack.pop()
    frame.stack.append(read_item(frame, slot, key, ins.offset))


def binary_slice(frame: Frame, ins: Instruction) -> None:
    stop, start, slot = frame.stack.pop(), frame.stack.pop(), frame.stack.pop()
    frame.derive("deep", stop | start, None, ins.offset)
    frame.stack.append(frame.derive("elem", slot, None, ins.offset) | called_at(ins.offset))


def store_item(frame: Frame, slot: Slot, key: Slot, at: int) -> None:
    """`slot[key]` is stored to or deleted."""
    keys = constants(key)
    if keys and len(keys) == 1:
        frame.summary.stores |= {Store("item", e, keys[0], at) for e in slot}
    else:
        frame.derive("deep", key, None, at)
        frame.summary.stores |= {Store("all", e, None, at) for e in slot}


def store_subscr(frame: Frame, ins: Instruction) -> None:
    key, slot, value = frame.stack.pop(), frame.stack.pop(), frame.stack.pop()
    frame.derive("deep", value, None, ins.offset)  # `tensor[k] = nested list` reads the list
    store_item(frame, slot, key, ins.offset)


def store_slice(frame: Frame, ins: Instruction) -> None:
    stop, start, slot = frame.stack.pop(), frame.stack.pop(), frame.stack.pop()
    frame.derive("deep", stop | start | frame.stack.pop(), None, ins.offset)
    frame.summary.stores |= {Store("all", e, None, ins.offset) for e in slot}


def delete_subscr(frame: Frame, ins: Instruction) -> None:
    frame.summary.deletes.add(ins.offset)
    key, slot = frame.stack.pop(), frame.stack.pop()
    store_item(frame, slot, key, ins.offset)


def contains(frame: Frame, ins: Instruction) -> None:
    slot, key = frame.stack.pop(), frame.stack.pop()
    read_item(frame, slot, key, ins.offset)
    frame.stack.append(NEW)


def get_iter(frame: Frame, ins: Instruction) -> None:
    frame.stack[-1] |= {Expr("iter", None, None, ins.offset)}


def for_iter_popping(frame: Frame, ins: Instruction) -> None:
    frame.flow(frame.target(ins), frame.stack[:-1])
    frame.stack.append(frame.derive("elem", frame.stack[-1], None, ins.offset))


def for_iter(frame: Frame, ins: Instruction) -> None:
    # the compiler's view: the END_FOR at the target drops the item that was not there
    frame.flow(frame.target(ins), frame.stack + [EMPTY])
    frame.stack.append(frame.derive("elem", frame.stack[-1], None, ins.offset))


def unpack(frame: Frame, ins: Instruction) -> None:
    item = frame.derive("elem", frame.stack.pop(), None, ins.offset)
    frame.stack += [item] * count_of(ins)


def unpack_ex(frame: Frame, ins: Instruction) -> None:
    item = frame.derive("elem", frame.stack.pop(), None, ins.offset) | NEW
    before, after = count_of(ins) & 255, count_of(ins) >> 8  # of the starred one
    frame.stack += [item] * (before + 1 + after)


# ---- operators, containers, formatting
def unary(frame: Frame, ins: Instruction) -> None:
    frame.stack[-1] = called_at(ins.offset)


def is_(frame: Frame, ins: Instruction) -> None:
    right, left = frame.stack.pop(), frame.stack.pop()
    if constants(left) is None and constants(right) is None:
        frame.derive("same", left | right, None, ins.offset)
    frame.stack.append(NEW)


def compare(frame: Frame, ins: Instruction) -> None:
    right, left = frame.stack.pop(), frame.stack.pop()
    frame.derive("deep", left | right, None, ins.offset)  # list == list, str % dict, list + list
    frame.result(ins)


def binary(frame: Frame, ins: Instruction) -> None:
    left, operator = frame.stack[-2], count_of(ins)
    if operator % FIRST_INPLACE == REMAINDER:  # text % values
        frame.derive("text", frame.stack[-1], None, ins.offset)
    compare(frame, ins)
    if operator >= FIRST_INPLACE:
        frame.summary.stores |= {Store("inplace", e, None, ins.offset) for e in left}
        frame.stack[-1] |= left


def build(frame: Frame, ins: Instruction) -> None:
    counts = {"BUILD_MAP": 2 * count_of(ins), "BUILD_CONST_KEY_MAP": count_of(ins) + 1}
    items = frame.top(counts.get(ins.opname, count_of(ins)))
    if ins.opname == "BUILD_STRING":
        frame.result(ins)
    else:
        frame.stack.append(frame.boxed([e for slot in items for e in slot], ins.offset) | NEW)


def gather(frame: Frame, ins: Instruction) -> None:
    item = frame.stack.pop()
    frame.stack[-count_of(ins)] |= frame.boxed(item, ins.offset)


def gather_all(frame: Frame, ins: Instruction) -> None:
    items = frame.derive("elem", frame.stack.pop(), None, ins.offset)
    frame.stack[-count_of(ins)] |= frame.boxed(items, ins.offset)


def map_add(frame: Frame, ins: Instruction) -> None:
    value, key = frame.stack.pop(), frame.stack.pop()
    frame.stack[-count_of(ins)] |= frame.boxed(value | key, ins.offset)


def format_value(frame: Frame, ins: Instruction) -> None:
    if count_of(ins) & 4:
        frame.drop(1)
    format_simple(frame, ins)


def format_simple(frame: Frame, ins: Instruction) -> None:
    frame.derive("text", frame.stack.pop(), None, ins.offset)
    frame.result(ins)


def format_spec(frame: Frame, ins: Instruction) -> None:
    frame.drop(1)
    format_simple(frame, ins)


# ---- functions and calls
def make_function(frame: Frame, ins: Instruction) -> None:
    frame.drop(count_of(ins).bit_count() + 1)  # one slot for each flag, and the code
    frame.stack.append(NEW)


def make_function_plain(frame: Frame, ins: Instruction) -> None:
    frame.stack[-1] = NEW


def set_function_attribute(frame: Frame, ins: Instruction) -> None:
    del frame.stack[-2]


def call(frame: Frame, ins: Instruction) -> None:
    args = frame.top(count_of(ins))
    upper, lower = frame.stack.pop(), frame.stack.pop()
    method = NULLS not in (lower, upper)
    callee = upper if lower == NULLS else lower
    arguments = Args([upper, *args] if method else args, method)
    frame.summary.calls[ins.offset] = Call(callee, arguments)
    frame.result(ins)


def call_kw(frame: Frame, ins: Instruction) -> None:
    frame.drop(1)
    call(frame, ins)


def call_ex(frame: Frame, ins: Instruction) -> None:
    args = [frame.stack.pop() for _ in range((count_of(ins) & 1) + 1)]
    callee = frame.stack.pop()
    if not _BEFORE_313:  # callable, NULL, args
        callee = frame.stack.pop()
    elif frame.stack and frame.stack[-1] == NULLS:
        frame.stack.pop()
    every = args + [frame.derive("elem", slot, None, ins.offset) for slot in args]
    frame.summary.calls[ins.offset] = Call(callee, Args(every, spread=True))
    frame.result(ins)


EFFECTS: dict[str, Callable[[Frame, Instruction], None]] = {
    effect.__name__: effect
    for effect in (
        *(nothing, defer, drop, drop_two, leave, unseen, test, push_null, push_exc, copy, swap),
        *(jump, pop_jump, jump_or_pop, send, send_popping, end_send, cleanup_throw, before_with),
        *(intrinsic, load_const, load_fast, load_two, store_fast, store_two, store_load),
        *(load_name, store_name, delete_name, load_deref, store_deref, delete_deref),
        *(import_name, import_from, load_attr, load_method, load_super_attr, store_attr),
        *(delete_attr, subscr, binary_slice, store_subscr, store_slice, delete_subscr, contains),
        *(get_iter, for_iter, for_iter_popping, unpack, unpack_ex, unary, is_, compare, binary),
        *(build, gather, gather_all, map_add, format_value, format_simple, format_spec),
        *(make_function, make_function_plain, set_function_attribute, call, call_kw, call_ex),
    )
}
EFFECTS["convert_value"] = format_simple
