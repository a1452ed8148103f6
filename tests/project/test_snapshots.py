"""What any thread may change is read through a snapshot.

Python stops a loop over a dict or set that another thread makes larger, so a loop over a table of
the module or of a dict's own methods goes over `list(...)` of it, which is one step.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2] / "hybrid"
TABLES = {"dict", "set", "OrderedDict", "defaultdict"}
WEAK = {"WeakSet", "WeakValueDictionary", "WeakKeyDictionary"}
CHANGES = {"add", "clear", "discard", "pop", "popitem", "remove", "setdefault", "update"}
VIEWS = {"items", "keys", "values"}
LOOPS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def made(value):
    """The kind of container that an expression makes, if any."""
    if isinstance(value, (ast.Dict, ast.DictComp)):
        return "dict"
    if isinstance(value, (ast.Set, ast.SetComp)):
        return "set"
    if isinstance(value, ast.Call):
        return ast.unparse(value.func).split("[")[0].split(".")[-1]
    return None


def tables(tree):
    """Containers at the level of a module, by name."""
    found = {}
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name) and made(node.value) in TABLES | WEAK:
                    found[target.id] = made(node.value)
    return found


def changed(tree):
    """Names that a function puts something into, or takes it out of."""
    for function in ast.walk(tree):
        if not isinstance(function, (ast.FunctionDef, ast.Lambda)):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr in CHANGES:
                    yield ast.unparse(node.func.value)
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "keep":
                yield ast.unparse(node.args[0])
            elif isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
                yield ast.unparse(node.value)


def loops(tree):
    """(line, what is looped over) without the view's method."""
    for node in ast.walk(tree):
        if isinstance(node, ast.For):
            over = [node.iter]
        elif isinstance(node, LOOPS):
            over = [part.iter for part in node.generators]
        else:
            continue
        for expression in over:
            if isinstance(expression, ast.Call) and isinstance(expression.func, ast.Attribute):
                if expression.func.attr in VIEWS and not expression.args:
                    expression = expression.func.value
            yield expression.lineno, ast.unparse(expression)


def own_loops(tree):
    """Loops of a class made of dict over itself or its fields that are dicts."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any("dict" in ast.unparse(b) for b in node.bases):
            fields = {
                ast.unparse(part.target)
                for part in ast.walk(node)
                if isinstance(part, ast.AnnAssign) and made(part.value) in TABLES
            }
            yield from (at for at, over in loops(node) if over in {"self", *fields})


def bare(tree):
    """Lines that loop over what another thread may change."""
    kinds = tables(tree)
    shared = {name for name in changed(tree) if name in kinds}
    for line, over in loops(tree):
        if over in shared:
            yield line
    yield from own_loops(tree)
    for node in ast.walk(tree):  # not even `list` takes one of these in one step
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"list", "tuple", "sorted"}:
            over = ast.unparse(node.args[0]).split(".")[0] if node.args else ""
            if kinds.get(over) in WEAK:
                yield node.lineno


def test_loops_go_over_snapshots():
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted(ROOT.rglob("*.py"))
        for line in bare(ast.parse(path.read_text()))
    ]
    assert not found, f"loop over list(...) of it (weak ones: core/cache.py's Living): {found}"


def test_what_is_found():
    head = "A = {}\ndef put(k): A[k] = 1\n"
    assert list(bare(ast.parse(head + "def f():\n    for k, v in A.items(): pass\n"))) == [4]
    assert list(bare(ast.parse(head + "def f():\n    return [k for k in A]\n"))) == [4]
    assert not list(bare(ast.parse(head + "def f():\n    return [k for k in list(A)]\n")))
    assert not list(bare(ast.parse("A = {1: 2}\ndef f():\n    for k in A: pass\n")))
    weak = "B = weakref.WeakSet()\ndef f(): return list(B)\n"
    assert list(bare(ast.parse(weak))) == [2]
    own = "class T(dict[K, V]):\n    def f(self):\n        return sum(v for v in self.values())\n"
    assert list(bare(ast.parse(own))) == [3]
