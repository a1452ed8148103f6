"""One plan for graphs that differ in sizes only: made once, filled in for each of them.

Two graphs of one shape show which numbers change together; the pipeline and the generators then run
once on extents in their place.  Invariant: a filled plan is the one that the pipeline makes of the
graph, since the pipeline would learn the same of its numbers; where it would not, there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..core.aval import Aval, aval
from ..core.cache import keep
from ..core.extents import Atom, Extent, Following, Unsized, taken
from ..ir.graph.graph import Const, Graph, Node, Value, literal_key, param_key

__all__ = ["SizedPlan", "form_of", "numbers_of"]

Make = Callable[[Graph], Any]  # a graph -> what is made of it: tuples all the way down
LEAVES = (str, bytes, int, float, complex, type(None))


def numbers_of(graph: Graph) -> list[int]:
    """The whole numbers in a graph: of shapes and parameters, in order."""
    found: list[int] = []
    for value in graph.inputs:
        found += value.aval.shape
    for node in graph.nodes:
        for param in node.params.values():
            _numbers(param, found)
        for value in node.outputs:
            found += value.aval.shape
    return found


class SizedConst(Const):
    """A number of type `aval` whose bits are others for other sizes: an extent."""

    __slots__ = ("number", "sample")
    known = False

    def __init__(self, sample: Const, number: Any) -> None:
        Value.__init__(self, sample.aval)
        self.number, self.sample = number, sample.data

    @property
    def data(self) -> Any:  # type: ignore[override]
        """This time's: whoever looks at it depends on the size."""
        int(self.number)
        return self.sample

    def bits(self) -> Any:
        return self.number

    def content(self) -> Any:
        return SizedConst, self.number


def literals_of(graph: Graph) -> list[Const]:
    """The literals in a graph, in order."""
    values = [value for node in graph.nodes for value in node.inputs] + list(graph.outputs)
    return [value for value in values if isinstance(value, Const)]


def _may_vary(literal: Const, other: Const) -> bool:
    """Whether two literals are numbers of one type that a kernel gets as run-time scalars."""
    return literal.aval is other.aval and not literal.aval.shape and literal.aval.nbytes <= 8


def form_of(graph: Graph) -> tuple[Any, ...]:
    """All of a graph but its whole numbers and what its literals hold."""
    places: dict[Value, int] = {value: number for number, value in enumerate(graph.inputs)}
    form: list[Any] = [(v.aval.dtype, v.aval.ndim, v.aval.device) for v in graph.inputs]
    for node in graph.nodes:
        operands = tuple([places.get(value, -1) for value in node.inputs])
        params = tuple([(name, _unnumbered(value)) for name, value in node.params.items()])
        form.append(
            (node.op, operands, params, [(v.aval.dtype, v.aval.ndim) for v in node.outputs])
        )
        for value in node.outputs:
            places[value] = len(places)
    form.append([places.get(value, -1) for value in graph.outputs])
    return tuple(form)


def _unnumbered(value: Any) -> Any:
    if type(value) is int:
        return int
    return tuple(map(_unnumbered, value)) if type(value) is tuple else param_key(value)


def _numbers(value: Any, found: list[int]) -> None:
    if type(value) is int:
        found.append(value)
    elif type(value) is tuple:
        for item in value:
            _numbers(item, found)


def _with(value: Any, numbers: Iterator[Any]) -> Any:
    """A parameter with other numbers."""
    if type(value) is int:
        return next(numbers)
    return tuple([_with(item, numbers) for item in value]) if type(value) is tuple else value


def _graph_with(graph: Graph, numbers: Iterator[Any], literals: Iterator[Const]) -> Graph:
    """The graph with other numbers in the places of those that `numbers_of` finds, and these
    literals in the place of its own."""

    def record(known: Aval) -> Aval:
        return aval(tuple([next(numbers) for _ in known.shape]), known.dtype, known.device)

    values: dict[Value, Value] = {v: Value(record(v.aval)) for v in graph.inputs}
    nodes = []
    for node in graph.nodes:
        params = {name: _with(value, numbers) for name, value in node.params.items()}
        given = [next(literals) if isinstance(v, Const) else values[v] for v in node.inputs]
        made = Node(node.op, params, given, [record(v.aval) for v in node.outputs], node.site)
        nodes.append(made)
        values.update(zip(node.outputs, made.outputs))
    outputs = [next(literals) if isinstance(v, Const) else values[v] for v in graph.outputs]
    return Graph(graph.inputs and [values[v] for v in graph.inputs], nodes, outputs, graph.names)


def _multiple(symbols: dict[tuple[int, int], int], old: int, new: int) -> tuple[int, int]:
    """(a symbol, the multiple of it) that a pair of numbers is; a symbol of its own if need be."""
    for (before, now), number in symbols.items():
        if before and old % before == 0 and old // before * now == new:
            return number, old // before
    return symbols.setdefault((old, new), len(symbols)), 1


_UNASKED = object()


