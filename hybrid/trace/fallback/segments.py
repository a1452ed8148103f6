"""Native code of the segments that Deferred mode collects, per function.

Invariant: a segment is computed by a plan of exactly its ops, or by their eager kernels; the bits
are the same.  One that was met once runs its kernels, at the second sight it is compiled; another
number in a place of a Python number makes that place an input, so numbers never compile again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...core import signals
from ...core.cache import Bounded, keep
from ...ir.door.pending import LITERAL, OUTPUT, Bundle, Segment, computed
from ...ir.graph.graph import Const, Graph, Node, Value
from .bundles import Bundles
from .parts import Parts
from .value_plans import value_plan

__all__ = ["Segments", "Compiled"]

MOST_SEGMENTS = 256  # kept per function
MOST_WORDS = 1 << 17  # of the code of all of them
MOST_QUICK = 64  # segments that are found at once
MOST_UNPAID = 8  # compilations of a function before native runs have to pay for further ones
PAYS = 4  # native runs that pay for one compilation
MOST_PLANS = 4  # of one segment: other results are held, other numbers


class Compiled:
    """A plan of a segment for some held results; literals in `open` are inputs."""

    __slots__ = ("held", "open", "bits", "plan")

    def __init__(
        self, segment: Segment, held: tuple[int, ...], opened: frozenset[int], bits: tuple[Any, ...]
    ) -> None:
        self.held, self.open = held, tuple(sorted(opened))
        self.bits = bits
        self.plan = value_plan(graph_of(segment, held, self.open), segment.device)

    def fits(self, bits: tuple[Any, ...]) -> bool:
        """Whether literals with these bits are the ones that were compiled in."""
        return self.bits == tuple([None if k in self.open else b for k, b in enumerate(bits)])

    def run(self, segment: Segment, held: tuple[int, ...]) -> list[Any]:
        """Values of held results, which may be some of its own."""
        values = [value for value, _ in segment.inputs]
        values += [segment.literals[k][0] for k in self.open]
        made = self.plan.run(values)
        if held == self.held:
            return made
        found = dict(zip(self.held, made))
        return [found[number] for number in held]


def graph_of(segment: Segment, held: Sequence[int], opened: Sequence[int]) -> Graph:
    """The ops of a segment that its held results need."""
    inputs = [Value(aval) for _, aval in segment.inputs]
    literals = [
        Value(aval) if k in opened else Const(aval, data)
        for k, (_, aval, data) in enumerate(segment.literals)
    ]
    values: dict[int, Value] = {~j: value for j, value in enumerate(inputs)}
    values |= {LITERAL + k: literal for k, literal in enumerate(literals)}
    nodes = []
    for number, resolved, references in segment.ops():
        operands = [values[reference] for reference in references]
        node = Node(resolved.op, resolved.params, operands, resolved.outs)
        nodes.append(node)
        for index, output in enumerate(node.outputs):
            values[number + index * OUTPUT] = output
    return Graph([*inputs, *[literals[k] for k in opened]], nodes, [values[n] for n in held])


class Met:
    """What is known of segments of the same ops on the same operands."""

    __slots__ = ("bits", "open", "plans", "held", "broken", "words", "again")

    def __init__(self, bits: tuple[Any, ...], held: tuple[int, ...], words: int) -> None:
        self.bits, self.held, self.words = bits, held, words  # of the first
        self.again = False  # met more than once
        self.open: frozenset[int] = frozenset()  # literals that were seen to change
        self.plans: list[Compiled] = []
        self.broken = False  # it cannot be compiled


class Segments:
    """The segments of one function; the least recently used ones go."""

    def __init__(self, make: Callable[[Callable[..., Any]], Any] | None = None) -> None:
        self.parts = None if make is None else Parts(make)
        self.met = Bounded[Met](MOST_SEGMENTS, MOST_WORDS, lambda met: met.words)
        # by code, held results and literals: the plan, and what keeps the literals' ids theirs
        self.quick: dict[Any, tuple[Compiled, list[Any]]] = {}
        self.bundles = Bundles()
        self.compilations = self.runs = self.native = self.fresh = 0

    @property
    def news(self) -> int:
        """A number that moves while calls meet what they have not met before."""
        return self.fresh + self.compilations + (0 if self.parts is None else self.parts.news)

    def values(self, segment: Segment, held: tuple[int, ...]) -> Sequence[Any]:
        """Values of held results of a segment."""
        if not held:
            return ()
        self.runs += 1
        code = tuple(segment.code)
        quick = code, held, tuple([id(data) for _, _, data in segment.literals])
        found = self.quick.get(quick)
        compiled = None if found is None else found[0]
        if compiled is None:
            if segment.learns:
                self.fresh += 1
                return computed(segment, held)
            if len(code) == 1 + len(code[0].ins) and type(code[0]) is not Bundle:
                return computed(segment, held)
            compiled = self._compiled(segment, code, held)
            if compiled is None:
                return computed(segment, held)
            literals = [data for _, _, data in segment.literals]  # alive, so ids are theirs
            keep(self.quick, quick, (compiled, literals), MOST_QUICK)
        try:
            values = compiled.run(segment, held)
        except Exception as error:  # no memory, say
            if signals.foreign(error):
                raise
            values = None
        if values is None:
            return computed(segment, held)
        self.native += 1
        return values

    def _compiled(
        self, segment: Segment, code: tuple[Any, ...], held: tuple[int, ...]
    ) -> Compiled | None:
        key = (segment.device, len(segment.inputs), code)
        bits = tuple([data.tobytes() for _, _, data in segment.literals])
        met = self.met.of(key, lambda: Met(bits, held, len(segment.code)))
        if not met.again:
            met.again = True
            self.fresh += 1
            return None
        for compiled in met.plans:
            if compiled.held == held and compiled.fits(bits):
                return compiled
        for compiled in met.plans:  # one that computes more than is held
            if set(held) <= set(compiled.held) and compiled.fits(bits):
                return compiled
        if met.broken or self.compilations >= MOST_UNPAID + self.native // PAYS:
            return None
        return self._compile(segment, held, bits, met)

    def _compile(
        self, segment: Segment, held: tuple[int, ...], bits: tuple[Any, ...], met: Met
    ) -> Compiled | None:
        changed = {k for k, (old, new) in enumerate(zip(met.bits, bits)) if old != new}
        if not changed <= met.open:
            # numbers that change twice are all taken for numbers that change
            met.open = frozenset(range(len(bits))) if met.open else frozenset(changed)
        if met.plans:  # other results than before: what any of them needs
            held = tuple(sorted({*held, *met.plans[0].held}))
        shown = tuple([None if k in met.open else b for k, b in enumerate(bits)])
        try:
            compiled = Compiled(segment, held, met.open, shown)
        except Exception as error:
            if signals.foreign(error):
                raise
            met.broken = True
            return None
        self.compilations += 1
        met.plans = [compiled, *met.plans][:MOST_PLANS]
        return compiled
