"""One recorded call as a value: its graph, the facts it depends on, where its inputs are found, and
what it leaves behind.

Invariant: a recording is built once, from a call that has run, and holds no tensor that the call
made; it is compared with another one (compare.py), never trusted alone (see decorator.py for the
rule).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any, NamedTuple

from ...control.taps import Tap
from ...ir.graph.graph import Graph
from ...ir.tensor import Handle
from ..bytecode.host_reads import Read, tail_values
from ..bytecode.summary import handles_errors
from ..follow.terms import Load
from ..heap.allowlist import BOXES, MISSING, is_a, is_tuple
from ..heap.data import Place, numbers_among, source_of
from ..heap.facts import Holder, Key
from ..heap.given.paths import spelled
from ..heap.lists import listed_at
from ..heap.namespaces import SharedNames, namespaces_of
from ..watch.analysis import Analysis
from ..watch.passed.blind import is_blind
from ..watch.ran.seen import SiteKind
from .expected import Facts, Ref
from .inputs import Input, Roles, facts_of, find_captures, locate, read_facts, read_gradients
from .outcome import Left, Outcome, Results, results_of
from .outputs import Plain, Unfit
from .recorder import Recorder
from .result_tape import ResultTape, TapeOf, tape_of

__all__ = ["Life", "Refused", "Recording", "recording_of"]


class Life:
    """Whether an object that the facts of a recording name has died (`dead`); `others`: the lives
    of recordings with the same facts, weakly."""

    __slots__ = ("dead", "others", "__weakref__")

    def __init__(self, other: Life | None = None) -> None:
        self.dead = False
        self.others: list[weakref.ref[Life]] = []
        if other is not None:
            other.others = [known for known in other.others if known() is not None]
            other.others.append(weakref.ref(self))
            self.dead = other.dead

    def end(self) -> None:
        """One has died."""
        self.dead = True
        for known in self.others:
            other = known()
            if other is not None:
                other.end()


class Refused(NamedTuple):
    """A call of which no replay can do the same, why not, at which instructions of the `code` of
    the function that is decorated, and how many operations it ran that are no part of backward
    passes."""

    reasons: tuple[str, ...]
    sites: dict[int, SiteKind]
    operations: int
    code: CodeType | None

    @classmethod
    def of(cls, recorder: Recorder, analysis: Analysis, reasons: Sequence[str]) -> Refused:
        """What is known of a call; where it was tapped no instruction, as taps are of whole
        calls."""
        sites = {} if recorder.tapped else analysis.watch.sites.found()
        ran = len(recorder.steps) - analysis.watch.sites.passed
        return cls(tuple(reasons), sites, max(ran, 0), analysis.watch.sites.root)


class Fingerprint(NamedTuple):
    """What two recordings of one function must have in common besides facts and locations."""

    operations: list[tuple[Any, ...]]
    outcome: tuple[Any, ...]
    numbers: list[int]
    gradients: list[tuple[int, int | None]]
    taps: list[tuple[str, int]]

    @classmethod
    def of(
        cls, recorder: Recorder, results: Results, gradients: list[tuple[int, int | None]]
    ) -> Fingerprint:
        """Of a recorder, what its call leaves, and the gradients that it read."""
        taps = [(name, number) for name, number, _ in recorder.taps]
        outcome = results.outcome.comparable()
        return cls(recorder.key(), outcome, results.numbers, gradients, taps)


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Public for executors: `graph`, whose inputs are `inputs` (the first `arguments` of them are
    passed, the rest are captures), and `outcome.writes`.

    `gradients`: (input, the input that must be its `.grad`, or None); `tape`: of results that have
    one, None where there are none or all have the node `spent`; `taps`: values that are looked at
    after a call; `lost`: the location
    of a capture is unknown; `settled`: what held the places that the call stores to is known;
    `graded`: a tensor with a gradient was written while gradients were recorded; `data`: the
    arguments that are data; `numbers`: those that stand for numbers, and the types of these;
    `namespaces`: objects whose attributes are as apart, or as shared, as when it was made; `path`:
    the ways that branches on values of tensors went; `begins`: values that the call found in
    places which it leaves with others; `numbered`: the value behind each output; `blind`: Python
    was given nothing that tells the size of a tensor."""

    graph: Graph
    arguments: int
    inputs: tuple[Input, ...]
    facts: Facts
    gradients: tuple[tuple[int, int | None], ...]
    outcome: Outcome
    tape: ResultTape | None
    spent: Any
    taps: tuple[Tap, ...]
    fingerprint: Fingerprint
    handles_errors: bool
    lost: bool
    settled: bool
    graded: bool
    life: Life
    data: tuple[int, ...]
    numbers: dict[int, type]
    namespaces: tuple[SharedNames, ...]
    path: tuple[bool, ...] = ()
    begins: tuple[Any, ...] = ()
    numbered: tuple[int, ...] = ()
    blind: bool = False

    @property
    def captures(self) -> int:
        """How many inputs are captures."""
        return len(self.inputs) - self.arguments

    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """The extents of the captures."""
        return tuple([found.aval.shape for found in self.inputs[self.arguments :]])

    @property
    def kept(self) -> tuple[int, ...]:
        """Outputs that are kept for the tape of the results."""
        return () if self.tape is None else self.tape.kept

    @property
    def owners(self) -> frozenset[int]:
        """Ids of the built-in containers that a replay stores to or changes."""
        actions, held = self.outcome.actions, [n.holder for n in self.outcome.actions.numbers]
        stores = [s.key for s in self.outcome.stores if s.key.kind != "path"]
        held += [self.facts.holders[key] for key in stores]
        found = {holder.id for holder in held if is_a(holder.get(), BOXES)}
        return frozenset(found | {change.owner.id for change in actions.grown})

    def start(self, inputs: Sequence[Any], outputs: Callable[[int], Any]) -> Callable[[int], Any]:
        """Tape nodes for the results of one replay, by output number; `outputs` gives the value of
        an output of the graph."""
        spent, tape = self.spent, self.tape
        return (lambda output: spent) if tape is None else tape.start(inputs, outputs, spent)

    def written(self, inputs: list[Any]) -> list[Any]:
        """The tensors among the inputs that a replay gives new values."""
        return [inputs[number] for number, _ in self.outcome.writes]


