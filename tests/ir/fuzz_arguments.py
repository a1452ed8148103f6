"""Wrong arguments for every public function, made from a seed, and the verdict on what came back.

Invariant: call number n is a function of n alone, so a failure is run again with
`python tests/ir/fuzz_arguments.py n 1`; the surface is read from the package, never listed.
"""

from __future__ import annotations

import dis
import functools
import inspect
import io
import json
import os
import random
import re
import resource
import signal
import sys
import types
import warnings
from typing import Any

from fuzz_values import KEYWORDS, RIGHT, tensor_of, wrong

import hybrid
from hybrid import nn, optim

ROOT = os.path.dirname(os.path.abspath(hybrid.__file__)) + os.sep
HERE = os.path.abspath(__file__)
OWN = (HERE, os.path.join(os.path.dirname(HERE), "fuzz_values.py"))  # a caller's functions
MEMORY = 6 << 30
SECONDS = 30
RECORDED = int(os.environ.get("HYBRID_RECORDED", "4"))  # one call in so many is recorded, too
# names that speak of a machine or a file, or hold a loop as long as their number says
SKIPPED = {
    "e",
    "inf",
    "nan",
    "pi",
    "describe_system",
    "Function",
    "while_loop",  # with a condition that always holds it has no end, as in Python
    "Aval",
    "Device",
    "Site",
    "Inspection",
    "Profile",
    "newaxis",
}
LONG = {"repeat", "steps", "runs", "warmup", "n_threads"}
INSIDE = re.compile(
    r"object has no attribute|has no len\(\)|object is not (subscriptable|iterable|callable)"
    r"|\b_[va]\b|_node\b|ufunc|llvmlite|cannot be interpreted as an integer|not supported between"
    r"|unhashable|can't multiply|unsupported operand|must be str|object cannot be"
    r"|not enough values to unpack|too many values to unpack|maximum recursion|math domain"
    r"|setting an array element|could not convert|invalid literal|Cannot interpret"
)

# Python's own words on the number or the names of arguments, of a public function
SIGNATURE = re.compile(r"(\w+\.)*(?!_[^_])\w+\(\) (takes|missing|got)")


# ---- the public surface
def surface() -> list[tuple[str, Any, bool]]:
    """(name, callable, whether its first argument is an object that has to be made)."""
    found: list[tuple[str, Any, bool]] = []
    for space, prefix in ((hybrid, ""), (nn.functional, "F."), (hybrid.random, "random.")):
        for name in sorted(getattr(space, "__all__", dir(space))):
            value = getattr(space, name)
            if name.startswith("_") or name in SKIPPED or isinstance(value, types.ModuleType):
                continue
            if isinstance(value, type) and issubclass(value, (BaseException, tuple)):
                continue
            if callable(value) and getattr(value, "__module__", "") != "typing":
                found.append((prefix + name, value, False))
    for space, prefix in ((nn, "nn."), (optim, "optim.")):
        for name in space.__all__:
            value = getattr(space, name)
            if isinstance(value, type) and name != "Optimizer":
                found.append((prefix + name, value, False))
    for cls in (hybrid.Tensor, hybrid.Generator, *_classes(nn), *_classes(optim)):
        for name in sorted(dir(cls)):
            if name in _FOREIGN or (name.startswith("_") and name not in _PROTOCOL):
                continue
            if name not in vars(cls) and cls not in (nn.Linear, optim.Adam):
                continue
            if callable(getattr(cls, name, None)):
                found.append((f"{cls.__name__}.{name}", (cls, name), True))
    return found


