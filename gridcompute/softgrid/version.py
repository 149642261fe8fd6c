"""The version of softgrid and where it comes from."""

from __future__ import annotations

__version__ = "1.0.0"
