"""The mode of vmap: a function runs on one row, and each of its ops on all rows as it happens.

Invariant: a handle in the table stands for a tensor with the batch axis first, of which it holds
row 0; no value of row 0 leaves.  What is not in the table is the same for all rows.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..autograd.backward import stop_gradient
from ..autograd.passes import fit
from ..autograd.tape import PseudoOp, link
from ..core.errors import HybridError
from ..core.sites import user_site
from ..ir.door import bind as door
from ..ir.door.pending import shared
from ..ir.tensor import Handle, Leaf, new_handle
from ..ops.axes.extremes import any as any_
from ..ops.axes.reduce import sum as sum_
from ..ops.axes.views import moveaxis
from ..ops.batched.tools import filled
from ..ops.build.create import zeros
from ..ops.indexing.getitem import getitem
from .layer import NOTHING, Layer
from .rules import batched

__all__ = ["Batching"]

Tensor = Any

_OUTSIDE = (
    "vmap: a batched value is written into a tensor from outside of the function, which has no "
    "rows; return it instead"
)


def _at(text: str) -> str:
    site = user_site()
    return text if site is None else f"{text} ({site})"


class Batching(Layer):
    """`size` rows.  `table`: id of a handle -> a weak reference to it, and its batched tensor (None
    for one that was made inside and is the same for all rows)."""

    __slots__ = ("size", "table", "__weakref__")

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.table: dict[int, tuple[Any, Tensor | None]] = {}

    whole = False  # type: ignore[assignment]

    @property
    def lifts(self) -> bool:  # type: ignore[override]
        """Whether a recording, which sees a loop as a whole, is below."""
        return self.below.whole or self.below.lifts

    # ---- handles and what they stand for
    def _set(self, handle: Any, tensor: Tensor | None) -> None:
        ident, table = id(handle), self.table
        table[ident] = weakref.ref(handle, lambda _: table.pop(ident, None)), tensor

    def _rows(self, handle: Any) -> Tensor | None:
        """The batched tensor of a handle, as it is."""
        found = self.table.get(id(handle))
        return None if found is None else found[1]

    def varies(self, handle: Any) -> bool:
        """Whether a handle stands for a row of many."""
        return self._rows(handle) is not None

    @contextmanager
    def _beneath(self) -> Iterator[None]:
        """The scope of work for all rows: the mode below is the thread's."""
        local = door.LOCAL
        before, local.mode = local.mode, None if self.below is NOTHING else self.below
        try:
            yield
        finally:
            local.mode = before  # this one, or a layer above that has handed something on

    def given(self, handle: Any) -> tuple[Tensor, bool]:
        """What an op on all rows takes for a handle, and whether that has a batch axis."""
        rows = self._rows(handle)
        if rows is None:
            return handle, False
        if handle._node is None and rows._node is not None:
            rows = stop_gradient(rows)
        return rows, True

    def enter(self, rows: Tensor) -> Tensor:
        """A handle that stands for a batched tensor; called where this is the mode."""
        aval, enabled = rows._a, door.set_grad(False)
        local = door.LOCAL
        local.mode = None
        try:
            if self.size:
                row = getitem(rows, 0)
            else:
                row = zeros(aval.shape[1:], dtype=aval.dtype, device=aval.device)
            handle = new_handle(row._v, row._a)
        finally:
            local.mode = self
            door.set_grad(enabled)
        if rows._node is not None:
            handle._node = Leaf(handle)
        self._set(handle, rows)
        return handle

    def leave(self, handle: Any) -> tuple[Tensor, bool]:
        """`given` for a result, with a handle of its own; called where this is the mode."""
        with self._beneath():
            tensor, flag = self.given(handle)
            fresh = new_handle(shared(tensor._v), tensor._a, tensor._node)
            if door.current_mode() is not None:
                door.current_mode().on_alias(fresh, tensor)
        return fresh, flag

    # ---- ops
    def on_op(self, op: Any, params: Any, xs: Any, outs: Any) -> None:
        table, some = self.table, op.has("draw")
        for x in xs:
            entry = table.get(id(x))
            if entry is not None and entry[1] is not None:
                some = True
        if not some:
            for out in outs:
                self._set(out, None)
            self.below.on_op(op, params, xs, outs)
            return
        local = door.LOCAL  # `_beneath` written out: this runs for every op
        before, local.mode = local.mode, None if self.below is NOTHING else self.below
        try:
            inputs, flags = zip(*map(self.given, xs)) if xs else ((), ())
            made = batched(op, params, inputs, flags, self.size, [out._a for out in outs])
        finally:
            local.mode = before
        for out, tensor in zip(outs, made):
            self._set(out, tensor)

    def on_alias(self, new: Any, old: Any) -> None:
        rows = self._rows(old)
        self._set(new, rows)
        if rows is None:
            self.below.on_alias(new, old)

    def on_constant(self, handle: Any) -> None:
        self._set(handle, None)
        self.below.on_constant(handle)

    def on_data(self, handle: Any, given: Any) -> None:
        self._set(handle, None)
        self.below.on_data(handle, given)

    # ---- writes
    def _written(self, handle: Any, value: Any, told: Callable[[Any, Any], None]) -> None:
        rows, before = self._rows(value), self.table.get(id(handle))
        if rows is not None:
            if before is None:
                raise HybridError(_at(_OUTSIDE))
            self._set(handle, rows)
        elif before is not None and before[1] is not None:
            self._set(handle, None)
            self.below.on_alias(handle, value)  # it is new to the mode below
        else:
            told(handle, value)

    def on_assign(self, handle: Any, value: Any) -> None:
        self._written(handle, value, self.below.on_assign)

    def on_follow(self, view: Any, value: Any) -> None:
        self._written(view, value, self.below.on_follow)

    def on_pending(self, handle: Any) -> None:
        if not self.varies(handle):
            self.below.on_pending(handle)

    def on_box(self, view: Any) -> None:
        if not self.varies(view):
            self.below.on_box(view)

    # ---- what Python sees
    def on_bool(self, handle: Any, value: bool) -> None:
        if self.varies(handle):
            raise HybridError(
                _at(
                    "vmap: Python branches on a batched value, which is another for each row; "
                    "select with hybrid.where, or branch with hybrid.cond or hybrid.while_loop"
                )
            )
        self.below.on_bool(handle, value)

    def on_host_read(self, handle: Any, kind: str) -> None:
        if not self.varies(handle):
            self.below.on_host_read(handle, kind)
        elif kind != "repr()":  # which shows row 0, for who looks for an error
            raise HybridError(
                _at(
                    f"vmap: {kind} reads a batched value, of which Python has one row only; "
                    "compute with tensors (hybrid.where in the place of a mask or of nonzero), "
                    "or do it outside of vmap"
                )
            )

    def on_look(self, handle: Any) -> None:
        if not self.varies(handle):
            self.below.on_look(handle)

    def on_tap(self, handle: Any, name: str, probes: Any) -> None:
        if self.varies(handle):
            raise HybridError(_at("vmap: hybrid.tap would show one row of a batched value only"))
        self.below.on_tap(handle, name, probes)

    # ---- gradients
    def on_grad_get(self, handle: Any, grad: Any) -> None:
        if not self.varies(handle):
            self.below.on_grad_get(handle, grad)

    def on_grad_set(self, handle: Any, grad: Any) -> None:
        if grad is not None and self.varies(grad) and not self.varies(handle):
            raise HybridError(
                _at(
                    "vmap: backward would put a batched gradient into .grad of a tensor from "
                    "outside of the function; use hybrid.grad, whose result can be returned"
                )
            )
        if not self.varies(handle):
            self.below.on_grad_set(handle, grad)

    def on_backward(self, outputs: Any) -> None:
        outside = [output for output in outputs if not self.varies(output)]
        if outside:
            self.below.on_backward(outside)

    def on_custom(self, resolved: Any, inputs: Any, outputs: Any) -> None:
        """A node that is no op: the batched outputs get one like it, whose rule runs on one row,
        under this mode."""
        if not any(map(self.varies, outputs)):
            self.below.on_custom(resolved, inputs, outputs)
            return
        with self._beneath():
            sources = [self.given(x)[0] for x in inputs]
            made = [stop_gradient(filled(*self.given(out), self.size)) for out in outputs]
            if any(source._node is not None for source in sources):
                mirror = _Mirror(self, resolved, list(inputs), sources)
                node = PseudoOp(resolved.name, mirror.pull, tuple([t._a for t in made]))
                node.push = None if resolved.push is None else mirror.push
                link(node, [source._node for source in sources], made, sources)
        for out, rows in zip(outputs, made):
            self._set(out, rows)

    # ---- control flow
    def any_row(self, handle: Any) -> bool:
        """Whether the truth of a handle holds in some row."""
        with self._beneath():
            return bool(any_(self.given(handle)[0]))

    def scanned(self, scan: Any, step: Any, state: Any, rows: Any, more: Any) -> Any:
        """A scan for all rows: the steps are those of one row, each under this mode."""
        with self._beneath():
            carry = [filled(*self.given(handle), self.size) for handle in state]
            pairs = [self.given(handle) for handle in rows]
            flags = [flag for _, flag in pairs]
            along = [moveaxis(tensor, 0, 1) if flag else tensor for tensor, flag in pairs]

            def body(carried: list[Any], row: list[Any]) -> tuple[list[Any], list[Any]]:
                given = self._step(step, carried, row, flags)
                return given[: len(carried)], given[len(carried) :]

            last, stacked = scan(body, carry, along, **more)
        made = [self.enter(moveaxis(tensor, 0, 1)) for tensor in stacked]
        return [self.enter(tensor) for tensor in last], made

    def _step(
        self, step: Any, carried: list[Any], row: list[Any], flags: list[bool]
    ) -> list[Tensor]:
        """What one step gives for all rows."""
        below = self.below
        try:
            with self.on():
                state = [self.enter(tensor) for tensor in carried]
                given = [self.enter(t) if flag else t for t, flag in zip(row, flags)]
                made = [self.leave(handle) for handle in step(state, given)]
        finally:
            self.below = below
        return [filled(tensor, flag, self.size) for tensor, flag in made]

    # ---- what is called from outside
    def again(
        self, function: Callable[[list[Any]], Sequence[Any]], given: list[Any]
    ) -> list[tuple[Tensor, bool] | None]:
        """What a function of tensors (or None) gives for batched ones: (tensor, whether it has a
        batch axis), or None."""
        below = self.below
        try:
            with self.on():
                handles = [None if rows is None else self.enter(rows) for rows in given]
                made = function(handles)
                return [self.leave(t) if isinstance(t, Handle) else None for t in made]
        finally:
            self.below = below