class SizedPlan:
    """What `make` gives for graphs like two that differ in sizes.  Raises Unsized where it does not
    work with extents."""

    def __init__(self, first: Graph, second: Graph, make: Make) -> None:
        before, now = numbers_of(first), numbers_of(second)
        self.form = form_of(second)
        if form_of(first) != self.form:
            raise Unsized("graphs that differ in more than numbers")
        symbols: dict[tuple[int, int], int] = {}
        # of each number: which symbol it is a multiple of (-1: of 1), and which multiple
        self.places, self.factors = list[int](), list[int]()
        for old, new in zip(before, now):
            place, factor = (-1, new) if old == new else _multiple(symbols, old, new)
            self.places.append(place)
            self.factors.append(factor)
        self.least = [2 if min(pair) >= 2 else None for pair in symbols]
        following = Following()
        inputs = [following.input(new, low) for (_, new), low in zip(symbols, self.least)]
        self.literals = SizedLiterals(first, second)
        constants = self.literals.followed(following)
        with following:
            placed = [x if k < 0 else inputs[k] * x for k, x in zip(self.places, self.factors)]
            made = make(_graph_with(second, iter(placed), constants))
        self.count = len(symbols)
        # whether it is for more than one size
        self.general = not any(
            truth and symbol == "==" and _of_inputs(following, terms)
            for (symbol, terms), truth in following.conditions.items()
        )
        self._fill = FillWriter(following, made).function()
        self._ready: dict[tuple[int, ...], Any] = {}  # what `holds` has made, by size

    def holds(self, avals: Sequence[Aval]) -> bool:
        """Whether graphs whose first inputs have these records are filled in, as far as these
        tell."""
        values = self._values([extent for known in avals for extent in known.shape])
        if values is None or None in values or self.literals.pairs:
            return values is not None
        # `fill` is asked next
        return keep(self._ready, tuple(values), self._filled(values), 1) is not None

    def fill(self, graph: Graph, form: tuple[Any, ...] | None = None) -> Any:
        """What `make` gives for a graph that differs in numbers only, or None where it may be
        something else; `form`: of the graph, if it is known."""
        if (form or form_of(graph)) != self.form:
            return None
        values, bits = self._values(numbers_of(graph)), self.literals.bits_of(graph)
        if values is None or bits is None:
            return None
        values += bits
        made = self._ready.pop(tuple(values), _UNASKED)
        return self._filled(values) if made is _UNASKED else made

    def _filled(self, values: list[Any]) -> Any:
        try:
            return self._fill(*values)
        except Unsized:
            return None

    def _values(self, numbers: list[int]) -> list[Any] | None:
        """Of the symbols, from the first numbers of a graph; None where these do not fit."""
        values: list[Any] = [None] * self.count
        for place, factor, number in zip(self.places, self.factors, numbers):
            if place < 0:
                if number != factor:
                    return None
            elif values[place] is None and factor == 1:
                values[place] = number
            elif values[place] * factor != number:
                return None
        small = [
            v is not None and low is not None and v < low for v, low in zip(values, self.least)
        ]
        return None if any(small) else values


class SizedLiterals:
    """Which literals of two graphs are others for other sizes: `places`: of each, the pair of bits
    that it is, or -1 and its content."""

    def __init__(self, first: Graph, second: Graph) -> None:
        self.second = literals_of(second)
        self.pairs: dict[tuple[int, int], int] = {}
        self.places: list[tuple[int, Any]] = []
        for old, new in zip(literals_of(first), self.second):
            if literal_key(old) == literal_key(new):
                self.places.append((-1, literal_key(new)))
            elif _may_vary(old, new):
                pair = old.bits(), new.bits()
                self.places.append((self.pairs.setdefault(pair, len(self.pairs)), new.aval))
            else:
                raise Unsized("graphs that differ in more than numbers")

    def followed(self, following: Following) -> Iterator[Const]:
        """The literals of the second graph, those that vary as inputs of a computation."""
        numbers = [following.input(new, 0) for _, new in self.pairs]
        found = zip(self.second, self.places)
        return iter([x if k < 0 else SizedConst(x, numbers[k]) for x, (k, _) in found])

    def bits_of(self, graph: Graph) -> list[int] | None:
        """The bits of those that vary; None where another one differs, or they do so otherwise."""
        found, literals = dict[int, int](), literals_of(graph)
        for literal, (pair, known) in zip(literals, self.places):
            if pair < 0:
                if literal_key(literal) != known:
                    return None
            elif literal.aval is not known or found.setdefault(pair, b := literal.bits()) != b:
                return None
        return [found[k] for k in range(len(self.pairs))]


