"""Every public name of NumPy is there, or its absence says what to write.

Invariant: no table names what is there.
"""

from __future__ import annotations

import numpy as np
import pytest

import hybrid
from hybrid.core.spelling import FUNCTIONS
from hybrid.protocols.names import NUMPY

NAMES = [n for n in dir(np) if not n.startswith("_")]


def test_every_name_of_numpy_is_decided():
    unknown = [n for n in NAMES if not hasattr(hybrid, n) and n not in NUMPY and n not in FUNCTIONS]
    assert not unknown, f"neither there nor in hybrid.protocols.names: {unknown}"


def test_most_numeric_names_are_there():
    absent = [n for n in NAMES if not hasattr(hybrid, n) and n not in NUMPY]
    assert len(absent) < 0.05 * len(NAMES), absent


@pytest.mark.parametrize("table", [NUMPY, FUNCTIONS], ids=["numpy", "functions"])
def test_no_table_names_what_is_there(table):
    there = [n for n in table if n in hybrid.__all__]
    assert not there, f"in hybrid, so in no table: {there}"


def test_the_error_says_the_way():
    for name, way in {**FUNCTIONS, **NUMPY}.items():
        if name in vars(hybrid):  # a module of that name
            continue
        with pytest.raises(AttributeError) as caught:
            getattr(hybrid, name)
        assert way in str(caught.value), name
    with pytest.raises(AttributeError, match="use numpy.loadtxt, then hybrid.asarray"):
        hybrid.loadtxt  # noqa: B018


def test_what_a_way_names_is_there():
    for name, way in NUMPY.items():
        for word in way.replace("(", " ").replace(",", " ").split():
            path = word.rstrip(".:;)")
            if path.startswith("hybrid."):
                first = path.split(".")[1]
                assert hasattr(hybrid, first), (name, path)
