"""Where the user group's password comes from: settings.txt, a variable of the environment, the system's keyring."""

from __future__ import annotations

import os

from gridcompute import config
from gridcompute.errors import SettingsError
from gridcompute.grid.settings import Settings


def password_of(settings: Settings) -> str:
    """The password: of settings.txt, else of the variable GRIDCOMPUTE_PASSWORD, else of this user's keyring.

    A whole address that names a user has its own. Raises `SettingsError` where there is none.
    """
    if settings.password or "@" in settings.mongodb_server:
        return settings.password
    from_environment = os.environ.get(config.environment_password, "")
    if from_environment:
        return from_environment
    kept, trouble = _from_keyring(settings)
    if kept:
        return kept
    raise SettingsError(
        f"The password of the user group '{settings.user_group}' is missing: settings.txt has none, the variable "
        f"{config.environment_password} is not set, and {trouble}. Run 'gridcompute password', or set that variable."
    )


def place_of_login(settings: Settings) -> str:
    """Where group and password come from, for whoever has to check them."""
    if settings.password:
        return "'user group' and 'password' in settings.txt"
    if "@" in settings.mongodb_server:
        return "user and password in 'mongodb server' in settings.txt"
    if os.environ.get(config.environment_password):
        return f"'user group' in settings.txt and the password in the variable {config.environment_password}"
    return "'user group' in settings.txt and the password in this user's keyring ('gridcompute password' changes it)"


def keep(settings: Settings, password: str) -> None:
    """Write the password into this user's keyring; an empty one is removed. Raises `SettingsError`."""
    try:
        import keyring
        import keyring.errors
    except ImportError as exc:
        raise SettingsError(
            "Cannot use the system's keyring: the Python package 'keyring' is not installed. Run: pip install keyring, "
            f"or set the variable {config.environment_password}."
        ) from exc
    try:
        if password:
            keyring.set_password(config.program_name, _name(settings), password)
        else:
            keyring.delete_password(config.program_name, _name(settings))
    except keyring.errors.PasswordDeleteError as exc:
        raise SettingsError("The system's keyring holds no password of this grid. There is nothing to forget.") from exc
    except Exception as exc:  # each system's keyring has errors of its own
        raise SettingsError(
            f"Cannot use the system's keyring: {_first_sentence(exc)}. Without one set the variable "
            f"{config.environment_password}."
        ) from exc


def _from_keyring(settings: Settings) -> tuple[str, str]:
    """The password in the keyring, or an empty one and why."""
    try:
        import keyring
    except ImportError:
        return "", "the Python package 'keyring' is not installed"
    try:
        found = keyring.get_password(config.program_name, _name(settings))
    except Exception as exc:  # noqa: BLE001 - each system's keyring has errors of its own
        return "", f"the system's keyring can't be asked ({_first_sentence(exc)})"
    return found or "", "the system's keyring holds none"


def _first_sentence(exc: Exception) -> str:
    """What happened; what a package advises to install after that is nothing for whoever has an executable."""
    return str(exc).partition(". ")[0].rstrip(".")


def _name(settings: Settings) -> str:
    return f"{settings.user_group} at {settings.mongodb_server}"
