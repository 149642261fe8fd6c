"""Size of the executable and seconds to its first window; ``--readme`` writes them into README.md.

python -m admin.executable.measure [--readme]
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from admin.executable import definition

BEGIN, END = "<!-- executable figures -->", "<!-- end of executable figures -->"
patience = 60.0
"""Seconds after which a window is no longer waited for."""

starts = 3
"""Starts that are measured; the shortest counts, since another program can only make one longer."""

Figures = dict[str, float]


def figures(folder: Path) -> Figures:
    """Size of `folder` in MB (1,000,000 bytes), its number of files, and the seconds where a screen can be had."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    found: Figures = {"folder, MB": sum(path.stat().st_size for path in files) / 1e6, "files": len(files)}
    seconds = first_window(folder)
    if seconds is not None:
        found["first window, s"] = seconds
    return found


def first_window(folder: Path) -> float | None:
    """Seconds from the start of the program to a visible window; None where there are no Xvfb and xdotool."""
    if any(shutil.which(program) is None for program in ("Xvfb", "xdotool")):
        return None
    with _screen() as display:
        return min(_start(folder, display) for _ in range(starts))


def _start(folder: Path, display: str) -> float:
    with tempfile.TemporaryDirectory() as home:
        began = time.monotonic()
        window = subprocess.Popen(
            [folder / definition.window_name],
            env={"DISPLAY": display, "HOME": home, "GRIDCOMPUTE_HOME": home},
            cwd=home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not _is_seen(display):
                if window.poll() is not None or time.monotonic() - began > patience:
                    raise SystemExit(f"The executable in {folder} opened no window; its exit code: {window.poll()}")
                time.sleep(0.02)
            return time.monotonic() - began
        finally:
            window.terminate()
            window.wait(20)


def _is_seen(display: str) -> bool:
    command = ["xdotool", "search", "--onlyvisible", "--name", f"^{definition.window_name}"]
    done = subprocess.run(command, env={**os.environ, "DISPLAY": display}, capture_output=True, check=False)
    return bool(done.stdout.strip())


@contextlib.contextmanager
def _screen() -> Iterator[str]:
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x900x24", "-nolisten", "tcp"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        with os.fdopen(reading) as file:
            yield f":{file.readline().strip()}"
    finally:
        server.terminate()
        server.wait(10)


def show(found: Figures) -> None:
    """Print the figures, one a line."""
    for name, value in found.items():
        print(f"{name:<20} {_text(name, value):>10}")
    if "first window, s" not in found:
        print("The first window was not waited for: that needs Xvfb and xdotool.")


def _text(name: str, value: float) -> str:
    return f"{value:,.0f}" if name == "files" else f"{value:,.1f}"


def write_table(readme: Path, found: Figures) -> None:
    """Put the figures into the README, between their two marks."""
    lines = ["| the executable | value |", "|---|---|", *(f"| {name} | {_text(name, found[name])} |" for name in found)]
    where = f"Printed by `make executable` ({platform.system()} {platform.machine()}, {os.cpu_count()} cores):\n\n"
    text = readme.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    table = where + "\n".join(lines)
    readme.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def main() -> None:
    found = figures(definition.folder)
    for archive in definition.folder.parent.glob("*.run"):
        found["single file, MB"] = archive.stat().st_size / 1e6
    show(found)
    if "--readme" in sys.argv:
        write_table(definition.top / "README.md", found)


if __name__ == "__main__":
    main()