def recording_of(
    recorder: Recorder,
    analysis: Analysis,
    returned: Any,
    before: dict[Key, Any],
    life: Life,
    dead: Callable[[Any], None],
) -> Recording | Refused:
    """The recording of a call that has run and returned `returned`.

    `before`: what places of earlier recordings held when it began; `dead`: called when an object
    that a fact names dies."""
    once = recorder.root is None or len(analysis.watch.frames.get(recorder.root, ())) == 1
    host_reads = tail_values(
        recorder.reads, recorder.root if once else None, analysis.watch.returns
    )
    reasons = list({**analysis.watch.reasons, **recorder.reasons})
    followed = analysis.followed
    if host_reads is None and followed is not None:
        terms = [read.term for read in recorder.reads]
        if None not in terms and followed.escaped.isdisjoint(terms):
            host_reads = {}
    if host_reads is None:
        reasons += [read.reason for read in recorder.reads]
        _blame(recorder, analysis)
    looked = [] if reasons else _looked_at(recorder, analysis)
    analysis.watch.fixed.update(looked)
    reasons += [f"looks at {spelled(place)}" for place in looked]
    if not reasons:
        reasons += _read_data(recorder, analysis)
    if reasons:
        return Refused.of(recorder, analysis, reasons)
    try:
        return _recording(recorder, analysis, returned, before, host_reads or {}, life, dead)
    except Unfit as error:
        return Refused.of(recorder, analysis, [str(error)])


