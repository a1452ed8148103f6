"""A decorated function is like the plain one where Python looks at it: its parts, attributes,
copies and its place in a class."""

from __future__ import annotations

import copy
import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

import pytest

import hybrid as hb
from hybrid import nn

pytestmark = pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly")
PARTS = ("__code__", "__defaults__", "__kwdefaults__", "__closure__", "__globals__", "__builtins__")


def _plainly(x: Any, a: float = 2.0, *, b: float = 1.0) -> Any:
    return x * a + b


def _reading(x: Any, a: float = 2.0, *, b: float = 1.0) -> Any:
    if x.sum().item() > 1e6:
        print("large")
    return x * a + b


def _copy_of(function: types.FunctionType) -> types.FunctionType:
    """A function of its own to store to."""
    made = types.FunctionType(function.__code__, globals(), function.__name__, (2.0,))
    made.__kwdefaults__ = {"b": 1.0}
    made.__annotations__ = dict(function.__annotations__)
    return made


@pytest.mark.parametrize("body", [_plainly, _reading])
@pytest.mark.parametrize("through", ["decorated", "wrapped"])
def test_stores_to_its_parts_count_at_the_next_call(body: Any, through: str) -> None:
    plain = _copy_of(body)
    decorated = hb.function(plain)
    target = decorated if through == "decorated" else decorated.__wrapped__
    x, other = hb.arange(3.0), _copy_of(lambda x, a=0.0, *, b=0.0: x - a - b)
    codes = [plain.__code__, other.__code__]
    for k in range(48):
        if k % 4 == 0:
            target.__defaults__ = (float(k),)
        if k % 6 == 0:
            target.__kwdefaults__ = {"b": float(k)}
        if k % 6 == 3:
            target.__kwdefaults__["b"] = -1.0
        if k % 12 == 0:
            target.__code__ = codes[k // 12 % 2]
        assert decorated(x).tolist() == plain(x).tolist(), k
        assert decorated(x, b=3.0).tolist() == plain(x, b=3.0).tolist(), k
    assert decorated.cache_info().replays


def test_its_parts_are_those_of_the_function() -> None:
    plain = _copy_of(_plainly)
    decorated = hb.function(plain)
    for name in PARTS:
        assert getattr(decorated, name) is getattr(plain, name), name
    with pytest.raises(AttributeError, match="readonly"):
        decorated.__closure__ = ()
    with pytest.raises(TypeError, match="__defaults__"):
        decorated.__defaults__ = [1]
    del decorated.__defaults__
    assert plain.__defaults__ is None
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        decorated.absent  # noqa: B018
    assert not hasattr(hb.function(abs), "__code__")


def test_what_inspect_says_of_it() -> None:
    decorated: Any = hb.function(_plainly)
    assert inspect.getfullargspec(decorated) == inspect.getfullargspec(_plainly)
    assert inspect.signature(decorated) == inspect.signature(_plainly)
    assert inspect.getsource(decorated) == inspect.getsource(_plainly)
    assert inspect.unwrap(decorated) is _plainly
    assert not inspect.iscoroutinefunction(decorated)
    assert typing.get_type_hints(decorated) == typing.get_type_hints(_plainly)

    async def later(x: Any, a: float = 2.0) -> Any:
        return x * a

    for starts in (later, functools.partial(later, a=3.0)):
        waits: Any = hb.function(starts)
        assert inspect.iscoroutinefunction(waits) and waits.__code__ is later.__code__


@pytest.mark.parametrize("decorate", [hb.function, lambda f: f])
def test_a_recorded_call_that_reads_or_stores_its_parts(decorate: Callable[..., Any]) -> None:
    inner = decorate(_copy_of(_plainly))

    def reads(x: Any) -> Any:
        return inner(x) + inner.__defaults__[0] + inner.__kwdefaults__["b"]

    def stores(x: Any, k: int) -> Any:
        inner.__defaults__ = (k * 2.0,)
        return inner(x)

    read, store, x = hb.function(reads), hb.function(stores), hb.ones(2)
    for k in range(20):
        if k % 5 == 0:
            inner.__defaults__ = (float(k),)
        if k % 7 == 0:
            inner.__kwdefaults__ = {"b": float(k)}
        assert read(x).tolist() == reads(x).tolist(), k
    for k in range(20):
        inner.__defaults__ = (99.0,)
        found = store(x, k // 5).tolist()
        assert inner.__defaults__ == (k // 5 * 2.0,)
        assert found == stores(x, k // 5).tolist()


class Scale:
    """A callable object that keeps names which `Function` also has."""

    def __init__(self, fn: Any, factor: float) -> None:
        self.fn, self.factor, self._budget = fn, factor, None

    def __call__(self, x: Any) -> Any:
        return self.fn(x) * self.factor


def test_attributes_of_a_callable_object_are_its_own() -> None:
    scale = Scale(lambda x: x + 1, 2.0)
    decorated, x = hb.function(scale), hb.ones(2)

    def reads(x: Any) -> Any:
        return decorated(x) * decorated.factor

    read = hb.function(reads)
    for k in range(20):
        scale.factor = float(k // 5)
        assert decorated(x).tolist() == scale(x).tolist()
        assert decorated.factor == scale.factor
        assert read(x).tolist() == reads(x).tolist()


def test_attributes_of_a_function_replace_no_part_of_the_decorator() -> None:
    def f(x: Any) -> Any:
        return x * 2

    vars(f).update(fn=None, _budget=None, _signatures=(), note=3)
    decorated = hb.function(f)
    assert [decorated(hb.ones(1)).tolist() for _ in range(4)] == [[2.0]] * 4
    assert decorated.note == 3 and decorated.fn is f


def test_a_cached_function_keeps_its_methods() -> None:
    @hb.function
    @functools.cache
    def cached(k: int) -> Any:
        return hb.ones(3) * k

    for _ in range(3):
        cached(2)
    assert cached.cache_parameters() == {"maxsize": None, "typed": False}
    assert cached.__wrapped__.cache_info().misses == 1
    assert hasattr(cached.cache_info(), "replays")
    cached.cache_clear()
    assert cached.__wrapped__.cache_info().currsize == 0


def test_a_function_is_its_own_copy_and_objects_are_copied() -> None:
    decorated: Any = hb.function(lambda x: x + 1)
    assert copy.copy(decorated) is decorated and copy.deepcopy(decorated) is decorated
    assert copy.deepcopy({"act": [decorated]})["act"][0] is decorated
    scale = Scale(lambda x: x, 2.0)
    wrapped: Any = hb.function(scale)
    for other in (copy.copy(wrapped), copy.deepcopy(wrapped)):
        assert type(other) is type(wrapped) and other.fn is not scale
        scale.factor = 5.0
        assert other(hb.ones(1)).tolist() == [2.0] and wrapped(hb.ones(1)).tolist() == [5.0]
        scale.factor = 2.0


class Halves(nn.Module):
    """A module with a decorated forward, and a decorated bound method as an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.twice = hb.function(self.doubled)

    @hb.function
    def forward(self, x: Any) -> Any:
        return self.linear(x)

    def doubled(self, x: Any) -> Any:
        return self.linear(x) * 2


def test_a_deep_copy_of_a_module_runs_its_own_parameters() -> None:
    module, x = Halves(), hb.ones(1, 2)
    for _ in range(4):
        module(x), module.twice(x)
    before = module(x).tolist()
    copied = copy.deepcopy(module)
    copied.linear.weight.assign(hb.zeros(2, 2))
    copied.linear.bias.assign(hb.ones(2))
    for _ in range(4):
        assert module(x).tolist() == before
        assert copied(x).tolist() == [[1.0, 1.0]] and copied.twice(x).tolist() == [[2.0, 2.0]]
    assert copied.twice.fn.__self__ is copied


def _decorated_class(decorate: Callable[..., Any]) -> Any:
    class Base:
        act = decorate(Scale(lambda x: x + 1, 2.0))
        count = decorate(len)
        made = decorate(functools.partial(hb.multiply, 3.0))

        @decorate
        def __new__(cls, x: Any) -> Any:
            self = object.__new__(cls)
            self.x = x * 2
            return self

        @decorate
        def __class_getitem__(cls, key: Any) -> Any:
            return cls, key

        @decorate
        def __init_subclass__(cls, **given: Any) -> None:
            cls.given = given

        @decorate
        @staticmethod
        def standing(x: Any) -> Any:
            return x - 1

        @decorate
        def method(self, x: Any) -> Any:
            return self.x + x

    class Derived(Base, width=3):
        pass

    return Base, Derived


@pytest.mark.filterwarnings("ignore:functools.partial will be:FutureWarning")
def test_its_place_in_a_class_is_that_of_the_function() -> None:
    plain, decorated = _decorated_class(lambda f: f), _decorated_class(hb.function)
    x = hb.arange(3.0)
    for k in range(5):
        for ours, others in zip(decorated, plain):
            assert ours[k] == (ours, k)
            mine, theirs = ours(x), others(x)
            assert type(mine) is ours and mine.x.tolist() == theirs.x.tolist()
            assert mine.act(x).tolist() == theirs.act(x).tolist()
            assert mine.count([1, 2]) == theirs.count([1, 2]) == 2
            assert mine.standing(x).tolist() == ours.standing(x).tolist() == (x - 1).tolist()
            assert mine.method(x).tolist() == theirs.method(x).tolist()
            assert mine.made(x).tolist() == theirs.made(x).tolist()
        assert decorated[1].given == plain[1].given == {"width": 3}
        assert decorated[0].__new__(decorated[1], x).x.tolist() == (x * 2).tolist()


def test_a_descriptor_that_can_be_called_is_told_its_name() -> None:
    class Named:
        def __call__(self, x: Any) -> Any:
            return x

        def __set_name__(self, owner: Any, name: str) -> None:
            self.name = name

    class Owner:
        field: Any = hb.function(Named())

    assert Owner.field.name == "field"
