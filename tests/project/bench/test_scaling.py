"""The model of scaling: its terms, by hand; and one small step through the whole command."""

import subprocess
import sys

import pytest

from benchmarks.scaling import Kernel, Machine, bound, crowded, gangs, predict

LEVELS = ((1000, 100.0, 200.0), (10**6, 10.0, 15.0))
TWO = Machine(2, (50.0, 100.0), LEVELS, {2: 0.5}, 7.0)


def test_one_thread_is_the_sum_of_its_kernels():
    kernels = [Kernel(3.0, 10, 10, 1), Kernel(8.0, 10, 10, 4)]
    assert predict(kernels, TWO, 1).seconds == 7.0 + 3.0 + 8.0
    assert predict([], TWO, 1).seconds == 7.0


def test_two_threads_share_pieces_and_wait():
    made = predict([Kernel(3.0, 10, 10, 1), Kernel(8.0, 10, 10, 4)], TWO, 2)
    assert (made.single, made.shared, made.uneven, made.memory) == (3.0, 4.0, 0.0, 0.0)
    assert made.barriers == 0.5 and made.seconds == 7.0 + 3.0 + 4.0 + 0.5
    # three pieces: one thread does two of them
    odd = predict([Kernel(9.0, 10, 10, 3)], TWO, 2)
    assert odd.shared == 4.5 and odd.uneven == pytest.approx(1.5)


def test_pieces_are_those_of_the_threads():
    eight = Kernel(0.0, 0, 0, 8)
    made = predict([Kernel(8.0, 10, 10, 1)], TWO, 2, [eight])
    assert made.single == 0 and made.shared == 4.0
    with pytest.raises(ValueError):
        predict([Kernel(8.0, 10, 10, 1)], TWO, 2, [eight, eight])


def test_a_gang_has_one_barrier_and_fills_the_threads():
    small = [Kernel(3.0, 10, 10, 1, 1), Kernel(2.0, 10, 10, 1, 1), Kernel(1.0, 10, 10, 1)]
    made = predict(small, TWO, 2)
    assert (made.single, made.shared, made.uneven) == (1.0, 2.5, 0.5) and made.barriers == 0.5
    wide = predict([Kernel(8.0, 10, 10, 4, 1), Kernel(2.0, 10, 10, 1, 1)], TWO, 2)
    assert (wide.shared, wide.uneven, wide.barriers) == (5.0, 0.0, 0.5)
    assert predict(small, TWO, 1).seconds == 7.0 + 6.0  # nobody to run beside
    again = predict([kernel._replace(gang=0) for kernel in small], TWO, 2, small)
    assert again == made


def test_the_command_counts_gangs(capsys):
    gangs.main(["--only", "toy,mlp_mid", "--threads", "2,4", "--seconds", "0.01"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[:2] for row in rows] == [[w, t] for w in ("toy", "mlp_mid") for t in ("2", "4")]
    for row in rows:
        assert int(row[4]) >= int(row[6])  # barriers
        assert (int(row[3]) > 0) is (row[0] == "mlp_mid")
    with pytest.raises(SystemExit):
        gangs.main(["--only", "nothing"])


def test_memory_is_a_floor():
    """What two cores move takes as long as all of memory needs for it."""
    made = predict([Kernel(10.0, 10**6, 10, 2)], TWO, 2)
    assert made.shared + made.memory == pytest.approx(10**6 / 15.0)
    # a kernel that fits a core's cache has the cache's rate
    assert TWO.bandwidth(500, 1) == 100.0 and TWO.bandwidth(2000, 2) == 200.0
    assert TWO.bandwidth(10**7, 64) == 15.0 and TWO.bandwidth(500, 3) == 300.0


def test_barriers_grow_by_a_level_for_each_doubling():
    assert TWO.barrier(1) == 0 and TWO.barrier(2) == 0.5 and TWO.barrier(16) == 2.0
    assert Machine(1, (1.0, 1.0), LEVELS, {}, 0.0).barrier(8) == 0


def test_bound_is_arithmetic_or_traffic():
    assert bound([Kernel(1.0, 100, 1000, 2)], TWO, 1) == 1000 / 50.0
    assert bound([Kernel(1.0, 100, 1000, 2)], TWO, 2) == 1000 / 100.0
    assert bound([Kernel(1.0, 10**6, 10, 2)], TWO, 1) == 10**6 / 10.0


def test_the_command_predicts_a_step():
    command = [sys.executable, "-m", "benchmarks.scaling", "--only", "toy", "--threads", "4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "GFLOP/s" in done.stdout and "call beside kernels" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows if row and row[0] in ("1", "4")] == ["1", "4"]
    refused = subprocess.run([*command[:4], "gelu"], capture_output=True, text=True)
    assert refused.returncode == 2 and "unknown steps gelu" in refused.stderr


def test_crowded_machines(capsys, monkeypatch):
    """Steps beside busy processes, which go on only while they are asked for."""
    monkeypatch.setattr(crowded, "SLEEP", 0.02)
    crowded.main(["--only", "toy", "--rounds", "1", "--seconds", "0.005"])
    table, *idle = capsys.readouterr().out.split("no step:")
    assert table.startswith("toy: threads") and table.count("busy") == len(idle) >= 3
    with pytest.raises(SystemExit):
        crowded.main(["--only", "nothing"])


def test_ratios_are_those_of_one_round():
    """A machine that is twice as slow in the second round changes no ratio."""
    rounds = [1.0, 2.0]
    own, twice = ([crowded.Sample(us * slow, us) for slow in rounds] for us in (100, 150))
    lines = crowded.report("toy", {(2, False): own, (4, False): twice}, 2).splitlines()[1:]
    assert [line.split()[-1] for line in lines] == ["1.00", "1.50"]
