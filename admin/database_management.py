"""Administrator functions for the database: which versions of the program may use it, which code the computers of a
grid may run, and a database made empty.

Two ways to run it, with Python 3.10 or newer, from a clone of the source:

- Edit the variables under ``if __name__ == "__main__":`` and run the script.
- Give arguments: ``python admin/database_management.py --mongodb-server H:P --user-group G --list``; ``--help`` tells
  all of them.

The user needs the role readWrite in the database *gridcompute*, no more. Cases are never removed unless you say so:
by ``--remove-cases`` or by answering the script's question with ``yes``.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone that is not installed

try:
    from gridcompute import config
    from gridcompute.errors import GridComputeError, UsageError
    from gridcompute.grid import pins
    from gridcompute.grid.database import Database
    from gridcompute.grid.settings import Settings
except ModuleNotFoundError as exc:
    sys.exit(f"This script needs the Python package '{exc.name}'. Install it: python -m pip install {exc.name}")

STATUSES = ("allowed", "warning", "refused")


def set_up_mongodb_server(
    mongodb_server: str,
    login: str,
    password: str,
    versions: Iterable[Mapping[str, Any]],
    *,
    remove_cases: bool = False,
    ask: Callable[[str], str] | None = None,
) -> None:
    """Set up the database *gridcompute* on a server: its versions are those of `versions`, its other collections empty,
    but for the pins of applications.

    `versions` holds a dictionary for each version that the database recognizes: ``_id`` is its number, ``status`` is
    "allowed", "warning" or "refused", ``message`` is shown when the status is not "allowed". Every other version is
    refused.

    Where there are cases, everything is kept but the versions, unless `remove_cases` is true or `ask`, called with a
    question, returns "yes". Raises the errors of `gridcompute.errors`; `UsageError` for a version that is none.
    """
    entries = [checked_version(entry) for entry in versions]
    with closing(connect(mongodb_server, login, password)) as database:
        if may_empty(database, remove_cases, ask):
            database.remove_all()
            print("The database is empty now.")
        database.set_versions(entries)
        print_versions(database)


def connect(mongodb_server: str, login: str, password: str, instance: str = "0") -> Database:
    """The database on that server, which has answered."""
    database = Database(Settings(mongodb_server, login, password, instance=instance))
    try:
        database.ping()
    except GridComputeError:
        database.close()
        raise
    return database


def checked_version(entry: Mapping[str, Any]) -> dict[str, str]:
    """An entry of the collection *versions* as it is written; UsageError says what is wrong with it."""
    version, status = str(entry.get("_id") or "").strip(), str(entry.get("status") or "")
    message = str(entry.get("message") or "").strip()
    if not version:
        raise UsageError(f"The version {dict(entry)!r} has no '_id'. Write its number, such as '{config.version}'.")
    if status not in STATUSES:
        raise UsageError(f"Version {version} has the status '{status}'. Write one of: {', '.join(STATUSES)}.")
    return {"_id": version, "status": status, **({"message": message} if message else {})}


def may_empty(database: Database, remove_cases: bool, ask: Callable[[str], str] | None) -> bool:
    """Whether everything in the database may be removed: it has no cases, or the administrator says so."""
    number = database.count_cases()
    if not number or remove_cases:
        return True
    cases = f"The database at {database.settings.mongodb_server} holds {number:,} cases of all user groups."
    if ask is not None and ask(f"{cases} Remove them for ever? Type yes: ").strip().lower() == "yes":
        return True
    print(f"{cases} They are kept: only the versions are written. To remove them, use --remove-cases.")
    return False


def ask_at_terminal() -> Callable[[str], str] | None:
    """The way to ask the person at the terminal; None where there is none."""
    return input if sys.stdin is not None and sys.stdin.isatty() else None


def print_versions(database: Database) -> None:
    """Print each version that the database recognizes."""
    versions = database.versions()
    if not versions:
        print("The database has no versions: any version of the program may use it, with a warning.")
    for entry in versions:
        message = f"  {entry['message']}" if entry.get("message") else ""
        print(f"{entry['_id']:12}  {entry.get('status', '?'):8}{message}".rstrip())


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments say; 0 done, 2 wrong use or a database that cannot be reached."""
    options = parse(arguments)
    entries = [{"_id": version, "status": "allowed"} for version in options.allow]
    for status, given in (("warning", options.warn), ("refused", options.refuse)):
        entries += [{"_id": version, "status": status, "message": message} for version, message in given]
    try:
        password = options.password or os.environ.get(config.environment_password) or ask_for_password()
        checked = [checked_version(entry) for entry in entries]
        with closing(connect(options.mongodb_server, options.user_group, password, options.instance)) as database:
            if options.remove_cases:
                remove_cases(database)
            for entry in checked:
                database.put_version(entry)
            change_pins(database, options)
            print_versions(database)
            print_pins(database)
    except GridComputeError as exc:
        return complain(str(exc))
    except KeyboardInterrupt:
        return complain("stopped")
    return 0


