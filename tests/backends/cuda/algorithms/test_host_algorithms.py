"""Running sums, orders, searches and assignments on a simulated card have the bits of NumPy's
functions on the host, eagerly and in one graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from card_programs import executable_of, forget_generators
from gpu import SimulatedDriver
from gpu.harness import differing

import hybrid
from hybrid.backends.cuda.machine import driver as door
from hybrid.core import dtypes as dt
from hybrid.core.errors import IndexOutOfRange, UnsupportedError
from hybrid.ir.door.bind import bind
from hybrid.ir.op import HostOp

SIZES = (0, 1, 255, 256, 257, 1000)
NAMES = [d.name for d in dt.ALL if not dt.is_complex(d)]


@pytest.fixture(scope="module", autouse=True)
def card() -> Iterator[SimulatedDriver]:
    """A simulated card."""
    made = SimulatedDriver()
    before = door.use(made)
    yield made
    forget_generators()
    door.use(before)


def equal(found: Any, wanted: Any, about: Any = None) -> None:
    have, want = found.numpy(), wanted.numpy()
    assert have.dtype == want.dtype and have.shape == want.shape
    off = differing(np.ascontiguousarray(have), np.ascontiguousarray(want))
    assert not off.any(), (about, np.flatnonzero(off)[:5], have.reshape(-1)[off][:5])


def same(function: Callable[..., Any], *arrays: Any) -> None:
    """A function of tensors on both devices."""
    made = [function(*[hybrid.tensor(x, device=kind) for x in arrays]) for kind in ("cuda", "cpu")]
    equal(*made, [a.shape for a in arrays])


def drawn(shape: Any, dtype: np.dtype, seed: int = 0) -> np.ndarray:
    """Numbers of either sign, with repeats, both zeros and what is no number."""
    rng = np.random.default_rng(seed)
    values = np.round(rng.normal(size=shape) * 20) / 4
    if dt.is_float(dtype):
        flat = values.reshape(-1)
        flat[::7], flat[3::11] = 0.0, -0.0
        flat[5::61], flat[8::61], flat[9::61] = np.nan, np.inf, -np.inf
        return values.astype(dtype)
    if dt.is_int(dtype):
        return (values * 30).astype(np.int64).astype(dtype)
    return values > 0


def halves(shape: Any, dtype: np.dtype) -> np.ndarray:
    """Numbers whose sums and products are rounded, and stay in range."""
    values = np.random.default_rng(1).normal(size=shape) * 0.3 + 1
    return values.astype(dtype)


# ---- running sums and products
@pytest.mark.parametrize("name", NAMES)
def test_running_sums_and_products(name: str) -> None:
    dtype = dt.canonical(name)
    values = halves(300, dtype)
    values[280:] = drawn(20, dtype)
    same(lambda x: hybrid.cumulative_sum(x, dtype=name), values)
    same(lambda x: hybrid.cumulative_prod(x, dtype=name), values)


@pytest.mark.parametrize("size", SIZES)
def test_running_sums_of_any_length(size: int) -> None:
    same(hybrid.cumulative_sum, halves(size, dt.float32))
    same(hybrid.cumulative_prod, halves(size, dt.float16))
    same(hybrid.cumulative_sum, drawn(size, dt.int32))
    same(hybrid.cumulative_prod, drawn(size, dt.float32))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_running_sums_along_any_axis(axis: int) -> None:
    shape = [3, 4, 5]
    shape[axis] = 520
    same(lambda x: hybrid.cumulative_sum(x, axis=axis), halves(shape, dt.float32))
    same(lambda x: hybrid.cumulative_prod(x, axis=axis), halves(shape, dt.float16))


@pytest.mark.parametrize("size", [5, 256, 700, 1024])
def test_the_order_of_running_sums(size: int) -> None:
    values, total, wanted = halves(size, dt.float32), None, list[np.ndarray]()
    for start in range(0, size, 256):
        inside = [values[start]]
        for value in values[start + 1 : start + 256]:
            inside.append(inside[-1] + value)
        block = np.array(inside, np.float32)
        wanted.append(block if total is None else total + block)
        total = wanted[-1][-1]
    for kind in ("cpu", "cuda"):
        found = hybrid.cumulative_sum(hybrid.tensor(values, device=kind)).numpy()
        np.testing.assert_array_equal(found, np.concatenate(wanted))


@pytest.mark.parametrize("given, made", [("int8", "float16"), ("float64", "bfloat16")])
def test_running_sums_in_another_dtype(given: str, made: str) -> None:
    values = drawn((2, 300), dt.canonical(given))
    same(lambda x: hybrid.cumulative_sum(x, axis=1, dtype=made), values)


def test_running_sums_of_floats_as_integers() -> None:
    values = np.array([1e30, np.nan, -np.inf, -2.7, 2.7])
    same(lambda x: hybrid.cumulative_sum(x, dtype="int32"), values)


# ---- orders
@pytest.mark.parametrize("name", NAMES)
def test_orders(name: str) -> None:
    values = drawn(257, dt.canonical(name))
    same(hybrid.argsort, values)
    same(lambda x: hybrid.argsort(x, descending=True), values)


@pytest.mark.parametrize("size", SIZES)
def test_orders_of_any_length(size: int) -> None:
    for dtype in (dt.float32, dt.int64):
        same(hybrid.argsort, drawn(size, dtype))
        same(lambda x: hybrid.argsort(x, descending=True), drawn(size, dtype))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("descending", [False, True])
def test_orders_along_any_axis(axis: int, descending: bool) -> None:
    for extent in (2, 300):
        shape = [3, 4, 5]
        shape[axis] = extent
        values = drawn(shape, dt.float32)
        same(lambda x: hybrid.argsort(x, axis=axis, descending=descending), values)
        same(lambda x: hybrid.sort(x, axis=axis, descending=descending), values)


@pytest.mark.parametrize("size", [1025, 5000])
def test_orders_of_long_lines(size: int) -> None:
    same(lambda x: hybrid.argsort(x, axis=1), drawn((2, size), dt.int32))
    same(lambda x: hybrid.argsort(x, axis=0), drawn((size, 2), dt.float64))
    same(hybrid.argsort, np.zeros(size, np.float16))
    same(hybrid.argsort, np.arange(size)[::-1].copy())


@pytest.mark.parametrize("name", ["int8", "int64", "uint8", "uint64", "float32", "float64"])
def test_orders_of_extreme_values(name: str) -> None:
    dtype = dt.canonical(name)
    if dt.is_float(dtype):
        least = np.finfo(dtype)
        ends = [np.nan, -np.nan, np.inf, -np.inf, least.max, least.min, least.tiny, -0.0, 0.0]
    else:
        ends = [np.iinfo(dtype).max, np.iinfo(dtype).min, 0, 1]
    for descending in (False, True):
        values = np.array(ends * 3, dtype)
        same(lambda x: hybrid.argsort(x, descending=descending), values)
        same(lambda x: hybrid.topk(x, 5, largest=descending).indices, values)


# ---- searches
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_searches(name: str, side: str) -> None:
    dtype = dt.canonical(name)
    for size in (0, 1, 256, 1000):
        row = drawn(size, dtype)
        plain = row.astype(np.float32) if dt.is_half(dtype) else row
        row = row[np.argsort(plain, kind="stable")]
        values = drawn((7, 30), dtype, seed=1)
        same(lambda row, x: hybrid.searchsorted(row, x, side=side), row, values)


def test_searches_among_other_dtypes() -> None:
    same(hybrid.searchsorted, np.arange(-5, 20), np.array([0.5, -7.0, 3.0, 99.0]))
    same(hybrid.searchsorted, np.arange(9.0, dtype=np.float32), np.array(3))


# ---- assignments
def assigned(x: Any, index: Any, values: Any) -> Any:
    x = x.clone()
    x[index] = values
    return x


@pytest.mark.parametrize("name", NAMES)
def test_assignments_where_the_last_one_stays(name: str) -> None:
    dtype, rng = dt.canonical(name), np.random.default_rng(3)
    for count in (0, 1, 30, 300):
        index = rng.integers(-40, 40, count)
        base, rows = drawn((40, 3), dtype), drawn((count, 3), dtype, seed=2)
        same(assigned, base, index, rows)
        wanted = base.copy()
        for k, number in enumerate(index):
            wanted[number] = rows[k]
        found = assigned(*[hybrid.tensor(x, device="cuda") for x in (base, index, rows)])
        assert not differing(found.numpy(), wanted).any()


def put(x: Any, index: Any, values: Any) -> Any:
    out = x.clone()
    hybrid.put_along_axis(out, index, values, axis=1)
    return out


def test_assignments_of_many_kinds() -> None:
    base = drawn((6, 5, 4), dt.float32)
    same(lambda x, i: assigned(x, (slice(None), i), 7.0), base, np.array([1, 3, 1]))
    same(lambda x, i, j: assigned(x, (i, j), 7.0), base, np.array([1, 3]), np.array([[0], [4]]))
    same(lambda x, mask: assigned(x, mask, -1.0), base, base > 0)
    same(
        put,
        base,
        np.zeros((6, 3, 4), np.int64),
        drawn((6, 3, 4), dt.float32, seed=5),
    )


def test_gradients_of_assignments_and_running_sums() -> None:
    def gradients(kind: str) -> list[Any]:
        x = hybrid.tensor(halves((40, 3), dt.float32), device=kind, requires_grad=True)
        v = hybrid.tensor(halves((5, 3), dt.float32), device=kind, requires_grad=True)
        put = assigned(x, hybrid.tensor([1, 7, 1, 0, 7], device=kind), v)
        loss = (hybrid.cumulative_prod(put, axis=0) * hybrid.cumulative_sum(put, axis=1)).sum()
        loss.backward()
        return [x.grad, v.grad]

    for found, wanted in zip(gradients("cuda"), gradients("cpu"), strict=True):
        equal(found, wanted)


@pytest.mark.parametrize("wrong", [10**12, -5])
def test_an_assignment_out_of_range_touches_nothing(wrong: int) -> None:
    x = hybrid.ones((4, 3), device="cuda")
    before = x.clone()
    x[hybrid.tensor([1, wrong], device="cuda")] = 5.0
    with pytest.raises(IndexOutOfRange, match=r"test_host_algorithms"):
        x.numpy()
    np.testing.assert_array_equal(before.numpy(), np.ones((4, 3)))
    assert hybrid.argsort(before, axis=0).numpy()[:, 0].tolist() == [0, 1, 2, 3]


# ---- inputs of any layout, workspaces
LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "turned": lambda x: x.T,
    "steps": lambda x: x[::2, 1::3],
    "backwards": lambda x: hybrid.flip(x, axis=1),
    "wide": lambda x: hybrid.broadcast_to(x[:, :1], x.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_inputs_that_are_not_contiguous(layout: Callable[[Any], Any]) -> None:
    def uses(x: Any) -> list[Any]:
        x, table = layout(x), hybrid.zeros(9, 9, device=x.device)
        index = hybrid.argsort(x, axis=0)
        table[index[:, 0] % 9] = table[:1] + index[:, :1]
        found = hybrid.searchsorted(hybrid.arange(-2.0, 3.0, device=x.device), x)
        return [index, hybrid.cumulative_sum(x, axis=0), found, table]

    values = drawn((9, 9), dt.float32)
    made = [uses(hybrid.tensor(values, device=kind)) for kind in ("cuda", "cpu")]
    for found, wanted in zip(*made, strict=True):
        equal(found, wanted)


@pytest.mark.parametrize("order, races", [(0, True), (2, False)])
def test_any_schedule_of_threads(card: SimulatedDriver, order: int, races: bool) -> None:
    card.order, card.races = order, races
    try:
        for shape in ((300,), (270, 2)):
            same(lambda x: hybrid.cumulative_sum(x, axis=0), halves(shape, dt.float32))
        same(lambda x: hybrid.cumulative_prod(x, axis=1), halves((2, 90), dt.float64))
        same(hybrid.argsort, drawn(1100, dt.float32))
        same(lambda x: hybrid.argsort(x, axis=0), drawn((40, 3), dt.int64))
        same(hybrid.searchsorted, np.arange(9.0), drawn(40, dt.float64))
        same(assigned, drawn((9, 3), dt.int8), np.arange(70) % 8, drawn((70, 3), dt.int8))
        same(assigned, drawn((9, 3), dt.int8), np.arange(9) % 4, drawn((9, 3), dt.int8))
    finally:
        card.order, card.races = 0, False


# ---- plans
def step(x: Any, index: Any, values: Any) -> Any:
    table = x * 2
    table[index] = values + 1
    sums = hybrid.cumulative_sum(table, axis=0)
    order = hybrid.argsort(sums, axis=1, descending=True)
    found = hybrid.searchsorted(hybrid.arange(-3.0, 3.0, device=x.device), sums)
    return hybrid.sort(sums, axis=0), order + found, table


def test_a_traced_step_is_one_graph(card: SimulatedDriver) -> None:
    traced = hybrid.function(step)
    for turn in range(5):
        arrays = halves((300, 4), dt.float32) + turn, np.array([1, turn, 5, 1]), np.float32(turn)
        found = traced(*[hybrid.tensor(x, device="cuda") for x in arrays])
        wanted = step(*[hybrid.tensor(x) for x in arrays])
        for have, want in zip(found, wanted, strict=True):
            equal(have, want)
    assert traced.cache_info().replays >= 2, traced.explain()
    assert executable_of(traced).graphs.instances
    card.log.clear()
    traced(*[hybrid.tensor(x, device="cuda") for x in arrays])
    ran = [entry[0] for entry in card.log if entry[0] != "to_device"]
    assert ran == ["graph"] + ["kernel"] * len(executable_of(traced).owners)


def test_state_that_a_traced_step_assigns_to() -> None:
    def run(kind: str) -> list[np.ndarray]:
        state = hybrid.zeros((20, 2), device=kind)
        total = hybrid.zeros(20, device=kind)

        @hybrid.function
        def update(index: Any, values: Any) -> Any:
            state[index] = values
            total.assign(hybrid.cumulative_sum(state[:, 0]))
            return state.sum()

        results = []
        for turn in range(5):
            index = hybrid.tensor([turn, 3, turn, 19], device=kind)
            values = hybrid.tensor(halves((4, 2), dt.float32) * turn, device=kind)
            results.append(update(index, values).numpy())
        assert update.cache_info().replays >= 2, update.explain()
        if kind == "cpu":
            return [*results, state.numpy(), total.numpy()]
        kept = state.numpy(), total.numpy()
        update(hybrid.tensor([1, 2, 3, 200], device=kind), values)
        with pytest.raises(IndexOutOfRange):
            total.numpy()
        for have, want in zip((state, total), kept, strict=True):
            np.testing.assert_array_equal(have.numpy(), want)
        return [*results, *kept]

    for found, wanted in zip(run("cuda"), run("cpu"), strict=True):
        np.testing.assert_array_equal(found, wanted)


# ---- what has no kernels
def test_a_record_that_says_no_algorithm_is_refused() -> None:
    op = HostOp("on_the_host", 1, lambda x: (x,), body=np.copy)
    with pytest.raises(UnsupportedError, match=r"on_the_host .*cuda.*\.cpu\(\)"):
        bind(op, hybrid.ones(3, device="cuda"))
    assert bind(op, hybrid.ones(3)).tolist() == [1, 1, 1]
