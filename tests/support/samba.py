"""A real SMB share on this machine: smbd on a free port of the loopback, mounted with smbnetfs.

Nothing of the system's own Samba is used or changed: configuration, state and log lie in a folder of the test.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.services import missing, need_programs, need_root
from tests.support.waiting import wait_for

_host = "127.0.0.1"

_server_configuration = """
[global]
server role = standalone server
workgroup = WORKGROUP
interfaces = lo
bind interfaces only = yes
smb ports = {port}
disable netbios = yes
server min protocol = SMB2
map to guest = Bad User
guest account = root
load printers = no
disable spoolss = yes
pid directory = {state}
lock directory = {state}
state directory = {state}
cache directory = {state}
private dir = {state}
ncalrpc dir = {state}/ncalrpc
log file = {state}/log
[grid]
path = {folder}
guest ok = yes
read only = no
force user = root
"""

_client_configuration = """
[global]
workgroup = WORKGROUP
client min protocol = SMB2
lock directory = {state}
state directory = {state}
cache directory = {state}
private dir = {state}
"""

_mount_configuration = """
smb_query_browsers "false"
use_libsecret "false"
neg_cache_timeout 100
smb_timeout 2000
max_retry_count 0
include "smbnetfs.auth"
"""


class SambaShare:
    """The folder `work`/exported as a share, which clients see at `mounted`; use it with `with`.

    `take_away` ends the server as a broken network would, `bring_back` starts it again on the same port.
    """

    def __init__(self, work: Path):
        self._smbd, self._smbnetfs, self._fusermount = self._need()
        self._port = _free_port()
        self._state, self._home, self._mount_point = work / "state", work / "home", work / "network"
        self.exported = work / "exported"
        """The folder on the server's side."""
        self.mounted = self._mount_point / f"{_host}:{self._port}" / "grid"
        """The same folder as a client has it mounted."""
        for folder in (self._state, self._home / ".smb", self._mount_point, self.exported):
            folder.mkdir(parents=True)
        self._server: subprocess.Popen[bytes] | None = None
        self._client: subprocess.Popen[bytes] | None = None

    @staticmethod
    def _need() -> list[str]:
        if sys.platform != "linux":
            missing("this test mounts an SMB share in the way of Linux")
        need_root()
        programs = need_programs("smbd", "smbnetfs", "fusermount")
        if not Path("/dev/fuse").exists():
            missing("this system has no /dev/fuse")
        return programs

    def __enter__(self) -> SambaShare:
        try:
            self.bring_back()
            self._mount()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        if self._client is not None:
            subprocess.run([self._fusermount, "-u", "-z", self._mount_point], capture_output=True)
            _end(self._client)
            self._client = None
        self.take_away()

    def bring_back(self) -> None:
        """Start the server and wait until it answers."""
        configuration = self._state / "smb.conf"
        configuration.write_text(
            _server_configuration.format(port=self._port, state=self._state, folder=self.exported), encoding="utf-8"
        )
        command = [self._smbd, "--foreground", "--no-process-group", f"--configfile={configuration}"]
        self._server = self._start(command)
        wait_for(self._answers, message="smbd")

    def take_away(self) -> None:
        """End the server at once, and every connection with it."""
        if self._server is not None:
            _end(self._server, signal.SIGKILL)
            self._server = None

    def _mount(self) -> None:
        settings = self._home / ".smb"
        (settings / "smb.conf").write_text(_client_configuration.format(state=self._state), encoding="utf-8")
        (settings / "smbnetfs.conf").write_text(_mount_configuration, encoding="utf-8")
        (settings / "smbnetfs.auth").write_text('auth "guest" ""\n', encoding="utf-8")
        for file in settings.iterdir():
            file.chmod(0o600)  # smbnetfs reads no other
        self._client = self._start([self._smbnetfs, str(self._mount_point), "-f"], HOME=str(self._home))
        wait_for(self._is_mounted, message="the mounted share")

    def _start(self, command: list[str], **environ: str) -> subprocess.Popen[bytes]:
        with (self._state / "output").open("ab") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **environ},
                start_new_session=True,  # a group of its own: its children end with it
            )

    def _answers(self) -> bool:
        assert self._server is not None
        assert self._server.poll() is None, (self._state / "output").read_text(errors="replace")
        with contextlib.suppress(OSError), socket.create_connection((_host, self._port), timeout=1):
            return True
        return False

    def _is_mounted(self) -> bool:
        with contextlib.suppress(OSError):
            return os.path.ismount(self._mount_point) and os.listdir(self.mounted) is not None  # noqa: PTH208
        return False


@contextlib.contextmanager
def samba_share(work: Path) -> Iterator[SambaShare]:
    """A mounted share whose files lie in `work`; `missing` where the programs are not there."""
    with SambaShare(work) as share:
        yield share


def _end(process: subprocess.Popen[bytes], with_signal: signal.Signals = signal.SIGTERM) -> None:
    """End a process that leads a group, and the group; wait for both."""
    group = process.pid
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, with_signal)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        process.wait(5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _free_port() -> int:
    with socket.create_server((_host, 0)) as server:
        return server.getsockname()[1]
