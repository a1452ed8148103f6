"""A function in pieces does what it does whole, wherever it is cut."""

import pytest
from pieces_harness import in_pieces, places_of


def straight(a, b=2, *rest, scale=3, **options):
    x = a + b
    y = max(x, scale) * 2
    words = ["a", "b", "c"]
    return words[y % 3], x, rest, options


def branches(a, b):
    kind = "big" if a > b and a != 3 else "small"
    if a % 2:
        b += 1
    elif not b:
        return kind
    return f"{kind} {a:03d}", (a or b) - 1, [a, *range(b)]


def loops(a, b):
    out, text = [], ",".join(str(i) for i in range(a))
    for i, j in zip(range(a), range(b, a + b)):
        if i == 2:
            continue
        out.append(i * j)
        while j > b and len(out) < 5:
            out.append(j)
            j -= 1
    else:
        out.append(-1)
    return out, text.upper().split(",", 1)


def comprehensions(a, b):
    scale = a + b
    rows = [scale * k for k in range(a)]
    scale = b
    table = {k: [scale + k + m for m in rows] for k in rows if k != scale}
    return table, {scale - k for k in rows}, sum(k * a for k in rows)


def bound_inside(a, b):
    table = [total := a * k for k in range(b + 1)]
    size = len(table)
    more = [total := total + k for k in table]
    return table, total, size, more


def shared(a, b):
    count = 0

    def step(x):
        nonlocal count
        count += x
        return again(x) if x > 3 else x

    def again(x):
        return step(x - 1) + b

    total = step(a)
    return total, count, (lambda: total)()


class Noisy:
    """Tells which attributes were looked up, in order."""

    def __init__(self):
        self.seen = []

    def __getattr__(self, name):
        self.seen.append(name)
        return lambda *args: self.seen.extend(args) or len(self.seen)


def methods(a, b):
    noisy = Noisy()
    total = noisy.one(a, noisy.two(b)) + noisy.seen.count("one")
    return total, noisy.seen, str(noisy.three(a if a > b else noisy.four(b, a)))


def constants(a, b):
    return ("big" if a > b and a != 3 else "small", 1, a and b, None if a else b), a < 2 < b < 9


def _around(step):
    def handed_on(a, b):
        """A variable of a function around goes on to one inside."""
        total = step(a)
        inner = lambda y: step(y) + b  # noqa: E731
        return total, inner(a), inner(b)

    return handed_on


CASES = [
    _around(lambda x: x + 1),
    *(straight, branches, loops, comprehensions, bound_inside, shared, methods, constants),
]


@pytest.mark.parametrize("function", CASES, ids=lambda f: f.__name__)
def test_every_cut_keeps_what_a_function_does(function):
    places = places_of(function)
    assert places
    for offset in places:
        run = in_pieces(function, [offset])
        for args in ((4, 2), (3, 0), (0, 0), (1, 5)):
            assert run(*args) == function(*args), (offset, args)


@pytest.mark.parametrize("function", CASES, ids=lambda f: f.__name__)
def test_all_cuts_at_once(function):
    passed = []
    run = in_pieces(function, places_of(function), passed)
    assert run(4, 2) == function(4, 2)
    assert len(passed) > 2
