"""From accepted recordings to served calls.

Invariant: a call is served only while every fact of its recording holds.
"""
