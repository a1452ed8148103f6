"""Programs that store tensors in containers, with and without code of their own."""

from __future__ import annotations

import collections
import weakref
from typing import Any

from ..common import X
from ..helpers import T, container, programs
from ..helpers import five_calls as calls

CASES, case, ORDINARY, ordinary = programs()
LAST: Any = None


@case
def dict_doubles(jit):
    class B(dict):
        def __setitem__(s, k, v):
            dict.__setitem__(s, k, v * 2)

    return container(lambda: B(k=T(0, 0, 0)), jit)


@case
def dict_doubles_reads_itself(jit):
    class B(dict):
        def __setitem__(s, k, v):
            dict.__setitem__(s, k, v * 2)

    d = B(k=T(1, 1, 1))

    @jit
    def f(x):
        d["k"] = d["k"] + x
        return d["k"]

    out = []
    for k in range(6):
        out += [f(X(k)), d["k"]]
    return out


@case
def list_doubles(jit):
    class B(list):
        def __setitem__(s, k, v):
            list.__setitem__(s, k, v * 2)

    return container(lambda: B([T(0, 0, 0), 1]), jit, 0)


@case
def deque_doubles(jit):
    class B(collections.deque):
        def __setitem__(s, k, v):
            collections.deque.__setitem__(s, k, v * 2)

    return container(lambda: B([T(0, 0, 0), 1]), jit, 0)


@case
def ordered_dict_doubles(jit):
    class B(collections.OrderedDict):
        def __setitem__(s, k, v):
            super().__setitem__(k, v * 2)

    return container(lambda: B(k=T(0, 0, 0)), jit)


@case
def defaultdict_doubles(jit):
    class B(collections.defaultdict):
        def __setitem__(s, k, v):
            super().__setitem__(k, v * 2)

    return container(lambda: B(int, k=T(0, 0, 0)), jit)


@case
def counter_subclass(jit):
    class B(collections.Counter):
        def __setitem__(s, k, v):
            dict.__setitem__(s, k, v - 1)

    b = B()
    dict.__setitem__(b, "k", T(0, 0, 0))
    return container(lambda: b, jit)


@case
def userdict_doubles(jit):
    class B(collections.UserDict):
        def __setitem__(s, k, v):
            s.data[k] = v * 2

    return container(lambda: B(k=T(0, 0, 0)), jit)


@case
def userlist_doubles(jit):
    class B(collections.UserList):
        def __setitem__(s, k, v):
            s.data[k] = v * 2

    return container(lambda: B([T(0, 0, 0)]), jit, 0)


@case
def userdict_plain(jit):
    return container(lambda: collections.UserDict(k=T(0, 0, 0)), jit)


@case
def chainmap(jit):
    low = {"k": T(9, 9, 9)}
    m = collections.ChainMap({"k": T(0, 0, 0)}, low)

    @jit
    def f(x):
        m["k"] = m["k"] + x
        return m["k"]

    out = []
    for k in range(5):
        out += [f(X(k)), m["k"], low["k"]]
    m.maps[0].pop("k")
    for k in range(3):
        out += [f(X(k)), m["k"], low["k"]]
    return out


@ordinary
def defaultdict_plain(jit):
    return container(lambda: collections.defaultdict(int, k=T(0, 0, 0)), jit)


@ordinary
def ordered_dict_plain(jit):
    return container(lambda: collections.OrderedDict(k=T(0, 0, 0)), jit)


@ordinary
def plain_dict(jit):
    return container(lambda: {"k": T(0, 0, 0)}, jit)


@ordinary
def plain_list(jit):
    return container(lambda: [T(0, 0, 0), 5], jit, 0)


@case
def deque_plain(jit):
    return container(lambda: collections.deque([T(0, 0, 0), 5]), jit, 0)


@case
def negative_index(jit):
    return container(lambda: [T(0, 0, 0), T(1, 1, 1)], jit, -1)


