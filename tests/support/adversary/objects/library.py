"""Programs in which the standard library, comparisons, enums and NumPy work on a user's objects.

Each takes `jit` (identity or hybrid.function) and returns everything a user could see; both must
agree exactly.
"""

from __future__ import annotations

import abc
import collections
import dataclasses
import enum
import functools
import inspect
import json
import string
import typing
import warnings

import numpy as np

import hybrid as hb

from ..common import NS, suite
from .neighbours import acts, put, simple_in, world

CASES, case = suite()
simple = functools.partial(simple_in, case)


# ---- the standard library
@dataclasses.dataclass
class Point:
    a: float = 1.0
    b: list = dataclasses.field(default_factory=lambda: [2.0])


@dataclasses.dataclass(frozen=True, order=True)
class Frozen:
    a: float = 1.0
    c: typing.ClassVar[float] = 3.0


def point():
    return NS(p=Point(), z=Frozen())


simple("asdict", lambda w, x: x * dataclasses.asdict(w.p)["a"], put("p", "a", 4.0), make=point)
simple(
    "replaced",
    lambda w, x: x * dataclasses.replace(w.p, a=2.0).b[0],
    lambda w: w.p.b.__setitem__(0, 5.0),
    make=point,
)
simple("fields", lambda w, x: x * len(dataclasses.fields(w.p)), make=point)
simple("dataclass_repr", lambda w, x: x * len(repr(w.p)), put("p", "a", 444.0), make=point)
simple(
    "dataclass_eq", lambda w, x: x * 2 if w.p == Point() else x * 3, put("p", "a", 4.0), make=point
)
simple(
    "frozen_order",
    lambda w, x: x * 2 if w.z < Frozen(2.0) else x * 3,
    lambda w: object.__setattr__(w.z, "a", 9.0),
    make=point,
)
simple("frozen_class_variable", lambda w, x: x * w.z.c, make=point)
simple("json", lambda w, x: x * len(json.dumps(vars(w.p))), put("p", "a", 444.0), make=point)
simple(
    "template",
    lambda w, x: x * len(string.Template("$a").substitute(a=w.p.a)),
    put("p", "a", 444.0),
    make=point,
)
simple(
    "signature",
    lambda w, x: x * len(inspect.signature(w.go).parameters),
    put("", "go", lambda a: 1),
    make=lambda: NS(go=lambda a, b: 1),
)
simple("annotations", lambda w, x: x * len(typing.get_type_hints(type(w.p))), make=point)
simple(
    "chain_map",
    lambda w, x: x * collections.ChainMap(w.d, {"k": 1.0})["k"],
    lambda w: w.d.update(k=4.0),
    make=lambda: NS(d={"k": 2.0}),
)
simple(
    "user_dict",
    lambda w, x: x * w.d["k"],
    lambda w: w.d.update(k=4.0),
    make=lambda: NS(d=collections.UserDict(k=2.0)),
)
simple(
    "ordered",
    lambda w, x: x * sum(w.d.values()),
    lambda w: w.d.update(k=4.0),
    make=lambda: NS(d=collections.OrderedDict(k=2.0)),
)
simple(
    "counter",
    lambda w, x: x * w.d.most_common(1)[0][1],
    lambda w: w.d.update("aaa"),
    make=lambda: NS(d=collections.Counter("aab")),
)
simple(
    "default_dict",
    lambda w, x: x * w.d["k"],
    lambda w: w.d.update(k=4.0),
    make=lambda: NS(d=collections.defaultdict(float, k=2.0)),
)
simple(
    "total_ordering",
    lambda w, x: x * 2 if w.v >= w.u else x * 3,
    lambda w: setattr(w.v, "k", 0.0),
    make=lambda: _ordered(),
)


def _ordered():
    @functools.total_ordering
    class V:
        def __init__(self, k):
            self.k = k

        def __eq__(self, o):
            return self.k == o.k

        def __lt__(self, o):
            return self.k < o.k

    return NS(v=V(2.0), u=V(1.0))


simple(
    "abc_check",
    lambda w, x: x * 2 if isinstance(w.o, w.A) else x * 3,
    lambda w: w.A.register(w.Cfg),
    make=lambda: _abstract(),
)


def _abstract():
    w = world()
    w.A = abc.ABCMeta("A", (), {})
    return w


simple(
    "protocol",
    lambda w, x: x * 2 if isinstance(w.o, Runs) else x * 3,
    lambda w: setattr(w.Cfg, "run", 1),
)


@typing.runtime_checkable
class Runs(typing.Protocol):
    def run(self): ...


T = typing.TypeVar("T")


class Box(typing.Generic[T]):
    def __init__(self, v):
        self.v = v


simple("generic", lambda w, x: x * Box[float](w.o.k).v, put("o", "k", 5.0))


