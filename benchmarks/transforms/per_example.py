"""Gradients of each example of a batch, by `vmap` and by a loop: a small CNN on images of 8 x 8.

Eagerly and decorated; beside them the gradient of the whole batch, which is what the machine needs
for the same arithmetic, and JAX's `jit(vmap(grad))` of the same network where JAX is installed.
Results by `vmap` are checked against the loop, decorated ones to the bit.  Reported: milliseconds
of a call, the median and the least of rounds in which all take turns.

    python -m benchmarks.transforms.per_example [--examples 64] [--seconds 6]
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

import hybrid
import hybrid.nn.functional as F

SHAPES = {
    "conv1": (16, 1, 3, 3),
    "bias1": (16,),
    "conv2": (32, 16, 3, 3),
    "bias2": (32,),
    "hidden": (64, 128),
    "bias3": (64,),
    "out": (10, 64),
    "bias4": (10,),
}


def loss(p: dict[str, Any], images: Any, labels: Any) -> Any:
    """Cross entropy of images [N, 1, 8, 8]."""
    x = F.max_pool2d(F.relu(F.conv2d(images, p["conv1"], p["bias1"], padding=1)), 2)
    x = F.max_pool2d(F.relu(F.conv2d(x, p["conv2"], p["bias2"], padding=1)), 2)
    x = F.relu(F.linear(x.reshape(images.shape[0], 128), p["hidden"], p["bias3"]))
    return F.cross_entropy(F.linear(x, p["out"], p["bias4"]), labels)


def of_one(p: dict[str, Any], image: Any, label: Any) -> Any:
    return loss(p, image[None], label.reshape(1))


def with_jax(p: dict[str, Any], images: Any, labels: Any) -> Callable[[], Any] | None:
    """The same gradients by JAX, or None where it is not installed."""
    if importlib.util.find_spec("jax") is None:
        return None
    import jax
    import jax.numpy as jnp

    def pooled(x: Any, weight: Any, bias: Any) -> Any:
        x = jax.lax.conv(x, weight, (1, 1), "SAME") + bias[:, None, None]
        whole = (1, 1, 2, 2)
        return jax.lax.reduce_window(jax.nn.relu(x), -jnp.inf, jax.lax.max, whole, whole, "VALID")

    def of_example(p: dict[str, Any], image: Any, label: Any) -> Any:
        x = pooled(image[None], p["conv1"], p["bias1"])
        x = pooled(x, p["conv2"], p["bias2"]).reshape(1, 128)
        x = jax.nn.relu(x @ p["hidden"].T + p["bias3"])
        return -jax.nn.log_softmax(x @ p["out"].T + p["bias4"])[0, label]

    given = {name: jnp.asarray(value.numpy()) for name, value in p.items()}
    pictures, classes = jnp.asarray(images.numpy()), jnp.asarray(labels.numpy())
    each = jax.jit(jax.vmap(jax.grad(of_example), in_axes=(None, 0, 0)))
    return lambda: jax.block_until_ready(each(given, pictures, classes))


def in_turns(calls: dict[str, Callable[[], Any]], seconds: float) -> dict[str, list[float]]:
    """Milliseconds of each call in rounds that go on for a time."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = perf_counter() + seconds
    while perf_counter() < end or len(times[next(iter(calls))]) < 5:
        for name, call in calls.items():
            call()  # the caches of the one before are none of its
            start = perf_counter()
            call()
            times[name].append((perf_counter() - start) * 1e3)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=6.0)
    given = parser.parse_args()
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Any:
        return hybrid.tensor(rng.normal(size=shape) * 0.2, dtype="float32")

    p, images = {k: draw(*s) for k, s in SHAPES.items()}, draw(given.examples, 1, 8, 8)
    labels = hybrid.tensor(rng.integers(0, 10, given.examples))
    single, whole = hybrid.grad(of_one), hybrid.grad(loss)
    each = hybrid.vmap(single, in_axes=(None, 0, 0))
    single_f, whole_f, each_f = map(hybrid.function, (single, whole, each))

    def loop(gradient: Any) -> dict[str, Any]:
        rows = [gradient(p, images[k], labels[k]) for k in range(given.examples)]
        return {name: hybrid.stack([row[name] for row in rows]) for name in p}

    found, wanted = each(p, images, labels), loop(single)
    for _ in range(4):
        traced = each_f(p, images, labels)
    for name in p:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-4, atol=1e-5)
        assert found[name].numpy().tobytes() == traced[name].numpy().tobytes()
    calls = {
        "loop": lambda: loop(single),
        "vmap": lambda: each(p, images, labels),
        "whole batch": lambda: whole(p, images, labels),
        "loop of decorated": lambda: loop(single_f),
        "decorated vmap": lambda: each_f(p, images, labels),
        "decorated whole batch": lambda: whole_f(p, images, labels),
    }
    peer = with_jax(p, images, labels)
    if peer is not None:
        np.testing.assert_allclose(peer()["out"], wanted["out"], rtol=1e-3, atol=1e-4)
        calls["JAX, jit of vmap"] = peer
    for name, times in in_turns(calls, given.seconds).items():
        print(f"{name:24} {statistics.median(times):9.3f} ms, least {min(times):9.3f}")


if __name__ == "__main__":
    main()
