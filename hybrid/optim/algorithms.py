"""SGD, Adam and AdamW.

Invariant: one fused op per parameter writes the parameter and its state; formulas and defaults are
PyTorch's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import ops
from ..core.errors import HybridError
from ..eager.tensor import Tensor
from ..ir.mode import bump
from ..ops.elementwise.updates import (
    adam_update,
    momentum_update,
    sgd_update,
)
from .optimizer import Optimizer, ParamGroup, Rule, like

__all__ = ["SGD", "Adam", "AdamW"]


def _check(name: str, value: Any, lowest: float = 0.0, below: float = float("inf")) -> None:
    if not lowest <= float(value) < below:
        raise ValueError(f"{name} = {value} is outside {lowest} <= {name} < {below}")


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum, dampening, weight decay and Nesterov's variant
    (Sutskever et al., 2013, as PyTorch writes it).

    b <- momentum * b + (1 - dampening) * (g + weight_decay * p), p <- p - lr * b.  Half-precision
    parameters are updated in float32 and rounded once.  Raises ValueError for a hyper-parameter out
    of range, HybridError for no parameters.

    >>> import hybrid
    >>> p = hybrid.tensor([1.0], requires_grad=True)
    >>> opt = hybrid.optim.SGD([p], lr=0.1)
    >>> (p * 3).sum().backward(); opt.step(); round(p.item(), 4)
    0.7
    """

    numbers = ("lr", "momentum", "dampening", "weight_decay")
    flags = ("_first",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        for name, value in (("lr", lr), ("momentum", momentum), ("weight_decay", weight_decay)):
            _check(name, value)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum needs momentum > 0 and dampening = 0")
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            maximize=maximize,
        )

    def _init_state(self, parameter: Any, group: ParamGroup) -> None:
        # without dampening a buffer of zeros gives PyTorch's first step; with it the first step is
        # its own
        dict.setdefault(group, "_heavy", float(group["momentum"]) != 0.0)
        dict.setdefault(group, "_first", float(group["dampening"]) != 0.0)
        if group["_heavy"]:
            self.state[id(parameter)]["momentum_buffer"] = ops.zeros_like(parameter.detach())

    def rule(self, group: ParamGroup) -> Rule:
        """Plain, or with momentum.

        >>> import hybrid
        >>> opt = hybrid.optim.SGD([hybrid.ones(2, requires_grad=True)], momentum=0.9)
        >>> opt.rule(opt.param_groups[0]).slots
        ('momentum_buffer',)
        """
        maximize = ("maximize", bool(group["maximize"]))
        if not group["_heavy"]:
            return Rule(sgd_update, (), ("lr", "weight_decay"), (maximize,))
        given = ("nesterov", bool(group["nesterov"])), ("first", bool(group["_first"])), maximize
        numbers = ("lr", "momentum", "dampening", "weight_decay")
        return Rule(momentum_update, ("momentum_buffer",), numbers, given)

    def update(
        self, parameter: Any, gradient: Any, state: dict[str, Tensor], group: ParamGroup
    ) -> None:
        """p <- p - lr * (momentum step of g), as `torch.optim.SGD` documents it; called by `step`.

        >>> import hybrid
        >>> p = hybrid.tensor([1.0], requires_grad=True)
        >>> opt = hybrid.optim.SGD([p], lr=0.5)
        >>> opt.update(p, hybrid.ones(1), {}, opt.param_groups[0]); p.tolist()
        [0.5]
        """
        lr, decay = like(group["lr"], parameter), like(group["weight_decay"], parameter)
        if not group["_heavy"]:
            parameter.assign(sgd_update(parameter, gradient, lr, decay, maximize=group["maximize"]))
            return
        buffer = state["momentum_buffer"]
        updated, moved = momentum_update(
            parameter,
            gradient,
            buffer,
            lr,
            like(group["momentum"], parameter),
            like(group["dampening"], parameter),
            decay,
            nesterov=group["nesterov"],
            first=group["_first"],
            maximize=group["maximize"],
        )
        parameter.assign(updated)
        buffer.assign(moved)

    def end(self, group: ParamGroup) -> None:
        """The first step with dampening differs from the later ones: its buffer is the gradient
        itself.

        >>> import hybrid
        >>> p = hybrid.zeros(1, requires_grad=True)
        >>> opt = hybrid.optim.SGD([p], lr=1.0, momentum=0.5, dampening=0.5)
        >>> for _ in range(2): p.grad = hybrid.ones(1); opt.step(); print(p.item())
        -1.0
        -2.0
        """
        if group["_first"]:
            dict.__setitem__(group, "_first", False)
            bump(self)


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015) as PyTorch writes it; `weight_decay` is added to the gradient.

    p <- p - lr * m / (sqrt(v) + eps), with m and v the means of g and g^2 over the steps, decayed
    by betas and divided by 1 - beta^step.  The moments are tensors of the parameter's shape, zeros
    at first; the step count is a tensor.  Raises ValueError for a hyper-parameter out of range,
    HybridError for no parameters or amsgrad.

    >>> import hybrid
    >>> p = hybrid.tensor([1.0], requires_grad=True)
    >>> opt = hybrid.optim.Adam([p], lr=0.1)
    >>> (p * 3).sum().backward(); opt.step(); round(p.item(), 4)
    0.9
    """

    numbers = ("lr", "beta1", "beta2", "eps", "weight_decay", "step")
    slots = ("exp_avg", "exp_avg_sq")
    decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        amsgrad: bool = False,
        maximize: bool = False,
    ) -> None:
        if amsgrad:
            raise HybridError("amsgrad=True is not offered; use Adam without it")
        for name, value in (("lr", lr), ("eps", eps), ("weight_decay", weight_decay)):
            _check(name, value)
        _check("betas[0]", betas[0], 0.0, 1.0)
        _check("betas[1]", betas[1], 0.0, 1.0)
        super().__init__(
            params,
            lr=lr,
            beta1=betas[0],
            beta2=betas[1],
            eps=eps,
            weight_decay=weight_decay,
            step=0,
            maximize=maximize,
        )

    def begin(self, group: ParamGroup) -> None:
        """Count the step.

        >>> import hybrid
        >>> opt = hybrid.optim.Adam([hybrid.ones(2, requires_grad=True)])
        >>> opt.step(); opt.step(); opt.param_groups[0]["step"]
        tensor(2.)
        """
        group["step"].assign(group["step"] + 1)

    def rule(self, group: ParamGroup) -> Rule:
        """Parameter and moments.

        >>> import hybrid
        >>> opt = hybrid.optim.Adam([hybrid.ones(2, requires_grad=True)])
        >>> opt.rule(opt.param_groups[0]).slots
        ('exp_avg', 'exp_avg_sq')
        """
        given = ("decoupled", bool(self.decoupled)), ("maximize", bool(group["maximize"]))
        return Rule(adam_update, self.slots, self.numbers, given)

    def update(
        self, parameter: Any, gradient: Any, state: dict[str, Tensor], group: ParamGroup
    ) -> None:
        """New parameter and moments.

        >>> import hybrid
        >>> p = hybrid.tensor([1.0], requires_grad=True)
        >>> opt = hybrid.optim.Adam([p], lr=0.5)
        >>> opt.begin(opt.param_groups[0])
        >>> opt.update(p, hybrid.ones(1), opt.state[id(p)], opt.param_groups[0]); round(p.item(), 4)
        0.5
        """
        mean_before, square_before = state["exp_avg"], state["exp_avg_sq"]
        numbers = [
            like(group[n], parameter)
            for n in ("lr", "beta1", "beta2", "eps", "weight_decay", "step")
        ]
        updated, mean, square = adam_update(
            parameter,
            gradient,
            mean_before,
            square_before,
            *numbers,
            decoupled=self.decoupled,
            maximize=group["maximize"],
        )
        parameter.assign(updated)
        mean_before.assign(mean)
        square_before.assign(square)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019); otherwise as `Adam`.

    The parameter is scaled by 1 - lr * weight_decay before Adam's step.

    >>> import hybrid
    >>> p = hybrid.tensor([1.0], requires_grad=True)
    >>> opt = hybrid.optim.AdamW([p], lr=0.1, weight_decay=0.5)
    >>> (p * 3).sum().backward(); opt.step(); round(p.item(), 4)  # 0.95 - 0.1
    0.85
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        amsgrad: bool = False,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad=amsgrad, maximize=maximize)