@case
def weak_values(jit):
    d = weakref.WeakValueDictionary()
    keep = [T(0, 0, 0)]
    d["k"] = keep[0]

    @jit
    def f(x):
        y = x + 1
        d["k"] = y
        return y

    out = []
    for k in range(5):
        r = f(X(k))
        out += [r, d["k"] is r, len(d)]
        del r
    return out


@case
def setdefault_and_update(jit):
    d = {"a": T(0, 0, 0)}

    @jit
    def f(x):
        d.update(a=x + 1)
        return d.setdefault("a", x) * 2

    out = []
    for k in range(6):
        out += [f(X(k)), d["a"], list(d)]
    return out


@case
def ior_and_pop(jit):
    d = {"a": T(0, 0, 0), "b": T(1, 1, 1)}

    @jit
    def f(x):
        t = d.pop("a")
        d["c"] = t + x
        e = d
        e |= {"a": d.pop("c")}
        return d["a"] * 2

    out = []
    for k in range(6):
        out += [f(X(k)), d["a"], list(d)]
    return out


@case
def order_of_keys(jit):
    d = {"a": T(0, 0, 0), "b": T(1, 1, 1)}

    @jit
    def f(x):
        v = d.pop("a")
        d["a"] = v + x
        return d["b"] * 1

    out = []
    for k in range(6):
        out += [f(X(k)), list(d), d["a"]]
    return out


@case
def order_turns(jit):
    d = collections.OrderedDict(a=T(0, 0, 0), b=T(1, 1, 1))

    @jit
    def f(x):
        d["a"] = d["a"] + x
        d.move_to_end("a")
        return d["b"] * 1

    out = []
    for k in range(6):
        out += [f(X(k)), list(d), d["a"]]
        if k == 4:
            d.move_to_end("b")
    return out


@case
def entry_deleted_between(jit):
    d = {"a": T(0, 0, 0), "b": T(1, 1, 1)}

    @jit
    def f(x):
        d["a"] = x + 1
        return d["b"] + x

    out = []
    for k in range(8):
        out += [f(X(k)), list(d), d["a"]]
        if k in (4, 6):
            del d["a"]
    return out


@case
def list_append_and_pop(jit):
    stack = [T(0, 0, 0)]

    @jit
    def f(x):
        stack.append(stack.pop() + x)
        return stack[-1] * 2

    out = []
    for k in range(6):
        out += [f(X(k)), stack[0], len(stack)]
    return out


@case
def list_grows(jit):
    acts = []

    @jit
    def f(x):
        acts.append(x * 2)
        return x + 1

    return calls(f) + [list(acts)]


@case
def list_insert_extend(jit):
    acts = [T(0, 0, 0)]

    @jit
    def f(x):
        acts.insert(0, x * 2)
        acts.extend([x, x + 1])
        del acts[3:]
        return acts[0] + 1

    out = []
    for _k in range(5):
        out += [*calls(f, 2), list(acts)]
    return out


@case
def list_rotates(jit):
    a = [T(1, 1, 1), T(2, 2, 2), T(3, 3, 3)]

    @jit
    def f(x):
        a[0], a[1], a[2] = a[1], a[2], a[0]
        return a[0] * x

    out = []
    for k in range(7):
        out += [f(X(k)), list(a)]
    return out


@case
def list_reverse_sort(jit):
    a = [T(1, 1, 1), T(2, 2, 2)]

    @jit
    def f(x):
        a.reverse()
        return a[0] * x

    out = []
    for k in range(7):
        out += [f(X(k)), list(a)]
    return out


@case
def slice_assignment(jit):
    a = [T(1, 1, 1), T(2, 2, 2)]

    @jit
    def f(x):
        a[:] = [a[1] + x, a[0]]
        return a[0] * x

    out = []
    for k in range(7):
        out += [f(X(k)), list(a)]
    return out
