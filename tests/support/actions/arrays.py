"""Programs that keep numbers in NumPy arrays outside of the call, and write into them."""

from __future__ import annotations

from typing import Any

import numpy as np

import hybrid as hb

from .harness import box, data, suite

PROGRAMS, replayed = suite()
REFUSED, left = suite()


@replayed
def visits(jit: Any) -> Any:
    counts = np.zeros(5, int)

    @jit
    def f(x: Any, cell: int) -> Any:
        counts[cell] += 1
        return x * 2

    return lambda k: f(data(k), k % 5), box(a=counts)


@replayed
def losses_at_a_counter(jit: Any) -> Any:
    s = box(step=0, losses=np.zeros(60), short=np.zeros(10, np.float32))

    @jit
    def f(x: Any) -> Any:
        loss = (x * x).sum()
        s.losses[s.step] = loss.item()
        s.short[s.step % 10] = float(loss)
        s.step += 1
        return loss

    return lambda k: f(data(k)), s


@replayed
def rows_and_columns(jit: Any) -> Any:
    s = box(rows=np.zeros((5, 4), np.float32), grid=np.zeros((4, 6)))

    @jit
    def f(x: Any, k: int) -> Any:
        y = x * 2 + 1
        s.rows[k % 5] = y.numpy()
        s.grid[:, k % 6] = y.numpy()
        s.grid[1:3, 0] = k
        return y

    return lambda k: f(data(k), k), s


@replayed
def whole_arrays(jit: Any) -> Any:
    s = box(counts=np.zeros(3, int), mean=np.ones(3, np.float32), sums=np.zeros((2, 2)))

    @jit
    def f(x: Any) -> Any:
        s.counts += 1
        s.mean *= 0.9
        s.sums += s.counts[:2]
        s.sums -= 0.25
        s.mean[:] = s.mean + s.sums[0, 0]
        return x + 1

    return lambda k: f(data(k)), s


@replayed
def nonlocal_array(jit: Any) -> Any:
    counts = np.zeros(3, int)

    @jit
    def f(x: Any) -> Any:
        nonlocal counts
        counts += 2
        return x + 1

    return lambda k: (f(data(k)), counts.tolist()), box(a=counts)


@replayed
def tuples_of_indices(jit: Any) -> Any:
    s = box(table=np.zeros((3, 4)), kinds=np.zeros((3, 3), int))

    @jit
    def f(x: Any, a: int, b: int) -> Any:
        s.table[a, b] += 0.1
        s.table[a, -1] = s.table[a, b] * 2
        s.kinds[int(a), int(b) % 3] += 1
        return x * 2

    return lambda k: f(data(k), k % 3, k % 4), s


@replayed
def methods_with_returns(jit: Any) -> Any:
    class Agent:
        def __init__(self) -> None:
            self.returns, self.seen = np.zeros(4), np.zeros(4, np.int32)

        @jit
        def learn(self, x: Any, k: int, r: float) -> Any:
            self.returns[k] = r * 0.9 + self.returns[k]
            self.seen[k] += 1
            return x * 2

    agent = Agent()
    return lambda k: agent.learn(data(k), k % 4, 0.1 * k), box(a=agent.returns, b=agent.seen)


@replayed
def reads_behind_stores(jit: Any) -> Any:
    values = np.zeros(4)

    @jit
    def f(x: Any, k: int) -> Any:
        values[k] += 1.5
        y = x * values[k]
        values[k] *= 0.75
        values[0] = values[k] - values.sum()
        return y + float(values[0])

    return lambda k: f(data(k), k % 3 + 1), box(a=values)


@replayed
def values_of_a_table(jit: Any) -> Any:
    q = np.zeros((3, 2))

    @jit
    def f(x: Any, state: int) -> Any:
        row = q[state]
        action = int(row.argmax())
        target = 1.0 - 0.9 * q[state].max()
        q[state, action] += 0.1 * (target - q[state, action])
        return x * action

    return lambda k: f(data(k), k % 3), box(a=q)


@replayed
def a_branch_on_an_element(jit: Any) -> Any:
    counts = np.zeros(3, int)

    @jit
    def f(x: Any, k: int) -> Any:
        counts[k] += 1
        if counts[k] > 3:
            counts[k] = 0
            return x * 2
        return x + 1

    return lambda k: f(data(k), k % 3), box(a=counts)


@replayed
def a_tensor_of_the_array(jit: Any) -> Any:
    values = np.zeros(4, np.float32)

    @jit
    def f(x: Any, k: int) -> Any:
        before = hb.tensor(values)
        values[k] += 1
        return x + before, hb.asarray(values) * 2

    return lambda k: f(data(k), k % 4), box(a=values)


@replayed
def in_order_with_other_actions(jit: Any) -> Any:
    s = box(n=0, log=[], marks=np.zeros(6), d={})

    @jit
    def f(x: Any) -> Any:
        s.marks[s.n % 6] = s.n
        s.n += 1
        s.log.append(s.marks[0])
        s.marks[s.n % 6] = len(s.log)
        s.d["latest"] = float(s.marks[0])
        return x * 2

    return lambda k: f(data(k)), s


@replayed
def parts_in_place(jit: Any) -> Any:
    values = np.ones((3, 4))

    @jit
    def f(x: Any, k: int) -> Any:
        values[k] += 2
        values[:, 1] *= 0.5
        row = values[k]
        row -= 1
        return x * 2

    return lambda k: f(data(k), k % 3), box(a=values)


