"""Every kind of device does what the default one does: eager, traced, with state, errors, random
numbers, modules and optimizers; and a backend that is registered from outside is one of them."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
from backend_kinds import FOUND, KINDS, params_on, sampled, tensor
from record_cases import NAMES, bits, cases, cast, dtypes_of, params_for, takes
from toy_backend import Toy

import hybrid
from hybrid import nn, optim
from hybrid.backends import api
from hybrid.comparison import same_bits
from hybrid.core import dtypes as dt
from hybrid.core.aval import HOST
from hybrid.core.errors import BackendError, DeviceError, IndexOutOfRange, UnsupportedError
from hybrid.ir.door.bind import bind
from hybrid.ir.graph.text import parse_graph, print_graph
from hybrid.ir.op import OPS

OTHERS = [kind for kind in KINDS if kind != HOST.kind]


@pytest.fixture(params=OTHERS)
def other_kind(request):
    return request.param


# ---- the same bits as native code
@pytest.mark.parametrize("name", NAMES)
def test_the_reference_has_the_bits_of_native_kernels(name):
    """The interpreter and the generators share no code but the records' programs."""
    op, found = OPS[name], cases(OPS[name])
    floats = any(x.dtype == np.float64 for xs, _ in found for x in xs)
    for d in sampled(dtypes_of(op), "reference", 2) if floats else [dt.float64]:
        for xs, given in sampled(found, "reference"):
            ys, params = cast(xs, d, op), params_for(given, d, op)
            if not takes(op, ys, params):
                continue
            results = [
                bind(op, *[tensor(y, kind) for y in ys], **params_on(params, kind))
                for kind in (HOST.kind, "reference")
            ]
            for a, b in zip(*[r if isinstance(r, tuple) else (r,) for r in results], strict=True):
                assert b.device == "reference" and a.dtype is b.dtype and a.shape == b.shape
                np.testing.assert_array_equal(bits(a.numpy()), bits(b.numpy()), err_msg=f"{d}")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 8)
        self.norm = nn.LayerNorm(8)
        self.inner = nn.Linear(8, 16)
        self.drop = nn.Dropout(0.25)
        self.out = nn.Linear(16, 5)

    def forward(self, at):
        x = self.norm(self.embed(at))
        return self.out(self.drop(nn.functional.gelu(self.inner(x))).mean(axis=1))


def trained(kind, decorate, steps=5):
    """Losses and parameters of a few steps of training, as arrays."""
    hybrid.manual_seed(3)
    net = Net().to(kind)
    hybrid.random.default_generator(kind).manual_seed(4)
    assert {p.device for p in net.parameters()} == {hybrid.device(kind)}
    opt = optim.AdamW(net.parameters(), lr=1e-2)
    data = np.random.default_rng(0)

    def step(at, wanted):
        opt.zero_grad()
        loss = nn.functional.cross_entropy(net(at), wanted)
        loss.backward()
        opt.step()
        return loss

    run, losses = decorate(step), []
    for _ in range(steps):
        at, wanted = data.integers(0, 7, (6, 3)), data.integers(0, 5, 6)
        losses.append(run(tensor(at, kind), tensor(wanted, kind)).numpy())
    return [*losses, *[p.numpy() for p in net.parameters()]], run


@pytest.mark.parametrize("kind", FOUND)
def test_training_replays_with_the_bits_of_eager_calls(kind):
    want, _ = trained(kind, lambda f: f)
    got, step = trained(kind, hybrid.function)
    assert step.cache_info().replays == 3, step.explain()
    assert all(map(same_bits, want, got))


@pytest.mark.parametrize("kind", ["reference", "boxes"])
def test_interpreted_training_has_the_bits_of_native_code(kind):
    want, _ = trained(HOST.kind, hybrid.function)
    got, _ = trained(kind, hybrid.function)
    assert all(map(same_bits, want, got))


