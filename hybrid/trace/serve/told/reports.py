"""What a @function says of itself: its one warning, what it compiled, which facts it depends on.

Invariant: nothing here runs the user's function or changes what the next call does.
"""

from __future__ import annotations

import sys
import types
import warnings
import weakref
from typing import Any, NamedTuple

from ....control.taps import Probes
from ....core.errors import HybridError
from ....ir.graph.draw import Shown
from ...fallback.segments import Segments
from ...heap.allowlist import Wrapped, trusted
from ...heap.signature import Regard, signature_of, unchecked, with_defaults
from ...host.again import undo
from ..plans import ReplayPlan
from ..signatures import SignatureState, SignatureTable
from .versions import Kind, Version, line_of, versions_of

__all__ = ["Reports", "RunsEagerly", "CacheInfo"]


class RunsEagerly(UserWarning):
    """A @function whose Python runs at each call, and why, once per function; its operations are
    still collected into fused native segments where that pays.

    >>> import hybrid, warnings
    >>> noisy = hybrid.function(lambda x: print(x.item()))
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     for _ in range(3): noisy(hybrid.tensor(1.0))
    1.0
    1.0
    1.0
    >>> [w.category.__name__ for w in caught]
    ['RunsEagerly']
    """


class CacheInfo(NamedTuple):
    """Counts of one @function: calls that replayed, were recorded or ran eagerly, signatures seen,
    and plans held; calls whose ops ran in segments, segments known, and how often a plan or segment
    was compiled.

    >>> import hybrid
    >>> double = hybrid.function(lambda x: x + x)
    >>> for _ in range(5): _ = double(hybrid.ones(2))
    >>> info = double.cache_info()
    >>> info.records, info.replays, info.eager
    (2, 3, 0)
    """

    replays: int
    records: int
    eager: int
    signatures: int
    plans: int
    deferred: int
    segments: int
    compilations: int


def _with_pieces(info: CacheInfo, split: Any) -> CacheInfo:
    """The same with the recordings and plans of pieces; calls in pieces whose operations mostly run
    outside of plans are eager ones."""
    pieces = [step.decorated.cache_info() for step in split.steps.values() if not step.plain]
    records, plans, deferred, compilations = (
        sum(getattr(piece, name) for piece in pieces)
        for name in ("records", "plans", "deferred", "compilations")
    )
    whole = info.replays if not split.native and not info.plans else 0
    return info._replace(
        replays=info.replays - whole,
        records=info.records + records,
        eager=info.eager + whole,
        plans=info.plans + plans,
        deferred=info.deferred + deferred,
        compilations=info.compilations + compilations,
    )


def _with_inner(info: CacheInfo, linked: Any) -> CacheInfo:
    """The same with recordings and plans of functions that are called in linked code, whose calls
    are replays where the operations of those mostly run in plans."""
    inner = [function.cache_info() for function in linked.inner.decorated()]
    records, plans, compilations = (
        sum(getattr(each, name) for each in inner) for name in ("records", "plans", "compilations")
    )
    calls = min(linked.calls, info.eager) if linked.native else 0
    return info._replace(
        replays=info.replays + calls,
        records=info.records + records,
        eager=info.eager - calls,
        plans=info.plans + plans,
        compilations=info.compilations + compilations,
    )


