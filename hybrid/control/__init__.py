"""Control flow as functions: cond, switch, while_loop, fori_loop, scan.

Invariant: a value is what the plain Python branch or loop gives, bit for bit, eager and recorded.
"""
