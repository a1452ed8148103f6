"""What the random programs have around them: globals, objects, containers, helpers, modules.

Invariant: every piece is a text of its own that others may need but do not repeat, so that
shrinking can leave pieces out.
"""

__all__ = ["PIECES"]

PIECES = {
    "imports": """\
import contextlib, functools, itertools, math, random
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace
import numpy as np
import hybrid as hb
from hybrid import nn, optim
F = nn.functional
""",
    "tensors of a number": """\
def T(k, *shape):
    shape = shape or (4,)
    return hb.tensor(np.sin(np.arange(math.prod(shape)) * 1.7 + k).astype("f4").reshape(shape))
""",
    "data of a number": """\
def A(k, *shape):
    return np.cos(np.arange(math.prod(shape or (4,))) + k).astype("f4").reshape(shape or (4,))
""",
    "objects as arguments": """\
def n_of(k):
    return k % 3
def use(o, x):
    if o is None:
        return x
    if callable(o):
        return o(x)
    if isinstance(o, dict):
        return x * sum(o.values())
    if hasattr(o, "first"):
        return x * hb.asarray(o.first) * o.second
    if hasattr(o, "a"):
        return x + o.a * o.b
    if isinstance(o, str):
        return x * len(o)
    if isinstance(o, memoryview):
        return x + hb.asarray(o)
    if isinstance(o, (list, tuple, range)):
        return x + sum(o)
    return x - o
""",
    "backward outside": """\
def back(result):
    if isinstance(result, hb.Tensor) and result.requires_grad:
        result.sum().backward()
def bump(result):
    if isinstance(result, hb.Tensor) and not result.requires_grad:
        result.add_(1.0)
""",
    "numbers": "gain, flag, counter, stride = 1.5, True, 0, 2\n",
    "list of numbers": "numbers = [0.5, 1.5, 2.5]\n",
    "table": 'table = {"k": 1.25, "q": 0.75, "n": 1}\n',
    "weight": "weight = T(1)\n",
    "matrix": "matrix = T(2, 4, 4) * 0.5\n",
    "list of tensors": "tensors = [T(3), T(4), T(5)]\n",
    "bag": 'bag = {"w": T(6), "v": T(7)}\n',
    "log": "log = []\n",
    "window": "window = deque([T(8)], maxlen=3)\n",
    "seen": "seen = set()\n",
    "tally": "tally, groups = Counter(), defaultdict(list)\n",
    "leaf": "leaf = hb.tensor(A(9), requires_grad=True)\n",
    "inner class": """\
class Inner:
    def __init__(self, bias):
        self.bias = bias
""",
    "view of what nobody holds": "board = T(14, 2, 4).T.reshape(8)\n",
    "config": """\
class Config:
    share = 0.75
    def __init__(self):
        self.rate, self.inner, self.count, self.mode = 0.5, Inner(0.25), 0, "train"
        self.hidden = T(10)
    @property
    def twice(self):
        return self.rate * 2
    def scaled(self, x):
        return x * self.rate
    def bump(self):
        self.count += 1
        return self.count
    def __call__(self, x):
        return x + self.inner.bias
C = Config()
""",
    "slots": """\
class Slots:
    __slots__ = ("value", "hidden")
    def __init__(self):
        self.value, self.hidden = 1.75, T(11)
S = Slots()
""",
    "helper": """\
def helper(x, factor=1.25):
    return x * factor
def other_helper(x, factor=0.5):
    return hb.tanh(x) + factor
""",
    "recursive": """\
def recursive(x, depth):
    return x if depth <= 0 else hb.sin(recursive(x, depth - 1)) + x
""",
    "cached": """\
@functools.lru_cache(maxsize=None)
def cached(k):
    return T(k)
""",
    "scope": """\
@contextlib.contextmanager
def scope(name):
    log.append(name)
    try:
        yield len(log)
    finally:
        log.pop()
""",
    "pieces": """\
def pieces(values):
    for value in values:
        yield value * 0.5
""",
    "cell": """\
def make_cell():
    value = 1.125
    def get():
        return value
    def put(new):
        nonlocal value
        value = new
    return get, put
get, put = make_cell()
""",
    "own error": """\
class Stop(Exception):
    pass
""",
    "record types": """\
Point = namedtuple("Point", "x y")
@dataclass
class Pair:
    first: object
    second: float = 0.5
""",
    "model": """\
hb.manual_seed(1)
model = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
optimizer = optim.SGD(model.parameters(), lr=0.05)
""",
    "drop": "drop = nn.Dropout(0.5)\n",
    "module of a user": """\
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.gain, self.last = nn.Linear(4, 4), 0.5, None
        self.register_buffer("mean", hb.zeros(4))
    def forward(self, x):
        y = self.layer(x) * self.gain
        if self.training:
            self.mean = self.mean * 0.9 + y.detach().reshape(-1, 4).mean(axis=0) * 0.1
        self.last = y.detach()
        return y - self.mean
block = Block()
""",
    "dice": "dice, draws = random.Random(3), np.random.default_rng(3)\n",
    "stream": "stream = itertools.cycle([0.5, 1.0, 1.5])\n",
    "rates": """\
class Whole(int):
    pass
class Rates:
    def __init__(self):
        self.rate, self.step, self.decay, self.kept, self.on = 0.5, 0, 0.9, 1, True
    def warm(self):
        self.step += 1
        return self.rate * min(self.step / 4, 1.0)
    def tick(self, by=1):
        self.step = self.step + by
        return self.step
rates, schedule = Rates(), [0.1, 0.2, 0.4]
""",
    "twins": """\
left, right = Rates(), Rates()
left.hidden, right.hidden = T(12), T(13)
""",
    "decorated helper": """\
@function
def inner(x):
    return hb.tanh(x) * gain
""",
}
