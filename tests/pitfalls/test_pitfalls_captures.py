"""Pitfalls of tracing: values the function reads and does not get as arguments."""

from __future__ import annotations

import functools
import types
from typing import Any

import numpy as np
import pytest
from pitfall_harness import A, check, t

import hybrid as hb

SCALE: Any = 1.0
WEIGHT: Any = None


def set_global(**kw: Any) -> None:
    globals().update(kw)


@pytest.mark.parametrize("new", [3.0, 1, True, -0.0, np.float64(1.0), float("nan"), [2.0]])
def test_global_scalar(new: Any) -> None:
    def program(jit: Any) -> Any:
        set_global(SCALE=1.0)
        f = jit(lambda x: x * (SCALE if isinstance(SCALE, (int, float)) else SCALE[0]))
        out = [f(t()) for _ in range(4)]
        set_global(SCALE=new)
        out += [f(t()) for _ in range(4)]
        set_global(SCALE=1.0)
        return out + [f(t()) for _ in range(2)]

    check(program, replays=4)


def test_global_in_a_dict_list_and_attribute_changes() -> None:
    def program(jit: Any) -> Any:
        cfg, items, obj = {"k": 1.0}, [1.0, 2.0], types.SimpleNamespace(k=1.0, deep={"z": [1.0]})
        f, out = jit(lambda x: x * cfg["k"] + items[1] * obj.k + obj.deep["z"][0]), []
        for change in (
            lambda: cfg.update(k=2.0),
            lambda: items.__setitem__(1, 5.0),
            lambda: setattr(obj, "k", 7.0),
            lambda: obj.deep["z"].__setitem__(0, 9.0),
            lambda: items.insert(0, 0.5),
            lambda: cfg.clear() or cfg.update(k=1.5),
            lambda: obj.deep.update(z=[4.0]),
        ):
            out += [f(t()) for _ in range(4)]
            change()
        return out + [f(t())]

    check(program, replays=8)


def test_late_binding_closure_cell() -> None:
    def program(jit: Any) -> Any:
        fs = []
        for k in range(3):
            fs.append(jit(lambda x: x + k))
        out = [f(t()) for f in fs for _ in range(4)]
        k = 7
        return out + [f(t()) for f in fs for _ in range(3)]

    check(program, replays=6)


def test_cell_that_is_deleted_and_set_again() -> None:
    def program(jit: Any) -> Any:
        k = 2.0
        f = jit(lambda x: x * k)
        out: list[Any] = [f(t()) for _ in range(4)]
        del k
        for _ in range(2):
            try:
                f(t())
            except NameError as e:
                out.append(type(e).__name__)
        k = 3.0
        return out + [f(t()) for _ in range(4)]

    check(program, replays=2)


def test_attribute_flag_on_a_passed_object() -> None:
    def program(jit: Any) -> Any:
        cfg = types.SimpleNamespace(use_bias=True)
        f = jit(lambda cfg, x: x + 1 if cfg.use_bias else x)
        out = []
        for k in range(12):
            cfg.use_bias = k // 3 % 2 == 0
            out.append(f(cfg, t()))
        return out

    check(program, replays=5)


def test_captured_tensor_rebound_and_updated_in_place() -> None:
    def program(jit: Any) -> Any:
        set_global(WEIGHT=t(np.ones(7)))
        f, out = jit(lambda x: x * WEIGHT), []
        for k in range(12):
            out.append(f(t()))
            if k % 3 == 0:
                WEIGHT.fill_(k + 2.0)
            elif k % 3 == 1:
                set_global(WEIGHT=t(A + k))
            else:
                WEIGHT[1:3] = 9.0
        return out

    check(program, replays=8)


def test_captured_tensor_changes_shape_dtype_and_gradient() -> None:
    def program(jit: Any) -> Any:
        w = t()
        f, out = jit(lambda x: x * w), []
        for new in (
            t(2.0),
            hb.tensor(A.astype(np.float64)),
            hb.tensor(np.arange(7)),
            t(requires_grad=True),
            t(A[None].repeat(2, 0)),
            t(),
        ):
            out += [f(t()) for _ in range(3)]
            w = new
        out += [f(t()) for _ in range(3)]
        return [*out, *[[str(y.dtype), y.requires_grad] for y in out]]

    check(program, replays=7)


def test_numpy_array_captured_then_mutated() -> None:
    def program(jit: Any) -> Any:
        mask, deep = np.ones(7, np.float32), [np.ones(7, np.float32)]
        f, out = jit(lambda x: x * mask + deep[0] * hb.tensor(mask)), []
        for k in range(8):
            out += [f(t()), f(t())]
            if k % 2:
                mask[k - 1] = 0.0
            else:
                deep[0][k] = 5.0
        return out

    check(program)


def test_numpy_array_argument_mutated_in_place() -> None:
    def program(jit: Any) -> Any:
        f, out = jit(lambda x, m: x * m), []
        small, big = np.ones(7, np.float32), np.ones((2000, 7), np.float32)
        for k in range(10):
            out += [f(t(), small), f(t(), big), f(t(), small[::-1])]
            if k % 3 == 2:
                small[k % 7] += 1
                big[k] = k
        return out

    check(program)


