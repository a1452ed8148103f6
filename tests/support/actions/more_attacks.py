"""What a program may do with state from outside, with arguments and with odd containers."""

from __future__ import annotations

import collections
import types
import weakref

import hybrid as hb

from .harness import Box, box, data, suite

PROGRAMS, program = suite()


@program
def pop_fails(jit):
    log = [1, 2, 3, 4, 5, 6]

    @jit
    def f(x):
        log.pop()
        return x * 2

    return lambda k: f(data(k)), log


@program
def popleft_fails(jit):
    log = collections.deque([1, 2, 3, 4, 5, 6])

    @jit
    def f(x):
        log.popleft()
        return x * 2

    return lambda k: f(data(k)), log


@program
def append_old_object(jit):
    log = []
    o = box(v=1)

    @jit
    def f(x):
        log.append(o)
        log.append(o.v)
        return x

    return lambda k: f(data(k)), log


@program
def append_fresh_obj(jit):
    log = []

    @jit
    def f(x):
        log.append(Box())
        return x

    return lambda k: f(data(k)), log


@program
def append_shared_fresh(jit):
    log = []
    s = box(a=None)

    @jit
    def f(x):
        r = [x * 2]
        log.append(r)
        s.a = r
        return r

    return lambda k: f(data(k)), [log, s]


@program
def append_then_mutate(jit):
    log = []

    @jit
    def f(x):
        r = [x * 2]
        log.append(r)
        r.append(3)
        return x

    return lambda k: f(data(k)), log


@program
def counter_in_fresh_list(jit):
    s = box(n=0)

    @jit
    def f(x):
        s.n += 1
        r = []
        r.append(s.n)
        return x * r[0]

    return lambda k: f(data(k)), s


@program
def counter_in_fresh_obj(jit):
    s = box(n=0)

    @jit
    def f(x):
        s.n += 1
        b = Box()
        b.v = s.n
        return x * b.v

    return lambda k: f(data(k)), s


@program
def counter_in_fresh_obj_branch(jit):
    s = box(n=0)

    @jit
    def f(x):
        s.n += 1
        b = Box()
        b.v = s.n
        return x * 2 if b.v % 2 else x

    return lambda k: f(data(k)), s


@program
def bool_int(jit):
    s = box(n=False)

    @jit
    def f(x):
        s.n = s.n + True
        return x * 2

    return lambda k: f(data(k)), s


@program
def negzero(jit):
    s = box(t=-0.0)

    @jit
    def f(x):
        s.t = s.t * 1.0
        return x * 2

    def call(k):
        s.t = [0.0, -0.0, float("nan"), float("inf"), 3.5][k % 5]
        return f(data(k))

    return call, s


@program
def floordiv(jit):
    s = box(n=0, q=0)

    @jit
    def f(x):
        s.n += 1
        s.q = (
            (s.n * 7) // 3
            - (-s.n) % 4
            + (s.n << 2)
            + (s.n & 6)
            + (s.n ^ 3)
            + (s.n | 8)
            + (s.n >> 1)
            - s.n**2
        )
        return x * 2

    return lambda k: f(data(k)), s


@program
def powneg(jit):
    s = box(n=-3, q=0)

    @jit
    def f(x):
        s.n += 1
        s.q = 2**s.n
        return x * 2

    return lambda k: f(data(k)), s


@program
def bigint(jit):
    s = box(n=1)

    @jit
    def f(x):
        s.n = s.n * 1000003
        return x * 2

    return lambda k: f(data(k)), s


@program
def bigint_to_float(jit):
    s = box(n=10**290, t=1.0)

    @jit
    def f(x):
        s.n = s.n * 1000
        s.t = s.t * s.n
        return x * 2

    return lambda k: f(data(k)), s


@program
def host_overflow(jit):
    s = box(n=10**300, t=1.0)

    @jit
    def f(x):
        s.n = s.n * 1000
        s.t = x.sum().item() + s.n
        return x * 2

    return lambda k: f(data(k)), s


@program
def class_counter(jit):
    class C:
        n = 0

    @jit
    def f(x):
        C.n += 1
        return x * 2

    def call(k):
        return f(data(k)), C.n

    return call, None


@program
def module_private(jit):
    class Net(hb.nn.Module):
        def __init__(self):
            super().__init__()
            self._n = 0

        def forward(self, x):
            self._n += 1
            return x * 2

    net = Net()

    @jit
    def f(x):
        return net(x)

    return lambda k: (f(data(k)), net._n), None


@program
def dropout_p(jit):
    hb.manual_seed(0)
    net = hb.nn.Dropout(0.5)

    @jit
    def f(x):
        net.p = net.p * 0.9
        return net(x)

    return lambda k: (f(data(k, 64)), net.p), None


@program
def dropout_p_outside(jit):
    hb.manual_seed(0)
    net = hb.nn.Dropout(0.5)

    @jit
    def f(x):
        return net(x)

    def call(k):
        if k in (5, 9):
            net.p = 0.1 * k
        return f(data(k, 64))

    return call, None


@program
def write_only(jit):
    s = box(flag=0)

    @jit
    def f(x):
        s.flag = 7
        return x * 2

    def call(k):
        r = (f(data(k)), s.flag)
        s.flag = k
        return r

    return call, s


