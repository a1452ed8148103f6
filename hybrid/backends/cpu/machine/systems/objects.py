"""Symbols of object code, in the three formats that LLVM writes: ELF, Mach-O, COFF.

Invariant: names are those of the IR, without what a format puts before them.
"""

from __future__ import annotations

import struct

from .....core.errors import BackendError

__all__ = ["object_symbols"]

Symbols = tuple[set[str], set[str]]
SYMTAB = 2  # LC_SYMTAB of Mach-O, SHT_SYMTAB of ELF
OURS = (0x8664, 0xAA64)  # COFF: x86-64, AArch64


def object_symbols(binary: bytes) -> Symbols:
    """(defined global, undefined) symbol names of a 64-bit little-endian object."""
    if binary[:6] == b"\x7fELF\x02\x01":
        return _elf(binary)
    if binary[:4] == b"\xcf\xfa\xed\xfe":
        return _macho(binary)
    if len(binary) >= 20 and struct.unpack_from("<H", binary)[0] in OURS:
        return _coff(binary)
    raise BackendError("the object code is not 64-bit ELF, Mach-O or COFF")


def _text(binary: bytes, start: int) -> str:
    return binary[start : binary.index(0, start)].decode()


def _elf(binary: bytes) -> Symbols:
    (table,) = struct.unpack_from("<Q", binary, 40)
    size, count = struct.unpack_from("<HH", binary, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", binary, table + size * i) for i in range(count)]
    defined: set[str] = set()
    missing: set[str] = set()
    for section in sections:
        if section[1] != SYMTAB:
            continue
        names = sections[section[6]][4]
        for offset in range(section[4] + 24, section[4] + section[5], 24):
            name_at, info, _, where = struct.unpack_from("<IBBH", binary, offset)
            name = _text(binary, names + name_at)
            if where == 0 and name:
                missing.add(name)
            elif info >> 4:  # not local
                defined.add(name)
    return defined, missing


def _macho(binary: bytes) -> Symbols:
    defined: set[str] = set()
    missing: set[str] = set()
    (commands,) = struct.unpack_from("<I", binary, 16)
    place = 32
    for _ in range(commands):
        command, size = struct.unpack_from("<II", binary, place)
        if command == SYMTAB:
            table, count, names, _ = struct.unpack_from("<IIII", binary, place + 8)
            for offset in range(table, table + 16 * count, 16):
                name_at, kind = struct.unpack_from("<IB", binary, offset)
                if kind & 1:  # N_EXT
                    name = _text(binary, names + name_at).removeprefix("_")
                    (defined if kind & 0x0E else missing).add(name)  # N_TYPE; 0: N_UNDF
        place += size
    return defined, missing


def _coff(binary: bytes) -> Symbols:
    defined: set[str] = set()
    missing: set[str] = set()
    table, count = struct.unpack_from("<II", binary, 8)
    names, index = table + 18 * count, 0
    while index < count:
        offset = table + 18 * index
        zeros, name_at, _, section, _, storage, further = struct.unpack_from(
            "<IIIhHBB", binary, offset
        )
        if storage == 2:  # IMAGE_SYM_CLASS_EXTERNAL
            short = binary[offset : offset + 8].rstrip(b"\0")
            name = short.decode() if zeros else _text(binary, names + name_at)
            (missing if section == 0 else defined).add(name)
        index += 1 + further
    return defined, missing
