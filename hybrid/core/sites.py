"""Finding the user's line: the innermost frame outside hybrid.

Invariant: frames of hybrid, of NumPy and of the import system are never reported.
"""

from __future__ import annotations

import os
import sys

from .errors import Site

__all__ = ["user_site", "INSIDE"]

INSIDE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def user_site(start: int = 1) -> Site | None:
    """File, line and function of the nearest caller outside hybrid, or None when there is none.

    The demonstration package counts as user code."""
    frame = sys._getframe(start)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith("<hybrid") and (
            not name.startswith(INSIDE) or name.startswith(INSIDE + "demo")
        ):
            return Site(name, frame.f_lineno, frame.f_code.co_name)
        frame = frame.f_back  # type: ignore[assignment]
    return None
