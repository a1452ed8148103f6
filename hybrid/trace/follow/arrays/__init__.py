"""NumPy arrays that Python computes from what differs between calls (data among the arguments,
random numbers), and the tensors that it makes of them.

Invariant: as in the follower: what is not understood escapes.
"""
