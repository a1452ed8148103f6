"""What a call returned, as a recipe that builds the same structure with fresh tensors.

Invariant: identity survives: one tensor returned twice, stored and returned, or being an argument
or capture, is one object in a replay too; containers that the call made are made anew each time.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence, Set
from typing import Any, Literal, NamedTuple

import numpy as np

from ...autograd.backward import stop_gradient
from ...core.errors import HybridError
from ...ir.door.bind import view_again
from ...ir.tensor import SAME, Handle, Leaf, link_view, new_handle
from ..follow.terms import OPERATORS, Collection, Constant, Made, Operation
from ..heap.allowlist import is_a, is_tuple, plain
from ..heap.arrays import dtype_key, scalar_key
from ..heap.data import source_of
from ..heap.structure import built, fields_of
from .kept.leaves import ArrayBehind, behind

__all__ = [
    "New",
    "MovedStep",
    "ViewChain",
    "linked",
    "moved_step",
    "Known",
    "Plain",
    "Box",
    "HostValue",
    "Computed",
    "GivenNumber",
    "HostResult",
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
    tape node is (none, a new leaf, or one on a tape), and the tensor it is a view of if any (a
    Known, the identity of a New that is made for somebody, or a New that nobody holds), how, and
    the step or steps."""

    output: int
    ident: int
    node: Literal["plain", "leaf", "tape"]
    view: Any = None


class MovedStep(NamedTuple):
    """The step (operation and parameters) of a view that begins at inputs along some axes."""

    step: tuple[Any, tuple[tuple[str, Any], ...]]
    starts: tuple[tuple[int, int], ...]

    @property
    def numbers(self) -> list[int]:
        """The inputs."""
        return [number for _, number in self.starts]

    def now(self, inputs: Any) -> Any:
        """The step, where these are the inputs."""
        op, params = self.step[0], dict(self.step[1])
        begin = list(params["begin"])
        for axis, number in self.starts:
            begin[axis] = inputs[number].item()
        return op, tuple((params | {"begin": tuple(begin)}).items())


def moved_step(step: Any, starts: tuple[tuple[int, int], ...]) -> MovedStep:
    """The step that a view has in each call, of one that begins here now."""
    params = dict(step[1])
    begin = list(params["begin"])
    for axis, _ in starts:
        begin[axis] = 0
    return MovedStep((step[0], tuple((params | {"begin": tuple(begin)}).items())), starts)


class ViewChain(NamedTuple):
    """How a view comes of its base by several steps: what each was made by, and the step."""

    steps: tuple[tuple[str, tuple[Any, Any]], ...]


def linked(view: Handle, base: Handle, method: str, step: Any) -> None:
    """Make a tensor a view of a base, by one step or several."""
    if type(step) is ViewChain:
        for made_by, inner in step.steps[:-1]:
            shown = stop_gradient(base) if inner is SAME else view_again(inner, base)
            link_view(shown, base, made_by, inner)
            base = shown
        method, step = step.steps[-1]
    link_view(view, base, method, step)


class Known(NamedTuple):
    """An input itself."""

    number: int


class Plain(NamedTuple):
    """A Python value or object that existed before."""

    value: Any


class Box(NamedTuple):
    """A list, tuple, dict or object with fields made by the call; keys for dicts, names (of slots:
    descriptors) for fields."""

    type: type
    ident: int
    items: tuple[Any, ...]
    keys: tuple[Any, ...] = ()


class HostValue(NamedTuple):
    """A Python value read from a tensor's data when the call returns, with the method `how`;
    `ident`: the read that it is of, which gives one object."""

    items: tuple[Any]
    how: str
    ident: tuple[str, int]


class GivenNumber(NamedTuple):
    """A number among the arguments of a call, of this exact type: the input that stands for it."""

    number: int
    type: type

    def place(self) -> Any:
        """What is equal for the same argument."""
        return "argument", self.number, self.type


class HostResult(NamedTuple):
    """What a clock shows after the operations: the function, its place among such calls, and the
    type of what it gives."""

    function: Callable[[], Any]
    serial: int
    type: type | None

    def place(self) -> Any:
        """What is equal for the same call of the same program."""
        return "clock", id(self.function), self.serial


class Computed(NamedTuple):
    """A Python number computed at the commit from what places hold and hosts read (actions.py)."""

    term: Any


Spec = New | Known | Plain | Box | HostValue | Computed


