"""Branches and loops as functions inside recorded functions: the eager bits, and what is native."""

import pytest

import hybrid as h


def bits(tree):
    """Everything in a tree of tensors, as bytes."""
    if isinstance(tree, h.Tensor):
        return tree.shape, tree.dtype.name, tree.detach().numpy().tobytes()
    if isinstance(tree, dict):
        return {k: bits(v) for k, v in tree.items()}
    return type(tree)(map(bits, tree)) if isinstance(tree, (list, tuple)) else tree


def same(program, *calls, replays=True):
    """Call a program plain and recorded with each of the arguments, several times over."""
    traced = h.function(program)
    for arguments in [*calls] * 4:
        assert bits(traced(*arguments)) == bits(program(*arguments))
    if replays:
        before = traced.cache_info().replays
        for arguments in calls:
            traced(*arguments)
        assert traced.cache_info().replays == before + len(calls), traced.explain()
    return traced


@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_a_loop_of_known_length_replays(count):
    w = h.tensor([0.5, 0.75])
    same(lambda x: h.fori_loop(0, count, lambda i, t: h.sin(t) * w + i, x), (h.ones(2),))
    same(lambda x: h.scan(lambda c, y: (c * w + y, c), h.zeros(2), x), (h.ones((count, 2)),))


def test_a_step_with_a_scan_is_trained_with_the_same_bits():
    def steps(decorate):
        h.manual_seed(0)
        w = h.randn(8, 8, requires_grad=True)
        optimizer = h.optim.Adam([w], lr=0.1)

        def step(x):
            def cell(carry, y):
                carry = h.tanh(carry @ w + y)
                return carry, carry

            optimizer.zero_grad()
            last, ys = h.scan(cell, h.zeros(8), x)
            loss = (ys * ys).mean() + last.sum()
            loss.backward()
            optimizer.step()
            return loss

        step = decorate(step)
        losses = [step(h.ones((6, 8)) * k) for k in range(5)]
        return bits(losses), bits(w), step

    assert steps(lambda f: f)[:2] == steps(h.function)[:2]
    assert steps(h.function)[2].cache_info().replays == 3
