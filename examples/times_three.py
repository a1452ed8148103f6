"""Learn to multiply by three: one weight, one bias, a random input per step.

The loop reads like PyTorch's; the decorator is the only difference between debugging it and running
it fast. Run: python examples/times_three.py
"""

import time

import hybrid
from hybrid import nn, optim

hybrid.manual_seed(0)
model = nn.Linear(1, 1)
criterion = nn.MSELoss()
optimizer = optim.SGD(model.parameters(), lr=0.1)


@hybrid.function
def step(x, y):
    optimizer.zero_grad()
    output = model(x)
    loss = criterion(output, y)
    loss.backward()
    optimizer.step()
    return loss


start = time.perf_counter()
for i in range(10_000):
    x = hybrid.rand(1, 1)
    y = x * 3
    loss = step(x, y)
    if i % 2_000 == 0:
        print(f"step {i:5d}  loss {loss.item():.3e}")
seconds = time.perf_counter() - start

print(f"10,000 steps in {seconds:.2f} s ({seconds * 100:.1f} us each)")
print(f"weight {model.weight.item():.6f}, bias {model.bias.item():.6f}")
print(f"7 x 3 = {model(hybrid.tensor([[7.0]])).item():.4f}")
