"""Euler angles `[x, y, z]` in radians."""

from .vector3 import assign, componentwise

VERBS = {"set": assign, "add": componentwise(lambda a, b: a + b)}
