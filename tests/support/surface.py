"""Files that say what is public, made of the marks at the functions: `python tests/support/surface.py`.

The typed stubs (functions of `hybrid`, `hybrid.linalg` and the like, `hybrid.nn.functional`, methods of Tensor)
and docs/ops.md are written from `hybrid.ops.base.surface.SURFACE`; `--check` only compares.
Invariant: the same package gives the same text, whatever machine and interpreter it runs on.
"""

from __future__ import annotations

import ast
import inspect
import sys
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from hybrid.core import dtypes as dt  # noqa: E402
from hybrid.core.aval import aval  # noqa: E402
from hybrid.eager.methods import COMPARISONS, CONVERSIONS, IN_PLACE  # noqa: E402
from hybrid.ir.numpys import takes_out, universal  # noqa: E402
from hybrid.ir.op import NO_GRAD, OPS, MapOp, Op  # noqa: E402
from hybrid.ops.base.surface import SPACES, SURFACE, Public  # noqa: E402

COMMAND = "python tests/support/surface.py"
FUNCTIONAL = "hybrid.nn.functional"
HEADER = f'"""Made by `{COMMAND}` from the marks at the functions: do not edit."""\n'
PREAMBLE = """
import builtins
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

"""
LOOP = """
from typing import TypedDict
from typing_extensions import Unpack

class Loop(TypedDict, total=False):
    where: Any
    dtype: Any
    casting: str
    order: str
    subok: bool

"""
KNOWN = {"Any", "np", "Sequence", "Iterable", "Iterator", "Mapping", "Callable", "Tensor", "None"}
PLAIN = {"int", "float", "bool", "str", "tuple", "list", "dict", "object", "slice", "type"}
OF_LOOPS = {"where", "dtype", "casting", "order", "subok"}
LOOPS = "**loop: Unpack[Loop]"
ERRORS = {"linalg": ("LinAlgError",)}  # what a module has beside functions
SIMPLE = (bool, int, float, str, type(None))


# ---- signatures as text
class _Resolved(ast.NodeTransformer):
    """An annotation with the aliases of its module written out: a parameter `Tensor` is whatever
    `hybrid.asarray` takes."""

    def __init__(self, space: dict[str, Any], parameter: bool) -> None:
        self.space, self.parameter = space, parameter

    def visit_Name(self, node: ast.Name) -> ast.AST:  # noqa: N802  (the visitor's protocol)
        if node.id == "Tensor" and self.parameter:
            return ast.Name("ArrayLike")
        if node.id in KNOWN or node.id == "Generator":
            return node
        if node.id in PLAIN:
            return ast.Attribute(ast.Name("builtins"), node.id)
        value = self.space.get(node.id)
        if value is Any:
            return ast.Name("Any")
        if isinstance(value, types.GenericAlias | types.UnionType):
            return self.visit(ast.parse(repr(value), mode="eval").body)
        if isinstance(value, type) and issubclass(value, tuple):
            return ast.parse("builtins.tuple[Tensor, ...]", mode="eval").body
        return ast.Name("Any")


def annotation(said: Any, space: dict[str, Any], parameter: bool) -> str:
    """An annotation as the stubs write it."""
    if said is inspect.Parameter.empty:
        return "ArrayLike" if parameter else "Any"
    text = said if isinstance(said, str) else getattr(said, "__name__", "Any")
    return ast.unparse(_Resolved(space, parameter).visit(ast.parse(text, mode="eval").body))


