"""The algebra that op bodies are written in, and the programs it records.

Invariant: a program is plain data with one defined result on every target.
"""
