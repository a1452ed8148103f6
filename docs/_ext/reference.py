"""Writes the pages of the reference, from the public names and their docstrings.

Invariant: every public name has an entry, whether or not this file knows it; names that no page
asks for are on the page "Further names".
"""

from __future__ import annotations

import ast
import inspect
import re
import types
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pages import write_page

import hybrid
from hybrid.core.spelling import Missing

ROOT = Path(hybrid.__file__).parent.parent
OPS = ROOT / "hybrid" / "ops"

# pages of names in `hybrid` that are no ops: file, title, introduction, names
PAGES = (
    (
        "data",
        "Data, dtypes, devices",
        "What makes tensors of data, and what a tensor has beside its elements.",
        "tensor asarray from_dlpack result_type finfo iinfo device Device Aval "
        "e inf nan pi newaxis",
    ),
    (
        "gradients",
        "Gradients",
        "Functional forms beside {py:meth}`hybrid.Tensor.backward`, and what the tape follows.",
        "grad value_and_grad gradients vjp stop_gradient custom_gradient no_grad enable_grad "
        "set_grad_enabled",
    ),
    (
        "transforms",
        "Transforms",
        "Functions of functions; they nest in any order, in recorded functions, too.",
        "vmap jvp linearize hvp jacfwd jacrev hessian checkpoint custom_vjp custom_jvp",
    ),
    (
        "control",
        "Branches and loops",
        "Functions in the place of `if`, `for` and `while`, which recorded functions keep as such.",
        "cond switch while_loop fori_loop scan",
    ),
    (
        "tracing",
        "Recorded functions",
        "The decorator, and what a decorated function says of itself.",
        "function Function CacheInfo Version RunsEagerly explain Explanation SourceLine",
    ),
    (
        "looking",
        "Looking inside",
        "Both modes side by side, graphs and kernels, times, intermediate values, the first NaN.",
        "compare Comparison inspect Inspection profile Profile intermediates Intermediate "
        "step_through Steps tap detect_nan NanError debug describe_system",
    ),
    (
        "threads",
        "Threads",
        "How many threads kernels use; results do not depend on it.",
        "get_num_threads set_num_threads num_threads",
    ),
    (
        "precision",
        "Precision of products",
        "Whether float32 products may use tensor cores; on the CPU both settings are the same.",
        "get_matmul_precision set_matmul_precision "
        "get_float32_matmul_precision set_float32_matmul_precision",
    ),
)
TENSOR = """\
A method with the name of a function is that function, with the tensor as its first argument.
Operators, comparisons, indexing and in-place syntax work as in NumPy.  A method whose name ends in
`_` gives this tensor a new value."""
# folders (or files) of ops -> title of their page
TITLES = {
    "elementwise": "Elementwise functions",
    "axes": "Views, reductions, rows",
    "build": "Creation and joining",
    "indexing": "Indexing, sorting, random",
    "products": "Products, convolution, attention",
    "layers": "Normalisation, losses, pooling",
}
BESIDE = ("nn", "nn.functional", "optim", "fft", "linalg", "random", "special", "cuda")
# files of ops -> title of their section, where the file's name is not one
SECTIONS = {
    "along": "Indices along an axis",
    "contract": "Matrix products",
    "create": "Creation",
    "cumulative": "Running sums and products",
    "extremes": "Extremes, all and any",
    "functions": "Elementary functions",
    "gelu": "gelu",
    "generators": "Generators of random numbers",
    "getitem": "Indexing by keys",
    "index": "Indexing by tensors",
    "join": "Joining and writing",
    "likelihood": "Losses of probabilities",
    "logic": "Predicates, comparisons, bits",
    "loss": "Losses",
    "matrices": "Matrices by position",
    "normalize": "Normalisation",
    "pool": "Pooling",
    "positions": "Positions of extremes",
    "random": "Random numbers",
    "reduce": "Sums, products, means",
    "rows": "Softmax, variance, norms",
    "selection": "Selection and conversion",
    "slices": "Slices",
    "sort": "Sorting and sets",
    "trigonometry": "Trigonometric and hyperbolic functions",
    "updates": "Optimizer updates",
    "windows": "Windows and diagonals",
}


class Name(NamedTuple):
    """A public name: the module it is public in, and its object."""

    module: str
    name: str
    value: Any


