"""The guard of a recording: one generated Python function.

Invariant: the guard accepts only if every fact holds and returns the captured tensors in order; any
exception while checking is a miss.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

from ...core.cache import Bounded
from ...core.signals import from_handler
from ...ir.tensor import Handle
from ..follow.arrays.computed import has_arrays, strictly
from ..follow.terms import (
    OPERATORS,
    Collection,
    Constant,
    Made,
    Operation,
    Symbol,
    parts,
    plain_form,
)
from ..heap.allowlist import MISSING, instance_dict, is_a, lookup
from ..heap.arrays import dtype_key
from ..heap.facts import FactKind, Holder, Key, fetch, same
from ..host.again import First, undo
from .actions import NONE, Actions
from .expected import Obj, Ref, are_captures, are_there, are_without_gradients
from .inputs import AsGradient, AsNumber, AtFact, ByIdentity
from .kept.leaves import ArrayBehind, HeldObject, behind
from .outputs import GivenNumber
from .recording import Recording

__all__ = ["Guard", "FactGuard", "Places", "run_text", "same_guard"]

# Classes come first: reading attributes is harmless once they are known to be the same.  The check
# of hybrid's own functions is the longest and the one that fails least, so it comes last.
ORDER = {"type": 0, "tlen": 0, "mro": 0, "tattr": 1, "version": 1, "keys": 2, "patched": 4}
OTHERS = 3
MANY = 8  # facts of one kind from which on one function checks them all


def _distinct_dicts(*objects: Any) -> bool:
    """Whether objects have a dict each."""
    dicts = [id(found) for found in map(instance_dict, objects) if found is not None]
    return len(set(dicts)) == len(dicts)


def _asks(term: Any) -> bool:
    """Whether a number depends on what a call of Python's own world gives."""
    return any(type(leaf) is First for leaf in parts(term))


def same_guard(recording: Recording, other: Recording) -> bool:
    """Whether the guard of a recording does for another one, whose facts are the same."""
    own, known = recording.inputs, other.inputs
    count = recording.arguments
    return (
        recording.facts is other.facts
        and recording.outcome.actions is other.outcome.actions is NONE
        and len(own) == len(known)
        and own[count:] == known[count:]
        and [i.location for i in own[:count]] == [i.location for i in known[:count]]
    )


_OF_FUNCTIONS = ("__code__", "__defaults__", "__kwdefaults__")  # found by C code alone
_CODES = Bounded[tuple[types.CodeType, int]](512, 1 << 21, lambda made: made[1])


def run_text(text: str, name: str, space: dict[str, Any], wanted: str) -> Any:
    """Run a text of one definition in a namespace, and take the function out of that: what it holds
    would be in a circle, and end inside of the garbage collector.  A text that was seen lately is
    not compiled again, as recordings of one kind differ in what their names stand for."""
    code, _ = _CODES.of((name, text), lambda: (compile(text, name, "exec"), len(text)))
    exec(code, space)  # noqa: S102  (our own text)
    return space.pop(wanted)


