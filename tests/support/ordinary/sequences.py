"""Sequences and trees: decoding until an end token, beams, recursion over data."""

from __future__ import annotations

import json
import random
import struct

import hybrid as hb
from hybrid import nn, optim
from ordinary import Run, labels, normal

F = nn.functional
END = 0


class Decoder(nn.Module):
    def __init__(self, vocabulary=8, size=8):
        super().__init__()
        self.table = nn.Embedding(vocabulary, size)
        self.cell = nn.LSTMCell(size, size)
        self.out = nn.Linear(size, vocabulary)

    def start(self, hidden):
        return hidden, hb.zeros_like(hidden)

    def forward(self, token, state):
        state = self.cell(self.table(token), state)
        return self.out(state[0]), state


def decode_until_end(function):
    decoder = Decoder()

    @function
    def decode(hidden):
        state, token, tokens = decoder.start(hidden), hb.tensor([1]), []
        with hb.no_grad():
            for _ in range(12):
                logits, state = decoder(token, state)
                token = logits.argmax(axis=-1)
                if token.item() == END:
                    break
                tokens.append(token)
        return hb.concat(tokens) if tokens else hb.zeros(0)

    return Run(decode, lambda k: (normal(k, 1, 8, scale=2.0),))


def decode_with_while(function):
    decoder = Decoder()

    @function
    def length_of(hidden):
        state, token, length = decoder.start(hidden), hb.tensor([1]), 0
        with hb.no_grad():
            while token != END and length < 10:
                logits, state = decoder(token, state)
                token = logits.argmax(axis=-1)
                length += 1
        return length

    return Run(length_of, lambda k: (normal(k, 1, 8, scale=2.0),))


def fixed_length_decode(function):
    decoder = Decoder()

    @function
    def decode(hidden):
        state, token, tokens = decoder.start(hidden), hb.tensor([1]), []
        for _ in range(6):
            logits, state = decoder(token, state)
            token = logits.argmax(axis=-1)
            tokens.append(token)
        return hb.stack(tokens)

    return Run(decode, lambda k: (normal(k, 1, 8),))


def beam_search(function):
    decoder = Decoder()

    @function
    def search(hidden):
        beams = [(0.0, [1], decoder.start(hidden))]
        with hb.no_grad():
            for _ in range(4):
                candidates = []
                for score, tokens, state in beams:
                    logits, following = decoder(hb.tensor([tokens[-1]]), state)
                    values, ids = hb.topk(logits[0].log_softmax(axis=-1), 2)
                    for value, token in zip(values.tolist(), ids.tolist()):
                        candidates.append((score + value, [*tokens, token], following))
                beams = sorted(candidates, key=lambda beam: -beam[0])[:2]
        return beams[0][1]

    return Run(search, lambda k: (normal(k, 1, 8),))


def tree_recursion(function):
    table, join = nn.Embedding(10, 6), nn.Linear(12, 6)

    @function
    def encode(tree):
        if isinstance(tree, int):
            return table(hb.tensor(tree))
        left, right = map(encode, tree)
        return join(hb.concat([left, right])).tanh()

    def grow(pick, depth):
        if depth == 0 or pick.random() < 0.3:
            return pick.randrange(10)
        return grow(pick, depth - 1), grow(pick, depth - 1)

    return Run(encode, lambda k: (grow(random.Random(k), 3),))


