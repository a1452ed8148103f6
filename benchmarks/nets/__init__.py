"""Training steps of convolutional nets beside PyTorch: `python -m benchmarks.nets`."""
