"""The states of the signatures of a recorded function.

Invariant: a recording, and the native way made from it, is dropped when an object that its facts
name dies; signatures are bounded in number and size, and those that were used last stay.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

from ...autograd.asked import Asked
from ...core.cache import Living, until_exit
from ...core.precision import MATMUL
from ...ir.tensor import Handle
from ..fallback.budget import EXCUSES, GIVE_UP
from ..fallback.families import Family
from ..fallback.postponed import PostponingRecorder
from ..follow.rows import follower
from ..follow.terms import argument
from ..heap.allowlist import BOXES, is_a, is_tuple, plain
from ..heap.data import numbers_among, source_of
from ..heap.facts import Holder
from ..heap.lists import listed_at
from ..heap.structure import FreshObjects, structure_of
from ..record.actions import NONE
from ..record.recorder import Recorder
from ..record.recording import Life, Recording
from ..record.wording import Wording
from ..watch.analysis import Analysis
from ..watch.events import Watch
from ..watch.pinned.arrays import Writes
from .background import Compilation
from .native.resized import SizeIndex, index_of
from .paths import KnownPaths, leads, way_text
from .plans import ReplayPlan

__all__ = [
    "NEW_SIGNATURES",
    "SignatureState",
    "SignatureTable",
    "dropper",
    "follow_mode",
    "owners_of",
]

State: TypeAlias = Literal["RECORD", "PENDING", "REPLAY", "DEFERRED", "PIECES", "EAGER"]
SHOWN_CHANGES = 8  # of Python state that `explain` and `versions` tell
SHOWN = 40  # facts that `explain` lists of a plan
MAX_SIGNATURES = 128  # new ones in a generation
MAX_OPERATIONS = 200_000  # in the plans of one generation
RECALLED = 4  # recordings without a plan that are compared with what Python holds
MAX_LOST = 16
MAX_PLANS, MAX_SIZES = 32, 128  # of a signature, where sizes of what calls find tell them apart
NEW_SIGNATURES = (
    "is called with ever new signatures (shapes, dtypes, Python numbers or objects as arguments), "
    "each of which runs eagerly until it comes again; pass what changes as tensors or NumPy arrays"
)
NEW_OBJECTS = (
    "is called with a new object as argument each time, and does with it what only the same object "
    "allows (returns it, stores it, compares it); pass tensors, arrays or dataclasses"
)


def _weakly(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of an object that holds the caller: a circle would keep what the call used until the
    collector comes."""
    bound = weakref.WeakMethod(method)

    def call(*args: Any) -> Any:
        found = bound()
        return None if found is None else found(*args)

    return call


