"""What every test may ask for."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backend_kinds import KINDS

import hybrid
from hybrid.backends.cpu.machine import host
from hybrid.compiler import identity
from hybrid.trace.fallback import anew, budget
from hybrid.trace.serve import trial
from hybrid.trace.split.splitting import PIECES

PACKAGE = os.path.dirname(hybrid.__file__)
# the third call of a function is the first replay, here and in processes that tests start
os.environ.setdefault("HYBRID_WAIT", "1")
# plans are the model's, whatever the machine is at; tests of the calibration ask for it
os.environ["HYBRID_CALIBRATE"] = "0"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write golden files anew instead of comparing"
    )


@pytest.fixture(scope="session", autouse=True)
def _more_threads_than_cores() -> Iterator[None]:
    """As many threads run as a test asks for, also where they have to share cores."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "granted_cores", lambda: 256.0)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_plans_of_other_processes() -> Iterator[None]:
    """Tests change what plans are made by: none is kept for others, and none of theirs is used."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identity, "FEW", 1 << 60)
        yield


@pytest.fixture
def whole_calls() -> Iterator[None]:
    """Functions do not run in pieces: the test is about what becomes of whole calls."""
    before, PIECES[0] = PIECES[0], "never"
    yield
    PIECES[0] = before


@pytest.fixture
def frames_of() -> Callable[..., list[str]]:
    """`frames_of(call, *args)`: the functions of hybrid's, generated ones included, that it enters."""

    def entered(call: Any, *args: Any) -> list[str]:
        met: list[str] = []

        def hook(frame: Any, event: str, arg: Any) -> None:
            name = frame.f_code.co_filename
            if event == "call" and name.startswith((PACKAGE, "<hybrid")):
                met.append(frame.f_code.co_name)

        sys.setprofile(hook)
        try:
            call(*args)
        finally:
            sys.setprofile(None)
        return met

    return entered


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden(name, text)`: the text is that of `golden/<name>` beside the test."""
    folder = Path(request.path).parent / "golden"

    def same(name: str, text: str) -> None:
        path = folder / name
        if request.config.getoption("--update-golden"):
            path.write_text(text)
        assert text == path.read_text(), (
            f"{path.name} is not what is made now; where the new text is right, write it with "
            "--update-golden"
        )

    return same


@pytest.fixture(autouse=True, scope="module")
def old_heap() -> None:
    """Collections visit what the tests of one file made, not all that is left of those before."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call runs in Python because that is faster: tests count how calls are served."""
    monkeypatch.setattr(trial, "LARGE", 0.0)


@pytest.fixture(autouse=True)
def new_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests decorated of the same code is not counted."""
    monkeypatch.setattr(anew, "_ORIGINS", {})


@pytest.fixture(autouse=True)
def own_settings() -> Iterator[None]:
    """No test changes how NumPy tells the errors of those after it."""
    before = np.geterr()
    yield
    after = np.geterr()
    np.seterr(**before)
    assert after == before


@pytest.fixture
def still() -> Iterator[None]:
    """A clock that stands still: what is recorded depends on no load of the machine."""
    before, budget.CLOCK[0] = budget.CLOCK[0], lambda: 0.0
    yield
    budget.CLOCK[0] = before


@pytest.fixture
def calls_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str], list[tuple[Any, ...]]]:
    """`calls_of(owner, name)`: the arguments of each later call of that function, in order."""

    def noted(owner: Any, name: str) -> list[tuple[Any, ...]]:
        method, calls = getattr(owner, name), list[tuple[Any, ...]]()

        def noting(*args: Any) -> Any:
            calls.append(args)
            return method(*args)

        monkeypatch.setattr(owner, name, noting)
        return calls

    return noted


@pytest.fixture(params=KINDS)
def backend_kind(request: pytest.FixtureRequest) -> str:
    """Every kind of device that works here, one after the other."""
    return request.param
