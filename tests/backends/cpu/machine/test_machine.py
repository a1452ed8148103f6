"""Facts about the machine, and offsets inside Python objects."""

from __future__ import annotations

import ctypes
import math
import sys

import numpy as np
import pytest

from hybrid.backends.cpu.machine import host as m
from hybrid.backends.cpu.machine.systems import linux
from hybrid.backends.cpu.python import abi
from hybrid.core.errors import BackendError
from hybrid.ir.tensor import Handle


def test_facts():
    got = m.machine()
    assert got.vector_bytes in (32, 64) and got.vector_registers == got.vector_bytes // 2
    assert got.cores >= 1 and 4096 <= got.first.size <= got.second.size and got.third.size > 0
    assert min(got.first.ways, got.second.ways, got.third.ways) > 0
    assert got.name and "+avx2" in got.features and m.machine() is got


@pytest.mark.parametrize(
    "features, text", [({"avx2": False, "fma": True}, "avx2"), ({"avx2": True}, "fma")]
)
def test_old_cpus_are_refused(monkeypatch, features, text):
    class Features(dict):
        def flatten(self):
            return ""

    monkeypatch.setattr(m.llvm, "get_host_cpu_features", lambda: Features(features))
    with pytest.raises(BackendError, match=text):
        m.machine.__wrapped__()


def test_threads_from_the_environment(monkeypatch):
    monkeypatch.setenv("HYBRID_NUM_THREADS", "7")
    assert m.usable_cores() == 7
    for bad in ("0", "-2", "two", "1.5"):
        monkeypatch.setenv("HYBRID_NUM_THREADS", bad)
        with pytest.raises(BackendError, match="HYBRID_NUM_THREADS"):
            m.usable_cores()
    monkeypatch.setenv("HYBRID_NUM_THREADS", "")
    assert m.usable_cores() >= 1


@pytest.mark.parametrize("quota, cores", [(math.inf, 6), (2.0, 2), (1.5, 2), (0.25, 1), (100.0, 6)])
def test_cores_within_the_quota(monkeypatch, quota, cores):
    monkeypatch.delenv("HYBRID_NUM_THREADS", raising=False)
    monkeypatch.setattr(linux.os, "sched_getaffinity", lambda pid: set(range(6)))
    monkeypatch.setattr(linux, "control_group_quota", lambda: quota)
    assert m.usable_cores() == cores


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_cgroup_quota_version_2(tmp_path):
    membership = tmp_path / "cgroup"
    membership.write_text("0::/a/b\n")
    root = tmp_path / "fs"
    assert linux.control_group_quota(str(root), str(membership)) == math.inf
    write(root / "a/b/cpu.max", "max 100000\n")
    assert linux.control_group_quota(str(root), str(membership)) == math.inf
    write(root / "a/cpu.max", "150000 100000\n")  # a parent's limit holds
    assert linux.control_group_quota(str(root), str(membership)) == 1.5
    write(root / "a/b/cpu.max", "50000 100000\n")
    assert linux.control_group_quota(str(root), str(membership)) == 0.5
    assert linux.control_group_quota(str(root), str(tmp_path / "none")) == math.inf


def test_cgroup_quota_version_1(tmp_path):
    membership = tmp_path / "cgroup"
    membership.write_text("4:memory:/x\n2:cpu,cpuacct:/docker/7\nbroken\n")
    root = tmp_path / "fs"
    write(root / "cpu,cpuacct/docker/7/cpu.cfs_quota_us", "-1")
    write(root / "cpu,cpuacct/docker/7/cpu.cfs_period_us", "100000")
    assert linux.control_group_quota(str(root), str(membership)) == math.inf
    write(root / "cpu,cpuacct/cpu.cfs_quota_us", "300000")  # in a container the path is not visible
    write(root / "cpu,cpuacct/cpu.cfs_period_us", "100000")
    assert linux.control_group_quota(str(root), str(membership)) == 3.0


def test_memory_of_control_groups(tmp_path):
    membership, root = tmp_path / "cgroup", tmp_path / "fs"
    membership.write_text("0::/a/b\n")
    assert linux.control_group_memory(str(root), str(membership)) == 0
    write(root / "a/b/memory.max", "max\n")
    assert linux.control_group_memory(str(root), str(membership)) == 0
    write(root / "a/memory.max", f"{3 << 30}\n")  # a parent's limit holds
    assert linux.control_group_memory(str(root), str(membership)) == 3 << 30
    membership.write_text("4:memory:/x\n2:cpu,cpuacct:/docker/7\n")
    write(root / "memory/x/memory.limit_in_bytes", f"{1 << 30}\n")
    assert linux.control_group_memory(str(root), str(membership)) == 1 << 30
    assert linux.control_group_memory(str(root), str(tmp_path / "none")) == 0


