"""A branch or loop that the host drives: graphs run on the device, and each decision is read back.

Invariant: the results are fresh arrays with the bits that the record's body gives; inputs are read
only.  A check that failed before a decision is raised where that is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ....core.aval import Aval
from ....ir.algorithm import Branch, Control, Traversal, While
from ..array import DeviceArray, address, empty, to_numpy, view
from ..copies import contiguous
from ..machine.devices import DeviceState

__all__ = ["DrivenControl"]

Run = Callable[[Sequence[Any]], Sequence[Any]]
Arrays = list[Any]


class DrivenControl:
    """`runs`: what the graphs inside give of device arrays, in the order of the algorithm's plans;
    `outs`: the avals of the results."""

    def __init__(
        self, algorithm: Control, runs: Sequence[Run], outs: Sequence[Aval], state: DeviceState
    ) -> None:
        self.algorithm, self.runs, self.outs, self.state = algorithm, runs, tuple(outs), state

    def __call__(self, given: Sequence[Any]) -> Arrays:
        """The results, in arrays of their own."""
        results = [empty(record) for record in self.outs]
        self.into(results, given)
        return results

    def into(self, targets: Sequence[DeviceArray], given: Sequence[Any]) -> None:
        """Put the results into contiguous arrays, none of which is an input."""
        match self.algorithm:
            case While(carry):
                made = self._loop(carry, given)
            case Traversal():
                made = self._walk(self.algorithm, targets, given)
            case Branch():
                made = self._chosen(given)
        for target, value in zip(targets, made):
            self._copy(target, value)

    def _loop(self, carry: int, given: Sequence[Any]) -> Arrays:
        test, body = self.runs
        values, rest = list(given[:carry]), given[carry:]
        while bool(to_numpy(test([*values, *rest])[0])):
            values = list(body([*values, *rest]))
        return values

    def _walk(
        self, walk: Traversal, targets: Sequence[DeviceArray], given: Sequence[Any]
    ) -> Arrays:
        (body,), end = self.runs, walk.carry + walk.rows
        values, rest = list(given[: walk.carry]), given[end:]
        walked = [contiguous(rows) for rows in given[walk.carry : end]]
        for number in _positions(walk):
            rows = [_row(whole, number) for whole in walked]
            made = body([*values, *rows, *rest])
            for whole, row in zip(targets[walk.carry :], made[walk.carry :]):
                self._copy(_row(whole, number), row)
            values = list(made[: walk.carry])
        return values

    def _chosen(self, given: Sequence[Any]) -> Arrays:
        index = int(to_numpy(given[0]))
        return list(self.runs[min(max(index, 0), len(self.runs) - 1)](given[1:]))

    def _copy(self, target: DeviceArray, value: Any) -> None:
        value = contiguous(value)
        if value.nbytes:
            self.state.enter()
            nbytes, stream = value.nbytes, self.state.stream
            self.state.driver.on_device(address(target), address(value), nbytes, stream)


def _positions(walk: Traversal) -> Iterator[int]:
    order = range(walk.count)
    return iter(reversed(order) if walk.reverse else order)


def _row(whole: DeviceArray, number: int) -> DeviceArray:
    """A row of a contiguous array, as an array over its memory."""
    return view(whole, whole.shape[1:], whole.strides[1:], number * whole.strides[0])
