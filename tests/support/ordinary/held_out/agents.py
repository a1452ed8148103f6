"""Reinforcement learning, planning and decoding loops."""

from __future__ import annotations

import math
import random
from collections import defaultdict, deque, namedtuple

import numpy as np
from ordinary import Run, labels, normal

import hybrid as hb
from hybrid import nn, optim

F = nn.functional
Transition = namedtuple("Transition", ["state", "action", "reward", "next_state", "done"])


class Corridor:
    """Walk left or right; the right end pays."""

    def __init__(self, length=6):
        self.length = length

    def reset(self):
        self.place, self.steps = 1, 0
        return self.observe()

    def observe(self):
        one_hot = np.zeros(self.length, dtype=np.float32)
        one_hot[self.place] = 1.0
        return one_hot

    def step(self, action):
        self.place = max(0, self.place + (1 if action == 1 else -1))
        self.steps += 1
        done = self.place == self.length - 1 or self.steps >= 12
        return self.observe(), float(self.place == self.length - 1), done


def episode_of_reinforce(function):
    policy = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 2))
    optimizer = optim.Adam(policy.parameters(), lr=0.01)
    environment = Corridor()

    @function
    def episode(gamma=0.95):
        log_probabilities, rewards = [], []
        observation, done = environment.reset(), False
        while not done:
            logits = policy(hb.tensor(observation))
            p = logits.softmax(axis=-1).detach().numpy()
            action = int(np.random.random() < p[1])
            log_probabilities.append(logits.log_softmax(axis=-1)[action])
            observation, reward, done = environment.step(action)
            rewards.append(reward)
        returns, running = [], 0.0
        for reward in reversed(rewards):
            running = reward + gamma * running
            returns.insert(0, running)
        returns = hb.tensor(returns)
        loss = -(hb.stack(log_probabilities) * (returns - returns.mean())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return sum(rewards), loss.item()

    return Run(lambda: episode(), lambda k: (), policy.state_dict)


def deep_q_with_memory(function):
    online, target = nn.Linear(6, 2), nn.Linear(6, 2)
    target.load_state_dict(online.state_dict())
    optimizer = optim.SGD(online.parameters(), lr=0.05)
    memory = deque(maxlen=100)
    environment = Corridor()
    held = {"state": environment.reset(), "frames": 0}

    @function
    def learn(batch):
        states = hb.tensor(np.stack(batch.state))
        q = online(states).gather(1, hb.tensor(batch.action).unsqueeze(1)).squeeze(1)
        with hb.no_grad():
            best = target(hb.tensor(np.stack(batch.next_state))).max(axis=1)
        goal = hb.tensor(batch.reward) + 0.9 * best * (1 - hb.tensor(batch.done).float())
        loss = F.huber_loss(q, goal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    @function
    def choose(state, epsilon):
        if random.random() < epsilon:
            return random.randrange(2)
        with hb.no_grad():
            return int(online(hb.tensor(state)).argmax())

    def frame():
        state = held["state"]
        action = choose(state, max(0.1, 1 - held["frames"] / 100))
        following, reward, done = environment.step(action)
        memory.append(Transition(state, action, reward, following, done))
        held["state"] = environment.reset() if done else following
        held["frames"] += 1
        if held["frames"] % 20 == 0:
            target.load_state_dict(online.state_dict())
        if len(memory) >= 16:
            return learn(Transition(*zip(*random.sample(memory, 16))))
        return None

    return Run(frame, lambda k: (), lambda: (held, online.state_dict()))


def generalized_advantages(function):
    critic = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 1))

    @function
    def advantages(observations, rewards, dones, gamma=0.99, lam=0.95):
        with hb.no_grad():
            values = critic(observations).squeeze(-1)
        out, running = [], hb.tensor(0.0)
        for t in reversed(range(len(rewards))):
            alive = 1.0 - dones[t]
            delta = rewards[t] + gamma * values[t + 1] * alive - values[t]
            running = delta + gamma * lam * alive * running
            out.append(running)
        advantage = hb.stack(out[::-1])
        return (advantage - advantage.mean()) / (advantage.std() + 1e-8), advantage + values[:-1]

    def rollout(k):
        dones = (np.random.default_rng(k).random(16) < 0.1).astype("f4")
        return normal(k, 17, 5), normal(k + 1, 16), hb.tensor(dones)

    return Run(advantages, rollout)


def upper_confidence_bandit(function):
    class Bandit:
        def __init__(self, arms):
            self.counts, self.values, self.t = np.zeros(arms), np.zeros(arms), 0

        def select(self):
            for arm, count in enumerate(self.counts):
                if count == 0:
                    return arm
            bonus = np.sqrt(2 * math.log(self.t) / self.counts)
            return int(np.argmax(self.values + bonus))

        def update(self, arm, reward):
            self.t += 1
            self.counts[arm] += 1
            self.values[arm] += (reward - self.values[arm]) / self.counts[arm]

    bandit = Bandit(4)
    means = hb.tensor([0.1, 0.4, 0.3, 0.8])

    @function
    def pull(noise):
        arm = bandit.select()
        reward = (means + noise)[arm]
        bandit.update(arm, reward.item())
        return arm, reward

    return Run(pull, lambda k: (normal(k, 4),), lambda: vars(bandit))


