"""Random programs over a random world of Python objects; between calls any reachable place may
change.

Plain Python on one copy of the world and @function on another must agree to the bit on every call.
"""

from __future__ import annotations

import random
import types
import warnings
from typing import Any

import numpy as np
import pytest
from adversary.common import norm, same
from reference_executor import ReferenceExecutor

import hybrid as hb
import hybrid.nn as nn
import hybrid.optim as optim
from hybrid import random as rnd
from hybrid.decorator import RunsEagerly, function, set_executor

NS = types.SimpleNamespace

STATEMENTS = [
    "x = x * W.cfg.k",
    "x = x + W.cfg.sub.b",
    "x = x * W.nums[0]",
    "x = x * sum(W.nums)",
    "for l in W.layers: x = x * l.w + l.b",
    "for i, (l, n) in enumerate(zip(W.layers, W.nums)): x = x * n + l.b * i",
    "x = hb.maximum(x, 0.5) if W.flags['relu'] else x",
    "x = x * W.flags.get('gain', 1.0)",
    "x = W.fn(x)",
    "x = x + W.obj.method(x)",
    "x = x * W.obj.prop",
    "x = x * W.obj.shared",
    "x = x * W.table[W.key]",
    "x = x * [W.table[k] for k in sorted(W.table)][0]",
    "W.state = x * 2",
    "W.t.assign(x + W.t)",
    "W.t += 1",
    "W.obj.hidden = x",
    "x = x + W.state",
    "x = x + W.obj.hidden",
    "x = x * W.layers[-1].w",
    "x = x * len(W.nums)",
    "x = x * W.obj()",
    "x = x + W.pair[1].w",
    "x = x * getattr(W.cfg, W.name)",
    "x = x - W.tensors['a']",
    "W.tensors['a'] = W.tensors['a'] * 0.5",
    "x = x * float(f'{W.cfg.k:.2f}')",
    "x = x * hb.tensor(W.nums)[0]",
    "x = x + hb.tensor(W.array)",
    "x = x * G",
    "x = x * closure()",
    "x = x * (2.0 if isinstance(W.obj, W.kind) else 3.0)",
    "x = x * {**W.table}['p']",
    "x = x * max(W.layers, key=lambda l: l.b).b",
    "x = x.reshape(W.shape).reshape((4,))",
    "W.count = W.count + 1",
    "W.log.append(1)",
    "x = x * W.count",
    "W.cfg.k = 2.0",
    "x = x * W.deep[0]['q'][1].v",
    "x = x * hb.sum(W.tensors['b'])",
    "W.tensors['b'] = x",
    "x = x * W.alias.k",
]
FREQUENT = STATEMENTS[:36] + STATEMENTS[40:]


def t(seed: float) -> Any:
    return hb.tensor(np.float32([seed, 1.0, -seed, 0.5]))


def made_class() -> Any:
    """A class of this world's own, which mutations change."""

    class Obj:
        shared = 1.5

        def __init__(self) -> None:
            self.k, self.hidden = 2.0, t(0.1)

        def method(self, x: Any) -> Any:
            return x * self.k

        @property
        def prop(self) -> float:
            return self.k + 1

        def __call__(self) -> float:
            return self.k * self.shared

    return Obj


def world() -> tuple[Any, dict[str, Any]]:
    Obj = made_class()

    def fn(x: Any, s: float = 1.25) -> Any:
        return x * s

    cell = 1.125

    def closure() -> float:
        return cell

    def put(v: float) -> None:
        nonlocal cell
        cell = v

    layers = [NS(w=t(1.0 + i), b=0.5 * i + 0.25) for i in range(3)]
    cfg = NS(k=1.5, sub=NS(b=0.25), other=0.75)
    W = NS(
        cfg=cfg,
        nums=[1.0, 2.0, 0.5],
        layers=layers,
        flags={"relu": True},
        fn=fn,
        obj=Obj(),
        table={"p": 1.1, "q": 0.9},
        key="p",
        state=t(0.3),
        t=t(0.7),
        pair=(1, layers[0]),
        name="k",
        tensors={"a": t(2.0), "b": t(3.0)},
        array=np.float32([1, 2, 3, 4]),
        kind=Obj,
        shape=(2, 2),
        count=1,
        log=[],
        alias=cfg,
        deep=[{"q": (0, NS(v=1.25))}],
    )
    return W, {"W": W, "hb": hb, "G": 1.75, "closure": closure, "put": put, "Obj": Obj, "fn": fn}


