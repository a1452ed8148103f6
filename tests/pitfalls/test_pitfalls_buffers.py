"""Pitfalls of tracing: mutation, aliasing, buffers, donation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pitfall_harness import A, B, check, mlp, norm, t, train_step

import hybrid as hb
import hybrid.optim as optim


def batch(k: int = 0) -> Any:
    """An input of the model."""
    return t(np.resize(np.roll(A, k), (4, 7)) * 0.3)


def test_in_place_update_of_an_input() -> None:
    def program(jit: Any) -> Any:
        @jit
        def f(x: Any) -> Any:
            x += 1
            return x.sum()

        out = []
        for k in range(8):
            a = t(A + k)
            out += [f(a), a, f(a), a]
        return out

    check(program, replays=12)


def test_setitem_fill_and_methods_on_inputs_and_captures() -> None:
    def program(jit: Any) -> Any:
        buf = t(np.zeros(7))

        @jit
        def f(x: Any) -> Any:
            x[1:3] = 7.0
            x[-1] = x[0]
            buf[2:5] += x[2:5]
            buf.mul_(0.5)
            x.clamp_(-1, 2)
            return (x * buf).sum()

        out = []
        for k in range(8):
            a = t(np.roll(A, k))
            out += [f(a), a, buf]
        return [norm(o) for o in out]

    check(program, replays=5)


def test_same_tensor_twice_and_overlapping_views() -> None:
    def program(jit: Any) -> Any:
        @jit
        def f(dst: Any, src: Any) -> Any:
            dst.add_(1)
            return src * 2

        out: list[Any] = []
        for _ in range(5):
            a, b = t(), t(A * 2)
            out += [f(a, a), f(a, b), f(b, a), f(a.clone(), a), a, b]
            c = t()
            v = c[2:6]
            try:
                out += [f(v, c[0:4]), c, v]
            except hb.HybridError as e:
                out.append(type(e).__name__)
        return out

    check(program, replays=6)


def test_the_same_capture_and_argument() -> None:
    def program(jit: Any) -> Any:
        w = t()

        @jit
        def f(x: Any) -> Any:
            x.add_(1)
            return x * w

        out = []
        for k in range(10):
            out += [f(w if k % 3 == 2 else t(A + k)), w]
        return [norm(o) for o in out]

    check(program, replays=3)


def test_outputs_of_many_calls_stay() -> None:
    f = hb.function(lambda x: (x * 2, (x + 1).sum()))
    outs = [f(t(A + k)) for k in range(12)]
    for k, (y, s) in enumerate(outs):
        assert np.array_equal(y.numpy(), (A + k) * 2)
        assert np.array_equal(s.numpy(), (t(A + k) + 1).sum().numpy())
    assert len({y.numpy().__array_interface__["data"][0] for y, _ in outs}) == 12


def test_large_outputs_stay_while_held_as_numpy() -> None:
    f = hb.function(lambda x: x + 1)
    kept = []
    for k in range(8):
        # the tensor is gone, its memory is not
        kept.append(f(hb.full((1 << 17,), float(k))).numpy())
    assert (
        [float(v[0]) for v in kept] == [float(v[-1]) for v in kept] == [k + 1.0 for k in range(8)]
    )


def test_output_fed_back_as_input() -> None:
    def program(jit: Any) -> Any:
        cell = jit(lambda h, x: (h * 0.5 + x).tanh())
        both = jit(lambda a, b: (b, a + b))
        h, out = t(), []
        for k in range(10):
            h = cell(h, t(A * k))
            out.append(h)
        a, b = t(A), t(A * 2)
        for _ in range(8):
            a, b = both(a, b)
        x = t()
        for _ in range(6):
            x = cell(cell(x, x), x)
        return [*out, a, b, x]

    check(program, replays=15)


def test_values_held_by_others_do_not_change() -> None:
    net = mlp()
    opt = optim.Adam(net.parameters(), lr=0.1)
    step = hb.function(train_step(net, opt))
    held: list[tuple[Any, np.ndarray]] = []
    for k in range(8):
        p = net.first.weight
        for view in (
            p.numpy(),
            np.asarray(p),
            p.detach().clone(),
            p * 1,
            p.data.numpy(),
            net.state_dict()["first.weight"],
            p.T.clone(),
            p.numpy()[1:, ::2],
            memoryview(p.numpy()),
            opt.state_dict()["group0.lr"],
        ):
            held.append((view, np.array(view)))
        step(batch(k))
    assert step.cache_info().replays >= 4
    for view, old in held:
        assert np.array_equal(np.array(view), old, equal_nan=True)


def test_a_view_of_a_state_follows_or_refuses() -> None:
    def program(jit: Any) -> Any:
        w = t()
        f, out = jit(lambda x: w.add_(x).sum()), []
        for k in range(4):
            out.append(f(t()))
        row = w[1:4]
        for k in range(4):
            try:
                out += [f(t()), norm(row), norm(w)]
            except hb.HybridError as e:
                out.append(str(e)[:30])
        del row
        return out + [f(t()) for _ in range(4)]

    check(program, replays=4)


def test_output_is_an_input_a_view_a_weight_or_a_constant() -> None:
    def program(jit: Any) -> Any:
        w, c = t(A * 3), np.float32([1, 2])

        @jit
        def f(x: Any) -> Any:
            y = x * 2
            return x, x[0:3], w, y, y, [y, w], hb.tensor(c), hb.zeros((2,)), x.reshape((7, 1)), w.T

        out: list[Any] = []
        for k in range(6):
            x = t(A + k)
            r = f(x)
            out += [
                norm(r),
                r[0] is x,
                r[2] is w,
                r[3] is r[4],
                r[5][0] is r[3],
                r[5][1] is w,
                r[6] is r[7],
            ]
            r[3].add_(1)
            r[6].add_(5)
            r[7].fill_(3.0)
            out += [norm(r[i]) for i in (0, 2, 3, 4, 6, 7)]
        return out

    check(program, replays=3)


def test_results_that_are_views_can_be_written() -> None:
    def program(jit: Any) -> Any:
        net, out = mlp(), []
        detached, part = jit(lambda x: net(x).detach()), jit(lambda x: (x * 2)[1:4])
        shaped, of_input = (
            jit(lambda x: (x * 2).reshape((7, 1))),
            jit(lambda x: (x[1:4], x.detach())),
        )
        two = jit(lambda x: (x * 3, (x * 3)[:2]))

        @jit
        def with_base(x: Any) -> Any:
            y = x * 2
            return y, y[2:5]

        for k in range(6):
            total = detached(t(A + k))
            total += detached(t())
            total[0] = 5.0
            y, z = part(t()), shaped(t())
            y += 1
            z[0] = 9.0
            x = t()
            row, same = of_input(x)
            row.mul_(2.0)
            same[0] = k
            base, piece = with_base(t())
            out += [norm(v) for v in (total, y, z, x, row, same, *two(x), base, piece)]
        return out

    check(program, replays=16)


def test_cache_slice_write() -> None:
    def program(jit: Any) -> Any:
        cache = hb.zeros((6, 7))

        @jit
        def by_tensor(k: Any, pos: Any) -> Any:
            cache[pos] = k
            return cache.sum(axis=0)

        @jit
        def by_number(c: Any, k: Any, pos: int) -> Any:
            c[pos : pos + 1] = k
            return c[: pos + 1].sum(axis=0)

        out = []
        for i in range(12):
            out += [
                norm(by_tensor(t(A + i), hb.tensor(i % 6))),
                norm(by_number(cache, t(A - i), i % 3)),
                norm(cache),
            ]
        return out

    check(program, replays=10)


def test_numpy_memory_written_after_the_call() -> None:
    def program(jit: Any) -> Any:
        f, out = jit(lambda x: (x * 2, x)), []
        for k in range(6):
            h = A + np.float32(k)
            x = hb.asarray(h)
            y = f(x)
            h[:] = 0
            out += [norm(y), norm(x)]
        return out

    check(program, replays=4)


def test_results_are_read_only_for_numpy_and_private() -> None:
    f = hb.function(lambda x: x + 1)
    for _ in range(5):
        y = f(t())
        with pytest.raises(ValueError):
            y.numpy()[0] = 1
        with pytest.raises(ValueError):
            np.asarray(y)[0] = 1


def test_special_values_in_states_and_odd_shapes() -> None:
    def program(jit: Any) -> Any:
        out = []
        for v in (A, B, A[:0], A[:1], A[0], np.resize(B, (3, 5, 3))):
            state = t(v)
            f = jit(lambda x, state=state: state.assign(state * 0.5 + x).sum())
            out += [f(t(v)) for _ in range(4)] + [norm(state)]
        return out

    check(program)
