"""What an active mode is told of a thread's work, and version counters of hybrid's own objects.

A `Mode` watches: eager work is done first, exactly as without it, then the hook is called (the two
hooks marked "before" come first).  Invariant: hooks never change a result; with no mode active none
is called.

Objects of hybrid that hold tensors (modules, optimizers, generators) are `Versioned`: user code
that reads them is guarded by one counter instead of one fact per attribute.  Their contract:

* `_version` moves (through `bump`) whenever anything changes that their own code reads: an
attribute stored or
  deleted, a parameter, buffer, child or hook added or replaced, a hyper-parameter that is a Python
  value.
* It does not move when a tensor they hold is assigned a new value, when `training` flips (that flag
is
  guarded by value, so that train and eval each keep their plan), or when a plain tensor is stored
  to an attribute that is no parameter or buffer (such a store is replayed). An object with such
  attributes has a dict `_names` of the tensors it does hold.
* The tensors their code uses are reachable from their instance dict (or slots) through dicts,
lists, tuples and other
  Versioned objects, and are replaced only with a bump; so a recording may hold them by identity.
  (It also compares the places where it found them, so a store past these methods is no silent
  error.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Mode", "Versioned", "EPOCH", "ROOTS", "bump"]

# One process-wide word that moves with every bump: while it stands still, all versions do.
EPOCH = np.zeros(1, np.int64)


# Versioned objects that hybrid's own code uses without the user naming them (the default
# generator).
ROOTS: list[Any] = []


class Versioned:
    """Base of hybrid's stateful objects; see the module docstring for the contract."""

    _version: int = 0


def bump(versioned: Any) -> None:
    """Note a structural change of a Versioned object."""
    object.__setattr__(versioned, "_version", versioned._version + 1)
    EPOCH[0] += 1


def _nothing() -> None:
    pass


class Mode:
    """Hooks that `bind`, Tensor and the tape call on the mode active on this thread;
    all default to nothing."""

    __slots__ = ()
    defers: bool = False  # whether ops are given to `collect` before they run (ir/door/pending.py)
    late: bool = False  # whether ops that it `postpones` are given to `collect` as well
    checks = False  # whether replays are looked at first, through `check`
    whole = False  # whether branches and loops are told as a whole, through `control`
    lifts = False  # whether long loops are run as a whole below it, through `scanned`

    def check(self, graph: Any, inputs: Any) -> None:
        """Look at the operations of a graph that is about to be replayed on these values."""

    def on_op(
        self,
        op: Any,
        params: tuple[tuple[str, Any], ...],
        xs: tuple[Any, ...],
        outs: tuple[Any, ...],
    ) -> None:
        """`op` was run on the handles `xs` (after promotion and scalar casts)
        and gave the new handles `outs`."""

    def on_assign(self, handle: Any, value: Any) -> None:
        """Before: `handle` is about to hold what the handle `value` holds
        (assign, in-place syntax)."""

    def on_follow(self, view: Any, value: Any) -> None:
        """Before: `view`, whose base is written, is about to show what `value` holds."""
        self.on_assign(view, value)

    def on_alias(self, new: Any, old: Any) -> None:
        """`new` is a fresh handle on what `old` holds,
        made without an op (detach, .data, a saved value)."""

    def postpones(self, resolved: Any, tensors: Any) -> bool:
        """Asked where it is `late`: whether this op call may be computed afterwards."""
        return False

    def on_late(self, kind: str) -> None:
        """A kernel of this kind was not made, as it may never be needed."""

    def on_pending(self, handle: Any) -> None:
        """`handle` was written and may hold a value that is not computed yet."""

    def on_bool(self, handle: Any, value: bool) -> None:
        """`bool(handle)` gave `value`: Python may branch on it."""

    def on_host_read(self, handle: Any, kind: str) -> None:
        """Before: data of `handle` goes to Python (`kind`: 'float()',
        '.numpy()', 'repr()', ...)."""

    def on_box(self, view: Any) -> None:
        """Before: the next operation reads or writes the elements of its base that `view` shows."""

    def on_grad_get(self, handle: Any, grad: Any) -> None:
        """`handle.grad` was read, by the user, the tape or an optimizer;
        `grad` is a Tensor or None."""

    def on_grad_set(self, handle: Any, grad: Any) -> None:
        """Before: `handle.grad` is about to become `grad` (a Tensor or None)."""

    def on_backward(self, outputs: Any) -> None:
        """Before: a backward pass begins at these tensors."""

    def on_custom(self, resolved: Any, inputs: Any, outputs: Any) -> None:
        """The fresh tensors `outputs` hang on a tape node that is no op: `resolved` (a PseudoOp)
        pulls their gradients to its parents, of which the first are those of `inputs`."""

    def on_tap(self, handle: Any, name: str, probes: Any) -> None:
        """The value of `handle` is to be seen under this name in the `probes` of functions."""

    def on_switch(self, module: Any) -> None:
        """Before: `module` is about to be told whether it is in training."""

    def on_look(self, handle: Any) -> None:
        """What hybrid does next depends on `handle` (its flags, say), though no op may use it."""

    def on_effect(self, what: str) -> None:
        """Something happened that a graph cannot represent (`requires_grad_` on an old tensor, a
        user-made gradient function, ...): the recording must not be replayed.  `what` finishes 'the
        call ...'."""

    def pause(self) -> Callable[[], None]:
        """The thread is about to make a kernel, which is none of its program: stop looking at the
        Python that runs until the returned function is called."""
        return _nothing

    def holds(self, handle: Any) -> int:
        """How many references to `handle` the mode itself keeps (at most): a view that nobody else
        holds does not have to follow a write to its base."""
        return 0

    def varies(self, handle: Any) -> bool:
        """Whether `handle` stands for many values, of which it holds one."""
        return False

    def any_row(self, handle: Any) -> bool:
        """Whether one of the values of a handle that `varies` is true."""
        raise NotImplementedError

    def scanned(self, scan: Any, step: Any, state: Any, rows: Any, more: Any) -> Any:
        """The last state and the stacked results of a `scan` of many steps, which runs below this
        mode.  Asked where `lifts` says so."""
        raise NotImplementedError

    def control(self, operands: Any) -> Any:
        """What records a branch or a loop that is given these tensors as one node with graphs
        inside: an `OpenRegions` of control/regions.py.  Asked where `whole` says so."""
        raise NotImplementedError

    def on_constant(self, handle: Any) -> None:
        """`handle` is a fresh tensor made from host data (`tensor(...)`, a
        NumPy operand of an op)."""

    def on_data(self, handle: Any, given: Any) -> None:
        """`handle` is a fresh tensor with a copy of host data: all that the array or buffer `given`
        holds, in the dtype of the handle (None: data that came in another way)."""
        self.on_constant(handle)
