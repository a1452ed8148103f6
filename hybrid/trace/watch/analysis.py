"""From one watched call to its facts and to the reasons against replaying it.

Invariant: every instruction of user code that ran is accounted for: what it may read is a fact,
what it may store is a fact, whom it calls is known, or there is a reason.
"""

from __future__ import annotations

import builtins
import types
from collections.abc import Callable
from types import CodeType
from typing import Any, NamedTuple

from ...core.signals import foreign
from ...ir.mode import ROOTS
from ...ir.tensor import RUNTIME, Handle
from ..bytecode.expressions import NOWHERE, Expr
from ..bytecode.summary import summarize
from ..follow.terms import is_number
from ..heap.allowlist import (
    BOXES,
    MISSING,
    VIEWS,
    immutable_type,
    instance_dict,
    is_a,
    lookup,
    stdlib,
    trusted,
)
from ..heap.facts import Key, fetch
from ..heap.patches import Namespaces
from ..heap.signature import Regard, signed_by
from .evaluator import Evaluator
from .events import Watch
from .fact_table import ELSEWHERE, Access, Facts
from .objects import Objects
from .origins import Origins
from .passed.reads import DataReads
from .pinned.changes import Changes
from .pinned.modes import switched
from .rules.call_rules import CallRules
from .rules.host_rules import HostCalls
from .rules.store_rules import StoreRules
from .settle import Followed, settle

__all__ = ["Analysis", "analyse"]

MAX_FACTS = 20_000
ROUNDS = 20


class Analysis(NamedTuple):
    """What one watched call depends on; the reasons against replaying it are in `watch`.

    found: facts, key -> holder; read: those not only written; where: the lines that read them;
    rooted: objects older than the call; loaded: tensors that user code had in hand;
    held: tensors in hybrid's own objects; places_of: where these hold them; signed: arguments, and
    what is in them, whose content the signature holds;
    writes: whether it stores into arrays that are older;
    stores: whether numbers or containers older than the call were seen to change;
    followed: what a replay can do of that at its commit, where the call was followed."""

    watch: Watch
    found: dict[Key, Any]
    read: set[Key]
    where: dict[Key, str]
    rooted: dict[int, Any]
    loaded: dict[int, Handle]
    held: dict[int, Handle]
    places_of: dict[int, dict[Key, Any]]
    signed: dict[int, Any]
    writes: bool
    stores: bool
    followed: Followed | None

    @property
    def dropped(self) -> Callable[[Key], bool] | None:
        """Which places are no facts because the commit changes them."""
        return None if self.followed is None else self.followed.dropped.holds


def analyse(
    function: Any,
    watch: Watch,
    arguments: list[Any],
    regard: Regard,
    moved: frozenset[Key] = frozenset(),
) -> Analysis:
    """Facts of the watched call of a function; incomplete when there is a reason.

    `moved`: places that earlier calls found with other content than this one."""
    signed = signed_by(arguments, regard)
    facts = Facts(watch, set(signed))
    if watch.follow is not None:
        facts.accesses = {}
    objects = Objects(facts)
    work = _Work(facts, objects, moved)
    try:
        work.run(function, arguments)
    except Exception as error:  # the call has run: what cannot be looked at is not replayed
        if foreign(error):
            raise
        reason = f"could not be followed ({type(error).__name__}: {error})"
        facts.why(reason, Access(work.looking_at))
    finally:
        held, places_of = objects.versioned.held, objects.versioned.places_of
        objects.part()
    return Analysis(
        watch=watch,
        found=facts.found,
        read=facts.read,
        where=facts.where,
        rooted=facts.rooted,
        loaded=objects.loaded,
        held=held,
        places_of=places_of,
        signed=signed,
        writes=facts.writes,
        stores=work.changes.seen or _counts(facts) or any(switched(watch)) or watch.cached,
        followed=work.followed,
    )