_PROTOCOL = frozenset(
    "__add__ __radd__ __iadd__ __sub__ __rsub__ __isub__ __mul__ __truediv__ __rtruediv__ __mod__ "
    "__floordiv__ __pow__ __rpow__ __ipow__ __matmul__ __rmatmul__ __and__ __or__ __xor__ "
    "__lshift__ __rshift__ __lt__ __le__ __eq__ __ne__ __gt__ __ge__ __neg__ __abs__ __invert__ "
    "__round__ __divmod__ __rdivmod__ __getitem__ __setitem__ __delitem__ __contains__ __format__ "
    "__array__ __float__ __int__ __index__ __bool__ __len__ __call__ __dlpack__".split()
)
_FOREIGN = frozenset(("cuda", "apply", "draw"))


def _classes(space: Any) -> list[type]:
    return [
        c
        for c in (getattr(space, n) for n in space.__all__)
        if isinstance(c, type) and c is not nn.Parameter
    ]


# ---- one call
def _object(cls: type, rng: random.Random) -> Any:
    """Something to call a method on."""
    if cls is hybrid.Tensor:
        return tensor_of(rng)
    if cls is hybrid.Generator:
        return hybrid.Generator(0)
    if issubclass(cls, optim.Optimizer):
        p = hybrid.tensor([1.0, 2.0], requires_grad=True)
        p.grad = hybrid.ones(2)
        return (optim.Adam if cls is optim.Optimizer else cls)([p])
    if cls is optim.ParamGroup:
        return optim.Adam([hybrid.tensor([1.0], requires_grad=True)]).param_groups[0]
    sizes = {"Linear": (3, 2), "Embedding": (3, 2), "LSTMCell": (3, 2), "LayerNorm": (3,)}
    for axes in "123":
        sizes |= {f"{name}{axes}d": (3, 2, 3) for name in ("Conv", "ConvTranspose")}
        sizes |= {f"{name}{axes}d": (2,) for name in ("MaxPool", "AvgPool")}
    return cls(*sizes.get(cls.__name__, ()))


def make(number: int) -> tuple[str, Any, list[Any], dict[str, Any]]:
    """Call number n: its name, the callable, its arguments."""
    rng = random.Random(number)
    targets = surface_once()
    name, target, bound = targets[number % len(targets)]
    if bound:
        cls, attribute = target
        target = getattr(_object(cls, rng), attribute)
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    share = rng.choice([0.15, 0.4, 0.8])
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for p in parameters:
        if p.name.startswith("_"):
            continue
        if p.kind is p.VAR_POSITIONAL:
            args += [_value(p.name, rng, share) for _ in range(rng.randrange(4))]
        elif p.kind is p.VAR_KEYWORD:
            continue
        elif p.kind is p.KEYWORD_ONLY:
            if rng.random() < 0.4:
                kwargs[p.name] = _value(p.name, rng, share)
        elif p.default is p.empty or rng.random() < 0.6:
            args.append(_value(p.name, rng, share))
        else:
            break
    fate = rng.random()
    if fate < 0.05 and args:
        args.pop()
    elif fate < 0.1:
        args.append(wrong(rng))
    elif fate < 0.15:
        kwargs[rng.choice(KEYWORDS)] = wrong(rng)
    return name, target, args, kwargs


def _value(name: str, rng: random.Random, share: float) -> Any:
    if rng.random() < share and name not in LONG:
        return wrong(rng)
    if name in LONG:
        return rng.choice([1, 2])
    return RIGHT.get(name, tensor_of)(rng)


@functools.cache
def surface_once() -> list[tuple[str, Any, bool]]:
    targets = surface()
    random.Random(0).shuffle(targets)
    return targets


# ---- the verdict
def _on_purpose(error: BaseException) -> bool:
    """Whether a `raise` statement of hybrid's own made the error."""
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    if tb is None:
        return False
    code = tb.tb_frame.f_code
    if not code.co_filename.startswith((ROOT, "<hybrid")):
        return False
    return dis.opname[code.co_code[tb.tb_lasti]] == "RAISE_VARARGS"


def _files(error: BaseException) -> list[str]:
    tb, found = error.__traceback__, []
    while tb is not None:
        found.append(tb.tb_frame.f_code.co_filename)
        tb = tb.tb_next
    return found


