"""Text and HTML of a tensor.

Invariant: nothing here changes a tensor; output is bounded in size whatever the tensor's size.
"""

from __future__ import annotations

import html
from typing import Any

import numpy as np

from ..core import dtypes as dt
from ..core.aval import HOST, Aval
from ..core.floating import in_plain_floats
from ..ir.tensor import Leaf

__all__ = ["text_of", "html_of"]


def _plain(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float32) if value.dtype == dt.bfloat16 else value


def _tail(record: Aval, node: Any) -> str:
    parts = []
    if record.dtype not in (dt.float32, dt.int64, dt.bool_) or not record.size:
        parts.append(f"dtype={record.dtype.name}")
    if record.device is not HOST:
        parts.append(f"device='{record.device}'")
    if type(node) is Leaf:
        parts.append("requires_grad=True")
    elif node is not None:
        resolved = node[1] if type(node[0]) is int else node
        name = resolved[0].name if hasattr(resolved[0], "pull") else resolved[0].op.name
        parts.append(f"grad_fn=<{name}>")
    if not record.size and record.shape != (0,):
        parts.append(f"shape={record.shape}")
    return "".join(", " + p for p in parts)


@in_plain_floats
def text_of(value: np.ndarray, record: Aval, node: Any) -> str:
    """`tensor([[1., 2.]], requires_grad=True)`; long arrays are summarised as NumPy does."""
    body = np.array2string(
        _plain(value), separator=", ", prefix="tensor(", precision=4, threshold=200, edgeitems=3
    )
    return f"tensor({body}{_tail(record, node)})"


@in_plain_floats
def _stats(value: np.ndarray, record: Aval) -> str:
    if not record.size or record.dtype is dt.bool_:
        return ""
    plain = _plain(value)
    if dt.is_complex(record.dtype):
        plain = np.abs(plain)
    elif not dt.is_float(record.dtype):
        return f"min {plain.min()} · max {plain.max()}"
    nonfinite = int(record.size - np.isfinite(plain).sum())
    plain = plain[np.isfinite(plain)].astype(np.float64)
    parts = (
        {"min": plain.min(), "mean": plain.mean(), "max": plain.max(), "std": plain.std()}
        if plain.size
        else {}
    )
    of = "|{}|" if dt.is_complex(record.dtype) else "{}"
    text = " · ".join(f"{of.format(name)} {value:.4g}" for name, value in parts.items())
    return text + (f" · <b style='color:#c00'>{nonfinite} not finite</b>" if nonfinite else "")


@in_plain_floats
def html_of(value: np.ndarray, record: Aval, node: Any) -> str:
    """A heading with shape, dtype and statistics, and a table of at most 8 x 12 elements,
    shaded by value."""
    dims = " × ".join(map(str, record.shape)) or "scalar"
    head = (
        f"<div><b>Tensor</b> {dims} · {record.dtype.name} · {record.device}"
        f"{html.escape(_tail(record, node))}<br><small>{_stats(value, record)}</small></div>"
    )
    if not record.size:
        return head
    plain = _plain(value)
    while plain.ndim > 2:
        plain = plain[0]
    plain = np.atleast_2d(plain)
    part = plain[:8, :12]
    cells = _cells(part, plain)
    more = " <small>(first elements)</small>" if part.size < record.size else ""
    return head + f"<table style='border-collapse:collapse'>{cells}</table>{more}"


@in_plain_floats
def _cells(part: np.ndarray, values: np.ndarray) -> str:
    """The rows of the table; complex numbers are shaded by their modulus."""
    size = np.abs(values).astype(np.float64)
    largest = float(np.nanmax(np.where(np.isfinite(size), size, 0))) or 1.0
    rows = []
    for row in part:
        cells = []
        for element in row:
            number = float(abs(element) if values.dtype.kind == "c" else element)
            share = min(abs(number) / largest, 1.0) if np.isfinite(number) else 0.0
            color = "66,133,244" if number >= 0 else "219,68,55"
            text = str(element) if values.dtype.kind in "biu" else f"{element:.4g}"
            back = f"rgba({color},{share * 0.45:.2f})" if np.isfinite(number) else "#fbb"
            cells.append(
                f"<td style='padding:2px 6px;text-align:right;background:{back}'>{text}</td>"
            )
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return "".join(rows)
