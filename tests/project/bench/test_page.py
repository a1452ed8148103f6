"""The page of a run of the benchmarks: figures, pictures, nothing from elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree

import pytest

pytest.importorskip("tqdm")
pytest.importorskip("matplotlib")

from benchmarks import __main__ as bench
from benchmarks import history
from benchmarks.history.page import write_page
from benchmarks.scaling import Kernel, Machine, bound, measure, predict
from benchmarks.scaling.measure import Point, Scaled

TIMES = {"hybrid_eager": 50.0, "hybrid_traced": 5.0, "torch": 60.0, "jax": 20.0, "numpy": 9.0}
MACHINE = Machine(2, (1e9, 2e9), ((1000, 1e9, 2e9),), {2: 1e-6}, 1e-6)


def fake(python, framework, workload, budget, device):
    return {"us": TIMES[framework], "first_s": 1.0, "peak_mb": 1.0}, ""


def fake_scaled(workload, machine):
    kernels = [Kernel(2e-6, 100, 1000, 1), Kernel(8e-6, 100, 1000, 8)]
    points = [Point(predict(kernels, machine, threads), None) for threads in (1, 2, 4)]
    points[:2] = [points[0]._replace(measured=9.0), points[1]._replace(measured=5.0)]
    return Scaled(kernels, bound(kernels, machine, 2), points)


@pytest.fixture
def faked(monkeypatch):
    monkeypatch.setattr(measure, "measure_machine", lambda: MACHINE)
    monkeypatch.setattr(measure, "scaled", fake_scaled)
    monkeypatch.setattr(bench, "measure", fake)
    monkeypatch.setattr(bench, "available", lambda python, peers: ["torch", "jax"])


def test_times_bound_scaling_and_history(tmp_path, faked, capsys):
    path, page = tmp_path / "h.jsonl", tmp_path / "h.html"
    for _ in range(2):
        assert bench.main(["--only", "toy,add_eager", "--history", str(path)]) == 0
    assert f"page: {page}" in capsys.readouterr().out
    text = page.read_text()
    body = ElementTree.fromstring(text[text.index("<body>") : text.index("</html>")])
    rows = [[cell.text for cell in row] for row in body.iter("tr")]
    # bound: 2000 operations at 2e9 a second
    assert rows[1] == ["toy", "50.0", "5.0", "jax 20.0", "0.25", "0.25 to 0.25", "1.0", "20%"]
    assert rows[2][:4] == ["add eager", "50.0", None, "torch 60.0"] and rows[2][6:] == [None, None]
    assert text.count("<svg") == 2 and "runs on this machine" in text and "ideal" in text
    assert not any(word in text for word in ("<script", "<img", "<link", "@import", "url(http"))


def test_who_was_ahead_is_marked(tmp_path):
    results = {"toy": {name: {"us": time} for name, time in TIMES.items()}}
    entry = history.Entry(
        datetime.now(UTC),
        history.Commit(),
        history.machine_facts(),
        {},
        3,
        1.0,
        False,
        {"toy": history.figures_of("toy", results["toy"])},
    )
    page = tmp_path / "page.html"
    for spread, mark in (((0.2, 0.3), "ahead"), ((1.2, 1.3), "behind"), ((0.9, 1.1), None)):
        write_page(page, entry, results, {"toy": {"jax": spread}}, {}, [])
        text = page.read_text()
        body = ElementTree.fromstring(text[text.index("<body>") : text.index("</html>")])
        cells = [cell.get("class") for cell in list(body.iter("tr"))[1]]
        assert cells == [None] * 4 + [mark] + [None] * 3


def test_no_page_where_none_is_wanted(tmp_path, faked):
    path = tmp_path / "h.jsonl"
    assert bench.main(["--only", "toy", "--history", str(path), "--page", ""]) == 0
    assert not path.with_suffix(".html").exists()
    assert bench.arguments(["--quick"]).page == ""
    with pytest.raises(SystemExit):
        bench.arguments(["--device", "cuda", "--page", str(path)])


def test_a_page_that_cannot_be_made_is_told(tmp_path, faked, capsys, monkeypatch):
    def broken():
        raise RuntimeError("benchmarks.scaling.kernels toy 1 on 1 threads: Boom")

    monkeypatch.setattr(measure, "measure_machine", broken)
    path = tmp_path / "h.jsonl"
    assert bench.main(["--only", "toy", "--history", str(path)]) == 1
    assert "page: benchmarks.scaling.kernels toy 1" in capsys.readouterr().err
    assert len(history.read(path).entries) == 1  # the run is kept
