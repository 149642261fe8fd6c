"""What an administrator writes down, and every program obeys: allowed versions, pinned code, indexes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gridcompute import config
from gridcompute.errors import VersionRefused
from gridcompute.grid.database.connection import Connection
from gridcompute.grid.database.expressions import Document
from gridcompute.grid.database.indexes import INDEXES


class Administration(Connection):
    """The grid as its administrator sets it up."""

    def ensure_indexes(self) -> None:
        """Make the indexes that serve the queries below; does nothing where they are."""
        with self._asked("make the indexes"):
            for name, keys, options in INDEXES:
                self._cases.create_index(keys, name=name, **options)

    def check_version(self, version: str = config.version) -> str | None:
        """What the collection *versions* says of `version`: None if allowed, else a warning's text.

        Raises `VersionRefused`, also for a version that the collection does not know. No collection is a warning.
        """
        with self._asked("read the allowed versions"):
            entry = self._versions.find_one({"_id": version})
            known = entry is not None or self._versions.find_one({}, {"_id": 1}) is not None
        if not known:
            return (
                "The version of the program is not controlled by the database: it has no collection 'versions'. An "
                "administrator can make one with admin/database_management.py."
            )
        if entry is None:
            raise VersionRefused(
                f"The database at {self._shown_address} does not know version {version} of {config.program_name}. "
                f"Ask the administrator to add it (admin/database_management.py --allow {version}), or use a version "
                "that is allowed."
            )
        message = str(entry.get("message") or "").strip()
        status = entry.get("status")
        if status == "allowed":
            return None
        if status == "warning":
            return message or f"Version {version} is allowed with a warning by the administrator."
        raise VersionRefused(
            f"The database at {self._shown_address} refuses version {version} of {config.program_name}: "
            f"{message.rstrip('.') or 'the administrator gave no reason'}. Use a version that is allowed."
        )

    def count_cases(self) -> int:
        """How many cases of all groups the collection holds."""
        with self._asked("count the cases"):
            return self._cases.count_documents({})

    def set_versions(self, versions: Sequence[Mapping[str, Any]]) -> None:
        """Replace the collection *versions* by `versions`, each with `_id`, `status` and perhaps `message`."""
        with self._asked("write the versions"):
            for entry in versions:
                self._versions.replace_one({"_id": entry["_id"]}, dict(entry), upsert=True)
            self._versions.delete_many({"_id": {"$nin": [entry["_id"] for entry in versions]}})

    def put_version(self, entry: Mapping[str, Any]) -> None:
        """Add or change one entry of *versions*."""
        with self._asked("write a version"):
            self._versions.replace_one({"_id": entry["_id"]}, dict(entry), upsert=True)

    def versions(self) -> list[Document]:
        with self._asked("read the versions"):
            return list(self._versions.find().sort("_id"))

    # Pins: which code may run.

    def pins(self) -> dict[str, dict[str, str]]:
        """What the administrator pinned, for `gridcompute.grid.pins`; empty where nothing is."""
        with self._asked("read which applications are pinned"):
            found = self._pins.find(self._scope)
            return {one["application"]: {file["path"]: file["sha256"] for file in one["files"]} for one in found}

    def pin(self, application: str, digests: Mapping[str, str]) -> None:
        """Pin the code of an application, in place of what was pinned before."""
        files = [{"path": path, "sha256": digest} for path, digest in sorted(digests.items())]
        with self._asked("pin an application"):
            self._pins.replace_one(
                {**self._scope, "application": application},
                {**self._scope, "application": application, "files": files},
                upsert=True,
            )

    def unpin(self, application: str) -> None:
        """Forget the pin of an application."""
        with self._asked("unpin an application"):
            self._pins.delete_one({**self._scope, "application": application})

    def remove_all(self) -> None:
        """Remove every document of every collection but the pins; a right to drop is not needed.

        A grid without pins runs what lies on its share: nobody comes to that by cleaning up.
        """
        with self._asked("empty the database"):
            for name in self._database.list_collection_names():
                if not name.startswith("system.") and name != self._pins.name:
                    self._database[name].delete_many({})
