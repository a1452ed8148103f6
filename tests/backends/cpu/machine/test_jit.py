"""Compilation to native code, its disk cache, and the life of code in memory."""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hybrid.backends.cpu.machine import jit
from hybrid.backends.cpu.machine.diskcache import HEAD, DiskCache, default_cache
from hybrid.core.errors import BackendError, blamed


def text(symbol: str, value: int) -> str:
    return f"define i64 @{symbol}() {{\n  ret i64 {value}\n}}\n"


def call(address: int) -> int:
    return ctypes.CFUNCTYPE(ctypes.c_int64)(address)()


@pytest.fixture
def cache(tmp_path: Path):
    mine = DiskCache(tmp_path / "c")
    old = jit.set_cache(mine)
    yield mine
    jit.set_cache(old)


def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts that LLVM compiles from now on."""
    seen: list[str] = []

    def spy(emit: Callable[..., bytes]) -> Callable[..., bytes]:
        def noted(self: Any, source: str, *others: Any) -> bytes:
            seen.append(source)
            return emit(self, source, *others)

        return noted

    for compiler in (jit._Target, jit.Beside):
        monkeypatch.setattr(compiler, "emit", spy(compiler.emit))
    return seen


def test_compile_ir_gives_addresses():
    m = jit.compile_ir(text("t_a", 11) + text("t_b", 12), ["t_a", "t_b"])
    assert (call(m.address("t_a")), call(m.address("t_b"))) == (11, 12)
    assert jit.compile_ir(text("t_a", 11) + text("t_b", 12), ["t_a", "t_b"]) is m


@pytest.mark.parametrize("level", [1, 2])
def test_levels(level: int):
    assert call(jit.compile_ir(text("t_l", 5), ["t_l"], level).address("t_l")) == 5


def test_vector_constants_are_addressed_correctly():
    n = 40
    src = "\n".join(
        f"""define void @vc{i}(ptr %p) "prefer-vector-width"="512" {{
  %x = load <16 x float>, ptr %p, align 4
  %y = fadd <16 x float> %x, <{", ".join(f"float {float(i + k):.1f}" for k in range(16))}>
  store <16 x float> %y, ptr %p, align 4
  ret void
}}"""
        for i in range(n)
    )
    m = jit.compile_ir(src, [f"vc{i}" for i in range(n)])
    for i in range(n):
        a = (ctypes.c_float * 16)()
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(m.address(f"vc{i}"))(ctypes.addressof(a))
        assert list(a) == [float(i + k) for k in range(16)]


@pytest.mark.parametrize(
    "src, what",
    [
        (
            "declare float @expf(float)\ndefine float @t_x(float %x) {\n %y = call float @expf(float %x)\n ret float %y\n}",
            "expf",
        ),
        (
            "declare float @llvm.sin.f32(float)\ndefine float @t_x(float %x) {\n %y = call float @llvm.sin.f32(float %x)\n"
            " ret float %y\n}",
            "sinf",
        ),
        (
            "@g = external global i64\ndefine i64 @t_x() {\n %y = load i64, ptr @g\n ret i64 %y\n}",
            "g",
        ),
    ],
)
def test_outside_symbols_are_refused(src: str, what: str):
    with pytest.raises(BackendError, match=rf"symbols from outside: {what}"):
        jit.compile_ir(src, ["t_x"])


def test_bad_text_and_absent_names():
    with pytest.raises(BackendError, match="not valid LLVM IR"):
        jit.compile_ir("define i64 @t_q() { ret i32 0 }", ["t_q"])
    with pytest.raises(BackendError, match="does not define nope"):
        jit.compile_ir(text("t_q", 1), ["nope"])


def test_compile_many_shares_and_keeps_order(cache: DiskCache, monkeypatch: pytest.MonkeyPatch):
    seen = compiled(monkeypatch)
    a = jit.compile_many(
        [("t_m1", text("t_m1", 1)), ("t_m2", text("t_m2", 2)), ("t_m1", text("t_m1", 1))]
    )
    assert [call(c.address) for c in a] == [1, 2, 1] and a[0] is a[2] and len(seen) == 2
    b = jit.compile_many([("t_m2", text("t_m2", 2)), ("t_m3", text("t_m3", 3))])
    assert b[0] is a[1] and len(seen) == 3 and jit.lookup("t_m3") is b[1]
    with pytest.raises(BackendError, match="two texts share the symbol t_m1"):
        jit.compile_many([("t_m1", text("t_m1", 7))])
    with pytest.raises(BackendError, match="two texts share"):
        jit.compile_many([("t_m9", text("t_m9", 7)), ("t_m9", text("t_m9", 8))])


def test_dropped_code_is_freed_and_comes_back_from_disk(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch
):
    (code,) = jit.compile_many([("t_drop", text("t_drop", 4))])
    engine = weakref.ref(code._engine)
    seen = compiled(monkeypatch)
    del code
    gc.collect()
    assert engine() is None and jit.lookup("t_drop") is None
    (code,) = jit.compile_many([("t_drop", text("t_drop", 4))])
    assert call(code.address) == 4 and seen == []


def _only_file(cache: DiskCache) -> Path:
    (path,) = Path(cache.folder).glob("*.o")
    return path


@pytest.mark.parametrize(
    "spoil",
    [
        lambda b: b"",
        lambda b: b[:10],
        lambda b: b[:-1],
        lambda b: b + b"x",
        lambda b: b"\0" * len(b),
        lambda b: b[: HEAD.size + 100] + bytes([b[HEAD.size + 100] ^ 1]) + b[HEAD.size + 101 :],
        lambda b: b[:20] + bytes([b[20] ^ 1]) + b[21:],
        lambda b: HEAD.pack(b"other", b"", 1 << 60, b"") + b[HEAD.size :],
    ],
    ids=["empty", "short", "torn", "longer", "zeros", "body", "key", "foreign"],
)
def test_spoiled_files_are_misses(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch, request, spoil
):
    symbol = f"t_sp_{request.node.callspec.id}"
    jit.compile_many([(symbol, text(symbol, 6))])
    gc.collect()
    path = _only_file(cache)
    whole = path.read_bytes()
    path.write_bytes(spoil(whole))
    seen = compiled(monkeypatch)
    (code,) = jit.compile_many([(symbol, text(symbol, 6))])
    assert call(code.address) == 6 and len(seen) == 1
    assert path.read_bytes() == whole


def test_a_pipe_is_a_miss(tmp_path: Path):
    cache = DiskCache(tmp_path / "c")
    key = b"k" * 32
    os.mkfifo(cache._path(key))
    assert cache.get(key) is None
    cache.put(key, b"body")
    assert cache.get(key) == b"body"


def test_file_of_another_key_is_a_miss(cache: DiskCache):
    a, b = b"a" * 32, b"b" * 32
    cache.put(a, b"code of a")
    os.rename(cache._path(a), cache._path(b))
    assert cache.get(b) is None and cache.get(a) is None


def test_cache_is_bounded_oldest_first(tmp_path: Path):
    cache = DiskCache(tmp_path, limit=10_000)
    keys = [bytes([i]) * 32 for i in range(30)]
    for i, k in enumerate(keys):
        cache.put(k, bytes(1000))
        if cache.get(k) is not None:
            os.utime(cache._path(k), (i, 10**9 + i))
    cache._trim()
    kept = [i for i, k in enumerate(keys) if cache.get(k) is not None]
    assert 0 < len(kept) <= 10 and kept == list(range(30 - len(kept), 30))


def test_cache_survives_a_folder_it_cannot_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    blocker = tmp_path / "file"
    blocker.write_text("in the way")
    for folder in (blocker, blocker / "below", "/proc/nowhere"):
        cache = DiskCache(folder)
        cache.put(b"k" * 32, b"body")
        assert cache.get(b"k" * 32) is None
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)  # others could plant code there
    cache = DiskCache(shared)
    cache.put(b"k" * 32, b"body")
    assert cache.get(b"k" * 32) is None and list(shared.iterdir()) == []
    gone = DiskCache(tmp_path / "gone")
    os.rmdir(gone.folder)
    gone.put(b"k" * 32, b"body")
    assert gone.get(b"k" * 32) is None


def test_default_cache_obeys_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HYBRID_CACHE_DIR", str(tmp_path / "named"))
    monkeypatch.delenv("HYBRID_CACHE", raising=False)
    cache = default_cache()
    assert cache is not None and cache.folder == str(tmp_path / "named")
    monkeypatch.setenv("HYBRID_CACHE", "0")
    assert default_cache() is None


def test_processes_share_the_cache(tmp_path: Path):
    program = (
        "from hybrid.backends.cpu.machine import jit\n"
        "for kind in (jit._Target, jit.Beside):\n"
        "    kind.emit = lambda *a, emit=kind.emit: print('compiled') or emit(*a)\n"
        "jit.compile_many([(f'p{i}', f'define i64 @p{i}() {{ ret i64 {i} }}') for i in range(3)])\n"
    )
    env = dict(os.environ, HYBRID_CACHE_DIR=str(tmp_path), PYTHONPATH=os.pathsep.join(sys.path))
    env.pop("HYBRID_CACHE", None)
    outs = [
        subprocess.run(
            [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert [o.count("compiled") for o in outs] == [3, 0]


def test_many_texts_are_compiled_by_several_threads(cache: DiskCache, monkeypatch: Any):
    """Where the machine has the cores; and what goes wrong in one of them is said of its kernel."""
    monkeypatch.setattr(jit, "usable_cores", lambda: 4)
    threads: set[int] = set()
    emit, meeting = jit.Beside.emit, threading.Barrier(4)

    def noted(self: Any, *args: Any) -> bytes:
        if threading.get_ident() not in threads:
            threads.add(threading.get_ident())
            meeting.wait(60)
        return emit(self, *args)

    monkeypatch.setattr(jit.Beside, "emit", noted)
    codes = jit.compile_many([(f"t_p{i}", text(f"t_p{i}", i)) for i in range(16)])
    assert [call(c.address) for c in codes] == [*range(16)] and len(threads) == 4
    with pytest.raises(BackendError, match="not valid LLVM IR") as failure:
        jit.compile_many([("t_p16", text("t_p16", 16)), ("t_p17", "define nonsense")])
    assert blamed(failure.value) == {"symbol": "t_p17"}
    assert call(jit.compile_many([("t_p18", text("t_p18", 18))])[0].address) == 18


def test_threads_compile_at_once():
    got: list[int] = []

    def work(k: int) -> None:
        for i in range(5):
            (c,) = jit.compile_many([(f"t_th{i}", text(f"t_th{i}", i))])
            got.append(call(c.address) - i)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert got == [0] * 20


FORK = """
import os, threading, warnings
warnings.simplefilter("ignore")
from hybrid.backends.cpu.machine import jit
jit.set_cache(None)
stop = threading.Event()
def busy(k):
    i = 0
    while not stop.is_set():
        i += 1
        jit.compile_ir(f"define i64 @b() {{ ret i64 {i * 2 + k} }}", ["b"])
threads = [threading.Thread(target=busy, args=(k,)) for k in (0, 1)]
for t in threads: t.start()
for i in range(8):
    pid = os.fork()
    if pid == 0:
        jit.compile_ir(f"define i64 @c() {{ ret i64 {i} }}", ["c"])
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
stop.set()
for t in threads: t.join()
print("fine")
"""


def test_forked_children_compile_too():
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run(
        [sys.executable, "-c", FORK], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "fine\n", done.stderr
