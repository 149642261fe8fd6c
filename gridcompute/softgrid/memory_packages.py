"""Modules that are imported from memory."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class MemoryPackages(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules among files that were added: relative path with '/' -> content."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    def add(self, files: dict[str, bytes], replace: bool) -> str | None:
        """None, or the path that is taken already; then nothing was added."""
        for path in files:
            if path in self._files and not replace:
                return path
        self._files.update(files)
        if self not in sys.meta_path:
            sys.meta_path.append(self)
        return None

    def close(self) -> None:
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(self)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        base = fullname.replace(".", "/")
        if f"{base}/__init__.py" in self._files:
            return importlib.util.spec_from_loader(fullname, self, origin=f"memory:{base}/__init__.py", is_package=True)
        if f"{base}.py" in self._files:
            return importlib.util.spec_from_loader(fullname, self, origin=f"memory:{base}.py")
        if any(path.startswith(f"{base}/") and path.endswith(".py") for path in self._files):
            return importlib.util.spec_from_loader(fullname, self, origin=f"memory:{base}", is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        origin = module.__spec__.origin if module.__spec__ is not None else None
        assert origin is not None
        module.__dict__["__softgrid_package__"] = True
        if origin.endswith(".py"):
            exec(compile(self._files[origin.removeprefix("memory:")], origin, "exec"), module.__dict__)

    def get_source(self, fullname: str) -> str | None:
        base = fullname.replace(".", "/")
        content = self._files.get(f"{base}.py") or self._files.get(f"{base}/__init__.py")
        return content.decode() if content is not None else None

    def get_data(self, path: str) -> bytes:
        """Data files of a package, for `pkgutil.get_data`."""
        try:
            return self._files[path.removeprefix("memory:")]
        except KeyError as exc:
            raise FileNotFoundError(path) from exc
