"""Serving calls of an accepted recording through the backend's entry, with no more Python than the
facts need.

Invariant: a call is served only if every fact holds: facts with a native form are compared by the
entry itself, the rest by a generated function before it; MISS means that nothing was changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...backends.api import CHECKED, Entry, Replay
from ...control.taps import probed
from ...core.signals import finish
from ...ir.tensor import Leaf
from ..heap.data import owned, with_arrays, with_numbers
from ..host.again import settled, tell
from ..record.guards import FactGuard
from ..record.inputs import AsGradient, AtFact, ByIdentity
from ..record.outputs import Box, Maker, New, Plain
from ..record.recording import Life, Recording
from .native.facts import NativeFacts
from .native.needs import Finding, Needs, replay_of
from .native.straight import Straight, straight
from .prepare import MISS, Prepared

__all__ = ["Served", "Attempts", "as_it_is", "serve"]

MAX_REFRESH = 6  # native forms of facts that soon fail, after which Python checks them instead
Native = NativeFacts | None
LASTING = 64  # calls that a native form has to serve to be worth its making


@dataclass(slots=True)
class Attempts:
    """What changes while a plan is served: how long native forms of its facts have lasted.

    `refreshes`: how many in a row soon failed; `since`: calls that the function had served when the
    latest was made.  `pinned`: leaves found in a place, by input: their tape ends, so they may be
    compared by identity; `shared`: the ids of captures that are found in more places than one;
    `moved`: of both, those that were seen to change, which Python checks."""

    refreshes: int = 0
    since: int = 0
    pinned: dict[int, Any] = field(default_factory=dict)
    moved: set[int] = field(default_factory=set)
    shared: dict[int, Any] = field(default_factory=dict)

    def failed(self, replays: int) -> bool:
        """Note that native forms did not last; whether new ones are worth making."""
        self.refreshes = 0 if replays - self.since >= LASTING else self.refreshes + 1
        self.since = replays
        return self.refreshes < MAX_REFRESH

    def share(self, inputs: Sequence[Any], shared: Iterable[int]) -> None:
        """Note the captures that are found in more places than one."""
        now = {number: id(inputs[number]) for number in shared}
        self.moved |= {
            number for number in now if self.shared.get(number, now[number]) != now[number]
        }
        self.shared = now

    def pin(self, inputs: Sequence[Any], arguments: int, held: dict[int, Any]) -> None:
        """Note which captures are leaves that never moved so far."""
        pinned = self.pinned
        leaves = {
            number: tensor._node
            for number, tensor in enumerate(inputs)
            if number >= arguments and type(tensor._node) is Leaf
        }
        self.moved |= {number for number in pinned if leaves.get(number) is not pinned[number]}
        self.pinned = {
            number: node
            for number, node in leaves.items()
            if number not in held and number not in self.moved
        }


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """One recording behind a native entry, as it was made for the facts as they stand.

    `guard`: the generated check of what the entry leaves to Python, which returns the tensors of
    the inputs `loaded`; `alone`: the recipe of the result, where that is on a tape and all there
    is; `whole`: the entry checks the tape nodes of all arguments; `direct`, where it is not None,
    takes the arguments themselves and returns the result or NotImplemented: only for calls whose
    arguments are distinct tensors and nothing else; `after` makes that result of what the entry
    gives, where that takes next to nothing; `straight`: where it does not, all of a call as one
    function, and that function (`whole_call`)."""

    recording: Recording
    needs: Needs
    life: Life
    entry: Entry
    guard: Callable[[list[Any]], tuple[Any, ...] | None] | None
    loaded: tuple[int, ...]
    single: bool
    alone: New | None
    whole: bool
    direct: Callable[..., Any] | None
    after: Callable[[Any], Any] | None
    straight: Straight | None = None
    whole_call: Callable[..., Any] | None = None

    @property
    def bare(self) -> bool:
        """Whether it looks at everything that arguments which are tensors may differ in."""
        recording = self.recording
        more = recording.data or recording.numbers or recording.outcome.actions.draws
        return (self.whole or self.straight is not None) and not more

    def replay(self, tensors: Sequence[Any]) -> Any:
        """One call, or MISS with nothing changed."""
        if self.whole_call is not None:
            result = self.whole_call(*tensors)
            return MISS if result is NotImplemented else result
        if self.life.dead:
            return MISS
        loaded: tuple[Any, ...] = ()
        if self.guard is not None:
            found = self.guard(list(tensors))
            if found is None:
                return MISS
            loaded = found
        if not self.single:
            if self.after is as_it_is and self.guard is None:
                answer = self.entry.call(*tensors)
                return MISS if answer is NotImplemented else answer
            if self.alone is not None:
                return self._beside(self.alone, tensors, loaded)
            return self._complete((*tensors, *loaded), tensors, loaded)
        answer = self.entry.call(*tensors, *loaded)
        if answer is NotImplemented:
            return MISS
        recipe: New = self.recording.outcome.result  # type: ignore[assignment]  # a single one
        if recipe.node == "leaf":
            answer._node = Leaf(answer)
        elif recipe.node == "tape":
            answer._node = self._node(recipe.output, tensors, loaded, {})
        return answer

    def _node(
        self,
        output: int,
        tensors: Sequence[Any],
        loaded: tuple[Any, ...],
        outputs: dict[int, Any],
    ) -> Any:
        """The tape node of one result; `outputs`: those of the entry, by number."""
        tape = self.recording.tape
        if tape is None or output not in tape.position:
            return self.recording.spent
        kept = [outputs[number]._v for number in tape.kept]
        return tape.hung(tape.node(self._inputs(tensors, loaded), kept), output)

    def _beside(self, recipe: New, tensors: Sequence[Any], loaded: tuple[Any, ...]) -> Any:
        """One call whose result is alone, but for what is kept for its tape."""
        made = self.entry.call(*tensors, *loaded)
        if made is NotImplemented:
            return MISS
        outputs = dict(zip(self.needs.results, made))
        answer = outputs[recipe.output]
        answer._node = self._node(recipe.output, tensors, loaded, outputs)
        return answer

    def _complete(
        self, inputs: tuple[Any, ...], tensors: Sequence[Any], loaded: tuple[Any, ...]
    ) -> Any:
        """Run the entry and do the Python part of its commit.  A signal's handler that raises
        meanwhile does so before the entry has run, or after all is done."""
        ready: list[Any] = []
        entry = self.entry
        answer = entry.of[inputs]
        try:
            if answer is NotImplemented:
                return MISS
            if type(answer) is int:
                raise entry.failed(answer)
            result = self._finish(answer, tensors, loaded, ready)
        except BaseException:
            if answer is not NotImplemented and type(answer) is not int:
                finish(self._finish, answer, tensors, loaded, ready)
            raise
        if self.recording.outcome.actions.told:
            tell(ready[3].told)
        return result

    def completed(self, made: Any, tensors: Sequence[Any], loaded: tuple[Any, ...]) -> Any:
        """The Python part of a commit, none of which is done yet."""
        return finish(self._finish, made, tensors, loaded, [])

    def _finish(
        self, made: Any, tensors: Sequence[Any], loaded: tuple[Any, ...], ready: list[Any]
    ) -> Any:
        """Build the result around the tensors the entry made, and store what the call stores; may
        be repeated with the same `ready`, which keeps what was built."""
        recording, needs = self.recording, self.needs
        if not ready:
            outcome = recording.outcome
            outputs = {k: (t._v, t._a) for k, t in zip(needs.results, made or ())}
            inputs = self._inputs(tensors, loaded)
            tape = recording.start(inputs, lambda output: outputs[output][0])
            maker = Maker(outputs, inputs, tape)
            result = maker.build(outcome.result)
            stores = [(store, maker.build(store.spec)) for store in outcome.stores]
            gradients = [
                (host, None if g is None else maker.build(g)) for host, g in needs.gradients
            ]
            actions = outcome.actions.begin(maker.build)
            maker.link()
            ready += result, gradients, stores, actions
        result, gradients, stores, actions = ready
        for host, gradient in gradients:
            needs.held[host]._node.grad = gradient
        for store, tensor in stores:
            store.put(recording.facts.holders[store.key].get(), store.key.key, tensor)
        actions.finish()
        if recording.taps and made:
            seen = dict(zip(needs.results, made))
            probed(recording.taps, lambda output: (seen[output]._v, seen[output]._a))
        return result

    def _inputs(self, tensors: Sequence[Any], loaded: tuple[Any, ...]) -> Sequence[Any]:
        """The tensors of all inputs where the result needs captures, else of the arguments."""
        recording, held = self.recording, self.needs.held
        if not self.needs.captures:
            return tensors
        by_number = dict(zip(self.loaded, loaded))
        everything = list(tensors)
        for number in range(recording.arguments, len(recording.inputs)):
            location = recording.inputs[number].location
            if isinstance(location, ByIdentity):
                everything.append(held[number])
            elif isinstance(location, AsGradient):
                everything.append(held[location.host]._node.grad)
            elif number in by_number:
                everything.append(by_number[number])
            else:
                assert isinstance(location, AtFact)
                everything.append(recording.facts.fetch(location.key))
        return everything


class Owning(Served):
    """Serves calls whose data must be copied, as something may keep it when the call is over."""

    __slots__ = ()

    def replay(self, tensors: Sequence[Any]) -> Any:
        return Served.replay(self, owned(tensors))


class Drawing(Served):
    """Serves calls for which random numbers are drawn first: none, where they are not served."""

    __slots__ = ()

    def replay(self, tensors: Sequence[Any]) -> Any:
        given = owned(tensors) if self.recording.data else tensors
        first = self.recording.outcome.actions.first
        return settled(first, MISS, Served.replay, self, given)


def serve(
    prepared: Prepared,
    needs: Needs,
    inputs: Sequence[Any],
    attempts: Attempts,
    facts: Native,
    like: Served | None = None,
) -> Served | None:
    """Make the entry for the facts as they stand, and the guard of what it leaves to Python.

    `inputs`: the tensors of a call whose facts have just been found to hold; `facts`: their native
    form, where they have one; `like`: the native way of another size.  None: the backend offers no
    entry."""
    recording = prepared.recording
    attempts.pin(inputs, recording.arguments, needs.held)
    finding = Finding.of(recording, facts, attempts.pinned)
    left_over = None if facts is None else facts.rest
    described, guard = replay_of(prepared, needs, finding, facts), None
    if _guarded(recording, needs, finding, left_over):
        guard = FactGuard(recording, needs.held, left_over, finding.loaded).function
    entry = prepared.executable.entry(described, None if like is None else like.entry)
    if entry is None:
        return None
    after = _after(recording, needs, described)
    # where branches may go other ways, the entries of several plans are tried (paths.py)
    short = None if after is None or recording.path else _direct(entry, after)
    made = _kind(prepared)(
        recording,
        needs,
        recording.life,
        entry,
        guard,
        finding.loaded,
        needs.form == "single",
        _alone(recording, needs),
        not _unchecked(recording, described),
        _bare(prepared, guard, short),
        None if guard is not None or recording.data or recording.numbers else after,
    )
    return _straightened(prepared, made, described, like)


def _kind(prepared: Prepared) -> type[Served]:
    if prepared.recording.outcome.actions.draws:
        return Drawing
    return Owning if prepared.keeps_data else Served


def _guarded(recording: Recording, needs: Needs, finding: Finding, left_over: Any) -> bool:
    """Whether something is left to Python that has to hold before the entry runs."""
    passed = recording.inputs[: recording.arguments]
    held_arguments = any(found.location is not None for found in passed)
    covered = left_over == () and not finding.loaded and finding.ungraded <= set(needs.held)
    guarded = recording.outcome.actions.guarded or recording.namespaces
    return held_arguments or not covered or bool(guarded)


def _straightened(prepared: Prepared, made: Served, replay: Replay, like: Served | None) -> Served:
    """The same with straight code in the place of steps, where the entry is not all of a call."""
    recording = made.recording
    if made.after is not None or (made.direct is not None and made.guard is None):
        return made
    known = None
    if like is not None and like.loaded == made.loaded:
        known = like.straight if (like.guard is None) == (made.guard is None) else None
    code = straight(
        recording, made.needs, replay, made.entry, made.guard, made.loaded, made.completed, known
    )
    if code is None:
        return made
    failed = made.entry.failed

    def fail(got: int) -> Any:
        raise failed(got)

    call = code.function(fail)
    draws = recording.outcome.actions.draws  # what they move has to be undone
    direct = None if recording.path or draws else _of_arguments(prepared, call)
    return replace(made, direct=direct, straight=code, whole_call=call)


def _alone(recording: Recording, needs: Needs) -> New | None:
    """The recipe of a result on a tape that is all that is left of a call, if it is that."""
    outcome = recording.outcome
    recipe = outcome.result
    more = outcome.stores or needs.gradients or outcome.actions.commits or recording.taps
    plain = isinstance(recipe, New) and recipe.view is None and recipe.node == "tape"
    return recipe if plain and not more else None  # type: ignore[return-value]


def _bare(
    prepared: Prepared,
    guard: Callable[[list[Any]], tuple[Any, ...] | None] | None,
    direct: Callable[..., Any] | None,
) -> Callable[..., Any] | None:
    """A direct way as one that takes the arguments of a call as they are; None: there is none."""
    recording = prepared.recording
    actions = recording.outcome.actions
    if direct is None or actions.draws or (guard is not None and not actions.guarded):
        return None
    if guard is not None:
        direct = _behind(guard, direct, recording.life)
    return _of_arguments(prepared, direct)


def _of_arguments(prepared: Prepared, direct: Callable[..., Any]) -> Callable[..., Any] | None:
    """A function of tensors as one of the arguments that they stand for."""
    recording = prepared.recording
    if recording.numbers:
        direct = with_numbers(direct, recording.numbers, recording.arguments)
    if recording.data:
        return None if prepared.keeps_data else with_arrays(direct, recording.data)
    return direct


def _behind(
    guard: Callable[[list[Any]], tuple[Any, ...] | None], direct: Callable[..., Any], life: Life
) -> Callable[..., Any]:
    """A direct way behind a guard, which computes operands from numbers."""

    def call(*tensors: Any) -> Any:
        found = None if life.dead else guard(tensors)  # type: ignore[arg-type]
        return NotImplemented if found is None else direct(*tensors, *found)

    return call


def as_it_is(made: Any) -> Any:
    """What the entry gives, for a result that is just that."""
    return made


class _Marked:
    """The same for a result on a tape that is spent."""

    __slots__ = ("spent",)

    def __init__(self, spent: Any) -> None:
        self.spent = spent

    def __call__(self, made: Any) -> Any:
        made._node = self.spent
        return made


def _unchecked(recording: Recording, replay: Replay) -> bool:
    """Whether the tape node of an argument is looked at by the caller."""
    return any(found.node is CHECKED for found in replay.inputs[: recording.arguments])


def _after(recording: Recording, needs: Needs, replay: Replay) -> Callable[[Any], Any] | None:
    """What makes the result of what the entry gives, where that takes next to nothing."""
    outcome = recording.outcome
    recipe = outcome.result
    if (
        _unchecked(recording, replay)
        or outcome.stores
        or needs.gradients
        or recording.tape is not None
        or recording.taps
    ):
        return None
    if outcome.actions.commits:
        return None
    if needs.form == "single" and isinstance(recipe, New):
        if recipe.node == "plain":
            return as_it_is
        return _Marked(recording.spent) if recipe.node == "tape" else None
    if isinstance(recipe, Plain) and recipe.value is not NotImplemented:
        value = recipe.value
        return lambda made: value
    if isinstance(recipe, Box) and recipe.type is tuple:
        items = [item for item in recipe.items if isinstance(item, New)]
        plain = all(item.view is None and item.node == "plain" for item in items)
        in_order = tuple(item.output for item in items) == needs.results
        if plain and in_order and len(items) == len(recipe.items) > 0:
            return as_it_is
    return None


def _direct(entry: Entry, after: Callable[[Any], Any]) -> Callable[..., Any]:
    """A function of the arguments for results that need next to nothing beside the entry."""
    if after is as_it_is:
        return entry.call
    raw, failed = entry.raw, entry.failed
    if type(after) is _Marked:
        return _marking(entry, after.spent)

    def direct(*tensors: Any) -> Any:
        result = raw(*tensors)
        if result is NotImplemented:
            return result
        if type(result) is int:
            raise failed(result)
        return after(result)

    return direct


def _marking(entry: Entry, spent: Any) -> Callable[..., Any]:
    """The entry without a frame of its own, for a result on a tape that is spent."""
    raw, failed = entry.raw, entry.failed

    def direct(*tensors: Any) -> Any:
        result = raw(*tensors)
        if result is NotImplemented:
            return result
        if type(result) is int:
            raise failed(result)
        result._node = spent
        return result

    return direct
