"""What other systems are asked: documented calls, with stand-ins that record and answer them."""

from __future__ import annotations

import ctypes
import math
import os
import subprocess
import sys
import warnings

import llvmlite.binding as llvm
import pytest

from hybrid.backends.cpu.machine import blocks, engine, host, jit, systems
from hybrid.backends.cpu.machine.asm import UNLIKELY
from hybrid.backends.cpu.machine.control import CTL, MAX_WORKERS, W_THREAD
from hybrid.backends.cpu.machine.systems.base import ORDINARY_CACHES, PRIMITIVES, STACK_BYTES
from hybrid.backends.cpu.machine.systems.linux import Linux
from hybrid.backends.cpu.machine.systems.macos import MacOS
from hybrid.backends.cpu.machine.systems.objects import object_symbols
from hybrid.backends.cpu.machine.systems.windows import Windows
from hybrid.backends.cpu.machine.target import AARCH64, X86_64
from hybrid.core.errors import BackendError

TRIPLES = {
    "x86_64-unknown-linux-gnu": Linux,
    "x86_64-apple-macosx": MacOS,
    "arm64-apple-macosx": MacOS,
    "x86_64-pc-windows-msvc": Windows,
}


# ---- what Python asks
class Call:
    """A C function that records its arguments; `answer` may write where they point to."""

    def __init__(self, answer):
        self.answer, self.seen = answer, []

    def __call__(self, *given):
        self.seen.append([getattr(value, "value", value) for value in given])
        return self.answer(*given) if callable(self.answer) else self.answer


class Library:
    def __init__(self, **functions):
        self.__dict__.update({name: Call(answer) for name, answer in functions.items()})


def stand_in(kind, **functions):
    """(a system whose one library has these functions, the library)"""
    library, made = Library(**functions), kind()
    made.__dict__["loaded"] = [library]
    return made, library


def put(reference, value):
    """Write what a C function would write."""
    reference._obj.value = value


def sysctl(known):
    def answer(name, value, size, nothing, none):
        if name.decode() not in known:
            return -1
        put(value, known[name.decode()])
        return 0

    return answer


def test_macos_counts_fast_cores_and_their_caches():
    known = {"hw.perflevel0.logicalcpu": 4, "hw.logicalcpu": 8, "hw.l1dcachesize": 65536}
    known |= {"hw.perflevel0.l1dcachesize": 131072, "hw.perflevel0.l2cachesize": 12 << 20}
    known |= {"hw.memsize": 16 << 30}
    system, library = stand_in(MacOS, sysctlbyname=sysctl(known))
    assert system.cores() == 4 and system.quota() == math.inf and system.memory() == 16 << 30
    name, value, size, new, length = library.sysctlbyname.seen[0]
    assert name == b"hw.perflevel0.logicalcpu" and new is None and length == 0
    first, second, third = system.caches()
    assert (first.size, second.size) == (131072, 12 << 20) and third == ORDINARY_CACHES[2]
    assert stand_in(MacOS, sysctlbyname=sysctl({"hw.logicalcpu": 12}))[0].cores() == 12
    nothing = stand_in(MacOS, sysctlbyname=sysctl({}))[0]
    assert nothing.cores() == os.cpu_count() and nothing.caches() == ORDINARY_CACHES


def test_macos_stack_begins_at_its_top():
    functions = {"pthread_self": 77, "pthread_get_stackaddr_np": 0x9000}
    system, library = stand_in(MacOS, pthread_get_stacksize_np=0x2000, **functions)
    assert system.stack_end() == 0x7000
    assert library.pthread_get_stackaddr_np.seen[0] == [77]
    assert (
        stand_in(MacOS, pthread_self=7, pthread_get_stackaddr_np=None, pthread_get_stacksize_np=1)[
            0
        ].stack_end()
        == 0
    )


@pytest.mark.parametrize("kind, detached", [(Linux, 1), (MacOS, 2)])
def test_attributes_of_threads(kind, detached):
    names = "pthread_attr_init", "pthread_attr_setdetachstate", "pthread_attr_setstacksize"
    system, library = stand_in(kind, **dict.fromkeys(names, 0))
    assert system.thread_attributes(4096) == 4096
    assert library.pthread_attr_setdetachstate.seen == [[4096, detached]]
    assert library.pthread_attr_setstacksize.seen == [[4096, STACK_BYTES]]
    for name in names:
        refusing, _ = stand_in(kind, **dict.fromkeys(names, 0) | {name: 22})
        with pytest.raises(BackendError, match=f"{name} refused .*error 22"):
            refusing.thread_attributes(4096)


