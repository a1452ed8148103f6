"""Optimizers against PyTorch's formulas in NumPy float64, and PyTorch where installed."""

from __future__ import annotations

import numpy as np
import pytest

import hybrid as hb
from hybrid import optim

STEPS = 6


def sgd(
    p,
    g,
    s,
    k,
    lr=0.1,
    momentum=0.0,
    dampening=0.0,
    weight_decay=0.0,
    nesterov=False,
    maximize=False,
):
    g = (-g if maximize else g) + weight_decay * p
    if momentum:
        s["b"] = g if "b" not in s else momentum * s["b"] + (1 - dampening) * g
        g = g + momentum * s["b"] if nesterov else s["b"]
    return p - lr * g


def adam(
    p,
    g,
    s,
    k,
    lr=1e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.0,
    decoupled=False,
    maximize=False,
):
    g = -g if maximize else g
    if decoupled:
        p = p * (1 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g * g
    return p - lr * (s["m"] / (1 - betas[0] ** k)) / (np.sqrt(s["v"] / (1 - betas[1] ** k)) + eps)


def adamw(p, g, s, k, weight_decay=1e-2, **kw):
    return adam(p, g, s, k, weight_decay=weight_decay, decoupled=True, **kw)


CASES = [
    ("SGD", sgd, kw)
    for kw in (
        {"lr": 0.1},
        {"lr": 0.05, "momentum": 0.9},
        {"lr": 0.05, "momentum": 0.9, "nesterov": True},
        {"lr": 0.1, "weight_decay": 0.1},
        {"lr": 0.05, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.02},
        {"lr": 0.1, "momentum": 0.5, "maximize": True},
    )
]
CASES += [
    (n, f, kw)
    for n, f in (("Adam", adam), ("AdamW", adamw))
    for kw in (
        {},
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6},
        {"lr": 0.02, "weight_decay": 0.1},
        {"lr": 0.01, "maximize": True},
    )
]


def start(shape=(3, 4)):
    r = np.random.default_rng(1)
    return r.standard_normal(shape), [r.standard_normal(shape) for _ in range(STEPS)]


def run(name, kw, dtype):
    p0, gs = start()
    p = hb.tensor(p0, dtype=dtype, requires_grad=True)
    opt = getattr(optim, name)([p], **kw)
    for g in gs:
        p.grad = hb.tensor(g, dtype=dtype)
        opt.step()
    return p


