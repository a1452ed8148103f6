"""Ops along axes: views and windows, reductions, scans, rows.

Invariant: built on the elementwise ops only.
"""