def swap_code(g: Any) -> None:
    def other(x: Any, s: float = 1.25) -> Any:
        return x * s + 1

    g["fn"].__code__ = other.__code__


MUTATIONS: list[Any] = [
    lambda W, g, v: setattr(W.cfg, "k", v),
    lambda W, g, v: setattr(W.cfg.sub, "b", v),
    lambda W, g, v: setattr(W.cfg, "sub", NS(b=v)),
    lambda W, g, v: W.nums.__setitem__(0, v),
    lambda W, g, v: W.nums.append(v),
    lambda W, g, v: W.nums.pop() if len(W.nums) > 3 else None,
    lambda W, g, v: setattr(W.layers[1], "b", v),
    lambda W, g, v: setattr(W.layers[0], "w", t(v)),
    lambda W, g, v: W.layers[2].w.assign(t(v)),
    lambda W, g, v: W.layers.reverse(),
    lambda W, g, v: W.layers.append(NS(w=t(v), b=v)),
    lambda W, g, v: W.flags.update(relu=not W.flags["relu"]),
    lambda W, g, v: W.flags.update(gain=v),
    lambda W, g, v: W.flags.pop("gain", None),
    lambda W, g, v: setattr(W, "fn", lambda x: x - v),
    lambda W, g, v: setattr(W, "fn", g["fn"]),
    lambda W, g, v: swap_code(g),
    lambda W, g, v: setattr(g["fn"], "__defaults__", (v,)),
    lambda W, g, v: setattr(W.obj, "k", v),
    lambda W, g, v: setattr(g["Obj"], "shared", v),
    lambda W, g, v: setattr(W.obj, "shared", v),
    lambda W, g, v: setattr(g["Obj"], "method", lambda s, x: x + v),
    lambda W, g, v: setattr(g["Obj"], "prop", property(lambda s: v)),
    lambda W, g, v: setattr(W.obj, "method", lambda x: x),
    lambda W, g, v: setattr(g["Obj"], "__call__", lambda s: v),
    lambda W, g, v: W.table.update(p=v),
    lambda W, g, v: setattr(W, "key", "q"),
    lambda W, g, v: W.table.update({f"a{v}": v}),
    lambda W, g, v: setattr(W, "state", t(v)),
    lambda W, g, v: W.t.assign(t(v)),
    lambda W, g, v: setattr(W, "t", t(v)),
    lambda W, g, v: setattr(W, "state", W.t),
    lambda W, g, v: setattr(W.obj, "hidden", W.t),
    lambda W, g, v: setattr(W, "name", "other"),
    lambda W, g, v: W.tensors.update(a=t(v)),
    lambda W, g, v: W.tensors.update(a=W.tensors["b"]),
    lambda W, g, v: W.array.__setitem__(0, v),
    lambda W, g, v: setattr(W, "array", W.array * 2),
    lambda W, g, v: g.__setitem__("G", v),
    lambda W, g, v: g["put"](v),
    lambda W, g, v: setattr(W, "kind", int),
    lambda W, g, v: setattr(W, "shape", (4, 1)),
    lambda W, g, v: setattr(W, "count", 5),
    lambda W, g, v: setattr(W.deep[0]["q"][1], "v", v),
    lambda W, g, v: W.deep[0].update(q=(1, NS(v=v))),
    lambda W, g, v: setattr(W, "pair", (2, W.layers[-1])),
    lambda W, g, v: setattr(W, "alias", NS(k=v)),
    lambda W, g, v: setattr(W, "cfg", NS(k=v, sub=NS(b=v), other=v)),
    lambda W, g, v: setattr(W.cfg, "k", 2),
    lambda W, g, v: setattr(W.cfg, "k", True),
    lambda W, g, v: setattr(W.cfg, "k", -0.0),
    lambda W, g, v: None,
    lambda W, g, v: None,
]