def test_mutable_default_argument() -> None:
    def program(jit: Any) -> Any:
        def f(x: Any, cache: dict[str, Any] = {}, *, log: list[int] = []) -> Any:  # noqa: B006
            if "w" not in cache:
                cache["w"] = hb.rand((7,))
            if len(log) < 3:
                log.append(len(log))
            return x * cache["w"] + len(log)

        g = jit(f)
        out = [g(t()) for _ in range(10)]
        f.__defaults__[0]["w"] = t()  # type: ignore[index]
        out += [g(t()) for _ in range(4)]
        f.__defaults__ = ({"w": t(A * 2)},)
        f.__kwdefaults__ = {"log": []}
        return out + [g(t()) for _ in range(8)] + [f.__kwdefaults__["log"]]

    check(program)


def test_object_argument_mutated() -> None:
    def program(jit: Any) -> Any:
        class Cfg:
            def __init__(self, k: float) -> None:
                self.k, self.nested = k, {"z": [k]}

            def __eq__(self, other: Any) -> bool:
                return True

            def __hash__(self) -> int:
                return 1

        f, c, out = jit(lambda cfg, x: x * cfg.k + cfg.nested["z"][0]), Cfg(2.0), []
        for k in range(9):
            out.append(f(c, t()))
            if k == 4:
                c.k = 9.0
            if k == 6:
                c.nested["z"][0] = 3.0
        return out + [f(Cfg(5.0), t()) for _ in range(4)]

    check(program, replays=3)


def test_keyword_default_changes_in_place() -> None:
    def program(jit: Any) -> Any:
        def inner(x: Any, *, k: float = 2.0) -> Any:
            return x * k

        f = jit(lambda x: inner(x))
        out = [f(t()) for _ in range(4)]
        inner.__kwdefaults__["k"] = 6.0
        return out + [f(t()) for _ in range(4)]

    check(program, replays=2)


def test_dict_behind_a_partial_or_a_bound_method_changes() -> None:
    def program(jit: Any) -> Any:
        scaled = functools.partial(lambda x, k: x * k, k=2.0)
        cfg = {"k": 3.0}
        get, size = cfg.get, cfg.__len__
        f = jit(lambda x: scaled(x) + get("k") * size())
        out = [f(t()) for _ in range(4)]
        scaled.keywords["k"] = 5.0
        out += [f(t()) for _ in range(4)]
        cfg["k"] = 7.0
        out += [f(t()) for _ in range(4)]
        cfg["z"] = 1.0
        return out + [f(t()) for _ in range(4)]

    check(program, replays=4)


def test_ambient_modes() -> None:
    def program(jit: Any) -> Any:
        w = t(requires_grad=True)
        f, out = jit(lambda x: x * w), []
        for k in range(16):
            with hb.set_grad_enabled(k % 3 != 0):
                y = f(t())
            out += [y.detach(), y.requires_grad]
        return out

    check(program, replays=8)


def test_no_grad_inside_and_mode_left_changed() -> None:
    def program(jit: Any) -> Any:
        w = t(requires_grad=True)

        @jit
        def f(x: Any) -> Any:
            with hb.no_grad():
                k = (x * w).sum()
            return x * w * k

        @jit
        def leaves(x: Any) -> Any:
            hb.set_grad_enabled(False)
            return x * w

        out: list[Any] = []
        for _ in range(6):
            y = f(t())
            y.sum().backward()
            out += [y.detach(), w.grad]
        for _ in range(5):
            y = leaves(t())
            out += [y.detach(), y.requires_grad, (t() * w).requires_grad]
            hb.set_grad_enabled(True)
        return out

    try:
        check(program)
    finally:
        hb.set_grad_enabled(True)


def test_helper_redefined() -> None:
    space: dict[str, Any] = {"hb": hb}
    exec("def act(x): return hb.relu(x)\ndef f(x): return act(x) + 1", space)

    def program(jit: Any) -> Any:
        exec("def act(x): return hb.relu(x)", space)
        f = jit(space["f"])
        out = [f(t()) for _ in range(4)]
        exec("def act(x): return hb.tanh(x)", space)  # the notebook cell again
        out += [f(t()) for _ in range(4)]
        space["act"].__code__ = (lambda x: x * 3).__code__
        out += [f(t()) for _ in range(4)]
        space["act"] = hb.exp
        return out + [f(t()) for _ in range(4)]

    check(program, replays=5)


def test_decorated_helper_redefined() -> None:
    def program(jit: Any) -> Any:
        inner = jit(lambda x: x * 2)
        outer, out = jit(lambda x: inner(x) + 1), []
        out += [outer(t()) for _ in range(4)]
        inner = jit(lambda x: x * 5)
        return out + [outer(t()) for _ in range(4)] + [inner(t()) for _ in range(4)]

    check(program, replays=4)
