"""Every public name of PyTorch is there, or its absence says what to write.

The names are those of `torch` 2.14: its functions' stubs and its `__all__`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import hybrid
from hybrid.core.spelling import FUNCTIONS
from hybrid.protocols.names import NUMPY
from hybrid.protocols.torch_names import TORCH

NAMES = Path(__file__).with_name("torch_names.txt").read_text().split()


@pytest.mark.parametrize("name", [name for name in NAMES if not hasattr(hybrid, name)])
def test_an_absent_name_says_the_way(name):
    with pytest.raises(AttributeError, match="; (use|it is called) .+"):
        getattr(hybrid, name)


def test_the_table_names_no_more_than_is_absent():
    assert not [name for name in TORCH if name in hybrid.__all__]
    assert not [name for name in TORCH if name in NUMPY or name in FUNCTIONS]
    assert set(TORCH) <= set(NAMES)


def test_what_a_way_names_is_there():
    for name, way in TORCH.items():
        for path in re.findall(r"hybrid((?:\.\w+)+)", way):
            found = hybrid
            for part in path[1:].split("."):
                assert hasattr(found, part), (name, path)
                found = getattr(found, part)
        for method in re.findall(r"\bx\.(\w+)", way):
            assert hasattr(hybrid.Tensor, method), (name, method)


def test_a_name_of_nobody_has_no_way():
    for name in ("no_such_thing", "no_such_copy", "no_such_thing_", "__path_to_nothing__"):
        with pytest.raises(AttributeError) as caught:
            getattr(hybrid, name)
        assert ";" not in str(caught.value)
