"""Wrong arguments for every public function, made from a seed, and the verdict on what came back.

Invariant: call number n is a function of n alone, so a failure is run again with
`python tests/fuzz_arguments.py n 1`; the surface is read from the package, never listed.
"""

from __future__ import annotations

import dis
import functools
import inspect
import json
import math
import os
import random
import re
import resource
import signal
import sys
import types
import warnings
from typing import Any

import numpy as np

import hybrid
from hybrid import nn, optim

ROOT = os.path.dirname(os.path.abspath(hybrid.__file__)) + os.sep
HERE = os.path.abspath(__file__)
MEMORY = 6 << 30
SECONDS = 30
# names that speak of a machine or a file, or hold a loop as long as their number says
SKIPPED = {
    "e",
    "inf",
    "nan",
    "pi",
    "describe_system",
    "Function",
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
    r"|unhashable|can't multiply|unsupported operand|must be str|object cannot be|dtype\('"
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
        for name in sorted(dir(space)):
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
            if name in _FOREIGN or name.startswith("_") and name not in _PROTOCOL:
                continue
            if name not in vars(cls) and cls not in (nn.Linear, optim.Adam):
                continue
            if callable(getattr(cls, name)):
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


# ---- right values by parameter name
def _tensor(rng: random.Random) -> Any:
    shape = rng.choice([(3,), (2, 3), (3, 4), (), (0,), (1, 3, 8, 8), (2, 3, 4)])
    values = np.arange(math.prod(shape)).reshape(shape) % 7 / 2 + 0.25
    t = hybrid.tensor(values, dtype=rng.choice(["float32", "float32", "float64", "int64", "bool"]))
    if rng.random() < 0.2 and t.is_floating_point():
        t.requires_grad_()
    return t


def _double(x: Any) -> Any:
    return x * 2


RIGHT: dict[str, Any] = {
    "axis": lambda r: r.choice([0, -1, 1, None]),
    "dim": lambda r: r.choice([0, -1]),
    "axes": lambda r: r.choice([(1, 0), (0,), 1]),
    "dtype": lambda r: r.choice([None, "float32", hybrid.float64, "int32"]),
    "device": lambda r: r.choice([None, "cpu"]),
    "shape": lambda r: r.choice([(2, 3), 3, (0,), (6,), (-1,)]),
    "size": lambda r: r.choice([(2,), 3, ()]),
    "generator": lambda r: r.choice([None, hybrid.Generator(0)]),
    "seed": lambda r: r.randrange(99),
    "keepdims": lambda r: r.random() < 0.5,
    "reduction": lambda r: r.choice(["mean", "sum", "none"]),
    "fn": lambda r: _double,
    "index": lambda r: hybrid.tensor([0, 1]),
    "indices": lambda r: hybrid.tensor([0, 1]),
    "target": lambda r: r.choice([hybrid.tensor([0, 1]), _tensor(r)]),
    "params": lambda r: [hybrid.tensor([1.0, 2.0], requires_grad=True)],
    "spec": lambda r: r.choice(["ij,jk->ik", "i->", "ij"]),
    "key": lambda r: r.choice([0, slice(1, 2), (0, 1), [0, 1], None, Ellipsis]),
    "name": lambda r: "weight2",
    "modules": lambda r: nn.Linear(2, 3),
    "xs": lambda r: [hybrid.ones(2, 3), hybrid.zeros(2, 3)],
    "state": lambda r: {},
    "closure": lambda r: None,
    "mode": lambda r: r.choice(["constant", True]),
}
FLOATS = "eps alpha beta p lr momentum weight_decay negative_slope scale dropout_p delta std mean"
WHOLES = (
    "n m k groups kernel_size stride padding dilation num num_classes chunks repeats decimals "
    "in_features out_features in_channels out_channels hidden_size input_size num_embeddings "
    "embedding_dim num_groups normalized_shape offset shift output_size"
)
RIGHT |= {n: (lambda r: r.choice([0.5, 0.1, 1e-5])) for n in FLOATS.split()}
RIGHT |= {n: (lambda r: r.choice([1, 2, 3])) for n in WHOLES.split()}


# ---- wrong values
class Odd:
    """An object of no use to anybody."""

    def __repr__(self) -> str:
        return "Odd()"


def _looped() -> list[Any]:
    loop: list[Any] = [1.0]
    loop.append(loop)
    return loop


def _wrong(rng: random.Random) -> Any:
    return rng.choice(WRONG)(rng)


WRONG: list[Any] = [
    *[
        (lambda value: lambda r: value)(v)
        for v in (
            None,
            "abc",
            "",
            "cpu",
            "float32",
            object,
            Odd(),
            {},
            {"a": 1},
            {1, 2},
            [],
            (),
            [[]],
            ["a", "b"],
            b"bytes",
            1 + 2j,
            2**70,
            -(2**70),
            2**63,
            2**62,
            2**31,
            -1,
            -5,
            0,
            1,
            7,
            64,
            65,
            100,
            1.5,
            -0.5,
            0.0,
            math.nan,
            math.inf,
            -math.inf,
            1e300,
            True,
            False,
            Ellipsis,
            NotImplemented,
            slice(None),
            slice("a", "b"),
            slice(None, None, 0),
            slice(1.5, 2),
            range(3),
            range(2**62),
            int,
            float,
            str,
            len,
            print,
            np.sum,
            math,
            np.float32,
            (2**40, 2**40),
            (2**31, 2**31, 2**31),
            (1,) * 65,
            (1,) * 70,
            (-1, -1),
            (0, 2**70),
            (2**62, 4, 0),
            (1.5, 2),
            ("a",),
            (0, 0),
            (0, 99),
            [0, [1, 2]],
            [1, None],
            [1, "a"],
            [0, 1, 2],
            [True, False],
            [1.0, 2.0],
            [[1, 2], [3]],
            {"params": None},
            [{}],
            [None],
            ((1, 2), 3),
            (None, None),
            np.float64(0.1),
            np.int8(3),
            np.bool_(True),
            np.str_("a"),
        )
    ],
    lambda r: lambda *a, **k: None,
    lambda r: lambda x: x.missing,
    lambda r: _looped(),
    lambda r: iter([1, 2, 3]),
    lambda r: (i for i in range(3)),
    lambda r: np.array([1, "a", None], object),
    lambda r: np.zeros(2, [("a", "f4"), ("b", "i4")]),
    lambda r: np.array(["2020-01-01"], "datetime64[D]"),
    lambda r: np.array([5], "timedelta64[s]"),
    lambda r: np.array(["text", "more"]),
    lambda r: np.array([b"text"]),
    lambda r: np.array([1 + 2j]),
    lambda r: np.zeros((2, 3), np.longdouble),
    lambda r: np.zeros((1,) * 40),
    lambda r: np.zeros((1,) * 64),
    lambda r: np.array(2.5),
    lambda r: np.zeros((0, 3)),
    lambda r: np.ones((2, 3), ">f8"),
    lambda r: np.ma.masked_array([1.0, 2.0], [True, False]),
    lambda r: np.array([[1, 2], [3, 4]], np.uint64),
    lambda r: memoryview(b"abcd"),
    lambda r: bytearray(b"abcd"),
    lambda r: hybrid.zeros((0, 3)),
    lambda r: hybrid.tensor(3),
    lambda r: hybrid.tensor([1.5, math.nan]),
    lambda r: hybrid.tensor([True, False, True]),
    lambda r: hybrid.tensor([[2**62]]),
    lambda r: hybrid.ones((1, 2, 3, 4, 5)),
    lambda r: hybrid.tensor([1, 2], dtype="uint64"),
    lambda r: hybrid.tensor([1.0, 2.0], dtype="bfloat16"),
    lambda r: nn.Linear(2, 2),
    lambda r: nn.Linear,
    lambda r: hybrid.Generator(1),
    lambda r: hybrid.Tensor,
    lambda r: np.dtype([("a", "f4")]),
    lambda r: np.dtype("M8[s]"),
    lambda r: np.random.default_rng(0),
    lambda r: functools.partial(int, "3"),
]
KEYWORDS = (
    "dim keepdim input other size shape inplace out dtype device axis generator requires_grad "
    "where order casting name foo self lr stride"
).split()


# ---- one call
def _object(cls: type, rng: random.Random) -> Any:
    """Something to call a method on."""
    if cls is hybrid.Tensor:
        return _tensor(rng)
    if cls is hybrid.Generator:
        return hybrid.Generator(0)
    if issubclass(cls, optim.Optimizer):
        p = hybrid.tensor([1.0, 2.0], requires_grad=True)
        p.grad = hybrid.ones(2)
        return (optim.Adam if cls is optim.Optimizer else cls)([p])
    if cls is optim.ParamGroup:
        return optim.Adam([hybrid.tensor([1.0], requires_grad=True)]).param_groups[0]
    sizes = {"Linear": (3, 2), "Conv2d": (3, 2, 3), "Embedding": (3, 2), "LSTMCell": (3, 2),
             "LayerNorm": (3,), "MaxPool2d": (2,), "AvgPool2d": (2,)}  # fmt: skip
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
        args.append(_wrong(rng))
    elif fate < 0.15:
        kwargs[rng.choice(KEYWORDS)] = _wrong(rng)
    return name, target, args, kwargs


def _value(name: str, rng: random.Random, share: float) -> Any:
    if rng.random() < share and name not in LONG:
        return _wrong(rng)
    if name in LONG:
        return rng.choice([1, 2])
    return RIGHT.get(name, _tensor)(rng)


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
    if any(os.path.abspath(f) == HERE for f in below):
        return None  # an error of the caller's own function
    text = str(error)
    if isinstance(error, TypeError) and SIGNATURE.match(text):
        return None
    if isinstance(error, hybrid.HybridError):
        found = INSIDE.search(text)
        return f"its text speaks of the inside: {found.group()!r}" if found else None
    if not below and isinstance(error, (TypeError, ValueError)):
        return None  # Python itself: the number or the names of arguments
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


def main(start: int, count: int, log: str | None = None) -> None:
    """Run calls start .. start + count - 1; failures as lines of JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("error")
    progress = open(log, "w") if log else None  # noqa: SIM115
    sys.stdout.flush()
    keep, hybrid_out = sys.stdout, open(os.devnull, "w")  # noqa: SIM115
    for number in range(start, start + count):
        if progress:
            progress.seek(0)
            progress.write(f"{number}\n")
            progress.flush()
        signal.alarm(SECONDS)
        sys.stdout = hybrid_out
        bad = run_call(number)
        sys.stdout = keep
        signal.alarm(0)
        if bad is not None:
            print(json.dumps([number, *bad]), flush=True)
        hybrid.detect_nan.__doc__  # noqa: B018
    print(json.dumps("done"), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
