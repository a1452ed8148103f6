"""Generators of random numbers, whose state is two tensors, and the default ones.

Invariant: element i of draw number n of a generator is a function of (seed, n, i) only; every draw
advances the offset by one, in program order, so eager and traced code see one stream.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import HOST, Device
from ...core.aval import device as to_device
from ...core.errors import ArgumentError, HybridError
from ...ir.door.bind import as_tensor, bind, literal
from ...ir.door.pending import value_of
from ...ir.mode import ROOTS, Versioned
from ...ir.op import Op
from ..base.surface import public
from ..build.join import stack
from ..elementwise.arithmetic import add
from .draws import BITS
from .index import take

Tensor = Any


_DRAWING = threading.RLock()  # two threads that draw at once must not get the same numbers
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: globals().update(_DRAWING=threading.RLock()))


@public(random=True)
class Generator(Versioned):
    """A stream of random numbers: seed and offset (how many draws were made) as uint64 tensors.

    >>> g = hybrid.Generator(0)
    >>> a = hybrid.rand(3, generator=g).tolist()
    >>> a == hybrid.rand(3, generator=g.manual_seed(0)).tolist()
    True
    """

    if TYPE_CHECKING:  # the functions that draw are methods, too (ops/randoms/methods.py)

        def __getattr__(self, name: str) -> Callable[..., Tensor]: ...

    def __init__(self, seed: int | None = None, device: Any = None) -> None:
        count = int.from_bytes(os.urandom(8), "little") if seed is None else int(seed)
        dev = to_device(device)
        self.device = dev
        self.seed = as_tensor(np.array(count % 2**64, np.uint64), dev)
        self.offset = as_tensor(np.array(0, np.uint64), dev)

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream of that seed."""
        self.seed.assign(literal(int(seed) % 2**64, dt.uint64, self.device))
        self.offset.assign(literal(0, dt.uint64, self.device))
        return self

    def get_state(self) -> Tensor:
        """Seed and offset as a tensor of two."""
        return stack([self.seed, self.offset])

    def set_state(self, state: Any) -> Generator:
        """Go on from a state of `get_state`."""
        tensor = as_tensor(state, self.device)
        if tensor.shape != (2,) or tensor.dtype is not dt.uint64:
            raise HybridError(
                "a generator's state is a uint64 tensor of two elements (see get_state)"
            )
        self.seed.assign(take(tensor, 0))
        self.offset.assign(take(tensor, 1))
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """Seed and offset as they are now, for `load_state_dict`."""
        state = self.get_state()
        return {"seed": take(state, 0), "offset": take(state, 1)}

    def load_state_dict(self, state: Mapping[str, Any]) -> Generator:
        """Go on from a state of `state_dict`."""
        if set(state) != {"seed", "offset"}:
            raise ArgumentError(f"a generator's state has 'seed' and 'offset', not {list(state)}")
        return self.set_state(
            stack([as_tensor(state[name], self.device) for name in ("seed", "offset")])
        )

    def spawn(self, n_children: int) -> list[Generator]:
        """Generators of streams of their own, whose seeds are the 64-bit words of one draw of this
        one: other children in each call, the same ones after the same state."""
        if n_children < 0:
            raise ArgumentError(f"spawn: {n_children} generators")
        words = self.draw(BITS, shape=(int(n_children),), dtype=dt.uint64)
        return [Generator._of(take(words, i)) for i in range(int(n_children))]

    split = spawn

    @classmethod
    def _of(cls, seed: Tensor) -> Generator:
        made = cls(0, seed.device)
        made.seed.assign(seed)
        return made

    def draw(self, op: Op, *inputs: Tensor, **params: Any) -> Tensor:
        """The next draw; the offset moves on."""
        with _DRAWING:
            while not hasattr(
                self.offset, "_v"
            ):  # a recorded function in another thread is drawing
                time.sleep(50e-6)
            result = bind(op, self.seed, self.offset, *inputs, **params)
            self.offset.assign(add(self.offset, 1))
        return result


_DEFAULT: dict[Device, Generator] = {}


@public(random=True)
def default_generator(device: Any = None) -> Generator:
    """The generator of a device, which functions use when none is given.

    That of the default device is seeded from the system's entropy, another one first has the seed
    of that.

    >>> g = hybrid.default_generator()
    >>> g is hybrid.default_generator(), g.manual_seed(7).seed.item()
    (True, 7)
    """
    dev = to_device(device)
    found = _DEFAULT.get(dev)
    if found is None:
        seed = None if dev is HOST else int(value_of(default_generator().seed))
        found = _DEFAULT.setdefault(dev, Generator(seed, dev))
        ROOTS.append(found)
    return found


def forget_generators(kind: str) -> None:
    """Drop the default generators of devices of a kind: the devices are no longer the same."""
    for dev in [dev for dev in list(_DEFAULT) if dev.kind == kind]:
        gone = _DEFAULT.pop(dev)
        ROOTS[:] = [root for root in ROOTS if root is not gone]


def default_generators() -> list[Generator]:
    """Those that there are, one a device."""
    return list(_DEFAULT.values())


@public(random=True)
def manual_seed(seed: int) -> Generator:
    """Seed the default generators of all devices; gives that of the default device.

    >>> generator = hybrid.manual_seed(0)
    >>> hybrid.rand(3)
    tensor([0.399 , 0.9722, 0.0194])
    >>> generator = hybrid.manual_seed(0)
    >>> hybrid.rand(3)
    tensor([0.399 , 0.9722, 0.0194])
    """
    for generator in default_generators():
        generator.manual_seed(seed)
    return default_generator().manual_seed(seed)


seed = public(manual_seed, hybrid=False, random="seed")


@public(hybrid=False, random=True)
def get_state() -> Tensor:
    """State of the default generator: uint64 [seed, offset].

    >>> g = hybrid.random.seed(5)
    >>> x = hybrid.rand(3)
    >>> hybrid.random.get_state()
    tensor([5, 1], dtype=uint64)
    """
    return default_generator().get_state()


@public(hybrid=False, random=True)
def set_state(state: Any) -> None:
    """Make the default generator go on from a state of `get_state`.

    >>> state = hybrid.random.get_state()
    >>> before = hybrid.rand(3)
    >>> hybrid.random.set_state(state)
    >>> hybrid.equal(hybrid.rand(3), before)
    tensor([ True,  True,  True])
    """
    default_generator().set_state(state)
