"""Fusion, order, memory: a plan gives the bits of its nodes, with the kernels that were meant."""

from __future__ import annotations

import random

import numpy as np
import pytest
from graph_ops import Build, T, lit, registered
from lower_harness import check, embedding_step, kinds

from hybrid import ops  # noqa: F401  (registers the records)
from hybrid.backends.interpret import run_plan
from hybrid.backends.plan import GemmKernel, LoopKernel
from hybrid.compiler.lower.affine import Embed, refine, reshape_strides, same_order
from hybrid.compiler.lower.memory import Arena
from hybrid.compiler.pipeline import build, lower
from hybrid.core import dtypes as dt
from hybrid.core.errors import IndexOutOfRange, Site


@pytest.fixture(autouse=True, scope="module")
def _records():
    with registered():
        yield


# ---- index maps
@pytest.mark.parametrize("seed", range(40))
def test_reshape_strides_agrees_with_numpy(seed):
    rng = random.Random(seed)
    shape = tuple(rng.choice([1, 2, 3, 4]) for _ in range(rng.randrange(4)))
    x = np.arange(1000)[: int(np.prod(shape, dtype=int))].reshape(shape)
    x = np.transpose(x, rng.sample(range(x.ndim), x.ndim))
    if rng.random() < 0.5 and x.ndim:
        x = x[(slice(None, None, -1),)]
    n = x.size
    new = rng.choice(
        [
            (n,),
            (1, n),
            (n, 1, 1),
            x.shape[::-1],
            *[(k, n // k) for k in range(1, n + 1) if n % k == 0],
        ]
    )
    got = reshape_strides(x.shape, [s // 8 for s in x.strides], new)
    want = x.reshape(new)
    if got is not None:
        view = np.lib.stride_tricks.as_strided(x, new, [s * 8 for s in got])
        np.testing.assert_array_equal(view, want)
    else:
        assert not np.shares_memory(x, want), "NumPy finds a view of the same elements"


def test_embeddings():
    assert refine((6, 4), (2, 12)) == (2, 3, 4) and refine((4, 3), (3, 4)) == (4, 3)
    e = same_order((4, 3), (1, 4), (3, 4), (4, 1))
    assert isinstance(e, Embed) and e.apply((0, (3, 1))) == (0, (1, 3))
    assert same_order((4, 3), (3, 2), (12,), (1,)) is None


# ---- what fuses
def test_layer_norm_is_one_kernel_and_writes_permuted():
    b = Build()
    x = b.input(6, 8)
    d = b(
        T.sub,
        x,
        b(
            T.spread,
            b(T.reshape, b(T.mul, b(T.sum, x, axes=(1, 2)), 0.125), shape=(6, 1)),
            shape=(6, 8),
        ),
    )
    v = b(T.root, b(T.sum, b(T.mul, d, d), axes=(1, 2)))
    o = b(T.div, d, b(T.reshape, v, shape=(6, 1)))
    out = [
        o,
        v,
        b(T.relu, b(T.reshape, o, shape=(2, 3, 8))),
        b(T.root, b(T.permute, o, axes=(1, 0))),
    ]
    assert kinds(check(b.graph(*out))) == "r"


def test_contraction_takes_its_elementwise_tail():
    b = Build()
    x, w, c = b.input(5, 4), b.input(6, 4), b.input(6)
    h = b(T.linear, x, w, c)
    y = b(T.mul, b(T.relu, h), b.input(5, 6))
    plan = check(b.graph(y, h))
    assert kinds(plan) == "g" and len(plan.steps[0].outs) == 2 and plan.arena_bytes == 0
    b = Build()
    x = b.input(2, 3, 4)
    y = b(T.add, b(T.linear, x, b.input(5, 4)), b.input(3, 5))
    assert kinds(check(b.graph(y))) == "g"
    b = Build()
    x = b.input(2, 3, 4)
    y = b(T.reshape, b(T.linear, b(T.reshape, x, shape=(6, 4)), b.input(5, 4)), shape=(2, 3, 5))
    y = b(T.reshape, b(T.add, y, b.input(2, 3, 5)), shape=(6, 5))
    assert kinds(check(b.graph(y))) == "g"


@pytest.mark.parametrize("d", [dt.float32, dt.bfloat16, dt.float16, dt.int8], ids=str)
def test_attention_shapes(d):
    b = Build()
    q, k, v = (b.input(2, 5, 12, d=d) for _ in range(3))

    def heads(t):
        return b(T.permute, b(T.reshape, t, shape=(2, 5, 3, 4)), axes=(0, 2, 1, 3))

    a = b(T.mul, b(T.matmul, heads(q), b(T.permute, heads(k), axes=(0, 1, 3, 2))), 2)
    a = b(T.softmax, a, axes=(3, 4)) if dt.is_float(d) else b(T.relu, a)
    z = b(T.permute, b(T.matmul, a, heads(v)), axes=(0, 2, 1, 3))
    plan = check(b.graph(b(T.add, b(T.reshape, z, shape=(2, 5, 12)), q)))
    assert kinds(plan) == ("grgm" if dt.is_float(d) else "ggm")


def test_convolution_epilogue_walks_groups():
    b = Build()
    y = b(T.conv, b.input(2, 4, 5, 5), b.input(6, 2, 3, 3), b.input(6), groups=2)
    y = b(T.mul, b(T.relu, y), b(T.reshape, b.input(6), shape=(6, 1, 1)))
    assert kinds(check(b.graph(y))) == "g"


def test_column_reductions_share_a_kernel_and_take_their_producers():
    b = Build()
    g, x = b.input(9, 5), b.input(9, 5)
    dw, db = b(T.sum, b(T.mul, g, x), axes=(0, 1)), b(T.sum, g, axes=(0, 1))
    assert kinds(check(b.graph(dw, db))) == "c"


def test_cheap_values_are_repeated_not_stored():
    b = Build()
    x = b.input(40, 40, d=dt.bfloat16)
    c = b(T.convert, x, dtype=dt.float32)
    y, z = b(T.sum, b(T.mul, c, c), axes=(0, 1)), b(T.softmax, c, axes=(1, 2))
    plan = check(b.graph(y, z))
    assert plan.arena_bytes == 0 and sorted(kinds(plan)) == ["c", "r"]


def test_what_reductions_read_of_a_product_is_theirs():
    """As the gradient of a normalisation behind a convolution's: sums over rows of what is made of
    the product, and a map of both; the product stores one value, the sums are one kernel."""
    b = Build()
    x, w, weight = b.input(6, 4, 5), b.input(6, 5, 40), b.input(4, 1)
    product = b(T.matmul, x, w)
    normal, mask = b.input(6, 4, 40), b.input(6, 4, 40)
    gradient = b(T.mul, product, mask)
    scaled = b(T.mul, gradient, weight)
    sums = [
        b(T.sum, value, axes=(2, 3))
        for value in (gradient, b(T.mul, gradient, normal), b(T.mul, scaled, normal), scaled)
    ]
    back = [b(T.reshape, total, shape=(6, 4, 1)) for total in sums[2:]]
    final = b(T.add, b(T.mul, scaled, back[0]), back[1])
    plan = check(b.graph(b(T.root, final), *sums[:2]))
    assert kinds(plan) == "gr"
    (head,) = [k for k in plan.steps if isinstance(k, GemmKernel)]
    assert len(head.outs) == 1


def test_a_cheap_value_of_one_that_others_read_is_repeated():
    b = Build()
    x, weight = b.input(300, 40), b.input(40)
    first = b(T.mul, b(T.relu, x), x)
    scaled = b(T.mul, first, weight)
    columns = [b(T.sum, value, axes=(0, 1)) for value in (first, scaled)]
    plan = check(b.graph(*columns, b(T.softmax, scaled, axes=(1, 2)), first))
    written = [
        access for step in plan.steps if isinstance(step, LoopKernel) for access in step.writes
    ]
    assert len([access for access in written if 0 not in access.strides]) == 2  # first, softmax


def test_producers_write_into_the_result_of_a_concat():
    b = Build()
    x, y = b.input(4, 3), b.input(2, 3)
    e = b(T.relu, x)
    c = b(T.concat, e, b(T.root, y), axis=0)
    d = b(T.concat, c, e, y, axis=0)
    plan = check(b.graph(b(T.rows, d, begin=1, size=8, step=1), c))
    assert plan.arena_bytes <= 12 * 3 * 4 + 64
    plan = check(b.graph(d))
    assert kinds(plan) == "mmm" and plan.arena_bytes == 0


def test_sums_of_placements_are_cut_into_boxes():
    b = Build()
    x, y = b.input(2, 3), b.input(3, 3)
    e, f = b(T.embed, b(T.root, x), begin=0, size=5), b(T.embed, b(T.relu, y), begin=2, size=5)
    total = b(T.add, b(T.add, e, f), b(T.embed, x, begin=2, size=5))
    plan = check(b.graph(total))
    assert kinds(plan) == "mmmmm"  # two producers, three boxes, no fills
    assert kinds(check(b.graph(total, e))).count("m") > 5
    assert kinds(check(b.graph(b(T.softmax, e, axes=(1, 2))))).endswith("r")


def test_gathers_read_contiguous_memory():
    b = Build()
    x, i = b.input(4, 3), lit([[2], [0]], dt.int64)
    y = b(T.take, b(T.permute, x, axes=(1, 0)), i)
    z = b(T.take, b(T.rows, b(T.root, x), begin=1, size=3, step=1), i)
    check(b.graph(b(T.relu, y), z))


def test_sizes_are_limited():
    b = Build()
    x = b.input(8)
    total = x
    for _ in range(60):
        total = b(T.add, total, b.input(8))
    plan = check(b.graph(total))
    assert len(plan.steps) > 1 and all(len(k.reads) <= 24 for k in plan.steps)


def test_literals_are_run_time_scalars():
    b = Build()
    x = b.input(3)
    plan = lower(b.graph(b(T.mul, b(T.add, x, 2.0), 3.0), b(T.root, b(T.reshape, x, shape=(3, 1)))))
    other = Build()
    x = other.input(3)
    again = lower(
        other.graph(
            other(T.mul, other(T.add, x, 5.0), -0.0),
            other(T.root, other(T.reshape, x, shape=(3, 1))),
        )
    )
    assert (
        plan.steps[0].program == again.steps[0].program
        and plan.steps[0].params != again.steps[0].params
    )
    assert not plan.consts


def test_checks_come_first_and_name_the_line():
    g, states = embedding_step()
    plan = check(g, states)
    assert kinds(plan)[0] == "k" and plan.messages[0] == "outside of 5 rows"
    assert plan.sites[0] == Site("net.py", 7, "forward")
    assert [s.in_place for s in plan.slots if s.kind == "state"] == [True]
    w = np.ones((5, 4), np.float32)
    with pytest.raises(IndexOutOfRange, match="outside of 5 rows"):
        run_plan(plan, [w, np.array([0, 9, 1])])


def test_unused_checks_and_host_calls_still_run():
    b = Build()
    x, i = b.input(3), b.input(3, d=dt.int64)
    b(T.checked, i, n=2)
    plan = build(b.graph(b(T.relu, b(T.sort, b(T.permute, x, axes=(0,)))))).plan
    assert sorted(kinds(plan)) == ["h", "k", "m"]


def test_readers_of_old_state_run_before_it_is_overwritten():
    b = Build()
    x, g, w, lr = b.input(16, 5), b.input(16, 7), b.input(5, 7), b.input()
    new = b(T.add, w, b(T.mul, b(T.matmul, b(T.permute, x, axes=(1, 0)), g), lr))
    plan = check(b.graph(new, b(T.matmul, g, b(T.permute, w, axes=(1, 0)))), [(0, 2)])
    assert [s.in_place for s in plan.slots if s.kind == "state"] == [True]
    assert [k.outs[0].slot for k in plan.steps] == [5, 4]


@pytest.mark.parametrize("case", ["swap", "both", "kept", "later", "returned", "gather", "through"])
def test_state_that_cannot_be_overwritten_gets_memory(case):
    b = Build()
    p, q = b.input(4, 4), b.input(4, 4)
    states = [(0, 0), (1, 1)]
    in_place = [False, True]
    if case == "swap":
        g = b.graph(q, p)
    elif case == "both":
        g = b.graph(
            b(T.add, p, b(T.permute, q, axes=(1, 0))), b(T.add, q, b(T.permute, p, axes=(1, 0)))
        )
        in_place = [False, False]
    elif case == "kept":
        g, in_place = b.graph(b(T.neg, p), b(T.neg, q), p), [False, True]
    elif case == "later":
        new = b(T.matmul, p, q)
        g = b.graph(b(T.root, new), b(T.matmul, b(T.softmax, new, axes=(1, 2)), p))
    elif case == "returned":
        new = b(T.neg, p)
        g, in_place = b.graph(new, b(T.neg, q), new), [True, True]
    elif case == "gather":
        g = b.graph(b(T.take, p, lit([[1], [0], [2], [3]], dt.int64)), q)
        states, in_place = [(0, 0)], [False]
    else:
        g, in_place = b.graph(b(T.sort, p), q), [False]
    plan = check(g, states)
    assert [s.in_place for s in plan.slots if s.kind == "state"] == in_place
    assert not any(s.in_place for s in lower(g, states, donate=False).slots)


def test_unchanged_state_costs_nothing():
    b = Build()
    p, q = b.input(4), b.input(4)
    plan = check(b.graph(p, b(T.neg, q)), [(0, 0), (1, 1)])
    assert plan.outputs[0] == 0 and [s.index for s in plan.slots if s.kind == "state"] == [1]


def test_a_cache_is_written_in_place():
    b = Build()
    cache, y = b.input(8, 3), b.input(2, 3)
    new = b(T.put, cache, b(T.root, y), begin=3)
    plan = check(b.graph(new, b(T.sum, new, axes=(0, 1))), [(0, 0)])
    (state,) = [k for k, s in enumerate(plan.slots) if s.kind == "state"]
    assert plan.slots[state].in_place and plan.partial == (state,) and len(plan.steps) == 3
    assert not check(b.graph(new, cache), [(0, 0)]).partial


# ---- memory
def test_arena_reuses_and_merges_free_ranges():
    a = Arena()
    x, y, z = (a.take(n) for n in (64, 128, 64))
    a.give(x, 64)
    a.give(y, 128)
    assert a.take(192) == x and a.take(64) == 256
    a.give(z, 64)
    assert a.take(64) == z and a.peak == 320


def test_long_chains_need_little_memory():
    b = Build()
    x = b.input(8, 8)
    for _ in range(20):
        x = b(T.matmul, x, b(T.softmax, x, axes=(1, 2)))
    plan = check(b.graph(x))
    assert plan.arena_bytes <= 4 * 256
    live = [(s.index, s.aval.nbytes) for s in plan.slots if s.kind == "arena"]
    assert all(o % 64 == 0 and o + n <= plan.arena_bytes for o, n in live)


def test_elementwise_kernels_write_over_their_operand():
    b = Build()
    x = b(T.sort, b(T.sort, b.input(300)))
    y = b(T.root, x)
    plan = check(b.graph(b(T.sort, y)))
    slots = [plan.slots[k] for k in (plan.steps[2].reads[0].slot, plan.steps[2].writes[0].slot)]
    assert slots[0].kind == slots[1].kind == "arena" and slots[0].index == slots[1].index
