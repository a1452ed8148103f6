"""Ordinary programs: steps as people write them, by category; `run.py` compares and measures them.

Invariant: a program is plain Python that runs without the decorator; it asks nothing of the tracer.
"""

from .common import CALLS, Program, Run, names, programs

__all__ = ["CALLS", "Program", "Run", "names", "programs"]
