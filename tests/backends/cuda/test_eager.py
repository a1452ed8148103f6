"""Eager ops on a simulated card: the kernels are the emitted PTX, interpreted, and give the bits of
the CPU's; nothing waits, and what fails is told where the host waits."""

from __future__ import annotations

import numpy as np
import pytest
from gpu import SimulatedDriver
from test_ops_generic import NAMES, bits, cases, cast, dtypes_of, params_for, takes

import hybrid
from hybrid.backends.cuda.array import DeviceArray
from hybrid.backends.cuda.machine import driver as door
from hybrid.core import dtypes as dt
from hybrid.core.aval import HOST
from hybrid.core.errors import UnsupportedError
from hybrid.ir.door.bind import bind
from hybrid.ir.op import OPS

ON_HOST = [name for name in NAMES if OPS[name].kind == "host"]
ON_CARD = [name for name in NAMES if OPS[name].kind != "host"]


@pytest.fixture(scope="module", autouse=True)
def card():
    """A simulated card in the driver's place."""
    made = SimulatedDriver()
    before = door.use(made)
    yield made
    door.use(before)


def params_on(params, kind):
    return {k: hybrid.device(kind) if v is HOST else v for k, v in params.items()}


def results(op, arrays, params, kind):
    made = bind(op, *[hybrid.tensor(x, device=kind) for x in arrays], **params_on(params, kind))
    return made if isinstance(made, tuple) else (made,)


def same(op, arrays, params):
    """The op on both devices."""
    for a, b in zip(*[results(op, arrays, params, k) for k in ("cpu", "cuda")], strict=True):
        assert type(b._v) is DeviceArray and a.dtype is b.dtype and a.shape == b.shape
        np.testing.assert_array_equal(bits(a.numpy()), bits(b.numpy()), err_msg=str(params))


def calls(op, types, few):
    """Sampled calls of a record: arrays and parameters."""
    found = cases(op)
    found = found if few is None else found[:: max(1, len(found) // few)][:few]
    floats = any(x.dtype == np.float64 for xs, _ in cases(op) for x in xs)
    for d in types if floats else [dt.float64]:
        for xs, given in found:
            arrays, params = cast(xs, d, op), params_for(given, d, op)
            if takes(op, arrays, params):
                yield arrays, params


@pytest.mark.parametrize("name", ON_CARD)
def test_the_bits_are_those_of_the_host(name):
    op = OPS[name]
    types = dtypes_of(op)
    first = dt.float32 if dt.float32 in types else types[0]
    for arrays, params in calls(op, [first], 1):
        same(op, arrays, params)


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_CARD)
def test_the_bits_are_those_of_the_host_for_every_dtype(name):
    for arrays, params in calls(OPS[name], dtypes_of(OPS[name]), None):
        same(OPS[name], arrays, params)


@pytest.mark.parametrize("name", ON_HOST)
def test_what_is_the_hosts_says_so(name):
    arrays, params = cases(OPS[name])[0]
    with pytest.raises(UnsupportedError, match=rf"{name} .*cuda.*\.cpu\(\)"):
        results(OPS[name], arrays, params, "cuda")
