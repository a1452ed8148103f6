"""Module: a callable with parameters, buffers and submodules, PyTorch's names.

Invariant: every structural change (attribute stored or deleted, hook added) moves the module's
version, so a recorded function that used the module notices; assigning a new value to a parameter
does not, nor does a number stored over a number, which is looked at by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

from ..core import dtypes as dt
from ..core.aval import HOST, Device, is_device
from ..core.aval import device as to_device
from ..core.errors import HybridError, ShapeError
from ..eager.create import asarray, tensor
from ..eager.making import named_device
from ..eager.snapshot import Saved, frozen, must_map
from ..eager.tensor import Tensor
from ..eager.writing.writes import become
from ..ir.door.context import LOCAL, STATE
from ..ir.mode import bump
from ..ir.tensor import Handle
from ..ops import zeros_like
from .parameter import Parameter

__all__ = ["Module"]

Held: TypeAlias = Literal["parameter", "buffer", "temporary", "module"]  # what an attribute is


def _is_number(value: Any) -> bool:
    cls = type(value)
    return cls is int or cls is float or cls is bool


def _moved(held: Any, dtype: Any, device: Device) -> bool:
    """Give a tensor of a module another dtype or device; whether it had another one."""
    if held._a.dtype is dtype and held._a.device is device:
        return False
    gradient = held.grad
    become(held, tensor(held, dtype=dtype, device=device))
    if gradient is not None:
        held.grad = tensor(gradient, dtype=dtype, device=device)
    return True


class Module(Saved):
    """Base of all layers: assign tensors that require a gradient and other Modules as attributes,
    and write `forward`.

    >>> import hybrid
    >>> class Net(hybrid.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.layer = hybrid.nn.Linear(2, 3)
    ...     def forward(self, x):
    ...         return self.layer(x).relu()
    >>> Net()(hybrid.ones((4, 2))).shape
    (4, 3)
    """

    training: bool = True
    _names: dict[str, Held]
    _forward_hooks: list[Callable[..., Any]]

    def __init__(self) -> None:
        super().__init__()
        set_attribute = object.__setattr__
        set_attribute(self, "_names", {})
        set_attribute(self, "_forward_hooks", [])
        set_attribute(self, "training", True)

    # ---- attributes
    def __setattr__(self, name: str, value: Any) -> None:
        names: dict[str, Held] | None = self.__dict__.get("_names")
        if names is None:
            raise HybridError(
                f"call super().__init__() before assigning {name} to a {type(self).__name__}"
            )
        if name == "training":
            mode = LOCAL.mode
            if mode is not None and name in self.__dict__:
                mode.on_switch(self)
            object.__setattr__(self, name, bool(value))  # who needs it looks at it
            return
        held = names.get(name)
        if isinstance(value, Module):
            names[name] = "module"
        elif isinstance(value, Handle):
            if held == "parameter" and isinstance(self.__dict__.get(name), Parameter):
                if not isinstance(value, Parameter):
                    raise TypeError(
                        f"{type(self).__name__}.{name} is a parameter: assign an nn.Parameter to "
                        f"replace it, or give it a value with .{name}.assign(...)"
                    )
            if held in (None, "module") and isinstance(value, Parameter):
                names[name] = "parameter"
            elif held is None or held == "module":
                names.pop(name, None)
                object.__setattr__(self, name, value)
                return
        elif held is not None and value is not None:
            del names[name]
        elif _is_number(value) and _is_number(self.__dict__.get(name)):
            object.__setattr__(self, name, value)  # the place itself is looked at, not the version
            return
        object.__setattr__(self, name, value)
        bump(self)

    def __delattr__(self, name: str) -> None:
        self._names.pop(name, None)
        object.__delattr__(self, name)
        bump(self)

    def _enter(self, name: str, value: Any, kind: Held) -> None:
        """Store an attribute that is listed under `kind`."""
        taken = hasattr(self, name) and name not in self._names and name not in self.__dict__
        if not name or "." in name or taken or name == "training" or name.startswith("_"):
            raise HybridError(
                f"{name!r} is no name for a {kind} of {type(self).__name__}: it is "
                "empty, holds a dot, starts with an underscore, or is an attribute of every module"
            )
        self._names[name] = kind
        object.__setattr__(self, name, value)
        bump(self)

    def register_parameter(self, name: str, value: Tensor | None) -> None:
        """Enter a parameter by name; None declares an absent one.

        Raises HybridError for what is no name: empty, with a dot, or of another attribute.

        >>> import hybrid
        >>> layer = hybrid.nn.Module()
        >>> layer.register_parameter("bias", None)
        >>> layer.bias is None
        True
        """
        self._enter(name, value, "parameter")

    def register_buffer(self, name: str, value: Tensor | None, persistent: bool = True) -> None:
        """Enter a tensor that is state but no parameter (running statistics, masks); with
        persistent=False it is not in the state dict.

        >>> import hybrid
        >>> layer = hybrid.nn.Module()
        >>> layer.register_buffer("steps", hybrid.tensor(0))
        >>> layer.state_dict()
        {'steps': tensor(0)}
        """
        self._enter(name, value, "buffer" if persistent else "temporary")

    def add_module(self, name: str, module: Module | None) -> None:
        """Enter a submodule by name; None declares an absent one.

        >>> import hybrid
        >>> layer = hybrid.nn.Module()
        >>> layer.add_module("act", hybrid.nn.ReLU()); layer.act
        ReLU()
        """
        self._enter(name, module, "module")

    # ---- calling
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; subclasses write this.

        >>> import hybrid
        >>> class Twice(hybrid.nn.Module):
        ...     def forward(self, x):
        ...         return x + x
        >>> Twice()(hybrid.ones(2))
        tensor([2., 2.])
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if STATE.special and LOCAL.mode is not None and LOCAL.mode.defers:
            output = LOCAL.mode.part(Module.__call__, self, args, kwargs)
            if output is not NotImplemented:
                return output
        output = self.forward(*args, **kwargs)
        for hook in self._forward_hooks:
            replaced = hook(self, args, output)
            output = output if replaced is None else replaced
        return output

    def register_forward_hook(self, hook: Callable[..., Any]) -> Callable[[], None]:
        """Call hook(module, inputs, output) after forward; a result replaces the output.  Returns a
        function that removes the hook.

        >>> import hybrid
        >>> layer = hybrid.nn.ReLU()
        >>> remove = layer.register_forward_hook(lambda module, inputs, output: output + 1)
        >>> first = layer(hybrid.zeros(1)); remove()
        >>> first.tolist(), layer(hybrid.zeros(1)).tolist()
        ([1.0], [0.0])
        """
        self._forward_hooks.append(hook)
        bump(self)

        def remove() -> None:
            if hook in self._forward_hooks:
                self._forward_hooks.remove(hook)
                bump(self)

        return remove

    # ---- listing
    def _own(self, *kinds: Held) -> Iterator[tuple[str, Any]]:
        for name, kind in self._names.items():
            value = self.__dict__.get(name)
            if kind in kinds and value is not None:
                yield name, value

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, submodule) pairs of this module.

        >>> import hybrid
        >>> list(hybrid.nn.Sequential(hybrid.nn.ReLU(), hybrid.nn.Tanh()).named_children())
        [('0', ReLU()), ('1', Tanh())]
        """
        yield from self._own("module")

    def children(self) -> Iterator[Module]:
        """Submodules of this module.

        >>> import hybrid
        >>> list(hybrid.nn.Sequential(hybrid.nn.ReLU(), hybrid.nn.Tanh()).children())
        [ReLU(), Tanh()]
        """
        for _, module in self._own("module"):
            yield module

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(dotted name, module) pairs, this one first; a shared module once.

        >>> import hybrid
        >>> model = hybrid.nn.Sequential(hybrid.nn.Sequential(hybrid.nn.ReLU()))
        >>> [name for name, _ in model.named_modules()]
        ['', '0', '0.0']
        """
        return self._walk(prefix, set())

    def _walk(self, prefix: str, seen: set[int]) -> Iterator[tuple[str, Module]]:
        if id(self) in seen:
            return
        seen.add(id(self))
        yield prefix, self
        for name, module in self.named_children():
            yield from module._walk(f"{prefix}.{name}" if prefix else name, seen)

    def modules(self) -> Iterator[Module]:
        """This module and all below it.

        >>> import hybrid
        >>> [type(m).__name__ for m in hybrid.nn.Sequential(hybrid.nn.ReLU()).modules()]
        ['Sequential', 'ReLU']
        """
        for _, module in self.named_modules():
            yield module

    def _named(self, *kinds: Held) -> Iterator[tuple[str, Tensor]]:
        seen: set[int] = set()
        for prefix, module in self.named_modules():
            for name, held in module._own(*kinds):
                if id(held) not in seen:
                    seen.add(id(held))
                    yield (f"{prefix}.{name}" if prefix else name), held

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, parameter) pairs; a shared parameter once.

        >>> import hybrid
        >>> [(name, p.shape) for name, p in hybrid.nn.Linear(3, 2).named_parameters()]
        [('weight', (2, 3)), ('bias', (2,))]
        """
        yield from self._named("parameter")

    def parameters(self) -> Iterator[Tensor]:
        """All parameters, as optimizers take them; a shared one once.

        >>> import hybrid
        >>> sum(p.size for p in hybrid.nn.Linear(3, 2).parameters())
        8
        """
        for _, parameter in self.named_parameters():
            yield parameter

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, buffer) pairs.

        >>> import hybrid
        >>> loss = hybrid.nn.CrossEntropyLoss(weight=hybrid.tensor([1.0, 2.0]))
        >>> list(loss.named_buffers())
        [('weight', tensor([1., 2.]))]
        """
        yield from self._named("buffer", "temporary")

    def buffers(self) -> Iterator[Tensor]:
        """All buffers.

        >>> import hybrid
        >>> list(hybrid.nn.CrossEntropyLoss(weight=hybrid.tensor([1.0, 2.0])).buffers())
        [tensor([1., 2.])]
        """
        for _, buffer in self.named_buffers():
            yield buffer

    # ---- state
    def train(self, mode: bool = True) -> Module:
        """Training mode for this module and all below it (dropout, running statistics) or, with
        False, evaluation mode; returns self.

        >>> import hybrid
        >>> hybrid.nn.Dropout().train(False).training
        False
        """
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Evaluation mode; returns self.

        >>> import hybrid
        >>> hybrid.nn.Dropout(0.9).eval()(hybrid.ones(2))
        tensor([1., 1.])
        """
        return self.train(False)

    def requires_grad_(self, on: bool = True) -> Module:
        """Ask for gradients of all parameters, or freeze them; returns self.

        >>> import hybrid
        >>> frozen = hybrid.nn.Linear(3, 2).requires_grad_(False)
        >>> frozen(hybrid.ones((1, 3))).requires_grad
        False
        """
        for parameter in self.parameters():
            parameter.requires_grad_(on)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters; with set_to_none=False they become zeros.

        >>> import hybrid
        >>> layer = hybrid.nn.Linear(3, 2)
        >>> layer(hybrid.ones((1, 3))).sum().backward()
        >>> layer.zero_grad(); layer.weight.grad is None
        True
        """
        for parameter in self.parameters():
            if set_to_none:  # without looking: what was there is no input of a recorded step
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad = zeros_like(parameter.grad)

    def state_dict(self) -> dict[str, Tensor]:
        """Parameters and buffers by dotted name: a snapshot that later training does not change.

        >>> import hybrid
        >>> list(hybrid.nn.Sequential(hybrid.nn.Linear(3, 2)).state_dict())
        ['0.weight', '0.bias']
        """
        found: dict[str, Tensor] = {}
        for prefix, module in self.named_modules():
            for name, held in module._own("parameter", "buffer"):
                found[f"{prefix}.{name}" if prefix else name] = held
        return frozen(found)

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Assign parameters and buffers from a state dict; nothing is changed when an entry does
        not fit.

        Raises ArgumentError for what is no mapping, HybridError for missing or unexpected names
        (strict), ShapeError for other shapes.

        >>> import hybrid
        >>> one, other = hybrid.nn.Linear(3, 2), hybrid.nn.Linear(3, 2)
        >>> other.load_state_dict(one.state_dict())
        >>> (one.weight == other.weight).all().item()
        True
        """
        must_map("load_state_dict", state)
        mine: dict[str, Tensor] = {}
        for prefix, module in self.named_modules():
            mine.update(
                {f"{prefix}.{n}" if prefix else n: t for n, t in module._own("parameter", "buffer")}
            )
        missing, extra = [n for n in mine if n not in state], [n for n in state if n not in mine]
        if strict and (missing or extra):
            raise HybridError(
                f"load_state_dict: missing {missing or 'nothing'}, unexpected "
                f"{extra or 'nothing'}; pass strict=False to load what fits"
            )
        values = {n: _loaded(n, t, state[n]) for n, t in mine.items() if n in state}
        for name, value in values.items():
            mine[name].assign(value)

    def apply(self, fn: Callable[[Module], Any]) -> Module:
        """Call fn on every module below and on this one; returns self.

        >>> import hybrid
        >>> model = hybrid.nn.Sequential(hybrid.nn.Linear(2, 2), hybrid.nn.Tanh())
        >>> _ = model.apply(lambda module: print(type(module).__name__))
        Linear
        Tanh
        Sequential
        """
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def to(self, *args: Any, dtype: Any = None, device: Any = None) -> Module:
        """Move parameters and buffers to a device and convert the floating ones to another dtype
        (`model.to(x.device)`, `model.to("float16")`), with their gradients: the tensors stay the
        ones that an optimizer holds.

        >>> import hybrid
        >>> hybrid.nn.Linear(3, 2).to("float16").weight.dtype.name
        'float16'
        """
        for argument in args:
            if isinstance(argument, (Device, int)) or is_device(argument):
                device = argument
            else:
                dtype = argument
        want = None if dtype is None else dt.canonical(dtype)
        where = None if device is None else to_device(device)
        for module in self.modules():
            for _, held in module._own("parameter", "buffer", "temporary"):
                target = want if want is not None and dt.is_float(held.dtype) else held.dtype
                if _moved(held, target, where or held.device):
                    bump(module)
        return self

    def cpu(self) -> Module:
        """`to` the CPU.

        >>> import hybrid
        >>> hybrid.nn.Linear(3, 2).cpu().weight.device
        cpu
        """
        return self.to(HOST)

    def cuda(self, device: Any = None) -> Module:
        """`to` a CUDA device, given by its number or name (None: the current one).

        >>> import hybrid
        >>> if hybrid.cuda.is_available():
        ...     assert hybrid.nn.Linear(3, 2).cuda().weight.device == "cuda"
        """
        return self.to(named_device(to_device("cuda"), device))

    # ---- text
    def extra_repr(self) -> str:
        """Arguments shown in the repr; subclasses write this.

        >>> import hybrid
        >>> hybrid.nn.Linear(3, 2).extra_repr()
        'in_features=3, out_features=2, bias=True'
        """
        return ""

    def __repr__(self) -> str:
        lines = [
            f"  ({name}): " + repr(m).replace("\n", "\n  ") for name, m in self.named_children()
        ]
        head = f"{type(self).__name__}({self.extra_repr()}"
        return head + ("\n" + "\n".join(lines) + "\n)" if lines else ")")


def _loaded(name: str, held: Tensor, value: Any) -> Tensor:
    """An entry of a state dict as a tensor that can be assigned to the one held."""
    try:
        loaded = asarray(value)
    except (TypeError, ValueError) as error:
        raise HybridError(f"load_state_dict: {name} is no array of numbers ({error})") from None
    if loaded.shape != held.shape:
        raise ShapeError(
            f"load_state_dict: {name} has shape {held.shape}, the state has {loaded.shape}"
        )
    return loaded
