"""The base of optimizers: parameter groups, gradients, state.

Invariant: hyper-parameters and state are tensors; changing one assigns a new value to the same
handle, so a schedule is neither frozen by a recorded step nor a reason to record again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from .. import ops
from ..autograd.backward import stop_gradient
from ..core import dtypes as dt
from ..core.errors import ArgumentError, HybridError, ShapeError
from ..eager.create import tensor
from ..eager.snapshot import Saved, frozen, must_map
from ..eager.tensor import Tensor
from ..eager.writing.writes import become, put_results
from ..ir.door import bind as door
from ..ir.door.together import together
from ..ir.mode import bump
from ..ir.op import Op
from ..ir.tensor import Handle, Leaf
from .rules import Rule, are_apart, batches, is_ruled, note_update

__all__ = ["Optimizer", "ParamGroup", "Rule"]


class ParamGroup(dict):
    """Parameters and the hyper-parameters they share.  Numbers live in tensors on the device of the
    first parameter, float64 where a parameter is and else float32: ``group["lr"] = 0.1`` assigns to
    the tensor that recorded steps read, and reading gives that tensor.

    >>> import hybrid
    >>> opt = hybrid.optim.SGD([hybrid.ones(2, requires_grad=True)], lr=0.1)
    >>> group = opt.param_groups[0]
    >>> group["lr"] = 0.5; group["lr"]
    tensor(0.5)
    """

    def __setitem__(self, name: str, value: Any) -> None:
        held = dict.get(self, name)
        if isinstance(held, Handle):
            held.assign(value)  # type: ignore[attr-defined]
        else:
            dict.__setitem__(self, name, value)
            owner = dict.get(self, "_owner")
            if owner is not None:
                bump(owner)

    # a number is given to a tensor, or it is seen that none took it
    __setitem__.operands_only = True  # type: ignore[attr-defined]

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set several entries, each like ``group[name] = value``.

        >>> import hybrid
        >>> group = hybrid.optim.SGD([hybrid.ones(2, requires_grad=True)]).param_groups[0]
        >>> group.update(lr=0.5, momentum=0.0); group["lr"].item()
        0.5
        """
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def __ior__(self, other: Any) -> ParamGroup:  # type: ignore[misc]
        self.update(other)
        return self


