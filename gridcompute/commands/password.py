"""``gridcompute password``: the user group's password in the keyring of this user."""

from __future__ import annotations

import argparse
import getpass
import sys

from gridcompute.commands.connecting import new_server
from gridcompute.commands.terminal import DONE
from gridcompute.errors import UsageError
from gridcompute.grid import passwords


def run(options: argparse.Namespace) -> int:
    """Keep the password that is typed or piped in, or forget it; returns the exit code."""
    server = new_server(options)
    server.open()
    settings = server.grid_settings
    password = ""
    if not options.forget:
        question = f"Password of the user group '{settings.user_group}': "
        password = getpass.getpass(question) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise UsageError("No password was given. Type it, or pipe it to this command.")
    passwords.keep(settings, password)
    print("The keyring has forgotten the password." if options.forget else "The keyring has the password.")
    return DONE
