"""The calibration: what it accepts, keeps and decides, with samples that a test makes up.

Invariant: no test here depends on how long anything takes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from itertools import count, cycle
from types import SimpleNamespace
from typing import Any

import pytest

import hybrid
from hybrid.backends.cpu.gemm.tilings import LARGE, host_target
from hybrid.backends.cpu.machine import jit
from hybrid.backends.cpu.machine.core import KNOWN, Core, Measured, core
from hybrid.backends.cpu.machine.diskcache import DiskCache
from hybrid.backends.cpu.machine.host import machine
from hybrid.backends.cpu.measure import calibration
from hybrid.backends.cpu.measure.calibration import agreed, calibrate, counted
from hybrid.core.errors import BackendError

MODEL = Measured()
FIELDS = Measured._fields


class Samples:
    """A sampler: for each quantity the samples given, over and over, else the model's value."""

    def __init__(self, **given: list[float | None]) -> None:
        self.asked: list[str] = []
        self.given = {name: cycle(samples) for name, samples in given.items()}

    def __call__(self, name: str) -> float | None:
        self.asked.append(name)
        return next(self.given[name]) if name in self.given else getattr(MODEL, name)


def ticking(step: float) -> Callable[[], float]:
    """A clock that moves on by so much at each look."""
    looks = count()
    return lambda: next(looks) * step


def figures(sampler: Samples, step: float = 0.0) -> dict[str, float]:
    return calibrate(MODEL, FIELDS, sampler, ticking(step))


# ---- what is accepted
@pytest.mark.parametrize(
    "samples, wanted",
    [
        ([], None),
        ([5.0, 5.0], None),  # two are no more than chance
        ([5.0, 5.5, 5.9], 5.0),
        ([9.0, 5.9, 30.0, 5.0, 5.5], 5.0),
        ([1.0, 5.0, 5.5, 5.9], 5.0),  # one that is too good to be true
        ([1.0, 1.1, 5.0, 5.5, 5.9], 5.0),
        ([1.0, 2.0, 4.0, 8.0, 16.0], None),
    ],
)
def test_three_samples_agree(samples: list[float], wanted: float | None) -> None:
    assert agreed(samples) == wanted


def test_what_agrees_and_is_near_the_model_is_accepted() -> None:
    spread = [100.0 * 3**i for i in range(24)]
    found = figures(
        Samples(
            beyond=[0.2, 9.0, 0.21, 0.22, 9.0, 0.2],
            barrier=spread,
            waited=[None],
            streamed=[9.6 * 4.1],  # out of bounds
            fma=[math.nan],
        )
    )
    assert found == {"beyond": 0.2, "cycle": MODEL.cycle}
    assert figures(Samples(streamed=[9.6 * 3.9]))["streamed"] == 9.6 * 3.9
    assert figures(Samples(streamed=[9.6 / 3.9]))["streamed"] == 9.6 / 3.9
    assert "streamed" not in figures(Samples(streamed=[9.6 / 4.1]))
    assert "cycle" not in figures(Samples(cycle=[0.0]))


def test_few_samples_are_enough_where_they_agree_and_bounded_where_not() -> None:
    steady, restless = Samples(), Samples(**{name: [3.0**i for i in range(24)] for name in FIELDS})
    figures(steady)
    assert steady.asked == [name for name in FIELDS for _ in range(calibration.FEWEST)]
    figures(restless)
    assert len(restless.asked) == calibration.MOST * len(FIELDS)


def test_a_slow_machine_is_given_up_in_time() -> None:
    """Each look at the clock is a fortieth of the whole time."""
    restless = Samples(**{name: [None] for name in FIELDS})
    assert figures(restless, calibration.BUDGET / 40) == {}
    assert len(restless.asked) <= 40


def test_plans_see_steps_of_the_root_of_two() -> None:
    known = KNOWN["znver4"]
    beyond = known.measured.beyond
    for ratio, wanted in ((1.18, 1.0), (0.85, 1.0), (1.2, math.sqrt(2)), (2.2, 2.0), (0.5, 0.5)):
        found = counted(known, {"beyond": beyond * ratio})
        assert found.measured.beyond == pytest.approx(beyond * wanted, rel=1e-15)
        assert found.measured._replace(beyond=beyond) == known.measured
    assert counted(known, {}) == known
    # noise of a tenth does not change a plan, unless it lies at a border of two steps
    assert len({counted(known, {"beyond": beyond * r}) for r in (0.91, 1.0, 1.1)}) == 1


def test_ports_of_known_cores_are_not_measured() -> None:
    assert "fma" not in calibration.quantities("znver5")
    assert calibration.quantities("a core of tomorrow") == FIELDS