class Places:
    """Python text that reads places: `space` holds what its names stand for."""

    def __init__(self, holders: dict[Key, Holder]) -> None:
        self.holders = holders
        self.space: dict[str, Any] = {
            "same": same,
            "H": Handle,
            "MISSING": MISSING,
            "fetch": fetch,
            "get": dict.get,
        }
        self.names: dict[int, str] = {}
        self.weak: list[Any] = []
        self.bound: dict[int, str] = {}

    def const(self, value: Any) -> str:
        name = self.names.get(id(value))
        if name is None:
            name = self.names[id(value)] = f"c{len(self.names)}"
            self.space[name] = value
        return name

    def holder(self, holder: Holder) -> str:
        """An expression for the held object; weak ones are dereferenced once."""
        if holder.ref is None:
            return self.const(holder.strong)
        name = self.bound.get(holder.id)
        if name is None:
            name = self.bound[holder.id] = f"h{len(self.bound)}"
            self.weak.append(holder.ref)
        return name

    @property
    def prologue(self) -> list[str]:
        """What finds the objects that are held weakly."""
        if len(self.weak) < MANY:
            return [f"h{k} = {self.const(found)}()" for k, found in enumerate(self.weak)]
        return [f"{', '.join(self.bound.values())} = [w() for w in {self.const(self.weak)}]"]

    def read(self, key: Key) -> str:
        """An expression that reads a place."""
        held = self.holders[key]
        holder, inside, target = self.holder(held), key.key, held.get()
        if type(lookup(type(target), "__getattribute__")) is types.FunctionType:
            return f"fetch({key.kind!r}, {holder}, {self.const(inside)})"  # runs no code of a user
        if key.kind == "cell":
            return f"{holder}.cell_contents"
        if (
            key.kind == "attr"
            and isinstance(inside, str)
            and inside.isidentifier()
            and not inside.startswith("__")
        ):
            return f"{holder}.{inside}"
        if key.kind == "attr" and type(target) is types.FunctionType and inside in _OF_FUNCTIONS:
            return f"{holder}.{inside}"
        if key.kind == "meth" and inside.isidentifier() and not inside.startswith("__"):
            return f"{holder}.{inside}.__func__"
        if key.kind == "item" and any(type(target) is t for t in (list, dict, tuple)):
            return f"{holder}[{self.const(inside)}]"
        if key.kind == "item" and is_a(target, dict):
            return f"get({holder}, {self.const(inside)}, MISSING)"
        if key.kind == "slot":
            return f"{holder}.__dict__[{inside!r}]"
        simple = {"tlen": f"len({holder}.__dict__)", "type": f"type({holder})"}
        if type(target) is list or type(target) is dict:
            simple |= {"len": f"len({holder})", "keys": f"(*{holder},)"}
            simple["some"] = f"(len({holder}) > 0)"
        if key.kind == "tattr" and inside in getattr(target, "__dict__", ()):
            return f"{holder}.__dict__[{inside!r}]"
        return simple.get(key.kind) or f"fetch({key.kind!r}, {holder}, {self.const(inside)})"

    def operation(self, symbol: Symbol, inside: Sequence[str]) -> str:
        """An expression that computes what an operation of a term does of these."""
        if symbol.isidentifier() and symbol not in ("neg", "not"):
            return f"{self.const(OPERATORS[symbol])}({', '.join(inside)})"
        if len(inside) == 1:
            return f"({'-' if symbol == 'neg' else 'not '}{inside[0]})"
        return f"({inside[0]} {symbol} {inside[1]})"


def _before(actions: Actions) -> list[Any]:
    """The terms that are computed before the operations."""
    found = [term for term, _ in actions.conditions] + [o.term for o in actions.operands]
    return [*found, *actions.checks, *[t for call in actions.first for t in call.operands]]


