"""The outer skin of public functions: an error from the inside leaves as one about the arguments.

Invariant: a call that succeeds pays one Python call and no check; errors that hybrid raises on
purpose, and errors out of the user's own code, pass unchanged.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dis import opmap
from functools import lru_cache, partial
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from ...core.errors import ArgumentError, DTypeError, HybridError, IndexOutOfRange
from ...core.sites import users_code
from ...core.spelling import SPELLINGS, hint
from ..numpys import asks_nothing, counterparts, numpys_parameters, takes_out, universal
from ..tensor import RUNTIME
from .arguments import blame, described

__all__ = ["guarded", "guard_all", "guard_methods", "shielded", "into"]

_RAISE = opmap["RAISE_VARARGS"]
_PLANNED = (TypeError, ValueError, IndexError, KeyError, OverflowError, AttributeError)
_KINDS = inspect.Parameter
_METHODS = "__init__ __getitem__ __setitem__ __array__ __format__ __contains__ __round__ __ior__"
_PROTOCOL = frozenset(_METHODS.split())


def _traceback(error: BaseException) -> list[tuple[CodeType, int]]:
    """(code, instruction) of every frame below the guard, outermost first."""
    found, trace = [], error.__traceback__
    while trace is not None:
        found.append((trace.tb_frame.f_code, trace.tb_lasti))
        trace = trace.tb_next
    return found[1:]


def _planned(error: BaseException, frames: list[tuple[CodeType, int]]) -> bool:
    """Whether a `raise` statement of hybrid's own, not C code and not NumPy, made the error."""
    if not frames or not isinstance(error, (*_PLANNED, NotImplementedError, MemoryError)):
        return False
    code, offset = frames[-1]
    if users_code(code.co_filename) or "numpy" in code.co_filename:
        return False
    return code.co_code[offset] == _RAISE


def clear_error(
    name: str,
    error: Exception,
    given: Mapping[str, Any],
    annotations: Mapping[str, Any],
    defaults: Mapping[str, Any],
) -> Exception | None:
    """What to raise in place of an error that left a public function; None to let it pass."""
    if isinstance(error, (HybridError, StopIteration)):
        return None
    frames = _traceback(error)
    if any(users_code(code.co_filename) for code, _ in frames):
        return None
    if _planned(error, frames):
        return None
    if isinstance(error, RecursionError):
        return None
    found = blame(given, annotations, defaults)
    if found is not None:
        kind = DTypeError if "makes one" in found else ArgumentError
        return kind(f"{name}: {found}")
    if isinstance(error, (Warning, RuntimeError)):
        return None
    if isinstance(error, MemoryError):
        text = str(error) or "there is not enough memory for the result or for a step of it"
        return None if str(error) else MemoryError(f"{name}: {text}")
    shown = {n: v for n, v in given.items() if n != "self" and not n.startswith("**")}
    call = ", ".join(f"{n.lstrip('*')}={described(v)}" for n, v in shown.items())
    other = IndexOutOfRange if isinstance(error, IndexError) else ArgumentError
    return other(f"{name}({call}): these arguments do not fit what {name} takes")


# ---- functions
class _Missing:
    """Stands for an argument that was not given."""

    def __repr__(self) -> str:
        return "<no value>"


_MISSING = _Missing()
_STAR = {int(_KINDS.VAR_POSITIONAL): "*", int(_KINDS.VAR_KEYWORD): "**"}
_SPREAD = ("shape", "sizes", "axes")  # f(*shape) may be called as f(shape=...), too
_TEXT = """
def guarded({head}):
    if {refuse}: return _other({names})
    try: return _inner({call})
    except Exception as error:
        problem = _clear(error, {names})
        if problem is None: raise
        raise problem from error
"""


