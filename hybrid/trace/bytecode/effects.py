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
from .matching import look_inside, match_keys

__all__ = ["EFFECTS", "BUILD_CLASS"]

Instruction: TypeAlias = dis.Instruction
BUILD_CLASS: Slot = one(named("glob", "__build_class__"))
SUPER: Slot = one(named("glob", "super"))
REMAINDER = 6  # BINARY_OP operand of %
FIRST_INPLACE = 13  # BINARY_OP operands from here on are the augmented assignments
LIST_TO_TUPLE, UNARY_POSITIVE, STOP_ITERATION = 6, 5, 3  # operands of CALL_INTRINSIC_1
_BEFORE_312, _BEFORE_313 = sys.version_info < (3, 12), sys.version_info < (3, 13)


def count_of(instruction: Instruction) -> int:
    """The operand of an instruction that has one."""
    return instruction.arg or 0


# ---- stack and control
def nothing(frame: Frame, instruction: Instruction) -> None:
    pass


def defer(frame: Frame, instruction: Instruction) -> None:
    frame.summary.unknown = instruction.opname


def drop(frame: Frame, instruction: Instruction) -> None:
    frame.drop(1)


def drop_two(frame: Frame, instruction: Instruction) -> None:
    frame.drop(2)


def leave(frame: Frame, instruction: Instruction) -> None:
    frame.goes = []


def unseen(frame: Frame, instruction: Instruction) -> None:
    frame.stack.append(BUILD_CLASS if instruction.opname == "LOAD_BUILD_CLASS" else TOPS)


def test(frame: Frame, instruction: Instruction) -> None:
    frame.stack[-1] = TOPS


def push_null(frame: Frame, instruction: Instruction) -> None:
    frame.stack.append(NULLS)


def push_exc(frame: Frame, instruction: Instruction) -> None:
    frame.stack[-1:] = [TOPS, TOPS]


def copy(frame: Frame, instruction: Instruction) -> None:
    frame.stack.append(frame.stack[-count_of(instruction)])


def swap(frame: Frame, instruction: Instruction) -> None:
    stack, below = frame.stack, -count_of(instruction)
    stack[-1], stack[below] = stack[below], stack[-1]


def jump(frame: Frame, instruction: Instruction) -> None:
    frame.goes = [frame.target(instruction)]


def pop_jump(frame: Frame, instruction: Instruction) -> None:
    if "NONE" not in instruction.opname:
        frame.derive("truth", frame.stack[-1], None, instruction.offset)
    frame.drop(1)
    frame.goes.append(frame.target(instruction))


def jump_or_pop(frame: Frame, instruction: Instruction) -> None:
    frame.derive("truth", frame.stack[-1], None, instruction.offset)
    frame.flow(frame.target(instruction), frame.stack)
    frame.drop(1)


def send_popping(frame: Frame, instruction: Instruction) -> None:
    frame.flow(frame.target(instruction), frame.stack[:-2] + [TOPS])
    frame.stack[-1] = TOPS


def send(frame: Frame, instruction: Instruction) -> None:
    frame.stack[-1] = TOPS
    frame.flow(frame.target(instruction), frame.stack)


def end_send(frame: Frame, instruction: Instruction) -> None:
    del frame.stack[-2]


def cleanup_throw(frame: Frame, instruction: Instruction) -> None:
    frame.stack[-3:] = [TOPS, TOPS]


def before_with(frame: Frame, instruction: Instruction) -> None:
    manager = frame.stack[-1]
    frame.derive("attr", manager, "__enter__", instruction.offset)
    frame.stack[-1] = frame.derive("attr", manager, "__exit__", instruction.offset)
    frame.result(instruction)


def to_tuple(frame: Frame, instruction: Instruction) -> None:
    """A list that nothing else has becomes a tuple: it holds what was seen to go into it."""
    frame.stack[-1] = (frame.stack[-1] - NEW) | one(Expr("box", constant(())))


def intrinsic(frame: Frame, instruction: Instruction) -> None:
    if instruction.arg == LIST_TO_TUPLE:
        to_tuple(frame, instruction)
        return
    if instruction.arg not in (STOP_ITERATION, UNARY_POSITIVE):
        frame.summary.unknown = f"{instruction.opname} {instruction.argrepr}"
    frame.stack[-1] = called_at(instruction.offset)


# ---- names
def load_const(frame: Frame, instruction: Instruction) -> None:
    value = instruction.argval
    frame.stack.append(NEW if isinstance(value, CodeType) else one(constant(value)))


def load_fast(frame: Frame, instruction: Instruction) -> None:
    frame.stack.append(frame.local(instruction.argval))


