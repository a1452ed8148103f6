"""Which cards there are, and which one calls mean that name none.

Invariant: asking whether there is a card, and how many, starts nothing on one; tensors go where
their `device` says, whatever the current device is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ..backends.api import backend
from ..core.aval import Device
from ..core.aval import device as to_device
from ..core.errors import ArgumentError, DeviceError
from ..ir.door.bind import current_mode
from ..ops.indexing.generators import Generator, default_generator

if TYPE_CHECKING:
    from ..backends.cuda.backend import CudaBackend
    from ..backends.cuda.machine.devices import DeviceState

__all__ = [
    "DeviceLike",
    "Properties",
    "current_device",
    "device",
    "device_count",
    "device_of",
    "get_device_capability",
    "get_device_name",
    "get_device_properties",
    "effect",
    "index_of",
    "is_available",
    "loaded",
    "manual_seed",
    "manual_seed_all",
    "set_device",
    "state_of",
    "synchronize",
]

KIND = "cuda"
DeviceLike = Device | str | int | None


def loaded() -> CudaBackend:
    """The backend; it is imported on first use."""
    return cast("CudaBackend", backend(KIND))


def effect(what: str) -> None:
    """Tell a recording that the program does something that a replay does not do."""
    mode = current_mode()
    if mode is not None:
        mode.on_effect(what)


def state_of(device: DeviceLike = None, what: str = "") -> DeviceState:
    """What is kept for a device; `what` a recording is told about."""
    if what:
        effect(what)
    return loaded().state(index_of(device))


def index_of(device: DeviceLike = None) -> int:
    """The number of a device, given by its number or name (None: the current one)."""
    if device is None:
        return loaded().current_device().index
    if isinstance(device, bool) or not isinstance(device, (int, str)):
        raise ArgumentError(
            f"a CUDA device is a number or a name such as 'cuda:1', not a {type(device).__name__}"
        )
    if isinstance(device, int):
        if device < 0:
            raise DeviceError(f"there is no CUDA device {device}: they are numbered from 0")
        return device
    found = to_device(device)
    if found.kind != KIND:
        raise DeviceError(f"{found} is no CUDA device")
    return found.index


def device_of(device: DeviceLike = None) -> Device:
    """A device, given as for `index_of`."""
    return to_device(f"{KIND}:{index_of(device)}")


def device_count() -> int:
    """How many CUDA devices there are; 0 without a driver.

    >>> import hybrid
    >>> hybrid.cuda.device_count() >= 0
    True
    """
    try:
        return loaded().count()
    except DeviceError:
        return 0


def is_available() -> bool:
    """Whether there is a driver that hybrid can use, and a device.

    >>> import hybrid
    >>> hybrid.cuda.is_available() == (hybrid.cuda.device_count() > 0)
    True
    """
    return device_count() > 0


def current_device() -> int:
    """The number of the device that this thread's calls in `hybrid.cuda` mean when they name
    none.  Raises DeviceError without a driver.

    >>> import hybrid
    >>> if hybrid.cuda.is_available():
    ...     assert 0 <= hybrid.cuda.current_device() < hybrid.cuda.device_count()
    """
    effect("reads the current CUDA device")
    return index_of()


def set_device(device: DeviceLike) -> None:
    """Make a device the current one of this thread.

    Raises DeviceError where there is no such device, ArgumentError for what names none.

    >>> import hybrid
    >>> if hybrid.cuda.is_available():
    ...     hybrid.cuda.set_device(0)
    """
    loaded().use_device(state_of(device, "changes the current CUDA device").index)


class device:
    """Scope in which a device is the current one of this thread.

    It is what `Tensor.cuda()` and calls in `hybrid.cuda` mean that name none; `device="cuda"` names
    the first device always.

    >>> import hybrid
    >>> if hybrid.cuda.is_available():
    ...     with hybrid.cuda.device(0):
    ...         assert hybrid.ones(2).cuda().device == "cuda:0"
    """

    def __init__(self, device: DeviceLike) -> None:
        self.index = index_of(device)
        self._before: list[int] = []

    def __enter__(self) -> device:
        self._before.append(current_device())
        set_device(self.index)
        return self

    def __exit__(self, *exception: Any) -> None:
        loaded().use_device(self._before.pop())


class Properties(NamedTuple):
    """Facts of a card; sizes in bytes.

    >>> import hybrid
    >>> if hybrid.cuda.is_available():
    ...     assert hybrid.cuda.get_device_properties().total_memory > 1 << 30
    """

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int
    max_threads_per_multi_processor: int
    shared_memory_per_block: int
    L2_cache_size: int


def get_device_properties(device: DeviceLike = None) -> Properties:
    """Facts of a card: its name, compute capability, memory in bytes, multiprocessors.

    >>> import hybrid
    >>> if hybrid.cuda.is_available():
    ...     assert hybrid.cuda.get_device_properties(0).multi_processor_count > 0
    """
    state = state_of(device)
    state.enter()
    card, number = state.card, int(state.card.arch.removeprefix("sm_"))
    return Properties(
        state.name,
        number // 10,
        number % 10,
        state.driver.memory_info()[1],
        card.multiprocessors,
        32 * card.warps,
        card.shared_bytes,
        card.l2_bytes,
    )


def get_device_name(device: DeviceLike = None) -> str:
    """The name of a card, such as 'NVIDIA H100 80GB HBM3'.

    >>> import hybrid
    >>> if hybrid.cuda.is_available():
    ...     assert hybrid.cuda.get_device_name() == hybrid.cuda.get_device_properties().name
    """
    return state_of(device).name


def get_device_capability(device: DeviceLike = None) -> tuple[int, int]:
    """The compute capability of a card, such as (9, 0).

    >>> import hybrid
    >>> if hybrid.cuda.is_available():
    ...     assert hybrid.cuda.get_device_capability() >= (7, 0)
    """
    found = get_device_properties(device)
    return found.major, found.minor


def synchronize(device: DeviceLike = None) -> None:
    """Wait for all work of a device; raises the error of an index that was out of range before.

    >>> import hybrid
    >>> if hybrid.cuda.is_available():
    ...     x = hybrid.ones(1000, device="cuda").exp()
    ...     hybrid.cuda.synchronize()
    """
    state_of(device, "waits for a CUDA device").wait()


def manual_seed(seed: int) -> Generator:
    """Seed the generator of the current device; gives it.

    >>> import hybrid
    >>> if hybrid.cuda.is_available():
    ...     a = hybrid.random.rand(3, generator=hybrid.cuda.manual_seed(0))
    ...     b = hybrid.random.rand(3, generator=hybrid.cuda.manual_seed(0))
    ...     assert a.tolist() == b.tolist()
    """
    return default_generator(device_of()).manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """Seed the generators of all CUDA devices; nothing to do where there is none.

    >>> import hybrid
    >>> hybrid.cuda.manual_seed_all(0)
    """
    for index in range(device_count()):
        default_generator(device_of(index)).manual_seed(seed)
