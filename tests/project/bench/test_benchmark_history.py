"""The history of the benchmarks: whole lines or none, hostile files told and skipped, a picture."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("tqdm")

from benchmarks import __main__ as bench
from benchmarks import history
from benchmarks.history import __main__ as command
from benchmarks.history.draw import Column, column_of, lines_of, spread_out
from benchmarks.history.facts import _cpu_model

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
HERE = history.Machine("Some CPU", "znver4", "AVX-512", 2, 2, "Linux x86_64")
ROW = {"hybrid_eager": {"us": 50.0}, "hybrid_traced": {"us": 5.0}}
TOY = ROW | {"torch": {"us": 60.0}, "jax": {"us": 20.0}, "numpy": {"us": 1.0}}


def entry(number=0, machine=HERE, **changes):
    figures = history.figures_of("toy", TOY, {"jax": (0.2, 0.3), "numpy": (1.0, 2.0)})
    date = NOW + timedelta(days=number)
    made = history.Entry(
        date,
        history.Commit(f"{number:07x}" + "0" * 33, date, False),
        machine,
        {"python": "3.11.7", "numpy": "2.4.6"},
        3,
        2.0,
        False,
        {"toy": figures},
        450.0,
    )
    return made._replace(**changes)


def facts(**changes):
    """The JSON of a good line, changed."""
    return json.loads(history.dump(entry())) | changes


# ---- lines
def test_figures_hold_ratios_to_peers_only():
    figures = history.figures_of("toy", TOY, {"jax": (0.2, 0.3), "numpy": (1.0, 2.0)})
    assert figures.times["numpy"] == 1.0 and figures.ratios == {"torch": 5 / 60, "jax": 0.25}
    assert figures.spreads == {"jax": (0.2, 0.3)}
    assert history.figures_of("toy", {}) is None
    assert history.figures_of("toy", ROW).ratios == {}
    untraced = {key: cell for key, cell in TOY.items() if key != "hybrid_traced"}
    assert history.figures_of("toy", untraced).ratios == {}  # its traced form failed
    assert history.figures_of("add_eager", untraced).ratios == {"torch": 50 / 60, "jax": 2.5}


def test_a_line_reads_back():
    unknown = entry(commit=history.Commit(), copy_us=None, note="by hand", quick=True)
    for made in (entry(), unknown, entry(machine=HERE._replace(threads=None))):
        line = history.dump(made)
        again = history.parse(line)
        assert "\n" not in line and history.dump(again) == line
        assert again.commit == made.commit and again.machine == made.machine
        assert again.workloads["toy"].times == made.workloads["toy"].times


def test_fields_of_later_programs_are_ignored():
    line = json.dumps(facts(weather="fine"))
    assert history.dump(history.parse(line)) == history.dump(entry())


BAD = [
    ("{", "not JSON"),
    ("[1]", "expected an object, found list"),
    ("null", "expected an object"),
    ("[" * 100_000, "not JSON"),
    ('{"version": NaN}', "NaN is no JSON number"),
    ('{"version": ' + "9" * 10_000 + "}", "not JSON"),
    ("{}", "version: None is not 1"),
    (json.dumps(facts(version=2)), "version: 2 is not 1"),
    (json.dumps(facts(version=True)), "version: True is not 1"),
    (json.dumps(facts(date="2026-03-04")), "date: '2026-03-04' is no date with a time zone"),
    (json.dumps(facts(date="0001-01-01T00:00:00+14:00")), "no date"),
    (json.dumps(facts(date=7)), "date: 7 is no date"),
    (json.dumps(facts(commit="HEAD; rm -rf /")), "is no commit"),
    (json.dumps(facts(commit=["a"])), "is no commit"),
    (json.dumps(facts(dirty="no")), "dirty: expected true or false"),
    (json.dumps(facts(machine={})), "machine.cpu: expected"),
    (json.dumps(facts(machine=HERE._asdict() | {"cores": 0})), "machine.cores: expected"),
    (json.dumps(facts(machine=HERE._asdict() | {"cores": True})), "machine.cores: expected"),
    (json.dumps(facts(machine=HERE._asdict() | {"cores": 2.5})), "machine.cores: expected a count"),
    (json.dumps(facts(machine=HERE._asdict() | {"cpu": "\x1b[2J"})), "machine.cpu: expected"),
    (json.dumps(facts(machine=HERE._asdict() | {"cpu": "\ud800"})), "machine.cpu: expected"),
    (json.dumps(facts(machine=HERE._asdict() | {"cpu": "x" * 999})), "machine.cpu: expected"),
    (json.dumps(facts(versions={"$x$": "1"})), "versions: '$x$' is no name"),
    (json.dumps(facts(rounds=-1)), "rounds: expected a positive"),
    (json.dumps(facts(budget_s="2")), "budget_s: expected a positive"),
    (json.dumps(facts(workloads=[])), "workloads: expected an object"),
    (json.dumps(facts(workloads={"a b": {"us": {}}})), "workloads: 'a b' is no name"),
    (json.dumps(facts(workloads={"toy": {}})), "toy.us: expected an object"),
    (json.dumps(facts(workloads={"toy": {"us": {"jax": 0}}})), "toy.us.jax: expected a positive"),
    (json.dumps(facts(workloads={"toy": {"us": {"jax": -1.0}}})), "toy.us.jax: expected"),
    ('{"version": 1, "workloads": {"toy": {"us": {"jax": Infinity}}}}', "Infinity is no JSON"),
    (json.dumps(facts(workloads={"toy": {"us": {"\x1b[2J": 1}}})), r"toy.us: '\x1b[2J' is no"),
    (
        json.dumps(facts(workloads={"toy": {"us": {}, "ratio": {"jax": [1]}}})),
        "toy.ratio.jax: expected a positive",
    ),
    (
        json.dumps(facts(workloads={"toy": {"us": {}, "spread": {"jax": [1]}}})),
        "toy.spread.jax: expected two",
    ),
]


@pytest.mark.parametrize("line, said", BAD, ids=range(len(BAD)))
def test_malformed_lines_are_told_with_their_number(tmp_path, line, said):
    path = tmp_path / "history.jsonl"
    good = history.dump(entry()).encode()
    path.write_bytes(good + b"\n" + line.encode() + b"\r\n\n" + good)
    entries, problems = history.read(path)
    assert len(entries) == 2 and len(problems) == 1
    assert problems[0].startswith(f"{path}:2: ") and problems[0].endswith("; skipped")
    assert said in problems[0] and problems[0].isprintable()
    with pytest.raises(history.Malformed):
        history.parse(line)


def test_an_overflowing_number_is_no_time():
    line = history.dump(entry()).replace("20.0", "1e999")
    with pytest.raises(history.Malformed, match="toy.us.jax: expected a positive finite"):
        history.parse(line)


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"\xff\xfe\x00\n" + b"{" * (2 << 20) + b"\n")
    entries, problems = history.read(path)
    assert not entries and ":1: not UTF-8" in problems[0] and ":2: longer than" in problems[1]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(facts())), VALUES)
def test_whatever_stands_in_a_field_is_read_or_malformed(field, value):
    try:
        read = history.parse(json.dumps(facts(**{field: value})))
    except history.Malformed as problem:
        assert str(problem).isprintable()
    else:
        assert history.dump(history.parse(history.dump(read))) == history.dump(read)
        figures = [cell for row in read.workloads.values() for cell in row.times.values()]
        assert all(0 < time < math.inf for time in figures)


# ---- the file
def test_append_keeps_every_byte(tmp_path):
    path = tmp_path / "history.jsonl"
    assert history.read(path) == ([], [])
    history.append(path, entry(0))
    path.write_bytes(path.read_bytes() + b"\xff torn")  # no end of line
    before = path.read_bytes()
    history.append(path, entry(1))
    assert path.read_bytes().startswith(before + b"\n{") and path.read_bytes().endswith(b"}\n")
    entries, problems = history.read(path)
    assert [one.date for one in entries] == [NOW, NOW + timedelta(days=1)]
    assert len(problems) == 1 and ":2: " in problems[0]
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_and_the_mode_of_the_file_stay(tmp_path):
    path, link = tmp_path / "history.jsonl", tmp_path / "link.jsonl"
    history.append(path, entry(0))
    path.chmod(0o640)
    link.symlink_to(path)
    history.append(link, entry(1))
    assert link.is_symlink() and len(history.read(path).entries) == 2
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("step", ["fsync", "replace", "copymode"])
@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_a_failing_append_leaves_the_file_as_it_was(tmp_path, monkeypatch, step, error):
    path = tmp_path / "history.jsonl"
    history.append(path, entry(0))
    before = path.read_bytes()

    def fail(*arguments, **options):
        raise error

    owner = {"fsync": os, "replace": Path, "copymode": history.store.shutil}[step]
    monkeypatch.setattr(owner, step, fail)
    with pytest.raises(type(error)):
        history.append(path, entry(1))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    history.append(path, entry(1))
    assert len(history.read(path).entries) == 2


def test_what_would_not_be_read_is_not_written(tmp_path):
    path = tmp_path / "history.jsonl"
    with pytest.raises(history.Malformed):
        history.append(path, entry(note="two\nlines"))
    with pytest.raises(ValueError):
        history.append(path, entry(copy_us=math.nan))
    assert not path.exists()


WRITER = """
import sys
from pathlib import Path
from benchmarks import history
path, count = sys.argv[1:]
line = sys.stdin.read()
for _ in range(int(count)):
    history.append(Path(path), history.parse(line))
