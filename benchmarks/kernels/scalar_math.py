"""Scalar functions beside the vector libraries: `python -m benchmarks.kernels.scalar_math`.

One thread, an array in the first caches, float32 and float64; hybrid's eager call, NumPy's and
PyTorch's (where installed) run in turns.  Reported for each function: nanoseconds of an element,
and the median, least and largest ratio of hybrid to the faster of the others over the turns.
`--narrow` measures AVX2 code of all three on a machine that has more.  Invariant: all libraries get
the same values.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np

__all__ = ["CASES", "Case", "Row", "calls", "compared", "main", "narrowed"]

SIZE = 16_384
SHARE = 300e-6  # seconds of one turn of one library
NARROW = {
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
ONE_THREAD = {name: "1" for name in ("HYBRID_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}


class Case(NamedTuple):
    """A function's names (hybrid, NumPy, PyTorch; "" where it has none) and, for each operand, the
    interval of typical arguments."""

    name: str
    numpy: str
    torch: str
    intervals: tuple[tuple[float, float], ...]


def _case(name: str, numpy: str, torch: str, *intervals: tuple[float, float]) -> Case:
    return Case(name, numpy, torch, intervals)


_UNIT, _WAVE, _POSITIVE, _LINE = (-1.0, 1.0), (-10.0, 10.0), (0.01, 100.0), (-5.0, 5.0)
CASES = (
    _case("exp", "exp", "exp", _WAVE),
    _case("exp2", "exp2", "exp2", _WAVE),
    _case("expm1", "expm1", "expm1", _LINE),
    _case("log", "log", "log", _POSITIVE),
    _case("log2", "log2", "log2", _POSITIVE),
    _case("log10", "log10", "log10", _POSITIVE),
    _case("log1p", "log1p", "log1p", (-0.9, 10.0)),
    _case("sin", "sin", "sin", _WAVE),
    _case("cos", "cos", "cos", _WAVE),
    _case("tan", "tan", "tan", _WAVE),
    _case("asin", "arcsin", "arcsin", _UNIT),
    _case("acos", "arccos", "arccos", _UNIT),
    _case("atan", "arctan", "arctan", _LINE),
    _case("atan2", "arctan2", "arctan2", _LINE, _LINE),
    _case("sinh", "sinh", "sinh", _LINE),
    _case("cosh", "cosh", "cosh", _LINE),
    _case("tanh", "tanh", "tanh", _LINE),
    _case("asinh", "arcsinh", "arcsinh", _LINE),
    _case("acosh", "arccosh", "arccosh", (1.0, 10.0)),
    _case("atanh", "arctanh", "arctanh", _UNIT),
    _case("sqrt", "sqrt", "sqrt", _POSITIVE),
    _case("rsqrt", "", "rsqrt", _POSITIVE),
    _case("cbrt", "cbrt", "", _WAVE),
    _case("hypot", "hypot", "hypot", _LINE, _LINE),
    _case("power", "power", "pow", _POSITIVE, (-3.0, 3.0)),
    _case("erf", "", "erf", _LINE),
    _case("erfc", "", "erfc", _LINE),
    _case("sigmoid", "", "sigmoid", _LINE),
    _case("logaddexp", "logaddexp", "logaddexp", _LINE, _LINE),
    _case("logaddexp2", "logaddexp2", "logaddexp2", _LINE, _LINE),
    _case("sinc", "", "sinc", _LINE),
    _case("gelu", "", "nn.functional.gelu", _LINE),
    _case("silu", "", "nn.functional.silu", _LINE),
    _case("softplus", "", "nn.functional.softplus", _LINE),
    _case("log_sigmoid", "", "nn.functional.logsigmoid", _LINE),
    _case("mish", "", "nn.functional.mish", _LINE),
    _case("elu", "", "nn.functional.elu", _LINE),
    _case("special.gammaln", "", "lgamma", _POSITIVE),
    _case("special.digamma", "", "digamma", _POSITIVE),
    _case("special.erfinv", "", "erfinv", (-0.99, 0.99)),
    _case("special.erfcx", "", "special.erfcx", _LINE),
    _case("special.ndtr", "", "special.ndtr", _LINE),
    _case("special.ndtri", "", "special.ndtri", (0.01, 0.99)),
    _case("special.log_ndtr", "", "special.log_ndtr", _LINE),
    _case("special.i0", "", "special.i0", _LINE),
    _case("special.i0e", "", "special.i0e", _LINE),
    _case("special.i1", "", "special.i1", _LINE),
    _case("special.i1e", "", "special.i1e", _LINE),
    _case("special.j0", "", "special.bessel_j0", _POSITIVE),
    _case("special.j1", "", "special.bessel_j1", _POSITIVE),
    _case("special.y0", "", "special.bessel_y0", _POSITIVE),
    _case("special.y1", "", "special.bessel_y1", _POSITIVE),
    _case("special.k0", "", "special.modified_bessel_k0", _POSITIVE),
    _case("special.k1", "", "special.modified_bessel_k1", _POSITIVE),
    _case("special.entr", "", "special.entr", _POSITIVE),
    _case("special.xlogy", "", "special.xlogy", _POSITIVE, _POSITIVE),
    _case("special.xlog1py", "", "special.xlog1py", _POSITIVE, _POSITIVE),
    _case("special.zeta", "", "special.zeta", (1.1, 10.0), (0.1, 10.0)),
    _case("special.gammainc", "", "special.gammainc", (0.1, 10.0), (0.1, 10.0)),
    _case("special.logit", "", "logit", (0.01, 0.99)),
)


class Row(NamedTuple):
    """Nanoseconds of an element by library (the least of the turns), and ratios of hybrid to the
    faster of the others: their median, least and largest."""

    name: str
    least: dict[str, float]
    ratio: float
    low: float
    high: float


def _found(module: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        module = getattr(module, part)
    return module


def calls(case: Case, dtype: str, size: int = SIZE) -> dict[str, Callable[[], Any]]:
    """Library -> a call of the function on arrays of the same values; hybrid's first."""
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(*interval, size).astype(dtype) for interval in case.intervals]
    made: dict[str, Callable[[], Any]] = {}
    hybrid = importlib.import_module("hybrid")
    ours, tensors = _found(hybrid, case.name), [hybrid.tensor(x) for x in arrays]
    made["hybrid"] = lambda: ours(*tensors)
    if case.numpy:
        theirs = getattr(np, case.numpy)
        made["NumPy"] = lambda: theirs(*arrays)
    with contextlib.suppress(ImportError):
        torch = importlib.import_module("torch")
        if case.torch:
            function, others = _found(torch, case.torch), [torch.from_numpy(x) for x in arrays]
            made["PyTorch"] = lambda: function(*others)
    return made


