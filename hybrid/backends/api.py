"""The boundary between hybrid and a kind of device, and the registry of backends.

Invariant: nothing above this file names a backend.  A backend is a folder `backends/<kind>/` with a
module `backend.py` that holds a Backend subclass named `BACKEND`, or what was given to `register`;
it has to offer values only: eager kernels and replays that it does not make are interpreted.
"""

from __future__ import annotations

import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from ..core.aval import HOST, Aval, Device, use_kinds
from ..core.aval import device as to_device
from ..core.errors import BackendError, DeviceError, Site, UnsupportedError
from ..core.extents import Unsized
from ..ir.door.bind import aside, use_backends
from ..ir.graph.graph import Graph
from ..ir.op import Op
from .events import EventFilter, PlainHooks
from .exchange import host_capsule
from .interpret import checker, graph_runner, interpreted, plan_runner
from .layout import ObjectLayout
from .plan import Plan

__all__ = [
    "Backend",
    "Executable",
    "Interpreted",
    "Replay",
    "ReplayInput",
    "Source",
    "Held",
    "HeldGradient",
    "Pointer",
    "CHECKED",
    "Form",
    "Entry",
    "KernelTime",
    "EagerKernel",
    "backend",
    "kinds",
    "register",
    "layout",
    "event_filter",
]

EagerKernel = Callable[..., Any]
Calls = Sequence[tuple[tuple[Aval, ...], tuple[Aval, ...]]]  # inputs and outputs of each


class Held(NamedTuple):
    """An input that is one tensor in every call, known by identity."""

    tensor: Any


class HeldGradient(NamedTuple):
    """An input that is the `.grad` of a held input."""

    host: int


class Pointer(NamedTuple):
    """An input that is whatever tensor the pointer at an address leads to."""

    address: int


Source = None | Held | HeldGradient | Pointer


class ReplayInput(NamedTuple):
    """One input of a replay: its record, where its tensor comes from (None: it is passed in each
    call), and the tape node it must have (None: none; CHECKED: the caller has looked)."""

    aval: Aval
    source: Source = None
    node: Any = None


CHECKED: Any = object()
Form = Literal["single", "tuple", "none"]


class Replay(NamedTuple):
    """What a backend needs beside a plan to serve calls without Python in between.

    `inputs`: by number, as in the plan: arguments, then captures; those without a source are passed
    in each call, in order.  `states`: (output number, input) of new values.  `results`: numbers of
    outputs to make tensors of, or ~k for the tensor of input k itself; `form`: the one result bare,
    a tuple of all, or None.  `tensor_types`: the exact classes of tensors that are accepted, the
    first of which results have.  `no_grad`: held inputs whose `.grad` must be None.  `guards`:
    (address, 8-byte word) pairs that must hold, compared in order before anything else; `keep`:
    objects that own those addresses.
    """

    inputs: tuple[ReplayInput, ...]
    states: tuple[tuple[int, int], ...]
    results: tuple[int, ...]
    form: Form
    tensor_types: tuple[type, ...]
    no_grad: tuple[int, ...] = ()
    guards: tuple[tuple[int, int], ...] = ()
    keep: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A native replay entry: a function of the tensors that are passed in each call.

    `call` gives the results with new state committed, NotImplemented with nothing changed when an
    input is not what the plan was made for, or raises with all tensors as before.  `raw` is the
    same without a frame of Python: an int, which `failed` makes an error of, where a kernel failed.
    `of[tensors]` is `raw(*tensors)`; Python does not look for signals after a subscript, so its
    result cannot get lost before it is stored.  `made`: what the backend made it of, so that an
    entry for other sizes takes less making."""

    call: Callable[..., Any]
    raw: Callable[..., Any]
    of: Any
    failed: Callable[[int], Exception]
    made: Any = None


class KernelTime(NamedTuple):
    """One kernel of a plan, timed: least `seconds` of its own over several runs and its `share` of
    all of them; bytes touched and operations done as counted from the plan; how its work splits,
    and the user's line.  `bound`: the time that moving the bytes or doing the operations takes at
    the device's best, as a part of the seconds (0: not known).  `gang`: kernels of one number run
    side by side (0: by itself)."""

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
    bound: float = 0.0
    gang: int = 0

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
            f" {self.chunks:5} chunks{f' in gang {self.gang}' if self.gang else ''}"
            f"{f' {self.bound:4.0%} of the bound' if self.bound else ''}  {self.site or ''}"
        )


class Executable(ABC):
    """A plan made ready to run on one device."""

    @abstractmethod
    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """Run once: device values of the plan's inputs -> device values of its outputs."""

    def settle_checks(self) -> None:
        """Have every run from now on raise what failed in it, and nothing that failed before: the
        caller decides by it where to go on.  UnsupportedError where that cannot be."""

    def keeps_inputs(self) -> bool:
        """Whether an output may be, or share memory with, the value of an input."""
        return True

    def entry(self, replay: Replay, like: Entry | None = None) -> Entry | None:
        """The entry that serves calls of this plan; None: this backend offers none for it.  `like`:
        that of a plan which may differ from it in sizes only."""
        return None

    def profile(self, inputs: Sequence[Any], runs: int = 20) -> list[KernelTime]:
        """Run the plan `runs` times, kernel by kernel, with every kernel timed; a row per kernel,
        in plan order. Inputs stay as they are.  BackendError where a backend cannot tell."""
        raise BackendError("this backend does not time single kernels; time whole calls instead")