class Optimizer(Saved):
    """Base: parameter groups, zero_grad, state_dict.  Subclasses give `numbers` (names of
    hyper-parameters held as tensors), `slots` (state per parameter) and `update`.

    >>> import hybrid
    >>> class Signs(hybrid.optim.Optimizer):
    ...     numbers = ("lr",)
    ...     def update(self, parameter, gradient, state, group):
    ...         parameter.assign(parameter - group["lr"] * gradient.sign())
    >>> p = hybrid.tensor([1.0, 2.0], requires_grad=True)
    >>> opt = Signs([p], lr=0.5)
    >>> (p * hybrid.tensor([3.0, -3.0])).sum().backward(); opt.step(); p.tolist()
    [0.5, 2.5]
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        note_update(cls)

    numbers: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()  # Python bools of a group that belong to the state

    def __init__(self, params: Iterable[Any], **defaults: Any) -> None:
        if isinstance(params, Handle):
            raise HybridError(
                f"{type(self).__name__} takes a list of tensors or groups, not one tensor"
            )
        self.defaults = defaults
        self.param_groups: list[ParamGroup] = []
        self.state: dict[int, dict[str, Tensor]] = {}
        if not hasattr(params, "__iter__"):
            raise HybridError(
                f"{type(self).__name__} takes a list of tensors or groups, not a "
                f"{type(params).__name__}; pass model.parameters()"
            )
        items = list(params)
        if not items:
            raise HybridError(f"{type(self).__name__} got no parameters")
        for group in items if isinstance(items[0], dict) else [{"params": items}]:
            self.add_param_group(group)

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Add {"params": tensors, hyper-parameter: value, ...}; missing values are the defaults.

        Raises ArgumentError for what is no such dict, HybridError for a tensor that is no leaf or
        is in a group already.

        >>> import hybrid
        >>> opt = hybrid.optim.SGD([hybrid.ones(2, requires_grad=True)], lr=0.1)
        >>> opt.add_param_group({"params": [hybrid.ones(3, requires_grad=True)], "lr": 0.5})
        >>> [group["lr"].item() for group in opt.param_groups][1]
        0.5
        """
        given: Any = group.get("params")
        if isinstance(given, (str, Mapping)) or not hasattr(given, "__iter__"):
            raise ArgumentError('a group is a dict with a list of tensors under "params"')
        params = [given] if isinstance(given, Handle) else list(given)
        for parameter in params:
            if not isinstance(parameter, Handle) or not parameter.is_leaf:  # type: ignore[attr-defined]
                raise HybridError(
                    f"an optimizer takes leaf tensors, not {type(parameter).__name__}; pass "
                    "model.parameters()"
                )
            if id(parameter) in self.state:
                raise HybridError("a parameter appears in more than one group")
            self.state[id(parameter)] = {}
        made = ParamGroup(self.defaults | group | {"params": params})
        double = any(p._a.dtype is dt.float64 for p in params)
        where = params[0]._a.device if params else None
        for name in self.numbers:
            value = made[name]
            target = dt.float64 if double else dt.float32
            dict.__setitem__(made, name, tensor(float(value), dtype=target, device=where))
        dict.__setitem__(made, "_owner", self)
        self.param_groups.append(made)
        for parameter in params:
            self._init_state(parameter, made)
        bump(self)

    def _init_state(self, parameter: Any, group: ParamGroup) -> None:
        for name in self.slots:
            self.state[id(parameter)][name] = ops.zeros_like(stop_gradient(parameter))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters; with set_to_none=False they become zeros.

        >>> import hybrid
        >>> p = hybrid.ones(2, requires_grad=True)
        >>> p.sum().backward(); hybrid.optim.SGD([p]).zero_grad(); p.grad is None
        True
        """
        for group in self.param_groups:
            for parameter in group["params"]:
                if set_to_none:  # without looking: what was there is no input of a recorded step
                    parameter.grad = None
                elif parameter.grad is not None:
                    parameter.grad = ops.zeros_like(parameter.grad)

    def step(self, closure: Any = None) -> Any:
        """Update every parameter that has a gradient; returns closure() if one is given.

        >>> import hybrid
        >>> p = hybrid.ones(2, requires_grad=True)
        >>> (p * 2).sum().backward(); hybrid.optim.SGD([p], lr=0.25).step(); p.tolist()
        [0.5, 0.5]
        """
        loss = closure() if closure is not None else None
        mode = door.LOCAL.mode
        known = self._facts() if mode is not None and mode.defers else None
        if known is None:
            self._update_all()
        else:
            mode.repeat(*known, self._update_all, type(self))
        return loss

    def _update_all(self) -> None:
        recording = door.set_grad(False)
        try:
            for group in self.param_groups:
                self._follow(group)
                self.begin(group)
                if not self._at_once(group):
                    for parameter in group["params"]:
                        gradient = parameter.grad
                        if gradient is not None:
                            self.update(parameter, gradient, self.state[id(parameter)], group)
                self.end(group)
        finally:
            door.STATE.special += door.LOCAL.grad - recording
            door.LOCAL.grad = recording

    def _facts(self) -> tuple[list[Any], list[Any]] | None:
        """What a step of this class depends on, in Python and in tensors; None: on more."""
        kind: Any = type(self)
        if not _is_own(kind) or not _NAMES.isdisjoint(self.__dict__):
            return None
        facts: list[Any] = []
        tensors: list[Any] = []
        for group in self.param_groups:
            if type(group) is not ParamGroup or group.get("_first", False):
                return None
            for name, value in group.items():
                if isinstance(value, Handle):
                    facts.append(name)
                    tensors.append(value)
                elif type(value) is bool:
                    facts += (name, value)
                elif name not in _NO_FLAGS:
                    return None
            for parameter in group["params"]:
                leaf, state = parameter._node, self.state[id(parameter)]
                gradient = leaf.grad if type(leaf) is Leaf else None
                tensors.append(parameter)
                if gradient is None:
                    facts.append(None)
                    continue
                facts.append(tuple(state))
                tensors.append(gradient)
                tensors += state.values()
        return facts, tensors

    def _follow(self, group: ParamGroup) -> None:
        """State and hyper-parameters go where `module.to` has taken the parameters."""
        where = None
        for parameter in group["params"]:
            device = parameter._a.device
            where = where or device
            for held in self.state[id(parameter)].values():
                if isinstance(held, Handle) and held._a.device is not device:
                    become(held, tensor(held, device=device))
        for name in self.numbers:
            if where is not None and group[name]._a.device is not where:
                become(group[name], tensor(group[name], device=where))

    def rule(self, group: ParamGroup) -> Rule | None:
        """How `update` updates a parameter, if one op does; for devices that do many at once.

        >>> import hybrid
        >>> opt = hybrid.optim.Adam([hybrid.ones(2, requires_grad=True)])
        >>> opt.rule(opt.param_groups[0]).numbers
        ('lr', 'beta1', 'beta2', 'eps', 'weight_decay', 'step')
        """
        return None

    def _at_once(self, group: ParamGroup) -> bool:
        """Update the parameters of a group in few calls of their device; False (with nothing
        changed) where it does not offer that, or a mode looks on."""
        replaced = not is_ruled(type(self)) or Tensor.assign is not _ASSIGN
        if door.LOCAL.mode is not None or replaced or not _NAMES.isdisjoint(self.__dict__):
            return False
        rule, waiting = self.rule(group), [p for p in group["params"] if p.grad is not None]
        if rule is None or rule.op is None or not waiting:
            return False
        for parameters in batches(waiting):
            if not self._batch(parameters, rule, rule.op, group):
                for p in parameters:
                    self.update(p, p.grad, self.state[id(p)], group)
        return True

    def _batch(self, parameters: list[Any], rule: Rule, op: Op, group: ParamGroup) -> bool:
        """The parameters in one call; all are of one compute type and device."""
        tensors: list[Any] = []
        targets: list[Any] = []
        own = 2 + len(rule.slots)
        for parameter in parameters:
            state, aval = self.state[id(parameter)], parameter._a
            held = [state[name] for name in rule.slots]
            tensors += [parameter, parameter.grad, *held]
            targets += [parameter, *held]
            for held_tensor in tensors[-own:]:
                if held_tensor._a is not aval:
                    return False
        numbers = [like(group[name], parameters[0]) for name in rule.numbers]
        if not are_apart(targets, [*tensors, *numbers]):
            return False
        into = (0, *range(2, own))
        made = together(op, rule.params, tensors + numbers, own, len(numbers), into)
        if made is None:
            return False
        put_results(targets, *made)
        return True

    def begin(self, group: ParamGroup) -> None:
        """Work done once per step and group, before the updates; a subclass may write it.

        >>> import hybrid
        >>> class Counting(hybrid.optim.SGD):
        ...     def begin(self, group):
        ...         print("a step of", len(group["params"]), "tensors")
        >>> Counting([hybrid.ones(2, requires_grad=True)]).step()
        a step of 1 tensors
        """

    def end(self, group: ParamGroup) -> None:
        """Work done once per step and group, after the updates; a subclass may write it.

        >>> import hybrid
        >>> class Decaying(hybrid.optim.SGD):
        ...     def end(self, group):
        ...         group["lr"] = group["lr"] / 2
        >>> opt = Decaying([hybrid.ones(2, requires_grad=True)], lr=1.0)
        >>> opt.step(); opt.step(); opt.lr
        tensor(0.25)
        """

    def update(
        self, parameter: Any, gradient: Any, state: dict[str, Tensor], group: ParamGroup
    ) -> None:
        """Give a parameter and its state their new values, by `assign`; each subclass writes it.

        `gradient` has the parameter's shape, `state` the tensors of `slots`; `Optimizer` shows one.

        >>> import hybrid
        >>> opt = hybrid.optim.SGD([hybrid.ones(2, requires_grad=True)], lr=0.5)
        >>> p = opt.param_groups[0]["params"][0]
        >>> opt.update(p, hybrid.ones(2), opt.state[id(p)], opt.param_groups[0]); p.tolist()
        [0.5, 0.5]
        """
        raise NotImplementedError

    # ---- hyper-parameters as attributes
    @property
    def lr(self) -> Tensor:
        """Learning rate of the first group (a tensor); assigning sets it in every group.

        >>> import hybrid
        >>> opt = hybrid.optim.SGD([hybrid.ones(2, requires_grad=True)], lr=0.5)
        >>> opt.lr = opt.lr / 2; opt.lr
        tensor(0.25)
        """
        return self.param_groups[0]["lr"]

    @lr.setter
    def lr(self, value: Any) -> None:
        for group in self.param_groups:
            group["lr"] = value

    lr.fset.operands_only = True  # type: ignore[attr-defined]

    # ---- state
    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles hold: `state` goes with its parameters, not with their ids."""
        params = [p for group in self.param_groups for p in group["params"]]
        return self.__dict__ | {"state": [(p, self.state[id(p)]) for p in params]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.state = {id(p): held for p, held in state["state"]}

    def _flat(self) -> dict[str, Any]:
        tensors: dict[str, Any] = {}
        count = 0
        for number, group in enumerate(self.param_groups):
            tensors.update(
                {f"group{number}.{n}": v for n, v in group.items() if isinstance(v, Handle)}
            )
            for parameter in group["params"]:
                tensors.update(
                    {f"param{count}.{n}": v for n, v in self.state[id(parameter)].items()}
                )
                count += 1
        return tensors

    def state_dict(self) -> dict[str, Tensor]:
        """All state and hyper-parameters by name: a snapshot that later steps do not change.

        >>> import hybrid
        >>> p = hybrid.ones(2, requires_grad=True)
        >>> sorted(hybrid.optim.Adam([p]).state_dict())[-2:]
        ['param0.exp_avg', 'param0.exp_avg_sq']
        """
        return frozen(self._flat()) | {n: tensor(g[f]) for n, g, f in self._flags()}

    def _flags(self) -> list[tuple[str, ParamGroup, str]]:
        """(name in the state dict, group, name in the group) of the flags."""
        return [
            (f"group{i}.{f.strip('_')}", g, f)
            for i, g in enumerate(self.param_groups)
            for f in self.flags
        ]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Assign a snapshot; nothing changes when names or shapes do not fit.

        Raises ArgumentError for what is no mapping, HybridError for other names, ShapeError for
        other shapes.

        >>> import hybrid
        >>> p = hybrid.ones(2, requires_grad=True)
        >>> saved = hybrid.optim.SGD([p], lr=0.5).state_dict()
        >>> opt = hybrid.optim.SGD([p], lr=0.1); opt.load_state_dict(saved); opt.lr.item()
        0.5
        """
        must_map("load_state_dict", state)
        flags = self._flags()
        mine = self._flat() | {n: tensor(g[f]) for n, g, f in flags}
        if set(mine) != set(state):
            raise HybridError(
                f"optimizer state does not fit: missing {sorted(set(mine) - set(state))}, "
                f"unexpected {sorted(set(state) - set(mine))}"
            )
        for name, value in mine.items():
            given = tuple(state[name].shape)
            if given != value.shape:
                raise ShapeError(
                    f"optimizer state {name} has shape {value.shape}, the snapshot {given}"
                )
        for name, value in self._flat().items():
            value.assign(state[name])
        for name, group, flag in flags:
            if group[flag] != bool(state[name]):
                dict.__setitem__(group, flag, bool(state[name]))
                bump(self)

    def __repr__(self) -> str:
        groups = ", ".join(f"{len(g['params'])} tensors" for g in self.param_groups)
        numbers = ", ".join(f"{k}={v}" for k, v in self.defaults.items())
        return f"{type(self).__name__}({groups}; {numbers})"


_ASSIGN = Tensor.assign  # as which parameters are given their values
_NO_FLAGS = frozenset(("params", "_owner"))  # in a group
# what a step calls: none of it may be in the instance
_NAMES = frozenset(("begin", "update", "end", "rule", "numbers", "slots", "decoupled"))
_NAMES |= {"_follow", "_at_once", "_update_all"}


@lru_cache(256)
def _is_own(kind: Any) -> bool:
    """Whether all that a class does is hybrid's own code."""
    root = __name__.partition(".")[0]
    return all(base is object or base.__module__.partition(".")[0] == root for base in kind.__mro__)


def like(number: Tensor, parameter: Any) -> Tensor:
    """A hyper-parameter in the dtype that a parameter is updated in (float32 for half types: 0.999
    is 1 in bfloat16), where the parameter is."""
    target = dt.compute_type(parameter.dtype)
    if number._a.device is not parameter._a.device:  # a group over several devices
        number = number.to(parameter._a.device)
    return number if number.dtype is target else number.astype(target)
