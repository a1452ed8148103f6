"""The demonstration: both modes train to the same bits, and the report stands alone."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest
import toy_backend  # noqa: F401  (registers the kind "boxes")

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
pytest.importorskip("tqdm")

from hybrid import manual_seed, optim, tensor
from hybrid.demo.models import cnn, load_digits, mlp
from hybrid.demo.result import WARM, Pair, Run
from hybrid.demo.run import LEARNING_RATE, Learner, make_step, run_demo, train_in_turns


class Bar:
    steps = 0

    def update(self, n):
        self.steps += n


def test_one_epoch_writes_a_report(tmp_path, capsys):
    out = tmp_path / "report.html"
    assert run_demo(epochs=1, batch=128, seed=1, out=str(out)) == 0
    said = capsys.readouterr()
    assert "equal in all 11 steps" in said.out and said.out.count("equal in all") == 2
    assert re.search(r"CNN +\d+ us +\d+ us +[\d.]+ x +[\d.]+ to [\d.]+ x", said.out)
    assert "CNN, eager and traced in turns" in said.err and "100%" in said.err  # the progress bar
    text = out.read_text()
    images = re.findall(r"src='data:image/png;base64,([^']+)'", text)
    assert len(images) == 6 and all(base64.b64decode(i).startswith(b"\x89PNG") for i in images)
    assert "not replayed" not in text and "0</b>of 22 losses differ" in text
    assert not re.findall(r"\b(?:src|href)=(?!'data:)", text)
    links = set(re.findall(r"https?://[^'\" <]+", text))
    assert links <= {"http://www.w3.org/2000/svg"}  # nothing is loaded from elsewhere
    assert list(tmp_path.iterdir()) == [out]


def test_traced_run_replays_and_learns():
    data, bar = load_digits(0), Bar()
    pair = train_in_turns("MLP", mlp, data, 3, 64, 0, bar)
    eager, traced = pair
    assert eager.losses.tobytes() == traced.losses.tobytes() and bar.steps == 2 * 66
    assert (
        pair.same_bits
        and traced.accuracy > 0.85
        and (eager.mode, traced.mode)
        == (
            "eager",
            "traced",
        )
    )
    assert traced.compiled.replays and traced.compiled.same_bits and eager.compiled is None
    assert np.isfinite(traced.losses).all() and traced.losses[-1] < traced.losses[0]


def test_another_device_has_the_same_losses():
    data = load_digits(0)
    few = data._replace(
        train_x=data.train_x[:200],
        train_y=data.train_y[:200],
        test_x=data.test_x[:50],
        test_y=data.test_y[:50],
    )
    here, there = (train_in_turns("MLP", mlp, few, 1, 100, 0, Bar(), d) for d in ("cpu", "boxes"))
    assert here.eager.losses.tobytes() == there.eager.losses.tobytes()
    assert there.same_bits and (here.eager.predictions == there.eager.predictions).all()
    with pytest.raises(SystemExit, match="--device nowhere"):
        run_demo(device="nowhere")


def test_in_turns_trains_as_alone():
    """Neither mode sees the other one: losses are those of a plain loop, dropout included."""
    data = load_digits(2)
    pair = train_in_turns("CNN", cnn, data, 2, 256, 5, Bar())
    manual_seed(5)
    net = cnn()
    optimizer = optim.Adam(net.parameters(), lr=LEARNING_RATE)
    step, order, losses = make_step(net, optimizer), np.random.default_rng(5), []
    for epoch in range(2):
        optimizer.lr = LEARNING_RATE * (1 - epoch / 2) + 1e-5
        shuffled = order.permutation(len(data.train_x))
        for number in range(len(data.train_x) // 256):
            pick = shuffled[number * 256 : (number + 1) * 256]
            losses.append(step(tensor(data.train_x[pick]), tensor(data.train_y[pick])).item())
    alone = np.array(losses, np.float32).tobytes()
    assert pair.eager.losses.tobytes() == alone == pair.traced.losses.tobytes()


def test_modes_alternate_and_take_turns_at_going_first(monkeypatch):
    turns, learn = [], Learner.learn

    def watched(self, images, labels):
        turns.append((self.mode, images.tobytes()))
        learn(self, images, labels)

    monkeypatch.setattr(Learner, "learn", watched)
    pair = train_in_turns("MLP", mlp, load_digits(0), 1, 200, 0, Bar())
    both = list(zip(turns[::2], turns[1::2]))
    assert len(both) == 7 and all(first[1] == second[1] for first, second in both)
    assert [first[0] for first, _ in both] == ["eager", "traced"] * 3 + ["eager"]
    assert all({first[0], second[0]} == {"eager", "traced"} for first, second in both)
    assert len(pair.ratios) == 7 - WARM


def test_pairs_are_compared_by_neighbours():
    """A machine that slows down tenfold half way changes both medians and no paired ratio."""
    slow = np.repeat([1.0, 10.0], 50)
    none = np.zeros(100, np.float32)
    guess, facts = np.zeros(3, np.int64), (None, "")
    run = Run("m", "eager", none, slow * 3e-4, np.ones(1), guess, *facts)
    pair = Pair(run, run._replace(mode="traced", seconds=slow * 1e-4))
    assert np.isclose(pair.speed_up, 3) and np.allclose(pair.spread, 3)
    assert len(pair.ratios) == 100 - WARM and pair.same_bits and not pair.different.any()
    off = none.copy()
    off[7] = -0.0  # equal as a number, another bit
    other = pair._replace(traced=pair.traced._replace(losses=off))
    assert not other.same_bits and np.flatnonzero(other.different).tolist() == [7]
    misread = pair._replace(traced=pair.traced._replace(predictions=guess + 1))
    assert not misread.same_bits and not misread.different.any()


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
