"""What layers of networks compute: normalisation, losses, pooling.

Invariant: functions of tensors; parameters and state live in `nn`.
"""
