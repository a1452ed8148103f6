"""The benchmark of trees runs: decorated results are the eager ones (it asserts so), and both ways are
reported for training and for inference."""

from __future__ import annotations

import pytest

from benchmarks import trees


@pytest.mark.filterwarnings("ignore::hybrid.RunsEagerly")
def test_a_few_small_trees(capsys: pytest.CaptureFixture[str]) -> None:
    trees.main(["--trees", "12", "--size", "8"])
    rows = [
        line.split()[:2] for line in capsys.readouterr().out.splitlines() if " s in all" in line
    ]
    for what in ("training", "inference"):
        assert [what, "eager"] in rows and [what, "decorated"] in rows
