"""Functions in pieces, run by plain Python: what the pieces of a function do, one after another."""

import types

from hybrid.core import signals
from hybrid.trace.heap.allowlist import MISSING, Mark
from hybrid.trace.split.cut import pieces_of
from hybrid.trace.split.drive import Split, Standing, keep
from hybrid.trace.split.places import flow_of, obstacle


def places_of(function):
    """The offsets at which a function may be cut."""
    flow = flow_of(function.__code__)
    if isinstance(flow, str):
        return []
    steps = {step.offset: step for step in reversed(flow.steps)}
    return [at for at in sorted(steps) if obstacle(flow, steps[at]) is None]


def by_position(function, args, kwargs):
    """The arguments as the first piece takes them."""
    code = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    known = dict(zip(names[: code.co_argcount][::-1], (function.__defaults__ or ())[::-1]))
    known |= (function.__kwdefaults__ or {}) | dict(zip(names[: code.co_argcount], args))
    known |= {name: value for name, value in kwargs.items() if name in names}
    out = [known[name] for name in names]
    if code.co_flags & 4:
        out.append(tuple(args[code.co_argcount :]))
    if code.co_flags & 8:
        out.append({name: value for name, value in kwargs.items() if name not in names})
    return out


def in_pieces(function, cuts, passed=None, keep=None):
    """A function that runs another one in pieces (or why there are none); `passed` collects the
    cuts it went through."""
    pieces = pieces_of(function.__code__, frozenset(cuts), Mark, keep)
    if isinstance(pieces, str):
        return pieces

    def made(piece):
        space, closure = function.__globals__, function.__closure__
        return types.FunctionType(piece.code, space, function.__name__, None, closure)

    functions = {at: made(piece) for at, piece in pieces.parts.items()}
    entry = made(pieces.entry)

    def run(*args, **kwargs):
        given = by_position(function, args, kwargs)
        known, piece = dict(zip(pieces.entry.takes, given)), pieces.entry
        result = entry(*given)
        while type(result) is tuple and result and type(result[0]) is Mark:
            leaving = next(end for end in piece.exits if end.mark == result[0])
            known |= zip(leaving.gives, result[1:])
            known |= dict.fromkeys(leaving.done)
            if passed is not None:
                passed.append(leaving.at)
            piece = pieces.parts[leaving.at]
            result = functions[leaving.at](*[known.get(name, MISSING) for name in piece.takes])
        return result

    return run


class Plain:
    """What stands for a decorated function where there is none."""

    def __init__(self, python):
        self.python = python

    def tell(self, refused):
        pass

    def standing(self):
        return Standing(0, 0, 0, (), (), False)

    def __call__(self, *args):
        return self.python(*args)


def cut(fn, places):
    """A function that runs another one in pieces."""
    split = Split(fn, Plain)
    pieces = pieces_of(fn.__code__, frozenset(places), Mark, keep, signals.ARRIVE)
    assert not isinstance(pieces, str), pieces
    split._use(pieces)

    def in_pieces(*args, **kwargs):
        return split.run(*split.bound(args, kwargs))

    in_pieces.__name__, in_pieces.__doc__ = fn.__name__, fn.__doc__
    in_pieces.__qualname__, in_pieces.__module__ = fn.__qualname__, fn.__module__
    return in_pieces
