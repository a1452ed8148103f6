"""The native launch path, with a C function in the driver's place that writes down what it is
given."""

from __future__ import annotations

import ctypes
import gc
import sys
from functools import lru_cache

import numpy as np
import pytest

from hybrid.backends.cpu.machine.asm import Fn
from hybrid.backends.cpu.machine.jit import compile_ir
from hybrid.backends.cuda.launch.caller import Fallback, FreshResult, Start, make_caller
from hybrid.backends.cuda.machine.blocks import (
    BlockSource,
    block_address,
    block_bytes,
    block_source,
    is_block,
)
from hybrid.backends.cuda.machine.record import Record
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval

MATRIX = aval((2, 3), dt.float32)


class Device(np.ndarray):
    """An array whose data pointer is an address elsewhere."""

    __slots__ = ()


@lru_cache(1)
def stub():
    """cuLaunchKernel whose 'functions' are the addresses of journals: (status, words of a kernel,
    launches so far, then for each: blocks, threads, shared, stream, the words)."""
    parameters = {"function": "ptr", "bx": "i32", "by": "i32", "bz": "i32", "tx": "i32"}
    parameters |= {"ty": "i32", "tz": "i32", "shared": "i32", "stream": "i64", "words": "ptr"}
    writer = Fn("stub", "i32", "nounwind", **parameters, extra="ptr")
    size, count = writer.ld("%function", 8, "i64"), writer.ld("%function", 16, "i64")
    length = writer.add(size, 4)
    entry = writer.nth(writer.at("%function", 24), writer.op(f"mul i64 {count}, {length}"))
    for place, name in enumerate(("bx", "tx", "shared")):
        writer.st("i64", writer.op(f"zext i32 %{name} to i64"), writer.nth(entry, place))
    writer.st("i64", "%stream", writer.nth(entry, 3))
    words = writer.ld("%words")
    with writer.each(size) as index:
        value = writer.ld(writer.nth(words, index), 0, "i64")
        writer.st("i64", value, writer.nth(entry, writer.add(index, 4)))
    writer.st("i64", writer.add(count, 1), "%function", 16)
    writer.ret(writer.op(f"trunc i64 {writer.ld('%function', 0, 'i64')} to i32"))
    return compile_ir(writer.text(), ["stub"])


class Driver:
    def address(self, name):
        assert name == "cuLaunchKernel"
        return stub().address("stub")


class Journal:
    def __init__(self, words, status=0):
        self.words = words
        self.memory = (ctypes.c_uint64 * 1024)(status, words, 0)
        self.handle = ctypes.addressof(self.memory)

    def entries(self):
        size = self.words + 4
        found = list(self.memory[3 : 3 + size * self.memory[2]])
        return [tuple(found[i : i + size]) for i in range(0, len(found), size)]


class Memory:
    """A source of blocks at made-up addresses."""

    def __init__(self, start=0x7F0000000000):
        self.free, self.watched, self.noted = [], [], []
        self.next, self.left = start, 1 << 30
        self.source = BlockSource(self.free, self.fresh, self.watched, self.noted.append, 512)

    def fresh(self):
        if not self.left:
            raise MemoryError("none left")
        self.left -= 1
        self.next += 512
        return self.next


def record(stream=0):
    word = ctypes.c_int64(stream)
    made = Record(Driver(), ctypes.addressof(word))
    made.kept = word
    return made


def never(*arrays):
    raise AssertionError("refused")


def address(array):
    return array.__array_interface__["data"][0]


def device_array(shape=(2, 3), memory=None):
    memory = memory or Memory(0x7E0000000000)
    return make_caller(
        [],
        0,
        [FreshResult(aval(shape, dt.float32), memory.source)],
        record(),
        Device,
        refused=never,
    )()


# ---- blocks
def test_a_block_comes_back_when_its_object_dies():
    memory = Memory()
    block = memory.source.new()
    first = block_address(block)
    assert is_block(block) and block_source(block) == memory.source.address
    assert block_bytes(block) == 512 and not memory.free
    del block
    assert memory.free == [first]
    assert block_address(memory.source.new()) == first  # and goes back again
    assert memory.free == [first]


def test_blocks_are_noted_while_watched():
    memory = Memory()
    memory.watched.append(True)
    block = memory.source.new()
    taken = block_address(block)
    del block
    assert memory.free == [taken] == memory.noted
    again = memory.source.new()  # asked for, though one is unused
    assert block_address(again) != taken


def test_a_block_that_dies_while_an_error_is_on_its_way():
    memory = Memory()
    memory.watched.append(True)
    with pytest.raises(KeyError):
        block = [memory.source.new()]
        try:
            raise KeyError("mine")
        finally:
            block.clear()
    assert len(memory.noted) == 1


