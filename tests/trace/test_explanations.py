"""What recorded functions say of themselves: versions, the annotated source."""

from __future__ import annotations

import os
import warnings
from typing import Any

import pytest

import hybrid as hb
from hybrid.trace.bytecode.opcodes import SUPPORTED

pytestmark = [
    pytest.mark.skipif(not SUPPORTED, reason="nothing is recorded on this interpreter"),
    pytest.mark.filterwarnings("ignore::hybrid.RunsEagerly"),
    pytest.mark.usefixtures("whole_calls"),
]
here = "test_explanations.py"


class Box:
    """A place for state."""

    scale = 2.0
    last: Any = None


def states(fn: Any) -> list[tuple[str, str, int]]:
    return [(v.signature, v.state, v.calls) for v in fn.versions()]


# ---- versions
def test_versions_name_their_arguments() -> None:
    @hb.function
    def f(x: Any, n: int = 3, *more: Any, flag: bool = False) -> Any:
        return x * n

    for _ in range(5):
        f(hb.ones(3))
        f(hb.ones((2, 2)), 2.5, [hb.ones(1), None], flag=True)
        f(hb.ones(3, requires_grad=True), 4)
    with hb.no_grad():
        f(hb.ones(3))
    assert states(f) == [
        ("x: float32[3], n: 3, flag: False", "native", 3),
        ("x: float32[2x2], n: 2.5, [float32[1], None], flag: True", "native", 3),
        ("x: float32[3], which requires a gradient, n: 4, flag: False", "native", 3),
        ("x: float32[3], n: 3, flag: False, without gradients", "recording", 1),
    ]


