"""Programs of every sort."""

from . import ambient, attributes, containers, effects, models, modules, standard_library

CASES = {
    **attributes.CASES,
    **containers.CASES,
    **effects.CASES,
    **ambient.CASES,
    **models.CASES,
    **modules.CASES,
    **standard_library.CASES,
}
