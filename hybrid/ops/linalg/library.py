"""LAPACK routines that are in NumPy's wheel and that NumPy does not show: LU, triangular systems.

Invariant: the library is the one that NumPy has loaded, with the threads that NumPy has; with a
NumPy that was built otherwise there is none (`find` gives None), and nothing here is called.
Matrices are float64 or complex128; LAPACK takes the rows of an array for columns.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["WheelRoutines", "find"]

WHEEL = "libscipy_openblas64_*.so"  # its integers have 64 bits, its names this form:
ROUTINE = "scipy_{}_64_"


def _address(array: np.ndarray) -> int:
    place: int = array.__array_interface__["data"][0]
    return place


class WheelRoutines:
    """The routines, as functions of arrays."""

    def __init__(self, handle: Any) -> None:
        self.getrf, self.trtrs = (
            {
                kind: self._routine(handle, letter + name)
                for kind, letter in (("f", "d"), ("c", "z"))
            }
            for name in ("getrf", "trtrs")
        )

    @staticmethod
    def _routine(handle: Any, name: str) -> Any:
        routine = getattr(handle, ROUTINE.format(name))
        routine.restype = None
        return routine

    def factorize(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both triangles of a matrix with its rows exchanged, and the pivots, from 1."""
        rows, columns = matrix.shape
        packed = np.array(matrix, order="F")
        pivots = np.empty(min(rows, columns), np.int64)
        sizes = (ctypes.c_int64 * 4)(rows, columns, max(rows, 1), 0)
        first = ctypes.addressof(sizes)
        where = [first, first + 8, _address(packed), first + 16, _address(pivots), first + 24]
        self.getrf[matrix.dtype.kind](*map(ctypes.c_void_p, where))
        return packed, pivots

    def substitute(
        self, factor: np.ndarray, right: np.ndarray, upper: bool, unit: bool
    ) -> np.ndarray | None:
        """The solution of factor @ x = right from a triangle; None where its diagonal has a 0.
        `factor` is contiguous, so LAPACK sees it turned."""
        size, columns = right.shape
        solved = np.array(right, order="F")
        sizes = (ctypes.c_int64 * 4)(size, columns, max(size, 1), 0)
        first = ctypes.addressof(sizes)
        numbers = [first, first + 8, _address(factor), first + 16, _address(solved), first + 16]
        self.trtrs[factor.dtype.kind](
            b"L" if upper else b"U",
            b"T",
            b"U" if unit else b"N",
            *map(ctypes.c_void_p, numbers),
            ctypes.c_void_p(first + 24),
            *[ctypes.c_size_t(1)] * 3,  # lengths of the texts, as Fortran wants them
        )
        return None if sizes[3] else solved


def find() -> WheelRoutines | None:
    """The routines of the library that this NumPy came with."""
    for path in sorted((Path(np.__file__).parent.parent / "numpy.libs").glob(WHEEL)):
        try:
            return WheelRoutines(ctypes.CDLL(str(path)))
        except (OSError, AttributeError):
            continue
    return None
