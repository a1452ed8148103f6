"""Functions of the standard library cut inside of their `with` and `try`, with an exception thrown
at each call that they make: what comes of it is what came of the whole function."""

from __future__ import annotations

import ast
import configparser
import contextlib
import csv
import gc
import io
import json.decoder
import logging
import os
import queue
import random
import sys
import tempfile
import zipfile

import pytest
from pieces_harness import cut, places_of

from hybrid.trace.split.places import flow_of, landings

SEEDS = range(int(os.environ.get("HYBRID_PROGRAMS", "0")) // 100 + 1)
TEXT = "[a]\nx = 1\n y\n; no\nkey: value\n[b]\nx = 2\nnone\n\n[a c]\nlast = %(x)s\n"


class Thrown(Exception):
    """What is thrown."""


def queued(note):
    waiting = queue.Queue(2)
    note(waiting.mutex.locked, lambda: list(waiting.queue))
    for number in range(4):
        try:
            waiting.put(number, number > 5)
        except queue.Full:
            waiting.get()
            waiting.task_done()
    return waiting.get(timeout=0.01)


def configured(note):
    parser = configparser.RawConfigParser(allow_no_value=True, strict=False)
    note(parser.sections, lambda: {name: dict(parser.items(name)) for name in parser.sections()})
    parser.read_string(TEXT)
    return parser.get("a", "x")


def zipped(note):
    file = io.BytesIO()
    archive = zipfile.ZipFile(file, "w")
    note(archive.namelist, file.tell, lambda: archive._writing)
    note(lambda: vars(archive).update(fp=None))  # so that it closes nothing when it goes
    archive.writestr("one", "first")
    archive.writestr("two", b"second" * 20, zipfile.ZIP_DEFLATED)
    return archive.read("two") if archive.mode == "r" else len(archive.infolist())


def sniffed(note):
    found = csv.Sniffer().sniff("a;b;c\n1;2;3\n'x';'y';z\n", ";,")
    return found.delimiter, csv.Sniffer().has_header("a,b\n1,2\n3,4\n5,6\n")


def logged(note):
    lines, logger = io.StringIO(), logging.Logger("cut")
    handler = logging.StreamHandler(lines)
    note(lines.getvalue, lambda: handler.lock.acquire(blocking=False) and handler.lock.release())
    logger.addHandler(handler)
    logger.warning("%s and %d", "one", 2)
    logger.log(logging.ERROR, "three")
    return lines.getvalue()


def decoded(note):
    parse = json.decoder.JSONDecoder(parse_float=lambda text: float(text) * 2)
    return [parse.raw_decode(text) for text in ('{"a": [1, 2.5]}', "[true, null] rest")]


def evaluated(note):
    return [ast.literal_eval(text) for text in ("{'a': (1, -2j)}", "[{1, 2}, None, b'x']")]


def temporary(note):
    with tempfile.TemporaryDirectory() as folder:
        note(lambda: os.path.exists(folder))
        with tempfile.NamedTemporaryFile("w+", dir=folder, suffix=".x") as file:
            file.write("text")
            return len(os.listdir(folder)), file.name.endswith(".x")


CASES = [
    *((queued, queue.Queue, name) for name in ("put", "get", "task_done")),
    *((configured, configparser.RawConfigParser, name) for name in ("_read", "get", "items")),
    *((zipped, zipfile.ZipFile, name) for name in ("writestr", "open")),
    *((sniffed, csv.Sniffer, name) for name in ("has_header", "_guess_delimiter")),
    *((logged, logging.StreamHandler, name) for name in ("emit",)),
    *((logged, logging.Handler, "handle"), (logged, logging.LogRecord, "__init__")),
    *((decoded, json.decoder.JSONDecoder, "raw_decode"), (evaluated, ast, "literal_eval")),
    *((temporary, tempfile, "NamedTemporaryFile"), (temporary, tempfile, "mkdtemp")),
]


def played(scenario, fn, number):
    """What comes of a scenario where the call of that number that a function makes throws."""
    code, calls, notes = fn.__code__, [0], []

    def trace(frame, event, arg):
        back = frame.f_back
        if event == "call" and back is not None and "hybrid" not in frame.f_code.co_filename:
            other = back.f_code
            if (other.co_name, other.co_filename) == (code.co_name, code.co_filename):
                calls[0] += 1
                if calls[0] == number:
                    sys.settrace(None)
                    raise Thrown(str(number))

    text = io.StringIO()
    before = sys.gettrace()
    gc.disable()  # what a collection calls would be counted
    with contextlib.redirect_stderr(text):
        try:
            sys.settrace(trace)
            result = scenario(lambda *given: notes.extend(given))
        except Exception as error:
            context = error.__context__
            result = type(error), str(error)[:20], type(context), type(error.__cause__)
        finally:
            sys.settrace(before)
            gc.enable()
    state = []
    for note in notes:
        try:
            state.append(note())
        except Exception as error:
            state.append(type(error))
    return result, state, calls[0]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("scenario", "holder", "name"), CASES, ids=lambda v: getattr(v, "__name__", v)
)
def test_what_is_thrown_into_the_library(scenario, holder, name, seed, monkeypatch):
    fn, numbers = getattr(holder, name), random.Random(seed)
    places, flow = places_of(fn), flow_of(fn.__code__)
    if isinstance(flow, str):  # it calls `super`, say, in this version of Python
        return
    inside = [at for at in places if landings(flow, flow.at[at])]
    chosen = [numbers.sample(places, min(len(places), count)) for count in (3, 8, 64)]
    chosen += [numbers.sample(inside, min(len(inside), count)) for count in (1, 1, 4, 32) if inside]
    _, _, calls = played(scenario, fn, 0)
    expected = [played(scenario, fn, number) for number in range(min(calls, 24) + 1)]
    for cuts in chosen:
        monkeypatch.setattr(holder, name, cut(fn, cuts))
        for number, whole in enumerate(expected):
            assert played(scenario, fn, number) == whole, (sorted(cuts), number)
        monkeypatch.setattr(holder, name, fn)


def test_most_of_them_are_cut_inside():
    inside = 0
    for _, holder, name in CASES:
        flow = flow_of(getattr(holder, name).__code__)
        places = [] if isinstance(flow, str) else places_of(getattr(holder, name))
        inside += sum(1 for at in places if landings(flow, flow.at[at]))
    assert inside > 200
