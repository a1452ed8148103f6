"""What a call returned, as a recipe that builds the same structure with fresh tensors.

Invariant: identity survives: one tensor returned twice, stored and returned, or being an argument
or capture, is one object in a replay too; containers that the call made are made anew each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from ...core.errors import HybridError
from ...ir.tensor import Handle, Leaf, link_view, new_handle
from ..heap.arrays import dtype_key, scalar_key
from ..heap.policy import is_a, is_tuple, plain

__all__ = [
    "New",
    "Known",
    "Plain",
    "Box",
    "Host",
    "Spec",
    "Unfit",
    "spec_of",
    "canonical",
    "Maker",
    "on_their_own",
]


MAX_DEPTH = 64  # of containers in a result


class Unfit(HybridError):
    """The result cannot be built by a replay; the message finishes 'the call ...'."""


class New(NamedTuple):
    """A tensor made by the call: the output that is its value, identity among the results, what its
    tape node is (none, a new leaf, or one on a tape), and the tensor it is a view of (a Known or
    the identity of a New, how, and the step where it is the only one) if any."""

    output: int
    ident: int
    node: Literal["plain", "leaf", "tape"]
    view: Any = None


class Known(NamedTuple):
    """An input itself."""

    number: int


class Plain(NamedTuple):
    """A Python value or object that existed before."""

    value: Any


class Box(NamedTuple):
    """A list, tuple or dict made by the call; keys for dicts."""

    type: type
    ident: int
    items: tuple[Any, ...]
    keys: tuple[Any, ...] = ()


class Host(NamedTuple):
    """A Python value read from a tensor's data when the call returns, with the method `how`."""

    items: tuple[Any]
    how: str


Spec = New | Known | Plain | Box | Host


def spec_of(
    x: Any,
    tensor: Callable[[Handle], New | Known],
    old: Callable[[Any], bool],
    host: Callable[[Any], Host | None],
    depth: int = 0,
) -> Spec:
    """The recipe for x; `tensor` says what a tensor is, `old` whether an object existed before the
    call, `host` whether it is a value read from a tensor.

    Raises Unfit for fresh objects of other types."""
    if is_a(x, Handle):
        return tensor(x)
    read = host(x)
    if read is not None:
        return read
    if plain(x) or old(x):
        return Plain(x)
    if depth > MAX_DEPTH:
        raise Unfit(f"returns containers nested more than {MAX_DEPTH} deep")
    t, below = type(x), depth + 1
    if t is list or is_tuple(x):
        return Box(t, id(x), tuple([spec_of(v, tensor, old, host, below) for v in x]))
    if t is dict:
        if not all(plain(k) and host(k) is None for k in x):
            raise Unfit("returns a dict whose keys are not plain values")
        return Box(t, id(x), tuple([spec_of(x[k], tensor, old, host, below) for k in x]), tuple(x))
    raise Unfit(
        f"returns a fresh {t.__name__} "
        "(only tensors, numbers, lists, tuples and dicts can be rebuilt)"
    )


def canonical(s: Any, idents: dict[int, int]) -> Any:
    """A comparable form, equal for two recordings that build the same."""
    if isinstance(s, New):
        view = s.view
        if view is not None and isinstance(view[0], int):
            view = idents.setdefault(view[0], len(idents)), *view[1:]
        return "new", s.output, idents.setdefault(s.ident, len(idents)), s.node, view
    if isinstance(s, Known):
        return "known", s.number
    if isinstance(s, Plain):
        return _identity(s.value)
    if isinstance(s, Host):
        return "host", canonical(s.items[0], idents), s.how
    if isinstance(s, Box):
        keys = tuple(map(_identity, s.keys))
        return (
            s.type.__qualname__,
            idents.setdefault(s.ident, len(idents)),
            tuple([canonical(v, idents) for v in s.items]),
            keys,
        )
    return s


def _identity(v: Any) -> tuple[Any, ...]:
    """A Python value by type and bits, an object by itself."""
    if not plain(v):
        return "object", id(v)
    if isinstance(v, (np.generic, np.dtype)):
        return type(v).__qualname__, dtype_key(v) if isinstance(v, np.dtype) else scalar_key(v)
    return type(v).__qualname__, repr(v)


class Maker:
    """Builds the results of one replay from the values and records of the graph's outputs, the
    input tensors, and the tape of results."""

    __slots__ = ("outputs", "inputs", "made", "tape", "views")

    def __init__(self, outputs: Any, inputs: Sequence[Any], tape: Callable[[int], Any]) -> None:
        self.outputs, self.inputs, self.tape = outputs, inputs, tape
        self.made: dict[int, Any] = {}
        self.views: list[tuple[Any, Any, str, Any]] = []

    def build(self, s: Any) -> Any:
        """The object a recipe describes."""
        if type(s) is New:
            got = self.made.get(s.ident)
            return got if got is not None else self._tensor(s)
        if type(s) is Known:
            return self.inputs[s.number]
        if type(s) is Plain:
            return s.value
        if type(s) is Host:
            return getattr(self.build(s.items[0]), s.how)()
        got = self.made.get(s.ident)
        if got is None:
            got = self.made[s.ident] = self._box(s)
        return got

    def _box(self, s: Box) -> Any:
        items = [self.build(item) for item in s.items]
        if s.type is dict:
            return dict(zip(s.keys, items))
        if s.type is list:
            return items
        return tuple(items) if s.type is tuple else s.type(*items)

    def _tensor(self, s: New) -> Any:
        value, aval = self.outputs[s.output]
        t = self.made[s.ident] = new_handle(value, aval)
        if s.node == "leaf":
            t._node = Leaf(t)
        elif s.node == "tape":
            t._node = self.tape(s.output)
        if s.view is not None:
            self.views.append((t, *s.view))
        return t

    def link(self) -> None:
        """Make views of what eager code returns as views (a base nobody holds is stood in for)."""
        for t, base, how, step in self.views:
            b = self.build(base) if isinstance(base, Known) else self.made.get(base)
            link_view(
                t, b if b is not None else new_handle(t._v, t._a), how, None if b is None else step
            )


def on_their_own(specs: list[Any]) -> list[Any]:
    """The recipes with no link from a view to a base nobody can see: there is nothing to share."""
    made: dict[int, New] = {}

    def visit(s: Any) -> None:
        if type(s) is New:
            made[s.ident] = s
        elif type(s) is Box:
            for v in s.items:
                visit(v)

    for s in specs:
        visit(s)
    bases = Counter(s.view[0] for s in made.values() if s.view is not None)

    def cut(s: Any) -> Any:
        if (
            type(s) is New
            and s.view is not None
            and s.view[0] not in made
            and bases[s.view[0]] == 1
        ):
            return s if isinstance(s.view[0], Known) else s._replace(view=None)
        return s._replace(items=tuple(map(cut, s.items))) if type(s) is Box else s

    return [cut(s) for s in specs]
