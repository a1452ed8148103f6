"""NumPy's functions called with tensors: np.sin(t), np.add.reduce(t), np.concatenate([t, t]).

Invariant: what NumPy is asked for is computed by hybrid's function of that name, an ordinary
operation on the tape and in a trace; what hybrid lacks raises an error that says the way out.
"""

from ..eager.tensor import Tensor
from .functions import array_function
from .ufuncs import array_ufunc

__all__: list[str] = []

Tensor.__array_ufunc__ = array_ufunc  # type: ignore[attr-defined]
Tensor.__array_function__ = array_function  # type: ignore[attr-defined]