def _default(value: Any) -> str:
    plain = isinstance(value, SIMPLE) and value == value and repr(value).strip("-") != "inf"
    return repr(value) if plain or value == () else "..."


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters; a record without a flat function has the inputs of its body."""
    found = list(inspect.signature(function).parameters.values())
    op = getattr(function, "op", None)
    if isinstance(op, Op) and found[0].kind is inspect.Parameter.VAR_POSITIONAL and op.nin:
        assert op.body is not None
        names = op.body.__code__.co_varnames[1 : 1 + op.nin]
        return [inspect.Parameter(n, inspect.Parameter.POSITIONAL_ONLY) for n in names]
    return found


def definition(name: str, function: Callable[..., Any], owner: str = "") -> str:
    """The stub of a function; of a method where `owner` is "self" """
    space = getattr(inspect.unwrap(function), "__globals__", {})
    parts: list[str] = []
    parameters = _parameters(function)
    kinds = [p.kind for p in parameters]
    loops = not OF_LOOPS - {p.name for p in parameters}
    for place, p in enumerate(parameters):
        if p.kind is p.KEYWORD_ONLY and kinds.index(p.kind) == place:
            parts += ["*"] if p.VAR_POSITIONAL not in kinds else []
        star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        text = f"{star}{p.name}: {annotation(p.annotation, space, True)}"
        if owner and not place:
            text = owner
        if loops and p.name in OF_LOOPS:
            continue
        if p.name == "out" and p.annotation is p.empty:
            text = "out: Any"
        if p.default is not p.empty:
            text += f" = {_default(p.default)}"
        parts.append(text)
        last = place + 1 == len(parameters) or kinds[place + 1] is not p.POSITIONAL_ONLY
        if p.kind is p.POSITIONAL_ONLY and last:
            parts.append("/")
    names = {p.name for p in parameters}
    if takes_out(name) and names.isdisjoint(["out", "generator"]):  # the guard around it has that
        lone = {p.VAR_POSITIONAL, p.KEYWORD_ONLY}.isdisjoint(kinds)
        tail = parts.pop() if p.VAR_KEYWORD in kinds else ""
        parts += [*(["*"] if lone else []), "out: Any = None", *([tail] if tail else [])]
        loops = loops or universal(name, function.__module__) is not None
    parts += [LOOPS] if loops else []
    said = inspect.signature(function).return_annotation
    result = "Tensor" if isinstance(getattr(function, "op", None), Op) else ""
    result = result or annotation(said, space, False)
    first = (function.__doc__ or "").strip().partition("\n\n")[0]
    return _function(name, parts, result, " ".join(first.split()))


def _function(name: str, parts: list[str], result: str, doc: str, mark: str = "") -> str:
    """The lines of one stub, at most 100 columns where they can be."""
    head = f"def {name}({', '.join(parts)}) -> {result}:"
    if len(head) > 92:
        head = f"def {name}(\n    {(',' + chr(10) + '    ').join(parts)},\n) -> {result}:"
    doc = doc.replace("\\", "\\\\").replace('"""', "'''")
    body = f'    """{doc}"""' if doc and not mark else ""
    return f"{head}{mark}\n{body}\n" if body else f"{head} ...{mark}\n"