# ---- what is kept, and what a process decides
@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[SimpleNamespace]:
    """A process that has not decided, with a disk cache of its own and samples of the test."""
    before = jit.set_cache(DiskCache(tmp_path / "cache"))
    state = SimpleNamespace(samplers=[], given={"beyond": [core().measured.beyond * 2]})

    def sampler(modelled: Core) -> Samples:
        state.samplers.append(Samples(**state.given))
        return state.samplers[-1]

    def process(choice: str | None) -> calibration.Calibration:
        """What a new process decides."""
        monkeypatch.setattr(calibration, "_DECIDED", None)
        if choice is None:
            monkeypatch.delenv(calibration.SWITCH, raising=False)
        else:
            monkeypatch.setenv(calibration.SWITCH, choice)
        return calibration.calibrated()

    state.process = process
    monkeypatch.setattr(calibration, "MachineSampler", sampler)
    monkeypatch.setattr(calibration, "_DECIDED", None)
    yield state
    jit.set_cache(before)


def test_a_machine_is_measured_once(fresh: SimpleNamespace) -> None:
    first = fresh.process("1")
    assert first.core.measured.beyond == core().measured.beyond * 2
    assert first.figures["beyond"] == core().measured.beyond * 2
    fresh.given = {"beyond": [core().measured.beyond / 2]}
    assert fresh.process("1") == first and len(fresh.samplers) == 1
    again = fresh.process("again")
    assert again.core.measured.beyond == core().measured.beyond / 2
    assert fresh.process("1") == again and len(fresh.samplers) == 2
    assert fresh.process("0") == (core(), {}) and len(fresh.samplers) == 2


def test_a_process_decides_once(fresh: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    decided = fresh.process("0")
    monkeypatch.setenv(calibration.SWITCH, "again")
    assert calibration.calibrated() is decided is calibration.known()
    assert fresh.samplers == []


def test_by_itself_only_what_the_model_does_not_know_is_measured(
    fresh: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "KNOWN", {machine().name: core()})
    assert fresh.process(None).figures == {} and fresh.samplers == []
    monkeypatch.setattr(calibration, "KNOWN", {})
    assert fresh.process(None).figures["fma"] == MODEL.fma
    # what nobody keeps is not measured again and again
    jit.set_cache(None)
    assert fresh.process(None).figures == {} and len(fresh.samplers) == 1


def test_nonsense_is_said(fresh: SimpleNamespace) -> None:
    with pytest.raises(BackendError, match="HYBRID_CALIBRATE='yes'"):
        fresh.process("yes")
    assert fresh.process(" 0 ").figures == {}


@pytest.mark.parametrize(
    "kept",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"[]",
        b"null",
        b'{"beyond": 0.2, "else": 1.0}',
        b'{"beyond": "0.2"}',
        b'{"beyond": 1}',
        b'{"beyond": true}',
        b'{"beyond": NaN}',
        b'{"beyond": Infinity}',
        b'{"beyond": 1e9}',
        b'{"beyond": -0.2}',
        b'{"beyond": 0.0}',
        b'{"beyond": [0.2]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_record_is_a_miss(fresh: SimpleNamespace, kept: bytes) -> None:
    jit.keep(calibration._key(), kept)
    assert calibration.known().figures == {}
    found = fresh.process("1")
    assert len(fresh.samplers) == 1 and found.core.measured.beyond == core().measured.beyond * 2
    assert json.loads(jit.stored(calibration._key()) or b"") == found.figures


def test_an_empty_record_is_one(fresh: SimpleNamespace) -> None:
    """Of a machine whose timers are useless: it is not measured again."""
    fresh.given = {name: [None] for name in FIELDS}
    assert fresh.process("1") == fresh.process("1") == (core(), {})
    assert len(fresh.samplers) == 1


def test_a_record_is_of_one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [calibration._key()]
    here = machine()
    for other in (here._replace(name="znver3"), here._replace(features=here.features + ",+sve")):
        monkeypatch.setattr(calibration, "machine", lambda other=other: other)
        keys.append(calibration._key())
    monkeypatch.undo()
    for cores in (1.5, 3.0):
        monkeypatch.setattr(calibration, "granted_cores", lambda cores=cores: cores)
        keys.append(calibration._key())
    monkeypatch.setattr(jit, "ABI_VERSION", jit.ABI_VERSION + 1)
    keys.append(calibration._key())
    assert len(set(keys)) == len(keys)


def test_what_is_told(fresh: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(calibration.SWITCH, "1")
    assert calibration.told().startswith("modelled cycle 0.35, fma ") and not fresh.samplers
    fresh.given |= {name: [None] for name in FIELDS if name != "beyond"}
    fresh.process("1")
    measured, modelled = calibration.told().split("; ")
    assert measured == f"measured beyond {core().measured.beyond * 2:.3g}"
    assert modelled.startswith("modelled cycle") and "beyond" not in modelled
    assert calibration.told() in hybrid.describe_system()


# ---- who asks, and what for
def test_only_large_products_ask(fresh: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(calibration.SWITCH, "1")
    side = round((LARGE // 2) ** (1 / 3))
    small, large = hybrid.ones((side, side)), hybrid.ones((2 * side, 2 * side))
    small @ small, hybrid.exp(large), hybrid.sum(large)
    assert host_target(LARGE - 1).core == host_target().core == core()
    assert not fresh.samplers
    large @ large, large @ large
    assert len(fresh.samplers) == 1
    assert host_target(LARGE).core.measured.beyond == core().measured.beyond * 2
    assert host_target(LARGE - 1).core == core()  # as before
