"""Interpreters whose bytecode hybrid does not read: all runs eagerly, with one message a function."""

from __future__ import annotations

import sys
import warnings

import pytest

import hybrid

FUNCTION = sys.modules["hybrid.trace.serve.paths"]  # asks before a recording


@pytest.fixture
def elsewhere(monkeypatch):
    """This interpreter, as one without a table of opcodes."""
    monkeypatch.setattr(FUNCTION, "SUPPORTED", False)


def said(f, *args, calls=4):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = [f(*args) for _ in range(calls)]
    return results, [str(w.message) for w in caught if w.category is hybrid.RunsEagerly]


def test_supported_versions():
    assert ((3, 11) <= sys.version_info[:2] <= (3, 13)) == FUNCTION.SUPPORTED


def test_functions_run_eagerly_and_say_so_once(elsewhere):
    w = hybrid.ones(3, requires_grad=True)

    @hybrid.function
    def step(x):
        loss = (x * w).sum()
        w.grad = None
        loss.backward()
        return loss

    x = hybrid.tensor([1.0, 2.0, 3.0])
    results, messages = said(step, x)
    assert [r.item() for r in results] == [6.0] * 4 and w.grad.tolist() == [1.0, 2.0, 3.0]
    assert (
        len(messages) == 1 and "runs eagerly because it is recorded on CPython 3.11" in messages[0]
    )
    assert said(step, hybrid.ones(2, 3))[1] == []  # another signature says nothing more
    info = step.cache_info()
    assert info.eager + info.deferred == 8 and info[:2] == (0, 0) and info.signatures == 2


def test_reports_tell_why(elsewhere):
    @hybrid.function
    def double(x):
        return x + x

    said(double, hybrid.ones(2))
    assert f"signature 0: EAGER; it {FUNCTION.UNSUPPORTED}" in double.explain()
    with pytest.raises(hybrid.HybridError, match="is recorded on CPython 3.11 to 3.13 only"):
        double.graph(hybrid.ones(2))
    report = hybrid.compare(double, hybrid.ones(2), repeat=1)
    assert report.same_bits and not report.replays and FUNCTION.UNSUPPORTED in report.reason


def test_the_message_names_both_versions():
    version = ".".join(map(str, sys.version_info[:2]))
    assert FUNCTION.UNSUPPORTED.startswith("is recorded on CPython 3.11 to 3.13 only; this is ")
    assert FUNCTION.UNSUPPORTED.endswith(version)


def test_methods_and_generators_are_served_too(elsewhere):
    class Model(hybrid.nn.Module):
        @hybrid.function
        def forward(self, x):
            return x * 2

    results, messages = said(Model(), hybrid.ones(2))
    assert results[-1].tolist() == [2.0, 2.0] and len(messages) == 1
