"""Branches and loops on every kind of device: recorded where their values are, replayed there."""

import numpy as np
import pytest
from backend_kinds import KINDS

import hybrid as h
from hybrid.core.errors import DeviceError
from hybrid.trace.follow.rows import SUPPORTED


def while_loop(n, x):
    return h.while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, s[1] * 2 - n), (n * 0, x))[1]


def scan(n, x):
    def step(carry, row):
        return h.cond(row.sum() > n, lambda c: c + row, lambda c: c - row, carry), carry * 2

    return h.scan(step, x * 0, h.stack([x, x * 3] * 20))


def counted(n, x):
    return h.fori_loop(0, n, lambda i, c: c * 0.5 + i, h.fori_loop(0, 40, lambda i, c: c + i, x))


def switch(n, x):
    return h.switch(n, [lambda v: v * 2, lambda v: v + 1], x)


def branches(n, x):
    return x + 1 if x.sum() > 0 else x - n


def loop_of_python(n, x):
    while x.sum() < 100:
        x = x * 2 + 7
    return x - n


PROGRAMS = (while_loop, scan, counted, switch, branches, loop_of_python)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.filterwarnings("ignore:.*runs eagerly")
def test_every_kind_gives_what_the_host_gives(kind, program):
    traced = h.function(program)
    for call in range(8):
        sign = 1 if call % 2 else -1
        given = np.array(call % 4), np.array([0.5, 1.0], np.float32) * sign
        there = [h.tensor(x, device=kind) for x in given]
        for results in (program(*there), traced(*there)):
            wanted = program(*map(h.tensor, given))
            listed = [r if isinstance(r, tuple) else (r,) for r in (results, wanted)]
            for found, value in zip(*listed, strict=True):
                assert found.device == kind
                assert found.to("cpu").numpy().tobytes() == value.numpy().tobytes()
    if SUPPORTED:
        info = traced.cache_info()
        assert info.replays >= 4 and not info.eager, traced.explain()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "cpu"])
def test_numbers_go_where_the_first_tensor_is(kind):
    one, x = h.tensor(1, device=kind), h.ones(2, device=kind)
    assert h.fori_loop(0, 3, lambda i, c: c + i, x).tolist() == [4, 4]
    assert h.fori_loop(one, 4, lambda i, c: c + i, x).tolist() == [7, 7]
    assert h.fori_loop(0, one, lambda i, c: c + i, 2).tolist() == 2
    with pytest.raises(DeviceError):
        h.fori_loop(h.tensor(0), one, lambda i, c: c + i, x)
