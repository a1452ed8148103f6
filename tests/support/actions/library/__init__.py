"""Programs with objects and functions of the standard library in a step."""