def test_random_streams_are_the_same_everywhere(other_kind, monkeypatch):
    monkeypatch.setattr("hybrid.ops.indexing.generators._DEFAULT", {})  # as in a new process
    hybrid.manual_seed(11)
    hybrid.random.default_generator(other_kind)  # starts with the seed of the default device
    draws = []
    for kind in (HOST.kind, other_kind):
        f = hybrid.function(lambda kind=kind: hybrid.random.randint(0, 1000, (4,), device=kind))
        draws.append([f().tolist() for _ in range(4)])
        assert f.cache_info().replays == 2
    assert draws[0] == draws[1] and draws[0][2] != draws[0][3]


# ---- tensors
def test_tensors_go_there_and_back(other_kind):
    x = hybrid.tensor([[1.5, -2.0]], requires_grad=True)
    there = x.detach().to(other_kind)
    assert there.device == other_kind == there.device.kind and f"device='{other_kind}'" in repr(
        there
    )
    assert there.to(f"{other_kind}:0") is there and there.to(x).device is HOST
    assert there.cpu().tolist() == there.tolist() == x.tolist()
    assert (there + np.array([1.0, 2.0], np.float32)).tolist() == [[2.5, 0.0]]
    assert (there * 2 + [1, 1]).device == other_kind
    assert bool((there > 0).any()) and float(there.sum()) == -0.5 and there.item  # noqa: B018
    for made in (hybrid.zeros(2), hybrid.arange(3.0), hybrid.linspace(0, 1, 3), hybrid.eye(2)):
        assert made.to(other_kind).tolist() == made.tolist()
    assert hybrid.eye(2, device=other_kind).device == other_kind
    assert hybrid.zeros_like(there).device == other_kind
    with pytest.raises(DeviceError, match=f"{other_kind}|cpu"):
        there + hybrid.ones(2)
    with pytest.raises(hybrid.DTypeError, match="a device: pass device="):
        hybrid.zeros(2, dtype=other_kind)


DATA = np.array([[1, 0], [2, 1]])
BESIDE = {
    "list": lambda x: x[[2, 0]],
    "array": lambda x: x[DATA],
    "mask": lambda x: x[np.array([True, False, True])],
    "row and column": lambda x: x[[0, 1], [1, 0]],
    "take": lambda x: hybrid.take(x, [0, 2], 1),
    "take_along_axis": lambda x: hybrid.take_along_axis(x, [[2], [0], [1]], 1),
    "embedding": lambda x: hybrid.embedding(x, DATA),
    "masked_select": lambda x: hybrid.masked_select(x, np.eye(3) > 0),
    "setitem": lambda x: hybrid.setitem(x, ([0, 1], slice(0, 2)), [[1.0, 2.0], [3, 4]]),
    "where": lambda x: hybrid.where(np.eye(3) > 0, x, 0.5),
    "matmul": lambda x: x @ np.ones((3, 2), np.float32),
    "reversed": lambda x: np.float32(2.0) * x + 1.5 - [1, 2, 3],
    "concat": lambda x: hybrid.concat([x, np.ones((1, 3), "f4")], 0),
    "stack": lambda x: hybrid.stack([x[0], x[1]]),
    "asarray": lambda x: hybrid.asarray([x[0, 0], x[1, 1], 2.0]),
    "cross_entropy": lambda x: hybrid.cross_entropy(x, [0, 2, 1], weight=[1.0, 2.0, 3.0]),
    "normal": lambda x: x * 0 + hybrid.random.normal([1.0, 2.0, 3.0], 0.0, 3, device=x.device),
    "bernoulli": lambda x: x + hybrid.random.bernoulli(np.ones(3, "f4"), device=x.device),
    "full": lambda x: x + hybrid.full(3, [1.0, 2.0, 3.0], device=x.device),
    "choice": lambda x: hybrid.random.choice(3, (4,), device=x.device) * 0,
    "clip": lambda x: hybrid.clip(x, -0.5, np.array([0.5, 1.0, 1.5], "f4")),
    "searchsorted": lambda x: hybrid.searchsorted(hybrid.sort(x[0]), [0.0, 1.0]),
    "norms": lambda x: hybrid.layer_norm(x, 3, [1.0, 2.0, 3.0], None),
    "attention": lambda x: hybrid.scaled_dot_product_attention(x, x, x, np.eye(3) > 0),
    "convolution": lambda x: hybrid.conv2d(x[None, None], np.ones((1, 1, 2, 2), "f4")),
    "power": lambda x: 2**x,
    "comparison": lambda x: x < DATA[0, 0],
    "nonzero": lambda x: hybrid.nonzero(x > 0)[0],
    "triangle": lambda x: hybrid.tril(x),
    "quantities": lambda x: hybrid.cumulative_sum(x, 0) + hybrid.norm(x) + hybrid.var(x),
}


