"""Random programs that compose Python's features with tensors: decorated as plain, after every
call.

HYBRID_FUZZ=N runs N seeds; `python -m tests.support.features` runs for hours and shrinks what fails.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from features import REFUSED, Block, Case, failure_of, make_case, shrunk
from features import play as playing
from features.play import play, script

import hybrid as hb

PROGRAMS = int(os.environ.get("HYBRID_FUZZ", "150"))
BLOCKS = 10


@pytest.mark.parametrize("block", range(BLOCKS))
def test_random_programs(block: int) -> None:
    for seed in range(block, PROGRAMS, BLOCKS):
        case = make_case(seed)
        failure, _ = failure_of(case)
        if failure and not failure.startswith(REFUSED):
            case, failure = shrunk(case)
            pytest.fail(script(case, failure))


def test_many_programs_are_replayed() -> None:
    """Otherwise the comparison says nothing of replays."""
    replayed = 0
    for seed in range(40):
        made: list[Any] = []

        def decorate(fn: Any) -> Any:
            made.append(hb.function(fn))
            return made[-1]

        play(make_case(seed), decorate)
        replayed += made[-1].cache_info().replays > 0
    assert replayed >= 8


def frozen_at_first(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that is wrong: what `gain` was at first stays."""
    space = dict(fn.__globals__)
    first = [space["gain"]]

    def call(*args: Any, **kwargs: Any) -> Any:
        now, fn.__globals__["gain"] = fn.__globals__["gain"], first[0]
        try:
            return fn(*args, **kwargs)
        finally:
            fn.__globals__["gain"] = now

    return call


def test_a_wrong_decorator_is_found_and_the_program_shrunk(monkeypatch: Any) -> None:
    case = make_case(0)
    case.body = [Block("if flag:", [Block("x = x * gain")]), Block("x = hb.tanh(x)")]
    case.calls = [("", [f"T({k})"]) for k in range(4)]
    case.calls.append(("gain = 3.0\nflag = True", ["T(5)"]))
    assert failure_of(case)[0] == ""
    monkeypatch.setattr(playing.hb, "function", frozen_at_first)
    monkeypatch.setattr(playing, "HIDDEN", (*playing.HIDDEN, type(frozen_at_first)))
    small, failure = shrunk(case)
    assert "result" in failure
    assert [line for b in small.body for line in b.lines(0)] == ["x = x * gain"]
    assert [change for change, _ in small.calls if change] == ["gain = 3.0"]
    assert isinstance(small, Case) and "x = x * gain" in script(small, failure)


def test_the_same_seed_is_the_same_program() -> None:
    assert make_case(5).source() == make_case(5).source()
    assert make_case(5).calls == make_case(5).calls != make_case(6).calls


def test_a_script_runs(capsys: Any) -> None:
    exec(compile(script(make_case(1), "none"), "script", "exec"), {"__name__": "script"})
    shown = re.sub(r"grad_fn=<[^>]*>", "grad_fn", capsys.readouterr().out)
    plain, decorated = shown.split("----\n")[1:]
    assert plain == decorated and plain.count("\n") >= 10
