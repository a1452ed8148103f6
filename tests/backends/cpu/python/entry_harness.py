"""Handles, step descriptors and specifications for the tests of the replay entry."""

from __future__ import annotations

import numpy as np
import pytest
from native_kernels import code

from hybrid.backends.api import CHECKED, Held, Pointer, Replay, ReplayInput
from hybrid.backends.cpu.machine import alloc
from hybrid.backends.cpu.python.entry import build_entry
from hybrid.backends.cpu.python.replay import NativeReplay, PythonEntry
from hybrid.backends.plan import Slot
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.ir.tensor import Handle


class T(Handle):
    __slots__ = ()


class Param(Handle):
    __slots__ = ()


def tensor(a, cls=T, node=None):
    t = cls.__new__(cls)
    t._v, t._a, t._node = a, aval(a.shape, dt.canonical(a.dtype)), node
    return t


def ones(*shape, value=1.0, cls=T):
    return tensor(np.full(shape, value, np.float32), cls)


A = aval((4, 5), dt.float32)
# large arrays own their memory through a block
BIG = aval((alloc.LARGE // 1024 + 1, 256), dt.float32)


def words(*slots):
    return np.array([w for s in slots for w in ((s, 0) if isinstance(s, int) else s)], np.uint64)


class Steps:
    """Step descriptors and what keeps their words alive."""

    def __init__(self, *steps):
        self.keep = [words(*slots) for _, slots, *_ in steps]
        self.rows = tuple(
            (code(name), w.ctypes.data, *(rest or (20, 20)), 4096 if name == "scratch" else 0, 0)
            for (name, _, *rest), w in zip(steps, self.keep)
        )


def spec_of(steps=(), a=A, **more):
    s = Steps(*[(n, sl, *(rest or (a.size, 64))) for n, sl, *rest in steps])
    keep = (s.keep, more.pop("keep", None))
    more.setdefault("args", (a,))
    return native_replay(steps=s.rows, keep=keep, **more)


def native_replay(
    types=(T, Param),
    args=(A,),
    captures=(),
    places=(),
    nodes=None,
    tracked=(),
    states=(),
    outputs=(),
    form="single",
    guards=(),
    **more,
):
    """`captures`: (tensor, record); `places`: (address, record); `nodes`: input -> its node, and
    `tracked`: inputs with any; `outputs`: slots, or ~k for input k; `states`: (input, slot)."""
    sources = [(a, None) for a in args]
    sources += [(a, Held(tensor)) for tensor, a in captures]
    sources += [(a, Pointer(address)) for address, a in places]
    node = dict.fromkeys(tracked, CHECKED) | (nodes or {})
    inputs = tuple(ReplayInput(a, source, node.get(k)) for k, (a, source) in enumerate(sources))
    slots = [slot for slot in outputs if slot >= 0]
    numbers = iter(range(len(slots)))
    results = tuple(slot if slot < 0 else next(numbers) for slot in outputs)
    news = tuple((len(slots) + j, k) for j, (k, _) in enumerate(states))
    replay = Replay(inputs, news, results, form, types, guards=guards)
    return NativeReplay(replay, outputs=(*slots, *(slot for _, slot in states)), **more)


def step_spec(states, release=False, a=A, in_place=True, **more):
    """y = x + p0; p_k += x for every state."""
    n = len(states)
    slots = (
        Slot("input", a, 0),
        *(Slot("input", a, 1 + k) for k in range(n)),
        *(Slot("state", a, 1 + k, in_place) for k in range(n)),
        Slot("output", a),
    )
    steps = [("add", (0, 1, 2 * n + 1)), *(("add", (1 + k, 0, 1 + n + k)) for k in range(n))]
    return spec_of(
        steps,
        a,
        slots=slots,
        outputs=(2 * n + 1,),
        captures=tuple((s, a) for s in states),
        states=tuple((1 + k, 1 + n + k) for k in range(n)),
        release_gil=release,
        **more,
    )


both = pytest.mark.parametrize("build", [build_entry, PythonEntry])
