"""Nodes of memory: what a folder of /sys tells, and that nothing but kernels touches large memory."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys

import pytest

from hybrid.backends.cpu.machine import alloc, pool
from hybrid.backends.cpu.machine.control import CTL
from hybrid.backends.cpu.machine.systems.linux import Linux, nodes_in
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval

LARGE = 64 << 20


@pytest.fixture
def tree(tmp_path):
    """A folder like /sys/devices/system/node with these lists of CPUs."""

    def made(**lists):
        (tmp_path / "online").write_text("0-7\n")
        (tmp_path / "nodes").mkdir()  # no node
        for name, text in lists.items():
            (tmp_path / name).mkdir()
            (tmp_path / name / "cpulist").write_text(text)
        return str(tmp_path)

    return made


def nodes(root, cpus):
    return [sorted(node) for node in nodes_in(frozenset(cpus), root)]


def test_nodes_are_read_in_their_order(tree):
    root = tree(node10="12-13\n", node2="4-7\n", node0="0-1,3,8\n")
    assert nodes(root, [0, 1, 3, 4, 5, 6, 7, 8, 12, 13]) == [[0, 1, 3, 8], [4, 5, 6, 7], [12, 13]]
    # of what the process may use
    assert nodes(root, [1, 5, 6]) == [[1], [5, 6]]
    assert nodes(root, [4, 5]) == [] == nodes(root, [])


def test_memory_without_cpus_is_no_node(tree):
    root = tree(node0="0-3\n", node1="\n", node2="4-7\n")
    assert nodes(root, range(8)) == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize("text", ["4-", "-7", "four", "4-7;", "4-7-9", "3-7", "4-6", "5-999999999"])
def test_what_does_not_add_up_is_one_node(tree, text):
    """No list; or CPUs on two nodes, or on none."""
    assert nodes(tree(node0="0-3\n", node1=text + "\n"), range(8)) == []


def test_without_the_folder_there_is_one_node(tmp_path):
    assert nodes_in(frozenset([0, 1]), str(tmp_path / "none")) == ()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /sys")
def test_nodes_of_this_machine_hold_its_cpus():
    found = Linux().nodes()
    assert not found or frozenset().union(*found) == os.sched_getaffinity(0)
    assert len(found) != 1


# ---- who touches memory first
def resident(address, nbytes):
    """Pages of a range that are in memory."""
    first = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (address + nbytes - first) // mmap.PAGESIZE * mmap.PAGESIZE
    pages = (ctypes.c_ubyte * (length // mmap.PAGESIZE))()
    mincore = ctypes.CDLL(None, use_errno=True).mincore
    mincore.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p
    assert mincore(first, length, pages) == 0, os.strerror(ctypes.get_errno())
    return sum(page & 1 for page in pages)


@pytest.mark.skipif(sys.platform != "linux", reason="asks mincore")
def test_a_fresh_block_is_touched_by_nobody():
    alloc.trim()
    array = alloc.empty(aval((LARGE,), dt.uint8))
    assert resident(array.ctypes.data, LARGE) == 0
    array[: LARGE // 2] = 1
    assert resident(array.ctypes.data, LARGE) >= LARGE // 2 // mmap.PAGESIZE
    array = None
    alloc.trim()


@pytest.mark.skipif(sys.platform != "linux", reason="asks mincore")
def test_of_fresh_memory_of_a_plan_only_the_head_is_touched():
    """Arenas and workspaces: the head, which the caller writes, is a page, or one huge page."""
    workers = pool.pool()
    take, put = (
        ctypes.CFUNCTYPE(result, *arguments)(workers.address(name))
        for name, result, arguments in (
            ("hy_block_take", ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
            ("hy_block_put", None, (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)),
        )
    )
    blocks = workers.ctl + CTL["blocks"]
    block = take(workers.ctl, blocks, LARGE)
    try:
        assert resident(block, LARGE) <= (2 << 20) // mmap.PAGESIZE
    finally:
        put(workers.ctl, blocks, block)
