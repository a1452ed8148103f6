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
from ...core.aval import HOST, Device
from .kernel_program import copy_program
from .kernels import Draft, PlanStep

__all__ = ["share"]

GIVEN: frozenset[SlotKind] = frozenset(("input", "const"))  # slots that no step writes
MANY = 4  # products that must share the factor
FEW_ROWS = 64  # products with more rows pay for the packing themselves


def _turned(kernel: GemmKernel) -> bool:
    """Whether the second factor is adjacent along the summed index and not along the columns."""
    rows, columns = kernel.b.rows, kernel.b.cols
    plain = (
        kernel.batch == 1
        and kernel.order == "chain"
        and kernel.m <= FEW_ROWS
        and len(rows.sizes) == len(columns.sizes) == 1
    )
    return (
        plain and rows.strides == (1,) and columns.strides[0] > 1 and min(kernel.k, kernel.n) >= 16
    )


def _loose(kernel: GemmKernel, device: Device) -> bool:
    """Whether a library may take the product there and sum other layouts in another order: on the
    host, products are ours and keep to the contract."""
    return device is not HOST and (kernel.fast or kernel.acc is not kernel.a.dtype)


def share(draft: Draft) -> Draft:
    """The draft with such factors copied once; the same object when there are none."""
    groups: dict[Operand, list[int]] = {}
    for number, step in enumerate(draft.steps):
        kernel = step.kernel
        if not isinstance(kernel, GemmKernel) or not _turned(kernel):
            continue
        slot = draft.assignment.slots[kernel.b.slot]
        if slot.kind in GIVEN and not _loose(kernel, slot.aval.device):
            groups.setdefault(kernel.b, []).append(number)
    groups = {b: users for b, users in groups.items() if len(users) >= MANY}
    if not groups:
        return draft
    steps = list(draft.steps)
    for factor, users in groups.items():
        _turn(draft, steps, factor, users)
    return replace(draft, steps=steps)


def _turn(draft: Draft, steps: list[PlanStep], factor: Operand, users: list[int]) -> None:
    """Add the copy of one factor and let its users read it."""
    (depth,), (width,) = factor.rows.sizes, factor.cols.sizes
    slots = draft.assignment.slots
    new_slot = draft.assignment.new(
        "temp", slots[factor.slot].aval.with_((depth, width), factor.dtype)
    )
    kernel = LoopKernel(
        (depth, width),
        None,
        copy_program(factor.dtype),
        (
            Access(
                factor.slot,
                factor.dtype,
                factor.offset,
                (factor.rows.strides[0], factor.cols.strides[0]),
            ),
        ),
        (Access(new_slot, factor.dtype, 0, (width, 1)),),
    )
    steps.append(
        PlanStep(
            kernel,
            steps[users[0]].site,
            reads=frozenset((factor.slot,)),
            writes=frozenset((new_slot,)),
        )
    )
    turned = Operand(
        new_slot, factor.dtype, 0, factor.batch, Dims((depth,), (width,)), Dims((width,), (1,))
    )
    for number in users:
        step, product = steps[number], steps[number].kernel
        assert isinstance(product, GemmKernel)
        step.kernel = product._replace(b=turned)
        others = {product.a.slot, *(a.slot for a in product.reads)}
        step.reads = (step.reads - {factor.slot}) | (others & step.reads) | {new_slot}
        step.after = step.after | {len(steps) - 1}
