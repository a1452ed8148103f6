"""Programs that replace the dictionary or the class behind an object."""

from __future__ import annotations

from ..helpers import calls, programs, swap
from ..helpers import frozen_lin as lin

CASES, case, ORDINARY, ordinary = programs()


class Obj:
    k = 1.0

    def __init__(self, **kw):
        self.__dict__.update(kw)


@case
def getattr_with_dict_swapped(jit):
    class A(Obj):
        def __getattr__(self, name):
            return self.__dict__["data"][name]

    return swap(jit, A(data={"z": 2.0}), lambda o, x: x * o.z, {"data": {"z": 3.0}})


@case
def setstate_swaps(jit):
    class A(Obj):
        def __setstate__(self, s):
            self.__dict__ = s

    a = A(k=2.0)
    f = jit(lambda x: x * a.k)
    out = calls(f)
    a.__setstate__({"k": 3.0})
    return out + calls(f)


@case
def dict_subclass_instance(jit):
    class D(dict):
        pass

    class A(Obj):
        pass

    return swap(jit, A(k=2.0), lambda o, x: x * o.k, D(k=3.0))


@case
def dict_swapped_same_content(jit):
    o = Obj(k=2.0)
    f = jit(lambda x: x * o.__dict__["k"])
    out = calls(f)
    old = o.__dict__
    o.__dict__ = dict(old)
    out += calls(f)
    old["k"] = 9.0
    out += calls(f)
    o.__dict__["k"] = 4.0
    return out + calls(f)


@case
def dict_kept_in_a_variable(jit):
    o = Obj(k=2.0)
    d = o.__dict__
    f = jit(lambda x: x * 2 if o.__dict__ is d else x)
    out = calls(f)
    o.__dict__ = dict(d)
    return out + calls(f)


@case
def items_of_optimizer_state(jit):
    m = lin()
    f = jit(lambda x: x * len(m.__dict__["_names"]))
    out = calls(f)
    m.__dict__ = {**m.__dict__, "_names": {}}
    return out + calls(f)


@case
def bases_swapped(jit):
    class A:
        k = 2.0

    class B:
        k = 3.0

    class C(A):
        pass

    return swap(jit, C, lambda o, x: x * o.k, (B,), "__bases__")
