"""All that pip needs stands in pyproject.toml; this file is there for the tools that still ask for it."""

from setuptools import setup

setup()
