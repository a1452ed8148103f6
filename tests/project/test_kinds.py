"""A string that says what kind something is has a type that lists its values.

Invariant: where hybrid compares a value with a word, mypy knows the value's type as a Literal (and
then reports a word that is not in it), or the word belongs to somebody else: LLVM, Python, NumPy,
the environment, the user.  The table of those expressions holds nothing that is not compared.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("Statement", "Expression", "Block", "FuncBase", "Argument")  # of mypy's tree

# types, constants and instructions of LLVM; dtypes
TEXT = {
    *("void", "ptr", "i32", "i64", "half", "float", "double", "true", "false", "i1 true"),
    *("i1 false", "add", "sub", "mul", "udiv", "shl", "lshr", "or", "xor"),
    *("bool", "float16", "bfloat16", "float32", "float64"),
}
# words of others: (folder or file, expression)
FOREIGN = {
    # the interpreter: modules, code, attributes, events
    ("backends/cpu/python/abi.py", "sys.implementation.name"),
    ("backends/cpu/python/abi.py", "type(getattr(cls, name, None)).__name__"),
    ("trace/bytecode/opcodes.py", "sys.implementation.name"),
    ("trace/heap/allowlist.py", "module"),
    ("trace/watch/c_calls.py", "function.__name__"),
    ("trace/watch", "type(function).__module__"),
    ("trace/watch/rules/call_rules.py", "name"),
    ("trace/watch/classes.py", "module"),
    ("trace/watch/events.py", "event"),
    ("trace/watch/objects.py", "name"),
    ("trace/watch/passed/blind.py", "type(value).__module__.partition('.')[0]"),
    # the user's names and arguments
    ("__main__.py", "args.command"),
    ("core/spelling.py", "keyword"),
    ("ir/door/arguments.py", "name"),
    ("ir/door/arguments.py", "value"),
    ("ir/door/guard.py", "n"),
    ("ir/door/guard.py", "name"),
    ("nn/functional.py", "approximate"),
    ("nn/functional.py", "mode"),
    ("nn/images.py", "padding_mode"),
    ("nn/module.py", "name"),
    ("ir/numpys.py", "keyword"),
    ("ir/numpys.py", "parameter.name"),
    ("ops/arrange/padding.py", "_TAKES[mode]"),
    ("ops/arrange/padding.py", "given['reflect_type']"),
    ("ops/arrange/padding.py", "kind"),
    ("ops/arrange/padding.py", "mode"),
    ("ops/products/einsum.py", "kind"),
    ("ops/randoms/covariances.py", "check"),
    ("ops/randoms/covariances.py", "check_valid"),
    ("ops/randoms/covariances.py", "method"),
    ("ops/randoms/methods.py", "p.name"),
    ("ops/arrange", "bitorder"),
    ("ops/indexing/index.py", "mode"),
    ("ops/arrange/writing.py", "casting"),
    ("ops/build/matrices.py", "indexing"),
    ("ops/indexing/search.py", "side"),
    ("ops/layers", "reduction"),
    ("ops/linalg", "mode"),
    ("ops/linalg", "ord"),
    ("ops/linalg", "triangle"),
    ("ops/numeric", "cov"),
    ("ops/numeric", "ends"),
    ("ops/numeric", "method"),
    ("ops/numeric", "mode"),
    ("ops/numeric/moments.py", "name"),
    ("transforms/rules.py", "name"),  # of a record's parameter
    ("ops/products/convolution.py", "padding"),
    ("trace/watch/versioned.py", "name"),
    ("ir/door/bind.py", "kind"),  # of another library's dtype
    # NumPy's: ufuncs, their methods, arguments of functions
    ("protocols/functions.py", "p.name"),
    ("protocols/ufuncs.py", "method"),
    ("protocols", "name"),
    # texts that are read: of a graph, of the machine
    ("backends/cpu/machine/host.py", "platform.machine()"),
    ("ir/graph/text.py", "token.lstrip('-')"),
    ("ir/graph/text.py", "word"),
    # names in tables of numbers or of struct fields
    ("backends/cpu/machine/pool.py", "name"),
    ("backends/cuda/exchange.py", "kind"),
    ("backends/cuda/gemm/forms.py", "self.name"),
    ("backends/cpu/gemm/pack.py", "name[0]"),
    ("backends/cuda/gemm/finish.py", "dtype[0]"),
}


def words_of(node):
    """The strings among the constants of one side of a comparison."""
    items = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else [node]
    values = [item.value for item in items if isinstance(item, ast.Constant)]
    return [value for value in values if isinstance(value, str)]


def compared(tree):
    """(expression, words it is compared with) of every comparison with a word: text that is no
    identifier in small letters says no kind."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        for operator, left, right in zip(node.ops, sides, sides[1:]):
            either = isinstance(operator, ast.Eq | ast.NotEq)
            for value, other in ((left, right), (right, left)) if either else ((left, right),):
                if either and not isinstance(other, ast.Constant):
                    continue
                words = [w for w in words_of(other) if re.fullmatch("[a-z][a-z0-9_ ]*", w)]
                if words and not words_of(value):
                    yield value, words


