"""Watching a call: what ran, and from that its facts and the reasons against a replay.

Invariant: everything that user code read is a fact, or there is a reason.
"""