@program
def write_only_then_outside_same(jit):
    s = box(h=None)

    @jit
    def f(x):
        s.h = x * 2
        return x

    def call(k):
        r = f(data(k))
        v = s.h
        if k % 2:
            s.h = None
        return r, v

    return call, s


@program
def del_attr(jit):
    s = box(n=0)

    @jit
    def f(x):
        s.n = 1
        del s.n
        return x

    return lambda k: f(data(k)), s


@program
def deleted_outside(jit):
    s = box(n=0)

    @jit
    def f(x):
        s.n += 1
        return x

    def call(k):
        if k == 6:
            del s.n
        if k == 8:
            s.n = 3
        return f(data(k))

    return call, s


@program
def replaced_container(jit):
    s = box(log=[])

    @jit
    def f(x):
        s.log.append(x * 2)
        return x

    def call(k):
        if k % 10 == 9:
            s.log = []
        return f(data(k))

    return call, s


@program
def replaced_holder(jit):
    s = box(c=box(n=0))

    @jit
    def f(x):
        s.c.n += 1
        return x

    def call(k):
        if k % 10 == 9:
            s.c = box(n=5)
        return f(data(k))

    return call, s


@program
def weak(jit):
    s = box(c=box(n=0))
    r = weakref.ref(s.c)

    @jit
    def f(x):
        c = r()
        c.n += 1
        return x

    return lambda k: f(data(k)), s


@program
def walrus(jit):
    s = box(n=0)

    @jit
    def f(x):
        if (n := s.n + 1) > 5:
            n = 0
        s.n = n
        return x * 2

    return lambda k: f(data(k)), s


@program
def rebinding_local(jit):
    s = box(n=0, m=0)

    @jit
    def f(x):
        n = s.n
        n += 1
        for n2 in range(3):
            n = n + n2
        s.n = n
        n = 5
        s.m = n
        return x * n

    return lambda k: f(data(k)), s


@program
def abs_min(jit):
    s = box(n=0)

    @jit
    def f(x):
        s.n = abs(s.n) + 1
        return x

    return lambda k: f(data(k)), s


@program
def global_and_module(jit):
    m = types.ModuleType("mm")
    m.n = 0

    @jit
    def f(x):
        m.n += 1
        return x

    return lambda k: (f(data(k)), m.n), None


@program
def set_add_counter_tuple(jit):
    s = box(n=0)
    seen = set()

    @jit
    def f(x):
        seen.add((s.n % 3, "a"))
        s.n += 1
        return x

    return lambda k: f(data(k)), [s, seen]


@program
def defaultdict_(jit):
    d = collections.defaultdict(list)

    @jit
    def f(x):
        d["a"].append(x * 2)
        return x

    return lambda k: f(data(k)), d


@program
def ordered(jit):
    d = collections.OrderedDict()
    s = box(n=0)

    @jit
    def f(x):
        d[s.n] = x * 2
        s.n += 1
        return x

    return lambda k: f(data(k)), d


@program
def counter_cls(jit):
    d = collections.Counter()

    @jit
    def f(x):
        d["a"] += 1
        return x

    return lambda k: f(data(k)), d


@program
def rebuild_params(jit):
    params = {"w": data(1), "b": data(2)}

    @jit
    def f(x):
        nonlocal params
        params = {k: p - 0.1 * x for k, p in params.items()}
        return params["w"] * 1

    return lambda k: f(data(k)), None


@program
def update_params(jit):
    params = {"w": data(1), "b": data(2)}

    @jit
    def f(x):
        for k in params:
            params[k] = params[k] - 0.1 * x
        return params["w"] * 1

    return lambda k: f(data(k)), params


@program
def items_update(jit):
    params = {"w": data(1), "b": data(2)}

    @jit
    def f(x):
        for k, p in params.items():
            params[k] = p - 0.1 * x
        return params["w"] * 1

    return lambda k: f(data(k)), params


@program
def recursion(jit):
    s = box(n=0)

    def rec(x, d):
        s.n += 1
        if d == 0:
            return x
        return rec(x * 2, d - 1)

    @jit
    def f(x):
        return rec(x, 3)

    return lambda k: f(data(k)), s


@program
def print_at(jit):
    s = box(n=0)

    @jit
    def f(x):
        s.n += 1
        if s.n % 10 == 0:
            print(end="")
        return x

    return lambda k: f(data(k)), s


@program
def arg_is_the_log(jit):
    log = []

    @jit
    def f(x, other):
        log.append(x * 2)
        return other[-1] * 1

    def call(k):
        if k < 6:
            return f(data(k), [data(1)])
        return (
            f(data(k), log[-1:] if k % 2 else log)
            if k != 9
            else (log.clear(), log.append(data(3)), f(data(k), log))[2]
        )

    return call, log


@program
def arg_dict_is_the_log(jit):
    d = {"n": 0}

    @jit
    def f(x, batch):
        d["n"] += 1
        return x * batch["n"]

    def call(k):
        if k % 5 == 4:
            d["n"] = 1
            return f(data(k), d)
        return f(data(k), {"n": 1})

    return call, d


@program
def many_paths(jit):
    s = box(n=0)

    @jit
    def f(x):
        s.n += 1
        i = 0
        while i < 3:
            if s.n % 4 == i:
                x = x + i
            i += 1
        return x

    return lambda k: f(data(k)), s
