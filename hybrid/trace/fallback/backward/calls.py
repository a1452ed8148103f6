"""A backward pass that was not met before, by plans of the recorded calls that it goes through.

Invariant: what an operation gives to a value is added at the time at which `perform` would add it
(`Times`), so gradients have its bits; the tape is not unfolded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....autograd.passes import BackwardPass, Gradients, pull, seed, takes, under
from ....autograd.tape import PseudoOp, is_alias, is_call, owner
from ....core import signals
from ....core.precision import MATMUL
from ....ir.door.pending import known
from ....ir.tensor import Leaf
from ...record.result_tape import ResultTape
from .pulls import CallPulls, CallSeeds, Pull, compiled
from .shares import Shares, settled
from .unfolded import Times, Visited

__all__ = ["Calls", "STRANGE", "by_calls"]

STRANGE = 4  # passes over a recording, each another, before its calls get plans of their own
MOST_UNPAID = 4  # compilations for a recording before native runs have to pay for further ones
PAYS = 4  # native runs that pay for one


class Calls:
    """Plans for calls of one recording: `strange`, how many passes went over them that were not met
    before; `broken`: no plan does what theirs do."""

    def __init__(self) -> None:
        self.start = Visited({}, 0)  # nothing was visited
        self.strange = self.compilations = self.native = 0
        self.broken = False

    def affordable(self) -> bool:
        """Whether one more plan may be compiled."""
        return self.compilations < MOST_UNPAID + self.native // PAYS

    def plan(
        self, tape: ResultTape, pulls: CallPulls, given: CallSeeds, values: list[Any]
    ) -> Pull | None:
        """The plan of a call for a pattern; None: it is not to be had now."""
        key = given.pattern, MATMUL.fast
        if key in pulls.plans:
            return pulls.plans[key]
        if not self.affordable():
            return None
        plan = None
        try:
            plan = compiled(tape, pulls, given, values)
        except Exception as error:
            if signals.foreign(error):
                raise
        self.compilations += 1
        self.broken = plan is None
        pulls.plans[key] = plan
        return plan


def by_calls(task: BackwardPass, nodes: list[Any], found: Sequence[Calls]) -> Gradients | None:
    """The gradients of a pass over calls of these; None: by `perform`."""
    distinct = set(found)
    if task.stop or any([calls.strange < STRANGE or calls.broken for calls in distinct]):
        return None
    if any([_own(node) for node in nodes]):
        return None
    if any([is_call(owner(node)) for node in task.sources or ()]):
        return None
    return _performed(task, nodes)


def _own(node: Any) -> bool:
    """Whether a node stands for a gradient function of a user, who may see when it is called."""
    own = type(node) is tuple and type(node[0]) is PseudoOp
    return own and not is_alias(node[0]) and not is_call(node)


def _performed(task: BackwardPass, nodes: list[Any]) -> Gradients | None:
    roots = [output._node for output in task.outputs]
    calls = [node[0].inner.tape for node in nodes if is_call(node)]
    times = Times(roots, {tape.serial: tape.plans[0].start for tape in calls})
    shares = Shares()
    for root, output, given in zip(roots, task.outputs, task.seeds):
        if root is not None:
            shares.give(root, (float("-inf"), seed(output, given), output._a))
    targets = {id(owner(node)) for node in task.sources or ()}
    for node in under(nodes, targets) if task.sources is not None else nodes:
        if type(node) is not tuple:
            continue
        if is_call(node):
            if not _call(node, times, shares):
                return None
            continue
        grads = shares.take(node, id(node) in targets)
        if grads is None:
            continue
        time = -float(times.of[id(node)])
        for parent, gradient, aval in zip(node[1], pull(node, grads), takes(node)):
            if parent is not None and gradient is not None:
                shares.give(parent, (time, settled(gradient, aval), aval))
    if task.sources is None:
        leaves = [(node, shares.total(node)) for node in nodes if type(node) is Leaf]
        return [(leaf, gradient) for leaf, gradient in leaves if gradient is not None]
    return [(node, shares.total(node)) for node in task.sources]


def _call(node: Any, times: Times, shares: Shares) -> bool:
    """Give what a call gives to its inputs; false where there is no plan for it."""
    replayed, state = node[0].inner, times.states.get(id(node))
    if state is None:
        return True
    tape: ResultTape = replayed.tape
    calls: Calls = tape.plans[0]
    if state.plans is None:
        state.plans = CallPulls(tape, state.places)
    pulls: CallPulls = state.plans
    begun = times.begun[id(node)]
    given = pulls.given(node, shares, begun)
    if given is None:
        return True
    values = known(replayed.values)
    plan = calls.plan(tape, pulls, given, values)
    if plan is None:
        return False
    calls.native += 1
    plan.run([*values, *[tensor._v for tensor in given.tensors]], begun, node[1], shares)
    return True