def is_public(name: str, value: Any) -> bool:
    """Whether a global of a public module is part of the surface."""
    if name.startswith("_") or name in ("annotations", "TYPE_CHECKING"):
        return False
    return not isinstance(value, types.ModuleType)


def space(path: str) -> Any:
    """A public module by its path below hybrid."""
    found = hybrid
    for part in filter(None, path.split(".")):
        found = getattr(found, part)
    return found


def names_of(path: str) -> list[Name]:
    """Every public name of a public module."""
    module = space(path)
    listed = getattr(module, "__all__", None) or [*vars(module)]
    where = module.__name__
    return [Name(where, n, vars(module)[n]) for n in listed if is_public(n, vars(module)[n])]


def public_names() -> list[Name]:
    """Every name that must have an entry in the reference."""
    return [name for path in ("", *BESIDE) for name in names_of(path)]


# ---- where an op is defined
def defined(tree: ast.Module) -> Iterator[str]:
    """Names that a module defines at its top level."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))


class Family(NamedTuple):
    """One file of ops: its page, the title of its section, what it defines."""

    page: str
    title: str
    names: tuple[str, ...]


def families() -> list[Family]:
    """The files of ops in the order of their paths."""
    found = []
    for path in sorted(OPS.rglob("*.py")):
        inside = path.relative_to(OPS).with_suffix("").parts
        if path.stem == "__init__":
            continue
        title = SECTIONS.get(path.stem, path.stem.replace("_", " ").capitalize())
        names = tuple(defined(ast.parse(path.read_text())))
        found.append(Family(inside[0], title, names))
    return found


# ---- text of pages
KINDS: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (lambda v: inspect.isclass(v) and issubclass(v, BaseException), "autoexception"),
    (inspect.isclass, "autoclass"),
    (callable, "autofunction"),
)


def entry(name: Name) -> str:
    """The directive that documents one name."""
    value = name.value
    directive = next((text for test, text in KINDS if test(value)), None)
    if isinstance(value, np.dtype) or directive is None:
        return plain(name)
    if inspect.isclass(value) and name.module != "hybrid":
        if getattr(hybrid, name.name, None) is value:
            return f".. py:class:: {name.name}\n\n   :py:class:`hybrid.{name.name}`.\n"
    options = ":members:\n" if directive == "autoclass" else ""
    if directive == "autoexception":
        options += ":show-inheritance:\n"
    elif name.name in ("Tensor", "Module", "Function", "Profile"):
        options += ":inherited-members: object, tuple\n"
    elif inspect.isclass(value) and issubclass(value, hybrid.nn.Module):
        options += ":exclude-members: extra_repr, function\n"  # what only the class itself uses
    return f".. {directive}:: {name.name}\n" + indent(options)


def plain(name: Name) -> str:
    """An entry for a constant."""
    value = name.value
    is_dtype = isinstance(value, np.dtype)
    about = f"The NumPy dtype ``{value}``, {value.itemsize} bytes." if is_dtype else f"``{value}``"
    return f".. py:data:: {name.name}\n\n   {about}\n"


def indent(text: str) -> str:
    """Text as the body of a directive."""
    return "".join(f"   {line}\n" for line in text.splitlines())


def table(names: Iterable[Name]) -> str:
    """A table of the names that have docstrings, with their first sentences."""
    rows = [n.name for n in names if callable(n.value) and not isinstance(n.value, np.dtype)]
    return ".. autosummary::\n   :nosignatures:\n\n" + indent("\n".join(rows)) if rows[1:] else ""


def section(module: str, names: list[Name]) -> str:
    """Table and entries of some names of one module."""
    body = [f".. py:currentmodule:: {module}\n", table(names), *map(entry, names)]
    return "```{eval-rst}\n" + "\n".join(filter(None, body)) + "```\n"


def op_pages(known: dict[str, Name]) -> Iterator[tuple[str, str]]:
    """(file, text) of the pages of ops; takes what it documents out of `known`."""
    pages: dict[str, list[str]] = {}
    for family in families():
        mine = [known.pop(n) for n in dict.fromkeys(sorted(family.names)) if n in known]
        if mine:
            pages.setdefault(family.page, []).append(
                f"## {family.title}\n\n{section('hybrid', mine)}"
            )
    for page, parts in pages.items():
        title = TITLES.get(page, page.replace("_", " ").capitalize())
        yield f"ops_{page}", f"# {title}\n\n" + "\n".join(parts)


def pages() -> Iterator[tuple[str, str]]:
    """(file, text) of every page of the reference."""
    known = {n.name: n for n in names_of("")}
    yield "tensor", f"# Tensor\n\n{TENSOR}\n\n{section('hybrid', [known.pop('Tensor')])}"
    for file, title, about, text in PAGES:
        mine = [known.pop(n) for n in text.split() if n in known]
        if file == "data":
            mine += [known.pop(n) for n in list(known) if isinstance(known[n].value, np.dtype)]
        yield file, f"# {title}\n\n{about}\n\n{section('hybrid', mine)}"
    errors = [n for n in known.values() if inspect.isclass(n.value)]
    errors = [n for n in errors if issubclass(n.value, Exception)] + [
        known[n] for n in ("Site",) if n in known
    ]
    for n in errors:
        del known[n.name]
    yield (
        "errors",
        "# Errors\n\nWhat hybrid raises on purpose; messages name the argument and the user's "
        f"line.\n\n{section('hybrid', errors)}",
    )
    yield from op_pages(known)
    for path in BESIDE:
        about = (space(path).__doc__ or "").split("\n\n")[0]
        about = about.split(": ", 1)[-1].replace("hybrid.", "")
        title = f"# hybrid.{path}\n\n{about[:1].upper()}{about[1:]}\n\n"
        yield f"in_{path.replace('.', '_')}", title + section(f"hybrid.{path}", names_of(path))
    if known:
        yield "ops_other", f"# Further names\n\n{section('hybrid', [*known.values()])}"


# ---- at build time
def generate(app: Any) -> None:
    """Pages of the reference, in an ignored folder of the source."""
    source = Path(app.srcdir)
    made = {f"{file}.md": text for file, text in pages()}
    for file, text in made.items():
        write_page(source / "api" / file, text)
    for old in (source / "api").glob("*.md"):
        if old.name not in made:
            old.unlink()


FIELD = type(Name.module)
MARKED = re.compile(r"(``[^`]+``|`[^`]+`)")
SPECIAL = re.compile(r"([\\*|]|_(?!\w))")


def code(text: str, around: str, taken: Collection[str]) -> str:
    """A `word` of a docstring: a link where it is a name beside the documented one or a public name
    of hybrid, and none of the parameters."""
    name = text.removesuffix("()").removeprefix("hybrid.")
    if not name.isidentifier() or name in taken:
        return f"``{text}``"
    for path in (around, ""):
        found = getattr(space(path), name, None)
        if callable(found) and not isinstance(found, np.dtype):
            return f":py:obj:`{text} <{'.'.join(filter(None, ('hybrid', path, name)))}>`"
    return f"``{text}``"


def as_text(line: str, around: str, taken: Collection[str]) -> str:
    """A line of a docstring, which is plain text with `code`, as reStructuredText."""
    return "".join(
        code(part.strip("`"), around, taken)
        if MARKED.fullmatch(part)
        else SPECIAL.sub(r"\\\1", part)
        for part in MARKED.split(line)
    )


def docstring(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Escapes what reStructuredText would read as markup, outside of examples."""
    try:
        taken = {*inspect.signature(value).parameters, name.rpartition(".")[2]}
    except (TypeError, ValueError):
        taken = set()
    around = name.rpartition(".")[0].removeprefix("hybrid").removeprefix(".")
    example = False
    for i, line in enumerate(lines):
        example = bool(line.strip()) and (example or line.lstrip().startswith(">>>"))
        lines[i] = line if example else as_text(line, around, taken)


def skip(app: Any, what: str, name: str, value: Any, skipped: bool, options: Any) -> bool | None:
    """Leaves out the spellings of other libraries, which only raise a hint, and the fields of named
    tuples, which the signature lists."""
    return True if isinstance(value, (Missing, FIELD)) else None


def setup(app: Any) -> dict[str, Any]:
    """What Sphinx calls."""
    app.connect("builder-inited", generate)
    app.connect("autodoc-process-docstring", docstring)
    app.connect("autodoc-skip-member", skip)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
