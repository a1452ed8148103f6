"""Stores to attributes of what a loop takes out of a fresh list or tuple: tensors and objects."""

from __future__ import annotations

from typing import Any

import hybrid as hb
from hybrid import nn, optim

from .harness import box, data, suite

PROGRAMS, replayed = suite()
ATTACKS, attack = suite()


def weights() -> tuple[Any, Any]:
    return hb.tensor([[0.5, -1.0], [2.0, 0.25], [1.0, 1.5], [-0.5, 0.75]], requires_grad=True), (
        hb.tensor([0.5, -0.5], requires_grad=True)
    )


def loss_of(x: Any, w: Any, b: Any) -> Any:
    return ((x @ w + b) ** 2).mean() * 1e-3


@replayed
def gradients_dropped_in_a_list(jit: Any) -> Any:
    w, b = weights()

    @jit
    def f(x: Any) -> Any:
        loss = loss_of(x, w, b)
        loss.backward()
        with hb.no_grad():
            for p in [w, b]:
                p -= 0.01 * p.grad
                p.grad = None
        return loss.item()

    return lambda k: f(data(k).reshape(1, 4)), (w, b, lambda: (w.grad, b.grad))


@replayed
def gradients_dropped_in_a_tuple(jit: Any) -> Any:
    w, b = weights()
    s = box(w=w, b=b, seen=None)

    @jit
    def f(x: Any) -> Any:
        loss_of(x, w, b).backward()
        for p in (w, b):
            p.assign(p.detach() - 0.01 * p.grad)
        s.seen = w.grad
        for p in (w, b):
            p.grad = None
        return w.grad

    return lambda k: f(data(k).reshape(1, 4)), s


@replayed
def scaled_gradients(jit: Any) -> Any:
    m = nn.Linear(4, 2)
    m.weight.assign(hb.ones(*m.weight.shape) * 0.1)
    m.bias.assign(hb.zeros(2))
    opt, s = optim.SGD(m.parameters(), lr=0.01), box(scale=8.0)

    @jit
    def f(x: Any) -> Any:
        loss = (m(x) ** 2).mean() * 1e-3
        (loss * s.scale).backward()
        for p in list(m.parameters()):
            p.grad = p.grad / s.scale
        opt.step()
        opt.zero_grad()
        return loss

    def call(k: int) -> Any:
        s.scale = 8.0 if k % 9 else 4.0
        return f(data(k))

    return call, (s, m.state_dict())


@replayed
def velocities_beside_weights(jit: Any) -> Any:
    w, b = weights()
    vw, vb = hb.zeros(4, 2), hb.zeros(2)

    @jit
    def f(x: Any) -> Any:
        loss_of(x, w, b).backward()
        for p, v in zip([w, b], [vw, vb]):
            v.assign(v * 0.9 + p.grad)
            p.assign(p.detach() - v * 0.01)
            p.grad = None
        return w.sum()

    return lambda k: f(data(k).reshape(1, 4)), (w, b, vw, vb)


@replayed
def squares_by_number(jit: Any) -> Any:
    w, b = weights()
    s = box(params=[w, b], square=[hb.zeros(4, 2), hb.zeros(2)])

    @jit
    def f(x: Any) -> Any:
        loss_of(x, w, b).backward()
        for i, p in enumerate(s.params):
            s.square[i] = s.square[i] * 0.9 + p.grad * p.grad
            p.assign(p.detach() - p.grad * 0.01 / (s.square[i].sqrt() + 1e-3))
            p.grad = None
        return b * 2

    return lambda k: f(data(k).reshape(1, 4)), s


@attack
def frozen_and_not(jit: Any) -> Any:
    w, b = weights()
    s = box(frozen=False)

    @jit
    def f(x: Any) -> Any:
        for p, wanted in [(w, not s.frozen), (b, True)]:
            p.requires_grad = wanted
        loss = loss_of(x, w, b)
        loss.backward()
        grads = w.grad, b.grad
        for p in [w, b]:
            p.grad = None
        return grads

    def call(k: int) -> Any:
        s.frozen = k % 11 == 10
        return f(data(k).reshape(1, 4))

    return call, s


@replayed
def objects_in_a_list(jit: Any) -> Any:
    one, other = box(t=None, n=0), box(t=None, n=5)

    @jit
    def f(x: Any) -> Any:
        for o in [one, other]:
            o.last = o.t
            o.t = x * (o.n + 1)
            o.n += 1
        return one.t + other.t

    def call(k: int) -> Any:
        if k % 7 == 6:
            one.n = 0
        return f(data(k))

    return call, (one, other)


@replayed
def one_object_twice(jit: Any) -> Any:
    o = box(n=0, t=None)

    @jit
    def f(x: Any) -> Any:
        for each in (o, o):
            each.n += 1
            each.t = x * each.n
        return o.t

    return lambda k: f(data(k)), o


