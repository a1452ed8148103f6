"""The demonstration: real images, two models, eager against traced.

Invariant: it uses the public interface only.
"""
