"""Ports of this computer that a server may listen on."""

from __future__ import annotations

import contextlib
import os
import random
import socket

from gridcompute.errors import MongodError

_first_port, _last_port = 20000, 32000  # below the ports that systems hand out for outgoing connections


def is_free(port: int) -> bool:
    """Whether no program of this computer listens at `port`; one may begin a moment later."""
    with socket.socket() as probe:
        if os.name == "posix":  # a port whose last connection has just ended is free; on Windows this would mean more
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
        return True


def free_port(host: str = "127.0.0.1") -> int:
    """A port that is free now; another program may take it a moment later, so be ready to ask again."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(200):
        port = random.randrange(_first_port, _last_port)
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port
    raise MongodError(
        f"No free port between {_first_port} and {_last_port} on {host}: close programs that listen there."
    )
