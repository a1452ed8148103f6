"""The backward pass and its functional forms: backward, grad, value_and_grad, vjp, custom_gradient.

Invariant: gradients are computed by the public functions that vjp rules call, so a backward pass
can be recorded, differentiated again, and gives the same bits however it is run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence, Set
from typing import Any

from ..core import dtypes as dt
from ..core import trees
from ..core.errors import ArgumentError, DeviceError, HybridError
from ..core.shapes import whole
from ..ir.door import bind as door
from ..ir.door.pending import shared
from ..ir.tensor import Handle, Leaf, new_handle
from ..ops.elementwise.arithmetic import add
from .passes import BackwardPass, Owned, fit, gathered, zeros
from .scopes import enable_grad, need_callable, no_grad
from .tape import PseudoOp, above, alias, link, owner

__all__ = [
    "backward",
    "gradients",
    "grad",
    "value_and_grad",
    "vjp",
    "custom_gradient",
    "stop_gradient",
    "own",
    "placed",
    "pulled_back",
    "reaches_others",
    "split_aux",
    "watched_tree",
]


def own(gradient: Any) -> Any:
    """A handle of its own on a gradient that goes to the user, who may write it."""
    handle = new_handle(shared(gradient._v), gradient._a, gradient._node)
    observer = door.current_mode()
    if observer is not None:
        observer.on_alias(handle, gradient)
    return handle


def backward(
    t: Any, gradient: Any = None, *, create_graph: bool = False, inputs: Any = None
) -> None:
    """Add d t / d leaf to `.grad` of every leaf that t depends on (or of `inputs` only).

    `gradient` has t's shape; it may be left out for one element.  `create_graph` puts the pass
    itself on the tape.  Raises HybridError when t does not require a gradient.

    >>> import hybrid
    >>> x = hybrid.tensor([1.0, 2.0], requires_grad=True)
    >>> backward((x * x).sum()); x.grad
    tensor([2., 4.])
    """
    if t._node is None:
        raise HybridError(
            "backward on a tensor that does not require a gradient: make a parameter "
            "with requires_grad=True before computing it, and do not compute it under "
            "no_grad()"
        )
    enabled = door.set_grad(create_graph)
    try:
        selected = None if inputs is None else {id(tensor._node) for tensor in _listed(inputs)}
        found = gathered(BackwardPass([t], [gradient]))
        owned = type(found) is Owned
        for leaf, summed in found:
            if selected is None or id(leaf) in selected:
                _add_grad(leaf, summed, owned)
    finally:
        door.STATE.special += door.LOCAL.grad - enabled
        door.LOCAL.grad = enabled


def _listed(tensors: Any) -> list[Any]:
    """One tensor or several, as a list."""
    return [tensors] if isinstance(tensors, Handle) else list(tensors)


def _of_now(gradient: Any, aval: Any) -> Any:
    """A gradient for a leaf that has another dtype than when it was used (`module.to`)."""
    if gradient._a.device is not aval.device:
        raise DeviceError(
            f"a tensor that a result depends on was moved from {gradient._a.device} to "
            f"{aval.device} before backward; compute the result again after the move"
        )
    return gradient if gradient._a.dtype is aval.dtype else door.convert(gradient, aval.dtype)


def _add_grad(leaf: Leaf, gradient: Any, owned: bool) -> None:
    handle, observer = leaf.handle(), door.current_mode()
    if handle is not None and gradient._a is not handle._a:
        gradient = _of_now(gradient, handle._a)
    if observer is not None and handle is not None:
        observer.on_grad_get(handle, leaf.grad)
    summed = gradient if leaf.grad is None else add(leaf.grad, gradient)
    if summed is gradient and gradient._node is None and not owned:
        # the caller's seed must not become .grad itself
        summed = new_handle(shared(gradient._v), gradient._a)
        if observer is not None:
            observer.on_alias(summed, gradient)
    if observer is not None and handle is not None:
        observer.on_grad_set(handle, summed)
    leaf.grad = summed


def gradients(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    *,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """d outputs / d inputs as a tuple, without touching `.grad` (PyTorch's autograd.grad).

    An input that the outputs do not depend on gives None with allow_unused, else HybridError.  The
    gradients have the shapes and dtypes of the inputs; `grad_outputs` those of the outputs, and may
    be left out for outputs of one element.

    >>> import hybrid
    >>> x = hybrid.tensor([1.0, 2.0], requires_grad=True)
    >>> hybrid.gradients((x * x).sum(), x)
    (tensor([2., 4.]),)
    """
    results, sources = _listed(outputs), _listed(inputs)
    seeds = [None] * len(results) if grad_outputs is None else _listed(grad_outputs)
    if any(tensor._node is None for tensor in sources):
        raise HybridError("gradients with respect to a tensor that does not require a gradient")
    enabled = door.set_grad(create_graph)
    try:
        live = [(out, seed) for out, seed in zip(results, seeds) if out._node is not None]
        wanted = [tensor._node for tensor in sources]
        found = gathered(BackwardPass(*_apart(live), sources=wanted))
    finally:
        door.STATE.special += door.LOCAL.grad - enabled
        door.LOCAL.grad = enabled
    answers = [gradient for _, gradient in found]
    if not allow_unused and any(grad is None for grad in answers):
        raise HybridError(
            "an input was not used in computing the outputs; pass allow_unused=True for None"
        )
    return tuple([None if grad is None else own(grad) for grad in answers])


def _apart(pairs: list[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    """Outputs and their gradients."""
    return [output for output, _ in pairs], [gradient for _, gradient in pairs]


# ---- functional forms
def stop_gradient(x: Any) -> Any:
    """The same value, cut from the tape (also `x.detach()`).

    >>> import hybrid
    >>> x = hybrid.tensor(3.0)
    >>> hybrid.grad(lambda x: x * hybrid.stop_gradient(x))(x)  # the second factor is a constant
    tensor(3.)
    """
    if not isinstance(x, Handle):
        x = door.as_tensor(x)
    detached = new_handle(shared(x._v), x._a)
    observer = door.current_mode()
    if observer is not None:
        observer.on_alias(detached, x)
    return detached


def watched_tree(tree: Any) -> tuple[list[Any], Any]:
    """The tree with its floating tensors aliased, and those aliases."""
    flattened, structure = trees.flatten(tree)
    watched = [
        alias(door.as_tensor(x)) if isinstance(x, (Handle, float)) or hasattr(x, "__array__") else x
        for x in flattened
    ]
    for leaf in watched:
        if isinstance(leaf, Handle) and not dt.is_inexact(leaf._a.dtype):
            raise HybridError(f"cannot differentiate with respect to a {leaf._a.dtype.name} tensor")
    return watched, structure


def pulled_back(value: Any, seeds: Any, watched: list[Any]) -> list[Any]:
    """Gradients of watched tensors; on the tape only if something outside them
    is differentiable too."""
    outputs, _ = trees.flatten(value)
    given = [None] * len(outputs) if seeds is None else trees.flatten(seeds)[0]
    pairs = [
        (out, seed)
        for out, seed in zip(outputs, given)
        if isinstance(out, Handle) and out._node is not None
    ]
    ends = [tensor._node for tensor in watched]
    stop = frozenset([id(owner(node)) for node in ends])
    roots = [out._node for out, _ in pairs]
    enabled = door.set_grad(reaches_others(roots, stop) and door.grad_enabled())
    try:
        found = gathered(BackwardPass(*_apart(pairs), stop, ends))
        return [
            zeros(w._a) if gradient is None else own(gradient)
            for w, (_, gradient) in zip(watched, found)
        ]
    finally:
        door.STATE.special += door.LOCAL.grad - enabled
        door.LOCAL.grad = enabled


def reaches_others(roots: list[Any], known: Set[int]) -> bool:
    """Whether nodes depend on a leaf that is none of `known`."""
    return any(type(node) is Leaf and id(node) not in known for node in above(roots))


def value_and_grad(
    fn: Callable[..., Any], argnums: int | Sequence[int] = 0, *, has_aux: bool = False
) -> Callable[..., Any]:
    """A function returning (fn(*args), gradients with respect to args[argnums]).

    Arguments may be trees; gradients have their structure, shapes and dtypes.  fn returns a tensor
    of one element (else ShapeError), or (that, anything) with has_aux.  Nests for higher
    derivatives. Raises ArgumentError for an argnums beyond the arguments, HybridError for others
    than floating.

    >>> import hybrid
    >>> hybrid.value_and_grad(lambda x: (x * x).sum())(hybrid.tensor([1., 2.]))
    (tensor(5.), tensor([2., 4.]))
    """
    need_callable("grad", fn)
    several = isinstance(argnums, Sequence) and not isinstance(argnums, str)
    given: Any = argnums if several else (argnums,)
    numbers = [whole(k, "argnums") for k in given]

    @functools.wraps(fn, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with enable_grad():
            fresh, parts = list(args), []
            for number in numbers:
                if not -len(args) <= number < len(args):
                    raise ArgumentError(f"grad: argnums is {argnums}, the call has {len(args)}")
                leaves, structure = watched_tree(args[number])
                fresh[number] = trees.unflatten(structure, leaves)
                parts.append((leaves, structure))
            value, auxiliary = _value_of(fn(*fresh, **kwargs), has_aux)
            watched = [leaf for leaves, _ in parts for leaf in leaves if isinstance(leaf, Handle)]
            grads = iter(pulled_back(value, None, watched))
        result = tuple([placed(leaves, spec, grads) for leaves, spec in parts])
        alone = all(type(tensor._node) is Leaf for tensor in watched)
        own_leaves = {id(tensor._node) for tensor in watched}
        detached = alone and not reaches_others([value._node], own_leaves)
        top = stop_gradient(value) if detached else value
        return (top, auxiliary) if has_aux else top, result if several else result[0]

    return wrapped


def split_aux(name: str, returned: Any, has_aux: bool) -> tuple[Any, Any]:
    """(value, aux) of what a function returned; aux is None unless it has one."""
    if not has_aux:
        return returned, None
    if not isinstance(returned, (tuple, list)) or len(returned) != 2:
        raise ArgumentError(f"{name} with has_aux=True: fn has to return (value, aux)")
    return returned[0], returned[1]


def _value_of(returned: Any, has_aux: bool) -> tuple[Any, Any]:
    """(the tensor to differentiate, what goes with it) of what a function returned."""
    value, auxiliary = split_aux("grad", returned, has_aux)
    if not isinstance(value, Handle):
        raise HybridError(
            f"grad needs a function that returns a tensor, not {type(value).__name__}"
        )
    return value, auxiliary


def placed(leaves: list[Any], structure: Any, grads: Iterator[Any]) -> Any:
    """The next gradients in the places of a tree's tensors, None in the others."""
    given = [next(grads) if isinstance(leaf, Handle) else None for leaf in leaves]
    return trees.unflatten(structure, given)


def grad(
    fn: Callable[..., Any], argnums: int | Sequence[int] = 0, *, has_aux: bool = False
) -> Callable[..., Any]:
    """A function returning the gradient of fn with respect to args[argnums] (and aux with has_aux).

    Arguments, results and errors are those of `value_and_grad`.

    >>> import hybrid
    >>> hybrid.grad(hybrid.grad(lambda x: x ** 3))(hybrid.tensor(2.0)).item()
    12.0
    """
    both = value_and_grad(fn, argnums, has_aux=has_aux)

    @functools.wraps(fn, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        value, derivatives = both(*args, **kwargs)
        return (derivatives, value[1]) if has_aux else derivatives

    return wrapped


def vjp(fn: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """(fn(*primals), pullback): pullback(cotangents shaped like the output) gives a tuple of
    gradients.  With has_aux fn returns (value, aux), and the result is (value, pullback, aux).

    primals: trees of floating tensors; the gradients have their structure, shapes and dtypes.

    >>> import hybrid
    >>> value, pullback = hybrid.vjp(lambda x: x * x, hybrid.tensor([1.0, 2.0]))
    >>> pullback(hybrid.tensor([1.0, 10.0]))
    (tensor([ 2., 40.]),)
    """
    need_callable("vjp", fn)
    with enable_grad():
        leaves, structure = watched_tree(primals)
        value, aux = split_aux("vjp", fn(*trees.unflatten(structure, leaves)), has_aux)

    def pullback(cotangent: Any) -> Any:
        tensors = [leaf for leaf in leaves if isinstance(leaf, Handle)]
        return placed(leaves, structure, iter(pulled_back(value, cotangent, tensors)))

    roots = [t._node for t in trees.leaves(value) if isinstance(t, Handle) and t._node is not None]
    known = {id(owner(leaf._node)) for leaf in leaves if isinstance(leaf, Handle)}
    shown = value
    if not reaches_others(roots, known):
        shown = trees.map_tree(
            lambda leaf: stop_gradient(leaf) if isinstance(leaf, Handle) else leaf, value
        )
    return (shown, pullback, aux) if has_aux else (shown, pullback)


def custom_gradient(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function a gradient of its own: fn(*tensors) returns (output, pull), and pull(g)
    returns the gradients of the inputs (a tensor, or a tuple with None where there is none).

    Raises ArgumentError for another result of fn, HybridError for another number of gradients.

    >>> import hybrid
    >>> @hybrid.custom_gradient
    ... def clip_gradient(x):
    ...     return x, lambda g: hybrid.clip(g, -1.0, 1.0)
    >>> hybrid.grad(lambda x: clip_gradient(x) * 100)(hybrid.tensor(2.0))
    tensor(1.)
    """

    need_callable("custom_gradient", fn)

    @functools.wraps(fn, updated=())
    def wrapped(*args: Any) -> Any:
        tensors = [x if isinstance(x, Handle) else door.as_tensor(x) for x in args]
        followed = door.grad_enabled() and any(tensor._node is not None for tensor in tensors)
        # where a gradient follows, what `pull` uses of the arguments is on the tape, so that
        # derivatives of it are right, too
        given = [
            alias(t) if followed and t._node is not None else stop_gradient(t) for t in tensors
        ]
        with enable_grad() if followed else no_grad():
            returned = fn(*given)
        pair = isinstance(returned, (tuple, list)) and len(returned) == 2
        value, pull = returned if pair else (returned, None)
        if not callable(pull):
            raise ArgumentError("custom_gradient: fn has to return (output, pull)")
        single = isinstance(value, Handle)
        outputs = [stop_gradient(out) for out in ([value] if single else value)]
        if followed:
            avals = tuple(out._a for out in outputs)
            resolved = PseudoOp("custom_gradient", _pull_list(pull, avals, tensors), avals)
            link(resolved, [tensor._node for tensor in tensors], outputs, tensors)
        return outputs[0] if single else tuple(outputs)

    return wrapped


def _pull_list(pull: Any, avals: tuple[Any, ...], inputs: list[Any]) -> Callable[..., list[Any]]:
    """A user's `pull` from a list of gradients of outputs (None: zeros) to one of inputs."""

    def pull_list(grads: list[Any]) -> list[Any]:
        full = [g if g is not None else zeros(aval) for g, aval in zip(grads, avals)]
        got = pull(*full)
        returned = [got] if isinstance(got, Handle) or got is None else list(got)
        if len(returned) != len(inputs):
            raise HybridError(
                f"custom_gradient: pull gave {len(returned)} gradients for {len(inputs)} inputs"
            )
        return [None if g is None else fit(g, x._a) for g, x in zip(returned, inputs)]

    return pull_list
