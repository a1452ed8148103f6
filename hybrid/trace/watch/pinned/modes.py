"""Modules that a call puts into training or evaluation.

Invariant: how such a module was when the call began is a fact of the start, so nothing that the
call did depends on more; a replay leaves it as the call did.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ...follow.places import Physical, PlaceSpot
from ...heap.allowlist import instance_dict
from ...heap.facts import Key
from ..events import Watch
from .starts import Inside

__all__ = ["Switched", "mode_places", "switched"]


class Switched(NamedTuple):
    """A module that is left in another mode than it was found in."""

    module: Any
    before: bool

    @property
    def spot(self) -> PlaceSpot:
        """The place that a replay stores to."""
        physical = "dict", id(instance_dict(self.module)), "training"
        return PlaceSpot(physical, "attr", self.module, "training")

    @property
    def key(self) -> Key:
        """The fact that says how a module is."""
        return Key("version", id(self.module), None)

    @property
    def start(self) -> Inside:
        """What that fact was when the call began."""
        return Inside(self.module, (self.module._version, self.before), None)

    def covers(self, key: Key) -> bool:
        """Whether a fact of the end of the call says nothing that the start does not."""
        return key == self.key or (key.holder == id(self.module) and key.key == self.spot.key)


def switched(watch: Watch) -> Iterator[Switched]:
    """The modules that a call leaves in another mode."""
    for module, before in watch.switched.values():
        if module.training is not before:
            yield Switched(module, before)


def mode_places(watch: Watch) -> frozenset[Physical]:
    """Where modules keep their modes that a call stored to, by whatever code."""
    return frozenset([Switched(*found).spot.physical for found in watch.switched.values()])