def _counts(facts: Facts) -> bool:
    """Whether the call reads numbers from places that it stores to."""
    counts = [key for key in facts.stored if key in facts.read and key in facts.found]
    return any(is_number(fetch(key.kind, facts.found[key], key.key)) for key in counts)


def _known_module(module: types.ModuleType) -> bool:
    """A module whose content is no state of a user's program."""
    name = getattr(module, "__file__", None)
    return type(name) is not str or trusted(name) or stdlib(name) or "site-packages" in name


def _may_change(holder: Any, cls: type) -> bool:
    """Whether what the classes of an object say about a name may change."""
    kept = cls is types.FunctionType or is_a(holder, BaseException)
    return not immutable_type(cls) or kept


class _Work:
    """The parts of one analysis, and the order in which they work."""

    def __init__(self, facts: Facts, objects: Objects, moved: frozenset[Key]) -> None:
        self.facts, self.objects, self.watch = facts, objects, facts.watch
        self.evaluator, self.moved = Evaluator(facts, objects), moved
        self.changes = Changes(facts, objects)
        self.evaluator.put_off = self.changes.put_off
        self.evaluator.keys_at = self.changes.keys_at
        self.evaluator.looked_up = self.changes.looked_up
        self.hosts = HostCalls(facts)
        self.evaluator.made_again = self.hosts.put_off
        self.calls = CallRules(self.evaluator, self.changes, self.hosts)
        self.stores = StoreRules(self.evaluator, self.changes)
        self.followed: Followed | None = None
        self.origins = Origins(facts, objects)
        self.looking_at: CodeType | None = None  # for the message of an error

    def run(self, function: Any, arguments: list[Any]) -> None:
        """Find all facts; stops early when there is a reason already."""
        if self.watch.reasons:
            return
        for code in self.watch.frames:
            unknown = summarize(code).unknown
            if unknown:
                reason = f"uses Python that recording does not follow ({unknown.lower()})"
                self.facts.why(reason, Access(code))
        if self.watch.reasons:
            return
        self.evaluator.normalise()
        reach = self.objects.reach
        for root in (*ROOTS, function):
            reach(root, ELSEWHERE)
        namespaces = Namespaces(list(self.watch.ran.values()))
        for replaced in namespaces.foreign():
            reach(replaced, ELSEWHERE)
        for value in arguments:
            reach(value, ELSEWHERE)
        self._fixpoint()
        self._own_names(namespaces)
        if not self.watch.reasons:
            self.origins.check()
            for code, offset, called, _ in list(self.watch.ccalls.values()):
                self.looking_at = code
                if not self.hosts.put_off(code, offset):
                    self.calls.c_call(code, offset, called)
            if self.watch.data:
                DataReads(self.evaluator, getattr(function, "__code__", None)).check()
            self._actions()

    def _actions(self) -> None:
        """What was followed is an action of the commit, and no fact."""
        followed = self.followed = settle(self.watch.follow, self.facts, self.moved)
        grown = set() if followed is None else {id(c.owner) for c in followed.changes}
        for ident in self.facts.large.keys() - grown:
            self.facts.why("reads a large NumPy array; make it a tensor", self.facts.large[ident])
        self.changes.note_but(grown)  # notes no facts of what is dropped
        self.hosts.check(followed)
        if followed is None:
            return
        for key in [key for key in self.facts.found if followed.dropped.holds(key)]:
            del self.facts.found[key]
            self.facts.read.discard(key)
        for key, inside in followed.paths.items():
            self.facts.found[key] = inside.holder
            self.facts.read.add(key)
            self.facts.where[key] = ""

    def _own_names(self, namespaces: Namespaces) -> None:
        """Hybrid's own names are one fact: nobody has replaced what they stand for."""
        found = self.facts.found
        used = [type(holder) for key, holder in found.items() if key.kind == "version"]
        used += [o for o in self.facts.rooted.values() if is_a(o, type)]
        for cls in RUNTIME.tensor, *used:
            namespaces.add_class(cls)
        namespaces.settle()
        found[Key("patched", id(namespaces), None)] = namespaces

    # ---- one round after the other, until nothing new is found
    def _size(self) -> tuple[int, ...]:
        return (
            len(self.facts.found),
            len(self.facts.rooted),
            len(self.facts.unseen_names),
            self.facts.unseen_items is not None,
            sum(map(len, self.objects.functions.values())),
        )

    def _fixpoint(self) -> None:
        for _ in range(ROUNDS):
            before = self._size()
            self.evaluator.forget()
            for code in list(self.watch.frames):
                self._code(code)
            if len(self.facts.found) > MAX_FACTS:
                reason = f"reads more than {MAX_FACTS} Python places"
                self.facts.why(reason, Access(self.looking_at))
            if self.watch.reasons:
                return
            for code in [*self.watch.frames, *self.origins.own_codes()]:
                for function in self.objects.functions[code]:
                    if self.facts.existing(function):
                        self._parts(function)
            self.origins.find()
            self._spread_unseen()
            if before == self._size():
                return
        reason = "reads Python state in a way that could not be followed"
        self.facts.why(reason, Access(self.looking_at))

    def _parts(self, function: types.FunctionType) -> None:
        """What a function is made of.  One without defaults got all its arguments, and defaults
        that it may have later change nothing of such a call."""
        facts, access = self.facts, Access(function.__code__)
        facts.note("attr", function, "__code__", access)
        if function.__defaults__ is not None:
            facts.note("attr", function, "__defaults__", access)
            self.objects.contents(function.__defaults__, access)
        if function.__kwdefaults__ is not None:
            facts.note("attr", function, "__kwdefaults__", access)
            facts.root(function.__kwdefaults__)
            self.objects.contents(function.__kwdefaults__, access)

    def _code(self, code: CodeType) -> None:
        """All that the lines of one code object that ran may do."""
        self.looking_at, summary, evaluate = code, summarize(code), self.evaluator.evaluate
        for expression in summary.later:
            if self.evaluator.ran(code, expression.at) and expression.base is not None:
                evaluate(code, expression.base)
                evaluate(code, expression, stores=True)
        for expression in summary.reads:
            if self._reads(code, expression):
                evaluate(code, expression)
        for offset, call in summary.calls.items():
            if self.evaluator.ran(code, offset):
                self.calls.call(code, offset, call)
        for store in summary.stores:
            if self.evaluator.ran(code, store.at):
                self.stores.store(code, store)

    def _reads(self, code: CodeType, expression: Expr) -> bool:
        """Whether a read may have run; names are read by any line."""
        return expression.at == NOWHERE or self.evaluator.ran(code, expression.at)

    # ---- what was not seen
    def _spread_unseen(self) -> None:
        """Guard names and items of something unseen on every object they could belong to."""
        names, items = self.facts.unseen_names, self.facts.unseen_items
        if not names and items is None:
            return
        spaces = {id(g) for gs in self.watch.globals.values() for g in gs} | {id(builtins.__dict__)}
        for holder in list(self.facts.rooted.values()):
            if is_a(holder, (*BOXES, *VIEWS)):
                module = type(holder) is dict and "__name__" in holder and "__spec__" in holder
                if items is not None and id(holder) not in spaces and not module:
                    self.objects.contents(holder, items)
                if immutable_type(type(holder)):
                    continue
            if type(holder) is not types.ModuleType or not _known_module(holder):
                for name, access in list(names.items()):
                    self._spread_name(holder, name, access)

    def _spread_name(self, holder: Any, name: str, access: Access) -> None:
        cls = type(holder)
        if is_a(holder, type):
            if immutable_type(holder):
                return
            if (lookup(holder, name), lookup(cls, name)) != (MISSING, MISSING):
                self.objects.classes.attr(holder, name, access)
            return
        known = lookup(cls, name) is not MISSING and _may_change(holder, cls)
        if known or name in (instance_dict(holder) or {}):
            self.objects.attr(holder, name, access)
