"""Exception types of hybrid, and the formatting of a user's source line into a message.

Invariant: every error raised on purpose derives from HybridError and from the built-in type a NumPy
or PyTorch user would catch (TypeError, ValueError, IndexError, RuntimeError).
"""

from __future__ import annotations

import linecache
from typing import NamedTuple

__all__ = [
    "HybridError",
    "ShapeError",
    "DTypeError",
    "DeviceError",
    "IndexOutOfRange",
    "GraphError",
    "UnsupportedError",
    "BackendError",
    "Site",
]


class HybridError(Exception):
    """Base of every error that hybrid raises on purpose."""


class ShapeError(HybridError, ValueError):
    """Shapes or axes do not fit the operation."""


class DTypeError(HybridError, TypeError):
    """Dtypes do not fit the operation."""


class DeviceError(HybridError, RuntimeError):
    """Operands live on different devices, or the device is not available."""


class IndexOutOfRange(HybridError, IndexError):
    """An index lies outside the axis it addresses."""


class GraphError(HybridError, ValueError):
    """A graph or its text form is not valid."""


class UnsupportedError(HybridError, NotImplementedError):
    """The request is understood but not offered; the message says what to use instead."""


class BackendError(HybridError, RuntimeError):
    """The machine, or native code made for it, cannot do what was asked."""


class Site(NamedTuple):
    """A line of user code: where a node of a graph was made."""

    file: str
    line: int
    function: str

    def text(self) -> str:
        """The stripped source text of the line, or '' when the file cannot be read."""
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        code = self.text()
        return f"{self.file}:{self.line} in {self.function}" + (f": {code}" if code else "")