@lru_cache(None)
def _template(spec: tuple[tuple[int, bool, bool], ...]) -> CodeType:
    """The code of a guarded function whose parameters are p0, p1, ... (their kinds, whether each
    has a default, whether it may not be left out), compiled once per list."""
    head, call, held, refuse = [], [], [], []
    kinds = [kind for kind, _, _ in spec]
    stars = ["*_more"] if _KINDS.VAR_POSITIONAL not in kinds else []
    for number, (kind, default, needed) in enumerate(spec):
        name = f"p{number}"
        if number and kinds[number - 1] == _KINDS.POSITIONAL_ONLY != kind:
            head.append("/")
        if kind > _KINDS.VAR_POSITIONAL and stars and kinds.index(kind) == number:
            head.append(stars.pop())
        star = _STAR.get(kind, "")
        refuse += [f"{name} is _missing"] if needed else []
        head.append(f"{star}{name}" + ("=None" if default or needed else ""))
        call.append(f"{name}={name}" if kind == _KINDS.KEYWORD_ONLY else f"{star}{name}")
        held.append(f"{star + name!r}: {name}")
    if kinds and kinds[-1] == _KINDS.POSITIONAL_ONLY:
        head.append("/")
    head += stars
    if _KINDS.VAR_POSITIONAL not in kinds:
        held.append("'*_more': _more")
        refuse.insert(0, "_more")
    if _KINDS.VAR_KEYWORD not in kinds:
        head.append("**_unknown")
        held.append("'**_unknown': _unknown")
        refuse.insert(0, "_unknown")
    text = _TEXT.format(
        head=", ".join(head),
        refuse=" or ".join(refuse) or "False",
        call=", ".join(call),
        names=f"{{{', '.join(held)}}}",
    )
    compiled = compile(text, "<hybrid>", "exec")
    return next(c for c in compiled.co_consts if isinstance(c, CodeType))


def _named(template: CodeType, names: Sequence[str], shown: str, qualified: str) -> CodeType:
    """A template whose parameters have names: far cheaper than a compilation of its own."""
    stars = ("", "*", "**")
    to = {f"{star}p{n}": f"{star}{name}" for n, name in enumerate(names) for star in stars}

    def renamed(constant: Any) -> Any:
        if isinstance(constant, tuple):
            return tuple(map(renamed, constant))
        return to.get(constant, constant) if isinstance(constant, str) else constant

    return template.replace(
        co_varnames=renamed(template.co_varnames),
        co_consts=renamed(template.co_consts),
        co_name=shown,
        co_qualname=qualified,
        co_filename=f"<hybrid {shown}>",
    )


class _Parameter(NamedTuple):
    """What `inspect.Parameter` says, without its checks; no default is `_MISSING`."""

    name: str
    kind: int
    default: Any


def _needed(parameter: _Parameter) -> bool:
    """Whether a call without it gets an error of ours, which says how others spell it."""
    name, kind, default = parameter
    return kind <= _KINDS.POSITIONAL_OR_KEYWORD and name != "self" and default is _MISSING


_SIGNATURES = {"__wrapped__", "__signature__"}  # what says more of a function than its code


def _parameters(function: Any) -> list[_Parameter]:
    told = isinstance(function, FunctionType) and not vars(function).keys() & _SIGNATURES
    if not told:
        given = inspect.signature(function).parameters.values()
        return [
            _Parameter(p.name, p.kind, _MISSING if p.default is p.empty else p.default)
            for p in given
        ]
    code, defaults = function.__code__, function.__defaults__ or ()
    count, only = code.co_argcount, code.co_kwonlyargcount
    names, keywords = iter(code.co_varnames), function.__kwdefaults__ or {}
    first, found = count - len(defaults), []
    for number, name in enumerate(itertools.islice(names, count)):
        positional = number < code.co_posonlyargcount
        kind = _KINDS.POSITIONAL_ONLY if positional else _KINDS.POSITIONAL_OR_KEYWORD
        found.append(
            _Parameter(name, kind, defaults[number - first] if number >= first else _MISSING)
        )
    last = [
        _Parameter(name, _KINDS.KEYWORD_ONLY, keywords.get(name, _MISSING))
        for name in itertools.islice(names, only)
    ]
    if code.co_flags & inspect.CO_VARARGS:
        found.append(_Parameter(next(names), _KINDS.VAR_POSITIONAL, _MISSING))
    found += last
    if code.co_flags & inspect.CO_VARKEYWORDS:
        found.append(_Parameter(next(names), _KINDS.VAR_KEYWORD, _MISSING))
    return found


# ---- `out`
# what universal functions take beside operands
OF_LOOPS = ("out", "where", "dtype", "casting", "order", "subok")


def into(out: Any, result: Any) -> Any:
    """`out` after it took a result, or each part of it that of a result; None takes nothing."""
    if out is None:
        return result
    if isinstance(out, tuple):
        parts = result if isinstance(result, tuple) else (result,)
        if len(out) != len(parts):
            raise ArgumentError(f"out has {len(out)} parts for {len(parts)} results")
        taken = tuple(map(into, out, parts))
        return taken if isinstance(result, tuple) else taken[0]
    return RUNTIME.written(out, result)


