"""The backward pass and its functional forms: backward, grad, value_and_grad, vjp, custom_gradient.

Invariant: gradients are computed by the public functions that vjp rules call, so a backward pass
can be recorded, differentiated again, and gives the same bits however it is run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from ..core import dtypes as dt
from ..core import trees
from ..core.errors import ArgumentError, HybridError, ShapeError
from ..core.shapes import whole
from ..core.signals import critical
from ..ir.door import bind as door
from ..ir.door.arguments import described
from ..ir.tensor import Handle, Leaf, new_handle
from ..ops.axes.reduce import sum_like
from ..ops.build.create import ones_like, zeros_like
from ..ops.elementwise.arithmetic import add
from .sums import Sums
from .tape import PseudoEntry, alias, order, owner, saved_inputs, saved_outputs, unfold

__all__ = [
    "backward",
    "gradients",
    "grad",
    "value_and_grad",
    "vjp",
    "custom_gradient",
    "no_grad",
    "enable_grad",
    "set_grad_enabled",
    "stop_gradient",
]


class _GradScope:
    """A context manager and decorator that switches the tape on this thread."""

    __slots__ = ("on", "_old")

    def __init__(self, on: bool) -> None:
        self.on, self._old = on, []  # type: ignore[var-annotated]

    @critical
    def __enter__(self) -> None:
        self._old.append(door.grad_enabled())
        door.set_grad(self.on)  # last: an interrupt before it leaves the tape as it was

    @critical
    def __exit__(self, *exc: Any) -> None:
        door.set_grad(self._old[-1])
        del self._old[-1]

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        _need_callable("enable_grad" if self.on else "no_grad", fn)

        @functools.wraps(fn)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with _GradScope(self.on):
                return fn(*args, **kwargs)

        return wrapped


def _need_callable(what: str, fn: Any) -> None:
    if not callable(fn):
        raise ArgumentError(f"{what}: fn is {described(fn)}: it takes a function")


def no_grad(fn: Callable[..., Any] | None = None) -> Any:
    """Scope (or decorator, with or without parentheses) in which ops are not put on the tape.

    >>> import hybrid
    >>> with hybrid.no_grad(): y = hybrid.ones(3, requires_grad=True) * 2
    >>> y.requires_grad
    False
    """
    return _GradScope(False) if fn is None else _GradScope(False)(fn)


def enable_grad(fn: Callable[..., Any] | None = None) -> Any:
    """Scope (or decorator) in which ops are put on the tape again.

    >>> import hybrid
    >>> with hybrid.no_grad(), hybrid.enable_grad(): y = hybrid.ones(3, requires_grad=True) * 2
    >>> y.requires_grad
    True
    """
    return _GradScope(True) if fn is None else _GradScope(True)(fn)


class _GradSwitch(_GradScope):
    """A scope that is in force from the moment it is made, as PyTorch's set_grad_enabled."""

    __slots__ = ("_fresh",)

    def __init__(self, on: bool) -> None:
        super().__init__(on)
        self._fresh = True
        super().__enter__()

    def __enter__(self) -> None:
        if not self._fresh:
            super().__enter__()
        self._fresh = False

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        if self._fresh:
            self._fresh = False
            self.__exit__()
        return super().__call__(fn)


def set_grad_enabled(on: bool) -> _GradScope:
    """Switch the tape of this thread on or off, at once; as a `with` scope, until its end.

    >>> import hybrid
    >>> with hybrid.set_grad_enabled(False): y = hybrid.ones(3, requires_grad=True) * 2
    >>> y.requires_grad
    False
    """
    return _GradSwitch(bool(on))


# ---- the pass
def _pull(entry: Any, gs: list[Any]) -> Sequence[Any]:
    """Gradients of an entry's inputs from the gradients of its outputs."""
    e = entry[0]
    if isinstance(e, PseudoEntry):
        return e.pull(gs)
    if len(e.outs) == 1:
        g = gs[0]
    elif e.op.has("optional_grads"):
        g = tuple(gs)
    else:
        g = tuple(x if x is not None else _zeros(a) for x, a in zip(gs, e.outs))
    return e.op.vjp(g, saved_outputs(entry), *saved_inputs(entry), **e.params)


def _zeros(a: Any) -> Any:
    return zeros_like(new_handle(None, a))


