"""What every generator of kernels gives: the text of one function and how to launch it.

Invariant: equal symbols mean equal texts; everything that differs between kernels of one text is in
the argument words, which are unsigned 64-bit numbers once they are packed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ["Generated", "SlotRef", "Template", "Word", "WORD_MASK", "pack_words"]

WORD_MASK = (1 << 64) - 1


class Generated(NamedTuple):
    """A function of the kernel ABI, ready to compile and run.

    `text` defines `symbol`; `words` are its arguments; its `items` may be split freely, `grain` of
    them make a sensible chunk; `scratch` bytes are needed by each thread, `temp` bytes of the
    workspace slot by all functions of one kernel together."""

    text: str
    symbol: str
    words: tuple[int, ...]
    items: int
    grain: int
    scratch: int
    temp: int = 0


class SlotRef(NamedTuple):
    """A word that is known when the operand of this name gets its buffer: the number of its slot,
    or the byte offset of its first element."""

    operand: str
    is_offset: bool = False


Word = int | SlotRef


def pack_words(words: Sequence[Word], slots: Mapping[SlotRef, int]) -> tuple[int, ...]:
    """Words as unsigned numbers, with references replaced by what `slots` says."""
    return tuple(
        [(slots[word] if isinstance(word, SlotRef) else word) & WORD_MASK for word in words]
    )


class Template(NamedTuple):
    """A generated function that is not tied to buffers yet: `words` stand in place of the empty
    words of `function`."""

    function: Generated
    words: tuple[Word, ...]

    def over(self, slots: Mapping[SlotRef, int]) -> Generated:
        """The function over these buffers."""
        return self.function._replace(words=pack_words(self.words, slots))
