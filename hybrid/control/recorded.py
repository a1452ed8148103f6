"""Branches and loops in a recorded call: run as eagerly, seen as one node with graphs inside.

A function that did not run is run all the same to see what it would do, its writes to tensors are
taken back and its errors become a reason not to record.  Invariant: results are those of eager
code; what does not fit a node leaves the steps of eager code, or a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from ..core import dtypes as dt
from ..core.signals import foreign
from ..ir.door import bind as door
from ..ir.mode import Mode
from ..ops.build.join import stack
from ..ops.elementwise.logic import not_equal
from .carry import Carry, fitted, fresh, results_of, sealed, truth
from .records import BRANCH, WALK, WHILE
from .snapshot import StateSnapshot

__all__ = ["recorded_branches", "recorded_while", "recorded_walk"]

Step = Callable[[Any, Any], tuple[list[Any], Carry]]
STEPS = 3  # of a loop that are recorded


class _Python:
    """The Python state that functions reach, while a mode looks at them."""

    def __init__(self, mode: Any, functions: Sequence[Any]) -> None:
        self.mode = mode
        self.snapshot = self._aside(lambda: StateSnapshot(functions))
        self.whole = self.snapshot.whole

    def _aside(self, look: Callable[[], Any]) -> Any:
        resume = self.mode.pause()
        try:
            return look()
        finally:
            resume()

    def check(self, regions: Any) -> None:
        """Refuse a node where a step or branch has changed something."""
        if self._aside(self.snapshot.changed):
            regions.refuse("changes Python objects inside")

    def restore(self) -> None:
        self._aside(self.snapshot.restore)


def _begun(mode: Any, functions: Sequence[Any], leaves: Sequence[Any]) -> tuple[_Python, Any]:
    """The Python state of the functions, and what records them."""
    python, regions = _Python(mode, functions), mode.control(leaves)
    if not python.whole:
        regions.refuse("uses Python objects that cannot be compared, such as iterators")
    return python, regions


class _Rest(Mode):
    """What sees the steps of a loop whose first ones have shown what it does: nothing."""

    __slots__ = ()


@contextmanager
def _unseen(mode: Any) -> Iterator[None]:
    """Run without being recorded."""
    resume = mode.pause()
    previous = door.push_mode(_Rest())
    try:
        yield
    finally:
        door.pop_mode(previous)
        resume()


def _known(regions: Any, *blocks: Sequence[Any]) -> bool:
    """Whether some steps of a loop have shown what all do."""
    return not regions.problem and len(blocks[0]) == STEPS and all(map(regions.agree, blocks))


def _shown(regions: Any, python: _Python, name: str, run: Callable[[], Any]) -> Any:
    """A run of a function that the call does not make: what it gave, or None."""
    before = _Python(python.mode, [python.snapshot.functions])
    regions.speculate()
    try:
        return run()
    except Exception as error:
        if foreign(error):
            raise
        regions.refuse(f"cannot see what its {name} does: {type(error).__name__}: {error}")
        return None
    finally:
        regions.restore()
        before.check(regions)
        before.restore()


def _test(tree: Any) -> Any:
    """A predicate as a bool tensor."""
    tensor = truth("the result of while_loop's cond_fun", tree)
    return tensor if tensor._a.dtype is dt.bool_ else not_equal(tensor, 0)


def _value(tensor: Any) -> Any:
    return door.host_array(tensor)[()]


# ---- while
def recorded_while(mode: Any, cond_fun: Any, body_fun: Any, carry: Carry) -> Any:
    """`while_loop` under a mode that records."""
    python, regions = _begun(mode, [cond_fun, body_fun], carry.leaves)
    tests: list[Any] = []
    bodies: list[Any] = []
    leaves, unseen = carry.leaves, False

    def body() -> list[Any]:
        given = body_fun(carry.tree(regions.begin(leaves)))
        made = fitted("while_loop's body_fun", carry, given)
        bodies.append(regions.end(made))
        return made

    with regions:
        while True:
            test = _test(cond_fun(carry.tree(regions.begin(leaves))))
            tests.append(regions.end([test]))
            if not _value(test):
                break
            leaves = body()
            if len(bodies) == 1:
                python.check(regions)
            if regions.only_seen:
                break  # another branch is taken, for which this loop may have no end
            if _known(regions, bodies, tests):
                with _unseen(mode):
                    leaves = _rest(cond_fun, body_fun, carry, leaves)
                unseen = True
                break
        python.check(regions)
        if not bodies and not regions.problem:
            _shown(regions, python, "body_fun", body)
    results = [sealed("while_loop", leaf, known=not unseen) for leaf in leaves]
    if not _while_node(regions, tests, bodies, results):
        regions.unroll()
        mode.on_effect(f"has a while_loop that {regions.problem}")
    return carry.tree(results)


def _rest(cond_fun: Any, body_fun: Any, carry: Carry, leaves: list[Any]) -> list[Any]:
    """The last leaves of a while loop that goes on from these."""
    while _value(_test(cond_fun(carry.tree([fresh(leaf) for leaf in leaves])))):
        given = body_fun(carry.tree([fresh(leaf) for leaf in leaves]))
        leaves = fitted("while_loop's body_fun", carry, given)
    return leaves


def _while_node(
    regions: Any, tests: Sequence[Any], bodies: Sequence[Any], results: Sequence[Any]
) -> bool:
    """Whether a node stands for the loop now."""
    if regions.problem:
        return False
    if not (regions.agree(tests) and regions.agree(bodies)):
        regions.refuse("does not do the same in every step")
    if any(block.after != block.before for block in tests):
        regions.refuse("writes tensors in cond_fun")
    blocks = [tests[0], bodies[0]]
    outer = regions.outer(blocks)
    operands = [*regions.entry, *regions.first.values(), *outer]
    if not regions.fits(blocks, results, operands):
        return False
    params = {
        "test": regions.region(tests[0], outer, None, writes=False),
        "body": regions.region(bodies[0], outer, None),
        "carry": len(results) + len(regions.states),
    }
    regions.splice(WHILE, params, operands, results)
    return True


# ---- branches
def recorded_branches(
    mode: Any, name: str, index: Any, branches: Sequence[Any], operands: Sequence[Any]
) -> Any:
    """`switch` under a mode that records; index: an int64 scalar."""
    chosen = min(max(int(_value(index)), 0), len(branches) - 1)
    python, regions = _begun(mode, [branches, operands], [index])
    blocks: list[Any] = []
    given: list[Carry] = []

    def run(number: int) -> Carry:
        regions.begin([])
        made = results_of(f"{name}'s branch {number}", branches[number](*operands))
        blocks.append(regions.end(made.leaves))
        given.append(made)
        return made

    taken: Any = None
    with regions:
        for number in range(len(branches)):
            if number == chosen:
                taken = run(number)
                if not regions.problem:
                    python.check(regions)
            elif not regions.problem:
                _shown(regions, python, f"branch {number}", partial(run, number))
    results = [sealed(name, leaf) for leaf in taken.leaves]
    if not _branch_node(regions, blocks, given, results):
        regions.unroll()
        mode.on_effect(f"has a {name} that {regions.problem}")
    return taken.tree(results)


def _branch_node(
    regions: Any, blocks: Sequence[Any], given: Sequence[Carry], results: Sequence[Any]
) -> bool:
    """Whether a node stands for the branches now."""
    if regions.problem:
        return False
    first = given[0]
    for made in given:
        same = made.structure == first.structure
        if not same or any(a._a is not b._a for a, b in zip(made.leaves, first.leaves)):
            regions.refuse("has branches that give other structures, shapes or dtypes")
    outer = regions.outer(blocks)
    numbers = [*regions.entry, *regions.first.values(), *outer]
    if not regions.fits(blocks, results, numbers):
        return False
    graphs = tuple(regions.region(block, outer, None) for block in blocks)
    regions.splice(BRANCH, {"branches": graphs}, numbers, results)
    return True


# ---- scan
def recorded_walk(
    mode: Any,
    step: Step,
    carry: Carry,
    rows: Sequence[Any],
    row: Callable[[int], list[Any]],
    order: range,
    function: Any,
) -> tuple[list[Any], list[Any] | None]:
    """`scan` under a mode that records: the last leaves, and, where it became a node, the stacked
    results.  `rows`: tensors with a row for each step; `row(i)`: tensors of row i."""
    python, regions = _begun(mode, [function], [*carry.leaves, *rows])
    leaves, count = carry.leaves, len(carry.leaves)
    blocks: list[Any] = []
    made: list[Carry] = []
    with regions:
        for i in order:
            given = regions.begin([*leaves, *row(i)])
            leaves, extra = step(given[:count], given[count:])
            blocks.append(regions.end([*leaves, *extra.leaves]))
            made.append(extra)
            if len(blocks) == 1:
                python.check(regions)
            results = [*leaves, *extra.leaves]
            if results and _known(regions, blocks) and not _followed(results):
                break
        unseen = len(made) < len(order)
        with _unseen(mode) if unseen else nullcontext():
            for i in order[len(made) :]:
                leaves, extra = step([fresh(leaf) for leaf in leaves], row(i))
                made.append(extra)
            results = [fresh(leaf) for leaf in leaves]
            columns = zip(*[extra.leaves for extra in made[:: order.step]])
            stacked = [stack(column) for column in columns]
        python.check(regions)
    if _walk_node(regions, blocks, order, len(rows), results, stacked):
        return results, stacked
    if unseen:
        mode.on_effect(f"has a scan that {regions.problem}")
    regions.unroll()
    return results, None


def _followed(*tensors: Sequence[Any]) -> bool:
    """Whether a gradient may follow one of the tensors."""
    return any(tensor._node is not None for listed in tensors for tensor in listed)


def _walk_node(
    regions: Any,
    blocks: Sequence[Any],
    order: range,
    rows: int,
    results: Sequence[Any],
    stacked: Sequence[Any],
) -> bool:
    """Whether a node stands for the scan now."""
    if _followed(results, stacked):
        regions.refuse("is followed by a gradient")
    if regions.problem or not regions.agree(blocks):
        return False
    count, outer, entry = len(results), regions.outer(blocks[:1]), regions.entry
    numbers = [*entry[:count], *regions.first.values(), *entry[count:], *outer]
    if not regions.fits(blocks, [*results, *stacked], numbers):
        return False
    params = {
        "body": regions.region(blocks[0], outer, count),
        "carry": count + len(regions.states),
        "rows": rows,
        "count": len(order),
        "reverse": order.step < 0,
    }
    regions.splice(WALK, params, numbers, [*results, *stacked], count)
    return True
