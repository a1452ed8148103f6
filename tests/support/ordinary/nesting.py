"""Where people put the decorator: forward with backward outside, methods, inside each other."""

from __future__ import annotations

import functools

import hybrid as hb
from hybrid import nn, optim
from ordinary import Run, labels, normal

F = nn.functional


def forward_decorated(function):
    model = nn.Sequential(nn.Linear(5, 12), nn.GELU(), nn.Linear(12, 3))
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    forward = function(lambda x: model(x))

    def turn(x, y):
        loss = F.cross_entropy(forward(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Run(turn, lambda k: (normal(k, 8, 5), labels(k, 8, 3)), model.state_dict)


def forward_with_dropout(function):
    model = nn.Sequential(nn.Linear(5, 12), nn.Dropout(0.3), nn.Linear(12, 1))
    optimizer = optim.SGD(model.parameters(), lr=0.02)

    @function
    def loss_of(x, y):
        return F.mse_loss(model(x), y)

    def turn(x, y):
        optimizer.zero_grad()
        loss = loss_of(x, y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return Run(turn, lambda k: (normal(k, 8, 5), normal(k + 1, 8, 1)), model.state_dict)


def forward_with_running_statistics(function):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 6)
            self.weight = nn.Parameter(hb.ones(6))
            self.bias = nn.Parameter(hb.zeros(6))
            self.register_buffer("mean", hb.zeros(6))
            self.register_buffer("variance", hb.ones(6))

        @function
        def forward(self, x):
            hidden = self.layer(x)
            hidden = F.batch_norm(
                hidden, self.mean, self.variance, self.weight, self.bias, training=self.training
            )
            return hidden.relu().sum(axis=1)

    net = Net()
    optimizer = optim.SGD(net.parameters(), lr=0.01)

    def turn(x, y):
        loss = ((net(x) - y) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Run(turn, lambda k: (normal(k, 8, 4), normal(k + 1, 8)), net.state_dict)


def decorated_in_decorated(function):
    layer = nn.Linear(4, 4)
    optimizer = optim.SGD(layer.parameters(), lr=0.05)

    @function
    def block(x):
        return x + layer(x).relu()

    @function
    def step(x, y):
        loss = F.mse_loss(block(block(x)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Run(step, lambda k: (normal(k, 6, 4), normal(k + 1, 6, 4)), layer.state_dict)


def helper_of_two(function):
    weight = normal(0, 4, 4)

    @function
    def encode(x):
        return hb.tanh(x @ weight)

    @function
    def similarity(a, b):
        return F.cosine_similarity(encode(a), encode(b), axis=-1)

    @function
    def distance(a, b):
        return (encode(a) - encode(b)).norm(axis=-1)

    return Run(
        lambda a, b: (encode(a), similarity(a, b), distance(a, b)),
        lambda k: (normal(k, 3, 4), normal(k + 1, 3, 4)),
    )


def grad_inside_step(function):
    def energy(x):
        return (x**4).sum() - (x**2).sum()

    @function
    def force_step(x, velocity):
        velocity = velocity - 0.01 * hb.grad(energy)(x)
        return x + 0.01 * velocity, velocity

    held = [(normal(0, 5), hb.zeros(5))]

    def turn():
        held[0] = force_step(*held[0])
        return held[0][0]

    return Run(turn, lambda k: ())


def grad_of_lambda(function):
    @function
    def sharpness(x, y):
        return hb.grad(lambda w: ((x * w - y) ** 2).sum())(hb.ones(4))

    return Run(sharpness, lambda k: (normal(k, 4), normal(k + 1, 4)))


def value_and_auxiliary(function):
    model = {"w": normal(0, 4, 2)}

    def loss_of(p, x, y):
        logits = x @ p["w"]
        return F.cross_entropy(logits, y), logits

    @function
    def step(x, y):
        (loss, logits), gradients = hb.value_and_grad(loss_of, has_aux=True)(model, x, y)
        model["w"] = model["w"] - 0.1 * gradients["w"]
        return loss, logits.argmax(axis=1)

    return Run(step, lambda k: (normal(k, 6, 4), labels(k, 6, 2)), lambda: model)


def hessian_vector(function):
    def f(x):
        return (hb.sin(x) * x).sum()

    @function
    def product(x, v):
        return hb.grad(lambda z: (hb.grad(f)(z) * v).sum())(x)

    return Run(product, lambda k: (normal(k, 4), normal(k + 1, 4)))


def decorated_gradient(function):
    def loss(w, x):
        return hb.logsumexp(x @ w).mean()

    gradient = function(hb.grad(loss))
    return Run(gradient, lambda k: (normal(k, 4), normal(k + 1, 6, 4)))


def gradient_of_decorated(function):
    @function
    def loss(w, x):
        return ((x @ w).tanh() ** 2).mean()

    return Run(
        lambda w, x: hb.value_and_grad(loss)(w, x), lambda k: (normal(k, 4), normal(k + 1, 6, 4))
    )


def custom_gradient_inside(function):
    @hb.custom_gradient
    def straight_through(x):
        return hb.round(x), lambda g: g

    weight = hb.tensor(normal(0, 6).numpy(), requires_grad=True)

    @function
    def step(x):
        loss = ((straight_through(weight) - x) ** 2).sum()
        loss.backward()
        weight.assign(weight.detach() - 0.05 * weight.grad)
        weight.grad = None
        return loss

    return Run(step, lambda k: (normal(k, 6),), lambda: weight)


def evaluation_without_gradients(function):
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))

    @function
    def evaluate(x):
        with hb.no_grad():
            return model(x).softmax(axis=1)

    def turn(k, x):
        model.train(k % 2 == 0)
        return evaluate(x)

    return Run(turn, lambda k: (k, normal(k, 4, 4)))


def decorated_partial(function):
    def power(x, exponent, scale):
        return scale * x**exponent

    squared = function(functools.partial(power, exponent=2, scale=0.5))
    return Run(lambda x: squared(x), lambda k: (normal(k, 5),))


def vector_jacobian(function):
    def f(x, w):
        return hb.tanh(x @ w)

    @function
    def pullback(x, w, seed):
        value, pull = hb.vjp(f, x, w)
        return value, pull(seed)

    return Run(pullback, lambda k: (normal(k, 2, 3), normal(k + 1, 3, 2), normal(k + 2, 2, 2)))


def decorated_module(function):
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    fast = function(model)
    return Run(lambda x: fast(x), lambda k: (normal(k, 3, 4),))


def static_and_class_methods(function):
    class Geometry:
        scale = 2.0

        @staticmethod
        @function
        def rotate(points, angle):
            c, s = hb.cos(angle), hb.sin(angle)
            return points @ hb.stack([hb.stack([c, -s]), hb.stack([s, c])])

        @classmethod
        def enlarge(cls, points, angle):
            return cls.rotate(points, angle) * cls.scale

    return Run(Geometry.enlarge, lambda k: (normal(k, 5, 2), normal(k + 1)))


def loss_and_update_apart(function):
    model = nn.Linear(4, 2)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    @function
    def gradients(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    @function
    def apply():
        optimizer.step()

    def turn(x, y):
        loss = gradients(x, y)
        apply()
        return loss

    return Run(turn, lambda k: (normal(k, 6, 4), labels(k, 6, 2)), model.state_dict)


def recursion_on_depth(function):
    @function
    def pyramid(x, depth):
        if depth == 0:
            return x.mean()
        return x.mean() + pyramid(x.reshape(-1, 2).mean(axis=1), depth - 1)

    return Run(pyramid, lambda k: (normal(k, 16), 3))


def two_instances(function):
    class Block(nn.Module):
        def __init__(self, gain):
            super().__init__()
            self.layer, self.gain = nn.Linear(4, 4), gain

        @function
        def forward(self, x):
            return self.layer(x) * self.gain

    blocks = [Block(0.5), Block(2.0)]
    return Run(lambda x: blocks[1](blocks[0](x)), lambda k: (normal(k, 2, 4),))


def results_fed_back(function):
    @function
    def advance(state):
        return hb.sin(state) + 0.5 * state

    held = [normal(0, 6)]
    kept = []

    def turn(k):
        held[0] = advance(held[0])
        if k % 50 == 0:
            kept.append(held[0])
        return held[0]

    return Run(turn, lambda k: (k,), lambda: kept)


def gradient_penalty(function):
    critic = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 1))
    optimizer = optim.Adam(critic.parameters(), lr=0.001)

    @function
    def step(real, fake, mix):
        between = mix * real + (1 - mix) * fake
        slopes = hb.grad(lambda x: critic(x).sum())(between)
        penalty = ((slopes.norm(axis=1) - 1) ** 2).mean()
        loss = critic(fake).mean() - critic(real).mean() + 10 * penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    def batch(k):
        return normal(k, 4, 3), normal(k + 1, 4, 3), normal(k + 2, 4, 1).sigmoid()

    return Run(step, batch, critic.state_dict)
