"""What a decorated function says of itself, in words and counts.

Invariant: saying it changes nothing that the next call does.
"""
