"""Programs on NumPy data, dictionaries keyed by tensors, and containers that hold themselves.

Each takes `jit` (identity or hybrid.function) and returns everything a user could see; both must
agree exactly.
"""

from __future__ import annotations

import functools

import numpy as np

import hybrid as hb

from ..common import NS, X, suite
from .callables import steps

CASES, case = suite()


# ---- NumPy data
def numpy_case(name, read, *arrays, captured=True):
    def program(jit):
        f = jit(lambda x, a: x * read(a))
        r = [f(X(), a) for a in arrays for _ in range(4)] + [f(X(), arrays[0]) for _ in range(2)]
        if captured:
            c = NS(a=arrays[0])
            g = jit(lambda x: x * read(c.a))
            r += steps(g, *[functools.partial(setattr, c, "a", a) for a in arrays[1:]])
        return r

    program.__name__ = f"numpy_{name}"
    return case(program)


_A = np.float32([[1, 2, 3], [4, 5, 6]])
numpy_case(
    "unit_scalar",
    lambda a: a / np.timedelta64(1, "s"),
    np.timedelta64(1, "s"),
    np.timedelta64(1, "h"),
)
numpy_case(
    "unit_date",
    lambda a: float(a.astype("M8[D]").astype(int)),
    np.datetime64("1970-01-02", "D"),
    np.datetime64("1970-01-02T00", "h"),
)
numpy_case(
    "unit_array",
    lambda a: float((a / np.timedelta64(1, "s"))[0]),
    np.array([1], "m8[s]"),
    np.array([1], "m8[h]"),
)
numpy_case(
    "names",
    lambda a: float(len(a.dtype.names[0])),
    np.zeros(2, [("a", "f4")]),
    np.zeros(2, [("bbb", "f4")]),
)
numpy_case(
    "titles",
    lambda a: float(len(a.dtype.fields)),
    np.zeros(2, [("a", "f4")]),
    np.zeros(2, [(("t", "a"), "f4")]),
)
numpy_case(
    "offsets",
    lambda a: float(a.dtype.fields["a"][1] + 1),
    np.zeros(2, {"names": ["a"], "formats": ["f4"], "offsets": [0], "itemsize": 8}),
    np.zeros(2, {"names": ["a"], "formats": ["f4"], "offsets": [4], "itemsize": 8}),
)
numpy_case(
    "align",
    lambda a: 2.0 if a.dtype.isalignedstruct else 3.0,
    np.zeros(2, np.dtype([("a", "f4")])),
    np.zeros(2, np.dtype([("a", "f4")], align=True)),
)
numpy_case(
    "metadata",
    lambda a: float(len(a.dtype.metadata or {}) + 1),
    np.zeros(2, np.dtype("f4")),
    np.zeros(2, np.dtype("f4", metadata={"k": 1})),
)
numpy_case("order", lambda a: 2.0 if a.flags.c_contiguous else 3.0, _A.copy("C"), _A.copy("F"))
numpy_case("strides", lambda a: float(a.strides[0]), _A.copy("C"), _A.copy("F"))
numpy_case(
    "writeable",
    lambda a: 2.0 if a.flags.writeable else 3.0,
    _A.copy(),
    np.frombuffer(_A.tobytes(), "f4").reshape(2, 3),
)
numpy_case("byte_order", lambda a: 2.0 if a.dtype.isnative else 3.0, _A.copy(), _A.astype(">f4"))
numpy_case(
    "void",
    lambda a: float(a["a"]),
    np.array([(1.0,)], [("a", "f4")])[0],
    np.array([(2.0,)], [("a", "f4")])[0],
)
numpy_case(
    "void_names",
    lambda a: float(len(a.dtype.names[0])),
    np.array([(1.0,)], [("a", "f4")])[0],
    np.array([(1.0,)], [("bb", "f4")])[0],
)
numpy_case("zero_dim", lambda a: float(a), np.array(1.0), np.array(2.0))
numpy_case(
    "object", lambda a: float(a[0].k), np.array([NS(k=1.0)], object), np.array([NS(k=2.0)], object)
)
numpy_case("str", lambda a: float(len(a[0])), np.array(["a"]), np.array(["bb"]))
numpy_case(
    "masked",
    lambda a: float(a.sum()),
    np.ma.array([1.0, 2.0], mask=[0, 0]),
    np.ma.array([1.0, 2.0], mask=[0, 1]),
)
numpy_case(
    "bfloat16", lambda a: float(a[0]), np.array([1, 2], hb.bfloat16), np.array([3, 2], hb.bfloat16)
)


class MyArray(np.ndarray):
    k = 1.0


