"""The public Tensor class: properties, conversion, in-place syntax with value semantics.

Invariant: a Tensor is a handle on an immutable value.  In-place syntax makes a new value and gives
it to the handle; whoever saved the old value keeps it.  Operators and methods that are ops come
from methods.py.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd.backward import backward as _backward
from ..autograd.backward import stop_gradient
from ..core import dtypes as dt
from ..core.aval import HOST, Device
from ..core.errors import ArgumentError, DeviceError, DTypeError, HybridError, ShapeError
from ..core.floating import plainly, sees_subnormals
from ..core.sites import read_to_be_called
from ..ir.door import bind as door
from ..ir.door.exchange import capsule_of
from ..ir.door.flat import set_tensor_class
from ..ir.door.pending import value_of
from ..ir.tensor import SAME, Handle, Leaf, Literal, link_view
from .making import finished, handle_of, move
from .repr import html_of, text_of
from .snapshot import copied, grad_of, link_copies, saved_array
from .writing.handles import broadcast, read, read_only
from .writing.writes import LEAF_WRITTEN, write

if TYPE_CHECKING:
    from .typed import TensorMethods  # a stub alone: what methods.py gives the class
else:
    TensorMethods = Handle

__all__ = ["Tensor"]

_VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12", "2025.12")  # of the array API


class Tensor(TensorMethods):
    """An n-dimensional array with a dtype, a device and, when asked for, a gradient.

    Make one with `hybrid.tensor`, `hybrid.asarray` or a creation function.

    >>> import hybrid
    >>> x = hybrid.tensor([[1., 2.], [3., 4.]], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad.tolist()
    [[2.0, 4.0], [6.0, 8.0]]
    """

    __slots__ = ()
    __array_priority__ = 1000

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError("make tensors with hybrid.tensor(data) or hybrid.asarray(data)")

    # ---- what it is
    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes, a tuple of int.

        >>> import hybrid
        >>> hybrid.zeros((2, 3)).shape
        (2, 3)
        """
        return self._a.shape

    @property
    def dtype(self) -> np.dtype:
        """The NumPy dtype object.

        >>> import hybrid
        >>> hybrid.tensor([1.0]).dtype is hybrid.float32
        True
        """
        return self._a.dtype

    @property
    def device(self) -> Device:
        """Where the value lives.

        >>> import hybrid
        >>> hybrid.zeros(3).device
        cpu
        """
        return self._a.device

    @property
    def ndim(self) -> int:
        """Number of axes.

        >>> import hybrid
        >>> hybrid.zeros((2, 3)).ndim
        2
        """
        return self._a.ndim

    @property
    def size(self) -> int:
        """Number of elements.

        >>> import hybrid
        >>> hybrid.zeros((2, 3)).size
        6
        """
        if read_to_be_called():
            raise ArgumentError(
                "x.size is the number of elements, not a method: write x.shape[i] for the size of "
                "an axis, x.shape for all of them"
            )
        return self._a.size

    @property
    def nbytes(self) -> int:
        """Bytes of the elements.

        >>> import hybrid
        >>> hybrid.zeros((2, 3)).nbytes
        24
        """
        return self._a.nbytes

    @property
    def itemsize(self) -> int:
        """Bytes of one element.

        >>> import hybrid
        >>> hybrid.zeros(3, dtype="float16").itemsize
        2
        """
        return self._a.dtype.itemsize

    # ---- gradient
    @property
    def requires_grad(self) -> bool:
        """Whether results computed from this tensor are put on the tape.

        >>> import hybrid
        >>> x = hybrid.ones(2, requires_grad=True)
        >>> (x * 2).requires_grad, x.detach().requires_grad
        (True, False)
        """
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, on: bool) -> None:
        self.requires_grad_(on)

    def requires_grad_(self, on: bool = True) -> Tensor:
        """Ask for a gradient (leaf tensors of floating dtype), or stop asking; returns self.

        Raises DTypeError for other dtypes, HybridError for switching it off on a result.

        >>> import hybrid
        >>> hybrid.ones(2).requires_grad_()
        tensor([1., 1.], requires_grad=True)
        """
        mode = door.current_mode()
        if mode is not None:
            mode.on_effect("changes requires_grad of a tensor")
        if not on:
            if self._node is not None and type(self._node) is not Leaf:
                raise HybridError(
                    "requires_grad can only be switched off on leaf tensors; use .detach()"
                )
            self._node = None
        elif self._node is None:
            if not dt.is_inexact(self._a.dtype):
                raise DTypeError(
                    f"only floating tensors can require a gradient, not {self._a.dtype.name}"
                )
            if type(getattr(self, "_x", None)) is Literal:
                raise HybridError(
                    "this tensor is a shared literal; make a tensor of its own with hybrid.tensor"
                )
            self._node = Leaf(self)
        return self

    @property
    def is_leaf(self) -> bool:
        """True unless an op on the tape made it.

        >>> import hybrid
        >>> x = hybrid.ones(2, requires_grad=True)
        >>> x.is_leaf, (x * 2).is_leaf
        (True, False)
        """
        return self._node is None or type(self._node) is Leaf

    @property
    def grad(self) -> Tensor | None:
        """The accumulated gradient of a leaf tensor, or None.

        Assigning takes a tensor of the same shape, dtype and device (else ShapeError), or None.

        >>> import hybrid
        >>> x = hybrid.tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).sum().backward(); x.grad
        tensor([2., 4.])
        """
        leaf = self._node
        gradient = leaf.grad if type(leaf) is Leaf else None
        mode = door.current_mode()
        if mode is not None:
            if type(leaf) is Leaf:
                mode.on_grad_get(self, gradient)
            else:
                mode.on_look(self)
        return gradient

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if type(self._node) is not Leaf:
            if value is None:
                mode = door.current_mode()
                if mode is not None:
                    mode.on_look(self)
                return
            raise HybridError(
                ".grad belongs to leaf tensors that require a gradient; use hybrid.grad for others"
            )
        if value is not None and not isinstance(value, Handle):
            raise DTypeError(f".grad is a tensor or None, not a {type(value).__name__}")
        if value is not None and value._a is not self._a:
            raise ShapeError(f".grad of {self._a} cannot be {value._a}")
        mode = door.current_mode()
        if mode is not None:
            mode.on_grad_set(self, value)
        self._node.grad = value

    def backward(
        self,
        gradient: Any = None,
        *,
        create_graph: bool = False,
        retain_graph: bool | None = None,
        inputs: Any = None,
    ) -> None:
        """Accumulate d self / d leaf into `.grad` of the leaves; see `hybrid.autograd.backward`.

        `gradient` has this tensor's shape and may be left out for one element (else ShapeError);
        `inputs`: these leaves only.  `retain_graph` is accepted for PyTorch's sake: the tape lives
        as long as its results do.  Raises HybridError for a tensor that does not require a
        gradient.

        >>> import hybrid
        >>> x = hybrid.tensor([1.0, 2.0], requires_grad=True)
        >>> (x * 3).backward(hybrid.tensor([1.0, 10.0])); x.grad
        tensor([ 3., 30.])
        """
        _backward(self, gradient, create_graph=create_graph, inputs=inputs)

    def detach(self) -> Tensor:
        """The same value cut from the tape, as a view:
        a write through it writes this tensor too.

        >>> import hybrid
        >>> x = hybrid.ones(2, requires_grad=True)
        >>> x.detach().requires_grad
        False
        """
        cut = stop_gradient(self)
        link_view(cut, self, "detach", SAME)
        return cut

    @property
    def data(self) -> Tensor:
        """`detach()`; assigning to it gives this tensor a new value:
        ``p.data = p.data - lr * g``.

        >>> import hybrid
        >>> x = hybrid.ones(2, requires_grad=True)
        >>> x.data = x.data - 0.5; x
        tensor([0.5, 0.5], requires_grad=True)
        """
        return self.detach()

    @data.setter
    def data(self, value: Any) -> None:
        self.assign(value)

    # ---- new values
    def assign(self, value: Any) -> Tensor:
        """Give this handle a new value of the same shape (cast to this dtype); gradients do not
        follow it.

        Raises ShapeError when the value does not broadcast to this shape.

        >>> import hybrid
        >>> x = hybrid.zeros(3); row = x[1:]
        >>> row.assign([1.0, 2.0]); x.tolist()
        tensor([1., 2.])
        [0.0, 1.0, 2.0]
        """
        record = self._a
        given = (
            value if isinstance(value, Handle) else door.store(value, record.dtype, record.device)
        )
        if given._a is not self._a:
            given = self._fit(given)
        write(
            self,
            stop_gradient(given) if given._node is not None else given,
            self._node,
            follow=False,
        )
        return self

    assign.operands_only = True  # type: ignore[attr-defined]  # see function_of

    def _fit(self, given: Any) -> Any:
        """v with this tensor's shape, dtype and device, or a ShapeError."""
        record = self._a
        if given._a.dtype is not record.dtype:
            given = door.convert(given, record.dtype)
        if given._a.device is not record.device:
            given = move(given, record.device)
        if given._a.shape != record.shape:
            given = broadcast(given, record.shape)
        return given

    def _inplace(self, result: Any) -> Tensor:
        """Finish `self op= other`: the handle takes the result of the op."""
        if type(self._node) is Leaf and door.grad_enabled():
            raise HybridError(LEAF_WRITTEN)
        if result._a.shape != self._a.shape:
            raise ShapeError(
                f"an in-place operation cannot change the shape {self._a.shape} to "
                f"{result._a.shape}"
            )
        if result._a.device is not self._a.device:
            raise DeviceError(
                f"an in-place operation on a tensor on {self._a.device} got one on "
                f"{result._a.device}; move it with .to(device)"
            )
        if result._a.dtype is not self._a.dtype:
            if dt.promote(result._a.dtype, self._a.dtype) is not self._a.dtype:
                raise DTypeError(
                    f"cannot store a {result._a.dtype.name} result in a "
                    f"{self._a.dtype.name} tensor; write x = x op y, or convert with .astype"
                )
            result = door.convert(result, self._a.dtype)
        keep = self._node if type(self._node) is Leaf else result._node
        write(self, result, keep)
        return self

    # ---- to Python and NumPy
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        value = read(self, "np.asarray")
        if dtype is not None and np.dtype(dtype) != value.dtype:
            if copy is False:
                raise ValueError("a copy is needed to change the dtype")
            return value.astype(dtype)
        return value.copy() if copy else read_only(value)

    def __float__(self) -> float:
        if dt.is_complex(self._a.dtype):
            raise TypeError("a complex tensor is no float; take .real, .imag or abs(x) first")
        value = self._one("float()")
        return float(value) if sees_subnormals() else plainly(float, value)

    def __int__(self) -> int:
        if dt.is_complex(self._a.dtype):
            raise TypeError("a complex tensor is no int; take .real, .imag or abs(x) first")
        return int(self._one("int()"))

    def __complex__(self) -> complex:
        return complex(self._one("complex()").item())

    def __index__(self) -> int:
        if not dt.is_int(self._a.dtype) or self._a.ndim:
            raise TypeError("only integer tensors of shape () can be an index")
        return int(self._one("an index"))

    def _one(self, kind: str) -> np.ndarray:
        if self._a.size != 1:
            raise TypeError(f"{kind} needs a tensor with one element, the shape is {self._a.shape}")
        return read(self, kind).reshape(())

    def __bool__(self) -> bool:
        if self._a.size != 1:
            raise ShapeError(
                f"the truth value of a tensor of shape {self._a.shape} is ambiguous; "
                "use .any() or .all()"
            )
        value = door.host_array(self)
        truth = bool(value.reshape(())) if sees_subnormals() else plainly(bool, value.reshape(()))
        mode = door.current_mode()
        if mode is not None:
            mode.on_bool(self, truth)
        return truth

    def __len__(self) -> int:
        if not self._a.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self._a.shape[0]

    def __iter__(self) -> Any:
        if not self._a.ndim:
            raise TypeError("iteration over a 0-d tensor")
        this: Any = self
        return (this[i] for i in range(self._a.shape[0]))

    def __contains__(self, value: Any) -> bool:
        found: Any = self == value
        return bool(found.any()) if isinstance(found, Tensor) else False

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return text_of(read(self, "repr()"), self._a, self._node)

    def __format__(self, spec: str) -> str:
        if not spec:
            return repr(self) if self._a.ndim else str(self.item())
        return format(self.item(), spec)

    def _repr_html_(self) -> str:
        return html_of(read(self, "repr()"), self._a, self._node)

    def __reduce__(self) -> Any:
        where = () if self._a.device is HOST else (self._a.device.name,)
        return _rebuild, (saved_array(self), self._a.dtype.name, type(self._node) is Leaf, *where)

    def __copy__(self) -> Tensor:
        if type(self._node) is not Leaf:
            return self.clone()
        made = copied(self)
        made._node = Leaf(made)
        return made

    def __deepcopy__(self, memo: Any) -> Tensor:
        if not self.is_leaf:
            raise HybridError("only leaf tensors can be deep-copied; use .detach().clone()")
        made = copied(self)
        if self._node is not None:
            made._node = Leaf(made)
            grad = grad_of(self._node)
            if grad is not None:
                made._node.grad = copied(grad)
        memo[id(self)] = made
        link_copies(self, memo)
        return made

    # ---- protocols
    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        if api_version is not None and api_version not in _VERSIONS:
            raise ArgumentError(
                f"hybrid has no version {api_version!r} of the array API; it has {_VERSIONS[-1]}"
            )
        return sys.modules[__name__.partition(".")[0]]

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: Any = None,
        dl_device: Any = None,
        copy: Any = None,
    ) -> Any:
        return capsule_of(self, stream, max_version, dl_device, copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        device = self._a.device
        return door.backend_of(device).dlpack_device(device)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        mode = door.current_mode()
        told: dict[str, Any] = door.backend_of(self._a.device).interface(value_of(self))
        if mode is not None:
            mode.on_host_read(self, "its array interface")
        return told


def _rebuild(array: np.ndarray, name: str, leaf: bool, device: str | None = None) -> Tensor:
    made = handle_of(array, dt.canonical(name), True, device)
    return finished(made, device, leaf)  # type: ignore[no-any-return]


set_tensor_class(Tensor)
