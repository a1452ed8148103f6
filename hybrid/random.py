"""hybrid.random: tensors of random numbers from a counter-based generator (Philox 4x32-10).

Invariant: the stream depends on the seed and the order of calls only; it is the same eagerly and
traced.
"""

from . import ops as _ops
from .ops.indexing.random import *  # noqa: F403
from .ops.indexing.random import __all__

globals().update({name: vars(_ops)[name] for name in __all__})  # the public ones, guarded
