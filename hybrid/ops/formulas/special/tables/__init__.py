"""Coefficients of the polynomials: a module for each of the formulas' modules that has some.

Invariant: made by tests/support/fits/make.py, by type of the argument.
"""
