"""State behind properties, operators and truth of a class, context managers and handlers."""

from __future__ import annotations

from ..harness import box, data, suite

PROGRAMS, program = suite()


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
