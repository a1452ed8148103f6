"""Calls of further sizes that need no watch: their Python runs once more, their ops in one plan.

A recording is blind where Python was given nothing that tells the size of a tensor: then the
Python in between does the same for every size.  Invariant: a call is served so only if the facts of
a blind recording hold before and after it, and its ops, inputs and results are those of that
recording but for sizes; else it counts as one that ran eagerly, with the same bits.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ....core import signals
from ....ir.door.bind import LOCAL, STATE, grad_enabled
from ....ir.door.busy import is_busy
from ....ir.door.context import end_collecting, push_mode
from ....ir.tensor import Handle
from ...fallback.postponed import Postponed, PostponingRecorder, alive, begin
from ...heap.data import stands_for
from ...record.actions import NONE
from ...record.compare import same_kinds
from ...record.outcome import Outcome
from ...record.outputs import New, Unfit
from ...record.recording import Life, Recording
from ...record.result_tape import tape_of
from ...watch.turns import RUNS
from ..plans import Bare, ReplayPlan, distinct
from ..prepare import CHOICE
from ..signatures import SignatureState
from .recipes import Recipes
from .relatives import forgets, sized

__all__ = ["blind_plan", "filled_call"]


def blind_plan(state: SignatureState) -> ReplayPlan | None:
    """The plan of a blind recording of which a call of this signature may be another size."""
    family = state.family
    if family is None or state.plans or state.pending or not family.postpones():
        return None
    found = family.shown.get(state.shape)
    plan = None if found is None else found()
    return plan if plan is not None and _of_use(plan.recording) else None


def _of_use(recording: Recording) -> bool:
    """Whether a recording is one that calls of other sizes need no watch to be compared with."""
    simple = not (recording.path or recording.data or recording.numbers or recording.taps)
    kept = recording.outcome.actions is NONE
    views = [s.spec for s in recording.outcome.stores if type(s.spec) is not New or s.spec.view]
    return recording.blind and simple and kept and not views and not recording.life.dead


def filled_call(
    state: SignatureState, plan: ReplayPlan, fn: Any, given: Any, tensors: list[Any]
) -> tuple[Any, ReplayPlan | Exception | None, Postponed] | None:
    """The result of a call, the plan for its size if there is one now or the error of making it,
    and what is to be ended when that is known; None where nothing has run, as the facts do not
    hold.

    `given`: the arguments and those by keyword."""
    captures = plan.guard(tensors)
    inputs = [*tensors, *(captures or ())]
    if captures is None or not distinct(inputs) or any(map(is_busy, inputs)):
        return None
    recorder = PostponingRecorder(tensors, getattr(fn, "__code__", None))
    recorder.asked = state.asked
    mark, handled, grad = RUNS.mark(), signals.handled(), grad_enabled()
    postponed = begin(recorder)
    assert postponed is not None
    try:
        outer = push_mode(recorder)
        try:
            result = fn(*given[0], **given[1])
        finally:  # as pop_mode does
            STATE.special += (LOCAL.mode is None) - (outer is None)
            LOCAL.mode = outer
        undisturbed = signals.handled() == handled and not RUNS.overlapped(mark)
        made: ReplayPlan | Exception | None = None
        if undisturbed and grad == grad_enabled():
            try:
                made = _made(state, plan, recorder, list(captures), result, given)
            except Exception as error:  # the call has run: its result must reach the user
                if signals.foreign(error):
                    raise
                made = error
        assert state.family is not None
        state.family.postponed(isinstance(made, ReplayPlan), not undisturbed)
        return result, made, postponed
    except BaseException:
        end_collecting(postponed)
        raise


def _made(
    state: SignatureState,
    plan: ReplayPlan,
    recorder: PostponingRecorder,
    captures: list[Any],
    result: Any,
    given: Any,
) -> ReplayPlan | None:
    """The plan for the size of a call that has run, which it computes."""
    recording = _recording(state, plan.recording, recorder, captures, result)
    if recording is None or plan.recording.facts.broken() is not None:
        return None
    run = sized(state, recording, plan.recording, CHOICE.executor)
    if run is None:
        run = CHOICE.executor.prepare(recording)
    args, kwargs = given
    plain = len(args) == len(recorder.args) and all(map(stands_for, recorder.args, args))
    taped: Bare = "taped" if grad_enabled() else "untaped"
    made = ReplayPlan(recording, run, taped if plain and not kwargs else "", plan)
    recorder.postponed.finish(recording, made.run)
    return made


def _recording(
    state: SignatureState,
    other: Recording,
    recorder: PostponingRecorder,
    captures: list[Any],
    result: Any,
) -> Recording | None:
    """The other recording with the sizes of a call; None where the call did anything else."""
    if recorder.postponed.forced or recorder.reasons or recorder.decisions or recorder.rolled:
        return None
    for tensor in captures:  # those that were only looked at come last
        recorder.ref(tensor)
    found = recorder.captures
    if len(found) != len(captures) or any(a is not b for a, b in zip(found, captures)):
        return None
    operations = recorder.key()
    if not same_kinds(operations, other.fingerprint.operations):
        return None
    if not _leaves_the_same(recorder, other):
        return None
    try:
        recipe = Recipes(recorder, other.numbered).of(other.outcome.result, result)
    except Unfit:
        return None
    outcome = other.outcome
    if recipe is not outcome.result:  # of views with parameters that are sizes
        outcome = dataclasses.replace(outcome, result=recipe)
    return _resized(state, other, recorder, operations, outcome)


def _leaves_the_same(recorder: PostponingRecorder, other: Recording) -> bool:
    """Whether the tensors that a call leaves beside its result are those of the recording, by
    number."""
    handles, outputs = recorder.handles, other.numbered
    inputs = [*recorder.args, *recorder.captures]
    writes = dict(other.outcome.writes)
    for number, tensor in enumerate(inputs):
        first = recorder.start[id(tensor)][0]
        if handles.get(id(tensor)) != (outputs[writes[number]] if number in writes else first):
            return False
    place = {id(tensor): number for number, tensor in enumerate(inputs)}
    reads, final = [], []
    for record in recorder.grads.values():
        host = place.get(id(record.handle))
        if host is None:
            continue
        if record.read:
            reads.append((host, None if record.first is None else place.get(id(record.first))))
        if record.written:
            final.append((host, handles.get(id(record.now))))
    left = [
        (host, outputs[spec.output] if isinstance(spec, New) else None)
        for host, spec in other.outcome.gradients
    ]
    return reads == list(other.gradients) and final == left


def _resized(
    state: SignatureState,
    other: Recording,
    recorder: PostponingRecorder,
    operations: list[Any],
    outcome: Outcome,
) -> Recording | None:
    count = len(other.fingerprint.numbers)
    numbers, spent = list(other.numbered[:count]), recorder.asked.spent
    tape, extra = other.tape, list(other.numbered[count:])
    if tape is not None:
        on_tape = _on_tape(recorder, numbers, list(tape.position))
        if on_tape is None:
            return None
        try:
            made = tape_of(recorder, on_tape, numbers, frozenset(), False, forgets(state))
        except Unfit:
            return None
        tape, added = made
        if tape is None or added != extra:
            return None
    inputs = tuple(
        [
            found._replace(aval=recorder.start[id(tensor)][1])
            for found, tensor in zip(other.inputs, [*recorder.args, *recorder.captures])
        ]
    )
    avals = tuple(map(recorder.aval_of, other.numbered))
    fingerprint = other.fingerprint._replace(operations=operations, outcome=outcome.comparable())
    return dataclasses.replace(
        other,
        graph=recorder.graph(other.numbered),
        inputs=inputs,
        outcome=dataclasses.replace(outcome, avals=avals),
        tape=tape,
        spent=spent,
        fingerprint=fingerprint,
        life=Life(other.life),
    )


def _on_tape(
    recorder: PostponingRecorder, numbers: list[int], outputs: list[int]
) -> dict[int, Handle] | None:
    """The results that hang on the tape, by output."""
    wanted = {numbers[output]: output for output in outputs}
    found: dict[int, Handle] = {}
    for handle in alive(recorder):
        output = wanted.get(recorder.handles.get(id(handle), -1))
        if output is not None and type(getattr(handle, "_node", None)) is tuple:
            found.setdefault(output, handle)
    return {output: found[output] for output in outputs} if len(found) == len(wanted) else None
