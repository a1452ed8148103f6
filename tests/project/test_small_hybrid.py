"""docs/hybrid_in_500_lines.md: its blocks are the program, and what it prints is what the page shows."""

from __future__ import annotations

import ast
import contextlib
import functools
import io
import itertools
import linecache
import re
import subprocess
import sys
import tokenize
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = next(p for p in Path(__file__).parents if (p / "pyproject.toml").exists())
PAGE = (ROOT / "docs" / "hybrid_in_500_lines.md").read_text()
LIMIT = 500


def blocks(language: str) -> list[str]:
    """The fenced blocks of the page in one language, in order."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", PAGE)


def run(name: str, source: str, space: dict) -> dict:
    """Run text as a file of that name, whose lines can be read."""
    linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name
    exec(compile(source, name, "exec"), space)
    return space


small = ModuleType("small_hybrid")
small.__file__ = "small_hybrid.py"
run("small_hybrid.py", "".join(blocks("python")), vars(small))
mean, sum_to, transpose = small.mean, small.sum_to, small.transpose
sigmoid, softplus, tanh = small.sigmoid, small.softplus, small.tanh
gradients, scope, tensor = small.gradients, small.scope, small.tensor


def calls(program, *args, times=4):
    """(the decorated program after some calls, their results, what it warned of)."""
    traced = small.function(program)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        results = [traced(*args) for _ in range(times)]
    return traced, results, [str(w.message) for w in said]


def bits(*tensors):
    return [(x.aval, x.value.tobytes()) for x in tensors]


def entry_of(traced):
    (entry,) = traced.entries.values()
    return entry


# ---- the page
def code_lines(source: str) -> int:
    """Lines that hold code: no blank lines, comments or docstrings."""
    silent = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in (*silent, tokenize.ENDMARKER):
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(
            node
        ):
            text = node.body[0]
            lines -= set(range(text.lineno, text.end_lineno + 1))
    return len(lines)


def test_the_program_has_at_most_500_lines():
    assert code_lines("".join(blocks("python"))) <= LIMIT


def test_the_program_is_in_the_style_of_the_project():
    pytest.importorskip("ruff")
    source = "\n\n\n".join(block.strip("\n") for block in blocks("python")) + "\n"
    for command in (["format", "--check"], ["check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", "small_hybrid.py", "-"],
            input=source,
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_file_that_the_page_names_exists():
    named = re.findall(r"`((?:hybrid|docs|tests)/[\w./]+|[A-Z]+\.md)`", PAGE)
    assert len(named) > 30
    assert [name for name in named if not (ROOT / name).exists()] == []


def plain_numbers(text: str) -> list[str]:
    """Lines of text without the numbers of lines in files, and without space at their ends."""
    return [re.sub(r"\.py:\d+", ".py:N", line).rstrip() for line in text.splitlines()]


def shown_in(block: str, printed: list[str]) -> bool:
    """Whether the lines of a block were printed in a row; '...' stands for any lines."""
    at = 0
    for part in re.split(r"(?m)^\.\.\.\n", block):
        lines = plain_numbers(part)
        ends = range(at + len(lines), len(printed) + 1)
        at = next((end for end in ends if printed[end - len(lines) : end] == lines), -1)
        if at < 0:
            return False
    return True


def test_the_page_shows_what_the_program_prints():
    with contextlib.redirect_stdout(io.StringIO()) as output, warnings.catch_warnings():
        warnings.simplefilter("ignore", small.RunsEagerly)
        small.main()
        run("try_it.py", "\n".join(blocks("py")), dict(vars(small), __name__="try_it"))
    printed = plain_numbers(output.getvalue())
    assert len(blocks("text")) >= 7
    for block in blocks("text"):
        assert shown_in(block, printed), f"not printed:\n{block}\nbut:\n{output.getvalue()}"


def test_it_runs_as_the_page_says(tmp_path):
    command = re.search(r"^sed .*$", PAGE, re.MULTILINE).group()
    subprocess.run(["sh", "-c", command.replace("small_hybrid.py", f"{tmp_path}/s.py")], cwd=ROOT)
    done = subprocess.run(
        [sys.executable, "-W", "error", f"{tmp_path}/s.py"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("the same bits: True\n")


# ---- eager arrays and gradients
def test_ops_are_those_of_numpy():
    x, y = np.float32([[1.5, -2.0], [0.25, 3.0]]), np.float32([2.0, -0.5])
    a, b = tensor(x), tensor(y)
    assert bits(a + b, a - b, a * b, -a, tanh(a), a @ a, a > b, 2.0 - a) == [
        (small.Aval(z.shape, z.dtype), z.tobytes())
        for z in (x + y, x - y, x * y, -x, np.tanh(x), x @ x, x > y, 2 - x)
    ]
    assert bits(transpose(a), sum_to(a, shape=(2,)), sum_to(a, shape=(2, 1))) == bits(
        tensor(x.T), tensor(x.sum(0)), tensor(x.sum(1, keepdims=True))
    )
    assert np.allclose(sigmoid(a).value, 1 / (1 + np.exp(-x)))
    assert np.allclose(softplus(a).value, np.log1p(np.exp(x)))


def test_handles_are_mutable_and_values_are_not():
    x = tensor([1.0, 2.0], requires_grad=True)
    y = sum_to(x * x, shape=())
    x.assign([5.0, 5.0])
    (slope,) = gradients(y, [x])
    assert slope.value.tolist() == [2.0, 4.0]
    x.numpy()[:] = 0
    assert x.value.tolist() == [5.0, 5.0]
    with pytest.raises(TypeError, match=r"float32\[3\] does not fit float32\[2\]"):
        x.assign([1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match="float32 and float64"):
        x + tensor([1.0, 2.0], dtype=np.float64)


def network(x, w, b):
    hidden = tanh(x @ w + b) * sigmoid(x @ w)
    return mean(softplus(-hidden) - 0.5 * hidden * b)


@pytest.mark.parametrize("which", range(3))
def test_gradients_against_finite_differences(which):
    rng = np.random.default_rng(which)
    shapes = (4, 3), (3, 2), (2,)
    given = [tensor(rng.normal(size=s), np.float64, requires_grad=True) for s in shapes]
    slopes = gradients(network(*given), given)
    step = 1e-6
    for place in np.ndindex(shapes[which]):
        ends = []
        for side in (step, -step):
            moved = given[which].numpy()
            moved[place] += side
            ends.append(network(*given[:which], tensor(moved, np.float64), *given[which + 1 :]))
        difference = (ends[0].item() - ends[1].item()) / (2 * step)
        assert abs(difference - slopes[which].value[place]) < 1e-8


def test_second_derivatives():
    x = tensor(0.3, np.float64, requires_grad=True)
    (slope,) = gradients(tanh(x), [x], create_graph=True)
    (second,) = gradients(slope, [x])
    assert np.isclose(second.item(), -2 * np.tanh(0.3) * (1 - np.tanh(0.3) ** 2))


def test_an_op_is_one_line():
    exp = small.map_op("exp", lambda g, out, x: g * out)
    x = tensor(2.0, np.float64, requires_grad=True)
    (slope,) = gradients(exp(x), [x])
    assert slope.item() == exp(x).item() == np.exp(2.0)


def test_gradients_that_cannot_be():
    x = tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(ValueError, match="a scalar that depends on every input"):
        gradients(x * x, [x])
    with scope(grad=False), pytest.raises(ValueError, match="depends on every input"):
        gradients(mean(x), [x])


# ---- eager and traced
@pytest.mark.parametrize("shape", [(), (1,), (7,), (9001,), (3, 1), (700, 13), (2, 3, 4), (0, 5)])
def test_fused_loops_give_the_eager_bits(shape):
    rng = np.random.default_rng(0)
    x, y = (tensor(3 * rng.normal(size=shape)) for _ in range(2))
    row = tensor(rng.normal(size=shape[-1:]))

    def program(x, y):
        a = softplus(x * row) - 0.3
        return tanh(a * y) + a, sigmoid(-a), a > y

    traced, results, said = calls(program, x, y)
    assert entry_of(traced).state == "REPLAY" and not said
    assert len(entry_of(traced).plan.kernels) == 1
    assert all(bits(*result) == bits(*program(x, y)) for result in results)


def test_training_gives_the_eager_bits():
    rng = np.random.default_rng(3)
    points, labels = tensor(rng.normal(size=(100, 2))), tensor(rng.choice([-1, 1], (100, 1)))
    eager, traced = small.make_step(), small.function(small.make_step())
    for _ in range(20):
        assert bits(eager(points, labels)) == bits(traced(points, labels))
    cells = [dict(zip(f.__code__.co_freevars, f.__closure__)) for f in (eager, traced.fn)]
    weights = [cell["weights"].cell_contents for cell in cells]
    assert bits(*weights[0]) == bits(*weights[1])
    assert traced.explain() == "REPLAY"


def one_of(kind, x, y):
    """One step of a random program over square matrices."""
    if kind < 4:
        return (x + y, x * y, x - 0.5 * y, tanh(x) @ y)[kind]
    if kind < 6:
        return (transpose(x), sigmoid(x * tensor(2.0) * tensor(0.25)))[kind - 4]
    return small_sum(x) * y


def small_sum(x):
    return sum_to(tanh(x), shape=x.aval.shape[1:])


def made_at_random(seed):
    """A program of random steps that writes its state, and the state."""
    rng = np.random.default_rng(seed)
    state = [tensor(rng.normal(size=(7, 7))) for _ in range(2)]
    steps = tuple(tuple(map(int, rng.integers(0, [7, 1000, 1000]))) for _ in range(12))
    chosen = tuple(map(int, rng.integers(0, 16, size=5)))

    def program(x, y):
        pool = [x, y, state[0], state[1]]
        for kind, i, j in steps:
            pool = pool + [tanh(one_of(kind, pool[i % len(pool)], pool[j % len(pool)]))]
        state[0].assign(pool[chosen[0]])
        state[1].assign(state[1] - pool[chosen[1]] * pool[chosen[2]])
        return pool[chosen[3]], pool[chosen[4]], pool[-1], state[1]

    return program, state


@pytest.mark.parametrize("seed", range(40))
def test_random_programs_give_the_eager_bits(seed):
    rng = np.random.default_rng(seed)
    (eager, eager_state), (program, state) = made_at_random(seed), made_at_random(seed)
    traced, kept = small.function(program), []
    for _ in range(5):
        given = [tensor(rng.normal(size=(7, 7))) for _ in range(2)]
        results = traced(*given)
        assert bits(*results, *state) == bits(*eager(*given), *eager_state)
        kept += [(x, bits(x)) for x in results if x not in state]
    assert traced.explain() == "REPLAY"
    assert all(bits(x) == then for x, then in kept)  # no replay writes over results of another


def test_a_replay_reads_what_handles_hold_now():
    weight = tensor([1.0, 2.0])

    def program(x):
        return x * weight

    traced, _, _ = calls(program, tensor([1.0, 1.0]))
    weight.assign([5.0, 7.0])
    assert traced(tensor([2.0, 1.0])).value.tolist() == [10.0, 7.0]
    first, second = traced(tensor([1.0, 1.0])), traced(tensor([0.0, 0.0]))
    assert first.value.tolist() == [5.0, 7.0] and second.value.tolist() == [0.0, 0.0]


def test_results_keep_their_identity():
    state = tensor(1.0)

    def program(x):
        y = x + state
        state.assign(y)
        return y, x, state, y

    traced, results, _ = calls(program, tensor(2.0), times=1)
    x = tensor(2.0)
    for _ in range(4):
        y, same_x, same_state, again = traced(x)
        assert same_x is x and same_state is state and y is again and y is not state
    assert state.item() == 1.0 + 5 * 2.0


def test_a_signature_is_shapes_dtypes_and_numbers():
    def program(x, factor):
        return x * factor

    traced = small.function(program)
    for factor in (2, 2.0, -0.0, 0.0):
        for x in (tensor([1.0]), tensor([1.0, 2.0]), tensor([1.0], np.float64)):
            for _ in range(3):
                assert bits(traced(x, factor)) == bits(program(x, factor))
    assert len(traced.entries) == 12
    assert {entry.state for entry in traced.entries.values()} == {"REPLAY"}


def test_a_function_inside_a_function_is_part_of_it():
    @small.function
    def inner(x):
        return x * 2.0

    def program(x):
        return inner(x) + 1.0

    traced, results, _ = calls(program, tensor(3.0))
    assert [r.item() for r in results] == [7.0] * 4
    assert traced.explain() == "REPLAY" and not inner.entries


# ---- passes, regions, plan
def recorded(program, *args):
    return entry_of(calls(program, *args, times=2)[0]).recording.graph


def ops_of(graph):
    return [node.op.name for node in graph.nodes]


def test_fold():
    def program(x):
        return x * (tensor(2.0) * tensor(3.0))

    graph = recorded(program, tensor(1.0))
    assert ops_of(graph) == ["multiply", "multiply"]
    (node,) = small.fold(graph).nodes
    assert node.inputs[1].data == 6.0 and node.op is small.multiply


def test_cse():
    def program(x):
        return tanh(x) + tanh(x), x * 0.0, x * -0.0

    graph = recorded(program, tensor(1.0))
    assert ops_of(graph) == ["tanh", "tanh", "add", "multiply", "multiply"]
    assert ops_of(small.cse(graph)) == ["tanh", "add", "multiply", "multiply"]


def test_dce():
    def program(x):
        mean(tanh(x))
        return x + x

    graph = recorded(program, tensor([1.0]))
    assert ops_of(graph) == ["tanh", "sum_to", "multiply", "add"]
    assert ops_of(small.dce(graph)) == ["add"]


def test_fuse():
    def program(x, y):
        a = x + y
        b = tanh(a @ a) * a  # joins no loop: the product lies between
        return b, a * 2.0, mean(b * b)

    graph = recorded(program, tensor(np.eye(3)), tensor(np.ones((3, 3))))
    regions = [[node.op.name for node in region] for region in small.fuse(graph)]
    assert regions == [
        ["add", "multiply"],
        ["matmul"],
        ["tanh", "multiply", "multiply"],
        ["sum_to"],
        ["multiply"],
    ]
    made = set()
    for region in small.fuse(graph):  # whatever a region reads was made before it, or in it
        made |= {node.output for node in region}
        assert all(v in made or v.node is None for node in region for v in node.inputs)


@pytest.mark.parametrize("passes", [(), ("fold",), ("cse",), ("dce",), ("fold", "cse", "dce")])
def test_every_pass_keeps_the_bits(passes):
    points, labels = tensor(np.ones((5, 2))), tensor(np.ones((5, 1)))
    graph = recorded(small.make_step(), points, labels)
    rng = np.random.default_rng(1)
    arrays = [rng.normal(size=v.aval.shape).astype(v.aval.dtype) for v in graph.inputs]
    expected = [x.tobytes() for x in small.lower(graph).run(*arrays)]
    for name in passes:
        graph = getattr(small, name)(graph)
    plan = small.lower(graph)
    for _ in range(2):
        assert [x.tobytes() for x in plan.run(*arrays)] == expected


def test_dead_temporaries_give_their_memory_back():
    def program(x):
        for _ in range(10):
            x = tanh(x) @ x
        return x

    plan = entry_of(calls(program, tensor(np.eye(16) / 2))[0]).plan
    size = 16 * 16 * 4
    assert plan.temporaries == 19 * size and plan.arena == 3 * size


def test_the_text_of_a_graph_names_the_line():
    def program(x):
        return tanh(x)

    line = program.__code__.co_firstlineno + 1
    assert f"tanh(%x0)  # {Path(__file__).name}:{line}: return tanh(x)" in re.sub(
        r" +#", "  #", str(recorded(program, tensor(1.0)))
    )


# ---- what is not replayed
def reading(x):
    y = x * 2.0
    return y * y.item()


def branching(x):
    if mean(x) > 0.0:
        return x
    return -x


def showing(x):
    return x * float(repr(x)[7:-1])


@pytest.mark.parametrize(
    ("program", "offset", "why"),
    [
        (reading, 2, "reads a tensor in Python with .item()"),
        (branching, 1, "branches on the value of a tensor"),
        (showing, 1, "reads a tensor in Python with repr()"),
    ],
)
def test_a_reason_names_the_users_line(program, offset, why):
    for x in (tensor(2.0), tensor(-3.0)):
        traced, results, said = calls(program, x, times=6)
        assert all(bits(result) == bits(program(x)) for result in results)
        line = program.__code__.co_firstlineno + offset
        expected = (
            f"{program.__name__} runs eagerly because it {why} ({Path(__file__).name}:{line}: "
        )
        assert len(said) == 1 and said[0].startswith(expected)
        assert traced.explain().startswith(f"EAGER {why}")


COUNT, LOG, SCALE, STRANGE = 0, [], 2.0, iter(())


def counting(x):
    global COUNT
    COUNT += 1
    return x + 1.0


def logging(x):
    LOG.append(1)
    return x + 1.0


def printing(x):
    print(end="")
    return x + 1.0


def iterating(x):
    for _ in STRANGE:
        x = x + 1.0
    return x + 1.0


def helper(x, *, held=(LOG,)):
    helper.uses += 1
    return x + 1.0 * len(held)


helper.uses = 0


def helped(x):
    return helper(x)


def drawing(x, *, numbers=itertools.count()):
    for number in numbers:
        return x + 1.0 + 0 * number


def importing(x):
    import time  # noqa: F401

    return x + 1.0


def differentiable(x):
    return x * WEIGHT


WEIGHT = None


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (counting, "sees COUNT change"),
        (logging, "sees LOG change"),
        (printing, "uses print, a builtin_function_or_method: it may do anything"),
        (helped, "sees helper change"),
        (drawing, "uses drawing, a count: it may do anything"),
        (iterating, "uses STRANGE, a tuple_iterator: it may do anything"),
        (importing, "uses time, a module: it may do anything"),
        (differentiable, "returns a result whose gradient may be asked for later"),
    ],
)
def test_python_that_a_replay_would_leave_out(program, why):
    global WEIGHT
    WEIGHT = tensor(1.0, requires_grad=True)
    before, length, helps = COUNT, len(LOG), helper.uses
    traced, results, said = calls(program, tensor(1.0), times=6)
    assert traced.explain() == f"EAGER {why}" and len(said) == 1
    assert len({r.item() for r in results}) == 1
    assert COUNT - before == 6 * (program is counting)
    assert len(LOG) - length == 6 * (program is logging)
    assert helper.uses - helps == 6 * (program is helped)


def test_other_arguments_and_results():
    traced, results, said = calls(functools.partial(pow, 2), 3)
    assert results == [8] * 4 and traced.explain().startswith("EAGER") and len(said) == 1
    traced, results, said = calls(lambda xs: xs[0] + xs[1], [tensor(1.0), tensor(2.0)])
    assert traced.explain() == "EAGER takes a list as an argument" and results[-1].item() == 3.0
    traced, results, said = calls(lambda x: (x, 3.0), tensor(1.0))
    assert traced.explain() == "EAGER returns a float" and results[-1][1] == 3.0


def test_a_tensor_that_no_name_leads_to():
    x = tensor(1.0)
    with scope(grad=True):
        weight = tensor(2.0, requires_grad=True)
        older = weight * weight

    def program(x):
        (slope,) = gradients(older, [weight])  # of values that only the tape holds
        weight.assign(weight - slope)
        return x + slope

    traced, _, _ = calls(program, x)
    assert traced.explain() == "EAGER uses a tensor from before the call that no name leads to"


def test_an_argument_that_is_also_captured():
    weight = tensor(1.0)

    def program(x):
        weight.assign(weight + x)
        return x * 1.0

    other = tensor(2.0)
    traced, _, _ = calls(program, other)
    assert traced.explain() == "REPLAY" and weight.item() == 9.0
    for expected in (18.0, 36.0):
        assert traced(weight).item() == expected == weight.item()


def scaled(x):
    return x * SCALE


def test_a_fact_that_changes_is_recorded_again(monkeypatch):
    x = tensor(3.0)
    traced, results, _ = calls(scaled, x)
    assert traced.explain() == "REPLAY" and results[-1].item() == 6.0
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 5.0)
    assert traced(x).item() == 15.0 and traced.explain() == "RECORD sees SCALE change"
    assert [traced(x).item() for _ in range(3)] == [15.0] * 3 and traced.explain() == "REPLAY"


@pytest.mark.parametrize(("before", "after"), [(0.0, -0.0), (1, True), (2.0, 2)])
def test_facts_are_compared_by_type_and_bits(monkeypatch, before, after):
    monkeypatch.setattr(sys.modules[__name__], "SCALE", before)
    traced, _, _ = calls(scaled, tensor(-3.0))
    monkeypatch.setattr(sys.modules[__name__], "SCALE", after)
    assert bits(traced(tensor(-3.0))) == bits(scaled(tensor(-3.0)))
    assert traced.explain() == "RECORD sees SCALE change"


def test_facts_of_the_code_inside(monkeypatch):
    def program(x):
        return (lambda y: scaled(y))(x)

    traced, _, _ = calls(program, tensor(3.0))
    assert traced.explain() == "REPLAY"
    monkeypatch.setattr(sys.modules[__name__], "scaled", tanh)
    assert bits(traced(tensor(3.0))) == bits(tanh(tensor(3.0)))


def test_one_tensor_passed_twice_has_a_signature_of_its_own():
    def program(x, y):
        x.assign(x + 1.0)
        return x * y

    x, y = tensor(1.0), tensor(10.0)
    traced, results, _ = calls(program, x, y)
    assert [r.item() for r in results] == [20.0, 30.0, 40.0, 50.0]
    assert [traced(x, x).item() for _ in range(4)] == [36.0, 49.0, 64.0, 81.0]
    assert traced.explain() == "REPLAY\nREPLAY"


def test_recordings_that_differ_say_where():
    xs = [tensor(1.0)]

    def program(x):
        return tanh(x) if xs else x

    traced, _, _ = calls(program, tensor(1.0), times=1)
    entry = entry_of(traced)
    other = calls(lambda x: -x, tensor(1.0), times=1)[0]
    message = entry.recording.difference(entry_of(other).recording)
    assert "negative(%x0)" in message and "tanh(%x0)" in message


# ---- transactions
def test_state_is_committed_at_the_end_only():
    first, second = tensor([[1.0, 2.0]]), tensor([[3.0, 4.0]])

    def program(x):
        first.assign(first + x)
        second.assign((second @ transpose(first)) * first)
        return mean(second)

    x = tensor([[0.5, 0.25]])
    traced, _, _ = calls(program, x)
    assert traced.explain() == "REPLAY"
    plan, before = entry_of(traced).plan, bits(first, second, x)
    space = plan.run.__globals__
    for number in range(len(plan.kernels)):

        def failing(*arrays):
            raise KeyboardInterrupt

        kernel, space[f"kernel{number}"] = space[f"kernel{number}"], failing
        with pytest.raises(KeyboardInterrupt):
            traced(x)
        space[f"kernel{number}"] = kernel
        assert bits(first, second, x) == before
    program(x)
    eager = bits(first, second)
    for handle, (aval, data) in zip((first, second), before):
        handle.assign(np.frombuffer(data, aval.dtype).reshape(aval.shape))
    traced(x)
    assert bits(first, second) == eager


def test_results_of_a_replay_refuse_a_gradient():
    weight = tensor(1.0, requires_grad=True)

    def program(x):
        loss = weight * weight * x
        (slope,) = gradients(loss, [weight])
        weight.assign(weight - 0.1 * slope)
        return loss

    _, results, _ = calls(program, tensor(1.0))
    gradients(results[0], [weight])
    with pytest.raises(RuntimeError, match="a replay keeps no tape"):
        gradients(results[-1], [weight])


def test_an_error_in_hybrids_own_work_reaches_nobody(monkeypatch):
    def failing(graph):
        raise ZeroDivisionError("no")

    monkeypatch.setattr(small, "lower", failing)
    traced, results, said = calls(lambda x: x + 1.0, tensor(1.0), times=6)
    assert [r.item() for r in results] == [2.0] * 6
    assert traced.explain() == "EAGER cannot be replayed: no" and len(said) == 1


def test_an_error_in_the_users_code_is_his():
    def program(x):
        return x @ x

    with pytest.raises((IndexError, ValueError)):
        calls(program, tensor([1.0]))
    assert not isinstance(small.STATE.mode, small.Recorder)
