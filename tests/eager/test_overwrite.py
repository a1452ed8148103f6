"""Item assignment into a tensor's own memory: nothing else may see it, and all views do."""

import copy
import random
import threading

import numpy as np
import pytest

import hybrid as hb
from hybrid.eager.writing import overwrite

SHAPE = (40, 50)  # large enough to be written in place
LARGE = (600, 600)  # in a block of its own


def address(x):
    return x._v.__array_interface__["data"][0]


def numbers(shape=SHAPE):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


ROWS = np.array([3, -1, 3, 7])  # one of them twice


def values_of(width):
    return np.arange(4 * width, dtype=np.float32).reshape(4, width)


def few(shape):
    """A mask that holds three times."""
    mask = np.zeros(shape, bool)
    mask.reshape(-1)[[1, 7, mask.size - 1]] = True
    return mask


WRITES = {
    "an element": lambda x, row: x.__setitem__((3, 4), -1.0),
    "a row": lambda x, row: x.__setitem__(5, -2.0),
    "a row of values": lambda x, row: x.__setitem__(5, np.arange(x.shape[1], dtype="f4")),
    "a column": lambda x, row: x.__setitem__((slice(None), 2), 7),
    "a box": lambda x, row: x.__setitem__((slice(1, 4), slice(None, None, -3)), 2.5),
    "new axes": lambda x, row: x.__setitem__((None, 2), x[None, 7]),
    "what overlaps": lambda x, row: x.__setitem__((0, slice(1, None)), x[0, :-1]),
    "in place": lambda x, row: x.__setitem__(3, x[3].__iadd__(1.0)),
    "a view": lambda x, row: row.__setitem__(slice(None), 4.0),
    "an element of a view": lambda x, row: row.__setitem__(1, 4.0),
    "a number of NumPy": lambda x, row: x.__setitem__((np.int64(3), np.uint8(4)), 5.0),
    "rows": lambda x, row: x.__setitem__(ROWS, 3.0),
    "rows of values": lambda x, row: x.__setitem__((ROWS,), values_of(x.shape[1])),
    "rows of one": lambda x, row: x.__setitem__(ROWS, x[4]),
    "a list of rows": lambda x, row: x.T.__setitem__([7, -1], 2.0),
    "points": lambda x, row: x.__setitem__((ROWS, [1, -2, 1, 0]), values_of(1)[:, 0]),
    "points of a row": lambda x, row: x.__setitem__((3, ROWS), 6.0),
    "points of a column": lambda x, row: x.__setitem__((ROWS, np.int64(-1)), 6.5),
    "points in places of one": lambda x, row: x.__setitem__(([2], [[5], [6]][0]), [7.0]),
    "points of a transpose": lambda x, row: x.T.__setitem__((ROWS, ROWS), values_of(1)[:, 0]),
    "a mask": lambda x, row: x.__setitem__(few(x.shape), 9.5),
    "a mask of values": lambda x, row: x.__setitem__((few(x.shape),), values_of(1)[:3, 0]),
    "a mask of rows": lambda x, row: x.__setitem__(few((x.shape[0],)), values_of(x.shape[1])[:3]),
    "a mask that is a tensor": lambda x, row: x.__setitem__(hb.asarray(few(x.shape)), -9.5),
    "a mask through a transpose": lambda x, row: x.T.__setitem__(few(x.shape).T, 3.5),
    "through a shape": lambda x, row: x.reshape(-1).__setitem__(slice(None, None, 99), 8.0),
    "through a transpose": lambda x, row: x.T.__setitem__((2, slice(3, 9)), 8.0),
    "through two": lambda x, row: x[2:9].T.__setitem__((2, slice(3, 5)), 8.0),
}


@pytest.mark.parametrize("shape", [SHAPE, LARGE])
@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("viewed", [False, True])
def test_a_part_is_written_where_it_is(name, viewed, shape):
    x, mirror = hb.tensor(numbers(shape)), numbers(shape)
    x[0, 0] = 0.0  # whatever made it
    row, theirs = (x[9], mirror[9]) if viewed or "view" in name else (None, None)
    before = address(x)
    WRITES[name](x, row)
    WRITES[name](mirror, theirs)
    assert address(x) == before
    assert (x.numpy() == mirror).all()
    assert row is None or (row.numpy() == theirs).all()


