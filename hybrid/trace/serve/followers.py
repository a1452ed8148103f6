"""Views that a program holds of tensors which a replay gives new values: `p.detach()`, `p[:]`.

Eagerly such a view follows each write to its base.  A replay writes the bases without a look at
their views, and the views follow afterwards.  Invariant: they then show what they would show after
the same call run eagerly; where that is not known, nothing is replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...autograd.backward import stop_gradient
from ...core.signals import critical, finish
from ...ir.door import bind as door
from ...ir.door.busy import put_values
from ...ir.tensor import SAME, Alias, Leaf
from ..record.recording import Recording

__all__ = ["viewed", "around"]

Bases = list[tuple[Any, Alias]]


def viewed(recording: Recording, inputs: Sequence[Any]) -> Bases:
    """The tensors that a replay writes and that somebody holds views of, if all can follow."""
    bases: Bases = []
    if not recording.outcome.writes:
        return bases
    given = {id(tensor) for tensor in inputs}
    for tensor in recording.written(list(inputs)):
        alias = getattr(tensor, "_x", None)
        if type(alias) is not Alias:
            continue
        views = alias.live_views()
        if alias.base is not None or recording.graded:
            return []  # a view itself, or a write that its views' gradients would follow
        if any(view._x.step is None or id(view) in given for view in views):
            return []
        bases.append((tensor, alias))
    return bases


@critical
def around(bases: Bases, replay: Callable[[], Any]) -> Any:
    """Replay while the bases have no views, then have these follow."""
    for tensor, _ in bases:
        del tensor._x
    try:
        return replay()
    finally:
        finish(_follow, bases)


def _follow(bases: Bases) -> None:
    """Link the views again and give them what they show now; may be repeated."""
    for tensor, alias in bases:
        made = getattr(tensor, "_x", None)
        if type(made) is Alias and made is not alias:  # views that the replay returned
            alias.views += made.views
        tensor._x = alias
    before = door.set_grad(False)
    try:
        for _, alias in bases:
            for view in alias.live_views():  # oldest first: parents before what is made of them
                own: Any = view._x
                shown = (
                    stop_gradient(own.parent)
                    if own.step is SAME
                    else door.view_again(own.step, own.parent)
                )
                node = view._node if type(view._node) is Leaf else None
                put_values([view], [shown._v], [shown._a], [node])
    finally:
        door.STATE.special += door.LOCAL.grad - before
        door.LOCAL.grad = before
