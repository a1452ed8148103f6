"""Pitfalls of tracing: control flow, recursion, nested and unrolled code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pitfall_harness import A, B, check, mlp, t

import hybrid as hb
import hybrid.nn as nn

pytestmark = pytest.mark.usefixtures("whole_calls")


def test_data_dependent_if() -> None:
    def program(jit: Any) -> Any:
        @jit
        def f(x: Any) -> Any:
            if x.sum() > 0:
                return x * 2
            return x - 1

        return [f(t(A * (1 if k % 3 else -1))) for k in range(12)]

    check(program, replays=8)


def test_data_dependent_while() -> None:
    def program(jit: Any) -> Any:
        @jit
        def root(x: Any) -> Any:
            n = 0
            while abs(x * x - 2.0) > 1e-5:
                x, n = x - (x * x - 2.0) / (2 * x), n + 1
            return x, n

        return [root(hb.tensor(np.float32(k + 0.5))) for k in range(16)]

    check(program, replays=8)


def test_long_unrolled_loop() -> None:
    def program(jit: Any) -> Any:
        w = [t(A * 0.1 + k * 0.01) for k in range(4)]

        @jit
        def f(x: Any) -> Any:
            for i in range(600):
                x = x + w[i % 4]
            return x

        return [f(t(A + k)) for k in range(4)]

    check(program, replays=2)


def test_two_hundred_layers() -> None:
    def program(jit: Any) -> Any:
        hb.manual_seed(0)
        net = nn.Sequential(*[nn.Linear(7, 7) for _ in range(200)])

        @jit
        def f(x: Any) -> Any:
            x = (net(x) ** 2).sum()
            x.backward()
            return x.detach()

        return [f(t()) for _ in range(4)] + [p.grad for p in net.parameters()][:6]

    check(program, replays=1)


# numbers that operations take are computed in the graph
TAKEN = (
    lambda x: float(x.max()),
    lambda x: x.max().item(),
    lambda x: x.sum().__float__(),
)


@pytest.mark.parametrize(
    "read",
    [
        *TAKEN,
        lambda x: int(x[0] * 4),
        lambda x: x.tolist()[1],
        lambda x: x.numpy()[1],
        lambda x: np.asarray(x)[2],
        lambda x: len(f"{x}"),
        lambda x: len(str(x.sum())),
        lambda x: [3, 4, 5][(x > 100).sum().to("int64")],
        lambda x: len(repr(x)),
    ],
)
def test_item_float_int_tolist(read: Any) -> None:
    def program(jit: Any) -> Any:
        f = jit(lambda x: x * read(x))
        return [f(t(A + k)) for k in range(5)]

    check(program, says="" if read in TAKEN else "reads a tensor|index")


def test_p27_a_truth_that_python_computes_with() -> None:
    def program(jit: Any) -> Any:
        f = jit(lambda x: x * (bool(x[0] > 2) * 2 + 1))
        return [f(t(A + k % 4)) for k in range(12)]

    check(program, replays=6)


def test_try_except_as_control_flow() -> None:
    def program(jit: Any) -> Any:
        cfg: dict[str, float] = {}

        @jit
        def f(x: Any, i: Any) -> Any:
            try:
                b = cfg["bias"]
            except KeyError:
                b = 0.25
            try:
                return hb.take(x, i) + b
            except IndexError:
                return x[:2] - b
            finally:
                b = 9.0

        out = []
        for k in range(16):
            if k == 7:
                cfg["bias"] = 2.0
            out.append(f(t(A + k), hb.tensor(np.array([k % 7, 9 if k % 5 == 4 else 1]))))
        return out

    check(program, replays=3)


def test_exceptions_of_the_body_reach_the_caller() -> None:
    def program(jit: Any) -> Any:
        @jit
        def f(x: Any, k: int) -> Any:
            if k == 1:
                raise ValueError("one")
            return (x + 1).reshape((k, -1))

        out: list[Any] = []
        for k in (7, 1, 7, 3, 7, 1, 7, 3, 7):
            try:
                out.append(f(t(), k))
            except ValueError as e:
                out.append(str(e).split("\n")[0])
        return out

    check(program, replays=2)


def test_variable_of_one_branch_and_none() -> None:
    def program(jit: Any) -> Any:
        def f(x: Any, flag: bool) -> Any:
            if flag:
                extra = x * 2
            return extra if flag else None

        f = jit(f)
        g = jit(lambda x: (None, x * 2, [None, {"y": x + 1, "n": 3}], "s", 2.5, ()))
        return [f(t(), k % 3 == 0) for k in range(12)] + [g(t()) for _ in range(4)]

    check(program, replays=6)


def test_recursion() -> None:
    def program(jit: Any) -> Any:
        w = t(A * 0.3)

        def tree(node: Any) -> Any:
            if isinstance(node, hb.Tensor):
                return node
            return hb.tanh(w * (tree(node[0]) + tree(node[1])))

        tree = jit(tree)
        a, b = t(), t(A * 2)
        shapes = [(a, b), ((a, b), a), (a, (b, (a, b))), a]
        return [tree(shapes[k % 4]) for k in range(16)]

    check(program, replays=8)


def test_recursion_on_objects_and_too_deep() -> None:
    def program(jit: Any) -> Any:
        class Node:
            def __init__(self, v: Any, *kids: Any) -> None:
                self.v, self.kids = v, kids

        root = Node(t(), Node(t(A * 2)), Node(t(A * 3), Node(t(A + 1))))

        @jit
        def total(n: Any) -> Any:
            out = n.v * 1
            for k in n.kids:
                out = out + total(k) * 0.5
            return out

        @jit
        def endless(x: Any) -> Any:
            return endless(x + 1)

        out = [total(root) for _ in range(4)]
        root.kids[1].kids = (Node(t(A * 7)), Node(t()))
        out += [total(root) for _ in range(4)]
        for _ in range(2):
            try:
                endless(hb.tensor(1.0))
            except RecursionError:
                out.append("too deep")
        return out + [total(root)]

    check(program)


def test_boolean_mask_nonzero_unique() -> None:
    def program(jit: Any) -> Any:
        f = jit(lambda x: x[x > 0].mean())
        g = jit(lambda x: hb.nonzero(x)[0].sum())
        h = jit(lambda x: hb.where(x > 0, x, 0.0).sum())
        out = []
        for k in range(6):
            x = t(np.roll(A, k) - k)
            out += [f(x), g(x), h(x)]
        return out

    check(program, replays=4)


@pytest.mark.parametrize(
    "body",
    [
        lambda a, b: max(a, b),
        lambda a, b: min([a, b]),
        lambda a, b: a and b,
        lambda a, b: a or b,
        lambda a, b: a if not b else b,
        lambda a, b: a if 0 < a < 1 else b,
        lambda a, b: sorted([a, b])[0],
        lambda a, b: a if a in [b] else b,
        lambda a, b: a if any([a > 1, b > 1]) else b,
        lambda a, b: [a, b][bool(a > b)],
        lambda a, b: a if a == b else b,
    ],
)
def test_python_operators_that_call_bool(body: Any) -> None:
    def program(jit: Any) -> Any:
        f = jit(lambda a, b: body(a, b) * 2)
        return [
            f(hb.tensor(np.float32(p)), hb.tensor(np.float32(q)))
            for _ in range(4)
            for p, q in ((0, 1), (1, 0), (2, 2), (0.5, 3), (-1, 0), (3, 0.25))
        ]

    check(program, replays=12)


def test_functions_that_call_functions() -> None:
    def program(jit: Any) -> Any:
        w = t(A * 0.5)
        inner = jit(lambda x: x * w)
        deeper = jit(lambda x: inner(x) + inner(x * 2))

        class Own:
            k = 2.0

            def __call__(self, x: Any) -> Any:
                return deeper(x) * self.k

        own = Own()
        outer, out = jit(lambda x: own(x) - 1), []
        for k in range(6):
            out += [inner(t(A + k)), deeper(t(A + k)), outer(t(A + k))]
        own.k = 3.0
        w.fill_(2.0)
        return out + [outer(t()) for _ in range(4)]

    check(program, replays=12)


def test_grad_of_a_decorated_function_and_the_other_way_round() -> None:
    def program(jit: Any) -> Any:
        f = jit(lambda x: (x * x * x).sum())
        g, out = jit(lambda x: hb.grad(f)(x)), []
        for k in range(5):
            out += [g(t(A + k)), hb.grad(f)(t(A + k)), *hb.value_and_grad(f)(t(A - k))]
        h = jit(lambda x: hb.grad(lambda y: (hb.grad(f)(y) ** 2).sum())(x))
        return out + [h(t(A + k)) for k in range(5)]

    check(program)


def test_star_arguments_lambdas_and_partials() -> None:
    import functools

    def program(jit: Any) -> Any:
        @jit
        def f(*xs: Any, k: float = 1.0, **more: Any) -> Any:
            return sum(xs) * k + sum(more.values())

        half = functools.partial(f, k=0.5)
        g, out = jit(functools.partial(lambda x, y, s: x * y + s, s=3.0)), []
        for k in range(6):
            out += [
                f(t()),
                f(t(), t(A + k)),
                f(t(), k=2.0),
                f(t(), z=t(), a=t(A * 2)),
                half(t(), t()),
            ]
            out += [g(t(), t(A + k)), f(*[t()] * 3), f(**{"k": 3.0, "q": t()})]
        return out

    check(program, replays=20)


@pytest.mark.parametrize(
    "walk",
    [
        lambda layers: [*layers],
        lambda layers: list(layers),
        lambda layers: [m for _, m in enumerate(layers)],
        lambda layers: [m for m, _ in zip(layers, range(9))],
        lambda layers: layers[0:],
        lambda layers: [layers[i] for i in range(len(layers))],
        lambda layers: list(layers.children()),
        lambda layers: tuple(layers),
    ],
)
def test_ways_to_walk_a_module_list(walk: Any) -> None:
    def program(jit: Any) -> Any:
        hb.manual_seed(0)
        layers = nn.ModuleList([nn.Linear(7, 7) for _ in range(3)])

        @jit
        def f(x: Any) -> Any:
            for m in walk(layers):
                x = m(x).tanh()
            return x.detach()

        out = [f(t()) for _ in range(4)]
        layers.append(nn.Linear(7, 7))
        out += [f(t()) for _ in range(4)]
        layers[0] = nn.Linear(7, 7)
        return out + [f(t()) for _ in range(4)]

    check(program)


def test_context_managers_and_early_return() -> None:
    def program(jit: Any) -> Any:
        net = mlp()

        @jit
        def f(x: Any, k: int) -> Any:
            with hb.no_grad():
                for i in range(10):
                    if i == k:
                        return net(x) * i
            return net(x).detach()

        out: list[Any] = []
        for k in range(12):
            y = f(t(), (3, 20)[k % 2])
            out += [y, y.requires_grad]
        return out

    check(program, replays=6)


def test_special_values_go_the_same_way() -> None:
    def program(jit: Any) -> Any:
        f = jit(
            lambda x: (
                hb.maximum(x, 0.0),
                x.max(),
                hb.where(x == x, x, 1.0),
                x.argmax(),
                hb.sign(x),
                hb.log(hb.exp(x)),
                (x * 0).sum(),
                x - x,
            )
        )
        return [f(t(v)) for v in (A, B, -A, -B, A, B, A * 0)]

    check(program, replays=4)
