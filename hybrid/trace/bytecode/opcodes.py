"""The opcode tables of the interpreter that runs.  A new CPython is a file and a row here.

Invariant: on an interpreter without a row nothing is recorded (`SUPPORTED`).
"""

from __future__ import annotations

import platform
import sys

from . import opcodes_311, opcodes_312, opcodes_313

__all__ = ["SUPPORTED", "UNSUPPORTED", "TABLE", "TABLES", "HOST_TABLE", "HOST_TABLES"]

_VERSIONS = {(3, 11): opcodes_311, (3, 12): opcodes_312, (3, 13): opcodes_313}
_NOW = sys.version_info[:2]
SUPPORTED = sys.implementation.name == "cpython" and _NOW in _VERSIONS
# why a function runs eagerly where there is no table, after "it"
UNSUPPORTED = (
    "is recorded on CPython {0[0]}.{0[1]} to {1[0]}.{1[1]} only; this is {2} {3[0]}.{3[1]}"
).format(min(_VERSIONS), max(_VERSIONS), platform.python_implementation(), _NOW)
TABLES = {version: module.TABLE for version, module in _VERSIONS.items()}
HOST_TABLES = {version: module.HOST_TABLE for version, module in _VERSIONS.items()}
TABLE, HOST_TABLE = TABLES.get(_NOW, {}), HOST_TABLES.get(_NOW, {})
