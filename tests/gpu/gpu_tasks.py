"""What the workers do: one record or one case on the host and on the device, compared bit for bit.

A task gives {"checked": calls compared, "wrong": what differs, "error": what stopped it}.  Run as a
program, this reads [task, name] from lines of its input and answers each with a line.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import gpu_shapes
import numpy as np
from backend_kinds import params_on
from gpu_device import DEVICE, HOST, IS_CUDA, differences, here, there
from record_cases import (
    ELEMENTWISE,
    MODEST,
    SPECIAL,
    cases,
    cast,
    differentiable,
    dtypes_of,
    gradient,
    params_for,
    rng_of,
    takes,
)

import hybrid
from hybrid.backends.cuda.algorithms import has_kernels
from hybrid.core import dtypes as dt
from hybrid.ir.door.bind import bind
from hybrid.ir.op import OPS, HostOp, Op, algorithm_of

MOST_WRONG = 5  # differences that a result tells
Arrays = list[np.ndarray]
Check = tuple[str, Arrays, Arrays]


def on_device(op: Op, arrays: list[np.ndarray], params: dict[str, Any], kind: str) -> Any:
    """A record's results on a device, as host arrays."""
    given = [hybrid.tensor(x, device=kind) for x in arrays]
    got = bind(op, *given, **params_on(params, kind))
    return [here(t) for t in (got if isinstance(got, tuple) else (got,))]


def _calls(op: Op) -> Iterator[tuple[str, list[np.ndarray], dict[str, Any]]]:
    """Every case of a record in every dtype, then special values and random bits."""
    found = cases(op)
    floats = any(x.dtype == np.float64 for xs, _ in found for x in xs)
    for d in dtypes_of(op) if floats else [dt.float64]:
        for number, (xs, given) in enumerate(found):
            arrays, params = cast(xs, d, op), params_for(given, d, op)
            if takes(op, arrays, params):
                yield f"{d.name} case {number} {params}", arrays, params
    if op.name in ELEMENTWISE:
        yield from _special(op)