# ---- comparing and hashing
def equal():
    log = []

    class E:
        def __init__(self, k):
            self.k = k

        def __eq__(self, o):
            return self.k == o.k

        def __hash__(self):
            return hash(self.k)

    w = NS(E=E, a=E(1), b=E(2), log=log)
    w.l, w.d, w.s = [w.a], {w.a: 2.0}, {w.a}
    return w


simple(
    "in_list",
    lambda w, x: x * 2 if w.E(1) in w.l else x * 3,
    lambda w: setattr(w.a, "k", 5),
    make=equal,
)
simple(
    "in_dict",
    lambda w, x: x * w.d.get(w.E(1), 9.0),
    lambda w: w.d.update({w.E(1): 4.0}),
    make=equal,
)
simple(
    "in_set", lambda w, x: x * 2 if w.E(2) in w.s else x * 3, lambda w: w.s.add(w.E(2)), make=equal
)
simple(
    "by_object",
    lambda w, x: x * w.d[w.a],
    lambda w: w.d.update({w.a: 4.0}),
    lambda w: w.d.update({w.b: 7.0}),
    make=equal,
)
simple("index_of", lambda w, x: x * (1 + w.l.index(w.a)), lambda w: w.l.insert(0, w.b), make=equal)
simple(
    "eq_replaced",
    lambda w, x: x * 2 if w.a == w.E(1) else x * 3,
    lambda w: setattr(w.E, "__eq__", lambda s, o: False),
    make=equal,
)
simple(
    "enum_key",
    lambda w, x: x * w.d[Mode.A],
    lambda w: w.d.update({Mode.A: 5.0}),
    make=lambda: NS(d={Mode.A: 2.0, Mode.B: 3.0}),
)
simple("enum_iter", lambda w, x: x * sum(m.value for m in Mode), make=acts)
simple("enum_by_value", lambda w, x: x * Mode(w.v).value, put("", "v", 2), make=lambda: NS(v=1))
simple("enum_by_name", lambda w, x: x * Mode[w.v].value, put("", "v", "B"), make=lambda: NS(v="A"))
simple("enum_match", lambda w, x: x * w.m.factor(), put("", "m", None), make=lambda: NS(m=Mode.A))


class Mode(enum.Enum):
    A = 1
    B = 2

    def factor(self):
        return self.value * 2.0


# ---- NumPy
simple(
    "array_writeable",
    lambda w, x: x * 2 if w.a.flags.writeable else x * 3,
    lambda w: w.a.setflags(write=False),
    make=lambda: NS(a=np.zeros(3)),
)


def _in_place(o, name, value):
    """Set a field of an array, which newer NumPy advises against."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        setattr(o, name, value)


simple(
    "array_shape_set",
    lambda w, x: x * w.a.shape[0],
    lambda w: _in_place(w.a, "shape", (2, 3)),
    make=lambda: NS(a=np.zeros((3, 2))),
)
simple(
    "array_dtype_set",
    lambda w, x: x * float(w.a[0]),
    lambda w: _in_place(w.a, "dtype", np.int32),
    make=lambda: NS(a=np.float32([1, 2])),
)
simple(
    "array_base",
    lambda w, x: x * 2 if w.a.base is None else x * 3,
    lambda w: setattr(w, "a", w.a[:]),
    make=lambda: NS(a=np.zeros(3)),
)
simple(
    "array_transposed",
    lambda w, x: x * float(w.a.T[0, 1]),
    lambda w: w.a.__setitem__((1, 0), 5.0),
    make=lambda: NS(a=np.ones((2, 2))),
)
simple(
    "array_item",
    lambda w, x: x * w.a.item(0),
    lambda w: w.a.__setitem__(0, 5.0),
    make=lambda: NS(a=np.ones(2)),
)
simple(
    "array_sum",
    lambda w, x: x * float(np.sum(w.a)),
    lambda w: w.a.__setitem__(0, 5.0),
    make=lambda: NS(a=np.ones(2)),
)
simple(
    "array_list",
    lambda w, x: x * float(sum(w.l)[0]),
    lambda w: w.l[0].__setitem__(0, 5.0),
    make=lambda: NS(l=[np.ones(2)]),
)
simple(
    "record_array",
    lambda w, x: x * float(w.a.k[0]),
    lambda w: w.a.k.__setitem__(0, 5.0),
    make=lambda: NS(a=np.rec.array([(1.0,)], [("k", "f4")])),
)
simple(
    "scalar_swapped",
    lambda w, x: x * w.v,
    put("", "v", np.float64(2.0)),
    put("", "v", 2.0),
    make=lambda: NS(v=np.float32(2.0)),
)
simple(
    "dtype_swapped",
    lambda w, x: (x * 1.5).astype(w.v),
    put("", "v", np.dtype("f8")),
    make=lambda: NS(v=np.dtype("i4")),
)
simple(
    "array_of_cfg",
    lambda w, x: x * hb.asarray(w.a),
    lambda w: w.a.__setitem__(0, 5.0),
    make=lambda: NS(a=np.float32([1, 2, 3])),
)
