"""Preprocessing with NumPy as programs do it: what is computed of arguments, of constants and of
random numbers is computed again by replays (test_shared_arrays.py: what Python may look at is not).

Each program runs decorated and plain; results, bits, exceptions and Python state must agree.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from actions.harness import both, box, suite

import hybrid as hb
from hybrid.trace.follow.rows import SUPPORTED

pytestmark = [
    pytest.mark.skipif(not SUPPORTED, reason="no table of instructions for this interpreter"),
    pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly"),
]

PROGRAMS, program = suite()
SEVERAL, several = suite()
CALLS = 16
MEAN, SPREAD = np.array([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 3.0])


def normal(k: int, *shape: int) -> Any:
    return np.random.default_rng(k).normal(size=shape)


def whole(k: int, *shape: int) -> Any:
    return np.random.default_rng(k).integers(0, 200, shape)


@program
def names_that_are_bound_again(jit: Any) -> Any:
    def prepare(x: Any) -> Any:
        x = x.astype(np.float32)
        x = (x - x.mean(axis=0)) / (x.std(axis=0, ddof=1) + 1e-6)
        return hb.tensor(x).sum()

    f = jit(prepare)
    return (lambda k: f(normal(k, 6, 3))), None


@program
def numbers_out_of_arrays(jit: Any) -> Any:
    s = box(top=0.0)

    def prepare(x: Any) -> Any:
        s.top = float(np.abs(x).max())
        return hb.tensor(x) / s.top, int(x.argmax()), x.sum().item()

    f = jit(prepare)
    return (lambda k: f(normal(k, 6, 3))), s


@program
def one_hot(jit: Any) -> Any:
    def prepare(labels: Any) -> Any:
        wide = np.eye(5, dtype=np.float32)[labels]
        return hb.tensor(wide), hb.tensor((labels[:, None] == np.arange(5)).astype("f4"))

    f = jit(prepare)
    return (lambda k: f(whole(k, 7) % 5)), None


@program
def constants_of_the_module(jit: Any) -> Any:
    f = jit(lambda x: hb.tensor(((x - MEAN) / SPREAD).astype("f4")))
    return (lambda k: f(normal(k, 4, 3))), None


@program
def padded_and_masked(jit: Any) -> Any:
    table = hb.tensor(normal(0, 200, 2))

    def prepare(ids: Any) -> Any:
        padded = np.pad(ids, (0, 6 - len(ids)), constant_values=1)
        mask = np.arange(6) < ids.shape[0]
        return (table[padded] * hb.tensor(mask[:, None])).sum(axis=0)

    f = jit(prepare)
    return (lambda k: f(whole(k, 4))), None


@program
def lists_of_arrays(jit: Any) -> Any:
    def prepare(a: Any, b: Any, others: Any) -> Any:
        long, rows = np.concatenate([a * 2, b]), np.vstack((a, b - 1))
        return hb.tensor(long), hb.tensor(rows), hb.tensor(np.stack(others).astype("f4"))

    f = jit(prepare)
    return (lambda k: f(normal(k, 2), normal(k + 1, 2), [normal(k, 3), normal(k + 2, 3)])), None


@program
def positions_that_move(jit: Any) -> Any:
    def prepare(x: Any, i: int, chosen: Any) -> Any:
        y = hb.tensor(x)
        return hb.tensor(x[i : i + 3] * 2), hb.tensor(x[i] + 0), y[int(chosen[0])], y[chosen + 1]

    f = jit(prepare)
    return (lambda k: f(normal(k, 10, 2), k % 6, whole(k, 2) % 7)), None


@program
def arrays_that_are_given_back(jit: Any) -> Any:
    def prepare(x: Any) -> Any:
        y = x * 2
        return hb.tensor(y), y, x.T, np.asarray(x)

    f = jit(prepare)

    def call(k: int) -> Any:
        x = normal(k, 3, 2)
        made, y, view, same = f(x)
        y[0], view[0] = 7.0, 8.0
        return made, y, x, same is x, y.flags.owndata

    return call, None


@program
def arrays_that_are_kept(jit: Any) -> Any:
    s = box(kept=[], last=None)

    def prepare(x: Any) -> Any:
        y = x + 1
        s.kept.append(y)
        s.last = (x - 1, "text")
        return hb.tensor(y).sum()

    f = jit(prepare)

    def call(k: int) -> Any:
        result = f(normal(k, 3))
        s.kept[-1][0] = 5
        return result

    return call, s


@program
def draws_beside_data(jit: Any) -> Any:
    generator = np.random.default_rng(3)

    def prepare(x: Any) -> Any:
        noise = generator.normal(size=x.shape)
        keep = generator.random((4, 3)) < 0.5
        order = generator.permutation(4)
        return hb.tensor(x + noise * 0.1) * hb.tensor(keep * x), hb.tensor(x[order])

    f = jit(prepare)
    return (lambda k: f(normal(k, 4, 3))), None


@dataclasses.dataclass
class Batch:
    images: Any
    labels: Any


@program
def dataclasses_dicts_and_stars(jit: Any) -> Any:
    def prepare(batch: Any, *others: Any, **named: Any) -> Any:
        images = hb.tensor(batch.images.astype("f4") / 255)
        rest = [hb.tensor(x * (i + 1)) for i, x in enumerate(others)]
        return images, hb.tensor(batch.labels - batch.labels.min()), rest, hb.tensor(named["w"] / 2)

    f = jit(prepare)

    def call(k: int) -> Any:
        batch = Batch(whole(k, 3, 2).astype("u1"), whole(k + 1, 3))
        return f(batch, normal(k, 2), normal(k + 1, 2), w=normal(k + 2, 2))

    return call, None


@program
def helpers_with_names(jit: Any) -> Any:
    def scaled(a: Any, *, axis: Any = None) -> Any:
        return (a - a.mean(axis=axis)) / (a.std(axis=axis) + 1e-5)

    def prepare(x: Any) -> Any:
        halved = lambda v: v / 2  # noqa: E731
        return hb.tensor(scaled(x, axis=0)), hb.tensor(halved(halved(x)))

    f = jit(prepare)
    return (lambda k: f(normal(k, 3, 2))), None


@program
def tuples_and_objects_that_are_called(jit: Any) -> Any:
    class Shifted:
        def __init__(self, by: Any) -> None:
            self.by = by

        def __call__(self, x: Any) -> Any:
            return x - self.by

    steps = [Shifted(1.0), Shifted(MEAN)]

    def parts(x: Any) -> Any:
        return x * 2, x.mean(), [x.max(), 3]

    def prepare(x: Any) -> Any:
        doubled, mean, (top, three) = parts(x)
        for step in steps:
            x = step(x)
        return hb.tensor(doubled - mean), hb.tensor(x) * float(top), three

    f = jit(prepare)
    return (lambda k: f(normal(k, 2, 3))), None


@program
def parts_of_tensors(jit: Any) -> Any:
    s = box(buffer=hb.zeros(4, 3))

    def prepare(x: Any, i: int) -> Any:
        s.buffer[i] = x * 2
        s.buffer[0] = hb.tensor(x - 1)
        return s.buffer.sum()

    f = jit(prepare)
    return (lambda k: f(normal(k, 3), k % 4)), s


@program
def arrays_with_equal_bits(jit: Any) -> Any:
    zeros = np.zeros(3)

    def prepare(x: Any, y: Any) -> Any:
        low, high = (x > 3) * 1.0, (y > 3) * 1.0
        chosen = hb.where(high > 0, hb.tensor(x), hb.tensor(y))
        return chosen, hb.subtract(low, high), hb.subtract(zeros, low), hb.subtract(high, zeros)

    f = jit(prepare)

    def call(k: int) -> Any:
        return f(*(np.zeros((2, 3)) if k < 5 else 6 * normal(k, 2, 3)))

    return call, None


@program
def layouts_and_kinds(jit: Any) -> Any:
    def prepare(x: Any, swapped: Any, single: Any, none: Any) -> Any:
        y = hb.tensor(x[::2] / 3), hb.tensor(x.T @ x), hb.tensor(swapped * 2)
        return y, hb.tensor(np.sqrt(single * single)), hb.tensor(none * 2)

    f = jit(prepare)

    def call(k: int) -> Any:
        x = normal(k, 6, 8)[::-1, ::2]
        x.flags.writeable = False
        return f(x, normal(k, 3).astype(">f4"), np.array(normal(k, 1)[0]), np.zeros((0, k % 2 + 1)))

    return (lambda k: call(k - k % 2)), None


@program
def content_that_is_not_finite(jit: Any) -> Any:
    def prepare(x: Any) -> Any:
        filled = np.where(np.isnan(x), 0, x)
        return hb.tensor(np.nan_to_num(x, nan=0.5)), hb.tensor(filled), hb.tensor(x.max())

    f = jit(prepare)

    def call(k: int) -> Any:
        x = normal(k, 4)
        x[k % 4] = (np.nan, np.inf, 0.0)[k % 3]
        return f(x)

    return call, None


@pytest.mark.parametrize("name", PROGRAMS)
def test_preprocessing_is_done_again(name: str) -> None:
    (f,) = both(PROGRAMS[name], CALLS)
    info = f.cache_info()
    assert info.replays >= CALLS - 5, f.explain()


# ---- more than one way, or calls that Python serves in between
@several
def a_branch_on_a_maximum(jit: Any) -> Any:
    def prepare(x: Any) -> Any:
        if (top := x.max()) > 1:
            x = x / top
        return hb.tensor(x) * 2, float(top)

    f = jit(prepare)
    return (lambda k: f(normal(k, 3))), None


@several
def an_error_for_some(jit: Any) -> Any:
    def prepare(x: Any) -> Any:
        if not np.isfinite(x).all():
            raise ValueError("not finite")
        return hb.tensor(x * int(x[0]))

    f = jit(prepare)

    def call(k: int) -> Any:
        x = 10 * normal(k, 3)
        x[1] = np.inf if k % 5 == 4 else 1.0
        return f(x)

    return call, None


@several
def constants_that_change(jit: Any) -> Any:
    s = box(mean=np.zeros(3))
    f = jit(lambda x: hb.tensor(x - s.mean))

    def call(k: int) -> Any:
        if k == 8:
            s.mean[1] = 4.0
        if k == 16:
            s.mean = np.full(3, 9.0)
        return f(normal(k, 2, 3))

    return call, s


@several
def lists_that_change(jit: Any) -> Any:
    levels, weights, widths = [0.25, 0.5], ([1.0, 2.0], 3), [(1, 2)]

    def prepare(x: Any, several: Any) -> Any:
        ordered = list(reversed(several)) if len(levels) > 2 else list(several)
        padded = np.pad(x, widths, constant_values=weights[1])
        return (
            hb.tensor(np.quantile(x, levels)),
            hb.tensor(np.add(x, weights[0])),
            hb.tensor(np.stack(ordered)),
            hb.tensor(padded),
        )

    f = jit(prepare)

    def call(k: int) -> Any:
        if k == 8:
            levels[0] = 0.1
        if k == 14:
            levels.append(0.9)
        if k == 20:
            weights[0][1], widths[0] = 7.0, (2, 1)
        return f(normal(k, 2), [normal(k + 1, 2), normal(k + 2, 2)])

    return call, None


@several
def flipped_by_chance(jit: Any) -> Any:
    generator = np.random.default_rng(3)

    def prepare(x: Any) -> Any:
        if generator.random() < 0.5:
            x = x[:, ::-1]
        return hb.tensor(np.ascontiguousarray(x)) * 2

    f = jit(prepare)
    return (lambda k: f(normal(k, 2, 3))), None


@several
def errors_that_the_caller_ignores(jit: Any) -> Any:
    f = jit(lambda x: hb.tensor(1 / x))

    def call(k: int) -> Any:
        with np.errstate(all="ignore" if k < 20 else "raise"):
            return f(np.array([1.0, k % 3, 2.0]))

    return call, None


@several
def errors_that_the_function_raises(jit: Any) -> Any:
    def prepare(x: Any) -> Any:
        with np.errstate(divide="raise"):
            y = 1 / x
        old = np.seterr(invalid="raise")
        z = np.sqrt(x)
        np.seterr(**old)
        return hb.tensor(y), hb.tensor(z)

    f = jit(prepare)

    def call(k: int) -> Any:
        with np.errstate(all="ignore"):
            return f(np.array([1.0, 0.0 if k == 21 else 1.0, 2.0]))

    return call, None


@several
def shapes_that_numbers_say(jit: Any) -> Any:
    def prepare(x: Any, n: int) -> Any:
        y = np.repeat(x, n)
        return hb.zeros(y.shape[0]) + hb.tensor(x).sum(), y.size, len(x[:n])

    f = jit(prepare)
    return (lambda k: f(normal(k, 3), 1 + k % 3)), None


@pytest.mark.parametrize("name", SEVERAL)
def test_what_differs_between_calls_is_told_apart(name: str) -> None:
    (f,) = both(SEVERAL[name], 2 * CALLS)
    assert f.cache_info().replays >= CALLS // 2, f.explain()


def test_empty_arrays_warn_at_the_line_of_the_program() -> None:
    f = hb.function(lambda x: (hb.tensor(x * 2), hb.tensor(x.mean(axis=1))))
    for _ in range(6):
        with pytest.warns(RuntimeWarning, match="empty slice|invalid value") as told:
            f(np.zeros((2, 0)))
        assert len([w for w in told if w.category is RuntimeWarning]) in (1, 2)


def test_buffers_may_be_resized_while_they_are_recorded() -> None:
    def level(samples: Any) -> Any:
        total = hb.tensor(np.frombuffer(samples, np.int16).astype("f4")).sum()
        samples.clear()
        return total

    f = hb.function(level)
    for k in range(8):
        samples = bytearray(np.full(4, k, np.int16).tobytes())
        assert f(samples).item() == 4.0 * k and not samples


def test_arrays_of_numpys_own_python_are_new_ones() -> None:
    f = hb.function(lambda x: hb.tensor(np.eye(2)) * x + hb.tensor(np.linspace(0.0, 1.0, 2)))
    for k in range(8):
        assert f(hb.full((2, 2), float(k))).tolist() == [[float(k), 1.0], [0.0, k + 1.0]]
    assert f.cache_info().replays == 6
