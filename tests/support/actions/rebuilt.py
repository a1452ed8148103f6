"""Containers that a call rebuilds from the ones before, and reads of the last item."""

from __future__ import annotations

import collections

import hybrid as hb

from .harness import box, data, suite

PROGRAMS, program = suite()


@program
def functional_state(jit):
    s = box(state={"p": {"w": data(1), "b": data(2)}, "step": 0, "m": [data(0), data(3)]})

    @jit
    def f(x):
        st = s.state
        p = {k: v - 0.1 * x for k, v in st["p"].items()}
        s.state = {"p": p, "step": 3, "m": [m * 0.5 for m in st["m"]]}
        return p["w"] * 1

    return lambda k: f(data(k)), s


@program
def functional_state_counter(jit):
    s = box(state={"p": data(1), "step": 0})

    @jit
    def f(x):
        st = s.state
        s.state = {"p": st["p"] + x, "step": st["step"] + 1}
        return x

    return lambda k: f(data(k)), s


@program
def state_replaced_outside(jit):
    s = box(state={"w": data(1), "b": data(2)})

    @jit
    def f(x):
        s.state = {k: v * 0.5 + x for k, v in s.state.items()}
        return x

    def call(k):
        if k == 8:
            s.state = {"w": data(5), "b": data(6)}
        if k == 12:
            s.state = {"b": data(5), "w": data(6)}
        if k == 16:
            s.state = {"w": data(5)}
        if k == 22:
            s.state = {"w": 3.0, "b": data(1)}
        return f(data(k))

    return call, s


@program
def state_kept_outside(jit):
    s = box(state={"w": data(1), "b": data(2)})
    old = []

    @jit
    def f(x):
        s.state = {k: v * 0.5 + x for k, v in s.state.items()}
        return x

    def call(k):
        old.append(s.state)
        if k % 5 == 4:
            s.state["w"] = data(k)
        return f(data(k))

    return call, [s, old]


@program
def state_returned(jit):
    s = box(state={"w": data(1), "b": data(2)})

    @jit
    def f(x):
        old = s.state
        s.state = {k: v * 0.5 + x for k, v in s.state.items()}
        return old

    return lambda k: f(data(k)), s


@program
def state_new_returned(jit):
    s = box(state={"w": data(1), "b": data(2)})

    @jit
    def f(x):
        s.state = {k: v * 0.5 + x for k, v in s.state.items()}
        return s.state

    return lambda k: f(data(k)), s


@program
def state_alias(jit):
    s = box(state={"w": data(1), "b": data(2)})
    s.other = s.state

    @jit
    def f(x):
        s.state = {k: v * 0.5 + x for k, v in s.other.items()}
        s.other = s.state
        return x

    return lambda k: f(data(k)), s


@program
def state_alias_broken(jit):
    s = box(state={"w": data(1)})
    s.other = s.state

    @jit
    def f(x):
        a = s.state
        b = s.other
        s.state = {"w": a["w"] + x}
        s.other = s.state
        return x * 2 if a is b else x

    def call(k):
        if k % 4 == 3:
            s.other = dict(s.other)
        return f(data(k))

    return call, s


@program
def state_alias_write(jit):
    s = box(a={"w": data(1)}, b={"w": data(2)})

    @jit
    def f(x):
        s.a["w"] += 1
        s.b = {"w": s.b["w"] + x}
        return x

    def call(k):
        if k % 4 == 3:
            s.b = s.a
        return f(data(k))

    return call, s


@program
def same_tensor_twice(jit):
    t = data(1)
    s = box(st={"a": t, "b": t})

    @jit
    def f(x):
        n = s.st["a"] + x
        s.st = {"a": n, "b": n, "c": s.st["b"]}
        return x

    def call(k):
        if k == 7:
            s.st = {"a": data(1), "b": data(2), "c": data(3)}
        return f(data(k))

    return call, s


@program
def state_mutated_in_place(jit):
    s = box(st={"a": data(0)})

    @jit
    def f(x):
        s.st["a"] = s.st["a"] * 2
        s.st = {"a": s.st["a"] + x}
        return x

    return lambda k: f(data(k)), s


@program
def state_tuple(jit):
    s = box(st=(data(0), data(1)))

    @jit
    def f(x):
        h, c = s.st
        s.st = (h * 0.5 + x, c + h)
        return h * 1

    def call(k):
        if k == 9:
            s.st = (data(3), data(4))
        return f(data(k))

    return call, s


