"""``gridcompute serve``: a MongoDB for a team that has none, in a folder of this computer, until it is told to end."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import secrets
import sys
import threading
from pathlib import Path

from gridcompute import clock, config
from gridcompute.commands.signals import stop_on_signals
from gridcompute.errors import DatabaseError, MongodError, UsageError, VersionRefused
from gridcompute.grid.database import Database
from gridcompute.grid.settings import Settings
from gridcompute.machine.home import Home
from gridcompute.machine.mongod import PrivateMongod

log = logging.getLogger(__name__)

_looks_apart = 0.5  # seconds between two looks whether the server still runs
_restart_pauses = (1.0, 30.0)  # seconds: the first pause before a server that ended unasked is started again, the last


def run(*, data: str | None, host: str, port: int, user_group: str, password: str, home: Home) -> int:
    """Run the server until SIGTERM or Ctrl+C; the command's exit code. MongodError: it could not be started."""
    if not user_group.strip() or not password.strip():
        raise UsageError("--user-group and --password must not be empty: whoever knows them may use the grid.")
    folder = Path(data).expanduser().absolute() if data else home.path / "mongodb"
    server = PrivateMongod(folder, host, port, user_group=user_group, password=password)
    login = RememberedLogin(folder / "team.json")
    changes = login.changes(user_group, password)
    with stop_on_signals() as stop:
        try:
            server.start()
            if stop.is_set():
                return 0
            for sentence in changes:
                print(sentence)
            login.remember(user_group, password)
            _allow_this_version(server)
            _say_how_to_use(server)
            _watch(server, stop)
        finally:
            server.stop()
    print("MongoDB has ended.", flush=True)
    return 0


def _watch(server: PrivateMongod, stop: threading.Event) -> None:
    """Return when told to stop; a server that ended unasked is started again."""
    pauses = clock.Backoff(*_restart_pauses, factor=2.0)
    while not stop.wait(_looks_apart):
        if server.alive:
            continue
        _say_problem(f"MongoDB ended unasked; what it said is in {server.log_path}. It is started again.")
        if stop.wait(pauses.next()):
            return
        try:
            server.start()
            print("MongoDB runs again.", flush=True)
        except MongodError as exc:
            _say_problem(str(exc))


def _say_problem(message: str) -> None:
    log.error("%s", message)
    print(f"gridcompute: {message}", file=sys.stderr, flush=True)


def _say_how_to_use(server: PrivateMongod) -> None:
    print(f"MongoDB runs on port {server.port}; its files are in {server.data}")
    if server.team_address == server.address:
        print(f"Only this computer reaches it, at {server.address}: name a host with --host for others.")
    else:
        print(f"This computer reaches it at {server.address}, other computers at {server.team_address}")
    print("settings.txt of a grid on it:")
    print(f"  mongodb server: {server.team_address}")
    print(f"  user group: {server.user_group}")
    print("  password: the one given here")
    print("  instance: 0")
    print("A new grid on it:")
    print(
        f"  gridcompute init FOLDER --mongodb-server {server.team_address} "
        f'--user-group "{server.user_group}" --password PASSWORD'
    )
    print("It runs until this program ends (Ctrl+C or SIGTERM).", flush=True)


def _allow_this_version(server: PrivateMongod) -> None:
    """Let a new database control the versions: this one is allowed. A collection that is there is the administrator's.

    Whether it can be done or not, the server goes on.
    """
    settings = Settings(server.address, server.user_group, server.password, "0")
    database = Database(settings)
    try:
        if not database.versions():
            database.set_versions([{"_id": config.version, "status": "allowed"}])
        database.check_version()
    except VersionRefused as exc:
        _say_problem(str(exc))
    except DatabaseError as exc:
        log.warning("The collection 'versions' could not be set up: %s", exc)
    finally:
        database.close()


class RememberedLogin:
    """The user group and the hash of the password of the last run, kept to say when they are others now."""

    def __init__(self, path: Path):
        self.path = path

    def changes(self, user_group: str, password: str) -> list[str]:
        """What to tell the administrator of a user group or password that differs from the last run's."""
        before = self._read()
        if before is None:
            return []
        group = before["user group"]
        if group != user_group:
            return [
                f"The user group is '{user_group}' now, it was '{group}' before. Both may use the database, and each "
                f"sees its own cases alone: settings.txt of a grid of '{group}' stays as it is."
            ]
        if not hmac.compare_digest(_hash(password, before["salt"]), before["hash"]):
            return [
                f"The password of '{user_group}' is another than before, and the old one is no longer taken: write the "
                "new one into settings.txt of every grid on this database."
            ]
        return []

    def remember(self, user_group: str, password: str) -> None:
        """Keep them for the next run; a folder that takes no more is MongoDB's to complain about."""
        salt = secrets.token_hex(16)
        text = json.dumps({"user group": user_group, "salt": salt, "hash": _hash(password, salt)})
        with contextlib.suppress(OSError):
            self.path.touch(mode=0o600)
            self.path.write_text(text, encoding="utf-8")

    def _read(self) -> dict[str, str] | None:
        try:
            before = json.loads(self.path.read_text(encoding="utf-8"))
            return {name: str(before[name]) for name in ("user group", "salt", "hash")}
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _hash(password: str, salt: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), 100_000).hex()
