"""What an op call finds around it: this thread's mode and tape switch, and the backends.

Invariant: `STATE.special` is 0 exactly while no thread has a mode or has switched its tape off, so
one test of it tells whether a call may take the fast way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ...core.aval import HOST, Aval, Device
from ...core.cache import keep
from ...core.errors import DeviceError
from ..tensor import RUNTIME, Handle
from .pending import COLLECTING, Pending

__all__ = [
    "begin_collecting",
    "end_collecting",
    "set_aside",
    "STATE",
    "LOCAL",
    "current_mode",
    "push_mode",
    "pop_mode",
    "grad_enabled",
    "set_grad",
    "renew",
    "use_backends",
    "backend_of",
    "aside",
    "on_device",
    "fetched",
    "host_array",
    "READERS",
]


class State:
    """`special` counts threads and scopes in which an op call must take the slow door: one load for
    what would be three tests of thread-local words."""

    __slots__ = ("special",)

    def __init__(self) -> None:
        self.special = 0


class _Local(threading.local):
    mode: Any = None
    grad: bool = True


STATE = State()
LOCAL = _Local()


# ---- modes
def current_mode() -> Any:
    """The mode (recorder, checker) of this thread, or None."""
    return LOCAL.mode


# What follows changes two words together: between them is no call and no jump back, so neither
# another thread nor a handler of a signal runs in between.
def push_mode(mode: Any) -> Any:
    """Make `mode` the mode of this thread; returns the previous one for pop_mode."""
    previous = LOCAL.mode
    while previous is not None and previous.defers:
        previous.flush()
        if previous.idle:
            break
    STATE.special += (previous is None) - (mode is None)
    LOCAL.mode = mode
    return previous


def pop_mode(previous: Any) -> None:
    STATE.special += (LOCAL.mode is None) - (previous is None)
    LOCAL.mode = previous


def begin_collecting(mode: Any) -> None:
    """Let ops of this thread be collected by a mode, which is the first on it."""
    STATE.special += 2
    LOCAL.mode = mode
    COLLECTING.add(mode)


def set_aside(mode: Any) -> None:
    """Compute what is pending, and let this thread go on as if it had no mode, until
    `begin_collecting`."""
    while True:
        mode.flush()
        if mode.idle:
            STATE.special -= 2
            LOCAL.mode = None
            break
    COLLECTING.discard(mode)


def end_collecting(mode: Any) -> None:
    """Compute what is pending and forget the mode.  What a signal's handler raises does not end
    this: it is raised when all is done.  Should that come at the very start, op calls keep to the
    slow door, which knows what handles may hold, until the next end in this thread."""
    error: BaseException | None = None
    try:
        for other in [m for m in list(COLLECTING) if m.thread == mode.thread]:  # others come, go
            while other.defers:
                try:
                    other.close()
                except BaseException as caught:
                    error = error or caught
            STATE.special -= other in COLLECTING
            COLLECTING.discard(other)
    finally:
        if LOCAL.mode is mode:
            STATE.special -= 1
            LOCAL.mode = None
    if error is not None:
        raise error


def grad_enabled() -> bool:
    """Whether ops on this thread are put on the tape."""
    return LOCAL.grad


def set_grad(enabled: bool) -> bool:
    """Switch the tape of this thread; returns the old setting.

    What has to be switched back in a `finally` writes the two lines out: the start of a function
    is a place where a handler may raise."""
    enabled, previous = bool(enabled), LOCAL.grad
    STATE.special += previous - enabled
    LOCAL.grad = enabled
    return previous


def renew() -> None:
    """In the child of a fork: only this thread's mode and switches are left."""
    STATE.special = (LOCAL.mode is not None) + (1 - LOCAL.grad) + len(COLLECTING)


# ---- backends
def use_backends(loader: Callable[[str], Any]) -> None:
    """Tell bind where backends come from: a function from device kind to Backend."""
    RUNTIME.backend = loader


def backend_of(device: Device) -> Any:
    """The backend of a device; raises DeviceError when there is none."""
    if RUNTIME.backend is None:
        raise DeviceError(f"no backend is loaded for device {device}")
    return RUNTIME.backend(device.kind)


def aside(function: Callable[..., Any], *args: Any) -> Any:
    """A call of a backend's own code, which is none of the program that a mode looks at."""
    mode = LOCAL.mode
    resume = mode.pause() if mode is not None else None
    try:
        return function(*args)
    finally:
        if resume is not None:
            resume()


def on_device(array: np.ndarray, device: Device) -> Any:
    """A host array as a value of a device."""
    return array if device is HOST else aside(backend_of(device).from_numpy, array, device)


def fetched(value: Any, device: Device) -> np.ndarray:
    """A value of a device as a host array, which may share its memory."""
    if type(value) is Pending:
        value = value.get()
    result: np.ndarray = value if device is HOST else aside(backend_of(device).to_numpy, value)
    return result


READERS: dict[Aval, Callable[[Any], np.ndarray]] = {}
_READERS_LIMIT = 1024


def host_array(handle: Handle) -> np.ndarray:
    """What a tensor holds, as a host array, which may share its memory."""
    value, aval = handle._v, handle._a
    if type(value) is Pending:
        value = value.get()
    if aval.device is not HOST:
        found = READERS.get(aval)
        if found is None:
            made = backend_of(aval.device).reader(aval)
            found = keep(READERS, aval, made, _READERS_LIMIT)
        value = found(value)
    result: np.ndarray = value
    return result
