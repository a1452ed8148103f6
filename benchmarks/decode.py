"""Decoding that stops at an end token: one loop, steps that the data decide.

An RNN of a small vocabulary writes tokens until it writes the last one of its alphabet.  50 inputs
stop after 1 to 50 steps, in random order; each is decoded by `hybrid.while_loop` eagerly and
traced, and by `jax.lax.while_loop` where JAX can be imported.  Reported: microseconds per step over
all inputs, and how often each compiled (plans, for hybrid).

    python -m benchmarks.decode [--width 32] [--rounds 20]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np

import hybrid

VOCABULARY, LONGEST = 16, 50
END = VOCABULARY - 1


def parameters(width: int) -> dict[str, np.ndarray]:
    """Weights of the cell and of the way from hidden state to tokens."""
    rng = np.random.default_rng(0)
    scale = 1 / np.sqrt(width)
    return {
        "tokens": rng.normal(size=(VOCABULARY, width)).astype(np.float32),
        "hidden": (rng.normal(size=(width, width)) * scale).astype(np.float32),
        "out": (rng.normal(size=(width, VOCABULARY)) * scale).astype(np.float32),
    }


def inputs(width: int) -> list[tuple[np.ndarray, np.int64]]:
    """(first hidden state, step after which the end token wins), in random order."""
    rng = np.random.default_rng(1)
    stops = rng.permutation(np.arange(1, LONGEST + 1))
    return [(rng.normal(size=(1, width)).astype(np.float32), np.int64(stop)) for stop in stops]


def hybrid_decoder(weights: dict[str, np.ndarray]) -> Callable[..., Any]:
    """(hidden, stop) -> (steps, token, hidden), by hybrid."""
    given = {name: hybrid.tensor(value) for name, value in weights.items()}
    end = hybrid.arange(VOCABULARY) == END

    def decode(hidden: Any, stop: Any) -> Any:
        def more(carry: Any) -> Any:
            return carry[1] != END

        def step(carry: Any) -> Any:
            count, token, state = carry
            state = hybrid.tanh(state @ given["hidden"] + given["tokens"][token])
            scores = (state @ given["out"])[0]
            wins = (count + 1 >= stop) == end  # the end token alone, or all but it
            token = hybrid.where(wins, scores, -1e9).argmax()
            return count + 1, token, state

        return hybrid.while_loop(more, step, (0, 0, hidden))

    return decode


def jax_decoder(weights: dict[str, np.ndarray]) -> tuple[Callable[..., Any], Callable[[], int]]:
    """The same by JAX, and how often it was compiled."""
    import jax
    import jax.numpy as jnp

    given = {name: jnp.asarray(value) for name, value in weights.items()}
    end = jnp.arange(VOCABULARY) == END

    @jax.jit
    def decode(hidden: Any, stop: Any) -> Any:
        def step(carry: Any) -> Any:
            count, token, state = carry
            state = jnp.tanh(state @ given["hidden"] + given["tokens"][token])
            scores = (state @ given["out"])[0]
            token = jnp.argmax(jnp.where((count + 1 >= stop) == end, scores, -1e9))
            return count + 1, token, state

        first = (jnp.int32(0), jnp.int32(0), hidden)
        return jax.lax.while_loop(lambda carry: carry[1] != END, step, first)

    return decode, decode._cache_size


def measured(run: Callable[[Any], Any], given: Sequence[Any], rounds: int) -> float:
    """Seconds for all inputs, the best of some rounds; the first two warm up."""
    best = float("inf")
    for number in range(rounds + 2):
        start = perf_counter()
        for item in given:
            run(item)
        if number >= 2:
            best = min(best, perf_counter() - start)
    return best


def main() -> None:
    """Print one line per way to decode."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    weights, given = parameters(args.width), inputs(args.width)
    steps = sum(int(stop) for _, stop in given)
    plain = hybrid_decoder(weights)
    traced = hybrid.function(plain)
    tensors = [(hybrid.tensor(hidden), hybrid.tensor(stop)) for hidden, stop in given]
    for (hidden, stop), (_, expected) in zip(tensors, given):
        ours, theirs = traced(hidden, stop), plain(hidden, stop)
        assert int(ours[0].numpy()) == expected, (ours, expected)
        assert all(a.numpy().tobytes() == b.numpy().tobytes() for a, b in zip(ours, theirs))
    rows = [("hybrid eager", measured(lambda x: plain(*x), tensors, max(args.rounds // 10, 1)), 0)]
    seconds = measured(lambda x: traced(*x), tensors, args.rounds)
    rows.append(("hybrid traced", seconds, traced.cache_info().plans))
    try:
        decode, compiled = jax_decoder(weights)
    except ImportError:
        print("jax cannot be imported here")
    else:
        arrays = [(hidden, np.int32(stop)) for hidden, stop in given]

        def peer(item: Any) -> Any:
            return decode(*item)[2].block_until_ready()

        rows.append(("jax.lax.while_loop", measured(peer, arrays, args.rounds), compiled()))
    print(f"{len(given)} inputs, {steps} steps, width {args.width}")
    for name, taken, count in rows:
        per_step, total = taken / steps * 1e6, taken * 1e3
        print(f"{name:20} {per_step:9.3f} us a step {total:9.3f} ms in all {count:3} compilations")


if __name__ == "__main__":
    main()
