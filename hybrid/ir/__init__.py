"""The op record, the scalar algebra, graphs and their text, and the door that every op call takes.

Invariant: no op is named here; what an op does is said by its record alone.
"""