def _once(rows: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return sorted(dict(rows).items())


def functions() -> str:
    """hybrid/ops/typed.pyi: what `hybrid` has of ops."""
    rows = _once((n, row.function) for row in SURFACE for n in row.hybrid)
    classes = [n for n, value in rows if isinstance(value, type)]
    text = HEADER + PREAMBLE
    text += "from ..eager.tensor import Tensor as Tensor\n"
    text += "".join(_imported(n, value, ".") for n, value in rows if n in classes) + LOOP
    text += "\nArrayLike: TypeAlias = Any  # what hybrid.asarray takes\n"
    text += "__all__ = [\n" + "".join(f'    "{n}",\n' for n, _ in rows) + "]\n\n"
    return text + "\n".join(definition(n, f) for n, f in rows if n not in classes)


def _imported(name: str, value: Any, dots: str) -> str:
    module = value.__module__.removeprefix("hybrid.ops.")
    return f"from {dots}{module} import {name} as {name}\n"


def namespace(space: str) -> str:
    """hybrid/<space>.pyi, for each of SPACES."""
    rows = _once((n, row) for row in SURFACE for n in getattr(row, space))
    shared = [n for n, row in rows if n in row.hybrid]
    text = HEADER + PREAMBLE
    text += "from .eager.tensor import Tensor\n"
    text += "".join(f"from .core.errors import {n} as {n}\n" for n in ERRORS.get(space, ()))
    text += "".join(f"from .ops.typed import {n} as {n}\n" for n in shared)
    text += "\nArrayLike: TypeAlias = Any  # what hybrid.asarray takes\n\n"
    return text + "\n".join(definition(n, row.function) for n, row in rows if n not in shared)


def functional() -> str:
    """hybrid/nn/typed.pyi: what `hybrid.nn.functional` has of ops."""
    rows = _once((n, row) for row in SURFACE for n in row.functional if row.family != FUNCTIONAL)
    text = HEADER + "\n"
    text += "".join(f"from ..ops.typed import {n} as {n}\n" for n, row in rows if n == row.name)
    return text + "".join(f"\n{n} = {row.name}\n" for n, row in rows if n != row.name)


# ---- Tensor
def _operators(name: str, function: Callable[..., Any]) -> list[str]:
    """The stubs of one operator with its reflected and in-place forms."""
    if name in COMPARISONS:
        mark = "  # type: ignore[override]" if name in ("eq", "ne") else ""
        return [_function(f"__{name}__", ["self", "other: Any", "/"], "Tensor", "", mark)]
    if name not in IN_PLACE:
        text = definition(f"__{name}__", function, "self")
        return [text.partition('\n    """')[0] + " ...\n" if '"""' in text else text]
    forms = [f"__{name}__", f"__r{name}__", f"__i{name}__"]
    return [_function(n, ["self", "other: Any", "/"], "Tensor", "") for n in forms]


def methods() -> str:
    """hybrid/eager/typed.pyi: the methods of Tensor that are ops."""
    found: dict[str, str] = {}
    operators: dict[str, list[str]] = {}
    for row in SURFACE:
        for n in row.method:
            found[n] = definition(n, row.function, "self")
        for n in row.inplace:
            doc = f"`{row.name}` whose result this tensor takes; returns self."
            found[n] = _function(n, ["self", "*args: Any", "**kwargs: Any"], "Tensor", doc)
        for n in row.operator:
            operators[n] = _operators(n, row.function)
    for n, d in CONVERSIONS.items():
        found[n] = _function(n, ["self"], "Tensor", f"Elements as {d.name}.")
    lines = [found[n] for n in sorted(found)]
    lines += [
        "@property\n" + _function(n, ["self"], "Tensor", "") for n in ("T", "mT", "imag", "real")
    ]
    lines += [text for n in sorted(operators) for text in operators[n]]
    body = "\n".join(lines).replace("\n", "\n    ").replace("\n    \n", "\n\n")
    text = HEADER + PREAMBLE
    text += (
        "from ..ir.tensor import Handle\nfrom ..ops.typed import Loop\nfrom .tensor import Tensor\n"
    )
    text += "from typing_extensions import Unpack\n"
    text += "\nArrayLike: TypeAlias = Any  # what hybrid.asarray takes\n\n"
    return text + "class TensorMethods(Handle):\n    " + body.rstrip() + "\n"


# ---- docs/ops.md
KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float", "c": "complex"}
INTRO = f"""# The ops

Every public function of arrays, made by `{COMMAND}` from the marks at the functions.

A function with a record of its own says what the record says. **accepts**: the kinds of dtype that its
operands may have after promotion (bool, int, uint, float, complex). **result**: the dtype of the result.
**error**: a bound on the distance from the true value in units of the last place, for float32 and
float64 (half types are computed in float32 and rounded once); *in order* is a sum of products in the
fixed order of the numerics contract. **gradient**: whether it has one. *composed*: a function of other
ops; what it accepts, its error and its gradient are theirs.

**also** lists a Tensor method (`.exp()`), a method whose result the tensor takes (`.exp_()`), an
operator, `F` for `hybrid.nn.functional`, and `linalg` and the like for `hybrid.linalg`.
"""
SIGNS = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "matmul": "@", "lshift": "<<", "rshift": ">>", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
    "eq": "==", "ne": "!=", "neg": "-x", "pos": "+x", "abs": "abs(x)",
}  # fmt: skip


def record_of(row: Public) -> Op | None:
    """The record behind a public function: its own, or the only one that its code names."""
    op = getattr(row.function, "op", None)
    if isinstance(op, Op) or isinstance(row.function, type):
        return op
    code, space = row.function.__code__, row.function.__globals__
    named = [space[n] for n in code.co_names if isinstance(space.get(n), Op)]
    behind = [o for o in map(lambda n: getattr(space.get(n), "op", None), code.co_names) if o]
    if len(named) == 1 and not behind:
        return named[0]
    same = OPS.get(row.name)
    return same if same in named + behind else None