class SignatureState:
    """One signature of a recorded function: `state` goes from RECORD to REPLAY, by way of PENDING
    where `work` is compiled beside its calls, or to PIECES, DEFERRED or EAGER where Python has to
    run.

    `idle`: calls since it was given up, `patience`: after how many it is tried again (0: never)."""

    __slots__ = (
        "state",
        "plans",
        "pending",
        "fails",
        "effects",
        "why",
        "objects",
        "changes",
        "reasons",
        "calls",
        "misses",
        "mark",
        "excuses",
        "deferral",
        "work",
        "idle",
        "patience",
        "stores",
        "owners",
        "sealed",
        "asked",
        "fruitless",
        "unserved",
        "family",
        "prepares",
        "shape",
        "known_paths",
        "rolls",
        "loops",
        "counters",
        "writes",
        "resting",
        "index",
        "__weakref__",
    )

    def __init__(self) -> None:
        self.state: State = "RECORD"
        self.deferral: Any = None  # how calls are run in the states DEFERRED and PIECES
        self.why = ""
        self.reasons: tuple[str, ...] = ()  # all that stands against the latest refused call
        self.changes: list[str] = []  # why no plan served, the latest last
        self.calls = 0  # that were not served by plans, and are not counted by `idle`
        self.plans: list[ReplayPlan] = []
        self.resting: list[ReplayPlan] = []  # that plain Python was faster than (trial.py)
        self.pending: list[Recording] = []
        self.fails = self.effects = self.misses = self.excuses = 0
        self.work: Compilation | None = None
        self.idle = self.patience = 0
        self.mark = -1  # replays of the function when this signature was last recorded
        self.objects: list[Holder] = []
        self.stores = False  # whether numbers or containers were seen to change in a call
        self.owners: frozenset[int] | None = None  # containers that plans change, by id
        self.sealed = False  # calls that no plan serves run eagerly
        self.asked, self.known_paths = Asked(), KnownPaths(self)
        # variables that are numbers of turns of loops, by id of the code and name; None where
        # Python looks at them
        self.counters: dict[tuple[int, str], Any] = {}
        self.writes = Writes()
        self.loops = False  # whether calls branch on tensors again and again
        self.rolls = True  # whether such loops are to become one node
        self.unserved = 0  # calls that no plan served since one of them was recorded
        self.fruitless = 0  # recordings beside plans, or calls after those, that gave no plan
        self.family: Family | None = None
        self.prepares = False  # whether calls compute with data among their arguments
        self.index: SizeIndex | None = None  # of plans for sizes of what calls find in Python
        self.shape: Any = None  # the signature without extents

    @property
    def text(self) -> str:
        """Why no plan served the latest call that none served."""
        return self.changes[-1] if self.changes else ""

    @text.setter
    def text(self, change: str) -> None:
        kept = [other for other in self.changes if other != change]
        self.changes = [*kept[1 - SHOWN_CHANGES :], change]

    def follows(self) -> bool:
        """Whether the next recording looks at each instruction: only where one without that may
        not do, for it takes longer."""
        more = self.stores or self.effects or self.plans or self.loops or self.writes.seen
        return bool(more or self.fails > 1 or (self.family and self.family.follows))

    def recorder(
        self, function: Any, tensors: list[Any], related: bool = False
    ) -> tuple[Recorder, Watch]:
        """What records the next call, and what looks at its Python; `related`: recordings of other
        extents may show that one is enough, and then its plan computes the call."""
        numbers = numbers_among(tensors)
        prepares = self.prepares and any(source_of(t) is not t for t in tensors)
        listed = {id(source_of(t)): k for t in tensors if (k := listed_at(t)) >= 0}
        root = getattr(function, "__code__", None)
        follow = follower(function) if numbers or prepares or self.follows() else None
        watch = Watch(follow, root, type(getattr(function, "func", function)))
        late = related and self.family is not None and self.family.postpones()
        kind = PostponingRecorder if late else Recorder
        recorder = kind(tensors, root)
        recorder.watch, watch.data, watch.listed = watch, recorder.sources(), listed
        recorder.asked = self.asked
        if watch.follow is not None:
            follow = watch.follow
            follow.regions, follow.decide = recorder.regions, _weakly(recorder.decide)
            follow.progress = _weakly(recorder.progress)
            numbered = {id(tensor): number for number, tensor in enumerate(recorder.args)}
            data = {ident: numbered[id(t)] for ident, t in recorder.data.items()}
            follow.data = {i: n for i, n in data.items() if self.prepares or i in listed}
            follow.lent = {numbered[id(t)]: source_of(t) for t in recorder.data.values()}
            follow.writes = self.writes.seen
            follow.counters = {k: v for k, v in self.counters.items() if v is not None}
            follow.record_of = _weakly(recorder.aval_of)
            follow.compute_number = _weakly(recorder.compute_number)
            follow.compute_operand = _weakly(recorder.compute_operand)
            given = {p: argument(k, type(source_of(tensors[k]))) for p, k in numbers.items()}
            follow.expect(function.__code__.co_varnames if numbers else (), given)
        return recorder, watch

    def install(self, plan: ReplayPlan) -> None:
        """Serve calls by one more plan; of many the oldest goes."""
        most = MAX_PLANS if self.index is None else MAX_SIZES
        self.plans = [plan, *self.plans][:most]
        self.index = index_of(self.plans)
        self.owners = owners_of(self.plans)

    def serving(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[ReplayPlan]:
        """The plans that may serve a call."""
        plans = self.plans if self.owners is None else self.apart(args, kwargs)
        return plans if self.index is None or not plans else self.index.fitting()

    def apart(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[ReplayPlan]:
        """The plans, none where an argument holds a container or structure that a plan changes."""
        todo, met = [*args, *kwargs.values()], set[int]()
        owners = self.owners or frozenset[int]()
        while todo:
            value = todo.pop()
            if type(value) is list or type(value) is dict or is_tuple(value):
                if id(value) in owners:
                    return []
                todo += value.values() if type(value) is dict else value
            elif not is_a(value, Handle) and not plain(value) and id(value) not in met:
                structure = structure_of(value)
                if structure is not None:
                    met.add(id(value))
                    if any(id(own) in owners for own in structure.own):
                        return []
                    todo += structure.parts
        return self.plans

    def ended(self, recorder: Recorder, analysis: Analysis) -> None:
        """A recorded call has ended: have its branches checked, and note what it shows of numbers
        that change and of loops that tensors end."""
        self.writes.seen = self.writes.seen or analysis.writes
        self.stores, followed = self.stores or analysis.stores, analysis.followed
        recorder.check(followed, self.rolls)
        self.loops = self.loops or recorder.loops
        follow = recorder.watch.follow if recorder.watch is not None else None
        known = self.known_paths
        known.early = self.rolls and follow is None and recorder.loops
        if follow is not None:
            follow.leave_recorder()
        if follow is None or not self.rolls:
            return
        escaped = follow.virtual if followed is None else followed.escaped
        names = {name for read, name in follow.virtual.items() if read in escaped}
        if names:  # Python needs these numbers themselves
            recorder.why("uses the number of a turn of a loop that a tensor ends")
            self.effects -= 1  # no fault of the call's
            self.counters = {**self.counters, **dict.fromkeys(names)}
        elif self.loops:
            found = recorder.counters()
            known.early = not found.keys() <= self.counters.keys()
            self.counters = {**found, **self.counters}

    def prefer(self, plan: ReplayPlan) -> None:
        """Try a plan before the others, unless it was dropped meanwhile."""
        plans = self.plans
        if any(other is plan for other in plans):
            self.plans = [plan, *[other for other in plans if other is not plan]]

    def relatives(self) -> list[Recording]:
        """The latest recording of a signature of the same family that does nothing to Python."""
        if self.plans or self.family is None:
            return []
        found = [other.latest() for other in self.family.relatives(self)]
        return [
            recording
            for recording in found
            if recording.outcome.actions is NONE and not recording.life.dead
        ][:1]

    def recalls(self) -> bool:
        """Whether one of the latest recordings that gave no plan found Python as it is now."""
        return any(r.facts.broken() is None for r in self.pending[-RECALLED:])

    def latest(self) -> Recording:
        """The recording that was accepted last, or else the last one."""
        return self.plans[0].recording if self.plans else self.pending[-1]

    def excused(self, unkept: bool = False) -> bool:
        """Note a recording that was disturbed, or that filled a cache (`unkept`); false when that
        was often enough."""
        self.excuses += 1
        if self.family is not None and not unkept and self.excuses == 1:
            self.family.spoilt()
        return self.excuses <= (GIVE_UP if unkept else EXCUSES)

    def seal(self) -> bool:
        """After calls on some path that no replay can do: whether those on others go on."""
        self.sealed = bool(self.plans) and not self.misses
        return self.sealed

    @property
    def how(self) -> str:
        """What a message about eager calls adds."""
        deferred = self.state == "DEFERRED"
        return "; its operations run in fused segments between the reads" if deferred else ""

    def size(self) -> int:
        """Operations in the graphs of its plans."""
        return sum(len(plan.recording.graph.nodes) for plan in self.plans)

    def serves(self, direct: Any) -> bool:
        """Whether a direct way into a plan is one of its plans'."""
        ways = getattr(direct, "ways", None)
        if ways is not None:
            return any(map(ways.serves, self.plans))
        return direct is not None and any(leads(direct, plan) for plan in self.plans)

    def rise(self) -> None:
        """Let plans that rested be tried again."""
        self.plans, self.resting = self.resting, []
        self.index = index_of(self.plans)
        for plan in self.plans:
            plan.untimed, plan.retried, self.state = 1, True, "REPLAY"

    def forget(self) -> None:
        """Drop recordings that refer to an object which died."""
        self.plans = [plan for plan in self.plans if not plan.recording.life.dead]
        self.resting = [plan for plan in self.resting if not plan.recording.life.dead]
        self.index = index_of(self.plans)
        self.pending = [recording for recording in self.pending if not recording.life.dead]

    def lines(self, number: int) -> list[str]:
        """What `Function.explain` says about this signature."""
        why = f"; it {self.why}" if self.why and self.state != "REPLAY" else ""
        out = [f"signature {number}: {self.state}{why}"]
        if self.deferral is not None:
            out.append(f"  {self.deferral}")
        if self.sealed and self.state == "REPLAY":
            out.append(f"  calls that no plan serves run in Python: one {self.why}")
        if self.text:
            out.append(f"  recorded again because: {self.text}")
        for plan in self.plans:
            recording = plan.recording
            facts = recording.facts
            out.append(
                f"  plan: {len(recording.graph.nodes)} operations, "
                f"{recording.captures} captured tensors, "
                f"{len(recording.outcome.writes)} state writes, {plan.count} guards"
                f"{way_text(recording.path)}"
            )
            out += [f"    it {plan.why}"] if plan.why else []
            wording = Wording(facts)
            out += [f"    {wording.place(key)}" for key in list(facts.expected)[:SHOWN]]
            if len(facts.expected) > SHOWN:
                out.append(f"    and {len(facts.expected) - SHOWN} more")
        return out


class SignatureTable(dict[Any, SignatureState]):
    """The signatures of this generation, and the `older` ones of the last, which come back when
    they are used: a look-up that hits costs no bookkeeping.

    `lost`: signatures that an object died with before anything was compiled; after some, those with
    objects that may die are not recorded; `fresh`: classes of which ever new objects come."""

    def __init__(self) -> None:
        self.older: dict[Any, SignatureState] = {}
        self.lost = 0
        self.fresh, self.writes = FreshObjects(), Writes()
        # signatures but for numbers among the arguments -> those of the latest such call
        self.numbers: dict[Any, tuple[Any, ...]] = {}

    def everything(self) -> Iterator[SignatureState]:
        """All states, the latest generation first."""
        yield from list(self.values())
        yield from list(self.older.values())

    def again(self, signature: Any) -> SignatureState | None:
        """The state of a signature of the last generation, which is of this one from now on."""
        state = self.older.pop(signature, None)
        if state is not None:
            self[signature] = state
        return state

    def admit(
        self, signature: Any, state: SignatureState, objects: list[Any], function: Any
    ) -> str:
        """Take up the state of a new signature, which leaves when one of these objects dies; or
        why not."""
        holders = [
            Holder(value, _mourner(signature, state, function, type(value))) for value in objects
        ]
        for holder in holders:
            if holder.ref is None:  # nobody is told of its end
                self.fresh.note(type(holder.get()))
        if self.lost >= MAX_LOST and any(holder.ref is not None for holder in holders):
            return NEW_OBJECTS
        self._make_room(function._direct)
        state.objects = holders
        self[signature] = state
        return ""

    def _make_room(self, direct: Any) -> None:
        """Begin a generation when this one is full; what was not used in it and the last one goes,
        but not the signature that is served directly."""
        if len(self) < MAX_SIGNATURES:
            if sum(state.size() for state in list(self.values())) < MAX_OPERATIONS:
                return
        leaving, self.older = self.older, dict(self)
        self.clear()
        for signature, state in leaving.items():
            if state.serves(direct):
                self[signature] = state

    def remove(self, signature: Any) -> None:
        """Forget one signature."""
        self.pop(signature, None)
        self.older.pop(signature, None)

    def drop(self, state: SignatureState) -> None:
        """Forget the signature with this state."""
        for table in (self, self.older):
            for signature in [key for key, other in list(table.items()) if other is state]:
                table.pop(signature, None)


def _described(holder: Any) -> bool:
    """Whether a signature may describe an object by its content."""
    cell = type(holder) is types.CellType
    return cell or is_a(holder, BOXES) or structure_of(holder) is not None


def owners_of(plans: list[ReplayPlan]) -> frozenset[int] | None:
    """Ids of the built-in containers and structures that plans read numbers of or change; None: of
    no such."""
    found: set[int] = set()
    for plan in plans:
        recording = plan.recording
        actions = recording.outcome.actions
        found |= recording.owners
        held = [place.holder for place in actions.loads]
        held += [place.holder for place in actions.numbers]
        found.update(holder.id for holder in held if _described(holder.get()))
        found.update(listed.owner.id for listed in actions.lists())
    return frozenset(found) or None


def dropper(state: SignatureState, function: Any, life: Life) -> Callable[[Any], None]:
    """The callback that drops a recording when an object that its facts name dies."""
    # weak: what the callback is kept by is kept by the state, and the state by the function
    table, owner = weakref.ref(state), weakref.ref(function)

    def dead(_: Any) -> None:
        life.end()
        found, decorated = table(), owner()
        if found is not None:
            found.forget()
        if decorated is not None:
            decorated._direct = decorated._untaped = None  # they may be this recording's

    return until_exit(dead)


def _mourner(
    signature: Any, state: SignatureState, function: Any, cls: type
) -> Callable[[Any], None]:
    """The callback that takes a signature out when an object of it dies."""
    # weak: the function holds the state, and that holds this
    owner, table, kind = weakref.ref(function), weakref.ref(state), weakref.ref(cls)

    def dead(_: Any) -> None:
        found = owner()
        if found is not None:
            known, died = table(), kind()
            if known is None or not known.plans:
                found._signatures.lost += 1
                if died is not None:
                    found._signatures.fresh.note(died)
            found._signatures.remove(signature)
            found._direct = found._untaped = None  # a way to it may go by the object's number

    return until_exit(dead)


_FOLLOWING: Living[Any] = Living()


def follow_mode(function: Any) -> None:
    """Have a function look at the signature of its next call, which holds the mode, whenever the
    mode of the process changes."""
    _FOLLOWING.add(function)


def _forget() -> None:
    for function in _FOLLOWING:
        function._direct = function._untaped = None


MATMUL.listeners.append(_forget)