class Interpreted(Executable):
    """A replay from Python: a function of device values."""

    def __init__(self, run: Callable[[Sequence[Any]], list[Any]]) -> None:
        self._run = run

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        return self._run(inputs)


class Backend(ABC):
    """What a device must offer: values, whatever they are (`_v` of a tensor; host arrays on the
    default device), made of host arrays and turned into them.

    `eager` and `compile` have defaults that compute on the host; `native` says that a backend's own
    kernels need none of what `kernel` puts around them.  Checks may be told late, where the host
    waits next, except by an executable whose checks were settled."""

    kind: str
    native = False

    def trim(self) -> None:
        """Return memory that nothing uses to the system, as far as that is cheap."""

    def empty(self, aval: Aval) -> Any:
        """A fresh contiguous value with undefined contents."""
        return self.from_numpy(np.empty(aval.shape, aval.dtype), aval.device)

    @abstractmethod
    def from_numpy(self, array: np.ndarray, device: Device | None = None) -> Any:
        """A copy of the array's elements on that device (default: the first of the kind)."""

    @abstractmethod
    def to_numpy(self, value: Any) -> np.ndarray:
        """The value as a NumPy array; it may share memory with the value."""

    def owner(self, value: Any) -> Any:
        """The base of a host array that owns its memory, if this backend made both and nothing
        else can know of it; None elsewhere."""
        return None

    def reader(self, aval: Aval) -> Callable[[Any], np.ndarray]:
        """What `to_numpy` does for values of that record, unseen by whatever looks at the Python of
        the program; it is kept for later reads."""
        return lambda value: aside(self.to_numpy, value)

    # ---- exchange with the host, other devices and other libraries
    def send(self, array: np.ndarray, device: Device) -> Any:
        """`from_numpy` that need not wait for a copy from pinned memory: work that uses the value
        waits by itself.  Default: as `from_numpy`."""
        return self.from_numpy(array, device)

    def moved(self, value: Any, device: Device) -> Any:
        """A value of one device of this kind on another one; None: it has to go over the host."""
        return None

    def current_device(self) -> Device:
        """The device that the kind alone means."""
        return to_device(self.kind)

    def pinned(self, array: np.ndarray) -> np.ndarray:
        """A copy of a host array in memory that devices of this kind read directly."""
        raise UnsupportedError(f"a {self.kind} device has no use for pinned memory")

    def is_pinned(self, array: np.ndarray) -> bool:
        """Whether `pinned` made a host array."""
        return False

    def count(self) -> int:
        """How many devices of this kind there are; DeviceError where that cannot be told."""
        return 1

    def dlpack_device(self, device: Device) -> tuple[int, int]:
        """Type and number of a device in DLPack's terms."""
        return (1, 0)

    def dlpack(self, value: Any, device: Device, **asked: Any) -> Any:
        """A DLPack capsule of a value, for what a consumer asked of `__dlpack__`: a copy unless it
        refuses one and knows of values that do not change."""
        return host_capsule(self.to_numpy(value), device, self.dlpack_device(device), **asked)

    def imported(self, foreign: Any, copy: bool) -> tuple[Any, Device]:
        """The value of an array of another library that is on a device of this kind, and where it
        is; `copy`: in memory of its own."""
        raise UnsupportedError(f"arrays on a {self.kind} device cannot be taken over; copy them")

    def interface(self, value: Any) -> dict[str, Any]:
        """What an attribute such as `__cuda_array_interface__` says; AttributeError where there is
        no such attribute."""
        raise AttributeError(f"a tensor on {self.kind} has no such interface")

    # ---- kernels
    def eager(
        self, op: Op, params: dict[str, Any], in_avals: Sequence[Aval], out_avals: Sequence[Aval]
    ) -> EagerKernel:
        """A function (*values) -> value, or tuple of values when the op has several outputs.

        Called once per op, parameters and input avals; the function is called for every eager call.
        Default: interpreted on the host, with the bits of the numerics contract.
        """
        run, devices = interpreted(op, params, in_avals, out_avals), [a.device for a in out_avals]

        def call(*values: Any) -> Any:
            results = run([self.to_numpy(x) for x in values])
            made = [self.from_numpy(x, d) for x, d in zip(results, devices, strict=True)]
            return made[0] if len(made) == 1 else tuple(made)

        return call

    def kernel(
        self, op: Op, params: dict[str, Any], in_avals: Sequence[Aval], out_avals: Sequence[Aval]
    ) -> EagerKernel:
        """What every eager call of an op runs: `eager`, after the check of the record's indices,
        unseen by whatever looks at the Python of the program."""
        run: EagerKernel = aside(self.eager, op, params, in_avals, out_avals)
        if self.native:
            return run
        check = checker(op, params, in_avals)

        def checked(*values: Any) -> Any:
            if check is not None:
                check([self.to_numpy(x) for x in values])
            return run(*values)

        return lambda *values: aside(checked, *values)

    def together(
        self, op: Op, params: dict[str, Any], calls: Calls, own: int, one_by_one: EagerKernel
    ) -> EagerKernel | None:
        """A function that does many calls of an op, given as (inputs, outputs), at once: of the
        first `own` inputs of each call, then of the inputs that all share; it gives a tuple of all
        results.  None (the default): they are made one by one, as `one_by_one` does."""
        return None

    def renewed(
        self, op: Op, params: dict[str, Any], calls: Calls, own: int, into: tuple[int, ...]
    ) -> Callable[[Sequence[Any]], list[Any] | None] | None:
        """The same as a function of handles, of which result i of each call goes to its input
        `into[i]` next: it may write into the value of a handle that nobody else holds.  It gives
        None, with nothing done, where it does not take these values.  None (the default): the
        backend does not write so."""
        return None

    def compile(self, plan: Plan, graph: Graph | None = None) -> Executable:
        """What replays a plan; `graph` is what the plan computes, node by node.

        Default: the same bits as the eager calls.  A backend with eager kernels of its own replays
        through them; where those are interpreted, the plan is interpreted as well.
        """
        if graph is None or type(self).eager is Backend.eager:
            return Interpreted(plan_runner(plan, self))
        return Interpreted(graph_runner(graph))

    def outline(self, plan: Plan) -> Any:
        """What `assemble` takes beside a plan: tuples and lists of what its code needs, where sizes
        may be extents (core/extents.py).  Raises Unsized where a plan has to be compiled for its
        sizes; the default."""
        raise Unsized("plans are compiled for their sizes")

    def assemble(self, plan: Plan, pieces: Any) -> Executable:
        """What replays a plan, of what `outline` gave for it."""
        raise NotImplementedError

    def recall(self, identity: bytes) -> tuple[Plan, Any] | None:
        """A plan that was given to `remember` under this identity, by any process, and what
        `assemble` takes beside it.  None (the default): there is none."""
        return None

    def remember(self, identity: bytes, plan: Plan, made: Executable) -> None:
        """Keep a plan, and what `compile` made of it, for other processes (default: forget it)."""

    def beside(self, cancelled: Callable[[], bool]) -> AbstractContextManager[None] | None:
        """A scope in which a thread may call `compile` while others go on; it may raise where
        `cancelled()` is true.  None: this backend compiles in the thread that calls it."""
        return None

    def get_num_threads(self) -> int:
        """How many threads large kernels use."""
        return 1

    def set_num_threads(self, n: int) -> None:
        """Use n threads from now on; results do not depend on it."""
        raise UnsupportedError(f"the number of threads of a {self.kind} device cannot be set")

    def synchronize(self) -> None:
        """Wait until everything started on this device is done (default: every call waits)."""

    def layout(self) -> ObjectLayout | None:
        """What native entries of this backend know of Python's objects; None: nothing, so Python
        itself checks what a call depends on."""
        return None

    def event_filter(self) -> EventFilter:
        """What puts hooks on a thread, and keeps events of uninteresting code from them."""
        return _PLAIN

    def describe(self) -> dict[str, str]:
        """Facts about the device for people: name -> value."""
        return {}


