"""The benchmark of recordings runs in small: decorated losses are the eager ones on texts of any
length, and both parts report what they are for."""

from __future__ import annotations

import pytest

import hybrid as hb
from benchmarks import recording


@pytest.mark.filterwarnings("ignore::hybrid.RunsEagerly")
def test_texts_of_other_lengths_train_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(recording.GPT, "width", 8)
    monkeypatch.setitem(recording.GPT, "heads", 2)
    weights = []
    for traced in (True, False):
        training = recording._Training(1, 12, traced)
        for length in (5, 9, 12, 7, 9, 3, 11, 2, 8, 10):
            training.call(length)
        weights.append([p.numpy().tobytes() for p in training.model.parameters()])
    assert weights[0] == weights[1]


def test_the_parts_and_the_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def apart(part: str, traced: bool) -> dict[str, object]:
        info = hb.function(lambda x: x).cache_info()._asdict()
        seconds = {"wall": 1.0 + traced, "work": 2.0, "second half": 1.0}
        return {"calls": [4.0, 3.0 + traced]} if part == "recorded" else {**seconds, "info": info}

    monkeypatch.setattr(recording, "_apart", apart)
    recording._report(2)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:2] == ["wall", "2.00"] for line in lines)
    assert any(
        "beside" in line and "first 4.00" in line and "second 3.00" in line for line in lines
    )
