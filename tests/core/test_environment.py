"""Foreign rounding modes, flush to zero, `np.seterr` and warnings change nothing hybrid computes."""

import contextlib
import ctypes
import decimal
import os
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest

import hybrid as hb

FTZ_DOWN = 0x9FC0 | 0x2000  # flush results and operands to zero, round down, everything masked
UP, DOWN, TO_ZERO, FTZ = 0x1F80 | 0x4000, 0x1F80 | 0x2000, 0x1F80 | 0x6000, 0x9FC0
ONLY_FTZ, ONLY_DAZ = 0x9F80, 0x1FC0
MXCSR = 28  # where glibc's fenv_t of x86-64 keeps the control word

on_x86 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="writes MXCSR")


@contextlib.contextmanager
def control_word(word):
    """Scope in which this thread's SSE unit has that control word."""
    library = ctypes.PyDLL(None)
    for f in (library.fegetenv, library.fesetenv):
        f.argtypes = [ctypes.c_void_p]
    old, odd = (ctypes.c_char * 64)(), (ctypes.c_char * 64)()
    library.fegetenv(old)
    library.fegetenv(odd)
    ctypes.c_uint32.from_buffer(odd, MXCSR).value = word
    library.fesetenv(odd)
    try:
        yield
        library.fegetenv(odd)
        kept = ctypes.c_uint32.from_buffer(odd, MXCSR).value & ~0x3F
    finally:
        library.fesetenv(old)
    assert kept == word & ~0x3F, "the caller's control word was not restored"


RNG = np.random.default_rng(0)
TINY = np.array([1e-40, -3e-42, 1e-45, 0.0, -0.0, 2e-39, 5e-41], np.float32)
TINY64 = np.array([1e-310, 5e-324, 0.1, -1e-320, 0.3, 1 / 3], np.float64)
SORTED = np.sort(TINY)
WIDE = np.append(TINY64 * 1e305, RNG.normal(size=40) / 3)
THIRDS = (RNG.normal(size=97) / 3).astype(np.float32)
HUGE = [1e300, -1e300, 1e-300, 1e39, 3.5e38]
NUMBERS = iter(np.random.default_rng(5).uniform(0.1, 0.9, 1000).tolist())


def fresh():
    """A number that no cache of literals holds."""
    return next(NUMBERS)


def bits(x):
    if isinstance(x, (tuple, list)):
        return [bits(v) for v in x]
    if isinstance(x, hb.Tensor):
        return x.dtype.name, x.shape, x.numpy().tobytes()
    return x


# each makes (function of nothing, called twice); `n` is a number of its own
CASES = {
    "sort": lambda n: hb.sort(hb.tensor(TINY)),
    "argsort": lambda n: hb.argsort(hb.tensor(TINY)),
    "sort64": lambda n: hb.sort(hb.tensor(TINY64)),
    "cumulative_sum": lambda n: hb.cumulative_sum(hb.tensor(THIRDS)),
    "cumulative_sum_tiny": lambda n: hb.cumulative_sum(hb.tensor(TINY)),
    "cumulative_prod": lambda n: hb.cumulative_prod(hb.tensor(THIRDS)),
    "cumulative_half": lambda n: hb.cumulative_sum(hb.tensor(THIRDS).astype("float16")),
    "unique": lambda n: hb.unique_values(hb.tensor(TINY)),
    "searchsorted": lambda n: hb.searchsorted(hb.tensor(SORTED), hb.tensor(TINY)),
    "isin": lambda n: hb.isin(hb.tensor(TINY), hb.tensor(TINY[2:4])),
    "topk": lambda n: tuple(hb.topk(hb.tensor(TINY), 3)),
    "literal": lambda n: hb.tensor(THIRDS) + n,
    "literal64": lambda n: hb.tensor(TINY64) * n,
    "literal_half": lambda n: hb.tensor(THIRDS).astype("bfloat16") * n,
    "tiny_literal": lambda n: hb.tensor(THIRDS) * (n * 2.0**-140),
    "full": lambda n: hb.full((3,), n, dtype="float16"),
    "full_bfloat16": lambda n: hb.full((3,), n, dtype="bfloat16"),
    "tensor": lambda n: hb.tensor([n, 1e-45, 1e300, -1e300, 1 / 3]),
    "scalar": lambda n: hb.tensor(n),
    "to_half": lambda n: hb.asarray(WIDE, dtype="float16"),
    "to_bfloat16": lambda n: hb.asarray(THIRDS, dtype="bfloat16"),
    "to_float32": lambda n: hb.asarray(TINY64, dtype="float32"),
    "list_operand": lambda n: hb.tensor(THIRDS[:3]) + [n, 0.1, 1e-45],
    "setitem": lambda n: _set(hb.zeros(3), n),
    "linspace": lambda n: hb.linspace(n, 7.3, 11),
    "linspace64": lambda n: hb.linspace(n, 1.1, 7, dtype="float64"),
    "arange": lambda n: hb.arange(n, 1.7, 0.1),
    "round": lambda n: hb.round(hb.tensor(THIRDS), 3),
    "mean": lambda n: hb.tensor(THIRDS).mean(),
    "softmax": lambda n: hb.softmax(hb.tensor(THIRDS)),
    "std": lambda n: hb.std(hb.tensor(THIRDS)),
    "matmul": lambda n: hb.tensor(THIRDS[:96].reshape(8, 12)) @ hb.tensor(THIRDS[:12]),
    "repr": lambda n: repr(hb.tensor([n, 1e-45, 1e30, 0.1])),
    "html": lambda n: hb.tensor([n, 1e-45, 1e30, 0.1])._repr_html_(),
    "gradient": lambda n: hb.grad(lambda x: (x * n).tanh().sum())(hb.tensor(THIRDS)),
    "normal": lambda n: hb.random.normal(n, 0.3, 5, generator=hb.Generator(3)),
    "uniform": lambda n: hb.random.uniform(0.1, n, 5, generator=hb.Generator(3)),
    "optimizer": lambda n: _trained(n),
    "bool": lambda n: hb.tensor(TINY).astype("bool"),
    "nonzero": lambda n: hb.nonzero(hb.tensor(TINY)),
    "tolist": lambda n: np.array(hb.tensor(TINY64).tolist()).tobytes(),
    "float": lambda n: np.array([float(hb.tensor(v)) for v in TINY]).tobytes(),
    "truth": lambda n: [bool(hb.tensor(v)) for v in TINY],
    "branch": lambda n: [1 if hb.tensor(v) else 0 for v in TINY],
    "item": lambda n: np.array([hb.tensor(v).item() for v in TINY]).tobytes(),
}


