"""What a call asks of the type of a number that it finds in a place is guarded like its value."""

import warnings

import pytest

import hybrid as hb


class Rates:
    pass


BODIES = {
    "isinstance": lambda x, r: x + 1 if isinstance(r.rate, bool) else x,
    "one of several": lambda x, r: x + 1 if isinstance(r.rate, (int, str)) else x,
    "type": lambda x, r: x + 1 if type(r.rate) is float else x,
    "an operand, too": lambda x, r: x * r.rate if isinstance(r.rate, float) else x,
}
CHANGES = [None] * 4 + [0.25, None, None, True, None, 2, None, 0.5, None, "gone", None]


def results(decorate, body):
    rates, found = Rates(), []
    rates.rate = 0.5
    step = decorate(lambda x: body(x, rates))
    for change in CHANGES:
        if change == "gone":
            del rates.rate
        elif change is not None:
            rates.rate = change
        try:
            found.append(step(hb.ones(2)).tolist())
        except AttributeError as error:
            found.append(str(error))
    return found, step


@pytest.mark.parametrize("name", BODIES)
def test_another_type_is_another_way(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got, step = results(hb.function, BODIES[name])
    assert got == results(lambda f: f, BODIES[name])[0]
    assert step.cache_info().replays >= 2
