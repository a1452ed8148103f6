"""Training code: two optimizers, accumulation, teachers, replay buffers, agents, metrics."""

from __future__ import annotations

import random
from collections import deque

import numpy as np

import hybrid as hb
from hybrid import nn, optim
from ordinary import Run, array, labels, normal

F = nn.functional


def adversarial_pair(function):
    generator = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    critic = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
    make, judge = (optim.Adam(m.parameters(), lr=1e-3) for m in (generator, critic))
    bce = F.binary_cross_entropy_with_logits

    @function
    def step(real):
        fake = generator(hb.randn(8, 3))
        judge.zero_grad()
        critic_loss = bce(critic(real), hb.ones(8, 1)) + bce(critic(fake.detach()), hb.zeros(8, 1))
        critic_loss.backward()
        judge.step()
        make.zero_grad()
        generator_loss = bce(critic(fake), hb.ones(8, 1))
        generator_loss.backward()
        make.step()
        return critic_loss, generator_loss

    return Run(
        step, lambda k: (normal(k, 8, 2),), lambda: [generator.state_dict(), critic.state_dict()]
    )


def mixup(function):
    model = nn.Linear(6, 3)
    optimizer = optim.SGD(model.parameters(), lr=0.05)

    @function
    def step(x, y):
        share = float(np.random.beta(0.4, 0.4))
        order = hb.tensor(np.random.permutation(8))
        logits = model(share * x + (1 - share) * x[order])
        loss = share * F.cross_entropy(logits, y) + (1 - share) * F.cross_entropy(logits, y[order])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Run(step, lambda k: (normal(k, 8, 6), labels(k, 8, 3)), model.state_dict)


