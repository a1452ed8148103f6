"""Public functions of records without parameters: `bind` written out flat for one and two inputs.

Invariant: the tables of a flat function hold only signatures that need no conversion, and it does
for them what `bind` does; every other call goes through the general door.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache, partial
from operator import is_
from types import CodeType, FunctionType
from typing import Any

from ...core.cache import keep
from ..numpys import universal
from ..op import Op, in_words
from ..tensor import RUNTIME, Handle
from .bind import bind, constant_of, is_complex, of_parts, resolve, run
from .context import LOCAL, STATE
from .guard import clear_error, into, shielded
from .pending import COLLECTING
from .resolved import FAST, TABLE_LIMIT, Resolved

__all__ = [
    "function_of",
    "flat",
    "set_tensor_class",
]

# namespaces of the flat functions: a global of their own is found faster than an attribute, so the
# class of tensors is written into each of them when it is known
_SPACES: list[dict[str, Any]] = []
_NUMBERS = frozenset([float, int])
Accept = Callable[..., tuple[Any, ...]]  # arguments -> tensors
_BINARY = """
def {name}(x, y, /, out=None{more}):
    if out is not None{or_more}: return otherwise(out{more_given}, inputs=(x, y))
    try:
        a = x._a; b = y._a
        if STATE.special: return slow(OP, (x, y))
        e = same[a] if a is b else table[a, b]
        xn = x._node; yn = y._node
        xv = x._v; yv = y._v
    except (AttributeError, KeyError, TypeError): e = None
    if e is None:
        if STATE.special: return slow(OP, (x, y))
        found = scalars.get((type(y), y, x._a)) if type(y) in NUMBERS and isinstance(x, H) else None
        if found is None: return first(x, y)
        e, yv = found
        xn = x._node; xv = x._v; yn = None
    out = new(T)
    out._v = v = e.kernel(xv, yv)
    out._a = e.out
    if xn is None and yn is None or not e.differentiable: out._node = None
    else: out._node = (e, (xn, yn), ({k0}, {k1}), {ko})
    return out
"""
# what NumPy's universal functions take beside (None: not given), whether it is there, and as given
_MORE = {
    "more": ", where=None, dtype=None, casting=None, order=None, subok=None",
    "or_more": " or dtype is not None or where is not None or order is not None",
    "more_given": ", where, dtype, casting, order",
}
_UNARY = """
def {name}(x, /, out=None{more}):
    if out is not None{or_more}: return otherwise(out{more_given}, inputs=(x,))
    try:
        a = x._a
        if STATE.special: return slow(OP, (x,))
        e = same[a]
    except (AttributeError, KeyError, TypeError): e = None
    if e is None: return first(x)
    out = new(T)
    xn = x._node
    xv = x._v
    out._v = v = e.kernel(xv)
    out._a = e.out
    if xn is None or not e.differentiable: out._node = None
    else: out._node = (e, (xn,), ({k0},), {ko})
    return out
