"""The plans of a signature as a tree of paths: what comes after a replay in which a branch on a
tensor goes another way.

Invariant: a plan that ends at a branch has changed nothing; every plan is tried before a call is
recorded, those first that agree with the ways that are known.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ...control.decisions import decision_of
from ...core import signals
from ...core.errors import IndexOutOfRange
from ..bytecode.opcodes import SUPPORTED, UNSUPPORTED
from ..fallback.budget import GIVE_UP, START, VERSIONS, YOUNG, Budget
from ..record.before import Before
from ..record.compare import resized
from ..record.recording import Recording, Refused
from ..watch.events import foreign_hooks
from .foresight import Foresight
from .plans import ReplayPlan
from .prepare import MISS
from .served import as_it_is

__all__ = [
    "KnownPaths",
    "Paths",
    "crossing",
    "kept",
    "leads",
    "or_aside",
    "way_text",
    "went",
    "worth",
]
__all__ += ["MAX_WAYS", "NEW_WAYS"]

MAX_WAYS = 64  # paths through one signature that are recorded
SHOWN = 16  # branches of a way that are named
UNSETTLED, REPLAYS = 12, 4  # misses of facts, and the replays that have to pay for each
UNSERVED = 32  # calls of ways without a plan, before plans have to serve as many
MAX_BEGINS = 10  # states of its own from which a signature may start before one comes again
MAX_PENDING = 8  # recordings of one path that wait for one that agrees
NEW_WAYS = "takes ever new ways at branches on the values of tensors"
Path = tuple[bool, ...]


def _nothing() -> None:
    """What a reference gives that leads nowhere."""


class KnownPaths:
    """The paths that were recorded of a signature with this state.  `aside`: the latest call left a
    plan at a branch, so the facts of that plan held; `once`: ways that took one recording; `early`:
    the next recording makes one node of loops of which the latest one has all turns."""

    __slots__ = (
        "met",
        "once",
        "aside",
        "early",
        "unserved",
        "remade",
        "state",
        "crossing",
        "begun",
        "made",
        "foresight",
    )

    def __init__(self, state: Any) -> None:
        self.met: set[Path] = set()
        self.once: set[Path] = set()
        self.begun: set[Any] = set()  # from what calls started that change it
        self.aside = self.early = False
        self.unserved = 0  # calls of ways that are not recorded any more
        self.remade = 0  # calls that were recorded because facts had changed
        self.made = 0  # plans, so far
        self.foresight: Foresight | None = None  # what tells plans apart by random numbers
        self.state = weakref.ref(state)
        # the latest function that goes from plan to plan; weak, for it leads back here
        self.crossing: Callable[[], Any] = _nothing

    @property
    def plans(self) -> list[ReplayPlan]:
        """The plans there are now."""
        state = self.state()
        return [] if state is None else state.plans

    def foresee(self, plans: Sequence[ReplayPlan]) -> None:
        """There are other plans: what is known of the truths that lead to each goes on."""
        ahead = self.foresight or Foresight()
        self.foresight = ahead if ahead.learn(plans) else None

    @property
    def many(self) -> bool:
        """Whether there are so many that no more are recorded."""
        return len(self.met) > MAX_WAYS

    @property
    def several(self) -> bool:
        """Whether there is more than one way through the signature."""
        return bool(self.met - {()})

    def foreseen(self, ahead: Foresight, plans: list[ReplayPlan]) -> tuple[Any, list[ReplayPlan]]:
        """What numbers that are drawn ahead say, and the plans that they let agree."""
        key = ahead.key()
        found = ahead.agreeing(key, plans)
        self.aside = not found  # numbers say so, and no facts
        return key, found

    def lost(self, replays: int) -> bool:
        """Note a call of a way that is not recorded any more: whether there are more of these than
        replays."""
        self.aside = False
        self.unserved += 1
        return self.unserved > max(UNSERVED, replays)

    def unsettled(self, replays: int) -> bool:
        """Note a miss of the facts: whether there are so many that plans do not pay."""
        self.remade += self.several
        return self.remade > UNSETTLED and REPLAYS * self.remade > replays

    def first(self, recording: Recording) -> bool:
        """Note a recording: whether it is the first that went its way, or started as it did."""
        path, start = recording.path, _start(recording, self.earlier())
        new = bool(self.met or path) and path not in self.met
        self.met.add(path)
        room = len(self.begun) < (MAX_BEGINS if not self.plans else MAX_WAYS)
        turns = bool(start) and start not in self.begun and room
        state = self.state()
        if turns:
            self.begun.add(start)
        elif not room and state is not None and start not in self.begun:
            state.fails = max(state.fails, GIVE_UP - 2)  # it is a counter, say
        return (new and not self.many) or turns

    def earlier(self) -> list[Recording]:
        """The recordings that are kept."""
        state = self.state()
        pending = [] if state is None else state.pending
        return [*pending, *[plan.recording for plan in self.plans]]

    def settled(self, recording: Recording | Refused, before: Before) -> Recording | None:
        """Note a recording that needs no second one: the one of another size that it is like, or
        itself; None for others."""
        if isinstance(recording, Refused):
            return None
        other = before.relative_of(recording)
        if other is not None:
            return other
        if self.early or self.many or not before.continued(recording, self.once):
            return None
        self.met.add(recording.path)
        self.once.add(recording.path)
        return recording


def _start(recording: Recording, others: Sequence[Recording]) -> tuple[Any, ...]:
    """What a call started from, with the sizes of what it found in Python where those differ."""
    differs = any(resized(recording, other) for other in others)
    return (*recording.begins, *(recording.sizes() if differs else ()))


def worth(state: Any, budget: Budget, calls: int) -> bool:
    """Whether a call that none of several plans serves is recorded, after so many calls of the
    function: when as many such calls, replayed, would have paid for that, or it is one of a few
    ways which comes again."""
    known: KnownPaths = state.known_paths
    ahead = known.foresight
    again, aside = ahead is not None and ahead.seen_again(), known.aside
    room = budget.recordings < START
    if len(state.plans) < VERSIONS or (room and (aside or calls < YOUNG)):
        return True
    state.unserved += 1
    if room and not state.unserved & (state.unserved - 1):  # it takes longer than a small call
        again = again or state.recalls()
    paid = again or budget.pays(state.unserved)
    state.unserved = 0 if paid else state.unserved
    known.aside = aside and paid
    return paid


def way_text(path: Path) -> str:
    """What `explain` says of a way through branches."""
    shown = ", ".join(map(str, path[:SHOWN])) + (", ..." if len(path) > SHOWN else "")
    return f", where branches on tensors are {shown}" if path else ""


def kept(pending: Sequence[Recording]) -> list[Recording]:
    """The recordings that wait, without the oldest where there are many of one path."""
    left: list[Recording] = []
    count: dict[Any, int] = {}
    for recording in reversed(pending):
        mark = recording.path, recording.begins, recording.sizes()
        count[mark] = count.get(mark, 0) + 1
        if count[mark] <= MAX_PENDING and len(left) < MAX_WAYS:
            left.append(recording)
    return left[::-1]


def _shared(first: Path, second: Path) -> int:
    """How many branches two paths go the same way at the start."""
    count = 0
    for one, other in zip(first, second):
        if one is not other:
            break
        count += 1
    return count


class _Stop:
    """A plan that is tried from bare arguments: its entry and what makes the result, where that
    takes next to nothing (`raw`), and where its failures lead (places in a list of stops): by what
    the entry gives for them, or by the number of the branch, complemented; `missed`: which one
    served a call that was none of its own."""

    __slots__ = ("plan", "served", "raw", "after", "whole_call", "exits", "missed", "hits")

    def __init__(self, plan: ReplayPlan) -> None:
        served = plan.served
        assert served is not None
        self.plan, self.served = plan, served
        self.after = None if served.after is as_it_is else served.after
        self.raw = None if served.after is None else served.entry.raw
        self.whole_call = None if served.straight is None else served.straight.function(_Exit)
        self.exits: dict[int, int] = {}
        self.missed: int | None = None
        self.hits = 0  # calls that it served since they were last counted

    def replay(self, tensors: tuple[Any, ...]) -> Any:
        """The result, NotImplemented, or where a branch went another way its `_Exit`."""
        if self.whole_call is not None:
            return self.whole_call(*tensors)
        try:
            result = self.served.replay(tensors)
        except IndexOutOfRange as error:
            number = decision_of(error)
            return NotImplemented if number is None else _Exit(~number)
        return NotImplemented if result is MISS else result


class _Exit(NamedTuple):
    """What a plan ended with."""

    code: int


def _bare(plan: ReplayPlan) -> bool:
    """Whether a plan can be served from bare arguments."""
    served = plan.served
    return plan.bare and served is not None and served.bare and not plan.recording.life.dead


class _Stops:
    """The plans that calls with bare arguments went to so far; the latest that served one first."""

    __slots__ = ("listed", "first", "last", "made")

    def __init__(self, plan: ReplayPlan) -> None:
        self.first = self.last = _Stop(plan)  # `last`: the one that a call ended at unserved
        self.listed = [self.first]
        self.made = plan.known_paths.made

    def place(self, stop: _Stop, code: int) -> int | None:
        """The place of what to try when a plan has ended so, known until there are more plans: one
        that goes every way that the call has gone so far; None: there is none."""
        path, number = stop.plan.recording.path, ~code
        error = stop.served.entry.failed(code) if code >= 0 else None
        if error is not None:
            number = decision_of(error)  # type: ignore[assignment]
        if error is not None and number is None:
            if isinstance(error, IndexOutOfRange):
                return None  # it may be one of a way that this call does not go
            raise error  # a signal's handler raised it, or there is no memory
        gone = (*path[:number], not path[number])
        known: KnownPaths = stop.plan.known_paths
        others = [p for p in known.plans if p.recording.path[: number + 1] == gone and _bare(p)]
        if not others:
            return None
        best = max(others, key=lambda other: other.calls)
        listed = [k for k, other in enumerate(list(self.listed)) if other.plan is best]
        if not listed:
            self.listed.append(_Stop(best))
        return stop.exits.setdefault(code, listed[0] if listed else len(self.listed) - 1)

    def serves(self, plan: ReplayPlan) -> bool:
        """Whether a plan is one of them."""
        return any(stop.plan is plan for stop in list(self.listed))

    def takes_in(self, plan: ReplayPlan) -> bool:
        """Have a plan among them, where all are as they are served now."""
        current = all(s.plan.served is s.served for s in list(self.listed))
        if current and not self.serves(plan):
            self.listed.append(_Stop(plan))
        self.went(plan)
        return current

    def went(self, plan: ReplayPlan) -> None:
        """The call that went unserved was one of this plan."""
        last = self.last
        if last.plan is not plan:
            places = [k for k, stop in enumerate(list(self.listed)) if stop.plan is plan]
            last.missed = places[0] if places else None

    def look(self, known: KnownPaths) -> None:
        """Where failures lead is found anew when there are more plans."""
        if self.made != known.made:
            for stop in list(self.listed):
                stop.exits, stop.missed = {}, None
            self.made = known.made

    def count(self) -> int:
        """Count the calls at their plans; how many there were."""
        for stop in self.listed:
            stop.plan.calls += stop.hits
        return self.forget()

    def forget(self) -> int:
        """Count anew; how many calls there were."""
        calls = sum([stop.hits for stop in self.listed])
        for stop in self.listed:
            stop.hits = 0
        return calls


def crossing(plan: ReplayPlan) -> Callable[..., Any] | None:
    """A function of bare arguments that goes from plan to plan as branches go, from this one on;
    NotImplemented where it finds none.  None: this plan needs more than tensors."""
    if not plan.recording.path or not _bare(plan):
        return None
    known = plan.known_paths.crossing()
    if known is not None and known.stops.takes_in(plan):
        known.stops.forget()
        return known  # type: ignore[no-any-return]
    stops, paths = _Stops(plan), plan.known_paths

    def direct(*tensors: Any) -> Any:
        stop, missed = stops.first, False
        for _ in range(MAX_WAYS):
            raw = stop.raw
            code = result = stop.replay(tensors) if raw is None else raw(*tensors)
            if type(result) is _Exit:
                code = result.code
            elif raw is None or type(result) is not int:
                if result is NotImplemented:
                    if missed or stop.missed is None:
                        stops.last = stop
                        return result
                    missed, stop = True, stops.listed[stop.missed]
                    continue
                stops.first = stop
                stop.hits += 1
                return result if stop.after is None else stop.after(result)
            if stops.made != paths.made:
                stops.look(paths)
            place = stop.exits.get(code)
            if place is None and (place := stops.place(stop, code)) is None:
                return NotImplemented
            stop = stops.listed[place]
        return NotImplemented

    direct.stops = stops  # type: ignore[attr-defined]
    plan.known_paths.crossing = weakref.ref(direct)
    return direct


def leads(direct: Callable[..., Any], plan: ReplayPlan) -> bool:
    """Whether a direct way leads to a plan, alone or among others."""
    stops = getattr(direct, "stops", None)
    alone = plan.served is not None and plan.served.direct is direct
    return alone or (stops is not None and stops.serves(plan))


def went(direct: Callable[..., Any] | None, plan: ReplayPlan) -> None:
    """A plan served a call that a direct way did not: calls may go there from where it ended."""
    stops = getattr(direct, "stops", None)
    if stops is not None:
        stops.went(plan)


def or_aside(serve: Callable[..., Any]) -> Callable[..., Any]:
    """What serves calls of one way, with NotImplemented for those that go another one."""

    def served(*tensors: Any) -> Any:
        try:
            return serve(*tensors)
        except Exception as error:  # nothing has changed, unless a signal's handler raised it
            if signals.from_handler(error):
                raise
            return NotImplemented

    return served


class Paths:
    """The part of `Function` that looks for the plan of another path."""

    _replays: int = 0
    _looped: int = 0
    _replay: Callable[[ReplayPlan, list[Any]], Any]
    _timed: Callable[[ReplayPlan, list[Any]], Any]
    _eagerly: Callable[..., Any]
    _record: Callable[..., Any]
    _eager: int
    _budget: Budget
    _give_up: Callable[..., None]
    _say: Callable[[str, str], None]

    def _unable(self, state: Any) -> bool:
        """Whether a call is not recorded, as that would not pay or cannot be done here."""
        if not worth(state, self._budget, self._replays + self._eager):
            return True
        if not SUPPORTED:
            state.why = UNSUPPORTED
            self._give_up(state, forever=True)
            return True
        stop = foreign_hooks()
        if stop is not None:
            self._say("", f"is not recorded: {stop}")
        return stop is not None

    def _otherwise(
        self,
        state: Any,
        failed: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tensors: list[Any],
    ) -> Any:
        """A call in which one of the plans ended with an error that is none of the user's."""
        plan, result = self._another_way(state.known_paths, failed, tensors)
        if plan is None:
            return self._eagerly(args, kwargs)
        if result is MISS:
            return self._record(state, args, kwargs, tensors)
        self._replays, self._looped = self._replays + 1, self._looped + 1
        plan.calls, state.fails = plan.calls + 1, 0
        state.prefer(plan)
        return result

    def _another_way(
        self,
        known_paths: KnownPaths,
        failed: tuple[Sequence[ReplayPlan], ReplayPlan, Exception],
        tensors: list[Any],
    ) -> tuple[ReplayPlan | None, Any]:
        """After an error in one of the plans: the plan that serves the call, and the result.
        MISS: none does; without a plan: the error may be one that the user handles."""
        plans, plan = failed[:2]
        error: Exception | None = failed[2]
        start = next(k for k, other in enumerate(plans) if other is plan)
        todo, unsure, refuted = list(plans[start + 1 :]), False, list[Path]()
        while True:
            if error is not None:
                number = decision_of(error)
                # what follows a branch may fail where the branch goes another way
                unsure = unsure or not plan.recording.path
                known_paths.aside = known_paths.aside or not unsure
                if number is not None:
                    path = plan.recording.path
                    refuted.append(path[: number + 1])
                    likely = (*path[:number], not path[number])
                    todo.sort(key=lambda other: self._rank(other, refuted, likely))
            if not todo:
                return (None if unsure else plan), MISS
            plan, error = todo.pop(0), None
            try:
                result = (self._timed if plan.untimed else self._replay)(plan, tensors)
            except Exception as other:
                if not plan.recording.handles_errors or signals.from_handler(other):
                    raise
                error = other
                continue
            if result is not MISS:
                known_paths.aside = False
                return plan, result

    @staticmethod
    def _rank(plan: ReplayPlan, refuted: Sequence[Path], likely: Path) -> tuple[bool, int]:
        """Where a plan comes among others; one that would end where another did comes last."""
        path = plan.recording.path
        again = any(path[: len(prefix)] == prefix for prefix in refuted)
        return again, -_shared(path, likely)