@replayed
def masks_lists_and_scalars(jit: Any) -> Any:
    s = box(a=np.arange(6.0), zero=np.zeros(()), flags=np.zeros(4, bool), narrow=np.zeros(3, "f2"))

    @jit
    def f(x: Any, k: int) -> Any:
        s.a[s.a > 3] = k
        s.a[[0, 1]] = k + 1
        s.a[2:4] = [k, 0.5]
        s.a[::2] = s.a[1::2]
        s.zero[()] += k
        s.zero[...] = s.zero / 2
        s.flags[k % 4] = k > 3
        s.narrow[k % 3] = k / 3
        return x * 2

    return lambda k: f(data(k), k), s


@replayed
def several_stores_of_a_loop(jit: Any) -> Any:
    counts = np.zeros(4, int)

    @jit
    def f(x: Any, k: int) -> Any:
        for i in (k, 1, k):
            counts[i] += 1
        return x * 2

    return lambda k: f(data(k), k % 3), box(a=counts)


@replayed
def large_arrays(jit: Any) -> Any:
    values = np.zeros((200, 100))

    @jit
    def f(x: Any, k: int) -> Any:
        values[k, :4] = (x * 2).numpy()
        values[k + 1, 5] = k
        return x * 2

    return lambda k: (f(data(k), k), values[:k].sum()), box(a=values)


@replayed
def handed_to_another_function(jit: Any) -> Any:
    s = box(a=np.zeros(4))

    def note(into: Any, at: int, value: float) -> None:
        into[at] = value
        into[0] -= 1

    @jit
    def f(x: Any, k: int) -> Any:
        note(s.a, k, k * 0.5)
        return x, s.a

    return lambda k: f(data(k), k % 4), s


@replayed
def a_training_step(jit: Any) -> Any:
    w = hb.tensor(np.ones(4, np.float32), requires_grad=True)
    s = box(w=w, losses=np.zeros(50), norms=np.zeros(50, np.float32), step=0)

    @jit
    def f(x: Any) -> Any:
        loss = ((x * s.w) ** 2).mean()
        s.w.grad = None
        loss.backward()
        with hb.no_grad():
            s.w -= 0.01 * s.w.grad
        s.losses[s.step] = loss.item()
        s.norms[s.step] = float(s.w.grad.norm())
        s.step += 1
        return loss.detach()

    return lambda k: f(data(k % 3)), s


@replayed
def sums_of_what_is_read(jit: Any) -> Any:
    s = box(sums=np.zeros(3), means=np.zeros(3), right=np.zeros(3, int), seen=np.zeros(3))

    @jit
    def f(x: Any, k: int) -> Any:
        loss = (x * x).sum()
        s.sums[k] += loss.item()
        s.means[k] = 0.9 * s.means[k] + 0.1 * loss.item()
        s.right[k] += (x > 2).sum().item()
        s.seen[k] -= float(loss) * 0.5
        return loss

    return lambda k: f(data(k), k % 3), s


@replayed
def counts_of_what_is_read(jit: Any) -> Any:
    s = box(kinds=np.zeros((4, 4), int), best=np.zeros(4), last=np.zeros(4, np.float32))

    @jit
    def f(x: Any, y: Any) -> Any:
        best, label = x.argmax(), y.argmin()
        s.kinds[int(best), label.item()] += 1
        s.best[best.item()] += 0.5
        s.last[int(label)] = x.max().item()
        return x + y

    def turned(k: int) -> Any:
        return hb.asarray(np.roll(np.arange(4, dtype=np.float32) * (k + 1), k))

    return lambda k: f(turned(k), turned(k // 3 + 1)), s


# ---- left to Python
@left
def views_that_outlive_the_call(jit: Any) -> Any:
    s, values = box(log=[]), np.zeros((3, 2))

    @jit
    def f(x: Any, k: int) -> Any:
        row = values[k]
        values[k, 0] += 1
        s.log.append(row)
        return x * 2

    return lambda k: f(data(k), k % 3), box(a=values, s=s)


@left
def views_behind_a_store(jit: Any) -> Any:
    values = np.zeros((3, 2))

    @jit
    def f(x: Any, k: int) -> Any:
        row = values[k]
        values[k, 0] += 1
        return x * float(row[0])

    return lambda k: f(data(k), k % 3), box(a=values)


@left
def overlapping_arrays(jit: Any) -> Any:
    values = np.zeros(6)
    others = values[::2]

    @jit
    def f(x: Any, k: int) -> Any:
        values[k] += 1
        others[k] += 2
        return x * float(others[k])

    return lambda k: f(data(k), k % 3), box(a=values)


@left
def structured_and_object_arrays(jit: Any) -> Any:
    s = box(a=np.zeros(3, [("n", int), ("x", float)]), b=np.array([None, 0, 1.0]))

    @jit
    def f(x: Any, k: int) -> Any:
        s.a[k] = (k, 0.5)
        s.b[k] = k
        return x * 2

    return lambda k: (f(data(k), k % 3), s.b.tolist()), box(a=s.a)


@left
def functions_with_out(jit: Any) -> Any:
    s = box(a=np.zeros(3), n=0)

    @jit
    def f(x: Any) -> Any:
        s.a[0] += 1
        np.add(s.a, 1, out=s.a)
        s.a.fill(s.a[0])
        return x * 2

    return lambda k: f(data(k)), s
