"""Text and HTML of a tensor.

Invariant: nothing here changes a tensor; output is bounded in size whatever the tensor's size.
"""

from __future__ import annotations

import html
from typing import Any

import numpy as np

from ..core import dtypes as dt
from ..core.aval import Aval
from ..core.floating import in_plain_floats, plain_floats
from ..ir.tensor import Leaf

__all__ = ["text_of", "html_of"]


def _plain(v: np.ndarray) -> np.ndarray:
    return v.astype(np.float32) if v.dtype == dt.bfloat16 else v


def _tail(a: Aval, node: Any) -> str:
    parts = []
    if a.dtype not in (dt.float32, dt.int64, dt.bool_) or not a.size:
        parts.append(f"dtype={a.dtype.name}")
    if a.device.name != "cpu":
        parts.append(f"device='{a.device}'")
    if type(node) is Leaf:
        parts.append("requires_grad=True")
    elif node is not None:
        entry = node[1] if type(node[0]) is int else node
        name = entry[0].name if hasattr(entry[0], "pull") else entry[0].op.name
        parts.append(f"grad_fn=<{name}>")
    if not a.size and a.shape != (0,):
        parts.append(f"shape={a.shape}")
    return "".join(", " + p for p in parts)


@in_plain_floats
def text_of(v: np.ndarray, a: Aval, node: Any) -> str:
    """`tensor([[1., 2.]], requires_grad=True)`; long arrays are summarised as NumPy does."""
    body = np.array2string(
        _plain(v), separator=", ", prefix="tensor(", precision=4, threshold=200, edgeitems=3
    )
    return f"tensor({body}{_tail(a, node)})"


def _stats(v: np.ndarray, a: Aval) -> str:
    if not a.size or a.dtype is dt.bool_:
        return ""
    x = _plain(v)
    if not dt.is_float(a.dtype):
        return f"min {x.min()} · max {x.max()}"
    bad = int(a.size - np.isfinite(x).sum())
    with plain_floats():
        x = x[np.isfinite(x)].astype(np.float64)
        parts = {"min": x.min(), "mean": x.mean(), "max": x.max(), "std": x.std()} if x.size else {}
    text = " · ".join(f"{name} {value:.4g}" for name, value in parts.items())
    return text + (f" · <b style='color:#c00'>{bad} not finite</b>" if bad else "")


@in_plain_floats
def html_of(v: np.ndarray, a: Aval, node: Any) -> str:
    """A heading with shape, dtype and statistics, and a table of at most 8 x 12 elements,
    shaded by value."""
    dims = " × ".join(map(str, a.shape)) or "scalar"
    head = (
        f"<div><b>Tensor</b> {dims} · {a.dtype.name} · {a.device}"
        f"{html.escape(_tail(a, node))}<br><small>{_stats(v, a)}</small></div>"
    )
    if not a.size:
        return head
    x = _plain(v)
    while x.ndim > 2:
        x = x[0]
    x = np.atleast_2d(x)
    part = x[:8, :12]
    cells = _cells(part, x)
    more = " <small>(first elements)</small>" if part.size < a.size else ""
    return head + f"<table style='border-collapse:collapse'>{cells}</table>{more}"


def _cells(part: np.ndarray, x: np.ndarray) -> str:
    with plain_floats():
        top = (
            float(
                np.nanmax(
                    np.abs(np.where(np.isfinite(x.astype(np.float64)), x.astype(np.float64), 0))
                )
            )
            or 1.0
        )
    rows = []
    for row in part:
        tds = []
        for e in row:
            f = float(e)
            share = min(abs(f) / top, 1.0) if np.isfinite(f) else 0.0
            rgb = "66,133,244" if f >= 0 else "219,68,55"
            text = str(e) if x.dtype.kind in "biu" else f"{f:.4g}"
            back = f"rgba({rgb},{share * 0.45:.2f})" if np.isfinite(f) else "#fbb"
            tds.append(
                f"<td style='padding:2px 6px;text-align:right;background:{back}'>{text}</td>"
            )
        rows.append(f"<tr>{''.join(tds)}</tr>")
    return "".join(rows)
