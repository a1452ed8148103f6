"""Programs with threads, signals and forks run in processes of their own: a hang is a failure.

HYBRID_STRESS sets how often each is repeated (1,000 readings, 500 interrupts and 100 forks for a
full run; CI runs a few)."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

__all__ = ["run", "times"]

HEAD = """
import copy, ctypes, faulthandler, gc, os, pickle, signal, sys, threading, time, weakref
import numpy as np
import hybrid as hb
from hybrid import nn, optim
"""


def times(few: int, full: int) -> int:
    """How often a program repeats what it tries: `full` times when HYBRID_STRESS is set."""
    return full if os.environ.get("HYBRID_STRESS") else few


def run(text: str, *args: object, timeout: float = 120.0, **env: str) -> list[str]:
    """Run a program; its lines of output.  It fails on an error, a crash or a hang."""
    here = os.path.dirname(os.path.abspath(__file__))
    program = f"import sys; sys.path[:0] = {sys.path!r}\n{HEAD}\n{textwrap.dedent(text)}"
    try:
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", program, *map(str, args)],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=here,
            env={**os.environ, **env},
        )
    except subprocess.TimeoutExpired as e:
        out = [(t or b"").decode()[-2000:] for t in (e.stdout, e.stderr)]
        raise AssertionError(f"the program hangs: {out}") from None
    assert done.returncode == 0, (done.returncode, done.stdout[-2000:], done.stderr[-4000:])
    return done.stdout.splitlines()