class Reports(Wrapped):
    """The part of `Function` that people look at."""

    _signatures: SignatureTable
    _regard: Regard
    _said: set[str]
    _waiting: str
    _replays: int
    _records: int
    _eager: int
    _unseen: Any  # calls that are counted as eager and have yet to come
    _deferred: int
    _inner: int
    _probes: Probes
    _compiled: int
    _segments: Segments
    _looped = 0  # replays that are counted at their plans
    _straight: weakref.ref[ReplayPlan] | None = None  # the plan that others go to directly
    _direct: Any
    _attributed = 0  # of these, how many are counted at a plan, too
    _split: Any = None  # the function in pieces
    _linked: Any = None  # how calls run in linked code

    def _say(self, reason: str, text: str) -> None:
        """One message per function."""
        if not self._said:
            level, frame = 2, sys._getframe(1)
            while frame.f_back is not None and trusted(frame.f_code.co_filename):
                level, frame = level + 1, frame.f_back
            warnings.warn(f"{self._name()} {text}", RunsEagerly, stacklevel=level)
        self._said.add(reason or text)

    def _name(self) -> str:
        code = getattr(self.fn, "__code__", None)
        where = f" ({code.co_filename}:{code.co_firstlineno})" if code is not None else ""
        return f"@function {getattr(self.fn, '__qualname__', type(self.fn).__name__)}{where}"

    # ---- looking inside
    def wait(self, timeout: float | None = None) -> bool:
        """Wait until what was recorded is compiled."""
        raise NotImplementedError

    def _arguments(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments as a call would see them, with defaults."""
        if type(self.fn) is types.FunctionType:
            return with_defaults(self.fn, args, kwargs)
        return args, kwargs

    def _state(self, signature: Any) -> SignatureState | None:
        """The state of a signature, if there is one."""
        return self._signatures.get(signature) or self._signatures.older.get(signature)

    def graph(self, *args: Any, **kwargs: Any) -> Shown:
        """The graph that a call with these arguments replays; HybridError when there is none.

        >>> import hybrid
        >>> double = hybrid.function(lambda x: x + x)
        >>> for _ in range(2): _ = double(hybrid.ones(2))
        >>> double.graph(hybrid.ones(2))
        <graph: 1 inputs, 1 nodes, 1 outputs; print() it>
        """
        self.wait()
        state = self._state(signature_of(*self._arguments(args, kwargs), self._regard)[0])
        plans = (state.plans or state.resting) if state is not None else []
        if not plans:
            known = state is not None and state.why
            why = f": it {known}" if known else "; call it at least twice first"
            raise HybridError(f"{self._name()} has no graph for these arguments{why}")
        return Shown.of(plans[0].recording.graph)

    def prepared(self, *args: Any, **kwargs: Any) -> tuple[Any, str]:
        """(what was compiled for a call with these arguments, '') or (None, why there is nothing).

        Without arguments: for the signature that is replayed and was seen last.

        >>> import hybrid
        >>> double = hybrid.function(lambda x: x + x)
        >>> for _ in range(2): _ = double(hybrid.ones(2))
        >>> double.prepared(hybrid.ones(2))[1], double.prepared(hybrid.ones(3))[1][-29:]
        ('', ' call it at least twice first')
        """
        self.wait()
        args, kwargs = self._arguments(args, kwargs)
        signature = signature_of(args, kwargs, self._regard)[0]
        state = self._state(signature)
        if state is None and not args and not kwargs:
            latest, older = list(self._signatures.values()), list(self._signatures.older.values())
            states = (*reversed(latest), *reversed(older))
            state = next((found for found in states if found.plans), None)
        plans = (state.plans or state.resting) if state is not None else []
        if plans:
            return plans[0].run, ""
        unfit = (state.why if state is not None else "") or unchecked(signature)
        why = f"it {unfit}" if unfit else "call it at least twice first"
        return None, f"{self._name()} is not replayed for these arguments: {why}"

    def inputs(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """(what was compiled for a call, the values it would read), or (None, why not).

        >>> import hybrid
        >>> double = hybrid.function(lambda x: x + x)
        >>> for _ in range(2): _ = double(hybrid.ones(2))
        >>> double.inputs(hybrid.ones(2))[1]
        [array([1., 1.], dtype=float32)]
        """
        prepared, why = self.prepared(*args, **kwargs)
        if prepared is None:
            return None, why
        signature, tensors, _ = signature_of(*self._arguments(args, kwargs), self._regard)
        state = self._state(signature)
        plans = (state.plans or state.resting) if state is not None else []
        captures = plans[0].guard(tensors) if plans else None
        if plans:
            undo(plans[0].draws)
        if captures is None:
            why = "would be recorded again: Python state that it reads has changed"
            return None, f"{self._name()} {why}"
        return prepared, [tensor._v for tensor in (*tensors, *captures)]

    def cache_info(self) -> CacheInfo:
        """How calls were served so far.

        >>> import hybrid
        >>> double = hybrid.function(lambda x: x + x)
        >>> for _ in range(3): _ = double(hybrid.ones(2))
        >>> double.cache_info().replays
        1
        """
        states = list(self._signatures.everything())
        plans = sum(len(state.plans) for state in states)
        segments, split = self._segments, self._split
        info = CacheInfo(
            self._replays,
            self._records,
            self._eager - self._unseen,
            len(states),
            plans,
            self._deferred,
            len(segments.met),
            self._compiled + segments.compilations,
        )
        info = info if split is None else _with_pieces(info, split)
        linked = self._linked
        return info if linked is None else _with_inner(info, linked)

    def _attribute(self, plan: ReplayPlan | None = None) -> None:
        """Count the replays that needed no look at a signature at the plan that served them; from
        now on they are those of `plan`."""
        last = None if self._straight is None else self._straight()
        calls = self._replays - self._looped - self._attributed
        self._attributed += calls
        ways = getattr(self._direct, "ways", None) or getattr(self._direct, "stops", None)
        calls -= 0 if ways is None else ways.count()
        if last is not None:
            last.calls += calls
        elif self._split is not None:
            self._split.calls += calls
        if plan is not None:
            self._straight = weakref.ref(plan)

    def _begun(self) -> int:
        """How many calls have begun; a replay counts when it has returned."""
        return self._replays + self._records + self._eager + self._deferred + self._inner

    def probe(self, name: str) -> list[Any]:
        """What `hybrid.tap(x, name)` saw in the latest call, in order; replays too.

        The tensors are copies cut from the tape.  ArgumentError: no call has met such a tap.
        See `hybrid.tap`.

        >>> import hybrid
        >>> total = hybrid.function(lambda x: hybrid.tap(x * 2, "doubled").sum())
        >>> y = total(hybrid.ones(2))
        >>> [value.tolist() for value in total.probe("doubled")]
        [[2.0, 2.0]]
        """
        return self._probes.seen(name)

    def versions(self) -> list[Version]:
        """How each kind of call is served: signature, state, reason, line, calls, guards.

        >>> import hybrid
        >>> double = hybrid.function(lambda x: x + x)
        >>> for _ in range(5):
        ...     y = double(hybrid.ones(2))
        >>> [(v.signature, v.state, v.calls) for v in double.versions()]
        [('x: float32[2]', 'native', 3)]
        """
        self.wait()
        self._attribute()
        code = getattr(self.fn, "__code__", None)
        names = () if code is None else code.co_varnames[: code.co_argcount]
        table = self._signatures
        pairs = [*list(table.items()), *list(table.older.items())]
        found = [v for key, state in pairs for v in versions_of(key, state, names)]
        others = self._eager + self._deferred - sum(v.calls for v in found if v.state != "native")
        reason = next(iter(self._said), self._waiting)
        linked = self._linked
        if linked is not None and linked.native and others > 0:
            text = "calls of signatures that are not kept"
            found.append(Version(text, "native", "", "", min(linked.calls, others), ()))
            others -= linked.calls
        if reason and others > 0:
            kind: Kind = "deferred" if self._deferred else "eager"
            text = "calls of signatures that are not kept"
            found.append(Version(text, kind, reason, line_of(reason), others, ()))
        return found

    def explain(self) -> str:
        """State per signature: what is replayed behind which facts, or why nothing is.

        >>> import hybrid
        >>> double = hybrid.function(lambda x: x + x)
        >>> for _ in range(3): _ = double(hybrid.ones(2))
        >>> print(double.explain())
        @function <lambda> (...): 1 replays, 2 recorded calls, 0 eager calls, ...
        ...
        """
        self.wait()
        info = self.cache_info()
        lines = [
            f"{self._name()}: {info.replays} replays, {info.records} recorded calls, "
            f"{info.eager} eager calls, {info.deferred} calls in fused segments"
        ]
        for number, state in enumerate(self._signatures.everything()):
            lines += state.lines(number)
        lines += [] if self._linked is None else self._linked.lines()
        notes = [*self._said, "" if self._said else self._waiting]
        return "\n".join(lines + [f"note: {t}" for t in notes if t])

    def __repr__(self) -> str:
        return f"<{self._name()}>"
