"""Calls that user code makes: changes of built-in containers, builtins that compute with numbers,
Python functions that numbers are handed to, and reads of tensors.

Invariant: what a call gives is followed only where it is plain which code made it.
"""

from __future__ import annotations

import collections
import dis
import types
from collections.abc import Callable
from typing import Any

from ...ir.tensor import RUNTIME, Handle
from ..bytecode.host_reads import HOW
from ..heap.allowlist import MISSING, is_a, lookup
from ..heap.walks import CACHED
from ..host.table import host_function
from .arrays.computed import NOWHERE, is_array, of_call
from .arrays.numbers import offer_numbers
from .arrays.offers import close_offer, offer_arrays
from .arrays.scalars import of_number
from .follower import COMPREHENSIONS, Follower
from .fresh.builtins import of_builtin
from .fresh.methods import of_method
from .fresh.model import Fresh, Produced, fresh_in, item_of, plainly, real_of
from .fresh.records import made_record, record_in, replaced
from .hosted.cached import cached_call
from .hosted.calls import called_again
from .hosted.recall import recalled, spread, spread_names
from .hosted.texts import of_tensor, text_of
from .machine import (
    CREATED,
    NULL,
    TENSOR,
    UNKNOWN,
    UNSEEN,
    StackSlot,
    Stepper,
    classes,
    numeric,
    value_of,
)
from .operands import offer_arguments, offer_made
from .places import Method, item
from .terms import BUILTINS, CLASSES, MATH, HostRead, Live, Load, is_number

__all__ = [
    "CHANGED",
    "MAKES",
    "RETURNED",
    "Effect",
    "Instruction",
    "call",
    "call_spread",
    "kw_names",
]
__all__ += ["numbers", "push", "push_slot"]

Instruction = dis.Instruction
Effect = Callable[[Follower, Stepper, types.FrameType, Instruction], None]
_LIST: tuple[Method, ...] = "append", "extend", "clear", "pop"
_DICT: tuple[Method, ...] = "clear", "pop"
_SET: tuple[Method, ...] = "add", "clear", "discard"
_DEQUE: tuple[Method, ...] = "append", "appendleft", "extend", "clear", "pop", "popleft"
# by id: asking for a class itself runs a hash of its metaclass
CHANGED: dict[int, dict[str, Method]] = {
    id(cls): {name: name for name in names}
    for cls, names in ((list, _LIST), (dict, _DICT), (set, _SET), (collections.deque, _DEQUE))
}


LOOKS_UP = "get", "setdefault"  # methods of dicts that give what is at a key, if it is there
MAKES = "<makes>"  # the method of a slot that holds the function of a generator expression
RETURNED = "<tuple>"  # the method of a stack slot that holds a tuple which a call gave
# builtins that change nothing, iterators among their arguments included
ONLY_LOOKING = (len, isinstance, abs, min, max, round, float, int, bool, range)


def push(machine: Stepper, value: Any) -> None:
    """Put an object on the stack; tensors are not held, for references to them are counted."""
    machine.stack.append(UNSEEN if issubclass(type(value), Handle) else StackSlot(value))


def push_slot(machine: Stepper, slot: StackSlot) -> None:
    held = issubclass(type(slot.value), Handle) and slot.term is None
    machine.stack.append(UNSEEN if held else slot)


def numbers(frame: types.FrameType, slots: list[StackSlot]) -> list[StackSlot]:
    """The slots, with the objects in variables where a number may be among them."""
    followed = any(slot.term is not None for slot in slots)
    if not followed:
        return slots
    return [slot._replace(value=value_of(frame, slot)) for slot in slots]