def _blame(recorder: Recorder, analysis: Analysis) -> None:
    """Note where tensors were read that Python then looked at."""
    escaped = None if analysis.followed is None else analysis.followed.escaped
    for read in recorder.reads:
        fine = read.term is not None and escaped is not None and read.term not in escaped
        if read.site is not None and not fine:
            analysis.watch.sites.reads.add(read.site)


def _looked_at(recorder: Recorder, analysis: Analysis) -> list[Place]:
    """Positions, or paths, of the numbers among the arguments that Python may have looked at."""
    given, followed = numbers_among(recorder.args), analysis.followed
    if followed is None:
        return list(given)
    looked = {leaf.place[1] for leaf in followed.escaped if type(leaf) is Load and leaf.of_call}
    return [position for position, number in given.items() if number in looked]


def _read_data(recorder: Recorder, analysis: Analysis) -> list[str]:
    """The reason where Python may have looked at what it computed from data among the arguments,
    which is noted."""
    data = {number for number, t in enumerate(recorder.args) if id(source_of(t)) in recorder.data}
    escaped = () if analysis.followed is None else analysis.followed.escaped
    places = {e.place[1] for e in escaped if type(e) is Load and e.of_call}
    read = [listed_at(recorder.args[number]) for number in places & data]
    if not read:
        return []
    watch, what = analysis.watch, "a list of numbers"
    watch.walked.update([position for position in read if position >= 0])
    if -1 in read:
        watch.falls.add("content")
        what = "a NumPy array"
    if watch.follow is not None and watch.follow.looking is not None:
        watch.sites.refuse(*watch.follow.looking)
    site = f" ({watch.follow.looked})" if watch.follow and watch.follow.looked else ""
    return [f"looks at what it computes of {what} among its arguments{site}"]


def _recording(
    recorder: Recorder,
    analysis: Analysis,
    returned: Any,
    before: dict[Key, Any],
    host_reads: dict[int, Read],
    life: Life,
    dead: Callable[[Any], None],
) -> Recording:
    used, followed = len(recorder.captures), analysis.followed
    before = _begun(analysis, before)
    roles = Roles(recorder)
    find_captures(roles, analysis)
    found = read_facts(roles, analysis, before, dead)
    gradients = read_gradients(roles, analysis)
    located = locate(roles, analysis, before, found, gradients.hosts, dead)
    facts = facts_of(roles, analysis, before, found, located.inside, dead)
    if gradients.final:
        _check_history(located.inputs[: len(recorder.args) + used])
    held = [before.get(key, MISSING) for key, _ in found.stored]
    settled = all(value is None or is_a(value, Handle) for value in held)
    left = Left(returned, found.stored, gradients.final, settled, followed)
    results = results_of(roles, _existed(analysis), host_reads, facts, left, dead)
    reads = gradients.reads
    further = _further(recorder, results, dead)
    numbered = [*results.numbers, *further.numbers]
    return Recording(
        graph=recorder.graph(numbered),
        arguments=len(recorder.args),
        inputs=located.inputs,
        facts=facts,
        gradients=tuple(reads),
        outcome=results.outcome.also(map(recorder.aval_of, further.numbers)),
        tape=further.tape,
        spent=recorder.asked.spent,
        taps=further.taps,
        fingerprint=Fingerprint.of(recorder, results, reads),
        handles_errors=bool(recorder.path) or any(map(handles_errors, analysis.watch.frames)),
        lost=located.lost,
        settled=settled,
        graded=recorder.graded,
        life=life,
        data=tuple([roles.numbers[id(tensor)] for tensor in recorder.data.values()]),
        numbers={
            k: type(source_of(recorder.args[k])) for k in numbers_among(recorder.args).values()
        },
        namespaces=_namespaces(facts, results.outcome),
        path=recorder.path,
        begins=_begins(facts, analysis),
        numbered=tuple(numbered),
        blind=not recorder.reads and is_blind(analysis.watch),
    )


