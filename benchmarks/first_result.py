"""Seconds until the first traced result.

Run with `python -m benchmarks.first_result [WORKLOAD] [--peer-python PATH]`; a workload is one of
`benchmarks.workloads`, or gpt2-LAYERSxWIDTH: a training step of that GPT on 64 tokens
(gpt2-12x768 has 124 million parameters, others a vocabulary of 512).

`--stages` prints where the time of these calls goes instead: the thread's own seconds in recording,
each pass, code generation, LLVM or the disk cache, guards and entries, each without what it calls
of the others.

From the first call to the return of the first replayed call (the third), imports done, less the
same calls of a program that stays eager (the first two of a process with its kernels in the disk
cache, which touch its memory first) and less the replay.  Every figure comes from a process of its
own; cold means an empty disk cache.  Peers: the first call of torch.compile and of jax.jit, less
one warm call.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .gpu.models import GPT2, gpt2, hybrid_library, step_of, torch_library
from .sizes import NoSuchWorkload
from .worker import is_traced, module_of

__all__ = ["main", "program_of"]


def _gpt2(framework: str, layers: int, width: int) -> Callable[[], Any]:
    """A training step of a GPT of that size on 64 tokens."""
    sizes = GPT2 | {"layers": layers, "width": width, "heads": max(width // 64, 1)}
    sizes["vocabulary"] = sizes["vocabulary"] if width == GPT2["width"] else 512
    made = np.random.default_rng(0).integers(0, sizes["vocabulary"], (2, 1, 64))
    library: Any
    if framework.startswith("hybrid"):
        import hybrid as library

        model = gpt2(hybrid_library("cpu"), sizes)
        tokens, labels = (library.tensor(x) for x in made)
    elif framework.startswith("torch"):
        import torch as library

        model = gpt2(torch_library("cpu"), sizes)
        tokens, labels = (library.from_numpy(x) for x in made)
    else:
        raise NoSuchWorkload(f"{framework} has no GPT-2 here")
    loss = library.nn.functional.cross_entropy

    def forward() -> Any:
        return loss(model(tokens).reshape(-1, sizes["vocabulary"]), labels.reshape(-1))

    optimizer = library.optim.Adam(model.parameters(), lr=1e-4)
    if framework == "torch_compile":
        forward = library.compile(forward)
    step = step_of(forward, optimizer)
    step = library.function(step) if framework == "hybrid_traced" else step
    return lambda: step().item()


def program_of(framework: str, workload: str) -> Callable[[], Any]:
    """A workload in a framework; NoSuchWorkload where it has none of that name."""
    size = re.fullmatch(r"gpt2-(\d+)x(\d+)", workload)
    if size:
        return _gpt2(framework, int(size[1]), int(size[2]))
    return module_of(framework).build(workload, is_traced(framework))  # type: ignore[no-any-return]


def _calls(framework: str, workload: str, count: int) -> list[float]:
    """Seconds of each of the first calls, in this process."""
    run = program_of(framework, workload)
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


# What a stage runs: a module of hybrid's, and the function in it.
STAGES = (
    ("recorded calls", "trace.serve.pending", "Unserved._watched"),
    ("analysis of Python", "decorator", "analyse"),
    ("recordings", "decorator", "recording_of"),
    ("comparison of recordings", "decorator", "difference"),
    ("plans of other processes", "backends.cpu.backend", "CpuBackend.recall"),
    ("plans for other processes", "backends.cpu.backend", "CpuBackend.remember"),
    ("identities of graphs", "trace.serve.prepare", "identity_of"),
    ("code generation", "backends.cpu.kernels", "generated"),
    ("LLVM, disk cache, linking", "backends.cpu.kernels", "compile_many"),
    ("guards in Python", "trace.serve.plans", "Guard"),
    ("facts in native form", "trace.serve.plans", "native_facts"),
    ("native entries", "trace.serve.plans", "serve"),
)


def _timed(function: Callable[..., Any], name: str, spent: dict[str, float]) -> Callable[..., Any]:
    """A function that adds the seconds of its calls to those of a stage, less those of stages
    inside of it."""

    def call(*args: Any, **kwargs: Any) -> Any:
        inside, start = sum(spent.values()), time.thread_time()
        try:
            return function(*args, **kwargs)
        finally:
            others = sum(spent.values()) - inside
            spent[name] = spent.get(name, 0.0) + time.thread_time() - start - others

    return call


def _stages(workload: str) -> dict[str, float]:
    """Seconds of this thread in each stage of the first calls, in this process."""
    spent: dict[str, float] = {}
    for name, module, path in STAGES:
        owner: Any = importlib.import_module(f"hybrid.{module}")
        *classes, attribute = path.split(".")
        for class_name in classes:
            owner = getattr(owner, class_name)
        setattr(owner, attribute, _timed(getattr(owner, attribute), name, spent))
    pipeline = importlib.import_module("hybrid.compiler.pipeline")
    pipeline.STEPS = tuple(
        [step._replace(run=_timed(step.run, f"  {step.name}", spent)) for step in pipeline.STEPS]
    )
    start = time.thread_time()
    _calls("hybrid_traced", workload, 3)
    spent["all, with making the model"] = time.thread_time() - start
    return spent


def _print_stages(workload: str) -> None:
    """The stages with an empty disk cache, and with what that left there."""
    with tempfile.TemporaryDirectory() as folder:
        cold, warm = (
            _in_process(sys.executable, [workload, "--stages", "here"], folder) for _ in range(2)
        )
    print(f"{'milliseconds of the thread':28} {'cold':>8} {'disk':>8}")
    for name in dict.fromkeys([*cold, *warm]):
        print(f"{name:28} {cold.get(name, 0) * 1e3:8.1f} {warm.get(name, 0) * 1e3:8.1f}")


def _in_process(python: str, arguments: list[str], cache: str) -> Any:
    """What this file prints as JSON in a process of its own; None where it fails."""
    done = subprocess.run(
        [python, "-m", "benchmarks.first_result", *arguments],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"HYBRID_CACHE_DIR": cache, "TORCHINDUCTOR_CACHE_DIR": cache},
    )
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def measure(
    python: str, framework: str, workload: str, count: int, cache: str
) -> list[float] | None:
    """`_calls` in a process of its own; None where that framework does not run."""
    seconds: list[float] | None = _in_process(
        python, [workload, "--calls", framework, str(count)], cache
    )
    return seconds


def _report(workload: str, peer: str, rounds: int) -> None:
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            cold = measure(sys.executable, "hybrid_traced", workload, 8, folder)
            cached = measure(sys.executable, "hybrid_traced", workload, 8, folder)
            eager = measure(sys.executable, "hybrid_eager", workload, 2, folder)
        if cold is None or cached is None or eager is None:
            raise SystemExit(f"hybrid does not run {workload}")
        plain = sum(eager)
        for name, calls in (("cold cache", cold), ("disk cache", cached)):
            each = " + ".join(f"{c:.3f}" for c in calls[:3])
            replay = min(calls[3:])
            print(
                f"hybrid, {name:11}: {sum(calls[:3]) - plain - replay:6.3f} s  ({each}, less two "
                f"eager calls of {plain:.3f} together and a replay of {replay:.3f})"
            )
    for name in ("jax", "torch_compile"):
        with tempfile.TemporaryDirectory() as folder:
            theirs = measure(peer, name, workload, 4, folder)
        if theirs is not None:
            print(f"{name:19}: {theirs[0] - min(theirs):6.3f} s")


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="benchmarks.first_result", description=__doc__)
    parser.add_argument("workload", nargs="?", default="gpt")
    parser.add_argument(
        "--peer-python", default=sys.executable, help="interpreter that has the peers"
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--calls",
        nargs=2,
        metavar=("FRAMEWORK", "COUNT"),
        help="print the first calls of one framework",
    )
    parser.add_argument("--stages", nargs="?", const="each", choices=("each", "here"))
    options = parser.parse_args()
    if options.stages == "here":
        print(json.dumps(_stages(options.workload)))
    elif options.stages:
        _print_stages(options.workload)
    elif options.calls:
        framework, count = options.calls
        print(json.dumps(_calls(framework, options.workload, int(count))))
    else:
        _report(options.workload, options.peer_python, options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
