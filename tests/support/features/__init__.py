"""Random programs that compose Python's features with tensor programs, as source text; plain Python
and the decorated function must agree after every call.

Invariant: a seed gives the same program always, and a program is all text: what fails is printed as
a script of its own.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # where it is run as a module
from .make import Block, Case, make_case
from .play import REFUSED, failure_of
from .shrink import shrunk

__all__ = ["REFUSED", "Block", "Case", "failure_of", "make_case", "shrunk"]
