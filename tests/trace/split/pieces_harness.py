"""Functions in pieces, run by plain Python: what the pieces of a function do, one after another."""

import types

from hybrid.trace.split.cut import flow_of, obstacle, pieces_of


class Mark(str):
    """What the tuple of a piece that ends at a cut begins with."""


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
            result = functions[leaving.at](*[known[name] for name in piece.takes])
        return result

    return run
