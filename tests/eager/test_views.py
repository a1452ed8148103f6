"""Value semantics of tensors: aliases are snapshots, views follow writes, tapes follow both."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensor_harness import X, same

import hybrid as hb


# ---- value semantics
def test_aliases_are_snapshots():
    x = hb.tensor([1.0, 2.0])
    y, z = x.clone(), hb.stop_gradient(x)
    x += 1
    assert y.tolist() == [1.0, 2.0] == z.tolist()
    w = x
    w += 1
    assert x is w and x.tolist() == [3.0, 4.0]


def test_writes_through_views_reach_the_base_and_its_other_views():
    a = X.copy()
    x = hb.tensor(a)
    makers = [
        lambda t: t[0],
        lambda t: t.T,
        lambda t: t.reshape(-1),
        lambda t: t[None],
        lambda t: t[:, ::-1][1:],
        lambda t: t.swapaxes(0, 1)[1],
        lambda t: t[..., 1],
    ]
    views, wants = [f(x) for f in makers], [f(a) for f in makers]
    snapshot, copied = x.numpy(), x.clone()
    for k, (v, w) in enumerate(zip(views, wants)):
        if k % 2:
            v += k
            w += k
        else:
            v[...] = k
            w[...] = k
        same(x, a)
        for t, n in zip(views, wants):
            same(t, n)
    x *= 2
    a *= 2
    for t, n in zip(views, wants):
        same(t, n)
    same(snapshot, X)
    same(copied, X)


RESHAPES = [
    lambda a: a.reshape(-1),
    lambda a: a.ravel(),
    lambda a: a.flatten(),
    lambda a: a.T.ravel(),
    lambda a: a.T.reshape(-1),
    lambda a: a.transpose(1, 0, 2).reshape(3, 8),
    lambda a: a.transpose(0, 2, 1).reshape(2, 12),
    lambda a: a[:, :, ::2].reshape(-1),
    lambda a: a[:, ::2].reshape(2, 8),
    lambda a: a[1].reshape(-1),
    lambda a: a[..., 1].reshape(6),
    lambda a: a[..., 1].reshape(3, 2),
    lambda a: a[::-1].reshape(2, 12),
    lambda a: a[::-1].reshape(24),
    lambda a: a.reshape(6, 4).T.reshape(2, 2, 6),
    lambda a: a[:1].transpose(1, 0, 2).reshape(12),
    lambda a: a.reshape(24)[::2].reshape(3, 4),
    lambda a: a.transpose(2, 0, 1).reshape(4, 6).reshape(24),
]


@pytest.mark.parametrize("make", RESHAPES)
@pytest.mark.parametrize("decorated", [False, True])
def test_reshapes_are_views_where_numpys_are(make, decorated):
    """Copies of what does not lie so: writes to them stay in them, and they see none."""

    def write(a):
        shown = make(a)
        shown[(0,) * shown.ndim] = -1.0
        a[1, 0, 0] = -2.0
        return shown

    array = np.arange(24.0).reshape(2, 3, 4)
    call = hb.function(write) if decorated else write
    for _ in range(4):
        base, wanted_base = hb.tensor(array), array.copy()
        shown, wanted = call(base), write(wanted_base)
        same(base, wanted_base)
        same(shown, wanted)
        shown += 1.0  # what was returned lives on as what it is
        wanted += 1.0
        same(base, wanted_base)
        same(shown, wanted)


def test_what_is_repeated_and_reshaped_can_be_written():
    x = hb.arange(3.0)
    wide = hb.broadcast_to(x, (2, 3))
    with pytest.raises(hb.HybridError, match="cannot be written in their base"):
        wide[0, 0] = 5.0
    flat = wide.reshape(-1)
    flat[0] = 5.0
    assert flat.tolist() == [5.0, 1.0, 2.0, 0.0, 1.0, 2.0] and x.tolist() == [0.0, 1.0, 2.0]


def test_views_of_the_whole_value_cut_from_the_tape():
    p = hb.tensor([1.0, 2.0], requires_grad=True)
    d = p.detach()
    p.data[0] = 5.0
    assert p.tolist() == [5.0, 2.0] == d.tolist() and p.is_leaf and p.requires_grad
    d += 1
    assert p.tolist() == [6.0, 3.0]
    p.assign([0.0, 0.0])
    assert d.tolist() == [0.0, 0.0]


def test_views_that_cannot_be_written():
    for view in (hb.ones(1).broadcast_to((3,)), hb.ones((2, 2)).diagonal()):
        with pytest.raises(hb.HybridError, match="clone"):
            view += 1
    w = hb.ones(3, requires_grad=True)
    with pytest.raises(hb.HybridError, match="no_grad"):
        w[0] += 1
    with hb.no_grad():
        w[0] += 1
        w[1:].assign(7)
    assert w.tolist() == [2.0, 7.0, 7.0] and w.is_leaf


def test_gradients_follow_writes_through_views():
    w = hb.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = w * 1
    tail = y[1:]
    tail *= 5
    assert y.tolist() == [1.0, 10.0, 15.0]
    y.sum().backward()
    assert w.grad.tolist() == [1.0, 5.0, 5.0]
    (g,) = hb.gradients(tail.sum(), w)
    assert g.tolist() == [0.0, 5.0, 5.0]
    y[0].assign(hb.tensor(9.0))
    assert y.tolist() == [9.0, 10.0, 15.0]


VIEWS = [
    lambda t: t[1:],
    lambda t: t[::-1],
    lambda t: t[..., 0],
    lambda t: t.T,
    lambda t: t.reshape(-1),
    lambda t: t[None],
    lambda t: t[:, ::2] if t.ndim > 1 else t[::2],
]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 9), st.sampled_from(["view", "iadd", "set", "drop"]), st.integers(0, 6)
        ),
        max_size=14,
    )
)
def test_programs_of_views_and_writes_as_numpy(program):
    a = np.arange(12, dtype=np.float32).reshape(3, 4)
    pairs = [(hb.tensor(a), a)]
    for which, what, k in program:
        t, n = pairs[which % len(pairs)]
        if what == "view":
            if (
                n.ndim
                and n.size
                and (VIEWS[k](n).base is not None or VIEWS[k](n) is n)
                and np.shares_memory(VIEWS[k](n), n)
            ):
                pairs.append((VIEWS[k](t), VIEWS[k](n)))
        elif what == "iadd":
            t += k
            n += k
        elif what == "set" and n.ndim and n.size:
            t[-1] = k
            n[-1] = k
        elif what == "drop" and len(pairs) > 1:
            del pairs[which % len(pairs)]
        t = n = None
        for u, m in pairs:
            same(u, m)


def test_data_idiom():
    p = hb.tensor([1.0, 2.0], requires_grad=True)
    p.data = p.data - 0.5
    assert p.tolist() == [0.5, 1.5] and p.requires_grad and p.is_leaf


def test_assign():
    x = hb.tensor([1.0, 2.0])
    assert x.assign([3, 4]) is x and x.dtype is hb.float32
    x.assign(5)
    assert x.tolist() == [5.0, 5.0]
    with pytest.raises(hb.ShapeError):
        x.assign([1.0, 2.0, 3.0])
    y = hb.tensor([7.0, 8.0], requires_grad=True)
    x.assign(y * 2)
    assert not x.requires_grad and x.tolist() == [14.0, 16.0]


def test_shared_literals_are_protected():
    from hybrid.core.aval import HOST
    from hybrid.ir.door.bind import literal

    one = literal(1.0, hb.float32, HOST)
    assert one is literal(1.0, hb.float32, HOST) and literal(-0.0, hb.float32) is not literal(
        0.0, hb.float32
    )
    with pytest.raises(hb.HybridError, match="literal"):
        one += 1
    with pytest.raises(hb.HybridError, match="literal"):
        one.requires_grad_()


def test_writes_through_views_are_the_same_in_a_recorded_function():
    def program(x, n):
        for i in range(1, 3):
            x[i] = x[i - 1] * 2
        x[0] += n
        row = x[1]
        row *= 2
        flat = x.reshape(-1)
        flat[::2] -= 1
        return (x * row).sum()

    recorded = hb.function(program)
    for _ in range(5):
        x, y = hb.ones((3, 4)), hb.ones((3, 4))
        same(recorded(x, 1.5), program(y, 1.5).numpy())
        same(x, y.numpy())
