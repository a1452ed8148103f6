"""Finding the user's line: the innermost frame outside hybrid.

Invariant: frames of hybrid, of NumPy and of the import system are never reported.
"""

from __future__ import annotations

import os
import sys
from dis import opmap
from types import FrameType
from typing import Any

import numpy as np

from .cache import keep
from .errors import Site

__all__ = ["user_site", "users_code", "read_to_be_called", "INSIDE"]

INSIDE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_DEMO = os.path.join(INSIDE, "demo") + os.sep
_SKIPPED = (
    INSIDE,
    os.path.dirname(os.path.abspath(np.__file__)) + os.sep,
    "<hybrid",
    "<frozen importlib",
)

_STDLIB = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_TOOLS = ("numpy", "llvmlite", "ml_dtypes", "optree")
_PACKAGES = os.sep + "site-packages" + os.sep


# an opcode of its own in Python 3.11, a bit of LOAD_ATTR's argument from 3.12 on
_OWN_OPCODE = sys.version_info < (3, 12)
_METHOD = opmap["LOAD_METHOD" if _OWN_OPCODE else "LOAD_ATTR"]


def read_to_be_called() -> bool:
    """Whether the property getter that asks runs for `x.name(...)`, not for `x.name`."""
    frame = sys._getframe(2)  # past the getter: the code that reads the property
    code, offset = frame.f_code.co_code, frame.f_lasti
    # a getter that runs inline leaves its caller in the cache behind the instruction, all zeros
    while offset > 0 and not code[offset]:
        offset -= 2
    return offset >= 0 and code[offset] == _METHOD and (_OWN_OPCODE or code[offset + 1] & 1 == 1)


def users_code(filename: str) -> bool:
    """Whether code of that file is neither hybrid's nor of what hybrid is built on."""
    if filename.startswith(_DEMO):
        return True
    if filename.startswith(_SKIPPED) or filename.startswith("<__array_function__"):
        return False
    _, found, package = filename.rpartition(_PACKAGES)
    if found:
        return not package.startswith(_TOOLS)
    return not filename.startswith(_STDLIB)


def user_site(start: int = 1) -> Site | None:
    """File, line and function of the nearest caller outside hybrid, or None when there is none.

    The demonstration package counts as user code."""
    frame: FrameType | None = sys._getframe(start)
    known = _KNOWN
    while frame is not None:
        filename = frame.f_code.co_filename
        skipped = known.get(filename)
        if skipped is None:
            skipped = _skips(filename)
        if not skipped:
            # without the Python function that a NamedTuple is made by
            site: Site = _new(Site, (filename, frame.f_lineno, frame.f_code.co_name))
            return site
        frame = frame.f_back
    return None


_new: Any = tuple.__new__
_KNOWN: dict[str, bool] = {}  # files, and whether their frames are skipped: asked at every op


def _skips(filename: str) -> bool:
    found = filename.startswith(_SKIPPED) and not filename.startswith(_DEMO)
    return keep(_KNOWN, filename, found, 4096)
