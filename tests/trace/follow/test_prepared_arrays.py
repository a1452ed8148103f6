"""NumPy computation on data among the arguments, which replays do again before their kernels.

Each program runs decorated and plain; results, bits, warnings, exceptions and Python state must
agree.
"""

from __future__ import annotations

import array
import gc
import warnings
import weakref
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
FIXED, fixed = suite()
CALLS = 16


def normal(k: int, *shape: int) -> Any:
    return np.random.default_rng(k).normal(size=shape)


def whole(k: int, *shape: int) -> Any:
    return np.random.default_rng(k).integers(0, 200, shape)


@program
def converted(jit: Any) -> Any:
    weight = hb.tensor(normal(0, 5, 3).astype(np.float32))
    f = jit(lambda x: hb.tanh(hb.tensor(x.astype(np.float32)) @ weight).sum(axis=0))
    return (lambda k: f(normal(k, 4, 5))), weight


@program
def beside_a_tensor(jit: Any) -> Any:
    f = jit(lambda x, mask: (x * mask + (1 - mask) * x.mean()).exp())

    def call(k: int) -> Any:
        mask = (normal(k, 3, 3) > 0).astype(np.float32)
        return f(hb.tensor(normal(k, 3, 3).astype(np.float32)), mask)

    return call, None


@program
def samples_of_a_buffer(jit: Any) -> Any:
    def level(samples: Any) -> Any:
        signal = hb.tensor(np.frombuffer(samples, dtype=np.int16).astype("f4")) / 32768
        return (signal**2).mean().sqrt()

    f = jit(level)
    return (lambda k: f(array.array("h", whole(k, 32).tolist()))), None


@program
def images_and_labels(jit: Any) -> Any:
    def prepare(images: Any, labels: Any) -> Any:
        x = images.astype(np.float32) / 255.0
        x = (x - 0.5) / np.float32(0.25)
        x = x.transpose(0, 2, 1)[:, ::-1]
        return hb.tensor(x).mean(axis=0), hb.asarray(labels.reshape(-1)) + 1, x.shape[0], x.dtype

    f = jit(prepare)
    return (lambda k: f(whole(k, 4, 6, 3).astype(np.uint8), whole(k, 4, 1))), None


@program
def functions_of_several_arrays(jit: Any) -> Any:
    def prepare(a: Any, b: Any) -> Any:
        chosen, limited = np.where(a > 0, a, b), np.clip(a, -1, 1)
        roots, mean = np.sqrt(np.abs(b)), a.mean(axis=0, keepdims=True)
        return (
            hb.tensor(chosen) + hb.tensor(limited),
            hb.tensor(roots) * hb.tensor(a - mean),
            hb.tensor(~(a > 0)),
            hb.tensor(-np.maximum(a, b)),
        )

    f = jit(prepare)
    return (lambda k: f(normal(k, 3, 4), normal(k + 9, 3, 4))), None


@program
def in_a_helper(jit: Any) -> Any:
    def normalised(a: Any) -> Any:
        return (a - a.mean()) / (a.std() + 1e-6)

    f = jit(lambda a: hb.tensor(normalised(a)) * 2)
    return (lambda k: f(normal(k, 3, 4))), None


@program
def with_numbers_that_move(jit: Any) -> Any:
    s = box(rate=0.5, step=0)

    def scaled(a: Any, shift: float) -> Any:
        s.step += 1
        return hb.tensor(a * s.rate + shift) / s.step

    f = jit(scaled)

    def call(k: int) -> Any:
        s.rate = 0.1 * k
        return f(normal(k, 3), k * 1.5)

    return call, s


@program
def views_that_are_kept(jit: Any) -> Any:
    held: list[Any] = []
    f = jit(lambda a: (hb.asarray(a[1:]), hb.asarray(a.T), hb.tensor(np.asarray(a))))

    def call(k: int) -> Any:
        a = normal(k, 3, 4)
        held.append(f(a))
        a[:] = 0
        return held[-2:]

    return call, held


@program
def in_containers(jit: Any) -> Any:
    def prepare(batch: Any) -> Any:
        xs = [hb.tensor(x / 255.0) for x in batch["images"]]
        return hb.stack(xs), hb.tensor(batch["labels"] - 1)

    f = jit(prepare)
    return (lambda k: f({"images": [whole(k, 2, 2), whole(k + 1, 2, 2)], "labels": whole(k, 5)})), 0


@program
def indices_of_a_table(jit: Any) -> Any:
    table = hb.tensor(normal(0, 201, 2))
    f = jit(lambda ids: table[ids + 1].sum(axis=0))
    return (lambda k: f(whole(k, 6))), table


@program
def under_a_gradient(jit: Any) -> Any:
    weight = hb.tensor(normal(0, 5, 2), requires_grad=True)

    def loss(x: Any) -> Any:
        return ((hb.tensor(x / 10) @ weight) ** 2).mean()

    f = jit(loss)

    def call(k: int) -> Any:
        out = f(normal(k, 4, 5))
        out.backward()
        gradient, weight.grad = weight.grad, None
        return out, gradient

    return call, weight