def _begins(facts: Facts, analysis: Analysis) -> tuple[Any, ...]:
    """What a call starts from, of what it changes itself, apart from tensors."""
    pins = frozenset[Key]() if analysis.followed is None else analysis.followed.pins
    found = [(key, facts.expected[key]) for key in pins if type(facts.expected[key]) is not Ref]
    return tuple(sorted([(*map(str, key), type(v).__name__, repr(v)) for key, v in found]))


def _namespaces(facts: Facts, outcome: Outcome) -> tuple[SharedNames, ...]:
    """Objects whose dictionaries matter, for what the call stores may be found through others."""
    actions = outcome.actions
    changed: dict[Key, Holder] = {number.key: number.holder for number in actions.numbers}
    changed |= {s.key: facts.holders[s.key] for s in outcome.stores if s.key in facts.holders}
    cleared = []
    for change in actions.grown:
        if is_a(change.owner.get(), dict):
            name = change.specs[0] if change.specs else None
            if type(name) is Plain:
                changed[Key("item", change.owner.id, name.value)] = change.owner
            elif change.method == "clear":
                cleared.append(change.owner)
    loaded = {number.key: number.holder for number in actions.loads}
    return namespaces_of({**facts.holders, **loaded, **changed}, changed, cleared)


def _begun(analysis: Analysis, before: dict[Key, Any]) -> dict[Key, Any]:
    """What places held when the call began, those inside of containers that it replaces, too."""
    paths = {} if analysis.followed is None else analysis.followed.paths
    return {**before, **{key: inside.start for key, inside in paths.items()}}


def _existed(analysis: Analysis) -> Callable[[Any], bool | None]:
    """Tells objects older than the call, which a replay returns as they are, from those that it
    made (None: neither is known); Unfit for an argument of which it does not know which object it
    is (but a tuple is as good as a new one)."""

    def existed(value: Any) -> bool | None:
        if is_tuple(value) and id(value) in analysis.signed:
            return False
        if id(value) in analysis.signed:
            analysis.watch.falls.add("identity")
            raise Unfit(f"returns its argument, a {type(value).__name__}, itself")
        if id(value) in analysis.watch.young:  # the facts of a container may name what is new
            return False
        return True if id(value) in analysis.rooted else None

    return existed


def _check_history(used: tuple[Input, ...]) -> None:
    """Gradients that a call leaves must not reach beyond it: tape nodes of the caller's would."""
    if any(found.node is tuple for found in used):
        raise Unfit("runs backward while an input is itself a result of differentiable operations")


class Further(NamedTuple):
    """What further outputs are for, and the numbers of the values that they are."""

    tape: ResultTape | None
    taps: tuple[Tap, ...]
    numbers: list[int]


def _further(recorder: Recorder, results: Results, dead: Callable[[Any], None]) -> Further:
    """The tape of the results and the taps, with what replays have to keep for them."""
    tape, extra = _tape(recorder, results, dead)
    numbers = {number: k for k, number in reversed([*enumerate([*results.numbers, *extra])])}
    count, added = len(results.numbers) + len(extra), list[int]()
    taps = []
    for name, number, probes in recorder.taps:
        if number not in numbers:
            numbers[number] = count + len(added)
            added.append(number)
        own = tuple([found.code is recorder.root for found in probes])
        taps.append(Tap(name, numbers[number], tuple(map(weakref.ref, probes)), own))
    return Further(tape, tuple(taps), [*extra, *added])


def _tape(recorder: Recorder, results: Results, dead: Callable[[Any], None]) -> TapeOf:
    """The tape of the results, and what replays have to keep for it."""
    outcome = results.outcome
    replaced = {number for number, _ in outcome.writes}
    if outcome.gradients:  # whatever is found as a gradient may be replaced, too
        grads = [record.first for record in recorder.grads.values() if record.first is not None]
        tensors = [*recorder.args, *recorder.captures]
        firsts = set(map(id, grads))
        replaced |= {number for number, t in enumerate(tensors) if id(t) in firsts}
    changed = bool(outcome.writes or outcome.gradients)
    return tape_of(recorder, results.on_tape, results.numbers, frozenset(replaced), changed, dead)
