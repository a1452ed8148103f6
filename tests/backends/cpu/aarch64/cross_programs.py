"""Programs of every kind of kernel, whose plans another machine must compute to the same bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import hybrid as hb
import hybrid.nn as nn
import hybrid.nn.functional as F
import hybrid.optim as optim
from hybrid import random as rnd
from hybrid.backends.plan import Plan
from hybrid.core import dtypes as dt

Program = tuple[Callable[..., Any], list[Any]]


def plan_of(program: Callable[..., Any], given: list[Any]) -> Plan:
    """The plan of the one signature a program is called with."""
    traced = hb.function(program)
    for _ in range(4):
        traced(*given)
    (state,) = traced._signatures.values()
    plan: Plan = state.plans[0].run.executable.plan
    return plan


def inputs_of(plan: Plan, seed: int) -> list[np.ndarray]:
    """Values for the inputs of a plan: numbers, indices that are in range, truths."""
    rng = np.random.default_rng(seed)
    found: dict[int, np.ndarray] = {}
    for slot in plan.slots:
        if slot.kind not in ("input", "state") or slot.index in found:
            continue
        shape, dtype = slot.aval.shape, slot.aval.dtype
        if dt.is_float(dtype):
            values = np.asarray(rng.standard_normal(shape) * 0.5)
            if np.size(values) == 1:
                values = np.abs(values)
        else:
            values = np.asarray(rng.integers(0, 2, shape))
        found[slot.index] = values.astype(dtype)
    return [found.get(i, np.zeros(1)) for i in range(max(found, default=-1) + 1)]


def values(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0) -> Any:
    rng = np.random.default_rng(seed + len(shape))
    return hb.tensor(rng.standard_normal(shape) * 0.5).astype(dtype)


def mlp() -> Program:
    rnd.manual_seed(0)
    model = nn.Sequential(nn.Linear(37, 50), nn.GELU(), nn.Linear(50, 10))
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    labels = hb.tensor(np.arange(20) % 10)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step, [values((20, 37)), labels]


def block(dtype: str = "float32") -> Program:
    """A block of a GPT, with its gradients."""
    rnd.manual_seed(0)
    width, heads = 48, 3
    norm, qkv, out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
    up, down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
    weights = [p.data.astype(dtype) for m in (norm, qkv, out, up, down) for p in m.parameters()]

    def loss(x: Any, *w: Any) -> Any:
        batch, length, _ = x.shape
        hidden = F.layer_norm(x, (width,), w[0], w[1])
        parts = F.linear(hidden, w[2], w[3]).reshape(batch, length, 3, heads, width // heads)
        q, k, v = (parts[:, :, i].permute_dims((0, 2, 1, 3)) for i in range(3))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        mixed = mixed.permute_dims((0, 2, 1, 3)).reshape(batch, length, width)
        x = x + F.linear(mixed, w[4], w[5])
        return (x + F.linear(F.gelu(F.linear(x, w[6], w[7])), w[8], w[9])).sum()

    return hb.value_and_grad(loss, argnums=tuple(range(11))), [
        values((2, 37, width), dtype),
        *weights,
    ]


def cnn() -> Program:
    """Convolutions, normalisation and pooling, with gradients."""

    def loss(x: Any, v: Any, w: Any, b: Any) -> Any:
        hidden = F.max_pool2d(hb.maximum(F.conv2d(x, v, b, padding=1), 0.0), 2)
        hidden = F.conv2d(hidden, w, stride=2, padding=1)
        return (F.avg_pool2d(hidden, 2) ** 2).sum()

    given = [values((2, 3, 21, 18)), values((20, 3, 3, 3)), values((9, 20, 4, 4)), values((20,))]
    return hb.value_and_grad(loss, argnums=(0, 1, 2, 3)), given


def table(dtype: str) -> Program:
    """Gathers and the scatters of their gradients, of rows of many lengths."""

    def loss(t: Any, u: Any, ids: Any) -> Any:
        return (hb.take(t, ids, axis=0) * 3.0).sum() + (hb.take(u, ids, axis=0) ** 2).sum()

    ids = hb.tensor(np.arange(40) * 7 % 2)
    return hb.value_and_grad(loss, argnums=(0, 1)), [
        values((2, 19), dtype),
        values((2,), dtype),
        ids,
    ]


def assigned() -> Program:
    def put(x: Any, ids: Any, rows: Any) -> Any:
        x = x.clone()
        x[ids] = rows
        return x + 1.0

    return put, [values((2, 21)), hb.tensor(np.arange(9) % 2), values((9, 21))]


def scans(dtype: str) -> Program:
    def scan(x: Any, y: Any) -> Any:
        return (
            hb.cumulative_sum(x, axis=1),
            hb.cumulative_sum(x, axis=0),
            hb.cumulative_prod(y, axis=1),
        )

    if dtype.startswith("float") or dtype == "bfloat16":
        return scan, [values((5, 600), dtype), values((3, 70), dtype)]
    rng = np.random.default_rng(0)
    return scan, [hb.tensor(rng.integers(0, 9, s).astype(dtype)) for s in ((5, 600), (3, 70))]


def orders(dtype: str) -> Program:
    def order(x: Any, y: Any) -> Any:
        return hb.argsort(x, 1), hb.argsort(x, 0, descending=True), hb.argsort(y)

    if dtype.startswith("float") or dtype == "bfloat16":
        return order, [values((9, 50), dtype), values((400,), dtype)]
    rng = np.random.default_rng(0)
    return order, [hb.tensor(rng.integers(0, 99, s).astype(dtype)) for s in ((9, 50), (400,))]


def reductions(dtype: str) -> Program:
    def several(x: Any) -> Any:
        return [
            kind(x, axis=axis)
            for kind in (hb.sum, hb.max, hb.argmin, hb.prod)
            for axis in (0, 1, (0, 2), None)
            if axis is None or isinstance(axis, int) or kind is not hb.argmin
        ]

    return several, [values((5, 19, 70), dtype)]


def normalised(dtype: str) -> Program:
    def rows(x: Any, w: Any) -> Any:
        return F.softmax(x, -1), F.log_softmax(x, 0), F.layer_norm(x, (x.shape[-1],), w), x.var(0)

    return rows, [values((7, 83), dtype), values((83,), dtype)]


def attention(dtype: str, masked: bool) -> Program:
    """Forward and backward; more than one block of keys, odd sizes."""

    def loss(q: Any, k: Any, v: Any, mask: Any) -> Any:
        own = mask if masked else None
        return (F.scaled_dot_product_attention(q, k, v, attn_mask=own) ** 2).sum()

    mask = hb.tensor(np.arange(45 * 270).reshape(45, 270) % 3 > 0)
    given = [values((2, n, e), dtype, n) for n, e in ((45, 19), (270, 19), (270, 33))]
    return hb.value_and_grad(loss, argnums=(0, 1, 2)), [*given, mask]


def random_numbers() -> Program:
    def draw(x: Any) -> Any:
        return F.dropout(x, 0.3) + rnd.normal(0.0, 1.0, x.shape) + rnd.gamma(2.0, 1.0, x.shape)

    rnd.manual_seed(3)
    return draw, [values((6, 50))]


def moved() -> Program:
    """Copies that turn, reverse, join and cut."""

    def move(x: Any, y: Any) -> Any:
        turned = hb.permute_dims(x, (2, 0, 1)) + 1.0
        joined = hb.concat([x[:, ::-1], x[:, ::2] * 2.0], axis=1)
        return turned, joined, hb.stack([y, y + 1], axis=-1), hb.pad(x, ((1, 2), (0, 1), (2, 0)))

    return move, [values((5, 18, 23)), hb.tensor(np.arange(77, dtype=np.int16))]


PROGRAMS: dict[str, Callable[[], Program]] = {
    "mlp": mlp,
    "block": block,
    "cnn": cnn,
    "assigned": assigned,
    "random": random_numbers,
    "moved": moved,
    "attention": lambda: attention("float32", False),
    "masked attention": lambda: attention("float64", True),
    "attention in halves": lambda: attention("float16", False),
}
for _dtype in ("float32", "float64", "float16", "bfloat16"):
    for _make in (table, scans, orders, reductions, normalised):
        PROGRAMS[f"{_make.__name__} {_dtype}"] = lambda make=_make, dtype=_dtype: make(dtype)
for _dtype in ("int8", "uint16", "int32", "uint64"):
    PROGRAMS[f"scans {_dtype}"] = lambda dtype=_dtype: scans(dtype)
    PROGRAMS[f"orders {_dtype}"] = lambda dtype=_dtype: orders(dtype)
PROGRAMS["block in halves"] = lambda: block("bfloat16")
# each kind of kernel once or twice
FEW = (
    "mlp",
    "block in halves",
    "cnn",
    "assigned",
    "moved",
    "masked attention",
    "table float16",
    "scans float32",
    "scans bfloat16",
    "scans int8",
    "orders float32",
    "orders uint16",
    "reductions float32",
    "normalised float64",
)