class FillWriter:
    """The text of the function that computes the atoms, checks the conditions, and builds what was
    made."""

    def __init__(self, following: Following, made: Any) -> None:
        self.following = following
        self.space: dict[str, Any] = {"new": tuple.__new__, "record": aval, "numbers": _result}
        self.names: dict[int, str] = {}  # of constants, by id
        self.kept: list[Any] = []
        self.parts: dict[int, str] = {}  # of what is built, by id
        self.changes: dict[int, bool] = {}
        self.lines: list[str] = []
        self.inputs = 0
        self.called: set[int] = set()
        self.written: set[int] = set()
        self.checked: set[Any] = set()
        self._checks(calls=False)
        self._checks(calls=True)
        self.result = self.text(made)

    def function(self) -> Callable[..., Any]:
        """A function of the inputs' values, which gives None where a condition does not hold."""
        inputs = [k for k, atom in enumerate(self.following.atoms) if atom.how == "input"]
        head = f"def fill({', '.join(f'a{k}' for k in inputs)}):"
        source = "\n".join([head, *[f" {line}" for line in self.lines], f" return {self.result}"])
        exec(compile(source, "<hybrid sizes>", "exec"), self.space)  # noqa: S102  (our own text)
        function: Callable[..., Any] = self.space["fill"]
        return function

    # ---- numbers
    def _checks(self, calls: bool) -> None:
        """Conditions, those that need no call first."""
        for (symbol, terms), truth in self.following.conditions.items():
            if (symbol, terms) in self.checked or (self._calls(terms) and not calls):
                continue
            self.checked.add((symbol, terms))
            text = f"{self.polynomial(terms)} {symbol} 0"
            self.lines.append(f"if {'not ' if truth else ''}({text}): return None")

    def _calls(self, number: Any) -> bool:
        """Whether a number comes from a call."""
        atoms = {k for monomial, _ in _terms_of(number) for k in monomial}
        return any(self._atom_calls(k) for k in atoms)

    def _atom_calls(self, number: int) -> bool:
        atom = self.following.atoms[number]
        if atom.how in ("input", "result"):
            return atom.how == "result"
        return any(self._calls(operand) for operand in atom.operands)

    def polynomial(self, terms: Any) -> str:
        """An expression of what is computed by then."""
        texts = []
        for monomial, factor in terms:
            factors = [str(factor)] if factor != 1 or not monomial else []
            texts.append("*".join([*factors, *[self.atom(k) for k in monomial]]))
        return f"({'+'.join(texts)})"

    def number(self, value: Any) -> str:
        return self.polynomial(value.terms) if type(value) is Extent else f"({value})"

    def atom(self, number: int) -> str:
        """The name of an atom, which is computed by then."""
        atom = self.following.atoms[number]
        if atom.how == "result":
            self.call(atom.operands[0])
        elif atom.how != "input" and number not in self.written:
            self.written.add(number)
            left, right = map(self.number, atom.operands)
            self.lines.append(f"a{number} = {left} {atom.how} {right}")
        return f"a{number}"

    def call(self, number: int) -> None:
        """Write a call that is made again; its results are atoms."""
        if number in self.called:
            return
        self.called.add(number)
        function, args, template = self.following.calls[number]
        names = [
            f"a{k}"
            for k, atom in enumerate(self.following.atoms)
            if atom.how == "result" and atom.operands[0] == number
        ]
        target = f"({', '.join(names)},)" if names else "_"
        given = ", ".join([self.text(arg) for arg in args])
        self.lines.append(
            f"{target} = numbers({self.constant(template)}, {self.constant(function)}({given}))"
        )

    # ---- what is built
    def constant(self, value: Any) -> str:
        name = self.names.get(id(value))
        if name is None:
            name = self.names[id(value)] = f"k{len(self.names)}"
            self.space[name] = value
            self.kept.append(value)
        return name

    def text(self, value: Any) -> str:
        """An expression for a value."""
        if type(value) is Extent:
            return self.polynomial(value.terms)
        if not self.has(value):
            return self.constant(value)
        known = self.parts.get(id(value))
        if known is None:
            built = self._built(value)
            known = self.parts[id(value)] = f"p{len(self.parts)}"
            self.kept.append(value)
            self.lines.append(f"{known} = {built}")
        return known

    def _built(self, value: Any) -> str:
        if type(value) is Aval:
            shape = self.text(value.shape)
            return f"record({shape}, {self.constant(value.dtype)}, {self.constant(value.device)})"
        inside = ", ".join([self.text(item) for item in value])
        if type(value) is list:
            return f"[{inside}]"
        plain = f"({inside},)"
        return plain if type(value) is tuple else f"new({self.constant(type(value))}, {plain})"

    def has(self, value: Any) -> bool:
        """Whether there are extents in a value; Unsized where they cannot be replaced."""
        if type(value) is Extent:
            return True
        known = self.changes.get(id(value))
        if known is None:
            self.kept.append(value)
            known = self.changes[id(value)] = self._has(value)
        return known

    def _has(self, value: Any) -> bool:
        if type(value) is Aval:
            return self.has(value.shape)
        if isinstance(value, (tuple, list)):
            return any([self.has(item) for item in value])
        if isinstance(value, dict) and any(map(self.has, (*value, *value.values()))):
            raise Unsized("a dictionary with extents")
        return False


def _of_inputs(following: Following, terms: Any) -> bool:
    atoms: list[Atom] = [following.atoms[n] for monomial, _ in terms for n in monomial]
    return all(atom.how == "input" for atom in atoms)


def _terms_of(number: Any) -> Sequence[Any]:
    if type(number) is Extent:
        return number.terms
    return number if type(number) is tuple else ()


def _result(template: Any, value: Any) -> list[int]:
    found: list[int] = []
    taken(template, value, found)
    return found
