"""Objects are built, not filled: attributes have their values when the constructor is done.

What a level of a loop or a step of a build knows is a small record that is passed on; an attribute
that some method sets later is one more thing to know about the order of calls.  Invariant: ALLOWED
may only fall; it is what is left where an object has a state of its own (a pool, a cursor of a
writer, what a context manager found).
"""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2] / "hybrid"
BUILDERS = {"__init__", "__new__", "__post_init__"}
WRITERS = ("backends", "compiler")  # rooms whose classes put code and plans together
ALLOWED = {"born late": 6, "filled late by writers": 24}


def targets(node):
    """What a statement or an expression assigns to."""
    if isinstance(node, ast.Assign):
        todo = list(node.targets)
    elif isinstance(node, (ast.AnnAssign, ast.NamedExpr, ast.For, ast.comprehension)):
        todo = [node.target]
    elif isinstance(node, ast.With):
        todo = [item.optional_vars for item in node.items if item.optional_vars]
    else:
        return
    while todo:
        target = todo.pop()
        if isinstance(target, (ast.Tuple, ast.List)):
            todo += target.elts
        elif isinstance(target, ast.Starred):
            todo.append(target.value)
        else:
            yield target


def assigned(method):
    """(name, value) of each attribute that a method sets on its own object."""
    is_static = any(ast.unparse(x) == "staticmethod" for x in method.decorator_list)
    if is_static or not method.args.args:
        return
    own = method.args.args[0].arg
    for node in ast.walk(method):
        for target in targets(node):
            if isinstance(target, ast.Attribute) and ast.unparse(target.value) == own:
                yield target.attr, getattr(node, "value", None)


def is_empty(value):
    """Whether a value only holds the place of another one."""
    if value is None or isinstance(value, ast.Constant):
        return True
    if isinstance(value, (ast.List, ast.Tuple, ast.Dict)):
        return not list(ast.iter_child_nodes(value))[:-1]
    made = isinstance(value, ast.Call) and not value.args
    return made and ast.unparse(value.func).split("[")[0] in ("dict", "list", "set")


def called(part):
    """Methods of the object that its `__init__` calls as statements: they are part of it."""
    if isinstance(part, ast.FunctionDef) and part.name == "__init__":
        for node in part.body:
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                name = ast.unparse(node.value.func)
                if name.startswith("self._"):
                    yield name.removeprefix("self.")


class Known:
    """The attributes of one class: those there from the start, and those set later."""

    def __init__(self, node):
        self.bases = [ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases]
        self.start, self.later, self.declared = {}, set(), set()
        self.helpers = {name for part in node.body for name in called(part)}
        is_record = any("dataclass" in ast.unparse(x) for x in node.decorator_list)
        for part in node.body:
            if isinstance(part, ast.AnnAssign):
                self.declared.add(ast.unparse(part.target))
            if isinstance(part, ast.AnnAssign) and (part.value is not None or is_record):
                self.start[ast.unparse(part.target)] = part.value
            if not isinstance(part, ast.FunctionDef):
                continue
            if part.name in BUILDERS | self.helpers:
                self.start.update(assigned(part))
            else:
                self.later |= {name for name, _ in assigned(part)}


def classes():
    """(path, name, Known) of every class of the package."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                yield path.relative_to(ROOT), node.name, Known(node)


def counted():
    """The attributes of each count, as text."""
    found, by_name = list(classes()), defaultdict(list)
    for _, name, known in found:
        by_name[name].append(known)

    def start_of(known, seen=()):
        whole = {}
        for base in known.bases:
            for other in by_name[base] if base not in seen else ():
                whole |= start_of(other, (*seen, base))
        return whole | known.start

    def sets(name):
        """What the classes made of a class set from the start: a mixin only declares that."""
        below = [known for _, _, known in found if name in known.bases]
        return {attribute for known in below for attribute in known.start}

    born, filled = [], []
    for path, name, known in found:
        start = start_of(known) | dict.fromkeys(known.declared & sets(name), ...)
        born += [f"{path} {name}.{a}" for a in sorted(known.later - start.keys())]
        late = sorted(a for a in known.later & start.keys() if is_empty(start[a]))
        if path.parts[0] in WRITERS:
            filled += [f"{path} {name}.{a}" for a in late]
    return {"born late": born, "filled late by writers": filled}


def test_attributes_that_are_set_late_only_get_fewer():
    found = counted()
    counts = {what: len(names) for what, names in found.items()}
    worse = {what: found[what] for what, count in counts.items() if count > ALLOWED[what]}
    assert not worse, "\n".join(x for names in worse.values() for x in names)
    assert counts == ALLOWED, "better than the table: let it say so"