@pytest.mark.parametrize("swap", [1, 3])
def test_calls_of_each_version(swap: int) -> None:
    """Also of calls that go straight to a plan."""
    f = hb.function(lambda x: x + 1.0)
    for k in range(24):
        f(hb.ones(2 + k // swap % 2))
    assert [calls for _, _, calls in states(f)] == [10, 11] and f.cache_info().replays == 21
    f(hb.ones(2))
    assert [calls for _, _, calls in states(f)] == [11, 11]
    for k in range(100):
        f(hb.ones(2 + k % 2))
    assert [calls for _, _, calls in states(f)] == [61, 61]


def test_what_made_another_version() -> None:
    box = Box()

    @hb.function
    def f(x: Any) -> Any:
        return x * box.scale

    for scale in (2.0, 3.0):
        box.scale = scale
        for _ in range(4):
            f(hb.ones(2))
    new, old = f.versions()
    assert old.reason == "" and (new.calls, old.calls) == (3, 2)
    assert "Box.scale" in new.reason and "2.0 -> 3.0" in new.reason
    assert new.line == f"{here}:{f.fn.__code__.co_firstlineno + 2}"
    assert any("Box.scale" in guard for guard in old.guards)


def test_versions_of_functions_that_are_not_replayed() -> None:
    @hb.function
    def prints(x: Any) -> Any:
        os.times()
        return x + 1

    for _ in range(9):
        prints(hb.ones(2))
    (version,) = prints.versions()
    assert version.state in ("deferred", "eager") and version.calls == 9
    assert "times" in version.reason
    assert version.line == f"{here}:{prints.fn.__code__.co_firstlineno + 2}"

    @hb.function
    def generator(x: Any) -> Any:
        yield x

    assert generator.versions() == []
    list(generator(hb.ones(2)))
    (version,) = generator.versions()
    assert (version.state, version.calls) == ("eager", 1) and "generator" in version.reason


def test_a_version_that_is_compiled() -> None:
    f = hb.function(lambda x: x * 3.0, wait=False)
    for _ in range(3):
        f(hb.ones(2))
    assert [v.state for v in f.versions()] == ["native"]  # it waits


def test_a_version_is_no_reason_to_live() -> None:
    f = hb.function(lambda x: x * 3.0)
    for _ in range(5):
        f(hb.ones(2))
    f.versions()
    f._signatures.clear()
    f._direct = None
    assert f._straight is not None and f._straight() is None
    assert f.versions() == []


# ---- explain
def test_the_source_line_by_line() -> None:
    box, log = Box(), list[Any]()
    box.count = 0  # type: ignore[attr-defined]

    @hb.function
    def f(x: Any) -> Any:
        y = x * 2.0
        box.count += 1  # type: ignore[attr-defined]
        log.append(y)
        box.last = y
        assert "a"
        return y.sum()

    for _ in range(6):
        f(hb.ones(3))
    assert f.cache_info().replays
    found = hb.explain(f)
    marks = [line.mark for line in found.lines]
    assert marks == ["", "", "native", "commit", "commit", "commit", "", "native"]
    notes = [line.note for line in found.lines]
    assert notes[2] == "computes multiply" and notes[7] == "computes sum"
    assert "Box.count" in notes[3] and "append" in notes[4] and "Box.last" in notes[5]
    text, page = str(found), found._repr_html_()
    assert "commit" in text and "box.count += 1" in text and "float32[3]" in text
    assert "<table>" in page and "box.count += 1" in page


def test_borders_say_why() -> None:
    @hb.function
    def f(x: Any) -> Any:
        y = x * 2.0
        os.times()
        if str(y.sum().item()) != "0.0":
            y = y + 1.0
        return y

    for _ in range(4):
        f(hb.ones(3))
    found = hb.explain(f)
    assert [line.mark for line in found.lines] == ["", "", "", "border", "border", "", ""]
    assert "times" in found.lines[3].note and "item" in found.lines[4].note


def test_what_changed_between_versions() -> None:
    box = Box()

    @hb.function
    def f(x: Any, n: int) -> Any:
        return x * n * box.scale

    for _ in range(3):
        f(hb.ones(3), 2)
    for _ in range(3):
        f(hb.ones(4), 2)
    box.scale = 5.0
    f(hb.ones(4), 2)
    changes = hb.explain(f).changes
    line = f.fn.__code__.co_firstlineno + 2
    assert f"Box.scale ({here}:{line}): 2.0 -> 5.0" in changes
    assert "x: float32[3] -> x: float32[4]" in changes


def test_functions_without_a_source() -> None:
    space: dict[str, Any] = {}
    exec("def f(x):\n    return x + 1", space)
    made = hb.function(space["f"])
    for _ in range(4):
        made(hb.ones(2))
    found = hb.explain(made)
    assert found.lines == [] and found.versions[0].state == "native" and str(found)
    with pytest.raises(TypeError, match="made by hybrid.function"):
        hb.explain(space["f"])


def test_explaining_changes_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", hb.RunsEagerly)
        f = hb.function(lambda x: x + 1.0)
        for _ in range(6):
            f(hb.ones(2))
            hb.explain(f)
            f.versions()
        assert (f.cache_info().replays, f.cache_info().records) == (4, 2)


class _Scaled:
    def __init__(self) -> None:
        self.factor = 2.0

    @hb.function
    def __call__(self, x: Any) -> Any:
        return x * self.factor


def test_a_method_of_an_object_is_taken_like_its_function() -> None:
    scaled, x = _Scaled(), hb.ones(3)
    method = scaled.__call__
    for _ in range(4):
        method(x)
    assert [version.state for version in hb.explain(method).versions] == ["native"]
    assert len(hb.profile(method, x)) == 1
    assert hb.inspect(method).forms and hb.inspect(method, x).forms
    assert hb.compare(method, x).same_bits
    for look in (hb.explain, hb.profile, hb.inspect):
        with pytest.raises(TypeError, match="function made by"):
            look(scaled.__init__)


def test_a_number_that_changes_is_any_of_its_type() -> None:
    @hb.function
    def scale(x: Any, n: Any, *, rate: float = 1.0) -> Any:
        return x * n * rate

    for n in (1, 2, 3):
        scale(hb.ones(3), n, rate=n / 2)
    told = [version.signature for version in scale.versions()]
    assert told[-1] == "x: float32[3], n: any int, rate: any float", told


def test_what_changed_is_shown_where_it_can_be() -> None:
    box = Box()

    @hb.function
    def read(x: Any) -> Any:
        return x.reshape(box.last)

    def walk(x: Any) -> Any:
        for value in box.last:
            x = x + value
        return x

    for shape in ((2, 3), (3, 2), (6,)):
        box.last = shape
        read(hb.ones(6)), read(hb.ones(6))
    assert any("(2, 3) -> (3, 2)" in change for change in hb.explain(read).changes)
    walk = hb.function(walk)
    for k in range(6):
        box.last = [k, k + 1]
        walk(hb.ones(2))
    assert "Box.last[0] changes: 4 -> 5" in str(hb.explain(walk))
    many = hb.function(lambda x: x * len([box for box in box.last if box.last]))
    for _ in range(6):
        box.last = [Box(), Box()]
        many(hb.ones(2))
    assert "a list -> another" in str(hb.explain(many))
