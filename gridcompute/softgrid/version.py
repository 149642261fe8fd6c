"""The version of softgrid and where it comes from."""

from __future__ import annotations

__version__ = "1.0.0"
__author__ = "The GridCompute authors"
__email__ = ""
"""The project gives no address; questions go to the repository."""

__doc_link__ = "http://gridcompute.readthedocs.org"
__repository__ = "http://github.com/borisd13/GridCompute"
__pypi__ = "https://pypi.org/project/gridcompute"


def get_version() -> str:
    """softgrid's version."""
    return __version__


def get_author() -> str:
    return __author__


def get_email() -> str:
    """Empty: questions go to the repository."""
    return __email__


def get_doc() -> str:
    """The address of the documentation."""
    return __doc_link__


def get_repository() -> str:
    """The address of the source code."""
    return __repository__


def get_pypi() -> str:
    """The address of the package."""
    return __pypi__
