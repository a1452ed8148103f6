"""Objects of any class that are fresh in each call, as arguments and results: by structure."""

import warnings

import numpy as np
import pytest

import hybrid
from hybrid import function

X = hybrid.tensor(np.array([1.0, -2.0, 3.0], np.float32))


def tensors(count):
    return [hybrid.full((3,), float(k) + 0.5) for k in range(count)]


# ---- classes whose objects are ever new
class Batch:
    def __init__(self, x, n=2):
        self.x, self.n = x, n

    def scaled(self):
        return self.x * self.n


class Small:
    __slots__ = ("x", "n")

    def __init__(self, x, n=2):
        self.x, self.n = x, n


def opened(cls, body, calls=30, n=2):
    """The traced function of fresh objects, after calls that gave what the plain one gives."""
    traced = function(body)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tensor in tensors(calls):
            want, got = body(cls(tensor, n)), traced(cls(tensor, n))
            assert want.numpy().tobytes() == got.numpy().tobytes()
    return traced


@pytest.mark.parametrize("base", [Batch, Small])
def test_fresh_objects_of_any_class_are_taken_by_structure_in_the_end(base):
    cls = type("Own", (base,), {"__slots__": ()} if base is Small else {})
    traced = opened(cls, lambda b: b.x * b.n)
    info = traced.cache_info()
    assert info.records <= 6 and info.replays >= 24 and info.plans == 1
    assert opened(cls, lambda b: b.x + b.n).cache_info().records == 2  # known by then


def test_opened_objects_are_told_apart_where_the_program_does_that():
    cls = type("Own", (Batch,), {})
    opened(cls, lambda b: b.scaled())
    seen, kept = [], cls(X)

    @function
    def asks(b):
        seen.append(b)
        return b.x * (2.0 if b is kept else 3.0)

    for k in range(12):
        given = kept if k % 3 == 0 else cls(X)
        assert asks(given).tolist() == (X * (2.0 if given is kept else 3.0)).tolist()
        assert seen[-1] is given


def test_opened_objects_that_a_call_changes():
    cls = type("Own", (Batch,), {})
    opened(cls, lambda b: b.scaled())

    def body(b):
        b.n += 1
        b.last = b.x * b.n
        return b.last

    traced, mine, other = function(body), cls(X), cls(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in range(16):
            first, second = (mine, other) if k % 4 else (cls(X), cls(X))
            assert traced(first).tolist() == body(second).tolist()
            assert first.n == second.n and first.last.tolist() == second.last.tolist()


def test_objects_that_live_on_stay_objects():
    class Trainer:
        def __init__(self):
            self.steps, self.scale = 0, hybrid.ones(3)

        @function
        def step(self, x):
            self.steps += 1
            return x * self.scale * self.steps

    trainers = [Trainer() for _ in range(3)]
    for k in range(20):
        for trainer in trainers:
            assert trainer.step(X).tolist() == (X * (k + 1)).tolist()
    assert [trainer.steps for trainer in trainers] == [20] * 3
    assert Trainer.step.cache_info().replays >= 48


# ---- results
class Output:
    def __init__(self, logits, loss):
        self.logits, self.loss = logits, loss

    def __eq__(self, other):
        return self.loss.item() == other.loss.item()


class Closing:
    made = 0

    def __init__(self, x):
        Closing.made += 1
        self.x = x

    def __del__(self):
        pass


def test_fresh_objects_of_any_class_are_results():
    @function
    def forward(x):
        logits = x * 2
        return [Output(logits, logits.sum()), Small(logits, 3)]

    results = [forward(X * k) for k in range(8)]
    assert forward.cache_info().replays == 6
    for k, (out, small) in enumerate(results):
        assert type(out) is Output and out.logits.tolist() == (X * k * 2).tolist()
        assert out.logits is small.x and small.n == 3 and list(vars(out)) == ["logits", "loss"]
    assert len({id(out) for out, _ in results}) == 8


def test_objects_with_a_finalizer_are_no_results_of_replays():
    @function
    def forward(x):
        return Closing(x * 2)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in range(6):
            assert forward(X * k).x.tolist() == (X * k * 2).tolist()
    assert Closing.made == 6  # Python made each of them
