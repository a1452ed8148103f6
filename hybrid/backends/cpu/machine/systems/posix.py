"""What Linux and macOS have in common: POSIX threads and signals.

Invariant: workers are detached and run with all signals blocked, so handlers run elsewhere.
"""

from __future__ import annotations

import ctypes
from typing import ClassVar

from .....core.errors import BackendError
from ..asm import Fn
from ..control import CTL, W_THREAD
from .base import STACK_BYTES, System

__all__ = ["Posix"]


class Posix(System):
    """Numbers that differ are class variables."""

    set_mask: ClassVar[int]  # SIG_SETMASK
    detached: ClassVar[int]  # PTHREAD_CREATE_DETACHED

    def start_text(self, writer: Fn) -> None:
        thread = f"ptr {writer.at('%worker', W_THREAD)}"
        given = (f"ptr {writer.ld('%ctl', CTL[word])}" for word in ("attr", "worker"))
        failed = self.call(writer, "i32", "pthread_create", thread, *given, "ptr %worker")
        writer.ret(writer.cmp("eq", failed, 0, "i32"))

    def block_text(self, writer: Fn) -> None:
        mask = f"ptr {writer.at('%ctl', CTL['sigmask'])}"
        self.call(writer, "i32", "pthread_sigmask", f"i32 {self.set_mask}", mask, "ptr %old")
        writer.ret()

    def unblock_text(self, writer: Fn) -> None:
        how = f"i32 {self.set_mask}"
        self.call(writer, "i32", "pthread_sigmask", how, "ptr %old", "ptr null")
        writer.ret()

    def free_text(self, writer: Fn) -> None:
        self.call(writer, "void", "free", "ptr %memory")
        writer.ret()

    def free(self, address: int) -> None:
        self.loaded[0].free(ctypes.c_void_p(address))

    def thread_attributes(self, memory: int) -> int:
        attributes = ctypes.c_void_p(memory)
        for name, *given in (
            ("pthread_attr_init",),
            ("pthread_attr_setdetachstate", self.detached),
            ("pthread_attr_setstacksize", ctypes.c_size_t(STACK_BYTES)),
        ):
            status = self.find(name)(attributes, *given)
            if status:
                raise BackendError(
                    f"{name} refused the attributes of a worker thread (error {status})"
                )
        return memory
