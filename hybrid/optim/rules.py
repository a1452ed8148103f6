"""Updates of many parameters at once: by what rule, of which parameters, where that is the same.

Invariant: what is updated at once gets the bits that updates one after the other give.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from ..core import dtypes as dt
from ..ir.op import Op
from ..ir.tensor import Alias

__all__ = ["Rule", "are_apart", "batches", "is_ruled", "note_update"]

_WRITTEN: WeakKeyDictionary[type, Any] = WeakKeyDictionary()
_TOGETHER = 1 << 26  # bytes of parameters that one call of a device updates


class Rule(NamedTuple):
    """The call of one op that updates one parameter.  Its inputs are the parameter, its gradient,
    the state and the hyper-parameters of these names; its results are new values of the parameter
    and the state."""

    call: Callable[..., Any]
    slots: tuple[str, ...]
    numbers: tuple[str, ...]
    params: tuple[tuple[str, Any], ...]

    @property
    def op(self) -> Op | None:
        """The op; None where the function is not hybrid's own."""
        return getattr(self.call, "op", None)


def note_update(kind: type) -> None:
    """Remember what a class updates a parameter with: what takes its place later is another one."""
    if "update" in vars(kind):
        _WRITTEN[kind] = vars(kind)["update"]


def is_ruled(kind: Any) -> bool:
    """Whether the class that says how to update also says by what rule, and does so still."""
    owners = [next(c for c in kind.__mro__ if name in vars(c)) for name in ("rule", "update")]
    return owners[0] is owners[1] and vars(owners[1])["update"] is _WRITTEN.get(owners[1])


def are_apart(targets: list[Any], tensors: list[Any]) -> bool:
    """Whether the new value of a target is seen in no other tensor: calls at once read all old
    values, calls one after the other the new ones."""
    counts = Counter(map(id, tensors))
    if any([counts[id(target)] > 1 for target in targets]):
        return False
    aliases = [getattr(tensor, "_x", None) for tensor in tensors]
    return all([type(alias) is not Alias or alias.base is None for alias in aliases])


def batches(parameters: list[Any]) -> list[list[Any]]:
    """Parameters of one device and compute type whose new values are not too much memory."""
    batches: dict[Any, list[list[Any]]] = {}
    left: dict[Any, int] = {}
    for parameter in parameters:
        key = parameter._a.device, dt.compute_type(parameter._a.dtype)
        left[key] = left.get(key, 0) - parameter._a.nbytes
        if left[key] < 0:
            batches.setdefault(key, []).append([])
            left[key] = _TOGETHER - parameter._a.nbytes
        batches[key][-1].append(parameter)
    return [batch for each in batches.values() for batch in each]
