"""Statements about what replays do again: prints of all kinds of values, random numbers, state that a
call looks at and changes, loops whose turns have numbers, containers that it makes of numbers.

Invariant: holes and braces as in statements.
"""

__all__ = ["DRAWS", "MADE", "PRINTS", "SHOWN", "TURNS", "WINDOWS"]

SHOWN = (
    "len(numbers)", "len(table), len(window)", 'table.get("k")', "x.shape[0]", "numbers[0]",
    "sorted(table)", "list(x.shape)", "numbers", "table", "str(n)", "counter", "rates.step", "gain",
    "x.detach().mean().item()", "'%s' % gain", "*numbers[:2]", "*x.shape, n", "max(numbers)",
    "log[-1:]", "type(x).__name__", "helper.__name__", "C.twice", "round(float(x.detach().sum()), 2)",
    "numbers[n % 3]", "<<'n': n, 'c': counter>>", "(n, counter)", "bool(table)", "'a' if flag else 'b'",
    "x.requires_grad", "x.dtype", "C.mode.upper()", "tuple(x.shape) + (counter,)", "[v * 2 for v in numbers]",
    "counter * len(numbers)", "counter > len(numbers)", "'-'.join(sorted(table))", "-rates.step", "None",
    "f'<<counter:03d>> <<x.shape[-1]>> <<len(table)>>'", "f'<<gain!r:>6>> <<numbers>>'", "tally[n]",
    "f'<<x.detach().sum().item():.3f>>'", "dict(n=n)['n']", "abs(rates.step), divmod(counter, 3)",
)  # fmt: skip
PRINTS = (
    "print({shown})",
    "print({shown}, {shown})",
    "print(counter, {shown}, sep='|', end=';')",
    "v = ({shown},)\nprint('v', v)",
)
DRAWS = (
    "x = x * dice.uniform(0.5, 1.5)",
    "x = x + draws.normal()",
    "k = dice.randint(0, 2)\nx = x * numbers[k]",
    "if dice.random() < 0.5:\n    x = x * 0.5",
    "x = x + hb.tensor(np.random.rand(4).astype('f4'))",
    "log.append(dice.random())",
    "x = x[..., draws.permutation(4)]",
    "x = x * dice.choice(numbers)",
    "dice.shuffle(numbers)",
    "noise = draws.standard_normal(4).astype('f4') * 0.1\nx = x + hb.tensor(noise)",
    "print(random.random() > 0.5, dice.random())",
)
WINDOWS = (
    "numbers.append(numbers.pop(0))\nx = x * numbers[0]",
    "stride = (stride + 1) % 3\nx = x + tensors[stride % len(tensors)]",
    "C.mode = 'eval' if C.mode == 'train' else 'train'\nx = x if C.mode == 'train' else -x",
    "tally['n'] += 1\nx = x * tally['n']",
    "C.last = x.detach() if C.last is None else C.last * 0.5",
    "groups[n].append(counter)\nx = x + len(groups[n])",
    "setattr(C, 'count', getattr(C, 'count') + 1)\nx = x + C.count",
    "for i, (v, t) in enumerate(zip(numbers, tensors)):\n    x = x * v + t * i",
    "x = x + sum([v * t for v, t in zip(numbers, tensors)])",
    "seen.add(counter % 3)\nx = x + len(seen)",
    "log.insert(0, n)\nlog[:] = log[:3]",
    "window.append(x.detach())\nfor t in window:\n    x = x + t",
    "window.append(window.popleft())\nx = x + window[0]",
    "tensors.append(tensors.pop(0))\nx = x * tensors[0]",
    "numbers[n % 3] = numbers[n % 3] + 1\nx = x * numbers[0]",
)
TURNS = (
    "for i in range(8):\n    x = x * 0.8\n    if x.norm() < 1.0:\n        break\nlog.append(i)",
    "for i in range(9):\n    x = x * (0.9 if i < 4 else 0.5)\n    if x.norm() < 1.0:\n        break",
    "for i in range(7):\n    x = x * numbers[i % 3] * 0.5\n    if (x * x).sum() < 0.5:\n        break",
    "s = 1.0\nfor i in range(12):\n    if (x * x).sum() < 1.0:\n        break\n"
    "    s *= 0.5\n    x = x * 0.7\nx = x * s",
    "for i in range(6):\n    if x.mean() > 0:\n        x = x - 0.25\n    else:\n"
    "        x = x * 0.5 + 0.1",
    "for i in range(9):\n    x = x * 0.85\n    if i == n:\n        counter += 1\n"
    "    if x.norm() < 1.0:\n        break",
    "y = x\nfor i in range(8):\n    x, y = y * 0.75, x\n    if x.norm() < 1.0:\n        break",
)
MADE = (
    "m = <<>>\nm['a'] = x.detach().sum().item()\nm['n'] = n\nprint(m)\nlog.append(m)",
    "vals = [float(x.detach().sum()), n, counter]\nprint(sum(vals) / len(vals), max(vals))\nlog.append(vals)",
    "m = <<k: v * 1.0 for k, v in zip('ab', [gain, x.detach().mean().item()])>>\n"
    "print(' '.join(f'<<k>>=<<v:.2f>>' for k, v in m.items()))\nlog.append(sorted(m.items()))",
    "losses = []\nfor t in tensors:\n    losses.append((x * t).detach().sum().item())\n"
    "x = x * (sum(losses) / len(losses))",
    "m = <<'v': [gain]>>\nm['v'].append(x.detach().sum().item())\nlog.append(m)\nm['c'] = counter\n"
    "other = m['v']\nother[0] = len(other)\nprint(m, other is m['v'])",
    "total = x.detach().mean().item()\nprint([round(v * total, 2) for v in numbers], max(t for t in (total, n)))",
    "m = dict(a=x.detach().max().item())\nif any(v > {number} for v in m.values()):\n    x = x * 0.5",
    "groups.setdefault(n, []).append(x.detach().sum().item())",
    "m = [x.detach().sum().item()]\nlog.append(m)\nlog[-1].append({number})\nprint(m)",
    "first, *rest = [x.detach().sum().item(), n, counter]\nprint(first, rest, tuple(v for v in rest))",
)
