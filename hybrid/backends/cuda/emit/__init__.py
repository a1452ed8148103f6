"""Loop kernels as functions of a card.

Invariant: importing this package needs no GPU.
"""

from .loops import generate

__all__ = ["generate"]
