"""An LSTM learns to spell numbers, 42 as "forty two", and decodes until its end token.

How many letters a number takes is known to the network only: the loop ends where the token that
came out says so.  Some numbers are held out of training.
Run: python examples/spell_numbers.py [--quick]
"""

import argparse

import numpy as np
from tqdm import trange
from turns import Turns

import hybrid
from hybrid import nn, optim

SMALL = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
fifteen sixteen seventeen eighteen nineteen"""
BELOW_TWENTY = SMALL.split()
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
LETTERS = "\n abcdefghijklmnopqrstuvwxyz"
END, LONGEST = 0, 16
HELD_OUT = [23, 36, 41, 58, 64, 79, 82, 97]


def spelled(number):
    if number < 20:
        return BELOW_TWENTY[number]
    tens, ones = divmod(number, 10)
    return TENS[tens - 2] + (" " + BELOW_TWENTY[ones] if ones else "")


class Speller(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.tens, self.ones = nn.Embedding(10, width), nn.Embedding(10, width)
        self.letters = nn.Embedding(len(LETTERS), width)
        self.cell = nn.LSTMCell(width, width)
        self.head = nn.Linear(width, len(LETTERS))

    def begin(self, numbers):
        hidden = hybrid.tanh(self.tens(numbers // 10) + self.ones(numbers % 10))
        return hidden, hybrid.zeros_like(hidden)

    def forward(self, letter, state):
        state = self.cell(self.letters(letter), state)
        return self.head(state[0]), state


@hybrid.function
def train_step(model, optimizer, numbers, words):
    state = model.begin(numbers)
    letter, loss = hybrid.zeros_like(numbers), 0.0
    for place in range(words.shape[1]):
        logits, state = model(letter, state)
        letter = words[:, place]
        loss = loss + nn.functional.cross_entropy(logits, letter)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


@hybrid.function
def decode(model, number):
    state = model.begin(number)
    letter, said = hybrid.zeros_like(number), []
    while len(said) < LONGEST:
        logits, state = model(letter, state)
        letter = logits.argmax(-1)
        if letter == END:
            break
        said.append(letter)
    return said


def make():
    hybrid.manual_seed(0)
    model = Speller()
    return model, optim.Adam(model.parameters(), lr=5e-3)


def text_of(letters):
    return "".join(LETTERS[letter.item()] for letter in letters)


def main(steps, compared):
    known = [n for n in range(100) if n not in HELD_OUT]
    words = [[LETTERS.index(c) for c in spelled(n).ljust(LONGEST, "\n")] for n in range(100)]
    words = np.array(words)
    (model, optimizer), twin = make(), make()
    train, losses = Turns(train_step), []
    for step in trange(steps, desc="training"):
        batch = hybrid.tensor(known), hybrid.tensor(words[known])
        if step < compared:
            loss = train(model, optimizer, *batch, twins=(*twin, *batch))
        else:
            loss = train_step(model, optimizer, *batch)
        losses.append(loss.item())
    train.report()
    print(f"loss {losses[0]:.2f} at first, {losses[-1]:.4f} at last")

    speak = Turns(decode)
    with hybrid.no_grad():
        said = {}
        for _ in range(2):
            for n in trange(100, desc="decoding"):
                said[n] = text_of(speak(model, hybrid.tensor([n])))
    speak.report()
    right = {n: said[n] == spelled(n) for n in said}
    print(f"spelled right: {sum(right[n] for n in known)} of {len(known)} that it was taught,")
    print(f"{sum(right[n] for n in HELD_OUT)} of {len(HELD_OUT)} that it was not:", end=" ")
    print(", ".join(f"{n} {said[n]}" for n in HELD_OUT))
    assert losses[-1] < losses[0] / 2


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short training only")
    main(*((40, 10) if parser.parse_args().quick else (400, 40)))
