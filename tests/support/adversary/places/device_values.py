"""Programs that use devices as values."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import hybrid as hb
import hybrid.nn.functional as F

from ..common import NS
from ..helpers import T, calls, lin, programs

CASES, case, ORDINARY, ordinary = programs()


@ordinary
def zeros_on_its_device(jit):
    f = jit(lambda x: x + hb.zeros(3, device=x.device))
    return calls(f)


@ordinary
def to_its_device(jit):
    o = NS(t=T(1, 2, 3))
    f = jit(lambda x: o.t.to(x.device) + x)
    return calls(f)


@ordinary
def device_type(jit):
    f = jit(lambda x: x * 2 if x.device.type == "cpu" else x)
    return calls(f)


@ordinary
def device_kind(jit):
    f = jit(lambda x: x * 2 if x.device.kind == "cpu" and x.device.index == 0 else x)
    return calls(f)


@ordinary
def device_equals_text(jit):
    f = jit(lambda x: x * 2 if x.device == "cpu" else x)
    return calls(f)


@ordinary
def device_is_not(jit):
    f = jit(lambda x: x * 2 if x.device != "cuda" and x.device != hb.device("cuda:1") else x)
    return calls(f)


@ordinary
def device_in_tuple(jit):
    f = jit(lambda x: x * 2 if x.device in ("cpu", "cuda") else x)
    return calls(f)


@ordinary
def device_text(jit):
    f = jit(lambda x: x * len(str(x.device)) + len(f"{x.device}") + len(repr(x.device)))
    return calls(f)


@ordinary
def device_as_key(jit):
    d = {hb.device("cpu"): 2.0, hb.device("cuda"): 3.0}
    f = jit(lambda x: x * d[x.device])
    out = calls(f)
    d[hb.device("cpu")] = 5.0
    return out + calls(f)


@ordinary
def device_argument(jit):
    f = jit(lambda x, d: x + hb.ones(3, device=d))
    return calls(f, 4, hb.device("cpu")) + calls(f, 4, "cpu")


@ordinary
def device_captured(jit):
    dev = hb.device("cpu")
    o = NS(dev=dev)
    f = jit(lambda x: x + hb.ones(3, device=o.dev) + hb.ones(3, device=dev))
    out = calls(f)
    o.dev = "cpu"
    return out + calls(f)


@ordinary
def device_of_module(jit):
    m = lin()

    @jit
    def f(x):
        dev = next(iter(m.parameters())).device
        return x + hb.ones(3, device=dev)

    return calls(f)


@ordinary
def device_made_inside(jit):
    f = jit(lambda x: x + hb.ones(3, device=hb.device("cpu")))
    return calls(f)


@ordinary
def device_global(jit):
    o = NS(device=hb.device("cpu"), k=2)

    @jit
    def f(x):
        mask = hb.arange(3, device=o.device).to(x.dtype)
        return x * mask.to(device=o.device) * o.k

    out = calls(f)
    o.k = 3
    return out + calls(f)


@ordinary
def device_returned(jit):
    f = jit(lambda x: (x * 2, x.device))
    return [[a, str(d), d is hb.device("cpu")] for a, d in calls(f)]


@ordinary
def device_hash(jit):
    f = jit(lambda x: x * (2 if hash(x.device) == hash(hb.device("cpu")) else 3))
    return calls(f)


@case
def device_copied(jit):
    d = hb.device("cpu")
    o = NS(d=copy.deepcopy(d), e=pickle.loads(pickle.dumps(d)), c=copy.copy(d))  # noqa: S301
    f = jit(lambda x: x * 2 if o.d is x.device and o.e is x.device and o.c is x.device else x)
    return calls(f)


@case
def device_in_dataclass(jit):
    import dataclasses

    @dataclasses.dataclass
    class Cfg:
        device: Any = hb.device("cpu")  # noqa: RUF009
        n: int = 3

    cfg = Cfg()
    f = jit(lambda x: x + hb.full((cfg.n,), 2.0, device=cfg.device))
    out = calls(f)
    cfg.device = "cpu"
    return out + calls(f)


@case
def same_device_check(jit):
    m = lin()
    f = jit(lambda x: F.relu(m(x.to(m.weight.device))) if m.weight.device is x.device else x)
    return [v.detach() for v in calls(f)]
