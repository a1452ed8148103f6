"""What code objects may do, from their bytecode, with one table of opcodes per interpreter.

Invariant: what is not understood gives a reason; nothing is assumed.
"""
