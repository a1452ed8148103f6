"""Whether two checkouts of this project make the same plans: `python tests/support/plan_diff.py OTHER`.

OTHER is a folder with another checkout (`git worktree add OTHER REVISION`), or a file that one wrote
with `--write FILE`.  The corpus is the
benchmarks' training steps and every public function on small arguments, each with its gradient.
Compared are the graph after each pass, the plan, and the set of keys of native code that was made (a
key is a digest of the generated text; it is listed at the item that needed it first).  Invariant: each checkout works in processes of its own with an
empty cache of native code, and runs this checkout's corpus through public names only.
"""

from __future__ import annotations

import argparse
import difflib
import inspect as python_inspect
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[2]
WORKLOADS = ("toy", "mlp_small", "cnn", "lstm", "gpt")
# where in the corpus, addresses, and where this file is
MASKED = re.compile(r" +# .*$|0x[0-9a-f]{8,}(?!p)|[^ ()]*/plan_diff\.py:\d+")
Item = tuple[str, Callable[..., Any], tuple[Any, ...]]


def arguments() -> dict[str, tuple[Any, ...]]:
    """Argument lists under a name each; a public function is tried with all of them."""
    import numpy as np

    import hybrid as hb

    rng = np.random.default_rng(0)
    floats = _floats(rng)
    matrix, other = floats(6, 37), floats(6, 37)
    image, filters = floats(2, 3, 9, 9), floats(4, 3, 3, 3)
    integers = hb.tensor(rng.integers(0, 6, (6, 37)))
    truth = hb.tensor(rng.integers(0, 2, (6, 37)).astype(bool))
    return {
        "matrix": (matrix,),
        "wide": (floats(3, 5000),),
        "two matrices": (matrix, other),
        "three matrices": (matrix, other, floats(6, 37)),
        "matrix, row": (matrix, floats(37)),
        "matrix, number": (matrix, 2.0),
        "matrix, axis": (matrix, 1),
        "matrix, axes": (matrix, (0, 1)),
        "matrix, two axes": (matrix, 0, 1),
        "product": (matrix, floats(37, 5)),
        "linear": (matrix, floats(5, 37), floats(5)),
        "heads": (floats(2, 3, 8, 16), floats(2, 3, 8, 16), floats(2, 3, 8, 16)),
        "half": (matrix.astype("bfloat16"), other.astype("bfloat16")),
        "double": (matrix.astype("float64"),),
        "image": (image,),
        "image, size": (image, 2),
        "image, filters": (image, filters),
        "integers": (integers,),
        "two integers": (integers, integers),
        "truth": (truth,),
        "truth, two": (truth, matrix, other),
        "matrix, classes": (matrix, integers[:, 0]),
        "list": ([matrix, other],),
        "sizes": ((3, 4),),
        "transposed": (matrix.T,),
    }


def _floats(rng: Any) -> Callable[..., Any]:
    """Makes tensors of random numbers, by their sizes."""
    import hybrid as hb

    return lambda *shape: hb.tensor(rng.standard_normal(shape).astype("float32"))


