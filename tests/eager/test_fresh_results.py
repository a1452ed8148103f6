"""Results that are arrays of their own in NumPy: they can be written, and no operand changes with
them, eagerly and in replays."""

import numpy as np
import pytest

import hybrid as hb

CALLS = {
    "full of a number": lambda np, x, s: np.full((3,), s),
    "full of a row": lambda np, x, s: np.full((2, 3), x),
    "full of the same": lambda np, x, s: np.full((3,), x),
    "full_like": lambda np, x, s: np.full_like(x, s),
    "tile once": lambda np, x, s: np.tile(x, 1),
    "tile": lambda np, x, s: np.tile(x, (2, 1)),
    "repeat once": lambda np, x, s: np.repeat(x, 1),
    "repeat": lambda np, x, s: np.repeat(x, 3),
    "repeat a row": lambda np, x, s: np.repeat(x[None], 20, 0),
    "resize": lambda np, x, s: np.resize(x, (3,)),
    "resize to more": lambda np, x, s: np.resize(x, (2, 3)),
    "meshgrid": lambda np, x, s: np.meshgrid(x, x)[0],
    "meshgrid of one": lambda np, x, s: np.meshgrid(x)[0],
    "sparse meshgrid": lambda np, x, s: np.meshgrid(x, x, sparse=True)[1],
    "flatten": lambda np, x, s: x.flatten(),
    "conj": lambda np, x, s: np.conj(x),
    "positive": lambda np, x, s: np.positive(x),
    "concatenate one": lambda np, x, s: np.concatenate([x]),
    "stack one": lambda np, x, s: np.stack([x]),
    "pad nothing": lambda np, x, s: np.pad(x, 0),
    "roll nothing": lambda np, x, s: np.roll(x, 0),
    "delete nothing": lambda np, x, s: np.delete(x, []),
    "append nothing": lambda np, x, s: np.append(x, x[:0]),
    "clip by nothing": lambda np, x, s: np.clip(x, None, None),
    "sum of single ones": lambda np, x, s: np.sum(x[:, None], axis=1),
    "max of single ones": lambda np, x, s: np.max(x[:, None], axis=1),
    "where": lambda np, x, s: np.where(x > 0, x, x),
    "take": lambda np, x, s: np.take(x, [0, 1, 2]),
    "astype": lambda np, x, s: x.astype("float64"),
}


@pytest.mark.parametrize("decorated", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_results_are_their_own(name, decorated):
    call = CALLS[name]

    def write(library, x, s):
        result = call(library, x, s)
        result[(0,) * result.ndim] = 9.0
        x[1] = 5.0
        s[()] = 7.0
        return result

    wanted_x, wanted_s = np.array([1.0, 2.0, 3.0]), np.array(2.0)
    wanted = write(np, wanted_x, wanted_s)
    run = hb.function(lambda x, s: write(hb, x, s)) if decorated else lambda x, s: write(hb, x, s)
    for _ in range(4):
        x, s = hb.tensor(np.array([1.0, 2.0, 3.0])), hb.tensor(np.array(2.0))
        result = run(x, s)
        np.testing.assert_array_equal(result.numpy(), wanted)
        np.testing.assert_array_equal(x.numpy(), wanted_x)
        result += 1.0
        assert x.tolist() == wanted_x.tolist() and s.item() == 7.0


def test_meshgrid_of_views():
    x = hb.arange(3.0)
    rows, columns = hb.meshgrid(x, x, copy=False)
    x[0] = 5.0
    assert rows[1, 0].item() == 5.0 and columns[0, 2].item() == 5.0