def _result(op: Op) -> str:
    if isinstance(op, MapOp) and op.result != "same":
        return {"bool": "bool", "int": "int64", "float": "float"}[op.result]
    if op.kind == "map" or op.samples is None:
        return "same"
    arrays, params = next(iter(op.samples(np.random.default_rng(0))))
    ins = [aval(a.shape, dt.float32 if a.dtype.kind == "f" else a.dtype) for a in arrays]
    params = {k: dt.float32 if v is dt.float64 else v for k, v in params.items()}
    outs = op.infer(*ins, **params)
    names = [("same" if ins and o.dtype is ins[0].dtype else o.dtype.name) for o in outs]
    return names[0]


def _error(op: Op) -> str:
    if op.kind in ("view", "place", "scatter"):
        return "exact"
    truth = isinstance(op, MapOp) and op.result == "bool"
    if truth or "f" not in op.accepts or not op.ulp or op.has("pure_copy"):
        return "exact"
    return f"{op.ulp:g}" if op.kind in ("map", "row") else "in order"


def _columns(row: Public) -> list[str]:
    """accepts, result, error, gradient"""
    op = record_of(row)
    if op is None:
        return ["", "", "*composed*", ""]
    taken = op.accepts + ("c" if op.on_complex or op.kind in ("view", "place") else "")
    accepts = ", ".join(KINDS[k] for k in KINDS if k in taken)
    return [accepts, _result(op), _error(op), "no" if op.vjp is NO_GRAD else "yes"]


def _also(row: Public) -> str:
    said = [f"`.{n}()`" for n in row.method + row.inplace]
    said += [f"`{SIGNS.get(n, n)}`" for n in row.operator]
    said += [f"`F.{n}`" for n in row.functional]
    said += [f"`{s}.{n}`" for s in SPACES for n in getattr(row, s) if row.hybrid]
    return " ".join(said)


def _shown(row: Public) -> tuple[str, tuple[str, ...]]:
    """Where a function is first of all, and its names there."""
    places = {
        "hybrid.": row.hybrid,
        **{f"hybrid.{space}.": getattr(row, space) for space in SPACES},
        "F.": row.functional,
        "Tensor.": row.method,
    }
    return next(((place, names) for place, names in places.items() if names), ("", ()))


def table(rows: list[Public]) -> str:
    """One family."""
    lines = ["| function | also | accepts | result | error | gradient | what it gives |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in rows:
        place, names = _shown(row)
        lead = place.removeprefix("hybrid.")
        shown = ", ".join(f'<a id="{lead}{n}"></a>`{place}{n}`' for n in names)
        doc = " ".join((row.function.__doc__ or "").strip().partition("\n\n")[0].split())
        also = "" if names in (row.method, row.functional) and not row.hybrid else _also(row)
        lines.append(
            "| " + " | ".join([shown, also, *_columns(row), doc.replace("|", "\\|")]) + " |"
        )
    return "\n".join(lines) + "\n"


def ops_page() -> str:
    """docs/ops.md: one row per public function, by family."""
    families: dict[str, list[Public]] = {}
    for row in SURFACE:
        if _shown(row)[1]:
            families.setdefault(row.family, []).append(row)
    text = INTRO
    for name in sorted(families, key=lambda name: (not name.startswith("hybrid.ops."), name)):
        rows = sorted(families[name], key=lambda row: _shown(row)[1])
        about = (sys.modules[name].__doc__ or "").partition("\n")[0]
        title = name.removeprefix("hybrid.ops.").removeprefix("hybrid.").replace(".", ": ")
        text += f"\n## {title}\n\n{about}\n\n{table(rows)}"
    return text


# ---- the files
def files() -> dict[str, str]:
    """Path under the root -> what it should say."""
    return {
        "hybrid/ops/typed.pyi": functions(),
        **{f"hybrid/{space}.pyi": namespace(space) for space in SPACES},
        "hybrid/nn/typed.pyi": functional(),
        "hybrid/eager/typed.pyi": methods(),
        "docs/ops.md": ops_page(),
    }


def stale() -> list[str]:
    """The files that say something else."""
    said = files()
    return [
        path
        for path, text in said.items()
        if not (ROOT / path).exists() or (ROOT / path).read_text() != text
    ]


def main() -> None:
    old = stale()
    if "--check" in sys.argv:
        sys.exit(f"run `{COMMAND}`: {', '.join(old)}" if old else 0)
    for path in old:
        (ROOT / path).write_text(files()[path])
        print(path)


if __name__ == "__main__":
    main()
