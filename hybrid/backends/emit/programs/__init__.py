"""Scalar programs on their way to LLVM text: costs, the order of emission, whole programs."""