@pytest.mark.parametrize("name", PROGRAMS)
def test_computations_on_data_are_done_again(name: str) -> None:
    (f,) = both(PROGRAMS[name], CALLS)
    info = f.cache_info()
    assert info.replays >= CALLS - 5 and info.compilations == 1, f.explain()


@fixed
def decides_a_branch(jit: Any) -> Any:
    f = jit(lambda a: hb.tensor(a.astype("f4") if a.sum() > 0 else -a))
    return (lambda k: f(normal(k, 3, 4))), None


@fixed
def changed_in_place(jit: Any) -> Any:
    def prepare(a: Any) -> Any:
        b = a.astype("f4")
        b += 1
        c = b * 2
        c[0] = 0
        return hb.tensor(b), hb.tensor(c)

    f = jit(prepare)
    return (lambda k: f(normal(k, 3, 4))), None


@fixed
def returned_and_stored(jit: Any) -> Any:
    s = box(last=None)

    def prepare(a: Any) -> Any:
        s.last = a * 2
        b = a + 1
        return hb.tensor(s.last), hb.tensor(b), b

    f = jit(prepare)
    return (lambda k: f(normal(k, 3, 4))), s


@fixed
def of_a_shape_that_content_decides(jit: Any) -> Any:
    f = jit(lambda a: hb.tensor(a[a > 0]).sum())
    return (lambda k: f(normal(k, 3, 4))), None


@fixed
def raises_for_some(jit: Any) -> Any:
    f = jit(lambda a: hb.tensor(a.reshape(int(a[0]), -1)))
    return (lambda k: f(np.full(6, 1.0 + k % 5))), None


@fixed
def looked_at_by_python(jit: Any) -> Any:
    f = jit(lambda a: (hb.tensor(a * 2), float((a * 2).sum()), [*(a + 1)][0]))
    return (lambda k: f(normal(k, 3))), None


@fixed
def written_through_a_view(jit: Any) -> Any:
    def prepare(a: Any) -> Any:
        b = a * 1
        view = b[1:]
        view[:] = 5.0
        return hb.tensor(b), hb.tensor(view)

    f = jit(prepare)
    return (lambda k: f(normal(k, 3))), None


@fixed
def given_a_result_to_fill(jit: Any) -> Any:
    def prepare(a: Any, out: Any) -> Any:
        return hb.tensor(np.add(a, 1, out)), hb.tensor(np.multiply(a, 2, out=out))

    f = jit(prepare)
    held = np.zeros(3)
    return (lambda k: f(normal(k, 3), held)), held


@fixed
def through_generators(jit: Any) -> Any:
    def prepare(arrays: Any) -> Any:
        pairs = [hb.tensor(a + b) for a, b in zip(arrays, reversed(arrays))]
        first = next(hb.tensor(a - 1) for a in iter(arrays))
        return pairs, first, sum(float(a[0]) for a in arrays)

    f = jit(prepare)
    return (lambda k: f([normal(k, 2), normal(k + 1, 2)])), None


@pytest.mark.parametrize("name", FIXED)
def test_what_python_looks_at_gives_the_same(name: str) -> None:
    both(FIXED[name], CALLS)


def test_iterators_of_comprehensions_hold_data() -> None:
    """A replay once gave the tensors of the recorded call."""
    f = hb.function(lambda arrays: [hb.tensor(a / 255.0) for a in arrays])
    for k in range(6):
        arrays = [whole(k, 2, 2), whole(k + 1, 2, 2)]
        assert [t.tolist() for t in f(arrays)] == [(a / 255.0).tolist() for a in arrays]


def test_warnings_come_from_the_line_of_the_program() -> None:
    f = hb.function(lambda a: hb.tensor(1.0 / a))
    for k in range(6):
        a = np.array([1.0, 0.0 if k % 2 else 2.0])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert f(a).tolist()[1] == (np.inf if k % 2 else 0.5)
        told = [w for w in caught if w.category is RuntimeWarning]
        assert len(told) == k % 2 and all(w.filename == __file__ for w in told)


def test_a_function_of_numpy_that_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    f = hb.function(lambda a: hb.tensor(np.clip(a, -1, 1)))
    for k in range(5):
        f(normal(k, 3))
    monkeypatch.setattr(np, "clip", lambda a, low, high: a * 0)
    assert f(normal(9, 3)).tolist() == [0.0, 0.0, 0.0]


def test_nothing_keeps_the_arrays_alive() -> None:
    f, alive = hb.function(lambda a: hb.tensor(a * 2.0)), list[Any]()
    for k in range(6):
        a = normal(k, 3)
        alive.append(weakref.ref(a))
        f(a)
    del a
    gc.collect()
    assert not [ref for ref in alive if ref() is not None] and f.cache_info().replays