def _with_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that also returns the gradients for its floating tensors."""
    import hybrid as hb

    def both(*args: Any) -> Any:
        out = function(*args)
        first = out[0] if isinstance(out, (tuple, list)) else out
        wanted = [a for a in args if isinstance(a, hb.Tensor) and a.requires_grad]
        if not isinstance(first, hb.Tensor) or not first.requires_grad or not wanted:
            return out
        return out, hb.gradients([first.sum()], wanted, allow_unused=True)

    both.__qualname__ = getattr(function, "__name__", "function")
    return both


def public_functions(only: str = "") -> Iterator[Item]:
    """Every public function with every argument list that it takes, where `only` is in the name."""
    import hybrid as hb
    from hybrid.nn import functional

    found = arguments()
    for args in found.values():
        for a in args if isinstance(args, tuple) else ():
            if isinstance(a, hb.Tensor) and "float" in str(a.dtype):
                a.requires_grad = True
    for space in (hb, functional):
        for name in sorted(n for n in vars(space) if not n.startswith("_")):
            function = getattr(space, name)
            if not python_inspect.isfunction(function) or name in SKIPPED:
                continue
            for title, args in found.items():
                if only not in f"{space.__name__}.{name}({title})":
                    continue
                try:
                    _with_gradient(function)(*args)
                except Exception:  # not made for these arguments
                    continue
                yield f"{space.__name__}.{name}({title})", _with_gradient(function), args


SKIPPED = (
    "compare",
    "function",
    "inspect",
    "profile",
    "save",
    "load",
    "manual_seed",
    "set_num_threads",
    "vjp",
    "grad",
    "value_and_grad",
    "custom_gradient",
    "jvp",
    "linearize",
    "hvp",
    "jacfwd",
    "jacrev",
    "hessian",
    "vmap",
    "checkpoint",
)


def plans(only: str = "") -> dict[str, list[str]]:
    """Of each item of the corpus with `only` in its name: what `inspect` shows of it, and the keys of its native code."""
    import hybrid as hb

    sys.path[0] = str(HERE)
    from benchmarks import workloads

    folder, known, out = Path(os.environ["HYBRID_CACHE_DIR"]), set(), {}

    def note(name: str, text: str) -> None:
        keys = {p.name for p in folder.rglob("*.o")}
        out[name] = text.splitlines() + sorted(keys - known)
        known.update(keys)

    for name in (name for name in WORKLOADS if only in name):
        hb.manual_seed(0)
        step, batch, *_ = workloads.training(name, True)
        for _ in range(3):
            step(*batch())
        note(name, str(hb.inspect(step, *batch())))
    for name, function, args in public_functions(only):
        step = hb.function(function)
        try:
            for _ in range(3):
                step(*args)
            text = str(hb.inspect(step, *args))
        except hb.HybridError as error:
            text = f"{type(error).__name__}: {error}"
        note(name, text)
    return out


def collect(checkout: Path, only: str = "") -> dict[str, list[str]]:
    """The corpus as that checkout compiles it."""
    with tempfile.TemporaryDirectory() as cache:
        os.chmod(cache, 0o700)
        got = subprocess.run(
            [sys.executable, __file__, "--collect", str(checkout), "--only", only],
            capture_output=True,
            text=True,
            env=os.environ | {"HYBRID_CACHE_DIR": cache, "PYTHONPATH": ""},
            cwd=cache,
        )
    if got.returncode:
        raise SystemExit(f"{checkout}: {got.stderr[-3000:]}")
    return json.loads(got.stdout.splitlines()[-1])


def masked(found: dict[str, list[str]]) -> dict[str, list[str]]:
    """What is compared: the lines without addresses, and without the lines of the corpus they name."""
    return {name: [MASKED.sub("", line) for line in lines] for name, lines in found.items()}


def parted(found: dict[str, list[str]]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """(texts without the keys, the item that each key was first made for)."""
    texts = {n: [x for x in lines if not x.endswith(".o")] for n, lines in found.items()}
    return texts, {x: n for n, lines in found.items() for x in lines if x.endswith(".o")}


def main() -> int:
    """Prints the items that differ, and how; the exit status is 1 when there are any."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, help="folder or file of the other checkout")
    parser.add_argument("--write", action="store_true", help="only write this one's plans there")
    parser.add_argument("--collect", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--only", default="", help="a part of the names of programs")
    options = parser.parse_args()
    if options.collect:
        sys.path[0] = str(options.other)
        warnings.simplefilter("ignore")
        print(json.dumps(plans(options.only)))
        return 0
    here, other = collect(HERE, options.only), options.other.resolve()
    if options.write:
        other.write_text(json.dumps(here))
        return 0
    there = json.loads(other.read_text()) if other.is_file() else collect(other, options.only)
    here, kernels = parted(masked(here))
    there, others = parted(masked(there))
    differ = [name for name in here if name in there and here[name] != there[name]]
    for name in differ[:20]:
        lines = difflib.unified_diff(there[name], here[name], f"{name} there", f"{name} here", n=1)
        print("\n".join(list(lines)[:30]))
    gone, new = there.keys() - here.keys(), here.keys() - there.keys()
    for what, names in (("only there", gone), ("only here", new)):
        if names:
            print(f"{what}: {', '.join(sorted(names))}")
    lost = {key: name for key, name in others.items() if key not in kernels and name in here}
    more = {key: name for key, name in kernels.items() if key not in others and name in there}
    for what, keys in (("only there", lost), ("only here", more)):
        for key, name in list(keys.items())[:20]:
            print(f"{what}: {key}, first in {name}")
    odd = len(lost) + len(more)
    print(
        f"{len(here)} programs, {len(differ)} differ; {len(kernels)} native kernels, {odd} differ"
    )
    return bool(differ or odd)


if __name__ == "__main__":
    sys.exit(main())
