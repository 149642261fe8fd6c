"""When this computer lends itself: rules that a person sets once, and what the computer says of the moment."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import functools
import os
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import datetime, time
from typing import Any

import psutil

_clock_time = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True)
class Rules:
    """When cases of the grid may run here; the defaults always allow it."""

    away_minutes: float = 0.0  # only while nobody touched mouse or keyboard for so long; 0: also while somebody does
    begin: str = ""  # local time HH:MM; with `end`, only between the two, over midnight where begin is the later one
    end: str = ""
    not_on_battery: bool = False
    memory_left: int = 0  # bytes that must stay free for a case to be taken; what runs goes on

    @classmethod
    def of(cls, values: Any) -> Rules:
        """Rules from what preferences or orders hold; what can't be used counts as not set."""
        found: dict[str, Any] = {}
        if isinstance(values, dict):
            for name, kind in (("away_minutes", float), ("memory_left", int), ("not_on_battery", bool)):
                with contextlib.suppress(TypeError, ValueError):
                    found[name] = max(kind(values.get(name) or 0), kind(0))
            times = {name: str(values.get(name) or "").strip() for name in ("begin", "end")}
            if all(_clock_time.fullmatch(text) for text in times.values()) and times["begin"] != times["end"]:
                found |= times
        return cls(**found)

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def any(self) -> bool:
        return self != Rules()

    def words(self) -> str:
        """What is set, for a label; empty if nothing."""
        parts = []
        if self.away_minutes:
            parts.append(f"away for {self.away_minutes:g} min")
        if self.begin:
            parts.append(f"{self.begin} to {self.end}")
        if self.not_on_battery:
            parts.append("not on battery")
        if self.memory_left:
            parts.append(f"{self.memory_left / 1e9:g} GB left")
        return ", ".join(parts)

    def why_rest(self, now: datetime, idle: float | None, on_battery: bool) -> str:
        """Why nothing may run at the local moment `now`, empty if it may; `idle` in seconds, None for unknown."""
        if self.begin and not _between(now.time(), _time(self.begin), _time(self.end)):
            return f"your rule lends from {self.begin} to {self.end} only."
        if self.not_on_battery and on_battery:
            return "your rule lends nothing on battery."
        if self.away_minutes and idle is None:
            return "your rule lends only while you are away, which this desktop does not tell."
        if self.away_minutes and idle is not None and idle < 60 * self.away_minutes:
            minutes = "1 minute" if self.away_minutes == 1 else f"{self.away_minutes:g} minutes"
            return f"you are at the computer; your rule lends after {minutes} away."
        return ""

    def why_not_take(self, available: int) -> str:
        """Why no further case may be taken with so many bytes of memory available."""
        if self.memory_left and available < self.memory_left:
            return f"{available / 1e9:.1f} GB of memory are free; your rule leaves {self.memory_left / 1e9:g} GB."
        return ""


def why_rest_now(rules: Rules) -> str:
    """`Rules.why_rest` for this computer, now."""
    idle = idle_seconds() if rules.away_minutes else None
    return rules.why_rest(datetime.now().astimezone(), idle, rules.not_on_battery and on_battery())


def why_not_take_now(rules: Rules) -> str:
    return rules.why_not_take(psutil.virtual_memory().available) if rules.memory_left else ""


def _time(text: str) -> time:
    hour, minute = text.split(":")
    return time(int(hour), int(minute))


def _between(now: time, begin: time, end: time) -> bool:
    return begin <= now < end if begin < end else now >= begin or now < end


def on_battery() -> bool:
    """Whether a battery alone feeds this computer; no battery means no."""
    try:
        battery = psutil.sensors_battery()
    except (AttributeError, OSError, RuntimeError):
        return False
    return battery is not None and battery.power_plugged is False


def idle_seconds() -> float | None:
    """Seconds since mouse or keyboard were touched; None where the desktop does not tell."""
    if sys.platform == "win32":
        return _windows_idle()
    if sys.platform == "darwin":
        return _mac_idle()
    return _x11_idle()


def _windows_idle() -> float | None:
    if sys.platform != "win32":
        return None

    class LastInput(ctypes.Structure):
        _fields_ = [("size", ctypes.c_uint), ("ticks", ctypes.c_uint)]

    last = LastInput(ctypes.sizeof(LastInput), 0)
    if not ctypes.windll.user32.GetLastInputInfo(ctypes.byref(last)):
        return None
    return ((ctypes.windll.kernel32.GetTickCount() - last.ticks) & 0xFFFFFFFF) / 1000


def _mac_idle() -> float | None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(["ioreg", "-c", "IOHIDSystem"], capture_output=True, text=True, timeout=5, check=False)
        found = re.search(r'"HIDIdleTime" = (\d+)', done.stdout)
        return int(found[1]) / 1e9 if found else None
    return None


class _ScreenSaverInfo(ctypes.Structure):
    _fields_ = [
        ("window", ctypes.c_ulong),
        ("state", ctypes.c_int),
        ("kind", ctypes.c_int),
        ("since", ctypes.c_ulong),
        ("idle", ctypes.c_ulong),  # milliseconds
        ("event_mask", ctypes.c_ulong),
    ]


@functools.lru_cache(maxsize=1)
def _x11() -> tuple[Any, Any, int] | None:
    """Xlib, its extension for screen savers, and a display that stays open; None without them."""
    names = ctypes.util.find_library("X11"), ctypes.util.find_library("Xss")
    if not all(names) or not os.environ.get("DISPLAY"):
        return None
    try:
        x11, xss = (ctypes.CDLL(name) for name in names)
    except OSError:
        return None
    x11.XOpenDisplay.restype = x11.XDefaultRootWindow.restype = ctypes.c_void_p
    x11.XDefaultRootWindow.argtypes = [ctypes.c_void_p]
    xss.XScreenSaverQueryInfo.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(_ScreenSaverInfo)]
    display = x11.XOpenDisplay(None)
    return (x11, xss, display) if display else None


def _x11_idle() -> float | None:
    found = _x11()
    if found is None:
        return None
    x11, xss, display = found
    info = _ScreenSaverInfo()
    if not xss.XScreenSaverQueryInfo(display, x11.XDefaultRootWindow(display), ctypes.byref(info)):
        return None
    return info.idle / 1000
