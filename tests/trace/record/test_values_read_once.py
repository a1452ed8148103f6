"""A value that Python reads from a tensor is one object, however often a call hands it on."""

import hybrid as hb


def served(function, *arguments):
    """The result of a call that is replayed."""
    for _ in range(4):
        result = function(*arguments)
    assert function.cache_info().replays
    return result


def test_an_array_that_is_returned_twice_is_one_array():
    @hb.function
    def halves(x):
        array = (x * 2).numpy()
        return array, {"again": array}

    first, second = served(halves, hb.ones(3))
    assert first is second["again"]


def test_a_list_inside_of_others_is_one_list():
    @hb.function
    def rows(x):
        row = (x * 2).tolist()
        return [row, row]

    first, second = served(rows, hb.ones(3))
    first.append(1.0)
    assert second == [2.0, 2.0, 2.0, 1.0]


def test_two_reads_are_two_objects():
    @hb.function
    def twice(x):
        y = x * 2
        return y.tolist(), y.tolist()

    first, second = served(twice, hb.ones(3))
    assert first == second and first is not second


def test_a_value_that_is_kept_and_returned_is_one_object():
    kept = []

    @hb.function
    def keeps(x):
        value = float((x * 2).sum())
        kept.append(value)
        return value, value

    first, second = served(keeps, hb.ones(3))
    assert first is second and first is kept[-1]
