"""What a program may do with a counter or a log so that a naive replay would be wrong."""

from __future__ import annotations

import hybrid as hb

from .harness import box, data, suite

PROGRAMS, program = suite()


@program
def truth_then_append(jit):
    log = []

    @jit
    def f(x):
        y = x * 2 if log else x + 1
        log.append(y)
        return y

    def call(k):
        if k % 4 == 3:
            log.clear()
        return f(data(k))

    return call, log


@program
def not_log(jit):
    log = []

    @jit
    def f(x):
        if not log:
            log.append(x)
        else:
            log.pop()
        return x * 3

    return lambda k: f(data(k)), log


@program
def last_item_read(jit):
    log = [data(0)]

    @jit
    def f(x):
        log.append(x * 2)
        return log[-1] + 1

    return lambda k: f(data(k)), log


@program
def prev_item(jit):
    log = [data(0)]

    @jit
    def f(x):
        y = log[-1] + x
        log.append(y)
        return y

    return lambda k: f(data(k)), log


@program
def alias_two_names(jit):
    a = []
    s = box(x=a, y=a)

    @jit
    def f(x):
        s.x.append(x * 2)
        if len(s.y) > 3:
            s.y.pop(0)
        return x

    return lambda k: f(data(k)), s


@program
def obj_dict_alias(jit):
    s = box(n=0)
    d = vars(s)

    @jit
    def f(x):
        s.n += 1
        d["n"] += 1
        return x * 2

    return lambda k: f(data(k)), s


@program
def obj_dict_alias_branch(jit):
    s = box(n=0)
    d = vars(s)

    @jit
    def f(x):
        s.n += 1
        return x * 2 if d["n"] % 2 else x + 1

    return lambda k: f(data(k)), s


@program
def two_funcs_share(jit):
    s = box(n=0)

    @jit
    def f(x):
        s.n += 1
        return x * 2

    @jit
    def g(x):
        s.n *= 2
        return x + 1

    return lambda k: (f(data(k)), g(data(k))), s


@program
def nested_closures(jit):
    def make():
        n = 0

        def inc():
            nonlocal n
            n += 1
            return n

        def dec():
            nonlocal n
            n -= 2
            return n

        return inc, dec

    inc, dec = make()

    @jit
    def f(x):
        a = inc()
        b = dec()
        inc()
        return x * 2, a, b

    return lambda k: f(data(k)), inc


@program
def same_code_two_closures(jit):
    def make(start):
        n = start

        def inc():
            nonlocal n
            n += 1
            return n

        return inc

    a, b = make(0), make(100)

    @jit
    def f(x):
        p = a()
        q = b()
        return x * 2, p, q

    return lambda k: f(data(k)), [a, b]


@program
def same_code_two_closures_loop(jit):
    def make(start):
        n = start

        def inc():
            nonlocal n
            n += 1
            return n

        return inc

    fs = [make(0), make(100)]

    @jit
    def f(x):
        [g() for g in fs]
        return x * 2

    return lambda k: f(data(k)), fs


@program
def lambda_default(jit):
    s = box(n=0)

    @jit
    def f(x):
        s.n += 1

        def g(v=s.n):
            return v

        return x * g()

    return lambda k: f(data(k)), s


@program
def number_into_tensor(jit):
    s = box(n=0)

    @jit
    def f(x):
        s.n += 1
        return hb.asarray([s.n, 1.0])

    return lambda k: f(data(k)), s


@program
def number_as_index(jit):
    s = box(n=0)

    @jit
    def f(x):
        s.n = (s.n + 1) % 4
        return x[s.n]

    return lambda k: f(data(k)), s


@program
def number_by_starargs(jit):
    s = box(n=0)

    def h(x, *a, **k):
        return x * a[0]

    @jit
    def f(x):
        s.n += 1
        return h(x, *[s.n])

    return lambda k: f(data(k)), s


@program
def number_kw(jit):
    s = box(n=0)

    def h(x, k):
        return x * k

    @jit
    def f(x):
        s.n += 1
        return h(x, k=s.n)

    return lambda k: f(data(k)), s


@program
def number_arg_op(jit):
    s = box(n=0)

    def h(x, k):
        return x * k

    @jit
    def f(x):
        s.n += 1
        return h(x, s.n)

    return lambda k: f(data(k)), s


@program
def number_arg_branch(jit):
    s = box(n=0)

    def h(x, k):
        if k % 2:
            return x * 2
        return x + 1

    @jit
    def f(x):
        s.n += 1
        return h(x, s.n)

    return lambda k: f(data(k)), s


@program
def method_arg_branch(jit):
    class M:
        def __init__(self):
            self.n = 0
            self.hist = []

        def h(self, x, k, extra=5):
            self.hist.append(k * 2)
            if k % 2:
                return x * 2
            return x + extra

        def go(self, x):
            self.n += 1
            return self.h(x, self.n)

    m = M()

    @jit
    def f(x):
        return m.go(x)

    return lambda k: f(data(k)), m


@program
def in_generator(jit):
    s = box(n=0)

    def gen():
        for i in range(2):
            s.n += 1
            yield s.n

    @jit
    def f(x):
        for v in gen():
            x = x + v
        return x

    return lambda k: f(data(k)), s


@program
def prop_reads(jit):
    class M:
        def __init__(self):
            self.n = 0

        @property
        def twice(self):
            return self.n * 2

    m = M()

    @jit
    def f(x):
        m.n += 1
        return x * m.twice

    return lambda k: f(data(k)), m


