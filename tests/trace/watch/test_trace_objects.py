"""What Python and C code read of objects: recorded or not, @function gives the bits of plain Python.

Subclasses of plain types, C callables in classes and handed to C code, names and bases of classes,
C objects with state, NumPy data, containers that hold themselves.
"""

from __future__ import annotations

import gc
import sys
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from adversary import common
from adversary.objects import (
    attacks,
    callables,
    classes,
    contents,
    kinds,
    library,
    neighbours,
    numpy_data,
    values,
)

import hybrid
from hybrid.decorator import function

CASES = {
    **attacks.CASES,
    **callables.CASES,
    **classes.CASES,
    **contents.CASES,
    **kinds.CASES,
    **library.CASES,
    **neighbours.CASES,
    **numpy_data.CASES,
    **values.CASES,
}


@pytest.mark.parametrize("name", list(CASES))
def test_same_as_python(name: str) -> None:
    common.check(CASES[name])


ORDINARY = """
getter_attr getter_dotted getter_item getter_partial getter_cached_property getter_super attr_dict
attr_dict_get static_attrgetter method_in_c c_reduce_getattr_Thing
c_reduce_split_Thing c_partial_getattr_Thing c_starmap_getattr_Thing c_map_attrgetter_Thing
c_attrgetter_Thing c_itemgetter_Thing c_sorted_key_Thing c_groupby_Thing c_default_get_Thing
c_percent_Thing c_repr_ns_Thing c_chainmap_Thing c_zip_longest_Thing c_sum_values_Thing
str_attribute str_swapped float_literal float_argument enum_plain enum_int enum_str enum_flag
enum_mixed enum_as_scale namedtuple_argument tuple_lies class_name class_name_class class_bases
class_isinstance_bases class_method_name class_super_attr class_class_dict metaclass_attribute
held_value_str held_value_args held_oserror raised_fresh held_proxy held_view_values held_view_in
held_deque held_counter held_remade_partial held_remade_partial_kw remade_property remade_static
numpy_unit_scalar numpy_names numpy_order numpy_byte_order numpy_zero_dim numpy_bfloat16
keyed_by_tensor keyed_by_argument stored_under_tensor contains_itself c_partial_nested_Thing
young_class_attribute young_method young_call young_property type_of_object base_attribute_added
filtered reduced from_dict from_dict_get by_name by_text either composed map_bound map_types
getter_default getter_global getter_in_object delegated own_getattribute descriptor_state
data_descriptor module_attributes fields ordered counter default_dict total_ordering abc_check
sum_attrgetter map_dict_bound getattr_default getattr_names getattr_text starmap_mixed min_dict_get
nested_map len_of iterated float_of truth_of contained mapped_call slot_replaced meta_len meta_item
value_axis value_index value_flag value_name value_negative_zero value_nan value_int_float value_tuple
value_dtype value_function value_array_in_list value_date tensors_as_keys cycles raised_state modules
metaclass_hash in_list in_dict by_object enum_key enum_by_value array_base array_transposed
""".split()
if sys.version_info < (3, 12):  # later isinstance with a protocol looks through classes in C
    ORDINARY.append("protocol")


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_programs_are_replayed(name: str) -> None:
    made = common.check(CASES[name])
    assert any(f.cache_info().replays for f in made), [f.explain() for f in made]


def test_many_callables_handed_to_c_code_end_soon() -> None:
    """Each may call each other; the looking must not follow every order."""

    @function
    def step(x: Any) -> Any:
        chosen = max(len, abs, hash, sum, min, any, all, bin, chr, ord, pow, iter, next, key=repr)
        return x * len(chosen.__name__)

    x = hybrid.ones(3)
    assert [step(x).tolist() for _ in range(4)] == [[3.0] * 3] * 4
    assert step.cache_info().replays > 0


def test_what_a_recorded_call_used_is_not_kept() -> None:
    """Facts that hold weakly see the death of their object at once, without the collector."""

    class Thing:
        k = 2.0

    box = SimpleNamespace(thing=Thing())
    step = function(lambda x: x * box.thing.k)
    gc.disable()
    try:
        step(hybrid.ones(3))
        seen = weakref.ref(box.thing)
        del box.thing
        assert seen() is None
    finally:
        gc.enable()


class _Noted:
    gone: list[int] = []

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        self.gone.append(self.number)


class _NotedToo(_Noted):
    pass


def _allocated(number: int) -> Any:
    made = object.__new__(_Noted)
    made.number = number
    return made


@pytest.mark.parametrize(
    "make",
    [_Noted, _NotedToo, _allocated, lambda k: list(map(_Noted, [k])), lambda k: {k: _Noted(k)}],
)
def test_finalizers_run_at_every_call(make: Any) -> None:
    """A replay makes no object, so what its end does would be lost."""

    def helper(x: Any, number: int) -> Any:
        made = make(number)
        return x * 2 if made is not None else x

    calls = function(helper)
    _Noted.gone.clear()
    for number in range(8):
        assert calls(hybrid.ones(2), number).tolist() == [2.0, 2.0]
    assert sorted(_Noted.gone) == list(range(8))


# values that are known by what they are: an equal one may be another object
TWINS: dict[str, Any] = {
    "text": lambda: " ".join("ab"),
    "float": lambda: float("2.5"),
    "int": lambda: int("1000000"),
    "bytes": lambda: bytes([120, 121]),
    "tuple": lambda: tuple([1, 2]),
    "numpy scalar": lambda: np.float32(3),
    "range": lambda: range(int("3")),
    "NaN": lambda: float("nan"),
}


@pytest.mark.parametrize("kind", TWINS)
@pytest.mark.parametrize("where", ["argument", "in a dict", "global", "attribute", "in a list"])
def test_is_asks_for_the_object(kind: str, where: str) -> None:
    sentinel = TWINS[kind]()
    holder, listed, globally = SimpleNamespace(value=sentinel), [sentinel], {"value": sentinel}

    def step(x: Any, given: Any) -> Any:
        if where == "argument":
            value = given
        elif where == "in a dict":
            value = given["value"]
        elif where == "global":
            value = globally["value"]
        else:
            value = holder.value if where == "attribute" else listed[0]
        return x * 2 if value is sentinel else x

    decorated, x = function(step), hybrid.ones(1)
    for call in range(12):
        value = sentinel if call < 5 or 8 <= call < 10 else TWINS[kind]()
        holder.value = listed[0] = globally["value"] = value
        given = {"value": value} if where == "in a dict" else value
        assert decorated(x, given).tolist() == step(x, given).tolist(), call


@pytest.mark.parametrize(
    "found",
    [
        lambda value, known: value in [known],
        lambda value, known: value in {known: 1},
        lambda value, known: [known].count(value),
    ],
)
def test_a_nan_is_found_by_identity(found: Any) -> None:
    nan = float("nan")

    def step(x: Any, value: Any) -> Any:
        return x * 2 if found(value, nan) else x

    decorated, x = function(step), hybrid.ones(1)
    for value in [nan] * 4 + [float("nan")] * 3 + [nan, 1.0, 1.0, 1.0, nan]:
        assert decorated(x, value).tolist() == step(x, value).tolist()
