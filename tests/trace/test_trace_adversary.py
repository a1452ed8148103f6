"""Adversarial programs: recorded or not, @function gives the bits of plain Python."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from adversary import common
from adversary.mixed import part1, part2, part3, part4, part5, part6, part7

from hybrid.decorator import Function, RunsEagerly, function

CASES = {
    **part1.CASES,
    **part2.CASES,
    **part3.CASES,
    **part4.CASES,
    **part5.CASES,
    **part6.CASES,
    **part7.CASES,
}


@pytest.mark.parametrize("name", list(CASES))
def test_same_as_python(name: str) -> None:
    made: list[Function] = []

    def jit(f: Any) -> Function:
        made.append(function(f))
        return made[-1]

    want = common.run(CASES[name], lambda f: f)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsEagerly)
        got = common.run(CASES[name], jit)
    assert common.same(want[0], got[0])
    assert want[1] == got[1]