def _run(
    roots: list[Any],
    seeds: list[Any],
    nodes: list[Any],
    targets: frozenset[int] | set[int] = frozenset(),
) -> dict[int, list[Any]]:
    """Gradients of leaves and targets by id of owner;
    `nodes` are the owners to visit, users first."""
    sums = Sums(nodes, _fit)
    for r, g in zip(roots, seeds):
        sums.add(r, g)
    for n in nodes:
        if type(n) is not tuple:
            continue
        gs = sums.take(n, id(n) in targets)
        if gs is None:
            continue
        ins = n[0].ins if not isinstance(n[0], PseudoEntry) else None
        for i, (p, g) in enumerate(zip(n[1], _pull(n, gs))):
            if p is not None and g is not None:
                sums.give(p, g, None if ins is None else ins[i])
    return sums.finish()


def _above(nodes: list[Any], targets: set[int]) -> list[Any]:
    """Those of the nodes that have a target among their inputs, at any depth."""
    wanted, above = set(targets), []
    for n in reversed(nodes):
        if type(n) is tuple and any(p is not None and id(owner(p)) in wanted for p in n[1]):
            wanted.add(id(n))
            above.append(n)
    above.reverse()
    return above


def _fresh(g: Any) -> Any:
    """A handle of its own on a gradient that goes to the user, who may write it."""
    new = new_handle(g._v, g._a, g._node)
    mode = door.current_mode()
    if mode is not None:
        mode.on_alias(new, g)
    return new


def _fit(g: Any, a: Any) -> Any:
    """Bring a gradient to the shape and dtype of the input it belongs to."""
    g = sum_like(g, a.shape)
    return g if g._a.dtype is a.dtype else door.convert(g, a.dtype)


def _seed(t: Any, g: Any) -> Any:
    if g is None:
        if t._a.size != 1:
            raise ShapeError(
                f"backward of a tensor of shape {t._a.shape} needs an explicit "
                "gradient; reduce it to one element (.sum(), .mean()) or pass gradient="
            )
        return ones_like(t)
    g = g if isinstance(g, Handle) else door.store(g, t._a.dtype, t._a.device)
    if g._a.shape != t._a.shape:
        raise ShapeError(
            f"gradient of shape {g._a.shape} does not fit a result of shape {t._a.shape}"
        )
    return g if g._a.dtype is t._a.dtype else door.convert(g, t._a.dtype)


def backward(
    t: Any, gradient: Any = None, *, create_graph: bool = False, inputs: Any = None
) -> None:
    """Add d t / d leaf to `.grad` of every leaf that t depends on (or of `inputs` only).

    `gradient` has t's shape; it may be left out for one element.  `create_graph` puts the pass
    itself on the tape.  Raises HybridError when t does not require a gradient.
    """
    if t._node is None:
        raise HybridError(
            "backward on a tensor that does not require a gradient: make a parameter "
            "with requires_grad=True before computing it, and do not compute it under "
            "no_grad()"
        )
    old = door.set_grad(create_graph)
    try:
        nodes, roots, _ = unfold([t._node], set())
        store = _run(roots, [_seed(t, gradient)], nodes)
        only = (
            None
            if inputs is None
            else {id(x._node) for x in ([inputs] if isinstance(inputs, Handle) else inputs)}
        )
        for n in nodes:
            if type(n) is Leaf and id(n) in store and (only is None or id(n) in only):
                _add_grad(n, store[id(n)][0])
    finally:
        door.STATE.special += door.LOCAL.grad - old
        door.LOCAL.grad = old


def _add_grad(leaf: Leaf, g: Any) -> None:
    handle, mode = leaf.handle(), door.current_mode()
    if mode is not None and handle is not None:
        mode.on_grad_get(handle, leaf.grad)
    new = g if leaf.grad is None else add(leaf.grad, g)
    if new is g and g._node is None:
        new = new_handle(g._v, g._a)  # the caller's seed must not become .grad itself
        if mode is not None:
            mode.on_alias(new, g)
    if mode is not None and handle is not None:
        mode.on_grad_set(handle, new)
    leaf.grad = new