def reachable_tensors(W: Any) -> list[Any]:
    return [
        W.state,
        W.t,
        W.obj.hidden,
        W.tensors["a"],
        W.tensors["b"],
        W.count,
        len(W.log),
        W.cfg.k,
        [layer.w for layer in W.layers],
        W.state is W.t,
    ]


def play(seed: int, jit: Any) -> tuple[list[Any], Any]:
    rng = random.Random(seed)
    W, g = world()
    pool = STATEMENTS if seed % 4 == 0 else FREQUENT
    body = "".join(f"    {rng.choice(pool)}\n" for _ in range(rng.randint(2, 9)))
    exec(f"def f(x):\n{body}    return x\n", g)
    f, out = jit(g["f"]), []
    for k in range(26):
        if k > 3 and rng.random() < 0.45:
            change, v = rng.choice(MUTATIONS), rng.choice([0.25, 0.5, 1.75, 3.0])
            change(W, g, v)
        try:
            out.append(norm(f(t(float(k % 5)))))
        except (TypeError, ValueError, IndexError, KeyError, AttributeError) as e:
            out.append(type(e).__name__)
        out.append(norm(reachable_tensors(W)))
    return out, f


@pytest.mark.parametrize("block", range(8))
def test_random_worlds(block: int) -> None:
    replays = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsEagerly)
        for seed in range(block * 15, block * 15 + 15):
            want, _ = play(seed, lambda f: f)
            got, f = play(seed, function)
            assert same(want, got), f"seed {seed}\n{f.explain()}"
            replays += f.cache_info().replays
    assert replays > 15 * 4


class Unit(nn.Module):
    def __init__(self, kind: int) -> None:
        super().__init__()
        self.kind, self.scale = kind, 0.5
        self.body = nn.Linear(4, 4)
        self.drop = nn.Dropout(0.25)
        self.extra = hb.zeros(4)
        self.register_buffer("mean", hb.ones(4))

    def forward(self, x: Any) -> Any:
        y = self.drop(self.body(x)) * self.scale
        if self.kind == 1:
            y = y.tanh() + x
        elif self.kind == 2 and self.training:
            self.mean.assign(self.mean * 0.9 + x.detach().mean(axis=0) * 0.1)
            y = y - self.mean
        elif self.kind == 3:
            self.extra = y.detach().sum(axis=0)
            y = y + self.extra
        return y


class Deep(nn.Module):
    def __init__(self, kinds: list[int]) -> None:
        super().__init__()
        self.units = nn.ModuleList([Unit(k) for k in kinds])
        self.head = nn.Linear(4, 1)

    def forward(self, x: Any) -> Any:
        for u in self.units:
            x = u(x)
        return self.head(x)


TRAIN = [
    "opt.zero_grad()",
    "loss.backward()",
    "opt.step()",
    "net.zero_grad()",
    "(loss * 0.5).backward()",
    "total[0] = total[0] + loss.detach()",
    "p0.assign(p0 * 0.99)",
    "state['g'] = p0.grad",
    "with hb.no_grad(): ema.assign(ema * 0.9 + p0 * 0.1)",
    "p0.grad = None",
    "loss = loss + (p0 * p0).sum() * 0.01",
]


def toggle(p: Any) -> None:
    p.requires_grad_(not p.requires_grad)


