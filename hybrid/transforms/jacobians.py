"""All first or second derivatives at once: jacfwd, jacrev, hessian.

Invariant: the function is run once; its tape is walked for all columns (or rows) of the matrix
together.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from ..autograd.backward import pulled_back, split_aux, watched_tree
from ..autograd.scopes import enable_grad, need_callable
from ..core import dtypes as dt
from ..core import trees
from ..core.errors import ArgumentError, HybridError
from ..core.shapes import whole
from ..ir.door.arguments import described
from ..ir.tensor import Handle
from ..ops.axes.views import reshape
from ..ops.build.create import zeros
from ..ops.build.matrices import eye
from .forward import Linearized
from .vmap import vmap

__all__ = ["hessian", "jacfwd", "jacrev"]

Tensor = Any


class _Selected:
    """The arguments of a call that are differentiated, and the function of them."""

    def __init__(self, name: str, fun: Any, argnums: Any, args: Any, kwargs: Any) -> None:
        need_callable(name, fun)
        self.several = isinstance(argnums, Sequence)
        self.numbers = []
        for given in argnums if self.several else (argnums,):
            number = whole(given, "argnums")
            if not -len(args) <= number < len(args):
                raise ArgumentError(f"{name}: argnums is {argnums}, the call has {len(args)}")
            self.numbers.append(number % len(args))
        self.fun, self.args, self.kwargs = fun, args, kwargs
        self.primals = tuple([args[number] for number in self.numbers])

    def __call__(self, *selected: Any) -> Any:
        full = list(self.args)
        for number, tree in zip(self.numbers, selected):
            full[number] = tree
        return self.fun(*full, **self.kwargs)

    def placed(self, found: tuple[Any, ...]) -> Any:
        """One tree for each argument that was asked for."""
        return found if self.several else found[0]


def _basis(like: Tensor) -> Tensor:
    """The unit tensors of a shape and dtype, along a new first axis."""
    aval = like._a
    rows = eye(aval.size, dtype=aval.dtype, device=aval.device)
    return reshape(rows, (aval.size, *aval.shape))


def jacfwd(
    fun: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function returning the Jacobian of fun with respect to args[argnums], by forward mode: for
    functions of few numbers (jax.jacfwd, torch.func.jacfwd).

    For each tensor of the result a tree like the argument (a tuple of trees for several argnums),
    of tensors of shape result.shape + argument.shape; with has_aux fun returns (value, aux), and
    the result is (Jacobian, aux).  Raises ArgumentError for an argnums beyond the arguments,
    HybridError for others than floating.

    >>> import hybrid
    >>> hybrid.jacfwd(lambda x: x * x.sum())(hybrid.tensor([1.0, 2.0]))
    tensor([[4., 1.],
            [2., 5.]])
    """

    @functools.wraps(fun, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        chosen = _Selected("jacfwd", fun, argnums, args, kwargs)
        call = Linearized("jacfwd", chosen, chosen.primals, has_aux)
        columns: list[list[Any]] = []
        for place, leaf in enumerate(call.leaves):
            if not isinstance(leaf, Handle):
                columns.append([None] * len(call.results))
                continue
            columns.append(_columns(call, place, leaf))
        found = [
            chosen.placed(trees.unflatten(call.structure, [column[k] for column in columns]))
            for k in range(len(call.results))
        ]
        jacobian = trees.unflatten(call.shape, found)
        return (jacobian, call.aux) if has_aux else jacobian

    return wrapped


def _columns(call: Linearized, place: int, leaf: Tensor) -> list[Any]:
    """The derivatives of all results by one tensor."""

    def along(tangent: Tensor) -> list[Any]:
        given: list[Any] = [None] * len(call.leaves)
        given[place] = tangent
        pushed = trees.leaves(call.push(trees.unflatten(call.structure, given)))
        return pushed

    found = iter(vmap(along, out_axes=-1)(_basis(leaf)))
    shape = leaf._a.shape
    return [
        reshape(next(found), (*r._a.shape, *shape)) if isinstance(r, Handle) else None
        for r in call.results
    ]


def jacrev(
    fun: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function returning the Jacobian of fun with respect to args[argnums], by reverse mode: for
    functions with few results (jax.jacrev, torch.func.jacrev).

    Results and errors are those of `jacfwd`.

    >>> import hybrid
    >>> hybrid.jacrev(lambda x: {"sum": x.sum(), "double": x * 2})(hybrid.tensor([1.0, 2.0]))
    {'sum': tensor([1., 1.]), 'double': tensor([[2., 0.],
            [0., 2.]])}
    """

    @functools.wraps(fun, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        chosen = _Selected("jacrev", fun, argnums, args, kwargs)
        with enable_grad():
            leaves, structure = watched_tree(chosen.primals)
            returned = chosen(*trees.unflatten(structure, leaves))
        value, aux = split_aux("jacrev", returned, has_aux)
        results, shape = trees.flatten(value)
        if not any(isinstance(result, Handle) for result in results):
            what = described(value)
            raise HybridError(f"jacrev needs a function that returns tensors, not {what}")
        found = [
            chosen.placed(trees.unflatten(structure, _rows(result, leaves)))
            if isinstance(result, Handle)
            else None
            for result in results
        ]
        jacobian = trees.unflatten(shape, found)
        return (jacobian, aux) if has_aux else jacobian

    return wrapped


def _rows(result: Tensor, leaves: list[Any]) -> list[Any]:
    """The derivatives of one result by all leaves."""
    shape, tensors = result._a.shape, [leaf for leaf in leaves if isinstance(leaf, Handle)]
    if result._node is None or not dt.is_float(result._a.dtype):
        made = [_none(shape, tensor) for tensor in tensors]
    else:

        def row(gradient: Tensor) -> list[Any]:
            return pulled_back([result], [gradient], tensors)

        rows = vmap(row)(_basis(result))
        made = [reshape(found, (*shape, *found._a.shape[1:])) for found in rows]
    given = iter(made)
    return [next(given) if isinstance(leaf, Handle) else None for leaf in leaves]


def _none(shape: tuple[int, ...], leaf: Tensor) -> Tensor:
    """The derivatives of what does not depend on a tensor."""
    aval = leaf._a
    return zeros((*shape, *aval.shape), dtype=aval.dtype, device=aval.device)


def hessian(
    fun: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function returning the second derivatives of fun with respect to args[argnums]:
    jacfwd(jacrev(fun)), as jax.hessian and torch.func.hessian.

    For each tensor of the result, trees of trees of tensors of shape result.shape + argument.shape
    + argument.shape.  Errors are those of `jacfwd`; `hybrid.hvp` gives products with it.

    >>> import hybrid
    >>> hybrid.hessian(lambda x: (x ** 3).sum())(hybrid.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return jacfwd(jacrev(fun, argnums, has_aux), argnums, has_aux)
