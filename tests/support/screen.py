"""A screen in memory with a window manager, a mouse and a keyboard, and the program's window on it."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support.grids import command_environment
from tests.support.services import missing
from tests.support.waiting import wait_for

driver = Path(__file__).parents[1] / "window" / "driver.py"
pictures = Path(__file__).parents[2] / "docs" / "pictures"
keep_pictures = "GRIDCOMPUTE_PICTURES"
"""Variable: set, the pictures that tests take replace those of the documentation."""


class Screen:
    """Xvfb with openbox; `width` and `height` in pixels, `dpi` as a real screen would tell."""

    def __init__(self, width: int = 1280, height: int = 900, dpi: int = 96):
        for program in ("Xvfb", "xdotool", "openbox"):
            if shutil.which(program) is None:
                missing(f"{program} is not installed: apt-get install xvfb xdotool openbox")
        reading, writing = os.pipe()
        self._server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(writing), "-screen", "0", f"{width}x{height}x24", "-dpi", str(dpi)]
            + ["-nolisten", "tcp"],
            pass_fds=[writing],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(writing)
        with os.fdopen(reading) as file:
            self.display = f":{file.readline().strip()}"
        self._start_manager()

    def _start_manager(self) -> None:
        """Start openbox and wait until it manages windows: one that is shown while it takes over may never be seen."""
        with tempfile.TemporaryDirectory() as folder:
            ready = Path(folder) / "ready"
            self._manager = subprocess.Popen(
                ["openbox", "--startup", f"touch {shlex.quote(str(ready))}"],
                env={**os.environ, "DISPLAY": self.display},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                wait_for(ready.exists, 60, "the window manager")
            except AssertionError:
                self.close()
                raise

    def close(self) -> None:
        for process in (self._manager, self._server):
            process.terminate()
            process.wait(10)

    def do(self, *arguments: str | float) -> str:
        """Run xdotool."""
        done = subprocess.run(
            ["xdotool", *map(str, arguments)],
            env={**os.environ, "DISPLAY": self.display},
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        return done.stdout.strip()

    def click(self, x: float, y: float, button: int = 1, *, times: int = 1, keys: str = "") -> None:
        """Move the mouse there and press it, with a key such as ``ctrl`` held down."""
        held = ["keydown", keys] if keys else []
        freed = ["keyup", keys] if keys else []
        press = ["click", "--repeat", times, "--delay", 60, button]
        self.do("mousemove", round(x), round(y), "sleep", 0.05, *held, *press, *freed)

    def drag(self, begin: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at `begin`, move it to `end` in steps, as a hand does, and let go."""
        steps = 8
        moves: list[str | float] = []
        for step in range(1, steps + 1):
            x, y = (round(a + (b - a) * step / steps) for a, b in zip(begin, end, strict=True))
            moves += ["mousemove", x, y, "sleep", 0.04]
        self.do("mousemove", *map(round, begin), "sleep", 0.1, "mousedown", 1, "sleep", 0.1, *moves, "sleep", 0.3)
        self.do("mouseup", 1)

    def key(self, *names: str) -> None:
        self.do("key", "--delay", 30, *names)

    def type(self, text: str) -> None:
        self.do("type", "--delay", 8, text)

    def picture(self, path: Path, place: tuple[int, int, int, int] | None = None) -> None:
        """Save what is on the screen, or at `place`: left, upper, right and lower edge."""
        from PIL import ImageGrab

        path.parent.mkdir(parents=True, exist_ok=True)
        ImageGrab.grab(xdisplay=self.display).crop(place).save(path, optimize=True)


