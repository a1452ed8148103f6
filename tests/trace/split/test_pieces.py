"""Decorated functions that Python has to look into: they run in pieces, and do what the plain ones
do: results, state, output, exceptions, gradients, identities."""

from __future__ import annotations

import random
import sys
import threading
import weakref

import numpy as np
import pytest
from worlds import into, played

import hybrid as hb
from hybrid import nn, optim
from hybrid.trace.split.splitting import PIECES

pytestmark = [
    pytest.mark.filterwarnings("ignore::hybrid.RunsEagerly"),
]
CALLS = 30


@pytest.fixture(autouse=True)
def always():
    before, PIECES[0] = PIECES[0], "always"
    yield
    PIECES[0] = before


def numbers(k, *shape):
    return np.random.default_rng(k).standard_normal(shape).astype("f4")


def vector(k, *shape):
    return hb.tensor(numbers(k, *(shape or (6,))))


PROGRAMS = {}


# `program(native)`: whether it ends in plans
program = into(PROGRAMS)


@program(True)
def word(function):
    words, layer = ["zero", "one", "two"], nn.Linear(6, 3)
    fn = function(lambda x: words[int(layer(x).argmax())])
    return lambda k: fn(vector(k)), lambda: None


@program(True)
def expert(function):
    experts, gate = [nn.Linear(6, 2) for _ in range(3)], nn.Linear(6, 3)

    @function
    def forward(x):
        index = gate(x).argmax().item()
        return experts[index](x)

    return lambda k: forward(vector(k)), lambda: None


