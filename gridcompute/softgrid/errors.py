"""softgrid's own branch of the tree of errors."""

from __future__ import annotations

from ..errors import GridComputeError


class SoftgridError(GridComputeError):
    """The grid cannot be joined, or is joined already."""