class Window:
    """The program's window in a process of its own, driven by mouse and keyboard."""

    def __init__(self, screen: Screen, folder: Path, *arguments: str, home: Path, **environ: str):
        self.screen, self.home = screen, home
        folder.mkdir(parents=True, exist_ok=True)
        self._map = folder / f"map-{time.monotonic_ns()}.json"
        self._output = (folder / "window.txt").open("w")
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, str(driver), str(self._map), *arguments],
            env={**command_environment(home), "DISPLAY": screen.display, **environ},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    # What is on it.

    def look(self) -> dict[str, Any]:
        """The widgets as they were a moment ago; empty before the first picture."""
        try:
            return json.loads(self._map.read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return {}

    def settled(self) -> dict[str, Any]:
        """The widgets once they stand still: two looks in a row have them in the same places, with the same needs."""
        return self.wait_for(self._same_look_again, "widgets that stand still")

    def _same_look_again(self) -> dict[str, Any] | None:
        before = self.look()
        after = wait_for(lambda: (look := self.look()).get("number", 0) > before.get("number", 0) and look, 20)
        return after if self._places(before) == self._places(after) else None

    @staticmethod
    def _places(look: dict[str, Any]) -> dict[str, Any]:
        return {
            path: [one.get(key) for key in ("x", "y", "w", "h", "needs")]
            for path, one in look.items()
            if isinstance(one, dict)
        }

    def find(self, name: str) -> dict[str, Any] | None:
        """The visible widget whose path ends so."""
        return next((one for path, one in self.look().items() if path.endswith(f".{name}")), None)

    def widget(self, name: str, timeout: float = 20.0) -> dict[str, Any]:
        return wait_for(lambda: self.find(name), timeout, lambda: f"a widget {name}; there are {sorted(self.look())}")

    def text(self, name: str) -> str:
        found = self.find(name) or {}
        return found.get("value") or found.get("text") or ""

    def rows(self, table: str) -> list[list[str]]:
        """The visible cells of a list."""
        return [row["values"] for row in (self.find(f"{table}.tree") or {}).get("rows", [])]

    def wait_for(self, condition: Callable[[], Any], what: str, timeout: float = 30.0) -> Any:
        try:
            return wait_for(condition, timeout, lambda: f"{what}; log:\n{self.log_end()}")
        except AssertionError:
            self.screen.picture(self._map.parent / "failed.png")
            raise

    def wait_ready(self, timeout: float = 40.0) -> None:
        """Until the window is filled; what it then has to say of the grid, such as its versions, is put aside."""
        self.wait_for(lambda: self.look().get("phase") == "ready" and self.find("send.buttons.add"), "filled", timeout)
        while self.find("notice.dismiss"):  # it may move while the window is being filled
            self.press("notice.dismiss")
            with contextlib.suppress(AssertionError):
                wait_for(lambda: not self.find("notice.dismiss"), 2)

    def log_end(self, lines: int = 25) -> str:
        with contextlib.suppress(OSError):
            return "\n".join((self.home / "gridcompute.log").read_text("utf-8").splitlines()[-lines:])
        return ""

    @property
    def title(self) -> str:
        return self.look().get("title", "")

    # What a person does.

    def press(self, name: str, *, times: int = 1) -> None:
        """Click in the middle of a widget, when it is enabled."""
        found = self.wait_for(
            lambda: (one := self.find(name)) and one.get("state") != "disabled" and one, f"an enabled {name}"
        )
        self.screen.click(found["x"] + found["w"] / 2, found["y"] + found["h"] / 2, times=times)

    def _place_of(self, table: str, number: int) -> list[int] | None:
        """Where a row stands; None while there is none, or the list is not laid out yet."""
        rows = (self.find(f"{table}.tree") or {}).get("rows", [])
        return rows[number]["place"] if number < len(rows) else None

    def press_row(self, table: str, number: int, *, times: int = 1, button: int = 1, keys: str = "") -> None:
        """Click on a row; a plain click again where the list moved meanwhile, as it does below a new message."""
        for _ in range(3):
            place = self.wait_for(lambda: self._place_of(table, number), f"row {number} of {table}")
            self.screen.click(place[0] + 60, place[1] + place[3] / 2, button, times=times, keys=keys)
            if keys or button != 1 or times != 1:
                return
            with contextlib.suppress(AssertionError):
                wait_for(lambda: (self.find(f"{table}.tree") or {}).get("selected") == [number], 3)
                return
        raise AssertionError(f"row {number} of {table} can't be selected")

    def press_heading(self, table: str, column: int) -> None:
        tree = self.widget(f"{table}.tree")
        self.screen.click(tree["x"] + column, tree["y"] + 12)

    def open_tab(self, title: str) -> None:
        for _ in range(3):  # a tab moves when the number in another one changes
            book = self.widget("book")
            number = next(place for place, text in enumerate(book["tabs"]) if text.startswith(title))
            self.screen.click(*book["places"][number])
            with contextlib.suppress(AssertionError):
                wait_for(lambda number=number: (self.find("book") or {}).get("shown") == number, 5)
                return
        raise AssertionError(f"the tab {title} does not open")

    def keys(self, *names: str) -> None:
        """Press keys as soon as a window of the program has the keyboard: one that is just gone gave it to nobody."""
        self.wait_for(lambda: self.look().get("keyboard"), "a window that has the keyboard")
        self.screen.key(*names)

    def choose_files(self, *paths: Path) -> None:
        """Answer the file dialog by typing the names, as a person may."""
        text = " ".join(f'"{path}"' for path in paths) if len(paths) > 1 else str(paths[0])
        for _ in range(3):  # the dialog may take the keyboard a moment after it is seen
            entry = self.wait_for(self._still_entry, "a file dialog that stands still")
            self.screen.click(entry["x"] + entry["w"] / 2, entry["y"] + entry["h"] / 2)
            self.screen.key("End", "shift+Home", "Delete")
            self.screen.type(text)
            with contextlib.suppress(AssertionError):
                wait_for(lambda: (self._dialog_entry() or {}).get("value") == text, 5)
                break
        self.screen.key("Return")
        with contextlib.suppress(AssertionError):
            wait_for(lambda: self._dialog_entry() is None, 3)
            return
        self.screen.key("Return")  # of a folder: the first went there, the second takes it
        self.wait_for(lambda: self._dialog_entry() is None, "the dialog gone")

    def _still_entry(self) -> dict[str, Any] | None:
        """The entry of a file dialog whose place is the same a moment later: the window manager moves a new one."""
        before = self._dialog_entry()
        time.sleep(0.4)
        after = self._dialog_entry()
        return after if before and after and all(before[key] == after[key] for key in "xywh") else None

    def _dialog_entry(self) -> dict[str, Any] | None:
        names = ("__tk_filedialog", "__tk_choosedir")
        entries = (
            one for path, one in self.look().items() if any(name in path for name in names) and path.endswith(".ent")
        )
        return next(entries, None)

    def picture(self, name: str) -> None:
        """Keep what is on the screen, for the documentation if that is asked for."""
        time.sleep(0.25)  # the drawing that follows the last event, not a result
        folder = pictures if os.environ.get(keep_pictures) else self._map.parent / "pictures"
        told = self.screen.do("getwindowgeometry", "--shell", self.look()["frame"])
        place = dict(line.split("=") for line in told.splitlines())
        left, upper, width, height = (int(place[key]) for key in ("X", "Y", "WIDTH", "HEIGHT"))
        self.screen.picture(folder / f"{name}.png", (left, upper, left + width, upper + height))

    # Its end.

    def wait_end(self, timeout: float = 25.0) -> int:
        code = self.process.wait(timeout)
        self._output.close()
        return code

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait_end()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        self._output.close()


@contextlib.contextmanager
def screen(**options: int) -> Iterator[Screen]:
    made = Screen(**options)
    try:
        yield made
    finally:
        made.close()
