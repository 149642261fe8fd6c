"""softgrid: a live grid of Python executors. `docs/softgrid` tells how it is used and why it is as it is."""

from . import Collections, Globals
from .Executors import Manager, Orchestrator, Router, Worker
from .opening import open_softgrid
from .version import __version__, get_author, get_doc, get_email, get_pypi, get_repository, get_version

__all__ = [
    "DDFS",
    "Addons",
    "Collections",
    "Core",
    "Executors",
    "Globals",
    "Manager",
    "Orchestrator",
    "Router",
    "Worker",
    "__version__",
    "get_author",
    "get_doc",
    "get_email",
    "get_pypi",
    "get_repository",
    "get_version",
    "open_softgrid",
]


def __getattr__(name: str) -> object:
    """What few need is imported when it is named, so that an executor starts without it."""
    if name in ("Addons", "DDFS"):
        import importlib

        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