def clipped_policy_update(function):
    class Categorical:
        def __init__(self, logits):
            self.logits = logits - hb.logsumexp(logits, axis=-1, keepdims=True)

        @property
        def probs(self):
            return hb.exp(self.logits)

        def log_prob(self, action):
            return self.logits.gather(-1, action.unsqueeze(-1)).squeeze(-1)

        def entropy(self):
            return -(self.probs * self.logits).sum(axis=-1)

    actor = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 4))
    critic = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = optim.Adam([*actor.parameters(), *critic.parameters()], lr=3e-4)

    @function
    def ppo(states, actions, old, advantages, returns, clip=0.2, epochs=3):
        stats = {}
        for epoch in range(epochs):
            policy = Categorical(actor(states))
            ratio = hb.exp(policy.log_prob(actions) - old)
            surrogate = hb.minimum(ratio * advantages, ratio.clip(1 - clip, 1 + clip) * advantages)
            value_loss = F.mse_loss(critic(states).squeeze(-1), returns)
            loss = -surrogate.mean() + 0.5 * value_loss - 0.01 * policy.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            kl = (old - policy.log_prob(actions)).mean().item()
            stats = {"epoch": epoch, "loss": loss.item(), "kl": kl}
            if kl > 0.5:
                break
        return stats

    def rollout(k):
        old = -normal(k + 4, 32).abs()
        return normal(k, 32, 8), labels(k, 32, 4), old, normal(k + 2, 32), normal(k + 3, 32)

    return Run(ppo, rollout, actor.state_dict)


def search_with_width_three(function):
    embed, cell, head = nn.Embedding(10, 8), nn.LSTMCell(8, 12), nn.Linear(12, 10)
    end = 9

    @function
    def beam_search(context, width=3, length=6):
        beams = [(0.0, [0], (context, hb.zeros(1, 12)))]
        finished = []
        for _ in range(length):
            candidates = []
            for score, tokens, state in beams:
                h, c = cell(embed(hb.tensor(tokens[-1:])), state)
                log_p = head(h).log_softmax(axis=-1)[0]
                top = log_p.topk(width)
                for value, index in zip(top.values.tolist(), top.indices.tolist()):
                    candidates.append((score + value, [*tokens, index], (h, c)))
            candidates.sort(key=lambda item: item[0], reverse=True)
            beams = []
            for candidate in candidates[: 2 * width]:
                (finished if candidate[1][-1] == end else beams).append(candidate)
                if len(beams) == width:
                    break
            if len(finished) >= width or not beams:
                break
        best = max(finished or beams, key=lambda item: item[0] / len(item[1]))
        return best[1], best[0]

    return Run(beam_search, lambda k: (normal(k, 1, 12),))


def greedy_without_repeats(function):
    embed = nn.Embedding(16, 12)
    body = nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Linear(24, 16))

    @function
    def generate(prompt, max_new=8, penalty=1.3):
        tokens = list(prompt)
        with hb.no_grad():
            for _ in range(max_new):
                hidden = embed(hb.tensor(tokens)).mean(axis=0)
                logits = body(hidden)
                for seen in set(tokens):
                    value = logits[seen]
                    logits[seen] = value / penalty if value > 0 else value * penalty
                token = int(logits.argmax())
                tokens.append(token)
                if token == 0:
                    break
        return tokens

    return Run(generate, lambda k: ([1 + k % 5, 1 + k % 7],))


def tabular_q_learning(function):
    q = defaultdict(lambda: hb.zeros(2))
    environment = Corridor()
    held = {"place": 1}
    environment.reset()

    @function
    def update(state, action, reward, following, rate=0.2):
        goal = reward + 0.9 * q[following].max()
        error = goal - q[state][action]
        q[state] = q[state] + rate * error * hb.one_hot(hb.tensor(action), 2)
        return error

    def turn(k):
        action = int(np.random.random() < 0.6)
        place = held["place"]
        _, reward, done = environment.step(action)
        error = update(place, action, reward, environment.place)
        if done:
            environment.reset()
        held["place"] = environment.place
        return error.item()

    return Run(turn, lambda k: (k,), lambda: dict(q))


def planned_by_shooting(function):
    dynamics = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3))

    @function
    def plan(state, horizon=5, candidates=32, elites=6, rounds=2):
        mean, std = hb.zeros(horizon), hb.ones(horizon)
        with hb.no_grad():
            for _ in range(rounds):
                actions = mean + std * hb.randn(candidates, horizon)
                s = state.expand(candidates, 3)
                cost = hb.zeros(candidates)
                for t in range(horizon):
                    s = s + 0.1 * dynamics(hb.concat([s, actions[:, t : t + 1]], axis=1))
                    cost = cost + (s**2).sum(axis=1) + 0.01 * actions[:, t] ** 2
                best = actions[hb.argsort(cost)[:elites]]
                mean, std = best.mean(axis=0), best.std(axis=0) + 1e-3
        return mean[0]

    return Run(plan, lambda k: (normal(k, 3),))