@pytest.mark.parametrize(
    "name, formula, kw", CASES, ids=lambda v: str(v) if isinstance(v, (str, dict)) else ""
)
def test_trajectories(name, formula, kw):
    p, gs = start()
    state: dict = {}
    for k, g in enumerate(gs, 1):
        p = formula(p, g, state, k, **kw)
    # hyper-parameters are float32 tensors, so float64 parameters see them with 24 bits
    np.testing.assert_allclose(run(name, kw, "float64").numpy(), p, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(run(name, kw, "float32").numpy(), p, rtol=5e-6, atol=5e-6)
    np.testing.assert_allclose(
        np.asarray(run(name, kw, "bfloat16")).astype(np.float64), p, rtol=0.05, atol=0.05
    )


@pytest.mark.parametrize(
    "name, formula, kw", CASES, ids=lambda v: str(v) if isinstance(v, (str, dict)) else ""
)
def test_against_pytorch(name, formula, kw):
    torch = pytest.importorskip("torch")
    p0, gs = start()
    p = torch.tensor(p0, dtype=torch.float32, requires_grad=True)
    opt = getattr(torch.optim, name)([p], **kw)
    for g in gs:
        p.grad = torch.tensor(g, dtype=torch.float32)
        opt.step()
    np.testing.assert_allclose(
        run(name, kw, "float32").numpy(), p.detach().numpy(), rtol=3e-6, atol=3e-6
    )


def test_groups_and_learning_rate_changes():
    a, b = (hb.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    opt = optim.SGD([{"params": [a]}, {"params": b, "lr": 1.0}], lr=0.1)
    for p in (a, b):
        p.grad = hb.ones(2)
    opt.step()
    np.testing.assert_allclose(a.numpy(), [0.9, 1.9], rtol=1e-6)
    assert b.tolist() == [0.0, 1.0]
    opt.param_groups[1]["lr"] = 0.5
    opt.step()
    assert b.tolist() == [-0.5, 0.5] and opt.param_groups[1]["lr"].item() == 0.5
    held = opt.lr
    opt.lr = 0.25
    assert held.item() == 0.25 and opt.param_groups[1]["lr"].item() == 0.25
    opt.lr *= 2
    assert opt.lr.item() == 0.5 and opt.param_groups[0]["lr"] is held
    opt.param_groups[0]["lr"] *= 0.5
    assert held.item() == 0.25


def test_parameters_without_gradient_stay():
    a, b = (hb.tensor([1.0], requires_grad=True) for _ in range(2))
    opt = optim.AdamW([a, b], lr=0.1)
    a.grad = hb.ones(1)
    opt.step()
    assert b.tolist() == [1.0] and a.tolist() != [1.0]
    assert opt.step(lambda: 7) == 7


def test_zero_grad():
    p = hb.tensor([1.0, 2.0], requires_grad=True)
    opt = optim.SGD([p])
    p.grad = hb.tensor([np.nan, np.inf])
    opt.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0.0, 0.0]
    opt.zero_grad()
    assert p.grad is None


@pytest.mark.parametrize(
    "name, formula, kw", CASES, ids=lambda v: str(v) if isinstance(v, (str, dict)) else ""
)
def test_state_dict_round_trip(name, formula, kw):
    p0, gs = start((5,))

    def make():
        p = hb.tensor(p0, dtype="float32", requires_grad=True)
        return p, getattr(optim, name)([p], **kw)

    def advance(p, opt, grads):
        for g in grads:
            p.grad = hb.tensor(g, dtype="float32")
            opt.step()

    p, opt = make()
    advance(p, opt, gs[:3])
    state, value = opt.state_dict(), p.numpy().copy()
    advance(p, opt, gs[3:])
    q, other = make()
    q.assign(value)
    other.load_state_dict(state)
    advance(q, other, gs[3:])
    np.testing.assert_array_equal(q.numpy(), p.numpy())


def test_load_state_dict_refuses_and_changes_nothing():
    p = hb.tensor([1.0], requires_grad=True)
    opt = optim.Adam([p], lr=0.1)
    state = opt.state_dict()
    with pytest.raises(hb.HybridError, match="missing"):
        opt.load_state_dict({k: v for k, v in state.items() if "exp_avg_sq" not in k})
    bad = {**state, "group0.lr": hb.tensor(9.0), "param0.exp_avg": hb.ones(3)}
    with pytest.raises(hb.ShapeError, match="exp_avg"):
        opt.load_state_dict(bad)
    np.testing.assert_allclose(opt.lr.item(), 0.1, rtol=1e-6)


def test_bad_arguments():
    p = hb.tensor([1.0], requires_grad=True)
    for make in (
        lambda: optim.SGD([p], lr=-1),
        lambda: optim.Adam([p], betas=(1.0, 0.9)),
        lambda: optim.Adam([p], eps=-1),
        lambda: optim.SGD([p], nesterov=True),
        lambda: optim.AdamW([p], weight_decay=-0.1),
    ):
        with pytest.raises(ValueError):
            make()
    for make, text in (
        (lambda: optim.SGD([]), "no parameters"),
        (lambda: optim.SGD([p * 2]), "leaf"),
        (lambda: optim.SGD([p, p]), "more than one"),
        (lambda: optim.SGD([3]), "parameters"),
        (lambda: optim.Adam([p], amsgrad=True), "amsgrad"),
        (lambda: optim.SGD(p), "list"),
    ):
        with pytest.raises(hb.HybridError, match=text):
            make()
    assert "SGD(1 tensors" in repr(optim.SGD([p]))


def test_steps_make_no_tape_and_leave_leaves():
    p = hb.tensor([1.0, 2.0], requires_grad=True)
    opt = optim.SGD([p], lr=0.1, momentum=0.9)
    for _ in range(3):
        opt.zero_grad()
        (p * p).sum().backward()
        opt.step()
    assert p.is_leaf and p.requires_grad and not opt.state[id(p)]["momentum_buffer"].requires_grad
