"""Functions with derivatives of a user's own: custom_vjp and custom_jvp, with JAX's names.

Invariant: what a rule computes is on the tape where derivatives of it are asked for, with paths to
the arguments of the call, so derivatives of any order are those of the rule.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from ..autograd.backward import stop_gradient
from ..autograd.passes import fit, zeros
from ..autograd.scopes import enable_grad, need_callable, no_grad
from ..autograd.tape import PseudoOp, alias, link, owner
from ..core import dtypes as dt
from ..core import trees
from ..core.errors import ArgumentError, HybridError, ShapeError, shape_text
from ..core.shapes import items_of, whole
from ..ir.door import bind as door
from ..ir.door.arguments import described
from ..ir.tensor import Handle
from .transpose import transposed

__all__ = ["custom_jvp", "custom_vjp"]

Tensor = Any


def _floating(leaf: Any) -> bool:
    return isinstance(leaf, Handle) and dt.is_float(leaf._a.dtype)


class _Call:
    """The arguments of one call: those that are differentiated (a tree), and the others."""

    def __init__(self, owner_: _Custom, args: Sequence[Any]) -> None:
        self.name = owner_.name
        self.fixed = [args[k] for k in owner_.fixed]
        self.args, self.numbers = list(args), [k for k in range(len(args)) if k not in owner_.fixed]
        self.leaves, self.structure = trees.flatten([args[k] for k in self.numbers])
        self.places = [
            k for k, leaf in enumerate(self.leaves) if _floating(leaf) and leaf._node is not None
        ]
        self.inputs = [self.leaves[k] for k in self.places]

    def aliased(self) -> list[Any]:
        """The leaves, those on the tape as tensors with nodes of their own."""
        given = list(self.leaves)
        for place in self.places:
            given[place] = alias(given[place])
        return given

    def positional(self, leaves: list[Any]) -> list[Any]:
        """All arguments, with these leaves."""
        args = list(self.args)
        for number, tree in zip(self.numbers, trees.unflatten(self.structure, leaves)):
            args[number] = tree
        return args

    def hang(self, value: Any, pull: Any, push: Any = None) -> Any:
        """The value of the call with a node whose gradients are those of `pull`, which gets one
        for each leaf of the value (None where there is none)."""
        results, shape = trees.flatten(value)
        shown = [stop_gradient(leaf) if isinstance(leaf, Handle) else leaf for leaf in results]
        places = [k for k, leaf in enumerate(shown) if _floating(leaf)]

        def spread(given: Sequence[Any]) -> list[Any]:
            full: list[Any] = [None] * len(shown)
            for place, gradient in zip(places, given):
                full[place] = gradient
            return full

        outputs = [shown[k] for k in places]
        resolved = PseudoOp(
            self.name,
            lambda grads: pull(spread(grads), shown, shape),
            tuple([t._a for t in outputs]),
        )
        if push is not None:
            resolved.push = lambda tangents: [push(tangents)[k] for k in places]
        if outputs:
            link(resolved, [t._node for t in self.inputs], outputs, self.inputs)
        return trees.unflatten(shape, shown)


class _Custom:
    """A function with a rule: how it is called."""

    kind, define = "", ""

    def __init__(self, fun: Callable[..., Any], nondiff_argnums: Sequence[int] = ()) -> None:
        need_callable(self.kind, fun)
        self.fun = fun
        self.name: str = getattr(fun, "__name__", self.kind)
        self.fixed = [
            whole(k, "nondiff_argnums") for k in items_of(nondiff_argnums, "nondiff_argnums")
        ]
        functools.update_wrapper(self, fun, updated=())

    def __get__(self, instance: Any, kind: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs:
            bound = inspect.signature(self.fun).bind(*args, **kwargs)
            bound.apply_defaults()
            if bound.kwargs:
                raise ArgumentError(f"{self.kind}: {self.name} takes arguments by position")
            args = bound.args
        if self._undefined():
            raise HybridError(f"{self.name} has no rule yet: give it one with .{self.define}(...)")
        call = _Call(self, args)
        if not call.places or not door.grad_enabled():
            return self.fun(*args)
        return self._followed(call)

    def _undefined(self) -> bool:
        raise NotImplementedError

    def _followed(self, call: _Call) -> Any:
        raise NotImplementedError


class custom_vjp(_Custom):  # noqa: N801  (used as a decorator)
    """A function whose gradient is a rule of your own (jax.custom_vjp).

    `f.defvjp(fwd, bwd)`: fwd(*args) gives (f(*args), residuals), and bwd(residuals, g) a tuple with
    the gradient of each argument, a tree like it, or None for zero; g is a tree like the result
    (None for results that are not floating).  bwd gets the arguments at `nondiff_argnums` first,
    and gives nothing for them.  Derivatives of higher order are those of the rule; forward mode
    uses its transpose.  Tensors that f uses beside its arguments get no gradient.

    Raises HybridError for a call without a rule, ArgumentError for another number of gradients,
    ShapeError for gradients of other shapes.

    >>> import hybrid
    >>> @hybrid.custom_vjp
    ... def clipped(x):
    ...     return x * 1
    >>> clipped.defvjp(lambda x: (x * 1, None), lambda res, g: (hybrid.clip(g, -1.0, 1.0),))
    >>> hybrid.grad(lambda x: clipped(x) * 100)(hybrid.tensor(2.0))
    tensor(1.)
    """

    kind, define = "custom_vjp", "defvjp"
    fwd: Any = None
    bwd: Any = None

    def defvjp(self, fwd: Callable[..., Any], bwd: Callable[..., Any]) -> None:
        """Give the function its rule: fwd(*args) -> (value, residuals), bwd(residuals, gradient) ->
        the gradients of the arguments.

        >>> import hybrid
        >>> @hybrid.custom_vjp
        ... def double(x):
        ...     return x * 2
        >>> double.defvjp(lambda x: (x * 2, None), lambda residuals, g: (g * 10,))
        >>> hybrid.grad(double)(hybrid.tensor(1.0))
        tensor(10.)
        """
        need_callable("defvjp: fwd", fwd)
        need_callable("defvjp: bwd", bwd)
        self.fwd, self.bwd = fwd, bwd

    def _undefined(self) -> bool:
        return self.fwd is None

    def _followed(self, call: _Call) -> Any:
        with enable_grad():
            returned = self.fwd(*call.positional(call.aliased()))
        if not isinstance(returned, (tuple, list)) or len(returned) != 2:
            raise ArgumentError(f"the fwd of {self.name} has to return (value, residuals)")
        value, residuals = returned

        def pull(grads: list[Any], shown: list[Any], shape: Any) -> list[Any]:
            full = [
                zeros(leaf._a) if gradient is None and _floating(leaf) else gradient
                for gradient, leaf in zip(grads, shown)
            ]
            given = self.bwd(*call.fixed, residuals, trees.unflatten(shape, full))
            return self._matched(call, given)

        return call.hang(value, pull)

    def _matched(self, call: _Call, given: Any) -> list[Any]:
        """Gradients of the inputs from what bwd returned."""
        count = len(call.numbers)
        if isinstance(given, Handle) or given is None:
            given = (given,)
        if len(given) != count:
            raise ArgumentError(
                f"the bwd of {self.name} gave {len(given)} gradients for {count} arguments"
            )
        try:
            listed = trees.prefix(call.structure, list(given))
        except ValueError:
            raise ArgumentError(
                f"the bwd of {self.name} gave {described(given)}: gradients need the structure of "
                f"the arguments, {call.structure} (None for zero)"
            ) from None
        return [_fitting(self.name, listed[k], call.leaves[k]) for k in call.places]


def _fitting(name: str, gradient: Any, leaf: Tensor) -> Any:
    if gradient is None:
        return None
    if not isinstance(gradient, Handle):
        gradient = door.store(gradient, leaf._a.dtype, leaf._a.device)
    if gradient._a.shape != leaf._a.shape:
        raise ShapeError(
            f"the bwd of {name} gave a gradient of shape {shape_text(gradient._a.shape)} for an "
            f"argument of shape {shape_text(leaf._a.shape)}"
        )
    return fit(gradient, leaf._a)


class custom_jvp(_Custom):  # noqa: N801  (used as a decorator)
    """A function whose derivative is a rule of your own (jax.custom_jvp).

    `f.defjvp(rule)`: rule(primals, tangents) gives (f(*primals), its derivative along tangents),
    which has to be linear in the tangents (zeros where there is none; None for what is not
    floating).  It gets the arguments at `nondiff_argnums` first.  `f.defjvps(*rules)`: one
    rule(tangent, value, *primals), or None, for each argument, which are added up.  Gradients are
    the transpose of the rule, derivatives of higher order those of the rule.

    Raises HybridError for a call without a rule, ArgumentError for a rule that returns no pair.

    >>> import hybrid
    >>> @hybrid.custom_jvp
    ... def halved(x):
    ...     return x * x
    >>> @halved.defjvp
    ... def rule(primals, tangents):
    ...     return primals[0] ** 2, primals[0] * tangents[0]
    >>> hybrid.grad(halved)(hybrid.tensor(3.0))
    tensor(3.)
    """

    kind, define = "custom_jvp", "defjvp"
    rule: Any = None

    def defjvp(self, jvp: Callable[..., Any]) -> Callable[..., Any]:
        """Give the function its rule, which is returned: usable as a decorator.

        >>> import hybrid
        >>> @hybrid.custom_jvp
        ... def double(x):
        ...     return x * 2
        >>> @double.defjvp
        ... def rule(primals, tangents):
        ...     return double(*primals), tangents[0] * 10
        >>> hybrid.grad(double)(hybrid.tensor(1.0))
        tensor(10.)
        """
        need_callable("defjvp: jvp", jvp)
        self.rule = jvp
        return jvp

    def defjvps(self, *jvps: Callable[..., Any] | None) -> None:
        """Give the function a rule for each argument (None: no derivative).

        >>> import hybrid
        >>> @hybrid.custom_jvp
        ... def double(x):
        ...     return x * 2
        >>> double.defjvps(lambda tangent, out, x: tangent * 10)
        >>> hybrid.grad(double)(hybrid.tensor(1.0))
        tensor(10.)
        """

        def rule(*given: Any) -> tuple[Any, Any]:
            *fixed, primals, tangents = given
            value, total = self.fun(*fixed, *primals), None
            for part, tangent in zip(jvps, tangents):
                if part is not None and tangent is not None:
                    moved = part(tangent, value, *primals)
                    total = moved if total is None else total + moved
            return value, value * 0 if total is None else total

        self.rule = rule

    def _undefined(self) -> bool:
        return self.rule is None

    def _followed(self, call: _Call) -> Any:
        with no_grad():
            value = self.fun(*call.args)
        primals = call.aliased()

        def moved(tangents: Sequence[Any]) -> list[Any]:
            """Tangents of the leaves of the value from those of the inputs."""
            full = [zeros(leaf._a) if _floating(leaf) else None for leaf in call.leaves]
            for place, tangent in zip(call.places, tangents):
                full[place] = full[place] if tangent is None else tangent
            given = [trees.unflatten(call.structure, leaves) for leaves in (primals, full)]
            returned = self.rule(*call.fixed, *map(tuple, given))
            if not isinstance(returned, (tuple, list)) or len(returned) != 2:
                raise ArgumentError(f"the rule of {self.name} has to return (value, tangent)")
            return trees.leaves(returned[1])

        def pull(grads: list[Any], shown: list[Any], shape: Any) -> list[Any]:
            ends = [primals[place]._node for place in call.places]
            stop = frozenset([id(owner(end)) for end in ends])
            avals = [leaf._a if _floating(leaf) else None for leaf in shown]
            return transposed(moved, [t._a for t in call.inputs], grads, avals, stop)

        return call.hang(value, pull, moved)
