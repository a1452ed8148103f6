"""Made by `python tests/support/surface.py` from the marks at the functions: do not edit."""

import builtins
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from .eager.tensor import Tensor
from .ops.typed import Generator as Generator
from .ops.typed import bernoulli as bernoulli
from .ops.typed import categorical as categorical
from .ops.typed import default_generator as default_generator
from .ops.typed import dropout as dropout
from .ops.typed import manual_seed as manual_seed
from .ops.typed import rand as rand
from .ops.typed import rand_like as rand_like
from .ops.typed import randint as randint
from .ops.typed import randn as randn
from .ops.typed import randn_like as randn_like
from .ops.typed import random_bits as random_bits
from .ops.typed import randperm as randperm

ArrayLike: TypeAlias = Any  # what hybrid.asarray takes

def choice(
    x: Any,
    size: Any = (),
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Elements of x (or of 0..x-1) drawn with replacement."""

def get_state() -> Tensor:
    """State of the default generator: uint64 [seed, offset]."""

def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Normal numbers of that mean and standard deviation; size and dtype as for `uniform`."""

def permutation(
    x: Any,
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """0..x-1 in random order for an int, else x with its first axis in random order."""

def seed(seed: builtins.int) -> Generator:
    """Seed the default generators of all devices; gives that of the default device."""

def set_state(state: Any) -> None:
    """Make the default generator go on from a state of `get_state`."""

def shuffle(x: ArrayLike, *, generator: Generator | None = None) -> None:
    """Give x its first axis in random order."""

def uniform(
    low: Any = 0.0,
    high: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Uniform numbers between low and high (numbers, sequences or tensors that broadcast), one for each element where no size is given."""