@pytest.mark.parametrize("limit, granted", [(0, 8 << 30), (2 << 30, 2 << 30), (1 << 62, 8 << 30)])
def test_memory_is_what_is_installed_or_granted(monkeypatch, limit, granted):
    figures = {"SC_PHYS_PAGES": 2 << 20, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(linux.os, "sysconf", figures.__getitem__)
    monkeypatch.setattr(linux, "control_group_memory", lambda: limit)
    assert linux.Linux().memory() == granted


def test_addresses():
    assert m.libc_address("free") and m.python_address("PyLong_FromLongLong")
    for find in (m.libc_address, m.python_address):
        with pytest.raises(BackendError, match="no_such_function"):
            find("no_such_function")
    at = m.immortal_memory(10_000)
    assert at % 4096 == 0 and not any((ctypes.c_char * 10_000).from_address(at).raw)


# ---- layouts
needs_probe = pytest.mark.skipif(not abi.available(), reason=abi.why_not())


def test_the_probe_says_why_it_fails(monkeypatch):
    assert abi.available() == (abi.why_not() == "")
    monkeypatch.setattr(abi.sys, "abiflags", "t")
    assert abi._result.__wrapped__() == (None, "this Python runs without the GIL")
    monkeypatch.undo()
    monkeypatch.setattr(abi.sys, "gettotalrefcount", lambda: 0, raising=False)
    assert abi._result.__wrapped__()[0] is None
    monkeypatch.undo()
    monkeypatch.setattr(abi, "_half_at", lambda address: 5)
    assert abi._result.__wrapped__()[0] is None


@needs_probe
def test_offsets_of_slots():
    class Sub(Handle):
        __slots__ = ("more",)

    h = Sub.__new__(Sub)
    marks = {n: object() for n in ("_v", "_a", "_node", "_x", "more")}
    for n, mark in marks.items():
        assert abi.word_at(abi.slot_address(h, n)) == 0
        setattr(h, n, mark)
    for n, mark in marks.items():
        assert abi.word_at(abi.slot_address(h, n)) == id(mark)
    assert abi.slot_offset(Sub, "_v") == abi.slot_offset(Handle, "_v")
    for wrong in ("nothing", "__init__", "__weakref__"):
        with pytest.raises(AttributeError):
            abi.slot_offset(Handle, wrong)


@needs_probe
def test_offsets_in_arrays_and_containers():
    lay = abi.layout()
    a = np.arange(12.0).reshape(3, 4)[1:, ::2]
    assert abi.word_at(id(a) + lay.array_data) == a.ctypes.data
    assert abi.word_at(id(a) + lay.array_base) == id(a.base)
    assert abi.word_at(id(a) + lay.array_flags) & 0xFFFFFFFF == a.flags.num
    assert abi.word_at(id(a) + lay.type) == id(np.ndarray)
    before = abi.word_at(id(a) + lay.refcount) & 0xFFFFFFFF
    more = [a] * 5
    assert abi.word_at(id(a) + lay.refcount) & 0xFFFFFFFF == before + len(more)
    items = [object() for _ in range(5)]
    for k in (0, 3, -1):
        assert abi.word_at(abi.list_item_address(items, k)) == id(items[k])
    with pytest.raises(IndexError):
        abi.list_item_address(items, 5)
    t = tuple(items)
    assert [abi.word_at(id(t) + lay.tuple_items + 8 * k) for k in range(5)] == [id(x) for x in t]

    def outer():
        x = items
        return lambda: x

    cell = outer().__closure__[0]
    assert abi.word_at(id(cell) + lay.cell_contents) == id(items)
    cell.cell_contents = t
    assert abi.word_at(id(cell) + lay.cell_contents) == id(t)


@needs_probe
def test_versions_of_dicts():
    d, offset = {"a": 1}, abi.layout().dict_version
    if offset is None:
        assert sys.version_info >= (3, 12)
        return
    address = id(d) + offset
    word = abi.word_at(address)
    d.get("a"), list(d), d == {"b": 2}
    assert abi.word_at(address) == word
    d["a"] = 2
    assert abi.word_at(address) > word


@needs_probe
def test_numpy_table():
    assert abi.numpy_api(abi.ARRAY_TYPE) == id(np.ndarray)