def base_of(node):
    """What is indexed or sliced: the first letter of a kind is typed as the kind is."""
    return node.value if isinstance(node, ast.Subscript) else node


def place(node):
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset


def typed_places(tree, types, nodes):
    """{place: type} of the expressions of a module of mypy's."""
    kinds = tuple(getattr(nodes, name) for name in PARTS)
    skipped = {"node", "info", "names", "type", "analyzed", "original_def", "expanded", "setter"}
    found, seen, waiting, fields = {}, set(), list(tree.defs), {}
    while waiting:
        node = waiting.pop()
        if isinstance(node, list | tuple):
            waiting += node
        elif isinstance(node, kinds) and id(node) not in seen:
            seen.add(id(node))
            if isinstance(node, nodes.Expression) and node in types:
                spot = node.line, node.column, node.end_line, node.end_column
                found[spot] = str(types[node])
            cls = type(node)
            if cls not in fields:
                names = [n for n in dir(cls) if n[0] != "_" and n not in skipped]
                fields[cls] = [n for n in names if not callable(getattr(cls, n, None))]
            waiting += [getattr(node, name, None) for name in fields[cls]]
    return found


def entries(file, expression):
    """Those of FOREIGN that allow a comparison."""
    return {
        (where, known)
        for where, known in FOREIGN
        if expression == known and (file == where or file.startswith(where + "/"))
    }


@pytest.fixture(scope="module")
def checked():
    """{file in the package: {place: type}}."""
    pytest.importorskip("mypy")
    from mypy import build, nodes
    from mypy.main import process_options

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        sources, options = process_options(["--no-incremental"])
        options.export_types = options.preserve_asts = True
        result = build.build(sources, options)
    assert not result.errors, "\n".join(result.errors)
    package = ROOT / "hybrid"
    return {
        str(Path(state.path).resolve().relative_to(package)): typed_places(
            state.tree, result.types, nodes
        )
        for name, state in result.graph.items()
        if name.split(".")[0] == "hybrid" and state.path.endswith(".py")
    }


def test_kinds_have_types(checked):
    wrong, used = [], set()
    for file, types in checked.items():
        for value, words in compared(ast.parse((ROOT / "hybrid" / file).read_text())):
            known = [types.get(place(node), "") for node in (value, base_of(value))]
            if any("Literal[" in text for text in known) or TEXT.issuperset(words):
                continue
            expression = ast.unparse(value)
            listed = entries(file, expression)
            used |= listed
            if not listed:
                wrong.append(f"{file}:{value.lineno}: {expression} ({known[0]}) with {words}")
    assert not wrong, "compared with words, without a type that lists them:\n" + "\n".join(wrong)
    assert not FOREIGN - used, f"never compared: {sorted(FOREIGN - used)}"


def test_what_is_compared():
    tree = ast.parse(
        "a.kind == 'row' or b in ('x y', 'LOAD') or '0' == c or d[0] in 'iu' or 'e' in f or g == ['h']"
    )
    assert [(ast.unparse(v), w) for v, w in compared(tree)] == [
        ("a.kind", ["row"]),
        ("b", ["x y"]),
        ("d[0]", ["iu"]),
    ]
