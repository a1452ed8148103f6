"""Tensors in Python places, what is only looked at, functions replaced."""
