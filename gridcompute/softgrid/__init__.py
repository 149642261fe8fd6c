"""softgrid: a live grid of Python executors. `docs/softgrid` tells how it is used and why it is as it is."""

from . import Collections, Globals
from .Executors import Manager, Orchestrator, Router, Worker
from .version import __version__

__all__ = ["Collections", "Globals", "Manager", "Orchestrator", "Router", "Worker", "__version__"]
