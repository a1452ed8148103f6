"""A process that measures: `python -m benchmarks.gpu.child PART DEVICE PEERS`.

Cases come as lines of the input, rows go out as lines of JSON; a case is prepared at once and timed
when a second line says so.  Invariant: what libraries print is not taken for a row.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

from . import eager, kernels, products, steps
from .records import Row
from .timing import Device

__all__ = ["PARTS", "main"]

# part -> (cases, what prepares one)
PARTS: dict[str, tuple[tuple[str, ...], Any]] = {
    "kernels": (kernels.CASES, kernels.measure),
    "products": (products.CASES, products.measure),
    "eager": (eager.CASES, eager.measure),
    "steps": (steps.CASES, None),
    "gpt2": (steps.GPT2_CASES, None),
    "resnet": (steps.RESNET_CASES, None),
}


class Child:
    """One part on one device."""

    def __init__(self, part: str, device: str, peers: bool, tell: Callable[..., None]) -> None:
        self.part, self.device, self.peers, self.tell = part, Device(device), peers, tell
        self._rate = 0.0

    def rate(self) -> float:
        """The speed of a copy, measured once."""
        if not self._rate and self.part == "kernels":
            self._rate = kernels.copy_rate(self.device)
        return self._rate

    def prepared(self, case: str) -> Callable[[], Row]:
        """What measures a case."""
        measure = PARTS[self.part][1]
        if measure is None:
            early = lambda row: self.tell(early=row.to_dict())  # noqa: E731
            return steps.prepare(case, self.device, self.peers, early)
        return partial(measure, case, self.device, self.peers, self.rate())


def main() -> None:
    """Serve until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    part, device, peers = sys.argv[1:]

    def tell(**told: Any) -> None:
        answers.write(json.dumps(told) + "\n")
        answers.flush()

    child = Child(part, device, peers == "1", tell)
    tell(device=child.device.describe())
    for line in sys.stdin:
        case = line.strip()
        try:
            measure = child.prepared(case)
            tell(ready=case)
            sys.stdin.readline()
            row = measure()
        except Exception as error:
            traceback.print_exc()
            row = Row(case, {}, note=f"{type(error).__name__}: {error}"[:400])
        tell(row=row.to_dict())


if __name__ == "__main__":
    main()
