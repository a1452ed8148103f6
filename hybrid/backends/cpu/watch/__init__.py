"""Hooks of a watched thread behind native code that drops what nobody asks for.

Invariant: nothing here knows what the events are for.
"""
