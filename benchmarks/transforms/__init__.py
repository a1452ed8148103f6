"""Transforms against what they stand for: loops, and calls of whole batches."""