def curriculum(function):
    table, out = nn.Embedding(12, 6), nn.Linear(6, 12)
    optimizer = optim.Adam([*table.parameters(), *out.parameters()], lr=0.01)

    @function
    def step(ids, length):
        ids = ids[:length]
        loss = F.cross_entropy(out(table(ids[:-1])), ids[1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Run(step, lambda k: (labels(k, 12, 12), 4 + k // 30), out.state_dict)


def checkpoints_in_memory(function):
    model = nn.Linear(4, 2)
    optimizer = optim.SGD(model.parameters(), lr=0.05)
    saved = {}

    @function
    def step(number, x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (number + 1) % 30 == 0:
            saved[number] = model.state_dict()
        return loss

    return Run(step, lambda k: (k, normal(k, 6, 4), labels(k, 6, 2)), lambda: saved)


def gradient_accumulation(function):
    model = nn.Linear(4, 2)
    optimizer = optim.SGD(model.parameters(), lr=0.05)
    counter = {"batches": 0}

    @function
    def step(x, y):
        loss = F.cross_entropy(model(x), y) / 4
        loss.backward()
        counter["batches"] += 1
        if counter["batches"] % 4 == 0:
            optimizer.step()
            optimizer.zero_grad()
        return loss

    return Run(
        step, lambda k: (normal(k, 6, 4), labels(k, 6, 2)), lambda: (counter, model.state_dict())
    )


def accumulation_in_loop(function):
    model = nn.Linear(4, 1)
    optimizer = optim.Adam(model.parameters(), lr=0.01)

    @function
    def step(micro_batches):
        optimizer.zero_grad()
        total = 0.0
        for x, y in micro_batches:
            loss = F.mse_loss(model(x), y) / len(micro_batches)
            loss.backward()
            total = total + loss.detach()
        optimizer.step()
        return total

    def batches(k):
        return ([(normal(k + j, 4, 4), normal(k - j + 9, 4, 1)) for j in range(3)],)

    return Run(step, batches, model.state_dict)


def mean_teacher(function):
    student, teacher = nn.Linear(5, 3), nn.Linear(5, 3)
    teacher.load_state_dict(student.state_dict())
    optimizer = optim.SGD(student.parameters(), lr=0.05)

    @function
    def step(x, y):
        with hb.no_grad():
            soft = teacher(x).softmax(axis=1)
        logits = student(x)
        loss = F.cross_entropy(logits, y) + F.mse_loss(logits.softmax(axis=1), soft)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with hb.no_grad():
            for slow, fast in zip(teacher.parameters(), student.parameters()):
                slow.assign(slow * 0.99 + fast * 0.01)
        return loss

    return Run(step, lambda k: (normal(k, 8, 5), labels(k, 8, 3)), teacher.state_dict)


def replay_buffer(function):
    class Buffer:
        def __init__(self, size):
            self.items = deque(maxlen=size)

        def add(self, *item):
            self.items.append(item)

        def sample(self, count):
            chosen = random.sample(list(self.items), count)
            return [hb.stack(column) for column in zip(*chosen)]

    buffer = Buffer(32)
    model = nn.Linear(4, 2)
    optimizer = optim.SGD(model.parameters(), lr=0.05)

    @function
    def learn(states, actions, rewards):
        chosen = hb.take_along_axis(model(states), actions.unsqueeze(1), axis=1)
        loss = F.smooth_l1_loss(chosen, rewards.unsqueeze(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    def turn(state, action, reward):
        buffer.add(state, action, reward)
        return learn(*buffer.sample(4)) if len(buffer.items) >= 4 else None

    return Run(
        turn, lambda k: (normal(k, 4), hb.tensor(k % 2), normal(k + 1)), lambda: len(buffer.items)
    )


def agent_and_environment(function):
    class Pole:
        def __init__(self):
            self.angle, self.speed, self.steps = 0.05, 0.0, 0

        def step(self, action):
            self.speed += 0.1 * self.angle + (0.02 if action else -0.02)
            self.angle += 0.1 * self.speed
            self.steps += 1
            done = abs(self.angle) > 0.3 or self.steps > 30
            if done:
                self.__init__()
            return np.array([self.angle, self.speed], np.float32), 1.0, done

    environment = Pole()
    policy = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
    observation = [np.zeros(2, np.float32)]

    @function
    def act(state):
        with hb.no_grad():
            probabilities = policy(hb.tensor(state)).softmax(axis=-1)
        return int(hb.random.categorical(hb.log(probabilities)))

    def turn():
        observation[0], reward, done = environment.step(act(observation[0]))
        return reward, done

    return Run(turn, lambda k: (), lambda: (vars(environment), observation))


def policy_gradient(function):
    policy = nn.Linear(3, 2)
    optimizer = optim.Adam(policy.parameters(), lr=0.01)

    @function
    def learn(states, actions, rewards):
        returns, running = [], 0.0
        for reward in reversed(rewards):
            running = reward + 0.9 * running
            returns.insert(0, running)
        advantage = hb.tensor(returns)
        chosen = policy(states).log_softmax(axis=1)[hb.arange(5), actions]
        loss = -(chosen * (advantage - advantage.mean())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    def episode(k):
        return normal(k, 5, 3), labels(k, 5, 2), [float(v) for v in array(k, 5)]

    return Run(learn, episode, policy.state_dict)


def metric_classes(function):
    class Metric:
        def __init__(self):
            self.value, self.count = hb.tensor(0.0), 0

        def update(self, value):
            self.value = self.value + value
            self.count += 1

        def compute(self):
            return self.value / self.count

    class Accuracy(Metric):
        def update(self, logits, y):
            super().update((logits.argmax(axis=1) == y).mean(dtype=hb.float32))

    model, loss_metric, accuracy = nn.Linear(4, 3), Metric(), Accuracy()

    @function
    def evaluate(x, y):
        logits = model(x).detach()
        loss_metric.update(F.cross_entropy(logits, y))
        accuracy.update(logits, y)
        return accuracy.compute()

    return Run(
        evaluate,
        lambda k: (normal(k, 8, 4), labels(k, 8, 3)),
        lambda: (vars(loss_metric), vars(accuracy)),
    )


def forward_hook(function):
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    activations = {}
    model[0].register_forward_hook(
        lambda module, inputs, out: activations.update(first=out.detach())
    )

    @function
    def forward(x):
        return model(x).sum(axis=0)

    return Run(forward, lambda k: (normal(k, 3, 4),), lambda: activations)


def freeze_and_thaw(function):
    body, head = nn.Linear(4, 6), nn.Linear(6, 2)
    optimizer = optim.SGD([*body.parameters(), *head.parameters()], lr=0.05)

    @function
    def step(x, y):
        loss = F.cross_entropy(head(body(x).relu()), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    def turn(k, x, y):
        if k % 70 == 0:
            body.requires_grad_(k % 140 != 0)
        return step(x, y)

    return Run(
        turn,
        lambda k: (k, normal(k, 6, 4), labels(k, 6, 2)),
        lambda: [body.state_dict(), head.state_dict()],
    )


def plateau_scheduler(function):
    class ReduceOnPlateau:
        def __init__(self, optimizer):
            self.optimizer, self.best, self.bad = optimizer, float("inf"), 0

        def step(self, value):
            if value < self.best - 1e-4:
                self.best, self.bad = value, 0
            else:
                self.bad += 1
            if self.bad > 8:
                for group in self.optimizer.param_groups:
                    group["lr"] = float(group["lr"]) * 0.5
                self.bad = 0

    model = nn.Linear(4, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = ReduceOnPlateau(optimizer)

    @function
    def step(x, y):
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    def turn(x, y):
        scheduler.step(step(x, y).item())

    return Run(
        turn,
        lambda k: (normal(k, 8, 4), normal(k + 1, 8, 1)),
        lambda: (scheduler.best, scheduler.bad, model.state_dict()),
    )


def decay_groups(function):
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2))
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    optimizer = optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=0.01
    )

    @function
    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Run(step, lambda k: (normal(k, 8, 4), labels(k, 8, 2)), model.state_dict)


def train_and_validate(function):
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 1))
    optimizer = optim.Adam(model.parameters(), lr=0.01)

    @function
    def run(x, y):
        loss = F.mse_loss(model(x), y)
        if model.training:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.detach()

    def turn(k, x, y):
        model.train(k % 4 != 3)
        return run(x, y)

    return Run(turn, lambda k: (k, normal(k, 8, 4), normal(k + 1, 8, 1)), model.state_dict)


def distillation(function):
    teacher, student = nn.Linear(5, 4), nn.Linear(5, 4)
    optimizer = optim.SGD(student.parameters(), lr=0.1)

    @function
    def step(x, y, temperature=2.0):
        with hb.no_grad():
            soft = (teacher(x) / temperature).softmax(axis=1)
        logits = student(x)
        distance = F.kl_div((logits / temperature).log_softmax(axis=1), soft, reduction="batchmean")
        loss = distance * temperature**2 + F.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss, distance

    return Run(step, lambda k: (normal(k, 8, 5), labels(k, 8, 4)), student.state_dict)


def contrastive_pairs(function):
    encoder = nn.Linear(6, 4)
    optimizer = optim.Adam(encoder.parameters(), lr=0.01)

    @function
    def step(x):
        first, second = (F.normalize(encoder(x + 0.1 * hb.randn(6, 6)), axis=1) for _ in range(2))
        loss = F.cross_entropy(first @ second.T / 0.1, hb.arange(6))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Run(step, lambda k: (normal(k, 6, 6),), encoder.state_dict)


def variational_autoencoder(function):
    encoder, decoder = nn.Linear(6, 4), nn.Linear(2, 6)
    optimizer = optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=0.01)

    @function
    def step(x):
        mean, log_variance = encoder(x).chunk(2, axis=1)
        code = mean + hb.exp(0.5 * log_variance) * hb.randn_like(mean)
        reconstruction = F.mse_loss(decoder(code), x)
        divergence = -0.5 * (1 + log_variance - mean**2 - hb.exp(log_variance)).mean()
        loss = reconstruction + 0.1 * divergence
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss, "divergence": divergence}

    return Run(step, lambda k: (normal(k, 8, 6),), decoder.state_dict)


def averaged_weights(function):
    model = nn.Linear(4, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    average = {"n": 0, "weights": [p.detach() for p in model.parameters()]}

    @function
    def step(x, y):
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average["n"] += 1
        average["weights"] = [
            held + (p.detach() - held) / average["n"]
            for held, p in zip(average["weights"], model.parameters())
        ]
        return loss

    return Run(step, lambda k: (normal(k, 8, 4), normal(k + 1, 8, 1)), lambda: average)


def many_losses(function):
    body = nn.Linear(4, 8)
    heads = nn.ModuleDict({"size": nn.Linear(8, 1), "kind": nn.Linear(8, 3)})
    optimizer = optim.Adam([*body.parameters(), *heads.parameters()], lr=0.01)
    weights = {"size": 0.3, "kind": 1.0}

    @function
    def step(x, targets):
        hidden = body(x).relu()
        losses = {
            "size": F.mse_loss(heads["size"](hidden), targets["size"]),
            "kind": F.cross_entropy(heads["kind"](hidden), targets["kind"]),
        }
        total = sum(weights[name] * loss for name, loss in losses.items())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        return {name: loss.detach() for name, loss in losses.items()}

    def batch(k):
        return normal(k, 6, 4), {"size": normal(k + 1, 6, 1), "kind": labels(k, 6, 3)}

    return Run(step, batch, body.state_dict)