def load_two(frame: Frame, instruction: Instruction) -> None:
    frame.stack += [frame.local(name) for name in instruction.argval]


def store_fast(frame: Frame, instruction: Instruction) -> None:
    frame.store(instruction.argval, frame.stack.pop())


def store_two(frame: Frame, instruction: Instruction) -> None:
    for name in instruction.argval:
        frame.store(name, frame.stack.pop())


def store_load(frame: Frame, instruction: Instruction) -> None:
    stored, loaded = instruction.argval
    frame.store(stored, frame.stack.pop())
    frame.stack.append(frame.variables[loaded])


def load_name(frame: Frame, instruction: Instruction) -> None:
    name = named("glob", instruction.argval)
    frame.read_name(name)
    value = one(name)
    if instruction.opname != "LOAD_GLOBAL" or not count_of(instruction) & 1:
        frame.stack.append(value)
    elif _BEFORE_313:
        frame.stack += [NULLS, value]
    else:
        frame.stack += [value, NULLS]


def store_name(frame: Frame, instruction: Instruction) -> None:
    frame.drop(1)
    delete_name(frame, instruction)


def delete_name(frame: Frame, instruction: Instruction) -> None:
    frame.summary.stores.add(Store("glob", None, instruction.argval, instruction.offset))


def load_deref(frame: Frame, instruction: Instruction) -> None:
    frame.stack.append(frame.cell(instruction.argval))


def store_deref(frame: Frame, instruction: Instruction) -> None:
    value = frame.stack.pop()
    if instruction.argval in frame.code.co_cellvars:
        frame.store(instruction.argval, value)
    else:
        delete_deref(frame, instruction)


def delete_deref(frame: Frame, instruction: Instruction) -> None:
    if instruction.argval in frame.code.co_freevars:
        frame.summary.stores.add(Store("cell", None, instruction.argval, instruction.offset))


def import_name(frame: Frame, instruction: Instruction) -> None:
    names = frame.stack.pop()
    frame.drop(1)
    module = Expr("import", None, (instruction.argval, names == one(constant(None))))
    frame.summary.names.setdefault(module, instruction.offset)
    frame.stack.append(one(module))


def import_from(frame: Frame, instruction: Instruction) -> None:
    frame.stack.append(
        frame.derive("attr", frame.stack[-1], instruction.argval, instruction.offset)
    )


# ---- attributes and items
def load_attr(frame: Frame, instruction: Instruction) -> None:
    kind, slot = super_of(frame, frame.stack.pop())
    frame.stack.append(frame.derive(kind, slot, instruction.argval, instruction.offset))
    if not _BEFORE_312 and count_of(instruction) & 1:
        frame.stack.append(slot)


def load_method(frame: Frame, instruction: Instruction) -> None:
    kind, slot = super_of(frame, frame.stack.pop())
    frame.stack += [frame.derive(kind, slot, instruction.argval, instruction.offset), slot]


def super_of(frame: Frame, slot: Slot) -> tuple[Literal["attr", "super"], Slot]:
    """The object behind `super()`, whose attributes are looked up in its other classes."""
    expression = next(iter(slot)) if len(slot) == 1 else TOP
    if expression.kind != "call" or not frame.code.co_varnames:
        return "attr", slot
    callee, args = frame.summary.call(expression.at)
    if callee != SUPER or len(args) not in (0, 2):
        return "attr", slot
    return "super", args[1] if args else frame.variables[frame.code.co_varnames[0]]


def load_super_attr(frame: Frame, instruction: Instruction) -> None:
    slot = frame.stack.pop()
    cls = frame.stack.pop()
    frame.drop(1)
    frame.summary.calls[instruction.offset] = Call(SUPER, Args([cls, slot]))
    frame.read_name(named("glob", "super"))
    frame.stack.append(frame.derive("super", slot, instruction.argval, instruction.offset))
    if count_of(instruction) & 1:
        frame.stack.append(slot)


def store_attr(frame: Frame, instruction: Instruction) -> None:
    slot = frame.stack.pop()
    frame.drop(1)
    frame.summary.stores |= {Store("attr", e, instruction.argval, instruction.offset) for e in slot}


def delete_attr(frame: Frame, instruction: Instruction) -> None:
    frame.summary.deletes.add(instruction.offset)
    slot = frame.stack.pop()
    frame.summary.stores |= {Store("attr", e, instruction.argval, instruction.offset) for e in slot}


def read_item(frame: Frame, slot: Slot, key: Slot, offset: int) -> Slot:
    """What `slot[key]` may be."""
    keys = constants(key)
    if keys:
        return EMPTY.union(*[frame.derive("item", slot, k, offset) for k in keys])
    frame.derive("deep", key, None, offset)
    return frame.derive("elem", slot, None, offset)


