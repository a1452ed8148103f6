"""The status words of a device: how a check that failed on the card becomes an error.

Invariant: the first failed check since the last look is the one that is raised, once; looking costs
one read of the host's memory, after a wait.
"""

from __future__ import annotations

import ctypes
from typing import Any

from ....core.cache import keep
from ....core.errors import HybridError, IndexOutOfRange, Site
from ..function import CODE_SHIFT
from .driver import Driver

__all__ = ["Status"]

_MOST_CODES = (1 << 20) - 1  # numbers of checks, from 1; they start anew after so many


class Status:
    """Two words on the card: the status, and the address of the word `host` on the host, which a
    failed check writes too."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._pinned = driver.allocate_host(64)
        words: Any = (ctypes.c_int64 * 4).from_address(self._pinned)
        self._words = words
        words[:] = (0, 0, 0, self._pinned)  # the host's word, a gap, what the card's words are
        self.address = driver.allocate(16)
        self.clear()
        self._known: dict[Any, int] = {}
        self._checks: dict[int, tuple[str, Site | None]] = {}

    def clear(self) -> None:
        """Forget the check that failed."""
        self._words[0] = 0
        self._driver.to_device(self.address, self.blank_address, 16)
        self._driver.wait_stream(0)  # the next kernel may be on another stream

    @property
    def host_address(self) -> int:
        """Where the host's word is."""
        return self._pinned

    @property
    def blank_address(self) -> int:
        """Where on the host the words are that the card's are when nothing has failed."""
        return self._pinned + 16

    def code(self, message: str, site: Site | None = None) -> int:
        """The number of a check, which its kernel puts into the status where it fails."""
        key = message, site
        found = self._known.get(key)
        if found is None:
            number = len(self._known) % _MOST_CODES + 1
            found = keep(self._known, key, number, _MOST_CODES)
            self._checks[found] = key
        return found

    def failed(self) -> bool:
        """Whether a check has failed, as far as the host knows."""
        return bool(self._words[0])

    def check(self) -> None:
        """Raise the error of a check that failed, if one did: to be called after a wait."""
        if self._words[0]:
            raise self.taken()

    def taken(self) -> HybridError:
        """The error of the check that failed; the status is clear afterwards."""
        error = self.error(self._words[0] >> CODE_SHIFT)
        self.clear()
        return error

    def seen(self) -> HybridError:
        """The error of the check that failed; it stays for where the host looks next."""
        return self.error(self._words[0] >> CODE_SHIFT)

    def error(self, code: int) -> HybridError:
        """The error of the check with a number."""
        message, site = self._checks.get(code, ("an index is out of range", None))
        return IndexOutOfRange(f"{message} (at {site})" if site else message)
