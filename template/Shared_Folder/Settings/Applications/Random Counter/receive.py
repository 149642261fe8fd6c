"""Random Counter: adds the line of a case to gridcompute_output.txt in the home folder of who submitted it."""

import os
from pathlib import Path

OUTPUT_NAME = "gridcompute_output.txt"


def receive_case(output_files):
    """Append the lines of the output file."""
    append(Path.home() / OUTPUT_NAME, Path(output_files[0]).read_bytes())


def append(path, lines):
    """Add whole lines to the end of a file; several programs may do so at once and no line is torn."""
    with path.open("ab+") as file:
        _lock(file)
        file.seek(0, os.SEEK_END)
        if file.tell() and not _ends_with_newline(file):
            lines = b"\n" + lines
        file.write(lines)
        file.flush()
        _unlock(file)


def _ends_with_newline(file):
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


# A lock of its own kind on each system: appending alone is not atomic on Windows, nor in a home folder on NFS.
if os.name == "nt":
    import msvcrt

    _FAR = 1 << 30  # Windows forbids others to read a locked byte, so the one locked lies beyond any line

    def _lock(file):
        file.seek(_FAR)
        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)

    def _unlock(file):
        file.seek(_FAR)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file):
        fcntl.flock(file, fcntl.LOCK_EX)

    def _unlock(file):
        fcntl.flock(file, fcntl.LOCK_UN)