# ---- calls
def kw_names(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    machine.names = machine.code.co_consts[instruction.arg or 0]


def call(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    follow.calls[id(machine.code), machine.offset] += 1
    count = instruction.arg or 0
    arguments = machine.stack[len(machine.stack) - count :] if count else []
    del machine.stack[len(machine.stack) - count :]
    upper, lower = machine.stack.pop(), machine.stack.pop()
    names, machine.names = machine.names, ()
    if lower.method == MAKES:
        machine.stack.append(StackSlot(term=Produced(lower.value, upper, machine)))
        return
    changing: dict[str, Method] = {}
    if lower is NULL or upper is NULL:
        callee, given = (upper if lower is NULL else lower), arguments
    else:
        if _of_container(follow, machine, frame, lower.method, upper, arguments, names):
            return
        if isinstance(upper.term, Live) and upper.term.lost:
            upper = StackSlot(value_of(frame, upper))
        callee, given = lower, [upper, *arguments]
        changing = CHANGED.get(id(type(upper.value)), {})
    method = None if names else changing.get(callee.method)
    if method is not None:
        _mutation(follow, machine, frame, upper.value, method, arguments)
        return
    function, first = value_of(frame, callee), len(machine.stack) + 2 + count - len(given)
    whole = follow, machine, frame, function, given, names, first
    if not follow.regions and (of_builtin(*whole) or made_record(*whole)):
        return
    if any(isinstance(s.term, Live) and type(s.term) is not Fresh for s in given):
        _python(follow, machine, frame, callee, function, given, names, first)
        return
    if not cached_call(follow, machine, frame, function, given, names, first):
        _of_values(follow, machine, frame, callee, function, given, names, first, count)


def _of_values(
    follow: Follower,
    machine: Stepper,
    frame: types.FrameType,
    callee: StackSlot,
    function: Any,
    given: list[StackSlot],
    names: tuple[str, ...],
    first: int,
    count: int,
) -> None:
    """A call that gets no iterator over a container which the call made, nor a view of one."""
    passed, given = given, [plainly(follow, slot) for slot in given]
    if _recalls(function, given):
        given = recalled(machine, frame, given, first, boxes=True)
    if called_again(follow, machine, frame, function, given, names):
        return
    special = _special(follow, machine, frame, function, given, names, first, count)
    if special is not None:
        machine.stack.append(special)
        return
    passed = [slot if isinstance(slot.term, Live) else new for slot, new in zip(passed, given)]
    _python(follow, machine, frame, callee, function, passed, names, first)


def _special(
    follow: Follower,
    machine: Stepper,
    frame: types.FrameType,
    function: Any,
    given: list[StackSlot],
    names: tuple[str, ...],
    first: int,
    count: int,
) -> StackSlot | None:
    """What a call computes of followed numbers, texts and arrays; None: it does not."""
    arguments = given[len(given) - count :]
    special = None if names else of_number(follow, machine, frame, function, given)
    if special is None and not names:
        special = _computed(follow, machine, frame, function, arguments)
    if special is None:
        special = None if names else text_of(frame, function, given)
        special = special or of_call(follow, machine, frame, function, given, names, first)
        pure = special is not None and special.method != CREATED
        follow.pure_calls.update([(id(machine.code), machine.offset)] if pure else ())
    return special


def _of_container(
    follow: Follower,
    machine: Stepper,
    frame: types.FrameType,
    name: str,
    owner: StackSlot,
    arguments: list[StackSlot],
    names: tuple[str, ...],
) -> bool:
    """A method of a container that the call made, or a look-up in an older dict; false: what it
    does is not followed."""
    box, found = fresh_in(owner), None
    if record_in(owner) is not None and name == "_replace":
        first = len(machine.stack) + 2
        slots = [item_of(machine, frame, slot, first + k) for k, slot in enumerate(arguments)]
        made = None if follow.regions else replaced(owner, slots, names)
        follow.escape([] if made is not None else [owner, *arguments])
        machine.stack.append(UNSEEN if made is None else StackSlot(term=made))
        return True
    if box is None or not name:
        plain = name in LOOKS_UP and not names and owner.term is None
        return plain and _found_by_default(follow, machine, frame, owner, arguments)
    if not follow.regions:
        found = of_method(follow, machine, frame, box, name, arguments, names)
    if found is None:
        follow.escape([owner, *arguments])
        return False
    machine.stack.append(found)
    return True


def _found_by_default(
    follow: Follower,
    machine: Stepper,
    frame: types.FrameType,
    owner: StackSlot,
    arguments: list[StackSlot],
) -> bool:
    """`d.get(key)` or `d.setdefault(key, default)` where the key is there: what is held there."""
    place = len(machine.stack) + 2
    if not arguments or arguments[0].term is not None:
        return False
    key = real_of(machine, frame, arguments[0], place)
    spot, value = item(owner.value, key)
    if spot is None or value is MISSING:
        return False
    at = id(machine.code), machine.offset
    follow.looked_up.setdefault(at, []).append((owner.value, key))
    push_slot(machine, follow.load(machine, spot, value))
    return True


def _recalls(function: Any, given: list[StackSlot]) -> bool:
    """Whether it matters what the arguments of a call are."""
    if any(slot.term is not None for slot in given):
        return True
    owner = given[0].value if given and not is_a(function, types.MethodType) else None
    return host_function(function, owner) is not None


def _mutation(
    follow: Follower,
    machine: Stepper,
    frame: types.FrameType,
    owner: Any,
    method: Method,
    arguments: list[StackSlot],
) -> None:
    """A method that changes a built-in container."""
    slots = [slot._replace(value=value_of(frame, slot)) for slot in arguments]
    before = len(owner)
    follow.mutate(machine, owner, method, slots)
    mutation = follow.mutations[-1]
    machine.stack.append(UNSEEN)

    def finish(follow: Follower, offset: int) -> None:
        follow.changed(mutation, before)
        following = machine.instructions.get(offset)
        if method in ("pop", "popleft") and (following is None or following.opname != "POP_TOP"):
            follow.contents.mixed.add(id(owner))  # what it took out is used

    machine.finish = finish


def _computed(
    follow: Follower,
    machine: Stepper,
    frame: types.FrameType,
    function: Any,
    arguments: list[StackSlot],
) -> StackSlot | None:
    """A builtin that computes with a number or gives one of a container."""
    if function is len and len(arguments) == 1:
        owner = value_of(frame, arguments[0])
        if id(owner) in follow.data and type(owner) is list:
            return StackSlot(len(owner))  # the signature tells
        if type(owner) is list:
            follow.measured.add((id(machine.code), machine.offset, id(owner)))
            return follow.length(owner)
    if function is range and arguments:
        given = [value_of(frame, slot) for slot in arguments]
        whole = all(type(value) is int for value in given)
        if whole and not any(slot.term is not None for slot in arguments):
            return StackSlot(range(*given))
    slots = numbers(frame, arguments)
    if not any(slot.term for slot in slots):
        return None
    symbol = next((s for s, builtin in BUILTINS.items() if function is builtin), None)
    if symbol is None:
        return _other_builtin(follow, function, slots)
    several = symbol in ("min", "max", "round") and len(slots) > 1
    alone = symbol not in ("min", "max") and len(slots) == 1
    if not (several or alone) or not all(map(numeric, slots)):
        return None
    return follow.compute(symbol, *slots)


def _other_builtin(follow: Follower, function: Any, slots: list[StackSlot]) -> StackSlot | None:
    """A function of the standard library, or a question about the type of a number, which is the
    same in each call."""
    symbol = next((s for s, known in MATH.items() if function is known), None)
    symbol = None if symbol in CLASSES else symbol
    if symbol is not None and all(is_number(slot.value) for slot in slots):
        return follow.compute(symbol, *slots)
    first, *others = slots
    if type(first.term) is not Load or any(slot.term is not None for slot in others):
        return None
    if function is type and not others:
        return StackSlot(type(first.value))
    if function is isinstance and len(others) == 1:
        kinds = classes(others[0].value)
        if kinds is not None:
            return StackSlot(isinstance(first.value, kinds))
    return None


def _python(
    follow: Follower,
    machine: Stepper,
    frame: types.FrameType,
    callee: StackSlot,
    function: Any,
    given: list[StackSlot],
    names: tuple[str, ...],
    first: int,
) -> None:
    """Any other call: Python code gets its arguments where they are plain, the rest escape."""
    follow.called.add((id(machine.code), machine.offset))
    kept = function if function is not UNKNOWN else callee.value
    machine.names = names
    machine.passed = [StackSlot(kept), *given]
    machine.stack.append(UNSEEN)
    method = lookup(RUNTIME.tensor, callee.method) if kept is UNKNOWN and callee.method else kept
    offer = _offered(follow, frame, method, given, names)
    arrays = offer_arrays(follow, machine, frame, given, first, method)
    made = offer_numbers(follow, machine, frame, method, given, first)

    def finish(follow: Follower, offset: int) -> None:
        python = machine.entered or machine.returned
        if is_a(function, type) or not python:
            follow.impure += not any(function is builtin for builtin in ONLY_LOOKING)
        machine.names = ()
        passed, machine.passed = machine.passed, []
        if arrays is not None:
            arrays.broken = arrays.broken or bool(machine.entered)
            passed = [s for s in passed if not any(s.term is a.term for a in arrays.slots)]
            passed += close_offer(follow, machine, arrays)
        follow.made = None
        for one in (offer, made):
            if one is not None:
                others = [s for s in passed if not any(s.term is o.term for o in one.slots)]
                passed = [*others, *one.left()]
        follow.escape(passed)
        machine.stack[-1] = _outcome(follow, machine, callee, function)

    machine.finish = finish


def _offered(
    follow: Follower,
    frame: types.FrameType,
    function: Any,
    given: list[StackSlot],
    names: tuple[str, ...],
) -> Any:
    """The numbers among the arguments that are on offer as operands."""
    known = [UNSEEN if isinstance(slot.term, Live) else slot for slot in given]
    slots = numbers(frame, known)
    offer = offer_made(follow, frame, function, slots, names)
    if offer is None and not names:
        offer = offer_arguments(follow, frame, function, slots)
    return offer


def _outcome(follow: Follower, machine: Stepper, callee: StackSlot, function: Any) -> StackSlot:
    """What a call gave."""
    if machine.reads:
        if function is str or function is repr:
            return of_tensor(machine, StackSlot(""))
        asked = _asks_tensor(follow, machine, function)
        if asked is not None:
            return asked
        if len(machine.reads) == 1 and machine.returned:
            number, how, serial = machine.reads[0]
            kind, value = HOW.get(how, ""), machine.returned[-1]
            named = callee.method == kind and bool(kind)
            converts = (function is float and how == "float()") or (
                function is int and how == "int()"
            )
            if (named or converts) and not machine.entered:
                machine.reads = []  # nothing else saw it
                return StackSlot(value, HostRead(number, how, serial))
        return UNSEEN
    if len(machine.entered) == 1 and machine.entered[0].code.co_name in COMPREHENSIONS:
        return follow.results.pop(id(machine.entered[0]), UNSEEN)
    if len(machine.entered) == 1 and len(machine.returned) == 1:
        inner, value = machine.entered[0], machine.returned[0]
        body = getattr(function, "__func__", function)
        if type(body) is not types.FunctionType:
            body = lookup(type(function), "__call__")
        if inner.function is body and type(body) is types.FunctionType:
            seen = StackSlot(method=RETURNED) if type(value) is tuple else UNSEEN
            plainly = StackSlot(value) if is_number(value) else seen
            slot = follow.results.pop(id(inner), plainly)
            follow.fresh.update({id(value): value} if is_array(slot) else {})
            return slot
    if machine.returned and type(machine.returned[-1]) is tuple:
        return StackSlot(method=RETURNED)
    if len(machine.returned) == 1 and is_a(machine.returned[0], Handle):
        return TENSOR
    if function is len and len(machine.returned) == 1 and type(machine.returned[0]) is int:
        return StackSlot(machine.returned[0])
    return UNSEEN


def _asks_tensor(follow: Follower, machine: Stepper, function: Any) -> StackSlot | None:
    """What a function of the standard library makes of a tensor, which gives it a float."""
    symbol = next((s for s in CLASSES if function is MATH[s]), None)
    if symbol is None or len(machine.reads) != 1 or len(machine.returned) != 1 or machine.entered:
        return None
    number, how, serial = machine.reads[0]
    value = machine.returned[0]
    if how != "float()" or type(value) is not float:
        return None
    machine.reads = []
    return follow.compute(symbol, StackSlot(value, HostRead(number, how, serial)))


def call_spread(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    follow.calls[id(machine.code), machine.offset] += 1
    count = 3 + ((instruction.arg or 0) & 1)
    first = len(machine.stack) - count
    passed = machine.stack[first:]
    slots = [plainly(follow, slot) for slot in passed]
    del machine.stack[first:]
    callee = slots[0] if slots[1] is NULL else slots[1]
    function = value_of(frame, callee)
    if type(function) is CACHED or _recalls(function, []):
        given = spread(machine, frame, slots[2], first + 2)
        names = spread_names(machine, frame, slots[3], first + 3) if count > 3 else {}
        if given is not None and names is not None:
            given, order = [*given, *names.values()], tuple(names)
            if cached_call(follow, machine, frame, function, given, order, NOWHERE):
                return
            if called_again(follow, machine, frame, function, given, order):
                return
    follow.escape([*passed, *slots])
    machine.stack.append(UNSEEN)
