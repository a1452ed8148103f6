"""Programs that replace functions of hybrid itself."""

from __future__ import annotations

from unittest import mock

import hybrid as hb
import hybrid.nn as nn

from ..helpers import calls, programs
from ..helpers import frozen_lin as lin

CASES, case, ORDINARY, ordinary = programs()


@case
def class_replaced(jit):
    m = lin()
    f = jit(lambda x: m(x) if isinstance(m, nn.Linear) else x)
    out = calls(f)
    with mock.patch.object(nn, "Linear", nn.ReLU):
        out += calls(f)
    return out + calls(f)


@case
def layer_made_inside(jit):
    f = jit(lambda x: nn.ReLU()(x))
    out = calls(f)
    with mock.patch.object(nn, "ReLU", nn.Tanh):
        out += calls(f)
    return out + calls(f)


@case
def setattr_of_module_class(jit):
    m = lin()
    f = jit(lambda x: m(x))
    out = calls(f)
    old = nn.Module.__setattr__
    nn.Module.__setattr__ = lambda self, k, v: object.__setattr__(self, k, v)
    try:
        m.weight = hb.zeros((3, 3))
        out += calls(f)
    finally:
        nn.Module.__setattr__ = old
    return out + calls(f)
