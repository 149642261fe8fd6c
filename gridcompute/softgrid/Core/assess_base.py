"""How fast and of which shape a grid is."""

from __future__ import annotations

from .methods_base import MethodsBase


class AssessBase(MethodsBase):
    """Stands where assessments belong in the order of the classes."""