@pytest.mark.parametrize("name", BESIDE)
def test_host_data_goes_where_the_tensor_beside_it_is(name, other_kind):
    data, fn = np.linspace(-1, 1, 9, dtype="f4").reshape(3, 3), BESIDE[name]
    want, got = fn(tensor(data, HOST.kind)), fn(tensor(data, other_kind))
    assert got.device == other_kind
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-6)


def test_copies_pickles_and_states_keep_the_device(other_kind):
    x = hybrid.tensor([1.0, 2.0], device=other_kind, requires_grad=True)
    for same in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert same.device == other_kind and same.tolist() == [1.0, 2.0] and same.requires_grad
    net, other = nn.Linear(3, 2).to(other_kind), nn.Linear(3, 2)
    net.load_state_dict(other.state_dict())
    assert net.weight.device == other_kind and net.weight.tolist() == other.weight.tolist()
    net.load_state_dict({k: v.numpy() for k, v in net.state_dict().items()})
    assert net(tensor(np.ones((1, 3), "f4"), other_kind)).device == other_kind


def test_writes_and_views(backend_kind):
    def run(x):
        x[0] = 5.0
        x[1:, 0] += 1
        row = x[1]
        row *= 2
        return x.sum()

    want = run(tensor(np.arange(6.0).reshape(2, 3), backend_kind))
    traced, states = hybrid.function(run), []
    for _ in range(4):
        x = tensor(np.arange(6.0).reshape(2, 3), backend_kind)
        assert traced(x).tolist() == want.tolist()
        states.append(x.tolist())
    assert traced.cache_info().replays == 2 and all(s == states[0] for s in states)


# ---- decorated calls
def test_numbers_and_data_are_literals_of_a_plan(backend_kind):
    @hybrid.function
    def f(x):
        return x * 2.5 + hybrid.tensor([1.0, 2.0], device=x.device) + (x > 0)

    x = tensor(np.array([1.0, -1.0], "f4"), backend_kind)
    got = [f(x).tolist() for _ in range(4)]
    assert got == [[4.5, -0.5]] * 4 and f.cache_info().replays == 2


def test_an_index_out_of_range_names_the_line(backend_kind):
    table = tensor(np.arange(8.0).reshape(4, 2), backend_kind)
    with pytest.raises(IndexOutOfRange):
        hybrid.take(table, tensor(np.array([1, 4]), backend_kind), 0)

    @hybrid.function
    def f(at):
        return hybrid.take(table, at, 0) * 2

    for _ in range(3):
        assert f(tensor(np.array([1, 3]), backend_kind)).shape == (2, 2)
    with pytest.raises(IndexOutOfRange, match=r"test_backend_kinds.py:\d+ in f"):
        f(tensor(np.array([1, 4]), backend_kind))
    assert f.cache_info().replays >= 1


def test_a_replay_looks_at_its_facts_once(other_kind):
    f = hybrid.function(lambda x: x * 2)
    x = hybrid.ones(2, device=other_kind)
    for _ in range(3):
        f(x)
    (entry,) = f._signatures.values()
    (plan,) = entry.plans
    guard, looks = plan.guard, []
    plan.guard = lambda tensors: looks.append(0) or guard(tensors)
    f(x)
    assert len(looks) == 1 and f.cache_info().replays == 2