@case
def numpy_subclass(jit):
    a = np.float32([1, 2, 3]).view(MyArray)
    f = jit(lambda x, a: x * float(a[0]) + a.k)
    g = jit(lambda x: x * float(a[0]) + a.k)
    changes = [lambda: a.__setitem__(0, a[0] + 4), lambda: setattr(a, "k", 3.0)]
    return steps(f, *changes, args=lambda: (X(), a)) + steps(g, *changes)


@case
def numpy_masked_inside(jit):
    a = np.ma.array([1.0, 2.0], mask=[0, 0])
    f = jit(lambda x: x * float(a.sum()))
    return steps(f, lambda: a.__setitem__(0, np.ma.masked))


@case
def numpy_void_written(jit):
    v = np.array([(1.0,)], [("a", "f4")])[0]
    f = jit(lambda x: x * float(v["a"]))
    g = jit(lambda x, v: x * float(v["a"]))
    return steps(f, lambda: v.__setitem__("a", 5.0)) + steps(
        g, lambda: v.__setitem__("a", 7.0), args=lambda: (X(), v)
    )


@case
def numpy_structured_written(jit):
    a = np.zeros(2, [("a", "f4")])
    f = jit(lambda x: x * (1 + float(a["a"][0])))
    return steps(f, lambda: a["a"].__setitem__(0, 5.0), lambda: setattr(a.dtype, "names", ("b",)))


@case
def numpy_object_inside(jit):
    o = NS(k=1.0)
    a = np.array([o], object)
    f = jit(lambda x: x * a[0].k)
    return steps(f, lambda: setattr(o, "k", 2.0), lambda: a.__setitem__(0, NS(k=5.0)))


# ---- what only recording refused
@case
def keyed_by_tensor(jit):
    w, v = hb.tensor(np.float32([1, 2, 3])), hb.tensor(np.float32([3, 2, 3]))
    d = {w: 2.0, v: 3.0}
    f = jit(lambda x, d: x * sum(d.values()))
    g = jit(lambda x: x * d[w])
    h = jit(lambda x: x * sum(d[k] for k in d))
    r = steps(f, args=lambda: (X(), d)) + steps(g, lambda: d.update({w: 5.0}))
    r += steps(h, lambda: d.update({v: 5.0}))
    k = jit(lambda x: {w: x * 2})
    return r + [len(k(X())) for _ in range(4)] + [k(X())[w]]


@case
def keyed_by_argument(jit):
    def f(x):
        state = {x: x * 2, 1: x}
        return state[x] + state[1]

    def g(x, y):
        d = {x: 1.0, y: 2.0}
        return x * d[y] + y * d[x]

    return steps(jit(f)) + steps(jit(g), args=lambda: (X(), X(2.0)))


@case
def stored_under_tensor(jit):
    w = hb.tensor(np.float32([1, 2, 3]))
    state = {w: hb.tensor(np.float32([0, 0, 0])), X(): X()}

    def f(x):
        state[w] = state[w] + x
        return state[w] * 2

    return [*steps(jit(f)), state[w]]


@case
def contains_itself(jit):
    a = [1.0]
    a.append(a)
    f = jit(lambda x, a: x * a[0])
    d = {"k": 2.0}
    d["d"] = d
    g = jit(lambda x, d: x * d["d"]["k"])
    h = jit(lambda x: x * a[1][1][0] + d["d"]["d"]["k"])
    r = steps(f, lambda: a.__setitem__(0, 3.0), args=lambda: (X(), a))
    r += steps(g, lambda: d.update(k=3.0), args=lambda: (X(), d))
    return r + steps(h, lambda: a.__setitem__(0, 5.0), lambda: d.update(k=9.0))


@case
def object_contains_itself(jit):
    o = NS(k=2.0)
    o.o = o
    f = jit(lambda x, o: x * o.o.o.k)
    g = jit(lambda x: x * float(repr(o)[12:15]))
    return steps(f, lambda: setattr(o, "k", 3.0), args=lambda: (X(), o)) + steps(g)


@case
def returns_itself(jit):
    def f(x):
        a = [x * 2]
        a.append(a)
        return a

    k = jit(f)
    return [r[1] is r and r[0].tolist() for r in [k(X()) for _ in range(5)]]


@case
def deeply_nested(jit):
    a = [1.0]
    for _ in range(900):
        a = [a]
    t = ()
    for _ in range(5000):
        t = (t,)
    f = jit(lambda x, a: x * len(a))
    g = jit(lambda x: x * len(t))
    return steps(f, args=lambda: (X(), a)) + steps(f, args=lambda: (X(), t)) + steps(g)