def test_memory_goes_back_by_the_right_call():
    system, library = stand_in(Windows, _aligned_free=None, _heapmin=0)
    system.free(640), system.trim()
    assert library._aligned_free.seen == [[640]] and library._heapmin.seen == [[]]
    system, library = stand_in(MacOS, free=None, malloc_zone_pressure_relief=0)
    system.free(640), system.trim()
    assert library.free.seen == [[640]]
    assert library.malloc_zone_pressure_relief.seen == [[None, 0]]


@pytest.mark.parametrize("done, mask, cores", [(1, 0b1011, 3), (0, 5, None), (1, 0, None)])
def test_windows_counts_the_processors_of_its_mask(done, mask, cores):
    def answer(process, allowed, present):
        put(allowed, mask), put(present, 0xFF)
        return done

    system, library = stand_in(Windows, GetCurrentProcess=-1, GetProcessAffinityMask=answer)
    assert system.cores() == (cores or os.cpu_count())
    assert library.GetProcessAffinityMask.seen[0][0] == ctypes.c_void_p(-1).value


@pytest.mark.parametrize(
    "flags, rate, share",
    [
        (0x1 | 0x4, 2500, 0.25),  # hard cap
        (0x1 | 0x10, 7500 << 16 | 100, 0.75),  # between two rates
        (0x1 | 0x2, 5, None),  # a weight
        (0, 2500, None),
    ],
)
def test_windows_reads_the_limit_of_its_job(flags, rate, share):
    def answer(job, kind, told, size, length):
        assert (job.value, kind, size) == (None, 15, 8)
        told[:8] = flags.to_bytes(4, "little") + rate.to_bytes(4, "little")
        return 1

    cores = os.cpu_count() * share if share else math.inf
    assert stand_in(Windows, QueryInformationJobObject=answer)[0].quota() == cores
    assert stand_in(Windows, QueryInformationJobObject=0)[0].quota() == math.inf


def test_windows_tells_its_memory():
    def answer(told):
        assert int.from_bytes(told[:4], "little") == len(told) - 1 == 64  # and an end of string
        told[8:16] = (32 << 30).to_bytes(8, "little")
        return 1

    assert stand_in(Windows, GlobalMemoryStatusEx=answer)[0].memory() == 32 << 30
    assert stand_in(Windows, GlobalMemoryStatusEx=0)[0].memory() == 0


def test_windows_reads_records_of_caches():
    def record(relation, level=0, ways=0, size=0, kind=0):
        cache = bytes([level, ways, 64, 0]) + size.to_bytes(4, "little") + bytes([kind, 0, 0, 0])
        return relation.to_bytes(4, "little") + (52).to_bytes(4, "little") + cache + bytes(32)

    records = [record(2, 1, 8, 32 << 10, 1), record(2, 1, 12, 48 << 10, 2), record(0, 2, 1, 1, 0)]
    records += [record(2, 2, 0xFF, 2 << 20), record(2, 2, 4, 1 << 20)]  # of other cores
    data = b"".join(records)

    def answer(relation, told, length):
        assert relation == 2
        if getattr(told, "raw", None) is None:
            put(length, len(data))
            return 0
        told[: len(data)] = data
        return 1

    first, second, third = stand_in(Windows, GetLogicalProcessorInformationEx=answer)[0].caches()
    assert first == (48 << 10, 12) and second == (2 << 20, ORDINARY_CACHES[1].ways)
    assert third == ORDINARY_CACHES[2]
    assert stand_in(Windows, GetLogicalProcessorInformationEx=0)[0].caches() == ORDINARY_CACHES


def test_windows_stack():
    def answer(low, high):
        put(low, 0x5000), put(high, 0x9000)

    assert stand_in(Windows, GetCurrentThreadStackLimits=answer)[0].stack_end() == 0x5000


def test_a_release_without_a_function_is_named():
    for kind, name, release in (
        (MacOS, "os_sync_wait_on_address", "macOS 14.4"),
        (Windows, "WaitOnAddress", "Windows 8"),
    ):
        with pytest.raises(BackendError, match=f"{name} .*needs {release}"):
            stand_in(kind)[0].address(name)