def _set(x, n):
    x[1:] = [n, 1e-45]
    x[0] = n
    return x


def _trained(n):
    p = hb.tensor(THIRDS, requires_grad=True)
    opt = hb.optim.AdamW([p], lr=n, betas=(0.9 - n / 100, 0.999), eps=1e-12, weight_decay=n / 7)
    for _ in range(2):
        opt.zero_grad()
        (p * p).sum().backward()
        opt.step()
    return p.detach()


@on_x86
@pytest.mark.parametrize(
    "word",
    [FTZ_DOWN, UP, DOWN, TO_ZERO, FTZ, ONLY_FTZ, ONLY_DAZ],
    ids=["ftz_down", "up", "down", "zero", "ftz", "only_ftz", "only_daz"],
)
@pytest.mark.parametrize("name", CASES)
def test_control_word_eagerly(name, word):
    n = fresh()
    with control_word(word):
        got = bits(CASES[name](n))
    hb.ir.door.bind.LITERALS.clear()
    hb.ir.door.bind.NUMBER_LITERALS.clear()
    assert got == bits(CASES[name](n))


@on_x86
def test_control_word_in_recordings_and_replays():
    """Recorded, compiled and replayed under a foreign control word: the bits of the usual one."""
    for word in (FTZ_DOWN, UP, DOWN):
        n = fresh()

        def step(x, y, n=n):
            a = hb.cumulative_sum(hb.sort(x)) * n + hb.tensor(0.1) * 3
            b = hb.exp(y * (1 / 3)).sum() + hb.linspace(0.1, 0.7, 5).sum()
            return a, b, hb.full((2,), n).astype("float16")

        x, y = hb.tensor(TINY), hb.tensor(THIRDS)
        want = bits(step(x, y))
        f = hb.function(step)
        with control_word(word):
            got = [bits(f(x, y)) for _ in range(4)]
        assert f.cache_info().replays
        assert [g == want for g in got] == [True] * 4
        assert bits(f(x, y)) == want


