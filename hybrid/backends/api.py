"""The boundary between hybrid and a kind of device, and the registry of backends.

Invariant: nothing above this file names a backend; a backend is a folder `backends/<kind>/` with a
module `backend.py` that holds a Backend subclass named `BACKEND`.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..core.aval import Aval, Device
from ..core.errors import BackendError, DeviceError, Site, UnsupportedError
from ..ir.op import Op
from .plan import Plan

__all__ = ["Backend", "Executable", "Replay", "KernelTime", "EagerKernel", "backend", "kinds"]

EagerKernel = Callable[..., Any]


class Replay(NamedTuple):
    """What a backend needs beside a plan to serve calls without Python in between.

    The plan's inputs are `args` arguments, then captures.  `avals`: record of each input.
    `held[k]`: the tensor that plan input k is, known by identity; `grads[k]`: the input whose
    `.grad` plan input k is; `places[k]`: the address of the pointer to the tensor that plan input k
    is; the other inputs are passed in each call, in order.  `nodes[k]`: the tape node that input k
    must have (absent: none); `loose`: inputs whose tape node the caller has checked.  `no_grad`:
    held inputs whose `.grad` must be None. `states`: (output number, input) of new values.
    `results`: numbers of outputs to make tensors of, and `single` when there is exactly one,
    returned bare.  `tensor`: the class of tensors.  `guards`: (address, 8-byte word) pairs that
    must hold, compared in order before anything else; `keep`: objects that own those addresses.
    """

    avals: tuple[Aval, ...]
    held: dict[int, Any]
    grads: dict[int, int]
    places: dict[int, int]
    nodes: dict[int, Any]
    loose: frozenset[int]
    no_grad: tuple[int, ...]
    states: tuple[tuple[int, int], ...]
    results: tuple[int, ...]
    single: bool
    tensor: type
    guards: tuple[tuple[int, int], ...] = ()
    keep: Any = None


class KernelTime(NamedTuple):
    """One kernel of a plan, timed: least `seconds` of its own over several runs and its `share` of
    all of them; bytes touched and operations done as counted from the plan; how its work splits,
    and the user's line."""

    kernel: int
    kind: str
    shape: str
    seconds: float
    share: float
    nbytes: int
    ops: int
    items: int
    chunks: int
    threads: int
    site: Site | None

    @property
    def gbytes(self) -> float:
        """Billions of bytes a second."""
        return self.nbytes / self.seconds * 1e-9 if self.seconds else 0.0

    @property
    def gops(self) -> float:
        """Billions of operations a second."""
        return self.ops / self.seconds * 1e-9 if self.seconds else 0.0

    def __str__(self) -> str:
        return (
            f"{self.kernel:4} {self.kind:8} {self.shape:28} {self.seconds * 1e6:9.1f} us"
            f" {self.share:6.1%} {self.gbytes:7.1f} GB/s {self.gops:7.1f} GFLOP/s"
            f" {self.threads:3} threads"
            f" {self.chunks:5} chunks  {self.site or ''}"
        )


class Executable(ABC):
    """A plan made ready to run on one device."""

    @abstractmethod
    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """Run once: device values of the plan's inputs -> device values of its outputs."""

    def entry(self, replay: Replay) -> Callable[..., Any] | None:
        """A function of the tensors that are passed in each call: the results, with new state
        committed; NotImplemented, with nothing changed, when an input is not what the plan was made
        for.  Errors leave all tensors as before.  None: this backend offers no such entry for this
        plan."""
        return None

    def profile(self, inputs: Sequence[Any], runs: int = 20) -> list[KernelTime]:
        """Run the plan `runs` times, kernel by kernel, with every kernel timed; a row per kernel,
        in plan order. Inputs stay as they are.  BackendError where a backend cannot tell."""
        raise BackendError("this backend does not time single kernels; time whole calls instead")


class Backend(ABC):
    """What a device must offer.  Values (`_v` of a tensor) are whatever the backend makes; on the
    CPU they are numpy.ndarray objects, never NumPy scalars."""

    kind: str

    def trim(self) -> None:
        """Return memory that nothing uses to the system, as far as that is cheap."""

    @abstractmethod
    def empty(self, aval: Aval) -> Any:
        """A fresh contiguous value with undefined contents."""

    @abstractmethod
    def from_numpy(self, array: np.ndarray, device: Device | None = None) -> Any:
        """A copy of the array's elements on that device (default: the first of the kind)."""

    @abstractmethod
    def to_numpy(self, value: Any) -> np.ndarray:
        """The value as a NumPy array; it may share memory with the value."""

    @abstractmethod
    def eager(
        self, op: Op, params: dict[str, Any], in_avals: Sequence[Aval], out_avals: Sequence[Aval]
    ) -> EagerKernel:
        """A function (*values) -> value, or tuple of values when the op has several outputs.

        Called once per op, parameters and input avals; the function is called for every eager call.
        """

    @abstractmethod
    def compile(self, plan: Plan) -> Executable:
        """Native code for a plan."""

    def get_num_threads(self) -> int:
        """How many threads large kernels use."""
        return 1

    def set_num_threads(self, n: int) -> None:
        """Use n threads from now on; results do not depend on it."""
        raise UnsupportedError(f"the number of threads of a {self.kind} device cannot be set")

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until everything started on this device is done."""

    def describe(self) -> dict[str, str]:
        """Facts about the device for people: name -> value."""
        return {}


_BACKENDS: dict[str, Backend] = {}


def kinds() -> tuple[str, ...]:
    """Device kinds that have a backend folder."""
    here = Path(__file__).parent
    return tuple(sorted(p.parent.name for p in here.glob("*/backend.py")))


def backend(kind: str) -> Backend:
    """The backend of a kind of device, loaded on first use; DeviceError when there is none.

    >>> backend("cpu").kind
    'cpu'
    """
    found = _BACKENDS.get(kind)
    if found is None:
        if kind not in kinds():
            raise DeviceError(f"there is no device {kind!r}; devices are {', '.join(kinds())}")
        module = importlib.import_module(f"{__package__}.{kind}.backend")
        made = getattr(module, "BACKEND", None)
        if made is None:
            raise BackendError(f"{module.__name__} defines no BACKEND")
        found = _BACKENDS[kind] = made()
    return found
