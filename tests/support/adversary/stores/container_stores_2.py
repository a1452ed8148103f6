"""Programs that store tensors in containers, with and without code of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..common import X
from ..helpers import T, programs

CASES, case, ORDINARY, ordinary = programs()
LAST: Any = None


@case
def tensor_in_set(jit):
    s = set()
    t = T(1, 1, 1)

    @jit
    def f(x):
        s.clear()
        s.add(x + t)
        return x * 2

    out = []
    for k in range(5):
        out += [f(X(k)), [v.numpy().copy() for v in s]]
    return out


@case
def tensor_as_key(jit):
    t = T(1, 1, 1)
    d = {t: T(2, 2, 2)}

    @jit
    def f(x):
        d[t] = d[t] + x
        return d[t]

    out = []
    for k in range(5):
        out += [f(X(k)), d[t], len(d)]
    return out


@case
def object_array(jit):
    a = np.empty(2, object)
    a[0] = T(1, 1, 1)

    @jit
    def f(x):
        a[0] = x + 1
        return x * 2

    out = []
    for k in range(5):
        out += [f(X(k)), a[0]]
    return out
