"""What a machine gives and costs: loops that show it, runs of them, and the record that is kept.

Invariant: nothing here is asked before a plan with a large product; results never depend on it.
"""
