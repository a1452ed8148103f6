"""docs/hybrid_in_500_lines.md: its blocks are the program, and what it prints is what the page shows."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import subprocess
import sys
import tokenize
import warnings

import numpy as np
import pytest
from small_harness import (
    PAGE,
    ROOT,
    bits,
    blocks,
    gradients,
    mean,
    run,
    scope,
    sigmoid,
    small,
    softplus,
    sum_to,
    tanh,
    tensor,
    transpose,
)

LIMIT = 500


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