class _Skin:
    """What a guarded function does when a call is not as it should be."""

    def __init__(self, function: Any, name: str, module: str) -> None:
        self.f, self.name, self.module = function, name, module
        self.parameters = _parameters(function)
        self.annotations = getattr(function, "__annotations__", {})
        self.defaults = {p.name: p.default for p in self.parameters if p.default is not _MISSING}

    def clear(self, error: Exception, given: Mapping[str, Any]) -> Exception | None:
        """What to raise in place of an error, or None."""
        return clear_error(self.shown(given), error, given, self.annotations, self.defaults)

    def shown(self, given: Mapping[str, Any]) -> str:
        """The function's name for a message; a constructor's is that of the class that is made."""
        made = self.f.__name__ == "__init__" and "self" in given
        return type(given["self"]).__name__ if made else self.name

    def other(self, given: Mapping[str, Any]) -> Any:
        """A call with an argument that is no parameter, or without one that is needed."""
        unknown, more = dict(given.get("**_unknown", ())), given.get("*_more", ())
        drawn = "generator" in given  # not NumPy's function of that name (random.power)
        theirs = () if drawn else self.theirs()
        unknown |= self.placed(more, theirs, given, unknown) if more else {}
        ufunc = None if drawn else universal(self.f.__name__, self.module)
        taken = OF_LOOPS if ufunc else ("out",) * (not drawn and takes_out(self.f.__name__))
        apart = {keyword: unknown.pop(keyword) for keyword in taken if keyword in unknown}
        values = dict(given)
        for keyword, value in unknown.items():
            own = self.spelled(keyword, value, given, theirs)
            if own is not None:
                values[own] = value
        if ufunc and apart.keys() - {"out"}:
            names = self.names()[: ufunc.nin]
            operands = [values[name] for name in names]
            return RUNTIME.looped(ufunc, partial(self._of, values, names), operands, **apart)
        if unknown or apart:
            return into(apart.get("out"), self._again(values))
        lost = next(n for n, v in given.items() if v is _MISSING)
        raise ArgumentError(f"{self.shown(given)}() missing a required argument: {lost!r}")

    def theirs(self) -> tuple[inspect.Parameter, ...]:
        """The parameters of NumPy's function of that name."""
        shown = self.name.split(".")[-1]
        found = numpys_parameters(shown, self.module)
        return found or numpys_parameters(self.f.__name__, self.module)

    def names(self) -> list[str]:
        """What its parameters are called."""
        return [parameter.name for parameter in self.parameters]

    def placed(
        self,
        more: Sequence[Any],
        theirs: Sequence[inspect.Parameter],
        given: Mapping[str, Any],
        unknown: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Arguments in places that only NumPy's function has, by the names that they have there."""
        ours = [name for name, kind, _ in self.parameters if kind <= _KINDS.POSITIONAL_OR_KEYWORD]
        there = [one.name for one in theirs if one.kind <= _KINDS.POSITIONAL_OR_KEYWORD]
        pairs, count = counterparts(self.parameters, theirs), len(ours) + len(more)
        same = [pairs.get(name) for name in there[: len(ours)]] == ours
        if not same or count > len(there):
            raise ArgumentError(
                f"{self.shown(given)}() takes {len(ours)} positional arguments but {count} were "
                f"given; it takes {', '.join(self.names())}"
            )
        names = there[len(ours) : count]
        for name in names:
            if name in unknown:
                raise ArgumentError(f"{self.shown(given)}() got two values for {name!r}")
        return dict(zip(names, more))

    def spelled(
        self,
        keyword: str,
        value: Any,
        given: Mapping[str, Any],
        theirs: Sequence[inspect.Parameter],
    ) -> str | None:
        """The parameter that a keyword stands for (`dim` for axis, `a` for x), None where it asks
        for nothing; ArgumentError where there is none, or where it is given as well."""
        kinds = {p.name: p.kind for p in self.parameters}
        if kinds.get(keyword) == _KINDS.VAR_POSITIONAL and keyword in _SPREAD:
            if not given[f"*{keyword}"]:
                return keyword
        own = keyword if keyword in kinds else SPELLINGS.get(keyword, "")
        if own not in kinds:
            own = counterparts(self.parameters, theirs).get(keyword, "")
        if own not in kinds:
            if asks_nothing(keyword, value, theirs):
                return None
            names = [n for n, kind in kinds.items() if kind != _KINDS.POSITIONAL_ONLY]
            told = hint(keyword, tuple(n for n in names if n != "self"))
            raise ArgumentError(
                f"{self.shown(given)}() got an unexpected keyword argument {keyword!r}{told}"
            )
        if given[own] is not self.defaults.get(own, _MISSING):
            if own == keyword:
                raise ArgumentError(f"{self.shown(given)}() got two values for {own!r}")
            raise ArgumentError(
                f"{self.shown(given)}() got both {own} and {keyword}, which mean the same"
            )
        return own

    def _of(self, values: Mapping[str, Any], names: Sequence[str], *operands: Any) -> Any:
        """The call with other operands."""
        return self._again({**values, **dict(zip(names, operands))})

    def _again(self, values: Mapping[str, Any]) -> Any:
        """The call with these values of the parameters."""
        placed: list[Any] = []
        keywords: dict[str, Any] = {}
        for parameter in self.parameters:
            name = parameter.name
            if parameter.kind == _KINDS.KEYWORD_ONLY:
                keywords[name] = values[name]
            elif parameter.kind == _KINDS.VAR_POSITIONAL:
                placed += [values[name]] if name in values else values[f"*{name}"]
            elif parameter.kind != _KINDS.VAR_KEYWORD:
                placed.append(values[name])
        return self.guard(*placed, **keywords)

    guard: Any = None


def guarded(function: Any, name: str, module: str) -> Any:
    """A function under a skin: the same signature, results and errors of its own, and a clear error
    where one would come from the inside or a keyword is spelt as elsewhere."""
    skin = _Skin(function, name, module)
    spec = tuple((int(p.kind), p.default is not _MISSING, _needed(p)) for p in skin.parameters)
    names = [p.name for p in skin.parameters]
    template = _named(_template(spec), names, name, getattr(function, "__qualname__", name))
    space = {"_inner": function, "_clear": skin.clear, "_other": skin.other, "_missing": _MISSING}
    guard = skin.guard = FunctionType(template, space | {"__name__": module}, name)
    guard.__dict__.update(function.__dict__)
    guard.__dict__["__wrapped__"] = function
    guard.__doc__, guard.__module__ = function.__doc__, module
    guard.__annotations__ = dict(skin.annotations)
    guard.__defaults__ = tuple(
        [
            p.default
            for p in skin.parameters
            if _needed(p) or (p.kind <= _KINDS.POSITIONAL_OR_KEYWORD and p.default is not _MISSING)
        ]
    )
    keywords = {
        p.name: p.default
        for p in skin.parameters
        if p.kind == _KINDS.KEYWORD_ONLY and p.default is not _MISSING
    }
    guard.__kwdefaults__ = keywords or None  # as plain functions have it
    return guard


def guard_methods(cls: type, prefix: str = "", skip: frozenset[str] = frozenset()) -> None:
    """Put the methods that a class defines under the skin: public ones and `__init__`."""
    for name, function in list(vars(cls).items()):
        public = not name.startswith("_") or name in _PROTOCOL
        if not public or name in skip or not isinstance(function, FunctionType):
            continue
        ours = function.__code__.co_filename.startswith("<hybrid")
        if ours or function.__code__.co_flags & inspect.CO_GENERATOR:
            continue
        shown = cls.__name__ if name == "__init__" else f"{prefix or cls.__name__}.{name}"
        guard = guarded(function, shown, function.__module__)
        guard.__name__, guard.__qualname__ = name, function.__qualname__
        setattr(cls, name, guard)


def guard_all(space: dict[str, Any], names: Iterable[str], module: str) -> None:
    """Put the public functions of a namespace under the skin (flat functions have their own)."""
    for name in names:
        function = space.get(name)
        if isinstance(function, FunctionType) and not function.__code__.co_filename.startswith(
            "<hybrid"
        ):
            space[name] = guarded(function, name, module)


def shielded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """function(*tensors) under the skin, for the general door of a flat function."""

    def shield(*inputs: Any) -> Any:
        try:
            return function(*inputs)
        except Exception as error:
            given = dict(zip(("x", "y", "z"), inputs))
            problem = clear_error(name, error, given, {}, {})
            if problem is None:
                raise
            raise problem from error

    return shield