def gradients(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    *,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """d outputs / d inputs as a tuple, without touching `.grad` (PyTorch's autograd.grad).

    An input that the outputs do not depend on gives None with allow_unused, else HybridError.
    """
    outs = [outputs] if isinstance(outputs, Handle) else list(outputs)
    ins = [inputs] if isinstance(inputs, Handle) else list(inputs)
    seeds = (
        [None] * len(outs)
        if grad_outputs is None
        else ([grad_outputs] if isinstance(grad_outputs, Handle) else list(grad_outputs))
    )
    for x in ins:
        if x._node is None:
            raise HybridError("gradients with respect to a tensor that does not require a gradient")
    old = door.set_grad(create_graph)
    try:
        live = [(o, s) for o, s in zip(outs, seeds) if o._node is not None]
        nodes, roots, now = unfold([o._node for o, _ in live], set())
        wanted = [now(x._node) for x in ins]
        targets = {id(owner(n)) for n in wanted}
        store = _run(roots, [_seed(o, s) for o, s in live], _above(nodes, targets), targets)
    finally:
        door.STATE.special += door.LOCAL.grad - old
        door.LOCAL.grad = old
    out = []
    for node in wanted:
        got = store.get(id(owner(node)))
        g = None if got is None else got[node[0] if owner(node) is not node else 0]
        if g is None and not allow_unused:
            raise HybridError(
                "an input was not used in computing the outputs; pass allow_unused=True for None"
            )
        out.append(None if g is None else _fresh(g))
    return tuple(out)


# ---- functional forms
def stop_gradient(x: Any) -> Any:
    """The same value, cut from the tape (also `x.detach()`)."""
    if not isinstance(x, Handle):
        x = door.as_tensor(x)
    new = new_handle(x._v, x._a)
    mode = door.current_mode()
    if mode is not None:
        mode.on_alias(new, x)
    return new


def _watched(tree: Any) -> tuple[list[Any], Any]:
    """The tree with its floating tensors aliased, and those aliases."""
    found, spec = trees.flatten(tree)
    new = [
        alias(door.as_tensor(x)) if isinstance(x, (Handle, float)) or hasattr(x, "__array__") else x
        for x in found
    ]
    for x in new:
        if isinstance(x, Handle) and not dt.is_float(x._a.dtype):
            raise HybridError(f"cannot differentiate with respect to a {x._a.dtype.name} tensor")
    return new, spec


def _pullback(out: Any, seeds: Any, watched: list[Any]) -> list[Any]:
    """Gradients of watched tensors; on the tape only if something outside them
    is differentiable too."""
    outs, _ = trees.flatten(out)
    gs = [None] * len(outs) if seeds is None else trees.flatten(seeds)[0]
    pairs = [(o, g) for o, g in zip(outs, gs) if isinstance(o, Handle) and o._node is not None]
    stop = {id(owner(w._node)) for w in watched}
    roots = [o._node for o, _ in pairs]
    foreign = any(type(n) is Leaf and id(n) not in stop for n in order(roots, set()))
    old = door.set_grad(foreign and door.grad_enabled())
    try:
        nodes, roots, _ = unfold(roots, stop)
        nodes = [n for n in nodes if id(n) not in stop]
        store = _run(roots, [_seed(o, g) for o, g in pairs], nodes)
        return [
            _fresh(store[id(w._node)][0]) if id(w._node) in store else _zeros(w._a) for w in watched
        ]
    finally:
        door.STATE.special += door.LOCAL.grad - old
        door.LOCAL.grad = old


def value_and_grad(
    fn: Callable[..., Any], argnums: int | Sequence[int] = 0, *, has_aux: bool = False
) -> Callable[..., Any]:
    """A function returning (fn(*args), gradients with respect to args[argnums]); arguments may be
    trees.

    fn returns a tensor of one element, or (that, anything) with has_aux.  Nests for higher
    derivatives.

    >>> import hybrid
    >>> value, g = hybrid.value_and_grad(lambda x: (x * x).sum())(hybrid.tensor([1., 2.]))
    >>> g.tolist()
    [2.0, 4.0]
    """
    _need_callable("grad", fn)
    several = isinstance(argnums, Sequence) and not isinstance(argnums, str)
    given: Any = argnums if several else (argnums,)
    numbers = [whole(k, "argnums") for k in given]

    @functools.wraps(fn, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with enable_grad():
            new, parts = list(args), []
            for k in numbers:
                if not -len(args) <= k < len(args):
                    raise ArgumentError(f"grad: argnums is {argnums}, the call has {len(args)}")
                watched, spec = _watched(args[k])
                new[k] = trees.unflatten(spec, watched)
                parts.append((watched, spec))
            out = fn(*new, **kwargs)
            if has_aux and not (isinstance(out, (tuple, list)) and len(out) == 2):
                raise ArgumentError("grad with has_aux=True: fn has to return (value, aux)")
            value, aux = out if has_aux else (out, None)
            if not isinstance(value, Handle):
                raise HybridError(
                    f"grad needs a function that returns a tensor, not {type(value).__name__}"
                )
            everything = [w for ws, _ in parts for w in ws if isinstance(w, Handle)]
            gs = iter(_pullback(value, None, everything))
        result = tuple(
            trees.unflatten(spec, [next(gs) if isinstance(w, Handle) else None for w in ws])
            for ws, spec in parts
        )
        own = all(type(w._node) is Leaf for w in everything)
        top = stop_gradient(value) if own and not _reaches_foreign(value, everything) else value
        return (top, aux) if has_aux else top, result if several else result[0]

    return wrapped


def _reaches_foreign(value: Any, watched: list[Any]) -> bool:
    mine = {id(w._node) for w in watched}
    return any(type(n) is Leaf and id(n) not in mine for n in order([value._node], set()))


def grad(
    fn: Callable[..., Any], argnums: int | Sequence[int] = 0, *, has_aux: bool = False
) -> Callable[..., Any]:
    """A function returning the gradient of fn with respect to args[argnums] (and aux with has_aux).

    >>> import hybrid
    >>> hybrid.grad(hybrid.grad(lambda x: x ** 3))(hybrid.tensor(2.0)).item()
    12.0
    """
    both = value_and_grad(fn, argnums, has_aux=has_aux)

    @functools.wraps(fn, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        value, g = both(*args, **kwargs)
        return (g, value[1]) if has_aux else g

    return wrapped


def vjp(fn: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """(fn(*primals), pullback): pullback(cotangents shaped like the output)
    gives a tuple of gradients."""
    _need_callable("vjp", fn)
    with enable_grad():
        watched, spec = _watched(primals)
        out = fn(*trees.unflatten(spec, watched))

    def pullback(cotangent: Any) -> Any:
        tensors = [w for w in watched if isinstance(w, Handle)]
        gs = iter(_pullback(out, cotangent, tensors))
        return trees.unflatten(spec, [next(gs) if isinstance(w, Handle) else None for w in watched])

    return trees.map_tree(lambda t: stop_gradient(t) if isinstance(t, Handle) else t, out), pullback


def custom_gradient(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function a gradient of its own: fn(*tensors) returns (output, pull), and pull(g)
    returns the gradients of the inputs (a tensor, or a tuple with None where there is none).

    >>> import hybrid
    >>> @hybrid.custom_gradient
    ... def clip_gradient(x):
    ...     return x, lambda g: hybrid.clip(g, -1.0, 1.0)
    """

    _need_callable("custom_gradient", fn)

    @functools.wraps(fn, updated=())
    def wrapped(*args: Any) -> Any:
        ts = [door.as_tensor(x) if not isinstance(x, Handle) else x for x in args]
        with no_grad():
            got = fn(*[stop_gradient(t) for t in ts])
        pair = got if isinstance(got, (tuple, list)) and len(got) == 2 else (got, None)
        if not callable(pair[1]):
            raise ArgumentError("custom_gradient: fn has to return (output, pull)")
        out: Any = pair[0]
        pull: Any = pair[1]
        single = isinstance(out, Handle)
        outs = [stop_gradient(o) for o in ([out] if single else out)]
        if door.grad_enabled() and any(t._node is not None for t in ts):
            avals = tuple(o._a for o in outs)

            def pull_list(gs: list[Any]) -> list[Any]:
                full = [g if g is not None else _zeros(a) for g, a in zip(gs, avals)]
                got = pull(*full)
                got = [got] if isinstance(got, Handle) or got is None else list(got)
                if len(got) != len(ts):
                    raise HybridError(
                        f"custom_gradient: pull gave {len(got)} gradients for {len(ts)} inputs"
                    )
                return [None if g is None else _fit(g, t._a) for g, t in zip(got, ts)]

            node = (
                PseudoEntry("custom_gradient", pull_list, avals),
                tuple(t._node for t in ts),
                (),
                None,
            )
            for i, o in enumerate(outs):
                o._node = node if single else (i, node)
        return outs[0] if single else tuple(outs)

    return wrapped
