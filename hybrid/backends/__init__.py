"""What runs ops: the native CPU engine, the CUDA emitter, the reference; one interface.

Invariant: the rest of hybrid asks `api.backend(device)` and imports no backend directly.
"""
