"""What a run is recorded with: the machine, the revision of this checkout, versions of packages.

Invariant: nothing here raises; what cannot be found out is None, empty or 'unknown'.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import llvmlite.binding as llvm

import hybrid

from .entry import LONGEST_TEXT, Commit, Machine

__all__ = ["commit_of", "machine_facts", "versions_of"]

SIMD = (
    ("AVX-512", ("avx512f", "avx512bw", "avx512dq", "avx512vl")),
    ("AVX2", ("avx2", "fma")),
    ("AVX", ("avx",)),
)
ASK = """
import importlib.metadata, json, platform, sys
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def _plain(text: str) -> str:
    kept = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(kept.split())[:LONGEST_TEXT] or "unknown"


def _cpu_model(path: str = "/proc/cpuinfo") -> str:
    try:
        lines = Path(path).read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1] for line in lines if line.startswith("model name")]
    return _plain(named[0] if named else platform.processor())


def _simd_level() -> str:
    have = {feature for feature, there in llvm.get_host_cpu_features().items() if there}
    return next((level for level, needed in SIMD if have.issuperset(needed)), "baseline")


def machine_facts() -> Machine:
    """The machine that this process runs on, with the threads that hybrid would use."""
    return Machine(
        _cpu_model(),
        _plain(llvm.get_host_cpu_name()),
        _simd_level(),
        len(os.sched_getaffinity(0)),
        hybrid.get_num_threads(),
        f"{platform.system()} {platform.machine()}",
    )


def _git(root: Path, *arguments: str) -> str | None:
    # a hook or an editor may point git elsewhere
    environment = {key: text for key, text in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            text=True,
            capture_output=True,
            env=environment,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def commit_of(root: Path) -> Commit:
    """The revision checked out at `root`, and whether tracked files differ from it.

    Results do not count: each run of the benchmarks changes them.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    # an unpacked archive may lie in somebody else's repository
    if top is None or Path(top.rstrip("\n")).resolve() != root.resolve():
        return Commit()
    head = (_git(root, "show", "-s", "--format=%H %cI", "HEAD") or "").split()
    if len(head) != 2:
        return Commit()
    ours = ("--", ".", ":(exclude)benchmarks/results")
    status = _git(root, "status", "--porcelain", "--untracked-files=no", *ours)
    return Commit(
        head[0], datetime.fromisoformat(head[1]), bool(status) if status is not None else None
    )


def versions_of(python: str, packages: tuple[str, ...]) -> dict[str, str]:
    """Versions of Python and of those packages that an interpreter has."""
    try:
        done = subprocess.run(
            [python, "-c", ASK, *packages], text=True, capture_output=True, timeout=60
        )
        return {name: _plain(version) for name, version in json.loads(done.stdout).items()}
    except (OSError, ValueError, subprocess.TimeoutExpired) as problem:
        print(f"{python}: versions not known ({problem})", file=sys.stderr)
        return {}