@program(True)
def clip_by_read_norm(function):
    weight = hb.tensor(numbers(1, 6), requires_grad=True)
    optimizer = optim.SGD([weight], lr=0.1)
    log = []

    @function
    def step(x):
        loss = ((weight - x) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()
        norm = float(weight.grad.norm())
        log.append(round(norm, 3))
        print(f"{norm:.2f}", sorted(log)[0])
        optimizer.step()
        return loss

    return lambda k: step(vector(k)), lambda: (weight, weight.grad, log)


@program(True)
def numpy_between(function):
    @function
    def whiten(x):
        covariance = (x.T @ x / len(x)).numpy()
        values, vectors = np.linalg.eigh(covariance.astype("f8"))
        return x @ hb.tensor((vectors / np.sqrt(values + 1e-3)).astype("f4"))

    return lambda k: whiten(vector(k, 8, 3)), lambda: None


@program(True)
def list_of_positions(function):
    vocabulary = [f"w{j}" for j in range(12)]

    @function
    def best(x):
        order = (x * 2 - 1).exp().argmax(axis=1)
        return [vocabulary[j] for j in order.tolist()], order

    return lambda k: best(vector(k, 3, 12)), lambda: None


@program(True)
def appended_read(function):
    seen = []

    @function
    def track(x):
        y = x * 3 - 1
        seen.append(int(y.sum()) % 7)
        return y / (1 + sum(seen[-3:]))

    return lambda k: track(vector(k)), lambda: seen


@program(False)
def in_place_behind_a_read(function):
    @function
    def scaled(x):
        y = x * 2
        row = y[1:3]
        top = round(float(y.max()), 2)
        row += top
        y[0] = 5.0
        return y, row, top

    return lambda k: scaled(vector(k)), lambda: None


@program(False)
def written_argument(function):
    @function
    def shift(x, log):
        x += 1
        top = str(float(x.max()))[:4]
        log.append(top)
        x *= 2
        return x

    kept = [vector(0)]

    def call(k):
        log = []
        result = shift(kept[0], log)
        return result is kept[0], log

    return call, lambda: kept


@program(False)
def the_same_objects(function):
    @function
    def pair(x):
        y = x + 1
        box = [y, y]
        name = "abc"[int(y.sum()) % 3]
        box.append(box[0])
        return y is box[0], box[2] is y, box, name, x

    def call(k):
        x = vector(k)
        same, again, box, name, given = pair(x)
        return same, again, box[0] is box[1], given is x, name, box

    return call, lambda: None


@program(False)
def raising(function):
    state = {"turns": 0}

    @function
    def guarded(x):
        state["turns"] += 1
        y = x.sum()
        if int(y * 10) % 3 == 0:
            raise ValueError(f"bad {state['turns']}")
        state["good"] = state["turns"]
        return ["a", "b"][int(y) + 2]

    return lambda k: guarded(vector(k)), lambda: state


@program(False)
def loop_over_reads(function):
    layer = nn.Linear(4, 4)

    @function
    def decode(x):
        out = []
        for turn in range(4):
            x = layer(x).tanh()
            token = int(x.argmax())
            if token == 3 and turn > 1:
                break
            out.append("abcd"[token])
            x = x + token * 0.1
        return "".join(out), x

    return lambda k: decode(vector(k, 4)), lambda: None


@program(False)
def gradient_through_pieces(function):
    weight = hb.tensor(numbers(3, 6), requires_grad=True)

    @function
    def energy(x):
        y = (weight * x).sin()
        kind = "even" if int(y.sum() * 4) % 2 == 0 else "odd"
        return (y * weight).sum() if kind == "even" else (y**2).sum()

    def call(k):
        weight.grad = None
        energy(vector(k)).backward()
        return weight.grad

    return call, lambda: None


@program(True)
def decoded_without_gradients(function):
    layer, open_scopes = nn.Linear(6, 6), []

    class Scope:
        def __enter__(self):
            open_scopes.append(1)

        def __exit__(self, *error):
            open_scopes.pop()

    @function
    def decode(x):
        out = []
        with Scope(), hb.no_grad():
            for _ in range(4):
                x = layer(x).tanh() + x
                token = int(x.argmax())
                if token == 5:
                    break
                out.append("abcde"[token])
        return "".join(out), x * 2 - 1

    return lambda k: decode(vector(k)), lambda: open_scopes


@program(True)
def handled_reads(function):
    names, seen = {0: "a", 1: "b", 2: "c", 3: "d"}, []

    @function
    def look_up(x):
        y = (x * 3).sin().cos() + x
        try:
            name = names[int(y.argmax())]
        except KeyError as error:
            seen.append(error.args)
            name = "none"
        finally:
            seen.append("end")
        return name, (y - y.mean()) / (y.std() + 1)

    return lambda k: look_up(vector(k)), lambda: seen


@program(False)
def random_and_iterators(function):
    batches = iter(range(1000))

    @function
    def visit(x):
        order = [0, 1, 2, 3, 4, 5]
        random.shuffle(order)
        number = next(batches)
        return (x * 2)[order[0]] + number, order

    return lambda k: visit(vector(k)), lambda: None


@program(False)
def keywords_and_defaults(function):
    @function
    def scale(x, *more, by=2.0, name="a", **named):
        y = x * by
        for other in more:
            y = y + other
        return name + "abcdefg"[int(y.sum()) % 7], y, sorted(named)

    def call(k):
        more = [vector(k + 1)] * (k % 2)
        return scale(vector(k), *more, **({"by": 3.0} if k % 3 else {"name": "b", "z": 1}))

    return call, lambda: None


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_do_what_they_do_plainly(name):
    make, native = PROGRAMS[name]
    made = []

    def decorate(fn):
        made.append(hb.function(fn))
        return made[-1]

    played(lambda function: make(decorate if function is hb.function else function), CALLS)
    (function,) = made
    before = function.cache_info()
    assert function._split is not None, function.explain()
    if native:
        call, _ = make(lambda fn: function)
        info = function.cache_info()
        assert info.replays > CALLS - 12 and info.eager <= 6, function.explain()
        assert "pieces" in function.explain()
        assert [version.state for version in function.versions()] == ["native"]
    assert before.records <= 40


def test_a_result_that_says_not_implemented():
    runs = []

    @hb.function
    def compare(x):
        y = x * 2
        runs.append("abc"[int(y.sum()) % 3])
        return NotImplemented

    for k in range(CALLS):
        assert compare(vector(k)) is NotImplemented
    assert len(runs) == CALLS


def test_code_that_is_replaced_is_seen():
    def first(x):
        return "ab"[int((x * 2).sum() > 0)], x + 1

    def second(x):
        return "cd"[int((x * 2).sum() > 0)], x + 2

    fn = hb.function(first)
    for k in range(CALLS):
        assert fn(hb.ones(3))[0] == "b"
    fn.fn.__code__ = second.__code__
    for k in range(CALLS):
        word, value = fn(hb.ones(3))
        assert word == "d" and value.tolist() == [3.0, 3.0, 3.0]


def test_defaults_that_are_replaced_are_seen():
    @hb.function
    def fn(x, by=2.0):
        return "ab"[int((x * by).sum() > 0)]

    for k in range(CALLS):
        assert fn(hb.ones(3)) == "b"
    fn.fn.__defaults__ = (-2.0,)
    assert fn(hb.ones(3)) == "a"


def test_methods_and_threads_and_debug():
    class Model:
        def __init__(self):
            self.layer, self.names = nn.Linear(3, 3), ["a", "b", "c"]

        @hb.function
        def name(self, x):
            return self.names[int(self.layer(x).argmax())]

    models = [Model(), Model()]

    def plain(model, x):
        return model.names[int(model.layer(x).argmax())]

    for k in range(CALLS):
        for model in models:
            x = vector(k, 3)
            assert model.name(x) == plain(model, x)
    wrong = []

    def work(number):
        for k in range(40):
            x = vector(k + number, 3)
            if models[number % 2].name(x) != plain(models[number % 2], x):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    x = vector(1, 3)
    with hb.debug(nan=True):
        assert models[0].name(x) == plain(models[0], x)


def test_calls_inside_of_other_decorated_functions():
    words = ["a", "b", "c"]

    @hb.function
    def name(x):
        return words[int((x * 2).argmax())]

    for k in range(CALLS):
        assert name(vector(k, 3)) == name.fn(vector(k, 3))

    @hb.function
    def outer(x):
        return name(x), x + 1

    for k in range(6):
        assert outer(vector(k, 3))[0] == name.fn(vector(k, 3))


def test_recursion():
    @hb.function
    def shrink(x, depth):
        y = x * 0.5
        name = "ab"[int(y.sum() > 0)]
        return name + (shrink(y + 0.1, depth - 1) if depth else "")

    def plain(x, depth):
        y = x * 0.5
        name = "ab"[int(y.sum() > 0)]
        return name + (plain(y + 0.1, depth - 1) if depth else "")

    for k in range(CALLS):
        assert shrink(vector(k), k % 3) == plain(vector(k), k % 3)


def test_a_function_that_looks_at_its_variables_stays_whole():
    @hb.function
    def looks(x):
        top = int(x.max())
        return sorted(locals()), top

    for k in range(8):
        assert looks(vector(k))[0] == ["top", "x"]
    assert looks._split is None


def test_a_function_in_pieces_goes_when_it_is_dropped():
    fn = hb.function(lambda x: "ab"[int((x * 2).sum() > 0)])
    for k in range(CALLS):
        fn(vector(k))
    assert fn._split is not None
    gone = weakref.ref(fn)
    del fn
    assert gone() is None


def test_never_means_whole():
    PIECES[0] = "never"
    fn = hb.function(lambda x: "ab"[int((x * 2).sum() > 0)])
    for k in range(CALLS):
        fn(vector(k))
    assert fn._split is None


def test_a_program_that_looks_at_frames_stays_whole():
    def variables_of_the_caller():
        return sorted(sys._getframe(1).f_locals)

    @hb.function
    def forward(x):
        hidden = x * 2
        names = variables_of_the_caller()
        return (hidden + 1).sum(), names

    for k in range(CALLS):
        x = vector(k, 3)
        assert forward(x)[1] == ["hidden", "variables_of_the_caller", "x"]
    assert forward.versions()[-1].state in ("deferred", "eager")
