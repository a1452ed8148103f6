"""Eager ops on a simulated card: the kernels are the emitted PTX, interpreted, and give the bits of
the CPU's; nothing waits, and what fails is told where the host waits."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from gpu import SimulatedDriver
from record_cases import NAMES as ALL
from record_cases import bits, cases, cast, dtypes_of, params_for, takes

import hybrid
from hybrid import nn, optim
from hybrid.backends.cpu.machine.jit import compile_ir
from hybrid.backends.cuda.algorithms import has_kernels
from hybrid.backends.cuda.array import DeviceArray
from hybrid.backends.cuda.machine import devices
from hybrid.backends.cuda.machine import driver as door
from hybrid.backends.cuda.machine.blocks import is_block
from hybrid.core import dtypes as dt
from hybrid.core.aval import HOST
from hybrid.core.errors import DeviceError, IndexOutOfRange
from hybrid.ir.door.bind import bind
from hybrid.ir.op import OPS, HostOp, algorithm_of


@pytest.fixture(scope="module", autouse=True)
def card():
    """A simulated card in the driver's place."""
    made = SimulatedDriver()
    before = door.use(made)
    yield made
    door.use(before)


# branches and loops run graphs: on a card their steps are ops
PLAIN = [name for name in ALL if name not in ("while_loop", "scan", "switch")]


def by_host(op):
    """Whether only the host computes a record."""
    return isinstance(op, HostOp) and not has_kernels(algorithm_of(op, cases(op)[0][1]))


REFUSED = [name for name in PLAIN if by_host(OPS[name])]
NAMES = [name for name in PLAIN if name not in REFUSED]


def params_on(params, kind):
    return {k: hybrid.device(kind) if v is HOST else v for k, v in params.items()}


def results(op, arrays, params, kind):
    made = bind(op, *[hybrid.tensor(x, device=kind) for x in arrays], **params_on(params, kind))
    return made if isinstance(made, tuple) else (made,)


def same(op, arrays, params):
    """The op on both devices."""
    for a, b in zip(*[results(op, arrays, params, k) for k in ("cpu", "cuda")], strict=True):
        assert type(b._v) is DeviceArray and a.dtype is b.dtype and a.shape == b.shape
        np.testing.assert_array_equal(bits(a.numpy()), bits(b.numpy()), err_msg=str(params))


