"""Loops and kernels as LLVM IR text, shared by the backends that compile.

Invariant: text depends on the structure of a kernel, never on addresses or run-time values.
"""
