"""Hybrid's own calls inside deferred ones (a backward pass, an optimizer's step), replayed whole.

Such a call does the same ops whenever all that its Python looks at is the same: its key.  Their ops
are then put into the segment as one bundle, without that Python.  Invariant: a bundle is what the
Python collected in two calls with this key, nothing of hybrid's was replaced since, and it reads
only the values that the key numbers; any other call runs its Python.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import CodeType
from typing import Any, Literal

from ...core import signals
from ...core.cache import Bounded
from ...core.switches import UNCOLLECTED
from ...ir.door.pending import LITERAL, OUTPUT, Bundle, Pending, Segment, value_of
from ...ir.tensor import RUNTIME, Handle
from ..heap.allowlist import stdlib, trusted
from ..heap.patches import Namespaces, own_code

__all__ = [
    "Bundles",
    "KnownCall",
    "HeldCall",
    "LearntCall",
    "HeardCode",
    "Result",
    "Slice",
    "heard",
]

MOST_BUNDLES = 256  # kept per function
MOST_WORDS = 1 << 17  # of all of them
MOST_LEARNT = 64  # calls that may be learnt before replays have to pay for more
PAYS = 4  # replays that pay for one

# of a call's results: the number of what takes it, its slot (~j: value j; None: there is none), and
# its record
Result = tuple[int, Any, Any]
Event = Literal["call", "return", "c_call", "c_return", "c_exception"]


class HeardCode:
    """Hears what Python runs on this thread: hybrid's code, and whether other code does.  Nothing
    is collected meanwhile: what finalizers and callbacks of the collector run is none of the
    call's."""

    __slots__ = ("codes", "foreign", "free")

    def __init__(self) -> None:
        self.codes: dict[int, tuple[CodeType, dict[str, Any]]] = {}
        self.free = sys.getprofile() is None
        self.foreign = not self.free  # somebody else listens

    def __enter__(self) -> HeardCode:
        if self.free:
            UNCOLLECTED.__enter__()
            sys.setprofile(self._hears)
        return self

    def __exit__(self, *error: object) -> None:
        if self.free:
            sys.setprofile(None)
            UNCOLLECTED.__exit__()

    def _hears(self, frame: Any, event: Event, _: Any) -> None:
        if event == "call":
            code = frame.f_code
            if own_code(code.co_filename):
                self.codes[id(code)] = code, frame.f_globals
            elif not trusted(code.co_filename) and not stdlib(code.co_filename):
                self.foreign = True

    def names(self, kinds: Sequence[type]) -> Namespaces | None:
        """The names that were looked up; None where some stand for functions of others."""
        names = Namespaces(list(self.codes.values()))
        for kind in (RUNTIME.tensor, *kinds):
            names.add_class(kind)
        names.settle()
        # what dataclasses write for hybrid's own classes has hybrid's globals
        others = [f for f in names.foreign() if not is_own(str(f.__globals__.get("__name__")))]
        return None if others else names


def is_own(module: str) -> bool:
    """Whether a module is hybrid's."""
    return module.partition(".")[0] == __name__.partition(".")[0]


class KnownCall:
    """What is known of calls with one key: `held`, the bundle, the results and the names of the
    last one, which are those of all once two calls agree."""

    __slots__ = ("held", "agree", "broken")

    def __init__(self) -> None:
        self.held: tuple[Bundle, tuple[Result, ...], Namespaces] | None = None
        self.agree = self.broken = False

    def known(self) -> tuple[Bundle, tuple[Result, ...], Namespaces] | None:
        """What such a call does, if hybrid's names still stand for what they did."""
        held = self.held
        if held is None or not self.agree or self.broken:
            return None
        if held[2].changed() is not None:
            self.held, self.agree = None, False
            return None
        return held

    def learn(self, bundle: Bundle, results: tuple[Result, ...], names: Namespaces | None) -> None:
        """One more call has run."""
        last = self.held
        if names is None or (last and (not last[0].same(bundle) or last[1] != results)):
            self.broken = True
        else:  # of several threads that learn, each keeps what is the same
            self.held, self.agree = (bundle, results, names), last is not None


class Bundles:
    """The bundles of one function; the least recently used ones go."""

    def __init__(self) -> None:
        self.met = Bounded[KnownCall](MOST_BUNDLES)
        self.learnt = self.replayed = self.words = 0

    def more(self, words: int) -> None:
        """One more bundle was made; all are forgotten where there are too many words of them."""
        self.learnt += 1
        self.words += words
        if self.words > MOST_WORDS:
            self.words = words
            self.met.clear()

    def affordable(self) -> bool:
        """Whether one more call may be learnt."""
        return self.learnt < MOST_LEARNT + self.replayed // PAYS