CHANGES: list[Any] = [
    lambda n, o, g, v: n.train(),
    lambda n, o, g, v: n.eval(),
    lambda n, o, g, v: setattr(n.units[0], "scale", v),
    lambda n, o, g, v: setattr(n.units[0], "kind", int(v) % 4),
    lambda n, o, g, v: setattr(n.units[-1].drop, "p", 0.5),
    lambda n, o, g, v: setattr(o, "lr", v * 0.01),
    lambda n, o, g, v: o.param_groups[0].__setitem__("lr", v * 0.02),
    lambda n, o, g, v: n.head.weight.assign(n.head.weight * v),
    lambda n, o, g, v: n.units.append(Unit(1)),
    lambda n, o, g, v: setattr(n, "head", nn.Linear(4, 1)),
    lambda n, o, g, v: setattr(n.head, "bias", None),
    lambda n, o, g, v: setattr(n.head.weight, "grad", None),
    lambda n, o, g, v: n.zero_grad(),
    lambda n, o, g, v: setattr(g["p0"], "grad", hb.ones_like(g["p0"]).detach()),
    lambda n, o, g, v: toggle(n.head.weight),
    lambda n, o, g, v: rnd.manual_seed(int(v * 100)),
    lambda n, o, g, v: n.load_state_dict(n.state_dict()),
    lambda n, o, g, v: g.__setitem__("p0", n.units[-1].body.weight),
    lambda n, o, g, v: setattr(n.units[0], "extra", hb.ones(4)),
    lambda n, o, g, v: n.units[0].register_forward_hook(lambda m, a, out: out * v),
    lambda n, o, g, v: setattr(n.units[0], "mean", hb.ones(4) * v),
    lambda n, o, g, v: g["total"].__setitem__(0, hb.tensor(v)),
    lambda n, o, g, v: g.__setitem__("ema", g["p0"].detach().clone()),
    lambda n, o, g, v: None,
    lambda n, o, g, v: None,
]


def train(seed: int, jit: Any) -> tuple[list[Any], Any]:
    rng = random.Random(seed)
    rnd.manual_seed(seed)
    net = Deep([rng.randrange(4) for _ in range(rng.randint(1, 3))])
    opt = rng.choice([optim.SGD, optim.Adam])(net.parameters(), lr=0.05)
    p0 = net.units[0].body.weight
    g: dict[str, Any] = {
        "net": net,
        "opt": opt,
        "p0": p0,
        "hb": hb,
        "total": [hb.tensor(0.0)],
        "state": {},
        "ema": p0.detach().clone(),
    }
    exec(step_text(rng), g)
    f, out, data = jit(g["f"]), [], np.random.default_rng(seed)
    for k in range(18):
        if k > 3 and rng.random() < 0.3:
            rng.choice(CHANGES)(net, opt, g, rng.choice([0.25, 0.5, 1.75, 3.0]))
        x, y = data.standard_normal((2, 3, 4)).astype("f4")
        try:
            r = f(hb.tensor(x), hb.tensor(y[:, :1]))
            out.append(norm(list(r.values()) if isinstance(r, dict) else r))
        except hb.HybridError as e:
            out.append(type(e).__name__)
        params = list(net.parameters())
        grads, extras = [p.grad for p in params], [u.extra for u in net.units]
        state = [g["total"], g["ema"], list(g["state"].values()), rnd.get_state()]
        out.append(norm([params, grads, list(net.buffers()), extras, *state]))
    return out, f


def step_text(rng: random.Random) -> str:
    """The text of a random training step."""
    lines = rng.choice(
        [
            ["opt.zero_grad()", "loss.backward()", "opt.step()"],
            ["loss.backward()", "opt.step()", "opt.zero_grad()"],
            [rng.choice(TRAIN) for _ in range(4)],
        ]
    )
    lines = lines + [rng.choice(TRAIN) for _ in range(rng.randint(0, 2))]
    tail = rng.choice(
        ["loss", "loss.detach()", "(loss, p0.grad)", "{'loss': loss, 'p': p0}", "None"]
    )
    return (
        "def f(x, y):\n    loss = ((net(x) - y) ** 2).mean()\n"
        + "".join(f"    {s}\n" for s in lines)
        + f"    return {tail}\n"
    )


@pytest.mark.parametrize("block", range(4))
def test_random_training(block: int) -> None:
    replays, old = 0, set_executor(ReferenceExecutor())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RunsEagerly)
            for seed in range(block * 5, block * 5 + 5):
                want, _ = train(seed, lambda f: f)
                got, f = train(seed, function)
                assert same(want, got), f"seed {seed}\n{f.explain()}"
                replays += f.cache_info().replays
    finally:
        set_executor(old)
    assert replays > 5 * 2
