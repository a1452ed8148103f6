"""The yardstick of ordinary programs: it counts, compares and reports."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("tqdm")

from ordinary import Run, array, programs
from ordinary import run as harness
from ordinary.run import Counts, Turns, measure, ops_inside, state_of

import hybrid as hb
from benchmarks import ordinary as bench


def test_rows_and_summary(tmp_path, capsys):
    file = tmp_path / "rows.json"
    chosen = "page_rank,log_of_floats,fixed_length_decode"
    assert bench.main(["--only", chosen, "--calls", "60", "--json", str(file)]) == 0
    out = capsys.readouterr().out
    rows = {row["name"]: row for row in json.loads(file.read_text())}
    assert set(rows) == set(chosen.split(",")) and "3 programs: " in out and "0 wrong" in out
    steady = rows["page_rank"]
    assert steady["state"] == "native" and steady["settled"] <= 4 and steady["inside"] == 1.0
    assert steady["records"] == 2 and steady["compilations"] == 1


def test_categories_and_wrong_names():
    with pytest.raises(SystemExit):
        bench.main(["--only", "no_such_program"])
    assert len(programs()) >= 100
    assert len({program.category for program in programs().values()}) == 24


def test_ops_outside_of_plans_and_segments_are_outside():
    def inside(name, choice):
        with harness.deferring(choice):
            return ops_inside(programs()[name], 20, 10)

    assert inside("decorated_in_decorated", "never") == 1.0
    assert inside("confusion_matrix", "never") == 0.0
    assert inside("confusion_matrix", "always") == 1.0
    assert inside("forward_decorated", "always") < 1.0  # backward and the update are outside


def test_how_a_program_ends_is_the_worst_of_its_last_calls():
    still = Counts(replays=9, records=2, compilations=1)
    assert state_of([still, still._replace(replays=10)]) == "native"
    assert state_of([still, still._replace(eager=1)]) == "eager"
    assert state_of([still, still._replace(eager=1, records=3)]) == "recording"
    assert state_of([still, still._replace(deferred=1)]) == "deferred"


class Stale:
    """A decorator that is wrong: the second result stays."""

    def __init__(self, fn: Any) -> None:
        self.fn, self.results = fn, []

    def __call__(self, *args: Any) -> Any:
        if len(self.results) < 2:
            self.results.append(self.fn(*args))
        return self.results[-1]

    def cache_info(self) -> Any:
        return hb.CacheInfo(*[0] * len(hb.CacheInfo._fields))


@pytest.mark.parametrize("name", ["page_rank", "log_of_tensors", "prints_loss"])
def test_a_wrong_decorator_is_found(name, monkeypatch):
    monkeypatch.setattr(harness.hb, "function", Stale)
    assert Turns(programs()[name]).play(5, 5)


def test_both_runs_have_globals_and_random_numbers_of_their_own():
    first, second = (programs()["global_counter"].make(lambda fn: fn) for _ in range(2))
    assert isinstance(first, Run)
    first.call(*first.arguments(0))
    assert first.state()[0] == 1 and second.state()[0] == 0
    assert measure(programs()["random_augmentation"], 40).wrong == ""
    assert array(3, 2).tobytes() == array(3, 2).tobytes()