HOLDERS = {
    "an array": lambda x: np.asarray(x),
    "a part of an array": lambda x: x.numpy()[3:],
    "a buffer": lambda x: memoryview(x.numpy()),
    "a list of values": lambda x: [x._v],
    "another library": lambda x: np.from_dlpack(x),
    "the tape": lambda x: x * hb.ones(SHAPE, requires_grad=True),
    "a snapshot": lambda x: copy.deepcopy({"x": x}),
    "a part of the memory": lambda x: x._v[2:3],
    "a part of a view": lambda x: (x[2:5], x[2:5]._v),
}


@pytest.mark.parametrize("name", HOLDERS)
@pytest.mark.parametrize("write", ["an element", "a row", "through two", "points", "a mask"])
def test_who_holds_a_value_keeps_it(name, write):
    x = hb.tensor(numbers())
    x[0, 0] = 0.0
    held = HOLDERS[name](x)
    WRITES[write](x, None)
    if name == "the tape":
        leaf = hb.ones(SHAPE, requires_grad=True)
        y, old = (x * leaf).sum(), x.numpy().copy()
        WRITES["a column"](x, None)
        y.backward()
        assert (leaf.grad.numpy() == old).all()
    elif name == "a snapshot":
        assert (held["x"].numpy() == numbers()).all()
    elif name == "a part of a view":
        assert (held[1] == numbers()[2:5]).all()
        assert (held[0].numpy() == x.numpy()[2:5]).all()
    elif name == "a part of the memory":
        assert (held == numbers()[2:3]).all()
    else:
        given = np.asarray(held[0] if isinstance(held, list) else held)
        assert (given == numbers()[-len(given) :]).all()


def test_parameters_and_detached_tensors():
    p = hb.tensor(numbers(), requires_grad=True)
    with pytest.raises(hb.HybridError):
        p[3] = 0.0
    with hb.no_grad():
        p[0, 0] = 0.0
        before = address(p)
        p[3] = 5.0
    assert address(p) == before and p.requires_grad and p[3, 1].item() == 5.0
    q = p.detach()
    q[4] = 6.0
    assert p[4, 1].item() == 6.0 and q[4, 1].item() == 6.0
    y = p * 2.0
    y[1] = 0.0
    y.sum().backward()
    assert (p.grad.numpy()[1] == 0).all() and (p.grad.numpy()[2] == 2).all()


def test_what_is_lent_is_not_written():
    array = numbers()
    array.flags.writeable = False
    x = hb.asarray(array)
    x[3] = 0.0
    assert (array == numbers()).all() and (x[3].numpy() == 0).all()
    for count in (50, 5000):
        y = hb.broadcast_to(hb.ones(count) * 1.0, (40, count))
        with pytest.raises(hb.HybridError):
            y[3] = 0.0
    z = hb.zeros(SHAPE)
    z[3] = 1.0
    assert (hb.zeros(SHAPE).numpy() == 0).all()


def test_parts_of_complex_tensors():
    x = hb.tensor(numbers() + 1j)
    x[0, 0] = 0j
    before = address(x)
    x.real[3] = 5.0
    x.imag[:, 2] = 6.0
    x[1, 1] = 2 - 3j
    mirror = numbers() + 1j
    mirror[0, 0], mirror.real[3], mirror.imag[:, 2], mirror[1, 1] = 0, 5.0, 6.0, 2 - 3j
    assert (x.numpy() == mirror).all() and address(x) == before


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8", "uint64", "bool"])
def test_values_take_the_dtype(dtype):
    x, y = hb.zeros((200, 90), dtype=dtype), hb.zeros(4, dtype=dtype)
    for given in (1, hb.ones(1), np.float32(1), np.ones(1), [1]):
        for target in (x, y):
            target[3] = given if not isinstance(given, (list, np.ndarray)) else given[0]
        assert x[3, 5].item() == y[3].item() == 1
    for wrong in ([1, 2], hb.ones(91)):
        with pytest.raises(hb.ShapeError):
            x[3] = wrong
    if dtype == "int8":
        with pytest.raises(OverflowError):
            x[3] = 1000
        with pytest.raises(OverflowError):
            x[3] = np.float32("nan")


