"""The small windows: a question, a text to read, the progress of something with a way to stop it."""

from __future__ import annotations

import contextlib
import tkinter as tk
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import ttkbootstrap as ttk

from gridcompute import config
from gridcompute.gui.table import scaled

Answer = Callable[[Any], None]


class Dialog(tk.Toplevel):
    """A window over the main one, which waits for it; Esc closes it with the value None."""

    def __init__(self, master: tk.Misc, title: str, *, name: str, resizable: bool = False):
        super().__init__(master, name=name)
        self._pending = ""
        self.withdraw()
        self.title(f"{title} - {config.title_windows}")
        self.transient(master.winfo_toplevel())
        self.resizable(resizable, resizable)
        self.configure(background=ttk.Style.get_instance().colors.bg)
        self.body = ttk.Frame(self, name="body", padding=scaled(self, 18))
        self.body.pack(fill="both", expand=True)
        self.bind("<Escape>", lambda event: self.close(None))
        self.protocol("WM_DELETE_WINDOW", lambda: self.close(None))

    def show(self, focus: tk.Misc | None = None, *, modal: bool = True) -> None:
        """Put it over the middle of its master and give it the keyboard."""
        self.update_idletasks()
        top = self.master.winfo_toplevel()
        width, height = self.winfo_reqwidth(), self.winfo_reqheight()
        left = top.winfo_rootx() + (top.winfo_width() - width) // 2
        upper = top.winfo_rooty() + max(0, (top.winfo_height() - height) // 3)
        self.geometry(f"+{max(0, left)}+{max(0, upper)}")
        self.deiconify()
        self.lift()
        if modal:
            self._grab()
        (focus or self).focus_set()

    def _grab(self) -> None:
        """Take the mouse as soon as the window is seen, without a loop of our own that waits for it."""
        try:
            if self.winfo_viewable():
                self.grab_set()
                return
        except tk.TclError:  # another program holds the mouse for a moment
            pass
        self._pending = self.after(30, self._grab)

    def close(self, value: Any) -> None:
        if self._pending:
            self.after_cancel(self._pending)
        with contextlib.suppress(tk.TclError):  # Tk has forgotten one of its commands; the window is gone all the same
            self.grab_release()
            self.destroy()


class Question(Dialog):
    """A decision: `choices` are (text, value, style), the last one is the default; `then` hears the value or None."""

    def __init__(
        self,
        master: tk.Misc,
        title: str,
        message: str,
        choices: Sequence[tuple[str, Any, str]],
        then: Answer,
        *,
        icon: str = "question-circle",
        name: str = "question",
    ):
        super().__init__(master, title, name=name)
        self._then = then
        row = ttk.Frame(self.body)
        row.pack(fill="x")
        picture = ttk.Label(row, icon=icon, icon_size=32, bootstyle="primary")
        picture.pack(side="left", anchor="n", padx=(0, scaled(self, 14)))
        ttk.Label(row, name="message", text=message, wraplength=scaled(self, 400), justify="left").pack(side="left")
        buttons = ttk.Frame(self.body, name="buttons")
        buttons.pack(fill="x", pady=(scaled(self, 18), 0))
        default: tk.Misc | None = None
        for number, (text, value, style) in enumerate(reversed(choices)):
            button = mnemonic_button(
                buttons, text, partial(self.close, value), name=f"choice{len(choices) - 1 - number}", bootstyle=style
            )
            button.pack(side="right", padx=(scaled(self, 8), 0))
            bind_mnemonic(self, text, button)
            default = default or button
        self.bind("<Return>", self._return)
        self.show(default)

    def _return(self, event: tk.Event) -> None:
        focused = self.focus_get()
        if isinstance(focused, ttk.Button):
            return  # the button answers itself
        self.close(None)

    def close(self, value: Any) -> None:
        super().close(value)
        self._then(value)


class Reading(Dialog):
    """A text to read; several become tabs, of which the one with the label `first` is seen first."""

    def __init__(
        self,
        master: tk.Misc,
        title: str,
        pages: Sequence[tuple[str, str]],
        *,
        fixed: bool = False,
        name: str = "reading",
        size: tuple[int, int] = (88, 26),
        first: str = "",
    ):
        super().__init__(master, title, name=name, resizable=True)
        self._boxes: list[tk.Text] = []
        row = ttk.Frame(self.body, name="buttons")
        row.pack(side="bottom", fill="x", pady=(scaled(self, 12), 0))
        close = mnemonic_button(row, "&Close", lambda: self.close(None), name="close", bootstyle="primary")
        close.pack(side="right")
        bind_mnemonic(self, "&Close", close)
        if len(pages) == 1:
            self._page(self.body, pages[0][1], fixed, size).pack(fill="both", expand=True)
        else:
            book = ttk.Notebook(self.body, name="pages")
            book.pack(fill="both", expand=True)
            for label, text in pages:
                page = self._page(book, text, fixed, size)
                book.add(page, text=label)
                if label == first:
                    book.select(page)
        self.bind("<Return>", lambda event: self.close(None))
        for key, number, unit in (
            ("Up", -1, "units"),
            ("Down", 1, "units"),
            ("Prior", -1, "pages"),
            ("Next", 1, "pages"),
        ):
            close.bind(f"<{key}>", partial(self._scroll, number, unit))
        self.show(close)

    def _scroll(self, number: int, unit: str, event: tk.Event) -> str:
        """The text that is seen moves, though the button has the keyboard."""
        for box in self._boxes:
            if box.winfo_viewable():
                box.tk.call(str(box), "yview", "scroll", number, unit)
        return "break"

    def _page(self, master: tk.Misc, text: str, fixed: bool, size: tuple[int, int]) -> ttk.Frame:
        frame = ttk.Frame(master, padding=2)
        box = ttk.Text(
            frame,
            wrap="word",
            width=size[0],
            height=size[1],
            relief="flat",
            padx=scaled(self, 10),
            pady=scaled(self, 8),
            font="TkFixedFont" if fixed else "TkDefaultFont",
        )
        bar = ttk.Scrollbar(frame, command=box.yview)
        box.configure(yscrollcommand=partial(_set_bar, bar, box))
        box.pack(side="left", fill="both", expand=True)
        box.insert("1.0", text)
        read_only(box)
        self._boxes.append(box)
        return frame


def _set_bar(bar: ttk.Scrollbar, box: tk.Text, first: str, last: str) -> None:
    """A scrollbar that stands there only while there is something to scroll."""
    bar.set(first, last)
    if float(first) <= 0 and float(last) >= 1:
        bar.pack_forget()
    elif not bar.winfo_manager():
        bar.pack(side="right", fill="y", before=box)


class ProgressWindow(Dialog):
    """How far something is; closing it or pressing Cancel stops that."""

    def __init__(self, master: tk.Misc, text: str, stop: Callable[[], None]):
        super().__init__(master, "At work", name="progress")
        self._stop = stop
        self.progress_label = ttk.Label(self.body, name="text", text=text, wraplength=scaled(self, 380))
        self.progress_label.pack(anchor="w")
        self.progress_bar = ttk.Progressbar(self.body, name="bar", length=scaled(self, 380), mode="indeterminate")
        self.progress_bar.pack(fill="x", pady=(scaled(self, 12), scaled(self, 6)))
        self.progress_bar.start(15)
        self.detail = ttk.Label(self.body, name="detail", text=" ", bootstyle="secondary")
        self.detail.pack(anchor="w")
        self.cancel = mnemonic_button(
            self.body, "&Cancel", lambda: self.close(None), name="cancel", bootstyle="secondary"
        )
        self.cancel.pack(anchor="e", pady=(scaled(self, 12), 0))
        bind_mnemonic(self, "&Cancel", self.cancel)
        self.show(self.cancel)

    def update_to(self, text: str, fraction: float | None, detail: str) -> None:
        self.progress_label.configure(text=text)
        self.detail.configure(text=detail or " ")
        if fraction is not None:
            if str(self.progress_bar.cget("mode")) != "determinate":
                self.progress_bar.stop()
                self.progress_bar.configure(mode="determinate", maximum=1000)
            self.progress_bar.configure(value=round(1000 * fraction))

    def close(self, value: Any) -> None:
        """Asks the work to stop; the window goes when it has."""
        self.cancel.configure(state="disabled", text="Stopping …")
        self._stop()

    def finish(self) -> None:
        super().close(None)


def read_only(box: tk.Text) -> None:
    """Let a text be read, selected and copied, not changed."""
    box.bind("<Key>", lambda event: None if _moves_or_copies(event) else "break")
    box.bind("<<Paste>>", lambda event: "break")
    box.bind("<<Cut>>", lambda event: "break")
    box.bind("<Tab>", lambda event: _go_to(box.tk_focusNext()))
    for backwards in ("<Shift-Tab>", "<ISO_Left_Tab>"):
        with contextlib.suppress(tk.TclError):  # the second is a key of X11 alone
            box.bind(backwards, lambda event: _go_to(box.tk_focusPrev()))
    box.bind("<Return>", lambda event: _pass_on(box, "<Return>"))


def _go_to(widget: tk.Misc | None) -> str:
    if widget is not None:
        widget.focus_set()
    return "break"


def _pass_on(box: tk.Text, key: str) -> str:
    """A key that would write into the text is the window's."""
    box.winfo_toplevel().event_generate(key)
    return "break"


def _moves_or_copies(event: tk.Event) -> bool:
    state = event.state if isinstance(event.state, int) else 0
    keys = ("Up", "Down", "Left", "Right", "Prior", "Next", "Home", "End", "Escape", "F1", "F5")
    return event.keysym in keys or bool(state & 0x0C)


def split_mnemonic(text: str) -> tuple[str, int]:
    """``&Submit`` is ``Submit`` with the letter 0 underlined; -1 where none is marked."""
    place = text.find("&")
    return (text[:place] + text[place + 1 :], place) if place >= 0 else (text, -1)


def mnemonic_button(master: tk.Misc, text: str, command: Callable[[], Any], **options: Any) -> ttk.Button:
    """A button whose letter behind ``&`` is underlined; `bind_mnemonic` gives it to the keyboard."""
    label, place = split_mnemonic(text)
    return ttk.Button(master, text=label, underline=place, command=command, **options)


def bind_mnemonic(window: tk.Misc, text: str, button: ttk.Button) -> None:
    """Alt and the marked letter press the button, where it can be seen."""
    label, place = split_mnemonic(text)
    if place < 0:
        return

    def press(event: tk.Event) -> str | None:
        if not button.winfo_exists() or not button.winfo_viewable():
            return None
        button.invoke()
        return "break"

    window.bind(f"<Alt-{label[place].lower()}>", press, add="+")
