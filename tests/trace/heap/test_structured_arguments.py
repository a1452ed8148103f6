"""Dataclasses and their like, functions, methods and partial objects as arguments: by structure."""

import collections
import dataclasses
import functools
import gc
import types
import warnings
import weakref

import attrs
import numpy as np
import optree
import pytest

import hybrid
from hybrid import function
from hybrid.trace.fallback.nap import LONGEST

X = hybrid.tensor(np.array([1.0, -2.0, 3.0], np.float32))


def tensors(count):
    return [hybrid.full((3,), float(k) + 0.5) for k in range(count)]


@dataclasses.dataclass
class Plain:
    x: object
    n: int = 2


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: object
    n: int = 2


@dataclasses.dataclass(slots=True)
class Slots:
    x: object
    n: int = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Both:
    x: object
    n: int = 2


@dataclasses.dataclass(eq=False)
class Alone:
    x: object
    n: int = 2


@attrs.define
class Attrs:
    x: object
    n: int = 2


class Node:
    def __init__(self, x, n=2):
        self.x, self.n = x, n


optree.register_pytree_node(
    Node, lambda node: ((node.x,), node.n), lambda n, parts: Node(*parts, n), namespace="hybrid"
)


class Jumpy(Plain):
    """Nothing of this runs when a signature is made."""

    count = 0

    def __getattr__(self, name):
        Jumpy.count += 1
        raise AttributeError(name)

    def __eq__(self, other):
        Jumpy.count += 1
        return False

    def __hash__(self):
        Jumpy.count += 1
        return 1

    @property
    def wide(self):
        Jumpy.count += 1
        return self.x


def namespace(x, n=2):
    return types.SimpleNamespace(x=x, n=n)


MAKERS = [Plain, Frozen, Slots, Both, Alone, Attrs, Node, Jumpy, namespace]
NAMES = [maker.__name__ for maker in MAKERS]


def scaled(o):
    return o.x * o.n


@pytest.mark.parametrize("make", MAKERS, ids=NAMES)
def test_a_fresh_object_per_call_is_one_signature(make):
    traced = function(scaled)
    for t in tensors(8):
        assert np.array_equal(traced(make(t)).numpy(), (t * 2).numpy())
    assert tuple(traced.cache_info())[:5] == (6, 2, 0, 1, 1)
    assert np.array_equal(traced(make(X, 5)).numpy(), (X * 5).numpy())  # another one
    assert traced.cache_info().records == 3


@pytest.mark.parametrize("make", MAKERS, ids=NAMES)
def test_arrays_in_objects_are_data(make):
    traced = function(lambda o: hybrid.asarray(o.x) * o.n)
    for number in range(6):
        given = np.full(4, number, np.float32)
        assert np.array_equal(traced(make(given)).numpy(), given * 2)
    assert tuple(traced.cache_info())[:5] == (4, 2, 0, 1, 1)


def test_no_code_of_the_class_runs_for_a_signature():
    traced = function(lambda o, x: x * 2)
    Jumpy.count = 0
    for _ in range(5):
        traced(Jumpy(X), X)
    assert Jumpy.count == 0 and traced.cache_info().replays == 3


def test_mappings():
    traced = function(lambda o, d: o["a"] + d["b"])
    for t in tensors(6):
        made = traced(collections.OrderedDict(a=t), collections.defaultdict(list, b=t))
        assert np.array_equal(made.numpy(), (t + t).numpy())
    assert tuple(traced.cache_info())[:5] == (4, 2, 0, 1, 1)


@pytest.mark.parametrize("make", [Plain, Slots, Alone, Attrs, namespace], ids=lambda m: m.__name__)
def test_objects_that_the_call_changes(make):
    def body(o, x):
        o.x = o.x + x
        return o.x * 1

    def counted(o, x):
        o.n += 1
        return x * o.n

    for program in (body, counted):
        traced, held, other = function(program), make(X), make(X)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(6):
                assert np.array_equal(traced(held, X).numpy(), program(other, X).numpy())
                assert np.array_equal(held.x.numpy(), other.x.numpy()) and held.n == other.n
            for t in tensors(5):  # and ever new ones
                fresh, plain = make(t), make(t)
                assert np.array_equal(traced(fresh, X).numpy(), program(plain, X).numpy())
                assert np.array_equal(fresh.x.numpy(), plain.x.numpy()) and fresh.n == plain.n


