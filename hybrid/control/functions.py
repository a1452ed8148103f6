"""Branches and loops as functions, with the names and the order of arguments of JAX's lax.

Invariant: eagerly they are the Python statement that their name says; gradients come from the tape
that the steps leave.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from ..autograd.scopes import need_callable, no_grad
from ..core import dtypes as dt
from ..core import trees
from ..core.errors import ArgumentError, ShapeError
from ..ir.door import bind as door
from ..ir.door.arguments import described
from ..ops.axes.views import expand_dims
from ..ops.build.create import arange, zeros
from ..ops.build.join import concat, stack
from ..ops.elementwise.arithmetic import add
from ..ops.elementwise.logic import greater_equal, less, not_equal
from ..ops.elementwise.selection import minimum, where
from ..ops.indexing.getitem import getitem
from .carry import (
    Carry,
    carried,
    device_of,
    fitted,
    fresh,
    position,
    results_of,
    sealed,
    truth,
    whole_number,
)
from .recorded import recorded_branches, recorded_walk, recorded_while

__all__ = ["cond", "switch", "while_loop", "fori_loop", "scan"]

Tensor = Any
UNROLLED = 32  # steps that are recorded one by one


def _decided(tensor: Tensor) -> Any:
    """The number in a tensor, which decides what Python does next."""
    value = door.host_array(tensor)[()]
    mode = door.current_mode()
    if mode is not None and door.constant_of(tensor) is None:
        mode.on_bool(tensor, bool(value))
    return value


def _recording() -> Any:
    """The mode of this thread if it sees branches and loops as a whole."""
    mode = door.current_mode()
    return mode if mode is not None and mode.whole else None


def _varies(tensor: Tensor) -> bool:
    """Whether what decides is another value for each row of a batch."""
    mode = door.current_mode()
    return mode is not None and mode.varies(tensor)


def _selected(
    name: Literal["cond", "switch"],
    index: Tensor,
    branches: Sequence[Any],
    operands: Sequence[Any],
) -> Any:
    """All branches, and for each row the results of one."""
    given = [results_of(f"{name}'s branch {k}", b(*operands)) for k, b in enumerate(branches)]
    first = given[0]
    for made in given[1:]:
        alike = made.structure == first.structure
        if not alike or any(a._a is not b._a for a, b in zip(made.leaves, first.leaves)):
            raise ArgumentError(
                f"{name}: branches give other structures, shapes or dtypes, where each row of a "
                f"batch takes its own: {[str(t._a) for t in first.leaves]} and "
                f"{[str(t._a) for t in made.leaves]}"
            )
    leaves = first.leaves
    for number, made in enumerate(given[1:], 1):
        taken = not_equal(index, 0) if name == "cond" else greater_equal(index, number)
        leaves = [where(taken, new, old) for new, old in zip(made.leaves, leaves)]
    return _owned(first, leaves)


def _owned(carry: Carry, leaves: Sequence[Any] | None = None) -> Any:
    """The tree with handles of its own."""
    return carry.tree([fresh(leaf) for leaf in (carry.leaves if leaves is None else leaves)])


def _walks(order: range, leaves: Sequence[Any]) -> bool:
    """Whether a loop is long enough to be recorded as one, and no gradient is known to follow."""
    followed = door.grad_enabled() and any(leaf._node is not None for leaf in leaves)
    return len(order) > UNROLLED and not followed


# ---- branches
def cond(pred: Any, true_fun: Any, false_fun: Any, *operands: Any) -> Any:
    """true_fun(*operands) where pred is true, else false_fun(*operands): one of them runs.

    pred: a scalar of bool or number (0 is false, NaN is true).  operands: trees of tensors and
    numbers.  Both functions give a tree of tensors or numbers, of the same structure, shapes and
    dtypes.  Raises ShapeError for a pred that is no scalar, ArgumentError for other leaves.

    >>> import hybrid
    >>> hybrid.cond(hybrid.tensor(2.0) > 1, lambda x: x + 1, lambda x: x * 2, hybrid.tensor(5.0))
    tensor(6.)
    """
    need_callable("cond: true_fun", true_fun)
    need_callable("cond: false_fun", false_fun)
    tensor, mode = truth("cond: pred", pred), _recording()
    if mode is not None and door.constant_of(tensor) is None:
        index = door.convert(not_equal(tensor, 0), dt.int64)
        return recorded_branches(mode, "cond", index, [false_fun, true_fun], operands)
    if _varies(tensor):
        return _selected("cond", tensor, [false_fun, true_fun], operands)
    branch, name = (true_fun, "true_fun") if _decided(tensor) else (false_fun, "false_fun")
    made = results_of(f"cond's {name}", branch(*operands))
    return made.tree([sealed("cond", leaf) for leaf in made.leaves])


def switch(index: Any, branches: Sequence[Any], *operands: Any) -> Any:
    """branches[index](*operands): the branch that an integer names runs, and no other.

    index: an integer scalar; one below 0 or beyond the last branch is clamped.  branches: functions
    that give trees of the same structure, shapes and dtypes.  Raises ArgumentError without
    branches, ShapeError or DTypeError for another index.

    >>> import hybrid
    >>> hybrid.switch(hybrid.tensor(7), [hybrid.sin, hybrid.negative], hybrid.tensor(2.0))
    tensor(-2.)
    """
    listed = _branches(branches)
    tensor, mode = position("switch: index", index), _recording()
    if mode is not None and door.constant_of(tensor) is None:
        tensor = door.convert(minimum(tensor, len(listed) - 1), dt.int64)
        return recorded_branches(mode, "switch", tensor, listed, operands)
    if _varies(tensor):
        return _selected("switch", tensor, listed, operands)
    chosen = min(max(int(_decided(tensor)), 0), len(listed) - 1)
    made = results_of(f"switch's branch {chosen}", listed[chosen](*operands))
    return made.tree([sealed("switch", leaf) for leaf in made.leaves])


def _branches(branches: Any) -> list[Callable[..., Any]]:
    if callable(branches) or not isinstance(branches, (list, tuple)):
        raise ArgumentError(f"switch: branches is {described(branches)}: it takes a list")
    if not branches:
        raise ArgumentError("switch needs at least one branch")
    for number, branch in enumerate(branches):
        need_callable(f"switch: branch {number}", branch)
    return list(branches)


# ---- loops
def while_loop(cond_fun: Any, body_fun: Any, init_val: Any) -> Any:
    """Apply body_fun to what it gave while cond_fun of that is true, from init_val on.

    init_val: a tree of tensors and numbers (ints are int64, floats float32); body_fun gives a tree
    of the same structure, shapes and dtypes; cond_fun a scalar.  Gives the last tree.  Raises
    ShapeError, DTypeError or ArgumentError where body_fun changes what is carried.

    >>> import hybrid
    >>> hybrid.while_loop(lambda x: x < 100, lambda x: x * 2, 3)
    tensor(192)
    """
    need_callable("while_loop: cond_fun", cond_fun)
    need_callable("while_loop: body_fun", body_fun)
    carry, mode = carried("while_loop: init_val", init_val), _recording()
    if mode is not None:
        return recorded_while(mode, cond_fun, body_fun, carry)
    leaves, what = carry.leaves, "the result of while_loop's cond_fun"
    while True:
        goes_on = truth(what, cond_fun(_owned(carry, leaves)))
        if not (door.current_mode().any_row(goes_on) if _varies(goes_on) else _decided(goes_on)):
            break
        made = fitted("while_loop's body_fun", carry, body_fun(_owned(carry, leaves)))
        if _varies(goes_on):  # rows that are done keep what they carry
            goes_on = not_equal(goes_on, 0)
            made = [where(goes_on, new, old) for new, old in zip(made, leaves)]
        leaves = made
    return carry.tree([sealed("while_loop", leaf) for leaf in leaves])


def fori_loop(lower: Any, upper: Any, body_fun: Any, init_val: Any) -> Any:
    """body_fun(i, value) for i from lower to upper - 1, each with what the one before gave.

    lower, upper: integers or integer scalars; i is an int64 scalar tensor.  init_val: a tree of
    tensors and numbers, whose structure, shapes and dtypes body_fun keeps.  Gives the last tree.
    Raises as `while_loop` does.

    >>> import hybrid
    >>> hybrid.fori_loop(0, 5, lambda i, total: total + i, 0)
    tensor(10)
    """
    need_callable("fori_loop: body_fun", body_fun)
    start, stop = whole_number(lower), whole_number(upper)
    carry = carried("fori_loop: init_val", init_val, [lower, upper])
    if start is None or stop is None:
        return _counted(lower, upper, body_fun, carry.tree())

    device = device_of(carry.leaves)

    def number_of(i: int) -> list[Any]:
        return [door.as_tensor(i, device)]

    def step(state: list[Any], row: list[Any]) -> tuple[list[Any], Carry]:
        given = body_fun(row[0], carry.tree(state))
        return fitted("fori_loop's body_fun", carry, given), _NOTHING

    order, mode = range(start, stop), _recording()
    if _lifted(order, carry.leaves):
        rows = arange(start, stop, device=device)
        return scan(lambda state, i: (body_fun(i, state), ()), carry.tree(), rows)[0]
    if mode is not None and _walks(order, carry.leaves):
        numbers = [arange(start, stop, device=device)]
        leaves = recorded_walk(mode, step, carry, numbers, number_of, order, body_fun)[0]
        return carry.tree(leaves)
    leaves = carry.leaves
    for i in order:
        leaves = step([fresh(leaf) for leaf in leaves], number_of(i))[0]
    return _owned(carry, leaves)


_NOTHING = carried("nothing", ())


def _counted(lower: Any, upper: Any, body_fun: Any, init_val: Any) -> Any:
    """fori_loop between bounds that are tensors."""
    device = device_of([lower, upper, *trees.flatten(init_val)[0]])
    first = door.convert(position("fori_loop: lower", lower, device), dt.int64)
    last = door.convert(position("fori_loop: upper", upper, device), dt.int64)

    def before_end(state: Any) -> Any:
        return less(state[0], last)

    def step(state: Any) -> Any:
        return add(state[0], 1), body_fun(*state)

    return while_loop(before_end, step, (first, init_val))[1]


def scan(
    f: Any, init: Any, xs: Any = None, length: Any = None, reverse: bool = False, unroll: int = 1
) -> tuple[Any, Any]:
    """f(carry, x) -> (carry, y) for each x along the first axis of xs: the last carry, and the ys
    stacked.

    init: a tree of tensors and numbers, whose structure, shapes and dtypes f keeps.  xs: a tree of
    tensors of equal first extent, or None with a length.  reverse: from the last x to the first; ys
    stay in the order of xs.  unroll: accepted for JAX's sake.  Without a step f runs once all the
    same, on zeros, to tell what ys are.  Raises ArgumentError without xs and length or where ys
    change, ShapeError for extents that differ.

    >>> import hybrid
    >>> last, sums = hybrid.scan(lambda s, x: (s + x, s + x), 0.0, hybrid.tensor([1.0, 2.0, 4.0]))
    >>> last.item(), sums.tolist()
    (7.0, [1.0, 3.0, 7.0])
    """
    need_callable("scan: f", f)
    carry, inputs, steps = carried("scan: init", init), carried("scan: xs", xs), list[Carry]()
    step = partial(_scan_step, f, carry, inputs, steps)

    def row(i: int) -> list[Any]:
        return [fresh(getitem(leaf, i)) for leaf in inputs.leaves]

    order, mode = range(_extent(inputs.leaves, length))[:: -1 if reverse else 1], _recording()
    last, known = carry.leaves, [*carry.leaves, *inputs.leaves]
    if _lifted(order, known):
        last = step([fresh(leaf) for leaf in last], row(order[0]))[0]
        if not any(leaf._node is not None for leaf in [*last, *steps[0].leaves]):
            return _scan_of_rows(f, carry, inputs, steps[0], last, order)
        order = order[1:]
    if mode is not None and _walks(order, known):
        last, ys = recorded_walk(mode, step, carry, inputs.leaves, row, order, f)
        if ys is not None:
            return carry.tree(last), steps[0].tree(ys)
    else:
        for i in order:
            last = step([fresh(leaf) for leaf in last], row(i))[0]
    tree = _owned(carry, last)
    return tree, _stacked(f, tree, inputs, steps[::-1] if reverse else steps)


def _lifted(order: range, leaves: Sequence[Any]) -> bool:
    """Whether a loop is run as a whole for all rows of a batch, which a recording is made of."""
    mode = door.current_mode()
    return mode is not None and mode.lifts and _walks(order, leaves)


def _scan_of_rows(
    f: Any, carry: Carry, inputs: Carry, first: Carry, state: list[Any], order: range
) -> tuple[Any, Any]:
    """The rest of a scan whose first step has been made, as one scan for all rows of a batch."""
    rest = order[1:]
    begin, end = min(rest), max(rest) + 1

    def step(state: list[Any], row: list[Any]) -> list[Any]:
        leaves, extra = _scan_step(f, carry, inputs, [first], state, row)
        return [*leaves, *extra.leaves]

    rows = [getitem(leaf, slice(begin, end)) for leaf in inputs.leaves]
    more = {"length": len(rest), "reverse": order.step < 0}
    last, stacked = door.current_mode().scanned(scan, step, state, rows, more)
    ys = []
    for y, others in zip(first.leaves, stacked):
        row = expand_dims(y, 0)
        ys.append(concat([row, others] if order.step > 0 else [others, row]))
    return carry.tree([fresh(leaf) for leaf in last]), first.tree(ys)


def _scan_step(
    f: Any, carry: Carry, inputs: Carry, steps: list[Carry], state: list[Any], rows: list[Any]
) -> tuple[list[Any], Carry]:
    """The next carry and what goes with it, which is added to that of the `steps` before."""
    given = f(carry.tree(state), inputs.tree(rows))
    if not isinstance(given, tuple) or len(given) != 2:
        raise ArgumentError(f"scan: f has to return (carry, y), not {described(given)}")
    leaves = fitted("scan's f", carry, given[0])
    steps.append(_like_first(results_of("scan's f", given[1]), steps))
    return leaves, steps[-1]


def _extent(leaves: Sequence[Any], length: Any) -> int:
    """How many steps a scan has."""
    given = None if length is None else whole_number(length)
    if length is not None and (given is None or given < 0):
        raise ArgumentError(f"scan: length is {described(length)}: it takes an int of 0 or more")
    if any(leaf._a.shape == () for leaf in leaves):
        raise ShapeError("scan: a leaf of xs is a scalar, which has no axis to walk along")
    extents = {leaf._a.shape[0] for leaf in leaves}
    if len(extents) > 1:
        raise ShapeError(f"scan: the first extents of xs differ: {sorted(extents)}")
    if not extents and given is None:
        raise ArgumentError("scan needs xs or a length")
    found: int = next(iter(extents)) if extents else given  # type: ignore[assignment]
    if given is not None and given != found:
        raise ShapeError(f"scan: length is {given}, the first extent of xs is {found}")
    return found


def _like_first(step: Carry, steps: list[Carry]) -> Carry:
    """What one step gave, which must be like what the first one gave."""
    if steps:
        first = steps[0]
        if step.structure != first.structure:
            raise ArgumentError(
                f"scan's f gave a y of another structure: {step.structure}, the first was "
                f"{first.structure}"
            )
        for new, old in zip(step.leaves, first.leaves):
            if new._a is not old._a:
                raise ArgumentError(f"scan's f gave a y of {new._a}, the first was {old._a}")
    return step


def _stacked(f: Any, tree: Any, inputs: Carry, steps: list[Carry]) -> Any:
    """The ys of all steps along a new first axis."""
    if steps:
        columns = zip(*[step.leaves for step in steps])
        return steps[0].tree([stack(column) for column in columns])
    blank = [zeros(x._a.shape[1:], dtype=x._a.dtype, device=x._a.device) for x in inputs.leaves]
    with no_grad():
        step = results_of("scan's f", f(tree, inputs.tree(blank))[1])
    avals = [y._a for y in step.leaves]
    return step.tree([zeros((0, *a.shape), dtype=a.dtype, device=a.device) for a in avals])
