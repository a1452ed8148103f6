"""What a signal's handler collects right after a flush is computed, wherever the collecting ends."""

import pytest

import hybrid as hb
from hybrid.ir.collector import Collector
from hybrid.ir.door.context import (
    begin_collecting,
    end_collecting,
    pop_mode,
    push_mode,
    set_aside,
)
from hybrid.ir.door.pending import COLLECTING, Pending


class Interrupted(Collector):
    """A handler comes as soon as a flush is over, as long as there are `times`."""

    __slots__ = ("x", "made", "times")

    def __init__(self, x):
        super().__init__()
        self.x, self.made, self.times = x, [], 0

    def flush(self, compiles=True):
        super().flush(compiles)
        if self.times:
            self.times -= 1
            self.made.append(self.x + 1.0)


def leave(mode):
    set_aside(mode)
    assert not any(type(made._v) is Pending for made in mode.made)
    begin_collecting(mode)
    end_collecting(mode)


def cover(mode):
    previous = push_mode(Collector())
    assert not any(type(made._v) is Pending for made in mode.made)
    pop_mode(previous)
    end_collecting(mode)


@pytest.mark.parametrize("times", [0, 1, 5])
@pytest.mark.parametrize("end", [end_collecting, leave, cover])
def test_a_handler_right_after_a_flush(end, times):
    x = hb.ones(3)
    mode = Interrupted(x)
    begin_collecting(mode)
    y = x * 2.0
    mode.times = times
    end(mode)
    assert y.tolist() == [2.0] * 3
    assert [made.tolist() for made in mode.made] == [[2.0] * 3] * times


def test_other_threads_begin_and_end_meanwhile():
    class Elsewhere:
        """A mode of another thread; who looks at it lets that thread come and go."""

        defers = False

        @property
        def thread(self):
            later = Elsewhere()
            COLLECTING.add(later)
            others.append(later)
            return -1

    others = [Elsewhere()]
    mode = Collector()
    begin_collecting(mode)
    COLLECTING.add(others[0])
    try:
        y = hb.ones(3) + 1.0
        end_collecting(mode)
        assert len(others) > 1 and mode not in COLLECTING
    finally:
        COLLECTING.difference_update(others)
    assert y.tolist() == [2.0] * 3 and not COLLECTING
