"""Plans on disk: another process takes what one made, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid.backends.cpu import kept
from hybrid.backends.cpu.machine import jit
from hybrid.backends.cpu.machine.diskcache import DiskCache
from hybrid.compiler import identity
from hybrid.core.precision import MATMUL
from hybrid.ir import op as records
from hybrid.ir.scalar.program import Instr, Program
from hybrid.trace.serve import prepare


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(identity, "FEW", 1)
    folder = tmp_path / "kept"
    before = jit.set_cache(DiskCache(folder))
    yield folder
    jit.set_cache(before)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The graphs that went through the pipeline."""
    seen: list[Any] = []
    build = prepare.build

    def counted(graph: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(graph)
        return build(graph, *args, **kwargs)

    monkeypatch.setattr(prepare, "build", counted)
    return seen


def training(slope: float = 0.5, width: int = 8, dtype: str = "float32") -> Callable[[], Any]:
    """Three calls of a training step made anew: loss, parameters and the function."""
    hb.random.seed(0)
    model = hb.nn.Sequential(*[hb.nn.Linear(width, width) for _ in range(3)]).to(dtype)
    optimizer = hb.optim.Adam(model.parameters(), lr=0.125)
    x = hb.tensor(np.linspace(-1, 1, 4 * width).reshape(4, width)).astype(dtype)

    @hb.function
    def step(x):
        loss = hb.nn.functional.leaky_relu(model(x), slope).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    def run() -> Any:
        losses = [step(x).item() for _ in range(4)]
        return losses, [p.numpy().tobytes() for p in model.parameters()], step, x

    return run


def plans_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.plan"))


def test_an_equal_step_takes_the_plan_and_gives_the_same_bits(cache, built):
    losses, parameters, step, x = training()()
    assert len(built) == 1 and len(plans_in(cache)) == 1
    again, same, other, y = training()()
    assert len(built) == 1 and (again, same) == (losses, parameters)
    assert other.cache_info().replays == step.cache_info().replays > 0
    # whoever looks sees the plan that the pipeline makes
    plan = next(iter(other._signatures.values())).plans[0].run
    first = next(iter(step._signatures.values())).plans[0].run
    assert plan.executable.plan == first.executable.plan
    assert repr(plan.executable.plan) == repr(first.executable.plan)
    assert plan.result.plan == first.result.plan and len(built) >= 2
    assert str(other.graph(y)) == str(step.graph(x))


def test_lines_are_those_of_the_program_that_runs(cache, built):
    def deep(offset: int) -> Any:
        space: dict[str, Any] = {"hb": hb}
        body = "\n" * offset + "def f(x):\n  y = hb.exp(x)\n  return y.sum()\n"
        exec(compile(body, "deep.py", "exec"), space)
        f = hb.function(space["f"])
        for _ in range(3):
            f(hb.ones(50))
        return next(iter(f._signatures.values())).plans[0].run.executable.plan

    first, second = deep(0), deep(10)
    assert len(built) == 1
    assert [s.line + 10 for s in first.sites] == [s.line for s in second.sites]


@pytest.mark.parametrize(
    "changed", [{"slope": 0.25}, {"slope": -0.0}, {"width": 9}, {"dtype": "float64"}], ids=repr
)
def test_what_differs_is_made_anew(cache, built, changed):
    first = training(**({"slope": 0.0} if changed == {"slope": -0.0} else {}))
    first()
    training(**changed)()
    assert len(built) == 2 and len(plans_in(cache)) == 2


def test_the_precision_of_products_is_a_part_of_it(cache, built, monkeypatch):
    training()()
    monkeypatch.setattr(MATMUL, "fast", True)
    training()()
    assert len(built) == 2


def test_another_version_makes_its_own(cache, built, monkeypatch):
    training()()
    monkeypatch.setattr(identity, "_version", lambda: b"another")
    training()()
    assert len(built) == 2


@pytest.mark.parametrize("spoil", [lambda b: b"", lambda b: b[:-1], lambda b: b + b"x"])
def test_a_spoiled_plan_is_made_again(cache, built, spoil):
    expected = training()()[:2]
    (path,) = plans_in(cache)
    path.write_bytes(spoil(path.read_bytes()))
    assert training()()[:2] == expected and len(built) == 2
    assert training()()[:2] == expected and len(built) == 2


def test_a_plan_whose_code_is_gone_is_made_again(cache, built, monkeypatch):
    expected = training()()[:2]
    monkeypatch.setattr(kept, "codes_of", lambda wanted: None)
    assert training()()[:2] == expected and len(built) == 2


def test_code_that_is_nowhere_is_told():
    assert jit.codes_of([("t_kept_nowhere", b"d" * 32)]) is None
    text = "define i64 @t_kept_one() { ret i64 1 }"
    (code,) = jit.compile_many([("t_kept_one", text)])
    assert jit.codes_of([("t_kept_one", code.digest)] * 2) == [code, code]
    assert jit.codes_of([("t_kept_one", b"d" * 32)]) is None


HOSTILE = (
    b"", b"[]", b"null", b"[1, 2, 3]", b"\xff", b"[" * 100_000, b'{"Plan": []}', b'{"os": "system"}',
    b'[{"Plan": [[], [], [], [], 0, [], [], []]}, [[0, "x", "00", [], 1, 1, 1]], 0]',
    b'[{"Plan": {"slots": []}}, [], 0]', b'[{"again": 7}, [], 0]', b'[{"a": 1, "b": 2}, [], 0]',
    b'[{"array": [[1000000], "float32", ""]}, [], 0]', b'[{"dtype": "object"}, [], 0]',
    b'[{"__class__": []}, [], 0]', b'[{"float": "zz"}, [], 0]', b'[{"Slot": [1]}, [], 0]',
)  # fmt: skip


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
def test_text_that_is_no_plan_is_a_miss(body, monkeypatch):
    monkeypatch.setattr(kept, "stored", lambda key, what: body)
    assert kept.read(b"x") is None


def test_values_come_back_as_they_were():
    """Numbers by their bits, texts, dtypes, arrays; a program met again is one program."""
    program = Program(
        (Instr("const", "f64", (), -0.0), Instr("const", "f64", (), float("nan"))), (), (), (0,)
    )
    array = np.array([[np.inf, -0.0]], np.float32)
    given = (program, 1, True, None, "x", (1.5, ()), np.dtype("float16"), array, 1 << 70, program)
    text = json.dumps(kept._Writer().plain(given))
    found = kept._tuples(json.loads(text, object_hook=kept._Reader().value))
    assert found[0] is found[-1] and repr(found[0]) == repr(program)
    assert np.signbit(found[0].instrs[0].attr) and found[7].tobytes() == array.tobytes()
    assert found[1:7] == given[1:7] and type(found[2]) is bool and found[8] == 1 << 70
    for wrong in (object(), {1: 2}, np.float32(1.0), b"bytes", print):
        with pytest.raises(TypeError, match="no "):
            kept._Writer().plain((wrong,))


def test_records_of_a_program_have_no_identity(monkeypatch):
    graph = next(iter(_graphs()))
    monkeypatch.setattr(identity, "FEW", 1)
    assert identity.identity_of(graph, ()) is not None
    monkeypatch.setattr(records, "_STOCK", {})
    assert identity.identity_of(graph, ()) is None


@pytest.mark.parametrize("wrong", [{"BEGAN": 0.0}, {"MAKERS": ("nn",)}, {"PACKAGE": "/nowhere"}])
def test_code_that_is_not_what_runs_has_no_identity(monkeypatch, wrong):
    """It was written since, or its text is not all there."""
    monkeypatch.setattr(identity, "FEW", 1)
    identity._version.cache_clear()
    for name, value in wrong.items():
        monkeypatch.setattr(identity, name, value)
    assert identity.identity_of(next(_graphs()), ()) is None
    identity._version.cache_clear()


def _graphs() -> Iterator[Any]:
    f = hb.function(lambda x: hb.exp(x) + 1)
    for _ in range(3):
        f(hb.ones(3))
    yield next(iter(f._signatures.values())).plans[0].recording.graph


@pytest.mark.parametrize("function", [hb.linalg.inv, lambda x: hb.sort(x)])
def test_plans_with_host_steps_are_not_kept(cache, built, function):
    def run() -> Any:
        f = hb.function(lambda x: function(x @ x).sum())
        return [f(hb.eye(9) * 2).item() for _ in range(3)]

    assert run() == run() and len(built) == 2 and not plans_in(cache)
