"""Small nets as public programs have them, one of volumes, and ResNet-50, in hybrid and in PyTorch.

Invariant: both libraries run the same layers on the same shapes; `nn` and `functions` are the
library's own.  A maker gives (model, shape of the input, loss of the output).
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from ..gpu.models import resnet50

__all__ = ["NETS", "Made"]

Made = tuple[Any, tuple[int, ...], Callable[[Any], Any]]


def _mean_square(output: Any) -> Any:
    return (output * output).mean()


def _first_class(library: SimpleNamespace) -> Callable[[Any], Any]:
    """Cross entropy against class 0 of every row."""
    return lambda output: library.functions.cross_entropy(
        output, library.arange(output.shape[0]) * 0
    )


def _chained(library: SimpleNamespace, layers: list[Any], between: Callable[[Any], Any]) -> Any:
    """A model of layers with a function between them."""
    nn = library.nn

    class Chain(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(layers)

        def forward(self, inputs: Any) -> Any:
            for number, layer in enumerate(self.layers):
                inputs = layer(between(inputs) if number else inputs)
            return inputs

    return Chain()


def mnist(library: SimpleNamespace, small: bool = False) -> Made:
    """Two convolutions, pooling, two linear layers; 64 images of 28 x 28."""
    nn, functions = library.nn, library.functions

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
            self.linear1, self.linear2 = nn.Linear(9216, 128), nn.Linear(128, 10)

        def forward(self, images: Any) -> Any:
            hidden = functions.relu(self.conv2(functions.relu(self.conv1(images))))
            hidden = functions.max_pool2d(hidden, 2).reshape(images.shape[0], -1)
            return self.linear2(functions.relu(self.linear1(hidden)))

    return Net(), (2 if small else 64, 1, 28, 28), _first_class(library)


def super_resolution(library: SimpleNamespace, small: bool = False) -> Made:
    """Four convolutions on 4 images of 85 x 85."""
    sizes = ((1, 64, 5), (64, 64, 3), (64, 32, 3), (32, 9, 3))
    layers = [library.nn.Conv2d(i, o, k, padding=k // 2) for i, o, k in sizes]
    shape = (1, 1, 11, 11) if small else (4, 1, 85, 85)
    return _chained(library, layers, library.functions.relu), shape, _mean_square


def discriminator(library: SimpleNamespace, small: bool = False) -> Made:
    """That of DCGAN without normalisation, 32 channels, on 16 images of 64 x 64."""
    sizes = ((3, 32, 2, 1), (32, 64, 2, 1), (64, 128, 2, 1), (128, 256, 2, 1), (256, 1, 1, 0))
    layers = [library.nn.Conv2d(i, o, 4, stride=s, padding=p, bias=False) for i, o, s, p in sizes]
    leaky = library.functions.leaky_relu
    shape = (1 if small else 16, 3, 64, 64)
    return _chained(library, layers, lambda hidden: leaky(hidden, 0.2)), shape, _mean_square


def generator(library: SimpleNamespace, small: bool = False) -> Made:
    """That of DCGAN without normalisation, 32 channels, 16 images of 64 x 64."""
    nn, functions = library.nn, library.functions

    class Transposed(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, inputs: int, outputs: int, stride: int, padding: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(library.ones(inputs, outputs, 4, 4) * 0.02)
            self.stride, self.padding = stride, padding

        def forward(self, images: Any) -> Any:
            return functions.conv_transpose2d(
                images, self.weight, stride=self.stride, padding=self.padding
            )

    sizes = ((100, 256, 1, 0), (256, 128, 2, 1), (128, 64, 2, 1), (64, 32, 2, 1), (32, 3, 2, 1))
    layers = [Transposed(*size) for size in sizes]
    shape = (1 if small else 16, 100, 1, 1)
    return _chained(library, layers, functions.relu), shape, _mean_square


def resnet_block(library: SimpleNamespace, small: bool = False) -> Made:
    """The stem and the first block of ResNet-50 without normalisation, 2 images of 224 x 224."""
    nn, functions = library.nn, library.functions

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
            self.narrow = nn.Conv2d(64, 64, 1, bias=False)
            self.middle = nn.Conv2d(64, 64, 3, padding=1, bias=False)
            self.widen, self.beside = (nn.Conv2d(64, 256, 1, bias=False) for _ in range(2))

        def forward(self, images: Any) -> Any:
            relu = functions.relu
            hidden = functions.max_pool2d(relu(self.stem(images)), 3, 2, 1)
            inner = relu(self.middle(relu(self.narrow(hidden))))
            return relu(self.widen(inner) + self.beside(hidden))

    extent = 32 if small else 224
    return Net(), (1 if small else 2, 3, extent, extent), _mean_square


def clips(library: SimpleNamespace, small: bool = False) -> Made:
    """Three convolutions of volumes with pooling, 4 clips of 16 frames of 32 x 32."""
    nn, functions = library.nn, library.functions

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv3d(3, 16, 3, padding=1)
            self.middle = nn.Conv3d(16, 32, 3, padding=1)
            self.last = nn.Conv3d(32, 64, 3, stride=2, padding=1)
            self.linear = nn.Linear(64, 10)

        def forward(self, volumes: Any) -> Any:
            relu = functions.relu
            hidden = functions.max_pool3d(relu(self.stem(volumes)), (1, 2, 2))
            hidden = functions.max_pool3d(relu(self.middle(hidden)), 2)
            return self.linear(relu(self.last(hidden)).mean((2, 3, 4)))

    shape = (2, 3, 4, 8, 8) if small else (4, 3, 16, 32, 32)
    return Net(), shape, _first_class(library)


def resnet_50(library: SimpleNamespace, small: bool = False) -> Made:
    """All of it, 8 images of 224 x 224."""
    shape = (2, 3, 32, 32) if small else (8, 3, 224, 224)
    return resnet50(library), shape, _first_class(library)


NETS = {
    maker.__name__: maker
    for maker in (mnist, super_resolution, discriminator, generator, resnet_block, clips, resnet_50)
}