class Guard(Places):
    """Generates the function for one recording; `source` and `count` are for people.

    The generated text calls input k `args[k]` where it is passed and `tk` where it is loaded."""

    def __init__(self, recording: Recording, facts: dict[Key, Any] | None = None) -> None:
        self.recording, self.inputs = recording, recording.inputs
        actions = recording.outcome.actions
        super().__init__({**recording.facts.holders, **{n.key: n.holder for n in actions.loads}})
        self.facts = recording.facts.at_start() if facts is None else facts
        self.numbers: dict[int, str] = {}  # id of a loaded number -> what the text calls it
        self.computed: dict[Any, str] = {}  # form of a term -> the same
        self.held: dict[int, str] = {}  # number of an input -> the object that it is
        self.more = 0  # facts beside one for each term
        terms = (
            self._facts_first()
            + self._namespaces()
            + self._numbers()
            + self._captures()
            + self._tensor_facts()
            + self._gradients()
            + self._own_arguments()
        )
        self.count = len(terms) + self.more
        missed = "None"
        if actions.draws:
            missed = f"{self.const(undo)}({self.const(actions.first)})"
        source = ["def guard(args):", " try:", *[f"  {found}" for found in self.prologue]]
        source += [f"  if not ({term}): return {missed}" for term in terms]
        source += [f"  return ({self._results()})", " except Exception as error:"]
        source += [f"  missed = {missed}", f"  if {self.const(from_handler)}(error): raise"]
        source += ["  return missed"]
        self.source = "\n".join(source)
        self.function: Callable[[list[Any]], tuple[Any, ...] | None] = run_text(
            self.source, "<hybrid guard>", self.space, "guard"
        )
        if any(map(has_arrays, _before(actions))):
            self.function = strictly(self.function, actions.loud)

    # ---- terms
    def _facts_first(self) -> list[str]:
        """Facts that are no tensors."""
        keys = sorted(
            (key for key, want in self.facts.items() if not isinstance(want, Ref)),
            key=lambda key: ORDER.get(key.kind, OTHERS),
        )
        return [self._fact(key, self.facts[key]) for key in keys]

    def _fact(self, key: Key, expected: Any) -> str:
        if isinstance(expected, Obj):
            if expected.holder.ref is None:
                return f"{self.read(key)} is {self.const(expected.holder.strong)}"
            return f"id({self.read(key)}) == {expected.holder.id}"
        if expected is MISSING:
            held = self.holders[key]
            if key.kind == "item" and is_a(held.get(), dict):
                return f"{self.const(key.key)} not in {self.holder(held)}"
            return f"fetch({key.kind!r}, {self.holder(held)}, {self.const(key.key)}) is MISSING"
        if key.kind == "version":
            holder = self.holder(self.holders[key])
            training = "" if expected[1] is None else f" and {holder}.training is {expected[1]}"
            return f"{holder}._version == {expected[0]}{training}"
        if key.kind == "form":  # of plain values
            return self._form(self.holders[key], expected)
        if type(expected) is int and key.kind in ("len", "tlen"):
            return f"{self.read(key)} == {expected}"
        return (
            f"(x := {self.read(key)}) is {self.const(expected)} or same(x, {self.const(expected)})"
        )

    def _form(self, holder: Holder, expected: Any) -> str:
        dtype, shape, strides, flags = expected
        array, now = self.holder(holder), getattr(holder.get(), "dtype", None)
        same_dtype = f"{self.const(dtype_key)}({array}.dtype) == {self.const(dtype)}"
        if now is not None and dtype_key(now) == dtype:
            same_dtype = f"({array}.dtype is {self.const(now)} or {same_dtype})"
        layout = f"{array}.shape == {shape} and {array}.strides == {strides}"
        return f"{layout} and {array}.flags.num == {flags} and {same_dtype}"

    def _namespaces(self) -> list[str]:
        """The same objects as in the recorded call keep their attributes in one dictionary."""
        terms = []
        for owners, first in self.recording.namespaces:
            shown = [self._dictionary(kind, holder) for kind, holder in owners]
            same = [f"{shown[k]} is {shown[one]}" for k, one in enumerate(first) if one != k]
            apart = [f"id({shown[one]})" for one in dict.fromkeys(first)]
            terms += [*same, f"len({{{', '.join(apart)}}}) == {len(apart)}"]
        return terms

    def _dictionary(self, kind: FactKind, holder: Holder) -> str:
        target = holder.get()
        if kind == "item":
            return self.holder(holder)
        if type(lookup(type(target), "__getattribute__")) is types.FunctionType:
            return f"fetch('dict', {self.holder(holder)}, None)"  # runs no code of a user
        return f"{self.holder(holder)}.__dict__"

    def _numbers(self) -> list[str]:
        """What a commit computes with has the type that was seen, and the branches that depend on
        it are those that were taken."""
        actions = self.recording.outcome.actions
        terms = []
        for index, loaded in enumerate(actions.loads):
            self.numbers[id(loaded)] = f"n{index}"
            kind = self.const(loaded.type)
            terms.append(f"type(n{index} := {self.read(loaded.key)}) is {kind}")
        terms += self._apart()
        owners = self.recording.owners
        boxes = [key for key in self.facts if key.kind == "path" and key.key[-1]] if owners else []
        boxes = [key for key in boxes if key.key[0] or key.key[2]]  # not those themselves
        for key in boxes:  # what a container held before the call is read: the call changes others
            box = self.const((*key.key[:-1], False))
            place = f"fetch('path', {self.holder(self.holders[key])}, {box})"
            terms.append(f"id({place}) not in {self.const(owners)}")
        # what does not depend on calls of Python's own world comes before these
        plain = [pair for pair in actions.conditions if not _asks(pair[0])]
        drawn = [pair for pair in actions.conditions if _asks(pair[0])]
        checked = [term for term in actions.checks if not _asks(term)]
        terms += [("" if truth else "not ") + self._number(term) for term, truth in plain]
        terms += [f"({self._number(term)},)" for term in checked]
        for index, call in enumerate(actions.first):
            given = ", ".join(map(self._number, call.operands))
            self.numbers[id(call)] = f"f{index}"
            terms.append(f"((f{index} := {self.const(call.run)}({given})),)")
        terms += [("" if truth else "not ") + self._number(term) for term, truth in drawn]
        return terms + [f"({self._number(term)},)" for term in actions.checks if _asks(term)]

    def _apart(self) -> list[str]:
        """Attributes of one name in several objects, some of which are stored to, are as many
        places."""
        actions, named = self.recording.outcome.actions, dict[Any, dict[int, Holder]]()
        places = [(number.key, number.holder) for number in actions.numbers]
        places += [(loaded.key, loaded.holder) for loaded in actions.loads]
        for key, holder in places:
            if key.kind in ("slot", "attr"):
                named.setdefault(key.key, {})[holder.id] = holder
        stored = {number.key.key for number in actions.numbers}
        several = [held for name, held in named.items() if name in stored and len(held) > 1]
        texts = [", ".join(map(self.holder, held.values())) for held in several]
        return [f"{self.const(_distinct_dicts)}({text})" for text in texts]

    def _number(self, term: Any) -> str:
        """An expression that computes a number."""
        if type(term) is Operation:
            form = plain_form(term)
            known = self.computed.get(form)
            if known is None:
                text = self.operation(term.symbol, list(map(self._number, term.operands)))
                known = self.computed[form] = f"v{len(self.computed)}"
                return f"({known} := {text})"
            return known
        if type(term) is Made:
            form = plain_form(term)
            if form not in self.computed:
                given = ", ".join(map(self._number, term.operands))
                self.computed[form] = f"v{len(self.computed)}"
                return f"({self.computed[form]} := {self.const(term.function)}({given}))"
            return self.computed[form]
        if type(term) is ArrayBehind:
            if id(term) not in self.numbers:
                given = ", ".join(map(self._number, term.operands))
                self.numbers[id(term)] = f"b{len(self.numbers)}"
                return f"({self.numbers[id(term)]} := {self.const(behind)}({given}))"
            return self.numbers[id(term)]
        if type(term) is Constant:
            return self.const(term.value)
        if type(term) is GivenNumber:
            return f"args[{term.number}]._x.source"
        if type(term) is HeldObject:
            return self.holder(term.owner)
        if type(term) is Collection:
            items = ", ".join([self._number(item) for item in term.items])
            return f"{self.const(term.type)}({items if term.type is slice else f'[{items}]'})"
        return self.numbers.get(id(term)) or f"len({self.holder(term.owner)})"

    def _operand(self, number: int, location: AsNumber) -> str:
        """Compute an operand from Python numbers; an error is a miss."""
        operand = self.recording.outcome.actions.operands[location.position]
        made = f"{self.const(operand.maker())}({self._number(operand.term)})"
        return f"(t{number} := {made}) is not None"

    def _loaded(self) -> list[int]:
        """The captures that the function returns."""
        return list(range(self.recording.arguments, len(self.inputs)))

    def _captures(self) -> list[str]:
        """Load each capture, and compare its record and the type of its tape node."""
        # a gradient is read from a tensor that is loaded by then
        terms = self._held(self._loaded())
        order = [number for number in self._loaded() if number not in self.held]
        order.sort(key=lambda number: isinstance(self.inputs[number].location, AsGradient))
        for number in order:
            aval, node, location = self.inputs[number]
            if isinstance(location, AsNumber):
                terms.append(self._operand(number, location))
                continue
            if isinstance(location, ByIdentity):
                load = self.holder(location.holder)
            elif isinstance(location, AsGradient):
                load = f"{self._input(location.host)}._node.grad"
            else:
                assert location is not None  # a recording that is lost is never accepted
                load = self.read(location.key)
            terms.append(
                f"issubclass(type(t{number} := {load}), H) and t{number}._a is {self.const(aval)}"
                f" and type(t{number}._node) is {self.const(node)}"
            )
        return terms

    def _held(self, order: list[int]) -> list[str]:
        """One term for captures that are known by identity, where they are many."""
        places = [(number, self.inputs[number].location) for number in order]
        held = {k: place.holder for k, place in places if isinstance(place, ByIdentity)}
        if len(held) < MANY:
            return []
        self.held = {number: self.holder(holder) for number, holder in held.items()}
        avals = self.const(tuple([self.inputs[number].aval for number in held]))
        nodes = self.const(tuple([self.inputs[number].node for number in held]))
        return self._all(are_captures, [*self.held.values()], avals, nodes)

    def _all(self, check: Any, tensors: Sequence[str], *others: str) -> list[str]:
        """The term that checks one fact of each tensor."""
        self.more += len(tensors) - 1
        return [f"{self.const(check)}(({', '.join(tensors)}), {', '.join(others)})"]

    def _input(self, number: int) -> str:
        if number in self.held:
            return self.held[number]
        return f"args[{number}]" if number < self.recording.arguments else f"t{number}"

    def _tensor_facts(self) -> list[str]:
        """Places of tensors that no capture was loaded from: the same tensor must be there, too."""
        loaded = {i.location.key for i in self.inputs if isinstance(i.location, AtFact)}
        terms, inside = [], list[tuple[Key, int]]()
        for key, expected in self.facts.items():
            if not isinstance(expected, Ref):
                continue
            if expected.kind == "stored":
                terms.append(f"issubclass(type({self.read(key)}), H)")
            elif key not in loaded and self._inside(key, expected.number):
                inside.append((key, expected.number))
            elif key not in loaded:
                terms.append(self._same(key, expected.number))
        if len(inside) < MANY:
            return terms + [self._same(*fact) for fact in inside]
        places = self.const(tuple([(self.holders[key].strong, key.key) for key, _ in inside]))
        return terms + self._all(are_there, [self._input(k) for _, k in inside], places)

    def _inside(self, key: Key, number: int) -> bool:
        """Whether a place is in a container that is held, so that a table can name it."""
        holder = self.holders[key]
        return key.kind == "item" and holder.ref is None and type(holder.strong) in (list, dict)

    def _same(self, key: Key, number: int) -> str:
        return f"{self.read(key)} is {self._input(number)}"

    def _gradients(self) -> list[str]:
        """Gradients that were read before they were written: None, or the captured tensor."""
        wanted = [
            (self._input(host), "None" if first is None else self._input(first))
            for host, first in self._gradient_reads()
        ]
        bare = [host for host, first in wanted if first == "None"]
        if len(bare) < MANY:
            return [f"{host}._node.grad is {first}" for host, first in wanted]
        others = [f"{host}._node.grad is {first}" for host, first in wanted if first != "None"]
        return self._all(are_without_gradients, bare) + others

    def _gradient_reads(self) -> list[tuple[int, int | None]]:
        return list(self.recording.gradients)

    def _own_arguments(self) -> list[str]:
        """Arguments that an object of hybrid's held when recorded must be those very tensors."""
        own = [i.location for i in self.inputs[: self.recording.arguments]]
        fixed = [(k, place) for k, place in enumerate(own) if isinstance(place, ByIdentity)]
        return [f"id(args[{k}]) == {location.holder.id}" for k, location in fixed]

    def _results(self) -> str:
        return "".join(f"{self._input(number)}, " for number in self._loaded())