def _timed(call: Callable[[], Any], repeats: int) -> float:
    start = perf_counter()
    for _ in range(repeats):
        call()
    return (perf_counter() - start) / repeats


def compared(name: str, chosen: dict[str, Callable[[], Any]], turns: int, size: int) -> Row:
    """All libraries in turns, the order turned round each time."""
    once = {library: min(_timed(call, 1) for _ in range(5)) for library, call in chosen.items()}
    repeats = {library: max(1, int(SHARE / seconds)) for library, seconds in once.items()}
    times: dict[str, list[float]] = {library: [] for library in chosen}
    for turn in range(turns):
        for library in list(chosen)[:: 1 if turn % 2 else -1]:
            times[library].append(_timed(chosen[library], repeats[library]) / size * 1e9)
    ours, others = times["hybrid"], [v for k, v in times.items() if k != "hybrid"]
    best = min(others, key=statistics.median, default=ours)
    ratios = sorted(mine / other for mine, other in zip(ours, best))
    least = {library: min(found) for library, found in times.items()}
    tenth = len(ratios) // 10
    return Row(name, least, statistics.median(ratios), ratios[tenth], ratios[-1 - tenth])


def narrowed() -> None:
    """Let hybrid find a CPU with AVX2 and no more, before it has made code."""
    features = llvm.get_host_cpu_features()
    for name in features:
        if name.startswith(("avx512", "amx", "avx10", "evex", "avxvnni", "avxifma")):
            features[name] = False
    llvm.get_host_cpu_features = lambda: features
    llvm.get_host_cpu_name = lambda: "haswell"


def lines(rows: Iterable[Row]) -> Iterator[str]:
    """Rows as text; those behind are marked."""
    for row in rows:
        shown = "".join(f"{row.least.get(k, np.nan):9.3f}" for k in ("hybrid", "NumPy", "PyTorch"))
        mark = " behind" if row.ratio > 1 else ""
        yield f"{row.name:28}{shown}{row.ratio:8.2f}   {row.low:.2f} to {row.high:.2f}{mark}"


def _rows(only: str, dtypes: Iterable[str], turns: int, size: int) -> Iterator[Row]:
    with contextlib.suppress(ImportError):
        importlib.import_module("torch").set_num_threads(1)
    for dtype in dtypes:
        for case in CASES:
            if only in case.name:
                chosen = calls(case, dtype, size)
                for call in chosen.values():
                    call()
                yield compared(f"{case.name} {dtype}", chosen, turns, size)


def main(argv: list[str] | None = None) -> int:
    """Command line entry: the measurement runs in a process of its own, with one thread."""
    parser = argparse.ArgumentParser(prog="benchmarks.kernels.scalar_math", description=__doc__)
    parser.add_argument("--only", default="", help="text that the names of functions contain")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64"])
    parser.add_argument("--turns", type=int, default=41)
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--narrow", action="store_true", help="AVX2 code")
    options = parser.parse_args(argv)
    if "BENCHMARK_CHILD" not in os.environ:
        more = ONE_THREAD | (NARROW if options.narrow else {}) | {"BENCHMARK_CHILD": "1"}
        words = [sys.executable, "-m", "benchmarks.kernels.scalar_math", *(argv or sys.argv[1:])]
        return subprocess.run(words, env=os.environ | more).returncode
    if options.narrow:
        narrowed()
    print(f"{'ns an element':28}{'hybrid':>9}{'NumPy':>9}{'PyTorch':>9}{'ratio':>8}   its spread")
    with np.errstate(all="ignore"):
        for text in lines(_rows(options.only, options.dtypes, options.turns, options.size)):
            print(text, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
