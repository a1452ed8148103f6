"""What a program may do with its state so that a naive replay would be wrong, by subject."""

from . import calls, containers, numbers, outside, protocols

PROGRAMS = {
    **calls.PROGRAMS,
    **containers.PROGRAMS,
    **numbers.PROGRAMS,
    **outside.PROGRAMS,
    **protocols.PROGRAMS,
}