# ---- the registry
_BACKENDS: dict[str, Backend] = {}
_FACTORIES: dict[str, Callable[[], Backend]] = {}  # of those that were registered
_KIND = re.compile(r"[a-z][a-z0-9_]{0,31}")  # as the text form of graphs has it


@lru_cache(1)
def _folders() -> tuple[str, ...]:
    here = Path(__file__).parent
    return tuple(p.parent.name for p in here.glob("*/backend.py"))


def kinds() -> tuple[str, ...]:
    """Kinds of devices that have a backend: a folder, or one that was registered."""
    return tuple(sorted({*_folders(), *_FACTORIES}))


use_kinds(kinds)


def register(kind: str, factory: Callable[[], Backend]) -> None:
    """Add a backend from outside of the package: `device=kind` then names its devices.

    `factory` makes the backend when a device of that kind is first used; a Backend subclass is one.
    Raises BackendError for a kind that is no lower-case name of at most 32 letters, digits and
    underscores, for one that has a backend, and for a factory that cannot be called (at the first
    use: for one that gives no Backend of that kind).

    >>> import hybrid
    >>> class Host(Backend):
    ...     kind = "host_arrays"
    ...
    ...     def from_numpy(self, array, device=None):
    ...         return np.array(array)
    ...
    ...     def to_numpy(self, value):
    ...         return value
    >>> register("host_arrays", Host)
    >>> hybrid.ones(3, device="host_arrays").sum().item()
    3.0
    """
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        raise BackendError(f"a kind of device is a lower-case name, not {kind!r}")
    if not callable(factory):
        raise BackendError(f"the factory of backend {kind!r} cannot be called: {factory!r}")
    if kind in kinds() or _FACTORIES.setdefault(kind, factory) is not factory:
        raise BackendError(f"there is a backend for {kind!r} already; take another name")


