"""Training steps of several kinds: adversarial, contrastive, meta, multi-task, sequence."""

from __future__ import annotations

import copy
import math

import numpy as np
from ordinary import Run, array, labels, normal

import hybrid as hb
from hybrid import nn, optim

F = nn.functional


def mlp(*sizes):
    layers = []
    for a, b in zip(sizes[:-1], sizes[1:]):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def generator_and_critic(function):
    generator, critic = mlp(4, 16, 2), mlp(2, 16, 1)
    g_opt = optim.Adam(generator.parameters(), lr=1e-3)
    d_opt = optim.Adam(critic.parameters(), lr=1e-3)
    losses = {"g": [], "d": []}

    @function
    def step(real):
        n = len(real)
        fake = generator(hb.randn(n, 4))
        real_logit, fake_logit = critic(real), critic(fake.detach())
        d_loss = F.binary_cross_entropy_with_logits(
            real_logit, hb.full((n, 1), 0.9)
        ) + F.binary_cross_entropy_with_logits(fake_logit, hb.zeros(n, 1))
        d_opt.zero_grad()
        d_loss.backward()
        d_opt.step()

        g_loss = F.binary_cross_entropy_with_logits(critic(fake), hb.ones(n, 1))
        g_opt.zero_grad()
        g_loss.backward()
        g_opt.step()
        losses["g"].append(g_loss.item())
        losses["d"].append(d_loss.item())
        return (real_logit > 0).float().mean().item()

    return Run(
        lambda x: step(x), lambda k: (normal(k, 32, 2),), lambda: (losses, generator.state_dict())
    )