def trained_tree(function):
    class Node:
        def __init__(self, word=None, children=()):
            self.word, self.children = word, children

    class TreeCell(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.join = nn.Embedding(10, 6), nn.Linear(12, 6)
            self.out = nn.Linear(6, 2)

        def forward(self, node):
            if not node.children:
                return self.table(hb.tensor(node.word))
            return self.join(hb.concat([self(child) for child in node.children])).tanh()

    model = TreeCell()
    optimizer = optim.SGD(model.parameters(), lr=0.05)

    @function
    def step(tree, label):
        loss = F.cross_entropy(model.out(model(tree)), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    def grow(pick, depth):
        if depth == 0 or pick.random() < 0.25:
            return Node(pick.randrange(10))
        return Node(children=[grow(pick, depth - 1), grow(pick, depth - 1)])

    def example(k):
        return Node(children=[grow(random.Random(k), 2), Node(k % 10)]), hb.tensor(k % 2)

    return Run(step, example, model.state_dict)


def characters_to_embedding(function):
    alphabet = {c: j for j, c in enumerate("abcdefghijklmnopqrstuvwxyz ")}
    table, out = nn.Embedding(27, 6), nn.Linear(6, 2)
    words = ["hello world", "machine", "learning is fun", "a", "the quick brown fox"]

    @function
    def sentiment(text):
        ids = hb.tensor([alphabet[c] for c in text.lower() if c in alphabet])
        return out(table(ids).mean(axis=0)).softmax(axis=-1)

    return Run(sentiment, lambda k: (words[k % 5],))


def lstm_over_sentence(function):
    table, cell, out = nn.Embedding(20, 6), nn.LSTMCell(6, 6), nn.Linear(6, 20)
    optimizer = optim.Adam([p for m in (table, cell, out) for p in m.parameters()], lr=0.01)

    @function
    def step(ids):
        state, loss = None, 0.0
        for now, following in zip(ids[:-1], ids[1:]):
            state = cell(table(now).reshape(1, 6), state)
            loss = loss + F.cross_entropy(out(state[0]), following.reshape(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss / (len(ids) - 1)

    return Run(step, lambda k: (labels(k, 6, 20),), out.state_dict)


def scheduled_sampling(function):
    decoder = Decoder()

    @function
    def forced(hidden, target):
        state, token, loss = decoder.start(hidden), hb.tensor([1]), 0.0
        for position in range(4):
            logits, state = decoder(token, state)
            loss = loss + F.cross_entropy(logits, target[position : position + 1])
            use_truth = random.random() < 0.5
            token = target[position : position + 1] if use_truth else logits.argmax(axis=-1)
        return loss

    return Run(forced, lambda k: (normal(k, 1, 8), labels(k, 4, 8)))


def growing_memory_attention(function):
    query = nn.Linear(4, 4)
    memory = []

    @function
    def read(x):
        memory.append(x)
        if len(memory) > 8:
            memory.pop(0)
        slots = hb.stack(memory)
        weights = (slots @ query(x)).softmax(axis=0)
        return weights @ slots

    return Run(read, lambda k: (normal(k, 4),), lambda: memory)


def bigram_sampler(function):
    table = normal(0, 6, 6)

    @function
    def sample(start):
        token, tokens = start, []
        for _ in range(5):
            token = hb.random.categorical(table[token])
            tokens.append(token)
        return hb.stack(tokens)

    return Run(sample, lambda k: (hb.tensor(k % 6),), hb.random.get_state)


def viterbi(function):
    transition = normal(0, 4, 4)

    @function
    def decode(emissions):
        score, pointers = emissions[0], []
        for emission in emissions[1:]:
            total = score.unsqueeze(1) + transition
            pointers.append(total.argmax(axis=0))
            score = total.max(axis=0) + emission
        best = [int(score.argmax())]
        for pointer in reversed(pointers):
            best.append(int(pointer[best[-1]]))
        return best[::-1]

    return Run(decode, lambda k: (normal(k, 5, 4),))


def stack_machine(function):
    combine = nn.Linear(8, 4)

    @function
    def evaluate(leaves, actions):
        queue, stack = list(leaves), []
        for action in actions:
            if action == "shift":
                stack.append(queue.pop(0))
            else:
                right, left = stack.pop(), stack.pop()
                stack.append(combine(hb.concat([left, right])).tanh())
        return stack[-1]

    programs = (
        ("shift", "shift", "reduce", "shift", "reduce"),
        ("shift", "shift", "shift", "reduce", "reduce"),
    )
    return Run(evaluate, lambda k: (normal(k, 3, 4), programs[k % 2]))


def masked_lengths(function):
    cell = nn.LSTMCell(4, 5)

    @function
    def last_states(x, lengths):
        hidden, memory = hb.zeros(3, 5), hb.zeros(3, 5)
        for position in range(x.shape[1]):
            new_hidden, new_memory = cell(x[:, position], (hidden, memory))
            keep = (lengths > position).unsqueeze(1)
            hidden = hb.where(keep, new_hidden, hidden)
            memory = hb.where(keep, new_memory, memory)
        return hidden

    return Run(last_states, lambda k: (normal(k, 3, 4, 4), labels(k, 3, 4) + 1))


def tokenizer_and_model(function):
    class Tokenizer:
        def __init__(self):
            self.ids = {}

        def __call__(self, text):
            return [self.ids.setdefault(word, len(self.ids)) for word in text.split()]

    tokenizer, table = Tokenizer(), nn.Embedding(40, 4)
    pool = "the cat sat on a mat while big dogs ran home and slept well".split()

    @function
    def embed(text):
        return table(hb.tensor(tokenizer(text))).max(axis=0)

    def sentence(k):
        pick = random.Random(k)
        return (" ".join(pick.choice(pool) for _ in range(4)),)

    return Run(embed, sentence, lambda: tokenizer.ids)


def sorted_vocabulary(function):
    table, head = nn.Embedding(32, 8), nn.Linear(8, 3)

    @function
    def classify(words, target):
        vocabulary = sorted(set(words))
        place = {word: number for number, word in enumerate(vocabulary)}
        ids = hb.tensor([place[word] for word in words])
        vectors = table(ids)
        weights = vectors.norm(axis=-1).softmax(axis=0).unsqueeze(-1)
        logits = head((vectors * weights).sum(axis=0))
        return F.cross_entropy(logits.unsqueeze(0), target)

    def text(k):
        pick = random.Random(k)
        return ["".join(pick.choices("abcd", k=3)) for _ in range(10)], labels(k, 1, 3)

    return Run(classify, text)


def request_in_json(function):
    table, out = nn.Embedding(64, 8), nn.Linear(9, 2)

    @function
    def answer(text):
        request = json.loads(text)
        ids = [sum(map(ord, token)) % 64 for token in request["tokens"]]
        vectors = table(hb.tensor(ids)).mean(axis=0)
        prior = hb.tensor([request["prior"]])
        logits = out(hb.concat([vectors, prior]))
        label = int(logits.argmax())
        return json.dumps({"user": request["user"], "label": label})

    def text(k):
        pick = random.Random(k)
        tokens = ["".join(pick.choices("abcdef", k=4)) for _ in range(7)]
        return (json.dumps({"user": k, "tokens": tokens, "prior": pick.random()}),)

    return Run(answer, text)


def packets_of_bytes(function):
    kernel = nn.Linear(16, 8)
    state = {"seen": 0}

    @function
    def decode(packet):
        kind, count = struct.unpack_from("<HH", packet)
        body = list(packet[4 : 4 + count])
        state["seen"] += len(packet)
        x = hb.tensor(body).astype(hb.float32) / 255.0
        if kind % 2:
            x = 1.0 - x
        return kernel(x).tanh().reshape(2, 4).sum(axis=1)

    def packet(k):
        pick = random.Random(k)
        body = bytes(pick.randrange(256) for _ in range(16))
        return (struct.pack("<HH", pick.randrange(2), 16) + body,)

    return Run(decode, packet, lambda: state)
