"""Lists, deques, dicts and sets that grow; numbers read from tensors."""

from __future__ import annotations

import collections
import gc
from typing import Any

import hybrid as hb

from .harness import box, data, suite

PROGRAMS, replayed = suite()


@replayed
def append_to_a_list(jit: Any) -> Any:
    log: list[Any] = []

    @jit
    def f(x: Any) -> Any:
        y = x * 2
        log.append(y)
        return y

    return lambda k: f(data(k)), log


@replayed
def append_twice_and_return(jit: Any) -> Any:
    log: list[Any] = []
    other: list[Any] = []

    @jit
    def f(x: Any) -> Any:
        y = x * 2
        log.append(y)
        other.append(y)
        log.append(x)
        log.append(y)
        log.append((1, [y, None], {"a": y, "b": "c"}))
        return y, x

    return lambda k: f(data(k)), [log, other]


@replayed
def append_and_write_in_place(jit: Any) -> Any:
    log: list[Any] = []

    @jit
    def f(x: Any) -> Any:
        y = x * 2
        log.append(y)
        y += 1
        log.append(y * 1)
        return y

    return lambda k: f(data(k)), log


@replayed
def append_without_result(jit: Any) -> Any:
    log: list[Any] = []

    @jit
    def f(x: Any) -> None:
        log.append(x.sum())

    return lambda k: f(data(k)), log


@replayed
def log_cleared_outside(jit: Any) -> Any:
    log: list[Any] = []

    @jit
    def f(x: Any) -> Any:
        log.append(x.sum())
        return x + 1

    def call(k: int) -> Any:
        if k % 5 == 4:
            log.clear()
            gc.collect()
        return f(data(k))

    return call, log


@replayed
def clear_and_refill(jit: Any) -> Any:
    log: list[Any] = []

    @jit
    def f(x: Any) -> Any:
        log.clear()
        log.append(x * 2)
        log.extend([x * 3, x * 4])
        log.append(7)
        return x + 1

    return lambda k: f(data(k)), log


@replayed
def bounded_deque(jit: Any) -> Any:
    buf: Any = collections.deque(maxlen=3)

    @jit
    def f(x: Any) -> Any:
        buf.append(x * 2)
        return x + 1

    return lambda k: f(data(k)), buf


@replayed
def deque_both_ends(jit: Any) -> Any:
    buf: Any = collections.deque([1, 2, 3])

    @jit
    def f(x: Any) -> Any:
        buf.append(x * 2)
        buf.appendleft(x * 3)
        buf.popleft()
        return x + 1

    return lambda k: f(data(k)), buf


@replayed
def sliding_window(jit: Any) -> Any:
    log: list[Any] = []

    @jit
    def f(x: Any) -> Any:
        log.append(x * 2)
        if len(log) > 4:
            log.pop(0)
        return x + 1

    return lambda k: f(data(k)), log


@replayed
def delete_the_oldest(jit: Any) -> Any:
    log: list[Any] = []

    @jit
    def f(x: Any) -> Any:
        log.append(x * 2)
        while len(log) > 4:
            del log[0]
        return x + 1

    def call(k: int) -> Any:
        if k == 8:
            del log[:]
        return f(data(k))

    return call, log


@replayed
def dict_by_counter(jit: Any) -> Any:
    s = box(n=0, out={})

    @jit
    def f(x: Any) -> Any:
        s.out[s.n] = x.sum()
        s.n += 1
        return x + 1

    return lambda k: f(data(k)), s


@replayed
def set_of_plain_values(jit: Any) -> Any:
    seen: set[Any] = set()
    s = box(n=0)

    @jit
    def f(x: Any) -> Any:
        seen.add("run")
        seen.add(s.n % 5)
        s.n += 1
        return x + 1

    return lambda k: f(data(k)), [seen, s]


@replayed
def dict_emptied_outside(jit: Any) -> Any:
    d: dict[str, Any] = {}

    @jit
    def f(x: Any) -> Any:
        d["y"] = x * 2
        return x + 1

    def call(k: int) -> Any:
        d.clear()
        return f(data(k))

    return call, d


@replayed
def losses(jit: Any) -> Any:
    log: list[float] = []
    s = box(last=0.0, total=0.0, count=0)

    @jit
    def f(x: Any) -> Any:
        loss = (x * x).mean()
        log.append(float(loss))
        s.last = loss.item()
        s.total += loss.item()
        s.count += 1
        s.mean = s.total / s.count
        return x + 1

    return lambda k: f(data(k)), [log, s]


@replayed
def result_with_host_reads(jit: Any) -> Any:
    s = box(n=0)

    @jit
    def f(x: Any) -> Any:
        s.n += 1
        return {"loss": x.sum().item(), "n": s.n, "hits": int((x > 2).sum()), "v": x.tolist()}

    return lambda k: f(data(k)), s


@replayed
def arithmetic_on_a_host_read(jit: Any) -> Any:
    @jit
    def f(x: Any) -> Any:
        return x.sum().item() * 2 + 1.0

    return lambda k: f(data(k)), None


@replayed
def host_read_handed_to_a_method(jit: Any) -> Any:
    class Meter:
        def __init__(self) -> None:
            self.total, self.n, self.log = 0.0, 0, []

        def add(self, value: float) -> None:
            self.total += value
            self.n += 1
            self.log.append(value)

    meter = Meter()

    @jit
    def f(x: Any) -> Any:
        loss = x.mean()
        meter.add(loss.item())
        return loss

    return lambda k: f(data(k)), meter


@replayed
def training_step(jit: Any) -> Any:
    hb.manual_seed(0)
    net = hb.nn.Linear(4, 2)
    opt = hb.optim.Adam(net.parameters(), lr=0.01)
    s = box(step=0, losses=[], best=None)

    @jit
    def step(x: Any) -> Any:
        opt.zero_grad()
        loss = (net(x) ** 2).mean()
        loss.backward()
        opt.step()
        s.step += 1
        s.losses.append(float(loss))
        s.last = loss.detach()
        if s.step % 4 == 0:
            s.losses.clear()
        return loss

    def call(k: int) -> Any:
        loss = step(data(k)).detach()
        return loss, [p.numpy() for p in net.parameters()]

    return call, s