def calls(op, types, few):
    """Sampled calls of a record: arrays and parameters."""
    found = cases(op)
    found = found if few is None else found[:: max(1, len(found) // few)][:few]
    floats = any(x.dtype == np.float64 for xs, _ in cases(op) for x in xs)
    for d in types if floats else [dt.float64]:
        for xs, given in found:
            arrays, params = cast(xs, d, op), params_for(given, d, op)
            if takes(op, arrays, params):
                yield arrays, params


@pytest.mark.parametrize("name", NAMES)
def test_the_bits_are_those_of_the_host(name):
    op = OPS[name]
    types = dtypes_of(op) or [dt.bool_]
    first = dt.float32 if dt.float32 in types else types[0]
    for arrays, params in calls(op, [first], 1):
        same(op, arrays, params)


@pytest.mark.parametrize("name", REFUSED)
def test_what_libraries_of_the_host_compute_is_refused(name):
    op = OPS[name]
    arrays, params = next(iter(calls(op, [(dtypes_of(op) or [dt.bool_])[0]], 1)))
    with pytest.raises(hybrid.UnsupportedError, match=rf"(?s){name}.*cuda"):
        results(op, arrays, params, "cuda")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_bits_are_those_of_the_host_for_every_dtype(name):
    for arrays, params in calls(OPS[name], dtypes_of(OPS[name]), None):
        same(OPS[name], arrays, params)


# ---- layouts
LAYOUTS = {
    "turned": lambda x: x.T,
    "steps": lambda x: x[::2, 1::3],
    "backwards": lambda x: hybrid.flip(x, axis=1),
    "wide": lambda x: hybrid.broadcast_to(x[:, :1], x.shape),
    "diagonal": lambda x: hybrid.diagonal(x),
    "reshaped": lambda x: x.T.reshape(-1),
    "window": lambda x: x[2:5].T[1:],
}
USES = {
    "map": lambda x: hybrid.exp(x) + x,
    "row": lambda x: hybrid.softmax(x, axis=-1),
    "sum": lambda x: hybrid.sum(x, axis=0),
    "gather": lambda x: hybrid.take(x, hybrid.arange(2, device=x.device), axis=0),
    "place": lambda x: hybrid.concat([x, x * 2]),
    "product": lambda x: hybrid.matmul(x, x.T),
    "host": lambda x: x,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_inputs_that_are_not_contiguous(layout, use):
    values = np.random.default_rng(0).normal(size=(7, 9)).astype(np.float32)
    made = [use(layout(hybrid.tensor(values, device=kind))) for kind in ("cpu", "cuda")]
    np.testing.assert_array_equal(bits(made[0].numpy()), bits(made[1].numpy()))


def test_views_start_no_kernel(card):
    x = hybrid.ones((6, 8), device="cuda")
    card.log.clear()
    shown = [x.T, x[1:3], x.reshape(3, 16), x[::2].T]
    assert not card.log
    assert all(type(v._v) is DeviceArray and v._v.base is not None for v in shown)
    assert is_block(x._v.base)
    x[1, 2] = 7.0  # the views see it
    assert shown[0][2, 1].item() == shown[1][0, 2].item() == 7.0


# ---- one native call, nothing waits
def test_an_op_is_one_launch_and_waits_for_nothing(card):
    x, target = hybrid.ones((4, 8), device="cuda"), hybrid.arange(4, device="cuda")
    layer = nn.LayerNorm(8).to("cuda")
    ops = {
        "add": lambda: x + x,
        "scalar": lambda: x * 2,
        "softmax": lambda: hybrid.softmax(x, axis=-1),
        "gelu": lambda: nn.functional.gelu(x),
        "stack": lambda: hybrid.stack([x, x, x]),
        "norm": lambda: layer(x),
        "loss": lambda: nn.functional.cross_entropy(x, target),
    }
    for name, call in ops.items():
        call()
        card.log.clear()
        call()
        assert {entry[0] for entry in card.log} == {"kernel"}, name
        assert len(card.log) == (4 if name == "loss" else 1), name


def test_memory_is_used_again():
    x = hybrid.ones((32, 32), device="cuda")
    first = (x + 1)._v.__array_interface__["data"][0]
    assert all((x + 1)._v.__array_interface__["data"][0] == first for _ in range(5))


# ---- failed checks
def test_a_wrong_index_is_told_where_the_host_waits():
    x = hybrid.arange(5, device="cuda")
    wrong = hybrid.take(x, hybrid.tensor([1, 7], device="cuda"))
    after = hybrid.take(x, hybrid.tensor([1, 2], device="cuda")) + 1
    with pytest.raises(IndexOutOfRange, match=r"test_eager\.py.*wrong = hybrid\.take") as told:
        after.numpy()
    assert "5" in str(told.value) and wrong.shape == (2,)
    assert hybrid.take(x, hybrid.tensor([4], device="cuda")).tolist() == [4]


def test_a_wrong_index_is_told_at_once_on_demand():
    x, index = hybrid.arange(5, device="cuda"), hybrid.tensor([1, 7], device="cuda")
    with hybrid.debug(sync=True), pytest.raises(IndexOutOfRange):
        hybrid.take(x, index)
    assert x.tolist() == [0, 1, 2, 3, 4]


def test_a_refused_launch_names_the_op():
    x = hybrid.ones(3, device="cuda")
    hybrid.exp(x)
    record = devices.device_state().record
    entry = record["launch"]
    record["launch"] = refusing().address("refuse")
    try:
        with pytest.raises(DeviceError, match=r"exp: .*error 700"):
            hybrid.exp(x)
    finally:
        record["launch"] = entry
    assert hybrid.exp(x).shape == (3,)


@lru_cache(1)
def refusing():
    return compile_ir("define i32 @refuse() {\n  ret i32 700\n}\n", ["refuse"])


# ---- more than one op
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.norm = nn.LayerNorm(8)
        self.inner = nn.Linear(8, 11)

    def forward(self, x):
        return self.inner(nn.functional.gelu(self.norm(self.embed(x))))


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: optim.AdamW(p, lr=0.01),
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: optim.SGD(p, lr=0.1, weight_decay=0.1),
    ],
    ids=["adamw", "momentum", "sgd"],
)
def test_training_gives_the_bits_of_the_host(optimizer):
    def run(kind):
        hybrid.manual_seed(0)
        net = Net()
        net.to(kind)
        steps, losses = optimizer(list(net.parameters())), []
        x = hybrid.tensor(np.arange(12).reshape(3, 4) % 11, device=kind)
        y = hybrid.tensor(np.arange(12) * 5 % 11, device=kind)
        for _ in range(3):
            loss = nn.functional.cross_entropy(net(x).reshape(-1, 11), y)
            steps.zero_grad()
            loss.backward()
            steps.step()
            losses.append(loss.numpy())
        return [*losses, *[p.numpy() for p in net.parameters()]]

    for a, b in zip(run("cpu"), run("cuda"), strict=True):
        np.testing.assert_array_equal(bits(a), bits(b))


def test_an_optimizer_takes_gradients_of_any_layout():
    found = []
    for kind in ("cpu", "cuda"):
        given = [hybrid.ones(3, 4, device=kind, requires_grad=True) for _ in range(3)]
        for p in given:
            p.grad = hybrid.arange(12.0, device=kind).reshape(4, 3).T
        optim.Adam(given, lr=0.1).step()
        found.append([p.numpy() for p in given])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(bits(a), bits(b))


def test_an_optimizer_updates_many_parameters_in_few_launches(card):
    def parameters(kind):
        draw = np.random.default_rng(0).normal
        made = [
            hybrid.tensor(
                draw(size=(3, n % 7 + 1)).astype(np.float32), device=kind, requires_grad=True
            )
            for n in range(50)
        ]
        for p in made:
            p.grad = hybrid.tensor(draw(size=p.shape).astype(np.float32), device=kind)
        return made

    found = {}
    for kind in ("cpu", "cuda"):
        given = parameters(kind)
        turned = given[5].T  # a view of a parameter follows it
        steps = optim.Adam(given, lr=0.1)
        for _ in range(2):
            card.log.clear()
            steps.step()
        if kind == "cuda":
            assert len(card.log) < 8 and {entry[0] for entry in card.log} == {"kernel"}
        state = [t for p in given for t in steps.state[id(p)].values()]
        found[kind] = [t.numpy() for t in (*given, *state, turned)]
    for a, b in zip(found["cpu"], found["cuda"], strict=True):
        np.testing.assert_array_equal(bits(a), bits(b))
