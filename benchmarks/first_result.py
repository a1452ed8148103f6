"""Seconds until the first traced result.

Run with `python -m benchmarks.first_result [WORKLOAD] [--peer-python PATH]`; a workload is one of
`benchmarks.workloads`, or gpt2-LAYERSxWIDTH: a training step of that GPT on 64 tokens
(gpt2-12x768 has 124 million parameters, others a vocabulary of 512).

From the first call to the return of the first replayed call (the third), imports done, less the
same calls of a program that stays eager (the first two of a process with its kernels in the disk
cache, which touch its memory first) and less the replay.  Every figure comes from a process of its
own; cold means an empty disk cache.  Peers: the first call of torch.compile and of jax.jit, less
one warm call.
"""

from __future__ import annotations

import argparse
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


def measure(
    python: str, framework: str, workload: str, count: int, cache: str
) -> list[float] | None:
    """`_calls` in a process of its own; None where that framework does not run."""
    done = subprocess.run(
        [python, "-m", "benchmarks.first_result", workload, "--calls", framework, str(count)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"HYBRID_CACHE_DIR": cache, "TORCHINDUCTOR_CACHE_DIR": cache},
    )
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


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
    options = parser.parse_args()
    if options.calls:
        framework, count = options.calls
        print(json.dumps(_calls(framework, options.workload, int(count))))
    else:
        _report(options.workload, options.peer_python, options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
