"""Random functions of random nested arguments with numbers in them: results, places and arguments
are those of plain Python, also where one container is given twice.
"""

from __future__ import annotations

import dataclasses
import random
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

import hybrid as hb
from hybrid.decorator import function

pytestmark = pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly")
PROGRAMS, CALLS = 40, 18
X = hb.tensor(np.linspace(-1, 1, 3).astype("f4"))
Space = types.SimpleNamespace
HOLDER = Space(last=None, log=[])


class Pair(NamedTuple):
    a: Any
    b: Any


@dataclasses.dataclass(frozen=True)
class Frozen:
    a: Any
    b: Any


@dataclasses.dataclass
class Loose:
    a: Any
    b: Any


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a: Any, b: Any) -> None:
        self.a, self.b = a, b


KINDS: dict[str, Any] = {
    "dict": lambda a, b: {"a": a, "b": b},
    "tuple": lambda a, b: (a, b),
    "list": lambda a, b: [a, b],
    "pair": Pair,
    "frozen": Frozen,
    "loose": Loose,
    "space": lambda a, b: Space(a=a, b=b),
    "slots": Slotted,
}
NUMBERS: dict[str, Any] = {"float": 0.37, "int": 1, "constant": None}


def shape_of(pick: random.Random, depth: int = 0) -> Any:
    """What an argument is made of: a word, or a kind and two parts."""
    kinds = [*KINDS] if depth == 0 else ["leaf", "leaf", *(KINDS if depth < 3 else ())]
    kind = pick.choice(kinds)
    if kind == "leaf":
        return pick.choice([*NUMBERS, "float", "int", "tensor"])
    return kind, shape_of(pick, depth + 1), shape_of(pick, depth + 1)


def built(shape: Any, pick: random.Random) -> Any:
    number = pick.randrange(-3, 9)
    if shape == "tensor":
        return X * 1.0
    if type(shape) is str:
        return 2.5 if NUMBERS[shape] is None else number * NUMBERS[shape]
    return KINDS[shape[0]](built(shape[1], pick), built(shape[2], pick))


def paths(shape: Any, place: str) -> Iterator[tuple[str, str]]:
    """(kind, expression) of all that is in an argument."""
    kind = shape if type(shape) is str else shape[0]
    yield kind, place
    if type(shape) is not str:
        for k, name in enumerate("ab"):
            step = {"dict": f'["{name}"]', "tuple": f"[{k}]", "list": f"[{k}]"}.get(
                kind, f".{name}"
            )
            yield from paths(shape[1 + k], place + step)


def inner(x: Any, number: Any, other: Any) -> Any:
    return x * 0.5 + number


def source_of(pick: random.Random, shapes: list[Any]) -> str:
    """A function of arguments of these shapes, as text."""
    found = [pair for k, shape in enumerate(shapes) for pair in paths(shape, f"g{k}")]
    numbers = [place for kind, place in found if kind in NUMBERS] or ["1.5"]
    leaves = [place for kind, place in found if kind in NUMBERS or kind == "tensor"]
    boxes = [(kind, place) for kind, place in found if kind in KINDS]
    lines, results = ["x = X * 1.0", "found = []"], ["x", "found"]
    for n in range(pick.randrange(2, 6)):
        p, q, (kind, box) = pick.choice(numbers), pick.choice(leaves), pick.choice(boxes)
        changed = {
            "pair": f"{box}._replace(a={p} * 2)",
            "frozen": f"dataclasses.replace({box}, b={p} + 1)",
            "loose": f"dataclasses.replace({box}, b={p} + 1)",
            "dict": f'{{**{box}, "c": {p}}}',
            "tuple": box,
            "list": f"[w for w in {box}]",
        }.get(kind, f"{p} - 1")
        made = pick.choice(["Pair", "Frozen", "Loose"])
        values = [f"{p} + 1", changed, f"{made}({p}, x)", f"Space(a={p} * 2, b={q})"]
        values += [f"f'{{{p}}}'", f"[x * {p} for _ in range(2)]", f"inner(x, {p}, {q})"]
        acts = [f"x = x * 0.5 + {p}", f"x = x + {q} * {p}", f"if {p} > 1: x = x * 2"]
        acts += [f"HOLDER.last = {p}", f"HOLDER.last = Pair({p}, 2.5)", f"HOLDER.log.append({p})"]
        if pick.random() < 0.5:
            lines.append(pick.choice(acts))
        else:
            lines.append(f"v{n} = {pick.choice(values)}")
            results.append(f"v{n}")
    given = ", ".join(f"g{k}" for k in range(len(shapes)))
    body = "\n    ".join([*lines, f"return {', '.join(results)}"])
    return f"def body({given}):\n    {body}\n"


def bits(value: Any) -> Any:
    if isinstance(value, hb.Tensor):
        return value.numpy().tobytes()
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [bits(v) for v in value]
    if isinstance(value, dict):
        return [(k, bits(v)) for k, v in value.items()]
    if isinstance(value, (Frozen, Loose, Space, Slotted)):
        return type(value).__name__, bits([getattr(value, n) for n in "ab"])
    return type(value).__name__, repr(value)


@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_as_plain_python(seed: int) -> None:
    pick = random.Random(seed)
    shapes = [shape_of(pick) for _ in range(pick.choice([1, 1, 2]))]
    shapes[1:] = shapes[:1] if len(shapes) == 2 and pick.random() < 0.4 else shapes[1:]
    source, space = source_of(pick, shapes), dict(globals())
    exec(source, space)
    body, shares = space["body"], len(shapes) == 2 and shapes[0] == shapes[1]
    traced = function(body)
    for k in range(CALLS):
        outcomes = []
        for run in (traced, body):
            values = random.Random(seed * 1000 + k)
            given = [built(shape, values) for shape in shapes]
            given = given[:1] * 2 if shares and k % 3 == 0 else given
            HOLDER.last, HOLDER.log = None, [0]
            result = run(*given)
            outcomes.append([bits(v) for v in (result, HOLDER.last, HOLDER.log, given)])
        assert outcomes[0] == outcomes[1], (k, source)
