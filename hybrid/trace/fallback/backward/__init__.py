"""Backward passes over results of replays: the whole pass as one plan, or one plan for each call.

Invariant: gradients have the bits of the pass that `perform` does, operation by operation.
"""