def test_compare_sees_the_same_bits(backend_kind):
    x = tensor(np.linspace(-2, 2, 12).reshape(3, 4), backend_kind)
    found = hybrid.compare(lambda x: hybrid.softmax(x @ x.T, -1).sum(0), x)
    assert found.same_bits and found.replays


def test_gradients_of_gradients(backend_kind):
    x = tensor(np.array([0.5, 2.0]), backend_kind)
    once = hybrid.grad(lambda v: (v**3).sum())
    assert np.allclose(hybrid.grad(lambda v: once(v).sum())(x).numpy(), 6 * x.numpy())


def test_two_devices_in_one_call_run_eagerly(other_kind):
    here, there = hybrid.ones(2), hybrid.ones(2, device=other_kind)
    f = hybrid.function(lambda a, b: (a + 1, b + 1))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(3):
            assert [t.tolist() for t in f(here, there)] == [[2.0, 2.0]] * 2
    assert len(said) == 1 and "a plan runs on one device" in str(said[0].message)


def test_nan_is_found_where_it_is_made(backend_kind):
    with hybrid.detect_nan(), pytest.raises(hybrid.NanError, match="log made 1 bad"):
        hybrid.log(tensor(np.array([1.0, -1.0]), backend_kind))


# ---- text
def test_graphs_print_and_parse_with_their_device(other_kind):
    f = hybrid.function(lambda x: (x * 2).sum() + hybrid.ones(1, device=x.device))
    x = hybrid.ones(2, 3, device=other_kind)
    for _ in range(3):
        f(x)
    text = print_graph(f.graph(x))
    assert f"float32[2x3]@{other_kind}" in text
    assert print_graph(parse_graph(text)) == text
    there = text.replace(f"@{other_kind}", f"@{other_kind}:1")
    assert print_graph(parse_graph(there)) == there


# ---- threads
def test_threads_of_a_device_that_has_none_to_set(other_kind):
    with pytest.raises(UnsupportedError, match=f"threads of a {other_kind} device"):
        hybrid.set_num_threads(2, device=other_kind)
    assert hybrid.get_num_threads(device=other_kind) == 1
    with hybrid.num_threads(1):
        assert hybrid.get_num_threads() == hybrid.get_num_threads(device=HOST) == 1


# ---- registration
@pytest.mark.parametrize("kind", ["", "My", "a:0", "a b", "1a", "é", "x" * 33, None, 3])
def test_a_kind_is_a_lower_case_name(kind):
    with pytest.raises(BackendError, match="a lower-case name"):
        api.register(kind, Toy)


def test_a_kind_has_one_backend():
    for kind in (HOST.kind, "reference", "toy"):
        with pytest.raises(BackendError, match="already"):
            api.register(kind, Toy)
    with pytest.raises(BackendError, match="cannot be called"):
        api.register("another", object())
    assert "another" not in api.kinds()


def test_a_factory_gives_a_backend_of_its_kind(monkeypatch):
    monkeypatch.setattr(api, "_FACTORIES", dict(api._FACTORIES))
    api.register("broken", lambda: None)
    api.register("renamed", Toy)
    assert {"broken", "renamed", "toy", "reference", HOST.kind} <= set(api.kinds())
    with pytest.raises(BackendError, match="'broken' gives NoneType, no Backend"):
        hybrid.ones(2, device="broken")
    with pytest.raises(BackendError, match="gives one of kind 'toy', no Backend"):
        hybrid.ones(2, device="renamed")


def test_what_is_not_registered_is_no_device():
    with pytest.raises(DeviceError, match="no device 'nothing'; devices are .*reference"):
        hybrid.ones(2, device="nothing")
    if "cuda" not in KINDS:
        with pytest.raises(DeviceError, match="no NVIDIA driver|no CUDA device"):
            hybrid.ones(2).to("cuda")
