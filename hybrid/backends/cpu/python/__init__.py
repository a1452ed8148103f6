"""Where native code and Python objects meet: layouts, callers, the entry of a replay.

Invariant: only code of this folder reads or writes Python objects natively.
"""
