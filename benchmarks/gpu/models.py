"""GPT-2 (124M) and ResNet-50, in hybrid and in PyTorch.

Invariant: both libraries run the same layers on the same shapes, with one training step of forward,
backward and optimizer; `nn` and `functions` are the library's own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

__all__ = ["gpt2", "resnet50", "GPT2", "SMALL_GPT2", "hybrid_library", "torch_library"]

GPT2 = {"length": 1024, "width": 768, "heads": 12, "layers": 12, "vocabulary": 50304}
SMALL_GPT2 = {"length": 16, "width": 32, "heads": 2, "layers": 2, "vocabulary": 100}
STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))


def hybrid_library(device: str) -> SimpleNamespace:
    """What a model needs of hybrid."""
    import hybrid

    return SimpleNamespace(
        nn=hybrid.nn,
        functions=hybrid.nn.functional,
        arange=lambda count: hybrid.arange(count, device=device),
        ones=lambda *shape: hybrid.ones(*shape),
        zeros=lambda *shape: hybrid.zeros(*shape),
    )


def torch_library(device: str) -> SimpleNamespace:
    """What a model needs of PyTorch."""
    import torch

    return SimpleNamespace(
        nn=torch.nn,
        functions=torch.nn.functional,
        arange=lambda count: torch.arange(count, device=device),
        ones=torch.ones,
        zeros=torch.zeros,
    )


def gpt2(library: SimpleNamespace, sizes: dict[str, int]) -> Any:
    """A model from tokens [batch, length] to logits; the head shares the table of tokens."""
    nn, functions = library.nn, library.functions
    width, heads = sizes["width"], sizes["heads"]

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.qkv = nn.LayerNorm(width), nn.Linear(width, 3 * width)
            self.project, self.norm2 = nn.Linear(width, width), nn.LayerNorm(width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, inputs: Any) -> Any:
            batch, length, _ = inputs.shape
            query, key, value = [
                part.reshape(batch, length, heads, width // heads).swapaxes(1, 2)
                for part in self.qkv(self.norm1(inputs)).chunk(3, -1)
            ]
            mixed = functions.scaled_dot_product_attention(query, key, value, is_causal=True)
            middle = inputs + self.project(mixed.swapaxes(1, 2).reshape(batch, length, width))
            raised = functions.gelu(self.up(self.norm2(middle)), approximate="tanh")
            return middle + self.down(raised)

    class Model(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(sizes["vocabulary"], width)
            self.positions = nn.Embedding(sizes["length"], width)
            self.blocks = nn.ModuleList([Block() for _ in range(sizes["layers"])])
            self.norm = nn.LayerNorm(width)

        def forward(self, tokens: Any) -> Any:
            places = library.arange(tokens.shape[1])
            hidden = self.tokens(tokens) * 0.02 + self.positions(places) * 0.02
            for block in self.blocks:
                hidden = block(hidden)
            return functions.linear(self.norm(hidden), self.tokens.weight * 0.02)

    return Model()


def _batch_norm(library: SimpleNamespace, channels: int) -> Any:
    nn, functions = library.nn, library.functions
    if hasattr(nn, "BatchNorm2d"):
        return nn.BatchNorm2d(channels)

    class BatchNorm(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(library.ones(channels))
            self.bias = nn.Parameter(library.zeros(channels))
            self.register_buffer("mean", library.zeros(channels))
            self.register_buffer("variance", library.ones(channels))

        def forward(self, x: Any) -> Any:
            return functions.batch_norm(
                x, self.mean, self.variance, self.weight, self.bias, training=True
            )

    return BatchNorm()


def _convolution(
    library: SimpleNamespace, inputs: int, outputs: int, kernel: int, stride: int = 1
) -> Any:
    padding = kernel // 2
    return library.nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False)


def _bottleneck(library: SimpleNamespace) -> Any:
    """The class of the blocks of a ResNet."""
    nn, functions, convolution = library.nn, library.functions, partial(_convolution, library)

    class Bottleneck(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, inputs: int, width: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.norm1 = convolution(inputs, width, 1), _batch_norm(library, width)
            self.conv2 = convolution(width, width, 3, stride)
            self.norm2, self.conv3 = _batch_norm(library, width), convolution(width, 4 * width, 1)
            self.norm3 = _batch_norm(library, 4 * width)
            self.reshapes = stride != 1 or inputs != 4 * width
            if self.reshapes:
                self.shortcut = convolution(inputs, 4 * width, 1, stride)
                self.norm4 = _batch_norm(library, 4 * width)

        def forward(self, x: Any) -> Any:
            out = functions.relu(self.norm1(self.conv1(x)))
            out = functions.relu(self.norm2(self.conv2(out)))
            out = self.norm3(self.conv3(out))
            return functions.relu(out + (self.norm4(self.shortcut(x)) if self.reshapes else x))

    return Bottleneck


def resnet50(library: SimpleNamespace, classes: int = 1000) -> Any:
    """A model from images [batch, 3, height, width] to logits."""
    nn, functions, bottleneck = library.nn, library.functions, _bottleneck(library)

    class Model(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm = _convolution(library, 3, 64, 7, 2), _batch_norm(library, 64)
            self.pool = nn.MaxPool2d(3, 2, 1)
            blocks, inputs = [], 64
            for number, (width, count) in enumerate(STAGES):
                for place in range(count):
                    stride = 2 if number and not place else 1
                    blocks.append(bottleneck(inputs, width, stride))
                    inputs = 4 * width
            self.blocks = nn.ModuleList(blocks)
            self.head = nn.Linear(inputs, classes)

        def forward(self, images: Any) -> Any:
            hidden = self.pool(functions.relu(self.norm(self.stem(images))))
            for block in self.blocks:
                hidden = block(hidden)
            return self.head(hidden.mean((2, 3)))

    return Model()


def step_of(
    forward: Callable[..., Any], optimizer: Any, zero: Callable[[], Any] | None = None
) -> Callable[..., Any]:
    """A training step: loss, gradients, update."""
    clear = zero or optimizer.zero_grad

    def step(*batch: Any) -> Any:
        loss = forward(*batch)
        loss.backward()
        optimizer.step()
        clear()
        return loss

    return step
