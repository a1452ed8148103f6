"""Kernels become images: validity, keys, the disk cache, errors."""

import pytest

from hybrid.backends.cpu.machine import jit
from hybrid.backends.cpu.machine.diskcache import DiskCache
from hybrid.backends.cuda.machine import assemble as unit
from hybrid.backends.cuda.machine import assemblers, driver
from hybrid.core.errors import BackendError

HAS_ASSEMBLER = True
try:
    assemblers.assembler()
except BackendError:
    HAS_ASSEMBLER = False
needs_assembler = pytest.mark.skipif(not HAS_ASSEMBLER, reason="nothing here assembles PTX")


def kernel(symbol: str, number: int = 1) -> str:
    """A kernel that stores a number at the address in its first word."""
    return f"""define ptx_kernel void @{symbol}(ptr byval([2 x i64]) align 8 %args) {{
  %word = load i64, ptr %args
  %global = inttoptr i64 %word to ptr addrspace(1)
  store i64 {number}, ptr addrspace(1) %global
  ret void
}}
"""


class PtxOnly:
    takes_ptx = True

    def version(self):
        return 13000


class Cubins:
    def version(self):
        return 13000


@pytest.fixture
def takes_ptx():
    before = driver.use(PtxOnly())
    yield
    driver.use(before)


@pytest.fixture
def takes_cubins():
    before = driver.use(Cubins())
    yield
    driver.use(before)


@pytest.fixture
def disk(tmp_path):
    before = jit.set_cache(DiskCache(tmp_path))
    yield tmp_path
    jit.set_cache(before)


def test_ptx_reads_whole_words():
    ptx = unit.ptx_of(kernel("words"), "sm_90")
    assert "ld.param.b64" in ptx and "ld.param.b32" not in ptx
    assert ".target sm_90" in ptx


@pytest.mark.parametrize("knows", [unit._KNOWS_BOUNDS, 1 << 10])
def test_bounds_of_a_kernel_reach_every_llvm(monkeypatch, knows):
    monkeypatch.setattr(unit, "_KNOWS_BOUNDS", knows)
    bounds = 'nounwind "nvvm.maxntid"="1024" "nvvm.minctasm"="1" {'
    ptx = unit.ptx_of(kernel("wide").replace("{", bounds, 1), "sm_90")
    assert ptx.count(".maxntid 1024") == 1 and ptx.count(".minnctapersm 1") == 1


def test_a_driver_may_take_ptx(takes_ptx):
    images = unit.assemble([("one", kernel("one")), ("two", kernel("two"))], "sm_80")
    assert list(images) == ["one", "two"]
    assert all(b".visible .entry " + s.encode() in image for s, image in images.items())


def test_invalid_text_is_an_error(takes_ptx):
    with pytest.raises(BackendError, match="not valid LLVM IR"):
        unit.assemble([("wrong", "define void @wrong() { ret i32 1 }")], "sm_90")


@needs_assembler
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_images_are_elf_and_parallel(takes_cubins, arch):
    functions = [(f"kernel_{i}", kernel(f"kernel_{i}", i)) for i in range(5)]
    images = unit.assemble(functions, arch)
    assert all(image[:4] == b"\x7fELF" for image in images.values())
    assert len(set(images.values())) == 5


@needs_assembler
def test_images_come_from_the_disk(takes_cubins, disk, monkeypatch):
    function = ("stored_kernel", kernel("stored_kernel", 77))
    unit._IMAGES.clear()
    made = unit.assemble([function], "sm_90")
    assert len(list(disk.glob("*.o"))) == 1
    unit._IMAGES.clear()
    monkeypatch.setattr(unit, "ptx_of", None)
    assert unit.assemble([function], "sm_90") == made


@needs_assembler
def test_what_the_assembler_says_is_in_the_error():
    with pytest.raises(BackendError, match="refused generated PTX.*nonsense"):
        assemblers.assembler()(".version 7.8\n.target sm_90\n.address_size 64\nnonsense", "sm_90")


def test_without_assembler_the_extra_is_named(monkeypatch, takes_cubins):
    monkeypatch.setattr(assemblers, "_programs", lambda: iter(()))
    monkeypatch.setattr(assemblers, "_libraries", lambda: iter(()))
    clear()
    try:
        with pytest.raises(BackendError, match=r"hybrid\[cuda13\]"):
            unit.assemble([("none", kernel("none"))], "sm_90")
    finally:
        clear()


def clear():
    assemblers.assembler.cache_clear()


def test_an_assembler_is_not_newer_than_the_driver(monkeypatch):
    class Kind:
        def __init__(self, major):
            if major is None:
                raise OSError("no such program")
            self.name, self.major = f"kind {major}", major

    monkeypatch.setattr(assemblers, "Ptxas", Kind)
    monkeypatch.setattr(assemblers, "_programs", lambda: iter([None, 11, 13, 12]))
    monkeypatch.setattr(assemblers, "_libraries", lambda: iter(()))
    clear()
    try:
        assert assemblers.assembler(13).major == assemblers.assembler(14).major == 13
        assert assemblers.assembler(12).major == 12
        monkeypatch.setattr(assemblers, "_programs", lambda: iter([13]))
        clear()
        with pytest.raises(BackendError, match=r"hybrid\[cuda12\]"):
            assemblers.assembler(12)
    finally:
        clear()


def test_kernels_of_many_words_get_a_newer_ptx():
    text = "define ptx_kernel void @many(ptr byval([{} x i64]) align 8 %args) {{\n  ret void\n}}\n"
    assert ".version 8.1" in unit.ptx_of(text.format(545), "sm_90")
    assert ".version 7" in unit.ptx_of(text.format(544), "sm_90")
