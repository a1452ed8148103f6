"""Every public function shows an example: it runs with nothing but `import hybrid` before it.

Invariant: ALLOWED may only fall; an example counts when it prints something and runs as a user
would run it, without the globals of the module that defines the function.
"""

import doctest
import inspect

import pytest

import hybrid
from hybrid.ops.base.surface import SURFACE

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
ALLOWED = {"functions of hybrid.ops": 0, "other functions": 0, "classes": 0}
SPACES = ("", "nn", "nn.functional", "optim", "fft", "linalg", "random", "special")


def module_of(path):
    found = hybrid
    for part in filter(None, path.split(".")):
        found = getattr(found, part)
    return found


def public():
    """Name -> object: what the public modules hold, and the methods that are no function too."""
    for path in SPACES:
        module = module_of(path)
        for name in getattr(module, "__all__", None) or dir(module):
            value = getattr(module, name)
            error = isinstance(value, type) and issubclass(value, Exception)
            if not name.startswith("_") and callable(value) and not error:
                yield ".".join(filter(None, ("hybrid", path, name))), value
    for row in SURFACE:
        for name in row.method:
            yield f"hybrid.Tensor.{name}", getattr(hybrid.Tensor, name)


NAMES = {id(value): (name, value) for name, value in reversed([*public()])}
FAMILIES = {id(inspect.unwrap(row.function)): row.family for row in SURFACE}


def room(value):
    """Which allowance an object without an example falls under."""
    family = FAMILIES.get(id(inspect.unwrap(value)), "")
    if family.startswith("hybrid.ops."):
        return "functions of hybrid.ops"
    return "classes" if isinstance(value, type) else "other functions"


def fault_of(name, value):
    """Why an object has no example that runs; an empty text where it has one."""
    text = inspect.getdoc(value) or ""
    test = doctest.DocTestParser().get_doctest(text, {"hybrid": hybrid}, name, name, 0)
    if not any(example.want for example in test.examples):
        return "no example that prints something"
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    runner.run(test, out=said.append)
    return "".join(said) if runner.failures else ""


@pytest.fixture(autouse=True)
def stream():
    """Examples seed the default generator: other tests go on with their own numbers."""
    state = hybrid.random.get_state()
    yield
    hybrid.random.set_state(state)


def test_every_public_function_shows_an_example_that_runs():
    faults = {where: {} for where in ALLOWED}
    for name, value in NAMES.values():
        fault = fault_of(name, value)
        if fault:
            faults[room(value)][name] = fault
    for where, found in faults.items():
        lines = "\n".join(f"{name}: {fault}" for name, fault in sorted(found.items()))
        assert len(found) <= ALLOWED[where], f"{len(found)} {where}:\n{lines}"
        assert len(found) == ALLOWED[where], f"lower ALLOWED of {where} to {len(found)}"
