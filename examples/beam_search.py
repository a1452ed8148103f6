"""A small model of names, and a beam search for the likeliest ending of each beginning.

The search ends as soon as no open name can become likelier than one that has ended, which only the
values know.  It is compared with a search that misses nothing.
Run: python examples/beam_search.py [--quick]
"""

import argparse
import heapq

from tqdm import trange
from turns import Turns

import hybrid
from hybrid import nn, optim

TEXT = """ada alan alice anna barbara blaise carl charles clara david edith edgar emmy ernst euler
felix frances george gottfried grace hedy henri hilbert ida isaac jacques james joan john julia
karen karl katherine kurt leonhard lise ludwig margaret maria marie mary max niels nikola paul
pierre radia robert rosalind sofia stefan sophie stanislaw ted tim tony tu ursula vera walter
werner wolfgang"""
NAMES = TEXT.split()
LETTERS = "\nabcdefghijklmnopqrstuvwxyz"
END, SIZE, LONGEST, WIDTH, PAST = 0, len(LETTERS), 12, 8, 3


class NameModel(nn.Module):
    """The logarithms of the probabilities of the next letter after the last three."""

    def __init__(self, width=48):
        super().__init__()
        self.letters = nn.Embedding(SIZE, 12)
        self.hidden, self.head = nn.Linear(12 * PAST, width), nn.Linear(width, SIZE)

    def forward(self, past):
        hidden = hybrid.tanh(self.hidden(self.letters(past).flatten(1)))
        return self.head(hidden).log_softmax(-1)


@hybrid.function
def train_step(model, optimizer, past, letters):
    loss = nn.functional.nll_loss(model(past), letters)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


@hybrid.function
def beam_search(model, begin):
    """The likeliest name found, as letters, and the logarithm of its probability."""
    beams, scores = begin, hybrid.zeros((1,))
    best, best_score = begin[0], hybrid.tensor(-hybrid.inf)
    for _ in range(LONGEST):
        candidates = scores[:, None] + model(beams[:, -PAST:])
        scores, places = candidates.flatten().topk(WIDTH)
        beams = hybrid.concat([beams[places // SIZE], (places % SIZE)[:, None]], axis=1)
        ended = hybrid.where(beams[:, -1] == END, scores, -hybrid.inf)
        if ended.max() > best_score:
            best, best_score = beams[ended.argmax()], ended.max()
        scores = hybrid.where(beams[:, -1] == END, -hybrid.inf, scores)
        if scores.max() <= best_score:
            break
    return best, best_score


def likeliest(model, begin):
    """The same answer by trying the likeliest beginning first, which misses nothing."""
    rows, heap = {}, [(0.0, begin)]
    while heap:
        score, name = heapq.heappop(heap)
        if name[-1] == END and len(name) > len(begin):
            return name, -score
        if name[-PAST:] not in rows:
            rows[name[-PAST:]] = model(hybrid.tensor([name[-PAST:]])).numpy()[0]
        for letter, gain in enumerate(rows[name[-PAST:]]):
            heapq.heappush(heap, (score - float(gain), (*name, letter)))
    return None


def examples():
    """Three letters and the one after them, for every place of every name."""
    past, letters = [], []
    for name in NAMES:
        word = [END] * PAST + [LETTERS.index(c) for c in name] + [END]
        for place in range(PAST, len(word)):
            past.append(word[place - PAST : place])
            letters.append(word[place])
    return hybrid.tensor(past), hybrid.tensor(letters)


def make():
    hybrid.manual_seed(0)
    model = NameModel()
    return model, optim.Adam(model.parameters(), lr=1e-2)


def main(steps, compared, rounds):
    (model, optimizer), twin = make(), make()
    data, train, losses = examples(), Turns(train_step), []
    for step in trange(steps, desc="training"):
        if step < compared:
            loss = train(model, optimizer, *data, twins=(*twin, *data))
        else:
            loss = train_step(model, optimizer, *data)
        losses.append(loss.item())
    train.report()
    print(f"loss {losses[0]:.2f} at first, {losses[-1]:.2f} at last")

    search, found = Turns(beam_search), {}
    firsts = sorted({name[0] for name in NAMES})
    begins = {c: (*[END] * (PAST - 1), LETTERS.index(c)) for c in firsts}
    with hybrid.no_grad():
        for _ in trange(rounds, desc="searching"):
            for first, begin in begins.items():
                found[first] = search(model, hybrid.tensor([begin]))
        exact = {first: likeliest(model, begin) for first, begin in begins.items()}
    search.report()
    same = sum(tuple(found[c][0].tolist()) == exact[c][0] for c in firsts)
    words = ["".join(LETTERS[k] for k in found[c][0].tolist()).strip() for c in firsts]
    print("likeliest names:", ", ".join(words))
    print(f"{same} of {len(firsts)} are what a search that misses nothing finds")
    assert losses[-1] < losses[0] and same >= len(firsts) * 0.8
    assert all(float(found[c][1]) <= exact[c][1] + 1e-4 for c in firsts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short training only")
    main(*((60, 10, 1) if parser.parse_args().quick else (400, 40, 4)))
