"""The floating-point environment that hybrid computes in, wherever NumPy or Python compute for it.

Invariant: inside `plainly` arithmetic rounds to nearest, keeps subnormals and NumPy is silent,
whatever the caller's control word and `np.seterr` say; both are restored after.
Native kernels set the control word themselves.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

__all__ = ["plainly", "in_plain_floats", "sees_subnormals", "SETTINGS"]

Call = TypeVar("Call", bound=Callable[..., Any])
_DEFAULT = ctypes.c_void_p(-1)  # FE_DFL_ENV of glibc and musl
_Saved = ctypes.c_char * 256  # fenv_t takes 32 bytes on x86-64, 8 on AArch64


def _library() -> Any:
    """The C library with fegetenv and fesetenv, called with the GIL held; None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    for filename in (None, "libm.so.6"):
        try:
            library = ctypes.PyDLL(filename)
            library.fegetenv.argtypes = library.fesetenv.argtypes = [ctypes.c_void_p]
        except (OSError, AttributeError):
            continue
        return library
    return None


_LIBRARY = _library()


# names of the module, not literals: sums of literals are taken when the file is compiled, in
# whatever mode that thread has; _LITTLE is a quarter of the last place of 1, so that it shows in
# sums and differences with 1 only where rounding is not to nearest
_ONE, _LITTLE, _NORMAL, _LEAST = 1.0, 2.0**-54, 2.0**-1022, 5e-324


def sees_subnormals() -> bool:
    """Whether this thread takes subnormal operands for what they are: then reading is exact."""
    return _LEAST > 0.0


def _foreign() -> bool:
    """Whether this thread's arithmetic rounds otherwise than to nearest, or flushes to zero.

    Asked of the arithmetic itself: a few operations cost less than a call that reads the control
    word, and are the same on every machine."""
    nearest = _ONE + _LITTLE == _ONE and _ONE - _LITTLE == _ONE  # up; down or towards zero
    return not (nearest and _NORMAL * 0.5 > 0.0 and _LEAST > 0.0)  # results flushed; operands


# where NumPy keeps its settings of errors and buffers, as immutable objects; None: not there
SETTINGS: Any = getattr(getattr(np, "_core", None), "umath", None)
SETTINGS = getattr(SETTINGS, "_extobj_contextvar", None)


class _Everywhere:
    """Such a variable where NumPy has none that is known."""

    get, set = staticmethod(np.geterr), staticmethod(lambda settings: np.seterr(**settings))


_VARIABLE = _Everywhere if SETTINGS is None else SETTINGS
with np.errstate(all="ignore"):
    _QUIET = _VARIABLE.get()


def plainly(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """function(*args, **kwargs) as hybrid promises to compute (half a microsecond).

    A function and no scope of `with`: whatever a handler of signals raises, and wherever, the
    settings come back.

    >>> int(plainly(np.float32, 1e300) == np.inf)
    1
    """
    before, saved = _VARIABLE.get(), None
    try:
        _VARIABLE.set(_QUIET)
        if _LIBRARY is not None and _foreign():
            kept = _Saved()
            _LIBRARY.fegetenv(kept)
            saved = kept
            _LIBRARY.fesetenv(_DEFAULT)
        return function(*args, **kwargs)
    finally:  # CPython looks for signals behind calls, so none can be missed out
        try:
            _VARIABLE.set(before)
        finally:
            if saved is not None:
                _LIBRARY.fesetenv(saved)


def in_plain_floats(function: Call) -> Call:
    """f, run by `plainly`."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return plainly(function, *args, **kwargs)

    return wrapped  # type: ignore[return-value]
