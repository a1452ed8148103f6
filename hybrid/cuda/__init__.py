"""hybrid.cuda: NVIDIA's cards: which there are, their memory, streams and events.

Invariant: everything here can be imported and asked for without a card; what needs one raises a
DeviceError that says what is missing.
"""

from .devices import (
    Properties,
    current_device,
    device,
    device_count,
    get_device_capability,
    get_device_name,
    get_device_properties,
    is_available,
    manual_seed,
    manual_seed_all,
    set_device,
    synchronize,
)
from .memory import (
    Snapshot,
    empty_cache,
    max_memory_allocated,
    max_memory_reserved,
    mem_get_info,
    memory_allocated,
    memory_reserved,
    memory_snapshot,
    record_memory,
    reset_peak_memory_stats,
)
from .streams import Event, ExternalStream, Stream, current_stream, default_stream, stream

__all__ = [
    "Event",
    "ExternalStream",
    "Properties",
    "Snapshot",
    "Stream",
    "current_device",
    "current_stream",
    "default_stream",
    "device",
    "device_count",
    "empty_cache",
    "get_device_capability",
    "get_device_name",
    "get_device_properties",
    "is_available",
    "manual_seed",
    "manual_seed_all",
    "max_memory_allocated",
    "max_memory_reserved",
    "mem_get_info",
    "memory_allocated",
    "memory_reserved",
    "memory_snapshot",
    "record_memory",
    "reset_peak_memory_stats",
    "set_device",
    "stream",
    "synchronize",
]