"""


def described(op: Op) -> str:
    """The docstring of a record's function: what the record says, and after its first paragraph
    what follows from its rules for shapes and dtypes."""
    rules = in_words(op)
    if not rules:
        return op.doc
    head, _, rest = op.doc.partition("\n\n")
    indent = rest[: len(rest) - len(rest.lstrip())]
    return "\n\n".join(filter(None, (head, indent + rules, rest)))


def function_of(op: Op) -> Callable[..., Any]:
    """The function of a record; of a map record without parameters a flat one for one and two
    inputs.

    The fast tables hold only signatures that need no promotion; everything else takes `bind`.
    """
    if op.kind != "map" or op.nin not in (1, 2) or op.nout != 1 or op.params or op.check:

        def function(*inputs: Any, **params: Any) -> Any:
            if op.nin is not None and len(inputs) != op.nin:
                raise TypeError(f"{op.name} takes {op.nin} tensors, not {len(inputs)}")
            return bind(op, *inputs, **params)

        if op.nin and op.body is not None and not op.params:
            names = op.body.__code__.co_varnames[1 : 1 + op.nin]
            kind = inspect.Parameter.POSITIONAL_ONLY
            signature = inspect.Signature([inspect.Parameter(name, kind) for name in names])
            function.__signature__ = signature  # type: ignore[attr-defined]
    else:
        function = _flat(op)
    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = described(op)
    function.op = op  # type: ignore[attr-defined]
    # whether all that is done with numbers among its arguments is to make operands of them
    function.operands_only = op.kind == "map" and not op.params  # type: ignore[attr-defined]
    return function


def flat(op: Op, accept: Accept) -> Callable[..., Any]:
    """A function of two tensors for a record without parameters, whose arguments become tensors
    by `accept`, which refuses what the op does not take."""
    return _flat(op, accept)


class _Tables:
    """The signatures that a flat function knows, none of which needs a conversion."""

    def __init__(self) -> None:
        self.same: dict[Any, Resolved] = {}  # by the one record that all inputs have
        self.pairs: dict[Any, Resolved] = {}
        # (type, number, aval): what is resolved, and the value of the number's literal
        self.scalars: dict[Any, tuple[Resolved, Any]] = {}
        self.literals: dict[Any, Any] = {}  # the same: tensors of the numbers
        FAST.extend((self.same, self.pairs, self.scalars, self.literals))

    def known(self, inputs: tuple[Any, ...]) -> tuple[Resolved, tuple[Any, ...]] | None:
        """What a call means, and its tensors; None where that is not known."""
        try:
            record = inputs[0]._a
            if len(inputs) == 1:
                return self.same[record], inputs
            x, y = inputs
            if type(y) in _NUMBERS:
                signature = type(y), y, record
                return self.scalars[signature][0], (x, self.literals[signature])
            return self.same[record] if record is y._a else self.pairs[record, y._a], inputs
        except (AttributeError, KeyError, TypeError):
            return None

    def learn(self, resolved: Resolved, inputs: tuple[Any, ...], tensors: tuple[Any, ...]) -> None:
        """Keep what a call of `inputs` meant, if the same call means it again."""
        if len(inputs) == 2 and type(inputs[1]) in _NUMBERS:
            self._learn_number(resolved, *inputs, tensors)
        elif all(map(is_, inputs, tensors)):
            first, *others = resolved.ins
            if others and others[0] is not first:
                keep(self.pairs, resolved.ins, resolved, TABLE_LIMIT)
            else:
                keep(self.same, first, resolved, TABLE_LIMIT)

    def _learn_number(
        self, resolved: Resolved, tensor: Any, number: Any, tensors: tuple[Any, ...]
    ) -> None:
        """The number is part of the key, so 0.0 (equal to -0.0) is not kept; neither is a call
        that converts the tensor."""
        known = tensors[0] is tensor and constant_of(tensors[1]) is not None
        if known and not (number == 0 and type(number) is float):
            signature = type(number), number, tensor._a
            keep(self.scalars, signature, (resolved, tensors[1]._v), TABLE_LIMIT)
            keep(self.literals, signature, tensors[1], TABLE_LIMIT)


def _learner(op: Op, accept: Accept | None, tables: _Tables) -> Callable[..., Any]:
    """What a flat function does with calls that its tables do not know; it fills the tables."""

    def first(*inputs: Any) -> Any:
        """Find out what the call means, run that, then remember it."""
        given = inputs if accept is None else accept(*inputs)
        if any(map(is_complex, given)):
            return of_parts(op, given, {})
        resolved, tensors = resolve(op, given)
        result = run(resolved, tensors)
        mode = LOCAL.mode
        if not COLLECTING if mode is None else mode.defers:
            tables.learn(resolved, inputs, tensors)
        return result

    return first


def _special(tables: _Tables, slow: Any, first: Any) -> Callable[..., Any]:
    """What a flat function does where the tape is off or a mode may collect ops; `slow` is for
    other modes."""
    same, pairs, scalars, literals = tables.same, tables.pairs, tables.scalars, tables.literals
    known = tables.known

    def special(_: Op, inputs: tuple[Any, ...]) -> Any:
        mode = LOCAL.mode
        if mode is None and not COLLECTING:  # no more than a tape that is off
            found = known(inputs)
            return first(*inputs) if found is None else run(*found)
        if mode is None or not mode.defers:
            return slow(*inputs)
        resolved: Resolved | None = None
        y, others = None, inputs[1:]
        try:
            x = inputs[0]
            record = x._a
            if not others:
                resolved = same[record]
            else:
                y = others[0]
                if type(y) in _NUMBERS:
                    signature = type(y), y, record
                    meant, y = scalars[signature][0], literals[signature]
                else:
                    other = y._a
                    meant = same[record] if record is other else pairs[record, other]
                on_tape = x._node is not None or y._node is not None
                resolved = meant
        except (AttributeError, KeyError, TypeError):
            pass
        # behind the handler: what it caught is no context of an error of the call
        if resolved is None:
            return first(*inputs)
        if not resolved.pure:
            return run(resolved, (x, y) if others else inputs)
        if not others:
            return mode.collect(resolved, inputs)
        return mode.collect(resolved, (x, y)) if on_tape else mode.two(resolved, x, y)

    return special


def _flat(op: Op, accept: Accept | None = None) -> Callable[..., Any]:
    tables, saved, ufunc = _Tables(), op.keeps, universal(op.name, "")
    code = _template(
        op.nin == 2,
        "0" in saved or "*" in saved,
        "1" in saved or "*" in saved,
        "out" in saved,
        ufunc is not None,
    )

    def general(*inputs: Any) -> Any:
        return bind(op, *(inputs if accept is None else accept(*inputs)))

    door, learner = shielded(op.name, general), shielded(op.name, _learner(op, accept, tables))
    space: dict[str, Any] = {
        "STATE": STATE,
        "slow": _special(tables, door, learner),
        "OP": op,
        "same": tables.same,
        "table": tables.pairs,
        "first": learner,
        "new": object.__new__,
        "T": RUNTIME.tensor,
        "scalars": tables.scalars,
        "H": Handle,
        "NUMBERS": _NUMBERS,
    }
    _SPACES.append(space)
    function = FunctionType(
        code.replace(co_name=op.name, co_qualname=op.name, co_filename=f"<hybrid {op.name}>"),
        space,
        op.name,
        (None,) if ufunc is None else (None,) * 6,
    )
    space["otherwise"] = partial(_otherwise, function, ufunc)
    return function


def _otherwise(
    function: Callable[..., Any],
    ufunc: Any,
    out: Any,
    where: Any = None,
    dtype: Any = None,
    casting: Any = None,
    order: Any = None,
    *,
    inputs: tuple[Any, ...],
) -> Any:
    """A call of a flat function with more than operands."""
    told = {"out": out, "where": where, "dtype": dtype, "casting": casting, "order": order}
    given = {name: value for name, value in told.items() if value is not None}
    if not given.keys() - {"out"}:
        return into(out, function(*inputs))
    try:
        return RUNTIME.looped(ufunc, function, inputs, **given)
    except Exception as error:
        problem = clear_error(function.__name__, error, given, {}, {})
        if problem is None:
            raise
        raise problem from error


@lru_cache(None)
def _template(binary: bool, keep0: bool, keep1: bool, keep_out: bool, loops: bool) -> CodeType:
    """The code of a flat function, compiled once per form of its tape node and of arguments."""
    text = (_BINARY if binary else _UNARY).format(
        name="flat",
        k0="xv" if keep0 else "None",
        k1="yv" if keep1 else "None",
        ko="(v,)" if keep_out else "None",
        **(_MORE if loops else dict.fromkeys(_MORE, "")),
    )
    made = compile(text, "<hybrid>", "exec")
    return next(c for c in made.co_consts if isinstance(c, CodeType))


def set_tensor_class(cls: type) -> None:
    """The class of every result; eager/tensor.py calls this once."""
    RUNTIME.tensor = cls
    for space in _SPACES:
        space["T"] = cls
