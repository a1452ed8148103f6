"""Importing hybrid is quick and pulls in no optional package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
HEAVY = {
    "cupy",
    "torch",
    "jax",
    "scipy",
    "pandas",
    "matplotlib",
    "sklearn",
    "IPython",
    "tqdm",
    "unittest",
    "asyncio",
}


def run(code: str, cache: Path) -> str:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    env |= {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def test_import_is_light(tmp_path):
    times = (
        "import time, sys; a = time.process_time(); import numpy; b = time.process_time(); import hybrid; "
        "c = time.process_time(); print(b - a, c - b, *sorted(m for m in sys.modules if '.' not in m))"
    )
    run(times, tmp_path)  # fills the cache of compiled modules
    best = None
    for _ in range(3):
        first, more, *modules = run(times, tmp_path).split()
        best = min(float(more) / max(float(first), 0.02), best or 1e9)
    assert not HEAVY & set(modules)
    # about 1.5 times NumPy's own import; the bound is for slow and busy machines
    assert best < 6, f"importing hybrid takes {best:.1f} times what importing NumPy takes"


def test_import_compiles_nothing_native(tmp_path):
    code = (
        "import hybrid; from hybrid.backends import api; assert not api._BACKENDS, api._BACKENDS; "
        "import sys; print('hybrid.backends.cpu.backend' in sys.modules)"
    )
    assert run(code, tmp_path).strip() in ("True", "False")
