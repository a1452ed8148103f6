"""Programs that branch on values of tensors: `guards` (one or two ways), `loops`, `steps` (training
with branches).  Each is a program of actions/harness.py: `p(jit)` gives a call by number and state.
"""
