"""Right and wrong values for the parameters of public functions, made from a random generator.

Invariant: a wrong value is made anew for every call, so iterators are fresh and nothing is shared.
"""

from __future__ import annotations

import functools
import math
import random
from typing import Any

import numpy as np

import hybrid
from hybrid import nn

__all__ = ["RIGHT", "WRONG", "KEYWORDS", "tensor_of", "wrong"]


# ---- right values by parameter name
def tensor_of(rng: random.Random) -> Any:
    shape = rng.choice([(3,), (2, 3), (3, 4), (), (0,), (1, 3, 8, 8), (2, 3, 4)])
    values = np.arange(math.prod(shape)).reshape(shape) % 7 / 2 + 0.25
    t = hybrid.tensor(values, dtype=rng.choice(["float32", "float32", "float64", "int64", "bool"]))
    if rng.random() < 0.2 and t.is_floating_point():
        t.requires_grad_()
    return t


def _double(x: Any) -> Any:
    return x * 2


RIGHT: dict[str, Any] = {
    "axis": lambda r: r.choice([0, -1, 1, None]),
    "dim": lambda r: r.choice([0, -1]),
    "axes": lambda r: r.choice([(1, 0), (0,), 1]),
    "dtype": lambda r: r.choice([None, "float32", hybrid.float64, "int32"]),
    "device": lambda r: r.choice([None, "cpu"]),
    "shape": lambda r: r.choice([(2, 3), 3, (0,), (6,), (-1,)]),
    "size": lambda r: r.choice([(2,), 3, ()]),
    "generator": lambda r: r.choice([None, hybrid.Generator(0)]),
    "seed": lambda r: r.randrange(99),
    "keepdims": lambda r: r.random() < 0.5,
    "reduction": lambda r: r.choice(["mean", "sum", "none"]),
    "fn": lambda r: _double,
    "index": lambda r: hybrid.tensor([0, 1]),
    "indices": lambda r: hybrid.tensor([0, 1]),
    "target": lambda r: r.choice([hybrid.tensor([0, 1]), tensor_of(r)]),
    "params": lambda r: [hybrid.tensor([1.0, 2.0], requires_grad=True)],
    "spec": lambda r: r.choice(["ij,jk->ik", "i->", "ij"]),
    "key": lambda r: r.choice([0, slice(1, 2), (0, 1), [0, 1], None, Ellipsis]),
    "name": lambda r: "weight2",
    "modules": lambda r: nn.Linear(2, 3),
    "xs": lambda r: [hybrid.ones(2, 3), hybrid.zeros(2, 3)],
    "state": lambda r: {},
    "closure": lambda r: None,
    "mode": lambda r: r.choice(["constant", True]),
}
FLOATS = "eps alpha beta p lr momentum weight_decay negative_slope scale dropout_p delta std mean"
WHOLES = (
    "n m k groups kernel_size stride padding dilation num num_classes chunks repeats decimals "
    "in_features out_features in_channels out_channels hidden_size input_size num_embeddings "
    "embedding_dim num_groups normalized_shape offset shift output_size"
)
RIGHT |= {n: (lambda r: r.choice([0.5, 0.1, 1e-5])) for n in FLOATS.split()}
RIGHT |= {n: (lambda r: r.choice([1, 2, 3])) for n in WHOLES.split()}


# ---- wrong values
class Odd:
    """An object of no use to anybody."""

    def __repr__(self) -> str:
        return "Odd()"


def _looped() -> list[Any]:
    loop: list[Any] = [1.0]
    loop.append(loop)
    return loop


def wrong(rng: random.Random) -> Any:
    return rng.choice(WRONG)(rng)


WRONG: list[Any] = [
    *[
        (lambda value: lambda r: value)(v)
        for v in (
            None,
            "abc",
            "",
            "cpu",
            "float32",
            object,
            Odd(),
            {},
            {"a": 1},
            {1, 2},
            [],
            (),
            [[]],
            ["a", "b"],
            b"bytes",
            1 + 2j,
            2**70,
            -(2**70),
            2**63,
            2**62,
            2**31,
            -1,
            -5,
            0,
            1,
            7,
            64,
            65,
            100,
            1.5,
            -0.5,
            0.0,
            math.nan,
            math.inf,
            -math.inf,
            1e300,
            True,
            False,
            Ellipsis,
            NotImplemented,
            slice(None),
            slice("a", "b"),
            slice(None, None, 0),
            slice(1.5, 2),
            range(3),
            range(2**62),
            int,
            float,
            str,
            len,
            print,
            np.sum,
            math,
            np.float32,
            (2**40, 2**40),
            (2**31, 2**31, 2**31),
            (1,) * 65,
            (1,) * 70,
            (-1, -1),
            (0, 2**70),
            (2**62, 4, 0),
            (1.5, 2),
            ("a",),
            (0, 0),
            (0, 99),
            [0, [1, 2]],
            [1, None],
            [1, "a"],
            [0, 1, 2],
            [True, False],
            [1.0, 2.0],
            [[1, 2], [3]],
            {"params": None},
            [{}],
            [None],
            ((1, 2), 3),
            (None, None),
            np.float64(0.1),
            np.int8(3),
            np.bool_(True),
            np.str_("a"),
        )
    ],
    lambda r: lambda *a, **k: None,
    lambda r: lambda x: x.missing,
    lambda r: _looped(),
    lambda r: iter([1, 2, 3]),
    lambda r: (i for i in range(3)),
    lambda r: np.array([1, "a", None], object),
    lambda r: np.zeros(2, [("a", "f4"), ("b", "i4")]),
    lambda r: np.array(["2020-01-01"], "datetime64[D]"),
    lambda r: np.array([5], "timedelta64[s]"),
    lambda r: np.array(["text", "more"]),
    lambda r: np.array([b"text"]),
    lambda r: np.array([1 + 2j]),
    lambda r: np.zeros((2, 3), np.longdouble),
    lambda r: np.zeros((1,) * 40),
    lambda r: np.zeros((1,) * 64),
    lambda r: np.array(2.5),
    lambda r: np.zeros((0, 3)),
    lambda r: np.ones((2, 3), ">f8"),
    lambda r: np.ma.masked_array([1.0, 2.0], [True, False]),
    lambda r: np.array([[1, 2], [3, 4]], np.uint64),
    lambda r: memoryview(b"abcd"),
    lambda r: bytearray(b"abcd"),
    lambda r: hybrid.zeros((0, 3)),
    lambda r: hybrid.tensor(3),
    lambda r: hybrid.tensor([1.5, math.nan]),
    lambda r: hybrid.tensor([True, False, True]),
    lambda r: hybrid.tensor([[2**62]]),
    lambda r: hybrid.ones((1, 2, 3, 4, 5)),
    lambda r: hybrid.tensor([1, 2], dtype="uint64"),
    lambda r: hybrid.tensor([1.0, 2.0], dtype="bfloat16"),
    lambda r: nn.Linear(2, 2),
    lambda r: nn.Linear,
    lambda r: hybrid.Generator(1),
    lambda r: hybrid.Tensor,
    lambda r: np.dtype([("a", "f4")]),
    lambda r: np.dtype("M8[s]"),
    lambda r: np.random.default_rng(0),
    lambda r: functools.partial(int, "3"),
]
KEYWORDS = (
    "dim keepdim input other size shape inplace out dtype device axis generator requires_grad "
    "where order casting name foo self lr stride"
).split()
