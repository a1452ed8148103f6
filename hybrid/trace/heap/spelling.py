"""A signature in words, for people.

Invariant: only what the signature holds is told: no object of a user is looked at.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...core.aval import Aval
from ...ir.tensor import Leaf

__all__ = ["spelled", "parts"]

MOST_WORDS = 200  # characters of the text
_unpack = struct.Struct("d").unpack


def spelled(signature: Sequence[Any], names: Sequence[str] = ()) -> str:
    """The arguments that a signature stands for, by the `names` of the parameters."""
    text = ", ".join(parts(signature, names)) or "no arguments"
    return text if len(text) <= MOST_WORDS else f"{text[:MOST_WORDS]}..."


def parts(signature: Sequence[Any], names: Sequence[str] = ()) -> list[str]:
    """The same, argument by argument, and what else is part of it."""
    tokens, found = _Tokens(signature), list[str]()
    while tokens.more():
        token = tokens.take()
        if type(token) is int:
            found += [] if token & 1 else ["without gradients"]
            found += ["fast products"] if token & 2 else []
        elif type(token) is tuple and token and all(type(part) is int for part in token):
            found.append(f"{len(token) - len(set(token))} of them the same tensor as another")
        elif len(found) < len(names):
            found.append(f"{names[len(found)]}: {tokens.words(token)}")
        elif names and type(token) is tuple and token[0] is dict:
            flat = list(tokens.items(2 * token[1]))
            found += [f"{name[1:-1]}: {value}" for name, value in zip(flat[::2], flat[1::2])]
        else:
            found.append(tokens.words(token))
    return found


class _Tokens:
    """The entries of a signature, one after the other."""

    def __init__(self, signature: Sequence[Any]) -> None:
        self.signature, self.at = signature, 0

    def more(self) -> bool:
        """Whether there are any left."""
        return self.at < len(self.signature)

    def take(self) -> Any:
        """The next one."""
        token = self.signature[self.at] if self.more() else None
        self.at += 1
        return token

    def words(self, token: Any) -> str:
        """What an entry, and those that belong to it, stand for."""
        if isinstance(token, Aval):
            return self._array(token)
        if token is slice or token is range:
            return f"{token.__name__}({', '.join(self.items(3))})"
        if type(token) is not tuple or not token:
            return "an object"
        kind = token[0]
        if len(token) == 2 and type(kind) is type:
            return self._builtin(kind, token[1])
        if len(token) == 2 and type(token[1]) is type:
            return f"any {token[1].__name__}"
        if len(token) == 3 and kind is complex:
            return repr(complex(_unpack(token[1])[0], _unpack(token[2])[0]))
        if len(token) == 3 and type(token[2]) is int:
            return f"a named tuple ({', '.join(self.items(token[2]))})"
        structured = len(token) == 2 and type(token[1]) is tuple
        return "a structure of what follows" if structured else "an object"

    def _array(self, aval: Aval) -> str:
        kind = self.take()
        if isinstance(kind, type):
            suffix = {Leaf: ", which requires a gradient", tuple: ", computed with a gradient"}
            return f"{aval}{suffix.get(kind, '')}"
        named = type(kind) is tuple and kind and type(kind[0]) is str
        return f"{kind[0] if named else 'array'} {aval}"

    def _builtin(self, kind: type, content: Any) -> str:
        if kind is float and type(content) is bytes:
            return repr(_unpack(content)[0])
        if kind is list or kind is tuple:
            ends = "[]" if kind is list else "()"
            return f"{ends[0]}{', '.join(self.items(content))}{ends[1]}"
        if kind is dict:
            flat = list(self.items(2 * content))
            pairs = zip(flat[::2], flat[1::2])
            return f"{{{', '.join(f'{key}: {value}' for key, value in pairs)}}}"
        if kind is np.ndarray or issubclass(kind, (np.generic, np.dtype)):
            return f"a {kind.__name__} by its content"
        return repr(content)[:40]

    def items(self, count: int) -> Iterator[str]:
        """The next so many values."""
        for _ in range(count):
            yield self.words(self.take())
