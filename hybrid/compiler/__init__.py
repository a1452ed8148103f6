"""From a recorded graph to a plan.

Invariant: knows graphs and plans, nothing of Python frames, no backend; every step keeps every bit.
"""
