"""NumPy arrays and buffers as arguments: inputs of the graph, whose content each call reads."""

import array
import warnings
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
from data_harness import X, batch, compared, leaves, replayed

import hybrid
from hybrid import function

RNG = np.random.default_rng(5)
DTYPES = "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64".split()


# ---- a batch per call
LINEAR = hybrid.nn.Linear(4, 2)


class Net(hybrid.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = hybrid.nn.Linear(4, 3)

    def forward(self, x):
        return hybrid.relu(self.inner(x))


NET = Net()
USES = {
    "tensor": lambda a: hybrid.tensor(a) * 2,
    "asarray": lambda a: hybrid.asarray(a) + X,
    "from the left": lambda a: a + X,
    "from the right": lambda a: X * a,
    "compared": lambda a: X > a,
    "a layer": lambda a: LINEAR(a),
    "a module of the user": lambda a: NET(a),
    "another dtype": lambda a: hybrid.tensor(a, dtype="float64").sum(),
    "to integers": lambda a: hybrid.asarray(a, dtype="int32"),
    "as it is": lambda a: hybrid.asarray(a),
    "a part": lambda a: hybrid.asarray(a)[1:],
    "twice": lambda a: (hybrid.asarray(a), hybrid.asarray(a) - a.shape[0]),
    "its shape": lambda a: hybrid.zeros(a.shape) + len(a) + a.ndim + hybrid.asarray(a),
    "stacked": lambda a: hybrid.stack([X, hybrid.asarray(a)]),
    "in a closure": lambda a: hybrid.grad(lambda w: (w * a).sum())(X),
    "by another name": lambda a: (lambda b: b)(hybrid.asarray(a)) if a is not None else X,
}


@pytest.mark.parametrize("use", USES)
def test_a_batch_per_call_is_one_signature(use):
    traced = compared(USES[use], lambda number: (batch(number),))
    assert replayed(traced), traced.explain()


def test_a_training_step_with_numpy_batches():
    def program(trace):
        hybrid.manual_seed(0)
        net = hybrid.nn.Linear(4, 1)
        optimizer = hybrid.optim.Adam(net.parameters(), lr=0.1)

        def step(x, y):
            optimizer.zero_grad()
            loss = ((net(x) - y) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss.item()

        run = function(step) if trace else step
        rng = np.random.default_rng(1)
        losses = [
            run(rng.normal(size=(8, 4)).astype("f4"), rng.normal(size=(8, 1)).astype("f4"))
            for _ in range(8)
        ]
        return losses, net.weight.numpy().tobytes(), run

    eager, weight, _ = program(False)
    traced, other, run = program(True)
    assert traced == eager and weight == other
    assert run.cache_info().records <= 3 and run.cache_info().eager == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype(dtype):
    traced = compared(lambda a: hybrid.asarray(a), lambda number: (batch(number, dtype),))
    assert replayed(traced)


LAYOUTS = {
    "columns": lambda a: np.asfortranarray(a),
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "every second": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "backwards": lambda a: a[::-1],
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
    "misaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
    "the other byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "read-only": lambda a: (a.setflags(write=False), a)[1],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout):
    traced = compared(
        lambda a: (X + a, hybrid.asarray(a)), lambda number: (LAYOUTS[layout](batch(number)),)
    )
    assert replayed(traced), traced.explain()


def test_the_other_byte_order_in_another_dtype_is_right():
    swapped = np.dtype(">f8")
    compared(
        lambda a: hybrid.tensor(a, dtype="bfloat16"),
        lambda number: ((batch(number) / 3).astype(swapped),),
    )


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (1 << 18,)])
def test_sizes(shape):
    traced = compared(lambda a: hybrid.asarray(a) * 2, lambda number: (batch(number, "f4", shape),))
    assert replayed(traced)


def test_shape_and_dtype_are_the_signature():
    traced = function(lambda a: hybrid.asarray(a) * 2)
    for _ in range(3):
        for given in (batch(1), batch(1, "f8"), batch(1, "f4", (2, 2))):
            assert np.array_equal(traced(given).numpy(), given * 2)
    # the second shape of one dtype takes one recording
    assert tuple(traced.cache_info())[:5] == (4, 5, 0, 3, 3)


BUFFERS = {
    "bytearray": lambda number: bytearray([number, 2, 3]),
    "memoryview": lambda number: memoryview(bytes([number, 2, 3])),
    "array.array": lambda number: array.array("d", [number, 2.5]),
}


@pytest.mark.parametrize("kind", BUFFERS)
def test_buffers(kind):
    traced = compared(lambda b: hybrid.asarray(b) * 2, lambda number: (BUFFERS[kind](number),))
    assert replayed(traced)


def test_a_buffer_can_be_resized_in_a_recorded_call():
    def body(b):
        b.append(1)
        return hybrid.asarray(b)

    compared(body, lambda number: (bytearray([number]),))


# ---- where arrays are
Pair = namedtuple("Pair", "x y")
PLACES = {
    "by keyword": (lambda *, a: X + a, lambda a: ((), {"a": a})),
    "in a list": (lambda b: X + b[0], lambda a: (([a],), {})),
    "in a tuple": (lambda b: X * b[0] + b[1], lambda a: (((a, a + 1),), {})),
    "unpacked": (lambda b: [x * X for x in b], lambda a: (([a, a * 2],), {})),
    "in a dict": (lambda b: X + b["k"], lambda a: (({"k": a},), {})),
    "items of a dict": (
        lambda b: {k: hybrid.tensor(v) for k, v in b.items()},
        lambda a: (({"k": a, "l": a * 3},), {}),
    ),
    "side by side": (
        lambda b, c: [hybrid.asarray(x) - y for x, y in zip(b, c)],
        lambda a: (([a, a], [a + 1, a + 2]), {}),
    ),
    "get": (lambda b: X + b.get("k"), lambda a: (({"k": a},), {})),
    "in a namedtuple": (lambda b: X + b.x, lambda a: ((Pair(a, 1),), {})),
    "in an OrderedDict": (lambda b: X + b["k"], lambda a: ((OrderedDict(k=a),), {})),
    "spread": (lambda *b: X + b[1], lambda a: ((1, a), {})),
    "spread keywords": (lambda **b: X + b["k"], lambda a: ((), {"k": a})),
    "in a helper": (lambda b: (lambda c: X + c)(b), lambda a: ((a,), {})),
}


@pytest.mark.parametrize("place", PLACES)
def test_places(place):
    body, arguments = PLACES[place]
    traced = function(body)
    for number in range(6):
        args, kwargs = arguments(batch(number))
        assert leaves(traced(*args, **kwargs)) == leaves(body(*args, **kwargs))
    assert replayed(traced), traced.explain()


# ---- whose memory it is
def test_writing_to_the_array_changes_no_earlier_result():
    traced = function(lambda a: (hybrid.asarray(a), hybrid.asarray(a)[1:], hybrid.asarray(a) * 1))
    given, results = np.zeros((3, 4), "f4"), []
    for number in range(8):
        given[:] = number
        results.append(traced(given))
    for number, made in enumerate(results):
        assert all((tensor.numpy() == number).all() for tensor in made)
    assert replayed(traced)


def test_state_that_is_assigned_an_array_keeps_its_value():
    held = hybrid.zeros((3, 4))

    def body(a):
        held.assign(a)
        return held.sum()

    traced = function(body)
    for number in range(6):
        given = batch(number)
        want = given.copy()
        traced(given)
        given[:] = -1
        assert np.array_equal(held.numpy(), want)
    assert traced.cache_info().replays == 4


def test_a_gradient_after_the_call_is_of_the_content_then():
    weight = hybrid.ones((3, 4), requires_grad=True)
    traced = function(lambda a: (weight * a).sum())
    for number in range(6):
        given = batch(number)
        want, weight.grad = given.copy(), None
        loss = traced(given)
        given[:] = 99
        loss.backward()
        assert np.array_equal(weight.grad.numpy(), want)
    assert traced.cache_info().replays == 4


def test_the_same_array_twice_and_memory_in_common():
    traced = function(lambda a, b: hybrid.asarray(a) * 2 + b)
    for number in range(6):
        given = batch(number)
        assert np.array_equal(traced(given, given).numpy(), given * 3)
    assert traced.cache_info().replays == 4
    for number in range(6):
        given = batch(number, "f4", (4, 4))
        first, second = given[:3], given[1:]
        assert np.array_equal(traced(first, second).numpy(), first * 2 + second)


def test_no_gradient_reaches_data():
    traced = compared(
        lambda a: hybrid.grad(lambda w: (w * w * a).sum())(X), lambda number: (batch(number),)
    )
    assert replayed(traced)


def test_an_array_that_is_also_elsewhere_is_no_other_one():
    held = np.ones((3, 4), "f4")
    traced = function(lambda a: X + held)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(4):
            traced(held)
    assert np.array_equal(traced(held * 5).numpy(), X.numpy() + 1)


def test_an_array_that_a_call_keeps():
    kept = {}

    def body(a):
        kept["last"] = a
        return X + a

    traced = function(body)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(8):
            given = batch(number)
            traced(given)
            assert kept["last"] is given


def test_returned_arguments_are_themselves():
    traced = function(lambda a: (X + a, a))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(5):
            given = batch(number)
            assert traced(given)[1] is given


ODD = {
    "complex": lambda number: np.array([number + 1j, 2]),
    "objects": lambda number: np.array([number, None], object),
    "text": lambda number: np.array(["a", "b" * number]),
    "records": lambda number: np.array([(number, 2.0)], "i4,f4"),
    "masked": lambda number: np.ma.masked_array([1.0, number], [False, False]),
    "a scalar": lambda number: np.float64(number),
    "longdouble": lambda number: np.array([number], np.longdouble),
}


@pytest.mark.parametrize("kind", ODD)
def test_other_arrays_are_right(kind):
    def body(x, a):
        return x * int(a.size)

    compared(body, lambda number: (X, ODD[kind](number)))


def test_errors_are_the_users():
    traced = function(lambda a: X + a)
    for _ in range(4):
        with pytest.raises(hybrid.ShapeError):
            traced(np.ones((5, 5), "f4"))
    index = function(lambda a: X[a])
    for number in range(5):
        assert np.array_equal(index(np.array([number % 3])).numpy(), X.numpy()[[number % 3]])
    with pytest.raises(IndexError):
        index(np.array([7]))
    assert np.array_equal(index(np.array([2])).numpy(), X.numpy()[[2]])


def test_defaults_are_arguments():
    mask, sizes = np.ones((3, 4), "f4"), [2, 3]

    def body(x, m=mask, s=sizes, *, k=mask):
        return x * m * s[0] + k

    traced = function(body)
    for number in range(6):
        assert np.array_equal(traced(X).numpy(), body(X).numpy())
        mask[0] = number
    assert replayed(traced)
    assert np.array_equal(traced(X, mask * 3).numpy(), body(X, mask * 3).numpy())
    sizes[0] = 5
    assert np.array_equal(traced(X).numpy(), body(X).numpy())


def test_defaults_of_helpers_are_not():
    mask = np.ones((3, 4), "f4")

    def helper(x, m=mask):
        return x + m

    traced = function(lambda x, a: helper(x) * 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(4):
            assert np.array_equal(traced(X, mask).numpy(), X.numpy() + 1)
        assert np.array_equal(traced(X, mask * 4).numpy(), X.numpy() + 1)


def test_memory_mapped_files(tmp_path):
    batch(1, "f4", (40, 4)).tofile(tmp_path / "data")
    mapped = np.memmap(tmp_path / "data", np.float32, "r", shape=(40, 4))
    traced = compared(lambda a: LINEAR(a) * a.shape[0], lambda n: (mapped[n * 3 : n * 3 + 3],))
    assert replayed(traced)


def test_names_of_functions_that_are_passed():
    def maker(name):
        def inner(v):
            return v * 2

        inner.__name__ = name
        return inner

    compared(lambda f, x: x * len(f.__name__), lambda n: (maker("n" * (1 + n // 3)), X), 9)


def test_helpers_that_return_arrays_are_right():
    def helper(b):
        return b["k"]

    compared(lambda x, b: x + helper(b), lambda number: (X, {"k": batch(number // 3)}), 9)
