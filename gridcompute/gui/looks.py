"""How the window looks: theme, fonts, icon, size and place."""

from __future__ import annotations

import contextlib
import logging
import tkinter as tk
from pathlib import Path
from tkinter import font as tkfont
from typing import TYPE_CHECKING

import ttkbootstrap as ttk

from gridcompute import config
from gridcompute.gui.face import Face
from gridcompute.gui.table import cell_padding, linespace, scaled

if TYPE_CHECKING:
    pass


log = logging.getLogger(__name__)

frame_height = 110
"""Units of 1/96 inch that title, menu and the desktop's own bar take of a screen's height."""


class Looks(Face):
    """Makes the root and keeps its looks."""

    _icons: list[tk.PhotoImage]
    _shown_icons: dict[int, tk.PhotoImage]
    theme: tk.StringVar
    size: tk.StringVar

    def _came_to_front(self) -> None:
        raise NotImplementedError

    def _left_front(self, event: tk.Event) -> None:
        raise NotImplementedError

    def _make_root(self) -> ttk.App:
        scaling = self.preferences.get("scaling")
        root = ttk.App(
            title=config.title_windows,
            theme="bootstrap-light",
            light_theme="bootstrap-light",
            dark_theme="bootstrap-dark",
            iconphoto=None,
            scaling=float(scaling) / 100 * 4 / 3 if scaling else None,
        )
        root.withdraw()
        self._set_icon(root)
        root.report_callback_exception = self._callback_failed
        self._make_fonts(root)
        self._quiet_file_dialogs(root)
        self._place(root)
        self.set_theme(self.preferences.get("theme", "system"), root)
        root.protocol("WM_DELETE_WINDOW", self.exit_program)
        root.bind("<FocusIn>", lambda event: self._came_to_front())
        root.bind("<FocusOut>", lambda event: self._left_front(event))
        root.deiconify()
        return root

    def _set_icon(self, root: tk.Tk) -> None:
        """Our own picture for the window and those that come from it."""
        folder = Path(__file__).parent
        with contextlib.suppress(tk.TclError, OSError):  # an installation without its pictures still works
            if str(root.tk.call("tk", "windowingsystem")) == "win32":
                root.iconbitmap(default=str(folder / "icon.ico"))
            else:
                whole = tk.PhotoImage(master=root, file=str(folder / "icon.png"))
                self._icons = [whole, whole.subsample(4), whole.subsample(8)]
                root.iconphoto(True, *self._icons)

    def icon(self, units: int) -> tk.PhotoImage | None:
        """Our picture, about `units` of 1/96 inch wide; None where the installation lacks it."""
        if not self._icons:
            return None
        whole = self._icons[0]
        made = whole.subsample(max(1, whole.width() // scaled(self.root, units)))
        self._shown_icons[units] = made  # Tk forgets a picture that nobody holds
        return made

    def _make_fonts(self, root: tk.Misc) -> None:
        base = tkfont.nametofont("TkDefaultFont", root=root)
        family, size = base.actual("family"), int(base.actual("size"))
        self._fonts = [
            tkfont.Font(root, name="GridHeading", family=family, size=size, weight="bold"),
            tkfont.Font(root, name="GridNumber", family=family, size=round(size * 1.9), weight="bold"),
            tkfont.Font(root, name="GridSmall", family=family, size=max(7, round(size * 0.85))),
            tkfont.Font(root, name="GridTitle", family=family, size=round(size * 1.7), weight="bold"),
        ]

    def _quiet_file_dialogs(self, root: tk.Tk) -> None:
        """Tk's own file dialog, on X11, hides hidden files and offers a box to show them."""
        with contextlib.suppress(tk.TclError):
            root.tk.call("catch", "tk_getOpenFile -neither")  # loads the variables; the wrong option shows nothing
            root.tk.call("set", "::tk::dialog::file::showHiddenBtn", 1)
            root.tk.call("set", "::tk::dialog::file::showHiddenVar", 0)

    def _place(self, root: tk.Tk) -> None:
        width, height = scaled(root, 1024), scaled(root, 700)
        width = min(width, root.winfo_screenwidth())
        height = min(height, root.winfo_screenheight() - scaled(root, frame_height))
        root.minsize(min(width, scaled(root, 960)), min(height, scaled(root, 600)))
        wanted = str(self.preferences.get("geometry", ""))
        root.geometry(wanted if _fits_screen(wanted, root) else f"{width}x{height}")

    def _style(self) -> None:
        style = ttk.Style.get_instance()
        lines = style.lookup("TEntry", "bordercolor")
        style.configure("Card.TFrame", relief="solid", bordercolor=lines, lightcolor=style.colors.bg)
        style.configure("Treeview", rowheight=round(linespace(self.root) * 1.65))
        room = scaled(self.root, cell_padding)
        style.configure("Treeview.Cell", padding=(room - 4, 0))  # Tk adds 4 pixels to it and 2 to a heading's
        style.configure("Treeview.Heading", padding=(room - 2, scaled(self.root, 5)))
        style.configure("TButton", space=scaled(self.root, 5))  # between picture and text
        style.configure("TNotebook.Tab", padding=(scaled(self.root, 14), scaled(self.root, 7)))

    def _choose_theme(self) -> None:
        self._remember(theme=self.theme.get())
        self.set_theme(self.theme.get())

    def _choose_size(self) -> None:
        chosen = self.size.get()
        self._remember(scaling=None if chosen == "automatic" else int(chosen), geometry="")
        self.info("The size changes when the window is opened the next time.")

    def set_theme(self, wanted: str, root: ttk.App | None = None) -> None:
        """`wanted` is light, dark or system."""
        if wanted == "system":
            (root or self.root).after(0, self._follow_system)
        else:
            self._use_mode(wanted, root)

    def _follow_system(self) -> None:
        """Take the desktop's choice, now and when it changes."""
        if self._gone or self.preferences.get("theme", "system") != "system":
            return
        from gridcompute.machine import desktop

        self.root.after(30_000, self._follow_system)
        self.call(self.short, desktop.prefers_dark, then=lambda dark: self._use_mode("dark" if dark else "light"))

    def _use_mode(self, mode: str, root: ttk.App | None = None) -> None:
        window = root or self.root
        if window.theme_mode != mode:
            window.theme_mode = mode
            if root is None:
                self._style()
                for view in self.views:
                    for part in (view, getattr(view, "table", None)):
                        getattr(part, "restyle", lambda: None)()

    def _remember_geometry(self) -> None:
        with contextlib.suppress(tk.TclError, OSError):
            if self.root.state() == "normal":
                self.home.preferences.update(geometry=_geometry(self.root))


def _geometry(root: tk.Tk) -> str:
    """``WxH+X+Y``; without the place where Tk does not know it, as of a window that an X11 desktop has placed."""
    size, x, y = root.geometry().replace("-", "+-").split("+")
    known = abs(root.winfo_x() - int(x)) <= 100 and abs(root.winfo_y() - int(y)) <= 200  # frame, title and menu
    return f"{size}+{x}+{y}" if known else size


def _fits_screen(geometry: str, root: tk.Tk) -> bool:
    """Whether a remembered ``WxH+X+Y`` or ``WxH`` lies on the present screen."""
    try:
        size, *place = geometry.split("+")
        width, height = (int(part) for part in size.split("x"))
        x, y = map(int, place) if place else (0, 0)
    except ValueError:
        return False
    return x >= 0 and y >= 0 and x + width <= root.winfo_screenwidth() and y + height <= root.winfo_screenheight()