class HeldCall:
    """What a call depends on: its `key`, and the `values` that it may read, some of which may be
    the same."""

    __slots__ = ("segment", "key", "values")

    def __init__(self, segment: Segment, key: list[Any], values: list[Any]) -> None:
        self.segment, self.values = segment, values
        kinds = set(map(type, values))
        if any([issubclass(kind, Handle) for kind in kinds]):  # saved while a mode looked on
            values[:] = [value_of(v) if isinstance(v, Handle) else v for v in values]
        if Pending in kinds:
            for place, value in enumerate(values):
                if type(value) is Pending and value.segment is not segment:
                    values[place] = value.get()
        idents = list(map(id, values))
        if len(set(idents)) < len(idents):
            first: dict[int, int] = {}
            key.append(tuple([first.setdefault(ident, n) for n, ident in enumerate(idents)]))
        self.key = tuple(key)

    def places(self) -> dict[int, int]:
        """Where each value is first, by its id."""
        found: dict[int, int] = {}
        for place, value in enumerate(self.values):
            found.setdefault(id(value), place)
        return found


@signals.protected  # a handler could raise where the hook is called, so anywhere
def heard(ran: HeardCode, learner: LearntCall) -> Any:
    with ran:
        return learner.run()


class LearntCall:
    """A call that is to be learnt: how to run it, what it gave, which classes' methods ran."""

    kinds: tuple[type, ...] = ()
    passes = True  # whether a value that it reads may be a result as it is

    def run(self) -> Any:
        """Run its Python."""
        raise NotImplementedError

    def results(self, returned: Any) -> list[tuple[int, Any, Any]]:
        """(number of what takes a result, its value, its record)."""
        raise NotImplementedError

    def records(self) -> list[Any]:
        """The records of the values that it may read."""
        raise NotImplementedError

    def constants(self) -> dict[int, Any]:
        """By id, the arrays of one element that belong to what the key names."""
        return {}


class Slice:
    """The ops that a segment has from a place on, as a bundle; `bundle` is None where they need
    more than the values of the call."""

    def __init__(
        self, call: HeldCall, learner: LearntCall, start: int, wanted: Sequence[int]
    ) -> None:
        self.call, self.records, self.segment = call, learner.records(), call.segment
        self.constants = learner.constants()
        self.places = call.places()
        self.slots: dict[int, int] = {}  # number of a result -> slot
        self.operands: dict[int, int] = {}  # reference -> operand
        self.used: list[tuple[int, Any]] = []
        self.literals: list[tuple[Any, Any, Any]] = []
        live, needed = [], set(wanted)
        for number, resolved, references in reversed(list(self.segment.ops(start))):
            if any(number + i * OUTPUT in needed for i in range(len(resolved.outs))):
                needed.update(references)
                live.append((number, resolved, references))
        live.reverse()
        self._read(needed)
        ops: list[tuple[int, Any, tuple[int, ...]]] = []
        for number, resolved, references in live:
            given = [self._named(reference) for reference in references]
            named = tuple([operand for operand in given if operand is not None])
            if len(named) < len(given):
                ops = []
                break
            ops.append((len(self.slots), resolved, named))
            for index in range(len(resolved.outs)):
                self.slots[number + index * OUTPUT] = len(self.slots)
        self.bundle: Bundle | None = None
        if ops:
            used, literals = tuple(self.used), tuple(self.literals)
            self.bundle = Bundle(self.segment.device, tuple(ops), used, literals)

    def _read(self, needed: set[int]) -> None:
        """Find the values of the call among what is needed: they are the first operands."""
        for place in self.places.values():
            value = self.call.values[place]
            known = self.segment.numbers.get(id(value))
            reference = value.number if type(value) is Pending else known
            if reference is not None and reference in needed:
                self.operands[reference] = len(self.used)
                self.used.append((place, self.records[place]))

    def _named(self, reference: int) -> int | None:
        """How a bundle names an operand; None: it is none of the call's."""
        if reference in self.slots:
            return self.slots[reference]
        if reference not in self.operands:
            literal = self._literal(reference)
            if literal is not None:
                self.operands[reference] = len(self.used) + len(self.literals)
                self.literals.append(literal)
        operand = self.operands.get(reference)
        return None if operand is None else ~operand

    def _literal(self, reference: int) -> tuple[Any, Any, Any] | None:
        """What is the same in each such call: a number, or a constant that the key names."""
        if reference >= LITERAL:
            return self.segment.literals[reference - LITERAL]
        if reference >= 0:
            return None
        value, record = self.segment.inputs[~reference]
        constant = self.constants.get(id(value))
        return None if constant is None else (value, record, constant)

    def result(self, value: Any) -> int | None:
        """The slot of a result, or ~j for value j of the call."""
        if type(value) is Pending and value.number in self.slots:
            return self.slots[value.number]
        place = self.places.get(id(value))
        return None if place is None else ~place
