"""Results of decorated functions that are differentiated outside, whatever the function writes.

Each program runs decorated and plain from equal starts; all that it returns is compared to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from frozen import difference, frozen

import hybrid as hb
from hybrid import nn, optim
from hybrid.autograd import passes
from hybrid.core.errors import HybridError
from hybrid.trace.bytecode.opcodes import SUPPORTED

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="nothing is recorded on this interpreter")
Decorate = Callable[[Any], Any]
DATA = np.random.default_rng(5).standard_normal((24, 5, 6)).astype("f")


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many passes over replays were native, and how many not."""
    counts = {"native": 0, "eager": 0}
    planned = passes._PLANNER.gathered
    assert planned is not None

    def counted(task: Any, nodes: Any) -> Any:
        found = planned(task, nodes)
        counts["eager" if found is None else "native"] += 1
        return found

    monkeypatch.setattr(passes._PLANNER, "gathered", counted)
    return counts


def both(program: Callable[[Decorate], Any], replays: int, records: int = 2) -> None:
    """Compare, and ask how many calls of each decorated function were replayed."""
    functions: list[Any] = []

    def decorate(fn: Any) -> Any:
        functions.append(hb.function(fn, wait=True))
        return functions[-1]

    hb.manual_seed(1)
    plain = frozen(program(lambda fn: fn))
    hb.manual_seed(1)
    traced = frozen(program(decorate))
    assert not difference(plain, traced), difference(plain, traced)
    for function in functions:
        info = function.cache_info()
        assert (info.replays, info.records, info.eager) == (replays, records, 0), function.explain()


