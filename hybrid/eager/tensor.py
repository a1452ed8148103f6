"""The public Tensor class: properties, conversion, in-place syntax with value semantics.

Invariant: a Tensor is a handle on an immutable value.  In-place syntax makes a new value and gives
it to the handle; whoever saved the old value keeps it.  Operators and methods that are ops come
from methods.py.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ..autograd.backward import backward as _backward
from ..autograd.backward import stop_gradient
from ..core import dtypes as dt
from ..core import trees
from ..core.aval import CPU, Device
from ..core.aval import device as to_device
from ..core.errors import ArgumentError, DTypeError, HybridError, ShapeError
from ..core.floating import in_plain_floats, sees_subnormals
from ..core.sites import read_to_be_called
from ..ir.door import bind as door
from ..ir.door.busy import put_values
from ..ir.door.flat import set_tensor_class
from ..ir.tensor import LITERAL, SAME, Alias, Handle, Leaf, link_view
from .create import asarray, move, tensor
from .handles import broadcast, followers, read
from .repr import html_of, text_of
from .snapshot import copied, grad_of, saved_array

__all__ = ["Tensor", "tensor", "asarray"]


_LEAF_WRITTEN = (
    "a leaf that requires a gradient was changed in place; do it under "
    "hybrid.no_grad(), or give it a value with .assign(...)"
)


class Tensor(Handle):
    """An n-dimensional array with a dtype, a device and, when asked for, a gradient.

    Make one with `hybrid.tensor`, `hybrid.asarray` or a creation function.

    >>> import hybrid
    >>> x = hybrid.tensor([[1., 2.], [3., 4.]], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad.tolist()
    [[2.0, 4.0], [6.0, 8.0]]
    """

    __slots__ = ()
    __array_ufunc__ = None  # NumPy arrays leave operators to us
    __array_priority__ = 1000

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError("make tensors with hybrid.tensor(data) or hybrid.asarray(data)")

    # ---- what it is
    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self._a.shape

    @property
    def dtype(self) -> np.dtype:
        """The NumPy dtype object."""
        return self._a.dtype

    @property
    def device(self) -> Device:
        """Where the value lives."""
        return self._a.device

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._a.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        if read_to_be_called():
            raise ArgumentError(
                "x.size is the number of elements, not a method: write x.shape[i] for the size of "
                "an axis, x.shape for all of them"
            )
        return self._a.size

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return self._a.nbytes

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self._a.dtype.itemsize

    def numel(self) -> int:
        """Number of elements."""
        return self._a.size

    def dim(self) -> int:
        """Number of axes."""
        return self._a.ndim

    def element_size(self) -> int:
        """Bytes of one element."""
        return self._a.dtype.itemsize

    def is_floating_point(self) -> bool:
        """Whether the dtype is floating."""
        return dt.is_float(self._a.dtype)

    # ---- gradient
    @property
    def requires_grad(self) -> bool:
        """Whether results computed from this tensor are put on the tape."""
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, on: bool) -> None:
        self.requires_grad_(on)

    def requires_grad_(self, on: bool = True) -> Tensor:
        """Ask for a gradient (leaf tensors of floating dtype), or stop asking; returns self."""
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
            if not dt.is_float(self._a.dtype):
                raise DTypeError(
                    f"only floating tensors can require a gradient, not {self._a.dtype.name}"
                )
            if getattr(self, "_x", None) is LITERAL:
                raise HybridError(
                    "this tensor is a shared literal; make a tensor of its own with hybrid.tensor"
                )
            self._node = Leaf(self)
        return self

    @property
    def is_leaf(self) -> bool:
        """True unless an op on the tape made it."""
        return self._node is None or type(self._node) is Leaf

    @property
    def grad(self) -> Tensor | None:
        """The accumulated gradient of a leaf tensor, or None."""
        leaf = self._node
        g = leaf.grad if type(leaf) is Leaf else None
        mode = door.current_mode()
        if mode is not None:
            if type(leaf) is Leaf:
                mode.on_grad_get(self, g)
            else:
                mode.on_look(self)
        return g

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
        """Add d self / d leaf to `.grad` of every leaf that this tensor depends on, or of `inputs`.

        `gradient` has this tensor's shape; it may be left out for one element.  `create_graph` puts
        the pass itself on the tape; `retain_graph` changes nothing: the tape lives as long as its
        results do.  Raises HybridError for a tensor that does not require a gradient.

        >>> import hybrid
        >>> x = hybrid.tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).sum().backward()
        >>> x.grad.tolist()
        [2.0, 4.0]
        """
        _backward(self, gradient, create_graph=create_graph, inputs=inputs)

    def detach(self) -> Tensor:
        """The same value cut from the tape, as a view:
        a write through it writes this tensor too."""
        new = stop_gradient(self)
        link_view(new, self, "detach", SAME)
        return new

    @property
    def data(self) -> Tensor:
        """`detach()`; assigning to it gives this tensor a new value:
        ``p.data = p.data - lr * g``."""
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
        a = self._a
        v = value if isinstance(value, Handle) else door.store(value, a.dtype, a.device)
        if v._a is not self._a:
            v = self._fit(v)
        self._write(stop_gradient(v) if v._node is not None else v, self._node, follow=False)
        return self

    def _fit(self, v: Any) -> Any:
        """v with this tensor's shape, dtype and device, or a ShapeError."""
        a = self._a
        if v._a.dtype is not a.dtype:
            v = door.convert(v, a.dtype)
        if v._a.shape != a.shape:
            v = broadcast(v, a.shape)
        return v

    def _write(self, v: Any, node: Any, follow: bool = True) -> None:
        """The new value v and tape node of a handle, of its base when it is a view, and of its live
        views; gradients follow the value into a base if asked."""
        t, x = self, getattr(self, "_x", None)
        while type(x) is Alias and x.base is not None:  # a view of a view of ...
            t, v, node, follow = t._write_through(x, v, follow)
            x = getattr(t, "_x", None)
        if x is LITERAL:
            raise HybridError(
                "a literal cannot be written; make a tensor of its own with hybrid.tensor"
            )
        views = [] if x is None else followers(x)
        for view in views:
            if view._x.step is None:
                raise HybridError(
                    f"this tensor has a live view ({view._x.how}) that comes "
                    "from a recorded function and cannot follow a write; make it a copy first "
                    "(.clone())"
                )
        t._give(v, node, views)

    def _set(self, v: Any, node: Any) -> None:
        """The one place where a handle changes its value."""
        mode = door.current_mode()
        if mode is not None:
            mode.on_assign(self, v)
        self._v, self._a, self._node = v._v, v._a, node

    def _write_through(self, x: Alias, v: Any, follow: bool) -> tuple[Any, Any, Any, bool]:
        """How to write a view by writing what it was made of: (that tensor, its new value, tape
        node, whether gradients follow)."""
        parent: Any = x.parent
        if x.step is SAME:
            return parent, stop_gradient(v), parent._node, False
        if follow and type(parent._node) is Leaf and door.grad_enabled():
            raise HybridError(_LEAF_WRITTEN)
        old = door.set_grad(follow and door.grad_enabled())
        try:
            new = None
            if x.step is not None and x.step[0].write_back is not None:
                new = x.step[0].write_back(parent, v, **dict(x.step[1]))
        finally:
            door.STATE.special += door.LOCAL.grad - old
            door.LOCAL.grad = old
        if new is None:
            raise HybridError(
                f"this tensor is a view (made by {x.how}) whose elements cannot be "
                "written in their base; write the base itself, or copy the view first (.clone())"
            )
        keep = parent._node if type(parent._node) is Leaf or not follow else new._node
        return parent, new, keep, follow

    def _give(self, v: Any, node: Any, views: list[Any]) -> None:
        """The new value of a base and what its views, oldest first, show of it: all at once."""
        if not views:
            return self._set(v, node)
        mode = door.current_mode()
        now: dict[int, Any] = {id(self): stop_gradient(v)}
        now[id(self)]._node = node
        handles, new, nodes = [self], [v], [node]
        for view in views:
            x: Any = view._x
            parent = now.get(id(x.parent), x.parent)
            shown = stop_gradient(parent) if x.step is SAME else door.view_again(x.step, parent)
            keep = view._node if type(view._node) is Leaf else shown._node
            handles.append(view)
            new.append(shown)
            nodes.append(keep)
            now[id(view)] = stop_gradient(shown)
            now[id(view)]._node = keep
        if mode is not None:
            for handle, value in zip(handles, new):
                mode.on_assign(handle, value)
        put_values(handles, [t._v for t in new], [t._a for t in new], nodes)

    def _inplace(self, result: Any) -> Tensor:
        """Finish `self op= other`: the handle takes the result of the op."""
        if type(self._node) is Leaf and door.grad_enabled():
            raise HybridError(_LEAF_WRITTEN)
        if result._a.shape != self._a.shape:
            raise ShapeError(
                f"an in-place operation cannot change the shape {self._a.shape} to "
                f"{result._a.shape}"
            )
        if result._a.dtype is not self._a.dtype:
            if dt.promote(result._a.dtype, self._a.dtype) is not self._a.dtype:
                raise DTypeError(
                    f"cannot store a {result._a.dtype.name} result in a "
                    f"{self._a.dtype.name} tensor; write x = x op y, or convert with .astype"
                )
            result = door.convert(result, self._a.dtype)
        keep = self._node if type(self._node) is Leaf else result._node
        self._write(result, keep)
        return self

    # ---- to Python and NumPy
    def numpy(self) -> np.ndarray:
        """A read-only NumPy view of the value (on a GPU: a copy)."""
        v = read(self, ".numpy()").view()
        v.flags.writeable = False
        return v

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        v = read(self, "np.asarray")
        if dtype is not None and np.dtype(dtype) != v.dtype:
            if copy is False:
                raise ValueError("a copy is needed to change the dtype")
            return v.astype(dtype)
        if copy:
            return v.copy()
        v = v.view()
        v.flags.writeable = False
        return v

    def item(self) -> Any:
        """The only element as a Python number; ShapeError when there is not exactly one."""
        v = read(self, ".item()")
        if v.size != 1:
            raise ShapeError(f".item() needs one element, the shape is {self._a.shape}")
        return _number(v) if sees_subnormals() else in_plain_floats(_number)(v)

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        v = read(self, ".tolist()")
        return _numbers(v) if sees_subnormals() else in_plain_floats(_numbers)(v)

    def __float__(self) -> float:
        v = self._one("float()")
        return float(v) if sees_subnormals() else in_plain_floats(float)(v)

    def __int__(self) -> int:
        return int(self._one("int()"))

    def __complex__(self) -> complex:
        return complex(float(self._one("complex()")))

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
        v = self._v if self._a.device is CPU else door.backend_of(self._a.device).to_numpy(self._v)
        out = bool(v.reshape(())) if sees_subnormals() else in_plain_floats(bool)(v.reshape(()))
        mode = door.current_mode()
        if mode is not None:
            mode.on_bool(self, out)
        return out

    def __len__(self) -> int:
        if not self._a.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self._a.shape[0]

    def __iter__(self) -> Any:
        if not self._a.ndim:
            raise TypeError("iteration over a 0-d tensor")
        me: Any = self
        return (me[i] for i in range(self._a.shape[0]))

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any())

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
        return _rebuild, (saved_array(self), self._a.dtype.name, type(self._node) is Leaf)

    def __deepcopy__(self, memo: Any) -> Tensor:
        if not self.is_leaf:
            raise HybridError("only leaf tensors can be deep-copied; use .detach().clone()")
        new = copied(self)
        if self._node is not None:
            new._node = Leaf(new)
            grad = grad_of(self._node)
            if grad is not None:
                new._node.grad = copied(grad)
        memo[id(self)] = new
        return new

    # ---- devices
    def to(self, *args: Any, dtype: Any = None, device: Any = None) -> Tensor:
        """This tensor with another dtype and/or on another device
        (`t.to("cuda")`, `t.to("float16")`)."""
        for arg in args:
            if (
                isinstance(arg, Device)
                or arg in ("cpu", "cuda")
                or (isinstance(arg, str) and ":" in arg)
            ):
                device = arg
            elif isinstance(arg, Handle):
                dtype, device = arg._a.dtype, arg._a.device
            else:
                dtype = arg
        out = self if dtype is None else door.convert(self, dt.canonical(dtype))
        if device is not None and to_device(device) is not out._a.device:
            out = move(out, to_device(device))
        return out

    def cpu(self) -> Tensor:
        """This tensor on the CPU."""
        return self.to(CPU)

    def cuda(self) -> Tensor:
        """This tensor on the first CUDA device."""
        return self.to(to_device("cuda"))

    def to_device(self, device: Any, /, *, stream: Any = None) -> Tensor:
        """This tensor on another device (array API)."""
        return self.to(device=device)

    def nelement(self) -> int:
        """Number of elements."""
        return self._a.size

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return sys.modules[__name__.partition(".")[0]]

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """NumPy's functions (np.concatenate, np.sum, ...)
        see NumPy arrays and give NumPy arrays."""

        def plain(x: Any) -> Any:
            return x.numpy() if isinstance(x, Tensor) else x

        return func(*trees.map_tree(plain, tuple(args)), **trees.map_tree(plain, dict(kwargs)))

    def __dlpack__(self, **kwargs: Any) -> Any:
        return read(self, "DLPack").copy().__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def _number(v: np.ndarray) -> Any:
    """The element of an array of one."""
    return float(v.reshape(())) if v.dtype == dt.bfloat16 else v.item()


def _numbers(v: np.ndarray) -> Any:
    return v.astype(np.float32).tolist() if v.dtype == dt.bfloat16 else v.tolist()


def _rebuild(array: np.ndarray, name: str, leaf: bool) -> Tensor:
    return tensor(array, dtype=name, requires_grad=leaf)


set_tensor_class(Tensor)
