"""The ops: importing this package registers every record and exposes the public functions.

Invariant: a function is public because it is marked at its definition (`base.surface.public`); the
rest of hybrid takes ops from this package and asks records for facts, never for names.  What is
public is under the skin of ir/door/guard.py; families call each other without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..ir.door.guard import guard_all as _guard_all
from ..ir.door.guard import guard_methods as _guard_methods
from . import families as _families
from .base.surface import SURFACE as _SURFACE


def namespace(space: str) -> dict[str, Any]:
    """What `hybrid.<space>` holds: name -> function, which is that of `hybrid` where it is there,
    too."""
    made: dict[str, Any] = {}
    for row in _SURFACE:
        for name in getattr(row, space):
            made[name] = globals()[row.name] if row.hybrid else row.function
    _guard_all(made, list(made), f"hybrid.{space}")
    return made


if TYPE_CHECKING:
    from .typed import *  # noqa: F403
    from .typed import __all__ as __all__
else:
    _guard_methods(_families.random.Generator, skip=frozenset(("draw",)))
    _public = {name: row.function for row in _SURFACE for name in row.hybrid}
    globals().update(_public)
    _guard_all(globals(), _public, __name__)
    __all__ = sorted({name for row in _SURFACE for name in row.hybrid})
