"""Every method and property of a public class shows an example that runs after `import hybrid`.

Invariant: an example needs nothing of the module that defines what it shows.  `forward` is shown
by the class, `extra_repr` and `function` are what only a layer itself uses, and the hooks of a
mode are called by operations.
"""

import doctest
import inspect

import pytest

import hybrid
from hybrid.core.spelling import Missing
from hybrid.ir.mode import Mode
from hybrid.ops.base.surface import SURFACE

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
SPACES = (hybrid, hybrid.nn, hybrid.optim, hybrid.cuda)
INNER = {"forward", "extra_repr", "function"}
OF_OPS = {id(row.function) for row in SURFACE if row.family.startswith("hybrid.ops.")}


def classes():
    """Public classes by where they are first public."""
    named = [(f"{s.__name__}.{n}", getattr(s, n)) for s in SPACES for n in s.__all__]
    return {c: name for name, c in reversed(named) if isinstance(c, type)}


def members(owner):
    """(name, function or property) of what a class shows and hybrid wrote."""
    found = {}
    for cls in owner.__mro__:
        if cls.__module__.partition(".")[0] == "hybrid" and cls is not Mode:
            for name, value in list(vars(cls).items()):
                hook = issubclass(cls, Mode) and hasattr(Mode, name)
                if is_shown(name, value) and not hook:
                    found.setdefault(name, getattr(value, "__func__", value))
    return found.items()


def is_shown(name, value):
    """Whether an attribute of a class is a public method or property, and no field of a tuple."""
    if name.startswith("_") or isinstance(value, Missing):
        return False
    field = type(value).__name__ in ("_tuplegetter", "member_descriptor")
    return isinstance(value, property) or (inspect.isroutine(value) and not field)


def shown():
    """Every one of them once, but for functions of ops and what `INNER` names."""
    found = {}
    for owner, where in classes().items():
        if owner.__module__.startswith("hybrid.ops."):
            continue
        for name, value in members(owner):
            if name not in INNER and id(inspect.unwrap(value)) not in OF_OPS:
                found.setdefault(id(value), (f"{where}.{name}", value))
    return sorted(found.values(), key=lambda row: row[0])


@pytest.mark.parametrize("name, value", shown(), ids=[name for name, _ in shown()])
def test_it_shows_an_example_that_runs(name, value):
    text = inspect.getdoc(value) or ""
    test = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    assert test.examples, f"{name} shows no example"
    said = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)
