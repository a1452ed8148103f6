"""C functions of the simulated driver, for native code that calls the driver by address.

Invariant: an error becomes a status for the caller; one of a kernel that ran is raised again where
the host next waits.  A limit: these are Python, which may give up the GIL in the middle of native
code that counts on it (a driver's calls keep it), so one thread at a time works with this card.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import TYPE_CHECKING, Any

from hybrid.core.errors import DeviceError
from hybrid.ir.door import context
from hybrid.ir.door.context import aside

if TYPE_CHECKING:
    from .driver import SimulatedDriver

__all__ = ["CONTEXT", "Natives", "hidden", "hide", "unseen"]

CONTEXT = 0x7000  # handle of the first device's context
_INVALID_VALUE, _INVALID_DEVICE, _ILLEGAL_ADDRESS = 1, 101, 700
_P, _U, _N = ctypes.c_void_p, ctypes.c_uint, ctypes.c_size_t
KINDS: dict[str, tuple[Any, ...]] = {
    "cuCtxSetCurrent": (_P,),
    "cuLaunchKernel": (_P, _U, _U, _U, _U, _U, _U, _U, _P, _P, _P),
    "cuGraphLaunch": (_P, _P),
    "cuGraphExecKernelNodeSetParams_v2": (_P, _P, _P),
    "cuMemcpyDtoDAsync_v2": (_P, _P, _N, _P),
    "cuMemcpyHtoDAsync_v2": (_P, _P, _N, _P),
    "cuMemcpyDtoHAsync_v2": (_P, _P, _N, _P),
    "cuMemsetD8Async": (_P, ctypes.c_ubyte, _N, _P),
    "cuEventRecord": (_P, _P),
    "cuStreamWaitEvent": (_P, _P, _U),
    "cuStreamSynchronize": (_P,),
}


class _KernelNode(ctypes.Structure):
    """CUDA_KERNEL_NODE_PARAMS (v2)."""

    _fields_ = [
        ("function", ctypes.c_uint64),
        *[(f"{name}_{axis}", _U) for name in ("grid", "block") for axis in "xyz"],
        ("shared", _U),
        ("parameters", ctypes.c_uint64),
    ]


def unseen(callback: Any) -> Any:
    """The callback as a part of hybrid: recordings of calls do not look into a driver, and nothing
    of Python is there to see on a card."""
    code = callback.__code__.replace(co_filename=context.__file__)
    callback.__code__ = code
    return callback


def hide(function: Any) -> Any:
    """A function that recordings of calls do not look into."""

    def call(*given: Any, **named: Any) -> Any:
        return aside(functools.partial(function, *given, **named))

    return functools.wraps(function)(unseen(call))


def hidden(driver: type) -> type:
    """A class of drivers whose methods recordings of calls do not look into."""
    for name, method in list(vars(driver).items()):
        if not name.startswith("_") and callable(method):
            setattr(driver, name, hide(method))
    return driver


class Natives:
    """Callbacks, made when their addresses are asked for and kept."""

    def __init__(self, driver: SimulatedDriver) -> None:
        self.driver = driver
        self._kept: dict[str, Any] = {}

    def address(self, name: str) -> int:
        if name not in self._kept:
            act = getattr(self, name)

            def work(given: tuple[Any, ...]) -> int:
                return int(act(*(g or 0 for g in given)) or 0)

            def call(*given: Any) -> int:
                try:
                    return int(aside(work, given))
                except DeviceError as error:
                    print(error, file=sys.stderr)
                    return _INVALID_VALUE
                except Exception as error:
                    print(f"{name}: {error!r}", file=sys.stderr)
                    self.driver.failed = self.driver.failed or error
                    return _ILLEGAL_ADDRESS

            self._kept[name] = ctypes.CFUNCTYPE(ctypes.c_int, *KINDS[name])(unseen(call))
        return ctypes.cast(self._kept[name], ctypes.c_void_p).value or 0

    def _words(self, function: int, parameters: int) -> bytes:
        """The bytes of all parameters, each of which has its address in an array."""
        out = bytearray()
        for number, (offset, nbytes) in enumerate(self.driver.parameters(function)):
            place = ctypes.c_uint64.from_address(parameters + 8 * number).value
            out += bytes(offset - len(out)) + ctypes.string_at(place, nbytes)
        return bytes(out)

    def cuCtxSetCurrent(self, context: int) -> int:
        if not 0 <= context - CONTEXT < len(self.driver.arenas):
            return _INVALID_DEVICE
        self.driver.current = context - CONTEXT
        return 0

    def cuLaunchKernel(self, function: int, *given: int) -> None:
        blocks, gy, gz, threads, by, bz, shared, stream, parameters, extra = given
        assert (gy, gz, by, bz, extra) == (1, 1, 1, 1, 0), "grids have one dimension"
        words = self._words(function, parameters)
        self.driver.launch(function, blocks, threads, shared, stream, words)

    def cuGraphLaunch(self, executable: int, stream: int) -> None:
        self.driver.launch_graph(executable, stream)

    def cuGraphExecKernelNodeSetParams_v2(self, executable: int, node: int, given: int) -> None:
        params = _KernelNode.from_address(given)
        assert (params.grid_y, params.grid_z, params.block_y, params.block_z) == (1, 1, 1, 1)
        words = self._words(params.function, params.parameters)
        sizes = params.grid_x, params.block_x, params.shared
        self.driver.update_kernel(executable, node, params.function, *sizes, words)

    def cuMemcpyDtoDAsync_v2(self, target: int, source: int, nbytes: int, stream: int) -> None:
        self.driver.on_device(target, source, nbytes, stream)

    def cuMemcpyHtoDAsync_v2(self, target: int, source: int, nbytes: int, stream: int) -> None:
        self.driver.to_device(target, source, nbytes, stream)

    def cuMemcpyDtoHAsync_v2(self, target: int, source: int, nbytes: int, stream: int) -> None:
        self.driver.to_host(target, source, nbytes, stream)

    def cuMemsetD8Async(self, target: int, byte: int, nbytes: int, stream: int) -> None:
        self.driver.fill(target, byte, nbytes, stream)

    def cuEventRecord(self, event: int, stream: int) -> None:
        self.driver.record(event, stream)

    def cuStreamWaitEvent(self, stream: int, event: int, flags: int) -> None:
        self.driver.wait_event(stream, event)

    def cuStreamSynchronize(self, stream: int) -> None:
        self.driver.wait_stream(stream)
