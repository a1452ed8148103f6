"""The simulated card with a list of what the backend asks of its driver, and cards of any kind.

Invariant: `calls` holds every call that moves or orders work or takes memory, in order.
"""

from __future__ import annotations

from typing import Any

from gpu import SimulatedDriver

_NOTED = (
    *("allocate", "free", "drop_stream", "wait_stream", "wait_device", "drop_event"),
    *("record", "wait_event", "finish_event"),
)
_COPIES = ("to_device", "to_host", "on_device")


class FakeDriver(SimulatedDriver):
    """Cards of `total` bytes and some compute capability."""

    guards = False

    def __init__(self, cards: int = 1, total: int = 1 << 28, capability: int = 90) -> None:
        super().__init__(total, cards)
        self.total, self.capability = total, capability
        self.calls: list[tuple[Any, ...]] = []
        for name in _NOTED:
            self._note(name)
        for name in _COPIES:
            self._note(name, 2)

    def _note(self, name: str, skipped: int = 0) -> None:
        real = getattr(self, name)

        def noted(*given: Any) -> Any:
            self.calls.append((name, *given[skipped:]))
            return real(*given)

        setattr(self, name, noted)

    def held(self) -> int:
        """Bytes that are allocated on the current card."""
        return self.arena.live

    def attribute(self, device: int, number: int) -> int:
        known = {75: self.capability // 10, 76: self.capability % 10}
        return known.get(number) or super().attribute(device, number)

    def device_name(self, device: int) -> str:
        return f"Fake {device}"

    def elapsed(self, start: int, stop: int) -> float:
        return 1.5

    def _stream(self, name: str, stream: int) -> None:
        if stream > 100 or stream == 0:  # others are of another library
            super()._stream(name, stream)