def verdict(error: BaseException) -> str | None:
    """What is wrong with an error that a call raised, or None when it is a good one."""
    files = _files(error)
    below = files[files.index(HERE) + 1 :] if HERE in files else files
    while below and os.path.abspath(below[0]) == HERE:
        below = below[1:]
    if any(os.path.abspath(f) in OWN for f in below):
        return None  # an error of the caller's own function
    text = str(error)
    if isinstance(error, TypeError) and SIGNATURE.match(text):
        return None
    if isinstance(error, hybrid.HybridError):
        found = INSIDE.search(text)
        return f"its text speaks of the inside: {found.group()!r}" if found else None
    if not below and isinstance(error, (TypeError, ValueError)):
        return None  # Python itself: the number or the names of arguments
    if isinstance(error, hybrid.Widened):
        return None  # it says what a NumPy scalar does, wrong or not
    if isinstance(error, (MemoryError, Warning, StopIteration)):
        return None if text and isinstance(error, MemoryError) else "no text, or a warning"
    if _on_purpose(error) and isinstance(
        error, (TypeError, ValueError, IndexError, OverflowError, KeyError, NotImplementedError)
    ):
        found = INSIDE.search(text)
        return f"its text speaks of the inside: {found.group()!r}" if found else None
    return "an error from the inside"


def run_call(number: int) -> tuple[str, str, str, str] | None:
    """Run call number n; (name, error, text, verdict) when the verdict is bad."""
    try:
        name, target, args, kwargs = make(number)
    except BaseException as error:  # the harness itself
        return "make", type(error).__name__, str(error), "the harness failed"
    try:
        out = target(*args, **kwargs)
        if hasattr(out, "__enter__"):
            with out:
                pass
        elif inspect.isgenerator(out):
            list(out)
        else:
            repr(out)
    except Exception as error:
        bad = verdict(error)
        return None if bad is None else (name, type(error).__name__, str(error)[:200], bad)
    return None


ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
ONCE = {"manual_seed", "seed", "set_num_threads", "num_threads", "compare", "inspect", "profile"}


def _outcomes(call: Any) -> list[Any]:
    """What three calls in a row end with: the error and its text, or 'done'."""
    found: list[Any] = []
    for _ in range(3):
        try:
            call()
            found.append("done")
        except Exception as error:
            found.append((type(error).__name__, ADDRESS.sub("", str(error))))
    return found


def run_recorded(number: int) -> tuple[str, str, str, str] | None:
    """Call number n three times, plain and inside a recorded function: the same outcomes."""
    name, target, args, kwargs = make(number)
    if name.rpartition(".")[2] in ONCE or "Generator" in name:
        return None
    plain = _outcomes(lambda: target(*args, **kwargs))
    _, target, args, kwargs = make(number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hybrid.RunsEagerly)
        recorded = _outcomes(hybrid.function(lambda: target(*args, **kwargs)))
    if plain == recorded:
        return None
    return name, "recorded", f"{plain} {recorded}"[:400], "another outcome in a recorded function"


def main(start: int, count: int, log: str | None = None) -> None:
    """Run calls start .. start + count - 1; failures as lines of JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("error")
    progress = open(log, "w") if log else None  # noqa: SIM115
    sys.stdout.flush()
    keep, nowhere = sys.stdout, io.StringIO()
    for number in range(start, start + count):
        if progress:
            progress.seek(0)
            progress.write(f"{number}\n")
            progress.flush()
        signal.alarm(SECONDS)
        sys.stdout = nowhere
        bad = run_call(number)
        if bad is None and number % RECORDED == 0:
            bad = run_recorded(number)
        sys.stdout = keep
        signal.alarm(0)
        if bad is not None:
            print(json.dumps([number, *bad]), flush=True)
    print(json.dumps("done"), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
