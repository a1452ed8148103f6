"""hybrid.random: tensors of random numbers from a counter-based generator (Philox 4x32-10).

Invariant: the stream depends on the seed and the order of calls only; it is the same eagerly and
traced.
"""

from . import ops as _ops
from .ops.base.surface import SURFACE as _SURFACE

_names = [name for row in _SURFACE for name in row.random]
globals().update({name: vars(_ops)[name] for name in _names})
__all__ = sorted(_names)
