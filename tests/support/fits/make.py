"""Polynomials of the special functions, made from mpmath: `python tests/support/fits/make.py [name ...]`.

Each row is a function that is smooth on an interval of its variable; the polynomial is its Chebyshev expansion in 50
digits, cut where what is left is below a fraction of the last place of the smallest value, in powers of the variable.
Invariant: hybrid/ops/formulas/special/tables/ holds what this program writes, and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import mpmath as mp
import numpy as np

ROOT = Path(__file__).resolve().parents[3]
TABLES = ROOT / "hybrid" / "ops" / "formulas" / "special" / "tables"
POINTS = 64
BITS = {"f32": 27, "f64": 56}
Function = Callable[[mp.mpf], mp.mpf]


class Fit(NamedTuple):
    """`function` of the variable on [low, high], in one type where `only` says so."""

    function: Function
    low: float
    high: float
    only: str = ""
    allowed: float = 0.0  # in float64 last places of 1; 0: of the smallest value


def expansion(function: Function, low: mp.mpf, high: mp.mpf) -> list[mp.mpf]:
    """Chebyshev coefficients on the interval."""
    angles = [mp.pi * (k + mp.mpf(1) / 2) / POINTS for k in range(POINTS)]
    values = [function((low + high) / 2 + (high - low) / 2 * mp.cos(a)) for a in angles]
    found = [
        2 * mp.fsum(v * mp.cos(j * a) for v, a in zip(values, angles)) / POINTS
        for j in range(POINTS)
    ]
    return [found[0] / 2, *found[1:]]


def powers(chebyshev: list[mp.mpf], low: mp.mpf, high: mp.mpf) -> list[mp.mpf]:
    """The same polynomial in powers of the variable (Clenshaw's recurrence on polynomials)."""
    scale, shift = 2 / (high - low), -(high + low) / (high - low)

    def times(poly: list[mp.mpf]) -> list[mp.mpf]:
        out = [shift * c for c in poly] + [mp.mpf(0)]
        for place, c in enumerate(poly):
            out[place + 1] += scale * c
        return out

    def plus(first: list[mp.mpf], second: list[mp.mpf]) -> list[mp.mpf]:
        size = max(len(first), len(second))
        pad = [[*p, *[mp.mpf(0)] * (size - len(p))] for p in (first, second)]
        return [a + b for a, b in zip(*pad)]

    one, two = [mp.mpf(0)], [mp.mpf(0)]
    for c in reversed(chebyshev[1:]):
        one, two = plus(plus([c], times([2 * x for x in one])), [-x for x in two]), one
    return plus(plus([chebyshev[0]], times(one)), [-x for x in two])


def coefficients(fit: Fit, kind: str) -> tuple[list[mp.mpf], mp.mpf]:
    """Those of a polynomial, and the error that it may have."""
    low, high = mp.mpf(fit.low), mp.mpf(fit.high)
    chebyshev = expansion(fit.function, low, high)
    smallest = min(abs(fit.function(low + (high - low) * k / 16)) for k in range(17))
    allowed = mp.mpf(fit.allowed or smallest) * mp.mpf(2) ** -BITS[kind]
    size = POINTS
    while size > 1 and mp.fsum(abs(c) for c in chebyshev[size - 1 :]) < allowed:
        size -= 1
    if size > POINTS - 8:
        raise ValueError(f"{fit}: {POINTS} points are not enough")
    return powers(chebyshev[:size], low, high)[:size], allowed


def shortest(value: mp.mpf, kind: str, allowed: mp.mpf) -> str:
    """The number in as many digits as the error needs: in later powers fewer and fewer."""
    most = 9 if kind == "f32" else 17
    for digits in range(1, most + 1):
        word = f"{float(value):.{digits}g}"
        if abs(mp.mpf(float(word)) - value) <= allowed:
            break
    else:
        word = f"{float(np.float32(float(value))):.9g}" if kind == "f32" else repr(float(value))
    return word if any(mark in word for mark in ".en") else word + ".0"


def text_of(name: str, fit: Fit) -> str:
    """The assignment of one row."""
    lines = [f"{name} = {{"]
    for kind in ("f32", "f64"):
        if fit.only not in ("", kind):
            continue
        found, allowed = coefficients(fit, kind)
        reach = max(abs(mp.mpf(fit.low)), abs(mp.mpf(fit.high)))
        words = [shortest(c, kind, allowed / 64 / reach**k) for k, c in enumerate(found)]
        lines.append(f'    "{kind}": (')
        row = "       "
        for word in words:
            if len(row) + len(word) + 2 > 99:
                lines.append(row)
                row = "       "
            row += f" {word},"
        lines += [row, "    ),"]
        print(f"{name} {kind}: {len(words)}")
    return "\n".join([*lines, "}  # fmt: skip"])


def write(file: str, rows: dict[str, Fit]) -> None:
    head = f'"""Coefficients, made by `python tests/support/fits/make.py {file}`: do not edit."""\n'
    names = ", ".join(f'"{n}"' for n in rows)
    body = "\n".join(text_of(name, fit) for name, fit in rows.items())
    export = f"__all__ = [{names}]  # fmt: skip"
    if len(export) > 99:
        export = "__all__ = [\n" + "".join(f'    "{n}",\n' for n in rows) + "]"
    (TABLES / f"{file}.py").write_text(f"{head}\n{export}\n\n{body}\n")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from functions import FILES

    mp.mp.dps = 50
    for chosen in sys.argv[1:] or FILES:
        write(chosen, FILES[chosen])
