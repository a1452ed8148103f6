"""Processes that run the tasks of gpu_tasks.py, many at a time.

Each has a context of its own on the device: a fault of one kernel, a hang or a crash spoils the
task that met it and no other.  HYBRID_GPU_WORKERS sets their number; HYBRID_GPU_RESULTS names a
file of lines that keeps what passed, so that a second run does only the rest.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Workers", "told", "TASK_SECONDS"]

HERE = Path(__file__).parent
TASK_SECONDS = 90.0  # a task that takes longer hangs
Key = tuple[str, str]


class Worker:
    """One process, started anew when it is gone."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def _started(self) -> subprocess.Popen[str]:
        if self.process is None or self.process.poll() is not None:
            self.close()
            path = os.pathsep.join(filter(None, [str(HERE), *sys.path]))
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", str(HERE / "gpu_tasks.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"PYTHONPATH": path},
            )
        return self.process

    def run(self, task: str, name: str) -> dict[str, Any]:
        """The result of a task; where the process dies or hangs, that."""
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        late = threading.Timer(TASK_SECONDS, process.kill)
        late.start()
        begin = time.perf_counter()
        try:
            process.stdin.write(json.dumps([task, name]) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
            result: dict[str, Any] = json.loads(line)
        except (OSError, ValueError):
            process.wait()
            seconds = time.perf_counter() - begin
            ended = "hangs" if seconds >= TASK_SECONDS else f"ended with {process.returncode}"
            return {"error": f"the process {ended} after {seconds:.0f} s", "seconds": seconds}
        finally:
            late.cancel()
        return result

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()


class Workers:
    """`start` gives tasks to the processes, `result` waits for one of them."""

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[Key | None] = queue.SimpleQueue()
        self.results: dict[Key, dict[str, Any]] = {}
        self.asked: set[Key] = set()
        self.changed = threading.Condition()
        self.workers: list[Worker] = []
        self.threads: list[threading.Thread] = []
        self.file = os.environ.get("HYBRID_GPU_RESULTS", "")
        self._read()

    def _read(self) -> None:
        if not self.file or not Path(self.file).exists():
            return
        for line in Path(self.file).read_text().splitlines():
            task, name, result = json.loads(line)
            if not result.get("error") and not result.get("wrong"):
                self.results[task, name] = result

    def start(self, task: str, names: Sequence[str]) -> None:
        """Have a task done for these names, each once."""
        for name in names:
            key = task, name
            if key not in self.asked and key not in self.results:
                self.asked.add(key)
                self.jobs.put(key)
        wanted = int(os.environ.get("HYBRID_GPU_WORKERS", 0)) or min(12, os.cpu_count() or 1)
        for _ in range(min(wanted, len(self.asked)) - len(self.workers)):
            self.workers.append(Worker())
            self.threads.append(threading.Thread(target=self._serve, args=[self.workers[-1]]))
            self.threads[-1].daemon = True
            self.threads[-1].start()

    def _serve(self, worker: Worker) -> None:
        while (job := self.jobs.get()) is not None:
            result = worker.run(*job)
            with self.changed:
                self.results[job] = result
                if self.file:
                    with Path(self.file).open("a") as lines:
                        lines.write(json.dumps([*job, result]) + "\n")
                self.changed.notify_all()

    def result(self, task: str, name: str, seconds: float = 600.0) -> dict[str, Any]:
        """What a task gave; it is started if nobody did."""
        self.start(task, [name])
        with self.changed:
            done = self.changed.wait_for(lambda: (task, name) in self.results, seconds)
        return self.results[task, name] if done else {"error": f"not done after {seconds:.0f} s"}

    def close(self) -> None:
        """End the processes."""
        while not self.jobs.empty():
            self.jobs.get()
        for _ in self.threads:
            self.jobs.put(None)
        for worker in self.workers:
            worker.close()
        for thread in self.threads:
            thread.join(5)


def told(result: dict[str, Any]) -> None:
    """Fail with what a task found, if it found anything."""
    if result["error"]:
        pytest.fail(result["error"], pytrace=False)
    if result["wrong"]:
        heading = f"{result['differ']} results differ in {result['checked']} calls"
        pytest.fail("\n".join([heading, *result["wrong"]]), pytrace=False)
