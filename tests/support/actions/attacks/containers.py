"""What a program may do with lists, dicts and sets so that a naive replay would be wrong."""

from __future__ import annotations

import collections

from ..harness import Box, box, data, suite

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