@on_x86
def test_kernels_made_under_a_foreign_word_are_right_later():
    """A kernel is built once per process: its constants must not keep the mode of that moment."""
    x = hb.tensor(np.linspace(-3, 3, 51, dtype=np.float32).reshape(3, 17))
    code = (
        "import sys; sys.path.insert(0, 'tests/core')\n"
        "import numpy as np, hybrid as hb\n"
        "from test_environment import control_word, FTZ_DOWN\n"
        "x = hb.tensor(np.linspace(-3, 3, 51, dtype=np.float32).reshape(3, 17))\n"
        "fs = hb.erf, hb.log, hb.gelu, hb.sin, hb.softmax, hb.log1p, hb.tanh, hb.cbrt\n"
        "with control_word(FTZ_DOWN): [f(x) for f in fs]\n"
        "print([f(x).numpy().tobytes().hex() for f in fs])\n"
    )
    env = os.environ | {"HYBRID_CACHE": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    fs = hb.erf, hb.log, hb.gelu, hb.sin, hb.softmax, hb.log1p, hb.tanh, hb.cbrt
    assert done.stdout.strip() == str([f(x).numpy().tobytes().hex() for f in fs])


SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e300, -1e300, 1e-320, 1.0, 3e38])
RAISING = {
    "literal": lambda: hb.ones(3) * 1e300,
    "as_tensor": lambda: hb.ones(3) + [1e300, -1e300, 1e-320],
    "setitem": lambda: _set(hb.zeros(3), 1e300),
    "tensor": lambda: hb.tensor([1e300, 1e-320]),
    "half": lambda: hb.asarray(SPECIAL, dtype="float16"),
    "bfloat16": lambda: hb.asarray(SPECIAL, dtype="bfloat16"),
    "int8": lambda: hb.asarray(SPECIAL).astype("int8"),
    "full": lambda: hb.full((2,), 1e300, dtype="float16"),
    "division": lambda: hb.tensor(SPECIAL) / 0.0,
    "log": lambda: hb.log(hb.tensor(SPECIAL)),
    "sort": lambda: hb.sort(hb.tensor(SPECIAL)),
    "sort_half": lambda: hb.sort(hb.asarray(SPECIAL, dtype="float16")),
    "sort_bfloat16": lambda: hb.sort(hb.asarray(SPECIAL, dtype="bfloat16")),
    "cumulative_sum": lambda: hb.cumulative_sum(hb.tensor(SPECIAL)),
    "cumulative_sum_half": lambda: hb.cumulative_sum(hb.full(9, 6e4, dtype="float16")),
    "cumulative_prod": lambda: hb.cumulative_prod(hb.tensor(SPECIAL)),
    "unique": lambda: hb.unique_values(hb.tensor(SPECIAL)),
    "unique_half": lambda: hb.unique_values(hb.asarray(SPECIAL, dtype="bfloat16")),
    "searchsorted": lambda: hb.searchsorted(hb.tensor([0.0, 1.0]), hb.tensor(SPECIAL)),
    "isin": lambda: hb.isin(hb.tensor(SPECIAL), hb.tensor([1.0])),
    "mean_empty": lambda: hb.zeros((0,)).mean(),
    "var": lambda: hb.tensor(SPECIAL).var(),
    "std_one": lambda: hb.ones(1).std(correction=1),
    "softmax": lambda: hb.softmax(hb.tensor(SPECIAL)),
    "linspace": lambda: hb.linspace(-1e308, 1e308, 3),
    "arange": lambda: hb.arange(0.0, 1e39, 1e38),
    "round": lambda: hb.round(hb.tensor(SPECIAL), 3),
    "repr": lambda: repr(hb.tensor(SPECIAL)),
    "repr_half": lambda: repr(hb.asarray(SPECIAL, dtype="float16")),
    "repr_bfloat16": lambda: repr(hb.asarray(SPECIAL, dtype="bfloat16")),
    "html": lambda: hb.tensor(SPECIAL)._repr_html_(),
    "tolist": lambda: hb.asarray(SPECIAL, dtype="bfloat16").tolist()[3:],
    "item": lambda: [t.item() for t in hb.asarray(SPECIAL, dtype="bfloat16")][1:],
    "int": lambda: int(hb.tensor(1e300)) if False else 0,
    "gradient": lambda: hb.grad(lambda x: hb.log(x).sum())(hb.tensor(SPECIAL)),
    "optimizer": lambda: _trained(1e-3),
    "nan_to_num": lambda: hb.where(hb.isnan(hb.tensor(SPECIAL)), 0.0, 1e300),
    "integer_division": lambda: hb.tensor([1, 2]) // 0,
    "clip": lambda: hb.clip(hb.tensor(SPECIAL), -1e300, 1e300),
    "power": lambda: hb.tensor(SPECIAL) ** -3,
    "detect": lambda: _detected(),
    "compare": lambda: hb.tensor(SPECIAL) > 1e300,
    "random": lambda: hb.random.normal(0, 1e300, 3, generator=hb.Generator(0)),
}


def _detected():
    with pytest.raises(hb.NanError), hb.detect_nan():
        hb.log(hb.tensor([1.0, -1.0]))
    return 0


