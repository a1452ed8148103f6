"""The recipe of a result for other sizes.

Invariant: it describes the result that a call gave; what is not described by the recipe of the
other recording, but for the parameters of views, is Unfit.
"""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from ....ir.tensor import Alias, Handle
from ...fallback.postponed import PostponingRecorder
from ...heap.allowlist import is_tuple
from ...heap.facts import same as known_same
from ...heap.structure import fields_of
from ...record.outputs import Box, Known, MovedStep, New, Plain, Spec, Unfit, ViewChain

__all__ = ["Recipes"]


class Recipes:
    """Recipes of one call; `numbered`: the value behind each output."""

    def __init__(self, recorder: PostponingRecorder, numbered: Sequence[int]) -> None:
        self.handles, self.numbered = recorder.handles, numbered
        self.inputs = [*recorder.args, *recorder.captures]
        self.seen: dict[int, int] = {}  # what the recipe calls an object -> its id

    def of(self, spec: Spec, value: Any) -> Spec:
        """The recipe of a value, which another call described so."""
        kind = type(spec)
        if isinstance(spec, New):
            return self._tensor(spec, value)
        if isinstance(spec, Known):
            same = value is self.inputs[spec.number]
        elif isinstance(spec, Plain):
            same = known_same(value, spec.value)
        else:
            same = isinstance(spec, Box) and type(value) is spec.type
        if not same:
            raise Unfit(f"returns something else than a {kind.__name__}")
        return self._box(spec, value) if isinstance(spec, Box) else spec

    def _same(self, ident: int, value: Any) -> bool:
        """Whether an object is in the result wherever the other one is."""
        return self.seen.setdefault(ident, id(value)) == id(value)

    def _box(self, spec: Box, value: Any) -> Box:
        keys, items = (), value
        if type(value) is dict or type(value) is OrderedDict:
            keys, items = tuple(value), list(value.values())
        elif type(value) is not list and not is_tuple(value):
            keys, items = fields_of(value) or ((), ())
        known = keys == spec.keys and len(items) == len(spec.items)
        if not known or not self._same(spec.ident, value):
            raise Unfit(f"returns another {type(value).__name__}")
        made = tuple(map(self.of, spec.items, items))
        return spec if all(map(operator.is_, made, spec.items)) else spec._replace(items=made)

    def _tensor(self, spec: New, value: Any) -> New:
        number = self.handles.get(id(value)) if isinstance(value, Handle) else None
        if number != self.numbered[spec.output] or not self._same(spec.ident, value):
            raise Unfit("returns another tensor")
        alias = getattr(value, "_x", None)
        base_now = alias.base if isinstance(alias, Alias) else None
        if spec.view is None:  # or of something that nobody can see
            if base_now is not None and any(base_now is tensor for tensor in self.inputs):
                raise Unfit("returns a view where there was none")
            return spec
        if base_now is None:
            raise Unfit("returns a tensor that is no view")
        assert alias is not None
        base, how, step = spec.view
        if isinstance(base, Known):
            same = self.inputs[base.number] is base_now
        elif isinstance(base, New):
            same = self._tensor(base, base_now) is base
        else:
            same = self._same(base, base_now)
        if isinstance(step, (MovedStep, ViewChain)) or alias.how != how or not same:
            raise Unfit("returns another view")
        if step is None:
            return spec
        if alias.parent is not base_now or alias.step is None:
            raise Unfit("returns another view")
        return spec._replace(view=(base, how, alias.step))
