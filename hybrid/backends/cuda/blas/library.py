"""cuBLASLt through ctypes: which algorithm a product gets, and calls of it.

Invariant: the first algorithm that the library's heuristics name is taken, nothing is timed; the
workspace is the caller's; a call allocates nothing and waits for nothing.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ....core import dtypes as dt
from ....core.errors import DeviceError
from .problem import MatrixLayout, Problem, alignment, tight

__all__ = ["Algorithm", "Call", "CublasLt", "Library", "OperandAddresses", "library", "use_library"]

WORKSPACE = 32 << 20
_F32, _F16, _BF16 = 0, 2, 14  # cudaDataType
_COMPUTE_F32, _COMPUTE_TF32 = 68, 77  # cublasComputeType
_BATCH_COUNT, _BATCH_OFFSET = 5, 6  # of a layout
_TURN_A, _TURN_B, _EPILOGUE, _BIAS = 3, 4, 7, 8  # of a product
_EPILOGUE_BIAS = 4
_WORKSPACE_BYTES, _FIRST_ALIGNMENT = 1, 5  # of a preference
_UNSUPPORTED = 15
_ERRORS = {
    1: "the library is not initialized",
    3: "it could not allocate memory",
    7: "an argument is not valid",
    8: "the card is not supported",
    13: "a kernel could not be started",
    14: "an error inside the library",
    15: "this product is not supported",
}
Handle = ctypes.c_void_p


class Algorithm(NamedTuple):
    """An algorithm as the library describes it, and the bytes of workspace it takes."""

    data: bytes
    workspace: int


class OperandAddresses(NamedTuple):
    """Addresses of a call; `bias` is 0 where there is none."""

    left: int
    right: int
    bias: int
    out: int
    workspace: int


Call = Callable[[OperandAddresses, int], None]  # of addresses and a stream


class Library(Protocol):
    """What products ask of a library."""

    def algorithm(self, problem: Problem) -> Algorithm | None:
        """The one algorithm of a problem, None where it cannot be computed."""

    def call(
        self,
        problem: Problem,
        algorithm: Algorithm,
        layouts: tuple[MatrixLayout, MatrixLayout, MatrixLayout],
    ) -> Call | None:
        """A function that starts the product with this algorithm on operands that lie so (left,
        right, result); None where the algorithm does not take them."""


class _Result(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = [
        ("algorithm", ctypes.c_uint8 * 64),
        ("workspace", ctypes.c_size_t),
        ("state", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    ]


class CublasLt:
    """NVIDIA's library."""

    def __init__(self, path: str, driver: str = "libcuda.so.1") -> None:
        # functions that return at once: held with the GIL, so two calls are not interleaved
        self.entries = ctypes.PyDLL(path)
        self._driver = ctypes.PyDLL(driver)
        self._handles: dict[int, Handle] = {}
        self._algorithms: dict[tuple[int, Problem], Algorithm | None] = {}
        self._lock = threading.Lock()

    def run_checked(self, name: str, *arguments: Any) -> None:
        status = getattr(self.entries, f"cublasLt{name}")(*arguments)
        if status:
            why = _ERRORS.get(status, f"status {status}")
            raise DeviceError(f"cublasLt{name} failed: {why}")

    def _device(self) -> int:
        found = ctypes.c_int()
        self._driver.cuCtxGetDevice(ctypes.byref(found))
        return found.value

    def handle(self) -> Handle:
        """The library's state for the device of this thread's context."""
        device = self._device()
        with self._lock:
            if device not in self._handles:
                made = Handle()
                self.run_checked("Create", ctypes.byref(made))
                self._handles[device] = made
            return self._handles[device]

    # ---- descriptions
    def set_attribute(self, what: str, described: Handle, attribute: int, value: Any) -> None:
        size = ctypes.c_size_t(ctypes.sizeof(value))
        self.run_checked(f"{what}SetAttribute", described, attribute, ctypes.byref(value), size)

    def describe_product(self, problem: Problem) -> Handle:
        """cuBLAS counts columns first: it multiplies right by left, both turned round."""
        made = Handle()
        compute = _COMPUTE_TF32 if problem.dtype is dt.float32 else _COMPUTE_F32
        self.run_checked("MatmulDescCreate", ctypes.byref(made), compute, _F32)
        turned = ctypes.c_int32(problem.right_turned), ctypes.c_int32(problem.left_turned)
        self.set_attribute("MatmulDesc", made, _TURN_A, turned[0])
        self.set_attribute("MatmulDesc", made, _TURN_B, turned[1])
        if problem.biased:
            self.set_attribute("MatmulDesc", made, _EPILOGUE, ctypes.c_uint32(_EPILOGUE_BIAS))
        return made

    def describe_layouts(
        self, problem: Problem, layouts: tuple[MatrixLayout, MatrixLayout, MatrixLayout]
    ) -> tuple[Handle, Handle, Handle]:
        left, right, out = layouts
        _, _, m, n, k, left_turned, right_turned, _ = problem
        sizes = ((n, k), (k, m), (n, m))
        turned = (right_turned, left_turned, False)
        found = [
            self._layout(problem, size[::-1] if swap else size, layout)
            for size, swap, layout in zip(sizes, turned, (right, left, out))
        ]
        return found[0], found[1], found[2]

    def _layout(self, problem: Problem, size: tuple[int, ...], layout: MatrixLayout) -> Handle:
        made = Handle()
        kind = _F32
        if problem.dtype is not dt.float32:
            kind = _BF16 if problem.dtype is dt.bfloat16 else _F16
        rows, columns = map(ctypes.c_uint64, size)
        line = ctypes.c_int64(layout.line)
        self.run_checked("MatrixLayoutCreate", ctypes.byref(made), kind, rows, columns, line)
        if problem.batch > 1:
            self.set_attribute("MatrixLayout", made, _BATCH_COUNT, ctypes.c_int32(problem.batch))
            self.set_attribute("MatrixLayout", made, _BATCH_OFFSET, ctypes.c_int64(layout.batch))
        return made

    # ---- algorithms
    def algorithm(self, problem: Problem) -> Algorithm | None:
        """The first that the heuristics name for operands without gaps."""
        key = self._device(), problem
        if key not in self._algorithms:
            self._algorithms[key] = self._chosen(problem)
        return self._algorithms[key]

    def _chosen(self, problem: Problem) -> Algorithm | None:
        layouts, preference, count = tight(problem), Handle(), ctypes.c_int()
        product, described = self.describe_product(problem), self.describe_layouts(problem, layouts)
        self.run_checked("MatmulPreferenceCreate", ctypes.byref(preference))
        self.set_attribute(
            "MatmulPreference", preference, _WORKSPACE_BYTES, ctypes.c_size_t(WORKSPACE)
        )
        left, right, out = (alignment(x, problem.dtype.itemsize) for x in layouts)
        for number, least in enumerate((right, left, out, out)):
            attribute = _FIRST_ALIGNMENT + number
            self.set_attribute("MatmulPreference", preference, attribute, ctypes.c_uint32(least))
        found = _Result()
        status = self.entries.cublasLtMatmulAlgoGetHeuristic(
            self.handle(), product, *described, described[2], preference, 1, ctypes.byref(found),
            ctypes.byref(count),
        )  # fmt: skip
        self.run_checked("MatmulPreferenceDestroy", preference)
        self.release(product, described)
        if status or not count.value or found.state:
            return None
        return Algorithm(bytes(found.algorithm), found.workspace)

    def release(self, product: Handle, layouts: tuple[Handle, ...]) -> None:
        for layout in layouts:
            self.run_checked("MatrixLayoutDestroy", layout)
        self.run_checked("MatmulDescDestroy", product)

    def call(
        self,
        problem: Problem,
        algorithm: Algorithm,
        layouts: tuple[MatrixLayout, MatrixLayout, MatrixLayout],
    ) -> Call | None:
        made = _Call(self, problem, algorithm, layouts)
        return made if made.fits() else None


