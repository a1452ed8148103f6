"""Which plan serves a call whose way random numbers decide: the numbers are drawn once, and the
truths of all conditions on them say which plan served such a call before.

Invariant: this only says what is tried first; the plan takes over the numbers that were drawn and
looks at everything itself, and where no plan takes them the generators are as before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...core import signals
from ...core.cache import keep
from ..fallback.budget import FEW
from ..follow.terms import Constant, Made, Operation, parts, plain_form
from ..heap.allowlist import MISSING
from ..host.again import First, saver, undo
from ..record.guards import Places, run_text
from .plans import ReplayPlan
from .prepare import MISS

__all__ = ["Foresight"]

MAX_KEYS = 1024  # ways that are remembered
MAX_CONDITIONS = 64  # and conditions that tell them apart
Key = tuple[bool, ...]
Undone = list[Callable[[], Any]]  # what brings generators back


def _nothing(undone: Undone) -> None:
    """Draws nothing."""


class Foresight:
    """`known`: plans by the truths of the conditions on the draws that all plans begin with;
    `forms` of these; `look(undone)` makes the draws, and gives the results and the truths."""

    __slots__ = ("look", "forms", "plans", "wanted", "known", "latest", "strange")

    def __init__(self) -> None:
        self.look: Callable[[Undone], Any] = _nothing
        self.forms: Any = ()
        self.plans: list[ReplayPlan] = []  # so their ids are theirs
        self.wanted: dict[int, list[tuple[int, bool]]] = {}
        self.known: dict[Key, ReplayPlan] = {}
        self.latest: Key | None = None  # of the call that is looked at now, if it has no plan
        self.strange: set[Key] = set()  # of calls that had none

    def learn(self, plans: Sequence[ReplayPlan]) -> bool:
        """There are these plans now: whether random numbers tell them apart."""
        drawn = len(plans) > 1 and all([plan.draws for plan in plans])
        draws = _shared(plans) if drawn else []
        conditions = list(_conditions(plans, draws))
        if not conditions or len(conditions) > MAX_CONDITIONS:
            self.look, self.known = _nothing, {}
            return False
        forms = tuple([call.place() for call in draws]), tuple(map(plain_form, conditions))
        if forms != self.forms:
            self.known, self.strange = {}, set()
            self.forms, self.look = forms, _Writer(draws).look(conditions)
        places = {form: index for index, form in enumerate(forms[1])}
        self.plans, self.wanted = list(plans), {id(plan): _wanted(plan, places) for plan in plans}
        alive = set(self.wanted)
        self.known = {key: plan for key, plan in self.known.items() if id(plan) in alive}
        return True

    def key(self) -> Key | None:
        """The truths for the numbers that come next; None where they cannot be drawn."""
        undone: Undone = []
        try:
            found = self.look(undone)
        finally:
            for restore in undone:
                restore()
        return None if found is None else found[1]

    def agreeing(self, key: Key | None, plans: list[ReplayPlan]) -> list[ReplayPlan]:
        """The plans whose conditions have these truths: the guards of all others would miss."""
        self.latest = None
        if key is None:
            return plans
        found = [plan for plan in plans if self._agrees(plan, key)]
        self.latest = None if found else key
        return found

    def seen_again(self) -> bool:
        """Note a call of a way that has no plan: whether there are few of these and this one was
        seen before."""
        key, self.latest = self.latest, None
        if key is None or len(self.strange) >= FEW:
            return False
        again = key in self.strange
        self.strange.add(key)
        return again

    def _agrees(self, plan: ReplayPlan, key: Key) -> bool:
        wanted = self.wanted.get(id(plan), ())
        return all([key[index] is truth for index, truth in wanted])

    def note(self, key: Key | None, plan: ReplayPlan) -> None:
        """A plan served a call with these truths."""
        if key is not None:
            keep(self.known, key, plan, MAX_KEYS)

    def serve(self, *tensors: Any) -> Any:
        """The result of a call of tensors, NotImplemented where the likely plan does not serve
        it."""
        undone: Undone = []
        plan = None
        try:
            found = self.look(undone)
            plan = None if found is None else self.known.get(found[1])
            served = None if plan is None else plan.served
            if plan is None or served is None:
                return NotImplemented
            for call, result in zip(plan.draws, found[0]):
                call.take_over(*result)
            undone.clear()
            answer = served.replay(tensors)
        except BaseException as error:  # nothing has changed, unless a signal's handler raised it
            if plan is not None:
                undo(plan.draws)
            path = plan is not None and plan.recording.path and isinstance(error, Exception)
            if not path or signals.from_handler(error):
                raise
            return NotImplemented
        finally:
            for restore in undone:
                restore()
        return NotImplemented if answer is MISS else answer


def _wanted(plan: ReplayPlan, places: dict[Any, int]) -> list[tuple[int, bool]]:
    """Which truths a plan has as conditions."""
    found = [(plain_form(term), t) for term, t in plan.recording.outcome.actions.conditions]
    return [(places[form], truth) for form, truth in found if form in places]


class _Writer(Places):
    """The text that draws, and computes truths."""

    def __init__(self, draws: Sequence[First]) -> None:
        super().__init__({})
        self.draws, self.found = draws, dict[Any, str]()
        self.numbers = {call.place(): f"f{k}" for k, call in enumerate(draws)}

    def term(self, term: Any) -> str:
        if type(term) is Operation:
            return self.operation(term.symbol, list(map(self.term, term.operands)))
        if type(term) is Made:
            return f"{self.const(term.function)}({', '.join(map(self.term, term.operands))})"
        return self.const(term.value) if type(term) is Constant else self.numbers[term.place()]

    def look(self, conditions: Sequence[Any]) -> Callable[[Undone], Any]:
        """The function."""
        self.space.update(MISSING=MISSING, raised=signals.from_handler)
        lines, owners, results = list[str](), dict[int, str](), list[str]()
        for k, call in enumerate(self.draws):
            assert call.owner is not None
            undoes, known = "None", owners.get(call.owner.id)
            if known is None:
                known = owners[call.owner.id] = f"o{k}"
                lines.append(f"{known} = {self.const(call.owner.get)}()")
                lines.append(f"if {known} is MISSING: return None")
                save = saver(call.owner.get(), call.function.__name__)
                lines.append(f"s{k} = {self.const(save)}({known})")
                lines.append(f"undone.append(s{k})")
                undoes = f"s{k}"
            count = len(call.operands) - len(call.names)
            given = [known, *map(self.term, call.operands[:count])]
            given += [
                f"{name}={self.term(t)}" for name, t in zip(call.names, call.operands[count:])
            ]
            lines.append(f"f{k} = {self.const(call.function)}({', '.join(given)})")
            lines.append(f"if type(f{k}) is not {self.const(call.type)}: return None")
            results.append(f"(f{k}, {undoes})")
        truths = [f"bool({self.term(term)})" for term in conditions]
        lines.append(f"return ({', '.join(results)},), ({', '.join(truths)},)")
        text = ["def look(undone):", " try:", *[f"  {line}" for line in lines]]
        text += [" except Exception as error:", "  if raised(error): raise", "  return None"]
        found: Callable[[Undone], Any] = run_text(
            "\n".join(text), "<hybrid foresight>", self.space, "look"
        )
        return found


def _plain(call: First) -> bool:
    """Whether a draw depends on nothing but its generator."""
    return call.draws and call.owner is not None and all(type(t) is Constant for t in call.operands)


def _alike(one: First, other: First) -> bool:
    same = one.place() == other.place() and len(one.operands) == len(other.operands)
    return same and list(map(plain_form, one.operands)) == list(map(plain_form, other.operands))


def _shared(plans: Sequence[ReplayPlan]) -> list[First]:
    """The draws that all plans begin with."""
    found: list[First] = []
    for calls in zip(*[plan.draws for plan in plans]):
        if not all(map(_plain, calls)) or not all([_alike(calls[0], c) for c in calls]):
            break
        found.append(calls[0])
    return found


def _conditions(plans: Sequence[ReplayPlan], draws: Sequence[First]) -> Iterator[Any]:
    """Terms of these numbers that plans have conditions on, each once."""
    places, seen = {call.place() for call in draws}, set[Any]()
    for plan in plans:
        for term, _ in plan.recording.outcome.actions.conditions:
            form, leaves = plain_form(term), list(parts(term))
            known = all([type(x) is Constant or _place(x) in places for x in leaves])
            drawn = any([type(x) is not Constant for x in leaves])
            if form not in seen and known and drawn:
                seen.add(form)
                yield term


def _place(leaf: Any) -> Any:
    return leaf.place() if type(leaf) is First else None
