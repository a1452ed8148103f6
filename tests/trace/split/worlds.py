"""Tables of programs, and a program in two worlds with equal starts: decorated, and plain."""

from __future__ import annotations

import contextlib
import io
import random
from contextlib import redirect_stdout

from frozen import difference, frozen

import hybrid as hb


def into(programs):
    """What notes programs (functions of what decorates) in a table, with what is expected of each."""

    def program(expected):
        def note(make):
            programs[make.__name__] = make, expected
            return make

        return note

    return program


def played(program, calls, grad=True):
    """The decorated function of a program, which did in each call what the plain one did."""
    worlds = []
    for decorate in (lambda fn: fn, hb.function):
        hb.manual_seed(0)
        random.seed(0)
        call, state = program(decorate)
        seen = []
        for k in range(calls):
            scope = contextlib.nullcontext() if grad else hb.no_grad()
            with scope, redirect_stdout(io.StringIO()) as text:
                try:
                    result = call(k)
                except Exception as error:
                    result = type(error), str(error)
            seen.append((frozen(result), text.getvalue(), frozen(state())))
        worlds.append((call, seen))
    (_, plain), (made, other) = worlds
    for k, (one, two) in enumerate(zip(plain, other)):
        assert not difference(one, two), f"call {k}: {difference(one, two)}"
    return made
