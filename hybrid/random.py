"""hybrid.random: tensors of random numbers from a counter-based generator (Philox 4x32-10).

Invariant: the stream depends on the seed and the order of calls only; it is the same eagerly and
traced.
"""

from . import ops as _ops

_functions = _ops.namespace("random")
globals().update(_functions)
__all__ = sorted(_functions)
