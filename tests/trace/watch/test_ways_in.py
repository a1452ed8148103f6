"""Ways into user code while a call is watched: none is missed, and watching leaves nothing behind."""

from __future__ import annotations

import collections
import subprocess
import sys
import textwrap
from typing import Any

import pytest

import hybrid as hb
from hybrid.backends.api import event_filter
from hybrid.backends.events import Hooks
from hybrid.decorator import function

SETS = sys.version_info < (3, 12)


class Everything:
    """Methods that Python calls for syntax."""

    def __init__(self, x: int = 1) -> None:
        self.x = x

    def __getitem__(self, index: int) -> int:
        return index

    def __setitem__(self, index: int, value: int) -> None: ...

    @property
    def size(self) -> int:
        return 1

    def method(self, a: int, b: int = 2) -> int:
        return a

    def __call__(self) -> int:
        return 3

    def __add__(self, other: Any) -> int:
        return 4

    def __bool__(self) -> bool:
        return True

    def __contains__(self, other: Any) -> bool:
        return True

    def __iter__(self) -> Any:
        return iter((1,))

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: Any) -> None: ...

    def __lt__(self, other: Any) -> bool:
        return True

    def __len__(self) -> int:
        return 3


class Empty:
    def __init__(self) -> None: ...


class Derived(Empty):
    def __init__(self) -> None:
        super().__init__()


class Found:
    def __getattribute__(self, name: str) -> int:
        return 5


class Missed:
    def __getattr__(self, name: str) -> int:
        return 6

    def __setattr__(self, name: str, value: int) -> None: ...


def one() -> Any:
    yield 1


def same() -> Any:
    yield from one()


def taking(a: int, b: int = 1, *, c: int = 2, **more: int) -> int:
    return a


def quiet_user(box: Any = Everything(), found: Any = Found(), missed: Any = Missed()) -> None:
    """Enters code in every way that Python has, from code that is not told of."""
    box[1], box.size, box.method(1), box.method(1, 2), box(), box + box, bool(box), 1 in box
    box[1] = 2
    box < box, len(box), found.name, missed.name, not box
    missed.name = 1
    with box:
        Everything(), Everything(2), Empty(), Derived()
    for _ in box:
        for _ in one():
            list(same())
    for _ in same():
        taking(1), taking(1, 2), taking(1, c=3), taking(*(1,)), taking(**{"a": 1, "d": 2})
    sorted((1, 2), key=taking), list(map(taking, (1, 2))), sum(taking(x) for x in (1, 2))


def entered_by(begin: Any, end: Any) -> dict[str, int]:
    """How often user code is entered by `quiet_user`, as hooks tell it."""
    seen: dict[str, int] = {}

    def profile(frame: Any, event: str, value: Any) -> None:
        name = frame.f_code.co_qualname
        if event == "call" and frame.f_code.co_filename == __file__ and "<" not in name:
            seen[name] = seen.get(name, 0) + (name != "quiet_user")

    begin(profile)
    try:
        quiet_user()
    finally:
        end()
        sys.setprofile(None)
        sys.settrace(None)
    return {name: count for name, count in seen.items() if count}


def test_no_way_into_user_code_is_missed():
    """Also where the interpreter has specialised instructions to enter it without a new evaluation."""
    for _ in range(200):
        quiet_user()
    plain = entered_by(sys.setprofile, lambda: None)
    found = event_filter()
    found.quiet(quiet_user.__code__, None)

    def begin(profile: Any) -> None:
        found.begin(Hooks(profile, lambda *_: None, lambda _: None, {}, lambda *_: False))

    assert entered_by(begin, found.end) == entered_by(begin, found.end) == plain
    assert len(plain) > 20


@pytest.mark.skipif(SETS, reason="hooks are set on this interpreter")
def test_monitors_leave_nothing_behind():
    """No tool, no callback, no event of any code."""
    library: Any = sys.monitoring
    f = function(lambda x: x * 2)
    for _ in range(2):
        f(hb.ones(2))
    assert [library.get_tool(tool) for tool in range(6)] == [None] * 6
    for tool in range(6):
        library.use_tool_id(tool, "test")
    try:
        events = [library.get_local_events(tool, f.fn.__code__) for tool in range(6)]
        assert events == [0] * 6 and not any(map(library.get_events, range(6)))
        g = function(lambda x: x * 3)  # with nothing free: by hooks
        for _ in range(3):
            assert g(hb.ones(2)).tolist() == [3.0, 3.0]
        assert g.cache_info().replays == 1
    finally:
        for tool in range(6):
            library.free_tool_id(tool)


def test_what_hooks_do_is_not_told():
    """Code of the standard library that the program uses works for hooks, too."""
    found, seen = event_filter(), []

    def profile(frame: Any, event: str, value: Any) -> None:
        collections.Counter()["hook"] += 1  # Python code, which makes what is missing
        seen.append((event, frame.f_code.co_name))

    def returned(value: Any) -> None:
        collections.Counter()["hook"] += 1

    def user() -> None:
        collections.Counter()["user"] += 1
        quiet_user()

    found.quiet(quiet_user.__code__, None)
    try:
        found.begin(Hooks(profile, lambda *_: None, returned, {}, lambda *_: False))
        user()
    finally:
        found.end()
        sys.setprofile(None)
        sys.settrace(None)
    assert seen.count(("call", "__missing__")) == 1 == seen.count(("call", "user"))


def test_a_generator_that_is_closed_while_it_is_watched():
    """An error is on its way when its frame runs."""

    def step(x: Any) -> Any:
        pairs = (x * k for k in range(3))
        total = next(pairs) + next(pairs)
        del pairs
        return total

    f = function(step)
    for _ in range(3):
        assert f(hb.ones(2)).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("depth", [200, 500, 900, 960, 980])
def test_deep_recursion_is_recorded_or_left_alone(depth):
    """Frames that fit without a watch do with it."""
    source = f"""
        import hybrid as hb
        def down(n):
            return 0 if n == 0 else 1 + down(n - 1)
        f = hb.function(lambda x: x * down({depth}))
        for _ in range(6):
            assert f(hb.ones(1)).item() == {depth}
        print("done", f.cache_info().replays > 0)
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)], capture_output=True, text=True
    )
    assert ran.stdout.strip() == "done True", ran.stderr
