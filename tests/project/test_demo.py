"""The demonstration: both modes train to the same bits, and the report stands alone."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
pytest.importorskip("tqdm")

from hybrid.demo.models import cnn, load_digits, mlp
from hybrid.demo.run import run_demo, train


class Bar:
    steps = 0

    def update(self, n):
        self.steps += n


def test_one_epoch_writes_a_report(tmp_path, capsys):
    out = tmp_path / "report.html"
    assert run_demo(epochs=1, batch=128, seed=1, out=str(out)) == 0
    said = capsys.readouterr()
    assert "equal in all 11 steps" in said.out and said.out.count("equal in all") == 2
    assert "CNN, traced" in said.err and "100%" in said.err  # the progress bar
    text = out.read_text()
    images = re.findall(r"src='data:image/png;base64,([^']+)'", text)
    assert len(images) == 5 and all(base64.b64decode(i).startswith(b"\x89PNG") for i in images)
    assert "not replayed" not in text and "0</b>of 22 losses differ" in text
    assert not re.findall(r"\b(?:src|href)=(?!'data:)", text)
    links = set(re.findall(r"https?://[^'\" <]+", text))
    assert links <= {"http://www.w3.org/2000/svg"}  # nothing is loaded from elsewhere
    assert list(tmp_path.iterdir()) == [out]


def test_traced_run_replays_and_learns():
    data, bar = load_digits(0), Bar()
    eager, traced = (train("MLP", mlp, data, mode, 3, 64, 0, bar) for mode in (False, True))
    assert eager.losses.tobytes() == traced.losses.tobytes() and bar.steps == 2 * 66
    assert (eager.predictions == traced.predictions).all() and traced.accuracy > 0.85
    assert traced.compiled.replays and traced.compiled.same_bits
    assert np.isfinite(traced.losses).all() and traced.losses[-1] < traced.losses[0]


def test_data_and_models_are_what_the_seed_says():
    a, b = load_digits(3), load_digits(3)
    assert all((x == y).all() for x, y in zip(a, b))
    assert (
        a.train_x.shape[1:] == (1, 8, 8)
        and a.train_x.dtype == np.float32
        and a.train_y.dtype == np.int64
    )
    assert len(a.train_x) + len(a.test_x) == 1797
    assert "Conv2d" in repr(cnn())


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"epochs": 0}, "at least 1"),
        ({"batch": 0}, "at least 1"),
        ({"batch": 5000}, "only 1437"),
        ({"out": "/no/such/dir/r.html"}, "no such"),
    ],
)
def test_wrong_options_are_told(wrong, said):
    with pytest.raises(SystemExit, match=said):
        run_demo(**wrong)