@program
def prop_branch(jit):
    class M:
        def __init__(self):
            self.n = 0

        @property
        def odd(self):
            return self.n % 2 == 1

    m = M()

    @jit
    def f(x):
        m.n += 1
        if m.odd:
            return x * 2
        return x

    return lambda k: f(data(k)), m


@program
def dunder_bool(jit):
    class M:
        def __init__(self):
            self.n = 0

        def __bool__(self):
            return self.n % 2 == 1

    m = M()

    @jit
    def f(x):
        m.n += 1
        if m:
            return x * 2
        return x

    return lambda k: f(data(k)), m


@program
def dunder_len(jit):
    class M:
        def __init__(self):
            self.n = 0

        def __len__(self):
            return self.n % 2

    m = M()

    @jit
    def f(x):
        m.n += 1
        if m:
            return x * 2
        return x

    return lambda k: f(data(k)), m


@program
def dunder_index(jit):
    class M:
        def __init__(self):
            self.n = 0

        def __index__(self):
            return self.n % 3

    m = M()
    L = [1.0, 2.0, 3.0]

    @jit
    def f(x):
        m.n += 1
        return x * L[m]

    return lambda k: f(data(k)), m


@program
def dunder_add(jit):
    class M:
        def __init__(self):
            self.n = 0

        def __radd__(self, o):
            return o * self.n

    m = M()

    @jit
    def f(x):
        m.n += 1
        return x * (2 + m)

    return lambda k: f(data(k)), m


@program
def dunder_eq(jit):
    class M:
        def __init__(self):
            self.n = 0

        def __eq__(self, o):
            return self.n % 2 == 0

        __hash__ = None

    m = M()

    @jit
    def f(x):
        m.n += 1
        return x * 2 if m == 3 else x

    return lambda k: f(data(k)), m


@program
def context_manager(jit):
    s = box(depth=0, calls=0)

    class C:
        def __enter__(self):
            s.depth += 1
            s.calls += 1
            return s.depth

        def __exit__(self, *a):
            s.depth -= 1
            return False

    c = C()

    @jit
    def f(x):
        with c:
            y = x * 2
        return y

    return lambda k: f(data(k)), s


@program
def context_depth_used(jit):
    s = box(depth=0, calls=0)

    class C:
        def __enter__(self):
            s.depth += 1
            s.calls += 1
            return s.calls

        def __exit__(self, *a):
            s.depth -= 1
            return False

    c = C()

    @jit
    def f(x):
        with c as d:
            y = x * d
        return y

    return lambda k: f(data(k)), s


@program
def try_finally(jit):
    s = box(n=0, busy=False)

    @jit
    def f(x):
        s.busy = True
        try:
            s.n += 1
            y = x * 2
        finally:
            s.busy = False
        return y

    return lambda k: f(data(k)), s


@program
def try_except_taken(jit):
    s = box(n=0)
    d = {}

    @jit
    def f(x):
        try:
            d["k"]
        except KeyError:
            s.n += 1
        return x * 2

    return lambda k: f(data(k)), s


@program
def chained(jit):
    s = box(n=0)

    @jit
    def f(x):
        s.n += 1
        if 2 < s.n % 7 <= 4:
            return x * 2
        return x

    return lambda k: f(data(k)), s


@program
def andor(jit):
    s = box(n=0, m=5)

    @jit
    def f(x):
        s.n += 1
        if (s.n % 2 and s.m > 3) or s.n % 5 == 0:
            return x * 2
        v = s.n % 3 or 7
        s.m = v
        return x

    return lambda k: f(data(k)), s


@program
def ternary(jit):
    s = box(n=0, m=5)

    @jit
    def f(x):
        s.n = s.n + 1 if s.n < 5 else 0
        return x * 2

    return lambda k: f(data(k)), s


@program
def none_start(jit):
    s = box(best=None)

    @jit
    def f(x):
        v = x.sum().item()
        s.best = v
        return x * 2

    def call(k):
        if k % 5 == 0:
            s.best = None
        return f(data(k))

    return call, s


@program
def none_check(jit):
    s = box(best=None, n=0)

    @jit
    def f(x):
        if s.best is None:
            s.best = 0
        s.best += 1
        return x * 2

    def call(k):
        if k % 9 == 8:
            s.best = None
        return f(data(k))

    return call, s


@program
def str_state(jit):
    s = box(mode="a")

    @jit
    def f(x):
        if s.mode == "a":
            s.mode = "b"
            return x * 2
        s.mode = "a"
        return x

    return lambda k: f(data(k)), s


@program
def str_concat(jit):
    s = box(mode="")

    @jit
    def f(x):
        s.mode = s.mode + "a"
        return x * 2

    return lambda k: f(data(k)), s


@program
def inplace_list(jit):
    log = []

    @jit
    def f(x):
        nonlocal log
        log += [x * 2]
        return x

    return lambda k: f(data(k)), [f] if False else None


@program
def extend_self(jit):
    log = [1]

    @jit
    def f(x):
        log.extend(log)
        if len(log) > 40:
            del log[1:]
        return x

    return lambda k: f(data(k)), log


@program
def append_self_len(jit):
    log = []

    @jit
    def f(x):
        log.append(len(log))
        return x * 2

    return lambda k: f(data(k)), log


@program
def len_as_scalar(jit):
    log = []

    @jit
    def f(x):
        log.append(1)
        return x * len(log)

    return lambda k: f(data(k)), log


@program
def pop_used(jit):
    log = []

    @jit
    def f(x):
        log.append(x * 3)
        y = log.pop()
        return y

    return lambda k: f(data(k)), log