def ask_for_password() -> str:
    """The password that the person at the terminal types; `UsageError` where there is none."""
    if ask_at_terminal() is None:
        raise UsageError(
            "The password of the user group is missing. Give it by --password, or by the variable "
            f"{config.environment_password}."
        )
    return getpass.getpass("Password of the user group: ")


def change_pins(database: Database, options: argparse.Namespace) -> None:
    """Pin and unpin what the arguments say; `UsageError` for a folder that is no application's, before any change."""
    pinned = [(folder.resolve().name, checked_digests(folder)) for folder in options.pin]
    known = database.pins()
    for name in options.unpin:
        if name not in known:
            raise UsageError(f"The application '{name}' is not pinned. --list shows those that are.")
    for name in known if options.unpin_all else options.unpin:
        database.unpin(name)
        print(f"The application '{name}' is no longer pinned.")
    for name, found in pinned:
        database.pin(name, found)


def checked_digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of the application in `folder`."""
    try:
        found = pins.digests(folder)
    except OSError as exc:
        raise UsageError(f"Cannot read the application in {folder}: {exc.strerror or exc}.") from exc
    if not {"send.py", "process.py", "receive.py"} & found.keys():
        raise UsageError(f"There is no application in {folder}: name its folder in Settings/Applications.")
    return found


def print_pins(database: Database) -> None:
    """Print what is pinned, a line for each file; nothing where nothing is."""
    for application, files in sorted(database.pins().items()):
        for path, digest in files.items():
            print(f"pinned  {digest}  {application}/{path}")


def remove_cases(database: Database) -> None:
    """Remove all cases of all user groups; the versions stay as they are."""
    number, versions = database.count_cases(), database.versions()
    database.remove_all()
    if versions:
        database.set_versions(versions)
    print(f"{number:,} cases are removed. What they left in Cases and Results of the shared folder may be deleted.")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--mongodb-server", required=True, metavar="H:P", help="host:port, or a mongodb:// address")
    parser.add_argument("--user-group", "--login", required=True, metavar="G")
    parser.add_argument("--password", metavar="P", help="or in GRIDCOMPUTE_PASSWORD; else asked for")
    parser.add_argument("--allow", action="append", default=[], metavar="V", help="allow this version")
    two = {"action": "append", "default": [], "nargs": 2, "metavar": ("V", "MESSAGE")}
    parser.add_argument("--warn", **two, help="allow this version with a message")
    parser.add_argument("--refuse", **two, help="refuse this version with a message")
    parser.add_argument("--remove-cases", action="store_true", help="remove all cases of all user groups for ever")
    parser.add_argument(
        "--instance", default="0", metavar="I", help="of the grid whose applications are pinned (default: 0)"
    )
    parser.add_argument(
        "--pin",
        action="append",
        default=[],
        type=Path,
        metavar="FOLDER",
        help="run an application only as it is in FOLDER",
    )
    parser.add_argument(
        "--unpin",
        action="append",
        default=[],
        metavar="APP",
        help="forget its pin: it is refused while others have one",
    )
    parser.add_argument("--unpin-all", action="store_true", help="let every computer run what lies on the share")
    parser.add_argument("--list", action="store_true", help="print versions and pins; done in any case")
    return parser.parse_args(arguments)


def complain(message: str) -> int:
    print(f"database_management: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    # Edit these variables and run the script, or give arguments.
    mongodb_server = "localhost:27017"
    login = "Group1"
    password = "gridcompute"
    versions = [
        {"_id": config.version, "status": "allowed"},
        # {"_id": "0.2", "status": "warning", "message": "An old version: install the new one soon."},
        # {"_id": "0.1", "status": "refused", "message": "Too old: install the new one."},
    ]

    if len(sys.argv) > 1:
        sys.exit(main(sys.argv[1:]))
    try:
        set_up_mongodb_server(mongodb_server, login, password, versions, ask=ask_at_terminal())
    except GridComputeError as exc:
        sys.exit(complain(str(exc)))
    except KeyboardInterrupt:
        sys.exit(complain("stopped; nothing was changed"))