class FactGuard(Guard):
    """The part of a guard that native code does not check.

    `held` maps inputs known by identity to their tensors, `only` names the facts to check (None:
    all), `load` the captures to return, found in Python places."""

    def __init__(
        self, recording: Recording, held: dict[int, Any], only: Any, load: Sequence[int]
    ) -> None:
        self.ids = {number: id(tensor) for number, tensor in held.items()}
        self.load = list(load)
        facts = recording.facts.at_start()
        if only is not None:
            loaded = [recording.inputs[number].location for number in load]
            wanted = set(only) - {found.key for found in loaded if isinstance(found, AtFact)}
            facts = {key: want for key, want in facts.items() if key in wanted}
        super().__init__(recording, facts)

    def _loaded(self) -> list[int]:
        return self.load

    def _captures(self) -> list[str]:
        terms = []
        for k in self.load:
            location = self.inputs[k].location
            if isinstance(location, AsNumber):
                terms.append(self._operand(k, location))
                continue
            assert isinstance(location, AtFact)
            terms.append(
                f"issubclass(type(t{k} := {self.read(location.key)}), H)"
                f" and type(t{k}._node) is {self.const(self.inputs[k].node)}"
            )
        return terms

    def _gradient_reads(self) -> list[tuple[int, int | None]]:
        # the native entry compares the gradients of held tensors
        return [pair for pair in self.recording.gradients if pair[0] not in self.ids]

    def _same(self, key: Key, number: int) -> str:
        if number in self.ids:
            return f"id({self.read(key)}) == {self.ids[number]}"
        if number >= self.recording.arguments and number not in self.load:
            return f"issubclass(type({self.read(key)}), H)"
        return super()._same(key, number)

    def _inside(self, key: Key, number: int) -> bool:
        return False  # a hot path: each fact has its own term
