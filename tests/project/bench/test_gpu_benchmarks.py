"""The benchmarks of a GPU, tried on the CPU with tiny sizes: rows are kept, runs go on, tables are
made, and a fault spoils one case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import __main__ as bench
from benchmarks.gpu import child, profiles, records
from benchmarks.gpu.records import Row, row_of, table
from benchmarks.gpu.timing import Device, Sample, in_turns, spread


def run(part: str, only: str, out: Path) -> int:
    return bench.main(["--part", part, "--only", only, "--device", "cpu", "--out", str(out)])


def test_a_part_is_measured_once_and_its_table_comes_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("eager", "a + a", tmp_path) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1].startswith("| a + a with a gradient | ") and "| case | hybrid, us |" in said[-4]
    before = json.loads((tmp_path / "eager.json").read_text())
    assert [row["case"] for row in before["rows"]] == ["a + a, 8 floats", "a + a with a gradient"]
    assert run("eager", "a + a", tmp_path) == 0  # nothing is left to do
    assert json.loads((tmp_path / "eager.json").read_text()) == before
    page = tmp_path / "page.md"
    page.write_text(f"before\n{bench.MARKS[0]}\nold\n{bench.MARKS[1]}\nafter\n")
    assert bench.main(["--table", str(tmp_path), "--into", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("before") and text.endswith("after\n") and "old" not in text
    assert "### Small eager calls" in text and "a + a, 8 floats" in text


def test_steps_are_prepared_before_they_are_timed(tmp_path: Path) -> None:
    assert run("steps", "toy", tmp_path) == 0
    (row,) = records.read(tmp_path / "steps.json")[1]
    assert row.ours is not None and row.ours.low <= row.ours.us <= row.ours.high and not row.note


def test_cases_of_products_and_kernels() -> None:
    """Tiny, once, without peers: whatever the sizes, the calls are legal."""
    device = Device("cpu")
    for name in ("float32 small 32x784x256", "float16 4096", "float32 attention 4x12x1024x64"):
        assert child.PARTS["products"][1](name, device, False, 1.0).operations > 0
    for name in ("its gradient", "Adam 124M", "layer norm gradients 32768x1024"):
        assert child.PARTS["kernels"][1](name, device, False, 1e4).nbytes > 0


def test_a_fault_spoils_one_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends in the middle: that case has a note, the others are measured."""

    class Broken:
        def __init__(self, *given: Any) -> None:
            self.lines: list[str] = []
            self.process, self.told = self, [{"device": "none"}]

        def poll(self) -> int | None:
            return -11 if "bad" in self.lines else None

        def send(self, line: str) -> None:
            self.lines.append(line)
            if line == "go" and self.lines[-2] != "bad":
                row = Row(self.lines[-2], {"hybrid": Sample(1.0, 1.0, 1.0)})
                self.told += [{"ready": row.case}, {"row": row.to_dict()}]

        def hear(self, seconds: float) -> dict[str, Any] | None:
            return self.told.pop(0) if self.told else None

        def close(self) -> None:
            pass

    monkeypatch.setattr(bench, "Child", Broken)
    monkeypatch.setattr(bench, "_card", lambda device: "none")
    monkeypatch.setitem(child.PARTS, "eager", (("one", "bad", "two"), None))
    assert run("eager", "", tmp_path) == 1
    rows = {row.case: row for row in records.read(tmp_path / "eager.json")[1]}
    assert rows["one"].ours and rows["two"].ours and "ended with -11" in rows["bad"].note


def test_figures() -> None:
    assert spread([5, 1, 3, 2, 100]) == Sample(3, 2, 5)
    turns: list[str] = []
    calls = {name: lambda n=name: turns.append(n) or 1.0 for name in "ab"}
    in_turns(calls, 3, 10.0)
    assert turns == ["a", "b"] * 3
    times = {"hybrid": Sample(10, 9, 11), "torch": Sample(20, 19, 21), "jax": Sample(16, 1, 30)}
    row = Row("case", times, nbytes=8000, bound_us=9.0)
    assert row.ratio() == 0.625 and row.best_peer() == "jax" and row_of(row.to_dict()) == row
    assert "90 % of a copy" in table([row]) and "0.62 (jax)" in table([row])
    assert "2.0 TFLOP/s" in table([row._replace(bound_us=0, operations=20_000_000)])


def test_what_is_missing_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["--part", "eager"])
    assert "--out" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="nowhere"):
        bench.main(["--part", "eager", "--device", "nowhere", "--out", "x"])


def test_profiles_of_steps(capsys):
    assert profiles.main(["toy", "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert "toy: " in told and "5 kernels" in told and "1 x" in told, told