def subscr(frame: Frame, instruction: Instruction) -> None:
    key, slot = frame.stack.pop(), frame.stack.pop()
    frame.stack.append(read_item(frame, slot, key, instruction.offset))


def binary_slice(frame: Frame, instruction: Instruction) -> None:
    stop, start, slot = frame.stack.pop(), frame.stack.pop(), frame.stack.pop()
    frame.derive("deep", stop | start, None, instruction.offset)
    frame.stack.append(
        frame.derive("elem", slot, None, instruction.offset) | called_at(instruction.offset)
    )


def store_item(frame: Frame, slot: Slot, key: Slot, offset: int) -> None:
    """`slot[key]` is stored to or deleted."""
    keys = constants(key)
    if keys and len(keys) == 1:
        frame.summary.stores |= {Store("item", e, keys[0], offset) for e in slot}
    else:
        frame.derive("deep", key, None, offset)
        frame.summary.stores |= {Store("all", e, None, offset) for e in slot}


def store_subscr(frame: Frame, instruction: Instruction) -> None:
    key, slot, value = frame.stack.pop(), frame.stack.pop(), frame.stack.pop()
    frame.derive("deep", value, None, instruction.offset)  # a nested list given to a tensor
    store_item(frame, slot, key, instruction.offset)


def store_slice(frame: Frame, instruction: Instruction) -> None:
    stop, start, slot = frame.stack.pop(), frame.stack.pop(), frame.stack.pop()
    frame.derive("deep", stop | start | frame.stack.pop(), None, instruction.offset)
    frame.summary.stores |= {Store("all", e, None, instruction.offset) for e in slot}


def delete_subscr(frame: Frame, instruction: Instruction) -> None:
    frame.summary.deletes.add(instruction.offset)
    key, slot = frame.stack.pop(), frame.stack.pop()
    store_item(frame, slot, key, instruction.offset)


def contains(frame: Frame, instruction: Instruction) -> None:
    slot, key = frame.stack.pop(), frame.stack.pop()
    read_item(frame, slot, key, instruction.offset)
    frame.derive("sought", slot | key, None, instruction.offset)
    frame.stack.append(NEW)


def get_iter(frame: Frame, instruction: Instruction) -> None:
    frame.stack[-1] |= {Expr("iter", None, None, instruction.offset)}


def for_iter_popping(frame: Frame, instruction: Instruction) -> None:
    frame.flow(frame.target(instruction), frame.stack[:-1])
    frame.stack.append(frame.derive("elem", frame.stack[-1], None, instruction.offset))


def for_iter(frame: Frame, instruction: Instruction) -> None:
    # the compiler's view: the END_FOR at the target drops the item that was not there
    frame.flow(frame.target(instruction), frame.stack + [EMPTY])
    frame.stack.append(frame.derive("elem", frame.stack[-1], None, instruction.offset))


def unpack(frame: Frame, instruction: Instruction) -> None:
    item = frame.derive("elem", frame.stack.pop(), None, instruction.offset)
    frame.stack += [item] * count_of(instruction)


def unpack_ex(frame: Frame, instruction: Instruction) -> None:
    item = frame.derive("elem", frame.stack.pop(), None, instruction.offset) | NEW
    before, after = count_of(instruction) & 255, count_of(instruction) >> 8  # of the starred one
    frame.stack += [item] * (before + 1 + after)


# ---- operators, containers, formatting
def unary(frame: Frame, instruction: Instruction) -> None:
    if instruction.opname in ("UNARY_NOT", "TO_BOOL"):
        frame.derive("truth", frame.stack[-1], None, instruction.offset)
    frame.stack[-1] = called_at(instruction.offset)


def is_(frame: Frame, instruction: Instruction) -> None:
    right, left = frame.stack.pop(), frame.stack.pop()
    if constants(left) is None and constants(right) is None:
        frame.derive("same", left | right, None, instruction.offset)
    frame.stack.append(NEW)


def compare(frame: Frame, instruction: Instruction) -> None:
    right, left = frame.stack.pop(), frame.stack.pop()
    # list == list, str % dict, list + list
    frame.derive("deep", left | right, None, instruction.offset)
    frame.result(instruction)


def binary(frame: Frame, instruction: Instruction) -> None:
    left, operator = frame.stack[-2], count_of(instruction)
    if operator % FIRST_INPLACE == REMAINDER:  # text % values
        frame.derive("text", frame.stack[-1], None, instruction.offset)
    compare(frame, instruction)
    if operator >= FIRST_INPLACE:
        frame.summary.stores |= {Store("inplace", e, None, instruction.offset) for e in left}
        frame.stack[-1] |= left


