"""Python and C code that read the content of an array argument: values that a replay cannot keep."""

import warnings

import numpy as np
import pytest
from data_harness import X, batch, compared

import hybrid
from hybrid import function

pytestmark = pytest.mark.usefixtures("whole_calls")


def branch(x, a):
    return x if a[0, 0] > 3 else x + a


def mean(x, a):
    return x * float(a.mean())


def loop(x, a):
    total = 0
    for row in a:
        total = total + row[0]
    return x + float(total)


def mixed(x, a):
    out = []
    for value in (x, 3.0):
        out.append(a + value)
    return out[0] * hybrid.asarray(out[1])


def shape_of(x, a):
    return x + hybrid.zeros(a[0, :2].astype(int) * 0 + (3, 4))


def through_a_list(x, a):
    return x + hybrid.tensor([a])[0]


def through_an_object(x, a):
    class Box:
        pass

    box = Box()
    box.value = a
    return x + float(box.value.sum())


def hidden(x, a):
    def inner():
        return a

    return x + float(inner.__closure__[0].cell_contents[0, 0])


def by_mask(x, a):
    return x[a > 0]


def in_place(x, a):
    a += 1
    return x + a


def by_ufunc(x, a):
    return x + np.exp(a)


def by_truth(x, a):
    return x if a[:1, :1] else -x


def by_c_code(x, a):
    return x + sum(sum(row) for row in a.tolist())


def returned(x, a):
    return x, a.shape, a.strides


def formatted(x, a):
    return x, f"{a}"


READS = [branch, mean, loop, mixed, shape_of, through_a_list, through_an_object, hidden, by_mask]
READS += [in_place, by_ufunc, by_truth, by_c_code, returned, formatted]


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("body", READS, ids=lambda body: body.__name__)
def test_reads_of_the_content_are_right(body, size):
    """Two equal batches, then others: equal recordings prove nothing."""
    x, shape = (X, (3, 4)) if size == "small" else (hybrid.ones((300, 400)), (300, 400))
    if body is shape_of and size == "large":
        return
    compared(body, lambda number: (x, batch(number // 3, "f8", shape)), calls=12)


def test_small_arrays_used_as_numbers_replay():
    traced = function(lambda x, sizes: x.reshape(*[int(n) for n in sizes]))
    for _ in range(7):
        assert traced(X, np.array([4, 3])).shape == (4, 3)
    assert traced.cache_info().replays >= 3
    assert traced(X, np.array([2, 6])).shape == (2, 6)


def test_the_reason_names_the_line():
    traced = function(lambda a: X[0, 0] * (2.0 if a.max() in (3.0, 4.0) else 1.0))
    with pytest.warns(
        hybrid.RunsEagerly, match=r"looks at what it computes of a NumPy.*test_data_reads.*py:\d"
    ):
        for number in range(5):
            traced(batch(number, "f8", (100, 100)))
    info = traced.cache_info()
    assert info.eager + info.deferred == 2


def test_arrays_deep_in_containers_are_right():
    def body(x, b):
        for _ in range(7):
            b = b[0]
        return x * float(b.sum())

    compared(body, lambda number: (X, [[[[[[[batch(number // 3)]]]]]]]), 9)
    compared(body, lambda number: (X, [[[[[[[batch(number // 3, "f4", (50, 50))]]]]]]]), 9)


def test_c_code_that_gets_an_array_from_a_function():
    def body(x, a):
        return x * max([1, 2], key=lambda v: a if v == 1 else 3)

    compared(body, lambda number: (X, np.array(1 + 2 * (number // 3))), 12)
    compared(lambda x, a: x + next(iter((a,)))[0], lambda n: (X, batch(n // 3, "f4", (4, 3, 4))), 9)


@pytest.mark.parametrize(
    "body",
    [
        lambda arrays: [hybrid.tensor(x / 255) for x in arrays],
        lambda arrays: list({k: hybrid.tensor(x * 2) for k, x in enumerate(arrays)}.values()),
        lambda arrays: [hybrid.tensor(a + b) for a, b in zip(arrays, arrays[::-1])],
        lambda arrays: [hybrid.tensor(x - 1) for x in reversed(arrays)],
        lambda arrays: [hybrid.tensor(x) * 2 for x in arrays],
        lambda arrays: [y for x in arrays for y in [hybrid.tensor(x.astype("f4"))]],
    ],
)
def test_comprehensions_compute_on_the_arrays_of_each_call(body) -> None:
    f = function(body)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in range(6):  # too large to be compared by content
            arrays = [np.random.default_rng(10 * k + j).random((3, 600)) for j in range(3)]
            for mine, theirs in zip(f(arrays), body(arrays)):
                assert np.array_equal(mine.numpy(), theirs.numpy()), k