@pytest.mark.parametrize("name", RAISING)
def test_seterr_raise_and_warnings_as_errors(name):
    want = bits(RAISING[name]())
    hb.ir.door.bind.LITERALS.clear()
    hb.ir.door.bind.NUMBER_LITERALS.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with np.errstate(all="raise"):
            assert bits(RAISING[name]()) == want
            assert np.geterr() == dict.fromkeys(("divide", "over", "under", "invalid"), "raise")


@pytest.mark.parametrize("inside", [False, True])
def test_seterr_around_and_inside_recorded_functions(inside):
    def step(x):
        with np.errstate(all="raise") if inside else contextlib.nullcontext():
            y = hb.cumulative_sum(hb.sort(x)) * 1e300 + [1e300, 0.0, 1e-320]
            return y, hb.log(x - 5), hb.tensor([1e300]).astype("float16")

    x = hb.tensor([3e38, -3e38, 1e-45])
    want = bits(step(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.RunsEagerly)
        f = hb.function(step)
        with np.errstate(all="raise"):
            for _ in range(4):
                assert bits(f(x)) == want


def test_the_error_state_of_the_caller_survives_an_error():
    with np.errstate(all="raise"):
        before = np.geterr()
        for bad in (lambda: hb.sort(hb.ones(3), axis=7), lambda: hb.tensor([1e300, "a"])):
            with pytest.raises(hb.HybridError):
                bad()
        assert np.geterr() == before


class Stop(Exception):
    """What a handler raises."""


def _stop(*_):
    raise Stop


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
@pytest.mark.parametrize("name", ["numbers", "host", "replay"])
def test_the_settings_of_the_caller_survive_handlers_that_raise(name):
    x = hb.tensor([3.0, 1.0, 2.0])
    scaled = hb.function(lambda a: hb.tensor((a * np.float32(2)) * np.float32(2)).sum())
    call = {
        "numbers": lambda: hb.tensor([0.5, 1.5]),
        "host": lambda: hb.sort(x),
        "replay": lambda: scaled(np.ones(3, np.float32)),
    }[name]
    for _ in range(9):
        call()
    handler = signal.signal(signal.SIGALRM, _stop)
    try:
        with np.errstate(over="raise"):
            before = np.geterr()
            for number in range(400):
                try:
                    try:
                        signal.setitimer(signal.ITIMER_REAL, 1e-5 + number % 50 * 1e-6)
                        while True:
                            call()
                    finally:
                        signal.setitimer(signal.ITIMER_REAL, 0)
                except Stop:
                    pass
                assert np.geterr() == before
    finally:
        signal.signal(signal.SIGALRM, handler)


def test_decimal_context_and_print_options_change_nothing():
    with decimal.localcontext() as context:
        context.prec = 2
        context.traps[decimal.Inexact] = True
        assert hb.tensor([1 / 3]).tolist() == [np.float32(1 / 3).item()]
        assert repr(hb.tensor([0.1])) == "tensor([0.1])"


@pytest.mark.parametrize("flags", [["-O"], ["-OO"], ["-W", "error"], ["-b", "-b"]])
def test_interpreter_switches(flags):
    """No check is an assert, no docstring is needed, no warning is made."""
    code = (
        "import numpy as np, hybrid as hb\n"
        "f = hb.function(lambda x, y: (hb.sort(x) @ y).tanh().sum())\n"
        "x, y = hb.ones((2, 3)), hb.ones((3, 2))\n"
        "vs = {f(x, y).item() for _ in range(4)}\n"
        "assert_ok = len(vs) == 1 and f.cache_info().replays\n"
        "bad = 0\n"
        "for call in (lambda: hb.zeros(-1), lambda: x @ x, lambda: x[5], lambda: hb.einsum(3),\n"
        "             lambda: hb.nn.Linear('a', 2), lambda: hb.concat(3)):\n"
        "    try: call()\n"
        "    except hb.HybridError: bad += 1\n"
        "raise SystemExit(0 if assert_ok and bad == 6 else f'{vs} {bad}')\n"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "77"}
    command = [sys.executable, *flags, "-c", code]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_low_recursion_limit_gives_a_recursion_error_or_a_result():
    code = (
        "import sys, hybrid as hb\n"
        "f = hb.function(lambda x: (x + 1).exp().sum())\n"
        "x = hb.ones(3); want = f(x).item()\n"
        "def deep(n): return deep(n - 1) if n else f(x).item()\n"
        "sys.setrecursionlimit(220)\n"
        "got = set()\n"
        "for n in range(0, 219, 3):\n"
        "    try: got.add(deep(n))\n"
        "    except RecursionError: pass\n"
        "sys.setrecursionlimit(1000)\n"
        "got.add(f(x).item())\n"
        "raise SystemExit(0 if got == {want} else str(got))\n"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