@program
def state_list_global(jit):
    global GST
    GST = [data(0), data(1)]

    @jit
    def f(x):
        global GST
        GST = [g * 0.5 + x for g in GST]
        return GST[0] * 1

    return lambda k: (f(data(k)), GST), None


@program
def passed_to_function(jit):
    params = {"w": data(1), "b": data(2)}

    def model(p, x):
        return p["w"] * x + p["b"]

    @jit
    def f(x):
        nonlocal params
        g = {k: model(params, x) * 0.01 for k in params}
        params = {k: params[k] - g[k] for k in sorted(params)}
        return model(params, x)

    return lambda k: f(data(k)), None


@program
def grad_tree(jit):
    params = {"w": data(1), "b": data(2)}

    def loss(p, x):
        return ((p["w"] * x + p["b"]) ** 2).mean()

    @jit
    def f(x):
        nonlocal params
        g = hb.grad(loss)(params, x)
        params = {k: params[k] - 0.01 * g[k] for k in params}
        return loss(params, x)

    return lambda k: f(data(k)), None


@program
def attr_state(jit):
    class M:
        def __init__(self):
            self.hidden = None
            self.cache = {}

        def go(self, x):
            if self.hidden is None:
                self.hidden = (x * 0, x * 0)
            h, c = self.hidden
            h = h * 0.5 + x
            c = c + h
            self.hidden = (h, c)
            return h * 1

    m = M()

    @jit
    def f(x):
        return m.go(x)

    def call(k):
        if k % 8 == 7:
            m.hidden = None
        return f(data(k))

    return call, m


@program
def alias_dict_store(jit):
    s = box(a={"w": data(1)}, b={"w": data(2)})

    @jit
    def f(x):
        s.a["w"] = s.a["w"] * 0.5
        s.b = {"w": s.b["w"] + x}
        return x

    def call(k):
        if k % 6 == 5:
            s.b = s.a
        return f(data(k))

    return call, s


@program
def alias_list_append(jit):
    s = box(log=[], st=[data(2)])

    @jit
    def f(x):
        s.log.append(x)
        s.st = [v + x for v in s.st]
        return x

    def call(k):
        if k % 6 == 5:
            s.log.clear()
            s.log.append(data(1))
            s.st = s.log
        elif k % 6 == 0:
            s.st = [data(3)]
        return f(data(k))

    return call, s


@program
def last_and_append(jit):
    log = [data(0)]

    @jit
    def f(x):
        y = log[-1] * 0.5 + x
        log.append(y)
        return log[-1] * 2

    def call(k):
        if k % 7 == 6:
            log.clear()
            log.append(data(k))
        if k == 12:
            log[-1] = data(2)
        if k == 15:
            log.append(3.0)
        if k == 16:
            log.append(data(4))
        return f(data(k))

    return call, log


@program
def last_in_deque(jit):
    log = collections.deque([data(0)], maxlen=3)

    @jit
    def f(x):
        y = log[-1] * 0.5 + x
        log.append(y)
        return y

    return lambda k: f(data(k)), log


@program
def last_window(jit):
    log = [data(0)]

    @jit
    def f(x):
        y = log[-1] * 0.5 + x
        log.append(y)
        if len(log) > 3:
            log.pop(0)
        return y

    return lambda k: f(data(k)), log


@program
def last_alias_other(jit):
    log = [data(0)]
    s = box(h=log[0])

    @jit
    def f(x):
        y = log[-1] * 0.5 + s.h
        s.h = y
        log.append(y)
        return y

    return lambda k: f(data(k)), [log, s]


@program
def last_is_arg(jit):
    log = [data(0)]

    @jit
    def f(x):
        y = log[-1] * 0.5 + x
        log.append(x)
        return y

    xs = [data(1), data(2)]
    return lambda k: f(xs[k // 3 % 2]), log


@program
def last_then_popped(jit):
    log = [data(0), data(1), data(2)]

    @jit
    def f(x):
        y = log[-1] * 0.5 + x
        log.pop()
        log.append(y)
        return y

    return lambda k: f(data(k)), log


@program
def last_object_attr(jit):
    log = [data(0)]
    cfg = box(scale=2.0)

    @jit
    def f(x):
        log.append(cfg)
        return x * log[-1].scale

    def call(k):
        if k > 5:
            cfg.scale = float(k)
        return f(data(k))

    return call, log


@program
def penultimate(jit):
    log = [data(0), data(1)]

    @jit
    def f(x):
        y = log[-1] + log[-2]
        log.append(y)
        return y

    return lambda k: f(data(k)), log