# ---- what native code asks
class Native:
    """The primitives of a system, with C functions of this test."""

    def __init__(self, system, **functions):
        self.words = (ctypes.c_uint64 * 512)()
        self.control = ctypes.addressof(self.words)
        self.kept = []
        for name, (kind, function) in functions.items():
            made = kind(function)
            self.kept.append(made)
            self.put(system.place(name), ctypes.cast(made, ctypes.c_void_p).value)
        self.module = jit.compile_ir(system.text() + UNLIKELY, list(PRIMITIVES))

    def put(self, offset, value):
        self.words[offset // 8] = value

    def __call__(self, name, *given):
        result, params = PRIMITIVES[name]
        kinds = {"i64": ctypes.c_int64, "i32": ctypes.c_int32, "ptr": ctypes.c_void_p}
        kinds |= {"i1": ctypes.c_bool, "void": None}
        signature = kinds[result], ctypes.c_void_p, *[kinds[kind] for kind in params.values()]
        return ctypes.CFUNCTYPE(*signature)(self.module.address(name))(self.control, *given)


P, I, L = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64


def c(function, *kinds):
    return ctypes.CFUNCTYPE(*kinds), function


SIZE, WORD = ctypes.c_size_t, ctypes.c_uint32


def macos(seen):
    """What macOS documents, into `seen`; no memory beyond 1000 bytes, no thread by attributes 9."""

    def memory(place, align, size):
        seen.append((align, size))
        P.from_address(place).value = 0x1000
        return 12 * (size > 1000)  # ENOMEM

    def wait(*given):
        seen.append(("wait", *given))
        return -1  # with EINTR: whoever waits looks again

    return Native(
        MacOS(),
        os_sync_wait_on_address=c(wait, I, P, ctypes.c_uint64, SIZE, WORD),
        os_sync_wake_by_address_any=c(lambda *g: seen.append(("one", *g)) or 0, I, P, SIZE, WORD),
        os_sync_wake_by_address_all=c(lambda *g: seen.append(("all", *g)) or 0, I, P, SIZE, WORD),
        clock_gettime_nsec_np=c(lambda clock: 1000 + clock, ctypes.c_uint64, I),
        posix_memalign=c(memory, I, P, SIZE, SIZE),
        pthread_sigmask=c(lambda *g: seen.append(g) or 0, I, I, P, P),
        pthread_create=c(lambda *g: seen.append(g) or 35 * (g[1] == 9), I, P, P, P, P),
    )


def test_macos_native_calls():
    seen = []
    native = macos(seen)
    assert native("system_now") == 1008
    native("system_wait", 640, -2)
    native("system_wake", 640, 2)
    native("system_wake", 640, MAX_WORKERS)
    assert seen == [("wait", 640, 2**32 - 2, 4, 0), *[("one", 640, 4, 0)] * 2, ("all", 640, 4, 0)]
    seen.clear()
    assert native("system_take", 960) == 0x1000 and native("system_take", 1024) is None
    assert seen == [(64, 960), (64, 1024)]
    seen.clear()
    native("system_block", 64), native("system_unblock", 64)
    assert seen == [(3, native.control + CTL["sigmask"], 64), (3, 64, None)]
    seen.clear()
    native.put(CTL["worker"], 5)
    for attributes, started in ((7, True), (9, False)):
        native.put(CTL["attr"], attributes)
        assert native("system_start", 128) is started
    assert seen[0] == (128 + W_THREAD, 7, 5, 128)


def windows(seen, counts):
    """What Windows documents, into `seen`; `counts` of its clock, and of a second."""

    def wait(word, compared, size, milliseconds):
        seen.append((word, I.from_address(compared).value, size, milliseconds))
        return 0

    def start(*given):
        seen.append(given)
        return 99 * (given[3] == 128)

    def memory(size, align):
        return size + align if size < 1000 else None

    def counter(which):
        return lambda place: bool(ctypes.memmove(place, counts[which].to_bytes(8, "little"), 8))

    return Native(
        Windows(),
        WaitOnAddress=c(wait, I, P, P, SIZE, WORD),
        WakeByAddressSingle=c(lambda word: seen.append(("one", word)), None, P),
        WakeByAddressAll=c(lambda word: seen.append(("all", word)), None, P),
        QueryPerformanceCounter=c(counter(0), I, P),
        QueryPerformanceFrequency=c(counter(1), I, P),
        _beginthreadex=c(start, SIZE, P, WORD, P, P, WORD, P),
        CloseHandle=c(lambda handle: seen.append(("close", handle)) or 1, I, P),
        _aligned_malloc=c(memory, P, SIZE, SIZE),
    )


def test_windows_native_calls():
    seen, counts = [], [0, 10_000_000]
    native = windows(seen, counts)
    for counts[0] in (3, 10_000_001, 90 * 365 * 86400 * 10_000_000):  # 90 years, at 10 MHz
        assert native("system_now") == counts[0] * 100
    counts[:] = 1_234_567_891, 3_579_545  # an odd frequency
    assert native("system_now") == 1_234_567_891 * 10**9 // 3_579_545
    native("system_wait", 640, -2)
    native("system_wake", 640, 3)
    native("system_wake", 640, MAX_WORKERS)
    assert seen == [(640, -2, 4, 0xFFFFFFFF), *[("one", 640)] * 3, ("all", 640)]
    seen.clear()
    native.put(CTL["worker"], 5)
    assert native("system_start", 128) is True and native("system_start", 256) is False
    first, second = ((None, STACK_BYTES, 5, worker, 0, None) for worker in (128, 256))
    assert seen == [first, ("close", 99), second]
    assert native("system_take", 960) == 1024 and native("system_take", 2000) is None
    native("system_block", 64), native("system_unblock", 64)  # nothing to do


# ---- code for other systems
def emitted(triple, source):
    """Object code of a text for another system."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(triple)
    cpu = "haswell" if triple.startswith("x86") else "apple-m1"
    machine = target.create_target_machine(cpu=cpu, opt=2, reloc="pic", codemodel="small", jit=True)
    system = TRIPLES[triple]()
    text = system.dressed(source, lambda: str(machine.target_data))
    module = llvm.parse_assembly(text, llvm.create_context())
    module.triple = triple
    module.verify()
    return machine.emit_object(module)


@pytest.mark.parametrize("triple", TRIPLES)
def test_native_code_for_each_system(triple):
    system = TRIPLES[triple]()
    memory = "".join(part().text() for part in blocks.MEMORY)
    sources = {system.text() + memory + UNLIKELY: {*PRIMITIVES, "hy_block_take"}}
    instructions = X86_64 if triple.startswith("x86") else AARCH64
    sources[engine.engine_text(system, instructions)] = {*PRIMITIVES, *engine.NAMES}
    for source, names in sources.items():
        defined, missing = object_symbols(emitted(triple, source))
        assert names <= defined and missing <= {*system.outside, *system.unused}


@pytest.mark.parametrize("triple", TRIPLES)
def test_symbols_of_objects(triple):
    """Floats, large frames and constants need nothing but what the system is known to have."""
    system = TRIPLES[triple]()
    inside = """
@table = internal constant [4 x i64] [i64 1, i64 2, i64 3, i64 4]
define float @large(ptr %use, float %x) {
  %frame = alloca [100000 x i8], align 64
  %y = fadd float %x, 1.5
  %z = call float %use(ptr %frame, float %y)
  ret float %z
}
define i64 @entry(i64 %i) {
  %place = getelementptr i64, ptr @table, i64 %i
  %value = load i64, ptr %place
  ret i64 %value
}
"""
    outside = "declare i64 @far(i64)\ndefine i64 @f() {\n %r = call i64 @far(i64 1)\n ret i64 %r\n}"
    defined, missing = object_symbols(emitted(triple, inside))
    assert {"large", "entry"} <= defined and "table" not in defined
    assert missing <= {*system.outside, *system.unused}
    defined, missing = object_symbols(emitted(triple, outside))
    assert "f" in defined and missing - {*system.unused} == {"far"}


def test_other_files_are_no_objects():
    with pytest.raises(BackendError, match="64-bit ELF"):
        object_symbols(b"MZ" + bytes(100))


# ---- which one
def test_other_systems_are_refused_or_asked_for(monkeypatch):
    monkeypatch.delenv("HYBRID_UNTESTED_SYSTEM", raising=False)
    for platform, name in (("win32", "Windows"), ("darwin", "macOS")):
        monkeypatch.setattr(sys, "platform", platform)
        with pytest.raises(BackendError, match=f"{name}.*reference.*HYBRID_UNTESTED_SYSTEM=1"):
            host.machine.__wrapped__()
        with monkeypatch.context() as asked:
            asked.setenv("HYBRID_UNTESTED_SYSTEM", "1")
            with pytest.warns(UserWarning, match=f"{name} has not been run"):
                assert systems.system.__wrapped__().name == name
    monkeypatch.setattr(sys, "platform", "emscripten")
    monkeypatch.setenv("HYBRID_UNTESTED_SYSTEM", "1")
    with pytest.raises(BackendError, match="reference backend"):
        host.machine.__wrapped__()
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert systems.system.__wrapped__().tested


LACKING = """
import os, signal, sys
for name in ("fork", "register_at_fork", "geteuid", "getuid", "sched_getaffinity", "O_NONBLOCK",
             "O_NOFOLLOW", "sysconf"):
    if hasattr(os, name):
        delattr(os, name)
del sys.abiflags, signal.SIGKILL, signal.SIGSTOP
few = {signal.SIGINT, signal.SIGTERM, signal.SIGSEGV, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
signal.valid_signals = lambda: few
import hybrid as hb
from hybrid.backends.cpu.machine.diskcache import DiskCache
assert not DiskCache(sys.argv[1]).usable
step = hb.function(lambda x: (x * 2 + 1).sum())
print([float(step(hb.arange(4.0))) for _ in range(4)])
"""


def test_a_python_without_forks_and_owners_of_files(tmp_path):
    """What CPython lacks on Windows is nowhere taken for granted; without a disk cache it runs."""
    done = subprocess.run(
        [sys.executable, "-c", LACKING, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "[16.0, 16.0, 16.0, 16.0]\n", done.stderr
