"""What every generator of GPU kernels gives, and the card they are made for.

Invariant: a kernel is `void NAME(ptr byval([N x i64]) %args)`: all that it is told is its N
argument words, in the order of architecture.md, with the address of a buffer where the CPU's words
hold the number of its slot; equal symbols mean equal texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

__all__ = ["Addresses", "Card", "GpuFunction", "LibraryCall", "STATUS", "CODE_SHIFT", "signature"]

STATUS = -1  # stands for the slot of the device's status words
CODE_SHIFT = 40  # of the number of a check above the position where it failed


class Card(NamedTuple):
    """Facts of a card that schedules are chosen by; the order of sums never is."""

    arch: str = "sm_90"
    name: str = "H100"
    multiprocessors: int = 132
    shared_bytes: int = 227 << 10  # that one block may ask for
    l2_bytes: int = 50 << 20
    warps: int = 64  # resident on a multiprocessor

    @property
    def threads(self) -> int:
        """Threads that the card keeps resident."""
        return 32 * self.warps * self.multiprocessors


class GpuFunction(NamedTuple):
    """One kernel launch over buffers that are not known yet.

    `text` is LLVM IR that defines `symbol`.  `words` are the arguments; the words at the positions
    `slots` are numbers of slots (STATUS: the status word) and become addresses at launch.  `blocks`
    of `threads` run with `shared` bytes of dynamic shared memory.  `temp` bytes of the workspace
    slot are used by all functions of one kernel together.

    The status is two words: a failed check stores `code + 1 + position` in the first one if it is
    0, and then also at the host's address in the second one; `code` is the word at the position
    `check` (-1: there is none), which says at launch which check of the program it is.

    `beside`: it needs nothing of the functions of the kernel before it, and may run beside them."""

    text: str
    symbol: str
    words: tuple[int, ...]
    slots: tuple[int, ...]
    blocks: int
    threads: int
    shared: int = 0
    temp: int = 0
    check: int = -1
    beside: bool = False

    def addressed(self, addresses: Sequence[int], code: int = 0) -> tuple[int, ...]:
        """The words with addresses of slots, and the number of the check; the last address is the
        status words'."""
        words = list(self.words)
        if self.check >= 0:
            words[self.check] = code << CODE_SHIFT
        for position in self.slots:
            words[position] = addresses[words[position]]
        return tuple(words)


Addresses = Sequence[int] | Mapping[int, int]  # by slot; STATUS: of the status words


class LibraryCall(NamedTuple):
    """One step of a kernel that a library does: `run(addresses, stream)` starts it.

    It allocates nothing and waits for nothing, so it may be captured.  `addresses` are those of
    `GpuFunction.addressed`; `slots` are the ones it touches, and those in `aligned` must be
    multiples of 16.  `temp` bytes of the workspace slot are used by all steps of one kernel
    together."""

    symbol: str
    run: Callable[[Addresses, int], None]
    slots: tuple[int, ...]
    aligned: tuple[int, ...]
    temp: int


def signature(words: int) -> str:
    """The first line of a kernel of so many words, for `finish_module`."""
    return f"define ptx_kernel void @NAME(ptr byval([{max(words, 1)} x i64]) align 8 %args)"
