"""Exception types of hybrid, and the formatting of a user's source line into a message.

Invariant: every error raised on purpose derives from HybridError and from the built-in type a NumPy
or PyTorch user would catch (TypeError, ValueError, IndexError, RuntimeError, BufferError).
"""

from __future__ import annotations

import linecache
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "HybridError",
    "ShapeError",
    "DTypeError",
    "DeviceError",
    "ArgumentError",
    "IndexOutOfRange",
    "AxisError",
    "LinAlgError",
    "GraphError",
    "UnsupportedError",
    "BackendError",
    "ExchangeError",
    "Site",
    "blame",
    "blamed",
    "shape_text",
    "value_text",
]


class HybridError(Exception):
    """Base of every error that hybrid raises on purpose.

    >>> import hybrid
    >>> try:
    ...     hybrid.ones(2) + hybrid.ones(3)
    ... except hybrid.HybridError as error:
    ...     print(type(error).__name__)
    ShapeError
    """


class ShapeError(HybridError, ValueError):
    """Shapes or axes do not fit the operation; a ValueError.

    >>> import hybrid
    >>> hybrid.ones((2, 3)) @ hybrid.ones((2, 3))
    Traceback (most recent call last):
    hybrid.core.errors.ShapeError: ...
    """


class DTypeError(HybridError, TypeError):
    """Dtypes do not fit the operation; a TypeError.

    >>> import hybrid
    >>> hybrid.ones(2) & hybrid.ones(2)
    Traceback (most recent call last):
    hybrid.core.errors.DTypeError: ...
    """


class DeviceError(HybridError, RuntimeError):
    """Operands live on different devices, or the device is not available; a RuntimeError.

    >>> import hybrid
    >>> hybrid.ones(2).to("cuda:99")
    Traceback (most recent call last):
    hybrid.core.errors.DeviceError: ...
    """


class ArgumentError(HybridError, TypeError, ValueError):
    """An argument is of a kind, or has a value, that the function does not take; a TypeError and a
    ValueError.

    >>> import hybrid
    >>> hybrid.set_matmul_precision("sloppy")
    Traceback (most recent call last):
    hybrid.core.errors.ArgumentError: ...
    """


class IndexOutOfRange(HybridError, IndexError):
    """An index lies outside the axis it addresses; an IndexError.

    >>> import hybrid
    >>> hybrid.arange(3)[5]
    Traceback (most recent call last):
    hybrid.core.errors.IndexOutOfRange: ...
    """


class AxisError(ShapeError, IndexOutOfRange):
    """An axis that the operand does not have; a ShapeError and an IndexError, as NumPy's of that
    name.

    >>> import hybrid
    >>> hybrid.sum(hybrid.ones(2), axis=1)
    Traceback (most recent call last):
    hybrid.core.errors.AxisError: ...
    """


class LinAlgError(HybridError, np.linalg.LinAlgError):
    """A matrix is singular or not positive definite, or an iteration did not converge; NumPy's
    LinAlgError, which is a ValueError.

    >>> import hybrid
    >>> hybrid.linalg.inv(hybrid.zeros(2, 2))
    Traceback (most recent call last):
    hybrid.core.errors.LinAlgError: inv: a singular matrix
    """


class GraphError(HybridError, ValueError):
    """A graph or its text form is not valid; a ValueError.

    >>> import hybrid
    >>> from hybrid.ir.graph.text import parse_graph
    >>> parse_graph("no graph")
    Traceback (most recent call last):
    hybrid.core.errors.GraphError: ...
    """


class UnsupportedError(HybridError, NotImplementedError):
    """The request is understood but not offered; the message says what to use instead.

    >>> import hybrid
    >>> hybrid.arange(3).view(hybrid.float64)
    Traceback (most recent call last):
    hybrid.core.errors.UnsupportedError: ...
    """


class BackendError(HybridError, RuntimeError):
    """The machine, or native code made for it, cannot do what was asked; a RuntimeError.

    >>> import hybrid
    >>> issubclass(hybrid.BackendError, RuntimeError)
    True
    """


class ExchangeError(HybridError, BufferError):
    """A tensor cannot be handed to another library in the way that it asks for; a BufferError, as
    DLPack wants it.

    >>> import hybrid
    >>> hybrid.ones(2).__dlpack__(dl_device=(2, 0))
    Traceback (most recent call last):
    hybrid.core.errors.ExchangeError: ...
    """


def value_text(value: Any) -> str:
    """A plain value in a message, cut where it is long (Python refuses to print huge ints)."""
    if type(value) is int and value.bit_length() > 200:
        return f"an int of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]}..."


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape in a message, whatever it holds."""
    if len(shape) > 16:
        return f"of {len(shape)} axes"
    return f"({', '.join(map(value_text, shape))}{',' if len(shape) == 1 else ''})"


class Site(NamedTuple):
    """A line of user code: where a node of a graph was made.

    >>> import hybrid
    >>> print(hybrid.Site("model.py", 12, "forward"))
    model.py:12 in forward
    """

    file: str
    line: int
    function: str

    def text(self) -> str:
        """The stripped source text of the line, or '' when the file cannot be read.

        >>> import hybrid
        >>> hybrid.Site(hybrid.core.errors.__file__, 7, "module").text()
        'from __future__ import annotations'
        """
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        source = self.text()
        return f"{self.file}:{self.line} in {self.function}" + (f": {source}" if source else "")


def blame(error: Exception, **what: Any) -> None:
    """Note on an error what was being worked on; the first note of a name stays.

    >>> e = ValueError(); blame(e, step="fuse"); blame(e, step="build"); blamed(e)
    {'step': 'fuse'}
    """
    noted = error.__dict__.setdefault("_blamed", {})
    for name, value in what.items():
        noted.setdefault(name, value)


def blamed(error: Exception) -> dict[str, Any]:
    """What `blame` noted on an error."""
    found: dict[str, Any] = error.__dict__.get("_blamed", {})
    return found
