"""Schedules of CUDA loops and scatters side by side.

`python -m benchmarks.kernels.loop_schedules [WORD ...]` takes the cases with one of the words.

Prints for each case and schedule microseconds, the bytes moved as a share of a copy in the same
run, and how many results differ from the first schedule's; a star marks what is chosen by default.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from hybrid.backends.cuda import kernels as every
from hybrid.backends.cuda import scatter
from hybrid.backends.cuda.emit import areas, columns, loops, maps, rows, split
from hybrid.backends.cuda.function import Card, GpuFunction
from hybrid.backends.cuda.machine.devices import enter, load
from hybrid.backends.emit.form import FormKind
from hybrid.backends.op_kernels import LoopKernels
from hybrid.backends.plan import Access, Kernel, LoopKernel, ScatterKernel
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.core.shapes import contiguous_strides
from hybrid.ir.op import OPS

SLICE = 4000.0  # microseconds of one timed run
ROTATE = 200 << 20  # bytes that the operands of all turns have together: more than a cache
F32, F16, BF16 = dt.float32, dt.float16, dt.bfloat16
Shape = tuple[int, ...]
Knobs = dict[tuple[ModuleType, str], Any]


class Case(NamedTuple):
    """A kernel, the bytes that it must move, and other schedules by what makes them."""

    kernel: Kernel
    nbytes: int
    others: dict[str, Knobs]


# ---- cases
def _kernel(name: str, operands: Sequence[tuple[Shape, np.dtype]], **params: Any) -> LoopKernel:
    op, ins = OPS[name], tuple(aval(shape, dtype) for shape, dtype in operands)
    made = LoopKernels(op, params, ins, tuple(op.infer(*ins, **params)))
    kernel = made.kernels([contiguous_strides(a.shape) for a in ins])[-1]
    assert isinstance(kernel, LoopKernel)
    return kernel


def _bytes(kernel: LoopKernel) -> int:
    """What reads and writes hold, each element once."""
    total = 0
    for access in (*kernel.reads, *kernel.writes):
        count = 1
        for size, stride in zip(kernel.shape, access.strides):
            count *= size if stride else 1
        total += 0 if access.gather else count * access.dtype.itemsize
    return total


_ROOMY: Knobs = {(loops, "_ROOMY"): frozenset(FormKind)}
_MAPS: dict[str, Knobs] = {
    **{f"flight {n}": {(maps, "_FLIGHT"): n} for n in (1, 64, 128)},
    "roomy": _ROOMY,
}
_ROWS: dict[str, Knobs] = {
    "roomy": _ROOMY,
    "registers": {(rows, "_REGISTERS"): 64, (rows, "_LONGEST_ROW"): 4096},
    "registers 4": {(rows, "_REGISTERS"): 128},
    "staged": {(rows, "_LONGEST_ROW"): 0},
    "staged 256": {(rows, "_LONGEST_ROW"): 0, (areas, "_threads"): lambda *_: 256},
    "staged 512": {(rows, "_LONGEST_ROW"): 0, (areas, "_threads"): lambda *_: 512},
    "staged 1024": {(rows, "_LONGEST_ROW"): 0, (areas, "_threads"): lambda *_: 1024},
}
_LONG: dict[str, Knobs] = {
    "roomy": _ROOMY,
    "one go": {(split, "_GOES"): 1},
    "staged": {(split, "_LONG"): 1 << 40, (split, "_LONGER"): 1 << 40},
}


def _columns(vector: int) -> Knobs:
    return {(columns, "widest"): lambda form, most: vector}


_COLUMNS: dict[str, Knobs] = {
    **{f"vector {n}": _columns(n) for n in (1, 2, 4)},
    "roomy": _ROOMY,
    "strips": {(columns, "_SMALL"): 1 << 40},
    "no strips": {(columns, "_SMALL"): 0, (columns, "_FLIGHT"): 0},
    "fewer threads": {(columns, "_SHARE"): 16},
    "joined by threads": {(columns, "_DEEP"): 1 << 20},
    "joined by warps": {(columns, "_DEEP"): 2},
}


_SOFTMAX = (
    *((4096, 1024), (32768, 1024), (32768, 4096)),
    *((8192, 8192), (4096, 50257), (65536, 10)),
)


def _loops() -> Iterator[tuple[str, LoopKernel, dict[str, Knobs]]]:
    million = 1 << 20
    for count in (million, 16 * million, 256 * million):
        yield f"gelu {count >> 20}M", _kernel("gelu_tanh", [((count,), F32)]), _MAPS
        yield f"add {count >> 20}M", _kernel("add", [((count,), F32)] * 2), _MAPS
    yield "add bfloat16 64M", _kernel("add", [((64 * million,), BF16)] * 2), _MAPS
    yield "bias 16384x3072", _kernel("add", [((16384, 3072), F32), ((3072,), F32)]), _MAPS
    yield "bias 16384x3073", _kernel("add", [((16384, 3073), F32), ((3073,), F32)]), _MAPS
    flags = {"decoupled": True, "maximize": False}
    adam = [((124000000,), F32)] * 4 + [((), F32)] * 6
    yield "Adam 124M", _kernel("adam_update", adam, **flags), _MAPS
    turned = _kernel("add", [((8192, 8192), F32)] * 2)
    reads = (turned.reads[0]._replace(strides=(1, 8192)), turned.reads[1])
    yield "x.T + y 8192x8192", turned._replace(reads=reads), {}
    for count, length in _SOFTMAX:
        softmax = _kernel("softmax", [((count, length), F32)], axes=(1, 2))
        yield f"softmax {count}x{length}", softmax, _ROWS
    whole: Knobs = {(areas, "_part"): lambda *_: 0}
    for length in (50304, 131072):
        sums = _kernel("logsumexp", [((4096, length), F32)], axes=(1, 2))
        yield f"logsumexp 4096x{length}", sums, {"kept whole": whole}
    losses = [((4096, 50304), F32), ((4096, 1), dt.int64)]
    entropy = _kernel("cross_entropy", losses, axes=(1, 2))
    fewer: Knobs = {(areas, "_BESIDE_THREADS"): 256}
    yield "cross entropy 4096x50304", entropy, {"kept whole": whole, "fewer threads": fewer}
    norm = [((32768, 1024), F32), ((1024,), F32), ((1024,), F32)]
    yield "layer norm", _kernel("layer_norm", norm, axes=(1, 2), eps=1e-5), _ROWS
    gradient = [((32768, 1024), F32)] * 2 + [((32768, 1), F32)] * 2 + [((1024,), F32)]
    yield "layer norm gradient", _kernel("layer_norm_grad", gradient, axes=(1, 2)), _ROWS
    for shape in ((512, 128), (4096, 768), (32768, 1024), (8192, 8192), (1048576, 16)):
        total = _kernel("sum", [(shape, F32)], axes=(0, 1), dtype=F32)
        yield f"column sum {shape[0]}x{shape[1]}", total, _COLUMNS
    half = _kernel("sum", [((16384, 768), BF16)], axes=(0, 1), dtype=BF16)
    yield "column sum bfloat16 16384x768", half, _COLUMNS
    for count in (16 * million, 64 * million):
        total = _kernel("sum", [((count,), F32)], axes=(0, 1), dtype=F32)
        yield f"sum {count >> 20}M", total, _LONG
    peak = _kernel("max", [((64 * million,), F32)], axes=(0, 1))
    yield "max 64M", peak, _LONG


def _embedding(count: int, width: int, table: int) -> LoopKernel:
    operands = [((table, width), F32), ((count, 1), dt.int64)]
    return _kernel("gather", operands, axis=0, batch=1)


def _scatter(count: int, width: int) -> ScatterKernel:
    out, update = Access(0, F32, 0, (width, 1)), Access(2, F32, 0, (width, 1))
    return ScatterKernel(count, width, out, Access(1, dt.int64, 0, (1,)), update)


def cases() -> Iterator[tuple[str, Case]]:
    """(name, case) of everything that is measured."""
    for name, kernel, others in _loops():
        yield name, Case(kernel, _bytes(kernel), others)
    for count, width, table in ((16384, 768, 50257),):
        moved = 8 * count * width
        yield f"embedding {count}x{width}", Case(_embedding(count, width, table), moved, _MAPS)
    lists: dict[str, Knobs] = {"lists": {(scatter, "_SOME"): 0}}
    for count, width in ((512, 768), (4096, 768), (16384, 768)):
        yield f"scatter {count}x{width}", Case(_scatter(count, width), 12 * count * width, lists)


# ---- running
@contextmanager
def _turned(knobs: Knobs) -> Iterator[None]:
    before = {place: getattr(*place) for place in knobs}
    for (module, name), value in knobs.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name), value in before.items():
            setattr(module, name, value)


def _sizes(kernel: Kernel) -> dict[int, int]:
    """Bytes of the buffer of every slot."""
    if isinstance(kernel, ScatterKernel):
        rows_bytes = kernel.count * kernel.inner * 4
        return {0: 50257 * kernel.inner * 4, 1: kernel.count * 8, 2: rows_bytes}
    assert isinstance(kernel, LoopKernel)
    sizes = {}
    for access in (*kernel.reads, *kernel.writes):
        last = sum(max(n - 1, 0) * abs(s) for n, s in zip(kernel.shape, access.strides))
        count = 50304 * 768 if access.gather else 1 + last
        sizes[access.slot] = count * access.dtype.itemsize
    return sizes


class Bench:
    """Buffers of one kernel on a card, several of each where a cache would hold them."""

    def __init__(self, kernel: Kernel) -> None:
        self.state = enter(0)
        self.driver, self.sizes = self.state.driver, _sizes(kernel)
        self.turns = min(16, max(1, -(-ROTATE // sum(self.sizes.values()))))
        rng = np.random.default_rng(0)
        dtypes = _dtypes(kernel)
        self.outs = {w.slot for w in kernel.writes} if isinstance(kernel, LoopKernel) else {0}
        self.buffers: list[dict[int, int]] = []
        for _ in range(self.turns):
            addresses = {slot: self.driver.allocate(size) for slot, size in self.sizes.items()}
            self.buffers.append(addresses)
        for slot, size in self.sizes.items():
            values = _values(rng, dtypes[slot], size)
            for addresses in self.buffers:
                self.driver.to_device(addresses[slot], values.ctypes.data, values.nbytes)
        self.driver.wait_device()
        self.status = self.driver.allocate(16)
        self.driver.fill(self.status, 0, 16)

    def close(self) -> None:
        for addresses in self.buffers:
            for address in addresses.values():
                self.driver.free(address)
        self.driver.free(self.status)

    def run(self, made: Sequence[GpuFunction]) -> tuple[float, list[np.ndarray]]:
        """(microseconds, results of the first turn)."""
        driver = self.driver
        temp = driver.allocate(max(max(f.temp for f in made), 16))
        loaded = load([(f.symbol, f.text, f.shared) for f in made])
        last = max(self.sizes) + 1

        def places_of(turn: int) -> list[int]:
            addresses = self.buffers[turn % self.turns]
            return [*(addresses.get(slot, 0) for slot in range(last)), temp, self.status]

        def graph_of(repeats: int) -> int:
            graph, before = driver.new_graph(), list[int]()
            for turn in range(repeats):
                for function, handle in zip(made, loaded):
                    placed = function.addressed(places_of(turn))
                    words = (ctypes.c_uint64 * len(placed))(*[w % (1 << 64) for w in placed])
                    launch = handle.handle, function.blocks, function.threads, function.shared
                    before = [driver.add_kernel(graph, before, *launch, words)]
            return driver.instantiate(graph)

        spent = timed(driver, graph_of, self.turns)
        results = [self._result(slot) for slot in sorted(self.outs)]
        driver.free(temp)
        return spent, results

    def _result(self, slot: int) -> np.ndarray:
        found = np.empty(self.sizes[slot], np.uint8)
        self.driver.to_host(found.ctypes.data, self.buffers[0][slot], found.nbytes)
        self.driver.wait_device()
        return found


def timed(driver: Any, graph_of: Callable[[int], int], least: int = 1) -> float:
    """Microseconds of one turn, out of a graph of several."""
    stream = driver.new_stream()
    start, stop = (driver.new_event(True) for _ in range(2))

    def once(repeats: int) -> float:
        executable = graph_of(repeats)
        driver.launch_graph(executable, stream)
        driver.wait_stream(stream)
        driver.record(start, stream)
        driver.launch_graph(executable, stream)
        driver.record(stop, stream)
        driver.finish_event(stop)
        driver.drop_executable(executable)
        return float(driver.elapsed(start, stop)) * 1e3 / repeats

    spent = once(least)
    if spent * least < SLICE / 2:
        spent = once(min(400, max(least, int(SLICE / max(spent, 1.0)))))
    driver.drop_stream(stream)
    return spent


def _dtypes(kernel: Kernel) -> dict[int, np.dtype]:
    if isinstance(kernel, ScatterKernel):
        return {a.slot: a.dtype for a in (kernel.out, kernel.index, kernel.update)}
    assert isinstance(kernel, LoopKernel)
    return {a.slot: a.dtype for a in (*kernel.reads, *kernel.writes)}


def _values(rng: np.random.Generator, dtype: np.dtype, nbytes: int) -> np.ndarray:
    """Random numbers (repeated after a while); rows of a table for integers."""
    count = nbytes // dtype.itemsize
    if dtype is dt.int64:
        return rng.integers(0, 50257, count)
    some = rng.random(min(count, 1 << 22), np.float32).astype(dtype)
    return np.resize(some, count)


def copy_rate(nbytes: int = 512 << 20) -> float:
    """Bytes a microsecond of a copy on the card, counting both ways."""
    driver = enter(0).driver
    source, target = driver.allocate(nbytes), driver.allocate(nbytes)

    def graph_of(repeats: int) -> int:
        graph, before = driver.new_graph(), list[int]()
        for _ in range(repeats):
            before = [driver.add_copy(graph, before, target, source, nbytes)]
        return driver.instantiate(graph)

    spent = timed(driver, graph_of, 4)
    driver.free(source)
    driver.free(target)
    return 2 * nbytes / spent


def measure(name: str, case: Case, rate: float) -> None:
    """Print a line for each schedule of a case."""
    card: Card = enter(0).card
    slot, made = max(_sizes(case.kernel)) + 1, dict[str, list[GpuFunction]]()
    for schedule, knobs in {"*": Knobs(), **case.others}.items():
        with _turned(knobs):
            made[schedule] = every.generate(case.kernel, card, slot)
    load([(f.symbol, f.text, f.shared) for group in made.values() for f in group])  # all at once
    bench, first, seen = Bench(case.kernel), list[np.ndarray](), set[str]()
    for schedule, functions in made.items():
        key = repr([(f.symbol, f.blocks, f.threads, f.words) for f in functions])
        if key in seen:
            continue
        seen.add(key)
        spent, results = bench.run(functions)
        first = first or results
        differ = sum(int((x != y).sum()) for x, y in zip(first, results))
        share = case.nbytes / spent / rate
        shape = " + ".join(f"{f.blocks}x{f.threads}" for f in functions)
        print(f"{name:24}{schedule:18}{spent:10.1f} us {share:6.0%} {differ:8} differ  {shape}")
        sys.stdout.flush()
    bench.close()


def main() -> None:
    rate = copy_rate()
    print(f"copy {rate / 1e6:.2f} TB/s")
    for name, case in cases():
        if not sys.argv[1:] or any(word in name for word in sys.argv[1:]):
            measure(name, case, rate)


if __name__ == "__main__":
    main()
