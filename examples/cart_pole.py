"""An actor and a critic learn to balance a pole on a cart; the environment is plain NumPy.

Both networks take NumPy arrays as they come from the environment.  Python and NumPy play, and what
is decorated is native: one function chooses, one learns.
Run: python examples/cart_pole.py [--quick]
"""

import argparse

import numpy as np
from tqdm import trange
from turns import Turns

import hybrid
from hybrid import nn, optim

CARTS, LENGTH, DISCOUNT = 16, 16, 0.98


class CartPole:
    """Several carts side by side: Barto, Sutton and Anderson's equations, Euler steps of 20 ms."""

    def __init__(self, carts, seed):
        self.random = np.random.default_rng(seed)
        self.state = self.random.uniform(-0.05, 0.05, (carts, 4))
        self.age = np.zeros(carts, int)
        self.lengths = []

    def observe(self):
        return self.state.astype(np.float32)

    def step(self, actions):
        """Pushes each cart right (1) or left (0); tells the rewards and which games ended."""
        place, speed, angle, turn = self.state.T
        push = np.where(actions == 1, 10.0, -10.0)
        sine, cosine = np.sin(angle), np.cos(angle)
        pull = (push + 0.05 * turn**2 * sine) / 1.1
        twist = (9.8 * sine - cosine * pull) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
        drive = pull - 0.05 * twist * cosine / 1.1
        self.state = self.state + 0.02 * np.stack([speed, drive, turn, twist], axis=1)
        self.age += 1
        fallen = (abs(self.state[:, 0]) > 2.4) | (abs(self.state[:, 2]) > 0.2095)
        done = fallen | (self.age >= 200)
        for cart in np.flatnonzero(done):
            self.lengths.append(int(self.age[cart]))
            self.state[cart] = self.random.uniform(-0.05, 0.05, 4)
            self.age[cart] = 0
        return np.ones(len(done), np.float32), done


class Agent(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(4, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh()
        )
        self.actor, self.critic = nn.Linear(width, 2), nn.Linear(width, 1)

    def forward(self, observation):
        hidden = self.body(observation)
        return self.actor(hidden).log_softmax(-1), self.critic(hidden)[:, 0]


@hybrid.function
def choose(agent, observation):
    """The probability of a push to the right, and the worth of where each cart is."""
    with hybrid.no_grad():
        chances, worth = agent(hybrid.asarray(observation))
        return chances[:, 1].exp(), worth


@hybrid.function
def learn(agent, optimizer, observations, actions, returns):
    """One step of the actor towards what was better than expected, and of the critic."""
    chances, worth = agent(hybrid.asarray(observations))
    surprise = hybrid.asarray(returns) - worth
    taken = chances.take_along_axis(hybrid.asarray(actions)[:, None], axis=1)[:, 0]
    entropy = -(chances.exp() * chances).sum(-1)
    gain = taken * surprise.detach() + 0.01 * entropy
    loss = (0.5 * surprise**2 - gain).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


class Player:
    """An agent, its environment, and the random numbers that choose its actions."""

    def __init__(self, seed=0):
        hybrid.manual_seed(seed)
        self.agent = Agent()
        self.optimizer = optim.Adam(self.agent.parameters(), lr=3e-3)
        self.carts, self.random = CartPole(CARTS, seed), np.random.default_rng(seed)

    def play(self, choose):
        """What LENGTH steps of all carts were, with the discounted returns."""
        seen, taken, rewards, ends = [], [], [], []
        for _ in range(LENGTH):
            seen.append(self.carts.observe())
            chance, _ = choose(self.agent, seen[-1])
            taken.append((self.random.random(CARTS) < chance.numpy()).astype(np.int64))
            reward, done = self.carts.step(taken[-1])
            rewards.append(reward)
            ends.append(done)
        _, worth = choose(self.agent, self.carts.observe())
        later, returns = worth.numpy(), []
        for reward, done in zip(rewards[::-1], ends[::-1], strict=True):
            later = (reward + DISCOUNT * later * ~done).astype(np.float32)
            returns.append(later)
        return np.concatenate(seen), np.concatenate(taken), np.concatenate(returns[::-1])


def main(updates, compared):
    player, twin = Player(), Player()
    chooses, learns = Turns(choose), Turns(learn)
    for update in trange(updates, desc="playing"):
        if update < compared:
            batch, other = player.play(chooses), twin.play(choose.fn)
            mine = player.agent, player.optimizer, *batch
            learns(*mine, twins=(twin.agent, twin.optimizer, *other))
        else:
            learn(player.agent, player.optimizer, *player.play(choose))
    chooses.report()
    learns.report()
    lengths = player.carts.lengths
    tenth = max(len(lengths) // 10, 10)
    first, last = np.mean(lengths[:tenth]), np.mean(lengths[-tenth:])
    print(f"the pole stood {first:.0f} steps at first, {last:.0f} of 200 at last")
    assert last > first


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short training only")
    main(*((180, 20) if parser.parse_args().quick else (500, 60)))