"""


def writer(path, count):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(count)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        text=True,
    )
    process.stdin.write(history.dump(entry()))
    process.stdin.close()
    return process


def test_two_processes_lose_no_line(tmp_path):
    path = tmp_path / "history.jsonl"
    writers = [writer(path, 40) for _ in range(2)]
    assert [process.wait(120) for process in writers] == [0, 0]
    entries, problems = history.read(path)
    assert len(entries) == 80 and not problems


def test_a_killed_process_leaves_a_valid_file(tmp_path):
    path = tmp_path / "history.jsonl"
    process = writer(path, 1_000_000)
    stop = time.monotonic() + 60
    while time.monotonic() < stop and not (path.exists() and path.stat().st_size > 5000):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    entries, problems = history.read(path)
    assert entries and not problems
    history.append(path, entry(1))  # what the killed one left does not matter
    assert len(history.read(path).entries) == len(entries) + 1
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_are_no_history(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="is no file"):
        history.read(tmp_path)
    path = tmp_path / "large.jsonl"
    path.write_bytes(b"")
    monkeypatch.setattr(history.store, "LARGEST_FILE", -1)
    with pytest.raises(OSError, match="larger than"):
        history.read(path)


# ---- facts
def test_machine_and_versions():
    machine = history.machine_facts()
    assert machine.cores == len(os.sched_getaffinity(0)) and machine.threads >= 1
    assert machine.simd in ("AVX-512", "AVX2") and machine.system == "Linux x86_64"
    assert history.parse(history.dump(entry(machine=machine))).machine == machine
    versions = history.versions_of(sys.executable, ("numpy", "nosuchpackage"))
    assert set(versions) == {"python", "numpy"}
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))


def test_facts_that_are_not_there(tmp_path, capsys):
    assert history.versions_of("/no/such/python", ("numpy",)) == {}
    assert "versions not known" in capsys.readouterr().err
    assert _cpu_model("/no/such/file")
    odd = tmp_path / "cpuinfo"
    odd.write_bytes(b"model name\t: A\x1b CPU\xff  of\tmine\n")
    assert _cpu_model(str(odd)) == "A CPU\ufffd of mine"


def git(folder, *arguments):
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
    )


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_commit_of_a_checkout(tmp_path, monkeypatch):
    assert history.commit_of(tmp_path) == history.Commit()
    git(tmp_path, "init", "-q")
    assert history.commit_of(tmp_path) == history.Commit()  # nothing committed
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    for file in (tmp_path / "a.py", results / "history.jsonl"):
        file.write_text("1")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "one")
    clean = history.commit_of(tmp_path)
    assert len(clean.revision) == 40 and clean.date.tzinfo and clean.dirty is False
    (results / "history.jsonl").write_text("2")  # what a run itself changes
    assert history.commit_of(tmp_path).dirty is False
    (tmp_path / "a.py").write_text("2")
    assert history.commit_of(tmp_path) == clean._replace(dirty=True)
    assert history.commit_of(tmp_path / "benchmarks") == history.Commit()  # somebody else's
    monkeypatch.setenv("GIT_DIR", "/no/such/folder")
    assert history.commit_of(tmp_path).revision == clean.revision
    monkeypatch.setenv("PATH", "")
    assert history.commit_of(tmp_path) == history.Commit()


# ---- the picture
def test_lines_are_medians_per_commit_and_machine():
    there = HERE._replace(cpu="Other CPU")
    slow = entry(1)
    slow.workloads["toy"].ratios["jax"] = 0.75
    quick = entry(2, quick=True)
    lines = lines_of([entry(1), slow, entry(0), entry(0, machine=there), quick])
    assert set(lines) == {("toy", HERE), ("toy", there)}
    row = lines["toy", HERE]
    assert [column.revision for column in row] == ["0000000", "0000001"]  # by their dates
    assert [point.ratio for point in row.values()] == [0.25, 0.5]
    assert all(point.complete for point in row.values())
    assert list(row.values())[1][1:3] == (0.2, 0.75)


def test_points_with_fewer_peers_are_marked():
    fewer = entry(1)
    del fewer.workloads["toy"].ratios["jax"]
    (row,) = lines_of([entry(0), fewer]).values()
    assert [point.complete for point in row.values()] == [True, False]


def test_runs_of_one_commit_with_other_peers_are_one_point():
    with_torch, with_jax = entry(0), entry(0)
    del with_torch.workloads["toy"].ratios["jax"]
    del with_jax.workloads["toy"].ratios["torch"]
    (row,) = lines_of([with_torch, with_jax]).values()
    assert list(row.values()) == [(0.25, 0.2, 0.3, True)]  # JAX is the best of both


def test_columns():
    assert column_of(entry(3)).label == "0000003\n2026-03-07"
    changed = entry(3, commit=history.Commit("abcdef0123", None, True))
    assert column_of(changed) == Column(changed.date, "abcdef0", True)
    assert column_of(changed).label == "abcdef0+\n2026-03-07"
    assert column_of(entry(3, commit=history.Commit())).label == "no commit\n2026-03-07"


@pytest.mark.parametrize("seed", range(5))
def test_labels_keep_their_order_and_distance(seed):
    import random

    heights = [random.Random(seed + 7 * number).random() for number in range(12)]
    placed = spread_out(heights, 0.05)
    order = sorted(range(12), key=lambda number: heights[number])
    gaps = [placed[after] - placed[before] for before, after in zip(order, order[1:])]
    assert min(gaps) >= 0.05 - 1e-9
    assert spread_out([0.1, 0.5], 0.05) == [0.1, 0.5] and spread_out([], 0.05) == []
    assert spread_out([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])


def test_the_picture(tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "history.png"
    assert not history.draw([], path) and not history.draw([entry(quick=True)], path)
    assert not path.exists()
    odd = HERE._replace(cpu=r"a $\frac CPU")  # no formula
    many = [entry(number, machine=machine) for number in range(30) for machine in (HERE, odd)]
    many[3].workloads["softmax"] = many[3].workloads["toy"]
    many[4].workloads["no_longer_there"] = many[3].workloads["toy"]
    assert history.draw(many, path)
    assert path.read_bytes().startswith(b"\x89PNG") and list(tmp_path.iterdir()) == [path]


def test_the_picture_is_drawn_again_by_a_command(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path = tmp_path / "h.jsonl"
    history.append(path, entry())
    assert command.main([str(path)]) == 0 and (tmp_path / "h.png").is_file()
    assert "1 runs" in capsys.readouterr().out
    path.write_bytes(path.read_bytes() + b"?\n")
    assert command.main([str(path), "--out", str(tmp_path / "other.png")]) == 1
    assert f"{path}:2: not JSON" in capsys.readouterr().err and (tmp_path / "other.png").is_file()
    with pytest.raises(SystemExit):
        command.main([str(tmp_path / "none")])


def test_the_committed_history_is_whole():
    entries, problems = history.read(command.FILE)
    assert entries and not problems and lines_of(entries)


# ---- runs
def fake(python, framework, workload, budget, device):
    us = {"hybrid_eager": 50.0, "hybrid_traced": 5.0, "torch": 60.0, "jax": 20.0}[framework]
    return {"us": us, "first_s": 1.0, "peak_mb": 1.0}, ""


@pytest.fixture
def faked(monkeypatch):
    monkeypatch.setattr(bench, "draw_page", lambda *_: "")  # test_page.py
    monkeypatch.setattr(bench, "measure", fake)
    monkeypatch.setattr(bench, "available", lambda python, peers: ["torch", "jax"])


def test_every_run_is_appended_and_drawn(tmp_path, faked, capsys):
    pytest.importorskip("matplotlib")
    path = tmp_path / "history.jsonl"
    for count in (1, 2):
        assert bench.main(["--only", "toy", "--rounds", "2", "--history", str(path)]) == 0
        assert len(history.read(path).entries) == count
    last = history.read(path).entries[-1]
    assert last.workloads["toy"].ratios == {"torch": pytest.approx(5 / 60, 1e-4), "jax": 0.25}
    assert last.workloads["toy"].spreads["jax"] == (0.25, 0.25)
    assert last.rounds == 2 and not last.quick and last.commit == history.commit_of(ROOT)
    assert {"python", "numpy", "llvmlite"} <= set(last.versions)
    assert (tmp_path / "history.png").is_file()


def test_bad_lines_are_told_by_a_run_and_kept(tmp_path, faked, capsys):
    pytest.importorskip("matplotlib")
    path = tmp_path / "history.jsonl"
    path.write_text("bad\n")
    assert bench.main(["--only", "toy", "--history", str(path)]) == 0
    assert f"{path}:1: not JSON" in capsys.readouterr().err
    assert path.read_text().startswith("bad\n{") and len(history.read(path).entries) == 1


def test_a_run_that_cannot_be_kept_is_printed(tmp_path, faked, capsys, monkeypatch):
    def full(path, made):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(history, "append", full)
    assert bench.main(["--only", "toy", "--history", str(tmp_path / "h.jsonl")]) == 1
    said = capsys.readouterr()
    line = next(text for text in said.err.splitlines() if text.startswith("{"))
    assert "No space left" in said.err and history.parse(line).workloads["toy"].ratios
    assert "toy" in said.out


def test_an_interrupted_run_appends_nothing(tmp_path, faked, monkeypatch):
    def interrupted(python, framework, workload, budget, device):
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench.main(["--only", "toy", "--history", str(tmp_path / "h.jsonl")])
    assert list(tmp_path.iterdir()) == []


def test_options_of_quick_and_full_runs(tmp_path):
    full, quick = bench.arguments([]), bench.arguments(["--quick"])
    assert full.history == str(command.FILE) and full.rounds == 3 and full.budget == 2.0
    assert quick.history == "" and quick.rounds == 1 and quick.peers == [] and not full.quick
    assert quick.works == full.works and quick.budget < 0.1
    kept = bench.arguments(["--quick", "--history", str(tmp_path / "h.jsonl"), "--rounds", "2"])
    assert kept.history and kept.rounds == 2


@pytest.mark.parametrize(
    "path, said", [("no/such/folder/h.jsonl", "no such folder"), ("h.png", "no file"), (".", "no")]
)
def test_histories_that_cannot_be_written(path, said, tmp_path, capsys):
    with pytest.raises(SystemExit):
        bench.arguments(["--history", str(tmp_path / path)])
    assert said in capsys.readouterr().err
