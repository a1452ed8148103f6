"""Random numbers of Python's and NumPy's generators, drawn again by replays.

A program is run plainly and decorated from the same states: results, and the states that the
generators are left in, must be the same to the bit; from some call on it must be replayed."""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid.decorator import RunsEagerly
from hybrid.trace.host.again import saved, saver, state_of

pytestmark = pytest.mark.skipif(
    not sys.modules["hybrid.trace.serve.paths"].SUPPORTED, reason="nothing is followed"
)
DATA = np.random.default_rng(0).standard_normal((40, 3, 4)).astype("f4")
TABLE = np.random.default_rng(1).standard_normal((12, 2)).astype("f4")
PROGRAMS: dict[str, Callable[[Any, Any], Any]] = {}


def program(make: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    PROGRAMS[make.__name__] = make
    return make


@program
def numbers_of_the_modules(dice: Any, rng: Any) -> Any:
    return lambda x: x * random.uniform(0.5, 2.0) + np.random.rand() - random.gauss(0, 1)


@program
def numbers_of_generators(dice: Any, rng: Any) -> Any:
    return lambda x: x * dice.random() + rng.normal(1.0, scale=0.5) * dice.randint(1, 6)


@program
def arrays(dice: Any, rng: Any) -> Any:
    def f(x: Any) -> Any:
        noise = hb.tensor(np.random.randn(3, 4).astype("f4"))
        mask = rng.random((3, 4)) < 0.5
        return (x + 0.1 * noise) * hb.tensor(mask.astype(np.float32))

    return f


@program
def extents_of_drawn_arrays(dice: Any, rng: Any) -> Any:
    def f(x: Any) -> Any:
        order = np.random.permutation(12)
        total = x.sum()
        for start in range(0, len(order), 5):
            rows = order[start : start + 5]
            total = total + hb.tensor(TABLE[rows]).sum() * len(rows) / order.size
        noise = rng.normal(size=(3, 4))[1:]
        return total + hb.tensor(noise).sum() * noise.shape[0] + len(rng.choice(9, 4))

    return f


@program
def arrays_beside_tensors(dice: Any, rng: Any) -> Any:
    return lambda x: x * rng.standard_normal(4) + rng.uniform(size=(3, 1)) - 2 * rng.random((3, 4))


@program
def permutations(dice: Any, rng: Any) -> Any:
    def f(x: Any) -> Any:
        rows = hb.tensor(rng.permutation(3)[:2])
        return x[rows] + x[np.random.permutation(3)[0:2]]

    return f


@program
def a_branch_on_a_draw(dice: Any, rng: Any) -> Any:
    def f(x: Any) -> Any:
        if random.random() < 0.5:
            x = hb.flip(x, axis=-1)
        return x * 2 if dice.random() > 0.25 else x - 1

    return f


@program
def draws_on_one_path(dice: Any, rng: Any) -> Any:
    def f(x: Any) -> Any:
        if dice.random() < 0.5:
            x = x * dice.uniform(1.0, 2.0)
        return x + rng.random()

    return f


@program
def draws_that_depend_on_draws(dice: Any, rng: Any) -> Any:
    def f(x: Any) -> Any:
        bound = dice.uniform(1.0, 2.0)
        return x * dice.uniform(0.0, bound) + int(rng.random() * 5)

    return f


@program
def results_that_are_numbers(dice: Any, rng: Any) -> Any:
    def f(x: Any) -> Any:
        scale = dice.random()
        return x * scale, scale, {"twice": 2 * scale}

    return f


@program
def draws_and_state(dice: Any, rng: Any) -> Any:
    kept: list[Any] = []
    box = {"total": 0.0}

    def f(x: Any) -> Any:
        draw = dice.random()
        kept.append(draw)
        box["total"] += draw
        return x * box["total"] * len(kept)

    return f


@program
def draws_and_branches_on_tensors(dice: Any, rng: Any) -> Any:
    def f(x: Any) -> Any:
        x = x * rng.normal()
        if x.sum() > 0:
            return x * 2
        return x - dice.random()

    return f


@program
def positions(dice: Any, rng: Any) -> Any:
    def f(x: Any) -> Any:
        top, left = np.random.randint(0, 2, 2)
        first = dice.randint(0, 2)
        return x[top : top + 2, left : left + 2] * x[first].sum() + x[:2, first : first + 2]

    return f


@program
def numbers_that_decide(dice: Any, rng: Any) -> Any:
    weights = [hb.tensor(DATA[k][0]) for k in range(3)]

    def f(x: Any) -> Any:
        rows = 1 + random.getrandbits(1)
        for _ in range(rows):
            x = x * 0.5
        return x[:rows].sum() * weights[dice.randrange(2)], "abc"[rows]

    return f


@program
def a_number_of_numpy_that_decides(dice: Any, rng: Any) -> Any:
    def f(x: Any) -> Any:
        first, second = np.random.randint(0, 2, 2)
        return hb.ones(1 + int(first)) * x[first, second]

    return f


def listed(value: Any) -> Any:
    """A result by its bits."""
    if isinstance(value, tuple):
        return [listed(v) for v in value]
    return value.numpy().tobytes() if isinstance(value, hb.Tensor) else value


def played(make: Any, jit: Any, calls: int) -> Any:
    """The results of some calls, the states after them, and the function."""
    random.seed(1)
    np.random.seed(2)
    dice, rng = random.Random(3), np.random.default_rng(4)
    f = jit(make(dice, rng))
    results = [listed(f(hb.tensor(DATA[k]))) for k in range(calls)]
    states = random.getstate(), np.random.get_state()[1].tobytes(), dice.getstate()
    return results, (*states, rng.bit_generator.state), f


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_draw_what_plain_python_draws(name: str) -> None:
    expected, states, _ = played(PROGRAMS[name], lambda f: f, 30)
    results, after, f = played(PROGRAMS[name], hb.function, 30)
    assert results == expected
    assert after == states
    assert f.cache_info().replays >= 12 and f.cache_info().eager <= 2, f.explain()


@pytest.mark.parametrize("name", ["rand", "randint", "permutation", "choice", "standard_normal"])
def test_a_generator_is_brought_back(name: str) -> None:
    owner = np.random.RandomState(3)
    owner.standard_normal()
    before, restore = state_of(owner), saved(owner, name)
    first = np.asarray(getattr(owner, name)(5)).tolist()
    assert state_of(owner) != before
    restore()
    assert state_of(owner) == before
    assert np.asarray(getattr(owner, name)(5)).tolist() == first


def test_a_call_that_is_not_served_draws_once() -> None:
    """Facts change between the calls: what was drawn for a plan that does not serve is undone."""
    dice, box = random.Random(5), {"scale": 1.0, "words": ["a"]}

    def f(x: Any) -> Any:
        return x * dice.random() * len(box["words"])

    g, twin = hb.function(f), random.Random(5)
    for k in range(20):
        if k in (6, 11, 12):
            box["words"] = ["a"] * k
        x = hb.tensor(DATA[k])
        assert np.array_equal(g(x).numpy(), (x * twin.random() * len(box["words"])).numpy())
    assert dice.getstate() == twin.getstate()


def test_shapes_that_change_draw_once() -> None:
    rng, twin = np.random.default_rng(7), np.random.default_rng(7)
    g = hb.function(lambda x: x + rng.random(x.shape))
    for k in range(24):
        x = hb.tensor(DATA[k][: 1 + k % 3])
        assert np.array_equal(g(x).numpy(), (x + twin.random(x.shape)).numpy())
    assert rng.bit_generator.state == twin.bit_generator.state


def test_arrays_that_are_kept_are_the_programs_own() -> None:
    rng = np.random.default_rng(7)
    w = hb.ones(4, requires_grad=True)

    def f(x: Any) -> Any:
        noise = rng.random(4)
        return (w * x * noise).sum(), noise

    g = hb.function(f)
    for k in range(8):
        loss, noise = g(hb.tensor(DATA[k][0]))
        kept = noise.copy()
        noise[:] = 100.0
        (grad,) = hb.gradients(loss, [w])
        assert np.allclose(grad.numpy(), DATA[k][0] * kept)


# ---- what is left to Python
def quietly(make: Any, calls: int = 12) -> None:
    """Plain and decorated calls give the same."""
    expected, states, _ = played(make, lambda f: f, calls)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsEagerly)
        results, after, _ = played(make, hb.function, calls)
    assert results == expected
    assert after == states


