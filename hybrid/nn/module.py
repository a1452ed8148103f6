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
from ..eager.create import named_device
from ..eager.snapshot import Saved, frozen, must_map
from ..eager.tensor import Tensor, asarray, tensor
from ..eager.writes import become
from ..ir.door.guard import guarded
from ..ir.mode import EPOCH, bump
from ..ir.tensor import Handle
from ..ops import zeros_like

__all__ = ["Module", "Parameter"]

Held: TypeAlias = Literal["parameter", "buffer", "temporary", "module"]  # what an attribute is


class _ParameterType(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, Tensor) and value._node is not None and value.is_leaf


class Parameter(metaclass=_ParameterType):
    """`Parameter(data, requires_grad=True)`: a leaf tensor that a Module lists as its own.

    A tensor that requires a gradient is a parameter wherever it came from; isinstance says so.
    """

    def __new__(cls, data: Any, requires_grad: bool = True) -> Tensor:  # type: ignore[misc]
        made: Tensor = _parameter(data, requires_grad)
        return made


def _parameter(data: Any, requires_grad: bool) -> Tensor:
    made: Tensor = tensor(data, requires_grad=requires_grad)
    return made


_parameter = guarded(_parameter, "Parameter", __name__)


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
            object.__setattr__(self, name, bool(value))
            EPOCH[0] += 1
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
        """Enter a parameter by name; None declares an absent one."""
        self._enter(name, value, "parameter")

    def register_buffer(self, name: str, value: Tensor | None, persistent: bool = True) -> None:
        """Enter a tensor that is state but no parameter (running statistics, masks)."""
        self._enter(name, value, "buffer" if persistent else "temporary")

    def add_module(self, name: str, module: Module | None) -> None:
        """Enter a submodule by name."""
        self._enter(name, module, "module")

    # ---- calling
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; subclasses write this."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        output = self.forward(*args, **kwargs)
        for hook in self._forward_hooks:
            replaced = hook(self, args, output)
            output = output if replaced is None else replaced
        return output

    def register_forward_hook(self, hook: Callable[..., Any]) -> Callable[[], None]:
        """Call hook(module, inputs, output) after forward; a result replaces the output.  Returns a
        function that removes the hook."""
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
        """(name, submodule) pairs of this module."""
        yield from self._own("module")

    def children(self) -> Iterator[Module]:
        """Submodules of this module."""
        for _, module in self._own("module"):
            yield module

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(dotted name, module) pairs, this one first; a shared module once."""
        return self._walk(prefix, set())

    def _walk(self, prefix: str, seen: set[int]) -> Iterator[tuple[str, Module]]:
        if id(self) in seen:
            return
        seen.add(id(self))
        yield prefix, self
        for name, module in self.named_children():
            yield from module._walk(f"{prefix}.{name}" if prefix else name, seen)

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
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
        """(dotted name, parameter) pairs; a shared parameter once."""
        yield from self._named("parameter")

    def parameters(self) -> Iterator[Tensor]:
        """All parameters."""
        for _, parameter in self.named_parameters():
            yield parameter

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, buffer) pairs."""
        yield from self._named("buffer", "temporary")

    def buffers(self) -> Iterator[Tensor]:
        """All buffers."""
        for _, buffer in self.named_buffers():
            yield buffer

    # ---- state
    def train(self, mode: bool = True) -> Module:
        """Training mode for this module and all below it (dropout, running statistics)."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Evaluation mode."""
        return self.train(False)

    def requires_grad_(self, on: bool = True) -> Module:
        """Ask for gradients of all parameters, or freeze them."""
        for parameter in self.parameters():
            parameter.requires_grad_(on)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            if set_to_none:  # without looking: what was there is no input of a recorded step
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad = zeros_like(parameter.grad)

    def state_dict(self) -> dict[str, Tensor]:
        """Parameters and buffers by dotted name: a snapshot that later training does not change."""
        found: dict[str, Tensor] = {}
        for prefix, module in self.named_modules():
            for name, held in module._own("parameter", "buffer"):
                found[f"{prefix}.{name}" if prefix else name] = held
        return frozen(found)

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Assign parameters and buffers from a state dict; nothing is changed when an entry does
        not fit.

        Raises ArgumentError for what is no mapping, HybridError for missing or unexpected names
        (strict), ShapeError for other shapes."""
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
        """Call fn on every module below and on this one."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def to(self, *args: Any, dtype: Any = None, device: Any = None) -> Module:
        """Move parameters and buffers to a device and convert the floating ones to another dtype
        (`model.to(x.device)`, `model.to("float16")`), with their gradients: the tensors stay the
        ones that an optimizer holds."""
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
        """`to` the CPU."""
        return self.to(HOST)

    def cuda(self, device: Any = None) -> Module:
        """`to` a CUDA device, given by its number or name (None: the current one)."""
        return self.to(named_device(to_device("cuda"), device))

    # ---- text
    def extra_repr(self) -> str:
        """Arguments shown in the repr."""
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
