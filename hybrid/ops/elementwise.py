"""The elementwise family under one name: basic ops, elementary functions, activations, optimizer
updates.

Invariant: this module defines nothing; each record lives in one of the modules it gathers.
"""

from . import activations, elementwise_basic, elementwise_math, updates
from .activations import *  # noqa: F403
from .elementwise_basic import *  # noqa: F403
from .elementwise_math import *  # noqa: F403
from .updates import *  # noqa: F403

__all__ = [
    n
    for m in (elementwise_basic, elementwise_math, activations, updates)
    for n in m.__all__
    if n != "reference_of"
]
