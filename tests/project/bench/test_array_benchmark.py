"""The table of functions beside NumPy's: it names every function that both have, and every call of
it gives results of NumPy's shapes."""

import types
import warnings

import numpy as np
import pytest

import hybrid as hb
from benchmarks.arrays.__main__ import calls, compared, drawn, main
from benchmarks.arrays.cases import ITEMS, cases, untimed

SIZE = 900
CALLS = calls(SIZE)
PAIRS = [
    ("", hb, np),
    ("linalg.", hb.linalg, np.linalg),
    ("fft.", hb.fft, np.fft),
    ("random.", hb.random, np.random.default_rng()),
]


def shared(ours, theirs):
    return [
        name
        for name, value in vars(ours).items()
        if isinstance(value, types.FunctionType) and name[0] != "_" and hasattr(theirs, name)
    ]


def test_every_shared_function_is_decided():
    both = {prefix + name for prefix, ours, theirs in PAIRS for name in shared(ours, theirs)}
    timed = {name.split()[0] for name in cases() if name not in ITEMS}
    assert not both - timed - set(untimed())
    assert not timed & set(untimed())
    assert (timed | set(untimed())) <= both | {"row_stack"}  # gone in NumPy 2.5


def shapes(result):
    if isinstance(result, (tuple, list)):
        return [shapes(part) for part in result]
    return np.shape(result)


@pytest.mark.parametrize("name", CALLS)
def test_both_give_the_same_shapes(name):
    ours, theirs = CALLS[name]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        first, second = shapes(ours()), shapes(theirs())
    if name == "polydiv":  # the size of its remainder goes by the rounding of quotients
        first, second = first[:1], second[:1]
    assert first == second


def test_a_row_and_the_picture(tmp_path):
    row = compared("add", *CALLS["add"], 0.01)
    assert row.hybrid_us > 0 and row.numpy_us > 0 and row.least <= row.ratio <= row.most
    pytest.importorskip("matplotlib")
    drawn([row], tmp_path / "arrays.png")
    assert (tmp_path / "arrays.png").read_bytes()[:4] == b"\x89PNG"


def test_the_command(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    args = ["--size", "900", "--seconds", "0.01", "--only", "logical", "--out", str(tmp_path)]
    assert main(args) == 0
    assert "of 4 functions take longer" in capsys.readouterr().out
    assert len((tmp_path / "arrays.csv").read_text().splitlines()) == 5
    with pytest.raises(SystemExit):
        main(["--only", "nothing"])
