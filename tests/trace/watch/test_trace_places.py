"""Tensors stored in Python places, tensors that are only looked at, hybrid's own functions replaced,
dictionaries and classes swapped, devices as values: recorded or not, the bits of plain Python."""

from __future__ import annotations

import collections
import ctypes
import importlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from adversary import common

import hybrid as hb
from hybrid import nn
from hybrid.backends.api import backend, layout
from hybrid.decorator import Function, RunsEagerly, function
from hybrid.trace.heap.allowlist import tame_key
from hybrid.trace.watch.events import Watch

SUITES = (
    "stores.class_stores stores.container_stores_1 stores.container_stores_2 "
    "stores.object_stores_1 stores.object_stores_2 stores.object_stores_3 "
    "places.observed_flags places.observed_identity_1 places.observed_identity_2 "
    "places.device_values places.patches_1 places.patches_2 "
    "stores.dictionaries_1 stores.dictionaries_2 "
    "places.places_1 places.places_2 places.places_3 places.places_4 places.places_5"
).split()
CASES: dict[str, Any] = {}
ORDINARY: set[str] = set()  # programs that must be replayed
for _suite in SUITES:
    _module = importlib.import_module(f"adversary.{_suite}")
    CASES |= {f"{_suite}-{n}": f for n, f in _module.CASES.items()}
    ORDINARY |= {f"{_suite}-{n}" for n in _module.ORDINARY}


@pytest.mark.parametrize("name", list(CASES))
def test_same_as_python(name: str) -> None:
    made = common.check(CASES[name])
    if name in ORDINARY:
        assert all(f.cache_info().replays for f in made)


def replayed(f: Any, *args: Any) -> Function:
    g = hb.function(f)
    for _ in range(4):
        g(*args)
    assert g.cache_info().replays
    return g


def test_explain_names_places():
    class Key:
        def __repr__(self) -> str:
            raise AssertionError("no user code runs")

    k = Key()
    table = {"rates": {"low": 2.0, k: 3.0}, "steps": [1.0, 2.0]}
    o = SimpleNamespace(conf={"inner": {"k": 2.0}})
    f = replayed(
        lambda x: (
            x
            * table["rates"]["low"]
            * table["rates"][k]
            * sum(table["steps"])
            * o.conf["inner"]["k"]
        ),
        hb.ones(2),
    )
    text = f.explain()
    for place in (
        "the variable table",
        "table['rates']['low']",
        "table['rates'][Key]",
        "table['steps'][1]",
        "len of table['steps']",
        "SimpleNamespace.conf['inner']['k']",
    ):
        assert place in text
    assert "dict[" not in text and "0x" not in text
    table["rates"]["low"] = 4.0
    f(hb.ones(2))
    assert "table['rates']['low'] (" in f.explain() and "2.0 -> 4.0" in f.explain()


def test_a_replaced_function_is_named(monkeypatch):
    m = nn.Linear(2, 2)
    f = replayed(lambda x: m(x).tanh(), hb.ones(2))
    n = f.cache_info().replays
    monkeypatch.setattr(hb.Tensor, "tanh", lambda x: x)
    f(hb.ones(2))
    assert "Tensor.tanh was replaced" in f.explain()
    monkeypatch.undo()
    f(hb.ones(2))
    assert f.cache_info().replays == n + 1  # the plan made before serves again


def test_a_plan_does_not_look_up_names_again():
    f = replayed(lambda x: x.tanh() + 1, hb.ones(2))
    (plan,) = next(iter(f._signatures.values())).plans
    assert plan.served is not None and plan.served.guard is None


def word(address):
    return ctypes.c_uint64.from_address(address).value


@pytest.mark.skipif(layout() is None, reason="object layouts are not known")
def test_version_numbers_are_found():
    known, d = layout(), {"a": 1}
    address = known.dict_version(d)
    if address is not None:
        was = word(address)
        d["a"] = 2
        assert word(address) != was

    class Base:
        k = 1

    class Below(Base):
        pass

    address = known.class_version(Below)
    assert address is not None
    was = word(address)
    assert Below.k == 1 and word(address) == was
    Base.k = 2
    assert word(address) != was
    assert Below.k == 2 and word(known.class_version(Below) or 0) != was