KEPT = types.SimpleNamespace(last=None, seen=set(), by={}, all=[])
SPECIAL = Alone(X, 7)


def stores(o, x):
    KEPT.last = o
    return x * 2


def is_it(o, x):
    return x * 2 if o is SPECIAL else x


def is_among(o, x):
    return x * 2 if o in KEPT.all else x


def is_member(o, x):
    return x * 2 if o in KEPT.seen else x


def is_key(o, x):
    return x * KEPT.by.get(o, 5)


def equals(o, x):
    return x * 2 if o == SPECIAL else x


def is_counted(o, x):
    return x * KEPT.all.count(o)


def spells(o, x):
    return x, repr(o) == KEPT.text


IDENTITY = [stores, is_it, is_among, is_member, is_key, equals, is_counted, spells]


@pytest.mark.parametrize("body", IDENTITY, ids=lambda body: body.__name__)
def test_programs_that_ask_which_object_it_is(body):
    KEPT.seen, KEPT.by, KEPT.all = {SPECIAL}, {SPECIAL: 3}, [SPECIAL, SPECIAL]
    KEPT.text = repr(SPECIAL)
    traced = function(body)
    objects = [Alone(X, 7) for _ in range(3)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for o in [*objects, *objects, SPECIAL, SPECIAL, objects[0], Alone(X, 7), SPECIAL]:
            want = body(o, X)
            KEPT.last = None
            made = traced(o, X)
            if body is spells:
                assert made[1] == want[1]
            else:
                assert np.array_equal(made.numpy(), want.numpy())
            assert body is not stores or KEPT.last is o


def test_the_same_object_also_in_a_global():
    space = {"hybrid": hybrid}
    exec("def body(o, x):\n    return x * CONFIG.n", space)
    space["CONFIG"] = Plain(X, 3)
    traced = function(space["body"])
    for _ in range(4):
        assert np.array_equal(traced(space["CONFIG"], X).numpy(), (X * 3).numpy())
    assert np.array_equal(traced(Plain(X, 3), X).numpy(), (X * 3).numpy())
    space["CONFIG"].n = 4
    assert np.array_equal(traced(Plain(X, 3), X).numpy(), (X * 4).numpy())


# ---- functions
def test_fresh_lambdas_are_one_signature():
    traced = function(lambda f, x: f(x))
    for _ in range(6):
        assert np.array_equal(traced(lambda v: v * 2, X).numpy(), (X * 2).numpy())
    assert tuple(traced.cache_info())[:5] == (4, 2, 0, 1, 1)
    assert np.array_equal(traced(lambda v: v * 3, X).numpy(), (X * 3).numpy())


def test_cells_and_defaults_count():
    def maker(k, t):
        return lambda v, factor=k: v * factor + t

    traced = function(lambda f, x: f(x))
    for k in (1, 2, 1, 2, 1, 2, 3):
        for t in tensors(3):
            assert np.array_equal(traced(maker(k, t), X).numpy(), (X * k + t).numpy())
    assert traced.cache_info().signatures == 3


def test_functions_that_count_in_their_cells():
    def maker():
        count = 0

        def inner(v):
            nonlocal count
            count += 1
            return v * count

        return inner

    traced = function(lambda f, x: f(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(3):
            mine, plain = maker(), maker()
            for _ in range(4):
                assert np.array_equal(traced(mine, X).numpy(), plain(X).numpy())


def test_recursive_functions():
    def maker(t):
        def inner(v, depth=3):
            return v if depth == 0 else inner(v * t, depth - 1)

        return inner

    traced = function(lambda f, x: f(x))
    for t in tensors(6):
        assert np.array_equal(traced(maker(t), X).numpy(), maker(t)(X).numpy())
    assert traced.cache_info().replays == 4


def times(v, k):
    return v * k


def test_partial_objects_and_methods():
    class Model:
        def __init__(self):
            self.w = hybrid.full((3,), 2.0)

        def run(self, x):
            return x * self.w

    model = Model()
    traced = function(lambda f, x: f(x))
    for t in tensors(6):
        assert np.array_equal(traced(functools.partial(times, k=t), X).numpy(), (X * t).numpy())
        assert np.array_equal(traced(model.run, t).numpy(), (t * 2).numpy())
    assert traced.cache_info().records == 4 and traced.cache_info().signatures == 2
    model.w = hybrid.full((3,), 5.0)
    assert np.array_equal(traced(model.run, X).numpy(), (X * 5).numpy())


def test_ranges_are_values():
    traced = function(lambda r, x: x * len(r) + r[0])
    for _ in range(4):
        assert np.array_equal(traced(range(2, 6), X).numpy(), (X * 4 + 2).numpy())
    assert traced.cache_info().replays == 2
    assert np.array_equal(traced(range(3, 6), X).numpy(), (X * 3 + 3).numpy())


# ---- results
@pytest.mark.parametrize("make", MAKERS, ids=NAMES)
def test_results_are_fresh_objects(make):
    traced = function(lambda t: make(t * 2, [t, {"k": t + 1}]))
    made = []
    for t in tensors(6):
        made.append(traced(t))
        assert type(made[-1]) is type(make(t)) and np.array_equal(
            made[-1].x.numpy(), (t * 2).numpy()
        )
        assert made[-1].n[0] is t and np.array_equal(made[-1].n[1]["k"].numpy(), (t + 1).numpy())
    assert traced.cache_info().replays == 4 and len(set(map(id, made))) == 6


def test_containers_among_the_arguments_are_returned_themselves():
    for body in (lambda o: o, lambda o: (o, X * 2), lambda o: {"o": o}):
        traced = function(body)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for t in tensors(6):
                for given in ([t], {"t": t}, Plain(t)):
                    made = traced(given)
                    made = made[0] if isinstance(made, tuple) else made
                    made = made["o"] if isinstance(made, dict) and "o" in made else made
                    assert made is given


def test_a_class_that_is_told_of_its_end_runs_eagerly():
    ends = []

    @dataclasses.dataclass
    class Mortal:
        x: object

        def __del__(self):
            ends.append(1)

    traced = function(lambda t: Mortal(t * 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for t in tensors(5):
            traced(t)
    gc.collect()
    assert len(ends) == 5


# ---- how many, how long
def test_signatures_leave_by_use_and_the_steady_one_stays():
    traced = function(lambda x, k: x * k)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in range(400):
            assert np.array_equal(traced(X, k).numpy(), (X * k).numpy())
            assert np.array_equal(traced(X, -1).numpy(), (X * -1).numpy())
    info = traced.cache_info()
    assert info.replays >= 398 and info.signatures <= 64


def test_what_never_comes_again_is_soon_not_recorded():
    traced = function(lambda x, k: x * float(str(k[0])))
    with pytest.warns(hybrid.RunsEagerly, match="ever new signatures"):
        for k in range(500):
            traced(X, (k,))
    assert traced.cache_info().records <= 140
    for _ in range(LONGEST + 5):  # and one that does is, when the function is looked at
        traced(X, (0.5,))
    assert traced.cache_info().replays >= 2


def test_objects_of_calls_are_not_kept():
    traced = function(lambda o, f: f(o.x))
    gone = []
    for t in tensors(40):
        given = Plain(t)
        gone.append(weakref.ref(given))
        traced(given, lambda v: v * 2)
    del given, t
    gc.collect()
    assert [ref() for ref in gone] == [None] * 40 and traced.cache_info().replays == 38


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((1, 2, 3), {}), ((1, 2, 3), {"scale": 2.0}), ((), {"y": 1}), ((1,), {"z": 1})],
)
def test_calls_that_do_not_fit_raise_what_python_raises(args, kwargs):
    def step(x, y=None, *, scale=1.0, mode="a"):
        return x * scale

    given = tuple([hybrid.ones(3) * value for value in args])
    with pytest.raises(TypeError) as plain:
        step(*given, **kwargs)
    with pytest.raises(TypeError) as traced:
        hybrid.function(step)(*given, **kwargs)
    assert str(traced.value) == str(plain.value)
