"""The elementwise family under one name.

Invariant: this module defines nothing; each record lives in one of the modules it gathers.
"""

from . import activations, arithmetic, functions, logic, rounding, selection, updates
from .activations import *  # noqa: F403
from .arithmetic import *  # noqa: F403
from .functions import *  # noqa: F403
from .logic import *  # noqa: F403
from .rounding import *  # noqa: F403
from .selection import *  # noqa: F403
from .updates import *  # noqa: F403

__all__ = [
    n
    for m in (arithmetic, logic, selection, rounding, functions, activations, updates)
    for n in m.__all__
]