@attack
def which_object_a_number_says(jit: Any) -> Any:
    one, other, s = box(t=0), box(t=0), box(n=0)

    @jit
    def f(x: Any) -> Any:
        o = [one, other][s.n % 2]
        o.t = x * 2
        s.n += 1
        return x

    return lambda k: f(data(k)), (one, other, s)


@attack
def which_object_a_tensor_says(jit: Any) -> Any:
    one, other = box(t=0), box(t=0)

    @jit
    def f(x: Any) -> Any:
        (one, other)[int(x.sum() > 40)].t = x * 2
        for o in [one, other][: 1 + int(x.sum() > 80)]:
            o.n = x + 1
        return x

    return lambda k: f(data(k % 13)), (one, other)


@attack
def which_object_a_key_says(jit: Any) -> Any:
    one, other = box(t=0, n=0), box(t=0, n=0)

    @jit
    def f(x: Any) -> Any:
        least = min([one, other], key=lambda o: o.n)
        least.n += 1
        least.t = x * 2
        {0: one, 1: other}[one.n % 2].last = x
        return x

    return lambda k: f(data(k)), (one, other)


@attack
def an_object_that_is_replaced(jit: Any) -> Any:
    s = box(one=box(t=0), other=box(t=0), made=[])

    @jit
    def f(x: Any) -> Any:
        for o in [s.one, s.other]:
            o.t = x * 2
        return x

    def call(k: int) -> Any:
        if k % 5 == 4:
            s.made.append(s.one)
            s.one = box(t=1)
        if k % 9 == 8:
            s.one = s.other
        return f(data(k))

    return call, s


@attack
def an_object_with_a_setter(jit: Any) -> Any:
    class Loud:
        def __init__(self) -> None:
            self.log: list[Any] = []

        def __setattr__(self, name: str, value: Any) -> None:
            if name != "log":
                self.log.append(name)
            object.__setattr__(self, name, value)

    class Slotted:
        __slots__ = ("t",)

    class Property:
        t = property(lambda self: 1, lambda self, value: vars(self).update(kept=value))

    found = [Loud(), Slotted(), Property(), box(t=1)]

    @jit
    def f(x: Any) -> Any:
        for o in [*found]:
            o.t = x + 1
        return x

    return lambda k: f(data(k)), found


@attack
def an_iterator_that_moves(jit: Any) -> Any:
    found = [box(t=k) for k in range(40)]
    walk = iter(found)

    @jit
    def f(x: Any) -> Any:
        for o in [next(walk)]:
            o.t = x * 3
        return x

    return lambda k: f(data(k)), found


@attack
def other_weights_between_calls(jit: Any) -> Any:
    w, b = weights()
    s = box(w=w, b=b)

    @jit
    def f(x: Any) -> Any:
        loss_of(x, s.w, s.b).backward()
        grads = [p.grad for p in [s.w, s.b]]
        for p in [s.w, s.b]:
            p.grad = None
        return grads

    def call(k: int) -> Any:
        if k % 6 == 5:
            s.w = weights()[0]
        if k % 8 == 7:
            s.b.grad = hb.ones(2)
        return f(data(k).reshape(1, 4))

    return call, s


@replayed
def callbacks_behind_a_star(jit: Any) -> Any:
    class History:
        def __init__(self) -> None:
            self.losses: list[float] = []
            self.seen = 0

        def on_step(self, trainer: Any, loss: Any, *more: Any) -> None:
            self.losses.append(loss.item())
            self.seen += len(more)

    class Trainer:
        def __init__(self) -> None:
            self.callbacks, self.steps = [History(), History()], 0

        def fire(self, event: str, *args: Any) -> None:
            for callback in self.callbacks:
                getattr(callback, event)(self, *args)

    trainer = Trainer()

    @jit
    def f(x: Any) -> Any:
        trainer.steps += 1
        trainer.fire("on_step", x.sum(), x)
        return x * trainer.steps

    def call(k: int) -> Any:
        if k % 10 == 9:
            trainer.callbacks[0].losses.clear()
        return f(data(k))

    return call, trainer


@attack
def a_star_of_a_list_that_grows(jit: Any) -> Any:
    s, one, other = box(n=0), box(t=0), box(t=0)

    def store(x: Any, *holders: Any) -> None:
        for holder in holders:
            holder.t = x

    @jit
    def f(x: Any) -> Any:
        held: list[Any] = []
        held.append(one)
        if s.n % 3 == 0:
            held.append(other)
        s.n += 1
        store(x * 2, *held)
        store(x * 3, *(one, *held))
        return x

    return lambda k: f(data(k)), (s, one, other)
