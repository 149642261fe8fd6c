"""Hears every change of the collection, over a connection of its own, from before the first submit to the end."""

from __future__ import annotations

import copy
import threading
import time
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from gridcompute.config import database_name
from tests.support.audit import Change, History


def apply(document: dict[str, Any], description: dict[str, Any]) -> dict[str, Any]:
    """The document after an ``update`` as a change stream describes it; `document` stays as it is."""
    after = copy.deepcopy(document)
    for cut in description.get("truncatedArrays") or ():
        holder, key = _place(after, cut["field"])
        del holder[key][cut["newSize"] :]
    for path in description.get("removedFields") or ():
        holder, key = _place(after, path)
        holder.pop(key, None)
    for path, value in (description.get("updatedFields") or {}).items():
        holder, key = _place(after, path)
        if isinstance(holder, list) and key == len(holder):
            holder.append(value)
        else:
            holder[key] = value
    return after


def _place(document: Any, path: str) -> tuple[Any, Any]:
    *way, last = path.split(".")
    holder = document
    for part in way:
        holder = holder[int(part)] if isinstance(holder, list) else holder.setdefault(part, {})
    return holder, int(last) if isinstance(holder, list) else last


class Recorder(threading.Thread):
    """The history of each case, by its id as text. It goes on where it was when the server comes back after a kill."""

    def __init__(self, url: str):
        super().__init__(name="recorder", daemon=True)
        self.histories: dict[str, History] = {}
        self.ready, self._stop_asked = threading.Event(), threading.Event()
        self.trouble = ""
        self._url = url
        self._token: Any = None

    def run(self) -> None:
        while not self._stop_asked.is_set():
            try:
                self._listen()
            except PyMongoError as exc:
                self.trouble = str(exc)
                self._stop_asked.wait(0.1)

    def _listen(self) -> None:
        options = {"serverSelectionTimeoutMS": 1000, "socketTimeoutMS": 5000, "tz_aware": True}
        with MongoClient(self._url, **options) as client:
            place = {"resume_after": self._token} if self._token else {}
            with client[database_name]["cases"].watch(max_await_time_ms=300, **place) as stream:
                self.ready.set()
                while not self._stop_asked.is_set():
                    change = stream.try_next()
                    if change is not None:
                        self._take(change)
                    self._token = stream.resume_token or self._token

    def _take(self, change: dict[str, Any]) -> None:
        history = self.histories.setdefault(str(change["documentKey"]["_id"]), [])
        kind = change["operationType"]
        if kind == "delete":
            document = None
        elif kind == "update":
            document = apply(history[-1].document, change["updateDescription"])
        else:
            document = change["fullDocument"]
        history.append(Change(time.monotonic(), document))

    def stop(self) -> None:
        self._stop_asked.set()
        self.join(15)
