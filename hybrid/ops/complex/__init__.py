"""What the ops do with complex tensors: records over real and imaginary parts, and rules.

Invariant: nothing below this room knows of it; a rule is entered in the record that it belongs to.
"""
