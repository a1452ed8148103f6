"""Programs that hand a NumPy array to much of hybrid and Python, compared with the plain function.

Three calls with one content, then others: what a recording takes from the content shows.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import pytest

import hybrid
from hybrid import function


def setx(a):
    y = x.clone()
    y[1] = a
    return y


def setm(a):
    y = x.clone()
    y[a] = 5.0
    return y


def iadd(a):
    y = x.clone()
    y += a
    return y


x = hybrid.tensor(np.arange(12, dtype=np.float32).reshape(3, 4))
emb = hybrid.nn.Embedding(10, 4)
F = hybrid.nn.functional
inner = hybrid.function(lambda v, a: v * a)


@dataclass
class Batch:
    x: object

    @property
    def y(self):
        return self.x

    def __getitem__(self, k):
        return self.x

    def norm(self):
        return hybrid.asarray(self.x) * 2


def ints(i):
    return (np.array([2, 2 + i // 3]),)


PROGRAMS = {
    "zeros": (lambda a: hybrid.zeros(a), ints),
    "zeros2": (lambda a: hybrid.zeros(tuple(a)), ints),
    "reshape": (
        lambda a: hybrid.ones((4, 1 + 3)).reshape(a),
        lambda i: (np.array([2, 8] if i < 3 else [8, 2]),),
    ),
    "sumaxis": (lambda a: x.sum(axis=a), lambda i: (np.array(i // 3 % 2),)),
    "arange": (lambda a: hybrid.arange(a), lambda i: (np.array(3 + i // 3),)),
    "slice": (lambda a: x[:, :a], lambda i: (np.array(1 + i // 3),)),
    "idx0d": (lambda a: x[a], lambda i: (np.array(i // 3),)),
    "clip": (lambda a: hybrid.clip(x, a, 5.0), lambda i: (np.array(1.0 * (i // 3)),)),
    "full": (lambda a: hybrid.full((2,), a), lambda i: (np.array(1.0 * (i // 3)),)),
    "where": (lambda a: hybrid.where(a, x, -x), lambda i: (np.arange(12).reshape(3, 4) > i // 3,)),
    "mapped": (lambda a: list(map(hybrid.asarray, a)), lambda i: ([np.ones(2) * (i // 3)],)),
    "gen": (
        lambda a: sum(hybrid.asarray(v).sum() for v in a),
        lambda i: ([np.ones(2) * (i // 3)],),
    ),
    "inner": (lambda a: inner(x, a), lambda i: (np.ones((3, 4)) * (i // 3),)),
    "onehot": (lambda a: F.one_hot(hybrid.asarray(a)), lambda i: (np.array([1, i // 3]),)),
    "emb": (lambda a: emb(a), lambda i: (np.array([1, i // 3]),)),
    "ce": (lambda a: F.cross_entropy(x, a), lambda i: (np.array([1, i // 3, 0]),)),
    "prop": (lambda b: x + b.y, lambda i: (Batch(np.ones((3, 4)) * (i // 3)),)),
    "getit": (lambda b: x + b[0], lambda i: (Batch(np.ones((3, 4)) * (i // 3)),)),
    "norm": (lambda b: x + b.norm(), lambda i: (Batch(np.ones((3, 4)) * (i // 3)),)),
    "cond": (
        lambda a: x if a.shape[0] > 2 and (a > 2).any() else -x,
        lambda i: (np.ones((3, 4)) * i,),
    ),
    "tern": (lambda a: x * (1 if a is None else 2) + a, lambda i: (np.ones((3, 4)) * (i // 3),)),
    "lent": (lambda a: x * len(a) + a.size, lambda i: (np.ones((3, 4)) * (i // 3),)),
    "setit": (lambda a: setx(a), lambda i: (np.ones((4,)) * (i // 3),)),
    "setmask": (lambda a: setm(a), lambda i: (np.arange(12).reshape(3, 4) > i // 3,)),
    "sorted": (lambda a: x * float(sorted(a)[0]), lambda i: (np.ones((3,)) * (i // 3),)),
    "dictkey": (lambda a: x * {1: 2, 2: 3}.get(int(a), 7), lambda i: (np.array(i // 3),)),
    "mul_list": (lambda a: x * (a * 2)[0], lambda i: ([np.ones((4,)) * (i // 3)],)),
    "neg": (lambda a: x + (-a), lambda i: (np.ones((4,)) * (i // 3),)),
    "matmul": (lambda a: a @ hybrid.ones(3), lambda i: (np.ones((4, 3)) * (i // 3),)),
    "iadd": (lambda a: iadd(a), lambda i: (np.ones((4,)) * (i // 3),)),
    "pow": (lambda a: x**a, lambda i: (np.array(i // 3),)),
    "torch": (lambda a: hybrid.tensor([a, a]), lambda i: (np.array(i // 3),)),
    "mix": (lambda a: hybrid.tensor([1.0, a]), lambda i: (np.array(i // 3),)),
    "stackx": (lambda a: hybrid.stack([hybrid.ones(2), a]), lambda i: (np.ones(2) * (i // 3),)),
    "cat": (lambda a: hybrid.concat([hybrid.ones(2), a]), lambda i: (np.ones(2) * (i // 3),)),
    "lin": (lambda a: hybrid.linspace(0, a, 4), lambda i: (np.array(1.0 + i // 3),)),
    "eye": (lambda a: hybrid.eye(a), lambda i: (np.array(2 + i // 3),)),
    "roll": (lambda a: hybrid.roll(x, a), lambda i: (np.array(i // 3),)),
    "take": (lambda a: hybrid.take(x, a, axis=0), lambda i: (np.array([i // 3]),)),
    "repeat": (lambda a: hybrid.repeat(x, a), lambda i: (np.array(1 + i // 3),)),
    "expand": (lambda a: hybrid.broadcast_to(hybrid.ones(1), a), ints),
    "split": (lambda a: hybrid.split(x, a, axis=1)[0], lambda i: (np.array([1 + i // 3]),)),
}


def outcome(run, arguments):
    try:
        made = run(*arguments)
    except Exception as error:
        return type(error).__name__
    return [np.asarray(t).tobytes() for t in (made if isinstance(made, (list, tuple)) else [made])]


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name):
    body, arguments = PROGRAMS[name]
    traced = function(body)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(9):
            want = outcome(body, arguments(number))
            assert outcome(traced, arguments(number)) == want, number
