"""Branches and loops as native steps: one call runs the steps of graphs inside, as often as needed.

Invariant: a step here gives the bits of its record's body, starts no thread that the engine does
not own, and looks for signals while it loops.
"""
