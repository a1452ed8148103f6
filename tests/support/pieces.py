"""Functions in pieces, run by plain Python: what the pieces of a function do, one after another."""

import types

from hybrid.trace.split.cut import pieces_of


class Mark:
    """The mark of a cut."""

    def __init__(self, cut):
        self.cut = cut


def function_of(code, function):
    return types.FunctionType(
        code, function.__globals__, function.__name__, None, function.__closure__
    )


def by_position(function, args, kwargs):
    """The arguments as the first piece takes them."""
    code = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    given = dict(zip(code.co_varnames[: code.co_argcount], args))
    defaults = function.__defaults__ or ()
    known = dict(zip(code.co_varnames[: code.co_argcount][::-1], defaults[::-1]))
    known |= (function.__kwdefaults__ or {}) | given
    known |= {name: value for name, value in kwargs.items() if name in names}
    out = [known[name] for name in names]
    if code.co_flags & 4:
        out.append(tuple(args[code.co_argcount :]))
    if code.co_flags & 8:
        out.append({name: value for name, value in kwargs.items() if name not in names})
    return out


def in_pieces(function, cuts, passed=None):
    """A function that runs another one in pieces (or why there are none); `passed` collects the
    cuts it went through."""
    pieces = pieces_of(function.__code__, cuts, Mark)
    if isinstance(pieces, str):
        return pieces
    entry = function_of(pieces.entry.code, function)
    parts = {cut: function_of(piece.code, function) for cut, piece in pieces.parts.items()}

    def run(*args, **kwargs):
        given = by_position(function, args, kwargs)
        known = dict(zip(pieces.arguments, given))
        result = entry(*given)
        while type(result) is tuple and result and type(result[0]) is Mark:
            cut = result[0].cut
            if passed is not None:
                passed.append(cut)
            kept = [known[name] for name in pieces.parts[cut].kept]
            result = parts[cut](*kept, *result[1:])
        return result

    return run