def test_integers_that_tensors_hold():
    x, mirror = hb.tensor(numbers((90, 80))), numbers((90, 80))
    x[0, 0] = 0.0
    before, place = address(x), hb.tensor(3)
    x[place] = 1.0
    x[hb.tensor(5), 4] = 2.0
    x[hb.tensor([8, -2, 8])] = hb.tensor([[1.0], [2.0], [3.0]])
    mirror[0, 0], mirror[3], mirror[5, 4], mirror[8], mirror[-2] = 0.0, 1.0, 2.0, 3.0, 2.0
    assert (x.numpy() == mirror).all() and address(x) == before
    line = hb.zeros(5000)
    line[[1, -1, 4999]] = hb.tensor([1.0, 2.0, 3.0])
    assert line.numpy()[[1, -1]].tolist() == [1.0, 3.0]
    for key in ([91], [-91], hb.tensor(90), np.int64(-91)):
        with pytest.raises(IndexError):
            x[key] = 1.0
    with pytest.raises(hb.ShapeError):
        x[[1, 2]] = hb.ones(3, 80)
    x[True] = 0.0
    assert x.numpy().max() == 0.0


def parts(rng, shape):
    """A random key, without axes of size 0; its lines of integers have one length."""
    key, length = [], rng.randrange(1, 4)
    for extent in shape:
        kind = rng.randrange(4)
        if kind == 0:
            key.append(rng.randrange(-extent, extent))
        elif kind == 1:
            key.append(slice(None))
        elif kind == 2:
            key.append([rng.randrange(-extent, extent) for _ in range(length)])
        else:
            low = rng.randrange(extent)
            high = rng.randrange(low, extent) + 1
            key.append(slice(low, high, rng.choice([1, 2])))
    return tuple(key[: rng.randrange(1, len(key) + 1)])


@pytest.mark.parametrize("seed", range(30))
def test_random_views_and_writes_are_numpys(seed):
    rng = random.Random(seed)
    shape = rng.choice([(30, 60), (7, 20, 15), (5000,), (700, 500)])
    pairs, kept = [(hb.tensor(numbers(shape)), numbers(shape))], []
    for number in range(60):
        x, mirror = rng.choice(pairs)
        kind = rng.randrange(8)
        if kind == 0 and mirror.ndim:
            key = parts(rng, mirror.shape)
            made = x[key], mirror[key]
            if isinstance(made[1], np.ndarray) and made[1].ndim:
                pairs.append(made)
        elif kind == 1:
            pairs.append((x.T, mirror.T))
        elif kind == 2 and len(pairs) > 2:
            del pairs[rng.randrange(1, len(pairs))]
        elif kind == 3:
            kept.append((x.numpy(), mirror.copy()))
        elif kind == 4 and kept:
            kept.pop()
        elif kind == 5:
            x += 1.0
            mirror += 1.0
        else:
            key = parts(rng, mirror.shape)
            value = float(number)
            if rng.random() < 0.3:
                value = mirror[key] * 2
            x[key] = value
            mirror[key] = value
        del x, mirror
        for ours, theirs in pairs:
            assert (ours.numpy() == theirs).all()
        for ours, theirs in kept:
            assert (ours == theirs).all()


def test_readers_in_other_threads_see_whole_writes():
    x, wrong, done = hb.zeros((500, 400)), [], []
    rows = hb.ones((50, 400))

    def read():
        while not done:
            seen = (x[7:57] + 0.0).numpy()
            if seen.min() != seen.max():
                wrong.append((seen.min(), seen.max()))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(300):
        x[7:57] = rows * float(number)
    done.append(1)
    for thread in threads:
        thread.join()
    assert not wrong


def test_pieces_are_so_small_that_numpy_keeps_the_lock(monkeypatch):
    sizes = []

    def noted(place, key, source):
        sizes.append(place.size if key is ... else key.size)
        place[key] = source

    monkeypatch.setattr(overwrite, "_SET", noted)
    x = hb.zeros((500, 400)) + 0.0
    x[7:57] = 1.0
    x[::7, 3] = hb.ones(72)
    x[[3, 9]] = hb.ones(400)
    x[np.arange(1200) % 500, np.arange(1200) % 7] = hb.ones(1200)
    mask = x.numpy() > 0
    x[mask] = 2.0
    wanted = 50 * 400 + 72 + 2 * 400 + 1200 + int(mask.sum())
    assert sum(sizes) == wanted and max(sizes) <= 500