def test_without_a_layout_python_checks_what_was_patched(monkeypatch):
    """The same answer, from the names themselves."""
    monkeypatch.setattr(backend("cpu"), "layout", lambda: None)
    f = function(lambda x: hb.exp(x) + 1)
    x = hb.asarray([1.0, 2.0])
    plain = [f(x).tolist() for _ in range(4)]
    assert plain == [plain[0]] * 4 and f.cache_info().replays == 2
    monkeypatch.setattr(hb, "exp", lambda x: x * 2)
    assert f(x).tolist() == [3.0, 5.0]


def test_a_store_without_a_primitive_is_a_reason():
    class Key:
        def __init__(self, n: int) -> None:
            self.n = n

        def __hash__(self) -> int:
            return self.n

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Key) and other.n == self.n

    assert not tame_key(Key(1)) and not tame_key((1, Key(1)))
    assert tame_key(("a", 1)) and tame_key(object()) and tame_key(hb.device("cpu"))
    k, d = Key(1), {Key(1): hb.ones(2)}

    def step(x: Any) -> Any:
        d[k] = d[k] + x
        return d[k]

    f = hb.function(step)
    with pytest.warns(RunsEagerly, match="no replay can put"):
        out = [f(hb.ones(2)).tolist() for _ in range(4)]
    assert out[-1] == [5.0, 5.0] and d[k].tolist() == [5.0, 5.0]


def test_devices_are_texts():
    d = hb.device("cpu")
    assert d == "cpu" and d == "cpu:0" and d != "cuda" and {d: 1}["cpu"] == 1
    assert hb.device("cuda") == "cuda" and hb.device("cuda") == "cuda:0"
    assert d.type == d.kind == "cpu" and hb.device("cuda:1").index == 1
    assert repr(d) == str(d) == f"{d}" == "cpu" and type(str(d)) is str
    assert hb.Device("cpu") is d and hb.zeros(2, device="cpu").device is d
    assert np.array([1.0]).shape == hb.ones(1, device=d).shape


def test_tensors_that_hybrids_own_code_looks_at_are_noted():
    m = nn.Linear(2, 2)
    w = Watch()
    with w:
        m.to("float32")  # reads the dtype of each
    assert {id(m.weight), id(m.bias)} <= set(w.looked)
    f = replayed(lambda x: (m.to("float32"), x * 2)[1], hb.ones(2))
    (plan,) = next(iter(f._signatures.values())).plans
    assert plan.recording.captures == 2


def test_a_fact_names_the_line_that_reads_it():
    layer = SimpleNamespace(k=2.0, bias=1.0)
    box = SimpleNamespace(layer=layer, other=SimpleNamespace(s=1.0))

    def step(x):
        found = box.layer
        y = x * box.other.s
        y = y + found.bias
        return y * found.k

    first = step.__code__.co_firstlineno
    f, x = replayed(step, hb.ones(2)), hb.ones(2)
    for holder, name, line in (
        (layer, "k", 4),
        (layer, "bias", 3),
        (box.other, "s", 2),
        (box, "layer", 1),
    ):
        setattr(holder, name, SimpleNamespace(k=5.0, bias=2.0) if name == "layer" else 3.0)
        f(x)
        assert f".{name} (test_trace_places.py:{first + line})" in f.explain(), name


@pytest.mark.parametrize("make", [list, dict, set, collections.deque])
@pytest.mark.parametrize(
    "branch",
    [
        lambda log, x: x * 2 if log else x + 1,
        lambda log, x: x * 2 if not log else x + 1,
        lambda log, x: x + 1 if (log and 1) == 1 else x * 2,
        lambda log, x: x + 1 if (log or 1) == 1 else x * 2,
    ],
)
def test_whether_a_container_is_empty_is_a_fact(make, branch):
    log = make()
    f, x = function(lambda x: branch(log, x)), hb.ones(2) * 5
    for k in range(24):
        if k % 8 == 4:
            put = {list: "append", collections.deque: "append", set: "add"}.get(make)
            log.update({1: 2}) if make is dict else getattr(log, put)(1)
        if k % 8 == 0:
            log.clear()
        assert f(x).tolist() == branch(log, x).tolist(), k
    assert f.cache_info().replays >= 10, f.explain()


def test_a_store_into_an_object_that_computes_its_attributes():
    class Computing:
        def __getattribute__(self, name):
            return object.__getattribute__(self, name)

    kept = Computing()

    @hb.function
    def keep(x):
        kept.last = x * 2

    for k in range(5):
        keep(hb.ones(2) * k)
        assert kept.last.tolist() == [2.0 * k, 2.0 * k]