REFUSED: dict[str, Callable[[Any, Any], Any]] = {}


def refused(make: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    REFUSED[make.__name__] = make
    return make


@refused
def a_list_that_is_shuffled(dice: Any, rng: Any) -> Any:
    def f(x: Any) -> Any:
        order = [0, 1, 2]
        dice.shuffle(order)
        return x[order[0]]

    return f


@refused
def a_choice_among_objects(dice: Any, rng: Any) -> Any:
    parts = [hb.ones(4), hb.zeros(4)]
    return lambda x: x + dice.choice(parts)


@refused
def a_seed_inside(dice: Any, rng: Any) -> Any:
    def f(x: Any) -> Any:
        np.random.seed(3)
        dice.seed(4)
        return x * np.random.rand() * dice.random()

    return f


@refused
def an_array_that_is_written(dice: Any, rng: Any) -> Any:
    def f(x: Any) -> Any:
        noise = rng.random((3, 4))
        other = noise
        noise *= 2
        noise[0] = 1
        return x * other

    return f


@refused
def an_array_that_is_looked_at(dice: Any, rng: Any) -> Any:
    def f(x: Any) -> Any:
        noise = rng.random(4)
        for value in noise:
            if value > 0.5:
                x = x * float(value)
        return x + noise.tolist()[0]

    return f


@refused
def many_numbers_as_shapes(dice: Any, rng: Any) -> Any:
    return lambda x: x.sum() + hb.ones(dice.randint(1, 99)).sum()


@refused
def bounds_that_change(dice: Any, rng: Any) -> Any:
    sizes = [1]

    def f(x: Any) -> Any:
        sizes[0] += 1
        return x.sum() + hb.ones(dice.randint(1, sizes[0])).sum()

    return f


@refused
def a_generator_that_is_handed_on(dice: Any, rng: Any) -> Any:
    def noise(source: Any) -> Any:
        return source.normal()

    return lambda x: x * noise(rng) + sum(map(lambda _: dice.random(), range(3)))


@refused
def a_method_that_is_kept(dice: Any, rng: Any) -> Any:
    draw, other = rng.normal, dice.random
    return lambda x: x * draw() + other()


@refused
def a_generator_made_inside(dice: Any, rng: Any) -> Any:
    def f(x: Any) -> Any:
        own = np.random.default_rng(3)
        return x * own.normal() + random.Random(4).random() + own.random((3, 4))

    return f


@refused
def a_generator_that_is_copied(dice: Any, rng: Any) -> Any:
    def f(x: Any) -> Any:
        state = dice.getstate()
        first = dice.random()
        dice.setstate(state)
        return x * first + dice.random()

    return f


@refused
def draws_in_a_loop(dice: Any, rng: Any) -> Any:
    def f(x: Any) -> Any:
        for _ in range(3):
            x = x * dice.random() + rng.random(4)
        return x * sum([dice.random() for _ in range(2)])

    return f


@refused
def draws_for_values_of_tensors(dice: Any, rng: Any) -> Any:
    return lambda x: x * dice.uniform(0.0, abs(x.sum().item()))


@refused
def an_array_beside_one_that_stays(dice: Any, rng: Any) -> Any:
    fixed = np.arange(4.0)

    def f(x: Any) -> Any:
        noise = rng.integers(0, 2, 4) * 1.0
        return hb.stack([x[0] * noise, x[1] * fixed]) + hb.tensor([noise, fixed])

    return f


@refused
def an_array_whose_shape_is_used(dice: Any, rng: Any) -> Any:
    fixed = np.zeros(4)

    def f(x: Any) -> Any:
        noise = rng.permutation(4) * 0.0
        return x + hb.tensor(fixed) + hb.zeros(noise.shape)

    return f


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_followed_is_as_plain_python(name: str) -> None:
    quietly(REFUSED[name])


@pytest.mark.parametrize("draws", [0, 1, 700])
def test_a_generator_is_brought_back_by_its_fields(draws: int) -> None:
    dice = random.Random(3)
    for number in range(draws):
        dice.gauss(0, 1) if number % 5 else dice.random()
    state, save = dice.getstate(), saver(dice, "random")
    assert save is not saved, "the fields of this interpreter's generators are not known"
    for _ in range(3):
        back = save(dice)
        moved = [dice.gauss(0, 1), dice.random(), dice.getrandbits(900)]
        assert dice.getstate() != state
        back()
        assert dice.getstate() == state
        assert [dice.gauss(0, 1), dice.random(), dice.getrandbits(900)] == moved
        back()


def test_generators_of_other_classes_are_asked_for_their_state() -> None:
    class Counted(random.Random):
        pass

    assert saver(Counted(1), "random").func is saved
