"""Layers against NumPy formulas, and Module: names, state, hooks, modes, dtypes, sharing."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest

import hybrid as hb
from hybrid import nn
from hybrid.nn import functional as F

R = np.random.default_rng(0)


def close(t, want, rtol=2e-6, atol=2e-6):
    np.testing.assert_allclose(np.asarray(t).astype(np.float64), want, rtol=rtol, atol=atol)


def f32(*shape):
    return R.standard_normal(shape).astype(np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


@pytest.fixture(autouse=True)
def seed():
    hb.manual_seed(0)


# ---- layers
@pytest.mark.parametrize("bias", [True, False])
def test_linear(bias):
    m, x = nn.Linear(5, 3, bias=bias), f32(4, 5)
    want = x.astype(np.float64) @ m.weight.numpy().T.astype(np.float64) + (
        m.bias.numpy() if bias else 0
    )
    close(m(hb.tensor(x)), want)
    close(m(hb.tensor(x[0])), want[0])
    close(m(hb.tensor(x.reshape(2, 2, 5))), want.reshape(2, 2, 3))
    assert np.abs(m.weight.numpy()).max() <= 1 / math.sqrt(5) and m.weight.numpy().std() > 0.1
    assert (m.bias is not None) is bias and f"bias={bias}" in repr(m)
    with pytest.raises(hb.ShapeError):
        m(hb.ones((4, 6)))


def conv_reference(x, w, b, stride, pad, dil, groups):
    n, c, h, wd = x.shape
    o, cg, kh, kw = w.shape
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (pad[0],) * 2, (pad[1],) * 2))
    oh = (x.shape[2] - dil[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (x.shape[3] - dil[1] * (kw - 1) - 1) // stride[1] + 1
    out = np.zeros((n, o, oh, ow))
    for k in range(o):
        g = k // (o // groups)
        for i in range(oh):
            for j in range(ow):
                win = x[
                    :,
                    g * cg : (g + 1) * cg,
                    i * stride[0] : i * stride[0] + dil[0] * (kh - 1) + 1 : dil[0],
                    j * stride[1] : j * stride[1] + dil[1] * (kw - 1) + 1 : dil[1],
                ]
                out[:, k, i, j] = (win * w[k]).sum((1, 2, 3)) + (b[k] if b is not None else 0)
    return out


@pytest.mark.parametrize(
    "kw",
    [
        {},
        {"stride": 2, "padding": 1},
        {"groups": 2, "bias": False},
        {"dilation": (1, 2), "padding": (0, 1)},
    ],
)
def test_conv2d(kw):
    m, x = nn.Conv2d(4, 6, (3, 2), **kw), f32(2, 4, 7, 8)

    def pair(v):
        return (v, v) if isinstance(v, int) else v

    want = conv_reference(
        x,
        m.weight.numpy(),
        None if m.bias is None else m.bias.numpy(),
        pair(kw.get("stride", 1)),
        pair(kw.get("padding", 0)),
        pair(kw.get("dilation", 1)),
        kw.get("groups", 1),
    )
    close(m(hb.tensor(x)), want, 1e-5, 1e-5)
    assert np.abs(m.weight.numpy()).max() <= 1 / math.sqrt(4 // kw.get("groups", 1) * 6)
    with pytest.raises(hb.ShapeError, match="groups"):
        nn.Conv2d(3, 4, 1, groups=2)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_layers_of_images(axes):
    """The functions of their settings; sizes for each axis."""
    rng = np.random.default_rng(axes)
    x = hb.tensor(rng.standard_normal((2, 4, *[7] * axes)), dtype="float32")
    one = (1,) * axes
    layer = getattr(nn, f"Conv{axes}d")(4, 6, 3, 2, 1, groups=2)
    want = getattr(F, f"conv{axes}d")(x, layer.weight, layer.bias, 2, 1, 1, 2)
    assert layer.weight.shape == (6, 2, *[3] * axes) and layer.kernel_size == (3,) * axes
    assert layer(x).numpy().tobytes() == want.numpy().tobytes()
    bound = 1 / math.sqrt(2 * 3**axes)
    assert np.abs(layer.weight.numpy()).max() <= bound
    same = getattr(nn, f"Conv{axes}d")(4, 6, (2, 3, 4)[:axes], padding="same", bias=False)
    assert same(x).shape == (2, 6, *[7] * axes) and same.bias is None
    back = getattr(nn, f"ConvTranspose{axes}d")(4, 6, 3, 2, 1, output_padding=1, groups=2)
    settings = back.bias, 2, 1, 1, 2
    want = getattr(F, f"conv_transpose{axes}d")(x, back.weight, *settings)
    assert back.weight.shape == (4, 3, *[3] * axes) and back.output_padding == one
    assert back(x).numpy().tobytes() == want.numpy().tobytes() and want.shape[2] == 14
    assert np.abs(back.weight.numpy()).max() <= 1 / math.sqrt(3 * 3**axes)
    assert "output_padding" in repr(back) and "stride" in repr(layer)
    for name, function in (("MaxPool", "max_pool"), ("AvgPool", "avg_pool")):
        pool = getattr(nn, f"{name}{axes}d")(3, 2, 1)
        want = getattr(F, f"{function}{axes}d")(x, 3, 2, 1)
        assert pool(x).numpy().tobytes() == want.numpy().tobytes()
        assert getattr(nn, f"{name}{axes}d")(3)(x).shape == (2, 4, *[2] * axes)
    for bad in (
        lambda: getattr(nn, f"Conv{axes}d")(4, 6, (3,) * (axes + 1)),
        lambda: getattr(nn, f"ConvTranspose{axes}d")(4, 6, 3, padding="same"),
        lambda: getattr(nn, f"ConvTranspose{axes}d")(4, 6, 3, groups=4),
        lambda: getattr(nn, f"Conv{axes}d")(4, 6, 3, groups=0),
    ):
        with pytest.raises(hb.ShapeError):
            bad()


def test_embedding():
    m = nn.Embedding(10, 4)
    i = np.array([[1, 9], [0, 1]])
    close(m(hb.tensor(i)), m.weight.numpy()[i], 0, 0)
    m(hb.tensor(i)).sum().backward()
    want = np.zeros((10, 4))
    np.add.at(want, i, 1)
    close(m.weight.grad, want, 0, 0)
    with pytest.raises(IndexError):
        m(hb.tensor([10]))


@pytest.mark.parametrize("shape", [5, (3, 5)])
def test_layer_norm(shape):
    m, x = nn.LayerNorm(shape, eps=1e-3), f32(4, 3, 5)
    axes = (2,) if shape == 5 else (1, 2)
    with hb.no_grad():
        m.weight += hb.tensor(f32(*m.weight.shape))
        m.bias += 1
    x64 = x.astype(np.float64)
    want = (x64 - x64.mean(axes, keepdims=True)) / np.sqrt(x64.var(axes, keepdims=True) + 1e-3)
    close(m(hb.tensor(x)), want * m.weight.numpy() + m.bias.numpy(), 1e-5, 1e-5)
    assert (
        nn.LayerNorm(5, bias=False).bias is None
        and nn.LayerNorm(5, elementwise_affine=False).weight is None
    )


def test_dropout_module():
    m, x = nn.Dropout(0.5), hb.ones(400)
    y = m(x).numpy()
    assert set(y.tolist()) == {0.0, 2.0} and 120 < (y == 0).sum() < 280
    assert m.eval()(x) is x and not m.training
    with pytest.raises(ValueError, match="probability"):
        nn.Dropout(1.5)


def test_pools():
    x = f32(2, 3, 6, 7)
    view = np.lib.stride_tricks.sliding_window_view(x, (2, 2), (2, 3))
    close(nn.MaxPool2d(2)(hb.tensor(x)), view[:, :, ::2, ::2].max((-1, -2)), 0, 0)
    close(nn.AvgPool2d(2, stride=1)(hb.tensor(x)), view.mean((-1, -2)))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    view = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    close(nn.MaxPool2d(3, 2, 1)(hb.tensor(x)), view[:, :, ::2, ::2].max((-1, -2)), 0, 0)


POINTWISE = [
    (nn.ReLU(), lambda x: np.maximum(x, 0)),
    (nn.SiLU(), lambda x: x * sigmoid(x)),
    (nn.Sigmoid(), sigmoid),
    (nn.Tanh(), np.tanh),
    (nn.Softplus(), lambda x: np.log1p(np.exp(x.astype(np.float64)))),
    (nn.Identity(), lambda x: x),
    (nn.GELU(), lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))),
    (
        nn.GELU("tanh"),
        lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ),
    (nn.Softmax(), lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
    (nn.LogSoftmax(0), lambda x: x - np.log(np.exp(x).sum(0, keepdims=True))),
    (nn.Flatten(), lambda x: x.reshape(len(x), -1)),
    (nn.Flatten(0), lambda x: x.reshape(-1)),
]


@pytest.mark.parametrize(
    "m, f", POINTWISE, ids=lambda v: repr(v) if isinstance(v, nn.Module) else ""
)
def test_activations(m, f):
    x = f32(3, 17)
    close(m(hb.tensor(x)), f(x.astype(np.float64)), 4e-6, 1e-6)
    assert repr(m).startswith(type(m).__name__ + "(")


def test_lstm_cell():
    m, x, h, c = nn.LSTMCell(3, 4), f32(2, 3), f32(2, 4), f32(2, 4)
    g = (
        x @ m.weight_ih.numpy().T
        + m.bias_ih.numpy()
        + h @ m.weight_hh.numpy().T
        + m.bias_hh.numpy()
    )
    i, f, o = sigmoid(g[:, :4]), sigmoid(g[:, 4:8]), sigmoid(g[:, 12:])
    c2 = f * c + i * np.tanh(g[:, 8:12])
    got_h, got_c = m(hb.tensor(x), (hb.tensor(h), hb.tensor(c)))
    close(got_c, c2, 1e-5, 1e-5)
    close(got_h, o * np.tanh(c2), 1e-5, 1e-5)
    assert m(hb.tensor(x))[0].shape == (2, 4) and nn.LSTMCell(3, 4, bias=False).bias_ih is None


def test_losses():
    x, t = f32(4, 5), np.array([1, 0, 4, -100])
    logp = x.astype(np.float64) - np.log(np.exp(x.astype(np.float64)).sum(1, keepdims=True))
    per = -logp[[0, 1, 2], t[:3]]
    close(nn.CrossEntropyLoss()(hb.tensor(x), hb.tensor(t)), per.mean())
    close(nn.CrossEntropyLoss(reduction="sum")(hb.tensor(x), hb.tensor(t)), per.sum())
    w = np.array([1, 2, 3, 4, 5], np.float32)
    close(
        nn.CrossEntropyLoss(hb.tensor(w))(hb.tensor(x), hb.tensor(t)),
        (per * w[t[:3]]).sum() / w[t[:3]].sum(),
    )
    smooth = 0.9 * per + 0.1 * -logp[:3].mean(1)
    close(nn.CrossEntropyLoss(label_smoothing=0.1)(hb.tensor(x), hb.tensor(t)), smooth.mean())
    y = f32(4, 5)
    close(nn.MSELoss()(hb.tensor(x), hb.tensor(y)), ((x - y) ** 2).mean(), 1e-5)
    close(nn.MSELoss("none")(hb.tensor(x), hb.tensor(y)), (x - y) ** 2, 1e-5)


# ---- Module
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(3, 2))
        self.scale = nn.Parameter([2.0])
        self.register_buffer("seen", hb.zeros(1))
        self.register_buffer("cache", hb.zeros(1), persistent=False)
        self.plain = hb.zeros(3)
        self.size = 3

    def forward(self, x):
        return self.rest(self.first(x)) * self.scale


NAMES = ["first.weight", "first.bias", "rest.1.weight", "rest.1.bias"]


def test_names():
    m = Net()
    assert [n for n, _ in m.named_parameters()] == ["scale", *NAMES] and len(
        list(m.parameters())
    ) == 5
    assert [n for n, _ in m.named_buffers()] == ["seen", "cache"] and len(list(m.buffers())) == 2
    assert [n for n, _ in m.named_children()] == ["first", "rest"] and len(list(m.children())) == 2
    assert [n for n, _ in m.named_modules()] == ["", "first", "rest", "rest.0", "rest.1"] and len(
        list(m.modules())
    ) == 5
    assert sorted(m.state_dict()) == sorted(["scale", "seen", *NAMES])
    assert isinstance(m.scale, nn.Parameter) and not isinstance(m.plain, nn.Parameter)
    assert repr(m).splitlines()[:2] == [
        "Net(",
        "  (first): Linear(in_features=2, out_features=3, bias=True)",
    ]
    with pytest.raises(hb.HybridError, match="super"):

        class Bad(nn.Module):
            def __init__(self):
                self.x = 1

        Bad()
    with pytest.raises(NotImplementedError, match="forward"):
        nn.Module()(1)
    for name in ("", "a.b", "forward", "training"):
        with pytest.raises(hb.HybridError, match="name"):
            m.add_module(name, nn.ReLU())
    with pytest.raises(AttributeError):
        m.nothing  # noqa: B018


def test_shared_parameters_are_listed_once():
    m = nn.Module()
    m.a, m.b = nn.Linear(2, 2), nn.Linear(2, 2)
    m.b.weight = m.a.weight
    assert [n for n, _ in m.named_parameters()] == ["a.weight", "a.bias", "b.bias"]
    m.c = m.a
    assert len(list(m.modules())) == 3
    (m.a(hb.ones((1, 2))) + m.b(hb.ones((1, 2)))).sum().backward()
    close(m.a.weight.grad, np.full((2, 2), 2.0))
    n = copy.deepcopy(m)
    assert n.a.weight is n.b.weight and n.a.weight is not m.a.weight
    n = pickle.loads(pickle.dumps(m))
    assert n.a.weight is n.b.weight and n.c is n.a


def test_state_dict_is_a_snapshot_and_loads_atomically():
    m, n = Net(), Net()
    state = m.state_dict()
    before = {k: v.numpy().copy() for k, v in state.items()}
    with hb.no_grad():
        m.scale += 1
    assert state["scale"].tolist() == [2.0]
    n.load_state_dict(state)
    for k, v in n.state_dict().items():
        np.testing.assert_array_equal(v.numpy(), before[k])
    assert all(p.requires_grad and p.is_leaf for p in n.parameters())
    other = Net().state_dict()
    for bad, error in (
        ({**other, "extra": hb.ones(1)}, "unexpected"),
        ({k: v for k, v in other.items() if k != "scale"}, "missing"),
        ({**other, "scale": hb.ones(2)}, "scale"),
        ({**other, "seen": "text"}, "seen"),
    ):
        with pytest.raises(hb.HybridError, match=error):
            n.load_state_dict(bad)
        for k, v in n.state_dict().items():
            np.testing.assert_array_equal(v.numpy(), before[k])
    n.load_state_dict({"scale": np.float64([5.0]), "extra": 1}, strict=False)
    assert n.scale.tolist() == [5.0] and n.scale.dtype is hb.float32


def test_train_eval_requires_grad_and_zero_grad():
    m = Net()
    assert m.eval() is m and not any(x.training for x in m.modules())
    assert all(x.training for x in m.train().modules())
    m(hb.ones((1, 2))).sum().backward()
    assert m.scale.grad is not None
    m.zero_grad(set_to_none=False)
    assert m.scale.grad.tolist() == [0.0]
    m.zero_grad()
    assert m.scale.grad is None
    m.requires_grad_(False)
    assert not m(hb.ones((1, 2))).requires_grad and len(list(m.parameters())) == 5
    m.requires_grad_(True)
    assert m(hb.ones((1, 2))).requires_grad


def test_hooks():
    m, seen = nn.Linear(2, 2), []
    remove = m.register_forward_hook(lambda mod, args, out: seen.append((mod, len(args))))
    double = m.register_forward_hook(lambda mod, args, out: out * 2)
    x = hb.ones((1, 2))
    y = m(x)
    close(y, 2 * m.forward(x).numpy())
    assert seen == [(m, 1)]
    remove()
    double()
    remove()
    close(m(x), m.forward(x).numpy())
    assert len(seen) == 1


def test_to_dtype():
    m = Net()
    m.first.count = hb.tensor([1])
    m.first.register_buffer("ids", hb.tensor([3]))
    assert m.to("float64") is m and all(
        p.dtype is hb.float64 and p.requires_grad for p in m.parameters()
    )
    assert m.seen.dtype is hb.float64 and m.first.ids.dtype is hb.int64
    assert m(hb.ones((1, 2), dtype="float64")).dtype is hb.float64
    shared = nn.Module()
    shared.a, shared.b = nn.Linear(2, 2), nn.Linear(2, 2)
    shared.b.weight = shared.a.weight
    shared.to("float16")
    assert shared.a.weight is shared.b.weight


def test_attributes_move_the_version_but_values_do_not():
    m = Net()

    def moved(action):
        before = m._version
        action()
        return m._version != before

    assert moved(lambda: setattr(m, "height", 4)) and moved(lambda: setattr(m, "extra", nn.ReLU()))
    assert moved(lambda: delattr(m, "extra")) and moved(
        lambda: setattr(m, "scale", nn.Parameter([1.0]))
    )
    assert not moved(lambda: m.scale.assign([3.0])) and not moved(lambda: m.eval())
    assert not moved(lambda: setattr(m, "plain", hb.ones(3)))
    assert not moved(lambda: setattr(m, "height", 5)) and moved(lambda: setattr(m, "height", "5"))
    m.scale = None
    assert "scale" not in dict(m.named_parameters())


def test_containers():
    s = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    assert len(s) == 2 and isinstance(s[1], nn.ReLU) and s[-1] is s[1] and [*s][0] is s[0]
    assert s.append(nn.Linear(3, 1)) is s and s(hb.ones((4, 2))).shape == (4, 1)
    assert isinstance(s[:2], nn.Sequential) and len(s[:2]) == 2
    items = nn.ModuleList([nn.ReLU(), nn.Tanh()])
    items.append(nn.Sigmoid()).extend([nn.Identity()])
    assert len(items) == 4 and isinstance(items[-1], nn.Identity) and len(items[1:3]) == 2
    items[0] = nn.Linear(1, 1)
    assert [n for n, _ in items.named_parameters()] == ["0.weight", "0.bias"]
    with pytest.raises(IndexError):
        items[7]
    d = nn.ModuleDict({"a": nn.Linear(1, 2)})
    d["b"] = nn.ReLU()
    assert (
        list(d) == ["a", "b"] == list(d.keys())
        and "a" in d
        and len(d) == 2
        and isinstance(d["b"], nn.ReLU)
    )
    assert [k for k, _ in d.items()] == ["a", "b"] and len(list(d.values())) == 2
    with pytest.raises(KeyError):
        d["c"]


def test_apply_and_buffers_that_change():
    m, seen = Net(), []
    assert (
        m.apply(lambda x: seen.append(type(x).__name__)) is m
        and seen[-1] == "Net"
        and len(seen) == 5
    )
    m.seen += 1
    assert m.seen.tolist() == [1.0] and "seen" in m.state_dict()
    m.seen = hb.tensor([7.0])
    assert m.state_dict()["seen"].tolist() == [7.0]


def test_training_reduces_a_loss():
    m, x = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1)), hb.tensor(f32(32, 2))
    t = (x[:, :1] * x[:, 1:]).detach()
    opt = hb.optim.Adam(m.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        loss = nn.functional.mse_loss(m(x), t)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_a_parameter_is_not_replaced_by_a_plain_tensor():
    layer = nn.Linear(2, 3)
    old = layer.weight
    with pytest.raises(TypeError, match="assign an nn.Parameter"):
        layer.weight = hb.ones((3, 2))
    assert layer.weight is old
    layer.weight = nn.Parameter(hb.ones((3, 2)))
    assert [n for n, _ in layer.named_parameters()] == ["weight", "bias"]
    layer.weight.requires_grad_(False)
    layer.weight = hb.zeros((3, 2))
    assert layer.weight.tolist() == [[0.0, 0.0]] * 3


@pytest.mark.parametrize("state", [range(2**62), [("weight", 1)], "weight", None, 3.0], ids=repr)
def test_a_state_that_is_no_mapping_is_refused(state):
    """Without looking through it: a range or a generator may have no end."""
    layer = nn.Linear(2, 3)
    optimizer = hb.optim.Adam(layer.parameters())
    for owner in (layer, optimizer):
        with pytest.raises(hb.ArgumentError, match="load_state_dict: state is .*: it takes a dict"):
            owner.load_state_dict(state)