# ---- launches
def test_what_the_driver_is_given():
    first, second = Journal(4), Journal(2)
    results, temp, device = Memory(), Memory(0x7D0000000000), record(stream=77)
    call = make_caller(
        [
            Start(first.handle, 5, 256, 1024, (2, 11, 0, 1), (0, 2, 3)),
            Start(second.handle, 1 << 30, 32, 0, (4, 3), (0, 1)),
        ],
        2,
        [FreshResult(MATRIX, results.source)],
        device,
        Device,
        temp=temp.source,
        refused=never,
        code=(ctypes.c_uint64 * 1)(9 << 40),
    )
    left, right = device_array(), device_array()
    made = call(left, right)
    workspace = 0x7D0000000000 + 512
    assert first.entries() == [(5, 256, 1024, 77, address(made), 11, address(left), address(right))]
    assert second.entries() == [(1 << 30, 32, 0, 77, 9 << 40, workspace)]
    assert type(made) is Device and made.shape == (2, 3) and made.dtype is dt.float32
    assert made.flags.c_contiguous and made.flags.aligned and made.flags.writeable
    assert is_block(made.base) and block_address(made.base) == address(made)
    assert temp.free == [workspace]  # for kernels that start later
    held = address(made)
    shown = made.T
    del made
    assert not results.free and type(shown) is Device
    del shown
    assert results.free == [held]


def test_several_results_are_a_tuple():
    memory, journal = Memory(), Journal(3)
    avals = [MATRIX, aval((), dt.int64), aval((0, 4), dt.uint8)]
    call = make_caller(
        [Start(journal.handle, 1, 1, 0, (0, 1, 2), (0, 1, 2))],
        0,
        [FreshResult(a, memory.source) for a in avals],
        record(),
        Device,
        refused=never,
    )
    made = call()
    assert [a.shape for a in made] == [a.shape for a in avals]
    assert [a.dtype for a in made] == [a.dtype for a in avals]
    assert journal.entries()[0][4:] == tuple(map(address, made))


def test_arguments_that_do_not_fit_go_to_the_fallback():
    memory, journal = Memory(), Journal(1)
    call = make_caller(
        [Start(journal.handle, 1, 1, 0, (0,), (0,))],
        1,
        [FreshResult(MATRIX, memory.source)],
        record(),
        Device,
        contiguous=True,
        fallback=Fallback(lambda *arrays: arrays),
        refused=never,
    )
    array = device_array()
    turned = array.T
    assert call(turned) == (turned,) and call(array, array) == (array, array)
    assert not journal.entries() and not memory.free
    assert type(call(array)) is Device


def test_strides_are_compared():
    memory, journal = Memory(), Journal(1)
    later = Fallback(lambda *arrays: arrays)

    def caller(shape, strides):
        return make_caller(
            [Start(journal.handle, 1, 1, 0, (0,), (0,))],
            2,
            [FreshResult(aval(shape, dt.float32), memory.source)],
            record(),
            Device,
            strides=strides,
            fallback=later,
            refused=never,
        )

    call = caller((3, 2), [(4, 12), (8, 4)])
    turned, straight = device_array().T, device_array((3, 2))
    scalar = device_array(())
    assert call(turned, straight).shape == (3, 2)
    assert call(straight, turned) == (straight, turned) and call(turned) == (turned,)
    later.put(lambda *arrays: len(arrays))
    assert call(straight, straight) == 2
    assert caller((), [(), (4, 12)])(scalar, turned).shape == ()


def test_a_refused_launch_gives_everything_back():
    memory, temp, device = Memory(), Memory(), record()
    journal = Journal(1, status=700)
    call = make_caller(
        [Start(journal.handle, 1, 1, 0, (1,), (0,))],
        1,
        [FreshResult(MATRIX, memory.source)] * 2,
        device,
        Device,
        temp=temp.source,
        refused=lambda *arrays: (device["failed"], *arrays),
    )
    array = device_array()
    assert call(array) == (700, array)
    assert len(memory.free) == 2 and len(temp.free) == 1


@pytest.mark.parametrize("left", [0, 1])
def test_no_memory_for_a_result(left):
    memory, temp, journal = Memory(), Memory(), Journal(1)
    memory.left = left
    call = make_caller(
        [Start(journal.handle, 1, 1, 0, (0,), (0,))],
        0,
        [FreshResult(MATRIX, memory.source)] * 2,
        record(),
        Device,
        temp=temp.source,
        refused=never,
    )
    with pytest.raises(MemoryError, match="none left"):
        call()
    assert len(memory.free) == left and len(temp.free) == 1 and not journal.entries()


def test_no_memory_for_the_workspace():
    memory, temp, journal = Memory(), Memory(), Journal(1)
    temp.left = 0
    call = make_caller(
        [Start(journal.handle, 1, 1, 0, (0,), (0,))],
        0,
        [FreshResult(MATRIX, memory.source)],
        record(),
        Device,
        temp=temp.source,
        refused=never,
    )
    with pytest.raises(MemoryError, match="none left"):
        call()
    assert not memory.free and not journal.entries()


def test_nothing_leaks():
    memory, temp, journal, device = Memory(), Memory(), Journal(2), record()
    call = make_caller(
        [Start(journal.handle, 1, 1, 0, (1, 2), (0, 1))],
        1,
        [FreshResult(MATRIX, memory.source)] * 2,
        device,
        Device,
        temp=temp.source,
        refused=never,
    )
    array = device_array()
    call(array)
    counted = (array, Device, MATRIX.dtype, memory.free)
    gc.collect()
    before = [sys.getrefcount(x) for x in counted]
    for _ in range(1000):
        journal.memory[2] = 0
        call(array)
    gc.collect()
    after = [sys.getrefcount(x) for x in counted]
    assert all(b - a < 20 for a, b in zip(before, after)), (before, after)
    assert len(memory.free) == 2 and len(temp.free) == 1
