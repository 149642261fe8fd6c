"""This computer's desktop: light or dark, notifications, opening folders and files.

Every function may be slow, so it is called beside an event loop, and none raises for a desktop that lacks the thing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

from gridcompute.errors import UsageError

log = logging.getLogger(__name__)

_patience = 3.0  # seconds that a desktop's own command may take


def _ask(*command: str) -> str:
    """What a command of the desktop prints; empty where there is none or it fails."""
    if shutil.which(command[0]) is None:
        return ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=_patience, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""
    return ""


def prefers_dark() -> bool:
    """Whether the desktop is set to dark; light where it does not say."""
    if sys.platform == "win32":
        return _windows_prefers_dark()
    if sys.platform == "darwin":
        return _ask("defaults", "read", "-g", "AppleInterfaceStyle") == "Dark"
    scheme = _ask("gsettings", "get", "org.gnome.desktop.interface", "color-scheme")
    theme = _ask("gsettings", "get", "org.gnome.desktop.interface", "gtk-theme") or os.environ.get("GTK_THEME", "")
    return "dark" in scheme.casefold() or (not scheme and "dark" in theme.casefold())


def _windows_prefers_dark() -> bool:
    if sys.platform != "win32":
        return False
    import winreg

    with contextlib.suppress(OSError):
        path = r"Software\Microsoft\Windows\CurrentVersion\Themes\Personalize"
        with winreg.OpenKey(winreg.HKEY_CURRENT_USER, path) as key:
            return winreg.QueryValueEx(key, "AppsUseLightTheme")[0] == 0
    return False


def notify(title: str, text: str) -> None:
    """Show a notification of the desktop, where it has a way for it."""
    if sys.platform == "darwin":
        script = "on run argv\ndisplay notification (item 2 of argv) with title (item 1 of argv)\nend run"
        _ask("osascript", "-e", script, title, text)
    elif sys.platform == "win32":
        _toast(title, text)
    else:
        _ask("notify-send", "--app-name", title, title, text)


_toast_script = """
$null = [Windows.UI.Notifications.ToastNotificationManager, Windows.UI.Notifications, ContentType = WindowsRuntime]
$manager = [Windows.UI.Notifications.ToastNotificationManager]
$content = $manager::GetTemplateContent([Windows.UI.Notifications.ToastTemplateType]::ToastText02)
$texts = $content.GetElementsByTagName('text')
$null = $texts.Item(0).AppendChild($content.CreateTextNode($env:GRIDCOMPUTE_TITLE))
$null = $texts.Item(1).AppendChild($content.CreateTextNode($env:GRIDCOMPUTE_TEXT))
$shown_as = '{1AC14E77-02E7-4E5D-B744-2EB1AE5198B7}\\WindowsPowerShell\\v1.0\\powershell.exe'
$manager::CreateToastNotifier($shown_as).Show([Windows.UI.Notifications.ToastNotification]::new($content))
"""
"""A notification of Windows 10 and newer; it is shown for PowerShell, since ours is no registered program."""


def _toast(title: str, text: str) -> subprocess.Popen[bytes] | None:
    """Begin to show a notification of Windows; PowerShell, which is returned, takes seconds that nobody waits for."""
    program = shutil.which("powershell")
    if program is None:
        return None
    try:
        return subprocess.Popen(
            [program, "-NoProfile", "-NonInteractive", "-Command", _toast_script],
            env={**os.environ, "GRIDCOMPUTE_TITLE": title, "GRIDCOMPUTE_TEXT": text},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except OSError as exc:
        log.info("No notification could be shown: %s", exc)
        return None


def open_folder(folder: Path) -> None:
    """Show a folder in the desktop's file manager; `UsageError` where there is no folder or no way to show it."""
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder} yet: it is made when the first case needs it.")
    _open(folder)


def open_file(file: Path) -> None:
    """Open a file with the program that the desktop has for it."""
    if not file.is_file():
        raise UsageError(f"There is no file {file}.")
    _open(file)


def _open(path: Path) -> None:
    if sys.platform == "win32":
        os.startfile(path)
        return
    opener = "open" if sys.platform == "darwin" else "xdg-open"
    program = shutil.which(opener)
    if program is None:
        raise UsageError(f"This desktop has no {opener} to show it: look at {path}.")
    subprocess.Popen(
        [program, str(path)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