class Norm(nn.Module):
    """Batch norm with running statistics, as people write it."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = hb.ones(size, requires_grad=True)
        self.register_buffer("mean", hb.zeros(size))
        self.register_buffer("var", hb.ones(size))

    def forward(self, x: Any) -> Any:
        mean = x.mean(0)
        var = ((x - mean) ** 2).mean(0)
        with hb.no_grad():
            self.mean.mul_(0.9).add_(mean * 0.1)
            self.var.mul_(0.9).add_(var * 0.1)
        return (x - mean) / hb.sqrt(var + 1e-5) * self.weight


def network(dropout: bool, norm: bool) -> Any:
    middle = [Norm(8)] if norm else []
    last = [nn.Dropout(0.3)] if dropout else []
    return nn.Sequential(nn.Linear(6, 8), *middle, nn.ReLU(), *last, nn.Linear(8, 3))


def state(net: Any) -> list[Any]:
    return [*net.state_dict().values(), hb.rand(2)]


@pytest.mark.parametrize("dropout, norm", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_training_loop_with_a_decorated_forward(
    dropout: bool, norm: bool, passed: dict[str, int]
) -> None:
    def program(jit: Decorate) -> Any:
        net = network(dropout, norm)
        opt = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

        @jit
        def model_loss(x: Any, y: Any) -> Any:
            return ((net(x) - y) ** 2).mean()

        losses = []
        for k in range(20):
            x, y = hb.tensor(DATA[k]), hb.tensor(DATA[-1 - k][:, :3])
            loss = model_loss(x, y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            losses.append(loss.item())
        return losses, state(net)

    both(program, replays=18)
    assert passed == {"native": 17, "eager": 1}


def test_only_the_model_is_decorated(passed: dict[str, int]) -> None:
    """The loss is computed eagerly above the call, and goes into the same plan."""

    def program(jit: Decorate) -> Any:
        net = network(True, True)
        opt = optim.Adam(net.parameters(), lr=0.01)
        model = jit(lambda x: net(x))
        losses = []
        for k in range(12):
            loss = ((model(hb.tensor(DATA[k])) - hb.tensor(DATA[-1 - k][:, :3])) ** 2).mean()
            loss = loss + 0.01 * sum((p * p).sum() for p in net.parameters())
            opt.zero_grad()
            loss.backward()
            opt.step()
            losses.append(loss.item())
        return losses, state(net)

    both(program, replays=10)
    assert passed == {"native": 9, "eager": 1}


def test_a_written_tensor_that_the_gradient_needs() -> None:
    """The value from before the write is what the gradient is made of."""

    def program(jit: Decorate) -> Any:
        h, w = hb.ones(4), hb.full((4,), 2.0, requires_grad=True)

        @jit
        def step(x: Any) -> Any:
            y = x * h * w
            with hb.no_grad():
                h.add_(x)
            return (y * h).sum()

        out = []
        for k in range(6):
            x = hb.tensor(DATA[k][0][:4], requires_grad=True)
            loss = step(x)
            loss.backward()
            out += [loss, x.grad, w.grad, h.clone()]
        return out

    both(program, replays=4)


def test_a_parameter_that_the_call_writes() -> None:
    def program(jit: Decorate) -> Any:
        w = hb.full((4,), 2.0, requires_grad=True)

        @jit
        def step(x: Any) -> Any:
            y = (x * w * w).sum()
            with hb.no_grad():
                w.mul_(0.9)
            return y

        out = []
        for k in range(6):
            x = hb.tensor(DATA[k][0][:4], requires_grad=True)
            loss = step(x)
            loss.backward()
            out += [loss, x.grad, w.grad, w.detach().clone()]
            w.grad = None
        return out

    both(program, replays=4)


def test_backward_inside_and_another_result_outside() -> None:
    def program(jit: Decorate) -> Any:
        leaf = hb.full((3,), 0.5, requires_grad=True)

        @jit
        def step(x: Any) -> Any:
            (x * leaf).sum().backward()
            leaf.grad = None
            return x + leaf

        results = [step(hb.tensor(DATA[k][0][:3])) for k in range(5)]
        (results[-1] * results[-2]).sum().backward()
        return results, leaf.grad

    both(program, replays=3)


def test_results_kept_and_differentiated_later_in_another_order(passed: dict[str, int]) -> None:
    def program(jit: Decorate) -> Any:
        net = network(True, True)
        model = jit(lambda x: net(x).sum())
        kept, out = [], []
        for k in range(8):
            kept.append(model(hb.tensor(DATA[k])))
            if k == 4:  # parameters are updated between forward and backward
                with hb.no_grad():
                    for p in net.parameters():
                        p.mul_(0.5)
        for k in (7, 3, 5, 0, 7, 6):
            kept[k].backward()
            out.append([p.grad.clone() for p in net.parameters()])
        return out, kept, state(net)

    both(program, replays=6)
    assert passed["native"] >= 3


def test_several_results_of_which_some_are_differentiated() -> None:
    def program(jit: Decorate) -> Any:
        net, w = network(True, False), hb.full((6,), 2.0, requires_grad=True)

        @jit
        def split(x: Any) -> Any:
            y = net(x)
            return {"a": y.mean(), "b": (x * w).sum(), "c": y.detach(), "n": 3}

        out = []
        for k in range(8):
            r = split(hb.tensor(DATA[k]))
            if k % 2:
                (r["a"] * r["b"]).backward()
            else:
                r["b"].backward()
            out += [w.grad, [p.grad for p in net.parameters()], r]
            net.zero_grad()
            w.grad = None
        return out

    both(program, replays=6)


def test_what_a_gradient_depends_on_is_known_by_result() -> None:
    """A gradient is on a tape only if what was differentiated depends on something else."""

    def program(jit: Decorate) -> Any:
        w = hb.full((3,), 2.0, requires_grad=True)
        f = jit(lambda x: ((x * x).sum(), (x * w).sum()))
        out = []
        for k in range(5):
            x = hb.tensor(DATA[k][0][:3])
            first, second = (hb.grad(lambda t, i=i: f(t)[i])(x) for i in (0, 1))
            out += [first, first.requires_grad, second, second.requires_grad]
        return out

    both(program, replays=8)


def test_double_backward_and_gradients() -> None:
    def program(jit: Decorate) -> Any:
        h = hb.ones(3)

        @jit
        def f(x: Any) -> Any:
            y = (x**3 * h).sum()
            h.mul_(1.5)
            return y

        out = []
        for k in range(6):
            x = hb.tensor(DATA[k][0][:3], requires_grad=True)
            y = f(x)
            (g,) = hb.gradients(y, x, create_graph=True)
            (second,) = hb.gradients(g.sum(), x)
            (again,) = hb.gradients(y, x)
            y.backward(retain_graph=True)
            y.backward(hb.tensor(2.0))
            out += [y, g, second, again, x.grad]
        return out

    both(program, replays=4)


def test_inside_grad_and_vjp(passed: dict[str, int]) -> None:
    def program(jit: Decorate) -> Any:
        net = network(True, True)
        f = jit(lambda x: net(x).mean())
        out = []
        for k in range(6):
            x = hb.tensor(DATA[k])
            out.append(hb.grad(f)(x))
            out.append(hb.value_and_grad(lambda t: f(t * 2.0) + t.sum())(x))
            value, pull = hb.vjp(f, x)
            out += [value, pull(hb.tensor(3.0))]
        return out, state(net)

    both(program, replays=14, records=4)


def test_grad_of_a_lambda_inside_a_decorated_step() -> None:
    def program(jit: Decorate) -> Any:
        h = hb.ones(6)
        inner = jit(lambda x: (x * x * h).sum())

        def step(x: Any) -> Any:
            g = hb.grad(lambda t: inner(t) * 2.0)(x)
            h.mul_(0.9)
            return g

        decorated = jit(step)
        return [decorated(hb.tensor(DATA[k])) for k in range(6)], h

    functions: list[Any] = []

    def decorate(fn: Any) -> Any:
        functions.append(hb.function(fn, wait=True))
        return functions[-1]

    plain, traced = program(lambda fn: fn), program(decorate)
    assert not difference(frozen(plain), frozen(traced))
    assert functions[1].cache_info().replays == 4


def test_decorated_functions_in_decorated_ones() -> None:
    def program(jit: Decorate) -> Any:
        net = network(True, True)
        inner = jit(lambda x: net(x))
        outer = jit(lambda x: inner(x).sum() * 0.5)
        out = []
        for k in range(6):
            loss = outer(hb.tensor(DATA[k]))
            loss.backward()
            out += [loss, [p.grad for p in net.parameters()]]
            net.zero_grad()
        return out, state(net), outer

    results = []
    for jit in (lambda fn: fn, lambda fn: hb.function(fn, wait=True)):
        hb.manual_seed(1)
        *values, outer = program(jit)
        results.append(frozen(values))
    assert not difference(*results)
    assert outer.cache_info().replays == 4


def test_two_calls_in_one_loss_and_a_chain(passed: dict[str, int]) -> None:
    def program(jit: Decorate) -> Any:
        net = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.2))
        f = jit(lambda x: hb.tanh(net(x)))
        out = []
        for k in range(6):
            x = hb.tensor(DATA[k], requires_grad=True)
            loss = (f(x) * f(x + 1.0)).sum() + f(f(x)).mean() + net[0].bias.sum()
            loss.backward()
            out += [loss, x.grad, [p.grad for p in net.parameters()]]
            net.zero_grad()
        return out, hb.rand(2)

    both(program, replays=20, records=4)
    assert passed == {"native": 4, "eager": 1}


def test_outputs_of_one_operation_as_inputs() -> None:
    """Two inputs that are results of one call are told apart."""

    def program(jit: Decorate) -> Any:
        first = jit(lambda x: (x * 2.0, x * 3.0))
        second = jit(lambda a, b: (a * a * b).sum())
        out = []
        for k in range(6):
            x = hb.tensor(DATA[k], requires_grad=True)
            a, b = first(x)
            second(b, a).backward()
            out.append(x.grad)
        return out

    both(program, replays=4)


def test_without_gradients() -> None:
    def program(jit: Decorate) -> Any:
        net = network(True, True)
        f = jit(lambda x: net(x).mean())
        out: list[Any] = []
        for k in range(10):
            x = hb.tensor(DATA[k])
            if k % 2:
                with hb.no_grad():
                    out.append(f(x))
            else:
                f(x).backward()
                out.append([p.grad for p in net.parameters()])
        return out, state(net)

    both(program, replays=6, records=4)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_step_whose_loss_is_differentiated_again(scale: float) -> None:
    """Where somebody asks for such gradients, replays keep what they need."""

    def program(jit: Decorate) -> Any:
        net = network(False, False)
        opt = optim.SGD(net.parameters(), lr=0.1)

        @jit
        def step(x: Any) -> Any:
            opt.zero_grad()
            loss = (net(x) ** 2).mean()
            loss.backward()
            opt.step()
            return loss * scale

        out = []
        for k in range(6):
            loss = step(hb.tensor(DATA[k]))
            loss.backward()
            out += [loss, [p.grad for p in net.parameters()]]
        return out, state(net)

    both(program, replays=4)


def test_a_step_whose_loss_is_differentiated_again_late() -> None:
    """Nobody did so while it was recorded: the error says so, and from then on it works."""
    net = network(False, False)
    opt = optim.SGD(net.parameters(), lr=0.1)

    @hb.function
    def step(x: Any) -> Any:
        opt.zero_grad()
        loss = (net(x) ** 2).mean()
        loss.backward()
        opt.step()
        return loss

    losses = [step(hb.tensor(DATA[k])) for k in range(5)]
    with pytest.raises(HybridError, match="run backward through it already"):
        losses[-1].backward()
    for k in range(5):
        step(hb.tensor(DATA[k])).backward()
    info = step.cache_info()
    assert (info.replays, info.records) == (6, 4)


def test_gradients_of_what_is_in_between(passed: dict[str, int]) -> None:
    """Sources that are no leaves, that are not reached, and given gradients of outputs."""

    def program(jit: Decorate) -> Any:
        w, h = hb.full((6,), 2.0, requires_grad=True), hb.ones(6)

        @jit
        def f(x: Any) -> Any:
            y = x * w * h
            h.mul_(0.99)
            return y, y.sum()

        out: list[Any] = []
        for k in range(6):
            x = hb.tensor(DATA[k], requires_grad=True)
            u = x * 2.0
            v = hb.exp(u)
            y, s = f(v)
            z = (y * y).sum() + s
            unused = hb.ones(2, requires_grad=True)
            out += hb.gradients(z, [u, x, w, unused, y], allow_unused=True)
            seeds = [hb.tensor(2.0), hb.tensor(3.0)]
            out += hb.gradients([z, s], [v, w], grad_outputs=seeds)
            y.backward(hb.ones_like(y) * 3)
            z.backward(inputs=[w])
            out += [x.grad, w.grad]
        return out

    both(program, replays=4)
    assert passed == {"native": 13, "eager": 3}


def test_nothing_is_kept_but_what_gradients_need() -> None:
    """A result lets go of everything when it goes, and state is written in place where no gradient
    needs what it was."""
    net = network(True, True)
    f = hb.function(lambda x: net(x).mean(), wait=True)
    for k in range(4):
        f(hb.tensor(DATA[k]))
    mean = net[1].mean
    address = mean.numpy().ctypes.data
    kept = f(hb.tensor(DATA[5]))
    f(hb.tensor(DATA[6]))
    assert mean.numpy().ctypes.data == address
    kept.backward()
    assert net[0].weight.grad is not None
