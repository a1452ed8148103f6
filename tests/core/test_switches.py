"""Switches of the process: as before when the last scope ends."""

from __future__ import annotations

import gc
import os
import threading
from contextlib import ExitStack, contextmanager

import pytest

from hybrid.core.switches import UNCOLLECTED


def test_the_collector_is_as_before():
    assert gc.isenabled()
    with UNCOLLECTED:
        assert not gc.isenabled()
        with UNCOLLECTED:
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with UNCOLLECTED:
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
    with pytest.raises(ValueError), UNCOLLECTED:
        raise ValueError
    assert gc.isenabled()


@contextmanager
def held_off_elsewhere():
    """A scope of another thread, which ends with the block."""
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with UNCOLLECTED:
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert inside.wait(30)
        yield
    finally:
        leave.set()
        thread.join()


def test_scopes_of_threads_overlap():
    with ExitStack() as stack:
        with UNCOLLECTED:
            stack.enter_context(held_off_elsewhere())
        assert not gc.isenabled()
    assert gc.isenabled()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_collects():
    with held_off_elsewhere():
        pid = os.fork()
        if not pid:
            os._exit(0 if gc.isenabled() else 1)
    assert os.waitpid(pid, 0)[1] == 0 and gc.isenabled()
