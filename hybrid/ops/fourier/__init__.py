"""Discrete Fourier transforms by the names of the array API standard and NumPy.

Invariant: transforms along an axis; frequencies are in the order of the transforms.
"""