def spec_of(
    value: Any,
    recipe: Callable[[Handle], New | Known],
    existed: Callable[[Any], bool | None],
    host: Callable[[Any], HostValue | Computed | None],
    inside: Callable[[Any, str, Any], Any] = lambda owner, name, value: None,
    depth: int = 0,
) -> Spec:
    """The recipe for a value; `recipe` says what a tensor is, `existed` whether an object was there
    before the call (None: that is not known), `host` whether it is a value read from a tensor,
    `inside` what a followed value in a field is.  Raises Unfit for fresh objects of other types."""
    if is_a(value, Handle):
        return recipe(value)
    read = host(value)
    if read is not None:
        return read
    if plain(value) or existed(value):
        return Plain(value)
    if depth > MAX_DEPTH:
        raise Unfit(f"returns containers nested more than {MAX_DEPTH} deep")
    kind, rest = type(value), (recipe, existed, host, inside, depth + 1)
    if kind is list or is_tuple(value):
        parts = [spec_of(part, *rest) for part in value]
        return Box(kind, id(value), tuple(parts))
    if kind is dict or kind is OrderedDict:
        if not all(plain(k) and host(k) is None for k in value):
            raise Unfit("returns a dict whose keys are not plain values")
        parts = [spec_of(value[k], *rest) for k in value]
        return Box(kind, id(value), tuple(parts), tuple(value))
    fields = fields_of(value) if existed(value) is False else None
    if fields is None:
        raise Unfit(
            f"returns a fresh {kind.__name__} "
            "(only tensors, numbers, lists, tuples, dicts and objects of Python classes without "
            "__del__ can be rebuilt)"
        )
    known = [inside(value, _name(key), part) for key, part in zip(*fields)]
    parts = [spec_of(p, *rest) if own is None else own for own, p in zip(known, fields[1])]
    return Box(kind, id(value), tuple(parts), fields[0])


def _name(key: Any) -> str:
    """What a field is called that is known by its name, or its descriptor."""
    return key if type(key) is str else str(key.__name__)


def canonical(spec: Any, idents: dict[Any, int]) -> Any:
    """A comparable form, equal for two recordings that build the same."""
    if isinstance(spec, New):
        view = spec.view
        if view is not None and type(view[0]) is New:
            view = canonical(view[0], idents), *view[1:]
        elif view is not None and isinstance(view[0], int):
            view = idents.setdefault(view[0], len(idents)), *view[1:]
        return "new", spec.output, idents.setdefault(spec.ident, len(idents)), spec.node, view
    if isinstance(spec, Known):
        return "known", spec.number
    if isinstance(spec, Plain):
        return _identity(spec.value)
    if isinstance(spec, HostValue):
        made = canonical(spec.items[0], idents)
        return "host", made, spec.how, idents.setdefault(spec.ident, len(idents))
    if isinstance(spec, Computed):
        return "computed", _canonical_term(spec.term, idents)
    if isinstance(spec, Box):
        keys = tuple(map(_identity, spec.keys))
        return (
            id(spec.type),
            idents.setdefault(spec.ident, len(idents)),
            tuple([canonical(v, idents) for v in spec.items]),
            keys,
        )
    return spec


def _canonical_term(term: Any, idents: dict[Any, int]) -> Any:
    """A term in which numbers are told apart by type and bits."""
    if type(term) is Operation:
        return term.symbol, tuple([_canonical_term(t, idents) for t in term.operands])
    if type(term) is Made:
        return id(term.function), tuple([_canonical_term(t, idents) for t in term.operands])
    if type(term) is Collection:
        items = tuple([_canonical_term(t, idents) for t in term.items])
        return term.type.__name__, tuple(map(_identity, term.keys)), items
    if type(term) is Constant:
        return _content(term.value)
    if type(term) is HostValue:
        return canonical(term, idents)
    return term.place()


def _content(value: Any) -> tuple[Any, ...]:
    """A value that goes into a text or number: of a tuple only what is inside counts."""
    return ("tuple", *map(_content, value)) if type(value) is tuple else _identity(value)


def _identity(value: Any) -> tuple[Any, ...]:
    """A Python value by type and bits, an object by itself."""
    if not plain(value):
        return "object", id(value)
    if isinstance(value, (np.generic, np.dtype)):
        return type(value).__qualname__, dtype_key(value) if isinstance(
            value, np.dtype
        ) else scalar_key(value)
    return type(value).__qualname__, repr(value)