class _Mirror:
    """The node of a batched tensor that stands for a node of its row.  It keeps the handles that
    the row's rule takes."""

    def __init__(
        self, batching: Batching, resolved: PseudoOp, handles: list[Any], sources: list[Any]
    ) -> None:
        self.batching, self.resolved, self.handles = batching, resolved, handles
        self.sources = [source._a for source in sources]
        self.flags = [batching.varies(handle) for handle in handles]

    def pull(self, grads: list[Any]) -> list[Any]:
        found = self.batching.again(self.resolved.pull, grads)
        return [
            None if pair is None else self._gradient(*pair, aval, flag)
            for pair, aval, flag in zip(found, self.sources, self.flags)
        ]

    def _gradient(self, gradient: Tensor, rows: bool, aval: Any, flag: bool) -> Tensor:
        """The gradient of a source from that of its row; without a batch axis it gets the sum."""
        gradient = filled(gradient, rows, self.batching.size)
        return fit(gradient if flag else sum_(gradient, axis=0), aval)

    def push(self, tangents: list[Any]) -> list[Any]:
        size = self.batching.size
        given = [
            None if t is None else filled(t, flag, size) for t, flag in zip(tangents, self.flags)
        ]
        found = self.batching.again(self.resolved.push, given)
        return [None if pair is None else filled(*pair, size) for pair in found]
