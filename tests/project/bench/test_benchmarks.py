"""The benchmark runner: it measures, goes on without peers, reports failures and draws."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tqdm")

from benchmarks import __main__ as bench
from benchmarks import against
from benchmarks.report import plot, table, verdict
from benchmarks.sizes import ALL

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("mode", ["hybrid_eager", "hybrid_traced"])
def test_worker_measures(mode):
    got, problem = bench.measure(sys.executable, mode, "toy", 0.02)
    assert (
        not problem
        and got["us"] > 0
        and got["first_s"] > 0
        and set(got) == {"us", "first_s", "peak_mb"}
    )


def test_run_without_peers(tmp_path):
    pytest.importorskip("matplotlib")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks",
            "--only",
            "toy",
            "--peers",
            "",
            "--rounds",
            "1",
            "--budget",
            "0.05",
            "--out",
            str(tmp_path),
            "--history",
            "",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "toy" in done.stdout and "failed" not in done.stderr and "100%" in done.stderr
    record = json.loads((tmp_path / "results.json").read_text())
    assert (
        set(record["results"]["toy"]) == {"hybrid_eager", "hybrid_traced"}
        and record["failures"] == []
    )
    assert (tmp_path / "table.txt").read_text().strip() == done.stdout.strip()


def test_failures_are_told_and_the_rest_goes_on(monkeypatch, capsys):
    def fake(python, framework, workload, budget, device):
        return (None, "exit status 1\nBoom") if framework == "hybrid_eager" else ({"us": 2.0}, "")

    monkeypatch.setattr(bench, "measure", fake)
    assert bench.main(["--only", "toy", "--peers", "", "--rounds", "2", "--history", ""]) == 1
    said = capsys.readouterr()
    assert said.err.count("hybrid_eager toy failed: exit status 1\nBoom") == 1 and "2.0" in said.out


def test_missing_peers_and_workloads(capsys):
    assert bench.available(sys.executable, ["nosuchframework"]) == []
    assert "no nosuchframework" in capsys.readouterr().err
    assert bench.measure(sys.executable, "numpy", "cnn", 0.02) == (None, "")
    assert bench.measure(sys.executable, "hybrid_eager", "nonsense", 0.02) == (None, "")
    got, problem = bench.measure(sys.executable, "mxnet", "toy", 0.02)
    assert got is None and "mxnet" in problem


@pytest.mark.parametrize(
    "argv, said",
    [
        (["--only", "nope"], "choose from toy"),
        (["--peers", "mxnet"], "choose from"),
        (["--rounds", "0"], "positive"),
        (["--budget", "-1"], "positive"),
    ],
)
def test_wrong_options(argv, said, capsys):
    with pytest.raises(SystemExit):
        bench.arguments(argv)
    assert said in capsys.readouterr().err


def test_who_takes_part():
    assert bench.frameworks_for("add_eager", ["torch", "jax"]) == ["hybrid_eager", "torch", "numpy"]
    assert "numpy" not in bench.frameworks_for(
        "gelu", []
    ) and "torch_compile" in bench.frameworks_for("gpt", ["torch_compile"])


def test_table_and_plot(tmp_path):
    pytest.importorskip("matplotlib")
    results = {
        "toy": {
            "hybrid_eager": {"us": 50.0},
            "hybrid_traced": {"us": 5.0},
            "torch": {"us": 60.0},
            "jax": {"us": 20.0},
        },
        "gelu": {"hybrid_traced": {"us": 900.0}},
        "gpt": {},
    }
    text = table(results, 450.0)
    assert "jax 20.0" in text and "0.25" in text and "10.0" in text and "gelu 2.00 x" in text
    plot(results, tmp_path / "a.png")
    plot({"gpt": {}}, tmp_path / "b.png")
    assert (tmp_path / "a.png").stat().st_size > 5000 and not (tmp_path / "b.png").exists()


def test_two_checkouts_in_turns(capsys):
    assert against.main([str(ROOT), "--pairs", "1", "--only", "toy"]) == 0
    (line,) = [n for n in capsys.readouterr().out.splitlines() if n.startswith("toy step")]
    assert "us" in line and " to " in line


def test_against_needs_a_checkout(tmp_path, capsys):
    with pytest.raises(SystemExit):
        against.main([str(tmp_path)])
    assert "no checkout" in capsys.readouterr().err


def test_against_uses_the_package_of_each_checkout(tmp_path, capsys):
    """Only modules of benchmarks are named, so modules of the package may lie elsewhere."""
    assert all(arguments[0].startswith("benchmarks.") for arguments, _ in against.MEASURES.values())
    for folder in ("benchmarks", "hybrid"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("SPEED = 7.5\n")
    worker = tmp_path / "benchmarks" / "worker.py"
    worker.write_text("import hybrid, json\nprint(json.dumps({'us': hybrid.SPEED}))\n")
    assert against.measure("toy step, traced", tmp_path, str(tmp_path / "cache")) == 7.5
    worker.write_text("raise SystemExit('broken')\n")
    with pytest.raises(SystemExit, match="worker hybrid_traced toy .* failed\nbroken"):
        against.measure("toy step, traced", tmp_path, str(tmp_path / "cache"))
    with pytest.raises(SystemExit):
        against.main([str(tmp_path), "--only", "nothing like that"])
    assert "no measurement has" in capsys.readouterr().err
    (tmp_path / "hybrid" / "__init__.py").unlink()  # it would measure the installed one
    with pytest.raises(SystemExit):
        against.main([str(tmp_path)])
    assert "no checkout" in capsys.readouterr().err


def test_a_quick_run_measures_every_workload_of_hybrid(monkeypatch, capsys):
    seen = []

    def fake(python, framework, workload, budget, device):
        seen.append((framework, workload, budget < 0.1))
        return {"us": 2.0}, ""

    monkeypatch.setattr(bench, "measure", fake)
    assert bench.main(["--quick"]) == 0
    assert {workload for _, workload, _ in seen} == set(ALL) and all(short for *_, short in seen)
    assert len(seen) == len(set(seen)) and all(name.startswith("hybrid") for name, _, _ in seen)


def test_a_verdict_needs_rounds_that_agree():
    assert verdict((0.5, 0.9)).endswith("ahead")
    assert verdict((1.1, 1.2)).endswith("behind")
    assert verdict((0.9, 1.2)).endswith("0.90 to 1.20 no verdict")
    assert verdict(None) == verdict((0.8, 0.8)) == ""
    rows = {"toy": {"hybrid_traced": {"us": 2.0}, "jax": {"us": 4.0}}}
    assert "0.50 to 0.60 ahead" in table(rows, None, {"toy": {"jax": (0.5, 0.6)}})
    assert "ahead" not in table(rows, None).splitlines()[1]