def _factory(kind: str) -> Callable[[], Backend]:
    if kind in _FACTORIES:
        return _FACTORIES[kind]
    if kind not in _folders():
        raise DeviceError(f"there is no device {kind!r}; devices are {', '.join(kinds())}")
    module = importlib.import_module(f"{__package__}.{kind}.backend")
    made: Callable[[], Backend] | None = getattr(module, "BACKEND", None)
    if made is None:
        raise BackendError(f"{module.__name__} defines no BACKEND")
    return made


def backend(kind: str) -> Backend:
    """The backend of a kind of device, loaded on first use; DeviceError when there is none.

    >>> backend("cpu").kind
    'cpu'
    """
    found = _BACKENDS.get(kind)
    if found is None:  # two threads may make one each: the first one stays
        found = _BACKENDS.setdefault(kind, _made(kind))
    return found


use_backends(backend)


def _made(kind: str) -> Backend:
    made = _factory(kind)()
    if not isinstance(made, Backend) or getattr(made, "kind", None) != kind:
        what = f"one of kind {made.kind!r}" if isinstance(made, Backend) else type(made).__name__
        raise BackendError(f"the factory of backend {kind!r} gives {what}, no Backend of that kind")
    return made


def layout() -> ObjectLayout | None:
    """The layout of this interpreter's objects as the default device's backend knows it."""
    return backend(HOST.kind).layout()


_PLAIN = PlainHooks()


def event_filter() -> EventFilter:
    """The filter of a watched thread's events that the default device's backend has."""
    return backend(HOST.kind).event_filter()