class _Call:
    """One product, described once and started often."""

    def __init__(
        self,
        owner: CublasLt,
        problem: Problem,
        algorithm: Algorithm,
        layouts: tuple[MatrixLayout, MatrixLayout, MatrixLayout],
    ) -> None:
        self.owner, self.problem, self.workspace = owner, problem, algorithm.workspace
        self.product = owner.describe_product(problem)
        self.layouts = owner.describe_layouts(problem, layouts)
        self.algorithm = ctypes.create_string_buffer(algorithm.data, 64)
        self.one, self.zero = ctypes.c_float(1.0), ctypes.c_float(0.0)
        self.lock = threading.Lock()

    def fits(self) -> bool:
        """Whether the algorithm takes operands that lie so."""
        owner, found = self.owner, _Result()
        status = owner.entries.cublasLtMatmulAlgoCheck(
            owner.handle(), self.product, *self.layouts, self.layouts[2], self.algorithm,
            ctypes.byref(found),
        )  # fmt: skip
        return not status and found.workspace <= self.workspace

    def __call__(self, addresses: OperandAddresses, stream: int) -> None:
        with self.lock:
            if self.problem.biased:
                bias = ctypes.c_uint64(addresses.bias)
                self.owner.set_attribute("MatmulDesc", self.product, _BIAS, bias)
            right, left, out = self.layouts
            self.owner.run_checked(
                "Matmul", self.owner.handle(), self.product, ctypes.byref(self.one),
                Handle(addresses.right), right, Handle(addresses.left), left,
                ctypes.byref(self.zero),
                Handle(addresses.out), out, Handle(addresses.out), out, self.algorithm,
                Handle(addresses.workspace), ctypes.c_size_t(self.workspace), Handle(stream),
            )  # fmt: skip

    def __del__(self) -> None:
        if sys is not None and not sys.is_finalizing():
            self.owner.release(self.product, self.layouts)


# ---- where it is
def _paths() -> Iterator[str]:
    for entry in sys.path:
        for wheel in ("cu13", "cublas"):
            folder = Path(entry or ".", "nvidia", wheel, "lib")
            yield from map(str, sorted(folder.glob("libcublasLt.so.*"), reverse=True))
    yield from ("libcublasLt.so.13", "libcublasLt.so.12")
    yield from map(str, sorted(Path("/usr/local/cuda/lib64").glob("libcublasLt.so.*")))


class _Used:
    """The library in use; None in `found` after a search without success."""

    def __init__(self) -> None:
        self.looked, self.found = False, None  # type: bool, Library | None


_USED = _Used()


def use_library(library: Library | None) -> None:
    """Put a library, or none, in the place of NVIDIA's."""
    _USED.looked, _USED.found = True, library


def library() -> Library | None:
    """cuBLASLt, None where it is not installed (said once)."""
    if not _USED.looked:
        _USED.looked = True
        for path in _paths():
            try:
                _USED.found = CublasLt(path)
                break
            except OSError:
                continue
        else:
            warnings.warn(
                "libcublasLt was not found: products of half types and those in 'fast' mode run on "
                "hybrid's own kernels, without tensor cores; install nvidia-cublas (CUDA 13) or "
                "nvidia-cublas-cu12",
                stacklevel=2,
            )
    return _USED.found
