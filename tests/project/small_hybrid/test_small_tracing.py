"""The small program's functions: replays with the eager bits, passes, regions and plans."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from small_harness import (
    bits,
    calls,
    entry_of,
    mean,
    sigmoid,
    small,
    softplus,
    sum_to,
    tanh,
    tensor,
    transpose,
)


# ---- eager and traced
@pytest.mark.parametrize("shape", [(), (1,), (7,), (9001,), (3, 1), (700, 13), (2, 3, 4), (0, 5)])
def test_fused_loops_give_the_eager_bits(shape):
    rng = np.random.default_rng(0)
    x, y = (tensor(3 * rng.normal(size=shape)) for _ in range(2))
    row = tensor(rng.normal(size=shape[-1:]))

    def program(x, y):
        a = softplus(x * row) - 0.3
        return tanh(a * y) + a, sigmoid(-a), a > y

    traced, results, said = calls(program, x, y)
    assert entry_of(traced).state == "REPLAY" and not said
    assert len(entry_of(traced).plan.kernels) == 1
    assert all(bits(*result) == bits(*program(x, y)) for result in results)


def test_training_gives_the_eager_bits():
    rng = np.random.default_rng(3)
    points, labels = tensor(rng.normal(size=(100, 2))), tensor(rng.choice([-1, 1], (100, 1)))
    eager, traced = small.make_step(), small.function(small.make_step())
    for _ in range(20):
        assert bits(eager(points, labels)) == bits(traced(points, labels))
    cells = [dict(zip(f.__code__.co_freevars, f.__closure__)) for f in (eager, traced.fn)]
    weights = [cell["weights"].cell_contents for cell in cells]
    assert bits(*weights[0]) == bits(*weights[1])
    assert traced.explain() == "REPLAY"


def one_of(kind, x, y):
    """One step of a random program over square matrices."""
    if kind < 4:
        return (x + y, x * y, x - 0.5 * y, tanh(x) @ y)[kind]
    if kind < 6:
        return (transpose(x), sigmoid(x * tensor(2.0) * tensor(0.25)))[kind - 4]
    return small_sum(x) * y


def small_sum(x):
    return sum_to(tanh(x), shape=x.aval.shape[1:])


def made_at_random(seed):
    """A program of random steps that writes its state, and the state."""
    rng = np.random.default_rng(seed)
    state = [tensor(rng.normal(size=(7, 7))) for _ in range(2)]
    steps = tuple(tuple(map(int, rng.integers(0, [7, 1000, 1000]))) for _ in range(12))
    chosen = tuple(map(int, rng.integers(0, 16, size=5)))

    def program(x, y):
        pool = [x, y, state[0], state[1]]
        for kind, i, j in steps:
            pool = pool + [tanh(one_of(kind, pool[i % len(pool)], pool[j % len(pool)]))]
        state[0].assign(pool[chosen[0]])
        state[1].assign(state[1] - pool[chosen[1]] * pool[chosen[2]])
        return pool[chosen[3]], pool[chosen[4]], pool[-1], state[1]

    return program, state


@pytest.mark.parametrize("seed", range(40))
def test_random_programs_give_the_eager_bits(seed):
    rng = np.random.default_rng(seed)
    (eager, eager_state), (program, state) = made_at_random(seed), made_at_random(seed)
    traced, kept = small.function(program), []
    for _ in range(5):
        given = [tensor(rng.normal(size=(7, 7))) for _ in range(2)]
        results = traced(*given)
        assert bits(*results, *state) == bits(*eager(*given), *eager_state)
        kept += [(x, bits(x)) for x in results if x not in state]
    assert traced.explain() == "REPLAY"
    assert all(bits(x) == then for x, then in kept)  # no replay writes over results of another


def test_a_replay_reads_what_handles_hold_now():
    weight = tensor([1.0, 2.0])

    def program(x):
        return x * weight

    traced, _, _ = calls(program, tensor([1.0, 1.0]))
    weight.assign([5.0, 7.0])
    assert traced(tensor([2.0, 1.0])).value.tolist() == [10.0, 7.0]
    first, second = traced(tensor([1.0, 1.0])), traced(tensor([0.0, 0.0]))
    assert first.value.tolist() == [5.0, 7.0] and second.value.tolist() == [0.0, 0.0]


def test_results_keep_their_identity():
    state = tensor(1.0)

    def program(x):
        y = x + state
        state.assign(y)
        return y, x, state, y

    traced, results, _ = calls(program, tensor(2.0), times=1)
    x = tensor(2.0)
    for _ in range(4):
        y, same_x, same_state, again = traced(x)
        assert same_x is x and same_state is state and y is again and y is not state
    assert state.item() == 1.0 + 5 * 2.0


def test_a_signature_is_shapes_dtypes_and_numbers():
    def program(x, factor):
        return x * factor

    traced = small.function(program)
    for factor in (2, 2.0, -0.0, 0.0):
        for x in (tensor([1.0]), tensor([1.0, 2.0]), tensor([1.0], np.float64)):
            for _ in range(3):
                assert bits(traced(x, factor)) == bits(program(x, factor))
    assert len(traced.entries) == 12
    assert {entry.state for entry in traced.entries.values()} == {"REPLAY"}


def test_a_function_inside_a_function_is_part_of_it():
    @small.function
    def inner(x):
        return x * 2.0

    def program(x):
        return inner(x) + 1.0

    traced, results, _ = calls(program, tensor(3.0))
    assert [r.item() for r in results] == [7.0] * 4
    assert traced.explain() == "REPLAY" and not inner.entries


# ---- passes, regions, plan
def recorded(program, *args):
    return entry_of(calls(program, *args, times=2)[0]).recording.graph


def ops_of(graph):
    return [node.op.name for node in graph.nodes]


def test_fold():
    def program(x):
        return x * (tensor(2.0) * tensor(3.0))

    graph = recorded(program, tensor(1.0))
    assert ops_of(graph) == ["multiply", "multiply"]
    (node,) = small.fold(graph).nodes
    assert node.inputs[1].data == 6.0 and node.op is small.multiply


def test_cse():
    def program(x):
        return tanh(x) + tanh(x), x * 0.0, x * -0.0

    graph = recorded(program, tensor(1.0))
    assert ops_of(graph) == ["tanh", "tanh", "add", "multiply", "multiply"]
    assert ops_of(small.cse(graph)) == ["tanh", "add", "multiply", "multiply"]


def test_dce():
    def program(x):
        mean(tanh(x))
        return x + x

    graph = recorded(program, tensor([1.0]))
    assert ops_of(graph) == ["tanh", "sum_to", "multiply", "add"]
    assert ops_of(small.dce(graph)) == ["add"]


def test_fuse():
    def program(x, y):
        a = x + y
        b = tanh(a @ a) * a  # joins no loop: the product lies between
        return b, a * 2.0, mean(b * b)

    graph = recorded(program, tensor(np.eye(3)), tensor(np.ones((3, 3))))
    regions = [[node.op.name for node in region] for region in small.fuse(graph)]
    assert regions == [
        ["add", "multiply"],
        ["matmul"],
        ["tanh", "multiply", "multiply"],
        ["sum_to"],
        ["multiply"],
    ]
    made = set()
    for region in small.fuse(graph):  # whatever a region reads was made before it, or in it
        made |= {node.output for node in region}
        assert all(v in made or v.node is None for node in region for v in node.inputs)


@pytest.mark.parametrize("passes", [(), ("fold",), ("cse",), ("dce",), ("fold", "cse", "dce")])
def test_every_pass_keeps_the_bits(passes):
    points, labels = tensor(np.ones((5, 2))), tensor(np.ones((5, 1)))
    graph = recorded(small.make_step(), points, labels)
    rng = np.random.default_rng(1)
    arrays = [rng.normal(size=v.aval.shape).astype(v.aval.dtype) for v in graph.inputs]
    expected = [x.tobytes() for x in small.lower(graph).run(*arrays)]
    for name in passes:
        graph = getattr(small, name)(graph)
    plan = small.lower(graph)
    for _ in range(2):
        assert [x.tobytes() for x in plan.run(*arrays)] == expected


def test_dead_temporaries_give_their_memory_back():
    def program(x):
        for _ in range(10):
            x = tanh(x) @ x
        return x

    plan = entry_of(calls(program, tensor(np.eye(16) / 2))[0]).plan
    size = 16 * 16 * 4
    assert plan.temporaries == 19 * size and plan.arena == 3 * size


def test_the_text_of_a_graph_names_the_line():
    def program(x):
        return tanh(x)

    line = program.__code__.co_firstlineno + 1
    assert f"tanh(%x0)  # {Path(__file__).name}:{line}: return tanh(x)" in re.sub(
        r" +#", "  #", str(recorded(program, tensor(1.0)))
    )
