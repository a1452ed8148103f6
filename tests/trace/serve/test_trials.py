"""Plans that plain Python is faster than are noticed and rest; by a clock that the test turns."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import hybrid as hb
from hybrid.decorator import Function, function
from hybrid.trace.fallback import budget
from hybrid.trace.fallback.budget import AGAIN
from hybrid.trace.fallback.nap import MAX_REST
from hybrid.trace.serve import trial
from hybrid.trace.serve.trial import FEW, MISSES, MOST_TURNS, TURNS, WAIT, Trying, verdict

X = hb.ones(3)
BEFORE = 2 + 2 + WAIT  # calls before the turns: recorded, timed, waited for


class Seconds:
    """Each reading is later by what a replay takes, or an eager call."""

    def __init__(self) -> None:
        self.now, self.replay, self.eager, self.plain = 0.0, 1.0, 1.0, False

    def __call__(self) -> float:
        self.now += self.eager if self.plain else self.replay
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made, turn = Seconds(), Trying._eager_turn

    def eager(*args: Any) -> Any:
        made.plain = True
        try:
            return turn(*args)
        finally:
            made.plain = False

    monkeypatch.setattr(Trying, "_eager_turn", eager)
    monkeypatch.setattr(trial, "LARGE", 1e9)
    before, budget.CLOCK[0] = budget.CLOCK[0], made
    yield made
    budget.CLOCK[0] = before


def called(count: int, f: Any = None) -> Function:
    """A function after so many calls with the same arguments."""
    f = function(lambda x: x * 2) if f is None else f
    for _ in range(count):
        assert f(X).tolist() == [2.0, 2.0, 2.0]
    return f


def kinds(f: Function) -> tuple[int, int]:
    """How many calls were replays, and how many were eager."""
    return f.cache_info().replays, f.cache_info().eager


def test_a_replay_that_is_slower_gives_way_to_plain_python(clock):
    clock.replay, clock.eager = 3.0, 2.0
    f = called(BEFORE)
    assert kinds(f) == (BEFORE - 2, 0)
    called(2 * TURNS, f)
    assert kinds(f) == (BEFORE - 2 + TURNS, TURNS)
    called(200, f)
    assert kinds(f) == (BEFORE - 2 + TURNS, TURNS + 200)
    assert f._unseen == MAX_REST - 200  # nobody looks at a call
    (version,) = f.versions()
    assert (
        version.state == "eager" and "by its plan and 2000000.0 in plain Python" in version.reason
    )


def test_a_replay_that_is_clearly_faster_goes_on_after_a_few_turns(clock):
    clock.replay, clock.eager = 1.0, 5.0
    f = called(BEFORE + 300)
    assert kinds(f) == (BEFORE + 300 - 2 - FEW, FEW)
    assert type(f) is Function


def test_what_is_about_as_fast_goes_on(clock):
    clock.replay, clock.eager = 1.05, 1.0
    f = called(BEFORE + 300)
    assert kinds(f)[1] == TURNS and type(f) is Function


def test_what_its_operations_alone_take_longer_than_is_not_tried(clock):
    clock.replay = trial.OPERATION / 2
    f = called(BEFORE + 100)
    assert kinds(f) == (BEFORE + 100 - 2, 0)


def test_what_turns_out_to_be_fast_while_it_waits_is_not_tried(clock):
    f = called(5)
    assert f._trial is not None
    clock.replay = trial.OPERATION / 2
    called(BEFORE + 100, f)
    assert f._trial is None and kinds(f)[1] == 0


def test_calls_that_take_turns_themselves_are_compared_fairly(clock):
    f, order = function(lambda x: x * 2), list[tuple[int, bool]]()
    for number in range(BEFORE + 4 * TURNS):
        before = kinds(f)
        f(X if number % 2 else hb.ones(4))
        if f._trial is not None and not f._trial.waits:
            order.append((number % 2, kinds(f)[1] > before[1]))
    assert len(set(order)) == 4


def test_a_plan_that_rests_is_tried_again_without_a_recording(clock):
    clock.replay, clock.eager = 3.0, 2.0
    f = called(BEFORE + 2 * TURNS)
    records = f.cache_info().records
    clock.eager = 9.0
    called(AGAIN + 2 * MAX_REST, f)
    assert f.cache_info().records == records
    before = kinds(f)
    called(50, f)
    assert kinds(f) == (before[0] + 50, before[1])


def test_what_loses_again_is_tried_half_as_often(clock):
    clock.replay, clock.eager = 3.0, 2.0
    f = called(BEFORE + 8 * AGAIN)
    assert kinds(f)[0] <= BEFORE + 5 * (TURNS + 2)


def test_new_shapes_are_recorded_beside_plans_that_rest(clock):
    clock.replay, clock.eager = 3.0, 2.0
    f = called(BEFORE + 2 * TURNS)
    clock.eager = 9.0
    other = hb.ones(4)
    replays = kinds(f)[0]
    for _ in range(MAX_REST + 100):
        assert f(other).tolist() == [2.0] * 4
    assert kinds(f)[0] > replays + 60


def test_turns_leave_state_and_errors_as_they_are(clock):
    clock.replay, clock.eager = 1.05, 1.0
    count = {"n": 0}

    def body(x: Any, index: Any) -> Any:
        chosen = x[index] * 2
        count["n"] += 1
        return chosen + count["n"]

    plain: list[Any] = []
    for step in (body, function(body)):
        count["n"], seen = 0, list[Any]()
        for number in range(BEFORE + 4 * MOST_TURNS):
            try:
                seen.append(step(X, hb.tensor(number % 4)).tolist())
            except hb.HybridError as error:
                seen.append(type(error).__name__)
        plain.append((seen, count["n"]))
    assert plain[0] == plain[1] and "IndexOutOfRange" in plain[0][0]
    assert kinds(step)[1] >= TURNS


def test_calls_inside_of_a_turn_take_none(clock):
    clock.replay, clock.eager = 3.0, 2.0

    @function
    def down(x: Any, n: int) -> Any:
        return x * 2 if n == 0 else down(x * 1, n - 1)

    for _ in range(BEFORE + 4 * TURNS):
        assert down(X, 2).tolist() == [2.0, 2.0, 2.0]
    assert down._trial is None


def test_a_trial_that_no_replay_serves_ends(clock):
    f = called(BEFORE)
    assert f._trial is not None
    for number in range(MISSES + 2):
        f(hb.ones(5 + number))
    assert f._trial is None and type(f) is Function


def test_others_do_not_see_a_trial(clock):
    f = called(10)
    assert f._trial is not None
    assert isinstance(f, Function) and type(f).__name__ == "Function"
    assert copy.copy(f) is f
    kind, given = f.__reduce__()
    made = kind(*given)
    assert type(made) is Function and made(X).tolist() == [2.0, 2.0, 2.0]

    @function
    def outer(x: Any) -> Any:
        return f(x) + 1

    for _ in range(6):
        assert outer(X).tolist() == [3.0, 3.0, 3.0]
    called(BEFORE + 4 * TURNS, f)  # f gets other classes meanwhile
    for _ in range(6):
        assert outer(X).tolist() == [3.0, 3.0, 3.0]
    info = outer.cache_info()
    assert (info.records, info.replays) == (2, 10)


def test_pickled_by_name_on_trial(clock):
    called(10, double)
    assert double._trial is not None and pickle.loads(pickle.dumps(double)) is double


@function
def double(x: Any) -> Any:
    return x * 2


@pytest.mark.parametrize(
    ("replays", "eager", "lost"),
    [
        ([2.0], [1.0], None),
        ([2.0] * 7, [1.0] * 7, None),
        ([2.0] * 8, [1.0] * 8, True),
        ([2.0] * 3, [9.0] * 3, None),  # the first eager calls make kernels
        ([2.0] * 4, [4.0] * 4, False),
        ([2.0] * 4 + [9.0] * 4, [2.0] * 4 + [1.9] * 4, None),  # a load of the machine
        ([2.0] * 8 + [9.0] * 8, [2.0] * 8 + [1.9] * 8, False),
        ([1.0] * 7 + [99.0], [1.0] * 8, False),
        # small calls lose, large ones win by more
        ([2.0, 30.0] * 8, [1.0, 90.0] * 8, False),
    ],
)
def test_verdicts(replays, eager, lost):
    assert verdict(replays, eager) is lost
