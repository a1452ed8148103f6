"""The nets that are measured beside PyTorch: traced and eager steps of tiny ones give equal losses."""

from __future__ import annotations

import pytest

from benchmarks.nets import __main__ as nets


@pytest.mark.parametrize("name", [name for name in nets.NETS if name != "resnet_50"])
def test_traced_and_eager_steps_agree(name):
    calls = nets.contestants(name, peers=False, compiled=False, small=True)
    losses = {who: [call() for _ in range(4)] for who, call in calls.items()}
    assert losses["traced"] == losses["eager"] and len(set(losses["traced"])) > 1


def test_what_is_said_of_a_net():
    times = {
        "traced": [1.0, 1.1, 1.2, 1.0, 1.1],
        "eager": [2.2] * 5,
        "torch": [2.0, 2.2, 2.4, 2.0, 2.2],
    }
    said = nets.row("some net", times)
    assert "traced / torch 0.50 (0.50 to 0.50, ahead)" in said and "eager / traced 2.00" in said
    times["traced"] = [1.5, 3.0, 1.5, 3.0, 2.0]
    assert "no verdict" in nets.row("some net", times)
    del times["torch"]
    assert "torch" not in nets.row("some net", times)


def test_the_command_runs(capsys):
    assert nets.main(["--only", "super_resolution", "--rounds", "2", "--small"]) == 0
    assert "super_resolution" in capsys.readouterr().out
