"""Every example in a docstring of the public modules runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import hybrid

# a module that runs when it is imported, and one that needs what is not always installed
SKIPPED = ("hybrid.__main__", "hybrid.backends.cuda", "hybrid.demo")
MODULES = ["hybrid"] + sorted(
    m.name
    for m in pkgutil.walk_packages(hybrid.__path__, "hybrid.")
    if not m.name.startswith(SKIPPED)
)
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module, given = importlib.import_module(name), {"hybrid": hybrid}
    result = doctest.testmod(module, extraglobs=given, optionflags=FLAGS)
    assert not result.failed, f"{result.failed} of {result.attempted} examples of {name} fail"


PUBLIC = [
    (n, f)
    for space in (
        *(hybrid, hybrid.nn, hybrid.optim, hybrid.nn.functional),
        *(hybrid.fft, hybrid.linalg, hybrid.random, hybrid.special),
    )
    for n, f in vars(space).items()
    if not n.startswith("_") and callable(f)
]


def test_public_functions_and_classes_have_docstrings():
    bare = sorted({n for n, f in PUBLIC if not (f.__doc__ or "").strip()})
    assert not bare, bare


def test_public_methods_have_docstrings():
    for cls in (hybrid.Tensor, hybrid.nn.Module, hybrid.optim.Optimizer):
        bare = [
            n
            for n, f in vars(cls).items()
            if not n.startswith("_") and callable(f) and not f.__doc__
        ]
        assert not bare, f"{cls.__name__}: {bare}"
