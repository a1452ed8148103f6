"""Forward derivatives: jvp, linearize, and products with a Hessian.

Invariant: a function is run once, as it is; its tape gives the derivative, so values are those of
the plain call, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..autograd.backward import (
    own,
    reaches_others,
    split_aux,
    stop_gradient,
    value_and_grad,
    watched_tree,
)
from ..autograd.passes import zeros
from ..autograd.scopes import enable_grad, need_callable
from ..autograd.tape import owner
from ..core import trees
from ..core.errors import ArgumentError, DTypeError, HybridError, ShapeError, shape_text
from ..ir.door import bind as door
from ..ir.door.arguments import described
from ..ir.tensor import Handle
from .push import Tape, tape_of
from .transpose import on_tape

__all__ = ["Linearized", "hvp", "jvp", "linearize"]

Tensor = Any


class Linearized:
    """A call of a function with the tape that it left: `out` (a tree), `aux`, and `push`."""

    def __init__(
        self, name: str, fun: Callable[..., Any], primals: Sequence[Any], has_aux: bool = False
    ) -> None:
        need_callable(name, fun)
        self.name = name
        with enable_grad():
            self.leaves, self.structure = watched_tree(tuple(primals))
            returned = fun(*trees.unflatten(self.structure, self.leaves))
        value, self.aux = split_aux(name, returned, has_aux)
        self.results, self.shape = trees.flatten(value)
        if not any(isinstance(result, Handle) for result in self.results):
            raise HybridError(
                f"{name} needs a function that returns tensors, not {described(value)}"
            )
        self.starts = [leaf._node for leaf in self.leaves if isinstance(leaf, Handle)]
        self.tape: Tape = tape_of(self.results, self.starts)
        roots = [r._node for r in self.results if isinstance(r, Handle) and r._node is not None]
        self.follows = reaches_others(roots, {id(owner(start)) for start in self.starts})

    @property
    def out(self) -> Any:
        """The value of the function; on the tape where something outside of it is."""
        return trees.unflatten(self.shape, [self._shown(result) for result in self.results])

    def _shown(self, result: Any) -> Any:
        return stop_gradient(result) if isinstance(result, Handle) and not self.follows else result

    def push(self, tangents: Sequence[Any]) -> Any:
        """The derivative of the value along tangents, one for each primal."""
        given = self._tangents(tangents)
        followed = any(t is not None and t._node is not None for t in given)
        with on_tape(door.grad_enabled() and (self.follows or followed)):
            made = self.tape.push(given)
            placed = [self._placed(r, t) for r, t in zip(self.results, made)]
        return trees.unflatten(self.shape, placed)

    def _placed(self, result: Any, tangent: Tensor | None) -> Any:
        if not isinstance(result, Handle):
            return None
        return zeros(result._a) if tangent is None else own(tangent)

    def _tangents(self, tangents: Any) -> list[Tensor | None]:
        """Tangents of the leaves that are tensors; None stands for zeros."""
        tree, structure = trees.flatten(tuple(tangents))
        if structure != self.structure:
            tree = _with_nones(self.name, self.structure, tangents)
        pairs = zip(self.leaves, tree)
        return [self._tangent(leaf, t) for leaf, t in pairs if isinstance(leaf, Handle)]

    def _tangent(self, leaf: Any, tangent: Any) -> Tensor | None:
        if tangent is None:
            return None
        given = tangent
        if not isinstance(tangent, Handle):
            given = door.as_tensor(tangent, leaf._a.device, leaf._a.dtype)
        if given._a.shape != leaf._a.shape:
            raise ShapeError(
                f"{self.name}: a tangent of shape {shape_text(given._a.shape)} does not fit a "
                f"primal of shape {shape_text(leaf._a.shape)}"
            )
        if given._a.dtype is not leaf._a.dtype:
            raise DTypeError(
                f"{self.name}: the tangent of a {leaf._a.dtype.name} primal is "
                f"{given._a.dtype.name}; convert it with .astype({leaf._a.dtype.name!r})"
            )
        return given


def _with_nones(name: str, structure: Any, tangents: Any) -> list[Any]:
    """The tangents of a tree of primals where None stands for whole parts of it."""
    try:
        prefix = trees.prefix(structure, tuple(tangents))
    except ValueError:
        raise ArgumentError(
            f"{name}: the tangents are {described(tangents)}; they need the structure of the "
            f"primals, {structure} (None for a part whose tangent is zero)"
        ) from None
    return prefix


def _paired(name: str, primals: Any, tangents: Any) -> None:
    """Refuse what are no tuples of one length."""
    for what, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, (tuple, list)):
            raise ArgumentError(
                f"{name}: {what} is {described(given)}: it takes a tuple, one for each argument"
            )
    if len(primals) != len(tangents):
        raise ArgumentError(f"{name}: {len(primals)} primals and {len(tangents)} tangents")


def jvp(fun: Callable[..., Any], primals: Any, tangents: Any, has_aux: bool = False) -> Any:
    """(fun(*primals), its derivative along the tangents); with has_aux (..., ..., aux).

    primals: a tuple of the arguments, trees of floating tensors; tangents: a tuple of the same
    structure, shapes and dtypes, in which None is zero.  fun returns a tree of tensors (with
    has_aux a pair of that and anything); the derivative has its structure, shapes and dtypes.
    Names and order are those of jax.jvp and torch.func.jvp.  Raises HybridError for integer primals
    and for functions that return no tensor, ArgumentError, ShapeError or DTypeError for tangents
    that do not fit.

    >>> import hybrid
    >>> x = hybrid.tensor([1.0, 2.0])
    >>> hybrid.jvp(lambda x: x * x, (x,), (hybrid.tensor([1.0, 10.0]),))
    (tensor([1., 4.]), tensor([ 2., 40.]))
    """
    _paired("jvp", primals, tangents)
    call = Linearized("jvp", fun, primals, has_aux)
    pair = call.out, call.push(tangents)
    return (*pair, call.aux) if has_aux else pair


def linearize(fun: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """(fun(*primals), f_jvp): f_jvp(*tangents) is the derivative there along tangents; with has_aux
    (..., f_jvp, aux).

    fun is run once; each f_jvp costs about what fun does.  Primals, tangents and errors are those
    of `jvp`; the name is jax.linearize's.

    >>> import hybrid
    >>> out, along = hybrid.linearize(hybrid.sin, hybrid.tensor(0.0))
    >>> out, along(hybrid.tensor(1.0)), along(hybrid.tensor(3.0))
    (tensor(0.), tensor(1.), tensor(3.))
    """
    call = Linearized("linearize", fun, primals, has_aux)

    def along(*tangents: Any) -> Any:
        _paired("linearize", primals, tangents)
        return call.push(tangents)

    return (call.out, along, call.aux) if has_aux else (call.out, along)


def hvp(fun: Callable[..., Any], primals: Any, tangents: Any) -> tuple[Any, Any]:
    """(fun(*primals), the Hessian of fun there times the tangents), without the Hessian.

    fun returns a tensor of one element.  primals: the arguments, a tuple of trees of floating
    tensors, or one tensor; tangents: of the same structure, shapes and dtypes, which the product
    has, too.  The result is that of torch.autograd.functional.hvp(func, inputs, v); the product is
    the derivative of the gradient along v (forward over reverse).  Errors are those of `jvp`, and
    ShapeError for functions of more than one element.

    >>> import hybrid
    >>> x, v = hybrid.tensor([1.0, 2.0]), hybrid.tensor([1.0, 0.0])
    >>> hybrid.hvp(lambda x: (x ** 3).sum(), (x,), (v,))
    (tensor(9.), (tensor([6., 0.]),))
    """
    need_callable("hvp", fun)
    several = isinstance(primals, (tuple, list))
    given = (primals, tangents) if several else ((primals,), (tangents,))
    _paired("hvp", *given)
    numbers = tuple(range(len(given[0])))

    def gradient(*args: Any) -> tuple[Any, Any]:
        value, grads = value_and_grad(fun, numbers)(*args)
        return grads, value

    call = Linearized("hvp", gradient, given[0], has_aux=True)
    product = call.push(given[1])
    value = call.aux if call.follows else stop_gradient(call.aux)
    return value, product if several else product[0]