class Maker:
    """Builds the results of one replay from the values and records of the graph's outputs, the
    input tensors, and the tape of results."""

    __slots__ = ("outputs", "inputs", "made", "read", "shown", "tape", "views")

    def __init__(self, outputs: Any, inputs: Sequence[Any], tape: Callable[[int], Any]) -> None:
        self.outputs, self.inputs, self.tape = outputs, inputs, tape
        self.made: dict[int, Any] = {}
        self.read: dict[tuple[str, int], Any] = {}
        # what clocks showed, and arrays behind stores
        self.shown: dict[HostResult | ArrayBehind, Any] = {}
        self.views: list[tuple[Any, Any, str, Any]] = []

    def build(self, spec: Any) -> Any:
        """The object a recipe describes."""
        if type(spec) is HostResult:
            if spec not in self.shown:
                self.shown[spec] = spec.function()
            return self.shown[spec]
        if type(spec) is New:
            built = self.made.get(spec.ident)
            return built if built is not None else self._tensor(spec)
        if type(spec) is Known:
            return self.inputs[spec.number]
        if type(spec) is Plain:
            return spec.value
        if type(spec) is HostValue:
            if spec.ident not in self.read:
                self.read[spec.ident] = getattr(self.build(spec.items[0]), spec.how)()
            return self.read[spec.ident]
        if type(spec) is Computed:
            return self._number(spec.term)
        built = self.made.get(spec.ident)
        if built is None:
            built = self.made[spec.ident] = self._box(spec)
        return built

    def _number(self, term: Any) -> Any:
        """The number that a term is now."""
        if type(term) is Operation:
            return OPERATORS[term.symbol](*map(self._number, term.operands))
        if type(term) is Made:
            return term.function(*map(self._number, term.operands))
        if type(term) is Collection:
            items = list(map(self._number, term.items))
            return dict(zip(term.keys, items)) if term.type is dict else term.type(items)
        if type(term) is HostResult:
            return self.build(term)
        if type(term) is ArrayBehind:
            if term not in self.shown:
                self.shown[term] = behind(*map(self._number, term.operands))
            return self.shown[term]
        if type(term) is Constant:
            return term.value
        if type(term) is GivenNumber:
            return source_of(self.inputs[term.number])
        return self.build(term) if type(term) is HostValue else term.now()

    def _box(self, spec: Box) -> Any:
        items = [self.build(item) for item in spec.items]
        if spec.type is dict or spec.type is OrderedDict:
            return spec.type(zip(spec.keys, items))
        if spec.type is list:
            return items
        if spec.type is tuple:
            return tuple(items)
        if issubclass(spec.type, tuple):
            return spec.type(*items)
        return built(spec.type, spec.keys, items)

    def _tensor(self, spec: New) -> Any:
        value, aval = self.outputs[spec.output]
        tensor = self.made[spec.ident] = new_handle(value, aval)
        if spec.node == "leaf":
            tensor._node = Leaf(tensor)
        elif spec.node == "tape":
            tensor._node = self.tape(spec.output)
        if spec.view is not None:
            self.views.append((tensor, *spec.view))
        return tensor

    def link(self) -> None:
        """Make views of what eager code returns as views."""
        for tensor, base, method, step in self.views:
            if type(step) is MovedStep:
                step = step.now(self.inputs)
            parent = self.made[base] if isinstance(base, int) else self.build(base)
            linked(tensor, parent, method, step)


def on_their_own(specs: list[Any], hidden: Callable[[int], New]) -> list[Any]:
    """The recipes with no link from a view to a base that nobody can see, where there is nothing to
    share; a base of several views that nobody holds is made as well, by its recipe (`hidden`)."""
    made: dict[int, New] = {}
    for spec in specs:
        _tensors(spec, made)
    bases = Counter(s.view[0] for s in made.values() if s.view is not None)
    alone = {base for base, count in bases.items() if count == 1 and base not in made}
    shared: dict[int, New] = {
        base: hidden(base)
        for base in bases
        if isinstance(base, int) and base not in made and base not in alone
    }
    return [_on_its_own(spec, alone, shared) for spec in specs]


def _tensors(spec: Any, made: dict[int, New]) -> None:
    """The tensors that a recipe makes, by identity."""
    if type(spec) is New:
        made[spec.ident] = spec
    elif type(spec) is Box:
        for item in spec.items:
            _tensors(item, made)


def _on_its_own(spec: Any, alone: Set[Any], shared: dict[int, New]) -> Any:
    """A recipe whose views have no base in `alone`, and for those in `shared` a recipe of it."""
    if type(spec) is Box:
        items = tuple([_on_its_own(item, alone, shared) for item in spec.items])
        return spec._replace(items=items)
    if type(spec) is not New or spec.view is None or isinstance(spec.view[0], Known):
        return spec
    base, *step = spec.view
    if base in shared:
        return spec._replace(view=(shared[base], *step))
    return spec._replace(view=None) if base in alone else spec
