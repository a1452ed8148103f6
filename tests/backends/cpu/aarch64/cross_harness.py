"""Plans run here and by the code for another instruction set, linked with a driver in C and emulated.

Invariant: both run the same kernels over the same bytes; only sizes of loops are each machine's own.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hybrid.backends.cpu.gemm import Target
from hybrid.backends.cpu.gemm.geometry import host_target
from hybrid.backends.cpu.kernels import generated
from hybrid.backends.cpu.machine.control import CTL, CTL_BYTES
from hybrid.backends.cpu.machine.engine import NAMES, engine_text
from hybrid.backends.cpu.machine.jit import compile_many, object_for
from hybrid.backends.cpu.machine.pool import run_steps
from hybrid.backends.cpu.machine.systems import Linux
from hybrid.backends.cpu.machine.target import AARCH64, Processor
from hybrid.backends.generated import Generated
from hybrid.backends.plan import HostStep, Kernel, Plan

LINUX = Linux()
COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64-static"
DRIVER = Path(__file__).with_name("driver.c")


def lacking() -> str:
    """Why nothing can be emulated here; empty where a program is linked and runs."""
    absent = [tool for tool in (COMPILER, EMULATOR) if shutil.which(tool) is None]
    if absent:
        return f"{' and '.join(absent)} not installed: AArch64 code cannot be emulated"
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "seven.c"), str(Path(folder, "seven"))
        source.write_text("int main(void) { return 7; }\n")
        command = [COMPILER, "-static", "-pthread", str(source), "-o", program]
        if subprocess.run(command, capture_output=True).returncode:
            return f"{COMPILER} links no program here"
        code = subprocess.run([EMULATOR, program], capture_output=True).returncode
        return "" if code == 7 else f"{EMULATOR} runs no program here"


class Result(NamedTuple):
    """A part of memory that both must have written alike."""

    block: int
    offset: int
    dtype: np.dtype
    count: int


class Case(NamedTuple):
    """Kernels over memory: `slots` are (block, offset); their workspace is one slot more."""

    name: str
    kernels: list[Kernel]
    blocks: list[np.ndarray]  # of bytes
    slots: list[tuple[int, int]]
    results: list[Result]

    def functions(self, target: Target) -> list[Generated]:
        place = len(self.slots)
        return [made for kernel in self.kernels for made in generated(kernel, place, target)]


def as_bytes(array: np.ndarray) -> np.ndarray:
    return np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8).copy()


def kernel_case(name: str, kernel: Kernel, buffers: Sequence[np.ndarray]) -> Case:
    """One kernel over an array for each slot."""
    results = [Result(i, 0, b.dtype, b.size) for i, b in enumerate(buffers)]
    slots = [(i, 0) for i in range(len(buffers))]
    return Case(name, [kernel], [as_bytes(b) for b in buffers], slots, results)


def plan_case(name: str, plan: Plan, inputs: Sequence[np.ndarray]) -> Case:
    """A plan over its inputs, by number."""
    assert all(not isinstance(k, HostStep) or k.native for k in plan.steps), name
    blocks = [np.zeros(plan.arena_bytes + 64, np.uint8)]
    slots, results = [], []
    for number, slot in enumerate(plan.slots):
        if slot.kind == "arena":
            slots.append((0, slot.index))
            continue
        if slot.kind == "input" or slot.kind == "state":
            array = inputs[slot.index]
        elif slot.kind == "const":
            array = plan.consts[slot.index]
        else:
            array = np.zeros(slot.aval.shape, slot.aval.dtype)
        slots.append((len(blocks), 0))
        if slot.kind == "state" or number in plan.outputs:
            results.append(Result(len(blocks), 0, slot.aval.dtype, slot.aval.size))
        blocks.append(as_bytes(array))
    assert results
    return Case(name, list(plan.steps), blocks, slots, results)


# ---- here
def _room(functions: Sequence[Generated]) -> int:
    return max((made.temp for made in functions), default=0) + 64


def run_here(case: Case) -> tuple[int, list[np.ndarray]]:
    """Status and memory behind the kernels of this machine."""
    functions = case.functions(host_target())
    codes = compile_many([(made.symbol, made.text) for made in functions])
    memory = []
    for block in [*case.blocks, np.zeros(_room(functions), np.uint8)]:
        raw = np.zeros(block.size + 128, np.uint8)
        start = -raw.ctypes.data % 64
        raw[start : start + block.size] = block
        memory.append(raw[start : start + block.size])
    words = [np.array([*made.words, 0], np.uint64) for made in functions]
    steps = [
        (code.address, own.ctypes.data, made.items, max(made.grain, 1), made.scratch, 0)
        for code, own, made in zip(codes, words, functions)
    ]
    buffers = [memory[block].ctypes.data + offset for block, offset in case.slots]
    _, status = run_steps(steps, [*buffers, memory[-1].ctypes.data])
    return status, memory


# ---- there
def _table(symbols: Sequence[str]) -> str:
    """A module with the functions of all plans, and those of the C library, by number."""
    library = ["hy_syscall" if name == "syscall" else name for name in LINUX.functions]
    lines = [f"declare void @{name}()" for name in (*symbols, *library)]
    for name, members in (("hy_kernels", symbols), ("hy_functions", library)):
        pointers = ", ".join(f"ptr @{member}" for member in members)
        lines.append(f"@{name} = constant [{len(members)} x ptr] [{pointers}]")
    return "\n".join(lines)


class Image:
    """A program for another processor: the driver, the engine and the kernels of all cases."""

    def __init__(self, processor: Processor, target: Target, folder: Path) -> None:
        self.processor, self.target, self.folder = processor, target, folder
        self.objects: dict[str, bytes] = {}
        self.numbers: dict[str, int] = {}

    def add(self, made: Generated) -> int:
        if made.symbol not in self.numbers:
            self.numbers[made.symbol] = len(self.numbers)
            self.objects[made.symbol] = object_for(self.processor, made.text, [made.symbol])
        return self.numbers[made.symbol]

    def link(self) -> Path:
        self.objects["engine"] = object_for(self.processor, engine_text(LINUX, AARCH64), NAMES)
        table = object_for(self.processor, _table(list(self.numbers)), (), closed=False)
        self.objects["table"] = table
        paths = []
        for name, binary in self.objects.items():
            paths.append(str(self.folder / f"{name}.o"))
            Path(paths[-1]).write_bytes(binary)
        (self.folder / "objects").write_text("\n".join(paths))
        program = self.folder / "driver"
        command = [COMPILER, "-O1", "-static", "-pthread", str(DRIVER)]
        command += [f"@{self.folder / 'objects'}", "-o", str(program)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return program

    def words(self, case: Case) -> Iterator[Any]:
        functions = case.functions(self.target)
        blocks = [*case.blocks, np.zeros(_room(functions), np.uint8)]
        yield [len(blocks)]
        for block in blocks:
            yield [block.size]
            yield np.concatenate([block, np.zeros(-block.size % 8, np.uint8)]).view(np.uint64)
        slots = [*case.slots, (len(blocks) - 1, 0)]
        yield [len(slots), *(word for slot in slots for word in slot)]
        yield [len(functions)]
        for made in functions:
            yield [self.add(made), made.items, max(made.grain, 1), made.scratch]
            yield [len(made.words) + 1, *made.words, 0]


def _control() -> list[int]:
    places = [CTL[name] for name in ("worker", "attr", "spin_ns")]
    more = [CTL["status"], CTL["sigmask"], len(LINUX.functions)]
    return [CTL_BYTES, *places, 20_000, *more, *map(LINUX.place, LINUX.functions)]


def run_there(
    cases: Sequence[Case],
    processor: Processor,
    target: Target,
    folder: Path,
    options: Sequence[str] = (),
) -> list[tuple[int, list[np.ndarray]]]:
    """Status and memory of each case behind the kernels of another machine."""
    image = Image(processor, target, folder)
    given, sizes = [np.array([*_control(), len(cases)], np.uint64)], []
    for case in cases:
        made = [np.asarray(part, np.uint64) for part in image.words(case)]
        given += made
        sizes.append([block.size for block in case.blocks] + [_room(case.functions(target))])
    program = image.link()
    np.concatenate(given).tofile(folder / "given")
    command = [EMULATOR, *options, str(program), str(folder / "given"), str(folder / "made")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stderr[-3000:])
    made, found, place = np.fromfile(folder / "made", np.uint8), [], 0
    for each in sizes:
        status, place = int(made[place : place + 8].view(np.uint64)[0]), place + 8
        memory = []
        for size in each:
            memory.append(made[place : place + size])
            place += size
        found.append((status, memory))
    assert place == made.size
    return found


# ---- both
def differences(
    case: Case, here: tuple[int, list[np.ndarray]], there: tuple[int, list[np.ndarray]]
) -> list[str]:
    """What differs, other than NaN from NaN."""
    told = [] if here[0] == there[0] else [f"{case.name}: status {here[0]}, there {there[0]}"]
    for result in case.results:
        size = result.count * np.dtype(result.dtype).itemsize
        ours, theirs = (
            memory[result.block][result.offset : result.offset + size]
            for _, memory in (here, there)
        )
        ours, theirs = ours.view(result.dtype), theirs.view(result.dtype)
        bits = f"u{ours.dtype.itemsize}" if ours.dtype.itemsize in (1, 2, 4, 8) else "u1"
        wrong = ours.view(bits) != theirs.view(bits)
        if result.dtype.kind in "fV":
            wrong &= ~(np.isnan(ours) & np.isnan(theirs))
        places = np.nonzero(wrong)[0]
        if places.size:
            some = [(int(i), ours.view(bits)[i], theirs.view(bits)[i]) for i in places[:4]]
            values = [(ours[i], theirs[i]) for i in places[:4]]
            told.append(f"{case.name}: slot {result.block}: {places.size} differ {some} {values}")
    return told
