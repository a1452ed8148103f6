"""The ops: importing this package registers every record and exposes the public functions.

Invariant: a function is public here because its family lists it in `__all__`; the rest of hybrid
takes ops from this package and asks records for facts, never for names.  What is public is under
the skin of ir/door/guard.py; families call each other without it.
"""

from __future__ import annotations

from types import ModuleType

from ..ir.door.guard import guard_all, guard_methods
from . import elementwise
from .axes import cumulative, positions, reduce, rows, views, windows
from .build import create, join, matrices, stack
from .indexing import getitem, index, random, sort
from .layers import likelihood, loss, normalize, pool
from .products import attention, contract, convolution

# helpers that families share but that are no part of the public surface
_INTERNAL = frozenset(
    (
        "embed",
        "gather_axes",
        "gather_rows",
        "index_check",
        "keep_shape",
        "last_axis",
        "philox",
        "row_numbers",
        "scatter_add",
        "scatter_set",
        "slice_",
        "slice_set",
        "sum_like",
        "seed",
        "get_state",
        "set_state",
        "uniform",
        "normal",
        "permutation",
        "shuffle",
        "choice",
        "Unique",
        "TopK",
    )
)
_FAMILIES: tuple[ModuleType, ...] = (
    elementwise,
    views,
    windows,
    reduce,
    positions,
    create,
    matrices,
    join,
    index,
    getitem,
    stack,
    contract,
    convolution,
    rows,
    cumulative,
    normalize,
    likelihood,
    loss,
    pool,
    sort,
    random,
    attention,
)


def _export(families: tuple[ModuleType, ...]) -> list[str]:
    names: list[str] = []
    for family in families:
        for name in family.__all__:
            globals()[name] = getattr(family, name)
            if name not in _INTERNAL:
                names.append(name)
    guard_methods(random.Generator, skip=frozenset(("draw",)))
    guard_all(globals(), {n for family in families for n in family.__all__}, __name__)
    return sorted(set(names))


__all__ = [*_export(_FAMILIES), "random"]
