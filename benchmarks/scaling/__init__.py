"""How steps scale with cores: a model whose inputs are measured, checked on the threads at hand."""

from .model import Kernel, Machine, Prediction, bound, predict

__all__ = ["Kernel", "Machine", "Prediction", "bound", "predict"]
