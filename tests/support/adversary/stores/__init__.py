"""Writes into objects, classes, containers and dictionaries."""
