"""Loop and scatter kernels as functions of a card.

Invariant: importing this package needs no GPU.
"""

from .loops import generate
from .scatter import generate_scatter

__all__ = ["generate", "generate_scatter"]
