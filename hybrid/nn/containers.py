"""Modules that hold modules: Sequential, ModuleList, ModuleDict.

Invariant: items are submodules under names, so parameters, state and structure are those of any
module.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

from ..core.errors import HybridError, IndexOutOfRange
from ..core.shapes import items_of
from .module import Module

__all__ = ["Sequential", "ModuleList", "ModuleDict"]


def _item(modules: Any, index: Any) -> Any:
    """One module of a container, or the list that a slice names."""
    items = list(modules.children())
    if isinstance(index, slice):
        return items[index]
    number = operator.index(index)
    if not -len(items) <= number < len(items):
        raise IndexOutOfRange(
            f"index {number} is out of range for a {type(modules).__name__} of {len(items)} modules"
        )
    return items[number]


class Sequential(Module):
    """Modules applied one after the other; indexing gives one, a slice a Sequential.

    Raises HybridError for an argument that is not callable.

    >>> import hybrid
    >>> hybrid.nn.Sequential(hybrid.nn.Linear(4, 3), hybrid.nn.ReLU())
    Sequential(
      (0): Linear(in_features=4, out_features=3, bias=True)
      (1): ReLU()
    )
    """

    def __init__(self, *modules: Module) -> None:
        super().__init__()
        for number, module in enumerate(modules):
            if not callable(module):
                raise HybridError(
                    f"Sequential takes modules, not a {type(module).__name__}; write "
                    "Sequential(a, b), or Sequential(*modules) for a list"
                )
            self.add_module(str(number), module)

    def forward(self, input: Any) -> Any:
        """The last module's output; the input itself where there is no module.

        >>> import hybrid
        >>> hybrid.nn.Sequential(hybrid.nn.ReLU(), hybrid.exp)(hybrid.tensor([-1.0, 0.0]))
        tensor([1., 1.])
        """
        for module in self.children():
            input = module(input)
        return input

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, index: Any) -> Any:
        found = _item(self, index)
        return Sequential(*found) if isinstance(index, slice) else found

    def append(self, module: Module) -> Sequential:
        """Add a module at the end; returns self.

        >>> import hybrid
        >>> len(hybrid.nn.Sequential(hybrid.nn.Linear(4, 3)).append(hybrid.nn.ReLU()))
        2
        """
        self.add_module(str(len(self)), module)
        return self


class ModuleList(Module):
    """A list whose items are submodules; it has no forward of its own.

    >>> import hybrid
    >>> layers = hybrid.nn.ModuleList(hybrid.nn.Linear(2, 2) for _ in range(3))
    >>> len(layers), len(list(layers.parameters()))
    (3, 6)
    """

    def __init__(self, modules: Any = ()) -> None:
        super().__init__()
        self.extend(modules)

    def append(self, module: Module) -> ModuleList:
        """Add a module at the end; returns self.

        >>> import hybrid
        >>> hybrid.nn.ModuleList().append(hybrid.nn.ReLU())[0]
        ReLU()
        """
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Any) -> ModuleList:
        """Add modules at the end; returns self.

        >>> import hybrid
        >>> len(hybrid.nn.ModuleList().extend([hybrid.nn.ReLU(), hybrid.nn.Tanh()]))
        2
        """
        for module in items_of(modules, f"{type(self).__name__}: modules"):
            self.append(module)
        return self

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, index: Any) -> Any:
        found = _item(self, index)
        return ModuleList(found) if isinstance(index, slice) else found

    def __setitem__(self, index: int, module: Module) -> None:
        _item(self, index)
        self.add_module(str(operator.index(index) % len(self)), module)


class ModuleDict(Module):
    """A dict whose values are submodules; KeyError for a name that is not there.

    >>> import hybrid
    >>> heads = hybrid.nn.ModuleDict({"mean": hybrid.nn.Linear(4, 1)})
    >>> heads["mean"]
    Linear(in_features=4, out_features=1, bias=True)
    """

    def __init__(self, modules: dict[str, Module] | None = None) -> None:
        super().__init__()
        for name, module in (modules or {}).items():
            self.add_module(name, module)

    def __getitem__(self, name: str) -> Module:
        if self._names.get(name) != "module":
            raise KeyError(name)
        return self.__dict__[name]

    def __setitem__(self, name: str, module: Module) -> None:
        self.add_module(name, module)

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def keys(self) -> Any:
        """Names of the modules.

        >>> import hybrid
        >>> list(hybrid.nn.ModuleDict({"act": hybrid.nn.ReLU()}).keys())
        ['act']
        """
        return self._names.keys()

    def items(self) -> Any:
        """(name, module) pairs.

        >>> import hybrid
        >>> hybrid.nn.ModuleDict({"act": hybrid.nn.ReLU()}).items()
        [('act', ReLU())]
        """
        return list(self.named_children())

    def values(self) -> Any:
        """The modules.

        >>> import hybrid
        >>> hybrid.nn.ModuleDict({"act": hybrid.nn.ReLU()}).values()
        [ReLU()]
        """
        return list(self.children())