def normalized_temperature_loss(function):
    encoder, projector = mlp(10, 32, 16), nn.Linear(16, 8)
    optimizer = optim.AdamW([*encoder.parameters(), *projector.parameters()], lr=1e-3)

    def nt_xent(z1, z2, temperature=0.5):
        z = F.normalize(hb.concat([z1, z2], axis=0), axis=1)
        similarity = z @ z.T / temperature
        n = z1.shape[0]
        similarity = similarity.masked_fill(hb.eye(2 * n).bool(), -1e9)
        target = hb.concat([hb.arange(n) + n, hb.arange(n)])
        return F.cross_entropy(similarity, target)

    def augment(x):
        keep = (np.random.rand(*x.shape) > 0.2).astype(np.float32)
        return hb.tensor(x * keep + 0.1 * np.random.randn(*x.shape).astype(np.float32))

    @function
    def step(x):
        z1, z2 = projector(encoder(augment(x))), projector(encoder(augment(x)))
        loss = nt_xent(z1, z2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return Run(step, lambda k: (array(k, 12, 10),), encoder.state_dict)


def teacher_of_averages(function):
    student = mlp(8, 24, 4)
    teacher = copy.deepcopy(student)
    optimizer = optim.SGD(student.parameters(), lr=0.05, momentum=0.9)
    center = hb.zeros(4)

    @function
    def step(view, other, momentum):
        nonlocal center
        with hb.no_grad():
            goal = teacher(other)
            target = ((goal - center) / 0.04).softmax(axis=-1)
        loss = -(target * (student(view) / 0.1).log_softmax(axis=-1)).sum(axis=-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with hb.no_grad():
            for slow, fast in zip(teacher.parameters(), student.parameters()):
                slow.copy_(momentum * slow + (1 - momentum) * fast)
            center = 0.9 * center + 0.1 * goal.mean(axis=0)
        return loss.item()

    def batch(k):
        momentum = 1 - 0.004 * (math.cos(math.pi * k / 220) + 1) / 2
        return normal(k, 16, 8), normal(k + 1, 16, 8), momentum

    return Run(step, batch, lambda: (center, teacher.state_dict(), student.state_dict()))


def micro_batches(function):
    model = mlp(8, 32, 3)
    optimizer = optim.AdamW(model.parameters(), lr=1e-3)

    @function
    def train_step(x, y, micro=8):
        optimizer.zero_grad()
        pieces = len(x) // micro
        total = 0.0
        for i in range(pieces):
            rows = slice(i * micro, (i + 1) * micro)
            loss = F.cross_entropy(model(hb.tensor(x[rows])), hb.tensor(y[rows])) / pieces
            loss.backward()
            total += loss.item()
        optimizer.step()
        return total

    return Run(
        train_step,
        lambda k: (array(k, 32, 8), np.random.default_rng(k).integers(0, 3, 32)),
        model.state_dict,
    )


def uncertainty_weighted_tasks(function):
    class MultiTask(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = mlp(10, 32, 32)
            self.heads = nn.ModuleDict(
                {"depth": nn.Linear(32, 1), "segment": nn.Linear(32, 5), "normal": nn.Linear(32, 3)}
            )
            self.log_variance = nn.Parameter(hb.zeros(3))

        def forward(self, x):
            h = self.trunk(x).relu()
            return {name: head(h) for name, head in self.heads.items()}

    model = MultiTask()
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    criteria = {
        "depth": F.l1_loss,
        "segment": F.cross_entropy,
        "normal": lambda p, t: (1 - F.cosine_similarity(p, t, axis=-1)).mean(),
    }

    @function
    def step(x, targets):
        outputs = model(x)
        losses = {name: criteria[name](outputs[name], targets[name]) for name in criteria}
        stacked = hb.stack(list(losses.values()))
        total = (hb.exp(-model.log_variance) * stacked + model.log_variance).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        return {"total": total.item(), **{name: loss.item() for name, loss in losses.items()}}

    def batch(k):
        return normal(k, 16, 10), {
            "depth": normal(k + 1, 16, 1),
            "segment": labels(k, 16, 5),
            "normal": normal(k + 2, 16, 3),
        }

    return Run(step, batch, model.state_dict)


def model_agnostic_meta(function):
    params = [
        normal(1, 1, 20, scale=0.5),
        hb.zeros(20),
        normal(2, 20, 1, scale=0.3),
        hb.zeros(1),
    ]
    meta = {"params": params}

    def net(p, x):
        return hb.tanh(x @ p[0] + p[1]) @ p[2] + p[3]

    def loss_fn(p, x, y):
        return ((net(p, x) - y) ** 2).mean()

    def adapted(p, x, y, inner_rate=0.1):
        grads = hb.grad(loss_fn)(p, x, y)
        return [w - inner_rate * g for w, g in zip(p, grads)]

    def meta_loss(p, tasks):
        losses = [loss_fn(adapted(p, xs, ys), xq, yq) for xs, ys, xq, yq in tasks]
        return sum(losses) / len(losses)

    @function
    def outer_step(p, tasks):
        loss, grads = hb.value_and_grad(meta_loss)(p, tasks)
        return loss, [w - 0.01 * g for w, g in zip(p, grads)]

    def turn(tasks):
        loss, meta["params"] = outer_step(meta["params"], tasks)
        return loss.item()

    def tasks(k):
        rng = np.random.default_rng(k)
        made = []
        for _ in range(2):
            amplitude, phase = rng.uniform(0.5, 2), rng.uniform(0, 3)
            x = rng.uniform(-3, 3, (2, 6, 1)).astype("f4")
            y = (amplitude * np.sin(x + phase)).astype("f4")
            made.append(tuple(map(hb.tensor, (x[0], y[0], x[1], y[1]))))
        return (made,)

    return Run(turn, tasks, lambda: meta)


def functional_adam(function):
    def init(params):
        zeros = {name: hb.zeros_like(p) for name, p in params.items()}
        return {"step": 0, "m": zeros, "v": dict(zeros)}

    def apply(params, grads, state, lr=1e-2, b1=0.9, b2=0.999, eps=1e-8):
        step = state["step"] + 1
        m = {n: b1 * state["m"][n] + (1 - b1) * g for n, g in grads.items()}
        v = {n: b2 * state["v"][n] + (1 - b2) * g * g for n, g in grads.items()}
        c1, c2 = 1 - b1**step, 1 - b2**step
        new = {n: p - lr * (m[n] / c1) / ((v[n] / c2).sqrt() + eps) for n, p in params.items()}
        return new, {"step": step, "m": m, "v": v}

    def predict(params, x):
        return hb.tanh(x @ params["w1"] + params["b1"]) @ params["w2"]

    def loss_fn(params, x, y):
        return hb.mean((predict(params, x) - y) ** 2)

    params = {"w1": normal(1, 5, 12, scale=0.4), "b1": hb.zeros(12), "w2": normal(2, 12, 1)}
    held = {"params": params, "state": init(params)}

    @function
    def train(params, state, x, y):
        loss, grads = hb.value_and_grad(loss_fn)(params, x, y)
        params, state = apply(params, grads, state)
        return loss, params, state

    def turn(x, y):
        loss, held["params"], held["state"] = train(held["params"], held["state"], x, y)
        return float(loss)

    return Run(turn, lambda k: (normal(k, 16, 5), normal(k + 1, 16, 1)), lambda: held)


def critic_with_penalty(function):
    critic = mlp(2, 24, 1)
    optimizer = optim.Adam(critic.parameters(), lr=1e-3)

    @function
    def step(real, fake, weight=10.0):
        mix = hb.rand(real.shape[0], 1)
        between = mix * real + (1 - mix) * fake
        slope = hb.grad(lambda z: critic(z).sum())(between)
        penalty = ((slope.norm(axis=1) - 1) ** 2).mean()
        distance = critic(real).mean() - critic(fake).mean()
        loss = -distance + weight * penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"wasserstein": distance.item(), "penalty": penalty.item()}

    return Run(step, lambda k: (normal(k, 24, 2), normal(k + 1, 24, 2)), critic.state_dict)


def mixture_density_network(function):
    net = mlp(1, 24, 9)
    optimizer = optim.Adam(net.parameters(), lr=5e-3)

    def split(x):
        logits, mean, log_sigma = net(x).chunk(3, axis=-1)
        return logits.log_softmax(axis=-1), mean, log_sigma.clip(-5, 3)

    @function
    def step(x, y):
        log_w, mean, log_sigma = split(x)
        z = (y - mean) * hb.exp(-log_sigma)
        log_p = log_w - 0.5 * z**2 - log_sigma - 0.5 * math.log(2 * math.pi)
        loss = -hb.logsumexp(log_p, axis=-1).mean()
        if hb.isnan(loss):
            raise FloatingPointError("loss became nan")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return Run(step, lambda k: (normal(k, 32, 1), normal(k + 1, 32, 1)), net.state_dict)


def small_language_model(function):
    class Block(nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            self.heads = heads
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            )

        def forward(self, x):
            b, t, c = x.shape
            h = self.qkv(self.norm1(x)).reshape(b, t, 3, self.heads, c // self.heads)
            q, k, v = h.permute(2, 0, 3, 1, 4)
            mask = hb.tril(hb.ones(t, t)) == 0
            scores = q @ k.swapaxes(-2, -1) / math.sqrt(c // self.heads)
            scores = scores.masked_fill(mask, float("-inf"))
            y = (scores.softmax(axis=-1) @ v).swapaxes(1, 2).reshape(b, t, c)
            x = x + self.proj(y)
            return x + self.mlp(self.norm2(x))

    class Model(nn.Module):
        def __init__(self, vocabulary=20, width=16, depth=2, length=12):
            super().__init__()
            self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
            self.blocks = nn.ModuleList([Block(width, 2) for _ in range(depth)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)

        def forward(self, ids, targets=None):
            x = self.tokens(ids) + self.places(hb.arange(ids.shape[1]))
            for block in self.blocks:
                x = block(x)
            logits = self.head(self.norm(x))
            if targets is None:
                return logits, None
            loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))
            return logits, loss

    model = Model()
    optimizer = optim.AdamW(model.parameters(), lr=1e-3)
    text = np.random.default_rng(11).integers(0, 20, 500)

    def get_batch(size, length):
        starts = np.random.randint(0, len(text) - length - 1, size)
        x = np.stack([text[s : s + length] for s in starts])
        y = np.stack([text[s + 1 : s + length + 1] for s in starts])
        return hb.tensor(x), hb.tensor(y)

    @function
    def train_step():
        x, y = get_batch(4, 12)
        _, loss = model(x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return Run(lambda: train_step(), lambda k: (), model.state_dict)


def low_rank_adapters(function):
    class LoRA(nn.Module):
        def __init__(self, base, rank=2, alpha=4.0):
            super().__init__()
            self.base = base
            for p in base.parameters():
                p.requires_grad = False
            out, into = base.weight.shape
            self.a = nn.Parameter(normal(1, rank, into, scale=0.1))
            self.b = nn.Parameter(hb.zeros(out, rank))
            self.scaling = alpha / rank

        def forward(self, x):
            return self.base(x) + (x @ self.a.T @ self.b.T) * self.scaling

    model = nn.Sequential(LoRA(nn.Linear(8, 16)), nn.ReLU(), LoRA(nn.Linear(16, 4)))
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = optim.Adam(trainable, lr=1e-2)

    @function
    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Run(step, lambda k: (normal(k, 16, 8), labels(k, 16, 4)), model.state_dict)


def denoising_diffusion(function):
    steps = 20
    betas = np.linspace(1e-3, 0.2, steps)
    alpha_bar = hb.tensor(np.cumprod(1 - betas).astype("f4"))
    net = mlp(2 + 1, 32, 2)
    optimizer = optim.Adam(net.parameters(), lr=1e-3)

    @function
    def step(x):
        t = np.random.randint(0, steps, len(x))
        noise = hb.randn_like(x)
        level = alpha_bar[hb.tensor(t)].unsqueeze(1)
        noisy = level.sqrt() * x + (1 - level).sqrt() * noise
        time = hb.tensor((t / steps).astype("f4")).unsqueeze(1)
        loss = F.mse_loss(net(hb.concat([noisy, time], axis=1)), noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return Run(step, lambda k: (normal(k, 32, 2),), net.state_dict)


def pseudo_labels(function):
    model = mlp(6, 24, 3)
    optimizer = optim.SGD(model.parameters(), lr=0.05)

    @function
    def step(x, y, unlabeled, threshold=0.45):
        loss = F.cross_entropy(model(x), y)
        with hb.no_grad():
            confidence = model(unlabeled).softmax(axis=1)
            best, guess = confidence.max(axis=1), confidence.argmax(axis=1)
        sure = best > threshold
        if sure.any():
            loss = loss + 0.5 * F.cross_entropy(model(unlabeled[sure]), guess[sure])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item(), int(sure.sum())

    return Run(
        step,
        lambda k: (normal(k, 8, 6), labels(k, 8, 3), normal(k + 1, 24, 6)),
        model.state_dict,
    )


def triplets_with_hard_negatives(function):
    net = mlp(6, 24, 8)
    optimizer = optim.Adam(net.parameters(), lr=1e-3)

    @function
    def step(x, y, margin=0.2):
        z = F.normalize(net(x), axis=1)
        distance = ((z[:, None] - z[None]) ** 2).sum(axis=-1)
        same = y[:, None] == y[None, :]
        hardest_positive = hb.where(same, distance, 0.0).max(axis=1)
        hardest_negative = hb.where(same, 1e3, distance).min(axis=1)
        loss = (hardest_positive - hardest_negative + margin).relu().mean()
        if loss.item() == 0.0:
            return 0.0
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return Run(step, lambda k: (normal(k, 16, 6), labels(k, 16, 4)), net.state_dict)