def _special(op: Op) -> Iterator[tuple[str, list[np.ndarray], dict[str, Any]]]:
    rng = rng_of(op)
    for d in (dt.float32, dt.float64, dt.float16, dt.bfloat16):
        with np.errstate(all="ignore"):
            one = np.array(SPECIAL if op.nin == 1 else MODEST, np.float64).astype(d)
        grids = np.meshgrid(*[one] * op.nin, indexing="ij") if op.nin <= 3 else [one] * op.nin
        arrays = [np.ascontiguousarray(g) for g in grids]
        if not takes(op, arrays, {}):
            continue
        yield f"special values of {d.name}", arrays, {}
        bits = rng.integers(0, 1 << 16, (op.nin, 4096 * d.itemsize // 2), np.uint16)
        yield f"random bits of {d.name}", [row.view(d) for row in bits], {}


def own_order(kind: str, arrays: Arrays) -> bool:
    """Whether the device may sum in an order of its own: products of half types do."""
    return kind == "contract" and any(dt.is_half(dt.canonical(x.dtype)) for x in arrays)


def nearly(found: Arrays, wanted: Arrays) -> Arrays:
    """What is near enough of `wanted`, and else what was found: sums in two orders, rounded to half
    types, are a few units of the largest result apart."""
    near = []
    for left, right in zip(found, wanted, strict=True):
        step = 2.0**-6 if dt.canonical(right.dtype) is dt.bfloat16 else 2.0**-9
        wide, other = left.astype(np.float64), right.astype(np.float64)
        largest = np.abs(other[np.isfinite(other)]).max(initial=0.0)
        with np.errstate(all="ignore"):
            apart = np.abs(wide - other) > step * largest
        same_kind = np.isfinite(wide) == np.isfinite(other)
        near.append(right if same_kind.all() and not apart.any() else left)
    return near


def eager(name: str) -> Iterator[Check]:
    """Every case of a record, eagerly."""
    op = OPS[name]
    for what, arrays, params in _calls(op):
        wanted = on_device(op, arrays, params, HOST.kind)
        found = on_device(op, arrays, params, DEVICE)
        yield (
            f"{name} {what}",
            nearly(found, wanted) if own_order(op.kind, arrays) else found,
            wanted,
        )


def traced(name: str) -> Iterator[Check]:
    """Two cases of a record, recorded twice and replayed twice."""
    op = OPS[name]
    if not op.nin:
        return
    d = dt.float32 if "f" in op.accepts else dt.int32
    for xs, given in cases(op)[:2]:
        arrays, params = cast(xs, d, op), params_for(given, d, op)
        if not takes(op, arrays, params):
            continue
        wanted = on_device(op, arrays, params, HOST.kind)
        on_it = params_on(params, DEVICE)
        tensors = [there(x) for x in arrays]
        function = hybrid.function(lambda *operands: bind(op, *operands, **on_it))  # noqa: B023
        for call in range(4):
            got = function(*tensors)
            found = [here(t) for t in (got if isinstance(got, tuple) else (got,))]
            yield f"{name} traced, call {call} {params}", found, wanted
        if "REPLAY" not in function.explain():
            raise AssertionError(f"{name} is not replayed:\n{function.explain()}")


def gradients(name: str) -> Iterator[Check]:
    """First derivatives of a record in float32, for up to three cases."""
    op, checked = OPS[name], 0
    for xs, given in cases(op):
        at = differentiable(op, xs, given)
        arrays, params = cast(xs, dt.float32, op), params_for(given, dt.float32, op)
        if not at or checked == 3 or not takes(op, arrays, params):
            continue
        outs = on_device(op, arrays, params, HOST.kind)
        floats = [o for o in outs if dt.is_float(dt.canonical(o.dtype))]
        rng = rng_of(op)
        seeds = [rng.uniform(0.5, 1.5, o.shape).astype(o.dtype) for o in floats]
        if not seeds:
            continue
        checked += 1
        wanted, found = (
            gradient(op, arrays, params_on(params, kind), at, seeds, kind)
            for kind in (HOST.kind, DEVICE)
        )
        yield f"gradient of {name} {params}", found, wanted


def shape(name: str) -> Iterator[Check]:
    """A program of gpu_shapes on arrays of one size, eagerly and traced."""
    function, arrays = gpu_shapes.case(name)
    wanted = [here(t) for t in function(*map(hybrid.tensor, arrays))]
    tensors = [there(x) for x in arrays]
    found = [here(t) for t in function(*tensors)]
    kind = "contract" if name.startswith("product") else ""
    if own_order(kind, arrays):
        yield f"{name} eager", nearly(found, wanted), wanted
        wanted = found
    yield f"{name} eager", found, wanted
    compiled = hybrid.function(function)
    for call in range(3):
        got = compiled(*tensors)
        if call != 1:  # a recording, a replay
            yield f"{name} traced, call {call}", [here(t) for t in got], wanted


TASKS: dict[str, Callable[[str], Iterator[Check]]] = {
    "eager": eager,
    "traced": traced,
    "gradients": gradients,
    "shape": shape,
}


def _by_libraries(op: Op) -> bool:
    """Whether only the host's libraries compute a record."""
    return isinstance(op, HostOp) and not has_kernels(algorithm_of(op, cases(op)[0][1]))


def _refused(name: str) -> dict[str, Any]:
    """A record that the host's libraries compute is refused on the device, and nothing moves."""
    op, error = OPS[name], f"{name} is neither refused nor compared"
    arrays, params = cases(op)[0]
    try:
        on_device(op, cast(arrays, dt.float32, op), params_for(params, dt.float32, op), DEVICE)
    except hybrid.UnsupportedError as refusal:
        error = "" if name in str(refusal) and DEVICE in str(refusal) else str(refusal)
    return {"checked": 1, "differ": 0, "wrong": [], "error": error, "seconds": 0.0}


def run(task: str, name: str) -> dict[str, Any]:
    """All checks of a task."""
    checked, wrong, error, begin = 0, [], "", time.perf_counter()
    if task != "shape" and IS_CUDA and _by_libraries(OPS[name]):
        return _refused(name)
    try:
        for what, found, wanted in TASKS[task](name):
            checked += 1
            told = [differences(a, b) for a, b in zip(found, wanted, strict=True)]
            wrong += [f"{what}: {text}" for text in told if text]
    except Exception:
        error = traceback.format_exc(limit=-6)[-2500:]
    seconds = time.perf_counter() - begin
    return {
        "checked": checked,
        "differ": len(wrong),
        "wrong": wrong[:MOST_WRONG],
        "error": error,
        "seconds": round(seconds, 3),
    }


def _well() -> bool:
    """Whether the device still computes: after a fault a context refuses everything."""
    try:
        return bool((here(there(np.ones(3, np.float32)) + 1) == 2).all())
    except Exception:
        return False


def main() -> None:
    """Serve tasks until the input ends, or the device is spoiled."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin:
        result = run(*json.loads(line))
        answers.write(json.dumps(result) + "\n")
        answers.flush()
        if result["error"] and not _well():
            return


if __name__ == "__main__":
    main()