def build(frame: Frame, instruction: Instruction) -> None:
    counts = {
        "BUILD_MAP": 2 * count_of(instruction),
        "BUILD_CONST_KEY_MAP": count_of(instruction) + 1,
    }
    items = frame.top(counts.get(instruction.opname, count_of(instruction)))
    if instruction.opname == "BUILD_STRING":
        frame.result(instruction)
    else:
        frame.stack.append(
            frame.boxed([e for slot in items for e in slot], instruction.offset) | NEW
        )


def gather(frame: Frame, instruction: Instruction) -> None:
    item = frame.stack.pop()
    frame.stack[-count_of(instruction)] |= frame.boxed(item, instruction.offset)


def gather_all(frame: Frame, instruction: Instruction) -> None:
    items = frame.derive("elem", frame.stack.pop(), None, instruction.offset)
    frame.stack[-count_of(instruction)] |= frame.boxed(items, instruction.offset)


def map_add(frame: Frame, instruction: Instruction) -> None:
    value, key = frame.stack.pop(), frame.stack.pop()
    frame.stack[-count_of(instruction)] |= frame.boxed(value | key, instruction.offset)


def format_value(frame: Frame, instruction: Instruction) -> None:
    if count_of(instruction) & 4:
        frame.drop(1)
    format_simple(frame, instruction)


def format_simple(frame: Frame, instruction: Instruction) -> None:
    frame.derive("text", frame.stack.pop(), None, instruction.offset)
    frame.result(instruction)


def format_spec(frame: Frame, instruction: Instruction) -> None:
    frame.drop(1)
    format_simple(frame, instruction)


# ---- functions and calls
def make_function(frame: Frame, instruction: Instruction) -> None:
    frame.drop(count_of(instruction).bit_count() + 1)  # one slot for each flag, and the code
    frame.stack.append(NEW)


def make_function_plain(frame: Frame, instruction: Instruction) -> None:
    frame.stack[-1] = NEW


def set_function_attribute(frame: Frame, instruction: Instruction) -> None:
    del frame.stack[-2]


def call(frame: Frame, instruction: Instruction) -> None:
    args = frame.top(count_of(instruction))
    upper, lower = frame.stack.pop(), frame.stack.pop()
    method = NULLS not in (lower, upper)
    callee = upper if lower == NULLS else lower
    arguments = Args([upper, *args] if method else args, method)
    frame.summary.calls[instruction.offset] = Call(callee, arguments)
    frame.result(instruction)


def call_kw(frame: Frame, instruction: Instruction) -> None:
    frame.drop(1)
    call(frame, instruction)


def call_ex(frame: Frame, instruction: Instruction) -> None:
    args = [frame.stack.pop() for _ in range((count_of(instruction) & 1) + 1)]
    if len(args) == 2 and frame.instructions[frame.now - 1].opname == "DICT_MERGE":
        args[0] -= NEW  # a dict that nobody else had: in it is what was gathered
    callee = frame.stack.pop()
    if not _BEFORE_313:  # callable, NULL, args
        callee = frame.stack.pop()
    elif frame.stack and frame.stack[-1] == NULLS:
        frame.stack.pop()
    every = args + [frame.derive("elem", slot, None, instruction.offset) for slot in args]
    frame.summary.calls[instruction.offset] = Call(callee, Args(every, spread=True))
    frame.result(instruction)


EFFECTS: dict[str, Callable[[Frame, Instruction], None]] = {
    effect.__name__: effect
    for effect in (
        *(nothing, defer, drop, drop_two, leave, unseen, test, push_null, push_exc, copy, swap),
        *(jump, pop_jump, jump_or_pop, send, send_popping, end_send, cleanup_throw, before_with),
        *(intrinsic, to_tuple, load_const, load_fast, load_two, store_fast, store_two, store_load),
        *(load_name, store_name, delete_name, load_deref, store_deref, delete_deref),
        *(import_name, import_from, load_attr, load_method, load_super_attr, store_attr),
        *(delete_attr, subscr, binary_slice, store_subscr, store_slice, delete_subscr, contains),
        *(get_iter, for_iter, for_iter_popping, unpack, unpack_ex, unary, is_, compare, binary),
        *(build, gather, gather_all, map_add, format_value, format_simple, format_spec),
        *(make_function, make_function_plain, set_function_attribute, call, call_kw, call_ex),
        *(look_inside, match_keys),
    )
}
EFFECTS["convert_value"] = format_simple
