"""Share: a factor that many small products read across its rows is turned round once, before the
first of them.

Invariant: only where numbers lie changes, never what is computed; the copy is taken of an input or
a literal, so it depends on no step, and a state that is overwritten waits for it as for any other
reader.

before:  x0 @ w.T   x1 @ w.T   x2 @ w.T   x3 @ w.T        (each transposes w while it packs it)
after:   t = copy of w.T   x0 @ t   x1 @ t   x2 @ t   x3 @ t
"""

from __future__ import annotations

from dataclasses import replace

from ...backends.plan import Access, Dims, GemmKernel, LoopKernel, Operand, SlotKind
from .kernels import Draft, PlanStep, copy_program

__all__ = ["share"]

GIVEN: frozenset[SlotKind] = frozenset(("input", "const"))  # slots that no step writes
MANY = 4  # products that must share the factor
FEW_ROWS = 64  # products with more rows pay for the packing themselves


def _turned(k: GemmKernel) -> bool:
    """Whether the second factor is adjacent along the summed index and not along the columns."""
    rows, cols = k.b.rows, k.b.cols
    plain = (
        k.batch == 1
        and k.order == "chain"
        and k.m <= FEW_ROWS
        and len(rows.sizes) == len(cols.sizes) == 1
    )
    return plain and rows.strides == (1,) and cols.strides[0] > 1 and min(k.k, k.n) >= 16


def share(draft: Draft) -> Draft:
    """The draft with such factors copied once; the same object when there are none."""
    groups: dict[Operand, list[int]] = {}
    for i, step in enumerate(draft.steps):
        k = step.kernel
        if (
            isinstance(k, GemmKernel)
            and _turned(k)
            and draft.assignment.slots[k.b.slot].kind in GIVEN
        ):
            groups.setdefault(k.b, []).append(i)
    groups = {b: users for b, users in groups.items() if len(users) >= MANY}
    if not groups:
        return draft
    steps = list(draft.steps)
    for b, users in groups.items():
        _turn(draft, steps, b, users)
    return replace(draft, steps=steps)


def _turn(draft: Draft, steps: list[PlanStep], b: Operand, users: list[int]) -> None:
    """Add the copy of one factor and let its users read it."""
    (depth,), (width,) = b.rows.sizes, b.cols.sizes
    slots = draft.assignment.slots
    new = draft.assignment.new("temp", slots[b.slot].aval.with_((depth, width), b.dtype))
    kernel = LoopKernel(
        (depth, width),
        None,
        copy_program(b.dtype),
        (Access(b.slot, b.dtype, b.offset, (b.rows.strides[0], b.cols.strides[0])),),
        (Access(new, b.dtype, 0, (width, 1)),),
    )
    steps.append(
        PlanStep(kernel, steps[users[0]].site, reads=frozenset((b.slot,)), writes=frozenset((new,)))
    )
    turned = Operand(new, b.dtype, 0, b.batch, Dims((depth,), (width,)), Dims((width,), (1,)))
    for i in users:
        step, k = steps[i], steps[i].kernel
        assert isinstance(k, GemmKernel)
        step.kernel = k._replace(b=turned)
        others = {k.a.slot, *(a.slot for a in k.reads)}
        step.reads = (step.reads - {b.slot}) | (others & step.reads) | {new}
        step.after = step.after | {len(steps) - 1}
